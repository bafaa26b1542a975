"""SCALE-Sim 3.0.0's own files: its configuration and topology in, its three reports out, byte for byte.

What SCALE-Sim reads is read by the same rules; what it would compute otherwise than `cases` does is refused, never ignored. Every
complaint is one line, ``file:line: key or column: what is wrong; what would be right``.
"""

import configparser
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from hdasim.core import _core
from hdasim.core.layout import DATAFLOWS, SCALESIM_CASE
from hdasim.errors import CoreError, SpecError
from hdasim.scalesim import cases
from hdasim.sheet import Progress
from hdasim.text import MOST, SHOWN, choice, read_text, whole, write_whole

_MOST_LAYERS = 2**17
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")

_CONV = ("ifmap height", "ifmap width", "filter height", "filter width", "channels", "num filters", "stride")
_COLUMNS = {4: ("M", "N", "K"), 5: ("M", "N", "K"), 8: _CONV, 9: _CONV}
#: The sections and keys that SCALE-Sim 3 insists on, each with what files of version 2, which lack some, mean.
_KEYS = {
    "general": {"run_name": "run"},
    "architecture_presets": {
        "ArrayHeight": "32", "ArrayWidth": "32", "IfmapSramSzkB": "64", "FilterSramSzkB": "64", "OfmapSramSzkB": "64",
        "IfmapOffset": "0", "FilterOffset": "10000000", "OfmapOffset": "20000000", "Dataflow": "ws", "ReadRequestBuffer": "32",
        "WriteRequestBuffer": "32",
    },
    "layout": {
        "IfmapCustomLayout": "False", "IfmapSRAMBankBandwidth": "10", "IfmapSRAMBankNum": "1", "IfmapSRAMBankPort": "2",
        "FilterCustomLayout": "False", "FilterSRAMBankBandwidth": "10", "FilterSRAMBankNum": "1", "FilterSRAMBankPort": "2",
    },
    "sparsity": {"SparsitySupport": "false"},
    "run_presets": {"InterfaceBandwidth": "CALC", "UseRamulatorTrace": "False"},
}  # fmt: skip
_UNUSED = {
    "architecture_presets": ("ReadRequestBuffer", "WriteRequestBuffer"),
    "layout": ("IfmapSRAMBankPort", "FilterSRAMBankPort"),
}


@dataclass(frozen=True)
class Config:
    """What a configuration file says of the array and its memories; `bandwidth` is None in CALC mode."""

    run_name: str
    rows: int
    cols: int
    dataflow: str
    sram_kb: tuple[int, int, int]
    bandwidth: tuple[int, int, int] | None


@dataclass(frozen=True)
class Layer:
    """A layer and the line it stands on; `sizes` are M, N, K of a GEMM or the seven numbers of a convolution."""

    name: str
    line: int
    sizes: tuple[int, ...]

    def case(self, c: Config) -> cases.Cases:
        """The layer on the array of `c`."""
        if len(self.sizes) == 3:
            m, n, k = self.sizes
            return cases.gemm(c.rows, c.cols, c.dataflow, m, n, k, c.sram_kb, c.bandwidth)
        height, width, filter_height, filter_width, channels, filters, stride = self.sizes
        ifmap, window = (height, width), (filter_height, filter_width)
        return cases.convolution(c.rows, c.cols, c.dataflow, ifmap, window, channels, filters, stride, c.sram_kb, c.bandwidth)


class _Document:
    """A configuration file that knows the lines of its keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = re.sub(r"\r\n?", "\n", read_text(path, "a SCALE-Sim configuration file"))
        self.lines = text.split("\n")
        self.parser = configparser.ConfigParser()
        try:
            self.parser.read_string(text)
        except configparser.MissingSectionHeaderError as error:
            raise self._misread(error.lineno, "expected [general] or another section above it") from None
        except configparser.ParsingError as error:  # from Python 3.13 on some have a line of their own
            raise self._misread(getattr(error, "lineno", 0) or error.errors[0][0], "expected [section] or KEY: VALUE") from None
        except configparser.DuplicateOptionError as error:
            key = re.split("[:=]", self.lines[(error.lineno or 1) - 1])[0].strip()
            raise SpecError("this key appears twice; keep one", (key,), f"{path}:{error.lineno}") from None
        except configparser.DuplicateSectionError as error:
            raise SpecError(f"section [{error.section}] appears twice; keep one", place=f"{path}:{error.lineno}") from None

    def _misread(self, line: int, expected: str) -> SpecError:
        return SpecError(f"got {self.lines[line - 1].strip()[:SHOWN]!r}; {expected}", place=f"{self.path}:{line}")

    def line(self, section: str, key: str = "") -> int:
        """Where `key`, or the header of the section, stands."""
        inside, start = False, 0
        for number, line in enumerate(self.lines, start=1):
            if header := configparser.RawConfigParser.SECTCRE.match(line.strip()):
                inside = header["header"] == section
                start = start or number * inside
            elif inside and key and re.match(rf"\s*{re.escape(key)}\s*[:=]", line, re.IGNORECASE):
                return number
        return start or 1

    def complain(self, section: str, key: str, message: str) -> NoReturn:
        raise SpecError(message, (key,), f"{self.path}:{self.line(section, key)}") from None

    def get(self, section: str, key: str) -> str:
        try:
            return self.parser.get(section, key)
        except configparser.InterpolationError:
            self.complain(section, key, "a % refers to another key here; write %% for a percent sign")

    def integer(self, section: str, key: str, least: int | None = 1) -> int:
        """A whole number in digits; None as `least` is for what has no effect, so that SCALE-Sim takes any."""
        text = self.get(section, key)
        if least is None and _INTEGER.fullmatch(text):
            return int(text)
        try:
            return _digits(text, key, least or 0)
        except SpecError as error:
            self.complain(section, key, error.message)

    def choice(self, section: str, key: str, known: Iterable[str]) -> str:
        try:
            return choice(self.get(section, key), key, known)
        except SpecError as error:
            self.complain(section, key, error.message)

    def refuse(self, section: str, key: str, off: str, why: str) -> None:
        """Insist on a switch that is off; a custom layout may also be turned off with no, off or 0."""
        text = self.get(section, key)
        if text.lower() not in ((off.lower(), "no", "off", "0") if section == "layout" else (off.lower(),)):
            self.complain(section, key, f"got {text[:SHOWN]!r}; {why}, set it to {off}")


def _digits(text: str, name: str, least: int = 1) -> int:
    value = whole(text, name, least)
    if not _INTEGER.fullmatch(text.strip()):
        raise SpecError(f"got {text.strip()[:SHOWN]!r}; SCALE-Sim takes digits only, write {value}", (name,))
    return value


def read_config(path: Path) -> Config:
    """Read a configuration file; `SpecError` if SCALE-Sim 3 would refuse it, or would compute what `cases` does not."""
    d = _Document(path)
    if d.parser.has_section("network_presets"):
        message = "SCALE-Sim 3 cannot read a file with [network_presets]; remove it, --topology names the layers"
        raise SpecError(message, place=f"{path}:{d.line('network_presets')}")
    _check_keys(d)
    arch, banks = "architecture_presets", "layout"
    d.refuse("sparsity", "SparsitySupport", "false", "sparsity is not supported")
    d.refuse("run_presets", "UseRamulatorTrace", "False", "traces of Ramulator are not supported")
    d.refuse(banks, "IfmapCustomLayout", "False", "custom layouts are not supported")
    d.refuse(banks, "FilterCustomLayout", "False", "custom layouts are not supported")
    for section, keys in _UNUSED.items():
        for key in keys:
            d.integer(section, key, None)
    for key in ("IfmapOffset", "FilterOffset", "OfmapOffset"):
        d.integer(arch, key, 0)
    return Config(
        run_name=_run_name(d), rows=d.integer(arch, "ArrayHeight"), cols=d.integer(arch, "ArrayWidth"),
        dataflow=d.choice(arch, "Dataflow", DATAFLOWS),
        sram_kb=(d.integer(arch, "IfmapSramSzkB"), d.integer(arch, "FilterSramSzkB"), d.integer(arch, "OfmapSramSzkB")),
        bandwidth=_bandwidth(d),
    )  # fmt: skip


def _check_keys(d: _Document) -> None:
    """All that is missing in one complaint, with what to add."""
    wanted = {section: dict(keys) for section, keys in _KEYS.items()}
    words = d.parser.get("architecture_presets", "Bandwidth", raw=True, fallback="").split(",")[0].strip()
    if _INTEGER.fullmatch(words):  # version 2 gave all three operands the first bandwidth
        wanted["layout"] |= {"IfmapSRAMBankBandwidth": words, "FilterSRAMBankBandwidth": words}
    if d.parser.get("run_presets", "InterfaceBandwidth", raw=True, fallback="") == "USER":
        wanted["architecture_presets"]["Bandwidth"] = "10"
    missing = []
    for section, keys in wanted.items():
        lacking = [f"{key}: {value}" for key, value in keys.items() if not d.parser.has_option(section, key)]
        if lacking:
            missing.append(f"[{section}] {', '.join(lacking)}")
    if missing:
        raise SpecError(f"SCALE-Sim 3 needs keys that are missing; add {'; '.join(missing)}", place=str(d.path))


def _run_name(d: _Document) -> str:
    name = d.get("general", "run_name")
    if not name.isprintable() or not name or name in (".", "..") or "/" in name or "\\" in name or len(name.encode()) > 200:
        d.complain("general", "run_name", f"got {name[:SHOWN]!r}; expected the name of a folder below --output-dir, such as run")
    return name


def _bandwidth(d: _Document) -> tuple[int, int, int] | None:
    arch, banks = "architecture_presets", "layout"
    user = d.choice("run_presets", "InterfaceBandwidth", ("CALC", "USER")) == "USER"
    rates = []
    for operand in ("Ifmap", "Filter"):
        rate = d.integer(banks, f"{operand}SRAMBankBandwidth", 1 if user else None)
        count = d.integer(banks, f"{operand}SRAMBankNum", 1 if user else None)
        if user and rate % count:
            message = f"{count} banks do not divide {operand}SRAMBankBandwidth {rate}; use a divisor, such as 1"
            d.complain(banks, f"{operand}SRAMBankNum", message)
        rates.append(rate)
    if not user:
        return None
    try:
        writes = [_digits(text, "Bandwidth") for text in d.get(arch, "Bandwidth").split(",")]
    except SpecError as error:
        d.complain(arch, "Bandwidth", error.message)
    return rates[0], rates[1], writes[0]


def read_topology(path: Path) -> list[Layer]:
    """Read the layers of a GEMM or convolution topology; `SpecError` names the row and column that is wrong."""
    text = read_text(path, "a SCALE-Sim topology (CSV)")
    layers: list[Layer] = []
    width = 0
    for number, row in enumerate(re.split(r"\r\n|\r|\n", text)[1:], start=2):
        if not row.strip():
            continue
        try:
            fields = _fields(row.strip())
            if width and _COLUMNS[width] != _COLUMNS[len(fields)]:
                kinds = ("GEMM", "convolution") if len(fields) < 6 else ("convolution", "GEMM")
                raise SpecError(f"a {kinds[0]} below rows that are {kinds[1]}s; keep them in files of their own", ("row",))
            width = len(fields)
            layers += _layers(fields, number)
        except SpecError as error:
            raise SpecError(error.message, error.path, f"{path}:{number}") from None
        if len(layers) > _MOST_LAYERS:
            message = f"more than {_MOST_LAYERS} layers (one per channel where a name holds DP); use fewer"
            raise SpecError(message, place=f"{path}:{number}")
    if not layers:
        message = "no layers; expected rows such as name, M, N, K, below the first line, which is a header"
        raise SpecError(message, place=f"{path}:1")
    return layers


def _fields(row: str) -> list[str]:
    """The fields before the last comma: SCALE-Sim drops what stands behind it."""
    *fields, rest = (field.strip() for field in row.split(","))
    if len(fields) in _COLUMNS:
        return fields
    if rest and len(fields) + 1 in _COLUMNS:
        fix = row if len(row) <= 2 * SHOWN else f"...{row[-SHOWN:]}"
        raise SpecError(f"no comma at the end, so SCALE-Sim would drop {rest[:SHOWN]!r}; write {fix},", ("row",))
    kinds = "4 or 5 (name, M, N, K[, n:m],) or 8 or 9 (name, ifmap h, w, filter h, w, channels, filters, stride[, n:m],)"
    raise SpecError(f"{len(fields)} fields before the last comma; expected {kinds}", ("row",))


def _layers(fields: list[str], line: int) -> list[Layer]:
    name, columns = fields[0], _COLUMNS[len(fields)]
    sizes = tuple(_digits(text, column) for text, column in zip(fields[1:], columns, strict=False))
    if len(fields) > len(columns) + 1 and not re.fullmatch(r"[0-9]{1,9}\s*:\s*[0-9]{1,9}", fields[-1]):
        expected = "expected a ratio such as 1:1, which has no effect, or nothing"
        raise SpecError(f"got {fields[-1][:SHOWN]!r}; {expected}", ("sparsity",))
    if columns is not _CONV:
        return [Layer(name, line, sizes)]
    height, width, filter_height, filter_width, channels, filters, stride = sizes
    for side, size, reach in (("height", height, filter_height), ("width", width, filter_width)):
        if reach > size:
            message = f"{reach} is larger than the ifmap's {size}; use a smaller filter or pad the ifmap"
            raise SpecError(message, (f"filter {side}",))
    depthwise = "DP" in name  # SCALE-Sim makes every channel a layer
    if depthwise and channels > _MOST_LAYERS:
        raise SpecError(f"{channels} layers, one per channel since the name holds DP; use at most {_MOST_LAYERS}", ("channels",))
    pixels = -(-(height - filter_height + stride) // stride) * -(-(width - filter_width + stride) // stride)
    words = filter_height * filter_width * (1 if depthwise else channels)
    for what, count in (("pixels in the ofmap", pixels), ("words in a window", words)):
        if count > MOST:
            raise SpecError(f"{count} {what} are too many; use sizes that give at most {MOST}", ("row",))
    if not depthwise:
        return [Layer(name, line, sizes)]
    each = (height, width, filter_height, filter_width, 1, filters, stride)
    return [Layer(f"{name}Channel_{channel}", line, each) for channel in range(channels)]


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its configuration, and per layer name, M, N, K and every column of `cases.OUTPUTS`."""

    folder: Path
    config: Config
    layers: list[dict[str, Any]]

    def document(self) -> dict[str, Any]:
        """The run as plain data."""
        return {"folder": str(self.folder), "config": asdict(self.config), "layers": self.layers}


def run(
    config: Path, topology: Path, output_dir: Path, workers: int | None, max_lines: int, progress: Progress | None = None
) -> Run:
    """Run SCALE-Sim's files and write its three reports into `output_dir`/run_name; `SpecError` if any layer cannot be run."""
    from hdasim.report.files import make_folder

    settings = read_config(config)
    layers = read_topology(topology)
    unique: dict[bytes, int] = {}  # the channels of a depth-wise layer are all alike
    places = [unique.setdefault(layer.case(settings).tobytes(), len(unique)) for layer in layers]
    array = np.frombuffer(b"".join(unique), SCALESIM_CASE)
    for layer, place in zip(layers, places, strict=True):  # before hours of work for the others
        _check_layer(layer, array[place : place + 1], topology, max_lines)
    folder = output_dir / settings.run_name
    make_folder(folder)
    results = cases.simulate(array, workers, progress, max_lines)
    rows: list[dict[str, Any]] = []
    for index, (layer, place) in enumerate(zip(layers, places, strict=True)):
        if results[place]["status"]:
            raise _refused(layer, int(results[place]["status"]), topology)
        sizes = {key: int(array[place][key.lower()]) for key in "MNK"}
        rows.append({"layer": index, "name": layer.name, **sizes, **cases.report(array[place], results[place])})
    _write_reports(folder, rows)
    return Run(folder, settings, rows)


def _check_layer(layer: Layer, case: cases.Cases, topology: Path, max_lines: int) -> None:
    try:
        lines = int(cases.closed_forms(case)["cycles"][0]) + 1
    except CoreError:
        raise _refused(layer, _core.OVERFLOW, topology) from None
    if lines > max_lines:
        raise _refused(layer, _core.LONG, topology)


def _refused(layer: Layer, status: int, topology: Path) -> SpecError:
    return SpecError(f"layer {layer.name[:SHOWN]!r}: {cases.describe_status(status)}", place=f"{topology}:{layer.line}")


_COMPUTE = {
    "Total Cycles (incl. prefetch)": "total_cycles_incl_prefetch", "Total Cycles": "total_cycles", "Stall Cycles": "stall_cycles",
    "Overall Util %": "overall_util_pct", "Mapping Efficiency %": "mapping_eff_pct", "Compute Util %": "compute_util_pct",
}  # fmt: skip
_OPERANDS = (("IFMAP", "ifmap", "Reads"), ("Filter", "filter", "Reads"), ("OFMAP", "ofmap", "Writes"))
REPORTS = {
    "COMPUTE_REPORT.csv": _COMPUTE,
    "BANDWIDTH_REPORT.csv": {
        f"Avg {title.upper()} {memory} BW": f"avg_{operand}_{memory.lower()}_bw"
        for memory in ("SRAM", "DRAM") for title, operand, _ in _OPERANDS
    },
    "DETAILED_ACCESS_REPORT.csv": {
        f"{memory} {title} {kind}": f"{memory.lower()}_{operand}_{kind.lower().replace(' ', '_')}"
        for memory in ("SRAM", "DRAM") for title, operand, verb in _OPERANDS for kind in ("Start Cycle", "Stop Cycle", verb)
    },
}  # fmt: skip


def _write_reports(folder: Path, rows: list[dict[str, Any]]) -> None:
    for name, columns in REPORTS.items():
        lines = [", ".join(("LayerID", *columns)) + ",\n"]
        for row in rows:
            values = [float(row[key]) if key.endswith(("start_cycle", "stop_cycle")) else row[key] for key in columns.values()]
            lines.append(", ".join(map(str, (row["layer"], *values))) + ",\n")
        write_whole(folder / name, "".join(lines))


def print_layers(done: Run, console: Any) -> None:
    """Print a line per layer, and where the reports are."""
    from rich.markup import escape

    from hdasim.report.table import grid

    c = done.config
    mode = "CALC" if c.bandwidth is None else f"USER bandwidths {', '.join(map(str, c.bandwidth))}"
    title = escape(f"{c.run_name}: {c.rows} x {c.cols}, {c.dataflow}, {mode}")
    table = grid(title, ("layer", "M", "N", "K", "total cycles", "stalls", "utilisation"))
    for row in done.layers:
        numbers = [f"{row[key]:,}" for key in ("M", "N", "K", "total_cycles", "stall_cycles")]
        name = row["name"] if row["name"].isprintable() else repr(row["name"])
        table.add_row(escape(name), *numbers, f"{row['overall_util_pct']:.1f} %")
    console.print(table, highlight=False)
    console.print(f"\nreports in {escape(str(done.folder))}", highlight=False)
