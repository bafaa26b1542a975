"""Workload types: what converts, what is refused, and how the refusal reads."""

import math
from typing import Any

import msgspec
import pytest

from hdasim.spec.workload import (
    FixedArrival,
    FixedLengths,
    GammaArrival,
    LognormalLengths,
    PoissonArrival,
    QuantileLengths,
    RampArrival,
    TraceArrival,
    Workload,
)

FIXED = {"kind": "fixed", "input_len": 1024, "output_len": 256}
POISSON = {"kind": "poisson", "request_rate": 10.0}
TRACE = {"kind": "trace", "path": "a.csv"}
LOGNORMAL = {"kind": "lognormal", "input_mean": 1000.0, "input_cv": 1.0, "output_mean": 200.0, "output_cv": 0.5}


def convert(**changes: Any) -> Workload:
    document: dict[str, Any] = {"arrival": POISSON, "lengths": FIXED, "num_prompts": 10} | changes
    return msgspec.convert({key: value for key, value in document.items() if value is not None}, Workload)


def quantiles(points: list[list[float]]) -> dict[str, Any]:
    return {"kind": "quantiles", "input": points, "output": [[0, 1], [1, 10]]}


@pytest.mark.parametrize(
    ("arrival", "expected"),
    [
        (POISSON, PoissonArrival(request_rate=10.0)),
        ({"kind": "poisson", "request_rate": math.inf}, PoissonArrival(request_rate=math.inf)),
        ({"kind": "gamma", "request_rate": 2.0}, GammaArrival(request_rate=2.0, burstiness=1.0)),
        ({"kind": "gamma", "request_rate": 2, "burstiness": 0.5}, GammaArrival(request_rate=2.0, burstiness=0.5)),
        ({"kind": "fixed", "request_rate": 4.0}, FixedArrival(request_rate=4.0)),
        (TRACE, TraceArrival(path="a.csv")),
        (TRACE | {"speed": 2.0}, TraceArrival(path="a.csv", speed=2.0)),
        (TRACE | {"request_rate": math.inf}, TraceArrival(path="a.csv", request_rate=math.inf)),
        ({"kind": "ramp", "rates": [[0, 2], [9.5, 3]]}, RampArrival(rates=((0, 2), (9.5, 3)))),
    ],
)
def test_arrival_kinds(arrival: dict[str, Any], expected: object) -> None:
    assert convert(arrival=arrival).arrival == expected


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        (FIXED, FixedLengths(input_len=1024, output_len=256)),
        (LOGNORMAL, LognormalLengths(input_mean=1000.0, input_cv=1.0, output_mean=200.0, output_cv=0.5)),
        (quantiles([[0, 1], [0.5, 7], [1, 7]]), QuantileLengths(input=((0, 1), (0.5, 7), (1, 7)), output=((0, 1), (1, 10)))),
    ],
)
def test_length_kinds(lengths: dict[str, Any], expected: object) -> None:
    assert convert(lengths=lengths).lengths == expected


def test_a_workload_hashes_and_survives_a_round_trip() -> None:
    workload = convert(lengths=quantiles([[0, 1], [0.5, 7], [1, 70]]))
    again = msgspec.convert(msgspec.to_builtins(workload), Workload)
    assert again == workload
    assert hash(again) == hash(workload)


def test_the_mean_rate_of_a_ramp_by_hand() -> None:
    # (1 + 3) / 2 * 10 + 0 + 5 * 10 = 70 in 20 s; the jump at 10 s has no area
    assert RampArrival(rates=((0, 1), (10, 3), (10, 5), (20, 5), (20, 9))).mean == 3.5
    assert RampArrival(rates=((0, 4),)).mean == 4


def test_json_schema_can_be_made() -> None:
    assert "Workload" in msgspec.json.schema(Workload)["$defs"]


def test_trace_needs_neither_lengths_nor_count() -> None:
    assert convert(arrival=TRACE, lengths=None, num_prompts=None).num_prompts is None
    assert convert(arrival=TRACE, num_prompts=5).lengths == FixedLengths(input_len=1024, output_len=256)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": None}, "generated arrivals need lengths"),
        ({"num_prompts": None}, "generated arrivals need num_prompts"),
        ({"lengths": None, "num_prompts": None}, "need lengths and num_prompts"),
        ({"num_prompts": 0}, ">= 1 - at `$.num_prompts`"),
        ({"arrival": {"kind": "poisson", "request_rate": 0.0}}, "> 0"),
        ({"arrival": {"kind": "poisson", "request_rate": math.nan}}, "> 0"),
        ({"arrival": {"kind": "gamma", "request_rate": 1.0, "burstiness": 0.0}}, "> 0"),
        ({"arrival": {"kind": "gamma", "request_rate": 1.0, "burstiness": math.inf}}, "burstiness must be finite"),
        ({"arrival": {"kind": "pareto", "request_rate": 1.0}}, "'pareto' - at `$.arrival.kind`"),
        ({"arrival": {"kind": "poisson", "request_rate": 1.0, "burst": 1}}, "unknown field `burst`"),
        ({"arrival": {"kind": "trace", "path": ""}}, "length >= 1"),
        ({"arrival": TRACE | {"speed": 1.0, "request_rate": 1.0}}, "speed: give either speed or request_rate, not both"),
        ({"arrival": TRACE | {"speed": 0.0}}, "> 0"),
        ({"arrival": TRACE, "sessions": {"turns": 2}}, "sessions: only for generated arrivals; a trace brings its own prompts"),
        ({"arrival": TRACE, "shared_prefix": {"tokens": 2}}, "shared_prefix: only for generated arrivals"),
        ({"arrival": {"kind": "ramp", "rates": []}}, "length >= 1"),
        ({"arrival": {"kind": "ramp", "rates": [[1, 2]]}}, "rates: the first point must be at 0 s, got 1"),
        ({"arrival": {"kind": "ramp", "rates": [[0, 2], [5, 1], [4, 1]]}}, "rates: times must not fall, got 4 after 5"),
        ({"arrival": {"kind": "ramp", "rates": [[0, 0], [5, 0]]}}, "rates: all are 0; give one above 0"),
        ({"arrival": {"kind": "ramp", "rates": [[0, -1]]}}, ">= 0"),
        ({"arrival": {"kind": "ramp", "rates": [[0, 1]], "burstiness": math.inf}}, "burstiness must be finite"),
        ({"arrival": {"kind": "ramp", "rates": [[0, 0], [5, 0], [5, 1]], "request_rate": 1}}, "the rates are 0 until the last"),
        ({"sessions": {"turns": 0.5}}, ">= 1"),
        ({"sessions": {"turns": 2.5, "turn_distribution": "fixed"}}, "turns: must be a whole number where turn_dist"),
        ({"sessions": {"turns": 2, "think_time": -1.0}}, ">= 0"),
        ({"shared_prefix": {"tokens": 0}}, ">= 1"),
        ({"shared_prefix": {"tokens": 1, "groups": 0}}, ">= 1"),
        ({"lengths": quantiles([[0, 1], [1, 7]]) | {"rank_correlation": 1.5}}, "<= 1"),
        ({"lengths": {"kind": "fixed", "input_len": 0, "output_len": 1}}, ">= 1 - at `$.lengths.input_len`"),
        ({"lengths": {"kind": "fixed", "input_len": 1, "output_len": 2**31 + 1}}, "<= 2147483648"),
        ({"lengths": LOGNORMAL | {"input_cv": -1.0}}, ">= 0"),
        ({"lengths": LOGNORMAL | {"output_max": 100}}, "output_max must be at least output_mean (200), got 100"),
        ({"lengths": quantiles([[0, 1]])}, "length >= 2"),
        ({"lengths": quantiles([[0.1, 1], [1, 2]])}, "input: probabilities must go from 0 to 1, got 0.1 to 1"),
        ({"lengths": quantiles([[0, 1], [0.9, 2]])}, "input: probabilities must go from 0 to 1, got 0 to 0.9"),
        ({"lengths": quantiles([[0, 1], [0.5, 2], [0.5, 3], [1, 4]])}, "rise strictly, got 0.5 after 0.5"),
        ({"lengths": quantiles([[0, 5], [1, 4]])}, "tokens must not fall, got 4 after 5"),
        ({"lengths": quantiles([[0, 0], [1, 4]])}, ">= 1"),
        ({"lengths": quantiles([[0, 1], [1.5, 4]])}, "<= 1"),
    ],
)
def test_refusals_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        convert(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
