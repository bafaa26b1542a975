"""SCALE-Sim's memory stalls (its USER mode) against what memories of the same bandwidth and buffers allow."""

from typing import Annotated, Any

from msgspec import Meta
from rich.table import Table

from hdasim.errors import SpecError
from hdasim.scalesim.cases import describe_status, gemm, report, simulate
from hdasim.spec.base import Spec

from .outcome import Row, row

Words = Annotated[int, Meta(ge=1, le=1 << 20)]
_COUNTS = ("dram_ifmap_reads", "dram_filter_reads", "dram_ofmap_writes")


class StallCase(Spec):
    layer: str
    tokens: Annotated[int, Meta(ge=1, le=1 << 16)]
    buffer_kb: Annotated[int, Meta(ge=1, le=1 << 20)]
    bandwidth: tuple[Words, Words, Words]


class Stalls(Spec):
    """SCALE-Sim runs: `buffer_kb` of each operand's double buffer, DRAM words per cycle of ifmap, filter and ofmap."""

    cases: Annotated[tuple[StallCase, ...], Meta(min_length=1, max_length=64)]


def needed_words(m: int, k: int, n: int, cols: int, buffer: int) -> tuple[int, int, int]:
    """Fewest words that weight stationary moves over DRAM in SCALE-Sim's order of folds (columns outside, rows inside).

    The ifmap is streamed once for every column of folds, less what its buffer keeps; every weight is loaded once; results are
    written once, as if the partial sums of a column of folds (m x cols) stayed on the chip until they are complete.
    """
    return m * k + (-(-n // cols) - 1) * max(0, m * k - buffer), k * n, m * n


def stalled(stalls: Stalls, layers: dict[str, tuple[int, int]], rows: int, cols: int) -> list[dict[str, Any]]:
    """One point for each case: SCALE-Sim's cycles and words, and the bounds.

    The bound is max(cycles without stalls, words needed / bandwidth) over the operands, which have a DRAM channel each.
    """
    points = []
    for i, case in enumerate(stalls.cases):
        if case.layer not in layers:
            known = ", ".join(layers)
            raise SpecError(f"unknown layer {case.layer!r}; the model has {known}", ("stalls", "cases", i, "layer"))
        k, n = layers[case.layer]
        cases = gemm(rows, cols, "ws", case.tokens, n, k, (case.buffer_kb,) * 3, case.bandwidth)
        result = simulate(cases)[0]
        if result["status"]:
            raise SpecError(describe_status(result["status"]), ("stalls", "cases", i))
        out = report(cases[0], result)
        needed = needed_words(case.tokens, k, n, cols, case.buffer_kb * 1024)
        bound = max(out["compute_cycles"] + 1, *(words / rate for words, rate in zip(needed, case.bandwidth, strict=True)))
        points.append(
            {
                "layer": case.layer, "tokens": case.tokens, "k": k, "n": n, "rows": rows, "cols": cols,
                "buffer_kb": case.buffer_kb, "bandwidth": "/".join(map(str, case.bandwidth)),
                "compute_cycles": out["compute_cycles"] + 1, "scalesim_cycles": out["total_cycles"] + 1, "bound_cycles": bound,
                "ratio": (out["total_cycles"] + 1) / bound,
                **{key: out[key] for key in _COUNTS},
                **{f"needed_{key}": words for key, words in zip(_COUNTS, needed, strict=True)},
            }
        )  # fmt: skip
    return points


def stall_rows(points: list[dict[str, Any]], model: str) -> list[Row]:
    """SCALE-Sim's cycles as the published number, the bound as ours."""
    return [
        row(
            "timing", f"{p['layer']} cycles with memory", p["bound_cycles"], p["scalesim_cycles"], input_len=p["tokens"],
            baseline="SCALE-Sim 3.0.0, USER mode",
            conditions=f"{model}, K {p['k']}, N {p['n']}, one {p['rows']} x {p['cols']} array, weight stationary; double buffers "
            f"of {p['buffer_kb']} kB, DRAM words per cycle {p['bandwidth']}; ours is the bound max(compute, words / bandwidth)",
        )
        for p in points
    ]  # fmt: skip


def stall_table(points: list[dict[str, Any]]) -> Table:
    """Cycles, and how many times the needed words SCALE-Sim moves."""
    table = Table(
        title="SCALE-Sim's memory stalls (USER mode) against the bound max(compute, words / bandwidth)", title_justify="left",
        box=None, pad_edge=False, padding=(0, 2, 0, 0), caption="words moved / words needed", caption_justify="left",
    )  # fmt: skip
    columns = ("layer", "T", "buffers kB", "words/cycle", "compute Mc", "SCALE-Sim Mc", "bound Mc", "SCALE-Sim / bound",
               "ifmap", "filter", "ofmap")  # fmt: skip
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    for p in points:
        cycles = (f"{p[key] / 1e6:.2f}" for key in ("compute_cycles", "scalesim_cycles", "bound_cycles"))
        moved = (f"{p[key] / p['needed_' + key]:.1f}x" for key in _COUNTS)
        table.add_row(
            p["layer"], f"{p['tokens']:,}", f"{p['buffer_kb']:,}", p["bandwidth"], *cycles, f"{p['ratio']:.2f}", *moved
        )  # fmt: skip
    return table
