"""Request traces: read the forms that people already have.

Formats are told apart by their header (CSV) or first object (JSONL) and normalised to `Requests`. Parsing is by column and in
chunks: a million rows take about two seconds without pandas, and little more memory than their arrays. Every complaint is one
line, ``file:line: column: what is wrong; what would be right``.
"""

import csv
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from hdasim.errors import TraceError
from hdasim.serving.requests import Floats, Ints, Requests, describe
from hdasim.serving.trace_json import JSON_FORMS, read_json
from hdasim.serving.trace_rows import CHUNK, MAX_SECONDS, Names, Rows, Table, check
from hdasim.serving.trace_write import write
from hdasim.spec.workload import MAX_TOKENS

__all__ = ["Requests", "describe", "read", "write"]

_NUMBER = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*")
_UTC = re.compile(r"(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(\+00:00|Z)?")
_SHOWN = 40
#: Longest cell with ids of blocks: those of a prompt of some hundred million tokens.
_LONGEST_IDS = 1 << 27


def read(path: str | Path, first: int | None = None) -> Requests:
    """Read a request trace: Azure (2023, 2024), Vidur, Splitwise or vLLM-run CSV, Mooncake or LLMServingSim JSONL.

    Ids of prompt blocks are read where a form has them: Mooncake's `hash_ids` (one for each 512 tokens, the last block may be
    part of one), `prefix_hash_ids` of vLLM runs (full blocks of 16), and those made from LLMServingSim's token ids. The Vidur
    form may have the columns `hash_ids` (separated by spaces), `hash_block` and `parent`; that is what `write` gives.

    Parameters
    ----------
    path
        The file. JSONL is known by its extension or a leading ``{``, the CSV forms by their columns; other columns are ignored.
    first
        Keep at most this many requests, the first; what comes long after them is not read, so that a week's file costs little.

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
    with _opened(path) as file:
        try:
            return _read_lines(path, file, first).first(first)
        except UnicodeDecodeError:
            line = _first_undecodable(path)
            raise TraceError(
                f"{path}:{line}: not UTF-8 text; save the trace as UTF-8 (compressed files must be unpacked)"
            ) from None
        except OSError as error:
            raise _unreadable(path, error) from None


def _opened(path: Path) -> TextIO:
    try:
        if path.is_char_device() or path.is_block_device():
            raise OSError("this is a device")
        return path.open(encoding="utf-8-sig", newline="")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> TraceError:
    reason = getattr(error, "strerror", None) or error
    return TraceError(f"{path}: cannot be read ({reason}); give the path of a CSV or JSONL request trace")


def _read_lines(path: Path, lines: Iterator[str], first: int | None) -> Requests:
    leading: list[str] = []
    for line in lines:
        leading.append(line)
        if not line.isspace():
            break
    else:
        raise TraceError(f"{path}:1: file is empty; expected {_known()}")
    everything = itertools.chain(leading, lines)
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json") or leading[-1].lstrip().startswith("{"):
        return read_json(path, everything, first)
    return _read_csv(path, everything, first)


def _first_undecodable(path: Path) -> int:
    """The line of the first byte that is not UTF-8; only looked for once there is one."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


Cells = list[str]


@dataclass(frozen=True)
class _Format:
    """A CSV form: its columns, how arrival text becomes numbers, and tokens of a block with an id, 0 if a column says."""

    name: str
    names: Names
    arrivals: Callable[[Table, str, Cells], Floats | Ints]
    hash_block: int = 0

    @property
    def needed(self) -> tuple[str, str, str]:
        return self.names.arrival, self.names.input, self.names.output


def _read_csv(path: Path, lines: Iterator[str], first: int | None) -> Requests:
    reader = csv.reader(lines, strict=True)
    limit = csv.field_size_limit()
    chunk = _Chunk(path, [], [])
    line = 0
    try:
        header = [name.strip() for name in next(row for row in reader if row)]
        line = reader.line_num
        form = _find_format(f"{path}:{line}", header)
        if form.names.ids in header:
            csv.field_size_limit(max(limit, _LONGEST_IDS))
        optional = [name for name in (form.names.ids, "hash_block", form.names.parent) if name in header]
        places = [header.index(name) for name in (*form.needed, *optional)]
        rows = Rows(form.names, form.hash_block)
        while not rows.enough(first) and chunk.fill(reader, len(header), places):
            _convert(form, rows, Table(path, chunk.lines), dict(zip((*form.needed, *optional), chunk.cells, strict=True)))
    except csv.Error as error:
        begun = (chunk.lines[-1] if chunk.lines else chunk.last or line) + 1
        raise TraceError(f"{path}:{begun}: row: {error}; expected comma-separated values") from None
    finally:
        csv.field_size_limit(limit)
    if not chunk.lines and not chunk.last:
        raise TraceError(f"{path}:{line}: header without rows; expected one row per request below it")
    return rows.requests()


@dataclass
class _Chunk:
    """Texts of some rows, by column, and their lines; `last` is the line of the last row of the chunk before."""

    path: Path
    lines: list[int]
    cells: list[Cells]
    last: int = 0

    def fill(self, reader: Any, width: int, places: list[int]) -> bool:
        """Read the next rows, blank lines left out; False at the end.

        Keeping some columns instead of all rows halves the time: fewer lists live for the garbage collector to walk.
        """
        self.last = self.lines[-1] if self.lines else self.last
        self.lines = lines = []
        self.cells = [[] for _ in places]
        first, second, third = (cells.append for cells in self.cells[:3])
        others = list(zip((cells.append for cells in self.cells[3:]), places[3:], strict=True))
        place1, place2, place3 = places[:3]
        for row in reader:
            if not row:
                continue
            lines.append(reader.line_num)
            if len(row) != width:
                raise Table(self.path, lines).error(-1, "row", f"{len(row)} fields; expected {width} as in the header")
            first(row[place1])
            second(row[place2])
            third(row[place3])
            for append, place in others:
                append(row[place])
            if len(lines) == CHUNK:
                break
        return bool(lines)


def _convert(form: _Format, rows: Rows, table: Table, cells: dict[str, Cells]) -> None:
    """Add a chunk of texts to `rows`."""
    names = form.names
    arrivals = form.arrivals(table, names.arrival, cells[names.arrival])
    inputs, outputs = (_numbers(table, name, cells[name]) for name in (names.input, names.output))
    parents = _numbers(table, names.parent, cells[names.parent]) if names.parent in cells else None
    most, exact = None, form.hash_block > 0
    if names.ids in cells:
        if not exact:
            _hash_block(rows, table, cells)
        for row, text in enumerate(cells[names.ids]):
            try:
                rows.add_ids(_ids(text))
            except (ValueError, OverflowError):
                expected = "whole numbers, separated by spaces"
                raise table.error(row, names.ids, f"got {text[:_SHOWN]!r}; expected {expected}") from None
        check(table, names.input, inputs, 1, MAX_TOKENS, whole=True)
        most = (inputs // rows.hash_block if exact else -(-inputs // rows.hash_block)).astype(np.int64)
    rows.add(table, arrivals, inputs, outputs, parents, most, exact)


def _ids(text: str) -> list[int]:
    if "_" in text:  # which `int` takes
        raise ValueError
    return list(map(int, text.split()))


def _hash_block(rows: Rows, table: Table, cells: dict[str, Cells]) -> None:
    """Set `rows.hash_block` from its column, which says the same in every row of the file."""
    if "hash_block" not in cells:
        raise table.error(0, "hash_block", "column is missing; hash_ids needs it: the tokens of a block")
    blocks = _numbers(table, "hash_block", cells["hash_block"])
    check(table, "hash_block", blocks, 1, MAX_TOKENS, whole=True)
    rows.hash_block = rows.hash_block or int(blocks[0])
    if (blocks != rows.hash_block).any():
        row = int((blocks != rows.hash_block).argmax())
        raise table.error(row, "hash_block", f"got {blocks[row]:g} after {rows.hash_block}; expected the same in every row")


def _find_format(where: str, header: list[str]) -> _Format:
    form = max(_FORMATS, key=lambda f: sum(column in header for column in f.needed))
    missing = [column for column in form.needed if column not in header]
    if len(missing) == len(form.needed):
        got = repr(",".join(header))[: 2 * _SHOWN]
        raise TraceError(f"{where}: header: unknown columns {got}; expected {_known()}")
    if missing:
        raise TraceError(f"{where}: {missing[0]}: column is missing; the {form.name} form needs {', '.join(form.needed)}")
    for column in form.needed:
        if header.count(column) > 1:
            raise TraceError(f"{where}: {column}: column appears {header.count(column)} times; expected it once")
    return form


def _known() -> str:
    forms = "; ".join(f"{form.name} CSV ({','.join(form.needed)})" for form in _FORMATS)
    return f"one of {forms}; {JSON_FORMS}"


def _match(table: Table, column: str, texts: Cells, pattern: re.Pattern[str], expected: str) -> None:
    matches = pattern.fullmatch
    for row, text in enumerate(texts):
        if not matches(text):
            raise table.error(row, column, f"got {text[:_SHOWN]!r}; expected {expected}")


def _numbers(table: Table, column: str, texts: Cells) -> Floats:
    """Plain `float` first; the slower pattern only to find the row of a complaint (and against 1_000, which `float` takes)."""
    try:
        values = np.array(list(map(float, texts)), dtype=np.float64)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all() or "_" in "".join(texts):
        _match(table, column, texts, _NUMBER, "a finite number")
    return values


def _plain_seconds(table: Table, column: str, texts: Cells) -> Floats:
    seconds = _numbers(table, column, texts)
    check(table, column, seconds, 0, MAX_SECONDS)
    return seconds


def _utc_nanoseconds(table: Table, column: str, texts: Cells) -> Ints:
    """Nanoseconds since 1970 as int64, which keep all seven digits of the 2023 file; those of 2024 have six and +00:00."""
    expected = "a UTC time such as 2023-11-16 18:15:46.6805900"
    _match(table, column, texts, _UTC, expected)
    times = [text.removesuffix("+00:00").removesuffix("Z") for text in texts]
    try:
        stamps: Ints = np.array(times, dtype="datetime64[ns]").astype(np.int64)
    except ValueError:
        row = _first_refused(times)
        raise table.error(row, column, f"got {texts[row]!r}, no such date or time; expected {expected}") from None
    return stamps


def _first_refused(times: list[str]) -> int:
    for row, time in enumerate(times):
        try:
            np.datetime64(time)
        except ValueError:
            return row
    return 0


_FORMATS = (
    _Format("Azure", Names("TIMESTAMP", "ContextTokens", "GeneratedTokens", "", "", 1e9), _utc_nanoseconds),
    _Format("Vidur", Names("arrived_at", "num_prefill_tokens", "num_decode_tokens", "hash_ids", "parent"), _plain_seconds),
    _Format("Splitwise", Names("arrival_timestamp", "prompt_size", "token_size", "", ""), _plain_seconds),
    _Format("vLLM-run", Names("arrival_s", "input_tokens", "output_tokens", "prefix_hash_ids", ""), _plain_seconds, 16),
)
