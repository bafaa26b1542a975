"""Tables of cases: a CSV with one case a row in, the same rows with results appended out.

A row that is wrong keeps its place, its results stay empty, and a last column says what is wrong with it. Every complaint is one
line, ``file:line: column: what is wrong; what would be right``.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hdasim.errors import SpecError
from hdasim.spec.convert import meant
from hdasim.text import read_text, write_whole

Progress = Callable[[int, int], None]
#: The texts of a row. Not a list: the garbage collector soon forgets tuples of texts, and lists double the time of large tables.
Texts = tuple[str, ...]

#: The column, after all others, that says what is wrong with a row.
ERROR = "error"
INTERRUPTED = "interrupted"
_WHAT = "a table of cases (CSV)"
_PRINTED = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+][0-9]+)?")


@dataclass(frozen=True)
class RowError:
    """What is wrong with the row on a line of CASES.csv; `column` is "" where it is the whole row."""

    row: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"{self.column}: {self.message}" if self.column else self.message


@dataclass
class Outcome:
    """A finished table: per row the cells that are kept, and its results as text or what is wrong with it.

    `value(column, text)` makes plain data of a cell for the JSON document.
    """

    source: Path
    output: Path
    columns: Texts
    inputs: list[Texts]
    results: Texts
    outputs: list[str | RowError]  # as written, commas between
    value: Callable[[str, str], Any]
    resumed: int = 0
    interrupted: bool = False
    errors: list[RowError] = field(init=False)

    def __post_init__(self) -> None:
        self.errors = [out for out in self.outputs if isinstance(out, RowError)]

    def complaints(self, most: int = 20) -> list[str]:
        """A line for each bad row, except those that an interrupt has left; the last says how many more there are."""
        bad = [e for e in self.errors if e.message != INTERRUPTED]
        lines = [f"{self.source}:{e.row}: {e}" for e in bad[:most]]
        if len(bad) > most:
            lines.append(f"{self.source}: {len(bad) - most:,} more bad rows; see column {ERROR} of {self.output}")
        return lines

    def summary(self) -> str:
        """One line."""
        taken = f" ({self.resumed:,} taken over)" if self.resumed else ""
        return f"cases: {len(self.inputs):,}{taken}, errors: {len(self.errors):,}, output: {self.output}"

    def document(self) -> dict[str, Any]:
        """The table as plain data, with numbers as numbers."""
        rows = [self._row(cells, out) for cells, out in zip(self.inputs, self.outputs, strict=True)]
        errors = [asdict(error) for error in self.errors]
        return {"cases": len(rows), "errors": errors, "output": str(self.output), "rows": rows}

    def _row(self, cells: Texts, out: str | RowError) -> dict[str, Any]:
        names = [name.strip() for name in self.columns]
        row: dict[str, Any] = {name: self.value(name, text) for name, text in zip(names, cells, strict=True)}
        if isinstance(out, RowError):
            return row | dict.fromkeys(self.results) | {ERROR: str(out)}
        return row | {name: self.value(name, text) for name, text in zip(self.results, out.split(","), strict=True)}

    def write(self, newline: str) -> None:
        """Write the table, whole or not at all."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator=newline)
        last = [ERROR] if self.errors else []
        writer.writerow([*self.columns, *self.results, *last])
        for cells, out in zip(self.inputs, self.outputs, strict=True):
            if isinstance(out, RowError):
                writer.writerow([*cells, *[""] * len(self.results), str(out)])
            else:
                writer.writerow([*cells, *out.split(","), *[""] * len(last)])
        write_whole(self.output, text.getvalue())


@dataclass
class Sheet:
    """A CSV file: row i was on line `lines[i]`; `ragged` says of rows what is wrong with their number of fields.

    A plain one, whose rows are lines without quotes and with the header's number of fields, has their texts as `plain`.
    """

    path: Path
    header: Texts
    newline: str
    lines: list[int] = field(default_factory=list)
    ragged: dict[int, str] = field(default_factory=dict)
    plain: list[str] | None = None
    _rows: list[Texts] = field(default_factory=list)

    @property
    def rows(self) -> list[Texts]:
        if self.plain and not self._rows:
            self._rows = [tuple(text.split(",")) for text in self.plain]
        return self._rows

    def columns(self, places: Sequence[int]) -> list[list[str]]:
        """The cells of some columns."""
        if self.plain is None:
            return [[row[at] for row in self.rows] for at in places]
        cells = ",".join(self.plain).split(",")
        return [cells[at :: len(self.header)] for at in places]

    @property
    def names(self) -> list[str]:
        return [name.strip() for name in self.header]

    def find(self, columns: Sequence[str]) -> list[int]:
        """The places of `columns`; `SpecError` names all that are missing."""
        names = self.names
        missing = [column for column in columns if column not in names]
        if missing:
            others = [name for name in names if name not in columns]
            hints = [f"{column}{meant(column, others)}" for column in missing]
            what = "column is missing" if len(missing) == 1 else "columns are missing"
            raise SpecError(f"{what}: {', '.join(hints)}; expected the columns {','.join(columns)}", place=f"{self.path}:1")
        return [names.index(column) for column in columns]

    def outcome(
        self, output: Path, results: Sequence[str], outputs: list[str | RowError | None], value: Callable[[str, str], Any],
        resumed: int = 0, interrupted: bool = False,
    ) -> Outcome:  # fmt: skip
        """The rows with `outputs` (None: interrupted) in place of any earlier columns `results`."""
        kept = [i for i, name in enumerate(self.names) if name not in (*results, ERROR)]
        return Outcome(
            self.path, output, tuple(self.header[i] for i in kept), [tuple([row[i] for i in kept]) for row in self.rows],
            tuple(results), [out or RowError(line, "", INTERRUPTED) for out, line in zip(outputs, self.lines, strict=True)],
            value, resumed, interrupted,
        )  # fmt: skip

    def ragged_row(self, number: int) -> RowError | None:
        """What is wrong with the number of fields of a row."""
        return RowError(self.lines[number], "row", self.ragged[number]) if number in self.ragged else None


def read_sheet(path: Path, check: Callable[[Sheet], object], longest: int = 2**17) -> Sheet:
    """Read a CSV file of cases; `check` looks at the header before the rows are read. A cell has at most `longest` characters.

    Raises
    ------
    SpecError
        If it cannot be read, is no CSV, repeats a column or has no rows; and what `check` raises.
    """
    text = read_text(path, _WHAT)
    limit = csv.field_size_limit(longest)
    try:
        return _parse(path, text, check)
    finally:
        csv.field_size_limit(limit)


def _parse(path: Path, text: str, check: Callable[[Sheet], object]) -> Sheet:
    sheet = Sheet(path, (), "\r\n" if text.partition("\n")[0].endswith("\r") else "\n")
    if _regular(sheet, text, check):
        return sheet
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 0
    try:
        for row in reader:
            if not row:
                continue
            line = reader.line_num
            if not sheet.header:
                sheet.header = tuple(row)
                check(sheet)
                continue
            width = len(sheet.header)
            if len(row) != width:
                sheet.ragged[len(sheet.rows)] = f"{len(row)} fields; expected {width} as in the header"
            sheet.rows.append(tuple([*row, *[""] * width][:width]))
            sheet.lines.append(line)
    except csv.Error as error:
        raise SpecError(f"{error}; expected comma-separated values", ("row",), f"{path}:{line + 1}") from None
    _unique(sheet)
    if not sheet.rows:
        raise SpecError("header without rows; expected one row per case below it", place=f"{path}:1")
    return sheet


def _regular(sheet: Sheet, text: str, check: Callable[[Sheet], object]) -> bool:
    """Read a table whose rows all have a line and the header's number of fields; False for any other, which is not read."""
    if '"' in text or "\r" in text:
        return _in_bulk(sheet, text, check)
    header, *lines = text.removesuffix("\n").split("\n")
    commas = header.count(",")
    regular = bool(lines and commas) and {line.count(",") for line in lines} == {commas}
    if not regular or max(map(len, [header, *lines])) > csv.field_size_limit():
        return False
    sheet.header = tuple(header.split(","))
    check(sheet)
    _unique(sheet)
    sheet.plain, sheet.lines = lines, list(range(2, len(lines) + 2))
    return True


def _in_bulk(sheet: Sheet, text: str, check: Callable[[Sheet], object]) -> bool:
    """`_regular` where cells may be quoted."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = tuple(next(reader))
        rows = list(map(tuple, reader))
    except (csv.Error, StopIteration):
        return False
    if not header or not rows or reader.line_num != len(rows) + 1 or set(map(len, rows)) != {len(header)}:
        return False
    sheet.header = header
    check(sheet)
    _unique(sheet)
    sheet._rows, sheet.lines = rows, list(range(2, len(rows) + 2))
    return True


def _unique(sheet: Sheet) -> None:
    for name in sheet.names:
        if name and sheet.names.count(name) > 1:
            raise SpecError(f"column appears {sheet.names.count(name)} times; expected it once", (name,), f"{sheet.path}:1")


def finished(
    path: Path, inputs: Sequence[str], results: Sequence[str], words: Sequence[str] = (), longest: int = 2**17
) -> dict[Texts, str]:
    """Results of the rows of an earlier OUT.csv that have them all (numbers, or one of `words`), by the texts of their inputs."""
    sheet = read_sheet(path, lambda sheet: sheet.find(inputs), longest)
    from_, to = sheet.find(inputs), sheet.find(results)
    known = {}
    for row in sheet.rows:
        texts = tuple([row[place] for place in to])
        if all(text in words or _PRINTED.fullmatch(text) for text in texts):
            known[tuple([row[place].strip() for place in from_])] = ",".join(texts)
    return known
