"""Tables of network cases: CASES.csv in, the same rows with cycles, or nanoseconds between devices, and their bound out."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdasim.errors import SpecError
from hdasim.noc import astra, cases
from hdasim.sheet import Outcome, Progress, RowError, Sheet, Texts, finished, read_sheet
from hdasim.text import NUMBER, check_writable

Case = cases.Case | astra.Case
Result = cases.Result | astra.Result
#: Characters of a cell: a hundred thousand messages.
LONGEST = 2**24


@dataclass(frozen=True)
class Form:
    """What a table holds: its input columns, the columns that it gets, how a row is read and run."""

    inputs: Texts
    results: Texts
    parse: Callable[[dict[str, str]], Case]
    simulate: Callable[[Any, int], Result]


def run(
    source: Path, output: Path, workers: int = 1, max_work: int = cases.MAX_WORK, resume: bool = False,
    progress: Progress | None = None,
) -> Outcome:  # fmt: skip
    """Simulate every row of `source` and write `output`, also when that is interrupted. Equal rows are simulated once.

    Parameters
    ----------
    source
        CSV with the columns `cases.INPUTS` and chunk_flits and collective, or messages; or with those of `astra.INPUTS`. Other
        columns are kept, except earlier results.
    output
        The file to write, whole or not at all.
    workers
        Threads; the results do not depend on it.
    max_work
        A case in which flits (messages, between devices) cross more links is refused.
    resume
        Take over the rows of an existing `output` that have the same inputs and no error.
    progress
        Called with (rows done, rows) about five times a second.

    Raises
    ------
    SpecError
        If a file cannot be read or written, or is no table of cases. A row with wrong values does not raise.
    """
    sheet = read_sheet(source, form, LONGEST)
    kind = form(sheet)
    check_writable(output)
    known = finished(output, kind.inputs, kind.results, longest=LONGEST) if resume and output.exists() else {}
    results, waiting, resumed = _rows(sheet, kind, known)
    done, interrupted = len(sheet.rows) - sum(map(len, waiting.values())), False
    try:
        for finished_case in _simulate(list(waiting), kind, workers, max_work):
            if finished_case is not None:
                case, result = finished_case
                done += len(waiting[case])
                for number in waiting[case]:
                    results[number] = _text(result, sheet.lines[number], kind)
            if progress is not None:
                progress(done, len(sheet.rows))
    except KeyboardInterrupt:
        interrupted = True
    outcome = sheet.outcome(output, kind.results, results, _value, resumed, interrupted)
    outcome.write(sheet.newline)
    return outcome


def form(sheet: Sheet) -> Form:
    """What a table with this header holds; `SpecError` if none of the three."""
    names = sheet.names
    if "router_cfg" not in names and {"npus", "schedule", "bandwidth_GiBps"} & set(names):
        sheet.find(astra.INPUTS)
        return Form(astra.INPUTS, ("time_ns", "bound_ns"), astra.parse, astra.simulate)
    if not {"collective", "messages"} & set(names) and set(cases.INPUTS) <= set(names):
        expected = f"{','.join(cases.INPUTS)}, and chunk_flits,collective or messages"
        raise SpecError(f"column is missing: collective or messages; expected the columns {expected}", place=f"{sheet.path}:1")
    listed = "messages" in names and "collective" not in names
    needed = (*cases.INPUTS, *(("messages",) if listed else ("chunk_flits", "collective")))
    sheet.find(needed)
    extra = tuple(name for name in (*cases.OPTIONAL, "messages") if name in names and name not in needed)
    loads = tuple(name for name in cases.LOADS if name not in names)
    return Form((*needed, *extra), ("cycles", "bound_cycles", *loads), cases.parse, cases.simulate)


def _rows(
    sheet: Sheet, kind: Form, known: dict[Texts, str]
) -> tuple[list[str | RowError | None], dict[Case, list[int]], int]:  # fmt: skip
    """Per row its results where they are known, or what is wrong with it; the rows of each case to simulate; rows taken over."""
    places = sheet.find(kind.inputs)
    results: list[str | RowError | None] = []
    waiting: dict[Case, list[int]] = {}
    seen: dict[Texts, Case | SpecError] = {}
    resumed = 0
    for number, row in enumerate(sheet.rows):
        texts = tuple([row[place].strip() for place in places])
        results.append(sheet.ragged_row(number) or known.get(texts))
        if results[-1] is not None:
            resumed += isinstance(results[-1], str)
            continue
        if texts not in seen:
            try:
                seen[texts] = kind.parse(dict(zip(kind.inputs, texts, strict=True)))
            except SpecError as error:
                seen[texts] = error
        case = seen[texts]
        if isinstance(case, SpecError):
            results[-1] = RowError(sheet.lines[number], str(case.path[0]), case.message)
        else:
            waiting.setdefault(case, []).append(number)
    return results, waiting, resumed


def _simulate(
    todo: list[Case], kind: Form, workers: int, max_work: int
) -> Iterator[tuple[Case, Result | SpecError] | None]:  # fmt: skip
    """Results, or what is wrong with a case, as they come; None now and then while none does.

    Threads are daemons: a case in the core cannot be stopped, but neither need Ctrl-C wait for it.
    """
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[Case, Result | BaseException]] = queue.SimpleQueue()
    for case in todo:
        waiting.put(case)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                case = waiting.get_nowait()
                try:
                    results.put((case, kind.simulate(case, max_work)))
                except BaseException as error:  # for the main thread
                    results.put((case, error))

    for _ in range(min(workers, len(todo))):
        threading.Thread(target=work, daemon=True).start()
    left = len(todo)
    try:
        while left:
            try:
                case, result = results.get(timeout=0.2)
            except queue.Empty:
                yield None
                continue
            if isinstance(result, BaseException) and not isinstance(result, SpecError):
                raise result
            left -= 1
            yield case, result
    finally:
        with contextlib.suppress(queue.Empty):  # nobody waits for the rest
            while True:
                waiting.get_nowait()


def _text(result: Result | SpecError, line: int, kind: Form) -> str | RowError:
    if isinstance(result, SpecError):
        return RowError(line, str(result.path[0]), result.message)
    columns = result.columns()
    return ",".join([repr(columns[name]).removesuffix(".0") for name in kind.results])


def _value(name: str, text: str) -> int | float | str:
    """A cell as plain data: numbers as numbers."""
    if name in ("topology", "router_cfg", "collective", "messages", "schedule") or not NUMBER.fullmatch(text.strip()):
        return text
    number = float(text)
    return int(text) if text.strip().isdecimal() and len(text) < 20 else number
