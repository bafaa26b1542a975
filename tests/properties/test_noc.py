"""The network on chip obeys its limits on any schedule: latency, ports, links, dependencies; and gives the same twice."""

from collections import Counter
from functools import cache
from itertools import pairwise

import msgspec
import networkx as nx
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hdasim.core import layout
from hdasim.core._core import Network
from hdasim.errors import CoreError, SpecError
from hdasim.noc import astra, collectives, names
from hdasim.noc.cases import Case, schedule, simulate
from hdasim.noc.topology import Topology, build, network
from hdasim.spec.hardware import Noc

Edges = tuple[tuple[int, int], ...]
Schedule = tuple[np.ndarray, np.ndarray]


@cache
def make(topology: str, nodes: int, columns: int = 4, edges: Edges = (), buffers: tuple[int, int, int] = (8, 8, 16),
         router: int = 3, concentration: int = 1) -> tuple[Topology, Network]:  # fmt: skip
    """A topology and its network with `router` cycles, link 1, ports 3; `buffers`: virtual channels, flits of each, packet."""
    channels, flits, packet = buffers
    fields = {"topology": topology, "columns": columns, "edges": edges, "router_delay": router, "virtual_channels": channels,
              "buffer_flits": flits, "packet_flits": packet, "concentration": concentration}  # fmt: skip
    noc = msgspec.convert(fields, Noc)
    t = build(noc, nodes)
    return t, network(noc, t)


def route(t: Topology, source: int, target: int) -> list[int]:
    """Links between two nodes."""
    links, at = [], int(t.router_of[source])
    while at != t.router_of[target]:
        links.append(int(t.next_link[at, t.router_of[target]]))
        at = int(t.link_to[links[-1]])
        assert len(links) <= t.next_link.shape[0]
    return links


@st.composite
def networks(draw: st.DrawFn) -> tuple[Topology, Network, int]:
    """Any network of up to 30 nodes but edge lists, and its router's cycles."""
    topology = draw(st.sampled_from(["mesh", "torus", "ring", "crossbar", "cmesh"]))
    columns, rows = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    concentration = draw(st.integers(1, 4)) if topology == "cmesh" else 1
    nodes = draw(st.integers(2, 30)) if topology in ("mesh", "ring", "crossbar") else columns * rows * concentration
    assume(nodes >= 2)
    buffers = draw(st.sampled_from([(8, 8, 16), (8, 8, 16), (2, 2, 3), (4, 8, 1), (2, 16, 64)]))
    router = draw(st.integers(1, 4))
    return *make(topology, nodes, columns, (), buffers, router, concentration), router


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Edges]:
    """A random spanning tree and a few more edges."""
    nodes = draw(st.integers(2, 9))
    edges = [(draw(st.integers(0, i - 1)), i) for i in range(1, nodes)]
    for _ in range(draw(st.integers(0, 4))):
        a = draw(st.integers(0, nodes - 1))
        edges.append((a, (a + draw(st.integers(1, nodes - 1))) % nodes))
    return nodes, tuple(edges)


@st.composite
def schedules(draw: st.DrawFn, nodes: int, most: int = 30) -> Schedule:
    """Messages between different nodes and a few joins; each may wait for some that stand before it in a shuffled list."""
    count = draw(st.integers(1, most))
    order = draw(st.permutations(range(count)))
    messages, before = np.zeros(count, layout.MESSAGE), {}
    for i, place in enumerate(order):
        source = draw(st.integers(0, nodes - 1))
        waits = draw(st.lists(st.integers(0, i - 1), max_size=3, unique=True)) if i else []
        before[place] = [order[j] for j in waits]
        if waits and draw(st.integers(0, 9)) == 0:
            messages[place] = (source, source, 0, 0, 0, 0)
            continue
        target = (source + draw(st.integers(1, nodes - 1))) % nodes
        messages[place] = (source, target, draw(st.integers(1, 60)), draw(st.sampled_from([0, 0, 1, 7, 100])), 0, 0)
    messages["count"] = [len(before[i]) for i in range(count)]
    messages["first"] = np.cumsum(messages["count"]) - messages["count"]
    return messages, np.array([j for i in range(count) for j in before[i]], np.int64)


def check(t: Topology, net: Network, router: int, given: Schedule) -> None:
    """Every limit that holds whatever the routers do."""
    messages, deps = given
    done, makespan = net.run(messages, deps)
    again, _ = net.run(messages, deps)
    assert done.tolist() == again.tolist()
    assert makespan == done.max()
    assert net.run(messages, deps, "router")[0].tolist() == done.tolist()  # with or without the short cut

    load, injected, ejected = Counter[int](), Counter[int](), Counter[int]()
    arrivals: dict[int, list[tuple[int, int]]] = {}
    for end, (source, target, flits, delay, first, count) in zip(done.tolist(), messages.tolist(), strict=True):
        before = [int(done[j]) for j in deps[first : first + count]]
        if flits == 0:
            assert end == max(before)
            continue
        links = route(t, source, target)
        alone = (len(links) + 1) * router + len(links) + 3 + flits - 1
        assert end >= (max(before) + max(1, delay) if before else delay) + alone
        load.update(dict.fromkeys(links, flits))
        injected[source] += flits
        ejected[target] += flits
        arrivals.setdefault(target, []).append((end, flits))
    if not injected:
        return
    for ends in arrivals.values():  # a port ejects one flit a cycle: by the end of each, all that ended until then have passed
        ends.sort()
        passed = 0
        for end, flits in ends:
            passed += flits
            assert end >= passed
        assert all(a[0] < b[0] for a, b in pairwise(ends))

    bound = net.bound(messages, deps)
    loads = max(injected.values()), max(ejected.values()), max(load.values(), default=0)
    assert (bound["max_inject"], bound["max_eject"], bound["max_link"]) == loads
    assert bound["flit_hops"] == load.total()
    assert max(loads) <= bound["cycles"] <= makespan


@given(networks(), st.data())
def test_limits_of_any_schedule(shape: tuple[Topology, Network, int], data: st.DataObject) -> None:
    t, net, router = shape
    check(t, net, router, data.draw(schedules(t.node_count)))


@given(graphs(), st.data())
def test_limits_on_random_graphs(shape: tuple[int, Edges], data: st.DataObject) -> None:
    """Edge lists route along shortest paths or are refused; only those with a circle are."""
    nodes, edges = shape
    graph = nx.Graph(edges)
    try:
        t, net = make("edges", nodes, 4, edges)
    except SpecError as error:
        assert "wait for each other" in str(error)
        assert not nx.is_forest(graph)
        return
    hops = dict(nx.all_pairs_shortest_path_length(graph))
    assert all(len(route(t, a, b)) == hops[a][b] for a in range(nodes) for b in range(nodes))
    check(t, net, 3, data.draw(schedules(nodes)))


@given(networks(), st.data())
def test_a_message_alone(shape: tuple[Topology, Network, int], data: st.DataObject) -> None:
    """(h + 1) router + h + 3 + (L - 1), as long as it fits a buffer."""
    t, net, router = shape
    source = data.draw(st.integers(0, t.node_count - 1))
    target = (source + data.draw(st.integers(1, t.node_count - 1))) % t.node_count
    flits = data.draw(st.integers(1, 2))
    hops = len(route(t, source, target))
    cycles = (hops + 1) * router + hops + 3 + flits - 1
    found = net.run(np.array([(source, target, flits, 0, 0, 0)], layout.MESSAGE), np.empty(0, np.int64))[1]
    assert found == cycles or flits > 1  # a second packet may wait for the first one's channel
    assert found >= cycles


@given(schedules(12), st.data())
def test_a_cycle_of_waits_never_completes(given_: Schedule, data: st.DataObject) -> None:
    """Close a chain of waits: a message now waits for one that waits for it."""
    messages, deps = given_
    waiting = np.flatnonzero(messages["count"])
    assume(waiting.size)
    child = int(data.draw(st.sampled_from(waiting.tolist())))
    root = int(deps[messages["first"][child]])
    deps = np.append(deps, child)
    deps = np.append(deps, deps[messages["first"][root] : messages["first"][root] + messages["count"][root]])
    messages = messages.copy()
    messages["first"][root], messages["count"][root] = deps.size - 1 - messages["count"][root], messages["count"][root] + 1
    net = make("mesh", 12)[1]
    for function in (net.run, net.bound):
        with pytest.raises(CoreError, match="never completes"):
            function(messages, deps)


@given(
    name=st.sampled_from(collectives.NAMES), chunk=st.integers(1, 40), packet=st.sampled_from([1, 4, 16, 64]),
    topology=st.sampled_from(["mesh4x4", "mesh3x3", "mesh5x2", "torus4x2", "ring8", "ring5", "xbar8", "cmesh2x2c4", "mesh1x4"]),
)  # fmt: skip
def test_collectives_are_at_or_above_their_bounds(name: str, topology: str, chunk: int, packet: int) -> None:
    try:
        collectives.check(name, topology)
    except SpecError:
        return
    case = Case(topology, 3, packet, 8, 8, name, chunk)
    result = simulate(case)
    assert result.bound_cycles <= result.cycles
    net, messages, deps = schedule(case)
    check(names.topology(topology), net, 3, (messages, deps))
    nodes = names.parse(topology)[1]
    if "_ag" in name or "_ar" in name:  # every node receives N - 1 chunks, twice that for a sum (noc README 5)
        assert result.bound_cycles >= (2 if "_ar" in name else 1) * (nodes - 1) * chunk


@given(
    topology=st.sampled_from(list(astra.TOPOLOGIES)), devices=st.integers(2, 12), chunk=st.integers(1, 10**7),
    latency=st.sampled_from(["0", "500", "936.25"]), name=st.sampled_from(astra.SCHEDULES),
)  # fmt: skip
def test_device_links_are_at_or_above_their_bound(topology: str, devices: int, chunk: int, latency: str, name: str) -> None:
    cells = {"topology": topology, "npus": str(devices), "bandwidth_GiBps": "50", "latency_ns": latency,
             "chunk_bytes": str(chunk), "schedule": name}  # fmt: skip
    result = astra.simulate(astra.parse(cells), 10**9)
    assert 0 < result.bound_ns <= result.time_ns * (1 + 1e-9) + 0.01  # times are whole picoseconds
