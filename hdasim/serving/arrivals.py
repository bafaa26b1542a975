"""Workload -> requests: generated arrivals and lengths, or a trace file.

Arrivals, input lengths and output lengths draw from three child streams of the generator that is passed in. So another rate or
kind of arrival leaves the lengths as they were, fewer prompts are the first ones of more, and the number of workers is no input.
"""

import math
from pathlib import Path

import numpy as np

from hdasim.errors import SpecError
from hdasim.serving.requests import Floats, Ints, Requests
from hdasim.serving.traces import read, write
from hdasim.spec.workload import (
    MAX_TOKENS,
    FixedArrival,
    FixedLengths,
    GammaArrival,
    Lengths,
    LognormalLengths,
    PoissonArrival,
    TraceArrival,
    Workload,
)


def requests(workload: Workload, rng: np.random.Generator, base_dir: str | Path | None = None) -> Requests:
    """Return the requests of `workload`; the first arrives at 0.0 s, so n requests have n - 1 gaps.

    Parameters
    ----------
    workload
        Arrivals, lengths and count.
    rng
        The generator of the run; three children are spawned from it, so a second call with the same object draws anew.
    base_dir
        Folder that a relative trace path is relative to; the current one if None.

    Raises
    ------
    TraceError
        If the trace file cannot be used.
    SpecError
        If the rate is so low that arrival times are not finite.
    """
    arrival_rng, input_rng, output_rng = rng.spawn(3)
    if isinstance(workload.arrival, TraceArrival):
        trace = read(Path(base_dir or ".") / workload.arrival.path)
        kept = slice(workload.num_prompts)
        arrival, input_len, output_len = trace.arrival_s[kept], trace.input_len[kept], trace.output_len[kept]
    else:
        arrival = _arrivals(workload.arrival, workload.num_prompts or 0, arrival_rng)
    if workload.lengths is not None:
        input_len, output_len = _lengths(workload.lengths, len(arrival), input_rng, output_rng)
    return Requests(arrival, input_len, output_len)


def generate(workload: Workload, seed: int, path: str | Path, base_dir: str | Path | None = None) -> Requests:
    """Write the requests of `workload` to `path` in the Vidur CSV form, and return them.

    Arrivals are rounded to 1 us, so that a last digit of the C library's logarithm does not change the file.

    Raises
    ------
    TraceError
        If the workload's own trace cannot be used or `path` cannot be written.
    SpecError
        If the rate is so low that arrival times are not finite.
    """
    drawn = requests(workload, np.random.default_rng(seed), base_dir)
    rounded = Requests(np.round(drawn.arrival_s, 6), drawn.input_len, drawn.output_len)
    write(path, rounded)
    return rounded


def _arrivals(arrival: PoissonArrival | GammaArrival | FixedArrival, count: int, rng: np.random.Generator) -> Floats:
    """Arrival times in seconds, shape (count,). A rate of inf makes every gap 0."""
    rate = arrival.request_rate
    times = np.zeros(count)
    with np.errstate(over="ignore"):
        match arrival:
            case FixedArrival():
                times[:] = np.arange(count) / rate
            case PoissonArrival():
                np.cumsum(rng.exponential(1.0 / rate, count - 1), out=times[1:])
            case GammaArrival(burstiness=shape):
                np.cumsum(rng.gamma(shape, 1.0 / (rate * shape), count - 1), out=times[1:])
    if not np.isfinite(times).all():
        raise SpecError(
            f"too low for {count} requests: arrival times overflow, got {rate:g}", ("workload", "arrival", "request_rate")
        )
    return times


def _lengths(lengths: Lengths, count: int, input_rng: np.random.Generator, output_rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Input and output lengths in tokens, shape (count,) each."""
    match lengths:
        case FixedLengths(input_len=tokens_in, output_len=tokens_out):
            return np.full(count, tokens_in, dtype=np.int64), np.full(count, tokens_out, dtype=np.int64)
        case LognormalLengths():
            tokens = _lognormal(lengths.input_mean, lengths.input_cv, count, input_rng)
            other = _lognormal(lengths.output_mean, lengths.output_cv, count, output_rng)
            return _whole(tokens, lengths.input_max), _whole(other, lengths.output_max)
        case _:
            return _whole(_quantile(lengths.input, count, input_rng)), _whole(_quantile(lengths.output, count, output_rng))


def _lognormal(mean: float, cv: float, count: int, rng: np.random.Generator) -> Floats:
    """Draws with the given mean and CV of the lognormal itself: sigma^2 = ln(1 + cv^2), mu = ln(mean) - sigma^2 / 2."""
    variance = math.log1p(cv**2)
    return rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance), count)


def _quantile(points: tuple[tuple[float, int], ...], count: int, rng: np.random.Generator) -> Floats:
    """Draws by inverting the piecewise-linear distribution through `points` (probability, tokens)."""
    probabilities, tokens = np.array(points, dtype=np.float64).T
    drawn: Floats = np.interp(rng.random(count), probabilities, tokens)
    return drawn


def _whole(tokens: Floats, most: int | None = None) -> Ints:
    return np.clip(np.rint(tokens), 1, most or MAX_TOKENS).astype(np.int64)
