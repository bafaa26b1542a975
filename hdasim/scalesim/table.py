"""Tables of cases: CASES.csv in, the same rows with every column that SCALE-Sim reports out."""

from pathlib import Path

import numpy as np

from hdasim.core.layout import DATAFLOWS, SCALESIM_CASE, SCALESIM_PENDING
from hdasim.errors import SpecError
from hdasim.scalesim import cases
from hdasim.sheet import INTERRUPTED, Outcome, Progress, RowError, Texts, finished, read_sheet
from hdasim.text import MOST, NUMBER, check_writable, choice, whole

_ARRAY, _SIZES = ("array_rows", "array_cols"), ("M", "N", "K")
_SRAM, _BANDWIDTHS = tuple(f"{o}_sram_kb" for o in cases.OPERANDS), tuple(f"{o}_bw" for o in cases.OPERANDS)
INPUTS = (*_ARRAY, "dataflow", *_SIZES, *_SRAM, "bandwidth_mode", *_BANDWIDTHS)

_RATIOS = ("_pct", "_bw")


def _value(name: str, text: str) -> int | float | str | None:
    """A cell as plain data: inputs as numbers where they are, results as the integers and ratios that they are."""
    if name in cases.OUTPUTS:
        return float(text) if name.endswith(_RATIOS) else int(text)
    if name not in INPUTS:
        return text
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
    sheet = read_sheet(source, lambda sheet: sheet.find(INPUTS))
    places = sheet.find(INPUTS)
    check_writable(output)
    known = finished(output, INPUTS, cases.OUTPUTS) if resume and output.exists() else {}
    results: list[str | RowError | None] = []
    array = np.zeros(len(sheet.rows), SCALESIM_CASE)
    new: list[int] = []
    for number, (row, line) in enumerate(zip(sheet.rows, sheet.lines, strict=True)):
        texts = tuple([row[place].strip() for place in places])
        results.append(sheet.ragged_row(number) or known.get(texts))
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
    outcome = sheet.outcome(output, cases.OUTPUTS, results, _value, resumed, interrupted)
    outcome.write(sheet.newline)
    return outcome


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
        return RowError(line, "", INTERRUPTED)
    if status:
        return RowError(line, "M, N, K", cases.describe_status(status))
    return ",".join([repr(number).removesuffix(".0") for number in cases.report(case, result).values()])
