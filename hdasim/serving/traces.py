"""Request traces: read the forms that people already have, and write one.

Formats are told apart by their header (CSV) or extension (JSONL) and normalised to `Requests`. Parsing is by column: a million
rows take a few seconds without pandas. Every complaint is one line, ``file:line: column: what is wrong; what would be right``.
"""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hdasim.errors import TraceError
from hdasim.serving.requests import Floats, Requests, describe
from hdasim.spec.workload import MAX_TOKENS

__all__ = ["Requests", "describe", "read", "write"]

#: Later arrivals (300 years, so seconds since 1970 pass but milliseconds do not) are taken for mistakes.
MAX_SECONDS = 1e10

_NUMBER = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*")
_UTC = re.compile(r"(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(\+00:00|Z)?")
_SHOWN = 40


@dataclass(frozen=True)
class _Table:
    """Where rows came from, for error messages: row i was on line `lines[i]`."""

    path: Path
    lines: list[int]

    def error(self, row: int, column: str, message: str) -> TraceError:
        return TraceError(f"{self.path}:{self.lines[row]}: {column}: {message}")


def read(path: str | Path) -> Requests:
    """Read a request trace: Azure, Vidur or Splitwise CSV, or Mooncake JSONL.

    Parameters
    ----------
    path
        The file. JSONL is known by its extension or a leading ``{``, the CSV forms by their columns; other columns are ignored.

    Returns
    -------
    Requests
        One row per request, with arrivals moved so that the first is at 0.0 s.

    Raises
    ------
    TraceError
        If the file cannot be read, its form is not known, or a value is missing, malformed, out of range or out of order.
    """
    path = Path(path)
    text = _read_text(path)
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json") or text.lstrip().startswith("{"):
        return _read_jsonl(path, text)
    return _read_csv(path, text)


def write(path: str | Path, requests: Requests) -> None:
    """Write `requests` in the Vidur CSV form; reading the file back gives the same numbers, to the last bit.

    Raises
    ------
    TraceError
        If the file cannot be written.
    """
    columns = (requests.arrival_s.tolist(), requests.input_len.tolist(), requests.output_len.tolist())
    rows = [f"{arrival!r},{tokens_in},{tokens_out}\n" for arrival, tokens_in, tokens_out in zip(*columns, strict=True)]
    try:
        Path(path).write_text(",".join(_VIDUR.columns) + "\n" + "".join(rows), encoding="utf-8", newline="\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TraceError(f"{path}: cannot be written ({reason}); give a file name in a folder that exists") from None


def _read_text(path: Path) -> str:
    try:
        if path.is_char_device() or path.is_block_device():
            raise OSError("this is a device")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TraceError(f"{path}: cannot be read ({reason}); give the path of a CSV or JSONL request trace") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TraceError(f"{path}:{line}: not UTF-8 text; save the trace as UTF-8 (compressed files must be unpacked)") from None
    if not text.strip():
        raise TraceError(f"{path}:1: file is empty; expected {_known()}")
    return text


class _MooncakeRow(msgspec.Struct):
    timestamp: float
    input_length: float
    output_length: float


def _read_jsonl(path: Path, text: str) -> Requests:
    decode = msgspec.json.Decoder(_MooncakeRow).decode
    rows: list[tuple[float, float, float]] = []
    table = _Table(path, [])
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            continue
        try:
            row = decode(line)
        except msgspec.DecodeError as error:
            expected = 'an object such as {"timestamp": 0, "input_length": 512, "output_length": 64} (timestamp in ms)'
            raise TraceError(f"{path}:{number}: JSON: {error}; expected {expected}") from None
        rows.append((row.timestamp, row.input_length, row.output_length))
        table.lines.append(number)
    arrivals, inputs, outputs = np.array(rows, dtype=np.float64).T
    _check(table, _MOONCAKE[0], arrivals, 0, MAX_SECONDS * 1e3)
    return _requests(table, _MOONCAKE, (arrivals - arrivals[0]) / 1e3, inputs, outputs)


@dataclass(frozen=True)
class _Format:
    """A CSV form: its columns for arrival, input and output, and how arrival text becomes seconds."""

    name: str
    columns: tuple[str, str, str]
    seconds: Callable[[_Table, str, list[str]], Floats]


def _read_csv(path: Path, text: str) -> Requests:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 0
    lines: list[int] = []
    try:
        header = [name.strip() for name in next(row for row in reader if row)]
        line = reader.line_num
        form = _find_format(f"{path}:{line}", header)
        places = [header.index(column) for column in form.columns]
        arrivals, inputs, outputs = _columns(_Table(path, lines), reader, len(header), places)
    except csv.Error as error:
        begun = (lines[-1] if lines else line) + 1
        raise TraceError(f"{path}:{begun}: row: {error}; expected comma-separated values") from None
    if not lines:
        raise TraceError(f"{path}:{line}: header without rows; expected one row per request below it")
    table = _Table(path, lines)
    seconds = form.seconds(table, form.columns[0], arrivals)
    tokens = _numbers(table, form.columns[1], inputs), _numbers(table, form.columns[2], outputs)
    return _requests(table, form.columns, seconds - seconds[0], *tokens)


def _columns(table: _Table, reader: Any, width: int, places: list[int]) -> tuple[list[str], list[str], list[str]]:
    """Return the texts at the three `places` of each row and fill in the lines of `table`; blank lines are skipped.

    Keeping three columns instead of all rows halves the time: fewer lists live for the garbage collector to walk.
    """
    first, second, third = places
    arrivals: list[str] = []
    inputs: list[str] = []
    outputs: list[str] = []
    for row in reader:
        if not row:
            continue
        table.lines.append(reader.line_num)
        if len(row) != width:
            raise table.error(-1, "row", f"{len(row)} fields; expected {width} as in the header")
        arrivals.append(row[first])
        inputs.append(row[second])
        outputs.append(row[third])
    return arrivals, inputs, outputs


def _find_format(where: str, header: list[str]) -> _Format:
    form = max(_FORMATS, key=lambda f: sum(column in header for column in f.columns))
    missing = [column for column in form.columns if column not in header]
    if len(missing) == len(form.columns):
        got = repr(",".join(header))[: 2 * _SHOWN]
        raise TraceError(f"{where}: header: unknown columns {got}; expected {_known()}")
    if missing:
        raise TraceError(f"{where}: {missing[0]}: column is missing; the {form.name} form needs {', '.join(form.columns)}")
    for column in form.columns:
        if header.count(column) > 1:
            raise TraceError(f"{where}: {column}: column appears {header.count(column)} times; expected it once")
    return form


def _known() -> str:
    forms = "; ".join(f"{form.name} CSV ({','.join(form.columns)})" for form in _FORMATS)
    return f"one of {forms}; Mooncake JSONL ({','.join(_MOONCAKE)})"


def _match(table: _Table, column: str, texts: list[str], pattern: re.Pattern[str], expected: str) -> None:
    matches = pattern.fullmatch
    for row, text in enumerate(texts):
        if not matches(text):
            raise table.error(row, column, f"got {text[:_SHOWN]!r}; expected {expected}")


def _numbers(table: _Table, column: str, texts: list[str]) -> Floats:
    """Plain `float` first; the slower pattern only to find the row of a complaint (and against 1_000, which `float` takes)."""
    try:
        values = np.array(list(map(float, texts)), dtype=np.float64)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all() or "_" in "".join(texts):
        _match(table, column, texts, _NUMBER, "a finite number")
    return values


def _plain_seconds(table: _Table, column: str, texts: list[str]) -> Floats:
    seconds = _numbers(table, column, texts)
    _check(table, column, seconds, 0, MAX_SECONDS)
    return seconds


def _utc_seconds(table: _Table, column: str, texts: list[str]) -> Floats:
    """Seconds since the first row; int64 nanoseconds keep all seven digits of the 2023 file."""
    expected = "a UTC time such as 2023-11-16 18:15:46.6805900"
    _match(table, column, texts, _UTC, expected)
    times = [text.removesuffix("+00:00").removesuffix("Z") for text in texts]
    try:
        stamps = np.array(times, dtype="datetime64[ns]").astype(np.int64)
    except ValueError:
        row = _first_refused(times)
        raise table.error(row, column, f"got {texts[row]!r}, no such date or time; expected {expected}") from None
    seconds: Floats = (stamps - stamps[0]) / 1e9
    return seconds


def _first_refused(times: list[str]) -> int:
    for row, time in enumerate(times):
        try:
            np.datetime64(time)
        except ValueError:
            return row
    return 0


def _requests(table: _Table, columns: tuple[str, str, str], arrival_s: Floats, inputs: Floats, outputs: Floats) -> Requests:
    """Check the order of arrivals and the range of tokens; `columns` are the names of the three in the file."""
    steps = np.diff(arrival_s)
    if (steps < 0).any():
        row = int((steps < 0).argmax())
        early = f"{-steps[row]:.6g} s before the row above it"
        raise table.error(row + 1, columns[0], f"{early}; sort the rows by {columns[0]}")
    for column, tokens in ((columns[1], inputs), (columns[2], outputs)):
        _check(table, column, tokens, 1, MAX_TOKENS, whole=True)
    return Requests(arrival_s, inputs.astype(np.int64), outputs.astype(np.int64))


def _check(table: _Table, column: str, values: Floats, least: float, most: float, *, whole: bool = False) -> None:
    bad = ~((values >= least) & (values <= most))
    if whole:
        bad |= values != np.floor(values)
    if bad.any():
        row = int(bad.argmax())
        kind = "whole number" if whole else "number"
        raise table.error(row, column, f"got {values[row]:.15g}; expected a {kind} from {least:.15g} to {most:.15g}")


_MOONCAKE = ("timestamp", "input_length", "output_length")
_VIDUR = _Format("Vidur", ("arrived_at", "num_prefill_tokens", "num_decode_tokens"), _plain_seconds)
_FORMATS = (
    _Format("Azure", ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _utc_seconds),
    _VIDUR,
    _Format("Splitwise", ("arrival_timestamp", "prompt_size", "token_size"), _plain_seconds),
)
