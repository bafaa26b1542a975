"""A14: growth of TBT and TTFT with the length of answers; see `benchmarks.paper.answers`."""

from pathlib import Path

from hdasim.spec.load import locate

from . import answers
from .answers import Lengths, Point, Server, evaluate, growth, solve_load, start
from .lines import Curve, Panel, figure
from .outcome import Claim, Outcome, Row, read, row, together, within
from .tables import plain

#: Whose words the page shows.
METHOD = answers


def _ratio_rows(sweep: Lengths, servers: list[Server], points: list[Point]) -> list[Row]:
    rows, mine = [], servers[0].name
    last, p = sweep.output_lens[-1], sweep.published
    texts = {
        "own load": f"Poisson at {sweep.load:.0%} of the device's capacity",
        "same rate": "Poisson, the same requests/s for all",
        **{f"load {s:g}": f"Poisson at {s:.0%} of the device's capacity" for s in sweep.loads},
    }
    for what, text in texts.items():
        found = {s.name: growth(sweep, points, device=s.name, what=what) for s in servers}
        for name, ratios in found.items():
            own = name == mine and what == "own load"
            for key, start_len, printed in (("tbt", sweep.output_lens[1], p.tbt), ("ttft", sweep.output_lens[0], p.ttft)):
                rows.append(
                    row(
                        "A14",
                        f"{key.upper()} with {last} output tokens / with {start_len}",
                        ratios[key],
                        printed if own else None,
                        baseline=name,
                        input_len=sweep.input_len,
                        conditions=text,
                    )
                )
            if name != mine:
                rows += [
                    row("A14", f"{key.upper()} ratio of GPU / ADOR", ratios[key] / found[mine][key],
                        p.better_than_gpu if key == "ttft" and not what.startswith("load") else None, baseline=name,
                        input_len=sweep.input_len, conditions=text) for key in ("ttft", "tbt")
                ]  # fmt: skip
    rows += [
        Row(
            experiment="A14",
            name=f"capacity, req/s, {last} output tokens",
            ours=s.capacity,
            baseline=s.name,
            input_len=sweep.input_len,
            conditions=f"{sweep.capacity_prompts} requests that all wait at the start",
        )
        for s in servers
    ]
    return rows


def _claims(sweep: Lengths, names: list[str], points: list[Point], solved: dict[str, float | None]) -> list[Claim]:
    p, claims = sweep.published, []
    own = {n: growth(sweep, points, device=n, what="own load") for n in names}
    same = {n: growth(sweep, points, device=n, what="same rate") for n in names}
    for key, published in (("tbt", p.tbt), ("ttft", p.ttft)):
        ours = own[names[0]][key]
        high = {x: growth(sweep, points, device=names[0], what=f"load {x:g}")[key] for x in sweep.loads}
        most = f"; {high[sweep.loads[-1]]:.2f} at {sweep.loads[-1]:.0%}" if high else ""
        claims.append(
            Claim(
                what=f"growth of {key.upper()}, 1 to {sweep.output_lens[-1]} output tokens",
                published=f"{published:g}",
                ours=f"{ours:.2f}{most}",
                ratio=f"{ours / published:.2f}",
                verdict=within(ours / published, sweep.tolerance),
                why="load and prompts are not published; growth follows the number of requests that run at a time",
            )
        )
    ratios = [found[b]["ttft"] / found[names[0]]["ttft"] for b in names[1:] for found in (own, same)]
    text = "; ".join(
        f"{own[b]['ttft'] / own[names[0]]['ttft']:.2f} vs {b}, {same[b]['ttft'] / same[names[0]]['ttft']:.2f} at the same rate"
        for b in names[1:]
    )
    claims.append(
        Claim(
            what="growth of TTFT, GPU / ADOR",
            published=f"{p.better_than_gpu:g}",
            ours=text,
            ratio=f"{min(ratios) / p.better_than_gpu:.2f} to {max(ratios) / p.better_than_gpu:.2f}",
            verdict=together([within(r / p.better_than_gpu, sweep.tolerance) for r in ratios]),
            why="at equal shares of their capacities all slow down alike; at the same rate it comes out with the GPU's load at "
            + ", ".join(f"{'no share of its capacity' if v is None else format(v, '.0%')} ({n})" for n, v in solved.items()),
        )
    )
    return claims


def _notes(sweep: Lengths) -> list[str]:
    return [
        "An answer of one token has no time between tokens, so the growth of TBT starts at the second length.",
        f"The same requests/s at every length: with {sweep.output_lens[-1]:,} tokens many requests run at a time, with one "
        "hardly any. TTFT then grows from a prompt alone to a prompt beside the decodes of the others, TBT from one sequence to "
        "the batch that "
        "the load keeps running. Both are bounded while the load is below the capacity, and grow without limit as it comes near.",
    ]


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
    table = plain(
        f"A14: {sweep.model}, input {sweep.input_len:,}, load {sweep.load:.0%} of capacity: mean TTFT and TBT, ms",
        ("output tokens", *(f"{n}, {what}" for n in names for what in ("TTFT", "TBT"))),
    )
    own = {(q["device"], q["output_len"]): q for q in points if q["what"] == "own load"}
    for length in sweep.output_lens:
        both = (own[n, length][key] for n in names for key in ("ttft_ms", "tbt_ms"))
        table.add_row(f"{length:,}", *("-" if v is None else f"{v:.1f}" for v in both))
    grows = (growth(sweep, points, device=n, what="own load")[key] for n in names for key in ("ttft", "tbt"))
    table.add_row("last / first", *(f"{g:.2f}" for g in grows))
    table.caption = "requests/s: " + ", ".join(f"{n} {own[n, sweep.output_lens[0]]['rate']:.2f}" for n in names)
    loads = plain("A14: growth from the shortest to the longest answer, TTFT / TBT, by load",
                  ("", *(f"{s:.0%}" for s in sweep.loads), "same rate"))  # fmt: skip
    for s in servers:
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
        Panel(
            f"growth of {key.upper()} by load",
            "% of capacity",
            "longest / shortest answer",
            [
                Curve(
                    n,
                    [100 * x for x in sweep.loads],
                    [growth(sweep, points, device=n, what=f"load {x:g}")[key] for x in sweep.loads],
                )
                for n in names
            ],
            level=(getattr(p, key), "published for ADOR"),
            log_x=False,
        )
        for key in ("tbt", "ttft")
    ]
    rows = _ratio_rows(sweep, servers, points)
    rows += [
        Row(
            experiment="A14",
            name=f"solved: load of the GPU for a TTFT ratio of {p.better_than_gpu:g}",
            ours=share,
            baseline=name,
            input_len=sweep.input_len,
            conditions="of its capacity; both serve the same requests/s",
        )
        for name, share in solved.items()
    ]
    return Outcome(
        rows,
        points,
        [table, loads],
        [figure("A14: what longer answers cost", [panels, *([grown] if sweep.loads else [])])],
        _claims(sweep, names, points, solved),
        notes=_notes(sweep),
    )
