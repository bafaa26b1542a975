"""Queueing theory: with constant service the waits are those of M/D/1, request by request and in the mean."""

from typing import Any

import numpy as np
import pytest
from serving_twin import POLICIES, PROGRAM, Case

from hdasim.core import layout
from hdasim.core._core import Serve

#: Seconds of a step of one token of prompt, which brings the only token.
SERVICE = float(PROGRAM.step(np.array([1]), np.array([0]), 1)[0]["time"])


def waits(arrival: Any, replicas: int = 1) -> Any:
    """Scheduling delays in service times; each replica serves one request at a time, in one step."""
    one, count = np.ones(arrival.size, np.int64), 0
    case = Case([], [], [], 1, 1, 1, True)
    loop = Serve([case.instance() for _ in range(replicas)], layout.ROUTERS["round_robin"], arrival, one, one)
    while some := loop.run(1 << 16, keep_steps=False)[0]:
        count += some
    done = loop.requests()
    assert count == arrival.size and (done["state"] == layout.REQUEST_STATES.index("finished")).all()
    return (done["scheduled"] - done["arrival"]) / SERVICE


def lindley(arrival: Any) -> Any:
    """Lindley's recursion W' = max(0, W + service - pause), as a running minimum of its sums."""
    sums = np.concatenate([[0.0], np.cumsum(1 - np.diff(arrival) / SERVICE)])
    return sums - np.minimum.accumulate(sums)


def arrivals(load: float, count: int, seed: int) -> Any:
    """Of a Poisson process that offers this load."""
    return np.cumsum(np.random.default_rng(seed).exponential(SERVICE / load, count))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_million_at_once_are_served_in_turn(policy: str) -> None:
    """64 a step, in the order in which they came: request i starts with step i // 64."""
    one = np.ones(1_000_000, np.int64)
    case = Case([], [], [], 64, 64, 64, policy != "vllm_v0", policy=policy, caching=True)
    loop = Serve([case.instance()], 0, 0.0 * one, one, one)
    while loop.run(1 << 16, keep_steps=False)[0]:
        pass
    scheduled = loop.requests()["scheduled"]
    assert loop.totals()["steps"][0] == 1_000_000 // 64
    assert (np.diff(scheduled) >= 0).all()
    assert (np.diff(scheduled[::64]) > 0).all() and (scheduled[::64] == scheduled[63::64]).all()


@pytest.mark.parametrize("load", [0.3, 0.9, 1.1])
@pytest.mark.parametrize("replicas", [1, 3])
def test_each_wait_is_that_of_lindleys_recursion(load: float, replicas: int) -> None:
    """Behind round robin each of k replicas is a queue of its own, with every k-th arrival (Erlang-k pauses)."""
    arrival = arrivals(load * replicas, 30_000, 1)
    simulated = waits(arrival, replicas)
    for i in range(replicas):
        assert simulated[i::replicas] == pytest.approx(lindley(arrival[i::replicas]), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("load", "runs", "count"),
    [(0.3, 1, 400_000), (0.6, 1, 1_000_000), pytest.param(0.9, 8, 1_000_000, marks=pytest.mark.slow)],
)
def test_the_mean_wait_is_that_of_md1(load: float, runs: int, count: int) -> None:
    """rho / (2 mu (1 - rho)) (Pollaczek and Khinchine, deterministic service) within 2 %.

    Successive waits are correlated over (1 - rho)^-2 services, so that the mean of n of them has the variance V / n with a V
    far above that of one wait. Near saturation the wait is a reflected Brownian motion of drift m = (1 - rho) / rho and
    variance s2 = 1 / rho^2 per arrival (in service times), for which V = s2^3 / (2 m^4) = 1 / (2 rho^2 (1 - rho)^4): 6,170 at
    0.9. From 60 to 200 repetitions of Lindley's recursion: V = 4,010 at 0.9, 11.2 at 0.6, 0.42 at 0.3. Standard errors,
    relative to the mean wait of 4.5, 0.75 and 0.214 services:

        0.9: sqrt(4010 / 8e6) / 4.5 = 0.50 %    0.6: sqrt(11.2 / 1e6) / 0.75 = 0.45 %    0.3: sqrt(0.42 / 4e5) / 0.214 = 0.48 %

    That a run starts empty lowers its mean by a few hundred waits of a million.
    """
    mean = np.mean([waits(arrivals(load, count, seed)).mean() for seed in range(runs)])
    assert mean == pytest.approx(load / (2 * (1 - load)), rel=0.02)
