"""Generated requests: rates, burstiness, lengths, determinism, and the traces that ship with the project."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hdasim.errors import SpecError, TraceError
from hdasim.serving.arrivals import generate, requests
from hdasim.serving.traces import Requests, describe, read, write
from hdasim.spec.workload import QuantileLengths, Workload

TRACES = Path(__file__).resolve().parents[3] / "traces"
FIXED = {"kind": "fixed", "input_len": 100, "output_len": 10}
COUNT = 20_000


def workload(arrival: dict[str, Any], lengths: dict[str, Any] | None = FIXED, num_prompts: int | None = COUNT) -> Workload:
    document = {"arrival": arrival, "lengths": lengths, "num_prompts": num_prompts}
    return msgspec.convert({key: value for key, value in document.items() if value is not None}, Workload)


def draw(arrival: dict[str, Any], seed: int = 0, **others: Any) -> Requests:
    return requests(workload(arrival, **others), np.random.default_rng(seed))


def equal(a: Requests, b: Requests) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("arrival_s", "input_len", "output_len"))


@pytest.mark.parametrize(
    ("arrival", "cv"),
    [
        ({"kind": "poisson", "request_rate": 10.0}, 1.0),
        ({"kind": "gamma", "request_rate": 10.0}, 1.0),
        ({"kind": "gamma", "request_rate": 10.0, "burstiness": 0.25}, 2.0),  # CV = 1 / sqrt(burstiness)
        ({"kind": "gamma", "request_rate": 10.0, "burstiness": 4.0}, 0.5),
        ({"kind": "fixed", "request_rate": 10.0}, 0.0),
    ],
)
def test_rate_and_cv_within_sampling_error(arrival: dict[str, Any], cv: float) -> None:
    gaps = np.diff(draw(arrival).arrival_s)
    # Within 4 standard errors: cv / sqrt(n) for the mean; for the CV of a gamma, less than 2 max(cv, cv^2) / sqrt(n).
    assert gaps.mean() == pytest.approx(0.1, rel=4 * cv / math.sqrt(COUNT) + 1e-9)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, abs=4 * 2 * max(cv, cv**2) / math.sqrt(COUNT) + 1e-9)


def test_fixed_arrivals_by_hand() -> None:
    assert draw({"kind": "fixed", "request_rate": 4.0}, num_prompts=4).arrival_s.tolist() == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("kind", ["poisson", "gamma", "fixed"])
def test_an_infinite_rate_puts_all_at_time_zero(kind: str) -> None:
    assert not draw({"kind": kind, "request_rate": math.inf}).arrival_s.any()


@pytest.mark.parametrize("kind", ["poisson", "gamma", "fixed"])
def test_a_rate_too_low_for_finite_times_is_refused(kind: str) -> None:
    with pytest.raises(SpecError, match=r"workload\.arrival\.request_rate: too low for 20000 requests"):
        draw({"kind": kind, "request_rate": 1e-306})


@given(
    kind=st.sampled_from(["poisson", "gamma", "fixed"]),
    rate=st.floats(1e-6, 1e6),
    count=st.integers(1, 50),
    seed=st.integers(0, 2**32),
)
def test_arrivals_start_at_zero_and_never_fall(kind: str, rate: float, count: int, seed: int) -> None:
    arrival = draw({"kind": kind, "request_rate": rate}, seed, num_prompts=count).arrival_s
    assert arrival.shape == (count,)
    assert arrival.dtype == np.float64
    assert arrival[0] == 0.0
    assert (np.diff(arrival) >= 0).all()


GAMMA = {"kind": "gamma", "request_rate": 3.0, "burstiness": 0.3}
LOGNORMAL = {"kind": "lognormal", "input_mean": 1000.0, "input_cv": 0.8, "output_mean": 200.0, "output_cv": 0.0}
QUANTILES = {"kind": "quantiles", "input": [[0, 1], [0.5, 101], [1, 1001]], "output": [[0, 7], [1, 7]]}


@pytest.mark.parametrize("lengths", [FIXED, LOGNORMAL, QUANTILES])
def test_the_same_seed_gives_the_same_requests(lengths: dict[str, Any]) -> None:
    assert equal(draw(GAMMA, 5, lengths=lengths), draw(GAMMA, 5, lengths=lengths))
    assert not equal(draw(GAMMA, 5, lengths=lengths), draw(GAMMA, 6, lengths=lengths))


@pytest.mark.parametrize("lengths", [LOGNORMAL, QUANTILES])
def test_arrivals_do_not_change_lengths_and_fewer_prompts_come_first(lengths: dict[str, Any]) -> None:
    many = draw(GAMMA, lengths=lengths)
    other = draw({"kind": "poisson", "request_rate": 77.0}, lengths=lengths)
    few = draw(GAMMA, lengths=lengths, num_prompts=100)
    assert np.array_equal(other.input_len, many.input_len)
    assert equal(few, Requests(many.arrival_s[:100], many.input_len[:100], many.output_len[:100]))


def test_lognormal_mean_and_cv() -> None:
    got = draw(GAMMA, lengths=LOGNORMAL)
    assert got.input_len.dtype == np.int64
    assert got.input_len.mean() == pytest.approx(1000, rel=4 * 0.8 / math.sqrt(COUNT))
    assert got.input_len.std() / got.input_len.mean() == pytest.approx(0.8, rel=0.05)
    assert (got.output_len == 200).all()  # a CV of 0 is a constant


def test_lognormal_is_clipped() -> None:
    got = draw(GAMMA, lengths=LOGNORMAL | {"input_cv": 5.0, "input_max": 2000, "output_mean": 1.0, "output_cv": 3.0})
    assert got.input_len.max() == 2000
    assert got.input_len.min() == 1
    assert got.output_len.min() == 1


def test_quantiles_meet_their_points() -> None:
    got = draw(GAMMA, lengths=QUANTILES)
    # the mean is the area: 0.5 * (1 + 101)/2 + 0.5 * (101 + 1001)/2 = 25.5 + 275.5 = 301; the standard deviation is about 287
    assert got.input_len.mean() == pytest.approx(301, abs=4 * 287 / math.sqrt(COUNT))
    assert np.mean(got.input_len <= 101) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(COUNT) + 0.001)
    assert 1 <= got.input_len.min() <= got.input_len.max() <= 1001
    assert (got.output_len == 7).all()


def test_trace_arrivals(tmp_path: Path) -> None:
    trace = Requests(np.array([0.0, 0.5, 2.0]), np.array([10, 20, 30]), np.array([1, 2, 3]))
    write(tmp_path / "t.csv", trace)
    rng = np.random.default_rng(0)
    path = {"kind": "trace", "path": "t.csv"}
    assert equal(requests(workload(path, None, None), rng, tmp_path), trace)
    assert equal(requests(workload(path | {"path": str(tmp_path / "t.csv")}, None, None), rng), trace)
    assert requests(workload(path, None, 2), rng, tmp_path).output_len.tolist() == [1, 2]
    assert len(requests(workload(path, None, 99), rng, tmp_path)) == 3
    fixed = requests(workload(path, FIXED, None), rng, str(tmp_path))
    assert (fixed.arrival_s.tolist(), fixed.input_len.tolist()) == ([0.0, 0.5, 2.0], [100, 100, 100])
    with pytest.raises(TraceError, match=r"t\.csv: cannot be read"):
        requests(workload(path, None, None), rng, tmp_path / "none")


def test_generate_writes_what_it_returns(tmp_path: Path) -> None:
    made = generate(workload(GAMMA, QUANTILES, 50), 3, tmp_path / "g.csv")
    assert equal(read(tmp_path / "g.csv"), made)
    assert np.abs(made.arrival_s - draw(GAMMA, 3, num_prompts=50).arrival_s).max() <= 0.51e-6


# req/s, CV, then mean/p50/p90/p99 of input and output of the whole Azure 2023 files, and their maxima
SHIPPED = {
    "azure-conv-like": ([5.53, 1.09, 1155, 1020, 2735, 4142, 211, 129, 424, 601], [14050, 1000]),
    "azure-code-like": ([2.57, 13.2, 2048, 1469, 5188, 7436, 27.9, 13, 55, 252], [7437, 1899]),
}
KEYS = ["request_rate", "cv"] + [f"{side}_{what}" for side in ("input", "output") for what in ("mean", "p50", "p90", "p99")]


def shipped(name: str) -> tuple[Workload, int]:
    document = yaml.safe_load((TRACES / f"{name}.yaml").read_text())
    return msgspec.convert(document["workload"], Workload), document["seed"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_traces_come_from_their_files_byte_for_byte(name: str, tmp_path: Path) -> None:
    generate(*shipped(name), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (TRACES / f"{name}.csv").read_bytes()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_traces_have_the_published_statistics(name: str) -> None:
    got = describe(read(TRACES / f"{name}.csv"))
    published, maxima = SHIPPED[name]
    assert got["rows"] == 1000
    assert [got[key] for key in KEYS] == pytest.approx(published, rel=0.1)
    for key, most in zip(("input_max", "output_max"), maxima, strict=True):
        assert got[key] is not None
        assert got[key] <= most  # type: ignore[operator]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_quantile_points_have_the_published_means(name: str) -> None:
    lengths = shipped(name)[0].lengths
    assert isinstance(lengths, QuantileLengths)
    for points, mean in ((lengths.input, SHIPPED[name][0][2]), (lengths.output, SHIPPED[name][0][6])):
        probabilities, tokens = np.array(points).T
        assert np.trapezoid(tokens, probabilities) == pytest.approx(mean, rel=0.005)
