"""What arrives at the servers: when requests come and how long they are.

Generated arrivals need `lengths` and `num_prompts`; a trace brings both, and either may be overridden. `hdasim.serving.arrivals`
turns a `Workload` into arrays.
"""

import itertools
import math
from typing import Annotated

from msgspec import Meta

from hdasim.spec.base import RequestCount, RequestRate, Spec

#: Larger token counts are taken for mistakes, here and in trace files.
MAX_TOKENS = 2**31

TokenCount = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
MeanTokens = Annotated[float, Meta(ge=1, le=MAX_TOKENS)]
CoefficientOfVariation = Annotated[float, Meta(ge=0, le=100)]
Probability = Annotated[float, Meta(ge=0, le=1)]
#: Points (probability, tokens) of an inverse cumulative distribution.
Quantiles = Annotated[tuple[tuple[Probability, TokenCount], ...], Meta(min_length=2)]


class PoissonArrival(Spec, frozen=True, kw_only=True, tag_field="kind", tag="poisson"):
    """Exponential gaps with mean 1 / request_rate seconds; a rate of inf puts every request at time 0."""

    request_rate: RequestRate


class GammaArrival(Spec, frozen=True, kw_only=True, tag_field="kind", tag="gamma"):
    """Gamma gaps with mean 1 / request_rate seconds, as `vllm bench serve` has them.

    `burstiness` is the shape of the distribution: CV = 1 / sqrt(burstiness), so 1 is Poisson and less than 1 comes in bursts.
    """

    request_rate: RequestRate
    burstiness: Annotated[float, Meta(gt=0)] = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.burstiness):
            raise ValueError(f"burstiness must be finite, got {self.burstiness} (use kind: fixed for even gaps)")


class FixedArrival(Spec, frozen=True, kw_only=True, tag_field="kind", tag="fixed"):
    """Even gaps of 1 / request_rate seconds."""

    request_rate: RequestRate


class TraceArrival(Spec, frozen=True, kw_only=True, tag_field="kind", tag="trace"):
    """Arrivals, and lengths unless the workload gives its own, from a file that `hdasim.serving.traces.read` understands."""

    path: Annotated[str, Meta(min_length=1)]


Arrival = PoissonArrival | GammaArrival | FixedArrival | TraceArrival


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
    """

    input: Quantiles
    output: Quantiles

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


class Workload(Spec, frozen=True, kw_only=True):
    """The requests of one run.

    `num_prompts` counts the requests to generate; with a trace it keeps at most that many, from the start.
    """

    arrival: Arrival
    lengths: Lengths | None = None
    num_prompts: RequestCount | None = None

    def __post_init__(self) -> None:
        if isinstance(self.arrival, TraceArrival):
            return
        missing = [name for name in ("lengths", "num_prompts") if getattr(self, name) is None]
        if missing:
            raise ValueError(f"generated arrivals need {' and '.join(missing)} (only kind: trace brings its own)")
