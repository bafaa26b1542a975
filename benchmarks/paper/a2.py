"""A2: share of a decode step's reads from DRAM that is keys and values; see `benchmarks.paper.shares`."""

from pathlib import Path

from hdasim.spec.experiment import Experiment
from hdasim.spec.load import locate

from . import shares
from .inputs import Count, blame
from .lines import Panel, figure
from .outcome import Claim, Outcome, Row, read, row
from .shares import Point, Shares, count, curves, experiments, read_context, read_share
from .tables import percent, plain

#: Whose words the page shows.
METHOD = shares


class Reads(Shares, kw_only=True):
    """The experiment file."""

    batch_size: Count


def evaluate(sweep: Reads, found: list[Experiment]) -> list[Point]:
    points = []
    for i, experiment in enumerate(found):
        for context in sweep.contexts:
            with blame("models", i):
                share, _ = count(experiment, "decode", sweep.batch_size, context)
            points.append({"model": sweep.models[i], "batch": sweep.batch_size, "context": context, "share": share,
                           "formula": read_share(experiment.model, sweep.batch_size, context)})  # fmt: skip
    return points


def compare(sweep: Reads, found: list[Experiment], points: list[Point]) -> list[Row]:
    rows = [
        row("A2", f"share of keys and values in DRAM reads, {p['model']}", p["share"], sweep.published, input_len=p["context"],
            conditions=f"decode, batch {p['batch']}; formula {p['formula']:.4f}")
        for p in points
    ]  # fmt: skip
    for name, experiment in zip(sweep.models, found, strict=True):
        context = read_context(experiment.model, sweep.batch_size, sweep.published)
        rows.append(
            Row(
                experiment="A2",
                name=f"context from which the share is {sweep.published:.0%}, {name}",
                ours=context,
                conditions=f"closed form, batch {sweep.batch_size}" + ("" if context else "; never: its attention has a window"),
            )
        )
    return rows


def run(file: Path) -> Outcome:
    """Evaluate the experiment `file`."""
    sweep, document = read(file, Reads)
    with locate(document):
        found = experiments(sweep)
        points = evaluate(sweep, found)
    needed = {n: read_context(e.model, sweep.batch_size, sweep.published) for n, e in zip(sweep.models, found, strict=True)}
    table = plain(
        f"A2: keys and values, % of what a decode step reads from DRAM, batch {sweep.batch_size}",
        ("model", *(f"{c:,}" for c in sweep.contexts), f"{sweep.published:.0%} from"),
    )
    for name in sweep.models:
        cells = (f"{percent(p['share'])}{'*' if p['share'] >= sweep.published else ' '}" for p in points if p["model"] == name)
        table.add_row(name, *cells, f"{needed[name]:,.0f} tokens" if needed[name] else "never")
    table.caption = f"* at least {sweep.published:.0%}   never: sliding window"
    panel = Panel(f"batch {sweep.batch_size}", "context, tokens", "% of DRAM reads", curves(points, "share"),
                  level=(100 * sweep.published, "published: over 90 %"), logarithmic=False, ticks=sweep.contexts)  # fmt: skip
    known = sorted((context, name) for name, context in needed.items() if context)
    claim = Claim(
        what=f"keys and values in DRAM reads, batch {sweep.batch_size}", published=f"over {sweep.published:.0%}",
        ours=" to ".join(f"{context:,.0f} tokens ({name})" for context, name in (known[0], known[-1])) if known else "never",
        verdict="partly" if known else "does not hold",
        why="the paper names no context; ours is the context from which it holds, short only with multi-head attention",
    )  # fmt: skip
    return Outcome(
        compare(sweep, found, points), points, [table], [figure("A2: share of keys and values in reads", [[panel]])], [claim]
    )
