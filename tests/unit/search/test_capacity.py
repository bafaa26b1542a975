"""The search for a capacity on queues whose capacity is known in closed form, and on the simulator itself."""

import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hdasim
from hdasim.report.capacity import answer
from hdasim.search import capacity
from hdasim.search.bisection import Bracket, highest
from hdasim.search.capacity import Found, Point, Runs, Settings, document, interval, search

SAMPLE = Path(__file__).resolve().parents[2] / "cli" / "sample.yaml"
SEEDS = (0, 1, 2)


@given(limit=st.floats(0.02, 90), start=st.floats(0.01, 100), tolerance=st.floats(1e-3, 0.5))
def test_the_bracket_holds_the_limit_to_the_tolerance(limit: float, start: float, tolerance: float) -> None:
    tried: list[float] = []

    def passes(value: float) -> bool:
        tried.append(value)
        return value <= limit

    found = highest(passes, start, 0.01, 100, tolerance)
    assert found.passed is not None
    assert found.failed is not None
    assert found.passed <= limit < found.failed <= (1 + tolerance) * found.passed * (1 + 1e-12)
    assert len(tried) == len(set(tried))
    assert min(tried) >= 0.01
    assert max(tried) <= 100


def test_ends_of_a_search() -> None:
    assert highest(lambda _: True, 3, 1, 10, 0.1) == Bracket(10, None)
    assert highest(lambda _: False, 3, 1, 10, 0.1) == Bracket(None, 1)
    assert highest(lambda value: value <= 1, 3, 1, 10, 0.1).passed == 1


def test_steps_by_hand() -> None:
    tried: list[float] = []
    # 8 passes; x 1.25: 10 passes; x 1.5625: 15.625 fails; sqrt(10 x 15.625) = 12.5 fails; sqrt(10 x 12.5) = 11.18 passes;
    # 12.5 / 11.18 = 1.118 <= 1.15
    found = highest(lambda value: (tried.append(value), value <= 12)[1], 8, 1, 100, 0.15)  # type: ignore[func-returns-value]
    assert tried == pytest.approx([8, 10, 15.625, 12.5, math.sqrt(125)])
    assert found == Bracket(pytest.approx(math.sqrt(125)), pytest.approx(12.5))


def test_the_interval_by_hand() -> None:
    # standard deviation 1, so 1 / sqrt(3) x t(0.975, 2) = 0.57735 x 4.30265
    assert interval([9.0, 10.0, 11.0]) == (10.0, pytest.approx(2.48414, abs=1e-5))
    assert interval([4.0]) == (4.0, None)


def queue_summary(rate: float, limit_ms: float, speed: float = 1.0) -> dict[str, Any]:
    """A run on an M/D/1 queue with a service time of 0.1 s / `speed`: mean wait S rho / (2 (1 - rho)) (Pollaczek, Khinchine)."""
    service = 0.1 / speed
    load = rate * service
    wait = math.inf if load >= 1 else service * load / (2 * (1 - load))
    value = wait * 1e3 if math.isfinite(wait) else None
    met = value is not None and value <= limit_ms
    goal = {"metric": "scheduling_delay", "statistic": "mean", "limit_ms": limit_ms, "value_ms": value, "met": met}
    names = [f"{s}_{m}_ms" for s in ("p50", "p99") for m in ("scheduling_delay", "ttft", "tpot", "itl")]
    return {
        **dict.fromkeys(names, value), "request_throughput": min(rate, 1 / service), "output_throughput": 1.0,
        "saturated": False, "saturation": {"kind": "steady", "excess": 0.0, "reason": ""},
        "slo": {"met": met, "goals": [goal], "attainment": None, "wanted_attainment": None},
        "device": {"busy": min(load, 1.0), "systolic_array": None, "mac_tree": None, "dram": None},
        "occupancy": {"mean_running": load, "mean_kv_cache": 0.0}, "bottleneck": {"dram": 1.0},
    }  # fmt: skip


def queue(limit_ms: float, calls: list[tuple[float, int, int]] | None = None) -> capacity.Evaluate:
    """Seeds differ in speed: 1, 1.1, 1.2."""

    def evaluate(rate: float, seed: int, num_prompts: int) -> Point:
        if calls is not None:
            calls.append((rate, seed, num_prompts))
        return capacity.judged(queue_summary(rate, limit_ms, 1 + 0.1 * seed), rate, seed, num_prompts, False)

    return evaluate


def settings(**changes: Any) -> Settings:
    return Settings(**{"seeds": SEEDS, "num_prompts": 100, "tolerance": 0.02, **changes})


def test_the_capacity_of_a_queue_is_that_of_its_closed_form() -> None:
    # a mean wait of 100 ms with S = 100 ms: rho / (2 (1 - rho)) = 1, rho = 2/3, 6.667 requests/s; with S = 100 / v ms:
    # rho / (1 - rho) = 2 v, so the rate is 10 v x 2 v / (1 + 2 v): 6.667, 7.5625, 8.471
    exact = [10 * v * 2 * v / (1 + 2 * v) for v in (1.0, 1.1, 1.2)]
    found = document(search(Runs(queue(100)), settings()))
    assert found["status"] == "found"
    for seed, rate in zip(found["seeds"], exact, strict=True):
        assert seed["passed"] <= rate < seed["failed"] <= 1.02 * seed["passed"]
        assert seed["limit_above"] == "mean scheduling_delay"
    assert found["capacity"] == pytest.approx(np.mean(exact), rel=0.02)
    assert found["capacity"] == pytest.approx(np.mean([s["passed"] for s in found["seeds"]]))
    assert found["half_width"] == pytest.approx(interval([s["passed"] for s in found["seeds"]])[1])
    assert found["longer_run"] == {"share": 0.95, "passed": 3, "seeds": 3}
    finer = document(search(Runs(queue(100)), settings(tolerance=1e-4)))
    assert finer["capacity"] == pytest.approx(np.mean(exact), rel=1e-4)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    one = document(search(Runs(queue(100)), settings(curve=True)))
    assert document(search(Runs(queue(100)), settings(curve=True, workers=workers))) == one


def test_no_rate_meets_the_goals() -> None:
    # at 1/256 of the load the wait is 0.1 / 256 / 2 / (1 - 1/256) s = 0.196 ms
    found = document(search(Runs(queue(0.001)), settings(seeds=(0,))))
    assert (found["status"], found["capacity"]) == ("none", None)
    assert answer(found) == (
        "no rate meets the service levels: even at 0.0391 req/s mean scheduling delay is 196 us, 196 times its limit of 1 us"
    )


def test_bounds_of_the_rate() -> None:
    capped = document(search(Runs(queue(100)), settings(seeds=(0,), most=5.0)))
    assert (capped["status"], capped["capacity"]) == ("at_least", 5.0)
    assert "at least 5 req/s" in answer(capped)
    assert document(search(Runs(queue(100)), settings(seeds=(0,), least=8.0)))["status"] == "none"


def test_goals_that_hold_all_at_once_leave_the_throughput() -> None:
    def evaluate(rate: float, seed: int, num_prompts: int) -> Point:
        return capacity.judged(queue_summary(min(rate, 9.0), 1e6), rate, seed, num_prompts, False)

    found = document(search(Runs(evaluate), settings()))
    assert (found["status"], found["capacity"], len(found["points"])) == ("unlimited", 9.0, 3)
    assert "even with all requests at once" in answer(found)


def test_a_growing_queue_fails_unless_only_goals_count() -> None:
    summary = queue_summary(1.0, 100) | {"saturated": True}
    strict, lenient = (capacity.judged(summary, 1.0, 0, 10, goals_only) for goals_only in (False, True))
    assert (strict.passed, strict.limit, strict.ratio) == (False, "saturation", None)
    assert (lenient.passed, lenient.limit) == (True, "mean scheduling_delay")


def test_the_attainment_is_a_limit() -> None:
    summary = queue_summary(1.0, 100)
    goal = {"metric": "ttft", "statistic": "request", "limit_ms": 10.0, "value_ms": 12.0, "met": False, "attainment": 0.8}
    summary["slo"] = {"met": False, "attainment": 0.8, "wanted_attainment": 0.9, "goals": [goal]}
    point = capacity.judged(summary, 1.0, 0, 10, False)
    # 20 % are outside, 10 % may be
    assert (point.passed, point.limit, point.ratio) == (False, "attainment", pytest.approx(2.0))


def test_nothing_is_evaluated_twice_also_when_resumed() -> None:
    calls: list[tuple[float, int, int]] = []
    whole = search(Runs(queue(100, calls)), settings(curve=True))
    assert len(calls) == len(set(calls)) == len(whole.points)
    again: list[tuple[float, int, int]] = []
    assert document(search(Runs(queue(100, again), whole.points), settings(curve=True))) == document(whole)
    assert again == []
    half = whole.points[::2]
    search(Runs(queue(100, again), half), settings(curve=True))
    assert len(again) == len(whole.points) - len(half)
    assert not set(again) & {(p.rate, p.seed, p.num_prompts) for p in half}


def test_an_interrupt_keeps_what_is_known() -> None:
    stop = threading.Event()
    seen: list[Point] = []

    def report(point: Point, done: list[Point]) -> None:
        seen.append(point)
        if len(seen) == 12:
            stop.set()

    found = document(search(Runs(queue(100), (), report, stop), settings()))
    assert (found["status"], found["interrupted"], len(found["points"])) == ("interrupted", True, 12)
    assert answer(found).startswith("interrupted before the capacity was known; so far ")
    assert " req/s passes and " in answer(found)


def test_the_curve_covers_low_load_to_beyond_the_capacity() -> None:
    found = document(search(Runs(queue(100)), settings(curve=True)))
    rates = [row["rate"] / found["capacity"] for row in found["curve"]]
    assert rates == pytest.approx(capacity.CURVE)
    waits = [row["summary"]["p50_scheduling_delay_ms"] for row in found["curve"]]
    assert waits[:9] == sorted(waits[:9])
    assert found["curve"][0]["passed"] == 1
    assert found["curve"][-1]["passed"] == 0


def test_averages_over_seeds() -> None:
    a = {"x": 1, "y": {"z": 2.0}, "flag": True, "none": 3.0, "list": [{"v": 1.0}], "text": "a"}
    b = {"x": 2, "y": {"z": 4.0}, "flag": False, "none": None, "list": [{"v": 3.0}], "text": "b"}
    points = [Point(rate=1, seed=i, num_prompts=1, passed=True, limit="", ratio=None, summary=s) for i, s in enumerate((a, b))]
    assert capacity.averaged(points) == {
        "x": 1.5, "y": {"z": 3.0}, "flag": 0.5, "none": None, "list": [{"v": 2.0}], "text": None,
    }  # fmt: skip
    assert capacity.averaged([]) is None


def test_an_empty_search_is_interrupted() -> None:
    assert Found(settings()).status == "interrupted"


# ---- on the simulator ----

FEW = ["workload.lengths={kind: fixed, input_len: 64, output_len: 8}", "workload.num_prompts=200"]


def simulated(slo: str, *more: str) -> capacity.Evaluate:
    return capacity.simulator(hdasim.load(SAMPLE, [*FEW, f"slo={slo}", *more]), False, threading.Event())


def test_rates_of_one_seed_have_the_same_requests() -> None:
    evaluate = simulated("{tpot: {p99: 50 ms}}")
    slow, fast = evaluate(1.0, 3, 200), evaluate(2.0, 3, 200)
    # the last of 200 arrives in half the time; its service is short
    assert slow.summary["duration"] == pytest.approx(2 * fast.summary["duration"], rel=0.01)
    other = evaluate(1.0, 4, 200)
    assert other.summary["duration"] != slow.summary["duration"]


def test_a_trace_is_moved_together(tmp_path: Path) -> None:
    rows = "".join(f"{i},64,8\n" for i in range(100))
    (tmp_path / "t.csv").write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + rows, encoding="utf-8")
    trace = f"workload={{arrival: {{kind: trace, path: '{tmp_path / 't.csv'}'}}}}"
    evaluate = capacity.simulator(hdasim.load(SAMPLE, [trace, "slo={tpot: {p99: 50 ms}}"]), False, threading.Event())
    # the rate of a trace is its requests / the time from the first to the last (`trace describe`)
    assert evaluate(1.0, 0, 100).summary["duration"] == pytest.approx(100, rel=0.01)
    assert evaluate(10.0, 0, 100).summary["duration"] == pytest.approx(10, rel=0.02)


def test_an_experiment_without_goals_is_refused() -> None:
    with pytest.raises(hdasim.SpecError, match="slo: no goals to search a capacity for; set slo, such as"):
        simulated("{}")


def test_points_survive_json() -> None:
    import msgspec

    point = simulated("{tpot: {p99: 50 ms}}")(5.0, 0, 60)
    text = msgspec.json.encode(point)
    assert msgspec.json.decode(text, type=Point) == point
    assert json.loads(text)["passed"] is True
