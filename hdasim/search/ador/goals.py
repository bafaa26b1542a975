"""Which targets a simulated chip meets, how efficient it is, and where area should go when it misses."""

import math
from typing import Any, Literal, NamedTuple

from ...spec.search_ador import AdorSearch

#: A unit that limits less of the time than this is no bottleneck. Percentiles are decided by few steps, so it is small.
SHARE = 0.02


class Goal(NamedTuple):
    """A target: of users (service levels) or of the vendor. `ratio` above 1 is how far it is missed; None: cannot be said."""

    name: str
    whose: Literal["user", "vendor"]
    limit: float
    value: float | None
    met: bool
    ratio: float | None


class Efficiency(NamedTuple):
    """Performance ratio x reference area / area, for TTFT and TBT (papers.md 4)."""

    ttft: float
    tbt: float

    @property
    def mean(self) -> float:
        """Geometric mean of both."""
        return math.sqrt(self.ttft * self.tbt)


def efficiency(ours: tuple[float, float], reference: tuple[float, float], area: float, reference_area: float) -> Efficiency:
    """Of (TTFT, TBT) in the same unit: twice as fast on half the area is 4."""
    return Efficiency(*(theirs / mine * reference_area / area for mine, theirs in zip(ours, reference, strict=True)))


def times(record: dict[str, Any], statistic: str) -> tuple[float, float] | None:
    """(TTFT, TBT) in ms of a serving simulation; None if it has none."""
    found = record.get(f"{statistic}_ttft_ms"), record.get(f"{statistic}_itl_ms")
    return None if None in found else found  # type: ignore[return-value]


def goals(record: dict[str, Any], search: AdorSearch) -> list[Goal]:
    """All targets of the search against a record of `evaluate.serve`; of a chip that cannot run, all are missed."""
    return [*_user(record, search), *_vendor(record, search)]


def _user(record: dict[str, Any], search: AdorSearch) -> list[Goal]:
    slo = record.get("slo")
    if "error" in record:
        return [Goal(goal.name, "user", 1e3 * goal.limit, None, False, None) for goal in search.slo.goals()]
    found = []
    for goal in slo["goals"] if slo else ():
        name = goal["metric"] if goal["statistic"] == "request" else f"{goal['statistic']} {goal['metric']}"
        value = goal["value_ms"]
        ratio = None if value is None else value / goal["limit_ms"]
        found.append(Goal(name, "user", goal["limit_ms"], value, goal["met"], ratio))
    if slo and slo["attainment"] is not None:
        share, wanted = slo["attainment"], slo["wanted_attainment"]
        found.append(Goal("attainment", "user", wanted, share, share >= wanted, wanted / share if share else None))
    return found


def _vendor(record: dict[str, Any], search: AdorSearch) -> list[Goal]:
    found = []
    for key in search.targets.__struct_fields__:
        limit, value = getattr(search.targets, key), record.get(key)
        if limit is not None:
            met = value is not None and value >= limit
            found.append(Goal(key, "vendor", limit, value, met, limit / value if value else None))
    kept_up = "error" not in record and not record["saturated"]
    return [*found, Goal("keeps up with arrivals", "vendor", 1.0, float(kept_up), kept_up, 1.0 if kept_up else None)]


def miss(found: list[Goal]) -> tuple[int, float]:
    """How far a chip is from its targets: (how many it misses, product of the ratios of those that can be said, as a log)."""
    return sum(not g.met for g in found), sum(math.log(g.ratio) for g in found if not g.met and g.ratio)


def shift(found: list[Goal], limits: dict[str, float]) -> tuple[Literal["array", "tree", "none"], str]:
    """Where area goes next, and why.

    ADOR gives a missed target of the vendor to the array and a missed service level to the MAC tree. That only helps if the unit
    limits: `limits` are the shares of the time that causes limit. If the other unit limits more, area goes there instead, and
    if neither limits `SHARE` of the time, no area helps.
    """
    missed = [g for g in found if not g.met]
    if not missed:
        return "none", "all targets are met"
    names = ", ".join(g.name for g in missed)
    vendor = any(g.whose == "vendor" for g in missed)
    rule: Literal["array", "tree"] = "array" if vendor and not any(g.whose == "user" for g in missed) else "tree"
    array, tree = limits.get("sa", 0.0), limits.get("mt", 0.0)
    said = f"arrays limit {array:.0%} of the time, MAC trees {tree:.0%}, DRAM {limits.get('dram', 0.0):.0%}"
    if max(array, tree) < SHARE:
        most = max(limits, key=lambda cause: limits[cause]) if limits else "nothing"
        return "none", f"missed {names}; {said}: the bottleneck is {most}, which no area for compute units moves"
    where: Literal["array", "tree"] = "array" if array >= tree else "tree"
    unit, ruled = ({"array": "arrays", "tree": "MAC trees"}[name] for name in (where, rule))
    if where == rule:
        return where, f"missed {names}; {said}: area goes to the {unit}, as ADOR has it"
    return where, f"missed {names}; ADOR would give area to the {ruled}, but {said}: it goes to the {unit}"
