"""Tables of cases: CASES.csv in, the same rows with every column that SCALE-Sim reports out.

A row that is wrong keeps its place, its outputs stay empty, and a last column says what is wrong with it. Every complaint is one
line, ``file:line: column: what is wrong; what would be right``.
"""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hdasim.core.layout import DATAFLOWS, SCALESIM_CASE, SCALESIM_PENDING
from hdasim.errors import SpecError
from hdasim.scalesim import cases
from hdasim.scalesim.sheet import RowError, Sheet, Texts, read_sheet
from hdasim.scalesim.text import MOST, NUMBER, check_writable, choice, whole, write_whole

Progress = Callable[[int, int], None]

_ARRAY, _SIZES = ("array_rows", "array_cols"), ("M", "N", "K")
_SRAM, _BANDWIDTHS = tuple(f"{o}_sram_kb" for o in cases.OPERANDS), tuple(f"{o}_bw" for o in cases.OPERANDS)
INPUTS = (*_ARRAY, "dataflow", *_SIZES, *_SRAM, "bandwidth_mode", *_BANDWIDTHS)
_ERROR = "error"

_PRINTED = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+][0-9]+)?")


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
    sheet = read_sheet(source, _check)
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


def _check(sheet: Sheet) -> None:
    sheet.find(INPUTS)


def _finished(path: Path) -> dict[Texts, str]:
    """Outputs of the rows of an earlier OUT.csv that have them, by their inputs."""
    sheet = read_sheet(path, _check)
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
