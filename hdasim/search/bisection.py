"""The highest value that passes a test, by bracketing and bisection."""

import math
from collections.abc import Callable
from dataclasses import dataclass

#: The first step from the start of a search; the start is the throughput, which most capacities are near.
FIRST_STEP = 1.25


@dataclass(frozen=True)
class Bracket:
    """The highest value that passed and the lowest that failed; None where none did."""

    passed: float | None
    failed: float | None


def highest(passes: Callable[[float], bool], start: float, least: float, most: float, tolerance: float) -> Bracket:
    """Bracket the highest value between `least` and `most` that passes.

    From `start` the value is multiplied by 1.25 until it fails, or divided by that until it passes, and the factor is squared
    each time; then the geometric mean of the ends is tried until failed / passed <= 1 + `tolerance`. After one step that takes
    ceil(log2(ln 1.25 / ln(1 + tolerance))) tries: 4 for 2 %.

    Where passing is not monotone (percentiles of short runs are not), the result is one of the places where it changes, as with
    any bisection.
    """
    passed = failed = None
    factor = FIRST_STEP
    value = min(max(start, least), most)
    while passed is None or failed is None:
        if passes(value):
            passed = value
            if value >= most:
                break
            value = min(factor * value, most)
        else:
            failed = value
            if value <= least:
                break
            value = max(value / factor, least)
        factor = min(factor**2, 1e3)
    while passed is not None and failed is not None and failed > (1 + tolerance) * passed:
        middle = math.sqrt(passed * failed)
        if passes(middle):
            passed = middle
        else:
            failed = middle
    return Bracket(passed, failed)
