"""Topologies as the flat arrays that the C core routes on; nothing here runs per step.

`build` is the one place that knows them: a device's `noc` and the names in a table of cases (`hdasim.noc.names`) both come here.
Edge lists are checked before networkx orders them: its import takes longer than all checks, and errors are to come at once.
"""

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hdasim.core._core import Network
from hdasim.errors import SpecError
from hdasim.spec.hardware import Device, Noc

Ints = npt.NDArray[np.int64]

#: Directions of a grid's links, in the order of BookSim's ports: dimension and step.
_DIRECTIONS = ((0, 1), (0, -1), (1, 1), (1, -1))


@dataclass(frozen=True, eq=False)
class Topology:
    """Routers, directed links between them, routes, and the nodes that they serve.

    Attributes
    ----------
    router_of
        Shape (nodes,): the router of a node.
    link_from, link_to
        Shape (links,): the routers at the ends of a link. A router's ports are in the order of its links; those of a grid come
        direction by direction: +x, -x, +y, -y.
    next_link
        Shape (routers, routers): the link that a router takes towards another one, -1 for itself.
    order
        Shape (nodes,): the nodes along a line, neighbours one link apart where that is possible.
    columns
        Nodes in a row of a full grid; 0 where there are no equal rows.
    link_dimension, link_wraps
        Shape (links,): 0 for x and 1 for y; 1 for a link that closes a ring. None if no link does.
    """

    router_of: Ints
    link_from: Ints
    link_to: Ints
    next_link: Ints
    order: Ints
    columns: int = 0
    link_dimension: Ints | None = None
    link_wraps: Ints | None = None

    @property
    def node_count(self) -> int:
        return self.router_of.size


def device_network(device: Device) -> Network:
    """The network between the cores of `device`; `SpecError` if its edges or sizes make none."""
    try:
        return network(device.noc, build(device.noc, device.core_count))
    except SpecError as error:
        error.path = ("device", "noc", *error.path)
        raise


def network(noc: Noc, topology: Topology) -> Network:
    """The network in C: `topology` with the delays, buffers and packets of `noc`."""
    t = topology
    return Network(
        t.router_of, t.link_from, t.link_to, t.next_link.ravel(), t.order, columns=t.columns, router_delay=noc.router_delay,
        link_delay=noc.link_delay, port_delay=noc.port_delay, virtual_channels=noc.virtual_channels,
        buffer_flits=noc.buffer_flits, packet_flits=noc.packet_flits, link_dimension=t.link_dimension, link_wraps=t.link_wraps,
    )  # fmt: skip


def build(noc: Noc, nodes: int, what: str = "core") -> Topology:
    """The topology of `noc` for `nodes` nodes, which errors call `what`.

    Mesh, torus and cmesh route along x, then y, tori and rings the shorter way; on a tie up from even places and down from odd
    ones, which loads both ways alike, as BookSim 2's random choice does. Node ids count along rows. Edge lists route by `routes`,
    else by shortest path, lowest neighbour first; an edge list is refused if it is not connected or if its routes could deadlock
    (a cycle of links that wait for each other, Dally and Seitz 1987).

    Raises
    ------
    SpecError
        With a path below `noc`.
    """
    if noc.topology in ("crossbar", "shared"):
        none = np.empty(0, np.int64)
        return Topology(np.zeros(nodes, np.int64), none, none, np.full((1, 1), -1, np.int64), np.arange(nodes))
    if noc.topology == "ring":
        return _grid(nodes, nodes, wrap=True)
    if noc.topology == "edges":
        return _edges(noc, nodes, what)
    if noc.topology == "cmesh":
        return _cmesh(noc.columns, noc.concentration, nodes, what)
    if noc.topology == "torus" and nodes % min(noc.columns, nodes):
        raise SpecError(
            f"a torus of {noc.columns} columns needs {what}_count to be a multiple of it, got {nodes}; "
            f"use mesh or {-(-nodes // noc.columns) * noc.columns} {what}s",
            ("columns",),
        )
    return _grid(min(noc.columns, nodes), nodes, wrap=noc.topology == "torus")


# ---- grids: mesh, torus, ring, cmesh ----


def snake(width: int, height: int) -> Ints:
    """Nodes of a grid row by row, every other row backwards."""
    grid = np.arange(width * height).reshape(height, width)
    grid[1::2] = grid[1::2, ::-1]
    return grid.ravel()


def hamiltonian(width: int, height: int) -> Ints:
    """A cycle of neighbours in a grid of an even number of rows, or its one row: node 0, the rows back and forth over columns 1
    and up, home along column 0 (noc README 4)."""
    if height == 1:
        return np.arange(width)
    grid = np.arange(width * height).reshape(height, width)
    inner = grid[:, 1:].copy()
    inner[1::2] = inner[1::2, ::-1]
    return np.concatenate([grid[0, :1], inner.ravel(), grid[:0:-1, 0]])


def _grid(columns: int, nodes: int, wrap: bool) -> Topology:
    rows = -(-nodes // columns)
    y, x = np.divmod(np.arange(nodes), columns)
    # The nodes of a short last row stand at the end where the snake of full rows arrives, so that the snake stays one line of
    # neighbours.
    missing = rows * columns - nodes
    x[y == rows - 1] += missing if rows % 2 == 0 else 0
    at = np.full((rows, columns), -1, np.int64)
    at[y, x] = np.arange(nodes)

    port, (link_from, link_to, dimension, wraps) = _grid_links(at, x, y, wrap)
    across, along = _steps(x, columns, wrap), _steps(y, rows, wrap)
    go_x, go_y = np.where(across > 0, 0, 1), np.where(along > 0, 2, 3)  # 3 also out of a short last row that ends too soon
    here = np.arange(nodes)[:, None]
    turn = (across == 0) | (port[here, go_x] < 0)
    next_link = np.where(turn, port[here, go_y], port[here, go_x])
    np.fill_diagonal(next_link, -1)

    order = np.array([node for node in at.ravel()[snake(columns, rows)].tolist() if node >= 0], np.int64)
    closed = bool(wraps.any())
    return Topology(
        np.arange(nodes), link_from, link_to, next_link, order, 0 if missing else columns,
        dimension if closed else None, wraps if closed else None,
    )  # fmt: skip


def _grid_links(at: Ints, x: Ints, y: Ints, wrap: bool) -> tuple[Ints, tuple[Ints, Ints, Ints, Ints]]:
    """The link of each node in each direction (nodes x 4, -1 if none); per link its ends, dimension and whether it wraps."""
    nodes, (rows, columns) = x.size, at.shape
    port = np.full((nodes, 4), -1, np.int64)
    parts: list[Ints] = []
    count = 0
    for direction, (dimension, step) in enumerate(_DIRECTIONS):
        size = rows if dimension else columns
        place = (y if dimension else x) + step
        inside = (place >= 0) & (place < size)
        place = place % size
        to = at[(place, x) if dimension else (y, place)]
        valid = (to >= 0) & (inside | (wrap and size > 2))  # a ring of two is a line
        source = np.flatnonzero(valid)
        port[source, direction] = count + np.arange(source.size)
        count += source.size
        parts.append(np.stack([source, to[valid], np.full(source.size, dimension), ~inside[valid]]).astype(np.int64))
    ends = np.concatenate(parts, axis=1)
    return port, (ends[0].copy(), ends[1].copy(), ends[2].copy(), ends[3].copy())


def _steps(place: Ints, size: int, wrap: bool) -> Ints:
    """Sign of the way from each to each other place on a line of `size`: the shorter way round if it wraps, on a tie up from even
    places, down from odd ones."""
    difference = place[None, :] - place[:, None]
    if wrap and size > 2:
        up = difference % size
        tie = (2 * up == size) & (place[:, None] % 2 == 0)
        return np.where(up == 0, 0, np.where((2 * up < size) | tie, 1, -1))
    sign: Ints = np.sign(difference)
    return sign


def tile(concentration: int) -> tuple[int, int]:
    """Columns and rows of the nodes of one router of a cmesh: as square as possible, no higher than wide.

    For 4 this is BookSim 2's 2 x 2 (its numbering is consistent for 4 nodes only; cmesh.cpp).
    """
    height = max(h for h in range(1, int(concentration**0.5) + 1) if concentration % h == 0)
    return concentration // height, height


def _cmesh(columns: int, concentration: int, nodes: int, what: str) -> Topology:
    """Node ids count along the rows of the grid of nodes; a router serves a tile of it."""
    columns = min(columns, max(1, nodes // concentration))
    if nodes % (columns * concentration):
        least = columns * concentration
        raise SpecError(
            f"a cmesh of {columns} columns and {concentration} {what}s per router needs {what}_count to be a multiple of "
            f"{least}, got {nodes}; use {-(-nodes // least) * least} {what}s",
            ("columns",),
        )
    routers = _grid(columns, nodes // concentration, wrap=False)
    across, high = tile(concentration)
    width = columns * across
    row, column = np.divmod(np.arange(nodes), width)
    router_of = row // high * columns + column // across
    return Topology(
        router_of, routers.link_from, routers.link_to, routers.next_link, snake(width, nodes // width), width
    )  # fmt: skip


# ---- edge lists ----


def _edges(noc: Noc, nodes: int, what: str) -> Topology:
    if not noc.edges and nodes > 1:
        raise SpecError(f"topology edges needs a list of {what} pairs, e.g. [[0, 1], [1, 2]]", ("edges",))
    for i, (a, b) in enumerate(noc.edges):
        if a == b:
            raise SpecError(f"edge {a}-{b} joins a {what} to itself; remove it", ("edges", i))
        if max(a, b) >= nodes:
            message = f"edge {a}-{b} names {what} {max(a, b)}, but {what}s are 0 to {nodes - 1}"
            raise SpecError(message, ("edges", i))

    joined: dict[int, set[int]] = {node: set() for node in range(nodes)}
    for a, b in noc.edges:
        joined[a].add(b)
        joined[b].add(a)
    near = {node: sorted(others) for node, others in joined.items()}
    hops = np.array([_distances(near, a) for a in near])
    if (hops < 0).any():
        far = int(np.flatnonzero(hops[0] < 0)[0])
        raise SpecError(
            f"the {what}s are not connected: no path from {what} 0 to {what} {far}; add an edge", ("edges",)
        )  # fmt: skip

    links = {edge: i for i, edge in enumerate((a, b) for a in near for b in near[a])}
    ends = np.array(list(links), np.int64).reshape(-1, 2)
    step = np.full((nodes, nodes), -1, np.int64)
    for a in near:
        for c in reversed(near[a]):
            step[a, hops[c] == hops[a] - 1] = c
    _apply_routes(noc.routes, joined, step, what)
    next_link = np.full((nodes, nodes), -1, np.int64)
    for (a, c), link in links.items():
        next_link[a, step[a] == c] = link
    _refuse_deadlock(next_link, ends, what, "routes" if noc.routes else "edges")

    import networkx as nx

    graph = nx.Graph(noc.edges)
    graph.add_nodes_from(range(nodes))
    order = np.array(list(nx.dfs_preorder_nodes(graph, 0)), np.int64)
    return Topology(np.arange(nodes), ends[:, 0].copy(), ends[:, 1].copy(), next_link, order)


def _distances(near: dict[int, list[int]], start: int) -> list[int]:
    """Links from `start` to every node, -1 to those that it does not reach."""
    found = [-1] * len(near)
    found[start] = 0
    queue = [start]
    for node in queue:
        for other in near[node]:
            if found[other] < 0:
                found[other] = found[node] + 1
                queue.append(other)
    return found


def _apply_routes(routes: tuple[tuple[int, ...], ...], joined: dict[int, set[int]], step: Ints, what: str) -> None:
    """Write the given paths into the table of next nodes; refuse those that are none or contradict each other.

    Every node on a path leads to its end, and every other one comes closer until it is there or on a path: no circles.
    """
    given: dict[tuple[int, int], tuple[int, int]] = {}  # node and target -> next node, and the route that said so
    for i, path in enumerate(routes):
        where = ("routes", i)
        if len(path) < 2:
            raise SpecError(f"a route needs two {what}s at least, such as [0, 1]", where)
        if len(set(path)) < len(path):
            raise SpecError(f"the route passes a {what} twice; give a path without a circle", where)
        target = path[-1]
        for a, b in pairwise(path):
            if max(a, b) >= len(joined):
                raise SpecError(f"the route names {what} {max(a, b)}, but {what}s are 0 to {len(joined) - 1}", where)
            if b not in joined[a]:
                raise SpecError(f"there is no edge {a}-{b}; add it, or route over edges that exist", where)
            before, number = given.setdefault((a, target), (b, i))
            if before != b:
                raise SpecError(
                    f"sends what is at {what} {a} for {what} {target} to {what} {b}, but route {number} sends it to {before}; "
                    f"routes to one {what} must agree",
                    where,
                )
            step[a, target] = b


def _refuse_deadlock(next_link: Ints, ends: Ints, what: str, key: str) -> None:
    """A link waits for the next one on every route that takes both; each such pair begins the route of the first one's source."""
    if not ends.size:
        return
    sources, targets = np.nonzero(next_link >= 0)
    first = next_link[sources, targets]
    second = next_link[ends[first, 1], targets]
    pairs = np.unique((first * len(ends) + second)[second >= 0])
    waits: dict[int, set[int]] = {}
    for pair in pairs.tolist():
        link, after = divmod(pair, len(ends))
        waits.setdefault(link, set()).add(after)
    try:
        TopologicalSorter(waits).prepare()
        return
    except CycleError as error:
        cycle = [int(ends[link, 0]) for link in error.args[1][:0:-1]]  # closed, and in the order of predecessors
    loop = ">".join(map(str, [*cycle, cycle[0]]))
    remedy = "change a route" if key == "routes" else "remove an edge, give routes that avoid it"
    raise SpecError(
        f"the {key} form a cycle whose links can wait for each other for ever ({what}s {loop}); "
        f"{remedy}, or use topology mesh, torus or ring, whose routes cannot deadlock",
        (key,),
    )
