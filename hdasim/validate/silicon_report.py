"""Errors of operator times as tables, files and plots."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hdasim.report.files import make_folder, to_json
from hdasim.report.svg import Series, chart
from hdasim.report.table import grid
from hdasim.text import write_whole
from hdasim.validate.silicon_groups import Group, Statistics, statistics
from hdasim.validate.silicon_tables import SOURCES

_WORST = 10
#: Points of a plot are drawn once for each cell of so many parts of a decade; a finer one only makes the file larger.
_CELLS = 40
_BAND = 0.2


def print_report(groups: list[Group], console: Any) -> None:
    """Print the errors of each group and its size classes, and the worst rows of each operator with the model's explanation."""
    table = grid("Predicted against the fastest framework's time", ("", "rows", "median", "mean", "p90", "signed", "noise"))
    for total, parts in statistics(groups):
        table.add_row(*_cells(total, ""))
        for part in parts if len(parts) > 1 else ():
            table.add_row(*_cells(part, "  "), style="dim")
    console.print(table, highlight=False)
    console.print("error: |predicted / measured - 1|; signed: its median with the sign", highlight=False)
    console.print("noise: how much slower frameworks other than the fastest are, median", highlight=False)
    for name, what in SOURCES.items():
        if any(group.source.split()[:1] == [name] for group in groups):
            console.print(f"{name}: {what}", highlight=False)
    for op in dict.fromkeys(group.op for group in groups):
        mine = [group for group in groups if group.op == op]
        console.print()
        console.print("\n".join(_worst_lines(op, mine)), highlight=False)


def _cells(s: Statistics, indent: str) -> list[str]:
    numbers = (f"{100 * value:.1f} %" for value in (s.median, s.mean, s.p90))
    noise = "-" if s.noise is None else f"{100 * s.noise:.1f} %"
    return [indent + s.name, f"{s.rows:,}", *numbers, f"{100 * s.signed:+.1f} %", noise]


def _worst(groups: list[Group], count: int) -> list[tuple[Group, int]]:
    """The rows that are wrong by the largest factor, first of all groups together."""
    found = []
    for group in groups:
        wrong = np.abs(np.log(group.predicted / group.measured))
        found += [(float(-wrong[row]), group, int(row)) for row in np.argsort(-wrong, kind="stable")[:count]]
    found.sort(key=lambda entry: entry[0])
    return [(group, row) for _, group, row in found[:count]]


def _why(group: Group, row: int) -> dict[str, float]:
    """What the model says of a row, times in microseconds."""
    return {name: float(values[row]) * (1e6 if name.endswith("_us") else 1) for name, values in group.done.why.items()}


def _worst_lines(op: str, groups: list[Group]) -> list[str]:
    lines = [f"Worst rows: {op}"]
    unit, scale = ("us", 1.0) if any(group.done.why for group in groups) else ("ms", 1e-3)
    for group, row in _worst(groups, _WORST):
        measured, predicted, bound = (float(v) for v in (group.measured[row], group.predicted[row], group.done.bound[row] * 1e6))
        measured, predicted = measured * scale, predicted * scale
        why, cause = _why(group, row), group.done.causes[int(group.done.cause[row])]
        shape = [f"{name} {why[name]:.4g}" for name in ("split", "waves") if why.get(name)]
        if why.get("tile_m") and why.get("tile_n"):
            shape.insert(0, f"tile {why['tile_m']:.0f}x{why['tile_n']:.0f}")
        parts = [f"{name.removesuffix('_us')} {value:.4g}" for name, value in why.items() if name.endswith("_us")]
        lines.append(f"{100 * group.error[row]:+8.0f} %  {group.name} {group.title(row)}")
        times = f"measured {measured:.4g}, predicted {predicted:.4g}"
        times += f", bound {bound:.4g} us; {cause}" if why else f" {unit}"
        lines.append(f"            {'; '.join(filter(None, (times, ', '.join(shape), ', '.join(parts) + ' us' * bool(parts))))}")
    return lines


def write_report(groups: list[Group], folder: Path) -> list[str]:
    """Write errors.csv, groups.json, worst.csv and plots, groups with a source in their own, into a folder; the files' names."""
    make_folder(folder)
    found = statistics(groups)
    files = {"errors.csv": _errors_csv(found), "groups.json": _groups_json(groups, found), "worst.csv": _worst_csv(groups)}
    files["silicon.svg"] = plot("All operators", [(op, _of(groups, op)) for op in dict.fromkeys(g.op for g in groups)])
    for op in dict.fromkeys(group.op for group in groups):
        for name, apart in (("", False), ("-sources", True)):
            mine = [group for group in groups if group.op == op and bool(group.source) == apart]
            if mine:
                named = [(" ".join(filter(None, (g.gpu, g.quantity, g.dtype, g.source))), [g]) for g in mine]
                files[f"silicon-{op}{name}.svg"] = plot(op, named)
    for name, text in files.items():
        write_whole(folder / name, text)
    return list(files)


def _of(groups: list[Group], op: str) -> list[Group]:
    return [group for group in groups if group.op == op]


_STATISTICS = ("rows", "median", "mean", "p90", "signed", "noise")


def _all(found: list[tuple[Statistics, list[Statistics]]]) -> Iterator[tuple[int, str, Statistics]]:
    """(place of the group, size class or "all", statistics)."""
    for place, (total, parts) in enumerate(found):
        yield place, "all", total
        for part in parts:
            yield place, part.name, part


def _errors_csv(found: list[tuple[Statistics, list[Statistics]]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "class", *_STATISTICS])
    for place, part, s in _all(found):
        values = [getattr(s, name) for name in _STATISTICS[1:]]
        writer.writerow([found[place][0].name, part, s.rows, *("" if v is None else f"{v:.6g}" for v in values)])
    return text.getvalue()


def _groups_json(groups: list[Group], found: list[tuple[Statistics, list[Statistics]]]) -> str:
    rows = []
    for place, part, s in _all(found):
        g = groups[place]
        head = {"op": g.op, "gpu": g.gpu, "quantity": g.quantity, "dtype": g.dtype, "source": g.source, "class": part}
        rows.append({**head, **{name: getattr(s, name) for name in _STATISTICS}})
    return to_json(rows)


def _worst_csv(groups: list[Group]) -> str:
    names = list(dict.fromkeys(name for group in groups for name in group.done.why))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, ["group", "case", "measured_us", "predicted_us", "error", "bound_us", "bottleneck", *names], lineterminator="\n"
    )  # fmt: skip
    writer.writeheader()
    for group in groups:
        for _, row in _worst([group], _WORST):
            head = {"group": group.name, "case": group.title(row), "measured_us": f"{group.measured[row]:.6g}"}
            head |= {"predicted_us": f"{group.predicted[row]:.6g}", "error": f"{group.error[row]:.4f}"}
            cause = group.done.causes[int(group.done.cause[row])]
            head |= {"bound_us": f"{group.done.bound[row] * 1e6:.6g}", "bottleneck": cause}
            writer.writerow(head | {name: f"{value:.6g}" for name, value in _why(group, row).items()})
    return text.getvalue()


def plot(title: str, named: list[tuple[str, list[Group]]]) -> str:
    """Predicted against measured times, logarithmic, with the line of no error and a band of 20 % on either side."""
    series = []
    for name, groups in named:
        x, y = (np.concatenate([getattr(group, column) for group in groups]) for column in ("measured", "predicted"))
        x, y = np.log10(x), np.log10(np.maximum(y, 1e-6))
        cells = np.stack([np.floor(x * _CELLS), np.floor(y * _CELLS)], axis=1)
        _, first = np.unique(cells, axis=0, return_index=True)
        first.sort()
        series.append(Series(name, 10 ** x[first], 10 ** y[first], "points"))
    ends = np.array([min(float(np.min(s.x)) for s in series) / 1.2, max(float(np.max(s.x)) for s in series) * 1.2])
    gap = np.array([np.nan])
    band = np.concatenate([ends * (1 + _BAND), gap, ends * (1 - _BAND)])
    lines = [Series("no error", ends, ends), Series("20 %", np.concatenate([ends, gap, ends]), band, dashed=True)]
    return chart(
        [*series, *lines], title=f"{title}: predicted against measured", x_label="measured, us", y_label="predicted, us",
        log_x=True, log_y=True, x_range=(float(ends[0]), float(ends[1])), width=720, height=720,
    )  # fmt: skip
