"""The network on chip obeys its limits on any schedule: latency, ports, links, dependencies; and gives the same twice."""

from collections import Counter
from functools import cache
from itertools import pairwise

import msgspec
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdasim.core import layout
from hdasim.core._core import Network
from hdasim.device.noc import network
from hdasim.errors import CoreError, SpecError
from hdasim.spec.load import load_device

DEVICE = load_device("ador")
Edges = tuple[tuple[int, int], ...]
Message = tuple[int, int, int, int]


@cache
def build(topology: str, cores: int, columns: int = 4, edges: Edges = ()) -> Network:
    """A network with BookSim's R1 delays: router 3, link 1, ports 3."""
    noc = msgspec.structs.replace(
        DEVICE.noc, topology=topology, columns=columns, edges=edges, router_delay=3, link_delay=1, port_delay=3
    )  # fmt: skip
    return network(msgspec.structs.replace(DEVICE, core_count=cores, noc=noc))


def run(net: Network, messages: list[Message]) -> tuple[list[int], int]:
    done, makespan = net.run(np.array(messages, layout.MESSAGE))
    return done.tolist(), makespan


def position(core: int, cores: int, columns: int) -> tuple[int, int]:
    """Place in a mesh; a short last row stands where the snake over the rows above ends."""
    rows = -(-cores // columns)
    y, x = divmod(core, columns)
    return (y, x + rows * columns - cores) if y == rows - 1 and rows % 2 == 0 else (y, x)


def links(topology: str, a: int, b: int, cores: int, columns: int) -> int:
    """Links between two cores."""
    columns = min(columns, cores)
    if topology == "crossbar":
        return 0
    if topology == "ring":
        return min((a - b) % cores, (b - a) % cores)
    (ya, xa), (yb, xb) = position(a, cores, columns), position(b, cores, columns)
    if topology == "mesh":
        return abs(ya - yb) + abs(xa - xb)
    rows = cores // columns
    return min((ya - yb) % rows, (yb - ya) % rows) + min((xa - xb) % columns, (xb - xa) % columns)


@st.composite
def networks(draw: st.DrawFn) -> tuple[str, int, int]:
    topology = draw(st.sampled_from(["mesh", "torus", "ring", "crossbar"]))
    columns = draw(st.integers(1, 6))
    cores = columns * draw(st.integers(1, 5)) if topology == "torus" else draw(st.integers(2, 30))
    return topology, max(cores, 2) if topology != "torus" or columns > 1 else cores + 1, columns


@st.composite
def schedules(draw: st.DrawFn, cores: int, most: int = 40) -> list[Message]:
    """Messages between different cores; each may wait for one before it, and the list is shuffled."""
    count = draw(st.integers(1, most))
    order = draw(st.permutations(range(count)))
    messages: list[Message] = [(0, 0, 0, 0)] * count
    for i, place in enumerate(order):
        source = draw(st.integers(0, cores - 1))
        target = (source + draw(st.integers(1, cores - 1))) % cores
        after = order[draw(st.integers(0, i - 1))] if i and draw(st.booleans()) else -1
        messages[place] = (source, target, draw(st.integers(1, 60)), after)
    return messages


@given(networks(), st.data())
def test_zero_load(shape: tuple[str, int, int], data: st.DataObject) -> None:
    """4 h + 6 + (L - 1) over every route, short last rows of meshes included."""
    topology, cores, columns = shape
    source = data.draw(st.integers(0, cores - 1))
    target = (source + data.draw(st.integers(1, cores - 1))) % cores
    flits = data.draw(st.integers(1, 1000))
    cycles = 4 * links(topology, source, target, cores, columns) + 6 + flits - 1
    assert run(build(topology, cores, columns), [(source, target, flits, -1)]) == ([cycles], cycles)


@pytest.mark.parametrize("cores", [5, 6, 7, 9, 10, 11, 13, 14, 15])
def test_every_route_of_a_short_mesh(cores: int) -> None:
    net = build("mesh", cores)
    for a in range(cores):
        for b in range(cores):
            if a != b:
                assert run(net, [(a, b, 1, -1)])[1] == 4 * links("mesh", a, b, cores, 4) + 6


@given(networks(), st.data())
def test_limits_of_any_schedule(shape: tuple[str, int, int], data: st.DataObject) -> None:
    topology, cores, columns = shape
    messages = data.draw(schedules(cores))
    net = build(topology, cores, columns)
    done, makespan = run(net, messages)
    assert makespan == max(done)
    assert run(net, messages) == (done, makespan)

    alone = [4 * links(topology, s, t, cores, columns) + 6 + f - 1 for s, t, f, _ in messages]
    for end, latency, (_, _, _, after) in zip(done, alone, messages, strict=True):
        assert end >= latency + (done[after] + 1 if after >= 0 else 0)
    assert makespan <= sum(latency + 1 for latency in alone)

    injected, ejected = Counter[int](), Counter[int]()
    for source, target, flits, _ in messages:
        injected[source] += flits
        ejected[target] += flits
    assert makespan >= max(injected.values()) and makespan >= max(ejected.values())

    # Flits leave an ejection port one a cycle, so every message arrives once and whole: the cycles of its arrival are its own.
    for target in ejected:
        arrivals = sorted((end - f + 1, end) for end, (_, t, f, _) in zip(done, messages, strict=True) if t == target)
        assert all(before[1] < after[0] for before, after in pairwise(arrivals))


def xy_route(a: int, b: int, columns: int) -> list[tuple[int, int]]:
    route = [a]
    while route[-1] % columns != b % columns:
        route.append(route[-1] + (1 if b % columns > a % columns else -1))
    while route[-1] != b:
        route.append(route[-1] + (columns if b > route[-1] else -columns))
    return list(pairwise(route))


@given(schedules(16, most=60))
def test_no_link_carries_more_than_a_flit_a_cycle(messages: list[Message]) -> None:
    load = Counter[tuple[int, int]]()
    for source, target, flits, _ in messages:
        for link in xy_route(source, target, 4):
            load[link] += flits
    assert run(build("mesh", 16), messages)[1] >= max(load.values())


@given(schedules(12), st.data())
def test_a_cycle_of_waits_never_completes(messages: list[Message], data: st.DataObject) -> None:
    """Close a chain of waits: its last message now waits for one that waits for it."""
    child = next((i for i, m in enumerate(messages) if m[3] >= 0), None)
    if child is None:
        return
    root = child
    while messages[root][3] >= 0:
        root = messages[root][3]
    messages[root] = (*messages[root][:3], child)
    with pytest.raises(CoreError, match="never completes"):
        run(build("mesh", 12), messages)


@given(
    collective=st.sampled_from(sorted(layout.COLLECTIVES)), size=st.integers(2, 10), groups=st.integers(1, 3),
    flits=st.integers(1, 100), topology=st.sampled_from(["mesh", "ring", "crossbar"]),
)  # fmt: skip
def test_collectives(collective: str, size: int, groups: int, flits: int, topology: str) -> None:
    """No collective beats its closed form or the ports; adding flits never helps."""
    net = build(topology, size * groups)
    messages = net.schedule(collective, groups, size, flits)
    makespan = net.run(messages)[1]
    steps = (size - 1) * (2 if "all_reduce" in collective else 1)
    assert makespan >= steps * flits
    assert net.run(net.schedule(collective, groups, size, flits + 1))[1] > makespan
    if topology != "mesh":  # there the order of the ring is that of the cores: no message leaves its group
        assert (messages["source"] // size == messages["target"] // size).all()
    if not collective.startswith("folded"):  # whose closed form counts links that a crossbar or a ring need not cross
        assert makespan >= net.zero_load(collective, size, flits)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Edges]:
    """A random spanning tree and a few more edges."""
    cores = draw(st.integers(2, 9))
    edges = [(draw(st.integers(0, i - 1)), i) for i in range(1, cores)]
    for _ in range(draw(st.integers(0, 4))):
        a = draw(st.integers(0, cores - 1))
        edges.append((a, (a + draw(st.integers(1, cores - 1))) % cores))
    return cores, tuple(edges)


@given(graphs())
def test_edge_lists_route_along_shortest_paths_or_are_refused(shape: tuple[int, Edges]) -> None:
    cores, edges = shape
    graph = nx.Graph(edges)
    try:
        net = build("edges", cores, edges=edges)
    except SpecError as error:
        assert "wait for each other" in str(error)
        assert not nx.is_forest(graph)  # routes on a tree cannot form a cycle
        return
    hops = dict(nx.all_pairs_shortest_path_length(graph))
    for a in range(cores):
        for b in range(cores):
            if a != b:
                assert run(net, [(a, b, 1, -1)])[1] == 4 * hops[a][b] + 6
    messages = net.schedule("all_gather", 1, cores, 4)
    assert net.run(messages)[1] >= (cores - 1) * 4


@given(cores=st.integers(2, 9), cut=st.integers(1, 8), data=st.data())
def test_edge_lists_in_two_parts_are_refused(cores: int, cut: int, data: st.DataObject) -> None:
    cut = min(cut, cores - 1)
    edges = tuple((i - 1, i) for i in range(1, cores) if i != cut)
    with pytest.raises(SpecError, match=r"not connected|needs a list"):
        build("edges", cores, edges=edges)
    loop = data.draw(st.integers(0, cores - 1))
    with pytest.raises(SpecError, match="joins a core to itself"):
        build("edges", cores, edges=(*edges, (cut - 1, cut), (loop, loop)))
    with pytest.raises(SpecError, match=f"cores are 0 to {cores - 1}"):
        build("edges", cores, edges=(*edges, (cut, cores)))
