"""TTFT and TBT under traffic, estimated from a few steps: only to choose which chips are simulated.

Steps of n decoding sequences take d(n), linear between n = 1 and the most that may run; a prompt token adds `e`, measured on a
step with a chunk. At r requests/s of s prompt and o output tokens the share r s e of the time goes to prompts, so

    TBT = d(n) / (1 - r s e),    n = r o TBT  (Little),

which is linear in TBT. A prompt takes its chunks' steps, t = d(n) chunks + s e, after half a step, and waits for others like a
customer of M/D/1 with load u = r t: TTFT = d(n) / 2 + t (1 + u / (2 (1 - u))). Where the slots or the time do not suffice the
chip is overloaded.
"""

import math
from dataclasses import dataclass

import numpy as np

from ...serving.arrivals import requests
from ...spec.search_ador import AdorSearch
from ...spec.workload import ConcurrencyArrival
from .evaluate import Shape


@dataclass(frozen=True)
class Traffic:
    """Mean requests/s of a replica (None: all at once, or clients that wait for their answers) and tokens of a request."""

    rate: float | None
    input_len: float
    output_len: float


def traffic(search: AdorSearch) -> Traffic:
    """Of the requests that the simulation will serve."""
    made = requests(search.workload, np.random.default_rng(search.seed))
    # of later turns `arrival_s` is a think time: all turns come while sessions start
    span = float(made.arrival_s.max()) if made.parent is None else float(made.arrival_s[made.parent < 0].max(initial=0.0))
    rate = (len(made) - 1) / span if span > 0 and not isinstance(search.workload.arrival, ConcurrencyArrival) else None
    rate = rate and rate / search.serving.data_parallel_size
    return Traffic(rate, float(made.input_len.mean()), float(made.output_len.mean()))


def _context(load: Traffic) -> int:
    """Tokens that a request has cached on average while it decodes."""
    return max(round(load.input_len + load.output_len / 2), 1)


def slots(search: AdorSearch, load: Traffic, kv_tokens: int) -> int:
    """Sequences that run at the same time at most: as scheduled, and as there is room for `kv_tokens`."""
    return max(min(search.serving.max_num_seqs, kv_tokens // _context(load)), 1)


def shapes(search: AdorSearch, load: Traffic, most: int) -> dict[str, Shape]:
    """The steps that are measured: ``prefill`` and ``decode`` at the search's conditions; for the estimate ``one``, ``full``
    (`most` sequences) and ``mixed`` (half of them beside a chunk that fills the budget)."""
    given, context, half = search.conditions, _context(load), most // 2
    chunk = max(min(search.serving.max_num_batched_tokens - half, round(load.input_len)), 1)
    return {
        "prefill": Shape(given.input_len, 0, 0),
        "decode": Shape(0, given.batch_size, given.context_len),
        "one": Shape(0, 1, context),
        "full": Shape(0, most, context),
        "mixed": Shape(chunk, half, context),
    }


def under_load(seconds: dict[str, float], load: Traffic, most: int, budget: int, chunk: int) -> tuple[float, float] | None:
    """(TTFT, TBT) in seconds, None if overloaded. `seconds` of the steps of `shapes`; `chunk` prompt tokens of ``mixed``."""
    rate = load.rate
    if rate is None:
        return None
    slope = (seconds["full"] - seconds["one"]) / max(most - 1, 1)
    beside = seconds["one"] + slope * (most // 2 - 1)
    token = max(seconds["mixed"] - beside, 0.0) / chunk
    left = 1.0 - rate * load.input_len * token - slope * rate * load.output_len
    if left <= 0:
        return None
    gap = (seconds["one"] - slope) / left
    running = rate * load.output_len * gap
    if running > most:
        return None
    step = seconds["one"] + slope * max(running - 1, 0.0)
    prompt = step * math.ceil(load.input_len / max(budget - running, 1.0)) + load.input_len * token
    use = rate * prompt
    if use >= 1:
        return None
    return float(step / 2 + prompt * (1 + use / (2 * (1 - use)))), float(max(gap, step))
