"""Whether a run keeps up with its arrivals: percentiles of one whose queue grows only tell how long it was run.

Let W be the wait of requests, in order of arrival, and S the time that the system needs per request. While it is busy,
W(i+1) - W(i) = S(i) - gap(i), so between the first and the last request W grows by (load - 1) x the time in which they arrive:
the growth of the wait per second of arrivals is the excess load. At load 1 W is a Brownian motion that is reflected at 0 (heavy
traffic, Kingman 1962), below load 1 it is less; so the question is whether W has grown by more than such a motion would.

The requests after the first quarter (the queue fills, and the batch) are cut into at most 20 blocks of at least 5 in order of
arrival, and each block is represented by its mean wait: the method of batch means (Schmeiser 1982: more than 30 add nothing), by
which noise between neighbours, such as requests scheduled in the same step, or by replicas that are dealt to in turn, averages
out. Block means of a Brownian motion of variance s^2 per block change by 2/3 s^2 in variance, and neighbouring changes covary by
1/6 s^2 (both by integrating twice over two blocks), so n changes with sample variance v add up to a variance of about
n v (1 + 2 x 1/4) = 3/2 n v. Their sum, divided by its root, is compared with Student's t at 1 % with n - 1 degrees of freedom.
Below load 1 the changes of block means covary negatively and the motion is held at 0: false alarms are rarer than 1 %.

The same is asked of the time in the system (end to end), since with slots for all requests nobody waits and it is the batch that
grows. Both need a growth of at least 1 % of the time in which requests arrive: less cannot matter within a run, and a slow change
of the load over a day, which the system follows, stays below.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..core.layout import REQUEST_STATES
from ..statistics import student_quantile
from .requests import Floats, Requests

BLOCKS, FEWEST_BLOCKS, PER_BLOCK = 20, 6, 5
CONFIDENCE, LEAST_EXCESS = 0.99, 0.01
_FINISHED = REQUEST_STATES.index("finished")


@dataclass(frozen=True)
class Load:
    """How arrivals compare with what is served.

    Attributes
    ----------
    kind
        ``steady``; ``saturated``: the queue grows; ``offline``: all requests arrive at once, by design; ``undecided``: too few
        requests to tell.
    excess
        Growth of the wait (or of the time in the system, if that is what grows) per second of arrivals: the load less 1 where
        that is positive. None where it cannot be measured.
    reason
        One sentence with the figures.
    """

    kind: Literal["steady", "saturated", "offline", "undecided"]
    excess: float | None
    reason: str


def growth(arrival: Floats, seconds: Floats) -> tuple[float, float] | None:
    """(growth of `seconds` per second of arrivals, the same / its standard error at load 1 in units of the 1 % limit).

    None if there are too few requests, or they arrive at one time.

    Parameters
    ----------
    arrival
        Seconds, in rising order.
    seconds
        Of each request, the wait or the time in the system.
    """
    kept = slice(len(arrival) // 4, None)
    arrival, seconds = arrival[kept], seconds[kept]
    count = min(BLOCKS, len(arrival) // PER_BLOCK)
    if count < FEWEST_BLOCKS:
        return None
    when, means = (np.array([part.mean() for part in np.array_split(a, count)]) for a in (arrival, seconds))
    span, grown = float(when[-1] - when[0]), float(means[-1] - means[0])
    if span <= 0:
        return None
    changes = np.diff(means)
    error = math.sqrt(1.5 * changes.size * float(changes.var(ddof=1)))
    limit = error * student_quantile(CONFIDENCE, changes.size - 1)
    return grown / span, grown / limit if limit > 0 else math.inf if grown > 0 else 0.0


def assess(requests: Requests, outcomes: np.ndarray) -> Load:
    """Judge a run by when its requests arrived, were first scheduled and ended (REQUEST array of `core.layout`)."""
    if requests.parent is not None:  # later turns arrive in another order than that of their rows
        outcomes = outcomes[np.argsort(outcomes["arrival"], kind="stable")]
    arrival = outcomes["arrival"]
    if len(arrival) > 1 and arrival[-1] == arrival[0]:
        return Load("offline", None, "all requests arrive at once: latencies tell how long the queue was, throughput counts")
    found = []
    for name, after, measured in (
        ("scheduling delay", outcomes["scheduled"], outcomes["scheduled"] >= 0),
        ("time in the system", outcomes["last_token"], outcomes["state"] == _FINISHED),
    ):
        result = growth(arrival[measured], (after - arrival)[measured])
        if result is not None:
            found.append((name, *result))
    if not found:
        reason = f"too few requests to tell whether the queue grows ({len(arrival)}; 39 or more are needed)"
        return Load("undecided", None, reason)
    for name, excess, ratio in found:
        if excess >= LEAST_EXCESS and ratio > 1:
            return Load("saturated", excess, f"the {name} grows by {excess:.3g} s for every second of arrivals")
    name, excess, _ = found[0]
    return Load("steady", excess, f"the {name} grows by no more than chance")
