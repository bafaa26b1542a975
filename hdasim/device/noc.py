"""NoC topologies as the flat arrays that the C core routes on. networkx builds and checks; nothing here runs per step."""

from collections.abc import Callable

import networkx as nx
import numpy as np

from ..core._core import Network
from ..errors import SpecError
from ..spec.hardware import Device, Noc

_WHERE = ("device", "noc", "edges")
Step = Callable[[int, int], int]


def network(device: Device) -> Network:
    """The network of `device`: routers, directed links, next link towards every router, and the order of cores along collectives' rings.

    Mesh and torus route along x, then y; rings the shorter way; edge lists by shortest path, lowest neighbour first. An edge list is refused if
    it is not connected or if its routes could deadlock (a cycle of links that wait for each other, Dally and Seitz 1987).
    """
    noc, cores = device.noc, device.core_count
    if noc.topology in ("crossbar", "shared"):
        return _build(noc, np.zeros(cores, np.int64), nx.DiGraph([(0, 0)]), lambda a, b: a, list(range(cores)))
    graph, step, order = _TOPOLOGIES[noc.topology](noc, cores)
    return _build(noc, np.arange(cores), graph, step, order)


def _build(noc: Noc, router_of: np.ndarray, graph: nx.DiGraph, step: Step, order: list[int]) -> Network:
    routers = graph.number_of_nodes()
    links = {edge: i for i, edge in enumerate(sorted(e for e in graph.edges if e[0] != e[1]))}
    link_to = np.array([b for _, b in links], np.int64)
    next_link = np.full((routers, routers), -1, np.int64)
    for a in range(routers):
        for b in range(routers):
            if a != b:
                next_link[a, b] = links[a, step(a, b)]
    return Network(router_of, link_to, next_link.ravel(), order, noc.router_delay, noc.link_delay, noc.port_delay)


def _toward(a: int, b: int, size: int, wrap: bool) -> int:
    """Next coordinate from a towards b on a line of `size`, the shorter way round if it wraps (up on a tie)."""
    if not wrap or size < 3:
        return a + (1 if b > a else -1)
    up = (b - a) % size
    return (a + (1 if 2 * up <= size else -1)) % size


def _grid(noc: Noc, cores: int, wrap: bool) -> tuple[nx.DiGraph, Step, list[int]]:
    columns = min(noc.columns, cores)
    rows = -(-cores // columns)
    if wrap and cores % columns:
        raise SpecError(
            f"a torus of {columns} columns needs core_count to be a multiple of it, got {cores}; use mesh or {columns * rows} cores",
            ("device", "noc", "columns"),
        )

    def step(a: int, b: int) -> int:
        (ya, xa), (yb, xb) = divmod(a, columns), divmod(b, columns)
        if xa != xb:
            next_x = ya * columns + _toward(xa, xb, columns, wrap)
            if next_x < cores:  # the last row of a mesh may be short: leave it along y first
                return next_x
            return a - columns
        return _toward(ya, yb, rows, wrap) * columns + xa

    graph = nx.DiGraph()
    graph.add_nodes_from(range(cores))
    for a in range(cores):
        y, x = divmod(a, columns)
        for ny, nx_ in ((y, x + 1), (y + 1, x)):
            if wrap:
                ny, nx_ = ny % rows, nx_ % columns
            b = ny * columns + nx_
            if nx_ < columns and b < cores and b != a:
                graph.add_edges_from([(a, b), (b, a)])
    snake = [y * columns + (x if y % 2 == 0 else columns - 1 - x) for y in range(rows) for x in range(columns)]
    return graph, step, [node for node in snake if node < cores]


def _ring(noc: Noc, cores: int) -> tuple[nx.DiGraph, Step, list[int]]:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(cores))
    for a in range(cores if cores > 1 else 0):
        graph.add_edges_from([(a, (a + 1) % cores), ((a + 1) % cores, a)])
    return graph, lambda a, b: _toward(a, b, cores, True), list(range(cores))


def _edges(noc: Noc, cores: int) -> tuple[nx.DiGraph, Step, list[int]]:
    graph = nx.Graph()
    graph.add_nodes_from(range(cores))
    if not noc.edges and cores > 1:
        raise SpecError("topology edges needs a list of core pairs, e.g. [[0, 1], [1, 2]]", _WHERE)
    for i, (a, b) in enumerate(noc.edges):
        if a == b:
            raise SpecError(f"edge {a}-{b} joins a core to itself; remove it", (*_WHERE, i))
        if max(a, b) >= cores:
            raise SpecError(f"edge {a}-{b} names core {max(a, b)}, but cores are 0 to {cores - 1}", (*_WHERE, i))
        graph.add_edge(a, b)
    parts = sorted(nx.connected_components(graph), key=min)
    if len(parts) > 1:
        raise SpecError(f"the cores are not connected: no path from core 0 to core {min(parts[1])}; add an edge", _WHERE)
    hops = dict(nx.all_pairs_shortest_path_length(graph))
    near = {a: sorted(graph.neighbors(a)) for a in graph}

    def step(a: int, b: int) -> int:
        return next(c for c in near[a] if hops[c][b] == hops[a][b] - 1)

    _refuse_deadlock(graph, step)
    return graph.to_directed(), step, list(nx.dfs_preorder_nodes(graph, 0))


def _refuse_deadlock(graph: nx.Graph, step: Step) -> None:
    waits = nx.DiGraph()
    for a in graph:
        for b in graph:
            node, previous = a, None
            while node != b:
                link = (node, step(node, b))
                if previous is not None:
                    waits.add_edge(previous, link)
                previous, node = link, link[1]
    try:
        cycle = nx.find_cycle(waits)
    except nx.NetworkXNoCycle:
        return
    loop = ">".join(str(link[0][0]) for link in cycle)
    raise SpecError(
        f"the edges form a cycle whose links can wait for each other for ever (cores {loop}>{cycle[0][0][0]}); remove an edge, or use "
        f"topology mesh, torus or ring, whose routes cannot deadlock",
        _WHERE,
    )


_TOPOLOGIES: dict[str, Callable[[Noc, int], tuple[nx.DiGraph, Step, list[int]]]] = {
    "mesh": lambda noc, cores: _grid(noc, cores, False),
    "torus": lambda noc, cores: _grid(noc, cores, True),
    "ring": _ring,
    "edges": _edges,
}
