"""CSV tables of cases as text: header, rows, the line of each row; what is wrong with the file becomes one line."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hdasim.errors import SpecError
from hdasim.scalesim.text import read_text
from hdasim.spec.convert import meant

#: The texts of a row. Not a list: the garbage collector soon forgets tuples of texts, and lists double the time of large tables.
Texts = tuple[str, ...]

_WHAT = "a table of cases (CSV)"


@dataclass(frozen=True)
class RowError:
    """What is wrong with the row on a line of CASES.csv; `column` is "" where it is the whole row."""

    row: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"{self.column}: {self.message}" if self.column else self.message


@dataclass
class Sheet:
    """A CSV file: row i was on line `lines[i]`."""

    path: Path
    header: Texts
    newline: str
    rows: list[Texts] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    ragged: dict[int, str] = field(default_factory=dict)  # row -> what is wrong with its number of fields

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


def read_sheet(path: Path, check: Callable[[Sheet], object]) -> Sheet:
    """Read a table; `check` may refuse the header before any row is read. `SpecError` if the file is no table of cases."""
    text = read_text(path, _WHAT)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    sheet = Sheet(path, (), "\r\n" if text.partition("\n")[0].endswith("\r") else "\n")
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
    for name in sheet.names:
        if name and sheet.names.count(name) > 1:
            raise SpecError(f"column appears {sheet.names.count(name)} times; expected it once", (name,), f"{path}:1")
    if not sheet.rows:
        raise SpecError("header without rows; expected one row per case below it", place=f"{path}:1")
    return sheet
