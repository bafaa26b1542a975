"""What arrives at the servers: when requests come and how long they are.

Generated arrivals need `lengths` and `num_prompts`; a trace brings both, and either may be overridden. `sessions` makes each
arrival that of a conversation, `shared_prefix` puts common tokens before prompts. `hdasim.serving.arrivals` turns a `Workload`
into arrays.
"""

import itertools
import math
from typing import Annotated, Literal

from msgspec import Meta

from hdasim.spec.base import PositiveFloat, RequestCount, RequestRate, Seconds, Spec

#: Larger token counts are taken for mistakes, here and in trace files.
MAX_TOKENS = 2**31

TokenCount = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
MeanTokens = Annotated[float, Meta(ge=1, le=MAX_TOKENS)]
CoefficientOfVariation = Annotated[float, Meta(ge=0, le=100)]
Probability = Annotated[float, Meta(ge=0, le=1)]
#: Points (probability, tokens) of an inverse cumulative distribution.
Quantiles = Annotated[tuple[tuple[Probability, TokenCount], ...], Meta(min_length=2)]
Burstiness = Annotated[float, Meta(gt=0)]
#: Points (seconds, requests per second) of a rate that changes.
Rates = Annotated[
    tuple[tuple[Seconds, Annotated[float, Meta(ge=0, le=1e9)]], ...],
    Meta(min_length=1, max_length=1_000_000),
]


class PoissonArrival(Spec, frozen=True, kw_only=True, tag_field="kind", tag="poisson"):
    """Exponential gaps with mean 1 / request_rate seconds; a rate of inf puts every request at time 0."""

    request_rate: RequestRate


class GammaArrival(Spec, frozen=True, kw_only=True, tag_field="kind", tag="gamma"):
    """Gamma gaps with mean 1 / request_rate seconds, as `vllm bench serve` has them.

    `burstiness` is the shape of the distribution: CV = 1 / sqrt(burstiness), so 1 is Poisson and less than 1 comes in bursts.
    """

    request_rate: RequestRate
    burstiness: Burstiness = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.burstiness):
            raise ValueError(f"burstiness must be finite, got {self.burstiness} (use kind: fixed for even gaps)")


class RampArrival(Spec, frozen=True, kw_only=True, tag_field="kind", tag="ramp"):
    """Random arrivals at a rate that changes over time, e.g. ``rates: [[0, 2], [600, 10], [1200, 2]]``.

    `rates` are points (seconds, requests per second): the rate is linear between them, jumps where two have the same time, and
    stays at the last one. With `request_rate` all are scaled by one factor, so that the mean from the first point to the last is
    that. `burstiness` is that of the gaps in units of the expected number of requests (1: Poisson).
    """

    rates: Rates
    request_rate: RequestRate | None = None
    burstiness: Burstiness = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.burstiness):
            raise ValueError(f"burstiness must be finite, got {self.burstiness}")
        if self.rates[0][0] != 0:
            raise ValueError(f"rates: the first point must be at 0 s, got {self.rates[0][0]:g}")
        for (time, _), (later, _) in itertools.pairwise(self.rates):
            if later < time:
                raise ValueError(f"rates: times must not fall, got {later:g} after {time:g}")
        if not any(rate for _, rate in self.rates):
            raise ValueError("rates: all are 0; give one above 0")
        if self.request_rate is not None and self.mean == 0:
            raise ValueError("request_rate: the rates are 0 until the last point, which leaves nothing to scale")

    @property
    def mean(self) -> float:
        """Mean rate from the first point to the last, 1/s."""
        area = sum((t - s) * (a + b) / 2 for (s, a), (t, b) in itertools.pairwise(self.rates))
        return area / self.rates[-1][0] if self.rates[-1][0] else self.rates[-1][1]


class FixedArrival(Spec, frozen=True, kw_only=True, tag_field="kind", tag="fixed"):
    """Even gaps of 1 / request_rate seconds."""

    request_rate: RequestRate


class ConcurrencyArrival(Spec, frozen=True, kw_only=True, tag_field="kind", tag="concurrency"):
    """`clients` that each send a request, wait for its last token, and send the next: a closed loop.

    `think_time` is the mean of exponential times that they take between the two, and before the first. The rate follows from the
    service, as with ``--max-concurrency`` of `vllm bench serve`.
    """

    clients: Annotated[int, Meta(ge=1, le=1_000_000)]
    think_time: Seconds = 0.0


class TraceArrival(Spec, frozen=True, kw_only=True, tag_field="kind", tag="trace"):
    """Arrivals, and lengths unless the workload gives its own, from a file that `hdasim.serving.traces.read` understands.

    `speed` divides all arrival times, so 2 replays the trace in half the time; `request_rate` chooses the speed at which the mean
    rate (requests, or sessions, per second from first to last) is that. The think times within sessions stay.
    """

    path: Annotated[str, Meta(min_length=1)]
    speed: PositiveFloat | None = None
    request_rate: RequestRate | None = None

    def __post_init__(self) -> None:
        if self.speed is not None and self.request_rate is not None:
            raise ValueError("speed: give either speed or request_rate, not both")


Arrival = PoissonArrival | GammaArrival | FixedArrival | RampArrival | ConcurrencyArrival | TraceArrival


class FixedLengths(Spec, frozen=True, kw_only=True, tag_field="kind", tag="fixed"):
    """Every request reads `input_len` tokens and writes `output_len` tokens."""

    input_len: TokenCount
    output_len: TokenCount


class LognormalLengths(Spec, frozen=True, kw_only=True, tag_field="kind", tag="lognormal"):
    """Lognormal lengths in tokens; `cv` is standard deviation / mean, both before rounding and clipping to the maximum."""

    input_mean: MeanTokens
    input_cv: CoefficientOfVariation
    output_mean: MeanTokens
    output_cv: CoefficientOfVariation
    input_max: TokenCount | None = None
    output_max: TokenCount | None = None

    def __post_init__(self) -> None:
        for side, mean, most in (("input", self.input_mean, self.input_max), ("output", self.output_mean, self.output_max)):
            if most is not None and most < mean:
                raise ValueError(f"{side}_max must be at least {side}_mean ({mean:g}), got {most}")


class QuantileLengths(Spec, frozen=True, kw_only=True, tag_field="kind", tag="quantiles"):
    """Lengths from points [probability, tokens], e.g. ``[[0, 1], [0.5, 1020], [0.99, 4142], [1, 14050]]``.

    The inverse cumulative distribution is linear between the points, so every point is met and the mean is the area below them.
    `rank_correlation` is Spearman's, between input and output of a request.
    """

    input: Quantiles
    output: Quantiles
    rank_correlation: Annotated[float, Meta(ge=-1, le=1)] = 0.0

    def __post_init__(self) -> None:
        _check_quantiles("input", self.input)
        _check_quantiles("output", self.output)


def _check_quantiles(name: str, points: tuple[tuple[float, int], ...]) -> None:
    if points[0][0] != 0 or points[-1][0] != 1:
        raise ValueError(f"{name}: probabilities must go from 0 to 1, got {points[0][0]:g} to {points[-1][0]:g}")
    for (p, tokens), (next_p, next_tokens) in itertools.pairwise(points):
        if next_p <= p:
            raise ValueError(f"{name}: probabilities must rise strictly, got {next_p:g} after {p:g}")
        if next_tokens < tokens:
            raise ValueError(f"{name}: tokens must not fall, got {next_tokens} after {tokens}")


Lengths = FixedLengths | LognormalLengths | QuantileLengths


class Sessions(Spec, frozen=True, kw_only=True):
    """Conversations: each arrival is the first turn of one, and `request_rate` counts sessions.

    The prompt of a turn is all that was said before, prompts and outputs, and the new tokens that `lengths` gives as input. The
    next turn comes a think time after the last token of the one before. `turns` and `think_time` are means; prompts have ids of
    16-token blocks, so that a prefix cache finds the history.
    """

    turns: Annotated[float, Meta(ge=1, le=10_000)]
    turn_distribution: Literal["geometric", "fixed"] = "geometric"
    think_time: Seconds = 0.0
    think_distribution: Literal["exponential", "fixed"] = "exponential"

    def __post_init__(self) -> None:
        if self.turn_distribution == "fixed" and self.turns != int(self.turns):
            raise ValueError(f"turns: must be a whole number where turn_distribution is fixed, got {self.turns:g}")


class SharedPrefix(Spec, frozen=True, kw_only=True):
    """Tokens before the prompt of every session (or request), such as a system prompt: one of `groups`, each as likely."""

    tokens: TokenCount
    groups: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class Workload(Spec, frozen=True, kw_only=True):
    """The requests of one run.

    `num_prompts` counts the requests to generate, turns of sessions included; with a trace it keeps at most that many, from the
    start.
    """

    arrival: Arrival
    lengths: Lengths | None = None
    num_prompts: RequestCount | None = None
    sessions: Sessions | None = None
    shared_prefix: SharedPrefix | None = None

    def __post_init__(self) -> None:
        if isinstance(self.arrival, TraceArrival):
            for name in ("sessions", "shared_prefix"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: only for generated arrivals; a trace brings its own prompts")
            return
        missing = [name for name in ("lengths", "num_prompts") if getattr(self, name) is None]
        if missing:
            raise ValueError(f"generated arrivals need {' and '.join(missing)} (only kind: trace brings its own)")
        for name in ("sessions", "shared_prefix") if isinstance(self.arrival, ConcurrencyArrival) else ():
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: not for kind concurrency, whose requests are single; use another kind of arrival")
