"""Names of topologies and the notation of messages: what they mean, and what is refused in which words."""

import numpy as np
import pytest

from hdasim.errors import SpecError
from hdasim.noc import messages, names


@pytest.mark.parametrize(
    ("name", "nodes", "links", "grid"),
    [
        ("mesh8x4", 32, 104, (8, 4)),
        ("mesh1x5", 5, 8, (1, 5)),
        ("torus4x4", 16, 64, (4, 4)),
        ("ring16", 16, 32, (16, 1)),
        ("xbar32", 32, 0, None),
        ("cmesh4x4c4", 64, 48, (8, 8)),
        ("cmesh2x3c2", 12, 14, (4, 3)),
        ("edges:0-1,1-2;2-3 3-4", 5, 8, None),
        (" mesh2x2 ", 4, 8, (2, 2)),
    ],
)
def test_names(name: str, nodes: int, links: int, grid: tuple[int, int] | None) -> None:
    topology = names.topology(name)
    assert (topology.node_count, topology.link_to.size, names.grid(name)) == (nodes, links, grid)
    assert sorted(topology.order.tolist()) == list(range(nodes))


def test_the_order_is_the_references_ring() -> None:
    assert names.topology("mesh3x2").order.tolist() == [0, 1, 2, 5, 4, 3]
    assert names.topology("ring5").order.tolist() == names.topology("xbar5").order.tolist() == [0, 1, 2, 3, 4]
    assert [names.has_cycle(n) for n in ("mesh3x2", "mesh2x3", "ring5", "xbar5", "mesh5x1", "cmesh2x3c4", "edges:0-1")] == [
        True, False, True, True, True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "no value; use mesh8x8, torus4x4, ring16, xbar32, cmesh4x4c4, edges:0-1,1-2"),
        ("mseh4x4", r"unknown 'mseh4x4' \(did you mean 'mesh'\?\); use mesh8x8"),
        ("hypercube8", "unknown 'hypercube8'; use mesh8x8"),
        ("8x8", "unknown '8x8'; use"),
        ("mesh8", "got 'mesh8'; write a mesh as mesh8x8"),
        ("Mesh8x8", "got 'Mesh8x8'; write a mesh as mesh8x8"),
        ("mesh4x4c4", "got 'mesh4x4c4'; write a mesh as mesh8x8"),
        ("cmesh4x4", "got 'cmesh4x4'; write a cmesh as cmesh4x4c4"),
        ("mesh-1x4", "write a mesh as"),
        ("mesh4x4x4", "write a mesh as"),
        ("ring1e3", "write a ring as"),
        ("mesh0x4", "with a size of zero"),
        ("cmesh2x2c0", "with a size of zero"),
        ("ring0", "with a size of zero"),
        ("xbar1", "has one node, which has nobody to send to"),
        ("mesh1x1", "has one node"),
        ("mesh64x64", "4096 nodes on 4096 routers are too many; use at most 4096 nodes and 1024 routers"),
        ("xbar4097", "too many"),
        ("cmesh1x1c65", "65 nodes per router are too many; use at most 64"),
        ("mesh999999999x999999999", "too many"),
        ("ring9999999999", "write a ring as"),
        ("edges:", "no edges; expected pairs of nodes such as edges:0-1,1-2"),
        ("edges:0-1,2", "got the edge '2'; expected two nodes such as 0-1"),
        ("edges:0--1", "got the edge '0--1'"),
        ("edges:0-0", "edge 0-0 joins a node to itself; remove it"),
        ("edges:0-1,1-1", "edge 1-1 joins a node to itself"),
        ("edges:0-1,2-3", "the nodes are not connected: no path from node 0 to node 2"),
        ("edges:0-1,1-2000", "too many"),
        ("edges:0-1,1-2,2-3,3-4,4-0", "cycle whose links can wait for each other for ever"),
    ],
)
def test_names_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as info:
        names.topology(name)
    assert info.value.path == ("topology",)
    assert "\n" not in str(info.value)


def test_messages() -> None:
    found, deps = messages.parse("0>1:64@0; 1 > 2 : 8 @ 5 | 0 ;2>0:1|0+1;", 3)
    assert found.tolist() == [(0, 1, 64, 0, 0, 0), (1, 2, 8, 5, 0, 1), (2, 0, 1, 0, 1, 2)]
    assert deps.tolist() == [0, 0, 1]


def test_messages_may_wait_for_later_ones() -> None:
    found, deps = messages.parse("0>1:1|2;1>2:1;2>0:1|1", 3)
    assert (found["count"].tolist(), deps.tolist()) == ([1, 0, 1], [2, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no value; expected messages such as 0>1:64"),
        (" ; ", "no value"),
        ("0>1", "message 0: got '0>1'; expected"),
        ("0>1:4;1-2:4", "message 1: got '1-2:4'"),
        ("0>1:-4", "message 0: got"),
        ("0>1:4@-1", "message 0: got"),
        ("0>1:1.5", "message 0: got"),
        ("0>1:٣", "message 0: got"),
        ("0>9:4", "message 0 names node 9, but nodes are 0 to 3"),
        ("0>1:4;2>2:4", "message 1 goes from node 2 to itself"),
        ("0>1:0", "message 0 has 0 flits; expected from 1 to"),
        ("0>1:9999999999999999", "message 0 has 9999999999999999 flits"),
        ("0>1:1@9999999999999999", "message 0 has a delay of 9999999999999999 cycles"),
        ("0>1:4|0", "message 0 depends on itself"),
        ("0>1:4|7", "message 0 depends on message 7, but messages are 0 to 0"),
        ("0>1:4;1>2:4|0+", "message 1: got the dependency ''"),
        ("0>1:4|1;1>2:4|0", r"messages wait for each other \(0 > 1 > 0\)"),
        ("0>1:4;0>1:4|3;1>2:4|1;2>3:4|2;1>0:4|3", r"messages wait for each other \(1 > 3 > 2 > 1\)"),
    ],
)
def test_messages_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as info:
        messages.parse(text, 4)
    assert info.value.path == ("messages",)
    assert "\n" not in str(info.value)


def test_many_messages_are_read_at_once() -> None:
    text = ";".join(f"{i % 3}>3:{i + 1}@0" + (f"|{i - 1}" if i else "") for i in range(20_000))
    found, deps = messages.parse(text, 4)
    assert (found["flits"] == np.arange(1, 20_001)).all()
    assert (deps == np.arange(19_999)).all()
