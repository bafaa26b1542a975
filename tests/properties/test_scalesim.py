"""The fast SCALE-Sim equals the slow one in every digit of every column; where that is too slow, limits and symmetries hold."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hdasim.scalesim import cases

Report = dict[str, int | float]

reference: Callable[..., Report] = runpy.run_path(str(Path(__file__).parents[1] / "scalesim_reference.py"))["reference"]

dataflows = st.sampled_from(["ws", "os", "is"])
sides = st.one_of(st.integers(1, 5), st.sampled_from([1, 7, 13, 16, 23]))
few = st.integers(1, 6)
# a 1 kB buffer is rolled over by 500 words, so some shapes are long
long = st.integers(200, 600)
shapes = st.one_of(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.sampled_from([1, 2, 13, 31, 37, 64])] * 3),
    st.tuples(few, st.integers(1, 30), long).flatmap(st.permutations).map(tuple),
)
buffers = st.tuples(*[st.sampled_from([1, 1, 1, 2, 3])] * 3)
bandwidths = st.one_of(
    st.tuples(*[st.integers(1, 2)] * 3),
    st.tuples(*[st.sampled_from([1, 2, 3, 7, 10, 33, 100, 600, 2000])] * 3),
)  # fmt: skip
modes = st.one_of(st.none(), bandwidths)
conv_geometry = {
    "height": st.integers(1, 20), "width": st.integers(1, 20), "reach_h": st.integers(1, 5), "reach_w": st.integers(1, 5),
    "channels": st.sampled_from([1, 2, 3, 8, 16, 24]), "stride": st.sampled_from([1, 1, 2, 3, 4, 6]),
    "filters": st.sampled_from([1, 2, 5, 17]),
}  # fmt: skip
# beyond the slow reference
wide_sides = st.one_of(st.integers(1, 40), st.sampled_from([64, 128, 256]))
wide = st.one_of(st.integers(1, 1500), st.integers(1, 60))
wide_case = {
    "rows": wide_sides, "cols": wide_sides, "m": wide, "n": wide, "k": wide, "sram": st.tuples(*[st.integers(1, 64)] * 3),
    "bandwidth": st.one_of(st.none(), st.tuples(*[st.integers(1, 200)] * 3)),
}  # fmt: skip


def run(case: Any) -> Report:
    result = cases.simulate(case, 1)[0]
    assert result["status"] == 0, cases.describe_status(result["status"])
    return cases.report(case[0], result)


def undefined(rows: int, cols: int, dataflow: str, m: int, n: int, k: int) -> bool:
    """SCALE-Sim counts 0 cycles and divides by them."""
    return dataflow == "os" and rows * cols * m * n * k == 1


def wide_gemm(*arguments: Any) -> Any:
    """A case that is defined and takes less than a second."""
    assume(not undefined(*arguments[:6]))
    case = cases.gemm(*arguments)
    assume(cases.closed_forms(case)["cycles"][0] < 2_000_000)
    return case


# ---- the same as word by word ----


@settings(max_examples=150)
@given(rows=sides, cols=sides, dataflow=dataflows, shape=shapes, sram=buffers, bandwidth=modes)
def test_gemm_equals_the_reference(
    rows: int, cols: int, dataflow: str, shape: tuple[int, int, int], sram: tuple[int, int, int],
    bandwidth: tuple[int, int, int] | None,
) -> None:  # fmt: skip
    case = cases.gemm(rows, cols, dataflow, *shape, sram, bandwidth)
    if undefined(rows, cols, dataflow, *shape):
        assert cases.simulate(case)["status"][0] != 0
    else:
        assert run(case) == reference(rows, cols, dataflow, *shape, sram, bandwidth)


@settings(max_examples=250)
@given(rows=sides, cols=sides, dataflow=dataflows, sram=buffers, bandwidth=modes, **conv_geometry)
def test_convolution_equals_the_reference(
    rows: int, cols: int, dataflow: str, sram: tuple[int, int, int], bandwidth: tuple[int, int, int] | None, height: int,
    width: int, reach_h: int, reach_w: int, channels: int, stride: int, filters: int,
) -> None:  # fmt: skip
    window = min(reach_h, height), min(reach_w, width)
    case = cases.convolution(rows, cols, dataflow, (height, width), window, channels, filters, stride, sram, bandwidth)
    m, n, k = (int(case[name][0]) for name in "mnk")
    assume(m * n * k < 100_000 and m * k < 20_000)  # the reference takes less than a second
    if undefined(rows, cols, dataflow, m, n, k):
        assert cases.simulate(case)["status"][0] != 0
    else:
        conv = (height, width, *window, channels, stride)
        assert run(case) == reference(rows, cols, dataflow, m, n, k, sram, bandwidth, conv)


# ---- limits ----


@given(dataflow=dataflows, **wide_case)
def test_nothing_beats_the_array(
    rows: int, cols: int, dataflow: str, m: int, n: int, k: int, sram: tuple[int, int, int],
    bandwidth: tuple[int, int, int] | None,
) -> None:  # fmt: skip
    got = run(wide_gemm(rows, cols, dataflow, m, n, k, sram, bandwidth))
    assert got["total_cycles"] >= -(-m * n * k // (rows * cols)) - 1  # the index of the last cycle, not their number
    assert 0 < got["compute_util_pct"] <= got["mapping_eff_pct"] <= 100 + 1e-9
    assert got["sram_ifmap_reads"] >= m * k
    assert got["sram_filter_reads"] >= k * n
    folds = 1 if dataflow == "os" else -(-k // rows)  # that write partial sums of one output
    assert got["dram_ofmap_writes"] >= m * n * folds
    assert got["dram_ofmap_start_cycle"] >= got["sram_ofmap_start_cycle"]
    assert got["dram_ofmap_stop_cycle"] >= got["sram_ofmap_stop_cycle"] - 1
    if bandwidth is None:
        assert m * k <= got["dram_ifmap_reads"] <= got["sram_ifmap_reads"]
        assert k * n <= got["dram_filter_reads"] <= got["sram_filter_reads"]


@given(dataflow=dataflows, **wide_case)
def test_stalls_come_on_top_of_the_closed_forms(
    rows: int, cols: int, dataflow: str, m: int, n: int, k: int, sram: tuple[int, int, int],
    bandwidth: tuple[int, int, int] | None,
) -> None:  # fmt: skip
    case = wide_gemm(rows, cols, dataflow, m, n, k, sram, bandwidth)
    got, closed = run(case), cases.closed_forms(case)[0]
    assert got["stall_cycles"] >= 0
    assert got["total_cycles"] >= closed["cycles"]
    if bandwidth is None:
        assert got["stall_cycles"] == 0
    if rows > 1 and cols > 1:  # else the last line may read, and SCALE-Sim counts its stall but not the cycles
        assert got["compute_cycles"] == closed["cycles"]
    else:
        assert got["compute_cycles"] <= closed["cycles"]
    counts = [got[f"sram_{name}"] for name in ("ifmap_reads", "filter_reads", "ofmap_writes")]
    assert counts == closed["sram_count"].tolist()
    assert abs(got["mapping_eff_pct"] - 100 * closed["mapping"]) <= 1e-9 * got["mapping_eff_pct"]
    assert abs(got["compute_util_pct"] - 100 * closed["utilization"]) <= 1e-9 * got["compute_util_pct"]


# ---- symmetries ----


def swapped(report: Report) -> Report:
    """With the columns of ifmap and filter exchanged."""
    names = {"ifmap": "filter", "filter": "ifmap"}
    return {"_".join(names.get(part, part) for part in key.split("_")): value for key, value in report.items()}


@given(**wide_case)
def test_input_stationary_is_weight_stationary_of_the_transposed_product(
    rows: int, cols: int, m: int, n: int, k: int, sram: tuple[int, int, int], bandwidth: tuple[int, int, int] | None
) -> None:
    a, b, c = sram
    turned = None if bandwidth is None else (bandwidth[1], bandwidth[0], bandwidth[2])
    transposed = run(wide_gemm(rows, cols, "ws", n, m, k, (b, a, c), turned))
    assert run(cases.gemm(rows, cols, "is", m, n, k, sram, bandwidth)) == swapped(transposed)


@settings(max_examples=60)
@given(
    dataflow=dataflows, height=st.integers(1, 40), width=st.integers(1, 40), channels=st.integers(1, 100),
    filters=st.integers(1, 300), **{name: wide_case[name] for name in ("rows", "cols", "sram", "bandwidth")},
)  # fmt: skip
def test_windows_that_share_nothing_are_a_gemm(
    rows: int, cols: int, dataflow: str, height: int, width: int, channels: int, filters: int, sram: tuple[int, int, int],
    bandwidth: tuple[int, int, int] | None,
) -> None:  # fmt: skip
    gemm = run(wide_gemm(rows, cols, dataflow, height * width, filters, channels, sram, bandwidth))
    pixels = cases.convolution(rows, cols, dataflow, (height, width), (1, 1), channels, filters, 1, sram, bandwidth)
    assert run(pixels) == gemm
    size = height * width, channels
    strips = cases.convolution(rows, cols, dataflow, size, (1, channels), 1, filters, 1, sram, bandwidth)
    assert run(strips) == gemm
    # blocks with as much between them as they are long: other addresses, the same words
    size = 4 * height - 2, 4 * width - 2
    apart = cases.convolution(rows, cols, dataflow, size, (2, 2), channels, filters, 4, sram, bandwidth)
    assert run(apart) == run(cases.gemm(rows, cols, dataflow, height * width, filters, 4 * channels, sram, bandwidth))


# ---- many cases ----


@settings(max_examples=20)
@given(
    chosen=st.lists(st.tuples(sides, sides, dataflows, shapes, buffers, modes), min_size=1, max_size=60),
    workers=st.integers(2, 5), order=st.randoms(use_true_random=False),
)  # fmt: skip
def test_neither_workers_nor_order_matter(chosen: list[Any], workers: int, order: Any) -> None:
    parts = [cases.gemm(rows, cols, dataflow, *shape, sram, bandwidth) for rows, cols, dataflow, shape, sram, bandwidth in chosen]
    parts.append(cases.convolution(4, 4, "ws", (12, 12), (3, 3), 8, 5, 1, (1, 1, 1), (1, 1, 1)))
    batch = np.concatenate(parts)
    results = cases.simulate(batch, 1)
    assert (cases.simulate(batch, workers) == results).all()
    places = [*range(len(batch))]
    order.shuffle(places)
    assert (cases.simulate(batch[places], workers) == results[places]).all()
    assert all(cases.simulate(batch[i : i + 1])[0] == results[i] for i in places[:5])
