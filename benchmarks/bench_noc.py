"""Schedules on the network on chip: work per second, and the ratio to BookSim 2's CPU time for the same schedule.

BookSim's times are those of the reference data (noc README 6, one core of a shared cloud machine, -O2): 0.98 s for the direct
and 0.14 s for the ring all-gather on 8 x 8. It is not run here.
"""

import time
from typing import Any

import pytest

from hdasim.core._core import Network
from hdasim.noc.collectives import schedule
from hdasim.noc.names import parse, topology
from hdasim.noc.topology import network

BOOKSIM_SECONDS = {"direct_ag": 0.98, "ring_ag_ham": 0.14}


def timed(benchmark: Any, name: str, collective: str, chunk: int, mode: str = "") -> tuple[Network, Any, Any]:
    noc = network(parse(name)[0], topology(name))
    messages, deps = schedule(collective, name, chunk)
    hops = noc.bound(messages, deps)["packet_hops"]
    benchmark.extra_info.update(work=hops, unit="packet-hops")
    benchmark(noc.run, messages, deps, mode)
    return noc, messages, deps


@pytest.mark.parametrize("collective", ["direct_ag", "ring_ag_ham"])
def test_mesh8x8(benchmark: Any, collective: str) -> None:
    """8 x 8, chunks of 16 flits. The direct one has messages that wait for each other and is simulated flit by flit."""
    noc, messages, deps = timed(benchmark, "mesh8x8", collective, 16)
    best = min(_cpu_seconds(noc, messages, deps) for _ in range(20))
    seconds = BOOKSIM_SECONDS[collective]
    benchmark.extra_info.update(times=seconds / best, ratio=f"CPU time; BookSim 2 {seconds} s, here {best * 1e3:.2f} ms")


def test_mesh12x13_two_d(benchmark: Any) -> None:
    """12 x 13, 2-D all-gather with chunks of 64 flits: under 50 ms."""
    timed(benchmark, "mesh12x13", "twod_ag", 64)


def test_mesh12x13_direct(benchmark: Any) -> None:
    timed(benchmark, "mesh12x13", "direct_ag", 16)


def _cpu_seconds(noc: Network, messages: Any, deps: Any) -> float:
    start = time.process_time()
    noc.run(messages, deps)
    return time.process_time() - start
