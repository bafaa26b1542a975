# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The boundary to the C core: checks and conversion, no modelling. Status codes become exceptions in `_check` alone."""

import numpy as np

from libc.stdint cimport int32_t, int64_t

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
        const int64_t *link_to
        const int64_t *next_link
        const int64_t *order
        int64_t router_delay, link_delay, port_delay
    ctypedef struct hda_message_t:
        int64_t source, target, flits, after
    ctypedef int hda_collective_t
    size_t hda_noc_scratch_size(const hda_noc_t *, int64_t)
    hda_status_t hda_noc_run(const hda_noc_t *, const hda_message_t *, int64_t, void *, int64_t *, int64_t *) nogil
    int64_t hda_collective_messages(hda_collective_t, int64_t, int64_t)
    hda_status_t hda_collective_schedule(const hda_noc_t *, hda_collective_t, int64_t, int64_t, int64_t, hda_message_t *)
    int64_t hda_collective_zero_load(const hda_noc_t *, hda_collective_t, int64_t, int64_t)

cdef extern from "program.h":
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
        int32_t shared, prefetch, p2p_algorithm
        int64_t device_count
        double p2p_bandwidth, p2p_latency, launch_overhead, activation_bytes, kv_bytes
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
        int64_t emit_count
    ctypedef struct hda_step_t:
        pass
    ctypedef struct hda_op_step_t:
        pass
    ctypedef struct hda_mapping_t:
        pass
    enum: HDA_EXACT
    hda_status_t hda_program_create(const hda_device_t *, const hda_op_t *, int64_t, const hda_block_t *, int64_t,
                                    const hda_segment_t *, int64_t, int64_t, int64_t, hda_program_t **)
    void hda_program_destroy(hda_program_t *)
    hda_status_t hda_program_step(hda_program_t *, const hda_batch_t *, int, hda_step_t *, hda_op_step_t *) nogil
    hda_status_t hda_program_mapping(hda_program_t *, int64_t, int64_t, int64_t, hda_mapping_t *)

cdef extern from "serve.h":
    ctypedef struct hda_serve_config_t:
        int64_t max_num_seqs, max_num_batched_tokens, block_size, block_count
        int32_t chunked_prefill
    ctypedef struct hda_request_t:
        pass
    ctypedef struct hda_step_record_t:
        pass
    ctypedef struct hda_gap_t:
        pass
    ctypedef struct hda_serve_t:
        pass
    hda_status_t hda_serve_create(hda_program_t *const *, int64_t, const hda_serve_config_t *, int64_t, const double *,
                                  const int64_t *, const int64_t *, hda_serve_t **)
    void hda_serve_destroy(hda_serve_t *)
    hda_status_t hda_serve_run(hda_serve_t *, int64_t, hda_step_record_t *, int64_t *, int64_t, hda_gap_t *, int64_t *) nogil
    void hda_serve_requests(const hda_serve_t *, hda_request_t *)
    void hda_serve_progress(const hda_serve_t *, int64_t *, double *)
    void hda_serve_busy(const hda_serve_t *, double *)


OVERFLOW, MEMORY, STOPPED, LONG, UNDEFINED = HDA_E_OVERFLOW, HDA_E_MEMORY, HDA_E_STOPPED, HDA_E_LONG, HDA_E_UNDEFINED

for _dtype, _size in ((layout.OP, sizeof(hda_op_t)), (layout.BLOCK, sizeof(hda_block_t)), (layout.SEGMENT, sizeof(hda_segment_t)),
                      (layout.STEP, sizeof(hda_step_t)), (layout.OP_STEP, sizeof(hda_op_step_t)),
                      (layout.MAPPING, sizeof(hda_mapping_t)), (layout.REQUEST, sizeof(hda_request_t)),
                      (layout.STEP_RECORD, sizeof(hda_step_record_t)), (layout.GAP, sizeof(hda_gap_t)),
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


cdef class Network:
    """A routed graph; keeps the arrays that C borrows. See `hdasim.device.noc` for their meaning."""

    cdef hda_noc_t noc
    cdef object arrays

    def __init__(self, router_of, link_to, next_link, order, int64_t router_delay, int64_t link_delay, int64_t port_delay):
        arrays = [np.ascontiguousarray(a, np.int64) for a in (router_of, link_to, next_link, order)]
        nodes, routers = arrays[0].size, int(round(arrays[2].size**0.5))
        if (routers * routers != arrays[2].size or arrays[3].size != nodes or nodes < 1
                or arrays[0].min() < 0 or arrays[0].max() >= routers
                or (arrays[1].size and (arrays[1].min() < 0 or arrays[1].max() >= routers))
                or arrays[2].max() >= max(arrays[1].size, 1) or sorted(arrays[3].tolist()) != list(range(nodes))):
            raise CoreError("the arrays of the network do not fit together")
        self.arrays = arrays
        self.noc.node_count, self.noc.router_count, self.noc.link_count = nodes, routers, arrays[1].size
        self.noc.router_of = <const int64_t *>_address(arrays[0], np.int64)
        self.noc.link_to = <const int64_t *>_address(arrays[1], np.int64)
        self.noc.next_link = <const int64_t *>_address(arrays[2], np.int64)
        self.noc.order = <const int64_t *>_address(arrays[3], np.int64)
        self.noc.router_delay, self.noc.link_delay, self.noc.port_delay = router_delay, link_delay, port_delay

    def run(self, messages):
        """Cycles at which each message (array of `layout.MESSAGE`) is received, and the last of them."""
        cdef int64_t count = messages.size, makespan = 0
        cdef const hda_message_t *data = <const hda_message_t *>_address(messages, layout.MESSAGE)
        scratch = np.empty(hda_noc_scratch_size(&self.noc, count) // 8 + 1, np.int64)
        done = np.empty(count, np.int64)
        cdef void *scratch_data = <void *>_address(scratch, np.int64)
        cdef int64_t *done_data = <int64_t *>_address(done, np.int64)
        cdef int status
        with nogil:
            status = hda_noc_run(&self.noc, data, count, scratch_data, done_data, &makespan)
        _check(status)
        return done, makespan

    def schedule(self, str collective, int64_t groups, int64_t size, int64_t flits):
        """The messages of `groups` concurrent collectives of `size` nodes with chunks of `flits` flits."""
        cdef int kind = layout.COLLECTIVES[collective]
        if groups < 1 or size < 1 or groups > self.noc.node_count // size:
            raise CoreError(f"{groups} groups of {size} nodes do not fit on {self.noc.node_count} nodes")
        messages = np.zeros(hda_collective_messages(kind, groups, size), layout.MESSAGE)
        _check(hda_collective_schedule(&self.noc, kind, groups, size, flits,
                                       <hda_message_t *>_address(messages, layout.MESSAGE)))
        return messages

    def zero_load(self, str collective, int64_t size, int64_t flits):
        """Cycles of a collective without contention whose ring neighbours are one link apart."""
        return hda_collective_zero_load(&self.noc, layout.COLLECTIVES[collective], size, flits)


cdef class Program:
    """A compiled program. `device` is a dict with the fields of hda_device_t, some flattened; see `hdasim.device.latency`."""

    cdef hda_program_t *handle
    cdef readonly object network
    cdef readonly int64_t op_count

    def __init__(self, device, Network network, ops, blocks, segments, int64_t max_rows, int64_t block_size):
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
        d.p2p_bandwidth, d.p2p_latency = device["p2p_bandwidth"], device["p2p_latency"]
        d.launch_overhead = device["launch_overhead"]
        d.activation_bytes, d.kv_bytes = device["activation_bytes"], device["kv_bytes"]
        self.network = network
        self.op_count = ops.size
        _check(hda_program_create(&d, <const hda_op_t *>_address(ops, layout.OP, 1), ops.size,
                                  <const hda_block_t *>_address(blocks, layout.BLOCK, 1), blocks.size,
                                  <const hda_segment_t *>_address(segments, layout.SEGMENT, 1), segments.size,
                                  max_rows, block_size, &self.handle))

    def __dealloc__(self):
        hda_program_destroy(self.handle)

    def step(self, q_len, past, int64_t emit_count, bint exact=False, bint per_op=False):
        """Execute one step; q_len and past are int64 arrays, one entry per sequence: (STEP record, OP_STEP array or None)."""
        step = np.zeros(1, layout.STEP)
        ops = np.zeros(self.op_count, layout.OP_STEP) if per_op else None
        cdef hda_batch_t batch
        batch.sequence_count, batch.emit_count = q_len.size, emit_count
        batch.q_len = <const int64_t *>_address(q_len, np.int64, 1)
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


cdef class Serve:
    """The serving loop over the programs of a pipeline: stage, link, stage, ..; see serve.h."""

    cdef hda_serve_t *handle
    cdef object programs
    cdef int64_t count, most

    def __init__(self, programs, arrival, input_len, output_len, int64_t max_num_seqs, int64_t max_num_batched_tokens,
                 int64_t block_size, int64_t block_count, bint chunked_prefill):
        cdef hda_serve_config_t config
        config.max_num_seqs, config.max_num_batched_tokens = max_num_seqs, max_num_batched_tokens
        config.block_size, config.block_count, config.chunked_prefill = block_size, block_count, chunked_prefill
        cdef Program program
        self.programs, self.count, self.most = tuple(programs), arrival.size, min(max_num_seqs, arrival.size)
        handles = np.zeros(len(self.programs), np.uintp)
        for i, program in enumerate(self.programs):
            handles[i] = <size_t>program.handle
        _check(hda_serve_create(<hda_program_t *const *>_address(handles, np.uintp, 1), handles.size, &config, arrival.size,
                                <const double *>_address(arrival, np.float64, 1),
                                <const int64_t *>_address(input_len, np.int64, arrival.size),
                                <const int64_t *>_address(output_len, np.int64, arrival.size), &self.handle))

    def __dealloc__(self):
        hda_serve_destroy(self.handle)

    def run(self, int64_t step_capacity):
        """Execute up to `step_capacity` steps: (STEP_RECORD array, GAP array); both empty when all is done."""
        cdef int64_t gap_capacity = self.most + 4 * step_capacity, step_count = 0, gap_count = 0
        steps, gaps = np.zeros(step_capacity, layout.STEP_RECORD), np.zeros(gap_capacity, layout.GAP)
        cdef hda_step_record_t *step_data = <hda_step_record_t *>_address(steps, layout.STEP_RECORD)
        cdef hda_gap_t *gap_data = <hda_gap_t *>_address(gaps, layout.GAP)
        cdef int status
        with nogil:
            status = hda_serve_run(self.handle, step_capacity, step_data, &step_count, gap_capacity, gap_data, &gap_count)
        _check(status)
        return steps[:step_count], gaps[:gap_count]

    def requests(self):
        """REQUEST array, one entry per request in order of arrival."""
        result = np.zeros(self.count, layout.REQUEST)
        hda_serve_requests(self.handle, <hda_request_t *>_address(result, layout.REQUEST))
        return result

    def progress(self):
        """(requests finished or rejected, seconds on the simulation's clock)."""
        cdef int64_t finished = 0
        cdef double now = 0
        hda_serve_progress(self.handle, &finished, &now)
        return finished, now

    def busy(self):
        """Seconds for which each program ran in the steps returned so far."""
        result = np.zeros(len(self.programs))
        hda_serve_busy(self.handle, <double *>_address(result, np.float64))
        return result


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
