"""One case of a table: a collective or a list of messages on a network of a name, and the cycles that it takes."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from hdasim.core._core import Network
from hdasim.errors import CoreError, SpecError
from hdasim.noc import collectives, names
from hdasim.noc import messages as notation
from hdasim.noc.topology import Ints, network
from hdasim.spec.base import MAX_BUFFER_FLITS, MAX_PACKET_FLITS, MAX_VIRTUAL_CHANNELS
from hdasim.text import choice, whole

#: Cycles that a router takes: BookSim 2 with and without look-ahead routing (noc README 2).
ROUTERS = {"R1": 3, "R2": 4}
#: Links and ports that flits may cross in one case unless told otherwise: half a minute, more in a network that is full.
MAX_WORK = 10**8
#: Ports of one router that the core simulates flit by flit.
MOST_PORTS = 64
#: Flits that all buffers of a network may hold together.
_MOST_BUFFERS = 2**26

INPUTS = ("topology", "router_cfg", "packet_flits")
OPTIONAL = ("num_vcs", "vc_buf_flits")
LOADS = ("max_inject_flits", "max_eject_flits", "max_link_flits", "flit_hops")


@dataclass(frozen=True)
class Case:
    """A checked row: `collective` with chunks of `chunk_flits`, or `messages`. Equal cases have equal results."""

    topology: str
    router_delay: int
    packet_flits: int
    virtual_channels: int
    buffer_flits: int
    collective: str = ""
    chunk_flits: int = 0
    messages: str = ""

    @property
    def column(self) -> str:
        """The column that names the schedule."""
        return "collective" if self.collective else "messages"


@dataclass(frozen=True)
class Result:
    """Cycles of a schedule; its lower bound and loads (`LOADS`, flits); per message the cycle at which it had arrived."""

    cycles: int
    bound_cycles: int
    loads: dict[str, int]
    done: Ints

    def columns(self) -> dict[str, Any]:
        return {"cycles": self.cycles, "bound_cycles": self.bound_cycles, **self.loads}


def parse(cells: dict[str, str]) -> Case:
    """The case of a row; `SpecError` names the column that is wrong, and what would be right."""
    topology = cells["topology"].strip()
    noc, nodes = names.parse(topology)
    router = ROUTERS[choice(cells["router_cfg"], "router_cfg", ROUTERS)]
    packet = whole(cells["packet_flits"], "packet_flits", most=MAX_PACKET_FLITS)
    channels = _or(cells, "num_vcs", 8, MAX_VIRTUAL_CHANNELS)
    buffer = _or(cells, "vc_buf_flits", 8, MAX_BUFFER_FLITS)
    if channels < 2 and noc.topology in ("torus", "ring"):
        raise SpecError(f"got 1; a {noc.topology} needs at least 2, one on either side of its dateline", ("num_vcs",))
    size = channels * buffer * (nodes + names.topology(topology).link_to.size)
    if size > _MOST_BUFFERS:
        message = f"{channels} x {buffer} flits at every port make {size} in all; use at most {_MOST_BUFFERS}"
        raise SpecError(message, ("vc_buf_flits",))
    if collective := cells.get("collective", "").strip():
        chunk = whole(cells["chunk_flits"], "chunk_flits", most=collectives.most_chunk(nodes))
        collectives.check(collective, topology)
        return Case(topology, router, packet, channels, buffer, collective, chunk)
    if "messages" not in cells:
        collectives.check("", topology)
    notation.parse(cells["messages"], nodes)
    return Case(topology, router, packet, channels, buffer, messages=cells["messages"].strip())


def _or(cells: dict[str, str], name: str, default: int, most: int) -> int:
    text = cells.get(name, "").strip()
    return whole(text, name, most=most) if text else default


@lru_cache(maxsize=16)
def _network(topology: str, router: int, packet: int, channels: int, buffer: int) -> Network:
    noc = msgspec.structs.replace(
        names.parse(topology)[0], router_delay=router, link_delay=1, port_delay=3, packet_flits=packet, virtual_channels=channels,
        buffer_flits=buffer,
    )  # fmt: skip
    return network(noc, names.topology(topology))


def schedule(case: Case) -> tuple[Network, np.ndarray, Ints]:
    """The network of a case, its messages and their dependencies."""
    net = _network(case.topology, case.router_delay, case.packet_flits, case.virtual_channels, case.buffer_flits)
    if case.collective:
        return net, *collectives.schedule(case.collective, case.topology, case.chunk_flits)
    return net, *notation.parse(case.messages, names.parse(case.topology)[1])


def _ports(name: str) -> int:
    """Ports of the router with the most."""
    topology = names.topology(name)
    return int((np.bincount(topology.router_of) + np.bincount(topology.link_from, minlength=topology.next_link.shape[0])).max())


def simulate(case: Case, max_work: int = MAX_WORK) -> Result:
    """Run a case.

    Raises
    ------
    SpecError
        If flits would cross more than `max_work` links, or the core refuses the case.
    """
    try:
        net, messages, deps = schedule(case)
        bound = net.bound(messages, deps)
        work = bound["flit_hops"] + int(messages["flits"].sum(dtype=np.float64))
        if work > max_work:
            raise SpecError(f"flits cross {work:,} links and ports; use smaller sizes, or raise --max-work", (case.column,))
        done, cycles = net.run(messages, deps)
    except CoreError as error:
        if (ports := _ports(case.topology)) > MOST_PORTS:
            message = f"a router has {ports} ports; where messages wait for each other at most {MOST_PORTS} can be simulated"
            raise SpecError(message, ("topology",)) from None
        raise SpecError(error.message, (case.column,)) from None
    return Result(cycles, int(bound["cycles"]), {name: int(bound[name.removesuffix("_flits")]) for name in LOADS}, done)
