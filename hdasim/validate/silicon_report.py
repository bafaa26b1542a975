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
    """Print the errors of each group and its size classes, and the worst rows of each operator with what the model says of them."""
    table = grid("Predicted against the fastest framework's time", ("", "rows", "median", "mean", "p90", "signed", "noise"))
    for total, parts in statistics(groups):
        table.add_row(*_cells(total, ""))
        for part in parts if len(parts) > 1 else ():
            table.add_row(*_cells(part, "  "), style="dim")
    console.print(table, highlight=False)
    console.print(
        "error: |predicted / measured - 1|, signed: the median with its sign; noise: median by which other frameworks are slower\n"
        + "\n".join(f"{name}: {what}" for name, what in SOURCES.items() if any(group.source == name for group in groups)),
        highlight=False,
    )
    for op in dict.fromkeys(group.op for group in groups):
        mine = [group for group in groups if group.op == op]
        console.print()
        console.print(_worst_table(op, mine), highlight=False)


def _cells(s: Statistics, indent: str) -> list[str]:
    numbers = (f"{100 * value:.1f} %" for value in (s.median, s.mean, s.p90))
    noise = "-" if s.noise is None else f"{100 * s.noise:.1f} %"
    return [indent + s.name, f"{s.rows:,}", *numbers, f"{100 * s.signed:+.1f} %", noise]


def _worst(groups: list[Group], count: int) -> list[tuple[Group, int]]:
    """The rows of the largest errors, first of all groups together."""
    rows = [(group, int(row)) for group in groups for row in np.argsort(-np.abs(group.error), kind="stable")[:count]]
    return sorted(rows, key=lambda pair: -abs(float(pair[0].error[pair[1]])))[:count]


def _explained(group: Group, row: int) -> dict[str, float | str]:
    """What the model says of a row."""
    why = {
        name: float(values[row]) * (1e6 if name.endswith("_us") else 1) for name, values in group.done.why.items()
    }  # fmt: skip
    cause = group.done.causes[int(group.done.cause[row])]
    return {"bound_us": float(group.done.bound[row]) * 1e6, "bottleneck": cause, **why}


def _worst_table(op: str, groups: list[Group]) -> Any:
    columns = ("case", "measured us", "predicted us", "error", "bound us", "bottleneck", *groups[0].done.why)
    table = grid(f"Worst rows: {op}", columns)
    for group, row in _worst(groups, _WORST):
        values = [f"{group.measured[row]:.4g}", f"{group.predicted[row]:.4g}", f"{100 * group.error[row]:+.0f} %"]
        values += [value if isinstance(value, str) else f"{value:.4g}" for value in _explained(group, row).values()]
        table.add_row(f"{group.name} {group.title(row)}", *values)
    return table


def write_report(groups: list[Group], folder: Path) -> list[str]:
    """Write errors.csv, groups.json, worst.csv and the plots into a folder; the names of the files."""
    make_folder(folder)
    found = statistics(groups)
    files = {"errors.csv": _errors_csv(found), "groups.json": _groups_json(groups, found), "worst.csv": _worst_csv(groups)}
    files["silicon.svg"] = plot("All operators", [(op, _of(groups, op)) for op in dict.fromkeys(g.op for g in groups)])
    for op in dict.fromkeys(group.op for group in groups):
        mine = _of(groups, op)
        named = [(" ".join(filter(None, (g.gpu, g.dtype, g.source))), [g]) for g in mine]
        files[f"silicon-{op}.svg"] = plot(op, named)
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
        head = {"op": g.op, "gpu": g.gpu, "dtype": g.dtype, "source": g.source, "class": part}
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
            why = {name: v if isinstance(v, str) else f"{v:.6g}" for name, v in _explained(group, row).items()}
            writer.writerow(head | why)
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
    lines = [Series("no error", ends, ends)]
    lines += [Series(label, ends, ends * (1 + part), dashed=True) for label, part in (("20 %", _BAND), ("", -_BAND))]
    return chart(
        [*series, *lines], title=f"{title}: predicted against measured", x_label="measured, us", y_label="predicted, us",
        log_x=True, log_y=True, x_range=(float(ends[0]), float(ends[1])), width=720, height=720,
    )  # fmt: skip
