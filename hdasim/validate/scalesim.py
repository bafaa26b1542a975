"""Our numbers against SCALE-Sim's: given outputs, or the real package run beside us on random layers.

SCALE-Sim's reports are compared as files, byte for byte, and number for number in the columns of `hdasim.scalesim.cases.OUTPUTS`.
"""

import contextlib
import csv
import io
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdasim.errors import MissingExtra, SpecError
from hdasim.scalesim import cases, files, table
from hdasim.sheet import RowError
from hdasim.text import read_text
from hdasim.validate.compare import Row, by_case, by_quantity

_ARRAYS = (
    (4, 4), (8, 8), (16, 16), (32, 32), (4, 16), (16, 4), (8, 32), (32, 8), (12, 14), (1, 8), (8, 1), (1, 1), (5, 3), (7, 13),
    (64, 16),
)  # fmt: skip
#: SCALE-Sim needs some 0.3 ms for a line, so a layer takes it at most a minute.
_MOST_LINES = 200_000


@dataclass
class Validation:
    """What was compared. Live runs also count CPU seconds on both sides and the cases whose report files are the same bytes."""

    rows: list[Row] = field(default_factory=list)
    same_files: int = 0
    compared_files: int = 0
    seconds: float = 0.0
    reference_seconds: float = 0.0
    failed: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        return len(by_case(self.rows))

    @property
    def equal(self) -> int:
        """Cases that agree in every column."""
        return sum(all(row.equal() for row in rows) for rows in by_case(self.rows).values())

    @property
    def holds(self) -> bool:
        return bool(self.rows) and self.equal == self.cases and self.same_files == self.compared_files and not self.failed

    def columns(self) -> list[tuple[str, int, int, float]]:
        """Per column: name, cases equal, cases, largest difference relative to the reference."""
        out = []
        for name, rows in by_quantity(self.rows).items():
            worst = max(abs(row.predicted - row.reference) / max(abs(row.reference), 1e-300) for row in rows)
            out.append((name, sum(row.equal() for row in rows), len(rows), worst))
        return out

    def summary(self) -> list[str]:
        """What holds, in a line each."""
        lines = [f"{self.equal} of {self.cases} cases equal in every column"]
        if self.compared_files:
            lines.append(f"reports the same to the byte: {self.same_files} of {self.compared_files} cases")
        if self.reference_seconds:
            ratio = self.reference_seconds / max(self.seconds, 1e-9)
            lines.append(f"CPU time: SCALE-Sim {self.reference_seconds:.2f} s, hdasim {self.seconds:.3f} s: 1 / {ratio:,.0f}")
        return lines + self.failed


# ---- given outputs ----


def against_data(path: Path) -> Validation:
    """Compare with given SCALE-Sim outputs.

    Parameters
    ----------
    path
        A table of cases with SCALE-Sim's columns (CSV), or a folder: its tables, and each folder below it that holds SCALE-Sim's
        ``scale.cfg``, a topology (``gemm.csv`` or ``conv.csv``) and the three reports.

    Raises
    ------
    SpecError
        If there is nothing to compare, or a file is malformed.
    """
    out = Validation()
    if not path.exists():
        raise SpecError("does not exist; give a CSV or a folder with SCALE-Sim's outputs", place=str(path))
    if not path.is_dir():
        _compare_table(path, out)
        return out
    found = False
    for source in sorted(path.glob("*.csv")):
        if source.name in files.REPORTS:
            continue
        header = read_text(source, "a table of cases").partition("\n")[0].strip().split(",")
        if set(cases.OUTPUTS) <= set(header):
            found = True
            _compare_table(source, out)
    for config in sorted(path.rglob("scale.cfg")):
        topologies = [config.with_name(name) for name in ("gemm.csv", "conv.csv") if config.with_name(name).is_file()]
        if topologies and all(config.with_name(name).is_file() for name in files.REPORTS):
            found = True
            with tempfile.TemporaryDirectory() as folder:
                ours = files.run(config, topologies[0], Path(folder), 1, cases.MAX_LINES).folder
                _compare_reports(str(config.parent.relative_to(path)), config.parent, ours, out)
    if not found:
        message = "holds no table of cases with SCALE-Sim's columns, and no folder with scale.cfg, topology and reports"
        raise SpecError(message, place=str(path))
    return out


def _compare_table(path: Path, out: Validation) -> None:
    reader = csv.DictReader(io.StringIO(read_text(path, "a table of cases"), newline=""))
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    missing = [name for name in (*table.INPUTS, *cases.OUTPUTS) if name not in reader.fieldnames]
    if missing:
        raise SpecError(f"columns are missing: {', '.join(missing)}", place=f"{path}:1")
    given = [(reader.line_num, row) for row in reader]
    with tempfile.TemporaryDirectory() as folder:
        outcome = table.run(path, Path(folder) / "out.csv", None, cases.MAX_LINES)
    if outcome.interrupted:
        raise KeyboardInterrupt
    for (line, row), ours in zip(given, outcome.outputs, strict=True):
        name = f"case {row.get('case_id') or line}"
        if isinstance(ours, RowError):
            out.failed.append(f"{path}:{line}: {ours}")
            continue
        for column, text in zip(cases.OUTPUTS, ours.split(","), strict=True):
            out.rows.append(Row(name, column, _number(row[column], path, line, column), _number(text, path, line, column)))


def _number(text: str, path: Path, line: int, column: str) -> float:
    """A count or a cycle as an integer, which SCALE-Sim's reports may write as 9.0, and a ratio as it is."""
    try:
        value = float(text)
        return value if column.endswith(("_pct", "_bw")) or value != int(value) else int(value)
    except (ValueError, OverflowError):
        raise SpecError(f"got {text[:40]!r}; expected a number", (column,), f"{path}:{line}") from None


def _compare_reports(name: str, theirs: Path, ours: Path, out: Validation) -> None:
    out.compared_files += 1
    out.same_files += all((theirs / report).read_bytes() == (ours / report).read_bytes() for report in files.REPORTS)
    for report, columns in files.REPORTS.items():
        reference, predicted = _report_rows(theirs / report, columns), _report_rows(ours / report, columns)
        if len(reference) != len(predicted):
            raise SpecError(f"{len(reference)} layers; the topology has {len(predicted)}", place=str(theirs / report))
        for layer, rows in enumerate(zip(reference, predicted, strict=True)):
            for column, *numbers in zip(columns.values(), *rows, strict=True):
                out.rows.append(Row(f"{name} layer {layer}", column, *numbers))


def _report_rows(path: Path, columns: dict[str, str]) -> list[list[float]]:
    """Per layer the numbers of a report, whose first column is the layer's index."""
    header, *lines = read_text(path, "SCALE-Sim's report").splitlines()
    expected = ", ".join(("LayerID", *columns)) + ","
    if header != expected:
        raise SpecError(f"got the header {header[:60]!r}; expected {expected[:60]!r}...", place=f"{path}:1")
    rows = []
    for number, line in enumerate(lines, start=2):
        cells = line.rstrip(", ").split(", ")[1:]
        if len(cells) != len(columns):
            raise SpecError(f"{len(cells)} numbers; expected {len(columns)}", place=f"{path}:{number}")
        rows.append([_number(cell, path, number, column) for cell, column in zip(cells, columns.values(), strict=True)])
    return rows


# ---- the real package ----


def live(count: int, seed: int, kind: str = "mixed", progress: Callable[[int, int], None] | None = None) -> Validation:
    """Draw `count` random layers, run SCALE-Sim and hdasim on the same files, and compare.

    Parameters
    ----------
    kind
        ``gemm``, ``conv``, or ``mixed``: three GEMMs in five.

    Raises
    ------
    MissingExtra
        If scalesim is not installed.
    """
    _simulator()  # before anything is drawn, and outside the time measured
    draw = random.Random(seed)
    out = Validation()
    for number in range(count):
        conv = kind == "conv" or (kind == "mixed" and draw.random() < 0.4)
        config, topology, text = _draw(draw, conv)
        while _lines(config, topology) > _MOST_LINES:
            config, topology, text = _draw(draw, conv)
        name = f"{number} ({text})"
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root)
            (folder / "scale.cfg").write_text(config, encoding="utf-8")
            (folder / "layers.csv").write_text(topology, encoding="utf-8")
            (folder / "layout.csv").write_text("none\n", encoding="utf-8")
            started = time.process_time()
            try:
                run_reference(folder, conv)
            except Exception as error:  # whatever SCALE-Sim stumbles over is its answer
                out.failed.append(f"case {name}: SCALE-Sim failed with {type(error).__name__}: {error}")
                continue
            out.reference_seconds += time.process_time() - started
            started = time.process_time()
            ours = files.run(folder / "scale.cfg", folder / "layers.csv", folder / "ours", 1, cases.MAX_LINES)
            out.seconds += time.process_time() - started
            _compare_reports(name, folder / "theirs" / "run", ours.folder, out)
        if progress is not None:
            progress(number + 1, count)
    return out


def _simulator() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from scalesim.scale_sim import scalesim
    except ImportError as error:
        message = f"SCALE-Sim cannot be imported ({error}); run `make validate`, or pip install 'hdasim[validate]'"
        raise MissingExtra(message) from None
    return scalesim


def run_reference(folder: Path, conv: bool) -> None:
    """Run SCALE-Sim, without traces, on scale.cfg, layers.csv and layout.csv in `folder`; its reports go to theirs/RUN_NAME."""
    paths = {"config": str(folder / "scale.cfg"), "topology": str(folder / "layers.csv"), "layout": str(folder / "layout.csv")}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        simulator = _simulator()(save_disk_space=True, verbose=False, input_type_gemm=not conv, **paths)
        simulator.run_scale(top_path=str(folder / "theirs"))


def _lines(config: str, topology: str) -> int:
    """Lines of a drawn layer, from the closed form."""
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "scale.cfg").write_text(config, encoding="utf-8")
        (Path(root) / "layers.csv").write_text(topology, encoding="utf-8")
        layer = files.read_topology(Path(root) / "layers.csv")[0]
        return int(cases.closed_forms(layer.case(files.read_config(Path(root) / "scale.cfg")))["cycles"][0]) + 1


def _draw(draw: random.Random, conv: bool) -> tuple[str, str, str]:
    """Configuration, topology and a short description of one random layer."""
    rows, cols = draw.choice(_ARRAYS)
    dataflow, mode = draw.choice(("ws", "os", "is")), draw.choice(("CALC", "USER"))
    sram = [draw.choice((1, 1, 2, 3, 4, 8, 16, 64)) for _ in range(3)]
    bandwidth = [draw.choice((1, 2, 3, 5, 8, 10, 16, 31, 64, 100)) for _ in range(3)]
    config = (
        f"[general]\nrun_name = run\n[architecture_presets]\nArrayHeight: {rows}\nArrayWidth: {cols}\n"
        f"IfmapSramSzkB: {sram[0]}\nFilterSramSzkB: {sram[1]}\nOfmapSramSzkB: {sram[2]}\n"
        f"IfmapOffset: 0\nFilterOffset: 10000000\nOfmapOffset: 20000000\nBandwidth: {bandwidth[2]}\nDataflow: {dataflow}\n"
        "MemoryBanks: 1\nReadRequestBuffer: 32\nWriteRequestBuffer: 32\n"
        f"[layout]\nIfmapCustomLayout: False\nIfmapSRAMBankBandwidth: {bandwidth[0]}\nIfmapSRAMBankNum: 1\n"
        f"IfmapSRAMBankPort: 2\nFilterCustomLayout: False\nFilterSRAMBankBandwidth: {bandwidth[1]}\nFilterSRAMBankNum: 1\n"
        "FilterSRAMBankPort: 2\n[sparsity]\nSparsitySupport: false\n"
        f"[run_presets]\nInterfaceBandwidth: {mode}\nUseRamulatorTrace: False\n"
    )
    if conv:
        window = draw.randint(1, 5), draw.randint(1, 5)
        size = [reach + draw.randint(0, 20) for reach in window]
        sizes = [*size, *window, draw.randint(1, 12), draw.randint(1, 48), draw.randint(1, 4)]
        header = "Layer, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
    else:
        most = draw.choice((16, 64, 160))
        sizes = [draw.randint(1, most) for _ in range(3)]
        if rows * cols == 1:
            sizes[0] += 1  # SCALE-Sim divides by zero for os, 1 x 1 x 1, on a 1 x 1 array
        header = "Layer, M, N, K,\n"
    text = f"{'conv' if conv else 'gemm'} {'x'.join(map(str, sizes))} on {rows}x{cols} {dataflow} {mode}"
    return config, header + ", ".join(("layer", *map(str, sizes))) + ",\n", text


def print_validation(done: Validation, console: Any) -> None:
    """A line per column, then what holds."""
    from hdasim.report.table import grid

    lines = grid("SCALE-Sim 3.0.0 against hdasim", ("column", "equal", "cases", "largest difference"))
    for name, equal, count, worst in done.columns():
        lines.add_row(name, f"{equal:,}", f"{count:,}", f"{worst:.1e}" if worst else "0")
    console.print(lines, highlight=False)
    console.print()
    for line in done.summary():
        console.print(line, highlight=False, markup=False)
