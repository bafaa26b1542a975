"""A5: the size of the systolic array at equal MACs.

Each size is judged twice: by array cycles alone (the engine's closed form, each GEMM cut over the cores in the way that suits it
best, nothing else in the way), and as the engine executes a prefill: DRAM, global and local memory, NoC, one grid for all GEMMs.
"""

import math
import operator
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hdasim.core._core import sa_gemm_cycles
from hdasim.errors import CapacityError, SpecError
from hdasim.simulate import step
from hdasim.spec.base import CoreCount, Side, Spec
from hdasim.spec.experiment import Experiment
from hdasim.spec.hardware import Device
from hdasim.spec.load import load_device, locate

from .heatmap import figure, heat_table
from .inputs import ArraySize, load_model
from .outcome import Outcome, Row, read, row

Tokens = Annotated[int, Meta(ge=1, le=1 << 16)]
Point = dict[str, Any]
#: The judgement that no design changes.
ARRAY = "array cycles alone"


class Design(Spec):
    """What surrounds the arrays; see a5.yaml."""

    name: Annotated[str, Meta(min_length=1, max_length=60)]
    local_memory: Literal["share", "same"] = "share"
    vector_unit: Literal["share", "same"] = "share"
    mac_tree: Literal["none", "share", "same"] = "none"
    link_width: Literal["match", "share", "same"] = "match"


def judgement(design: Design) -> str:
    """What the points of a design are called."""
    return f"engine, {design.name}"


class Sweep(Spec):
    """The experiment file."""

    array_rows: Annotated[tuple[Side, ...], Meta(min_length=1, max_length=64)]
    array_cols: Annotated[tuple[Side, ...], Meta(min_length=1, max_length=64)]
    tokens: Annotated[tuple[Tokens, ...], Meta(min_length=1, max_length=32)]
    reference_tokens: Tokens
    published: ArraySize
    macs: Annotated[int, Meta(ge=1, le=1 << 32)]
    designs: Annotated[tuple[Design, ...], Meta(min_length=1, max_length=8)]
    device: str = "ador"
    model: str = "llama3-8b"
    max_core_count: CoreCount = 1024

    def __post_init__(self) -> None:
        for key in ("array_rows", "array_cols", "tokens"):
            values = getattr(self, key)
            if list(values) != sorted(set(values)):
                raise ValueError(f"{key}: must ascend, each value once, got {list(values)}")
        if self.reference_tokens not in self.tokens:
            raise ValueError(f"reference_tokens: {self.reference_tokens} is not among tokens {list(self.tokens)}")
        if self.published.rows not in self.array_rows or self.published.cols not in self.array_cols:
            raise ValueError(f"published: {self.published.rows} x {self.published.cols} is not in the sweep; add it")
        if self.published.rows * self.published.cols > self.macs:
            raise ValueError(f"macs: {self.macs} is less than one published array of {self.published.rows * self.published.cols}")
        names = [d.name for d in self.designs]
        if len(set(names)) < len(names):
            raise ValueError(f"designs: names must differ, got {', '.join(names)}")

    def sizes(self) -> list[ArraySize]:
        """Sizes of which the budget buys at least one and at most `max_core_count`."""
        sizes = (ArraySize(rows=r, cols=c) for r, c in product(self.array_rows, self.array_cols))
        return [s for s in sizes if 1 <= self.macs // (s.rows * s.cols) <= self.max_core_count]


def device_with(base: Device, size: ArraySize, macs: int, design: Design) -> Device:
    """`base` with as many cores of one `size` array as `macs` buys, and around them what `design` says."""
    replace = msgspec.structs.replace
    cores = macs // (size.rows * size.cols)
    scale = base.core_count / cores  # of what is shared: the total over the new cores
    core, tree = base.core, base.core.mac_tree
    if design.mac_tree == "none":
        tree = None
    elif tree and design.mac_tree == "share":
        most = max(1, int(tree.width * tree.lanes * scale))
        width = min(tree.width, most)
        tree = replace(tree, width=width, lanes=most // width)
    vector = core.vector_unit
    if design.vector_unit == "share":
        vector = replace(vector, width=max(1, int(vector.width * scale)))
    memory = core.local_memory * scale if design.local_memory == "share" else core.local_memory
    array = replace(core.systolic_array, rows=size.rows, cols=size.cols, lanes=1)
    columns = min(cores, 1 << math.ceil(math.log2(math.sqrt(cores))))  # the power of two from the square root on: 8 for 32 cores
    widths = {"match": 2 * size.cols, "share": max(1, int(base.noc.link_width * scale)), "same": base.noc.link_width}
    return replace(
        base, core_count=cores, noc=replace(base.noc, columns=columns, link_width=widths[design.link_width]),
        core=replace(core, systolic_array=array, mac_tree=tree, vector_unit=vector, local_memory=memory),
    )  # fmt: skip


def array_cycles(gemms: list[tuple[int, int, int]], tokens: int, size: ArraySize, cores: int) -> int:
    """Cycles of `gemms` (K, N, repetitions) if each is cut over row groups x column groups of cores as suits it best."""
    groups = np.arange(1, min(cores, tokens) + 1)
    total = 0
    for k, n, repeat in gemms:
        shares = np.stack([-(-tokens // groups), np.full_like(groups, k), -(-n // (cores // groups))], axis=1)
        total += repeat * int(sa_gemm_cycles(np.ascontiguousarray(shares, np.int64), size.rows, size.cols, 1).min())
    return total


def _is_gemm(op: Any) -> bool:
    """GEMMs on all tokens of the step; the LM head sees one token of a prompt."""
    return bool(op.kind == "linear" and op.rows == "tokens")


def evaluate(experiment: Experiment, size: ArraySize, tokens: int, macs: int, designs: tuple[Design, ...]) -> list[Point]:
    """One point for array cycles alone and one for each design."""
    points: list[Point] = []
    for design in designs:
        device = device_with(experiment.device, size, macs, design)
        machine, record, ops = step(msgspec.structs.replace(experiment, device=device), "prefill", 1, tokens)
        linear = [t for t in zip(machine.compiled.ops, machine.compiled.repeats(), ops, strict=True) if _is_gemm(t[0])]
        useful = sum(float(o["useful_macs"]) for _, _, o in linear)
        used = device.core_count * size.rows * size.cols

        def point(judged: str, seconds: float, step_time: float | None, device: Device = device,
                  used: int = used, useful: float = useful) -> Point:  # fmt: skip
            rate = useful / (device.frequency * seconds)
            return {
                "judged_by": judged, "tokens": tokens, "rows": size.rows, "cols": size.cols, "core_count": device.core_count,
                "macs": used, "macs_of_budget": used / macs, "gemm_ms": 1e3 * seconds, "of_budget": rate / macs,
                "utilization": rate / used, "step_ms": None if step_time is None else 1e3 * step_time,
            }  # fmt: skip

        if not points:
            gemms = [(op.k, op.n, repeat) for op, repeat, _ in linear]
            cycles = array_cycles(gemms, tokens, size, device.core_count)
            points.append(point(ARRAY, cycles / device.frequency, None))
        points.append(point(judgement(design), sum(float(o["exposed"]) for _, _, o in linear), float(record["time"])))
    return points


def _label(p: Point) -> str:
    return f"{p['rows']} x {p['cols']}"


def _overall(points: list[Point]) -> list[Point]:
    """For each size the geometric mean over all numbers of tokens, as a point with tokens None."""
    sizes: dict[tuple[int, int], list[Point]] = {}
    for p in points:
        sizes.setdefault((p["rows"], p["cols"]), []).append(p)
    means = ("gemm_ms", "of_budget", "utilization")
    return [
        group[0] | {"tokens": None} | {key: float(np.exp(np.mean([np.log(p[key]) for p in group]))) for key in means}
        for group in sizes.values()
    ]


@dataclass(frozen=True)
class Verdict:
    """One judgement at one number of tokens (None: geometric mean over all)."""

    judged: str
    tokens: int | None
    best: Point
    square: Point
    chosen: Point
    smallest: Point
    largest: Point

    def slowdown(self, p: Point) -> float:
        return float(p["gemm_ms"] / self.best["gemm_ms"])


def verdicts(sweep: Sweep, points: list[Point]) -> list[Verdict]:
    """Where the optimum lies, and where the published size and the ends of the square sizes stand."""
    found = []
    for judged in dict.fromkeys(p["judged_by"] for p in points):
        mine = [p for p in points if p["judged_by"] == judged]
        groups = [(tokens, [p for p in mine if p["tokens"] == tokens]) for tokens in sweep.tokens]
        for tokens, group in [*groups, (None, _overall(mine))]:
            square = [p for p in group if p["rows"] == p["cols"]] or group
            chosen = next(p for p in group if (p["rows"], p["cols"]) == (sweep.published.rows, sweep.published.cols))
            time = operator.itemgetter("gemm_ms")
            found.append(
                Verdict(judged, tokens, min(group, key=time), min(square, key=time), chosen, min(square, key=_side),
                        max(square, key=_side))
            )  # fmt: skip
    return found


def _side(p: Point) -> int:
    return int(p["rows"] * p["cols"])


def compare(sweep: Sweep, points: list[Point]) -> list[Row]:
    """The rows of `verdicts`; "published" is the choice of the publication, which is all that it states."""
    rows: list[Row] = []
    for v in verdicts(sweep, points):
        name, best = _label(v.chosen), v.best
        outcome = "is the optimum" if v.chosen is best else f"is not the optimum: {_label(best)} is"
        text = (
            f"{v.judged}; {sweep.model}, {'mean over ' + ', '.join(map(str, sweep.tokens)) if v.tokens is None else v.tokens} "
            f"tokens; {sweep.macs:,} MACs; {name} ({v.chosen['core_count']} cores) {outcome} "
            f"({best['core_count']} cores, {best['macs_of_budget']:.1%} of the MACs); the publication states the choice only"
        )
        side = v.chosen["rows"] if v.chosen["rows"] == v.chosen["cols"] else None
        lines = {
            "best array, rows": (best["rows"], v.chosen["rows"]),
            "best array, columns": (best["cols"], v.chosen["cols"]),
            "best square array, side": (v.square["rows"], side),
            f"time of {_label(v.smallest)} / best": (v.slowdown(v.smallest), None),
            f"time of {_label(v.largest)} / best": (v.slowdown(v.largest), None),
            f"time of {name} / best": (v.slowdown(v.chosen), 1),  # last: it may be one of the ends
        }
        for what, (ours, published) in lines.items():
            rows.append(row("A5", what, float(ours), published and float(published), input_len=v.tokens, conditions=text))
    return rows


def summary(sweep: Sweep, found: list[Verdict]) -> Table:
    """One line for each judgement and number of tokens."""
    name = f"{sweep.published.rows} x {sweep.published.cols}"
    ends = found[0]
    table = Table(title="A5: GEMM time against the optimum", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    columns = ("judged by", "tokens", "optimum", "cores", "% of peak", "best square", name)
    for i, column in enumerate((*columns, _label(ends.smallest), _label(ends.largest))):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    for v in found:
        slower = (f"+{v.slowdown(p) - 1:.1%}" for p in (v.chosen, v.smallest, v.largest))
        table.add_row(
            v.judged, "mean" if v.tokens is None else f"{v.tokens:,}", _label(v.best), str(v.best["core_count"]),
            f"{100 * v.best['of_budget']:.1f}", _label(v.square), *slower,
        )  # fmt: skip
    return table


def _experiment(sweep: Sweep) -> Experiment:
    try:
        device = load_device(sweep.device)
    except SpecError as error:
        raise SpecError(str(error), ("device",)) from None
    return msgspec.structs.replace(load_model(sweep.model), device=device)


def run(file: Path) -> Outcome:
    """Evaluate every size, number of tokens and design of the experiment `file`."""
    sweep, document = read(file, Sweep)
    with locate(document):
        experiment = _experiment(sweep)
        work = list(product(sweep.sizes(), sweep.tokens))
        shown = track(work, "A5", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        try:
            points = [p for size, tokens in shown for p in evaluate(experiment, size, tokens, sweep.macs, sweep.designs)]
        except CapacityError as error:
            raise SpecError(error.message, ("model",)) from None
    chosen = sweep.published.rows, sweep.published.cols
    title = f"A5: GEMMs of {sweep.model} on {sweep.macs:,} MACs, % of peak"
    tables = []
    for judged in (ARRAY, *map(judgement, sweep.designs)):
        mine = [p for p in points if p["judged_by"] == judged]
        reference = [p for p in mine if p["tokens"] == sweep.reference_tokens]
        tables.append(heat_table(f"{title}\n{judged}, {sweep.reference_tokens:,} tokens", reference, "rows", "cols", chosen))
    tables.append(summary(sweep, verdicts(sweep, points)))
    return Outcome(compare(sweep, points), points, tables, [figure(points, sweep.reference_tokens, chosen, title)])
