"""A13: the highest request rate of chat under Sarathi-Serve's SLO, beside ADOR's 23.3 requests/s.

What explains it is solved for, not set: the roofline of the same requests, the length of answers and the batch at which the
published rate would come out, and the rate by Sarathi-Serve's own procedure.
"""

import os
import threading
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from rich.table import Table

from hdasim.search import capacity
from hdasim.search.bisection import highest
from hdasim.spec.base import PositiveFloat, Spec
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load, locate
from hdasim.spec.workload import LognormalLengths

from .bars import Bar, stacked
from .inputs import Count, Tolerance, blame
from .lines import Curve, Panel, figure
from .outcome import Figure, Outcome, Row, read, row
from .tables import plain

Found = dict[str, Any]
Name = Annotated[str, Meta(min_length=1)]
#: Latencies that the service levels limit: metric of a goal, key of a point, what to call it.
_LIMITED = (("itl", "p99_itl_ms", "P99 TBT"), ("scheduling_delay", "p50_scheduling_delay_ms", "P50 delay"))


class Chat(Spec):
    """One experiment, shipped or a file, and the published rate in requests/s."""

    experiment: Name
    published: PositiveFloat | None = None


class Chats(Spec):
    """The experiment file."""

    experiments: Annotated[tuple[Chat, ...], Meta(min_length=1, max_length=16)]
    seeds: Annotated[int, Meta(ge=1, le=100)] = 3
    tolerance: Tolerance = 0.02
    num_prompts: Count = 8192
    sarathi_prompts: Count = 2048
    solve: Name | None = None

    def __post_init__(self) -> None:
        if self.solve is not None and not any(c.experiment == self.solve and c.published for c in self.experiments):
            raise ValueError(f"solve: must be one of the experiments with a published rate, got {self.solve!r}")


def roofline(experiment: Experiment) -> dict[str, float]:
    """Requests/s that one replica's devices could serve at their peaks, with a full batch B of `max_num_seqs`.

    Of each request DRAM gives, for each of its O answer tokens, 1/B of the weights read and the keys and values of all tokens
    before: bytes = O W / B + k (I O + E[O^2] / 2), with E[O^2] = O^2 (1 + CV^2). Arithmetic: 2 operations for each parameter read
    and each of its I + O tokens, attention left out. ``dram`` and ``compute`` are the rates if only that counted, ``apart`` if
    the two never overlap.
    """
    lengths, model, device, serving = experiment.workload.lengths, experiment.model, experiment.device, experiment.serving
    if not isinstance(lengths, LognormalLengths):
        raise ValueError("the roofline is written for lognormal lengths")
    prompt, answer = lengths.input_mean, lengths.output_mean
    read = model.read_parameter_count
    cached = prompt * answer + answer**2 * (1 + lengths.output_cv**2) / 2
    moved = answer * read * model.weight_bytes / serving.max_num_seqs + model.kv_bytes_per_token * cached
    dram = moved / (device.dram.bandwidth * serving.device_count)
    compute = 2.0 * read * (prompt + answer) / (device.peak_flops * serving.device_count)
    return {"dram": 1 / dram, "compute": 1 / compute, "apart": 1 / (dram + compute)}


def find(experiment: Experiment, chats: Chats) -> Found:
    """`hdasim.search.capacity` as the command has it."""
    stop = threading.Event()
    seeds = tuple(range(experiment.seed, experiment.seed + chats.seeds))
    settings = capacity.Settings(seeds=seeds, num_prompts=chats.num_prompts, tolerance=chats.tolerance,
                                 workers=min(os.cpu_count() or 1, len(seeds)))  # fmt: skip
    found = capacity.search(capacity.Runs(capacity.simulator(experiment, False, stop), stop=stop), settings)
    if found.interrupted:
        raise KeyboardInterrupt
    return capacity.document(found)


def by_sarathi(experiment: Experiment, chats: Chats) -> float | None:
    """The highest rate by Sarathi-Serve's rule: its number of requests, one seed, whether or not the queue grows."""
    stop = threading.Event()
    count = chats.sarathi_prompts
    settings = capacity.Settings(seeds=(experiment.seed,), num_prompts=count, tolerance=chats.tolerance, longer=False)
    runs = capacity.Runs(capacity.simulator(experiment, True, stop), stop=stop)
    rate: float | None = capacity.document(capacity.search(runs, settings))["capacity"]
    return rate


def _passes(experiment: Experiment, chats: Chats, rate: float) -> bool:
    """Whether most seeds pass at `rate`."""
    evaluate = capacity.simulator(experiment, False, threading.Event())
    points = [evaluate(rate, experiment.seed + i, chats.num_prompts) for i in range(chats.seeds)]
    return 2 * sum(p.passed for p in points) > len(points)


def answer_length(experiment: Experiment, chats: Chats, rate: float) -> float | None:
    """Mean tokens of answers, all else equal, up to which `rate` passes."""
    lengths = experiment.workload.lengths
    assert isinstance(lengths, LognormalLengths)

    def passes(tokens: float) -> bool:
        changed = msgspec.structs.replace(lengths, output_mean=tokens)
        workload = msgspec.structs.replace(experiment.workload, lengths=changed)
        return _passes(msgspec.structs.replace(experiment, workload=workload), chats, rate)

    return highest(passes, 0.8 * lengths.output_mean, 1.0, lengths.output_max or 4 * lengths.output_mean, chats.tolerance).passed


def batch(experiment: Experiment, chats: Chats, rate: float) -> int | None:
    """The least max_num_seqs from which `rate` passes, all else equal; None if none up to the token budget does."""
    most = experiment.serving.max_num_batched_tokens

    def passes(share: float) -> bool:
        serving = msgspec.structs.replace(experiment.serving, max_num_seqs=round(most / share))
        return _passes(msgspec.structs.replace(experiment, serving=serving), chats, rate)

    share = highest(passes, 1.0, 1.0, most / experiment.serving.max_num_seqs, chats.tolerance).passed
    return None if share is None else round(most / share)


def compare(chats: Chats, experiments: list[Experiment], found: list[Found]) -> list[Row]:
    rows = []
    for chat, e, f in zip(chats.experiments, experiments, found, strict=True):
        lengths = e.workload.lengths
        lognormal = isinstance(lengths, LognormalLengths)
        said = f"{lengths.input_mean:g} + {lengths.output_mean:g} tokens" if lognormal else "lengths as given"
        limits = dict.fromkeys(s["limit_above"] for s in f["seeds"] if s["limit_above"])
        spread = f" +- {f['half_width']:.2g} (95 %)" if f["half_width"] is not None else ""
        text = (
            f"{e.model.name} on {e.serving.group(e.device.name)}, chat of {said} [A], batch {e.serving.max_num_seqs}, budget "
            f"{e.serving.max_num_batched_tokens}{spread}, {len(f['seeds'])} seeds; limited by {', '.join(limits) or f['status']}"
        )
        if f["capacity"] is not None:
            rows.append(row("A13", f"highest req/s, {chat.experiment}", f["capacity"], chat.published, baseline="ADOR",
                            conditions=text))  # fmt: skip
        if lognormal:
            for name, rate in roofline(e).items():
                rows.append(row("A13", f"roofline req/s, {name}, {chat.experiment}", rate, chat.published, baseline="ADOR",
                                conditions=f"all at peak, batch {e.serving.max_num_seqs} full"))  # fmt: skip
        rate = by_sarathi(e, chats)
        if rate is not None:
            rule = f"{chats.sarathi_prompts} requests, one seed, goals only"
            rows.append(row("A13", f"highest req/s by Sarathi's rule, {chat.experiment}", rate, chat.published, baseline="ADOR",
                            conditions=rule))  # fmt: skip
        if chat.published and chat.experiment == chats.solve and isinstance(lengths, LognormalLengths):
            rows += _solved(chats, e, lengths, chat.published)
    return rows


def _solved(chats: Chats, experiment: Experiment, lengths: LognormalLengths, rate: float) -> list[Row]:
    text = f"all else equal, {rate:g} req/s passes on most seeds"
    tokens, seqs = answer_length(experiment, chats, rate), batch(experiment, chats, rate)
    name = f"solved: mean answer, tokens, for {rate:g} req/s"
    rows = [Row(experiment="A13", name=name, ours=tokens, conditions=f"{text}; the experiment has {lengths.output_mean:g}")]
    most = experiment.serving.max_num_batched_tokens
    note = f"{text}; the experiment has {experiment.serving.max_num_seqs}" + ("" if seqs else f"; none up to {most} passes")
    rows.append(Row(experiment="A13", name=f"solved: batch for {rate:g} req/s", ours=seqs, conditions=note))
    serving = msgspec.structs.replace(experiment.serving, max_num_seqs=most)
    widest = find(msgspec.structs.replace(experiment, serving=serving), chats)
    if widest["capacity"] is not None:
        at = widest["at_capacity"]
        note = f"all else equal; {at['occupancy']['mean_running']:.0f} run on average, p99 TBT {at['p99_itl_ms']:.0f} ms"
        rows.append(row("A13", f"highest req/s with batch {most}", widest["capacity"], rate, baseline="ADOR", conditions=note))
    return rows


def _table(rows: list[Row]) -> Table:
    table = plain("A13: chat under Sarathi-Serve's SLO", ("", "published", "ours", "ratio"))
    for r in rows:
        cells = ("-" if v is None else f"{v:.4g}" for v in (r.published, r.ours, r.ratio))
        table.add_row(r.name, *cells)
    told = ("highest req/s, ", "highest req/s with", "solved")
    table.caption = "\n".join(f"{r.name}: {r.conditions}" for r in rows if r.name.startswith(told))
    return table


def figures(rows: list[Row], points: list[Found], experiments: list[Experiment]) -> list[Figure]:
    """Rates that are reached and bounds of them; and limited latencies over the rate, as the search met them."""
    told = ("highest req/s", "roofline req/s")
    bars = [Bar(r.name.replace("req/s, ", "").replace("req/s ", ""), [("requests/s", r.ours)], f"{r.ours:.3g}")
            for r in rows if r.name.startswith(told) and r.ours is not None]  # fmt: skip
    published = sorted({r.published for r in rows if r.published is not None})
    lines = [(p, f"published: {p:g}") for p in published]
    title = "Requests a second: reached, and at the roofline"
    rates = Figure("A13: rates", [stacked(title, bars, "requests/s", lines, legend=False)])
    panels = []
    for name, experiment in zip(dict.fromkeys(p["experiment"] for p in points), experiments, strict=True):
        for metric, key, label in _LIMITED:
            mine = [p for p in points if p["experiment"] == name and p[key] is not None]
            curves = []
            for seed in sorted({p["seed"] for p in mine}):
                line = sorted((p["rate"], p[key]) for p in mine if p["seed"] == seed)
                curves.append(Curve(f"seed {seed}", [x for x, _ in line], [y for _, y in line]))
            limits = [1e3 * g.limit for g in experiment.slo.goals() if g.metric == metric]
            panels.append(Panel(f"{label}, {Path(name).stem}", "requests/s", f"{label}, ms", curves, log_x=False,
                                level=(limits[0], "limit of the SLO") if limits else None))  # fmt: skip
    note = "Points are the rates that the search tried; a rate also fails where its queue grows."
    rows_of_two = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    return [rates, figure("A13: what the service levels limit, over the rate", rows_of_two, note=note)]


def run(file: Path) -> Outcome:
    """Evaluate the experiment `file`."""
    chats, document = read(file, Chats)
    experiments, found = [], []
    with locate(document):
        for i, chat in enumerate(chats.experiments):
            with blame("experiments", i, "experiment"):
                experiments.append(load(chat.experiment))
                found.append(find(experiments[-1], chats))
    rows = compare(chats, experiments, found)
    points = [
        {"experiment": c.experiment, "rate": p["rate"], "seed": p["seed"], "num_prompts": p["num_prompts"], "passed": p["passed"],
         "limit": p["limit"], "ratio": p["ratio"], "request_throughput": p["summary"]["request_throughput"],
         **{k: p["summary"][k] for k in ("p50_scheduling_delay_ms", "p99_ttft_ms", "p99_tpot_ms", "p99_itl_ms")}}
        for c, f in zip(chats.experiments, found, strict=True) for p in f["points"]
    ]  # fmt: skip
    return Outcome(rows, points, [_table(rows)], figures(rows, points, experiments))
