"""A9b: the smallest NoC bandwidth that hides what cores exchange; the counterpart of A9 inside a device.

The rules (papers.md 3.7): in latency mode a core receives its inputs while the GEMM before streams its weights from DRAM; in
throughput mode the next weight tile of an array arrives while the current one is used. `hdasim.step` chooses its own grid of
cores for every width, so it may avoid traffic that a fixed mode has.
"""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from rich.table import Table

import hdasim
from hdasim.spec.base import DeviceCount, Spec, Width
from hdasim.spec.hardware import Device
from hdasim.spec.load import locate
from hdasim.spec.model import Model

from .a9 import rates
from .inputs import Loader, Shape, Tolerance, blame, check_ascending
from .knee import knee
from .lines import Curve, Panel, figure
from .outcome import Outcome, Row, read, row
from .tables import percent, plain

Point = dict[str, Any]
UNLIMITED = 1 << 20  # bytes per cycle, the widest link that a device may have


class Network(Spec):
    """The experiment file."""

    link_widths: Annotated[tuple[Width, ...], Meta(min_length=2, max_length=64)]
    steps: Annotated[tuple[Shape, ...], Meta(min_length=1, max_length=16)]
    device: str = "ador"
    model: str = "llama3-8b"
    device_count: DeviceCount = 1
    tolerance: Tolerance = 0.05

    def __post_init__(self) -> None:
        check_ascending(link_widths=self.link_widths)


def latency_rule(model: Model, device: Device, tokens: int, dram_rate: float) -> float:
    """Bytes/s into a core so that the all-gather of inputs hides under the GEMM before: (n - 1) / n x B x rate / K, least K."""
    n = device.core_count
    narrowest = min(model.hidden_size, model.num_attention_heads * model.v_head_dim, model.intermediate_size)
    return (n - 1) / n * tokens * dram_rate / narrowest


def throughput_rule(device: Device, element: float, rows: int) -> float:
    """Bytes/s into a core so that weight tiles of its array hide under `rows` streamed: R x C x b x f / max(rows, R)."""
    array = device.core.systolic_array
    return array.rows * array.cols * array.lanes * element * device.frequency / max(rows, array.rows)


def seconds(load: Loader, sweep: Network, shape: Shape, width: int) -> float:
    experiment = load.with_({"serving.device_count": sweep.device_count, "device.noc.link_width": width})
    return float(hdasim.step(experiment, shape.phase, shape.batch_size, shape.input_len)[1]["time"])


def least_width(load: Loader, sweep: Network, shape: Shape, times: list[float], unlimited: float) -> int | None:
    """The knee in whole bytes per cycle, bisected between the widths swept."""
    at = knee(sweep.link_widths, times, sweep.tolerance, unlimited)
    if at is None or at == 0:
        return None if at is None else sweep.link_widths[0]
    low, high = sweep.link_widths[at - 1], sweep.link_widths[at]
    while high - low > 1:
        middle = (low + high) // 2
        if seconds(load, sweep, shape, middle) <= (1 + sweep.tolerance) * unlimited:
            high = middle
        else:
            low = middle
    return high


def evaluate(load: Loader, sweep: Network, shape: Shape, model: Model, device: Device) -> list[Point]:
    """One point for each width; what belongs to the whole curve stands in each."""
    unlimited = seconds(load, sweep, shape, UNLIMITED)
    times = [seconds(load, sweep, shape, w) for w in sweep.link_widths]
    dram, _ = rates(device)
    rule = (
        latency_rule(model, device, shape.tokens, dram)
        if shape.phase == "decode"
        else throughput_rule(device, model.weight_bytes, 1)
    )
    common = {
        "step": shape.label, "phase": shape.phase, "tokens": shape.tokens, "input_len": shape.input_len,
        "knee": least_width(load, sweep, shape, times, unlimited), "rule": rule / device.frequency,
        "unlimited_ms": 1e3 * unlimited,
    }  # fmt: skip
    return [
        common | {"link_width": w, "bandwidth": w * device.frequency, "ms": 1e3 * t, "exposed": t / unlimited - 1}
        for w, t in zip(sweep.link_widths, times, strict=True)
    ]


def compare(sweep: Network, points: list[Point], device: Device) -> list[Row]:
    rows: list[Row] = []
    for p in {p["step"]: p for p in points}.values():
        mode = "latency mode, tightest GEMM" if p["phase"] == "decode" else "throughput mode, up to a tile of one array's rows"
        text = (
            f"{sweep.model} x {sweep.device_count} on {device.name}; {p['step']}; hidden = step within {sweep.tolerance:.0%} of "
            f"unlimited width; the rule is that of {mode}, the engine chooses its grid anew at every width"
        )
        name = "least link width that hides exchange between cores, B/cycle"
        if p["knee"] is None:
            note = f"{text}; not hidden at {sweep.link_widths[-1]} B/cycle"
            rows.append(Row(experiment="A9b", name=name, baseline="rule of papers.md 3.7", published=p["rule"],
                            input_len=p["input_len"], conditions=note))  # fmt: skip
            continue
        enough = "hides it" if p["knee"] <= device.noc.link_width else "does not hide it"
        note = f"{text}; the device's {device.noc.link_width} B/cycle {enough}"
        note += "; at or below the least width swept" if p["knee"] == sweep.link_widths[0] else ""
        rows.append(row("A9b", name, float(p["knee"]), p["rule"], baseline="rule of papers.md 3.7", input_len=p["input_len"],
                        conditions=note))  # fmt: skip
    return rows


def _table(sweep: Network, points: list[Point], device: Device) -> Table:
    what = "exposed exchange between cores by link width (B/cycle), % of the step with unlimited width"
    columns = ("step", "least ms", *map(str, sweep.link_widths), "knee", "GB/s", "rule", "GB/s")
    table = plain(f"A9b, {sweep.model} on {device.name}: {what}", columns)
    for s in sweep.steps:
        mine = [p for p in points if p["step"] == s.label]
        p, giga = mine[0], device.frequency / 1e9
        found = ("-", "-") if p["knee"] is None else (
            f"{'<= ' if p['knee'] == sweep.link_widths[0] else ''}{p['knee']}", f"{p['knee'] * giga:.1f}"
        )  # fmt: skip
        cells = (percent(q["exposed"]) for q in mine)
        table.add_row(s.label, f"{p['unlimited_ms']:.2f}", *cells, *found, f"{p['rule']:.1f}", f"{p['rule'] * giga:.1f}")
    table.caption = (
        f"knee: step within {sweep.tolerance:.0%} of unlimited width   rule: papers.md 3.7, latency mode for decode, throughput "
        f"mode for prefill   {device.name} has {device.noc.link_width} B/cycle"
    )
    return table


def _panels(sweep: Network, points: list[Point], device: Device) -> list[list[Panel]]:
    panels = []
    for phase in dict.fromkeys(s.phase for s in sweep.steps):
        lines = []
        for s in (s for s in sweep.steps if s.phase == phase):
            mine = [p for p in points if p["step"] == s.label]
            lines.append(Curve(s.label, sweep.link_widths, [max(p["exposed"], 1e-4) for p in mine], mine[0]["knee"]))
        name = (float(device.noc.link_width), device.name)
        panels.append(Panel(phase, "link width, bytes per cycle", "exposed / step with unlimited width", lines, upright=name,
                            ticks=sweep.link_widths))  # fmt: skip
    return [panels]


def run(file: Path) -> Outcome:
    """Evaluate the experiment `file`."""
    sweep, document = read(file, Network)
    with locate(document), blame("model"):
        load = Loader(sweep.model, sweep.device)
        experiment = load.with_({"serving.device_count": sweep.device_count})
        device = experiment.device
        points = [p for s in sweep.steps for p in evaluate(load, sweep, s, experiment.model, device)]
    title = f"A9b: exchange between cores that is not hidden, {sweep.model} on {device.name}"
    star = f"hidden within {sweep.tolerance:.0%}"
    rows, table = compare(sweep, points, device), _table(sweep, points, device)
    return Outcome(rows, points, [table], [figure(title, _panels(sweep, points, device), star)])
