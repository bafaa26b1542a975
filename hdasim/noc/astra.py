"""Collectives between devices over links that hold a whole message at every hop: ASTRA-sim's congestion-aware analytical network.

Every link is a queue: a message holds it for size / bandwidth and arrives a latency later; only then does the next link take it.
1 "GB/s" is 2^30 bytes/s there (noc README 8).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hdasim.core import layout
from hdasim.core._core import Links
from hdasim.errors import CoreError, SpecError
from hdasim.noc.collectives import Messages
from hdasim.noc.links import Graph, graph
from hdasim.noc.messages import MOST_MESSAGES
from hdasim.noc.topology import Ints
from hdasim.text import choice, number, whole

INPUTS = ("topology", "npus", "bandwidth_GiBps", "latency_ns", "chunk_bytes", "schedule")
TOPOLOGIES = {"Ring": "ring", "Switch": "switch", "FullyConnected": "fully_connected"}
SCHEDULES = ("direct", "direct_rot", "ring_ag", "ring_ar")
_MOST_DEVICES = 1024
_GIB, _PS = 2.0**30, 1e-12


@dataclass(frozen=True)
class Case:
    """A checked row: every message of `schedule` carries `chunk_bytes`; bytes per second and picoseconds."""

    topology: str
    devices: int
    bandwidth: float
    latency: int
    chunk_bytes: int
    schedule: str


@dataclass(frozen=True)
class Result:
    """Nanoseconds of a schedule, and what no schedule of these messages can beat on these links."""

    time_ns: float
    bound_ns: float

    def columns(self) -> dict[str, Any]:
        return {"time_ns": round(self.time_ns, 3), "bound_ns": round(self.bound_ns, 3)}


def parse(cells: dict[str, str]) -> Case:
    """The case of a row; `SpecError` names the column that is wrong, and what would be right."""
    topology = TOPOLOGIES[choice(cells["topology"], "topology", TOPOLOGIES)]
    devices = whole(cells["npus"], "npus", least=2, most=_MOST_DEVICES)
    bandwidth = number(cells["bandwidth_GiBps"], "bandwidth_GiBps", 1e-6, 1e9)
    latency = number(cells["latency_ns"], "latency_ns", 0, 1e12)
    size = whole(cells["chunk_bytes"], "chunk_bytes")
    name = choice(cells["schedule"], "schedule", SCHEDULES)
    steps = (devices - 1) * (2 if name == "ring_ar" else 1)
    if devices * steps > MOST_MESSAGES:
        raise SpecError(f"{devices * steps:,} messages, but {MOST_MESSAGES:,} is the most; use fewer", ("npus",))
    return Case(topology, devices, bandwidth * _GIB, round(latency * 1e3), size, name)


def schedule(case: Case) -> Messages:
    """Messages (array of `layout.MESSAGE`, flits are bytes) and dependencies: all pairs by source (`direct`) or by distance
    (`direct_rot`), or steps along the ring, each of which waits for what the one before it has brought."""
    n, here = case.devices, np.arange(case.devices)
    steps = (n - 1) * (2 if case.schedule == "ring_ar" else 1)
    step, source = (part.ravel() for part in np.meshgrid(np.arange(steps), here, indexing="ij"))
    messages = np.zeros(steps * n, layout.MESSAGE)
    messages["source"], messages["flits"] = source, case.chunk_bytes
    if case.schedule.startswith("direct"):
        messages["target"] = target = (source + step + 1) % n
        if case.schedule == "direct":
            messages = messages[np.lexsort((target, source))]
        return messages, np.empty(0, np.int64)
    messages["target"] = (source + 1) % n
    later = step > 0
    messages["first"][later] = np.arange(later.sum())
    messages["count"] = later
    return messages, ((step - 1) * n + (source - 1) % n)[later]


def simulate(case: Case, max_work: int) -> Result:
    """Run a case.

    Raises
    ------
    SpecError
        If messages would cross more than `max_work` links, or the core refuses the case.
    """
    g = graph(case.topology, case.devices)
    messages, deps = schedule(case)
    loads, hops = _loads(g, messages)
    if (work := int(hops.sum())) > max_work:
        raise SpecError(f"messages cross {work:,} links; use fewer npus, or raise --max-work", ("npus",))
    rate, delay = np.full(g.link_to.size, case.bandwidth), np.full(g.link_to.size, case.latency)
    try:
        links = Links(case.devices, g.link_to, g.next_link.ravel(), rate, delay, True)
        _, time = links.run(messages, deps)
    except CoreError as error:
        raise SpecError(error.message, ("schedule",)) from None
    # The busiest link, then one more latency; or the longest chain, even if messages streamed through the nodes on their way.
    chain = messages.size // case.devices if deps.size else 1
    hold = case.chunk_bytes / case.bandwidth / _PS
    bound = max(int(loads.max()) * hold + case.latency, chain * (int(hops.max()) * case.latency + hold))
    return Result(time * _PS / 1e-9, bound * _PS / 1e-9)


def _loads(g: Graph, messages: np.ndarray) -> tuple[Ints, Ints]:
    """Messages on each link, and links of each message."""
    at, target = messages["source"].copy(), messages["target"]
    loads, hops = np.zeros(g.link_to.size, np.int64), np.zeros(messages.size, np.int64)
    moving = np.flatnonzero(at != target)
    while moving.size:
        link = g.next_link[at[moving], target[moving]]
        loads += np.bincount(link, minlength=loads.size)
        hops[moving] += 1
        at[moving] = g.link_to[link]
        moving = moving[at[moving] != target[moving]]
    return loads, hops
