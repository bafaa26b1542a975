"""The summary's lines of experiments that do not state them themselves, read off their rows."""

from collections.abc import Callable

from .outcome import Claim, Outcome, Row, Verdict, together, within

#: By how much 64 x 64 may be slower than the optimum and still count as a choice as good as it.
AS_GOOD = 0.02


def claims_of(name: str, outcome: Outcome) -> list[Claim]:
    """The outcome's own claims, or those that its rows support."""
    return outcome.claims or (_READERS[name](outcome.rows) if name in _READERS else [])


def _named(rows: list[Row], start: str) -> list[Row]:
    return [r for r in rows if r.name.startswith(start)]


def _a5(rows: list[Row]) -> list[Claim]:
    means = [r for r in rows if r.name.startswith("time of ") and r.published is not None and r.input_len is None]
    ours = "; ".join(f"{(r.ours or 1) - 1:+.1%} to the optimum, {r.conditions.partition(';')[0]}" for r in means)
    best = _named([r for r in rows if r.input_len is None], "best ")
    sides = " x ".join(f"{r.published:g}" for r in best[:2] if r.published)
    return [
        Claim(what="systolic array at equal MACs, mean over tokens", published=f"{sides} is chosen", ours=ours,
              verdict=together([within(r.ours, AS_GOOD) for r in means]),
              why="as good as the optimum, which is flat: several sizes are within 2 %"),
    ]  # fmt: skip


def _a6(rows: list[Row]) -> list[Claim]:
    knees = [r for r in _named(rows, "knee") if "tree alone" in r.conditions and "split over" in r.conditions]
    largest = [
        r for r in knees if f"batch {max(int(q.conditions.split('batch ')[1].split(';')[0]) for q in knees)};" in r.conditions
    ]
    text = ", ".join(f"{r.ours:g} for {r.conditions.split(',')[1].split()[0]}" for r in largest)
    enough: list[Verdict] = ["holds" if "lanes are enough" in r.conditions else "does not hold" for r in largest]
    return [
        Claim(
            what="lanes of the MAC tree with which decode attention saturates",
            published=f"{knees[0].published:g}",
            ours=f"{text} queries per KV head",
            verdict=together(enough),
            why="lanes must keep up with DRAM for every query that shares a key",
        ),
    ]


def _a7(rows: list[Row]) -> list[Claim]:
    cases = _named(rows, "cases in which")
    decode = [r for r in cases if r.conditions.split("; ")[1] == "decode"]
    others = [f"{r.ours:.0%} with {r.conditions.split('; ')[2]}" for r in cases if r not in decode]
    ours = f"decode: {min(r.ours or 0 for r in decode):.0%} of cases; prompts: {'; '.join(others)}"
    return [
        Claim(what="what needs most local memory", published="LM head and attention scores", ours=ours,
              verdict=together([within(r.ours, 1e-9) for r in cases]),
              why="it depends on whether scores are kept whole, and on which rows have logits"),
    ]  # fmt: skip


def _a8(rows: list[Row]) -> list[Claim]:
    volume = [r for r in _named(rows, "devices from which all-gather is better by volume") if ", direct," in r.conditions]
    times = [r for r in _named(rows, "devices from which all-gather is better by time") if ", direct," in r.conditions]
    cross = [r for r in _named(rows, "crossover") if r.ours is not None]
    holding = sum("the published order holds" in r.conditions for r in times)
    found = [
        Claim(
            what="tensor parallelism by volume: devices from which all-gather is better",
            published=f"{r.published:g}",
            ours=f"{r.ours:g}" if r.ours else "none",
            ratio="" if r.ratio is None else f"{r.ratio:.2f}",
            verdict=within(r.ratio, 1e-9),
            why="direct all-reduce; on a ring Megatron always moves less",
        )
        for r in volume
    ]
    found += [
        Claim(
            what="crossover of the volumes, devices",
            published=f"{r.published:.4g} (formula)",
            ours=f"{r.ours:.4g}",
            ratio=f"{r.ratio:.3f}",
            verdict=within(r.ratio, 1e-6),
            why="(3H + F) / (2H)",
        )
        for r in cross
    ]
    if times:
        found.append(
            Claim(
                what="the same order by time of a step, direct",
                published="Megatron on 2, all-gather from 4",
                ours=f"in {holding} of {len(times)} kinds of step",
                verdict="holds" if holding == len(times) else "does not hold",
                why="small steps hide what they exchange either way, and the engine overlaps the two differently",
            )
        )
    return found


def _a9(rows: list[Row]) -> list[Claim]:
    mine = [r for r in _named(rows, "least bandwidth that hides") if "all-gather direct" in r.conditions]
    text = ", ".join(
        f"{'more than swept' if r.ours is None else format(r.ours / 1e9, '.0f')} ({r.conditions.split('; ')[2]})" for r in mine
    )
    enough: list[Verdict] = ["holds" if "GB/s is enough" in r.conditions else "does not hold" for r in mine]
    printed = next(r.published for r in mine if r.published)
    return [
        Claim(
            what="GB/s per direction that hide communication, LLaMA3-70B x 8",
            published=f"about {printed / 1e9:.0f}",
            ours=text,
            verdict=together(enough),
            why="what must be hidden grows with the tokens of a step",
        ),
    ]


def _a9b(rows: list[Row]) -> list[Claim]:
    mine = _named(rows, "least link width")
    text = ", ".join(f"{r.ours:g} ({r.conditions.split('; ')[1]})" for r in mine if r.ours is not None)
    return [Claim(what="NoC link width that hides exchange between cores, B/cycle", published="rules, no value", ours=text,
                  verdict="no figure", why="the shipped device has 128")]  # fmt: skip


def _a13(rows: list[Row]) -> list[Claim]:
    best = [r for r in _named(rows, "highest req/s, ") if r.published]
    solved = next((r for r in _named(rows, "solved: mean answer") if r.ours), None)
    why = (
        f"{solved.conditions.split('; ')[1]} tokens an answer; with {solved.ours:.0f} it would come out"
        if solved and solved.ours
        else ""
    )
    return [
        Claim(
            what=f"requests/s under the SLO, {r.name.partition(', ')[2]}",
            published=f"{r.published:g}",
            ours=f"{r.ours:.1f}",
            ratio=f"{r.ratio:.2f}",
            verdict=within(r.ratio, 0.15),
            why=why if i == 0 else "the paper says which model, not which SLO",
        )
        for i, r in enumerate(best)
    ]


_READERS: dict[str, Callable[[list[Row]], list[Claim]]] = {
    "A5": _a5, "A6": _a6, "A7": _a7, "A8": _a8, "A9": _a9, "A9b": _a9b, "A13": _a13,
}  # fmt: skip
