"""Our times of operators, layers and whole systems against measured ones, on hardware that ships as a preset.

Of several frameworks' times of a row the fastest counts: a model of the hardware says what is possible there.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdasim.device.collectives import OPS
from hdasim.device.gpu import borrowed
from hdasim.errors import CoreError, SpecError
from hdasim.predict.cells import Cells
from hdasim.predict.kernel import TYPES_OF_OPERANDS, operands
from hdasim.predict.operator import Cases
from hdasim.predict.operators import OPERATORS, operator
from hdasim.sheet import Progress
from hdasim.spec.hardware import Device
from hdasim.spec.load import load_device
from hdasim.text import NUMBER
from hdasim.validate import systems
from hdasim.validate.compare import Row, by_quantity
from hdasim.validate.silicon_groups import Floats, Group, Ints, classes
from hdasim.validate.silicon_tables import OVERHEADS, SYSTEMS, Table, find, preset

__all__ = ["Validation", "against_data", "print_validation"]


@dataclass
class Validation:
    """What was compared, how many rows and which files were left out, and lines about devices."""

    measured: list[Group] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    files: list[str] = field(default_factory=list)
    remarks: dict[str, None] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """Every comparison; a row's quantity is its GPU, operator and size class, such as "h100 all_reduce 8"."""
        return list(self._rows())

    def _rows(self) -> Iterator[Row]:
        for group in self.measured:
            labels = [group.label(place) for place in range(len(group.classes))]
            columns = group.which.tolist(), group.measured.tolist(), group.predicted.tolist()
            for row, (place, measured, predicted) in enumerate(zip(*columns, strict=True)):
                yield Row(f"{group.gpu} {group.title(row)}", labels[place], measured, predicted)

    def groups(self) -> list[tuple[str, list[float]]]:
        """(name, absolute errors) of each quantity, of each GPU and of all."""
        errors = {name: _errors(rows) for name, rows in sorted(by_quantity(self.rows).items())}
        out: list[tuple[str, list[float]]] = []
        for gpu in dict.fromkeys(name.split()[0] for name in errors):
            mine = [(name, values) for name, values in errors.items() if name.split()[0] == gpu]
            out += [*mine, (gpu, [value for _, values in mine for value in values])]
        return [*out, ("all", [value for values in errors.values() for value in values])]

    def skipped_lines(self) -> list[str]:
        """Why rows and files were left out, a line for each reason, and the remarks."""
        return [*self.files, *(f"left out {count:,} rows: {reason}" for reason, count in self.skipped.items()), *self.remarks]


def _errors(rows: list[Row]) -> list[float]:
    return [abs(row.error) for row in rows if row.error is not None]


def against_data(path: Path, op: str = "", progress: Progress | None = None) -> Validation:
    """Compare with a table of measured times, or with every such table in a folder, of one operator or of all.

    `op` may be one of `silicon_tables.SYSTEMS` too. `progress` hears of (rows done, all rows) of those, which take long.

    Rows of GPUs that do not ship as a preset, or of types that they lack, of other libraries than NCCL and of operations that
    NCCL does not have are left out, and counted.

    Raises
    ------
    SpecError
        If a file cannot be read or has wrong values, or nothing is there to compare.
    """
    if op and op not in SYSTEMS:
        operator(op, SYSTEMS)
    found = find(path, op)
    done = Validation(files=found.skipped)
    for table in found.tables:
        _compare(table, done)
    rows, count = 0, sum(len(sheet.lines) for _, sheet in found.systems)

    def heard() -> None:
        nonlocal rows
        rows += 1
        if progress is not None:
            progress(rows, count)

    for kind, sheet in found.systems:
        done.measured += systems.compare(kind, sheet, done.skipped, heard)
    if not done.measured:
        what = f"measurements of {op}" if op else "measurements"
        left = [*done.files, *(f"left out {count:,} rows: {why}" for why, count in done.skipped.items())]
        why = f" ({left[0]}{f'; {len(left) - 1} more' if len(left) > 1 else ''})" if left else ""
        wanted = "expected tables as hdasim validate silicon --help says"
        raise SpecError(f"no {what} on known hardware{why}; {wanted}", place=str(path))
    order = [*OPERATORS, *SYSTEMS]
    done.measured.sort(key=lambda group: (order.index(group.op), group.source, group.gpu, group.quantity, group.dtype))
    return done


def _compare(table: Table, done: Validation) -> None:
    """Add a table's groups."""
    keep = _known(table, done.skipped)
    parts: dict[tuple[str, str], list[int]] = {}
    for row, (gpu, dtype) in enumerate(zip(table.gpus, table.types, strict=True)):
        if keep[row]:
            parts.setdefault((preset(gpu.strip()), dtype.strip()), []).append(row)
    joined: dict[tuple[str, str], list[int]] = {}
    for (gpu, text), rows in parts.items():
        word = _type(table, text, rows[0]) if text else ""
        joined.setdefault((gpu, word), []).extend(rows)
    times = _times(table)
    for (gpu, dtype), rows in joined.items():
        device = load_device(gpu)
        if reason := _unable(table, device, dtype):
            done.skipped[reason] += len(rows)
        else:
            done.measured.append(_group(table, device, gpu, dtype, np.array(sorted(rows)), times))
            line = "" if table.op == "collective" else borrowed(device)
            done.remarks |= {line: None} if line else {}


def _known(table: Table, skipped: Counter[str]) -> list[bool]:
    """Which rows are of known hardware and, of collectives, NCCL's within a node."""
    reasons = {text: "" if preset(text.strip()) else f"no preset for {text.strip()!r}" for text in dict.fromkeys(table.gpus)}
    why = [reasons[text] for text in table.gpus]
    if table.op == "collective":
        empty = [""] * len(why)
        libraries, nodes = (table.texts.get(name, empty) for name in ("library", "devices_per_node"))
        columns = zip(libraries, table.texts["op"], table.texts["num_gpus"], nodes, strict=True)
        for row, (library, name, count, node) in enumerate(columns):
            pairs = "pairwise" in table.gpus[row] and count.strip() != "2"
            if why[row]:
                continue
            if library.strip() not in ("", "nccl"):
                why[row] = "measured with another library than NCCL"
            elif name.strip() not in OPS:
                why[row] = f"not NCCL's: {name.strip()}"
            elif node.strip().isdecimal() and count.strip().isdecimal() and int(node) < int(count):
                why[row] = "collectives over several nodes"
            elif pairs:
                why[row] = "NVLink joins only pairs of these devices"
    skipped.update(reason for reason in why if reason)
    return [not reason for reason in why]


def _type(table: Table, text: str, row: int) -> str:
    try:
        return operands(text, OPERATORS[table.op].type_column)
    except SpecError as error:
        raise SpecError(error.message, error.path, f"{table.path}:{table.lines[row]}") from None


def _unable(table: Table, device: Device, dtype: str) -> str:
    """Why the device cannot run the operator; "" if it can."""
    try:
        OPERATORS[table.op].check(device)
    except SpecError:
        return f"{device.name} is no GPU"
    compute = TYPES_OF_OPERANDS[dtype].compute if dtype and table.op in ("gemm", "moe") else "bf16"
    assert device.gpu is not None or compute == "bf16"
    if compute != "bf16" and not getattr(device.gpu.rates if device.gpu else None, compute):
        return f"{device.name} has no tensor cores for {compute}"
    return ""


def _times(table: Table) -> NDArray[np.float64]:
    """Microseconds, a column for each framework; infinite where there is no value."""
    several = len(table.times) > 1
    return np.stack([_column(table, name, texts, several) for name, texts in table.times.items()], axis=1)


def _column(table: Table, name: str, texts: list[str], several: bool) -> Floats:
    values = np.empty(len(texts))
    for row, text in enumerate(texts):
        bare = text.strip()
        value = float(bare) if NUMBER.fullmatch(bare) else np.inf if several and not bare else 0.0
        if not (0 < value < 1e15 or value == np.inf):
            message = f"got {bare[:40]!r}; expected microseconds greater than 0"
            raise SpecError(message, (name,), f"{table.path}:{table.lines[row]}")
        values[row] = value
    return values


def _group(table: Table, device: Device, gpu: str, dtype: str, rows: Ints, times: NDArray[np.float64]) -> Group:
    kind = OPERATORS[table.op]
    places = rows.tolist()
    cells = Cells({name: [texts[row] for row in places] for name, texts in table.texts.items()}, len(places))
    cases = kind.read(cells, device)
    if cells.faults:
        first = min(cells.faults)
        column, message = cells.faults[first]
        raise SpecError(message, (column,), f"{table.path}:{table.lines[places[first]]}")
    kept, which, columns = _best(table, cases, times[rows])
    measured, others = columns
    cases = cases[kept]
    try:
        done = kind.predict(device, cases)
    except CoreError as error:
        raise SpecError(f"sizes that the kernel models refuse ({error.message})", place=str(table.path)) from None
    predicted = done.time * 1e6
    if table.overheads is not None:
        eager = [_overhead(gpu, table.overheads[places[row]]) for row in kept.tolist()]
        predicted = predicted + np.array([0.0 if us is None else us for us in eager])
        predicted -= np.array([us is not None for us in eager]) * done.launch * 1e6
    names, size = classes(table.op, device, cases, measured)
    title = _title(table.op, cells, kept, cases)
    return Group(
        table.op, gpu, dtype, table.source, cases, title, measured, others, which, predicted, done, names, size
    )  # fmt: skip


def _overhead(gpu: str, name: str) -> float | None:
    return OVERHEADS.get(gpu, {}).get(name)


def _best(table: Table, cases: Cases, times: NDArray[np.float64]) -> tuple[Ints, Ints, tuple[Floats, Floats]]:
    """(rows kept, rows of `others`, (fastest times, how much longer the others took))."""
    count = len(cases)
    kept = np.arange(count)
    case = kept
    if table.merged:
        flat = np.ascontiguousarray(cases).view(np.dtype((np.void, cases.dtype.itemsize)))
        _, kept, case = np.unique(flat, return_index=True, return_inverse=True)
        order = np.argsort(kept)
        rank = np.empty_like(order)
        rank[order] = np.arange(order.size)
        kept, case = kept[order], rank[case.reshape(-1)]
    entries = np.repeat(case, times.shape[1])
    flat_times = times.reshape(-1)
    there = np.isfinite(flat_times)
    entries, flat_times = entries[there], flat_times[there]
    best = np.full(kept.size, np.inf)
    np.minimum.at(best, entries, flat_times)
    if not np.isfinite(best).all():
        row = int(kept[np.flatnonzero(~np.isfinite(best))[0]])
        names = ", ".join(table.times)
        raise SpecError(f"no time in the columns {names}; expected one at least", place=f"{table.path}:{table.lines[row]}")
    first = np.full(kept.size, flat_times.size)
    is_best = flat_times == best[entries]
    np.minimum.at(first, entries[is_best], np.flatnonzero(is_best))
    rest = np.ones(flat_times.size, np.bool_)
    rest[first] = False
    return kept, entries[rest], (best, flat_times[rest] / best[entries[rest]] - 1)


def _title(op: str, cells: Cells, kept: Ints, cases: Cases) -> Callable[[int], str]:
    """What names a row's case."""
    if op == "collective":
        return lambda row: f"{OPS[cases['op'][row]]} {cases['devices'][row]} GPUs {cases['size'][row]} B"
    texts = {name: column for name, column in cells.texts.items() if name != OPERATORS[op].type_column}
    return lambda row: " ".join(f"{name}={column[kept[row]].strip()}" for name, column in texts.items())


def print_validation(done: Validation, console: Any) -> None:
    """Print errors and the worst rows; of collectives alone, those of each operation."""
    from hdasim.validate import silicon_report

    if all(group.op == "collective" for group in done.measured):
        _print_collectives(done, console)
    else:
        silicon_report.print_report(done.measured, console)


def _print_collectives(done: Validation, console: Any) -> None:
    from hdasim.report.table import grid

    table = grid("|predicted / measured - 1|", ("group", "cases", "median", "mean", "largest"))
    for name, errors in done.groups():
        numbers = (median(errors), sum(errors) / len(errors), max(errors))
        table.add_row(name, str(len(errors)), *(f"{100 * number:.1f} %" for number in numbers))
    console.print(table, highlight=False)
