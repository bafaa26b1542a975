# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The boundary to the C core: checks and conversion, no modelling. Status codes become exceptions in `_check` alone."""

import numpy as np

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

from ..errors import CoreError
from . import layout


cdef extern from "hda.h":
    ctypedef int hda_status_t
    const char *hda_status_str(int status)
    enum: HDA_E_OVERFLOW, HDA_E_MEMORY, HDA_E_STOPPED, HDA_E_LONG, HDA_E_UNDEFINED

cdef extern from "systolic.h":
    ctypedef struct hda_array_t:
        int64_t rows, cols, lanes
    hda_status_t hda_sa_gemm_cycles(const hda_array_t *, int64_t, int64_t, int64_t, int64_t *) nogil

cdef extern from "scalesim.h":
    ctypedef struct hda_scalesim_case_t:
        pass
    ctypedef struct hda_scalesim_result_t:
        pass
    ctypedef struct hda_scalesim_compute_t:
        pass
    ctypedef struct hda_scalesim_t:
        pass
    hda_status_t hda_scalesim_compute(const hda_scalesim_case_t *, hda_scalesim_compute_t *) nogil
    hda_scalesim_t *hda_scalesim_create()
    void hda_scalesim_destroy(hda_scalesim_t *)
    hda_status_t hda_scalesim_run(hda_scalesim_t *, const hda_scalesim_case_t *, int64_t, const int32_t *,
                                  hda_scalesim_result_t *) nogil

cdef extern from "mactree.h":
    ctypedef struct hda_tree_t:
        int64_t width, lanes
        int32_t lanes_split
    hda_status_t hda_mt_gemm_cycles(const hda_tree_t *, int64_t, int64_t, int64_t, int64_t *) nogil
    hda_status_t hda_mt_attention_cycles(const hda_tree_t *, int64_t, int64_t, int64_t, int64_t, int64_t *) nogil

cdef extern from "attention.h":
    int64_t hda_prefill_tiles(int64_t, int64_t, int64_t, int64_t, int64_t) nogil
    double hda_prefill_pairs(int64_t, int64_t, int64_t) nogil

cdef extern from "dram.h":
    ctypedef struct hda_dram_t:
        int32_t kind
        double bandwidth, slope, intercept, minimum, maximum, layer_time
    double hda_dram_utilization(const hda_dram_t *, double) nogil

cdef extern from "noc.h":
    ctypedef struct hda_noc_t:
        int64_t node_count, router_count, link_count
        const int64_t *router_of
        const int64_t *link_from
        const int64_t *link_to
        const int64_t *link_dimension
        const int64_t *link_wraps
        const int64_t *next_link
        const int64_t *order
        int64_t columns, router_delay, link_delay, port_delay, virtual_channels, buffer_flits, packet_flits
    ctypedef struct hda_message_t:
        int64_t source, target, flits, delay, first, count
    ctypedef struct hda_noc_load_t:
        int64_t inject, eject, link, flit_hops, packet_hops, cycles
    enum: HDA_NOC_ROUTER, HDA_NOC_LINK
    hda_status_t hda_noc_check(const hda_noc_t *)
    hda_status_t hda_noc_run(const hda_noc_t *, const hda_message_t *, int64_t, const int64_t *, int64_t, int, int64_t *,
                             int64_t *) nogil
    hda_status_t hda_noc_load(const hda_noc_t *, const hda_message_t *, int64_t, const int64_t *, int64_t,
                              hda_noc_load_t *) nogil

cdef extern from "links.h":
    ctypedef struct hda_links_t:
        int64_t device_count, node_count, link_count
        const int64_t *link_to
        const int64_t *next_link
        const double *bandwidth
        const int64_t *latency
        int32_t store_and_forward
    hda_status_t hda_links_check(const hda_links_t *)
    hda_status_t hda_links_run(const hda_links_t *, const hda_message_t *, int64_t, const int64_t *, int64_t, int64_t *,
                               int64_t *) nogil

cdef extern from "schedule.h":
    ctypedef struct hda_schedule_t:
        hda_message_t *messages
        int64_t *deps
        int64_t count, dep_count
    ctypedef struct hda_group_t:
        const int64_t *members
        int64_t size, columns, pieces
    ctypedef int hda_collective_t
    ctypedef int hda_algorithm_t
    void hda_schedule_free(hda_schedule_t *)
    hda_status_t hda_schedule_collective(hda_schedule_t *, const hda_group_t *, hda_collective_t, hda_algorithm_t,
                                         int64_t) nogil

cdef extern from "gpu.h":
    ctypedef struct hda_gpu_t:
        pass

cdef extern from "program.h":
    ctypedef struct hda_energy_t:
        pass
    ctypedef struct hda_device_t:
        double frequency
        int64_t core_count
        hda_array_t array
        hda_tree_t tree
        int64_t vector_width
        double local_memory, global_memory, global_bandwidth
        hda_dram_t dram
        hda_noc_t noc
        double link_width
        int32_t shared, prefetch, p2p_algorithm, dataflow
        int64_t device_count
        hda_links_t links
        double p2p_bandwidth
        const double *measured
        int64_t rank_count
        hda_links_t expert_links
        const double *expert_measured
        double launch_overhead, activation_bytes, kv_bytes
        hda_gpu_t gpu
        hda_energy_t energy
    ctypedef struct hda_op_t:
        pass
    ctypedef struct hda_block_t:
        pass
    ctypedef struct hda_segment_t:
        pass
    ctypedef struct hda_program_t:
        pass
    ctypedef struct hda_batch_t:
        int64_t sequence_count
        const int64_t *q_len
        const int64_t *past
        int64_t emit_count, group_tokens
    ctypedef struct hda_step_t:
        pass
    ctypedef struct hda_op_step_t:
        pass
    ctypedef struct hda_mapping_t:
        pass
    enum: HDA_EXACT, HDA_MEASURED_KINDS, HDA_MEASURED_SIZES
    hda_status_t hda_program_create(const hda_device_t *, const hda_op_t *, int64_t, const hda_block_t *, int64_t,
                                    const hda_segment_t *, int64_t, int64_t, int64_t, hda_program_t **)
    void hda_program_destroy(hda_program_t *)
    hda_status_t hda_program_step(hda_program_t *, const hda_batch_t *, int, hda_step_t *, hda_op_step_t *) nogil
    hda_status_t hda_program_mapping(hda_program_t *, int64_t, int64_t, int64_t, hda_mapping_t *)

cdef extern from "serve.h":
    ctypedef struct hda_request_t:
        pass
    ctypedef struct hda_step_record_t:
        pass
    ctypedef struct hda_gap_t:
        pass
    ctypedef struct hda_instance_totals_t:
        pass


MEASURED_SIZES = HDA_MEASURED_SIZES
OVERFLOW, MEMORY, STOPPED, LONG, UNDEFINED = HDA_E_OVERFLOW, HDA_E_MEMORY, HDA_E_STOPPED, HDA_E_LONG, HDA_E_UNDEFINED

for _dtype, _size in ((layout.OP, sizeof(hda_op_t)), (layout.BLOCK, sizeof(hda_block_t)), (layout.SEGMENT, sizeof(hda_segment_t)),
                      (layout.STEP, sizeof(hda_step_t)), (layout.OP_STEP, sizeof(hda_op_step_t)),
                      (layout.MAPPING, sizeof(hda_mapping_t)), (layout.REQUEST, sizeof(hda_request_t)),
                      (layout.STEP_RECORD, sizeof(hda_step_record_t)), (layout.GAP, sizeof(hda_gap_t)),
                      (layout.TOTALS, sizeof(hda_instance_totals_t)), (layout.ENERGY, sizeof(hda_energy_t)),
                      (layout.MESSAGE, sizeof(hda_message_t)), (layout.SCALESIM_CASE, sizeof(hda_scalesim_case_t)),
                      (layout.SCALESIM_RESULT, sizeof(hda_scalesim_result_t)),
                      (layout.SCALESIM_COMPUTE, sizeof(hda_scalesim_compute_t))):
    if _dtype.itemsize != _size:
        raise ImportError(f"layout of {_dtype.names} has {_dtype.itemsize} bytes, the C struct {_size}")


cdef int _check(int status) except -1:
    if status != 0:
        raise CoreError((<bytes>hda_status_str(status)).decode())
    return 0


cdef const void *_address(array, dtype, Py_ssize_t least=0) except? NULL:
    """Address of a contiguous array of `dtype` with at least `least` items."""
    if array.dtype != dtype or not array.flags.c_contiguous or array.size < least:
        raise CoreError(f"expected a contiguous array of {least} or more items of {dtype}")
    cdef size_t address = array.ctypes.data
    return <const void *>address


cdef class ScaleSim:
    """Scratch of one thread for SCALE-Sim's arithmetic."""

    cdef hda_scalesim_t *handle

    def __cinit__(self):
        self.handle = hda_scalesim_create()
        if self.handle == NULL:
            raise MemoryError

    def __dealloc__(self):
        hda_scalesim_destroy(self.handle)

    def run(self, cases, results, int64_t first, int64_t last, int64_t max_lines, stop):
        """Fill results[first:last] (`layout.SCALESIM_RESULT`) from cases[first:last]; a nonzero `stop[0]` (int32) ends it."""
        cdef const hda_scalesim_case_t *data = <const hda_scalesim_case_t *>_address(cases, layout.SCALESIM_CASE, last)
        cdef hda_scalesim_result_t *out = <hda_scalesim_result_t *>_address(results, layout.SCALESIM_RESULT, last)
        cdef const int32_t *flag = <const int32_t *>_address(stop, np.int32, 1)
        cdef int64_t i
        if first < 0:
            raise CoreError("the first case is 0")
        with nogil:
            for i in range(first, last):
                hda_scalesim_run(self.handle, data + i, max_lines, flag, out + i)


def scalesim_compute(cases):
    """Closed forms of each case (`layout.SCALESIM_CASE`) as an array of `layout.SCALESIM_COMPUTE`."""
    cdef int64_t i, count = cases.size
    cdef const hda_scalesim_case_t *data = <const hda_scalesim_case_t *>_address(cases, layout.SCALESIM_CASE)
    result = np.empty(count, layout.SCALESIM_COMPUTE)
    cdef hda_scalesim_compute_t *out = <hda_scalesim_compute_t *>_address(result, layout.SCALESIM_COMPUTE)
    cdef int status = 0
    with nogil:
        for i in range(count):
            status = hda_scalesim_compute(data + i, out + i)
            if status != 0:
                break
    _check(status)
    return result


def status_text(int status):
    """The sentence of a status code."""
    return (<bytes>hda_status_str(status)).decode()


def schedule(str collective, str algorithm, members, int64_t chunk, int64_t columns=0, int64_t pieces=1):
    """(messages, dependencies) of one collective over `members` (int64, in the order of its ring or line) with chunks of `chunk`
    flits or bytes: arrays of `layout.MESSAGE` and int64. `columns` makes the members a grid; `pieces` cut what is pipelined.

    Raises
    ------
    CoreError
        If there is no such algorithm for the collective, or the members do not fit it.
    """
    cdef hda_group_t group
    cdef hda_schedule_t result = hda_schedule_t(NULL, NULL, 0, 0)
    cdef int kind = layout.COLLECTIVES[collective], how = layout.ALGORITHMS[algorithm], status
    line = np.ascontiguousarray(members, np.int64)
    group.members, group.size = <const int64_t *>_address(line, np.int64, 1), line.size
    group.columns, group.pieces = columns, pieces
    try:
        with nogil:
            status = hda_schedule_collective(&result, &group, kind, how, chunk)
        _check(status)
        messages, deps = np.empty(result.count, layout.MESSAGE), np.empty(result.dep_count, np.int64)
        if result.count:
            memcpy(<void *>_address(messages, layout.MESSAGE), result.messages, result.count * sizeof(hda_message_t))
        if result.dep_count:
            memcpy(<void *>_address(deps, np.int64), result.deps, result.dep_count * sizeof(int64_t))
        return messages, deps
    finally:
        hda_schedule_free(&result)


cdef class Network:
    """A routed graph of cores; keeps the arrays that C borrows.

    Parameters
    ----------
    router_of
        Node -> its router.
    link_from, link_to
        Directed links between routers. A router's ports are in the order of its outgoing links, then its nodes.
    next_link
        Router x router, flattened: the link on which one forwards towards another, -1 if none.
    order
        Nodes along a line on which collectives place their rings.
    columns
        Width of a grid whose node is y * columns + x, or 0.
    router_delay, link_delay, port_delay
        Cycles; see csrc/noc.h.
    virtual_channels, buffer_flits, packet_flits
        Per input port; flits of each channel; longest packet.
    link_dimension, link_wraps
        Per link, where some close a ring: its dimension, and 1 if it is the one that closes.
    """

    cdef hda_noc_t noc
    cdef object arrays

    def __init__(self, router_of, link_from, link_to, next_link, order, *, int64_t columns=0, int64_t router_delay=3,
                 int64_t link_delay=1, int64_t port_delay=3, int64_t virtual_channels=8, int64_t buffer_flits=8,
                 int64_t packet_flits=16, link_dimension=None, link_wraps=None):
        none = np.zeros(len(link_to), np.int64)
        named = (router_of, link_from, link_to, none if link_dimension is None else link_dimension,
                 none if link_wraps is None else link_wraps, next_link, order)
        arrays = [np.ascontiguousarray(a, np.int64) for a in named]
        nodes, links, routers = arrays[0].size, arrays[2].size, int(round(arrays[5].size**0.5))
        if (routers * routers != arrays[5].size or any(a.size != links for a in arrays[1:5]) or arrays[6].size != nodes
                or sorted(arrays[6].tolist()) != list(range(nodes))):
            raise CoreError("the arrays of the network do not fit together")
        self.arrays = arrays
        self.noc.node_count, self.noc.router_count, self.noc.link_count = nodes, routers, links
        self.noc.router_of = <const int64_t *>_address(arrays[0], np.int64)
        self.noc.link_from = <const int64_t *>_address(arrays[1], np.int64)
        self.noc.link_to = <const int64_t *>_address(arrays[2], np.int64)
        self.noc.link_dimension = <const int64_t *>_address(arrays[3], np.int64)
        self.noc.link_wraps = <const int64_t *>_address(arrays[4], np.int64)
        self.noc.next_link = <const int64_t *>_address(arrays[5], np.int64)
        self.noc.order = <const int64_t *>_address(arrays[6], np.int64)
        self.noc.columns, self.noc.packet_flits = columns, packet_flits
        self.noc.router_delay, self.noc.link_delay, self.noc.port_delay = router_delay, link_delay, port_delay
        self.noc.virtual_channels, self.noc.buffer_flits = virtual_channels, buffer_flits
        _check(hda_noc_check(&self.noc))

    @property
    def order(self):
        """Nodes along the line of collectives."""
        return self.arrays[6]

    @property
    def columns(self):
        """Width of the grid, or 0."""
        return self.noc.columns

    def run(self, messages, deps, str mode=""):
        """Cycles at which each message (array of `layout.MESSAGE`) is received, and the last of them.

        `mode` "router" simulates flit by flit even where no message waits, "link" takes links as busy until the tail has
        passed and buffers as unlimited even where messages wait.
        """
        cdef int64_t count = messages.size, dep_count = deps.size, makespan = 0
        cdef const hda_message_t *data = <const hda_message_t *>_address(messages, layout.MESSAGE)
        cdef const int64_t *dep_data = <const int64_t *>_address(deps, np.int64)
        done = np.empty(count, np.int64)
        cdef int64_t *done_data = <int64_t *>_address(done, np.int64)
        cdef int status, flags = {"": 0, "router": HDA_NOC_ROUTER, "link": HDA_NOC_LINK}[mode]
        with nogil:
            status = hda_noc_run(&self.noc, data, count, dep_data, dep_count, flags, done_data, &makespan)
        _check(status)
        return done, makespan

    def bound(self, messages, deps):
        """Loads of a schedule: flits over the busiest injection port, ejection port and link, flit and packet hops, and the
        cycles that it takes at least."""
        cdef int64_t count = messages.size, dep_count = deps.size
        cdef const hda_message_t *data = <const hda_message_t *>_address(messages, layout.MESSAGE)
        cdef const int64_t *dep_data = <const int64_t *>_address(deps, np.int64)
        cdef hda_noc_load_t load
        cdef int status
        with nogil:
            status = hda_noc_load(&self.noc, data, count, dep_data, dep_count, &load)
        _check(status)
        return {"max_inject": load.inject, "max_eject": load.eject, "max_link": load.link, "flit_hops": load.flit_hops,
                "packet_hops": load.packet_hops, "cycles": load.cycles}


cdef class Links:
    """The network between devices; keeps the arrays that C borrows.

    Nodes 0 .. device_count - 1 are devices, others switches. `next_link` is node x node, flattened; per link: the node
    at its far end, bytes/s, picoseconds.
    """

    cdef hda_links_t links
    cdef object arrays

    def __init__(self, int64_t device_count, link_to, next_link, bandwidth, latency, bint store_and_forward=False):
        arrays = [np.ascontiguousarray(a, t) for a, t in
                  ((link_to, np.int64), (next_link, np.int64), (bandwidth, np.float64), (latency, np.int64))]
        nodes = int(round(arrays[1].size**0.5))
        if nodes * nodes != arrays[1].size or any(arrays[i].size != arrays[0].size for i in (2, 3)):
            raise CoreError("the arrays of the links do not fit together")
        self.arrays = arrays
        self.links.device_count, self.links.node_count, self.links.link_count = device_count, nodes, arrays[0].size
        self.links.link_to = <const int64_t *>_address(arrays[0], np.int64)
        self.links.next_link = <const int64_t *>_address(arrays[1], np.int64)
        self.links.bandwidth = <const double *>_address(arrays[2], np.float64)
        self.links.latency = <const int64_t *>_address(arrays[3], np.int64)
        self.links.store_and_forward = store_and_forward
        _check(hda_links_check(&self.links))

    def run(self, messages, deps):
        """Picoseconds at which each message (`layout.MESSAGE`, flits are bytes) is received, and the last of them."""
        cdef int64_t count = messages.size, dep_count = deps.size, makespan = 0
        cdef const hda_message_t *data = <const hda_message_t *>_address(messages, layout.MESSAGE)
        cdef const int64_t *dep_data = <const int64_t *>_address(deps, np.int64)
        done = np.empty(count, np.int64)
        cdef int64_t *done_data = <int64_t *>_address(done, np.int64)
        cdef int status
        with nogil:
            status = hda_links_run(&self.links, data, count, dep_data, dep_count, done_data, &makespan)
        _check(status)
        return done, makespan


cdef class Program:
    """A compiled program. `device` is a dict with the fields of hda_device_t, some flattened; see `hdasim.device.latency`."""

    cdef hda_program_t *handle
    cdef readonly object network, links, expert_links
    cdef readonly int64_t op_count

    def __init__(self, device, Network network, Links links, ops, blocks, segments, int64_t max_rows, int64_t block_size,
                 Links expert_links=None):
        cdef hda_device_t d
        d.frequency, d.core_count = device["frequency"], device["core_count"]
        d.array.rows, d.array.cols, d.array.lanes = device["array"]
        d.tree.width, d.tree.lanes, d.tree.lanes_split = device["tree"]
        d.vector_width = device["vector_width"]
        d.local_memory, d.global_memory = device["local_memory"], device["global_memory"]
        d.global_bandwidth = device["global_bandwidth"]
        d.dram.kind, d.dram.bandwidth, d.dram.slope, d.dram.intercept = device["dram"][:4]
        d.dram.minimum, d.dram.maximum, d.dram.layer_time = device["dram"][4:]
        d.noc = network.noc
        d.link_width, d.shared, d.prefetch = device["link_width"], device["shared"], device["prefetch"]
        d.p2p_algorithm = device["p2p_algorithm"]
        d.device_count = device["device_count"]
        d.dataflow, d.p2p_bandwidth, d.links = device["dataflow"], device["p2p_bandwidth"], links.links
        d.launch_overhead = device["launch_overhead"]
        d.activation_bytes, d.kv_bytes = device["activation_bytes"], device["kv_bytes"]
        gpu = device.get("gpu")
        if gpu is None:
            memset(&d.gpu, 0, sizeof(hda_gpu_t))
        else:
            d.gpu = (<const hda_gpu_t *>_address(gpu, layout.GPU, 1))[0]
        energy = device.get("energy")
        if energy is None:
            memset(&d.energy, 0, sizeof(hda_energy_t))
        else:
            d.energy = (<const hda_energy_t *>_address(energy, layout.ENERGY, 1))[0]
        measured = device["measured"]
        d.measured = NULL if measured is None else <const double *>_address(
            measured, np.float64, HDA_MEASURED_KINDS * HDA_MEASURED_SIZES)
        d.rank_count, measured, expert_links = device.get("rank_count", 1), device.get("expert_measured"), expert_links or links
        d.expert_links = expert_links.links
        d.expert_measured = NULL if measured is None else <const double *>_address(
            measured, np.float64, HDA_MEASURED_KINDS * HDA_MEASURED_SIZES)
        self.network, self.links, self.expert_links = network, links, expert_links
        self.op_count = ops.size
        _check(hda_program_create(&d, <const hda_op_t *>_address(ops, layout.OP, 1), ops.size,
                                  <const hda_block_t *>_address(blocks, layout.BLOCK, 1), blocks.size,
                                  <const hda_segment_t *>_address(segments, layout.SEGMENT, 1), segments.size,
                                  max_rows, block_size, &self.handle))

    def __dealloc__(self):
        hda_program_destroy(self.handle)

    def step(self, q_len, past, int64_t emit_count, bint exact=False, bint per_op=False, int64_t group_tokens=0):
        """Execute one step; q_len and past are int64 arrays, one entry per sequence: (STEP record, OP_STEP array or None).

        `group_tokens` of all data-parallel ranks that share experts, this one's included; 0: all have as many as this one. With
        them there may be no sequences.
        """
        step = np.zeros(1, layout.STEP)
        ops = np.zeros(self.op_count, layout.OP_STEP) if per_op else None
        cdef hda_batch_t batch
        batch.sequence_count, batch.emit_count, batch.group_tokens = q_len.size, emit_count, group_tokens
        batch.q_len = <const int64_t *>_address(q_len, np.int64, 0 if group_tokens > 0 else 1)
        batch.past = <const int64_t *>_address(past, np.int64, q_len.size)
        cdef hda_step_t *step_data = <hda_step_t *>_address(step, layout.STEP)
        cdef hda_op_step_t *op_data = NULL
        if per_op:
            op_data = <hda_op_step_t *>_address(ops, layout.OP_STEP)
        cdef int status, flags = HDA_EXACT if exact else 0
        with nogil:
            status = hda_program_step(self.handle, &batch, flags, step_data, op_data)
        _check(status)
        return step[0], ops

    def mapping(self, int64_t op, int64_t rows, int64_t core=0):
        """How operator `op` is mapped to `core` in a step of `rows` rows: a MAPPING record."""
        result = np.zeros(1, layout.MAPPING)
        _check(hda_program_mapping(self.handle, op, rows, core, <hda_mapping_t *>_address(result, layout.MAPPING)))
        return result[0]


include "gpu.pxi"
include "profile.pxi"


include "serve.pxi"


def sa_gemm_cycles(const int64_t[:, ::1] mkn, int64_t rows, int64_t cols, int64_t lanes):
    """Engine cycles of weight-stationary GEMMs; `mkn` is n x 3 (M, K, N). Returns int64[n]."""
    cdef int64_t i, count = mkn.shape[0]
    result = np.empty(count, np.int64)
    cdef int64_t[::1] out = result
    cdef hda_array_t array
    array.rows, array.cols, array.lanes = rows, cols, lanes
    cdef int status = 0
    with nogil:
        for i in range(count):
            status = hda_sa_gemm_cycles(&array, mkn[i, 0], mkn[i, 1], mkn[i, 2], &out[i])
            if status:
                break
    _check(status)
    return result


def mt_gemm_cycles(const int64_t[:, ::1] mkn, int64_t width, int64_t lanes, bint lanes_split):
    """MAC-tree cycles of GEMMs; `mkn` is n x 3 (M, K, N). Returns int64[n]."""
    cdef int64_t i, count = mkn.shape[0]
    result = np.empty(count, np.int64)
    cdef int64_t[::1] out = result
    cdef hda_tree_t tree
    tree.width, tree.lanes, tree.lanes_split = width, lanes, lanes_split
    cdef int status = 0
    with nogil:
        for i in range(count):
            status = hda_mt_gemm_cycles(&tree, mkn[i, 0], mkn[i, 1], mkn[i, 2], &out[i])
            if status:
                break
    _check(status)
    return result


def mt_attention_cycles(int64_t group, int64_t key_dim, int64_t value_dim, int64_t tokens, int64_t width, int64_t lanes,
                        bint lanes_split=True):
    """MAC-tree cycles of decode attention of one kv head."""
    cdef hda_tree_t tree
    tree.width, tree.lanes, tree.lanes_split = width, lanes, lanes_split
    cdef int64_t cycles = 0
    _check(hda_mt_attention_cycles(&tree, group, key_dim, value_dim, tokens, &cycles))
    return cycles


def prefill_tiles(int64_t tokens, int64_t past, int64_t window, int64_t tile_tokens, int64_t block):
    """Score tiles of one kv head in a causal prefill."""
    if tokens < 0 or past < 0 or window < 0 or tile_tokens < 1 or block < 1:
        raise CoreError(f"{hda_status_str(1).decode()}")
    return hda_prefill_tiles(tokens, past, window, tile_tokens, block)


def prefill_pairs(int64_t tokens, int64_t past, int64_t window):
    """Query-key pairs of a causal prefill."""
    return hda_prefill_pairs(tokens, past, window)


def dram_utilization(double gigabytes, double slope, double intercept, double minimum, double maximum):
    """The logarithmic fit at `gigabytes` streamed."""
    cdef hda_dram_t dram
    dram.kind, dram.bandwidth, dram.slope, dram.intercept = 1, 1.0, slope, intercept
    dram.minimum, dram.maximum, dram.layer_time = minimum, maximum, 0.0
    return hda_dram_utilization(&dram, gigabytes * 1e9)
