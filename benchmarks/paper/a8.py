"""A8: Megatron, all-gather and all-reduce tensor parallelism on 1 to 16 devices.

Volumes are counted by the engine and compared with papers.md 3.8 as integers. Times are whole steps; what communication adds is
the step less the same step on a network without bandwidth limit and latency, whatever part the engine hides under compute.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from rich.table import Table

import hdasim
from hdasim.spec.base import DeviceCount, PositiveBytes, Spec
from hdasim.spec.load import locate
from hdasim.spec.model import Model

from .inputs import Loader, Shape, Tolerance, blame, check_ascending
from .lines import Curve, Panel, figure
from .outcome import Outcome, Row, read, row
from .tables import plain
from .tensor_parallel import IDEAL, Variant, check_dense, crossover, volume

Point = dict[str, Any]


class Scaling(Spec):
    """The experiment file."""

    device_counts: Annotated[tuple[DeviceCount, ...], Meta(min_length=2, max_length=16)]
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=12)]
    steps: Annotated[tuple[Shape, ...], Meta(min_length=1, max_length=12)]
    device: str = "ador"
    model: str = "llama3-70b"
    dram_capacity: PositiveBytes | None = None
    tie: Tolerance = 0.005
    published_all_gather_from: DeviceCount = 4

    def __post_init__(self) -> None:
        check_ascending(device_counts=self.device_counts)
        if self.device_counts[0] != 1:
            raise ValueError(f"device_counts: must begin with 1, to which speed-ups relate, got {list(self.device_counts)}")

    @property
    def more(self) -> tuple[int, ...]:
        """Device counts that communicate."""
        return self.device_counts[1:]


def layer_volume(machine: Any, ops: Any, layers: int) -> float:
    """Bytes that a device receives in one decoder layer, as the engine counts them; embedding and LM head are no part of it."""
    pairs = zip(machine.compiled.ops, ops, strict=True)
    return sum(float(o["p2p_bytes"]) for op, o in pairs if op.rows != "emit") / layers


def evaluate(sweep: Scaling, load: Loader) -> tuple[list[Point], Model]:
    """Every variant, number of devices and step."""
    extra: dict[str, object] = {} if sweep.dram_capacity is None else {"device.dram.capacity": sweep.dram_capacity}
    ideal: dict[tuple[str, int, Shape], float] = {}
    points: list[Point] = []
    for v in sweep.variants:
        first: dict[Shape, float] = {}
        for d in sweep.device_counts:
            experiment = v.on(load, d, **extra)
            check_dense(experiment.model)
            without = v.on(load, d, **extra, **IDEAL)
            for s in sweep.steps:
                machine, record, ops = hdasim.step(experiment, s.phase, s.batch_size, s.input_len)
                seconds = float(record["time"])
                key = (v.tp_method, d, s)
                if key not in ideal:
                    ideal[key] = float(hdasim.step(without, s.phase, s.batch_size, s.input_len)[1]["time"])
                start = first.setdefault(s, seconds)
                points.append({
                    "variant": v.label, "tp_method": v.tp_method, "tp_algorithm": v.tp_algorithm, "device_count": d,
                    "step": s.label, "tokens": s.tokens, "input_len": s.input_len,
                    "layer_bytes": layer_volume(machine, ops, experiment.model.num_hidden_layers),
                    "formula_bytes": volume(v, experiment.model, d, s.tokens), "ms": 1e3 * seconds, "ideal_ms": 1e3 * ideal[key],
                    "communication_ms": 1e3 * (seconds - ideal[key]), "speed_up": start / seconds,
                })  # fmt: skip
    return points, experiment.model


@dataclass(frozen=True)
class Duel:
    """Megatron against all-gather with one algorithm on one step: by device count, Megatron's quantity / all-gather's."""

    algorithm: str
    what: str
    where: str
    input_len: int | None
    ratio: dict[int, float]
    tie: float

    def better(self, d: int) -> str:
        r = self.ratio[d]
        return "equal" if abs(r - 1) <= self.tie else "all-gather" if r > 1 else "Megatron"

    @property
    def gather_from(self) -> int | None:
        """The least device count from which on all-gather is better."""
        found = None
        for d in reversed(self.ratio):
            if self.better(d) != "all-gather":
                break
            found = d
        return found

    def holds(self, published: int) -> bool:
        """Megatron below the published device count, all-gather from it on."""
        return all(self.better(d) == ("all-gather" if d >= published else "Megatron") for d in self.ratio)

    @property
    def order(self) -> str:
        return ", ".join(f"{d}: {self.better(d)}" for d in self.ratio)


def duels(sweep: Scaling, points: list[Point]) -> list[Duel]:
    """Volumes once for each algorithm (they are proportional to the tokens), times for each step."""
    at = {(p["tp_method"], p["tp_algorithm"], p["device_count"], p["step"]): p for p in points}
    methods = {v.tp_algorithm: {w.tp_method for w in sweep.variants if w.tp_algorithm == v.tp_algorithm} for v in sweep.variants}
    found = []
    for algorithm, known in methods.items():
        if not {"megatron", "all_gather"} <= known:
            continue

        def ratio(step: Shape, key: str, algorithm: str = algorithm) -> dict[int, float]:
            return {
                d: at["megatron", algorithm, d, step.label][key] / at["all_gather", algorithm, d, step.label][key]
                for d in sweep.more
            }

        if algorithm != "auto":
            found.append(Duel(algorithm, "volume", "every step", None, ratio(sweep.steps[0], "layer_bytes"), 0.0))
        found += [Duel(algorithm, "time", s.label, s.input_len, ratio(s, "ms"), sweep.tie) for s in sweep.steps]
    return found


def crossing(ratio: dict[int, float]) -> float | None:
    """Devices at which volumes are equal: the ratio is a straight line through 0 at d = 0 for direct all-reduce, else flat."""
    slopes = [r / d for d, r in ratio.items()]
    if any(abs(a / b - 1) > 1e-9 for a, b in pairwise(slopes)):
        return None
    return 1 / slopes[0]


def _volume_rows(sweep: Scaling, points: list[Point], model: Model) -> list[Row]:
    rows = []
    for p in points:
        if p["device_count"] == 1 or p["formula_bytes"] is None or p["step"] != sweep.steps[0].label:
            continue
        same = all(
            q["layer_bytes"] == q["formula_bytes"]
            for q in points
            if (q["variant"], q["device_count"]) == (p["variant"], p["device_count"])
        )
        verdict = "equal in every step" if same else "DIFFERS in some step"
        text = f"{model.name}, {p['variant']}, {p['device_count']} devices; {verdict}"
        rows.append(
            row("A8", "bytes received per token, layer and device", p["layer_bytes"] / p["tokens"],
                p["formula_bytes"] / p["tokens"], baseline="formula of papers.md 3.8", conditions=text)
        )  # fmt: skip
    return rows


def compare(sweep: Scaling, points: list[Point], model: Model) -> list[Row]:
    rows = _volume_rows(sweep, points, model)
    from_ = sweep.published_all_gather_from
    for duel in duels(sweep, points):
        verdict = "the published order holds" if duel.holds(from_) else "the published order does not hold"
        text = f"{model.name}, {duel.algorithm}, {duel.where}; better by {duel.what} on devices {duel.order}; {verdict}"
        start = duel.gather_from
        name = f"devices from which all-gather is better by {duel.what}"
        if start is None:
            text += "; never from there on"
            rows.append(Row(experiment="A8", name=name, published=float(from_), input_len=duel.input_len, conditions=text))
        else:
            rows.append(row("A8", name, float(start), float(from_), input_len=duel.input_len, conditions=text))
        if duel.what == "volume":
            cross = crossing(duel.ratio)
            ours = {"published": crossover(model), "ours": cross, "ratio": cross and cross / crossover(model)}
            note = (
                text if cross else f"{text}; the ratio of volumes does not depend on the number of devices, there is no crossover"
            )
            rows.append(Row(experiment="A8", name="crossover, devices", baseline="(3H + F) / (2H)", conditions=note, **ours))
        rows += [
            row("A8", f"Megatron / all-gather, {duel.what}, {d} devices", r, input_len=duel.input_len, conditions=text)
            for d, r in duel.ratio.items()
        ]
    for p in points:
        if p["device_count"] == sweep.device_counts[-1]:
            text = (
                f"{model.name}, {p['variant']}, {p['step']}; without communication {p['ms'] * p['speed_up'] / p['ideal_ms']:.2f}"
            )
            rows.append(
                row("A8", f"speed-up of {p['device_count']} devices", p["speed_up"], input_len=p["input_len"], conditions=text)
            )
    return rows


def _tables(sweep: Scaling, points: list[Point], model: Model) -> list[Table]:
    devices = [f"{d} dev" for d in sweep.device_counts]
    volumes = plain(
        f"A8, {model.name}: bytes received per token, layer and device (engine; = equals papers.md 3.8)", ["", *devices[1:]]
    )
    times = plain("A8: step time, ms (speed-up)", ["step", "variant", *devices, "least"], 2)
    order = plain("A8: Megatron / all-gather", ["by", "algorithm", *devices[1:], "published order"], 2)
    for v in sweep.variants:
        mine = [p for p in points if p["variant"] == v.label]
        if v.tp_algorithm != "auto":
            cells = [p for p in mine if p["step"] == sweep.steps[0].label and p["device_count"] > 1]
            marks = ("=" if p["layer_bytes"] == p["formula_bytes"] else "!" for p in cells)
            volumes.add_row(v.label, *(f"{p['layer_bytes'] / p['tokens']:,.0f} {m}" for p, m in zip(cells, marks, strict=True)))
    for s in sweep.steps:
        for v in sweep.variants:
            mine = [p for p in points if p["step"] == s.label and p["variant"] == v.label]
            least = min(mine, key=lambda p: p["ms"])
            cells_ = [f"{p['ms']:.2f} ({p['speed_up']:.1f})" for p in mine]
            times.add_row(s.label, v.label, *cells_, f"{least['device_count']} dev")
    for duel in duels(sweep, points):
        holds = "holds" if duel.holds(sweep.published_all_gather_from) else "does not hold"
        name = duel.what if duel.what == "volume" else duel.where
        order.add_row(name, duel.algorithm, *(f"{r:.3f}" for r in duel.ratio.values()), holds)
    order.caption = (
        f"above 1 all-gather is better; published: Megatron below {sweep.published_all_gather_from} devices, then all-gather;\n"
        f"volumes cross at (3H + F) / (2H) = {crossover(model):.2f} with direct all-reduce, never on a ring"
    )
    return [volumes, times, order]


def _panels(sweep: Scaling, points: list[Point]) -> list[list[Panel]]:
    """Volume and each step, direct above and ring (and auto) below."""
    rows = []
    for algorithm in dict.fromkeys(v.tp_algorithm for v in sweep.variants):
        mine = [p for p in points if p["tp_algorithm"] == algorithm]
        names = list(dict.fromkeys(p["tp_method"] for p in mine))
        first = sweep.steps[0].label

        def curves(step: str, key: str, names: list[str] = names, mine: list[Point] = mine) -> list[Curve]:
            found = []
            for n in names:
                pick = [p for p in mine if p["tp_method"] == n and p["step"] == step and (p["device_count"] > 1 or key == "ms")]
                per = pick[0]["tokens"] if key == "layer_bytes" else 1
                found.append(Curve(n.replace("_", "-"), [p["device_count"] for p in pick], [p[key] / per for p in pick]))
            return found

        panels = [Panel(f"{algorithm}: volume", "devices", "bytes per token, layer and device", curves(first, "layer_bytes"),
                        ticks=sweep.more)]  # fmt: skip
        for s in sweep.steps:
            ideal = [p for p in mine if p["step"] == s.label and p["tp_method"] == names[0]]
            extra = Curve("no communication", [p["device_count"] for p in ideal], [p["ideal_ms"] for p in ideal], dashed=True)
            panels.append(Panel(f"{algorithm}: {s.label}", "devices", "step, ms", [*curves(s.label, "ms"), extra],
                                ticks=sweep.device_counts))  # fmt: skip
        rows.append(panels)
    return rows


def run(file: Path) -> Outcome:
    """Evaluate the experiment `file`."""
    sweep, document = read(file, Scaling)
    with locate(document), blame("model"):
        points, model = evaluate(sweep, Loader(sweep.model, sweep.device))
    title = f"A8: tensor parallelism, {model.name} on {sweep.device}"
    return Outcome(compare(sweep, points, model), points, _tables(sweep, points, model),
                   [figure(title, _panels(sweep, points))])  # fmt: skip
