"""A10, A11 and A12 in rows and tables."""

from pathlib import Path
from typing import Any

from rich.table import Table

from hdasim.spec.load import locate

from .outcome import Outcome, Row, read, row
from .tables import percent, plain
from .versus import HIDDEN, Found, Versus, found_in, published_of, ratios_of
from .versus_figures import figures
from .versus_words import claim, headline, notes, splits_of


def _ratio_rows(name: str, found: Found) -> list[Row]:
    sweep, rows = found.sweep, []
    for case in found.cases:
        for quantity, condition, b, ratio in ratios_of(case, found):
            printed, efficiency = published_of(quantity, found)
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
            rows.append(
                _maybe(name, what, c.solved, solver, c.input_len, "bisection on executed steps" if c.solved else "no share does")
            )
        if c.hidden and sweep.solve:
            rows.append(_maybe(name, what, c.solved_hidden, solver, c.input_len, f"ADOR's {HIDDEN}"))
        hidden = f", ADOR's {HIDDEN}" if c.hidden else ""
        rows += [
            _maybe(
                name,
                what,
                share,
                f"{b}, all else as executed",
                c.input_len,
                f"attention's bytes / time left{hidden}"
                if share
                else f"none{hidden}: the rest alone takes longer, or it needs none",
            )
            for b, share in c.needed.items()
        ]
        rows += [
            _maybe(
                name,
                f"solved: GB/s per direction between devices for TBT {target:g}",
                b and b / 1e9,
                base,
                c.input_len,
                "least of ADOR's links" if b else "no bandwidth is enough",
            )
            for base, b in c.links.items()
        ]
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
            table.add_row(
                device, f"{c.input_len:,}", *cells, f"{share} %", f"{percent(p.share)} %", f"{1e3 * prompt.seconds:.1f}", *against
            )
    table.caption = (
        "attention, exchange between devices, all else: ms that each adds to the step   share: of the peak DRAM bandwidth"
    )
    return table


def _ratio_table(name: str, found: Found) -> Table:
    table = plain(
        f"{name}: baseline's time / ADOR's, and area efficiency",
        (
            "",
            "condition",
            "baseline",
            "input",
            "published",
            "ours",
            "ours / published",
            "area eff. published",
            "ours",
            "under synthesis",
        ),
        3,
    )
    for c in found.cases:
        for quantity, condition, b, ratio in ratios_of(c, found):
            printed, efficiency = published_of(quantity, found)
            cells = (
                "-" if printed is None else f"{printed:.3g}",
                f"{ratio:.2f}",
                "-" if printed is None else f"{ratio / printed:.2f}",
            )
            area = (
                "-" if efficiency is None else f"{efficiency:.2f}",
                f"{ratio * found.area_ratio(b):.2f}",
                f"{ratio * found.area_ratio(b, 'synthesis'):.2f}",
            )
            table.add_row(quantity, condition, b, f"{c.input_len:,}", *cells, *area)
    return table


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
    conditions = [
        ("TBT", batch),
        *([("TBT", f"{batch}, ADOR's {HIDDEN}")] if sweep.device_count > 1 else []),
        ("TTFT", "one prompt"),
    ]
    claims = [claim(found, q, area, c) for q, c in conditions for area in (False, True)]
    splits = splits_of(name, found) if sweep.published.area_efficiency_tbt else []
    return Outcome(
        _ratio_rows(name, found) + _solved_rows(name, found),
        _points(found),
        [_times(name, found), _ratio_table(name, found)],
        figures(name, found),
        [c for c in claims if c],
        splits,
        notes(found),
        headline(name, found),
    )


def run_as(name: str, file: Path, data: Path | None = None) -> Outcome:
    """Evaluate the experiment `file` as experiment `name`; `data` is a folder of measured kernels instead of the file's."""
    sweep, document = read(file, Versus)
    with locate(document):
        return outcome(name, found_in(sweep, file, data))
