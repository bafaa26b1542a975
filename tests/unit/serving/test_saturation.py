"""Saturation on queues whose load is known: M/D/1 and M/M/1 by Lindley's recursion, bursts, even arrivals."""

import numpy as np
import pytest

from hdasim.core import layout
from hdasim.serving.requests import Floats, Requests
from hdasim.serving.saturation import Load, assess, growth

FINISHED = layout.REQUEST_STATES.index("finished")


def judged(arrival: Floats, service: Floats) -> Load:
    """The verdict on one server that serves in order of arrival: W(i+1) = max(0, W(i) + S(i) - gap(i)), Lindley 1952."""
    wait = np.zeros(len(arrival))
    for i, gap in enumerate(np.diff(arrival)):
        wait[i + 1] = max(0.0, wait[i] + service[i] - gap)
    outcomes = np.zeros(len(arrival), layout.REQUEST)
    outcomes["arrival"] = arrival
    outcomes["scheduled"] = arrival + wait
    outcomes["last_token"] = arrival + wait + service
    outcomes["state"] = FINISHED
    ones = np.ones(len(arrival), np.int64)
    return assess(Requests(arrival, ones, ones), outcomes)


def poisson(load: float, count: int, seed: int) -> Floats:
    gaps = np.random.default_rng(seed).exponential(1 / load, count)
    return np.cumsum(gaps) - gaps[0]


@pytest.mark.parametrize("count", [100, 500, 2000])
@pytest.mark.parametrize("load", [0.3, 0.9])
def test_a_stable_queue_is_steady_however_short_the_run(load: float, count: int) -> None:
    kinds = [judged(poisson(load, count, seed), np.ones(count)).kind for seed in range(50)]
    assert kinds == ["steady"] * 50


def test_at_load_1_1_the_queue_grows() -> None:
    # the drift of 0.1 x 3,000 requests is 4.5 times the root of 1.5 x 3,000 x 2/3 after the first quarter, the limit is 2.55
    verdicts = [judged(poisson(1.1, 4000, seed), np.ones(4000)) for seed in range(20)]
    assert [v.kind for v in verdicts] == ["saturated"] * 20
    # gaps scatter: the growth of one run is 0.1 +- 1.1 / sqrt(3000)
    assert np.mean([v.excess for v in verdicts]) == pytest.approx(0.1, abs=0.02)
    assert verdicts[0].reason == f"the scheduling delay grows by {verdicts[0].excess:.3g} s for every second of arrivals"


def test_a_heavy_overload_is_seen_in_short_runs() -> None:
    assert [judged(poisson(2.0, 100, seed), np.ones(100)).kind for seed in range(20)] == ["saturated"] * 20


def test_false_alarms_at_load_1_are_rare() -> None:
    """The worst case of the test, for constant and exponential service; 2 % by the derivation (the motion is reflected)."""
    rng = np.random.default_rng(1)
    kinds = [
        judged(poisson(1.0, 1000, seed), service).kind
        for seed in range(100)
        for service in (np.ones(1000), rng.exponential(1, 1000))
    ]
    assert kinds.count("saturated") <= 8


def test_growth_by_hand() -> None:
    # even arrivals, each 1 s apart, served in 1.25 s: W(i) = 0.25 i, so the wait grows by 0.25 s a second, without noise
    arrival = np.arange(100.0)
    assert growth(arrival, 0.25 * arrival) == (pytest.approx(0.25), np.inf)
    assert growth(arrival, np.full(100, 3.0)) == (0.0, 0.0)
    verdict = judged(arrival, np.full(100, 1.25))
    assert (verdict.kind, verdict.excess) == ("saturated", pytest.approx(0.25))
    # 0.5 % over capacity is not worth an alarm
    assert judged(arrival, np.full(100, 1.005)).kind == "steady"


def test_growth_with_noise_by_hand() -> None:
    # 40 requests, the first 10 left out: 6 blocks of 5 with means 0 1 0 1 0 4: changes 1 -1 1 -1 4 of mean 0.8 and variance
    # (0.04 + 3.24 + 0.04 + 3.24 + 10.24) / 4 = 4.2; standard error sqrt(1.5 x 5 x 4.2) = 5.612, t(0.99, 4) = 3.747
    seconds = np.concatenate([np.full(10, 9.0), np.repeat([0.0, 1.0, 0.0, 1.0, 0.0, 4.0], 5)])
    excess, ratio = growth(np.arange(40.0), seconds) or (0.0, 0.0)
    assert excess == pytest.approx(4 / 25)
    assert ratio == pytest.approx(4 / (5.6125 * 3.7469), rel=1e-4)


def test_all_at_once_is_offline_and_a_burst_that_drains_is_steady() -> None:
    assert judged(np.zeros(500), np.ones(500)).kind == "offline"
    burst = np.concatenate([np.zeros(300), np.arange(1, 301) * 2.0])  # then load 0.5: the queue drains
    assert judged(burst, np.ones(600)).kind == "steady"


def test_a_batch_that_grows_is_saturated_though_nobody_waits() -> None:
    """Processor sharing at an overload: scheduled at once, but the time in the system grows."""
    arrival = np.arange(400.0)
    outcomes = np.zeros(400, layout.REQUEST)
    outcomes["arrival"] = outcomes["scheduled"] = arrival
    outcomes["last_token"] = arrival + 5 + 0.2 * arrival
    outcomes["state"] = FINISHED
    verdict = assess(Requests(arrival, np.ones(400, np.int64), np.ones(400, np.int64)), outcomes)
    assert (verdict.kind, verdict.reason) == ("saturated", "the time in the system grows by 0.2 s for every second of arrivals")


@pytest.mark.parametrize("count", [0, 1, 2, 38])
def test_too_few_requests_are_undecided(count: int) -> None:
    verdict = judged(np.arange(float(count)), np.full(count, 3.0))
    assert (verdict.kind, verdict.excess) == ("undecided", None)
    assert f"({count};" in verdict.reason


def test_requests_that_were_never_scheduled_are_left_out() -> None:
    outcomes = np.zeros(100, layout.REQUEST)
    outcomes["arrival"], outcomes["scheduled"] = np.arange(100.0), -1.0
    requests = Requests(np.arange(100.0), np.ones(100, np.int64), np.ones(100, np.int64))
    assert assess(requests, outcomes).kind == "undecided"
