"""Cycles of a model's layers on one array: SCALE-Sim's formula, double-buffered weights, and SCALE-Sim's memory stalls."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from rich.table import Table

from hdasim.compiler.program import compile_program
from hdasim.core._core import sa_gemm_cycles
from hdasim.scalesim.cases import closed_forms, gemm
from hdasim.spec.base import Spec
from hdasim.spec.load import locate

from .inputs import ArraySize, load_model
from .lines import Curve, Panel, figure
from .outcome import Outcome, Row, read, row
from .stalls import Stalls, stall_rows, stall_table, stalled

Tokens = Annotated[int, Meta(ge=1, le=1 << 20)]


class Timing(Spec):
    """The experiment file."""

    array: ArraySize
    tokens: Annotated[tuple[Tokens, ...], Meta(min_length=1, max_length=32)]
    model: str = "llama3-8b"
    stalls: Stalls | None = None


def scalesim_cycles(m: int, k: int, n: int, rows: int, cols: int) -> int:
    """SCALE-Sim, weight stationary: each of F folds takes rows to load, then m + rows + cols - 2 to stream and drain.

    SCALE-Sim itself reports one less, the index of the last cycle.
    """
    return int(closed_forms(gemm(rows, cols, "ws", m, n, k, (1, 1, 1)))["cycles"][0]) + 1


def evaluate(name: str, m: int, k: int, n: int, array: ArraySize) -> dict[str, Any]:
    """Both timings of an m x k x n GEMM, and the cycles of an array that is never idle."""
    published = scalesim_cycles(m, k, n, array.rows, array.cols)
    ours = int(sa_gemm_cycles(np.array([[m, k, n]], np.int64), array.rows, array.cols, 1)[0])
    ideal = m * k * n / (array.rows * array.cols)
    return {
        "layer": name, "tokens": m, "k": k, "n": n, "rows": array.rows, "cols": array.cols, "ideal_cycles": ideal,
        "scalesim_cycles": published, "double_buffered_cycles": ours, "ratio": published / ours,
        "scalesim_utilization": ideal / published, "utilization": ideal / ours,
    }  # fmt: skip


def _rows(points: list[dict[str, Any]], model: str) -> list[Row]:
    rows = []
    for p in points:
        text = (
            f"{model}, K {p['k']}, N {p['n']}, one {p['rows']} x {p['cols']} array, weight stationary; ours loads a fold's "
            f"weights under the fold before; an array that is never idle takes {p['ideal_cycles']:.0f}"
        )
        rows.append(
            row("timing", f"{p['layer']} cycles", p["double_buffered_cycles"], p["scalesim_cycles"], input_len=p["tokens"],
                baseline="SCALE-Sim F (2R + C + T - 2)", conditions=text)
        )  # fmt: skip
    return rows


def _table(points: list[dict[str, Any]], timing: Timing) -> Table:
    """Tokens down, layers across; megacycles."""
    layers = list(dict.fromkeys(p["layer"] for p in points))
    table = Table(
        title=f"{timing.model}, one {timing.array.rows} x {timing.array.cols} array: million cycles, SCALE-Sim / double-buffered",
        title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0),
    )  # fmt: skip
    for column in ("T", *layers, "ratio", "array used"):
        table.add_column(column, justify="right", no_wrap=True)
    for tokens in timing.tokens:
        mine = [p for p in points if p["tokens"] == tokens]
        cells = [f"{p['scalesim_cycles'] / 1e6:.2f} / {p['double_buffered_cycles'] / 1e6:.2f}" for p in mine]
        low, high = min(p["ratio"] for p in mine), max(p["ratio"] for p in mine)
        ratio = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
        ideal = sum(p["ideal_cycles"] for p in mine)
        used = (ideal / sum(p[key] for p in mine) for key in ("scalesim_cycles", "double_buffered_cycles"))
        table.add_row(f"{tokens:,}", *cells, ratio, " / ".join(f"{u:.1%}" for u in used))
    return table


def run(file: Path) -> Outcome:
    """Evaluate every layer and number of tokens of the experiment `file`, and its stalls."""
    timing, document = read(file, Timing)
    with locate(document):
        program = compile_program(load_model(timing.model))
        layers = {op.name: (op.k, op.n) for op in program.ops if op.kind == "linear"}
        points = [evaluate(name, t, k, n, timing.array) for t in timing.tokens for name, (k, n) in layers.items()]
        rows, tables = _rows(points, timing.model), [_table(points, timing)]
        shown = points
        if timing.stalls:
            found = stalled(timing.stalls, layers, timing.array.rows, timing.array.cols)
            rows += stall_rows(found, timing.model)
            tables.append(stall_table(found))
            points = points + found
    layers_ = list(dict.fromkeys(p["layer"] for p in shown))
    by = {n: [(p["tokens"], p["ratio"]) for p in shown if p["layer"] == n] for n in layers_}
    curves = [Curve(n, [x for x, _ in line], [y for _, y in line]) for n, line in by.items()]
    panel = Panel("", "tokens", "SCALE-Sim's cycles / double-buffered", curves, logarithmic=False, ticks=timing.tokens)
    return Outcome(rows, points, tables, [figure("Cycles without double-buffered weights over those with", [[panel]])])
