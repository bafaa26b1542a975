"""Tables of cases: CASES.csv in, the same rows with times on a device out.

A row that is wrong keeps its place, its outputs stay empty, and a last column says what is wrong with it. Every complaint is one
line, ``file:line: column: what is wrong; what would be right``. Columns are read and written in bulk, row by row only where
something is wrong.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdasim.device.gpu import borrowed
from hdasim.errors import CoreError, SpecError
from hdasim.predict.cells import Cells
from hdasim.predict.kernel import operands
from hdasim.predict.operator import Cases, Operator
from hdasim.predict.operators import operator
from hdasim.sheet import RowError, Sheet, Texts, read_sheet
from hdasim.spec.convert import meant
from hdasim.spec.hardware import Device
from hdasim.spec.load import load_device
from hdasim.text import NUMBER, SHOWN, check_writable, write_whole

#: Added columns: microseconds, and what sets the time.
OUTPUTS = ("time_us", "bound_us", "bottleneck")
_ERROR = "error"
#: Columns that say on which hardware a row was measured.
_HARDWARE = ("gpu", "system", "node", "hardware", "device")
_MOST_SHOWN = 20


@dataclass(frozen=True)
class Outcome:
    """A finished table.

    Parameters
    ----------
    kept
        Places of the columns that are not written anew.
    names, results
        Added columns, with a value for each row without an error.
    errors
        In the order of rows.
    """

    output: Path
    hardware: str
    sheet: Sheet
    kept: list[int]
    names: Texts
    results: list[list[float] | list[str]]
    errors: list[RowError]
    remarks: list[str]

    @property
    def source(self) -> Path:
        return self.sheet.path

    def rows(self) -> Iterator[tuple[Texts, Texts | RowError]]:
        """The cells that are kept of each row, and its outputs as text or what is wrong with it."""
        errors = {error.row: error for error in self.errors}
        outputs = zip(*map(_texts, self.results), strict=True)
        for row, line in zip(self.sheet.rows, self.sheet.lines, strict=True):
            yield tuple([row[at] for at in self.kept]), errors[line] if line in errors else next(outputs)

    def complaints(self) -> list[str]:
        """A line for each remark and bad row; the last says how many more there are."""
        lines = [f"{self.source}: {remark}" for remark in self.remarks]
        lines += [f"{self.source}:{error.row}: {error}" for error in self.errors[:_MOST_SHOWN]]
        if len(self.errors) > _MOST_SHOWN:
            more = len(self.errors) - _MOST_SHOWN
            lines.append(f"{self.source}: {more:,} more bad rows; see column {_ERROR} of {self.output}")
        return lines

    def summary(self) -> str:
        """One line."""
        return f"cases: {len(self.sheet.lines):,}, errors: {len(self.errors):,}, hardware: {self.hardware}, output: {self.output}"

    def document(self) -> dict[str, Any]:
        """The table as plain data, with numbers as numbers."""
        columns, rows = [self.sheet.names[at] for at in self.kept], []
        for cells, out in self.rows():
            row = {name: _value(text) for name, text in zip(columns, cells, strict=True)}
            if isinstance(out, RowError):
                rows.append(row | dict.fromkeys(self.names) | {_ERROR: str(out)})
            else:
                rows.append(row | dict(zip(self.names, map(_value, out), strict=True)))
        head = {"cases": len(rows), "hardware": self.hardware, "remarks": self.remarks}
        return {**head, "errors": [asdict(error) for error in self.errors], "output": str(self.output), "rows": rows}

    def write(self) -> None:
        """Write the table, whole or not at all."""
        text, newline = io.StringIO(newline=""), self.sheet.newline
        writer = csv.writer(text, lineterminator=newline)
        header = [self.sheet.header[at] for at in self.kept]
        writer.writerow([*header, *self.names, *([_ERROR] if self.errors else [])])
        plain = self.sheet.plain
        if plain is not None and not self.errors and len(self.kept) == len(self.sheet.header):
            form = ",".join(["%s", *("%s" if isinstance(column[0], str) else "%.9g" for column in self.results)]) + newline
            cells = chain.from_iterable(zip(plain, *self.results, strict=True))
            write_whole(self.output, text.getvalue() + form * len(plain) % tuple(cells))
            return
        empty, last = [""] * len(self.names), [""] if self.errors else []
        for kept, out in self.rows():
            writer.writerow([*kept, *empty, str(out)] if isinstance(out, RowError) else [*kept, *out, *last])
        write_whole(self.output, text.getvalue())


def _value(text: str) -> int | float | str | None:
    """A cell as a number where it is one."""
    text = text.strip()
    if not NUMBER.fullmatch(text) or len(text) > SHOWN:
        return text or None
    value = float(text)
    if not abs(value) <= 1e300:
        return text
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def run(source: Path, output: Path, op: str, hardware: str, *, dtype: str = "", explain: bool = False) -> Outcome:
    """Predict every row of `source` on one device and write `output`.

    Parameters
    ----------
    source
        CSV with the columns of the operator, in any order; other columns are kept, those of `OUTPUTS` are replaced.
    output
        The file to write, whole or not at all.
    op
        A key of `hdasim.predict.operators.OPERATORS`.
    hardware
        A preset, or a file with a device.
    dtype
        Stands in rows that do not name the type of their operands.
    explain
        Add columns that say how the time comes about (`Operator.why`).

    Raises
    ------
    SpecError
        If a file cannot be read or written, is no table of such cases, or the device cannot run the operator. A row with wrong
        values does not raise.
    """
    kind = operator(op)
    check_dtype(op, kind, dtype)
    device = load_device(hardware)
    try:
        kind.check(device)
    except SpecError as error:
        raise SpecError(error.message, error.path, error.place or hardware) from None
    sheet = read_sheet(source, lambda header: column_places(header, kind))
    check_writable(output)
    cells = columns(sheet, kind, dtype)
    names = (*OUTPUTS, *kind.why) if explain else OUTPUTS
    results, errors = _results(sheet, cells, kind, device, names)
    kept = [at for at, name in enumerate(sheet.names) if name not in (*names, _ERROR)]
    remarks = _constants_remarks(op, device) + _hardware_remarks(sheet, device) + kind.remarks(cells)
    outcome = Outcome(output, device.name, sheet, kept, names, results, errors, remarks)
    outcome.write()
    return outcome


def check_dtype(op: str, kind: Operator, dtype: str) -> None:
    """`SpecError` if the operator has no such type."""
    if dtype and not kind.type_column:
        raise SpecError(f"{op} has no type of operands; leave the option out", place=f"--dtype {dtype[:SHOWN]}")
    if dtype:
        try:
            operands(dtype, "--dtype")
        except SpecError as error:
            raise SpecError(error.message, error.path) from None


def column_places(sheet: Sheet, kind: Operator) -> dict[str, int | None]:
    """Where each column of the operator stands, whatever its name there; None for an optional one that is missing."""
    names = sheet.names
    places: dict[str, int | None] = {}
    missing = []
    for column in (*kind.columns, *kind.optional):
        known = [name for name in column if name in names]
        if len(known) > 1:
            message = f"columns {' and '.join(known)} mean the same; keep one"
            raise SpecError(message, place=f"{sheet.path}:1")
        if not known and column in kind.columns:
            missing.append(column)
        places[column[0]] = names.index(known[0]) if known else None
    if missing:
        taken = {names[place] for place in places.values() if place is not None}
        others = [name for name in names if name not in taken]
        hints = [f"{column[0]}{meant(column[0], others)}" for column in missing]
        what = "column is missing" if len(missing) == 1 else "columns are missing"
        known = [" or ".join(column) for column in kind.columns]
        raise SpecError(f"{what}: {', '.join(hints)}; expected the columns {', '.join(known)}", place=f"{sheet.path}:1")
    return places


def columns(sheet: Sheet, kind: Operator, dtype: str = "") -> Cells:
    """The columns of an operator under its own names."""
    places = column_places(sheet, kind)
    there = {name: at for name, at in places.items() if at is not None}
    texts = dict(zip(there, sheet.columns(list(there.values())), strict=True))
    if dtype:
        column = texts.get(kind.type_column, [""] * len(sheet.lines))
        texts[kind.type_column] = [text if text.strip() else dtype for text in column]
    return Cells(texts, len(sheet.lines))


def row_errors(sheet: Sheet, cells: Cells, kind: Operator) -> dict[int, RowError]:
    """What is wrong with rows, in the names of the file."""
    titles = {name: name if at is None else sheet.names[at] for name, at in column_places(sheet, kind).items()}
    errors = {row: (titles.get(column, column), message) for row, (column, message) in cells.faults.items()}
    errors |= {row: ("row", message) for row, message in sheet.ragged.items()}
    return {row: RowError(sheet.lines[row], *errors[row]) for row in sorted(errors)}


def _results(
    sheet: Sheet, cells: Cells, kind: Operator, device: Device, names: Texts
) -> tuple[list[list[float] | list[str]], list[RowError]]:  # fmt: skip
    """The columns `names` of rows without errors, and the errors."""
    cases = kind.read(cells, device)
    errors = row_errors(sheet, cells, kind)
    good = np.ones(cells.count, np.bool_)
    good[list(errors)] = False
    try:
        done = kind.predict(device, cases if not errors else cases[good])
    except CoreError:
        for row in _refused(kind, device, cases, np.flatnonzero(good)):
            errors[row] = RowError(sheet.lines[row], "row", "the kernel models refuse these sizes; stay nearer to real ones")
            good[row] = False
        errors = dict(sorted(errors.items()))
        done = kind.predict(device, cases[good])
    results: list[list[float] | list[str]] = [(done.time * 1e6).tolist(), (done.bound * 1e6).tolist(), done.bottleneck]
    results += [(done.why[name] * (1e6 if name.endswith("_us") else 1)).tolist() for name in names if name not in OUTPUTS]
    return results, list(errors.values())


def _refused(kind: Operator, device: Device, cases: Cases, rows: NDArray[np.int64]) -> list[int]:
    """Those of `rows` that the core refuses, found by halving."""
    try:
        kind.predict(device, cases[rows])
    except CoreError:
        if rows.size == 1:
            return [int(rows[0])]
        half = rows.size // 2
        return _refused(kind, device, cases, rows[:half]) + _refused(kind, device, cases, rows[half:])
    return []


def _texts(values: list[float] | list[str]) -> list[str]:
    """Numbers with nine digits; texts as they are."""
    return [value if isinstance(value, str) else f"{value:.9g}" for value in values]


def _constants_remarks(op: str, device: Device) -> list[str]:
    """A line if the kernels' constants were fitted on another generation; collectives have none of a generation."""
    line = "" if op == "collective" else borrowed(device)
    return [line] if line else []


def _hardware_remarks(sheet: Sheet, device: Device) -> list[str]:
    """A line if rows name other hardware than the device: they are predicted all the same, as the caller asked."""
    for column in _HARDWARE:
        if column in sheet.names:
            (texts,) = sheet.columns([sheet.names.index(column)])
            counts = Counter(texts)
            others = {text.strip(): n for text, n in counts.items() if text.strip() and not same_hardware(text, device.name)}
            if others:
                shown = ", ".join(list(others)[:3])
                count = sum(others.values())
                return [f"{column}: {count:,} rows name other hardware ({shown}); all are predicted on {device.name}"]
    return []


def same_hardware(text: str, name: str) -> bool:
    """Whether a name such as a100_sxm, as tables of measurements have it, means the hardware `name`, such as a100."""
    return _bare(text).startswith(_bare(name))


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]|agx|nvidia|amd|geforce", "", name.lower())
