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
from hdasim.serving.arrivals import _rescaled, generate, requests
from hdasim.serving.traces import Requests, describe, read, write
from hdasim.spec.workload import QuantileLengths, RampArrival, Workload

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
@pytest.mark.parametrize("rate", [1e-306, 1e-9])
def test_a_rate_too_low_for_exact_times_is_refused(kind: str, rate: float) -> None:
    """20,000 requests at 1e-9 a second end after 2e13 s, where a float64 has steps of 4 ms: latencies could fall below bounds."""
    with pytest.raises(SpecError, match=r"workload\.arrival\.request_rate: too low for 20000 requests"):
        draw({"kind": kind, "request_rate": rate})


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


def test_a_trace_at_another_speed_or_rate(tmp_path: Path) -> None:
    one = np.ones(4, np.int64)
    parent = np.array([-1, -1, 1, -1])
    write(tmp_path / "t.csv", Requests(np.array([0.0, 0.5, 7.0, 2.0]), one, one, parent=parent))
    path = {"kind": "trace", "path": str(tmp_path / "t.csv")}

    def replayed(count: int | None = None, **others: Any) -> list[float]:
        return requests(workload(path | others, None, count), np.random.default_rng(0)).arrival_s.tolist()

    assert replayed(speed=2.0) == [0.0, 0.25, 7.0, 1.0]  # think times stay
    # three sessions in 2 s are 1.5 per second: 3 per second is twice that
    assert replayed(request_rate=3.0) == [0.0, 0.25, 7.0, 1.0]
    # of the first three rows, two sessions in 0.5 s are 4 per second
    assert replayed(3, request_rate=1.0) == [0.0, 2.0, 7.0]
    assert replayed(request_rate=math.inf) == [0.0, 0.0, 7.0, 0.0]
    with pytest.raises(SpecError, match=r"workload\.arrival\.request_rate: all requests of the trace come at once"):
        replayed(1, request_rate=2.0)
    assert replayed(1, request_rate=math.inf) == [0.0]
    with pytest.raises(SpecError, match=r"workload\.arrival\.request_rate: too low for 4 requests: the last would come"):
        replayed(request_rate=5e-324)
    with pytest.raises(SpecError, match=r"workload\.arrival\.speed: too low for 4 requests: the last would come"):
        replayed(speed=1e-309)
    with pytest.raises(msgspec.ValidationError, match="either speed or request_rate"):
        replayed(request_rate=1.0, speed=1.0)


def test_lengths_in_place_of_a_traces_drop_its_prompts(tmp_path: Path) -> None:
    one = np.ones(2, np.int64)
    write(tmp_path / "t.csv", Requests(np.zeros(2), one, one, one, np.array([0, 1, 2]), 16, np.array([-1, 0])))
    got = requests(workload({"kind": "trace", "path": "t.csv"}, FIXED, None), np.random.default_rng(0), tmp_path)
    assert (got.input_len.tolist(), got.hash_ids) == ([100, 100], None)
    assert got.parent is not None
    assert got.parent.tolist() == [-1, 0]


def ramp(rates: list[list[float]], **others: Any) -> RampArrival:
    return msgspec.convert({"kind": "ramp", "rates": rates, **others}, RampArrival)


def test_time_rescaling_by_hand() -> None:
    # rate 2 + 0.2 t until 10 s, so its integral is 2 t + 0.1 t^2: 12.5 at 5 s, 30 at 10 s; then 4 more each second
    assert _rescaled(ramp([[0, 2], [10, 4]]), np.array([0, 12.5, 30, 34])).tolist() == pytest.approx([0, 5, 10, 11])
    # falling to 0: 4 t - 0.2 t^2, 15 at 5 s
    assert _rescaled(ramp([[0, 4], [10, 0], [10, 1]]), np.array([15, 20.5])).tolist() == pytest.approx([5, 10.5])
    # rising from 0: 0.5 t^2, 2 at 2 s
    assert _rescaled(ramp([[0, 0], [10, 10]]), np.array([0, 2])).tolist() == pytest.approx([0, 2])
    # nothing from 10 s to 20 s
    steps = [[0, 1], [10, 1], [10, 0], [20, 0], [20, 2]]
    assert _rescaled(ramp(steps), np.array([5, 9.5, 10.5, 12])).tolist() == pytest.approx([5, 9.5, 20.25, 21])
    # a mean of 3 scaled to 6: twice as many at every time
    assert _rescaled(ramp([[0, 2], [10, 4]], request_rate=6), np.array([25, 60])).tolist() == pytest.approx([5, 10])
    assert _rescaled(ramp([[0, 3]], request_rate=6), np.array([12])).tolist() == pytest.approx([2])


@pytest.mark.parametrize("burstiness", [1.0, 0.5, 4.0])
def test_ramps_have_their_rates(burstiness: float) -> None:
    rates = [[0, 5], [500, 45], [500, 1], [1000, 1], [1500, 9]]
    arrival = draw({"kind": "ramp", "rates": rates, "burstiness": burstiness}).arrival_s
    assert arrival[0] == 0
    assert (np.diff(arrival) >= 0).all()
    # by areas: (5 + 25)/2 * 250 and (25 + 45)/2 * 250 up to 500 s, then 500, 500 * 5, then 9 per second
    for begin, end, expected in ((0, 250, 3750), (250, 500, 8750), (500, 1000, 500), (1000, 1500, 2500), (1500, 1900, 3600)):
        got = np.count_nonzero((arrival >= begin) & (arrival < end))
        assert abs(got - expected) < 4 * math.sqrt(expected / burstiness) + 4, (begin, end)


def test_a_ramp_can_be_scaled_and_may_end() -> None:
    rates = [[0, 0], [100, 2]]
    slow, fast = (draw({"kind": "ramp", "rates": rates, "request_rate": r}, num_prompts=100).arrival_s for r in (1.0, math.inf))
    assert np.array_equal(slow, draw({"kind": "ramp", "rates": rates}, num_prompts=100).arrival_s)  # its mean is 1
    assert not fast.any()
    with pytest.raises(SpecError, match=r"workload\.arrival\.rates: too low for 9 requests: the last would come"):
        draw({"kind": "ramp", "rates": [[0, 5e-324]]}, num_prompts=9)
    ends = {"kind": "ramp", "rates": [[0, 2], [100, 0]]}  # 100 requests
    assert draw(ends, num_prompts=50).arrival_s[-1] < 100
    with pytest.raises(
        SpecError, match=r"workload\.arrival\.rates: end at 0 req/s, after about \d+ requests; end above 0, or set num"
    ):
        draw(ends, num_prompts=200)


CHAT = {"turns": 4, "think_time": 20.0}


def chat(count: int = 2000, seed: int = 0, lengths: dict[str, Any] = LOGNORMAL, **others: Any) -> Requests:
    document = {"arrival": {"kind": "poisson", "request_rate": 2.0}, "lengths": lengths, "num_prompts": count, **others}
    return requests(msgspec.convert(document, Workload), np.random.default_rng(seed))


def ids(got: Requests, row: int) -> list[int]:
    assert got.hash_ids is not None
    assert got.hash_offsets is not None
    return got.hash_ids[got.hash_offsets[row] : got.hash_offsets[row + 1]].tolist()


def test_sessions_by_hand() -> None:
    fixed = {"kind": "fixed", "input_len": 20, "output_len": 6}
    got = chat(
        5, lengths=fixed, sessions={"turns": 2, "turn_distribution": "fixed", "think_time": 3.0, "think_distribution": "fixed"}
    )
    # the second prompt holds the first, its output and 20 more: 20 + 6 + 20 = 46 tokens, two full blocks; the last session is cut
    assert got.input_len.tolist() == [20, 46, 20, 46, 20]
    assert got.parent is not None
    assert got.parent.tolist() == [-1, 0, -1, 2, -1]
    assert got.arrival_s[[1, 3]].tolist() == [3.0, 3.0]
    assert [ids(got, i) for i in range(5)] == [[0], [0, 1], [2], [2, 3], [4]]
    # with 40 shared tokens, two full blocks of each of 3 groups: 60 and 86 tokens, 3 and 5 blocks
    both = chat(5, lengths=fixed, sessions={"turns": 2, "turn_distribution": "fixed"}, shared_prefix={"tokens": 40, "groups": 3})
    assert both.input_len.tolist() == [60, 86, 60, 86, 60]
    heads = [ids(both, i)[:2] for i in range(5)]
    assert heads[0] == heads[1]
    assert heads[2] == heads[3]
    assert all(head in ([0, 1], [2, 3], [4, 5]) for head in heads)
    assert [ids(both, i)[2:] for i in range(5)] == [[6], [6, 7, 8], [9], [9, 10, 11], [12]]


def test_turns_share_the_full_blocks_of_their_history_and_nothing_else() -> None:
    got = chat(sessions=CHAT)
    assert got.parent is not None
    seen: set[int] = set()
    for row in range(len(got)):
        own, before = ids(got, row), int(got.parent[row])
        assert len(own) == got.input_len[row] // 16
        assert len(set(own)) == len(own)
        if before < 0:
            assert not seen & set(own)
            seen |= set(own)
            continue
        assert before == row - 1
        earlier = ids(got, before)
        assert own[: len(earlier)] == earlier  # the prompt before is a prefix of this one, in full blocks
        assert not seen & set(own[len(earlier) :])
        assert got.input_len[row] > got.input_len[before] + got.output_len[before]
        seen |= set(own)


def test_sessions_have_their_means() -> None:
    got = chat(20_000, sessions=CHAT)
    statistics = describe(got)
    assert got.parent is not None
    # 5000 sessions or so; a geometric number of mean 4 has deviation sqrt(1 - 1/4) * 4 = 3.5
    assert statistics["turns_mean"] == pytest.approx(4, abs=4 * 3.5 / math.sqrt(5000))
    assert statistics["think_mean_s"] == pytest.approx(20, rel=4 / math.sqrt(15_000))
    assert statistics["request_rate"] == pytest.approx(2, rel=4 / math.sqrt(5000))  # sessions per second
    assert (got.parent < np.arange(20_000)).all()
    assert (np.diff(got.arrival_s[got.is_root()]) >= 0).all()


def test_sessions_are_the_same_every_time_and_fewer_come_first() -> None:
    many, again = (
        chat(1000, sessions=CHAT, shared_prefix={"tokens": 100}),
        chat(1000, sessions=CHAT, shared_prefix={"tokens": 100}),
    )
    assert equal(many, again)
    assert np.array_equal(many.hash_ids, again.hash_ids)  # type: ignore[arg-type]
    few = chat(300, sessions=CHAT, shared_prefix={"tokens": 100})
    assert equal(few, many.first(300))
    assert few.parent is not None
    assert np.array_equal(few.parent, many.first(300).parent)  # type: ignore[arg-type]
    assert not equal(many, chat(1000, 1, sessions=CHAT, shared_prefix={"tokens": 100}))


def test_a_shared_prefix_without_sessions() -> None:
    got = chat(3000, lengths=FIXED, shared_prefix={"tokens": 64, "groups": 4})
    assert (got.parent, set(got.input_len.tolist())) == (None, {164})
    groups = np.array([ids(got, i)[0] for i in range(3000)])
    assert set(groups.tolist()) == {0, 4, 8, 12}  # four blocks each
    assert np.bincount(groups // 4) == pytest.approx([750] * 4, abs=4 * math.sqrt(3000 * 3 / 16))
    # 10 blocks each, 4 of them shared: 3000 * 6 + 16 are computed, so 11,984 of 30,000 hit
    assert describe(got)["block_reuse"] == pytest.approx(11_984 / 30_000)
    assert np.array_equal(got.arrival_s, chat(3000, lengths=FIXED).arrival_s)


def test_sessions_that_grow_too_long_are_refused() -> None:
    long = {"kind": "fixed", "input_len": 2**30, "output_len": 1}
    with pytest.raises(SpecError, match=r"workload: a prompt grows to 3,221,225,474 tokens, more than 2,147,483,648"):
        chat(3, lengths=long, sessions={"turns": 3, "turn_distribution": "fixed"})
    with pytest.raises(SpecError, match=r"workload\.num_prompts: prompts of 335,544,320 blocks, more than 134,217,728"):
        chat(5, lengths=long, sessions={"turns": 1})


def test_generated_sessions_survive_the_file(tmp_path: Path) -> None:
    document = {"arrival": GAMMA, "lengths": QUANTILES, "num_prompts": 60, "sessions": CHAT, "shared_prefix": {"tokens": 33}}
    made = generate(msgspec.convert(document, Workload), 3, tmp_path / "g.csv")
    again = read(tmp_path / "g.csv")
    assert equal(again, made)
    for name in ("hash_ids", "hash_offsets", "parent"):
        assert np.array_equal(getattr(again, name), getattr(made, name))


@pytest.mark.parametrize("rho", [-1.0, -0.5, 0.3, 0.9, 1.0])
def test_quantile_lengths_have_their_rank_correlation(rho: float) -> None:
    wide = QUANTILES | {"output": [[0, 1], [1, 100_001]], "input": [[0, 1], [0.5, 10_001], [1, 1_000_001]]}
    got = draw(GAMMA, lengths=wide | {"rank_correlation": rho})
    ranks = [np.argsort(np.argsort(tokens)) for tokens in (got.input_len, got.output_len)]
    assert np.corrcoef(ranks)[0, 1] == pytest.approx(rho, abs=4 / math.sqrt(COUNT))
    assert np.mean(got.input_len <= 10_001) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(COUNT) + 0.001)
    assert got.output_len.mean() == pytest.approx(50_001, rel=0.02)


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


def test_clients_send_one_request_after_the_other() -> None:
    drawn = draw({"kind": "concurrency", "clients": 3}, num_prompts=8)
    assert drawn.parent is not None
    assert drawn.parent.tolist() == [-1, -1, -1, 0, 1, 2, 3, 4]
    assert not drawn.arrival_s.any()


def test_clients_send_no_sessions() -> None:
    document = {"arrival": {"kind": "concurrency", "clients": 3}, "lengths": FIXED, "num_prompts": 8, "sessions": {"turns": 2}}
    with pytest.raises(msgspec.ValidationError, match="not for kind concurrency"):
        msgspec.convert(document, Workload)
