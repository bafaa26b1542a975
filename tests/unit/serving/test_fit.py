"""Workloads fitted to traces: moments, profiles, quantiles and correlation come back, and what cannot be fitted is said."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import yaml

from hdasim.errors import TraceError
from hdasim.serving.arrivals import expected_requests, requests
from hdasim.serving.fit import LEVELS, fit, plain, rank_correlation
from hdasim.serving.requests import Ints, Requests, describe
from hdasim.serving.traces import read
from hdasim.spec.load import load_workload
from hdasim.spec.workload import FixedArrival, GammaArrival, PoissonArrival, QuantileLengths, RampArrival, Workload

SHARED = Path(__file__).resolve().parents[4] / "shared" / "reference" / "traces"
NAMES = ("azure2023_conv_first2500.csv", "azure2023_code_first2500.csv", "mooncake_fast25_synthetic_first2500.jsonl")


def trace(arrival: np.ndarray, seed: int = 0) -> Requests:
    """Lengths that rise together."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(1, 5000, arrival.size)
    return Requests(arrival, inputs, np.maximum(inputs // 10 + rng.integers(0, 100, arrival.size), 1))


def draw(workload: Workload, seed: int = 0) -> Requests:
    return requests(workload, np.random.default_rng(seed))


def test_rank_correlation_by_hand() -> None:
    def rho(a: list[int], b: list[int]) -> float:
        return rank_correlation(np.array(a), np.array(b))

    assert rho([1, 2, 3], [10, 20, 90]) == 1
    assert rho([1, 2, 3], [9, 5, 1]) == -1
    # ranks 1 2 3 4 and 2 1 4 3: differences 1 1 1 1, rho = 1 - 6 * 4 / (4 * 15) = 0.6
    assert rho([1, 2, 3, 4], [20, 10, 40, 30]) == pytest.approx(0.6)
    # ranks 1.5 1.5 3 and 1 2 3, less 2: (-0.5, -0.5, 1) and (-1, 0, 1): 1.5 / sqrt(1.5 * 2)
    assert rho([7, 7, 8], [1, 2, 3]) == pytest.approx(1.5 / math.sqrt(3))
    assert rho([7, 7, 7], [1, 2, 3]) == 0


def test_moments_by_hand() -> None:
    # gaps 1, 2, 3, 2: mean 2, variance 0.5, CV^2 = 1/8
    arrival = fit(trace(np.array([0.0, 1.0, 3.0, 6.0, 8.0]))).workload.arrival
    assert isinstance(arrival, GammaArrival)
    assert (arrival.request_rate, arrival.burstiness) == (pytest.approx(0.5), pytest.approx(8))


def test_traces_at_one_moment_or_an_even_pace() -> None:
    assert fit(trace(np.zeros(5))).workload.arrival == PoissonArrival(request_rate=math.inf)
    assert fit(trace(np.zeros(5)), profile=60).workload.arrival == PoissonArrival(request_rate=math.inf)
    assert fit(trace(np.zeros(1))).workload.num_prompts == 1
    even = fit(trace(np.arange(50) / 4)).workload.arrival
    assert isinstance(even, FixedArrival)
    assert even.request_rate == pytest.approx(4)


def test_a_profile_by_hand() -> None:
    arrival = np.array([0.0, 1.0, 2.0, 3.0, 12.0, 19.0, 25.0])
    # two bins, of 10 s and of the 15 s that are left: 4 / 10 and 3 / 15 per second, twice over
    ramp = fit(trace(arrival), profile=10, num_prompts=14).workload.arrival
    assert isinstance(ramp, RampArrival)
    assert ramp.rates[:4] == ((0, 0.4), (10, 0.4), (10, 0.2), (25, 0.2))
    assert ramp.rates[4:] == tuple((25 + time, rate) for time, rate in ramp.rates[:4])
    # expected requests until each: 0.4 a second, then 4 + 0.2 a second
    expected = expected_requests(ramp, arrival)
    assert expected.tolist() == pytest.approx([0, 0.4, 0.8, 1.2, 4.4, 5.8, 7.0])
    gaps = np.diff(expected)
    assert ramp.burstiness == pytest.approx((gaps.mean() / gaps.std()) ** 2)


def test_a_rate_that_changes_is_noticed_and_followed() -> None:
    rng = np.random.default_rng(1)
    # 2 and 20 a second in turn, each for 100 s
    arrival = np.sort(np.concatenate([100 * i + rng.uniform(0, 100, 200 + 1800 * (i % 2)) for i in range(10)]))
    original = trace(arrival - arrival[0])
    iod = describe(original)["iod10"]
    gamma, profile = fit(original), fit(original, profile=50)
    assert len(gamma.notes) == 1
    assert "--profile 60 follows it" in gamma.notes[0]
    assert not profile.notes
    assert iod is not None
    found = [describe(draw(f.workload))["iod10"] for f in (gamma, profile)]
    assert found[0] is not None
    assert found[0] < iod / 3
    assert found[1] == pytest.approx(iod, rel=0.2)
    steady = np.cumsum(rng.exponential(0.1, 20_000))
    assert not fit(trace(steady - steady[0])).notes


def test_lengths_come_back() -> None:
    rng = np.random.default_rng(2)
    arrival = np.concatenate([[0.0], np.cumsum(rng.exponential(1.0, 4999))])
    original = trace(arrival)
    fitted = fit(original, num_prompts=20_000)
    lengths = fitted.workload.lengths
    assert isinstance(lengths, QuantileLengths)
    made = draw(fitted.workload)
    assert len(made) == 20_000
    before, after = describe(original), describe(made)
    for key in ("input_mean", "input_p50", "input_p90", "output_mean", "output_p50", "output_p90"):
        assert after[key] == pytest.approx(before[key], rel=0.03), key
    assert after["input_max"] <= before["input_max"]  # type: ignore[operator]
    rho = rank_correlation(original.input_len, original.output_len)
    assert rank_correlation(made.input_len, made.output_len) == pytest.approx(rho, abs=0.02)
    assert rho > 0.9
    assert [p for p, _ in lengths.input] == LEVELS.tolist()


def test_the_workload_file_gives_the_same_requests(tmp_path: Path) -> None:
    fitted = fit(trace(np.cumsum(np.r_[0.0, np.random.default_rng(0).exponential(1, 99)])), profile=20)
    (tmp_path / "w.yaml").write_text(fitted.text(7), encoding="utf-8")
    workload, seed = load_workload(tmp_path / "w.yaml")
    assert (workload, seed) == (fitted.workload, 7)
    assert msgspec.convert(plain(fitted.workload), Workload) == fitted.workload
    assert set(yaml.safe_load(fitted.text(7))["workload"]) == {"arrival", "lengths", "num_prompts"}


def test_what_is_not_fitted_is_said() -> None:
    one: Ints = np.ones(4, np.int64)
    with pytest.raises(TraceError, match="the trace has sessions, which are not fitted"):
        fit(Requests(np.zeros(4), one, one, parent=np.array([-1, 0, 1, 2])))
    with pytest.raises(TraceError, match=r"a profile of 1,000,000 bins, more than 100,000; use a larger --profile"):
        fit(trace(np.array([0.0, 1e6])), profile=1)
    blocks = Requests(np.array([0.0, 1.0, 1.0, 5.0]), one, one, np.array([3, 3, 3, 4]), np.arange(5), 16)
    notes = fit(blocks).notes
    assert "50.0% of the trace's prompt blocks were seen before" in notes[0]  # 3 twice again, of 4
    assert "33% of requests come at the very time of the one before" in notes[1]  # one gap of three


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/reference/traces is not beside this checkout")
@pytest.mark.parametrize("name", NAMES)
def test_reference_traces_come_back(name: str) -> None:
    original = read(SHARED / name)
    before = describe(original)
    made = draw(fit(original, num_prompts=100_000).workload)
    after = describe(made)
    # the gaps' mean is known within CV / sqrt(n); their CV, of a gamma, within about CV / sqrt(n) of itself, twice over
    assert before["cv"] is not None
    error = before["cv"] / math.sqrt(100_000)
    assert after["request_rate"] == pytest.approx(before["request_rate"], rel=4 * error)
    assert after["cv"] == pytest.approx(before["cv"], rel=8 * error)
    for side in ("input", "output"):
        assert after[f"{side}_mean"] == pytest.approx(before[f"{side}_mean"], rel=0.04)
        old, new = (getattr(r, f"{side}_len") for r in (original, made))
        for key in ("p50", "p90", "p99"):  # the same share at or below, to a step between levels and 4 standard errors
            tokens = before[f"{side}_{key}"]
            assert np.mean(new <= tokens) == pytest.approx(np.mean(old <= tokens), abs=0.005 + 4 * 0.5 / math.sqrt(100_000))


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/reference/traces is not beside this checkout")
def test_azure_conversation_needs_a_profile() -> None:
    original = read(SHARED / NAMES[0])
    assert "--profile 60" in " ".join(fit(original).notes)
    found = [[describe(draw(fit(original, profile=p).workload, seed))["iod10"] for seed in range(5)] for p in (None, 60.0)]
    # the trace has 2.37; gamma gaps with its CV of 1.11 give about 1.24, the profile of minutes about 2.4
    assert np.mean(found[0]) < 1.7  # type: ignore[arg-type]
    assert np.mean(found[1]) == pytest.approx(2.37, abs=0.5)  # type: ignore[arg-type]
