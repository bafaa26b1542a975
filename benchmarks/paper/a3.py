"""A3: share of attention in all operations, of decoding tokens and of prompts; see `benchmarks.paper.shares`."""

from pathlib import Path
from typing import Any

from hdasim.spec.base import Fraction
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import locate

from . import shares
from .inputs import blame
from .lines import Panel, figure
from .outcome import Claim, Outcome, Row, read, row
from .shares import Point, Shares, count, crossing, curves, decode_macs_share, experiments
from .tables import percent, plain

#: Whose words the page shows.
METHOD = shares

PHASES = ("decode", "prefill")


class Operations(Shares, kw_only=True):
    """The experiment file."""

    near: tuple[Fraction, Fraction]


def evaluate(sweep: Operations, found: list[Experiment]) -> list[Point]:
    points = []
    for i, experiment in enumerate(found):
        for phase in PHASES:
            for context in sweep.contexts:
                with blame("models", i):
                    _, share = count(experiment, phase, 1, context)
                formula = decode_macs_share(experiment.model, context) if phase == "decode" else None
                points.append({"model": sweep.models[i], "phase": phase, "context": context, "share": share, "formula": formula})
    return points


def reach(sweep: Operations, points: list[Point]) -> dict[tuple[str, str], float | None]:
    """(model, phase) -> context at which attention has the published share."""
    found: dict[tuple[str, str], float | None] = {}
    for name in sweep.models:
        for phase in PHASES:
            shares = [p["share"] for p in points if (p["model"], p["phase"]) == (name, phase)]
            found[name, phase] = crossing(sweep.contexts, shares, sweep.published)
    return found


def compare(sweep: Operations, points: list[Point], at: dict[tuple[str, str], float | None]) -> list[Row]:
    rows = [
        row("A3", f"share of attention in operations, {p['model']}", p["share"], sweep.published, input_len=p["context"],
            conditions=f"{p['phase']}, multiply-accumulates of one sequence, LM head of the tokens that emit")
        for p in points
    ]  # fmt: skip
    rows += [
        Row(experiment="A3", name=f"context at which attention has {sweep.published:.0%}, {name}", ours=context,
            conditions=f"{phase}" if context else f"{phase}; not within {sweep.contexts[0]} to {sweep.contexts[-1]}")
        for (name, phase), context in at.items()
    ]  # fmt: skip
    return rows


def run(file: Path) -> Outcome:
    """Evaluate the experiment `file`."""
    sweep, document = read(file, Operations)
    with locate(document):
        points = evaluate(sweep, experiments(sweep))
    at = reach(sweep, points)
    tables, panels = [], []
    for phase in PHASES:
        what = "a decoding token at this context" if phase == "decode" else "a prompt of this length"
        table = plain(f"A3: attention, % of the operations of {what}",
                      ("model", *(f"{c:,}" for c in sweep.contexts), f"{sweep.published:.0%} at"))  # fmt: skip
        for name in sweep.models:
            cells = (percent(p["share"]) for p in points if (p["model"], p["phase"]) == (name, phase))
            context = at[name, phase]
            table.add_row(name, *cells, f"{context:,.0f} tokens" if context else "-")
        tables.append(table)
        panels.append(
            Panel(
                phase,
                "tokens",
                "% of operations",
                curves(points, "share", phase=phase),
                level=(100 * sweep.published, "published: about 25 %"),
                logarithmic=False,
                ticks=sweep.contexts,
            )
        )
    return Outcome(compare(sweep, points, at), points, tables, [figure("A3: share of attention in operations", [panels])],
                   [_claim(sweep, at)])  # fmt: skip


def _claim(sweep: Operations, at: dict[Any, float | None]) -> Claim:
    known = {phase: [v for (_, p), v in at.items() if p == phase and v] for phase in PHASES}
    texts = [f"{phase} at {min(v):,.0f} to {max(v):,.0f} tokens" for phase, v in known.items() if v]
    return Claim(
        what="attention in all operations",
        published=f"about {sweep.published:.0%}",
        ours="; ".join(texts) or "at no length",
        verdict="partly" if texts else "does not hold",
        why="the paper names no context; the share grows with it and has no fixed value",
    )
