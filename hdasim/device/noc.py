"""NoC topologies as the flat arrays that the C core routes on; nothing here runs per step.

Edge lists are checked before networkx orders them: its import takes longer than all checks, and errors are to come at once.
"""

from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter

import numpy as np

from ..core._core import Network
from ..errors import SpecError
from ..spec.hardware import Device, Noc

_WHERE = ("device", "noc", "edges")
Step = Callable[[int, int], int]
#: Directed links between routers 0, 1, ..; the next router from one towards another; the order of routers along rings.
Topology = tuple[set[tuple[int, int]], Step, list[int]]


def network(device: Device) -> Network:
    """The network of `device`: routers, directed links, next link towards every router, order of cores along collectives' rings.

    Mesh and torus route along x, then y; rings the shorter way; edge lists by shortest path, lowest neighbour first. An edge
    list is refused if it is not connected or if its routes could deadlock (a cycle of links that wait for each other, Dally and
    Seitz 1987).
    """
    noc, cores = device.noc, device.core_count
    if noc.topology in ("crossbar", "shared"):
        return _build(noc, np.zeros(cores, np.int64), set(), lambda a, b: a, list(range(cores)))
    return _build(noc, np.arange(cores), *_TOPOLOGIES[noc.topology](noc, cores))


def _build(noc: Noc, router_of: np.ndarray, edges: set[tuple[int, int]], step: Step, order: list[int]) -> Network:
    routers = int(router_of.max()) + 1
    links = {edge: i for i, edge in enumerate(sorted(edges))}
    link_from, link_to = (np.array([edge[end] for edge in links], np.int64) for end in (0, 1))
    next_link = np.full((routers, routers), -1, np.int64)
    for a in range(routers):
        for b in range(routers):
            if a != b:
                next_link[a, b] = links[a, step(a, b)]
    columns = noc.columns if noc.topology in ('mesh', 'torus') and routers % noc.columns == 0 else 0
    dimension, wraps = np.zeros(len(links), np.int64), np.zeros(len(links), np.int64)
    if noc.topology in ("ring", "torus"):
        k = routers if noc.topology == "ring" else min(noc.columns, routers)
        dimension = (link_from // k != link_to // k).astype(np.int64)
        far = np.where(dimension == 1, abs(link_from // k - link_to // k), abs(link_from % k - link_to % k))
        wraps = (far > 1).astype(np.int64)
    delays = {'link_dimension': dimension, 'link_wraps': wraps, 'router_delay': noc.router_delay, 'link_delay': noc.link_delay, 'port_delay': noc.port_delay}
    return Network(router_of, link_from, link_to, next_link.ravel(), order, columns=columns, **delays)


def _toward(a: int, b: int, size: int, wrap: bool) -> int:
    """Next coordinate from a towards b on a line of `size`, the shorter way round if it wraps (up on a tie)."""
    if not wrap or size < 3:
        return a + (1 if b > a else -1)
    up = (b - a) % size
    return (a + (1 if 2 * up <= size else -1)) % size


def _grid(noc: Noc, cores: int, wrap: bool) -> Topology:
    columns = min(noc.columns, cores)
    rows = -(-cores // columns)
    if wrap and cores % columns:
        raise SpecError(
            f"a torus of {columns} columns needs core_count to be a multiple of it, got {cores}; "
            f"use mesh or {columns * rows} cores",
            ("device", "noc", "columns"),
        )

    # The cores of a short last row stand at the end where the snake of full rows arrives, so that the snake stays one line of
    # neighbours.
    missing = rows * columns - cores if rows % 2 == 0 else 0

    def place(core: int) -> tuple[int, int]:
        y, x = divmod(core, columns)
        return y, x + (missing if y == rows - 1 else 0)

    at = {place(core): core for core in range(cores)}

    def step(a: int, b: int) -> int:
        (ya, xa), (yb, xb) = place(a), place(b)
        beside = (ya, _toward(xa, xb, columns, wrap))
        if xa != xb and beside in at:
            return at[beside]
        # along y; also out of a short last row that does not reach far enough along x
        return at[(_toward(ya, yb, rows, wrap) if ya != yb else ya - 1, xa)]

    edges: set[tuple[int, int]] = set()
    for (y, x), a in at.items():
        for neighbour in ((y, x + 1), (y + 1, x)):
            key = (neighbour[0] % rows, neighbour[1] % columns) if wrap else neighbour
            if key in at and at[key] != a:
                edges |= {(a, at[key]), (at[key], a)}
    snake = [(y, x if y % 2 == 0 else columns - 1 - x) for y in range(rows) for x in range(columns)]
    return edges, step, [at[key] for key in snake if key in at]


def _ring(noc: Noc, cores: int) -> Topology:
    edges: set[tuple[int, int]] = set()
    for a in range(cores if cores > 1 else 0):
        edges |= {(a, (a + 1) % cores), ((a + 1) % cores, a)}
    return edges, lambda a, b: _toward(a, b, cores, True), list(range(cores))


def _edges(noc: Noc, cores: int) -> Topology:
    if not noc.edges and cores > 1:
        raise SpecError("topology edges needs a list of core pairs, e.g. [[0, 1], [1, 2]]", _WHERE)
    for i, (a, b) in enumerate(noc.edges):
        if a == b:
            raise SpecError(f"edge {a}-{b} joins a core to itself; remove it", (*_WHERE, i))
        if max(a, b) >= cores:
            raise SpecError(f"edge {a}-{b} names core {max(a, b)}, but cores are 0 to {cores - 1}", (*_WHERE, i))

    joined: dict[int, set[int]] = {core: set() for core in range(cores)}
    for a, b in noc.edges:
        joined[a].add(b)
        joined[b].add(a)
    near = {core: sorted(others) for core, others in joined.items()}
    hops = {a: _distances(near, a) for a in near}
    far = [core for core in near if core not in hops[0]]
    if far:
        raise SpecError(f"the cores are not connected: no path from core 0 to core {far[0]}; add an edge", _WHERE)

    def step(a: int, b: int) -> int:
        return next(c for c in near[a] if hops[c][b] == hops[a][b] - 1)

    _refuse_deadlock(cores, step)

    import networkx as nx

    graph = nx.Graph(noc.edges)
    graph.add_nodes_from(range(cores))
    return set(graph.to_directed().edges), step, list(nx.dfs_preorder_nodes(graph, 0))


def _distances(near: dict[int, list[int]], start: int) -> dict[int, int]:
    """Links from `start` to every core that it reaches."""
    found, queue = {start: 0}, [start]
    for core in queue:
        for other in near[core]:
            if other not in found:
                found[other] = found[core] + 1
                queue.append(other)
    return found


def _refuse_deadlock(cores: int, step: Step) -> None:
    """A link waits for the next one on every route that takes both; each such pair begins the route of the first one's source."""
    waits: dict[tuple[int, int], set[tuple[int, int]]] = {}
    for b in range(cores):
        for a in range(cores):
            if a != b and (middle := step(a, b)) != b:
                waits.setdefault((a, middle), set()).add((middle, step(middle, b)))
    try:
        TopologicalSorter(waits).prepare()
        return
    except CycleError as error:
        cycle = error.args[1][:0:-1]  # closed, and in the order of predecessors
    loop = ">".join(str(link[0]) for link in cycle)
    raise SpecError(
        f"the edges form a cycle whose links can wait for each other for ever (cores {loop}>{cycle[0][0]}); "
        f"remove an edge, or use topology mesh, torus or ring, whose routes cannot deadlock",
        _WHERE,
    )


_TOPOLOGIES: dict[str, Callable[[Noc, int], Topology]] = {
    "mesh": lambda noc, cores: _grid(noc, cores, False),
    "torus": lambda noc, cores: _grid(noc, cores, True),
    "ring": _ring,
    "edges": _edges,
}
