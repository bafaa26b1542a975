"""A4: share of the DRAM bandwidth that the MAC tree sustains over the workload, by whole steps of the engine.

The relation is data of the device (`dram.utilization`): u = a ln(x) + b with its ends, x in GB that a step streams on a device,
or `overhead`, a share of the peak and a standstill after every layer. What is executed is a decode step of one sequence; its
share, bytes / (peak bandwidth x time), must come out as the relation says if the tree keeps up and nothing else limits.
"""

import math
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from hdasim.spec.base import BytesPerSecond, DeviceCount, Fraction, PositiveBytes, PositiveFloat, Spec
from hdasim.spec.hardware import LogUtilization, OverheadUtilization
from hdasim.spec.load import load_device, locate

from .baselines import execute
from .inputs import Loader, blame
from .lines import Curve, Panel, figure
from .outcome import Claim, Outcome, Row, read, row, within
from .tables import plain

Point = dict[str, Any]
#: Sizes at which the relation is drawn, GB.
CURVE = np.geomspace(0.2, 80, 40).tolist()


class Stream(Spec):
    """A model whose weights are streamed for one token."""

    model: str
    device_count: DeviceCount = 1


class Timed(Stream, kw_only=True):
    """A published time of one token, ms, at a bandwidth."""

    bandwidth: BytesPerSecond
    ms: PositiveFloat


class Relations(Spec):
    """The two that are compared; the first also draws the curve."""

    log: LogUtilization
    overhead: OverheadUtilization


class Tree(Spec):
    """The experiment file."""

    models: Annotated[tuple[Stream, ...], Meta(min_length=2, max_length=32)]
    relations: Relations
    published_maximum: Fraction
    times: Annotated[tuple[Timed, ...], Meta(max_length=16)] = ()
    device: str = "ador"
    dram_capacity: PositiveBytes | None = None


def share_of(relation: LogUtilization, gigabytes: float) -> float:
    """The relation itself: clamp(slope ln(x) + intercept)."""
    return min(max(relation.slope * math.log(gigabytes) + relation.intercept, relation.minimum), relation.maximum)


def evaluate(sweep: Tree, stream: Stream, place: tuple[str | int, ...], kind: str, bandwidth: float | None = None) -> Point:
    """One decode step of one sequence under one relation."""
    relation = getattr(sweep.relations, kind)
    settings: dict[str, Any] = {
        "serving.device_count": stream.device_count,
        "device.dram.utilization": msgspec.to_builtins(relation) | {"kind": kind},
    }
    settings |= {} if sweep.dram_capacity is None else {"device.dram.capacity": sweep.dram_capacity}
    settings |= {} if bandwidth is None else {"device.dram.bandwidth": bandwidth}
    with blame(*place):
        experiment = Loader(stream.model, sweep.device, {"model": (*place, "model")}).with_(settings)
        step = execute(experiment, "decode", 1, 1)
    return {
        "model": stream.model,
        "device_count": stream.device_count,
        "relation": kind,
        "tb_per_s": experiment.device.dram.bandwidth / 1e12,
        "gigabytes": step.dram_bytes / 1e9,
        "ms": 1e3 * step.seconds,
        "share": step.share,
        "exchange_ms": 1e3 * step.exchange,
        "formula": share_of(relation, step.dram_bytes / 1e9) if isinstance(relation, LogUtilization) else None,
    }


def compare(sweep: Tree, points: list[Point], timed: list[tuple[Timed, Point]]) -> list[Row]:
    rows = [
        row("A4", f"share of DRAM bandwidth, {p['model']}", p["share"], p["formula"], baseline=p["relation"],
            conditions=f"decode, batch 1, {p['device_count']} x {sweep.device}, {p['gigabytes']:.2f} GB a step"
            + ("; published: the fit at this size" if p["formula"] else ""))
        for p in points
    ]  # fmt: skip
    for kind in ("log", "overhead"):
        most = max(p["share"] for p in points if p["relation"] == kind)
        rows.append(row("A4", "highest share of DRAM bandwidth", most, sweep.published_maximum, baseline=kind))
    rows += [
        row("A4", f"ms of a token, {t.model} x {t.device_count}", p["ms"], t.ms, baseline=p["relation"],
            conditions=f"{p['tb_per_s']:g} TB/s; the printed time is a share of {implied(t, p):.3f}")
        for t, p in timed
    ]  # fmt: skip
    return rows


def implied(timed: Timed, point: Point) -> float:
    """The share of the bandwidth that a printed time means."""
    return float(point["gigabytes"] * 1e9 / (timed.bandwidth * timed.ms * 1e-3))


def _claims(sweep: Tree, points: list[Point], timed: list[tuple[Timed, Point]]) -> list[Claim]:
    log = [p for p in points if p["relation"] == "log"]
    worst = max(abs(p["share"] / p["formula"] - 1) for p in log)
    most = max(p["share"] for p in log)
    claims = [
        Claim(what="bandwidth of the MAC tree over the workload", published=f"logarithmic, at most {sweep.published_maximum:.0%}",
              ours=f"logarithmic, at most {most:.0%}", ratio=f"{most / sweep.published_maximum:.3f}",
              verdict=within(most / sweep.published_maximum, 0.02),
              why=f"the relation goes in; executed steps keep it within {worst:.1%}, so the tree keeps up with DRAM"),
    ]  # fmt: skip
    for t, p in timed:
        if p["relation"] == "log":
            claims.append(
                Claim(
                    what=f"time of a token, {t.model} x {t.device_count}, {p['tb_per_s']:g} TB/s",
                    published=f"{t.ms:g} ms",
                    ours=f"{p['ms']:.2f} ms",
                    ratio=f"{p['ms'] / t.ms:.3f}",
                    verdict=within(p["ms"] / t.ms, 0.02),
                    why=f"printed time = {implied(t, p):.1%} of the bandwidth"
                    + (
                        f", above the printed maximum of {sweep.published_maximum:.0%}"
                        if implied(t, p) > sweep.published_maximum
                        else "; the fit's anchor"
                    ),
                )
            )
    return claims


def run(file: Path) -> Outcome:
    """Evaluate the experiment `file`."""
    sweep, document = read(file, Tree)
    with locate(document):
        with blame("device"):
            width = load_device(sweep.device).dram.bandwidth
        kinds = ("log", "overhead")
        points = [evaluate(sweep, s, ("models", i), kind) for kind in kinds for i, s in enumerate(sweep.models)]
        timed = [(t, evaluate(sweep, t, ("times", i), kind, t.bandwidth)) for kind in kinds for i, t in enumerate(sweep.times)]
    table = plain(f"A4: share of the DRAM bandwidth in decode, batch 1, {sweep.device}, {width / 1e12:g} TB/s",
                  ("model", "devices", "GB a step", "the fit", "executed: log", "ms", "overhead", "ms"))  # fmt: skip
    by = {(p["model"], p["relation"]): p for p in points}
    for s in sweep.models:
        p, q = by[s.model, "log"], by[s.model, "overhead"]
        table.add_row(
            s.model,
            str(s.device_count),
            f"{p['gigabytes']:.2f}",
            f"{p['formula']:.3f}",
            f"{p['share']:.3f}",
            f"{p['ms']:.3f}",
            f"{q['share']:.3f}",
            f"{q['ms']:.3f}",
        )
    second = plain(
        "A4: printed times of a token", ("model", "devices", "TB/s", "printed ms", "means share", "log ms", "overhead ms")
    )
    for t in sweep.times:
        mine = {p["relation"]: p for u, p in timed if u is t}
        second.add_row(
            t.model,
            str(t.device_count),
            f"{t.bandwidth / 1e12:g}",
            f"{t.ms:g}",
            f"{implied(t, mine['log']):.3f}",
            f"{mine['log']['ms']:.2f}",
            f"{mine['overhead']['ms']:.2f}",
        )
    dots = [
        Curve(f"executed, {kind}", [p["gigabytes"] for p in points if p["relation"] == kind],
              [100 * p["share"] for p in points if p["relation"] == kind]) for kind in kinds
    ]  # fmt: skip
    printed = [Curve("printed times", [p["gigabytes"] for t, p in timed if p["relation"] == "log"],
                     [100 * implied(t, p) for t, p in timed if p["relation"] == "log"])] if timed else []  # fmt: skip
    fit = Curve("the logarithmic fit", CURVE, [100 * share_of(sweep.relations.log, x) for x in CURVE])
    panel = Panel("", "GB streamed by a step on a device", "% of the DRAM bandwidth", [fit], logarithmic=False,
                  level=(100 * sweep.published_maximum, "printed maximum"), points=[*dots, *printed])  # fmt: skip
    notes = [
        f"{t.model} on {t.device_count}: the printed {t.ms:g} ms need {implied(t, p):.1%} of {t.bandwidth / 1e12:g} TB/s, and no "
        "time for exchanges, which contradicts the printed maximum. The fit keeps the maximum."
        for t, p in timed
        if p["relation"] == "log" and implied(t, p) > sweep.published_maximum
    ]
    return Outcome(
        compare(sweep, points, timed),
        [*points, *(p for _, p in timed)],
        [table, second],
        [figure("A4: bandwidth that the MAC tree sustains", [[panel]])],
        _claims(sweep, points, timed),
        notes=notes,
    )
