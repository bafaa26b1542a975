"""A10, A11 and A12 in rows, tables, figures and sentences."""

from typing import Any

from rich.table import Table

from .bars import Bar, stacked
from .kernels import ALL, FASTEST
from .lines import Curve, Panel, figure
from .outcome import Claim, Figure, Outcome, Row, Split, Verdict, row, together, within
from .tables import percent, plain
from .versus import PRINTED_DIES, Case, Found

HIDDEN = "exchange hidden"


def _ratios(case: Case, found: Found) -> list[tuple[str, str, str, float]]:
    """(quantity, condition, baseline, ratio): times of the baseline over ADOR's."""
    sweep = found.sweep
    mine, result = sweep.device, []
    for b in sweep.baselines:
        batch = f"batch {sweep.batch_size}"
        result.append(("TBT", batch, b, case.decode[b].seconds / case.decode[mine].seconds))
        if case.hidden:
            result.append(("TBT", f"{batch}, ADOR's {HIDDEN}", b, case.decode[b].seconds / case.hidden.seconds))
        result.append(("TTFT", "one prompt", b, case.prompt[b].seconds / case.prompt[mine].seconds))
        if case.hidden_prompt:
            result.append(("TTFT", f"one prompt, ADOR's {HIDDEN}", b, case.prompt[b].seconds / case.hidden_prompt.seconds))
        beside = f"one prompt beside {max(sweep.batch_size - 1, 1)} that decode"
        result.append(("TTFT", beside, b, case.beside[b].seconds / case.beside[mine].seconds))
    return result


def _published(quantity: str, found: Found) -> tuple[float | None, float | None]:
    """Ratio of times and area efficiency that the paper prints."""
    p = found.sweep.published
    return (p.tbt, p.area_efficiency_tbt) if quantity == "TBT" else (found.published_ttft, p.area_efficiency_ttft)


def _ratio_rows(name: str, found: Found) -> list[Row]:
    sweep, rows = found.sweep, []
    for case in found.cases:
        for quantity, condition, b, ratio in _ratios(case, found):
            printed, efficiency = _published(quantity, found)
            text = f"{sweep.model} x {sweep.device_count}; {condition}"
            derived = "; published: 1.93 x 516 / 826" if quantity == "TTFT" and printed else ""
            rows.append(row(name, f"{quantity} of baseline / ADOR", ratio, printed, baseline=b, input_len=case.input_len,
                            conditions=text + derived))  # fmt: skip
            for option in dict.fromkeys((sweep.mac_tree_area, *found.dies)):
                note = f"{text}; dies {found.dies[option][b]:.1f} / {found.dies[option][sweep.device]:.1f} mm2, MAC tree {option}"
                rows.append(row(name, f"area efficiency, {quantity}", ratio * found.area_ratio(b, option),
                                efficiency if option == sweep.mac_tree_area else None, baseline=b, input_len=case.input_len,
                                conditions=note))  # fmt: skip
    return rows


def _maybe(name: str, what: str, ours: float | None, baseline: str, input_len: int, text: str) -> Row:
    return Row(experiment=name, name=what, ours=ours, baseline=baseline, input_len=input_len, conditions=text)


def _solved_rows(name: str, found: Found) -> list[Row]:
    """What is solved for, and what is reached."""
    sweep, rows, target = found.sweep, [], found.sweep.published.tbt
    what = f"solved: attention's share of peak bandwidth for TBT {target:g}"
    solver = f"{sweep.solve.device}, all else at {sweep.solve.weights:.2f}" if sweep.solve else ""
    for c in found.cases:
        if sweep.solve:
            rows.append(_maybe(name, what, c.solved, solver, c.input_len, "bisection on executed steps" if c.solved else "no share does"))
        if c.hidden and sweep.solve:
            rows.append(_maybe(name, what, c.solved_hidden, solver, c.input_len, f"ADOR's {HIDDEN}"))
        hidden = f", ADOR's {HIDDEN}" if c.hidden else ""
        rows += [
            _maybe(name, what, share, f"{b}, all else as executed", c.input_len,
                   f"attention's bytes / time left{hidden}" if share else f"none{hidden}: the rest alone takes longer, or it needs none")
            for b, share in c.needed.items()
        ]  # fmt: skip
        rows += [
            _maybe(name, f"solved: GB/s per direction between devices for TBT {target:g}", b and b / 1e9, base, c.input_len,
                   "least of ADOR's links" if b else "no bandwidth is enough")
            for base, b in c.links.items()
        ]  # fmt: skip
        rows += [
            _maybe(name, "attention's share of peak bandwidth, as executed", parts.attention_share, device, c.input_len,
                   f"whole step {parts.share:.3f}")
            for device, parts in c.decode.items()
        ]  # fmt: skip
        rows += [
            _maybe(name, "attention's share of peak bandwidth, measured", m.median, m.who, c.input_len,
                   f"median of {m.count} kernels on A100 at similar shapes, {m.least:.2f} to {m.most:.2f}; {m.above} more claim "
                   "above the peak and are left out")
            for m in c.measured
        ]  # fmt: skip
    return rows


def _times(name: str, found: Found) -> Table:
    sweep = found.sweep
    table = plain(
        f"{name}: {sweep.model} x {sweep.device_count}, TBT at batch {sweep.batch_size} and TTFT of one prompt",
        ("device", "input", "TBT ms", "attention", "exchange", "all else", "attention's share", "whole share", "TTFT ms",
         "TBT ratio", "TTFT ratio"),
    )  # fmt: skip
    for c in found.cases:
        mine = c.decode[sweep.device]
        entries = {sweep.device: mine} | ({f"{sweep.device}, {HIDDEN}": c.hidden} if c.hidden else {}) | c.decode
        for device, p in entries.items():
            prompt = c.prompt.get(device, c.hidden_prompt)
            assert prompt is not None
            cells = (f"{1e3 * v:.2f}" for v in (p.seconds, p.attention, p.exchange, p.seconds - p.attention - p.exchange))
            against = (f"{p.seconds / mine.seconds:.2f}", f"{prompt.seconds / c.prompt[sweep.device].seconds:.2f}")
            share = "-" if p.attention_share is None else percent(p.attention_share)
            table.add_row(device, f"{c.input_len:,}", *cells, f"{share} %", f"{percent(p.share)} %", f"{1e3 * prompt.seconds:.1f}",
                          *against)  # fmt: skip
    table.caption = "attention, exchange between devices, all else: ms that each adds to the step   share: of the peak DRAM bandwidth"
    return table


def _ratio_table(name: str, found: Found) -> Table:
    table = plain(f"{name}: baseline's time / ADOR's, and area efficiency", ("", "condition", "baseline", "input", "published", "ours",
                  "ours / published", "area eff. published", "ours", "under synthesis"), 3)  # fmt: skip
    for c in found.cases:
        for quantity, condition, b, ratio in _ratios(c, found):
            printed, efficiency = _published(quantity, found)
            cells = ("-" if printed is None else f"{printed:.3g}", f"{ratio:.2f}", "-" if printed is None else f"{ratio / printed:.2f}")
            area = ("-" if efficiency is None else f"{efficiency:.2f}", f"{ratio * found.area_ratio(b):.2f}",
                    f"{ratio * found.area_ratio(b, 'synthesis'):.2f}")  # fmt: skip
            table.add_row(quantity, condition, b, f"{c.input_len:,}", *cells, *area)
    return table


def _step_chart(case: Case, found: Found) -> str:
    """TBT in parts, down to the baseline that the published ratio needs."""
    sweep = found.sweep
    names = ("decode attention", "exchange between devices", "weights and all else")
    devices: dict[str, Any] = {sweep.device: case.decode[sweep.device]}
    if case.hidden:
        devices[f"{sweep.device}, {HIDDEN}"] = case.hidden
    devices |= {b: case.decode[b] for b in sweep.baselines}
    bars = []
    for label, p in devices.items():
        share = "" if p.attention_share is None else f", attention at {percent(p.attention_share)} %"
        parts = (p.attention, p.exchange, p.seconds - p.attention - p.exchange)
        bars.append(Bar(label, [(n, 1e3 * s) for n, s in zip(names, parts, strict=True)], f"{1e3 * p.seconds:.1f} ms{share}"))
    mine, share = (case.hidden, case.solved_hidden) if case.hidden else (case.decode[sweep.device], case.solved)
    if share is not None and mine is not None and sweep.solve:
        seconds, base = sweep.published.tbt * mine.seconds, case.decode[sweep.solve.device]
        attention = base.attention_bytes / (share * base.bandwidth)
        parts = (attention, base.exchange, seconds - attention - base.exchange)
        of = f" of {HIDDEN}" if case.hidden else ""
        bars.append(Bar(f"what {sweep.published.tbt:g} x{of} needs", [(n, 1e3 * s) for n, s in zip(names, parts, strict=True)],
                        f"{1e3 * seconds:.1f} ms, attention at {percent(share)} %"))  # fmt: skip
    return stacked(f"{sweep.model}: TBT in parts, batch {sweep.batch_size}, input {case.input_len:,}", bars, "ms")


def _share_chart(case: Case, found: Found) -> str:
    """Attention's share of the bandwidth: solved for, stated, predicted, measured."""
    sweep, bars = found.sweep, []
    solved = case.solved_hidden if case.hidden else case.solved
    if solved is not None and sweep.solve:
        bars.append(Bar(f"solved for {sweep.published.tbt:g}, all else {percent(sweep.solve.weights)} %", [("solved for", solved)]))
    bars += [Bar(f"solved for {sweep.published.tbt:g}, all else as {b}", [("solved for", s)])
             for b, s in case.needed.items() if s and sweep.solve and b != sweep.solve.device]  # fmt: skip
    for device, parts in case.decode.items():
        if parts.attention_share is not None:
            bars.append(Bar(f"{device}, as executed", [("executed", parts.attention_share)]))
    bars += [Bar(m.who, [("measured on A100, median", m.median)], f"{m.least:.0%} to {m.most:.0%}, {m.count}") for m in case.measured]
    bars = [Bar(b.label, [(b.parts[0][0], 100 * b.parts[0][1])], f"{100 * b.parts[0][1]:.0f} %{', ' if b.note else ''}{b.note}")
            for b in bars]  # fmt: skip
    lines = [(100 * solved, "what the published ratio needs")] if solved else []
    return stacked(f"Decode attention's share of the peak bandwidth, input {case.input_len:,}", bars, "% of peak", lines)


def _figures(name: str, found: Found) -> list[Figure]:
    sweep = found.sweep
    figures = []
    if found.curve:
        curves = [
            Curve(d, [p["batch"] for p in found.curve if p["device"] == d], [p["ms"] for p in found.curve if p["device"] == d])
            for d in dict.fromkeys(p["device"] for p in found.curve)
        ]  # fmt: skip
        panel = Panel(f"TBT over the batch, input {sweep.input_lens[0]:,}", "batch", "TBT, ms", curves, ticks=sweep.batches)
        figures.append(figure(f"{name}: TBT as the batch grows", [[panel]]))
    figures.append(Figure(f"{name}: where a step's time goes", [_step_chart(c, found) for c in found.cases]))
    note = "Measured: median over kernels at similar shapes, with range and number; rows that claim more than the peak are left out."
    figures.append(Figure(f"{name}: the attention that the published ratio needs, and what kernels reach",
                          [_share_chart(c, found) for c in found.cases], note=note if found.cases[0].measured else found.note))  # fmt: skip
    return figures


def _span(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _claim(found: Found, quantity: str, area: bool, condition: str) -> Claim | None:
    """One line for a published ratio under one condition, over lengths and baselines."""
    sweep = found.sweep
    printed = _published(quantity, found)[area]
    if printed is None:
        return None
    texts, ratios = [], []
    for b in sweep.baselines:
        mine = [r * (found.area_ratio(b) if area else 1) for c in found.cases for q, w, base, r in _ratios(c, found)
                if (q, w, base) == (quantity, condition, b)]  # fmt: skip
        texts.append(f"{_span(mine)} vs {b}")
        ratios += [r / printed for r in mine]
    verdicts: list[Verdict] = [within(r, sweep.tolerance) for r in ratios]
    what = f"{'area efficiency, ' if area else ''}{quantity}, {sweep.model} x {sweep.device_count}, {condition}"
    why = ""
    if quantity == "TBT" and not area:
        needs = [c.solved_hidden if c.hidden else c.solved for c in found.cases]
        known = [s for s in needs if s is not None]
        why = f"needs a baseline whose attention gets {percent(min(known))} to {percent(max(known))} % of the bandwidth" if known else ""
    if quantity == "TTFT" and not area:
        why = f"published: derived, {sweep.published.area_efficiency_ttft} x {PRINTED_DIES[1]:g} / {PRINTED_DIES[0]:g}"
    return Claim(what=what, published=f"{printed:.3g}", ours="; ".join(texts), ratio=_span(ratios), verdict=together(verdicts), why=why)


def _splits(name: str, found: Found) -> list[Split]:
    sweep, splits = found.sweep, []
    for quantity, condition in (("TBT", f"batch {sweep.batch_size}"), ("TTFT", "one prompt")):
        printed = _published(quantity, found)[0]
        if printed is None:
            continue
        for c in found.cases:
            by = {(w, b): r for q, w, b, r in _ratios(c, found) if q == quantity}
            for b in sweep.baselines:
                ratio, hidden = by[condition, b], by.get((f"{condition}, ADOR's {HIDDEN}", b))
                label = f"{name} {quantity}, input {c.input_len:,}, vs {b}"
                chip = [("architecture", hidden or ratio)]
                if hidden:
                    chip.append(("links", ratio / hidden))
                splits.append(Split(label=label, published=printed, factors=(*chip, ("baseline's software", printed / ratio))))
    return splits


def _notes(found: Found) -> list[str]:
    sweep, notes = found.sweep, []
    for c in found.cases:
        mine = c.decode[sweep.device]
        best = c.hidden or mine
        share = {b: c.decode[b].attention_share for b in sweep.baselines}
        reach = ", ".join(f"{b} {percent(s)} %" for b, s in share.items() if s is not None)
        measured = {m.who: m.median for m in c.measured}
        text = f"Input {c.input_len:,}: ADOR's attention reaches {percent(best.attention_share or 0)} % of its peak bandwidth, {reach}."
        solved = c.solved_hidden if c.hidden else c.solved
        if solved and sweep.solve:
            text += (
                f" A TBT ratio of {sweep.published.tbt:g} needs a baseline at {percent(solved)} % with all else at "
                f"{percent(sweep.solve.weights)} %."
            )
        if FASTEST in measured:
            text += f" Measured kernels: fastest of each shape {percent(measured[FASTEST])} %, over frameworks {percent(measured[ALL])} %."
        notes.append(text)
        if c.hidden:
            links = "; ".join(f"vs {b}: {'none does' if v is None else f'{v / 1e9:.0f} GB/s'}" for b, v in c.links.items())
            notes.append(
                f"Input {c.input_len:,}: {1e3 * mine.exchange:.1f} ms of ADOR's {1e3 * mine.seconds:.1f} ms are exchange at 32 GB/s per "
                f"direction that nothing hides; without it the step takes {1e3 * c.hidden.seconds:.1f} ms. The paper takes 32 GB/s as "
                f"enough, which holds for batches up to about 32 (A9). Links with which {sweep.published.tbt:g} comes out: {links}."
            )
    return [*notes, *([found.note] if found.note else [])]


def _points(found: Found) -> list[dict[str, Any]]:
    points = []
    for c in found.cases:
        for phase, steps in (("decode", c.decode), ("prompt", c.prompt), ("prompt beside decodes", c.beside)):
            for device, p in steps.items():
                points.append({"device": device, "batch": found.sweep.batch_size, "input_len": c.input_len, "phase": phase,
                               "ms": 1e3 * p.seconds, "attention_ms": 1e3 * p.attention, "exchange_ms": 1e3 * p.exchange,
                               "attention_share": p.attention_share, "dram_share": p.share})  # fmt: skip
    return points + found.curve


def outcome(name: str, found: Found) -> Outcome:
    """Everything about one experiment."""
    sweep = found.sweep
    batch = f"batch {sweep.batch_size}"
    conditions = [("TBT", batch), *([("TBT", f"{batch}, ADOR's {HIDDEN}")] if sweep.device_count > 1 else []), ("TTFT", "one prompt")]
    claims = [_claim(found, q, area, c) for q, c in conditions for area in (False, True)]
    splits = _splits(name, found) if sweep.published.area_efficiency_tbt else []
    return Outcome(
        _ratio_rows(name, found) + _solved_rows(name, found), _points(found), [_times(name, found), _ratio_table(name, found)],
        _figures(name, found), [c for c in claims if c], splits, _notes(found),
    )  # fmt: skip
