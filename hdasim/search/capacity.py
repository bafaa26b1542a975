"""The highest request rate that meets the service levels.

A rate passes on a seed if every goal is met in a run of it and its queue does not grow (`serving.saturation`). For each seed the
highest rate that passes is searched on its own (`search.bisection`), from the throughput with all requests at once, which no rate
that is served for long can exceed by much. Rates of one seed have common random numbers: the same lengths, and the same gaps in
units of their mean, so that they differ by the rate alone. The capacity is the mean of the seeds' highest rates; its 95 %
interval is Student's, over seeds: that of the mean of independent runs (Law, Simulation Modeling and Analysis).

Sarathi-Serve's procedure (Agrawal et al., OSDI 2024) is the same bisection on one seed without the question whether the queue
grows, on 2048 requests; `goals_only` leaves that question out.
"""

import math
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np

from ..errors import SpecError
from ..simulate import simulate
from ..spec.experiment import Experiment
from ..spec.workload import ConcurrencyArrival, TraceArrival
from ..statistics import student_quantile
from .bisection import Bracket, highest

#: Requests of a run. Sarathi-Serve takes 2048, in which a median scheduling delay of 2 s leaves room for a rate some percent
#: above what is served for long (`goals_only` shows it); four times as many leave a quarter of that.
NUM_PROMPTS = 8192
#: Of the throughput with all requests at once: the lowest and the highest rate tried.
LOWEST, HIGHEST = 1 / 256, 16.0
CONFIDENCE = 0.95
#: Rates of a curve, as shares of the capacity.
CURVE = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5)
#: A run of twice the requests has to pass at this share of the capacity.
LONGER_AT = 0.95
_KEPT = ("duration", "completed", "rejected", "request_throughput", "request_goodput", "output_throughput",
         "total_token_throughput", "preemptions", "steps")  # fmt: skip


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `rate` in requests/s, inf: all at once.

    `limit` names the goal that is missed by most, or is nearest to its limit, ``saturation`` if the queue grows; `ratio` is the
    value of that goal / its limit, None where it cannot be said.
    """

    rate: float
    seed: int
    num_prompts: int
    passed: bool
    limit: str
    ratio: float | None
    summary: dict[str, Any]


#: (rate, seed, requests) -> Point
Evaluate = Callable[[float, int, int], Point]


@dataclass(frozen=True)
class Settings:
    """How to search. Rates in requests/s; None: `LOWEST` and `HIGHEST`."""

    seeds: tuple[int, ...]
    num_prompts: int
    tolerance: float = 0.02
    least: float | None = None
    most: float | None = None
    curve: bool = False
    longer: bool = True
    workers: int = 1


@dataclass
class Found:
    """What a search found, or had found when it was interrupted.

    Attributes
    ----------
    brackets
        By seed; of seeds whose search has ended.
    offline, longer, curve
        Points with all requests at once, of runs of twice the requests, and of the curve.
    """

    settings: Settings
    points: list[Point] = field(default_factory=list)
    brackets: dict[int, Bracket] = field(default_factory=dict)
    offline: list[Point] = field(default_factory=list)
    longer: list[Point] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)
    interrupted: bool = False

    @property
    def status(self) -> Literal["interrupted", "unlimited", "none", "at_least", "found"]:
        """``unlimited``: the goals are met even with all requests at once; ``none``: no rate tried passes on every seed;
        ``at_least``: the highest rate tried passes.
        """
        if self.brackets.keys() != set(self.settings.seeds):
            return "interrupted"
        if all(p.passed for p in self.offline):
            return "unlimited"
        if any(b.passed is None for b in self.brackets.values()):
            return "none"
        return "at_least" if any(b.failed is None for b in self.brackets.values()) else "found"

    @property
    def rates(self) -> list[float]:
        """The highest rate of each seed that has one."""
        return [b.passed for _, b in sorted(self.brackets.items()) if b.passed is not None]


def interval(values: list[float]) -> tuple[float, float | None]:
    """(mean, half the width of its 95 % interval); None for a single value. ValueError if there are none.

    Three values 9, 10, 11: mean 10, standard error 1 / sqrt(3), t(0.975, 2) = 4.303: 10 +- 2.484.
    """
    if not values:
        raise ValueError("no values")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, student_quantile((1 + CONFIDENCE) / 2, len(values) - 1) * error


class _Stopped(Exception):
    """The user has interrupted the search."""


class Runs:
    """Evaluated points, each once; safe to use from several threads."""

    def __init__(
        self, evaluate: Evaluate, known: Iterable[Point] = (), report: Callable[[Point, list[Point]], None] = lambda *_: None,
        stop: threading.Event | None = None,
    ):  # fmt: skip
        self._evaluate, self._report = evaluate, report
        self.stop = stop or threading.Event()
        self._known = {(p.rate, p.seed, p.num_prompts): p for p in known}
        self._used: dict[tuple[float, int, int], Point] = {}
        self._lock = threading.Lock()

    def __call__(self, rate: float, seed: int, num_prompts: int) -> Point:
        key = rate, seed, num_prompts
        if self.stop.is_set():
            raise _Stopped
        point = self._known.get(key) or self._evaluate(rate, seed, num_prompts)
        with self._lock:
            self._known[key] = self._used[key] = point
            self._report(point, self.used())
        return point

    def used(self) -> list[Point]:
        """What this search asked for, by requests, seed and rate."""
        return [self._used[key] for key in sorted(self._used, key=lambda k: (k[2], k[1], k[0]))]


def search(runs: Runs, settings: Settings) -> Found:
    """Find the capacity. An interrupt of the keyboard ends the search with what is known until then."""
    found = Found(settings)
    with ThreadPoolExecutor(settings.workers) as pool:

        def each(function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
            futures = [pool.submit(function, *a) for a in arguments]
            wait(futures)
            return [future.result() for future in futures]

        try:
            count, seeds = settings.num_prompts, settings.seeds
            found.offline = each(runs, [(math.inf, seed, count) for seed in seeds])
            unlimited = all(p.passed for p in found.offline)
            each(_search_seed, [(runs, settings, p, found, unlimited) for p in found.offline])
            if settings.longer and found.status == "found":
                wanted = [(LONGER_AT * (found.brackets[seed].passed or 0.0), seed, 2 * count) for seed in seeds]
                found.longer = each(runs, wanted)
            if settings.curve:
                known = len(found.rates) == len(seeds)
                base = interval(found.rates if known else [p.summary["request_throughput"] for p in found.offline])[0]
                found.curve = each(runs, [(share * base, seed, count) for share in CURVE for seed in seeds])
        except (KeyboardInterrupt, _Stopped):
            found.interrupted = True
        finally:
            runs.stop.set()
    found.points = runs.used()
    return found


def _search_seed(runs: Runs, settings: Settings, offline: Point, found: Found, unlimited: bool) -> None:
    throughput = offline.summary["request_throughput"]
    if unlimited:
        found.brackets[offline.seed] = Bracket(throughput, None)
        return
    least, most = settings.least, settings.most
    least = min(throughput * LOWEST, most or math.inf) if least is None else least
    most = max(throughput * HIGHEST, least) if most is None else most

    def passes(rate: float) -> bool:
        return runs(rate, offline.seed, settings.num_prompts).passed

    found.brackets[offline.seed] = highest(passes, throughput, least, most, settings.tolerance)


def simulator(experiment: Experiment, goals_only: bool, stop: threading.Event) -> Evaluate:
    """Evaluate rates by simulation: generated arrivals get the rate, those of a trace are moved together or apart.

    Raises
    ------
    SpecError
        If the experiment sets no service levels, or a trace's requests all come at one time.
    """
    if not experiment.slo.goals():
        raise SpecError("no goals to search a capacity for; set slo, such as {preset: sarathi-strict-mistral-7b}", ("slo",))
    arrival = experiment.workload.arrival
    if isinstance(arrival, ConcurrencyArrival):
        message = "clients of kind concurrency have no rate to vary; use poisson, gamma, fixed, ramp or trace"
        raise SpecError(message, ("workload", "arrival", "kind"))

    def progress(*_: object) -> None:
        if stop.is_set():
            raise _Stopped

    def evaluate(rate: float, seed: int, num_prompts: int) -> Point:
        changes = {"request_rate": rate} | ({"speed": None} if isinstance(arrival, TraceArrival) else {})
        paced = msgspec.structs.replace(arrival, **changes)
        workload = msgspec.structs.replace(experiment.workload, num_prompts=num_prompts, arrival=paced)
        run = msgspec.structs.replace(experiment, workload=workload, seed=seed)
        result = simulate(run, progress, keep_steps=False)
        return judged(result.summary, rate, seed, num_prompts, goals_only)

    return evaluate


def judged(summary: dict[str, Any], rate: float, seed: int, num_prompts: int, goals_only: bool) -> Point:
    """The point of a run's summary."""
    slo = summary["slo"]
    ratios = {_name(goal): _ratio(goal) for goal in slo["goals"] if goal["statistic"] != "request"}
    if slo["attainment"] is not None:
        missed, allowed = 1 - slo["attainment"], 1 - slo["wanted_attainment"]
        ratios["attainment"] = missed / allowed if allowed > 0 else math.inf if missed else 0.0
    limit, ratio = max(ratios.items(), key=lambda item: item[1])
    saturated = summary["saturated"] and not goals_only
    if slo["met"] and saturated:
        limit, ratio = "saturation", math.inf
    kept = {key: value for key, value in summary.items() if key in _KEPT or key.endswith("_ms")}
    named = ("saturated", "saturation", "slo", "device", "occupancy", "bottleneck", "pools")
    blocks = {key: summary[key] for key in named if key in summary}
    return Point(rate=rate, seed=seed, num_prompts=num_prompts, passed=slo["met"] and not saturated, limit=limit,
                 ratio=ratio if math.isfinite(ratio) else None, summary=kept | blocks)  # fmt: skip


def _name(goal: dict[str, Any]) -> str:
    return f"{goal['statistic']} {goal['metric']}"


def _ratio(goal: dict[str, Any]) -> float:
    if goal["value_ms"] is None:
        return 0.0 if goal["met"] else math.inf
    return float(goal["value_ms"] / goal["limit_ms"])


def document(found: Found) -> dict[str, Any]:
    """All that is known, as plain data; `hdasim.report.capacity` prints it.

    Figures at the capacity and above it are means over seeds, each at its own highest rate that passed and lowest that failed.
    """
    settings = found.settings
    points = {(p.rate, p.seed, p.num_prompts): p for p in found.points}
    seeds, at, above = [], [], []
    for seed, bracket in sorted(found.brackets.items()):
        low, high = (points.get((rate or math.nan, seed, settings.num_prompts)) for rate in (bracket.passed, bracket.failed))
        at += [low] if low else []
        above += [high] if high else []
        limits = {"limit_above": high.limit if high else None, "ratio_above": high.ratio if high else None}
        seeds.append({"seed": seed, "passed": bracket.passed, "failed": bracket.failed, **limits})
    mean, half = interval(found.rates) if found.rates else (None, None)
    if found.status == "unlimited":
        at = found.offline
    return {
        "status": found.status, "interrupted": found.interrupted, "capacity": mean, "half_width": half, "confidence": CONFIDENCE,
        "tolerance": settings.tolerance, "num_prompts": settings.num_prompts, "seeds": seeds,
        "offline_throughput": interval([p.summary["request_throughput"] for p in found.offline])[0] if found.offline else None,
        "at_capacity": averaged(at), "above": averaged(above),
        "longer_run": {"share": LONGER_AT, "passed": sum(p.passed for p in found.longer), "seeds": len(found.longer)},
        "curve": _curve(found.curve), "points": [msgspec.to_builtins(p) for p in found.points],
    }  # fmt: skip


def averaged(points: list[Point]) -> dict[str, Any] | None:
    """Summaries averaged key by key over seeds; None where one has no number. None without points."""
    return _averaged([p.summary for p in points]) if points else None


def _averaged(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {key: _averaged([value[key] for value in values]) for key in first}
    if isinstance(first, list) and all(isinstance(value, list) and len(value) == len(first) for value in values):
        return [_averaged(list(parts)) for parts in zip(*values, strict=True)]
    if isinstance(first, bool):
        return sum(values) / len(values) if len(set(values)) > 1 else first
    if all(isinstance(value, (int, float)) for value in values):
        return math.fsum(values) / len(values)
    return first if all(value == first for value in values) else None


def _curve(points: list[Point]) -> list[dict[str, Any]]:
    """One row for each rate: the share of seeds that pass, and the mean summary."""
    rows = []
    for rate in dict.fromkeys(p.rate for p in points):
        same = [p for p in points if p.rate == rate]
        share = sum(p.passed for p in same) / len(same)
        rows.append({"rate": rate, "passed": share, "saturated": sum(p.summary["saturated"] for p in same) / len(same),
                     "summary": averaged(same)})  # fmt: skip
    return rows
