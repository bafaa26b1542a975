"""Where a curve stops falling: the knee.

Definition used in all experiments: the smallest value of the resource (lanes, bandwidth) with which the time is at most
(1 + tolerance) times the reference, and stays so for every larger value swept. The reference is the least time of the sweep, or
the time with the resource unlimited where the simulator can evaluate that. A curve that is flat from the first value on has its
knee there, which says only that the resource never limited.
"""

from collections.abc import Callable, Sequence


def knee(xs: Sequence[float], times: Sequence[float], tolerance: float, reference: float | None = None) -> int | None:
    """Index of the knee among ascending `xs`; None if even the last time exceeds the reference by more than `tolerance`."""
    limit = (1 + tolerance) * (min(times) if reference is None else reference)
    found = None
    for i in reversed(range(len(xs))):
        if times[i] > limit:
            break
        found = i
    return found


def refine(time: Callable[[float], float], low: float, high: float, limit: float, resolution: float = 0.01) -> float:
    """The least x in (low, high] with time(x) <= limit, to a relative `resolution`, if time(low) > limit >= time(high)."""
    while high / low > 1 + resolution:
        middle = (low * high) ** 0.5
        if time(middle) <= limit:
            high = middle
        else:
            low = middle
    return high
