"""A10, A11 and A12 in words: lines of the summary, products, and what a reader should know."""

from .kernels import ALL, FASTEST
from .outcome import Claim, Split, Verdict, together, within
from .tables import percent
from .versus import HIDDEN, PRINTED_DIES, Found, published_of, ratios_of


def _span(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def claim(found: Found, quantity: str, area: bool, condition: str) -> Claim | None:
    """One line for a published ratio under one condition, over lengths and baselines."""
    sweep = found.sweep
    printed = published_of(quantity, found)[area]
    if printed is None:
        return None
    texts, ratios = [], []
    for b in sweep.baselines:
        mine = [r * (found.area_ratio(b) if area else 1) for c in found.cases for q, w, base, r in ratios_of(c, found)
                if (q, w, base) == (quantity, condition, b)]  # fmt: skip
        texts.append(f"{_span(mine)} vs {b}")
        ratios += [r / printed for r in mine]
    verdicts: list[Verdict] = [within(r, sweep.tolerance) for r in ratios]
    what = f"{'area efficiency, ' if area else ''}{quantity}, {sweep.model} x {sweep.device_count}, {condition}"
    why = ""
    if quantity == "TBT" and not area:
        needs = [c.solved_hidden if HIDDEN in condition else c.solved for c in found.cases]
        known = [s for s in needs if s is not None]
        why = (
            f"needs a baseline whose attention gets {percent(min(known))} to {percent(max(known))} % of the bandwidth"
            if known
            else ""
        )
    if quantity == "TTFT" and not area:
        why = f"published: derived, {sweep.published.area_efficiency_ttft} x {PRINTED_DIES[1]:g} / {PRINTED_DIES[0]:g}"
    return Claim(
        what=what, published=f"{printed:.3g}", ours="; ".join(texts), ratio=_span(ratios), verdict=together(verdicts), why=why
    )


def splits_of(name: str, found: Found) -> list[Split]:
    """Each ratio with a published one as architecture x software; with links between devices also what their exchanges cost."""
    sweep, splits = found.sweep, []
    for quantity, condition in (("TBT", f"batch {sweep.batch_size}"), ("TTFT", "one prompt")):
        printed = published_of(quantity, found)[0]
        if printed is None:
            continue
        for c in found.cases:
            by = {(w, b): r for q, w, b, r in ratios_of(c, found) if q == quantity}
            for b in sweep.baselines:
                ratio, hidden = by[condition, b], by.get((f"{condition}, ADOR's {HIDDEN}", b))
                place = f"input {c.input_len:,}, vs {b}"
                chip = hidden or ratio
                factors = (("architecture", chip), ("baseline's software", printed / chip))
                told = f"{quantity}, {HIDDEN}" if hidden else quantity
                splits.append(Split(label=f"{name} {told}, {place}", published=printed, factors=factors))
                if hidden:
                    executed = (("architecture", hidden), ("links", ratio / hidden))
                    splits.append(Split(label=f"{name} {quantity}, as executed, {place}", published=printed, factors=executed))
    return splits


def notes(found: Found) -> list[str]:
    sweep, notes = found.sweep, []
    for c in found.cases:
        mine = c.decode[sweep.device]
        best = c.hidden or mine
        share = {b: c.decode[b].attention_share for b in sweep.baselines}
        reach = ", ".join(f"{b} {percent(s)} %" for b, s in share.items() if s is not None)
        measured = {m.who: m.median for m in c.measured}
        own = percent(best.attention_share or 0)
        text = f"Input {c.input_len:,}: ADOR's attention reaches {own} % of its peak bandwidth, {reach}."
        solved = c.solved_hidden if c.hidden else c.solved
        if solved and sweep.solve:
            text += (
                f" A TBT ratio of {sweep.published.tbt:g} needs a baseline at {percent(solved)} % with all else at "
                f"{percent(sweep.solve.weights)} %."
            )
        if FASTEST in measured:
            text += f" Measured kernels: fastest of each shape {percent(measured[FASTEST])} %, "
            text += f"over frameworks {percent(measured[ALL])} %."
        notes.append(text)
        if c.hidden:
            links = "; ".join(f"vs {b}: {'none does' if v is None else f'{v / 1e9:.0f} GB/s'}" for b, v in c.links.items())
            notes.append(
                f"Input {c.input_len:,}: {1e3 * mine.exchange:.1f} ms of ADOR's {1e3 * mine.seconds:.1f} ms are exchanges "
                f"between devices that nothing hides; without them the step takes {1e3 * c.hidden.seconds:.1f} ms. The paper "
                f"takes its links as fast enough; A9 says for which batches. Links with which "
                f"{sweep.published.tbt:g} comes out: {links}."
            )
    return [*notes, *([found.note] if found.note else [])]


def headline(name: str, found: Found) -> str:
    """What the published TBT asks of the baseline's attention, and what attention reaches; empty if nothing was solved for."""
    sweep, cases = found.sweep, found.cases
    solved = [share for c in cases if (share := c.solved_hidden if c.hidden else c.solved) is not None]
    if not solved or sweep.solve is None:
        return ""
    hidden = f", with ADOR's {HIDDEN}," if cases[0].hidden else ""
    text = (
        f"{name}: TBT {sweep.published.tbt:g}{hidden} needs an A100 whose decode attention gets {_percents(solved)} of its "
        f"bandwidth and all else {percent(sweep.solve.weights)} %"
    )
    reach = {b: [s for c in cases if (s := c.decode[b].attention_share) is not None] for b in sweep.baselines}
    reach |= {f"measured, {who}": [m.median for c in cases for m in c.measured if m.who == who] for who in (FASTEST, ALL)}
    told = ", ".join(f"{who} {_percents(shares)}" for who, shares in reach.items() if shares)
    return f"{text}. Attention reaches: {told}."


def _percents(shares: list[float]) -> str:
    low, high = percent(min(shares)), percent(max(shares))
    return f"{low} %" if low == high else f"{low} to {high} %"
