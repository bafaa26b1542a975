"""A10, A11 and A12 in figures."""

from typing import Any

from .bars import Bar, stacked
from .lines import Curve, Panel, figure
from .outcome import Figure
from .tables import percent
from .versus import HIDDEN, Case, Found


def _parts(attention: float, rest: float, exchange: float) -> list[tuple[str, float]]:
    """Parts of a step, ms; exchanges only where there are any."""
    parts = {"decode attention": attention, "weights and all else": rest, "exchange between devices": exchange}
    return [(name, 1e3 * seconds) for name, seconds in parts.items() if seconds > 0]


def _step_chart(case: Case, found: Found) -> str:
    """TBT in parts, down to the baseline that the published ratio needs."""
    sweep = found.sweep
    devices: dict[str, Any] = {sweep.device: case.decode[sweep.device]}
    if case.hidden:
        devices[f"{sweep.device}, {HIDDEN}"] = case.hidden
    devices |= {b: case.decode[b] for b in sweep.baselines}
    bars = []
    for label, p in devices.items():
        share = "" if p.attention_share is None else f", attention at {percent(p.attention_share)} %"
        bars.append(
            Bar(label, _parts(p.attention, p.seconds - p.attention - p.exchange, p.exchange), f"{1e3 * p.seconds:.1f} ms{share}")
        )
    mine, share = (case.hidden, case.solved_hidden) if case.hidden else (case.decode[sweep.device], case.solved)
    if share is not None and mine is not None and sweep.solve:
        seconds, base = sweep.published.tbt * mine.seconds, case.decode[sweep.solve.device]
        attention = base.attention_bytes / (share * base.bandwidth)
        parts = _parts(attention, seconds - attention - base.exchange, base.exchange)
        bars.append(
            Bar(f"what {sweep.published.tbt:g} x needs", parts, f"{1e3 * seconds:.1f} ms, attention at {percent(share)} %")
        )
    return stacked(f"{sweep.model}: TBT in parts, batch {sweep.batch_size}, input {case.input_len:,}", bars, "ms")


def _share_chart(case: Case, found: Found) -> str:
    """Attention's share of the bandwidth: solved for, stated, predicted, measured."""
    sweep, bars = found.sweep, []
    solved = case.solved_hidden if case.hidden else case.solved
    if solved is not None and sweep.solve:
        bars.append(
            Bar(f"solved for {sweep.published.tbt:g}, all else {percent(sweep.solve.weights)} %", [("solved for", solved)])
        )
    bars += [
        Bar(f"solved for {sweep.published.tbt:g}, all else as {b}", [("solved for", s)])
        for b, s in case.needed.items()
        if s and sweep.solve and b != sweep.solve.device
    ]
    for device, parts in case.decode.items():
        if parts.attention_share is not None:
            bars.append(Bar(f"{device}, as executed", [("executed", parts.attention_share)]))
    bars += [
        Bar(m.who, [("measured on A100, median", m.median)], f"{m.least:.0%} to {m.most:.0%}, {m.count}") for m in case.measured
    ]
    bars = [
        Bar(b.label, [(b.parts[0][0], 100 * b.parts[0][1])], f"{100 * b.parts[0][1]:.0f} %{', ' if b.note else ''}{b.note}")
        for b in bars
    ]
    lines = [(100 * solved, "what the published ratio needs")] if solved else []
    return stacked(f"Decode attention's share of the peak bandwidth, input {case.input_len:,}", bars, "% of peak", lines)


def figures(name: str, found: Found) -> list[Figure]:
    sweep = found.sweep
    figures = []
    if found.curve:
        curves = [
            Curve(d, [p["batch"] for p in found.curve if p["device"] == d], [p["ms"] for p in found.curve if p["device"] == d])
            for d in dict.fromkeys(p["device"] for p in found.curve)
        ]  # fmt: skip
        title = f"TBT over the batch, input {sweep.input_lens[0]:,}"
        panel = Panel(title, "batch", "TBT, ms", curves, logarithmic=False, ticks=sweep.batches)
        figures.append(figure(f"{name}: TBT as the batch grows", [[panel]]))
    figures.append(Figure(f"{name}: where a step's time goes", [_step_chart(c, found) for c in found.cases]))
    note = (
        "Measured: median over kernels at similar shapes, with range and number; rows that claim more than the peak are left out."
    )
    figures.append(
        Figure(
            f"{name}: the attention that the published ratio needs, and what kernels reach",
            [_share_chart(c, found) for c in found.cases],
            note=note if found.cases[0].measured else found.note,
        )
    )
    return figures
