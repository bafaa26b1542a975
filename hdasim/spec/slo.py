"""Service levels: limits in seconds on the latencies of each request, or on percentiles and means over a run."""

from dataclasses import dataclass

from hdasim.spec.base import Fraction, PositiveSeconds, Spec

#: What goals can be set on, in the order of reports: arrival -> first scheduled, arrival -> first token, mean time per output
#: token after it, gaps between output tokens pooled over requests (ADOR's and Sarathi's TBT), arrival -> last token.
METRICS = ("scheduling_delay", "ttft", "tpot", "itl", "e2el")


@dataclass(frozen=True)
class Goal:
    """`statistic` (``request``: of each request, ``mean``, ``p50`` to ``p99``) of `metric` is at most `limit` seconds."""

    metric: str
    statistic: str
    limit: float

    @property
    def name(self) -> str:
        """In words: ``p99 itl``; of a goal for each request just the metric."""
        return self.metric if self.statistic == "request" else f"{self.statistic} {self.metric}"


class Percentiles(Spec, omit_defaults=True):
    """Limits in seconds on the mean and on percentiles over a run (exact, linear between order statistics)."""

    mean: PositiveSeconds | None = None
    p50: PositiveSeconds | None = None
    p75: PositiveSeconds | None = None
    p90: PositiveSeconds | None = None
    p95: PositiveSeconds | None = None
    p99: PositiveSeconds | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, name) is None for name in self.__struct_fields__):
            raise ValueError(f"set a limit, such as {{p99: 2 s}}; known: {', '.join(self.__struct_fields__)}")


class Limits(Percentiles, omit_defaults=True):
    """`Percentiles`, and a limit for each single request: those within it count as goodput."""

    request: PositiveSeconds | None = None


class SLO(Spec, omit_defaults=True):
    """Service level goals in seconds; None means no goal. A number in place of `Limits` is a limit for each request.

    `attainment` is the share of requests that have to be within all limits for each request, so that a run meets them. Its
    default is DistServe's 90 % (Zhong et al., OSDI 2024). A rejected or unfinished request is outside them.
    """

    scheduling_delay: PositiveSeconds | Limits | None = None
    ttft: PositiveSeconds | Limits | None = None
    tpot: PositiveSeconds | Limits | None = None
    itl: Percentiles | None = None
    e2el: PositiveSeconds | Limits | None = None
    attainment: Fraction = 0.9

    def goals(self) -> tuple[Goal, ...]:
        """All goals, by metric, then by statistic."""
        found = []
        for metric in METRICS:
            limits = getattr(self, metric)
            if isinstance(limits, Percentiles):
                values = ((name, getattr(limits, name)) for name in limits.__struct_fields__)
                found += [Goal(metric, name, limit) for name, limit in values if limit is not None]
            elif limits is not None:
                found.append(Goal(metric, "request", limits))
        return tuple(found)
