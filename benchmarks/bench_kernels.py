"""Closed-form kernels in bulk, and messages on the NoC."""

from typing import Any

import numpy as np
import pytest

from hdasim.core import _core
from hdasim.device.noc import network
from hdasim.spec.load import load_device

ROWS = 100_000


@pytest.fixture(scope="module")
def gemms() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 16384, (ROWS, 3))


def test_systolic_array(benchmark: Any, gemms: np.ndarray) -> None:
    benchmark.extra_info.update(work=ROWS, unit="GEMMs")
    benchmark(_core.sa_gemm_cycles, gemms, 64, 64, 1)


def test_mac_tree(benchmark: Any, gemms: np.ndarray) -> None:
    benchmark.extra_info.update(work=ROWS, unit="GEMMs")
    benchmark(_core.mt_gemm_cycles, gemms, 16, 16, True)


def test_noc_ring_all_gather_on_ador(benchmark: Any) -> None:
    noc = network(load_device("ador"))
    messages = noc.schedule("folded_all_gather", 1, 32, 16)
    benchmark.extra_info.update(work=messages.size, unit="messages")
    benchmark(noc.run, messages)
