"""A9: the smallest bandwidth between devices that hides communication.

A bandwidth hides communication if the step takes at most (1 + tolerance) times as long as with unlimited bandwidth, at the same
latency per message; the knee is the least such bandwidth, found to 1 % between the values swept. Beside it stand the rules of
papers.md 3.8: all of a layer's volume while the layer streams its weights, keys and values (or computes), and the same for the
tightest GEMM. A rule assumes that all communication overlaps; the engine exposes what its schedule does not overlap.
"""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from rich.table import Table

import hdasim
from hdasim.spec.base import BytesPerSecond, DeviceCount, Spec
from hdasim.spec.hardware import Device
from hdasim.spec.load import locate
from hdasim.spec.model import Model

from .inputs import Loader, Shape, Tolerance, blame, check_ascending
from .knee import knee, refine
from .lines import Curve, Panel, figure
from .outcome import Outcome, Row, read, row
from .tables import percent, plain
from .tensor_parallel import IDEAL, Variant, batch_hidden, check_dense, gemm_rule, layer_rule

Point = dict[str, Any]
UNLIMITED = IDEAL["device.p2p.bandwidth"]
#: Share of the peak at which papers.md 3.8 lets a compute-bound step run.
COMPUTE_SHARE = 0.8
#: Relative resolution of the knee.
RESOLUTION = 0.01


class Links(Spec):
    """The experiment file."""

    bandwidths: Annotated[tuple[BytesPerSecond, ...], Meta(min_length=2, max_length=64)]
    published: BytesPerSecond
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=12)]
    steps: Annotated[tuple[Shape, ...], Meta(min_length=1, max_length=16)]
    device_count: DeviceCount
    device: str = "ador"
    model: str = "llama3-70b"
    tolerance: Tolerance = 0.05

    def __post_init__(self) -> None:
        check_ascending(bandwidths=self.bandwidths)
        if self.device_count < 2:
            raise ValueError(f"device_count: {self.device_count} device communicates with none; use 2 or more")
        if any(v.tp_algorithm == "auto" for v in self.variants):
            raise ValueError("variants: the rules need an algorithm; use direct, ring or tree")


class Case:
    """One variant and step at any bandwidth."""

    def __init__(self, sweep: Links, load: Loader, variant: Variant, shape: Shape) -> None:
        self.variant, self.shape, self._devices, self._load = variant, shape, sweep.device_count, load

    def step(self, bandwidth: float, **settings: Any) -> tuple[Any, float]:
        """The machine and seconds of the step."""
        experiment = self.variant.on(self._load, self._devices, **{"device.p2p.bandwidth": bandwidth, **settings})
        machine, record, _ = hdasim.step(experiment, self.shape.phase, self.shape.batch_size, self.shape.input_len)
        return machine, float(record["time"])

    def seconds(self, bandwidth: float) -> float:
        return self.step(bandwidth)[1]


def find_knee(case: Case, bandwidths: tuple[float, ...], times: list[float], unlimited: float, tolerance: float) -> float | None:
    """The knee in bytes/s; the first bandwidth if already that hides, None if none does."""
    at = knee(bandwidths, times, tolerance, unlimited)
    if at is None or at == 0:
        return None if at is None else bandwidths[0]
    return refine(case.seconds, bandwidths[at - 1], bandwidths[at], (1 + tolerance) * unlimited, RESOLUTION)


def rates(device: Device) -> tuple[float, float]:
    """(sustained DRAM bytes/s, sustained multiply-accumulates/s) that the rules of papers.md 3.8 assume."""
    u = device.dram.utilization
    most = u.value if hasattr(u, "value") else u.maximum
    return device.dram.bandwidth * most, COMPUTE_SHARE * sum(device.peak_macs_per_second)


def evaluate(sweep: Links, load: Loader, variant: Variant, shape: Shape, model: Model, device: Device) -> list[Point]:
    """One point for each bandwidth; what belongs to the whole curve stands in each."""
    case = Case(sweep, load, variant, shape)
    unlimited = case.seconds(UNLIMITED)
    ideal = case.step(UNLIMITED, **{"device.p2p.latency": 0})[1]
    times = [case.seconds(b) for b in sweep.bandwidths]
    found = find_knee(case, sweep.bandwidths, times, unlimited, sweep.tolerance)
    dram, macs = rates(device)
    common = {
        "variant": variant.label, "step": shape.label, "phase": shape.phase, "batch": shape.batch_size, "tokens": shape.tokens,
        "input_len": shape.input_len, "knee": found, "unlimited_ms": 1e3 * unlimited, "ideal_ms": 1e3 * ideal,
        "latency_exposed": unlimited / ideal - 1, "layer_rule": layer_rule(variant, model, sweep.device_count, shape, dram, macs),
        "gemm_rule": gemm_rule(variant, model, sweep.device_count, shape.tokens, dram) if shape.phase == "decode" else None,
    }  # fmt: skip
    return [
        common | {"bandwidth": b, "ms": 1e3 * t, "communication_ms": 1e3 * (t - ideal), "exposed": t / ideal - 1}
        for b, t in zip(sweep.bandwidths, times, strict=True)
    ]


def curves(points: list[Point]) -> list[list[Point]]:
    """Points by variant and step, in the order of the file."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for p in points:
        groups.setdefault((p["variant"], p["step"]), []).append(p)
    return list(groups.values())


def _hidden_up_to(points: list[Point], variant: str, bandwidth: float) -> list[int]:
    """Batches of the sweep whose decode communication `bandwidth` hides."""
    heads = [c[0] for c in curves(points) if c[0]["variant"] == variant and c[0]["phase"] == "decode"]
    return [p["batch"] for p in heads if p["knee"] is not None and p["knee"] <= bandwidth]


def compare(sweep: Links, points: list[Point], model: Model, device: Device) -> list[Row]:
    rows: list[Row] = []
    base = f"{model.name} x {sweep.device_count} on {device.name}"
    for curve in curves(points):
        p = curve[0]
        text = (
            f"{base}; {p['variant']}; {p['step']}; hidden = step within {sweep.tolerance:.0%} of unlimited bandwidth; "
            f"latency alone adds {p['latency_exposed']:.1%}"
        )
        if p["knee"] is None:
            note = f"{text}; not hidden at {sweep.bandwidths[-1] / 1e9:g} GB/s"
            rows.append(Row(experiment="A9", name="least bandwidth that hides communication, bytes/s", published=sweep.published,
                            input_len=p["input_len"], conditions=note))  # fmt: skip
        else:
            enough = "is" if p["knee"] <= sweep.published else "is not"
            note = f"{text}; {sweep.published / 1e9:g} GB/s {enough} enough"
            note += "; at or below the least bandwidth swept" if p["knee"] == sweep.bandwidths[0] else ""
            rows.append(row("A9", "least bandwidth that hides communication, bytes/s", p["knee"], sweep.published,
                            input_len=p["input_len"], conditions=note))  # fmt: skip
        for key, name in (
            ("layer_rule", "layer rule of papers.md 3.8"),
            ("gemm_rule", "rule of papers.md 3.8 for the tightest GEMM"),
        ):
            if p[key] is not None:
                note = f"{base}; {p['variant']}; {p['step']}; assumes that all communication overlaps"
                rows.append(row("A9", f"{name}, bytes/s", p[key], sweep.published, input_len=p["input_len"], conditions=note))
    dram, _ = rates(device)
    for v in sweep.variants:
        for context in sorted({s.input_len for s in sweep.steps if s.phase == "decode"}):
            most = batch_hidden(v, model, sweep.device_count, context, sweep.published, dram)
            batches = _hidden_up_to(points, v.label, sweep.published)
            text = (
                f"{base}; {v.label}; decode; by the layer rule; the engine hides it, of the batches swept, at {batches or 'none'}"
            )
            rows.append(
                row("A9", f"batch up to which {sweep.published / 1e9:g} GB/s is enough", most, input_len=context, conditions=text)
            )
    return rows


def _giga(value: float | None, least: float = 0.0) -> str:
    if value is None:
        return "-"
    return f"<= {value / 1e9:g}" if value == least else f"{value / 1e9:.1f}"


def _table(sweep: Links, points: list[Point], model: Model, device: Device) -> Table:
    columns = (
        "variant", "step", "ideal ms", *(f"{b / 1e9:g}" for b in sweep.bandwidths), "latency", "knee", "layer rule", "GEMM rule",
    )  # fmt: skip
    what = f"{model.name} x {sweep.device_count} on {device.name}"
    table = plain(f"A9, {what}: exposed communication by GB/s per direction, % of the ideal step", columns, 2)
    for curve in curves(points):
        p = curve[0]
        table.add_row(
            p["variant"], p["step"], f"{p['ideal_ms']:.2f}", *(percent(q["exposed"]) for q in curve),
            percent(p["latency_exposed"]), _giga(p["knee"], sweep.bandwidths[0]), _giga(p["layer_rule"]), _giga(p["gemm_rule"]),
        )  # fmt: skip
    dram, _ = rates(device)
    limits = []
    for v in sweep.variants:
        context = next((s.input_len for s in sweep.steps if s.phase == "decode"), 1024)
        limits.append(f"{v.label} {batch_hidden(v, model, sweep.device_count, context, sweep.published, dram):.0f}")
    table.caption = (
        f"knee, rules: GB/s; knee: step within {sweep.tolerance:.0%} of unlimited bandwidth\n"
        f"batch up to which the published {sweep.published / 1e9:g} GB/s hides decode by the layer rule: {', '.join(limits)}"
    )
    return table


def _panels(sweep: Links, points: list[Point]) -> list[list[Panel]]:
    """One panel for each variant."""
    ticks = [b / 1e9 for b in sweep.bandwidths]
    panels = []
    for v in sweep.variants:
        lines = [
            Curve(c[0]["step"], ticks, [max(q["exposed"], 1e-4) for q in c], c[0]["knee"] and c[0]["knee"] / 1e9)
            for c in curves(points)
            if c[0]["variant"] == v.label
        ]
        panels.append(
            Panel(
                v.label, "GB/s per direction", "exposed / ideal step", lines, (sweep.published / 1e9, "as published"), ticks=ticks
            )
        )
    return [panels[i : i + 2] for i in range(0, len(panels), 2)]


def run(file: Path) -> Outcome:
    """Evaluate the experiment `file`."""
    sweep, document = read(file, Links)
    with locate(document), blame("model"):
        load = Loader(sweep.model, sweep.device)
        experiment = load.with_({"serving.device_count": sweep.device_count})
        model, device = experiment.model, experiment.device
        check_dense(model)
        points = [p for v in sweep.variants for s in sweep.steps for p in evaluate(sweep, load, v, s, model, device)]
    title = f"A9: communication that is not hidden, {model.name} x {sweep.device_count} on {device.name}"
    star = f"hidden within {sweep.tolerance:.0%}"
    rows, table = compare(sweep, points, model, device), _table(sweep, points, model, device)
    return Outcome(rows, points, [table], [figure(title, _panels(sweep, points), star)])
