"""Tables of cases: CASES.csv in, the same rows with every column that SCALE-Sim reports out.

A row that is wrong keeps its place, its outputs stay empty, and a last column says what is wrong with it. Every complaint is one
line, ``file:line: column: what is wrong; what would be right``.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hdasim.core.layout import DATAFLOWS, SCALESIM_CASE, SCALESIM_PENDING
from hdasim.errors import SpecError
from hdasim.scalesim import cases
from hdasim.scalesim.text import MOST, NUMBER, check_writable, choice, read_text, whole, write_whole
from hdasim.spec.convert import meant

Progress = Callable[[int, int], None]
#: The texts of a row. Not a list: the garbage collector soon forgets tuples of texts, and lists double the time of large tables.
Texts = tuple[str, ...]

_ARRAY, _SIZES = ("array_rows", "array_cols"), ("M", "N", "K")
_SRAM, _BANDWIDTHS = tuple(f"{o}_sram_kb" for o in cases.OPERANDS), tuple(f"{o}_bw" for o in cases.OPERANDS)
INPUTS = (*_ARRAY, "dataflow", *_SIZES, *_SRAM, "bandwidth_mode", *_BANDWIDTHS)
_ERROR = "error"
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
    """A finished table: per row its inputs, and its outputs as text or what is wrong with it."""

    source: Path
    output: Path
    columns: Texts
    inputs: list[Texts]
    outputs: list[str | RowError]  # as written, commas between
    resumed: int = 0
    interrupted: bool = False
    errors: list[RowError] = field(init=False)

    def __post_init__(self) -> None:
        self.errors = [out for out in self.outputs if isinstance(out, RowError)]

    def complaints(self, most: int = 20) -> list[str]:
        """A line for each bad row, except those that an interrupt has left; the last says how many more there are."""
        bad = [e for e in self.errors if e.message != _INTERRUPTED]
        lines = [f"{self.source}:{e.row}: {e}" for e in bad[:most]]
        if len(bad) > most:
            lines.append(f"{self.source}: {len(bad) - most:,} more bad rows; see column {_ERROR} of {self.output}")
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
        row: dict[str, Any] = {n: _value(text) if n in INPUTS else text for n, text in zip(names, cells, strict=True)}
        if isinstance(out, RowError):
            return row | dict.fromkeys(cases.OUTPUTS) | {_ERROR: str(out)}
        return row | {n: float(t) if n.endswith(_RATIOS) else int(t) for n, t in zip(cases.OUTPUTS, out.split(","), strict=True)}


_INTERRUPTED = "interrupted"
_RATIOS = ("_pct", "_bw")


def _value(text: str) -> int | str | None:
    """An input as a number where it is one."""
    text = text.strip()
    if NUMBER.fullmatch(text) and abs(float(text)) <= MOST and float(text).is_integer():
        return int(float(text))
    return text or None


def run(
    source: Path, output: Path, workers: int | None, max_lines: int, resume: bool = False, progress: Progress | None = None
) -> Outcome:
    """Simulate every row of `source` and write `output`, also when that is interrupted.

    Parameters
    ----------
    source
        CSV with the columns `INPUTS`, in any order; other columns are kept, those of `cases.OUTPUTS` are replaced.
    output
        The file to write, whole or not at all.
    workers, max_lines, progress
        For `cases.simulate`.
    resume
        Take over the rows of an existing `output` that have the same inputs and no error.

    Raises
    ------
    SpecError
        If a file cannot be read or written, or is no table of cases. A row with wrong values does not raise.
    """
    sheet = _read(source)
    places = sheet.find(INPUTS)
    check_writable(output)
    known = _finished(output) if resume and output.exists() else {}
    results: list[str | RowError | None] = []
    array = np.zeros(len(sheet.rows), SCALESIM_CASE)
    new: list[int] = []
    for number, (row, line) in enumerate(zip(sheet.rows, sheet.lines, strict=True)):
        texts = tuple([row[place].strip() for place in places])
        results.append(RowError(line, "row", sheet.ragged[number]) if number in sheet.ragged else known.get(texts))
        if results[-1] is None:
            try:
                array[len(new)] = _case(texts)[0]
                new.append(number)
            except SpecError as error:
                results[-1] = RowError(line, str(error.path[0]), error.message)
    resumed = sum(isinstance(result, str) for result in results)
    array = array[: len(new)]
    interrupted = False
    try:
        done = cases.simulate(array, workers, progress, max_lines)
    except cases.Interrupted as error:
        done, interrupted = error.results, True
    try:
        for number, case, result in zip(new, array, done, strict=True):
            results[number] = _cells(case, result, sheet.lines[number])
    except KeyboardInterrupt:
        interrupted = True
    kept = [i for i, name in enumerate(sheet.names) if name not in (*cases.OUTPUTS, _ERROR)]
    outcome = Outcome(
        source, output, tuple(sheet.header[i] for i in kept), [tuple([row[i] for i in kept]) for row in sheet.rows],
        [result or RowError(line, "", _INTERRUPTED) for result, line in zip(results, sheet.lines, strict=True)],
        resumed, interrupted,
    )  # fmt: skip
    _write(outcome, sheet.newline)
    return outcome


@dataclass
class _Sheet:
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


def _read(path: Path) -> _Sheet:
    text = read_text(path, _WHAT)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    sheet = _Sheet(path, (), "\r\n" if text.partition("\n")[0].endswith("\r") else "\n")
    line = 0
    try:
        for row in reader:
            if not row:
                continue
            line = reader.line_num
            if not sheet.header:
                sheet.header = tuple(row)
                sheet.find(INPUTS)
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


def _finished(path: Path) -> dict[Texts, str]:
    """Outputs of the rows of an earlier OUT.csv that have them, by their inputs."""
    sheet = _read(path)
    inputs, outputs = sheet.find(INPUTS), sheet.find(cases.OUTPUTS)
    known = {}
    for row in sheet.rows:
        texts = tuple([row[place] for place in outputs])
        if all(map(_PRINTED.fullmatch, texts)):
            known[tuple([row[place].strip() for place in inputs])] = ",".join(texts)
    return known


def _case(texts: Texts) -> cases.Cases:
    """The case of a row whose `INPUTS` are `texts`."""
    cells = dict(zip(INPUTS, texts, strict=True))
    rows, cols = (whole(cells[name], name) for name in _ARRAY)
    dataflow = choice(cells["dataflow"], "dataflow", DATAFLOWS)
    m, n, k = (whole(cells[name], name) for name in _SIZES)
    ifmap, filter_, ofmap = (whole(cells[name], name) for name in _SRAM)
    bandwidth = None
    if choice(cells["bandwidth_mode"], "bandwidth_mode", ("CALC", "USER")) == "USER":
        reads, weights, writes = (whole(cells[name], name) for name in _BANDWIDTHS)
        bandwidth = reads, weights, writes
    return cases.gemm(rows, cols, dataflow, m, n, k, (ifmap, filter_, ofmap), bandwidth)


def _cells(case: np.void, result: np.void, line: int) -> str | RowError:
    status = int(result["status"])
    if status == SCALESIM_PENDING:
        return RowError(line, "", _INTERRUPTED)
    if status:
        return RowError(line, "M, N, K", cases.describe_status(status))
    return ",".join([repr(number).removesuffix(".0") for number in cases.report(case, result).values()])


def _write(outcome: Outcome, newline: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=newline)
    last = [_ERROR] if outcome.errors else []
    writer.writerow([*outcome.columns, *cases.OUTPUTS, *last])
    for cells, out in zip(outcome.inputs, outcome.outputs, strict=True):
        if isinstance(out, RowError):
            writer.writerow([*cells, *[""] * len(cases.OUTPUTS), str(out)])
        else:
            writer.writerow([*cells, *out.split(","), *[""] * len(last)])
    write_whole(outcome.output, text.getvalue())
