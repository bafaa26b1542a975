"""Tables of cases are read in bulk where they are regular, and are then the same as read row by row."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdasim.errors import SpecError
from hdasim.sheet import Sheet, read_sheet

PIECES = ["a", "1", ",", ",", "\n", "\n", "\r\n", '"', " ", "%", "é"]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=30).map("".join)


def nothing(sheet: Sheet) -> None:
    return None


def by_csv(text: str) -> list[list[str]] | None:
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        return None


@given(TEXTS)
def test_rows_are_those_of_the_csv_module(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("sheet") / "cases.csv"
    path.write_bytes(text.encode())
    expected = by_csv(text)
    try:
        sheet = read_sheet(path, nothing)
    except SpecError:
        names = [name.strip() for name in expected[0]] if expected else []
        repeated = any(name and names.count(name) > 1 for name in names)
        assert expected is None or len(expected) < 2 or repeated or not text.strip()
        return
    assert expected is not None
    header, *rows = expected
    width = len(header)
    assert list(sheet.header) == header
    assert [list(row) for row in sheet.rows] == [[*row, *[""] * width][:width] for row in rows]
    assert sorted(sheet.ragged) == [i for i, row in enumerate(rows) if len(row) != width]
    assert sheet.columns(range(width)) == [[row[at] for row in sheet.rows] for at in range(width)]


def test_lines_are_counted_over_blank_ones_and_quoted_breaks(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text('a,b\n1,2\n\n"3\n4",5\n6,7\n')
    assert read_sheet(path, nothing).lines == [2, 5, 6]
    path.write_text("a,b\n1,2\n3,4\n")
    sheet = read_sheet(path, nothing)
    assert sheet.lines == [2, 3] and sheet.plain == ["1,2", "3,4"]


def test_a_cell_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(f"a,b\n1,{'2' * 100}\n")
    assert read_sheet(path, nothing).rows == [("1", "2" * 100)]
    with pytest.raises(SpecError, match="larger than"):
        read_sheet(path, nothing, longest=50)
