"""Tables of cases: CASES.csv in, the same rows with times on a device out.

A row that is wrong keeps its place, its outputs stay empty, and a last column says what is wrong with it. Every complaint is one
line, ``file:line: column: what is wrong; what would be right``.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hdasim.device.gpu import borrowed
from hdasim.errors import SpecError
from hdasim.predict.operator import Operator
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
_HARDWARE = ("gpu", "system", "node", "hardware")
_MOST_SHOWN = 20

Result = tuple[float, float, str]  # as OUTPUTS


@dataclass(frozen=True)
class Outcome:
    """A finished table: per row its cells that are kept, and its outputs or what is wrong with it."""

    source: Path
    output: Path
    hardware: str
    columns: Texts
    inputs: list[Texts]
    outputs: list[Result | RowError]
    remarks: list[str]

    @property
    def errors(self) -> list[RowError]:
        return [out for out in self.outputs if isinstance(out, RowError)]

    def complaints(self) -> list[str]:
        """A line for each remark and bad row; the last says how many more there are."""
        errors = self.errors
        lines = [f"{self.source}: {remark}" for remark in self.remarks]
        lines += [f"{self.source}:{error.row}: {error}" for error in errors[:_MOST_SHOWN]]
        if len(errors) > _MOST_SHOWN:
            more = len(errors) - _MOST_SHOWN
            lines.append(f"{self.source}: {more:,} more bad rows; see column {_ERROR} of {self.output}")
        return lines

    def summary(self) -> str:
        """One line."""
        return f"cases: {len(self.inputs):,}, errors: {len(self.errors):,}, hardware: {self.hardware}, output: {self.output}"

    def document(self) -> dict[str, Any]:
        """The table as plain data, with numbers as numbers."""
        rows = []
        for cells, out in zip(self.inputs, self.outputs, strict=True):
            row = {name.strip(): _value(text) for name, text in zip(self.columns, cells, strict=True)}
            if isinstance(out, RowError):
                rows.append(row | dict.fromkeys(OUTPUTS) | {_ERROR: str(out)})
            else:
                rows.append(row | dict(zip(OUTPUTS, out, strict=True)))
        head = {"cases": len(rows), "hardware": self.hardware, "remarks": self.remarks}
        return {**head, "errors": [asdict(error) for error in self.errors], "output": str(self.output), "rows": rows}


def _value(text: str) -> int | float | str | None:
    """A cell as a number where it is one."""
    text = text.strip()
    if not NUMBER.fullmatch(text) or len(text) > SHOWN:
        return text or None
    value = float(text)
    if not abs(value) <= 1e300:
        return text
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def run(source: Path, output: Path, op: str, hardware: str) -> Outcome:
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

    Raises
    ------
    SpecError
        If a file cannot be read or written, is no table of such cases, or the device cannot run the operator. A row with wrong
        values does not raise.
    """
    kind = operator(op)
    device = load_device(hardware)
    try:
        kind.check(device)
    except SpecError as error:
        raise SpecError(error.message, error.path, error.place or hardware) from None
    sheet = read_sheet(source, lambda header: _places(header, kind))
    check_writable(output)
    rows = _cells(sheet, kind)
    outcome = Outcome(
        source, output, device.name, *_kept(sheet), _results(sheet, rows, kind, device),
        _constants_remarks(op, device) + _hardware_remarks(sheet, device) + kind.remarks(rows),
    )  # fmt: skip
    _write(outcome, sheet.newline)
    return outcome


def _places(sheet: Sheet, kind: Operator) -> dict[str, int | None]:
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


def _cells(sheet: Sheet, kind: Operator) -> list[dict[str, str]]:
    places = _places(sheet, kind)
    return [{name: "" if at is None else row[at] for name, at in places.items()} for row in sheet.rows]


def _kept(sheet: Sheet) -> tuple[Texts, list[Texts]]:
    """Header and rows without the columns that are written anew."""
    kept = [i for i, name in enumerate(sheet.names) if name not in (*OUTPUTS, _ERROR)]
    return tuple(sheet.header[i] for i in kept), [tuple([row[i] for i in kept]) for row in sheet.rows]


def _results(sheet: Sheet, rows: Sequence[dict[str, str]], kind: Operator, device: Device) -> list[Result | RowError]:
    results: dict[int, Result | RowError] = {}
    cases = []
    titles = {name: name if at is None else sheet.names[at] for name, at in _places(sheet, kind).items()}
    for number, (cells, line) in enumerate(zip(rows, sheet.lines, strict=True)):
        if number in sheet.ragged:
            results[number] = RowError(line, "row", sheet.ragged[number])
            continue
        try:
            cases.append((number, kind.read(cells)))
        except SpecError as error:
            column = str(error.path[0]) if error.path else ""
            results[number] = RowError(line, titles.get(column, column), error.message)
    done = kind.predict(device, [case for _, case in cases])
    for (number, _), time, bound, cause in zip(cases, done.time.tolist(), done.bound.tolist(), done.bottleneck, strict=True):
        results[number] = _microseconds(time), _microseconds(bound), cause
    return [results[number] for number in range(len(rows))]


def _microseconds(seconds: float) -> float:
    return float(f"{seconds * 1e6:.9g}")


def _constants_remarks(op: str, device: Device) -> list[str]:
    """A line if the kernels' constants were fitted on another generation; collectives have none of a generation."""
    line = "" if op == "collective" else borrowed(device)
    return [line] if line else []


def _hardware_remarks(sheet: Sheet, device: Device) -> list[str]:
    """A line if rows name other hardware than the device: they are predicted all the same, as the caller asked."""
    for column in _HARDWARE:
        if column in sheet.names:
            at = sheet.names.index(column)
            others = [row[at].strip() for row in sheet.rows if row[at].strip() and not same_hardware(row[at], device.name)]
            if others:
                names = ", ".join(list(dict.fromkeys(others))[:3])
                return [f"{column}: {len(others):,} rows name other hardware ({names}); all are predicted on {device.name}"]
    return []


def same_hardware(text: str, name: str) -> bool:
    """Whether a name such as a100_sxm, as tables of measurements have it, means the hardware `name`, such as a100."""
    return _bare(text).startswith(_bare(name))


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _write(outcome: Outcome, newline: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=newline)
    last = [_ERROR] if outcome.errors else []
    writer.writerow([*outcome.columns, *OUTPUTS, *last])
    for cells, out in zip(outcome.inputs, outcome.outputs, strict=True):
        if isinstance(out, RowError):
            writer.writerow([*cells, *[""] * len(OUTPUTS), str(out)])
        else:
            time, bound, bottleneck = out
            writer.writerow([*cells, repr(time), repr(bound), bottleneck, *[""] * len(last)])
    write_whole(outcome.output, text.getvalue())
