"""Closed-form kernels in bulk, and messages on the NoC."""

from typing import Any

import numpy as np
import pytest

from hdasim.core import _core
from hdasim.noc import cases
from hdasim.noc.topology import build, device_network
from hdasim.spec.hardware import Noc
from hdasim.spec.load import load_device

ROWS = 100_000
DIRECT = {"topology": "mesh8x8", "router_cfg": "R1", "packet_flits": "16", "chunk_flits": "16", "collective": "direct_ag"}


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
    network = device_network(load_device("ador"))
    messages, deps = _core.schedule("all_gather", "ring", network.order, 16)
    benchmark.extra_info.update(work=messages.size, unit="messages")
    benchmark(network.run, messages, deps)


def test_noc_direct_all_gather_on_8x8(benchmark: Any) -> None:
    """Under contention: flit by flit."""
    network, messages, deps = cases.schedule(cases.parse(DIRECT))
    benchmark.extra_info.update(work=network.bound(messages, deps)["flit_hops"], unit="flits over links")
    benchmark(network.run, messages, deps)


def test_topology_of_1024_cores(benchmark: Any) -> None:
    noc = Noc(topology="torus", columns=32)
    benchmark.extra_info.update(work=1024 * 1024, unit="routes")
    benchmark(build, noc, 1024)
