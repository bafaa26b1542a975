"""Tables of cases: CASES.csv in, the same rows with times on a device out.

A row that is wrong keeps its place, its outputs stay empty, and a last column says what is wrong with it. Every complaint is one
line, ``file:line: column: what is wrong; what would be right``. Columns are read and written in bulk, row by row only where
something is wrong.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
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
    """A finished table: per row its cells that are kept, and its outputs as text, which are None where `errors` has the row.

    No cell of a `plain` table needs quotes.
    """

    source: Path
    output: Path
    hardware: str
    columns: Texts
    inputs: list[Texts]
    names: Texts
    outputs: list[Texts | None]
    errors: list[RowError]
    remarks: list[str]
    plain: bool

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
        return f"cases: {len(self.inputs):,}, errors: {len(self.errors):,}, hardware: {self.hardware}, output: {self.output}"

    def document(self) -> dict[str, Any]:
        """The table as plain data, with numbers as numbers."""
        rows, errors = [], iter(self.errors)
        for cells, out in zip(self.inputs, self.outputs, strict=True):
            row = {name.strip(): _value(text) for name, text in zip(self.columns, cells, strict=True)}
            if out is None:
                rows.append(row | dict.fromkeys(self.names) | {_ERROR: str(next(errors))})
            else:
                rows.append(row | dict(zip(self.names, map(_value, out), strict=True)))
        head = {"cases": len(rows), "hardware": self.hardware, "remarks": self.remarks}
        return {**head, "errors": [asdict(error) for error in self.errors], "output": str(self.output), "rows": rows}

    def write(self, newline: str) -> None:
        """Write the table, whole or not at all."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator=newline)
        writer.writerow([*self.columns, *self.names, *([_ERROR] if self.errors else [])])
        if self.plain and not self.errors:
            lines = [",".join(cells + out) for cells, out in zip(self.inputs, self.outputs, strict=True) if out is not None]
            write_whole(self.output, f"{text.getvalue()}{newline.join(lines)}{newline}")
            return
        errors, empty = iter(self.errors), [""] * len(self.names)
        for cells, out in zip(self.inputs, self.outputs, strict=True):
            last = [""] if self.errors else []
            writer.writerow([*cells, *empty, str(next(errors))] if out is None else [*cells, *out, *last])
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
    outputs, faults = _results(sheet, cells, kind, device, names)
    outcome = Outcome(
        source, output, device.name, *_kept(sheet, names), names, outputs, faults,
        _constants_remarks(op, device) + _hardware_remarks(sheet, device) + kind.remarks(cells), sheet.plain,
    )  # fmt: skip
    outcome.write(sheet.newline)
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
    texts = {name: [row[at] for row in sheet.rows] for name, at in places.items() if at is not None}
    if dtype:
        column = texts.get(kind.type_column, [""] * len(sheet.rows))
        texts[kind.type_column] = [text if text.strip() else dtype for text in column]
    return Cells(texts, len(sheet.rows))


def row_errors(sheet: Sheet, cells: Cells, kind: Operator) -> dict[int, RowError]:
    """What is wrong with rows, in the names of the file."""
    titles = {name: name if at is None else sheet.names[at] for name, at in column_places(sheet, kind).items()}
    errors = {row: (titles.get(column, column), message) for row, (column, message) in cells.faults.items()}
    errors |= {row: ("row", message) for row, message in sheet.ragged.items()}
    return {row: RowError(sheet.lines[row], *errors[row]) for row in sorted(errors)}


def _kept(sheet: Sheet, written: Iterable[str]) -> tuple[Texts, list[Texts]]:
    """Header and rows without the columns that are written anew."""
    kept = [i for i, name in enumerate(sheet.names) if name not in (*written, _ERROR)]
    if len(kept) == len(sheet.names):
        return sheet.header, sheet.rows
    return tuple(sheet.header[i] for i in kept), [tuple([row[i] for i in kept]) for row in sheet.rows]


def _results(
    sheet: Sheet, cells: Cells, kind: Operator, device: Device, names: Texts
) -> tuple[list[Texts | None], list[RowError]]:  # fmt: skip
    """The outputs of each row, None for those with errors."""
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
    why = [done.why[name] * (1e6 if name.endswith("_us") else 1) for name in names if name not in OUTPUTS]
    rows = list(zip(_texts(done.time * 1e6), _texts(done.bound * 1e6), done.bottleneck, *map(_texts, why), strict=True))
    if not errors:
        return list(rows), []
    left = iter(rows)
    return [next(left) if fine else None for fine in good.tolist()], list(errors.values())


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


def _texts(values: NDArray[np.float64]) -> list[str]:
    """Numbers with nine digits."""
    return ("%.9g " * values.size % tuple(values.tolist())).split()


def _constants_remarks(op: str, device: Device) -> list[str]:
    """A line if the kernels' constants were fitted on another generation; collectives have none of a generation."""
    line = "" if op == "collective" else borrowed(device)
    return [line] if line else []


def _hardware_remarks(sheet: Sheet, device: Device) -> list[str]:
    """A line if rows name other hardware than the device: they are predicted all the same, as the caller asked."""
    for column in _HARDWARE:
        if column in sheet.names:
            at = sheet.names.index(column)
            counts = Counter([row[at] for row in sheet.rows])
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
