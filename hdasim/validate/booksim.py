"""Our networks against BookSim 2's cycles and ASTRA-sim's times, as tables of cases with their results (noc README)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdasim.errors import SpecError
from hdasim.noc import cases
from hdasim.noc.table import LONGEST, form
from hdasim.sheet import Sheet, read_sheet
from hdasim.text import NUMBER
from hdasim.validate.compare import Row

#: Looked for in a folder, by the column that holds the reference.
FILES = {
    "booksim_makespan": "booksim_micro.csv", "booksim_cycles": "booksim_collectives.csv",
    "completion_ns": "astra_congestion_aware.csv",
}  # fmt: skip
_PROTOTYPES = (
    "vct_packet_prototype", "flow_maxmin_prototype", "proto_vct_packet_cycles", "proto_flow_maxmin_cycles",
)  # fmt: skip

FREE, MESH, OTHER = "contention-free", "contended, mesh", "contended, torus, ring, crossbar"
TIES, MESSAGES, LINKS = "ties (BookSim at random)", "single messages", "device links (ASTRA-sim)"
#: What must hold: error of every row, mean and worst, of a class; the others are shown only.
LIMITS = {FREE: (0.0, 0.0), MESH: (0.05, 0.20), LINKS: (0.02, 0.02)}


@dataclass
class Validation:
    """Rows by class, in the order of the tables; `failed` says which rows could not be run."""

    classes: dict[str, list[Row]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [row for rows in self.classes.values() for row in rows]

    @property
    def holds(self) -> bool:
        return bool(self.rows) and not self.failed and all(self.within(name) for name in self.classes)

    def add(self, name: str, row: Row) -> None:
        self.classes.setdefault(name, []).append(row)

    def within(self, name: str) -> bool:
        """Whether a class keeps its limits."""
        _, _, mean, worst = self.statistics(name)
        most_mean, most_worst = LIMITS.get(name, (float("inf"), float("inf")))
        return mean <= most_mean and worst <= most_worst

    def statistics(self, name: str) -> tuple[int, int, float, float]:
        """Rows, exact rows (device links: to a nanosecond), mean and worst absolute error of a class."""
        rows = self.classes[name]
        errors = [abs(row.error) if row.error is not None else float("inf") for row in rows]
        exact = sum(abs(row.predicted - row.reference) < (1 if name == LINKS else 0.5) for row in rows)
        return len(rows), exact, sum(errors) / len(errors), max(errors)

    def summary(self) -> list[str]:
        """A line per class, and per row that could not be run."""
        lines = []
        for name in self.classes:
            count, exact, mean, worst = self.statistics(name)
            verdict = "" if self.within(name) else "; over its limit"
            lines.append(f"{name}: {exact} of {count} exact, mean error {mean:.2%}, worst {worst:.2%}{verdict}")
        return lines + self.failed


def against_data(path: Path, progress: Callable[[int, int], None] | None = None) -> Validation:
    """Compare with given results.

    Parameters
    ----------
    path
        A folder with the tables of `FILES`, of which some may be missing, or one such table.

    Raises
    ------
    SpecError
        If there is nothing to compare, or a table is malformed.
    """
    if not path.exists():
        raise SpecError("does not exist; give a folder with BookSim's tables, or one of them", place=str(path))
    files = [path / name for name in FILES.values() if (path / name).is_file()] if path.is_dir() else [path]
    if not files:
        raise SpecError(f"holds none of {', '.join(FILES.values())}", place=str(path))
    sheets = [read_sheet(file, _reference, LONGEST) for file in files]
    total, before = sum(len(sheet.rows) for sheet in sheets), 0
    out = Validation()
    for sheet in sheets:
        for number in range(len(sheet.rows)):
            try:
                _compare(sheet, number, out)
            except SpecError as error:
                out.failed.append(f"{sheet.path}:{sheet.lines[number]}: {error}")
            if progress is not None:
                progress(before + number + 1, total)
        before += len(sheet.rows)
    return out


def _reference(sheet: Sheet) -> str:
    """The column that holds the reference; `SpecError` if there is none, or no case."""
    found = [column for column in FILES if column in sheet.names]
    if not found:
        raise SpecError(f"column is missing: {', '.join(list(FILES)[:-1])} or {list(FILES)[-1]}", place=f"{sheet.path}:1")
    form(sheet)
    return found[0]


def _compare(sheet: Sheet, number: int, out: Validation) -> None:
    if number in sheet.ragged:
        raise SpecError(sheet.ragged[number], ("row",))
    column, kind = _reference(sheet), form(sheet)
    cells = dict(zip(sheet.names, (text.strip() for text in sheet.rows[number]), strict=True))
    reference = _number(cells, column)
    result = kind.simulate(kind.parse({name: cells[name] for name in kind.inputs}), cases.MAX_WORK)
    label = " ".join(cells[name] for name in kind.inputs if name != "messages" and cells[name])
    if not isinstance(result, cases.Result):
        out.add(LINKS, Row(label, "time_ns", reference, result.columns()["time_ns"]))
        return
    label += f" {cells['case']}" if "case" in cells else ""
    out.add(_class(cells, reference), Row(label, "cycles", reference, result.cycles))
    column = "per_message_completion"
    given = cells.get(column, "").split(";")
    if len(given) > 1:
        if len(given) != result.done.size:
            raise SpecError(f"{len(given)} numbers for {result.done.size} messages", (column,))
        for i, (text, done) in enumerate(zip(given, result.done.tolist(), strict=True)):
            out.add(MESSAGES, Row(label, f"message {i}", _number({column: text}, column), done))


def _class(cells: dict[str, str], reference: float) -> str:
    """Contention-free is what two models of unlimited buffers, one of busy links and one of shared ones, both predict exactly."""
    if cells.get("route_tie") == "1":
        return TIES
    given = [name for name in _PROTOTYPES if name in cells]
    if given and all(_number(cells, name) == reference for name in given):
        return FREE
    return MESH if cells["topology"].startswith("mesh") else OTHER


def _number(cells: dict[str, str], column: str) -> float:
    text = cells[column].strip()
    if not NUMBER.fullmatch(text) or not abs(value := float(text)) < 2**53:
        raise SpecError(f"got {text[:40]!r}; expected a number", (column,))
    return int(value) if value.is_integer() else value


def print_validation(done: Validation, console: Any) -> None:
    """A line per class, then what fails."""
    from hdasim.report.table import grid

    lines = grid("BookSim 2 and ASTRA-sim against hdasim", ("class", "cases", "exact", "mean error", "worst error", "limits"))
    for name in done.classes:
        count, exact, mean, worst = done.statistics(name)
        limit = " / ".join(f"{share:.0%}" for share in LIMITS[name]) if name in LIMITS else "-"
        limit += "" if done.within(name) else " exceeded"
        lines.add_row(name, f"{count:,}", f"{exact:,}", f"{mean:.2%}", f"{worst:.2%}", limit)
    console.print(lines, highlight=False)
    if done.failed:
        console.print()
    for line in done.failed:
        console.print(line, highlight=False, markup=False)
