"""What a profile holds, whichever files it came from: measured times of one rank's operators, in seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import SpecError
from ..sheet import Sheet, Texts, read_sheet
from ..text import NUMBER, SHOWN

Floats = npt.NDArray[np.float64]

#: No count or time in a table may be larger: microseconds, tokens.
MOST = 1e12


@dataclass(frozen=True, eq=False)
class Operator:
    """An operator's time by a number of rows; it runs `count` times wherever it stands, in `kernels` kernels each time."""

    name: str
    rows: Floats
    seconds: Floats
    count: int = 1
    kernels: int = 1

    def at(self, rows: Floats) -> Floats:
        """Seconds of all its runs, on the line between neighbouring points; below the first the first's."""
        return self.count * np.interp(rows, self.rows, self.seconds)


@dataclass(frozen=True, eq=False)
class Points:
    """Times measured at points of several axes: `at` has a row for each."""

    at: Floats
    seconds: Floats


@dataclass(frozen=True, eq=False)
class Skew:
    """What unequal contexts cost: alpha of each batch, its decoding sequences, whether prompts were in it."""

    mixed: npt.NDArray[np.bool_]
    sequences: Floats
    alpha: Floats


@dataclass(frozen=True, eq=False)
class Tables:
    """The operators of one rank.

    Attributes
    ----------
    layer, mlp, once
        By tokens: of every decoder layer, of the MLP of a dense one, before and after the layers.
    per_sequence
        By sequences that emit a token.
    attention
        (new, cached) tokens of the prompts, decoding sequences, their mean context; of one layer.
    experts
        (tokens, experts hit), of one layer; None in a model without.
    skew
        None: contexts count by their mean.
    """

    source: Path
    layer: tuple[Operator, ...]
    mlp: tuple[Operator, ...]
    once: tuple[Operator, ...]
    per_sequence: tuple[Operator, ...]
    attention: Points
    experts: Points | None = None
    skew: Skew | None = None


def read_columns(path: Path, columns: Texts, optional: Texts = ()) -> tuple[Sheet, dict[str, Texts]]:
    """A table and its cells under `columns`, and under those of `optional` that it has; `SpecError` for what is missing."""
    sheet = read_sheet(path, lambda sheet: sheet.find(columns))
    for number, message in sheet.ragged.items():
        raise SpecError(message, ("row",), f"{path}:{sheet.lines[number]}")
    names = sheet.names
    wanted = [*columns, *(name for name in optional if name in names)]
    return sheet, {name: tuple(row[names.index(name)].strip() for row in sheet.rows) for name in wanted}


def numbers(sheet: Sheet, column: str, cells: Texts, expected: Callable[[float], bool], what: str) -> Floats:
    """The cells of a column as float64; `SpecError` with file and line for the first that is not `expected`."""
    values = [float(cell) if len(cell) <= SHOWN and NUMBER.fullmatch(cell) else float("nan") for cell in cells]
    for value, cell, line in zip(values, cells, sheet.lines, strict=True):
        if not (abs(value) <= MOST and expected(value)):
            raise SpecError(f"got {cell[:SHOWN]!r}; expected {what}", (column,), f"{sheet.path}:{line}")
    return np.array(values, np.float64)


def counts(sheet: Sheet, column: str, cells: Texts) -> Floats:
    """Whole numbers from 0."""
    return numbers(sheet, column, cells, lambda value: value >= 0 and value == int(value), "a whole number of 0 or more")


def times(sheet: Sheet, column: str, cells: Texts, unit: float) -> Floats:
    """Seconds of positive times in `unit` seconds."""
    result: Floats = unit * numbers(sheet, column, cells, lambda value: value > 0, "a time greater than 0")
    return result


def operators(sheet: Sheet, names: Texts, rows: Floats, seconds: Floats) -> dict[str, tuple[Floats, Floats]]:
    """(rows, seconds) of each name, by rising rows; several times for one point give their median."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault(name, []).append(i)
    result = {}
    for name, members in groups.items():
        points, values = unique_points(rows[members][:, None], seconds[members])
        if points[0, 0] < 1:
            raise SpecError(f"{name} has a time at 0 rows; expected 1 or more", place=f"{sheet.path}:{sheet.lines[members[0]]}")
        result[name] = points[:, 0], values
    return result


def unique_points(at: Floats, seconds: Floats) -> tuple[Floats, Floats]:
    """Distinct points in order, with the median of the times of each."""
    points, inverse = np.unique(at, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    if points.shape[0] == at.shape[0]:
        return points, seconds[np.argsort(inverse)]
    groups = np.split(seconds[np.argsort(inverse, kind="stable")], np.cumsum(np.bincount(inverse))[:-1])
    return points, np.array([np.median(group) for group in groups])
