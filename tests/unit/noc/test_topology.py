"""Topologies: links, hops, routes, wraps, node numbers, orders; and what of edge lists and routes is refused."""

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from hdasim.errors import SpecError
from hdasim.noc.topology import Topology, build, device_network, hamiltonian, snake, tile
from hdasim.spec.hardware import Noc
from hdasim.spec.load import load_device


def make(topology: str, nodes: int, columns: int = 8, **fields: object) -> Topology:
    return build(msgspec.convert({"topology": topology, "columns": columns, **fields}, Noc), nodes)


def route(t: Topology, a: int, b: int) -> list[int]:
    """Routers from a to b."""
    path = [a]
    while path[-1] != b:
        link = t.next_link[path[-1], b]
        assert t.link_from[link] == path[-1]
        path.append(int(t.link_to[link]))
        assert len(path) <= t.next_link.shape[0]
    return path


def hops(t: Topology) -> np.ndarray:
    routers = range(t.next_link.shape[0])
    return np.array([[len(route(t, a, b)) - 1 for b in routers] for a in routers])


@pytest.mark.parametrize(
    ("topology", "nodes", "columns", "links", "longest", "total"),
    [
        # k x k mesh: 4 k (k - 1) links; sum over all pairs of |dx| + |dy| = 2 k^2 (k (k^2 - 1) / 3)
        ("mesh", 16, 4, 48, 6, 2 * 16 * 20),
        ("mesh", 64, 8, 224, 14, 2 * 64 * 168),
        ("mesh", 8, 8, 14, 7, 168),  # one row
        ("mesh", 6, 8, 10, 5, 70),  # fewer cores than columns: one row of 6
        ("torus", 16, 4, 64, 4, 2 * 16 * 16),  # a ring of 4: distances 0 1 2 1, sum 16
        ("torus", 64, 8, 256, 8, 2 * 64 * 128),
        ("ring", 8, 8, 16, 4, 128),
        ("ring", 3, 8, 6, 1, 6),
        ("ring", 2, 8, 2, 1, 2),
        ("torus", 4, 2, 8, 2, 16),  # rings of two are lines
        ("crossbar", 9, 8, 0, 0, 0),
    ],
)
def test_links_and_hops(topology: str, nodes: int, columns: int, links: int, longest: int, total: int) -> None:
    t = make(topology, nodes, columns)
    found = hops(t)
    assert (t.link_to.size, found.max(), found.sum()) == (links, longest, total)
    assert (t.next_link.diagonal() == -1).all()
    assert len(set(zip(t.link_from.tolist(), t.link_to.tolist(), strict=True))) == links


def test_grids_route_along_x_first() -> None:
    assert route(make("mesh", 16, 4), 1, 14) == [1, 2, 6, 10, 14]
    assert route(make("torus", 16, 4), 0, 15) == [0, 3, 15]  # both wraps


def test_ties_go_both_ways() -> None:
    ring = make("ring", 8)
    assert route(ring, 2, 6) == [2, 3, 4, 5, 6]
    assert route(ring, 3, 7) == [3, 2, 1, 0, 7]
    load = np.zeros(16, int)
    for a in range(8):
        path = route(ring, a, (a + 4) % 8)
        for here, to in pairwise(path):
            load[ring.next_link[here, to]] += 1
    assert set(load.tolist()) == {2}  # all 8 x 4 link crossings spread over 16 links


def test_links_come_direction_by_direction() -> None:
    """BookSim's port order: +x, -x, +y, -y; wraps and dimensions where rings close."""
    mesh = make("mesh", 4, 2)
    assert list(zip(mesh.link_from.tolist(), mesh.link_to.tolist(), strict=True)) == [
        (0, 1), (2, 3), (1, 0), (3, 2), (0, 2), (1, 3), (2, 0), (3, 1),
    ]  # fmt: skip
    assert mesh.link_wraps is None and mesh.link_dimension is None
    torus = make("torus", 9, 3)
    assert torus.link_dimension is not None and torus.link_wraps is not None
    assert torus.link_dimension.tolist() == [0] * 18 + [1] * 18
    wraps = [(a, b) for a, b, w in zip(torus.link_from, torus.link_to, torus.link_wraps, strict=True) if w]
    assert wraps == [(2, 0), (5, 3), (8, 6), (0, 2), (3, 5), (6, 8), (6, 0), (7, 1), (8, 2), (0, 6), (1, 7), (2, 8)]


@pytest.mark.parametrize("nodes", [5, 6, 7, 9, 10, 11, 13, 14, 15])
def test_a_short_last_row(nodes: int) -> None:
    """It stands where the snake over the rows above ends; routes stay as short as in a full mesh, and the order a line."""
    t = make("mesh", nodes, 4)
    rows = -(-nodes // 4)
    y, x = np.divmod(np.arange(nodes), 4)
    x[y == rows - 1] += (rows * 4 - nodes) * (rows % 2 == 0)
    assert (hops(t) == abs(x[:, None] - x) + abs(y[:, None] - y)).all()
    assert all(hops(t)[a, b] == 1 for a, b in pairwise(t.order))
    assert sorted(t.order.tolist()) == list(range(nodes))
    assert t.columns == 0


def test_a_cmesh_numbers_its_nodes_as_booksim_does() -> None:
    """4 x 4 routers of 2 x 2 nodes: node ids count along the 8 columns of the grid of nodes."""
    t = make("cmesh", 64, 4, concentration=4)
    assert t.router_of.reshape(8, 8)[:4].tolist() == [
        [0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 1, 1, 2, 2, 3, 3], [4, 4, 5, 5, 6, 6, 7, 7], [4, 4, 5, 5, 6, 6, 7, 7],
    ]  # fmt: skip
    assert (t.columns, t.link_to.size, t.next_link.shape) == (8, 48, (16, 16))
    assert np.bincount(t.router_of).tolist() == [4] * 16
    steps = hops(t)[t.router_of[t.order][:-1], t.router_of[t.order][1:]]
    assert steps.max() == 1


def test_tiles_are_as_square_as_possible() -> None:
    assert [tile(nodes) for nodes in (1, 2, 3, 4, 6, 8, 9)] == [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (4, 2), (3, 3)]


def test_orders() -> None:
    assert snake(3, 3).tolist() == [0, 1, 2, 5, 4, 3, 6, 7, 8]
    assert hamiltonian(4, 4).tolist() == [0, 1, 2, 3, 7, 6, 5, 9, 10, 11, 15, 14, 13, 12, 8, 4]
    assert hamiltonian(5, 1).tolist() == [0, 1, 2, 3, 4]
    mesh = make("mesh", 24, 4)
    cycle = hamiltonian(4, 6).tolist()
    assert {int(hops(mesh)[a, b]) for a, b in zip(cycle, [*cycle[1:], cycle[0]], strict=True)} == {1}


def test_1024_cores_are_built_at_once() -> None:
    """A table of 1024 x 1024 routes."""
    for noc in ({"topology": "torus", "columns": 32}, {"topology": "mesh", "columns": 32}, {"topology": "ring"}):
        t = build(msgspec.convert(noc, Noc), 1024)
        assert (t.next_link >= 0).sum() == 1024 * 1023


# ---- edge lists ----


def test_edges_route_along_shortest_paths_lowest_neighbour_first() -> None:
    square = make("edges", 4, edges=[(0, 1), (1, 2), (2, 3), (3, 0), (1, 0)])
    assert route(square, 0, 2) == [0, 1, 2]
    assert route(square, 1, 3) == [1, 0, 3]
    assert square.link_to.size == 8  # doubled edges are one
    assert make("edges", 1).order.tolist() == [0]


def test_routes_replace_shortest_paths() -> None:
    edges = [(0, 1), (1, 2), (2, 3), (3, 0)]
    t = make("edges", 4, edges=edges, routes=[(0, 3, 2), (1, 2, 3)])
    assert route(t, 0, 2) == [0, 3, 2]
    assert route(t, 1, 3) == [1, 2, 3]
    assert route(t, 2, 0) == [2, 1, 0]  # as before


def test_routes_break_a_deadlock() -> None:
    """A ring of five whose shortest paths wait for each other in a circle; routed over a line they do not."""
    edges = [(i, (i + 1) % 5) for i in range(5)]
    with pytest.raises(SpecError, match="wait for each other"):
        make("edges", 5, edges=edges)
    line = [(*range(a, b, 1 if b > a else -1), b) for a in range(5) for b in range(5) if abs(a - b) > 1]
    t = make("edges", 5, edges=edges, routes=line)
    assert hops(t).max() == 4


@pytest.mark.parametrize(
    ("routes", "message", "path"),
    [
        ([(0, 2)], "there is no edge 0-2; add it, or route over edges that exist", ("routes", 0)),
        ([(0, 1), (0, 1, 0)], "the route passes a core twice", ("routes", 1)),
        ([(0,)], "needs two cores at least", ("routes", 0)),
        ([()], "needs two cores at least", ("routes", 0)),
        ([(0, 9)], "names core 9, but cores are 0 to 3", ("routes", 0)),
        ([(0, 1, 2), (0, 3, 2)], "sends what is at core 0 for core 2 to core 3, but route 0 sends it to 1", ("routes", 1)),
        ([(0, 1, 2), (1, 0, 3, 2)], "sends what is at core 1 for core 2 to core 0, but route 0 sends it to 2", ("routes", 1)),
    ],
)
def test_routes_that_are_refused(routes: list[tuple[int, ...]], message: str, path: tuple[str, int]) -> None:
    with pytest.raises(SpecError, match=message) as info:
        make("edges", 4, edges=[(0, 1), (1, 2), (2, 3), (3, 0)], routes=routes)
    assert info.value.path == path


def test_routes_that_would_wait_for_each_other() -> None:
    """On a square every corner sends over the next one to the one opposite: a circle of four."""
    edges = [(0, 1), (1, 2), (2, 3), (3, 0)]
    with pytest.raises(SpecError, match="the routes form a cycle") as info:
        make("edges", 4, edges=edges, routes=[(i, (i + 1) % 4, (i + 2) % 4) for i in range(4)])
    assert info.value.path == ("routes",)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([(0, 1), (1, 1), (1, 2)], "joins a core to itself"),
        ([(0, 1)], "no path from core 0 to core 2"),
        ([(1, 2)], "no path from core 0 to core 1"),
        ([(0, 1), (1, 3)], "names core 3, but cores are 0 to 2"),
        ([], "needs a list of core pairs"),
    ],
)
def test_edge_lists_that_are_refused(edges: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(SpecError, match=message) as info:
        make("edges", 3, edges=edges)
    assert info.value.path[0] == "edges"
    assert "\n" not in str(info.value)


# ---- devices ----


def test_errors_of_a_device_name_its_keys() -> None:
    ador = load_device("ador")
    for noc, path in (
        ({"topology": "edges"}, ("device", "noc", "edges")),
        ({"topology": "torus", "columns": 7}, ("device", "noc", "columns")),
        ({"topology": "cmesh", "columns": 3, "concentration": 4}, ("device", "noc", "columns")),
    ):
        with pytest.raises(SpecError) as info:
            device_network(msgspec.structs.replace(ador, noc=msgspec.convert(noc, Noc)))
        assert info.value.path[:3] == path


@pytest.mark.parametrize(
    ("noc", "message"),
    [
        ({"topology": "mesh", "routes": [(0, 1)]}, "routes: a mesh has its own routes"),
        ({"topology": "mesh", "concentration": 2}, "concentration: a mesh has one core for each router"),
        ({"topology": "torus", "virtual_channels": 1}, "virtual_channels: a torus needs at least 2"),
        ({"topology": "mesh", "router_delay": 1, "link_delay": 0}, "link_delay: a router and its link take 2 cycles"),
    ],
)
def test_what_a_noc_cannot_be(noc: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(noc, Noc)


def test_every_topology_makes_a_network_of_any_size() -> None:
    ador = load_device("ador")
    for topology in ("mesh", "torus", "ring", "crossbar", "shared", "cmesh"):
        for cores in (1, 2, 3, 4, 32):
            noc = msgspec.structs.replace(ador.noc, topology=topology, columns=1)
            assert device_network(msgspec.structs.replace(ador, core_count=cores, noc=noc)).order.size == cores
