"""The all-reduce that vLLM takes between the devices of a tensor-parallel group.

Below 8 MiB vLLM runs a kernel of its own, if there are two devices or NVLink joins them all, and each can read the others'
memory; else NCCL (vllm/distributed/device_communicators/custom_all_reduce.py, `should_custom_ar`). In one shot every device
reads all the others' vectors; from 512 KiB on 4 devices and 256 KiB on 8 it reads and sums its n-th part, then gathers the sums
(csrc/custom_all_reduce.cuh):

    one shot   ONE_SHOT + (n - 1) S / (READS B)          two shots   TWO_SHOTS + 2 (n - 1) / n S / (READS B)

Constants are set by hand on vLLM's kernel in CUDA graphs in collectives_aiconfigurator.csv of the reference data (A100, H100,
L40S, RTX PRO 6000; 2, 4, 8 devices): 256 bytes between two take 4.1 to 5.4 us; the rate from 256 KiB to 2 MiB is 0.58 to 0.73 of
the data sheet's, on RTX PRO 6000 0.64. At 2 MiB between two of these it gives 57 us; measured are 55.7, with NCCL 72.0. Some
servers deny that access: both are slower there (158 us), which is not modelled.
"""

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from ..spec.hardware import P2P
from .collectives import collective_seconds

ONE_SHOT, TWO_SHOTS, READS = 4.5e-6, 6e-6, 0.62
#: Bytes from which NCCL takes over.
LARGEST = 8 * 2**20


def all_reduce_seconds(p2p: P2P, devices: int, size: ArrayLike) -> npt.NDArray[np.float64]:
    """Seconds of an all-reduce of vectors of `size` bytes among `devices`, at least two, as vLLM does it."""
    s = np.asarray(size, np.float64)
    nccl = collective_seconds(p2p, "all_reduce", devices, s)
    if p2p.kind is None or devices > 8 or not (devices == 2 or p2p.kind == "nvlink"):
        return nccl
    rate = p2p.bandwidth * READS
    one = ONE_SHOT + (devices - 1) * s / rate
    two = TWO_SHOTS + 2 * (devices - 1) / devices * s / rate
    at_once = (devices == 2) | (s < (512 if devices <= 4 else 256) * 1024)
    result: npt.NDArray[np.float64] = np.where(s >= LARGEST, nccl, np.where(at_once, one, two))
    return result
