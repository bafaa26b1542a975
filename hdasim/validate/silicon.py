"""Our operator times against measured ones, on hardware that ships as a preset."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from hdasim.device.collectives import OPS
from hdasim.errors import SpecError
from hdasim.predict.collective import DEVICES
from hdasim.predict.operators import operator
from hdasim.predict.table import same_hardware
from hdasim.sheet import Sheet, read_sheet
from hdasim.spec.load import load_device, presets
from hdasim.text import NUMBER
from hdasim.validate.compare import Row, by_quantity

_GPU, _MEASURED = ("gpu", "system"), "latency_us"


@dataclass
class Validation:
    """What was compared. A row's quantity is the group, such as "h100 all_reduce 8", that `groups` sums up."""

    rows: list[Row] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def groups(self) -> list[tuple[str, list[float]]]:
        """(name, absolute errors) of each group, of each GPU and of all."""
        errors = {name: _errors(rows) for name, rows in sorted(by_quantity(self.rows).items())}
        out: list[tuple[str, list[float]]] = []
        for gpu in dict.fromkeys(name.split()[0] for name in errors):
            mine = [(name, values) for name, values in errors.items() if name.split()[0] == gpu]
            out += [*mine, (gpu, [value for _, values in mine for value in values])]
        return [*out, ("all", _errors(self.rows))]

    def skipped_lines(self) -> list[str]:
        """Why rows were left out, a line for each reason."""
        return [f"left out {count:,} rows: {reason}" for reason, count in self.skipped.items()]


def _errors(rows: list[Row]) -> list[float]:
    return [abs(row.error) for row in rows if row.error is not None]


def against_data(path: Path, op: str) -> Validation:
    """Compare with a table of measured times, or with every such table in a folder.

    Rows of GPUs that do not ship as a preset, of other libraries than NCCL and of operations that NCCL does not have are left
    out, and counted.

    Raises
    ------
    SpecError
        If a file cannot be read or has wrong values, or nothing is there to compare.
    """
    done = Validation()
    tables = [path] if not path.is_dir() else sorted(path.glob("*.csv"))
    for table in tables:
        try:
            sheet = read_sheet(table, _columns)
        except SpecError:
            if path.is_dir():
                continue  # another table
            raise
        _compare(sheet, op, done)
    if not done.rows:
        raise SpecError(f"no measurements of {op} on known hardware; expected a table with {_EXPECTED}", place=str(path))
    return done


_EXPECTED = "the columns gpu or system, op, num_gpus or n_gpus, message_bytes or bytes, latency_us"


def _columns(sheet: Sheet) -> dict[str, int]:
    """Places of the columns under the names gpu, op, num_gpus, message_bytes, latency_us and library if there."""
    places = {}
    for column in (_GPU, ("op",), DEVICES, ("message_bytes", "bytes"), (_MEASURED,)):
        known = [name for name in column if name in sheet.names]
        if not known:
            raise SpecError(f"column is missing: {' or '.join(column)}; expected {_EXPECTED}", place=f"{sheet.path}:1")
        places[column[0]] = sheet.names.index(known[0])
    return places | ({"library": sheet.names.index("library")} if "library" in sheet.names else {})


def _compare(sheet: Sheet, op: str, done: Validation) -> None:
    cases: dict[str, list[tuple[Any, float]]] = {}
    for name, case, measured in _measurements(sheet, op, done):
        cases.setdefault(name, []).append((case, measured))
    for name, mine in cases.items():
        device = load_device(name)
        operator(op).check(device)
        times = operator(op).predict(device, [case for case, _ in mine]).time * 1e6
        for (case, measured), time in zip(mine, times.tolist(), strict=True):
            title, group = f"{name} {case.op} {case.devices} GPUs {case.size} B", f"{name} {case.op} {case.devices}"
            done.rows.append(Row(title, group, measured, time))


def _measurements(sheet: Sheet, op: str, done: Validation) -> Iterator[tuple[str, Any, float]]:
    """(preset, case, microseconds) of each row that can be compared."""
    places = _columns(sheet)
    known = presets("hardware")
    for number, (row, line) in enumerate(zip(sheet.rows, sheet.lines, strict=True)):
        if number in sheet.ragged:
            raise SpecError(sheet.ragged[number], ("row",), f"{sheet.path}:{line}")
        cells = {name: row[at].strip() for name, at in places.items()}
        name = max((name for name in known if same_hardware(cells["gpu"], name)), key=len, default="")
        if not name:
            done.skipped[f"no preset for {cells['gpu']!r}"] += 1
        elif cells.get("library", "nccl") != "nccl":
            done.skipped["measured with another library than NCCL"] += 1
        elif cells["op"] not in OPS:
            done.skipped[f"not NCCL's: {cells['op']}"] += 1
        else:
            try:
                yield name, operator(op).read({"devices_per_node": "", **cells}), _positive(cells[_MEASURED])
            except SpecError as error:
                raise SpecError(error.message, error.path, f"{sheet.path}:{line}") from None


def _positive(text: str) -> float:
    value = float(text) if NUMBER.fullmatch(text) else 0.0
    if not 0 < value < 1e15:
        raise SpecError(f"got {text[:40]!r}; expected microseconds greater than 0", (_MEASURED,))
    return value


def print_validation(done: Validation, console: Any) -> None:
    """Print the errors of each group."""
    from hdasim.report.table import grid

    table = grid("|predicted / measured - 1|", ("group", "cases", "median", "mean", "largest"))
    for name, errors in done.groups():
        numbers = (median(errors), sum(errors) / len(errors), max(errors))
        table.add_row(name, str(len(errors)), *(f"{100 * number:.1f} %" for number in numbers))
    console.print(table, highlight=False)
