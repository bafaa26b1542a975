"""A GPU as the kernel models of the C core take it (csrc/gpu.h)."""

from typing import Any

import numpy as np

from ..core import layout
from ..errors import SpecError
from ..spec.hardware import Device
from ..spec.load import presets

_CONSTANTS = ("gemm", "attention", "experts", "vector")


def record(device: Device) -> np.ndarray:
    """The device as one item of `layout.GPU`; `SpecError` if it is no GPU."""
    gpu, array = device.gpu, device.core.systolic_array
    if gpu is None:
        raise SpecError(f"{device.name} is no GPU; give gpu: {{preset: GENERATION}}, or name a GPU", ("gpu",))
    macs = array.rows * array.cols * array.lanes
    result = np.zeros(1, layout.GPU)
    values: dict[str, Any] = {
        "sm_count": device.core_count,
        "clock": device.frequency,
        "macs": [macs, *(macs * getattr(gpu.rates, name) for name in ("fp8", "int8", "fp4"))],
        "lanes": device.core.vector_unit.width,
        "exps": gpu.exps,
        "registers": gpu.registers,
        "shared_memory": gpu.shared_memory,
        "l2_size": device.global_memory,
        "l2_bandwidth": device.global_bandwidth,
        "l2_latency": gpu.l2_latency,
        "dram_bandwidth": device.dram.bandwidth,
        "dram_latency": gpu.dram_latency,
        "launch": device.launch_overhead,
        "sustained": gpu.sustained,
    }
    for name, value in values.items():
        result[name] = value
    for name in _CONSTANTS:
        constants = getattr(gpu, name)
        for field in layout.GPU[name].names or ():
            result[name][field] = getattr(constants, field)
    return result


def borrowed(device: Device) -> str:
    """A line if the constants were fitted on another generation than the device's; else empty."""
    gpu = device.gpu
    if gpu is None or gpu.generation == gpu.fitted_on:
        return ""
    if gpu.generation in presets("generations"):
        return f"{device.name}: constants are those of {gpu.fitted_on}, although {gpu.generation} GPUs were measured"
    return f"{device.name}: no {gpu.generation} GPU was measured; constants are those of {gpu.fitted_on}, the nearest generation"
