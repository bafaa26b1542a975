"""Metrics by their definitions: TTFT, TPOT, ITL, E2EL and goodput of a case done by hand."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

import hdasim
from hdasim.core import layout
from hdasim.metrics import PERCENTILES, against_slo, good_requests, request_times
from hdasim.serving.engine import Served
from hdasim.serving.gaps import Gaps
from hdasim.serving.requests import Requests
from hdasim.spec.slo import SLO, Limits, Percentiles

SAMPLE = Path(__file__).resolve().parents[1] / "cli" / "sample.yaml"


FINISHED, RUNNING, WAITING, REJECTED = (layout.REQUEST_STATES.index(s) for s in ("finished", "running", "waiting", "rejected"))


@pytest.fixture
def served() -> Served:
    """Five requests: five tokens, one token, unfinished, rejected, never begun.

    ======= ======= ===== ==== ======
    arrival  first   last  out  state
    ======= ======= ===== ==== ======
    0.0      1.0     3.0   5    finished: TTFT 1.0, TPOT (3.0 - 1.0) / 4 = 0.5, E2EL 3.0
    1.0      1.5     1.5   1    finished: TTFT 0.5, no TPOT, E2EL 0.5
    2.0      2.5     -     9    running: TTFT 0.5
    2.0      -       -     2    rejected
    3.0      -       -     2    waiting
    ======= ======= ===== ==== ======
    """
    requests = Requests(np.array([0.0, 1.0, 2.0, 2.0, 3.0]), np.array([10, 20, 30, 40, 50]), np.array([5, 1, 9, 2, 2]))
    outcomes = np.zeros(5, layout.REQUEST)
    outcomes["arrival"], outcomes["scheduled"] = requests.arrival_s, [0.5, 1.0, 2.5, -1.0, -1.0]
    outcomes["first_token"] = [1.0, 1.5, 2.5, -1.0, -1.0]
    outcomes["last_token"] = [3.0, 1.5, 2.5, -1.0, -1.0]
    outcomes["generated"] = [5, 1, 1, 0, 0]
    outcomes["state"] = [FINISHED, FINISHED, RUNNING, REJECTED, WAITING]
    totals = np.zeros(1, layout.TOTALS)
    return Served(requests, outcomes, Gaps(), totals, [], np.zeros(1, np.int64), [np.zeros(1)], True)


def test_times_by_hand(served: Served) -> None:
    times = request_times(served)
    np.testing.assert_equal(times["ttft"], [1.0, 0.5, 0.5, math.nan, math.nan])
    np.testing.assert_equal(times["tpot"], [0.5, math.nan, math.nan, math.nan, math.nan])
    np.testing.assert_equal(times["e2el"], [3.0, 0.5, math.nan, math.nan, math.nan])
    np.testing.assert_equal(times["scheduling_delay"], [0.5, 0.0, 0.5, math.nan, math.nan])


@pytest.mark.parametrize(
    ("slo", "good"),
    [
        (SLO(), [True, True, False, False, False]),
        (SLO(ttft=0.6), [False, True, False, False, False]),
        (SLO(ttft=1.0), [True, True, False, False, False]),  # met exactly
        (SLO(tpot=0.4), [False, True, False, False, False]),  # one output token counts as a TPOT of 0
        (SLO(tpot=0.5), [True, True, False, False, False]),
        (SLO(e2el=0.4), [False, False, False, False, False]),
        (SLO(ttft=0.6, tpot=1e-9, e2el=0.5), [False, True, False, False, False]),
    ],
)
def test_goodput_by_hand(served: Served, slo: SLO, good: list[bool]) -> None:
    assert good_requests(served, slo).tolist() == good


def test_goals_of_a_run_by_hand(served: Served) -> None:
    slo = SLO(ttft=Limits(p50=0.8, p75=0.75, mean=0.7), scheduling_delay=Limits(p50=0.5, p99=0.49))
    report = against_slo(served, slo)
    assert report is not None
    # The rejected request counts as endless. TTFT 0.5 0.5 1.0 inf: the rank of p50 is 1.5 -> 0.5 + 0.5 x 0.5, of p75 2.25,
    # towards inf, as is the mean; delays 0 0.5 0.5 inf: p50 0.5
    found = {(g["metric"], g["statistic"]): (g["limit_ms"], g["value_ms"], g["met"]) for g in report["goals"]}
    assert found == {
        ("scheduling_delay", "p50"): (500, pytest.approx(500), True),
        ("scheduling_delay", "p99"): (490, None, False), ("ttft", "mean"): (700, None, False),
        ("ttft", "p50"): (800, pytest.approx(750), True), ("ttft", "p75"): (750, None, False),
    }  # fmt: skip
    assert (report["met"], report["attainment"], report["wanted_attainment"]) == (False, None, None)


def test_goals_of_each_request_by_hand(served: Served) -> None:
    report = against_slo(served, SLO(ttft=0.6, attainment=0.4))
    assert report is not None
    # TTFT 1.0 0.5 0.5, rejected, waiting: 2 of 5 within 0.6 s, and 40 % of them are the first 2 of 0.5 0.5 1.0 inf inf
    assert report["goals"] == [
        {"metric": "ttft", "statistic": "request", "limit_ms": 600, "value_ms": 500, "met": True, "attainment": 0.4}
    ]
    # but one of those two has not finished, so 1 of 5 requests is good
    assert (report["met"], report["attainment"], report["wanted_attainment"]) == (False, 0.2, 0.4)
    above = against_slo(served, SLO(ttft=0.6, attainment=0.6))
    assert above is not None
    assert (above["goals"][0]["value_ms"], above["goals"][0]["met"]) == (1000, False)
    most = against_slo(served, SLO(ttft=0.6, attainment=0.9))
    assert most is not None
    assert most["goals"][0]["value_ms"] is None  # the fifth of five never got a token


def test_pooled_gaps_have_percentiles(served: Served) -> None:
    gaps = Gaps()
    gaps.append(np.array([(0.3, 1), (0.1, 3)], layout.GAP))  # not in order: 0.1 0.1 0.1 0.3
    report = against_slo(dataclasses.replace(served, itl=gaps), SLO(itl=Percentiles(p90=0.25, mean=0.1)))
    assert report is not None
    # the rank of p90 is 2.7: 0.1 + 0.7 x 0.2 = 0.24; the mean is 0.6 / 4 = 0.15
    assert [(g["value_ms"], g["met"]) for g in report["goals"]] == [(pytest.approx(150), False), (pytest.approx(240), True)]


def test_no_goals_have_no_report_and_nothing_measured_is_met_if_requests_finished(served: Served) -> None:
    assert against_slo(served, SLO()) is None
    report = against_slo(served, SLO(itl=Percentiles(p99=0.1)))
    assert report is not None
    assert (report["met"], report["goals"][0]["value_ms"]) == (True, None)
    nobody = served.outcomes.copy()
    nobody["state"] = WAITING
    report = against_slo(dataclasses.replace(served, outcomes=nobody), SLO(itl=Percentiles(p99=0.1)))
    assert report is not None
    assert not report["met"]


@pytest.fixture(scope="module")
def result() -> hdasim.Result:
    return hdasim.simulate(hdasim.load(SAMPLE, ["workload.num_prompts=40", "slo={tpot: 20 ms}"]))


def test_the_summary_agrees_with_the_rows(result: hdasim.Result) -> None:
    s, times = result.summary, request_times(result.served)
    assert (s["completed"], s["rejected"], s["unfinished"]) == (40, 0, 0)
    for name, seconds in times.items():
        assert s[f"mean_{name}_ms"] == pytest.approx(1e3 * seconds.mean())
        assert s[f"std_{name}_ms"] == pytest.approx(1e3 * seconds.std())
        assert s[f"median_{name}_ms"] == s[f"p50_{name}_ms"]
        for p in PERCENTILES:
            assert s[f"p{p}_{name}_ms"] == pytest.approx(1e3 * np.percentile(seconds, p))
    assert s["total_input_tokens"] == 40 * 1024
    assert s["total_output_tokens"] == 40 * 256
    assert s["output_throughput"] == pytest.approx(40 * 256 / s["duration"])
    assert s["total_token_throughput"] == pytest.approx(40 * 1280 / s["duration"])
    assert s["request_goodput"] == pytest.approx((times["tpot"] <= 0.02).sum() / s["duration"])


def test_gaps_between_tokens_are_pooled(result: hdasim.Result) -> None:
    gaps = result.served.gaps
    assert gaps["count"].sum() == 40 * 255
    times = request_times(result.served)
    assert (gaps["seconds"] * gaps["count"]).sum() == pytest.approx((times["e2el"] - times["ttft"]).sum())
    # with equal lengths the mean over tokens is the mean over requests
    assert result.summary["mean_itl_ms"] == pytest.approx(result.summary["mean_tpot_ms"])


def test_one_output_token_leaves_no_tpot() -> None:
    e = hdasim.load(SAMPLE, ["workload.num_prompts=5", "workload.lengths.output_len=1", "slo={tpot: 1 ns}"])
    s = hdasim.simulate(e).summary
    assert (s["completed"], s["mean_tpot_ms"], s["p99_itl_ms"], s["total_output_tokens"]) == (5, None, None, 5)
    assert s["request_goodput"] == s["request_throughput"] > 0
    assert s["mean_ttft_ms"] == s["mean_e2el_ms"]


def test_without_goals_there_is_no_goodput() -> None:
    s = hdasim.simulate(hdasim.load(SAMPLE, ["workload.num_prompts=2", "slo={}"])).summary
    assert s["request_goodput"] is None
