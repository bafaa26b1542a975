"""When targets are missed: the smallest factor on each single resource of the best chip that meets each of them.

A factor is one of 16 steps between two powers of two (each 4.4 % more than the last), or that of a chip with larger arrays, more
cores or wider trees of the search's grids; the first that meets is found by bisection over simulations, which supposes that more
of a resource does not hurt. A resource of which even the most does not meet a target is no remedy for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ...errors import CapacityError, SpecError
from ...spec.search_ador import AdorSearch
from ...units import show
from ..loop import Task
from . import chip as chips
from .bench import Asking, Bench
from .chip import Chip
from .fit import programs
from .goals import Goal, goals
from .space import Needs

#: Steps of a factor between two powers of two.
FINE = 16
#: More cores than this are not tried; the NoC takes longer to simulate than the rest.
MOST_CORES = 128


@dataclass
class Resource:
    """More and more of one resource: `tasks[i]` evaluates `texts[i]`, `factors[i]` times what the chip has."""

    name: str
    factors: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    records: dict[int, dict[str, Any]] = field(default_factory=dict)

    def add(self, factor: float, text: str, task: Task) -> None:
        self.factors.append(factor)
        self.texts.append(text)
        self.tasks.append(task)


def factors(most: float) -> list[float]:
    """2^(1/16), 2^(2/16), .. up to `most`."""
    found = [2 ** (i / FINE) for i in range(1, 12 * FINE + 1)]
    return [f for f in found if f <= most * (1 + 1e-9)]


def resources(bench: Bench, needs: Needs, chip: Chip) -> list[Resource]:
    """Of the chip: DRAM bandwidth and capacity, links, area for arrays, cores and trees, devices."""
    search = bench.search
    base = chips.device(search, chip)
    found = [_scaled(bench, "DRAM bandwidth", "bandwidth", base), _scaled(bench, "DRAM capacity", "capacity", base)]
    if base.p2p is not None and search.serving.device_count * search.serving.pipeline_parallel_size > 1:
        links = Resource("bandwidth between devices")
        for f in factors(search.max_factor):
            p2p = msgspec.structs.replace(base.p2p, bandwidth=base.p2p.bandwidth * f)
            task = bench.serve_task(msgspec.structs.replace(base, p2p=p2p))
            links.add(f, f"{show(p2p.bandwidth, 'B/s')} each way", task)
        found.append(links)
    sides = {*search.space.sides, *(chip.side + 32 * i for i in range(1, 9))}
    larger = [msgspec.structs.replace(chip, side=s) for s in sorted(sides) if s > chip.side]
    counts = sorted(n for n in {*search.space.core_counts, MOST_CORES} if n > chip.core_count)
    more = [msgspec.structs.replace(chip, core_count=n, width=needs.width(n)) for n in counts]
    trees = [msgspec.structs.replace(chip, lanes=chip.lanes * 2**i) for i in range(1, 5)]
    found += [_area(bench, name, variants) for name, variants in
              (("area, for larger arrays", larger), ("area, for more cores", more), ("area, for MAC trees", trees))]  # fmt: skip
    return [r for r in [*found, *_devices(bench, base)] if r.tasks]


def _scaled(bench: Bench, name: str, key: str, base: Any) -> Resource:
    resource, unit = Resource(name), "B/s" if key == "bandwidth" else "B"
    for f in factors(bench.search.max_factor):
        dram = msgspec.structs.replace(base.dram, **{key: getattr(base.dram, key) * f})
        resource.add(f, show(getattr(dram, key), unit), bench.serve_task(msgspec.structs.replace(base, dram=dram)))
    return resource


def _area(bench: Bench, name: str, variants: list[Chip]) -> Resource:
    """Chips of which each is larger than the one before; the factor is on the area that the search allows."""
    resource, limit = Resource(name), bench.search.constraints.area
    for variant in variants:
        size = chips.area(bench.search, variant)
        resource.add(size / limit, f"{size:.1f} mm2 ({variant.label})", bench.serve_task(chips.device(bench.search, variant)))
    return resource


def _devices(bench: Bench, base: Any) -> Iterator[Resource]:
    """More devices in a tensor-parallel group, where the model can be cut so, more replicas of the group, and more slots, which
    are no hardware but may be what limits."""
    search, serving = bench.search, bench.search.serving
    names = ("devices that share each layer", "replicas", "slots (max_num_seqs)")
    for name, key in zip(names, ("device_count", "data_parallel_size", "max_num_seqs"), strict=True):
        resource, count = Resource(name), getattr(serving, key)
        for factor in (2, 4, 8, 16):
            budget = max(serving.max_num_batched_tokens, count * factor if key == "max_num_seqs" else 0)
            more = msgspec.structs.replace(serving, **{key: count * factor, "max_num_batched_tokens": budget})
            if key == "device_count" and not _cuts(bench, base, more):
                continue
            resource.add(float(factor), f"{count * factor}", bench.serve_task(base, serving=more))
        if search.max_factor >= 2:
            yield resource


def _cuts(bench: Bench, base: Any, serving: Any) -> bool:
    if base.p2p is None:
        return False
    try:
        programs(bench.search.experiment(base, serving=serving))
    except (SpecError, CapacityError):
        return False
    return True


def remedies(bench: Bench, needs: Needs, chip: Chip, missed: list[Goal]) -> Asking:
    """For each missed target and resource: the least factor and what that is; ``factor`` None if even the most does not meet it.

    All resources are bisected at the same time, so that a batch holds one simulation of each.
    """
    every = resources(bench, needs, chip)
    found: list[dict[str, Any]] = []
    for goal in missed:
        spans = [[-1, len(r.tasks) - 1] for r in every]  # fails at the first, may meet at the last
        yield from _fetch(every, [len(r.tasks) - 1 for r in every])
        ends = [_meets(bench.search, r.records[len(r.tasks) - 1], goal) for r in every]
        while True:
            open_ = [end and high - low > 1 for end, (low, high) in zip(ends, spans, strict=True)]
            if not any(open_):
                break
            middles = [sum(span) // 2 if wide else None for wide, span in zip(open_, spans, strict=True)]
            yield from _fetch(every, middles)
            for resource, span, middle in zip(every, spans, middles, strict=True):
                if middle is not None:
                    span[_meets(bench.search, resource.records[middle], goal)] = middle
        for resource, end, (_, high) in zip(every, ends, spans, strict=True):
            found.append(_remedy(bench.search, goal, resource, high, end))
    return found


def _meets(search: AdorSearch, record: dict[str, Any], goal: Goal) -> bool:
    return next(g.met for g in goals(record, search) if g.name == goal.name and g.whose == goal.whose)


def _fetch(every: list[Resource], wanted: list[Any]) -> Asking:
    """Records of one step of each resource that has none yet."""
    new = [(r, i) for r, i in zip(every, wanted, strict=True) if i is not None and i not in r.records]
    records = (yield [r.tasks[i] for r, i in new]) if new else []
    for (resource, i), record in zip(new, records, strict=True):
        resource.records[i] = record


def _remedy(search: AdorSearch, goal: Goal, resource: Resource, index: int, meets: bool) -> dict[str, Any]:
    row = {"target": goal.name, "resource": resource.name, "factor": None, "needs": None, "tried_up_to": resource.texts[-1]}
    if not meets:
        return row
    also = [g.name for g in goals(resource.records[index], search) if not g.met]
    return row | {"factor": resource.factors[index], "needs": resource.texts[index], "still_missed": also}


def told(row: dict[str, Any]) -> str:
    """One line of a remedy."""
    return f"{row['target']}: {row['resource']} x {row['factor']:.3g}: {row['needs']}"
