"""A workload with the statistics of a trace, so that as many requests like its own as wanted can be generated.

Arrivals: gamma gaps by the method of moments (rate = 1 / mean gap, burstiness = 1 / CV^2), or a rate profile, the counts in bins
of a given width, with gamma gaps in units of expected requests. Lengths: quantiles of input and output and their rank
correlation, joined by a Gaussian copula (`hdasim.serving.arrivals`). The result holds no row of the trace. Order, sessions and
prompts are not fitted.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import yaml

from hdasim.errors import TraceError
from hdasim.serving.arrivals import expected_requests
from hdasim.serving.requests import Floats, Ints, Requests, describe
from hdasim.spec.base import MAX_REQUESTS
from hdasim.spec.workload import (
    Arrival,
    FixedArrival,
    GammaArrival,
    PoissonArrival,
    QuantileLengths,
    RampArrival,
    Workload,
)

#: Probabilities of the quantiles: every half percent, and the tail more finely.
LEVELS = np.unique(np.concatenate([np.linspace(0, 1, 201).round(6), [0.998, 0.999, 0.9995, 0.9999]]))
#: Points of a rate profile, at most.
_MOST_BINS = 100_000


@dataclass(frozen=True)
class Fit:
    """A workload, and what its user should know of it, a line each."""

    workload: Workload
    notes: tuple[str, ...]

    def text(self, seed: int) -> str:
        """A workload file, as `trace generate` reads it."""
        return yaml.safe_dump(
            {"workload": plain(self.workload), "seed": seed}, sort_keys=False, default_flow_style=None, width=120
        )


def plain(workload: Workload) -> dict[str, Any]:
    """The workload as plain data, without what is not set."""
    data: dict[str, Any] = msgspec.to_builtins(workload, builtin_types=())
    return {key: {k: _lists(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value
            for key, value in data.items() if value is not None}  # fmt: skip


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def fit(trace: Requests, *, num_prompts: int | None = None, profile: float | None = None) -> Fit:
    """Fit a workload to `trace`.

    Parameters
    ----------
    num_prompts
        Requests to generate; as many as the trace has if None. A profile is repeated for more than that.
    profile
        Width in seconds of the bins of a rate profile; None for gamma gaps at one rate.

    Raises
    ------
    TraceError
        If the trace has sessions, or the profile too many bins.
    """
    if trace.parent is not None:
        raise TraceError("the trace has sessions, which are not fitted; give a workload file with sessions: instead")
    count = min(num_prompts or len(trace), MAX_REQUESTS)
    statistics = describe(trace)
    notes = _prompt_notes(statistics)
    if profile is None:
        arrival, more = _gamma(trace, statistics)
        notes += more
    else:
        arrival = _profile(trace.arrival_s, profile, -(-count // len(trace)))
    rho = rank_correlation(trace.input_len, trace.output_len)
    lengths = QuantileLengths(
        input=_quantiles(trace.input_len), output=_quantiles(trace.output_len), rank_correlation=round(rho, 4)
    )
    return Fit(Workload(arrival=arrival, lengths=lengths, num_prompts=count), tuple(notes))


def _gamma(trace: Requests, statistics: dict[str, float | None]) -> tuple[Arrival, list[str]]:
    """Gaps by the method of moments, and a note if no gamma gaps can be as uneven over 10 s as the trace is.

    Of a renewal process the index of dispersion of counts (variance / mean) tends to CV^2 of its gaps as the window grows (Cox,
    Renewal Theory, 1962, section 4.5), and to 1 as it shrinks; with gamma gaps it lies between. The sample's, here over whole
    bins only, deviates by about sqrt(2 / bins) of itself; three times that is allowed.
    """
    cv, span = statistics["cv"], statistics["span_s"]
    if not span or cv is None:
        return PoissonArrival(request_rate=float("inf")), []
    rate = (len(trace) - 1) / span
    if cv < 1e-3:
        return FixedArrival(request_rate=rate), []
    most = max(1.0, cv * cv)
    notes = []
    together = float(np.mean(np.diff(trace.arrival_s) == 0))
    if together > 0.1:
        notes.append(
            f"{together:.0%} of requests come at the very time of the one before, as if a coarse clock had stamped them: "
            f"the CV of {cv:.3g} is partly the clock's"
        )
    bins = int(span // 10)
    counts = np.histogram(trace.arrival_s, bins, (0.0, bins * 10.0))[0] if bins > 1 else np.ones(1)
    iod = float(counts.var() / counts.mean())
    if iod > most * (1 + 3 * np.sqrt(2 / counts.size)):
        notes.append(
            f"counts in 10 s vary more (IoD10 {iod:.3g}) than gamma gaps with CV {cv:.3g} can make them (at most {most:.3g}): "
            "the rate itself changes; --profile 60 follows it"
        )
    return GammaArrival(request_rate=rate, burstiness=1 / (cv * cv)), notes


def _profile(arrival_s: Floats, width: float, repeats: int) -> Arrival:
    """The rate in bins of `width` seconds, the last one up to twice as long, again and again; and the burstiness within."""
    span = float(arrival_s[-1])
    if not span:
        return PoissonArrival(request_rate=float("inf"))
    bins = max(int(span // width), 1)
    if bins * repeats > _MOST_BINS:
        raise TraceError(f"a profile of {bins * repeats:,} bins, more than {_MOST_BINS:,}; use a larger --profile")
    edges = np.append(np.arange(bins) * width, span)
    rates = np.histogram(arrival_s, edges)[0] / np.diff(edges)
    starts = np.arange(repeats)[:, None] * span
    times = np.stack([starts + edges[:-1], starts + edges[1:]], axis=-1).ravel().round(6)
    points = zip(times.tolist(), np.tile(np.repeat(rates, 2), repeats).tolist(), strict=True)
    ramp = RampArrival(rates=tuple(points))
    gaps = np.diff(expected_requests(ramp, arrival_s))
    cv = float(gaps.std() / gaps.mean()) if gaps.size and gaps.mean() > 0 else 1.0
    return msgspec.structs.replace(ramp, burstiness=1 / max(cv, 1e-3) ** 2)


def _quantiles(tokens: Ints) -> tuple[tuple[float, int], ...]:
    values = np.rint(np.quantile(tokens, LEVELS)).astype(np.int64)
    return tuple(zip(LEVELS.tolist(), values.tolist(), strict=True))


def rank_correlation(a: Ints, b: Ints) -> float:
    """Spearman's rank correlation, equal values at their mean rank; 0 where one of them does not vary."""
    x, y = _ranks(a), _ranks(b)
    if not x.any() or not y.any():
        return 0.0
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1, 1))


def _ranks(values: Ints) -> Floats:
    """Mean ranks, less their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place] - (len(values) + 1) / 2
    return ranks


def _prompt_notes(statistics: dict[str, float | None]) -> list[str]:
    reuse = statistics["block_reuse"]
    return [] if not reuse else [f"{reuse:.1%} of the trace's prompt blocks were seen before; generated prompts share none"]
