"""Scattered points of four axes -> a full grid for linear interpolation.

Profiles are not full products: LLMServingSim 2.0 lays two products, of powers of 2 and of powers of 1.5, over each other. The
grid has every combination of the values of each axis. A point that was not measured is put on the line between its two measured
neighbours along one axis, that on which they are nearest in ratio; what no axis encloses comes in a further round, between points
that are themselves interpolated. What is left lies outside: it takes the line through the nearest two along an axis, and is
marked as unknown.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .tables import Floats, Points

#: Distances are those of logarithms; numbers of tokens below this count as alike.
_LEAST = 8.0


@dataclass(frozen=True, eq=False)
class Grid:
    """`values` and `known` have the shape of the axes' lengths."""

    axes: list[Floats]
    values: Floats
    known: npt.NDArray[np.uint8]

    def plain(self) -> tuple[list[Floats], Floats, npt.NDArray[np.uint8]]:
        """As the C core takes it."""
        return self.axes, np.ascontiguousarray(self.values), np.ascontiguousarray(self.known)


def fill(points: Points, spread: tuple[tuple[int, int], ...] = ()) -> Grid:
    """The grid over `points`.

    Parameters
    ----------
    spread
        Pairs (a, b) of axes: a point that has 0 on a says nothing of b, and counts for every value of b.
    """
    axes: list[Floats] = []
    for d in range(points.at.shape[1]):
        counts = np.all([points.at[:, a] > 0 for a, b in spread if b == d] or [np.ones(len(points.at), bool)], axis=0)
        axes.append(np.unique(points.at[counts, d]) if counts.any() else np.zeros(1))
    values = np.full([axis.size for axis in axes], np.nan)
    for at, seconds in zip(points.at, points.seconds, strict=True):
        index: list[int | slice] = [int(np.searchsorted(axis, x)) for axis, x in zip(axes, at, strict=True)]
        for a, b in spread:
            if at[a] == 0:
                index[b] = slice(None)
        values[tuple(index)] = seconds
    while np.isnan(values).any() and _round(axes, values, inside=True):
        pass
    known = (~np.isnan(values)).astype(np.uint8)
    while np.isnan(values).any() and _round(axes, values, inside=False):
        pass
    return Grid(axes, values, known)


def _round(axes: list[Floats], values: Floats, *, inside: bool) -> bool:
    """Give a value to every missing point that has two known ones around it on an axis (or on one side, not `inside`)."""
    missing = np.isnan(values)
    nearest, found = np.full(values.shape, np.inf), np.full(values.shape, np.nan)
    for d, axis in enumerate(axes):
        distance, value = _along(axis, np.moveaxis(values, d, 0), inside)
        distance, value = np.moveaxis(distance, 0, d), np.moveaxis(value, 0, d)
        better = missing & (distance < nearest - 1e-12)
        nearest[better], found[better] = distance[better], value[better]
    new = missing & np.isfinite(nearest)
    values[new] = found[new]
    return bool(new.any())


def _along(axis: Floats, values: Floats, inside: bool) -> tuple[Floats, Floats]:
    """(distance, value) at each place, from two known ones along the first axis; infinitely far where there are none."""
    count, known, logs = axis.size, ~np.isnan(values), np.log(np.maximum(axis, _LEAST))
    before = _last_known(known)
    after = count - 1 - _last_known(known[::-1])[::-1]
    after[after == count] = -1
    distance, result = np.full(values.shape, np.inf), np.full(values.shape, np.nan)
    for i in range(count):
        low, high = before[i], after[i]
        if not inside:  # the last two known before, or the first two after
            second_low = np.where(low > 0, np.take_along_axis(before, np.maximum(low - 1, 0)[None], 0)[0], -1)
            second_high = np.where(
                (high >= 0) & (high < count - 1), np.take_along_axis(after, np.minimum(high + 1, count - 1)[None], 0)[0], -1
            )
            low, high = np.where(low >= 0, second_low, second_high), np.where(low >= 0, low, high)
        there = (low >= 0) & (high >= 0)
        a, b = np.where(there, low, 0), np.where(there, high, 0)
        at_a, at_b = (np.take_along_axis(values, place[None], 0)[0] for place in (a, b))
        with np.errstate(invalid="ignore", divide="ignore"):
            line = at_a + (at_b - at_a) * (axis[i] - axis[a]) / (axis[b] - axis[a])
        span = logs[b] - logs[a] if inside else np.abs(logs[i] - logs[b])
        distance[i], result[i] = np.where(there, span, np.inf), line
    return distance, result


def _last_known(known: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Along the first axis the last known place at or before each; -1 if none is."""
    places = np.arange(known.shape[0]).reshape(-1, *[1] * (known.ndim - 1))
    result: npt.NDArray[np.int64] = np.maximum.accumulate(np.where(known, places, -1), axis=0)
    return result
