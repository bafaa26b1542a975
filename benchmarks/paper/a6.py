"""A6: lanes of the MAC tree on decode attention.

Three judgements, because the answer depends on what else the chip may do:

- the tree alone: decode attention as ADOR's latency mode runs it (papers.md 3.5), on the tree, nothing before or after it. The
  engine executes the step with arrays of one cell, which never win against the tree, and without prefetching, so that the time
  of the operator is its own;
- a decode step as the engine executes it: systolic arrays take the attention wherever they are faster, and transfers run ahead;
- a mixed step: the same decodes beside a prompt chunk.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from rich.table import Table

import hdasim
from hdasim.spec.base import DeviceCount, Side, Spec
from hdasim.spec.load import locate

from .inputs import Count, Loader, Tolerance, blame, check_ascending
from .knee import knee
from .lines import Curve, Panel, figure
from .outcome import Outcome, Row, read, row
from .tables import plain

Point = dict[str, Any]
TREE, DECODE, MIXED = "tree alone", "decode step", "mixed step"
#: What leaves decode attention to the tree and gives it a time of its own.
_ALONE = {
    "device.core.systolic_array.rows": 1, "device.core.systolic_array.cols": 1, "device.core.systolic_array.lanes": 1,
    "device.prefetch": False, "device.launch_overhead": 0,
}  # fmt: skip


class Target(Spec):
    model: str
    device_count: DeviceCount = 1


class Lanes(Spec):
    """The experiment file."""

    lanes: Annotated[tuple[Side, ...], Meta(min_length=2, max_length=64)]
    batches: Annotated[tuple[Count, ...], Meta(min_length=1, max_length=8)]
    context: Count
    published: Side
    models: Annotated[tuple[Target, ...], Meta(min_length=1, max_length=16)]
    device: str = "ador"
    tolerance: Tolerance = 0.02

    def __post_init__(self) -> None:
        check_ascending(lanes=self.lanes, batches=self.batches)
        if self.published not in self.lanes:
            raise ValueError(f"published: {self.published} is not among lanes {list(self.lanes)}; add it")


def lanes_needed(group: int, dram_rate: float, width: int, cores: int, frequency: float, element_bytes: float) -> float:
    """Lanes with which the tree keeps up with DRAM when lanes are split: group x elements per cycle and core / width.

    Each of the e = rate / (cores x frequency x bytes) elements that arrive per cycle meets `group` queries; the tree has
    width x lanes multipliers (papers.md 3.3, with a reuse of `group`). Head dimension and context drop out.
    """
    return group * dram_rate / (cores * frequency * element_bytes * width)


def _attention(machine: Any, ops: Any) -> tuple[Any, Any]:
    """The first decode attention of the program and what its step took; times are summed over its repetitions."""
    pairs = zip(machine.compiled.ops, ops, strict=True)
    return next((op, o) for op, o in pairs if op.kind == "decode_attention")


def evaluate(load: Loader, target: Target, sweep: Lanes, lanes: int, split: bool, batch: int, judged: str) -> Point:
    """One number of lanes under one judgement."""
    settings = {
        "serving.device_count": target.device_count, "device.core.mac_tree.lanes": lanes,
        "device.core.mac_tree.lanes_split": split, **(_ALONE if judged == TREE else {}),
    }  # fmt: skip
    experiment = load.with_(settings)
    machine, record, ops = hdasim.step(experiment, "mixed" if judged == MIXED else "decode", batch, sweep.context)
    op, own = _attention(machine, ops)
    dma, sa, mt, vu, noc, _ = (float(t) for t in own["unit_time"])
    seconds = float(own["exposed"] if judged == TREE else record["time"])
    device = machine.device
    needed = lanes_needed(
        op.group,
        float(own["dram_bytes"]) / dma,
        device.core.mac_tree.width,
        device.core_count,
        device.frequency,
        machine.kv_bytes,
    )
    tokens = batch
    if judged == MIXED:
        tokens += min(sweep.context, experiment.serving.max_num_batched_tokens - batch)
    return {
        "judged_by": judged, "model": target.model, "group": op.group, "device_count": target.device_count, "batch": batch,
        "context": sweep.context, "lanes_split": split, "lanes": lanes, "ms": 1e3 * seconds, "tokens_per_s": tokens / seconds,
        "attention_on": "array" if sa > mt else "tree", "dram_ms": 1e3 * dma, "tree_ms": 1e3 * mt, "vector_ms": 1e3 * vu,
        "noc_ms": 1e3 * noc, "lanes_to_keep_up": needed,
        "kv_share_of_dram_peak": float(own["dram_bytes"]) / seconds / device.dram.bandwidth if judged == TREE else None,
    }  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """One curve over lanes."""

    points: list[Point]
    chosen: Point
    knee: Point
    best: float

    @property
    def saturated(self) -> bool:
        return self.knee is not self.points[-1]

    @property
    def slowdown(self) -> float:
        return float(self.chosen["ms"] / self.best)


def verdicts(sweep: Lanes, points: list[Point]) -> list[Verdict]:
    curves: dict[tuple[Any, ...], list[Point]] = {}
    for p in points:
        curves.setdefault((p["judged_by"], p["model"], p["lanes_split"], p["batch"]), []).append(p)
    found = []
    for curve in curves.values():
        times = [p["ms"] for p in curve]
        at = knee(sweep.lanes, times, sweep.tolerance)
        chosen = next(p for p in curve if p["lanes"] == sweep.published)
        found.append(Verdict(curve, chosen, curve[-1 if at is None else at], min(times)))
    return found


def limit(v: Verdict) -> str:
    """What the time of the tree's attention consists of mostly, at the end of the sweep."""
    p = v.points[-1]
    parts = {"DRAM": p["dram_ms"], "tree": p["tree_ms"], "vector unit (softmax)": p["vector_ms"], "NoC": p["noc_ms"]}
    return max(parts, key=lambda k: parts[k])


def taken(v: Verdict) -> str:
    """Which unit the engine gives decode attention to."""
    lanes = [p["lanes"] for p in v.points if p["attention_on"] == "tree"]
    return f"tree from {lanes[0]} lanes, arrays below" if lanes else "arrays"


def reason(v: Verdict) -> str:
    """Why the curve ends where it does."""
    if v.chosen["judged_by"] == TREE:
        return f"at {v.points[-1]['lanes']} lanes mostly {limit(v)}"
    text = f"attention runs on: {taken(v)}"
    return text + ("; lanes also add multipliers to the GEMMs of the chunk" if v.chosen["judged_by"] == MIXED else "")


def compare(sweep: Lanes, found: list[Verdict]) -> list[Row]:
    """For each curve the knee, and what the published choice loses."""
    rows: list[Row] = []
    for v in found:
        p = v.chosen
        within = v.slowdown <= 1 + sweep.tolerance
        end = "" if v.saturated else f"; still falling at {sweep.lanes[-1]} lanes: no saturation in the sweep"
        text = (
            f"{p['judged_by']}; {p['model']} x {p['device_count']}, {p['group']} query heads per kv head, batch {p['batch']}; "
            f"lanes {'split over outputs where reuse is lower' if p['lanes_split'] else 'for reuse only'}; knee = first lanes "
            f"within {sweep.tolerance:.0%} of the best; {sweep.published} lanes {'are' if within else 'are not'} enough; "
            f"{reason(v)}{end}"
        )
        lines = {
            "knee, lanes": (v.knee["lanes"], sweep.published),
            f"time at {sweep.published} lanes / best": (v.slowdown, 1),
        }
        if p["judged_by"] == TREE:
            lines["lanes that keep up with DRAM"] = (p["lanes_to_keep_up"], sweep.published)
            lines[f"keys and values at {sweep.published} lanes / peak DRAM bandwidth"] = (p["kv_share_of_dram_peak"], None)
        rows += [
            row(
                "A6", name, float(ours), None if published is None else float(published), input_len=sweep.context, conditions=text
            )
            for name, (ours, published) in lines.items()
        ]
    return rows


def _table(sweep: Lanes, judged: str, found: list[Verdict]) -> Table:
    """Milliseconds by lanes; the knee is marked, the published choice in brackets."""
    what = "decode attention of all layers" if judged == TREE else "the whole step"
    last = ("keeps up", "limited by") if judged == TREE else ("attention on",)
    columns = ("model", "g", "batch", "split", *map(str, sweep.lanes), *last)
    table = plain(f"A6, {judged}: ms of {what} by lanes", columns)
    table.columns[-1].justify = "left"
    for v in found:
        cells = []
        for p in v.points:
            text = f"{p['ms']:.3f}" if p["ms"] < 10 else f"{p['ms']:.2f}"
            text = rf"\[{text}]" if p is v.chosen else text
            cells.append(text + ("*" if p is v.knee and v.saturated else " "))
        p = v.chosen
        end = (f"{p['lanes_to_keep_up']:.1f}", limit(v)) if judged == TREE else (taken(v),)
        table.add_row(p["model"], str(p["group"]), str(p["batch"]), "yes" if p["lanes_split"] else "no", *cells, *end)
    table.caption = f"* knee: first within {sweep.tolerance:.0%} of the best; none: no saturation   [ ] published choice" + (
        "\nkeeps up: lanes that keep up with DRAM if they are split   limited by: longest part at the last number of lanes"
        if judged == TREE
        else ""
    )
    return table


def _panels(sweep: Lanes, found: list[Verdict]) -> list[list[Panel]]:
    """Judgements across, batches down; time over the best, split lanes solid, unsplit dashed."""
    rows = []
    for batch in sweep.batches:
        panels = []
        for judged in (TREE, DECODE, MIXED):
            mine = [v for v in found if v.chosen["judged_by"] == judged and v.chosen["batch"] == batch]
            best: dict[str, float] = {}
            for v in mine:
                model = v.chosen["model"]
                best[model] = min(v.best, best.get(model, v.best))
            curves = [
                Curve(
                    f"{v.chosen['model']} (g = {v.chosen['group']})", sweep.lanes,
                    [p["ms"] / best[p["model"]] for p in v.points], v.knee["lanes"] if v.saturated else None,
                    dashed=not v.chosen["lanes_split"],
                )
                for v in mine
            ]  # fmt: skip
            what = "attention" if judged == TREE else "step"
            panels.append(
                Panel(f"{judged}, batch {batch}", "lanes of the MAC tree", f"time of {what} / best", curves,
                      (sweep.published, "as published"), logarithmic=judged == TREE, ticks=sweep.lanes, least=0.8)
            )  # fmt: skip
        rows.append(panels)
    return rows


def run(file: Path) -> Outcome:
    """Evaluate every model, number of lanes and batch of the experiment `file` under the three judgements."""
    sweep, document = read(file, Lanes)
    points: list[Point] = []
    with locate(document):
        for i, target in enumerate(sweep.models):
            load = Loader(target.model, sweep.device, {"model": ("models", i, "model")})
            for judged, split, batch in product((TREE, DECODE, MIXED), (True, False), sweep.batches):
                with blame("models", i):
                    points += [evaluate(load, target, sweep, lanes, split, batch, judged) for lanes in sweep.lanes]
    found = verdicts(sweep, points)
    order = (TREE, DECODE, MIXED)
    tables = [_table(sweep, judged, [v for v in found if v.chosen["judged_by"] == judged]) for judged in order]
    title = f"A6: lanes of the MAC tree, context {sweep.context:,}, {sweep.device}; solid: lanes split, dashed: for reuse only"
    return Outcome(compare(sweep, found), points, tables, [figure(title, _panels(sweep, found))])
