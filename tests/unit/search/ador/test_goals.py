"""Targets, area efficiency, and where area goes."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdasim.search.ador.estimate import Traffic, traffic, under_load
from hdasim.search.ador.goals import Goal, efficiency, goals, miss, shift, times
from hdasim.search.ador.network import infeasible_from, least, link_widths, slowdown

from .conftest import load
from .test_chip import PUBLISHED


def test_area_efficiency_is_that_of_the_paper() -> None:
    """ADOR on 516 mm2 against A100 on 826: TBT 2.36 times sooner is 3.778 (printed 3.78); 1.93 for TTFT is 1.206 times sooner."""
    found = efficiency((1 / 1.206, 1 / 2.36), (1.0, 1.0), 516, 826)
    assert found.tbt == pytest.approx(3.778, abs=5e-4)
    assert found.ttft == pytest.approx(1.9305, abs=5e-4)
    assert found.mean == pytest.approx((3.778 * 1.9305) ** 0.5, abs=1e-3)


@given(scale=st.floats(0.01, 100), area=st.floats(1, 1e4))
def test_the_reference_itself_has_an_efficiency_of_one(scale: float, area: float) -> None:
    assert efficiency((scale, 2 * scale), (scale, 2 * scale), area, area) == (1.0, 1.0)


def record(**changes: Any) -> dict[str, Any]:
    slo = {"met": False, "attainment": 0.8, "wanted_attainment": 0.9, "goals": [
        {"metric": "ttft", "statistic": "request", "limit_ms": 200.0, "value_ms": 250.0, "met": False},
        {"metric": "itl", "statistic": "p99", "limit_ms": 100.0, "value_ms": 50.0, "met": True},
        {"metric": "e2el", "statistic": "mean", "limit_ms": 100.0, "value_ms": None, "met": False}]}  # fmt: skip
    base = {"slo": slo, "request_throughput": 8.0, "dram_utilization": 0.7, "saturated": False, "mean_ttft_ms": 30.0,
            "mean_itl_ms": 10.0}  # fmt: skip
    return base | changes


def test_targets_of_users_and_vendor() -> None:
    spec = load("targets={request_throughput: 10, dram_utilization: 0.6}")
    found = {g.name: g for g in goals(record(), spec)}
    assert found["ttft"] == Goal("ttft", "user", 200.0, 250.0, False, 1.25)
    assert found["p99 itl"] == Goal("p99 itl", "user", 100.0, 50.0, True, 0.5)
    assert found["mean e2el"] == Goal("mean e2el", "user", 100.0, None, False, None)
    assert found["attainment"] == Goal("attainment", "user", 0.9, 0.8, False, pytest.approx(1.125))
    assert found["request_throughput"] == Goal("request_throughput", "vendor", 10.0, 8.0, False, 1.25)
    assert found["dram_utilization"].met
    assert found["keeps up with arrivals"].met
    count, far = miss(list(found.values()))
    assert count == 4
    assert far == pytest.approx(math.log(1.25 * 1.125 * 1.25))
    assert not {g.name: g for g in goals(record(saturated=True), spec)}["keeps up with arrivals"].met


def test_a_chip_that_cannot_run_misses_everything() -> None:
    found = goals({"error": "too small"}, load())
    assert {g.name for g in found} == {"p50 scheduling_delay", "p99 itl", "request_throughput", "dram_utilization",
                                       "keeps up with arrivals"}  # fmt: skip
    assert not any(g.met for g in found)
    assert times({"error": "too small"}, "mean") is None
    assert times(record(), "mean") == (30.0, 10.0)


USER, VENDOR = Goal("p99 itl", "user", 1, 2, False, 2.0), Goal("request_throughput", "vendor", 1, 2, False, 2.0)


@pytest.mark.parametrize(
    ("missed", "limits", "where", "words"),
    [
        ([VENDOR], {"sa": 0.6, "mt": 0.1, "dram": 0.3}, "array", "as ADOR has it"),
        ([USER], {"sa": 0.1, "mt": 0.6, "dram": 0.3}, "tree", "as ADOR has it"),
        ([USER], {"sa": 0.6, "mt": 0.1}, "array", "ADOR would give area to the MAC trees, but arrays limit 60%"),
        ([VENDOR], {"sa": 0.1, "mt": 0.6}, "tree", "ADOR would give area to the arrays"),
        ([USER, VENDOR], {"sa": 0.01, "mt": 0.0, "dram": 0.99}, "none", "the bottleneck is dram"),
        ([USER], {}, "none", "the bottleneck is nothing"),
    ],
)
def test_area_goes_where_the_bottleneck_is(missed: list[Goal], limits: dict[str, float], where: str, words: str) -> None:
    found, why = shift([*missed, Goal("met", "user", 1, 1, True, 1.0)], limits)
    assert found == where
    assert words in why
    assert all(g.name in why for g in missed)


def test_nothing_missed_moves_nothing() -> None:
    assert shift([Goal("met", "user", 1, 1, True, 1.0)], {"sa": 1.0}) == ("none", "all targets are met")


def test_widths_are_powers_of_two_up_to_the_limit() -> None:
    assert link_widths(128) == [8, 16, 32, 64, 128]
    assert link_widths(100) == [8, 16, 32, 64, 100]
    assert link_widths(4) == [4]


def test_the_least_value_that_hides_and_all_above_it_do() -> None:
    slow = {1.0: 0.5, 2.0: 0.001, 4.0: 0.2, 8.0: 0.01, 16.0: 0.0}
    assert least(list(slow), slow.__getitem__, 0.01) == 8.0  # 2 hides, but 4 does not
    assert least(list(slow), slow.__getitem__, 0.6) == 1.0
    assert least([1.0], slow.__getitem__, 0.01) is None
    assert slowdown({"seconds": {"a": 3.0, "b": 2.0}}, {"seconds": {"a": 2.0, "b": 2.0}}) == 0.5


def test_a_chip_that_exchanges_more_than_an_infeasible_one_is_infeasible() -> None:
    def like(**changes: Any) -> Any:
        return msgspec.structs.replace(PUBLISHED, **changes)

    assert infeasible_from([PUBLISHED], like(side=96, core_count=48, local_memory=1 << 20))
    assert not infeasible_from([PUBLISHED], like(side=96, core_count=24))
    assert not infeasible_from([PUBLISHED], like(side=32, core_count=64))
    assert not infeasible_from([PUBLISHED], like(local_memory=4 << 20))


def test_the_estimate_by_hand() -> None:
    """One request a second of 100 prompt and 10 output tokens; d(n) = 9 + n ms, 0.5 ms for each prompt token.

    TBT = (0.010 - 0.001) / (1 - 100 x 0.0005 - 10 x 0.001) = 0.009 / 0.94 = 9.574 ms, n = 0.0957: less than one sequence, so
    a step takes 10 ms. TTFT: one chunk, t = 10 + 50 = 60 ms, u = 0.06: 5 + 60 x (1 + 0.06 / 1.88) = 66.915 ms.
    """
    seconds = {"one": 0.010, "full": 0.073, "mixed": 0.041 + 0.0005 * 40}
    found = under_load(seconds, Traffic(1.0, 100.0, 10.0), most=64, budget=512, chunk=40)
    assert found == (pytest.approx(0.005 + 0.060 * (1 + 0.06 / 1.88)), pytest.approx(0.010))


@pytest.mark.parametrize("rate", [20.0, 100.0])  # prompts alone take all the time; tokens do
def test_what_is_too_much_is_overloaded(rate: float) -> None:
    seconds = {"one": 0.010, "full": 0.073, "mixed": 0.041 + 0.0005 * 40}
    assert under_load(seconds, Traffic(rate, 100.0, 10.0), 64, 512, 40) is None
    assert under_load(seconds, Traffic(None, 100.0, 10.0), 64, 512, 40) is None


def test_slots_that_do_not_suffice_are_an_overload() -> None:
    seconds = {"one": 0.010, "full": 0.010, "mixed": 0.010}
    assert under_load(seconds, Traffic(10.0, 1.0, 100.0), 11, 512, 40) is not None
    assert under_load(seconds, Traffic(10.0, 1.0, 100.0), 9, 512, 40) is None  # 10 x 100 x 0.010 = 10 sequences


def test_traffic_is_that_of_the_requests() -> None:
    found = traffic(load())
    assert found.rate == pytest.approx(10, rel=0.05)
    assert found.input_len == pytest.approx(536, rel=0.05)
    assert found.output_len == pytest.approx(350, rel=0.05)
    assert traffic(load("serving.data_parallel_size=2")).rate == pytest.approx(found.rate / 2 if found.rate else 0)
    assert traffic(load("workload.arrival={kind: concurrency, clients: 8}")).rate is None
    assert traffic(load("workload.arrival.request_rate=inf")).rate is None
