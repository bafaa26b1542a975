"""Axes of charts: where values stand in pixels, which of them get a tick, and how numbers are written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """Data from ends[0] to ends[1] over pixels from `first` to `last`; `given` ticks instead of round ones."""

    log: bool
    ends: tuple[float, float]
    first: float
    last: float
    given: Sequence[float] = ()

    def pixels(self, values: Floats) -> Floats:
        low, high = (math.log10(end) for end in self.ends) if self.log else self.ends
        scaled = np.log10(values) if self.log else values
        result: Floats = self.first + (scaled - low) / (high - low) * (self.last - self.first)
        return result

    def ticks(self) -> list[float]:
        low, high = self.ends
        if self.given:
            return [t for t in self.given if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
        return log_ticks(low, high) if self.log else ticks(low, high)


def ends_of(data: list[Floats], given: tuple[float, float] | None, log: bool, *, zero: bool) -> tuple[float, float]:
    """The ends of an axis; never two equal ones."""
    finite = np.concatenate([d[np.isfinite(d)] for d in data] or [np.zeros(0)])
    low, high = given or ((float(finite.min()), float(finite.max())) if finite.size else (1.0, 10.0) if log else (0.0, 1.0))
    if zero and given is None and low >= 0:
        low = 0.0
    if low < high:
        return low, high
    if log:
        return low / 2, low * 2
    room = abs(low) / 2 or 0.5
    return (low, high + room) if zero and low == 0 else (low - room, high + room)


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within the ends, at most `most` of them or one more."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, every n-th where they are many; with 2 and 5 times them where they are few; else as on a linear axis."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    span = last - first
    factors = (1, 2, 5) if span <= 3 else (1,)
    every = -(-span // 8)
    round_ones = [m * 10.0**p for p in range(first, last + 1, every) for m in factors]
    inside = [t for t in round_ones if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
    return inside if len(inside) >= 2 else ticks(low, high, 4)


def number(value: float, digits: int = 6) -> str:
    """At most `digits` digits; whole thousands with commas."""
    if not math.isfinite(value):
        return str(value)
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def tick(value: float) -> str:
    """A number beside an axis, which has room for six digits."""
    return f"{value:g}" if abs(value) >= 1e6 else number(value)
