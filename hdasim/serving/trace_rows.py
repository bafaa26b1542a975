"""Rows of a trace on their way to `Requests`: checked as they come, kept as compact arrays.

Readers hand over rows in chunks of `CHUNK`, so that a file takes little more memory than its arrays. Every complaint is one line,
``file:line: column: what is wrong; what would be right``.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hdasim.errors import TraceError
from hdasim.serving.requests import MAX_HASH_ID, Floats, Ints, Requests
from hdasim.spec.workload import MAX_TOKENS

#: Later arrivals (300 years, so seconds since 1970 pass but milliseconds do not) are taken for mistakes.
MAX_SECONDS = 1e10
#: Rows that are converted at once.
CHUNK = 1 << 16


@dataclass(frozen=True)
class Table:
    """Where the rows of a chunk came from, for error messages: row i was on line `lines[i]`."""

    path: Path
    lines: list[int]

    def error(self, row: int, column: str, message: str) -> TraceError:
        return TraceError(f"{self.path}:{self.lines[row]}: {column}: {message}")


@dataclass(frozen=True)
class Names:
    """What the columns are called in the file, and how many units of its arrivals are a second."""

    arrival: str
    input: str
    output: str
    ids: str
    parent: str
    per_second: float = 1.0


class Rows:
    """Requests in the making. Ids of a chunk are added before the chunk, row by row.

    `hash_block` is the number of tokens of a block with an id; where the file need not be in order (`ordered` False), nor are the
    requests.
    """

    def __init__(self, names: Names, hash_block: int = 0, *, ordered: bool = True):
        self.names, self.hash_block, self.ordered = names, hash_block, ordered
        self._arrivals: list[Floats | Ints] = []
        self._inputs: list[Ints] = []
        self._outputs: list[Ints] = []
        self._parents: list[Ints] = []
        self._ids, self._counts = array("q"), array("q")
        self._count, self._last = 0, 0.0
        self._has_ids = False

    def add_ids(self, ids: Iterable[int]) -> None:
        """The ids of the next row; ValueError or OverflowError if they are no whole numbers."""
        before = len(self._ids)
        self._ids.extend(ids)
        self._counts.append(len(self._ids) - before)
        self._has_ids = True

    def add(
        self, table: Table, arrivals: Floats | Ints, inputs: Floats, outputs: Floats, parents: Floats | None = None,
        most_ids: Ints | None = None, exact: bool = True,
    ) -> None:  # fmt: skip
        """A chunk: raw arrivals in the file's unit, tokens, the row of each parent (-1: none), and how many ids each row has at
        most, or exactly.
        """
        names = self.names
        root = np.ones(len(arrivals), np.bool_)
        if parents is not None:
            self._check_parents(table, parents)
            root = parents < 0
            self._parents.append(parents.astype(np.int64))
        if self.ordered:
            self._check_order(table, arrivals, root)
        for column, tokens in ((names.input, inputs), (names.output, outputs)):
            check(table, column, tokens, 1, MAX_TOKENS, whole=True)
        if self._has_ids:
            self._check_ids(table, most_ids, exact)
        self._arrivals.append(arrivals)
        self._inputs.append(inputs.astype(np.int64))
        self._outputs.append(outputs.astype(np.int64))
        self._count += len(arrivals)

    def _check_parents(self, table: Table, parents: Floats) -> None:
        rows = np.arange(self._count, self._count + len(parents))
        bad = ~((parents >= -1) & (parents < rows) & (parents == np.floor(parents)))
        if bad.any():
            row = int(bad.argmax())
            expected = f"the number of an earlier request, 0 to {rows[row] - 1}, or -1" if rows[row] else "-1 in the first row"
            raise table.error(row, self.names.parent, f"got {parents[row]:.15g}; expected {expected}")

    def _check_order(self, table: Table, arrivals: Floats | Ints, root: np.ndarray) -> None:
        places = np.flatnonzero(root)
        if not places.size:
            return
        times = arrivals[places]
        first = self._last if self._count else times[0]
        falls = np.diff(times, prepend=np.asarray([first], times.dtype))
        if (falls < 0).any():
            at = int((falls < 0).argmax())
            early = f"{-falls[at] / self.names.per_second:.6g} s before the row above it"
            raise table.error(int(places[at]), self.names.arrival, f"{early}; sort the rows by {self.names.arrival}")
        self._last = times[-1]

    def _check_ids(self, table: Table, most: Ints | None, exact: bool) -> None:
        """The number of ids of each row of the chunk, and that each id is in range."""
        counts = _view(self._counts)[self._count :]
        if most is not None:
            bad = counts != most if exact else counts > most
            if bad.any():
                row = int(bad.argmax())
                limit = f"{'' if exact else 'at most '}{most[row]}"
                each = f"one for each {self.hash_block} tokens of the prompt"
                raise table.error(row, self.names.ids, f"{counts[row]} ids; expected {limit}, {each}")
        ids = _view(self._ids)[len(self._ids) - int(counts.sum()) :]
        wrong = (ids < 0) | (ids >= MAX_HASH_ID)
        if wrong.any():
            at = int(wrong.argmax())
            row = int(np.searchsorted(np.cumsum(counts), at, side="right"))
            raise table.error(row, self.names.ids, f"got {ids[at]}; expected whole numbers from 0 to {MAX_HASH_ID - 1}")

    def enough(self, first: int | None) -> bool:
        """Whether there are as many as wanted; never if all are (None)."""
        return first is not None and self._count >= first

    def requests(self) -> Requests:
        """All rows, with arrivals in seconds from the earliest one on."""
        raw = np.concatenate(self._arrivals)
        self._arrivals.clear()
        parent = np.concatenate(self._parents) if self._parents else None
        start = raw.min() if parent is None else np.where(parent < 0, raw[parent < 0].min(), 0)
        seconds: Floats = np.asarray((raw - start) / self.names.per_second, np.float64)
        if not self._has_ids:
            return Requests(seconds, np.concatenate(self._inputs), np.concatenate(self._outputs), parent=parent)
        offsets = np.zeros(self._count + 1, np.int64)
        np.cumsum(_view(self._counts), out=offsets[1:])
        inputs, outputs = np.concatenate(self._inputs), np.concatenate(self._outputs)
        return Requests(seconds, inputs, outputs, _view(self._ids), offsets, self.hash_block, parent)


def _view(values: "array[int]") -> Ints:
    return np.frombuffer(values, np.int64) if len(values) else np.zeros(0, np.int64)


def check(table: Table, column: str, values: Floats, least: float, most: float, *, whole: bool = False) -> None:
    """TraceError names the first value that is not from `least` to `most`, or not whole."""
    bad = ~((values >= least) & (values <= most))
    if whole:
        bad |= values != np.floor(values)
    if bad.any():
        row = int(bad.argmax())
        kind = "whole number" if whole else "number"
        raise table.error(row, column, f"got {values[row]:.15g}; expected a {kind} from {least:.15g} to {most:.15g}")
