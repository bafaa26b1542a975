"""Workload -> requests: generated arrivals and lengths, or a trace file.

Arrivals, input lengths, output lengths, turns, think times and prefixes draw from child streams of the generator that is passed
in. So another rate or kind of arrival leaves the lengths as they were, fewer prompts are the first ones of more, and the number
of workers is no input.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hdasim.errors import SpecError
from hdasim.serving.requests import Floats, Ints, Requests
from hdasim.serving.sessions import Streams, conversations
from hdasim.serving.traces import read, write
from hdasim.spec.workload import (
    MAX_TOKENS,
    Arrival,
    ConcurrencyArrival,
    FixedArrival,
    FixedLengths,
    GammaArrival,
    Lengths,
    LognormalLengths,
    PoissonArrival,
    QuantileLengths,
    RampArrival,
    TraceArrival,
    Workload,
)


def requests(workload: Workload, rng: np.random.Generator, base_dir: str | Path | None = None) -> Requests:
    """Return the requests of `workload`; the first arrives at 0.0 s, so n requests have n - 1 gaps.

    Lengths in place of a trace's own drop what the trace knows of prompts.

    Parameters
    ----------
    workload
        Arrivals, lengths and count.
    rng
        The generator of the run; six children are spawned from it, so a second call with the same object draws anew.
    base_dir
        Folder that a relative trace path is relative to; the current one if None.

    Raises
    ------
    TraceError
        If the trace file cannot be used.
    SpecError
        If the rate is so low that requests come after `LATEST`, or sessions grow too long.
    """
    arrival_rng, input_rng, output_rng, *others = rng.spawn(6)
    if isinstance(workload.arrival, TraceArrival):
        trace = _replayed(workload.arrival, read(Path(base_dir or ".") / workload.arrival.path, workload.num_prompts))
        if workload.lengths is None:
            return trace
        lengths = _lengths(workload.lengths, len(trace), input_rng, output_rng)
        return Requests(trace.arrival_s, *lengths, parent=trace.parent)
    assert workload.lengths is not None  # `Workload` holds that
    lengths = _lengths(workload.lengths, workload.num_prompts or 0, input_rng, output_rng)
    if isinstance(workload.arrival, ConcurrencyArrival):
        return _closed_loop(workload.arrival, *lengths, arrival_rng)
    if workload.sessions is None and workload.shared_prefix is None:
        return Requests(_arrivals(workload.arrival, len(lengths[0]), arrival_rng), *lengths)
    return conversations(workload, *lengths, lambda count: _arrivals(workload.arrival, count, arrival_rng), Streams(*others))


def _closed_loop(arrival: ConcurrencyArrival, input_len: Ints, output_len: Ints, rng: np.random.Generator) -> Requests:
    """Request i comes when request i - clients, of the same client, has its last token, and the client has thought."""
    count, clients = len(input_len), min(arrival.clients, len(input_len))
    times = rng.exponential(arrival.think_time, count)
    times[:clients] = np.sort(times[:clients]) - times[:clients].min()
    return Requests(times, input_len, output_len, parent=np.maximum(np.arange(count) - clients, -1))


def generate(workload: Workload, seed: int, path: str | Path, base_dir: str | Path | None = None) -> Requests:
    """Write the requests of `workload` to `path` in the Vidur CSV form, and return them.

    Arrivals are rounded to 1 us, so that a last digit of the C library's logarithm does not change the file.

    Raises
    ------
    TraceError
        If the workload's own trace cannot be used.
    SpecError
        If `path` cannot be written, the rate is so low that requests come after `LATEST`, or sessions grow too long.
    """
    drawn = requests(workload, np.random.default_rng(seed), base_dir)
    rounded = dataclasses.replace(drawn, arrival_s=np.round(drawn.arrival_s, 6))
    write(path, rounded)
    return rounded


def _replayed(arrival: TraceArrival, trace: Requests) -> Requests:
    """The trace at another speed; think times stay."""
    if arrival.speed is None and arrival.request_rate is None:
        return trace
    root = trace.is_root()
    if arrival.speed is not None:
        factor = 1 / arrival.speed
    else:
        wanted = arrival.request_rate or math.inf
        span = float(trace.arrival_s[root][-1])
        if not span and math.isfinite(wanted):
            raise SpecError("all requests of the trace come at once; leave the rate out", ("workload", "arrival", "request_rate"))
        factor = int(root.sum()) / span / wanted if span else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.where(root, trace.arrival_s * factor, trace.arrival_s)
    key = "speed" if arrival.speed is not None else "request_rate"
    return dataclasses.replace(trace, arrival_s=_checked(scaled, arrival.speed or arrival.request_rate or 0.0, key))


def _arrivals(arrival: Arrival, count: int, rng: np.random.Generator) -> Floats:
    """Arrival times in seconds, shape (count,). A rate of inf makes every gap 0."""
    times, key = np.zeros(count), "request_rate"
    with np.errstate(over="ignore"):
        match arrival:
            case FixedArrival(request_rate=rate):
                times[:] = np.arange(count) / rate
            case PoissonArrival(request_rate=rate):
                np.cumsum(rng.exponential(1.0 / rate, count - 1), out=times[1:])
            case GammaArrival(request_rate=rate, burstiness=shape):
                np.cumsum(rng.gamma(shape, 1.0 / (rate * shape), count - 1), out=times[1:])
            case RampArrival(burstiness=shape):
                np.cumsum(rng.gamma(shape, 1.0 / shape, count - 1), out=times[1:])
                times[1:] = _rescaled(arrival, times[1:])
                rate = arrival.request_rate or arrival.mean
                key = "rates" if arrival.request_rate is None else key
    return _checked(times, rate, key)


#: Seconds. A float64 has steps of 2 us there; at later times those of a simulation would drown in them.
LATEST = 1e10


def _checked(times: Floats, rate: float, key: str) -> Floats:
    """The times; SpecError blames `key` if one is later than `LATEST`."""
    if not (times <= LATEST).all():
        message = f"too low for {len(times)} requests: the last would come after more than {LATEST:g} s, got {rate:g}"
        raise SpecError(message, ("workload", "arrival", key))
    return times


@dataclass(frozen=True)
class _Profile:
    """A ramp as arrays: points, requests expected until each, and what the rate gains per second after each."""

    time: Floats
    rate: Floats
    slope: Floats
    reached: Floats

    @staticmethod
    def of(ramp: RampArrival, factor: float = 1.0) -> "_Profile":
        time, rate = np.array(ramp.rates, np.float64).T
        rate = rate * factor
        width = np.diff(time)
        slope = np.append(np.divide(np.diff(rate), width, out=np.zeros_like(width), where=width > 0), 0.0)
        return _Profile(time, rate, slope, np.concatenate([[0.0], np.cumsum(width * (rate[1:] + rate[:-1]) / 2)]))


def expected_requests(ramp: RampArrival, times: Floats) -> Floats:
    """The integral of the rate up to each of `times` (s): between points r u + q u^2 / 2, u seconds after the first."""
    profile = _Profile.of(ramp)
    part = np.searchsorted(profile.time, times, side="right") - 1
    u = times - profile.time[part]
    result: Floats = profile.reached[part] + u * (profile.rate[part] + profile.slope[part] * u / 2)
    return result


def _rescaled(ramp: RampArrival, expected: Floats) -> Floats:
    """The times at which the integral of the rate reaches `expected`, in seconds.

    Time rescaling: with L(t) the integral of the rate, a unit-rate Poisson process at times s is one of that rate at t = L^-1(s)
    (Cinlar, Introduction to Stochastic Processes, 1975, section 4.7). Between points L grows by d = r u + q u^2 / 2, so
    u = 2 d / (r + sqrt(r^2 + 2 q d)), which is stable also for q near 0.
    """
    factor = 1.0 if ramp.request_rate is None else ramp.request_rate / ramp.mean
    if math.isinf(factor):
        return np.zeros_like(expected)
    p = _Profile.of(ramp, factor)
    if p.rate[-1] == 0 and expected.size and expected[-1] >= p.reached[-1]:
        fit = int(np.searchsorted(expected, p.reached[-1])) + 1
        message = f"end at 0 req/s, after about {fit} requests; end above 0, or set num_prompts to {fit} or less"
        raise SpecError(message, ("workload", "arrival", "rates"))
    part = np.searchsorted(p.reached, expected, side="right") - 1
    more, r, q = expected - p.reached[part], p.rate[part], p.slope[part]
    below = r + np.sqrt(np.maximum(r * r + 2 * q * more, 0))
    after = np.divide(2 * more, below, out=np.zeros_like(more), where=below > 0)
    result: Floats = p.time[part] + np.minimum(after, np.append(np.diff(p.time), np.inf)[part])
    return result


def _lengths(lengths: Lengths, count: int, input_rng: np.random.Generator, output_rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Input and output lengths in tokens, shape (count,) each."""
    match lengths:
        case FixedLengths(input_len=tokens_in, output_len=tokens_out):
            return np.full(count, tokens_in, dtype=np.int64), np.full(count, tokens_out, dtype=np.int64)
        case LognormalLengths():
            tokens = _lognormal(lengths.input_mean, lengths.input_cv, count, input_rng)
            other = _lognormal(lengths.output_mean, lengths.output_cv, count, output_rng)
            return _whole(tokens, lengths.input_max), _whole(other, lengths.output_max)
        case QuantileLengths():
            shares = _shares(lengths.rank_correlation, count, input_rng, output_rng)
            return _whole(_quantile(lengths.input, shares[0])), _whole(_quantile(lengths.output, shares[1]))


def _lognormal(mean: float, cv: float, count: int, rng: np.random.Generator) -> Floats:
    """Draws with the given mean and CV of the lognormal itself: sigma^2 = ln(1 + cv^2), mu = ln(mean) - sigma^2 / 2."""
    variance = math.log1p(cv**2)
    return rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance), count)


def _quantile(points: tuple[tuple[float, int], ...], shares: Floats) -> Floats:
    """Invert the piecewise-linear distribution through `points` (probability, tokens)."""
    probabilities, tokens = np.array(points, dtype=np.float64).T
    drawn: Floats = np.interp(shares, probabilities, tokens)
    return drawn


def _shares(correlation: float, count: int, first: np.random.Generator, second: np.random.Generator) -> tuple[Floats, Floats]:
    """Two columns of uniform numbers with a rank correlation (Spearman's).

    A Gaussian copula (NORTA: Cario and Nelson, Modeling and generating random vectors with arbitrary marginal distributions and
    correlation matrix, 1997): normal numbers with correlation r = 2 sin(pi rho / 6) have rank correlation rho (Pearson, 1907),
    and their distribution function makes them uniform.
    """
    if correlation == 0:
        return first.random(count), second.random(count)
    r = 2 * math.sin(math.pi * correlation / 6)
    x = first.standard_normal(count)
    y = r * x + math.sqrt(max(1 - r * r, 0)) * second.standard_normal(count)
    return _normal_share(x), _normal_share(y)


def _normal_share(values: Floats) -> Floats:
    """The normal distribution function; erfc keeps its digits in the lower tail."""
    return np.fromiter((math.erfc(-v) / 2 for v in (values / math.sqrt(2)).tolist()), np.float64, values.size)


def _whole(tokens: Floats, most: int | None = None) -> Ints:
    return np.clip(np.rint(tokens), 1, most or MAX_TOKENS).astype(np.int64)
