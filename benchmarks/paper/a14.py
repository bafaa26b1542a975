"""A14: how TBT and TTFT grow with the length of answers when requests keep coming.

Every request has the same prompt; answers have 1, 2, 4, .. tokens; requests come at the same rate whatever their length, a share of
the capacity with the longest answers. An answer of one token has no TBT, so TBT's ratio begins at the second length. "Better than
the GPU" is the GPU's ratio over ADOR's, each at the same share of its own capacity, and again at the same requests/s (the slower
device's). Capacity is what a device serves when all requests wait from the start.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

import hdasim
from hdasim.spec.base import Fraction, PositiveFloat, Spec
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import locate
from hdasim.spec.workload import FixedLengths, PoissonArrival

from .inputs import Count, Loader, Tolerance, blame, check_ascending
from .lines import Curve, Panel, figure
from .outcome import Claim, Outcome, Row, read, row, together, within
from .tables import plain

Point = dict[str, Any]
Name = Annotated[str, Meta(min_length=1)]
#: Of the load that is solved for.
RESOLUTION = 0.01


class Published(Spec):
    """Ratios of the longest answer's time to the shortest's, and the GPU's over ADOR's."""

    tbt: PositiveFloat
    ttft: PositiveFloat
    better_than_gpu: PositiveFloat


class Lengths(Spec):
    """The experiment file."""

    output_lens: Annotated[tuple[Count, ...], Meta(min_length=3, max_length=32)]
    baselines: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=4)]
    published: Published
    input_len: Count
    load: Fraction
    loads: Annotated[tuple[Fraction, ...], Meta(max_length=16)] = ()
    scheduler: Name = "ador"
    baseline_scheduler: Name = "vllm"
    model: str = "llama3-8b"
    device: str = "ador"
    max_num_seqs: Count = 256
    num_prompts: Count = 2000
    capacity_prompts: Count = 1000
    seed: Annotated[int, Meta(ge=0)] = 0
    tolerance: Tolerance = 0.15

    def __post_init__(self) -> None:
        check_ascending(output_lens=self.output_lens, loads=self.loads)
        if self.output_lens[1] < 2:
            raise ValueError("output_lens: the second must be at least 2 tokens, which is where TBT begins")


@dataclass(frozen=True)
class Server:
    """A device that serves; `capacity` is in requests/s with the longest answers."""

    name: str
    experiment: Experiment
    capacity: float


def served(sweep: Lengths, experiment: Experiment, output_len: int, rate: float, prompts: int) -> dict[str, Any]:
    """The summary of a run in which all answers have `output_len` tokens."""
    workload = msgspec.structs.replace(
        experiment.workload, arrival=PoissonArrival(request_rate=rate), num_prompts=prompts,
        lengths=FixedLengths(input_len=sweep.input_len, output_len=output_len),
    )  # fmt: skip
    return hdasim.simulate(msgspec.structs.replace(experiment, workload=workload, seed=sweep.seed)).summary


def start(sweep: Lengths, name: str, place: tuple[str | int, ...]) -> Server:
    loader = Loader(sweep.model, name, {"device": place})
    with blame(*place):
        experiment = loader.with_(
            {"serving.scheduler": sweep.scheduler if name == sweep.device else sweep.baseline_scheduler,
             "serving.max_num_seqs": sweep.max_num_seqs,
             "workload": {"arrival": {"kind": "poisson", "request_rate": 1}, "num_prompts": 1,
                          "lengths": {"kind": "fixed", "input_len": sweep.input_len, "output_len": 1}}}
        )  # fmt: skip
        flood = served(sweep, experiment, sweep.output_lens[-1], 1e9, sweep.capacity_prompts)
    return Server(name, experiment, float(flood["request_throughput"]))


def measure(sweep: Lengths, server: Server, output_len: int, rate: float, what: str) -> Point:
    """Mean TBT (None with one token) and TTFT, ms."""
    s = served(sweep, server.experiment, output_len, rate, sweep.num_prompts)
    return {"device": server.name, "what": what, "rate": rate, "load": rate / server.capacity, "output_len": output_len,
            "tbt_ms": s["mean_itl_ms"], "ttft_ms": s["mean_ttft_ms"]}  # fmt: skip


def growth(sweep: Lengths, points: list[Point], **where: Any) -> dict[str, float]:
    """Ratios of the last length to the first: {"tbt": from the second on, "ttft": from the first on}."""
    mine = {p["output_len"]: p for p in points if all(p[k] == v for k, v in where.items())}
    first, second, last = (mine[sweep.output_lens[i]] for i in (0, 1, -1))
    return {"tbt": last["tbt_ms"] / second["tbt_ms"], "ttft": last["ttft_ms"] / first["ttft_ms"]}


def evaluate(sweep: Lengths, servers: list[Server]) -> list[Point]:
    """All lengths at `load` of each device's own capacity; first, second and last length at other loads, and at a common rate."""
    points = [
        measure(sweep, s, n, sweep.load * s.capacity, "own load") for s in servers for n in sweep.output_lens
    ]
    ends = [sweep.output_lens[i] for i in (0, 1, -1)]
    for share in sweep.loads:
        points += [measure(sweep, s, n, share * s.capacity, f"load {share:g}") for s in servers for n in ends]
    common = sweep.load * min(s.capacity for s in servers)
    return points + [measure(sweep, s, n, common, "same rate") for s in servers for n in ends]


def solve_load(sweep: Lengths, mine: Server, gpu: Server) -> float | None:
    """The least load of the GPU, as a share of its capacity, at which its TTFT grows `better_than_gpu` times as much as ADOR's
    at the same requests/s; None if it does not even at its capacity.
    """

    def ratio(share: float) -> float:
        ends = [sweep.output_lens[i] for i in (0, -1)]
        grown = []
        for s in (gpu, mine):
            first, last = (measure(sweep, s, n, share * gpu.capacity, "")["ttft_ms"] for n in ends)
            grown.append(last / first)
        return float(grown[0] / grown[1])

    low, high = 0.0, 1.0
    if ratio(high) < sweep.published.better_than_gpu:
        return None
    while high - low > RESOLUTION:
        middle = (low + high) / 2
        low, high = (low, middle) if ratio(middle) >= sweep.published.better_than_gpu else (middle, high)
    return high


def _ratio_rows(sweep: Lengths, servers: list[Server], points: list[Point]) -> list[Row]:
    rows, mine = [], servers[0].name
    last, p = sweep.output_lens[-1], sweep.published
    texts = {"own load": f"Poisson at {sweep.load:.0%} of the device's capacity", "same rate": "Poisson, the same requests/s for all",
             **{f"load {s:g}": f"Poisson at {s:.0%} of the device's capacity" for s in sweep.loads}}  # fmt: skip
    for what, text in texts.items():
        found = {s.name: growth(sweep, points, device=s.name, what=what) for s in servers}
        for name, ratios in found.items():
            own = name == mine and what == "own load"
            for key, start_len, printed in (("tbt", sweep.output_lens[1], p.tbt), ("ttft", sweep.output_lens[0], p.ttft)):
                rows.append(row("A14", f"{key.upper()} with {last} output tokens / with {start_len}", ratios[key], printed if own else None,
                                baseline=name, input_len=sweep.input_len, conditions=text))  # fmt: skip
            if name != mine:
                rows += [
                    row("A14", f"{key.upper()} ratio of GPU / ADOR", ratios[key] / found[mine][key],
                        p.better_than_gpu if key == "ttft" and not what.startswith("load") else None, baseline=name,
                        input_len=sweep.input_len, conditions=text) for key in ("ttft", "tbt")
                ]  # fmt: skip
    rows += [
        Row(experiment="A14", name=f"capacity, req/s, {last} output tokens", ours=s.capacity, baseline=s.name,
            input_len=sweep.input_len, conditions=f"{sweep.capacity_prompts} requests that all wait at the start") for s in servers
    ]  # fmt: skip
    return rows


def run(file: Path) -> Outcome:
    """Evaluate the experiment `file`."""
    sweep, document = read(file, Lengths)
    with locate(document):
        places: list[tuple[str, tuple[str | int, ...]]] = [(sweep.device, ("device",))]
        places += [(b, ("baselines", i)) for i, b in enumerate(sweep.baselines)]
        servers = [start(sweep, name, place) for name, place in places]
        points = evaluate(sweep, servers)
        solved = {s.name: solve_load(sweep, servers[0], s) for s in servers[1:]}
    names, p = [s.name for s in servers], sweep.published
    table = plain(f"A14: {sweep.model}, input {sweep.input_len:,}, Poisson at {sweep.load:.0%} of capacity: TTFT / TBT, ms, by output tokens",
                  ("", "req/s", *(f"{n:,}" for n in sweep.output_lens), "TTFT grows", "TBT grows"))  # fmt: skip
    loads = plain("A14: growth from the shortest to the longest answer, TTFT / TBT, by load",
                  ("", *(f"{s:.0%}" for s in sweep.loads), "same rate"))  # fmt: skip
    for s in servers:
        mine = [q for q in points if q["device"] == s.name and q["what"] == "own load"]
        cells = (f"{q['ttft_ms']:.0f} / {'-' if q['tbt_ms'] is None else format(q['tbt_ms'], '.1f')}" for q in mine)
        ratios = growth(sweep, points, device=s.name, what="own load")
        table.add_row(s.name, f"{mine[0]['rate']:.2f}", *cells, f"{ratios['ttft']:.2f}", f"{ratios['tbt']:.2f}")
        by = (growth(sweep, points, device=s.name, what=w) for w in (*(f"load {x:g}" for x in sweep.loads), "same rate"))
        loads.add_row(s.name, *(f"{g['ttft']:.2f} / {g['tbt']:.2f}" for g in by))
    loads.caption = f"published for ADOR: {p.ttft} / {p.tbt}"
    panels = [
        Panel(f"{key.upper()}", "output tokens", f"mean {key.upper()}, ms",
              [Curve(n, *zip(*[(q["output_len"], q[f"{key}_ms"]) for q in points
                               if q["device"] == n and q["what"] == "own load" and q[f"{key}_ms"]], strict=True)) for n in names],
              logarithmic=False, ticks=sweep.output_lens) for key in ("tbt", "ttft")
    ]  # fmt: skip
    grown = [
        Panel(f"growth of {key.upper()} by load", "% of capacity", "longest / shortest answer",
              [Curve(n, [100 * x for x in sweep.loads], [growth(sweep, points, device=n, what=f"load {x:g}")[key] for x in sweep.loads])
               for n in names], level=(getattr(p, key), "published for ADOR"), logarithmic=False, log_x=False) for key in ("tbt", "ttft")
    ]  # fmt: skip
    rows = _ratio_rows(sweep, servers, points)
    rows += [
        Row(experiment="A14", name=f"solved: load of the GPU for a TTFT ratio of {p.better_than_gpu:g}", ours=share, baseline=name,
            input_len=sweep.input_len, conditions="of its capacity; both serve the same requests/s") for name, share in solved.items()
    ]  # fmt: skip
    return Outcome(rows, points, [table, loads],
                   [figure("A14: what longer answers cost", [panels, *([grown] if sweep.loads else [])])],
                   _claims(sweep, names, points, solved), notes=_notes(sweep))  # fmt: skip


def _claims(sweep: Lengths, names: list[str], points: list[Point], solved: dict[str, float | None]) -> list[Claim]:
    p, claims = sweep.published, []
    own = {n: growth(sweep, points, device=n, what="own load") for n in names}
    same = {n: growth(sweep, points, device=n, what="same rate") for n in names}
    for key, published in (("tbt", p.tbt), ("ttft", p.ttft)):
        ours = own[names[0]][key]
        high = {x: growth(sweep, points, device=names[0], what=f"load {x:g}")[key] for x in sweep.loads}
        most = f"; {high[sweep.loads[-1]]:.2f} at {sweep.loads[-1]:.0%}" if high else ""
        claims.append(Claim(what=f"growth of {key.upper()}, 1 to {sweep.output_lens[-1]} output tokens", published=f"{published:g}",
                            ours=f"{ours:.2f}{most}", ratio=f"{ours / published:.2f}", verdict=within(ours / published, sweep.tolerance),
                            why="load and prompts are not published; growth follows the number of requests that run at a time"))  # fmt: skip
    ratios = [found[b]["ttft"] / found[names[0]]["ttft"] for b in names[1:] for found in (own, same)]
    text = "; ".join(f"{own[b]['ttft'] / own[names[0]]['ttft']:.2f} vs {b}, {same[b]['ttft'] / same[names[0]]['ttft']:.2f} at the same rate"
                     for b in names[1:])  # fmt: skip
    claims.append(Claim(what="growth of TTFT, GPU / ADOR", published=f"{p.better_than_gpu:g}", ours=text,
                        ratio=f"{min(ratios) / p.better_than_gpu:.2f} to {max(ratios) / p.better_than_gpu:.2f}",
                        verdict=together([within(r / p.better_than_gpu, sweep.tolerance) for r in ratios]),
                        why="at equal shares of their capacities all slow down alike; at the same rate it comes out with the GPU at "
                        + ", ".join(f"{'no load' if v is None else format(v, '.0%')} ({n})" for n, v in solved.items())))  # fmt: skip
    return claims


def _notes(sweep: Lengths) -> list[str]:
    return [
        "An answer of one token has no time between tokens, so the growth of TBT starts at the second length.",
        f"The same requests/s at every length: with {sweep.output_lens[-1]:,} tokens many requests run at a time, with one hardly any. "
        "TTFT then grows from a prompt alone to a prompt beside the decodes of the others, TBT from one sequence to the batch that "
        "the load keeps running. Both are bounded while the load is below the capacity, and grow without limit as it comes near.",
    ]  # fmt: skip
