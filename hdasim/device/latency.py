"""Batch composition -> step time and breakdown: a compiled program bound to its device, ready to execute."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiler.program import CompiledProgram, compile_program
from ..core import layout
from ..core._core import Program
from ..errors import SpecError
from ..noc.topology import device_network
from ..spec.experiment import Experiment
from ..spec.hardware import ConstantUtilization, Device, LogUtilization
from .links import network as links

_DRAM_KINDS = {"constant": 0, "log": 1, "overhead": 2}


@dataclass(frozen=True)
class Machine:
    """One device of the tensor-parallel group with its compiled program; `kv_bytes` is per element of the KV cache."""

    compiled: CompiledProgram
    core: Program
    device: Device
    device_count: int
    kv_bytes: float

    def step(self, q_len: list[int], past: list[int], emit_count: int, *, exact: bool = False) -> tuple[Any, np.ndarray]:
        """Execute one step of sequences with `q_len` new tokens after `past` cached ones.

        Returns
        -------
        (STEP record, OP_STEP array in the order of ``compiled.ops``); seconds, bytes, multiply-accumulates of one device.
        """
        return self.core.step(np.array(q_len, np.int64), np.array(past, np.int64), emit_count, exact=exact, per_op=True)


def build(experiment: Experiment) -> Machine:
    """Compile the experiment and bind it to its device; `SpecError` or `CapacityError` if it cannot run."""
    device, serving = experiment.device, experiment.serving
    if serving.device_count > 1 and device.p2p is None:
        raise SpecError(
            f"{device.name} has no links to other devices; give p2p: {{bandwidth: ..., latency: ...}}", ("device", "p2p")
        )
    compiled = compile_program(experiment)
    ops, blocks, segments = compiled.arrays()
    most, page = serving.max_num_batched_tokens, serving.block_size
    networks = device_network(device), links(device.p2p, serving.device_count)
    core = Program(_fields(experiment), *networks, ops, blocks, segments, most, page)
    return Machine(compiled, core, device, serving.device_count, experiment.model.kv_cache_bytes)


def _dram(device: Device) -> tuple[int, float, float, float, float, float, float]:
    """kind, bandwidth, slope, intercept, minimum, maximum, layer_time of hda_dram_t."""
    u, rate = device.dram.utilization, device.dram.bandwidth
    if isinstance(u, ConstantUtilization):
        return _DRAM_KINDS["constant"], rate, 0.0, 0.0, u.value, u.value, 0.0
    if isinstance(u, LogUtilization):
        return _DRAM_KINDS["log"], rate, u.slope, u.intercept, u.minimum, u.maximum, 0.0
    return _DRAM_KINDS["overhead"], rate, 0.0, 0.0, u.maximum, u.maximum, u.layer_time


def _fields(experiment: Experiment) -> dict[str, Any]:
    """The fields of hda_device_t."""
    device, serving, model = experiment.device, experiment.serving, experiment.model
    array, tree = device.core.systolic_array, device.core.mac_tree
    return {
        "frequency": device.frequency,
        "core_count": device.core_count,
        "array": (array.rows, array.cols, array.lanes),
        "tree": (tree.width, tree.lanes, tree.lanes_split) if tree else (0, 0, False),
        "vector_width": device.core.vector_unit.width,
        "local_memory": device.core.local_memory,
        "global_memory": device.global_memory,
        "global_bandwidth": device.global_bandwidth,
        "dram": _dram(device),
        "link_width": device.noc.link_width,
        "shared": device.noc.topology == "shared",
        "p2p_algorithm": layout.P2P_ALGORITHMS[serving.tp_algorithm],
        "device_count": serving.device_count,
        "p2p_bandwidth": device.p2p.bandwidth if device.p2p else 1.0,
        "dataflow": layout.DATAFLOWS_ON_CORES[device.dataflow],
        "launch_overhead": device.launch_overhead,
        "prefetch": device.prefetch,
        "activation_bytes": model.activation_bytes,
        "kv_bytes": model.kv_cache_bytes,
    }

