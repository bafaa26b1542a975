"""What the collectives of the reference move: every chunk to every node once, every contribution into every sum once.

Contents are traced along the dependencies: a message without one carries what its node starts with, another one what the message
that it waits for has brought or, where sizes grow, all that its node has received by then.
"""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdasim.errors import SpecError
from hdasim.noc import collectives, names

Content = frozenset[int]


def schedule(name: str, topology: str, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    collectives.check(name, topology)
    return collectives.schedule(name, topology, chunk)


def sent(messages: np.ndarray) -> np.ndarray:
    return messages[messages["flits"] > 0]


def waits(messages: np.ndarray, deps: np.ndarray, i: int) -> list[int]:
    """Messages that message i waits for, joins resolved."""
    found = []
    first, count = int(messages["first"][i]), int(messages["count"][i])
    for dep in deps[first : first + count].tolist():
        found += waits(messages, deps, dep) if messages["flits"][dep] == 0 else [dep]
    return found


def check_dependencies(messages: np.ndarray, deps: np.ndarray) -> None:
    """A message waits only for what its own source receives, and only for earlier ones."""
    for i, message in enumerate(messages):
        for dep in waits(messages, deps, i):
            assert dep < i
            assert messages["target"][dep] == message["source"]


def gathered(messages: np.ndarray, deps: np.ndarray, nodes: int, chunk: int) -> list[Counter[int]]:
    """How often each node receives the chunk of each."""
    check_dependencies(messages, deps)
    contents: dict[int, Content] = {}
    received: list[Counter[int]] = [Counter() for _ in range(nodes)]
    for i, (source, target, flits, *_) in enumerate(messages.tolist()):
        if flits == 0:
            continue
        before = waits(messages, deps, i)
        if not before:
            content = frozenset([source])
        elif len(before) == 1 and messages["flits"][before[0]] == flits:
            content = contents[before[0]]
        else:
            brought = [contents[j] for j in range(max(before) + 1) if j in contents and messages["target"][j] == source]
            content = frozenset([source]).union(*brought)
        assert len(content) * chunk == flits
        contents[i] = content
        received[target].update(content)
    return received


ALL_GATHERS = ("ring_ag_rowmajor", "ring_ag_ham", "twod_ag", "direct_ag", "recdoubling_ag", "skew_ring_ag_ham")
TOPOLOGIES = (
    "mesh4x4", "mesh3x4", "mesh2x2", "mesh8x2", "torus4x2", "ring8", "ring5", "xbar7", "xbar16", "cmesh2x2c4", "mesh1x4",
)  # fmt: skip


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("name", ALL_GATHERS)
def test_an_all_gather_brings_every_chunk_to_every_node_once(name: str, topology: str) -> None:
    nodes = names.parse(topology)[1]
    try:
        messages, deps = schedule(name, topology, 3)
    except SpecError:
        return  # does not fit; tests/cli/test_noc.py says which
    for node, chunks in enumerate(gathered(messages, deps, nodes, 3)):
        assert chunks == {other: 1 for other in range(nodes) if other != node}


@pytest.mark.parametrize("topology", ["mesh4x4", "ring6", "xbar5", "mesh2x2"])
@pytest.mark.parametrize("order", ["rowmajor", "ham"])
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_both_directions_bring_half_of_every_chunk(topology: str, order: str, chunk: int) -> None:
    """ceil(c / 2) flits clockwise, listed first, floor(c / 2) back."""
    nodes = names.parse(topology)[1]
    messages, deps = schedule(f"ring_ag_{order}_bidir", topology, chunk)
    half = nodes * (nodes - 1)
    assert messages.size == (2 * half if chunk > 1 else half)
    forward = gathered(messages[:half], deps, nodes, -(-chunk // 2))
    assert all(set(c.values()) == {1} and len(c) == nodes - 1 for c in forward)
    if chunk > 1:
        back = messages[half:].copy()
        shifted = np.where(np.arange(deps.size) >= back["first"][back["count"] > 0].min(), deps - half, 0)
        assert all(set(c.values()) == {1} and len(c) == nodes - 1 for c in gathered(back, shifted, nodes, chunk // 2))
        along = set(zip(messages["source"][:half].tolist(), messages["target"][:half].tolist(), strict=True))
        assert {(b, a) for a, b in along} == set(zip(back["source"].tolist(), back["target"].tolist(), strict=True))


@pytest.mark.parametrize("topology", ["mesh4x4", "mesh3x2", "ring7", "xbar4"])
def test_a_ring_all_reduce_adds_every_contribution_once(topology: str) -> None:
    """Each chunk travels once around gathering sums, then once more as the result."""
    nodes = names.parse(topology)[1]
    messages, deps = schedule("ring_ar_ham", topology, 2)
    check_dependencies(messages, deps)
    partial: dict[int, tuple[int, Counter[int]]] = {}  # message -> chunk, contributions
    complete: dict[int, Counter[int]] = defaultdict(Counter)  # node -> chunks that it has in full
    for i, message in enumerate(messages):
        source, before = int(message["source"]), waits(messages, deps, i)
        chunk, parts = partial[before[0]] if before else (source, Counter())
        if len(parts) < nodes:
            parts = parts + Counter([source])
            complete[source].update([chunk] * (len(parts) == nodes))
        partial[i] = chunk, parts
        assert max(parts.values()) == 1
        complete[int(message["target"])].update([chunk] * (len(parts) == nodes))
    assert all(complete[node] == dict.fromkeys(range(nodes), 1) for node in range(nodes))


@pytest.mark.parametrize("nodes", [2, 3, 6])
def test_a_direct_all_reduce_waits_for_all_parts(nodes: int) -> None:
    messages, deps = schedule("direct_ar", f"xbar{nodes}", 2)
    check_dependencies(messages, deps)
    own = [i for i in range(messages.size) if messages["flits"][i]]
    scatter, gather = own[: len(own) // 2], own[len(own) // 2 :]
    pairs = sorted((a, b) for a in range(nodes) for b in range(nodes) if a != b)
    for half in (scatter, gather):
        assert sorted((int(messages["source"][i]), int(messages["target"][i])) for i in half) == pairs
    assert not any(waits(messages, deps, i) for i in scatter)
    for i in gather:
        parts = {int(messages["source"][j]) for j in waits(messages, deps, i)}
        assert parts == set(range(nodes)) - {int(messages["source"][i])}


@pytest.mark.parametrize("nodes", [2, 4, 16])
def test_halving_and_doubling(nodes: int) -> None:
    """Halves of what a node still sums go to its partner; then sums come back over the same distances."""
    messages, deps = schedule("halvdoub_ar", f"xbar{nodes}", 3)
    check_dependencies(messages, deps)
    halving = messages[: messages.size // 2]
    sums = {node: {chunk: {node} for chunk in range(nodes)} for node in range(nodes)}
    distance = nodes // 2
    for step in np.split(halving, nodes.bit_length() - 1):
        moved = []
        for source, target, flits, *_ in step.tolist():
            assert target == source ^ distance
            parts = {c: who for c, who in sums[source].items() if c & distance == target & distance}
            assert flits == 3 * len(parts)
            moved.append((source, target, parts))
        for source, target, parts in moved:
            for chunk, who in parts.items():
                del sums[source][chunk]
                assert not sums[target][chunk] & who
                sums[target][chunk] = sums[target][chunk] | who
        distance //= 2
    assert all(sums[node] == {node: set(range(nodes))} for node in range(nodes))
    doubling = messages[messages.size // 2 :]
    assert doubling["flits"].tolist() == [3 * 2**k for k in range(nodes.bit_length() - 1) for _ in range(nodes)]
    have = {node: {node} for node in range(nodes)}
    for step in np.split(doubling, nodes.bit_length() - 1):
        new = [(target, set(have[source]), flits) for source, target, flits, *_ in step.tolist()]
        for target, chunks, flits in new:
            assert flits == 3 * len(chunks)
            assert not have[target] & chunks
            have[target] = have[target] | chunks
    assert all(have[node] == set(range(nodes)) for node in range(nodes))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 40))
def test_everyone_sends_and_receives_what_the_collective_moves(columns: int, rows: int, chunk: int) -> None:
    """(N - 1) c for an all-gather, 2 (N - 1) c for an all-reduce, at every port."""
    nodes = columns * rows
    if nodes < 2:
        return
    topology = f"mesh{columns}x{rows}"
    for name in collectives.NAMES:
        if name.startswith(("perm", "bcast", "incast")):
            continue
        try:
            messages, deps = schedule(name, topology, chunk)
        except SpecError:
            continue
        check_dependencies(messages, deps)
        moved = (2 if "_ar" in name else 1) * (nodes - 1) * chunk
        for end in ("source", "target"):
            assert np.bincount(messages[end], messages["flits"], nodes).tolist() == [moved] * nodes, name


@pytest.mark.parametrize("topology", ["mesh4x4", "mesh5x3", "mesh1x3", "ring6", "xbar9"])
def test_broadcasts_and_incast(topology: str) -> None:
    nodes = names.parse(topology)[1]
    for name in ("bcast_unicast", "bcast_binomial", "bcast_rowcol_pipe8"):
        if name == "bcast_rowcol_pipe8" and topology.startswith("xbar"):
            continue
        messages, deps = schedule(name, topology, 2)
        check_dependencies(messages, deps)
        whole = 64 if "pipe8" in name else 8
        assert np.bincount(messages["target"], messages["flits"], nodes).tolist() == [0] + [whole] * (nodes - 1)
        for i, message in enumerate(messages):
            assert message["source"] == 0 or waits(messages, deps, i)
    messages, _ = schedule("incast", topology, 2)
    assert sorted(messages["source"].tolist()) == list(range(1, nodes))
    assert set(messages["target"].tolist()) == {0} and set(messages["flits"].tolist()) == {8}


def test_binomial_distances() -> None:
    messages, _ = schedule("bcast_binomial", "xbar6", 1)
    assert list(zip(messages["source"].tolist(), messages["target"].tolist(), strict=True)) == [
        (0, 4), (0, 2), (0, 1), (2, 3), (4, 5),
    ]  # fmt: skip


def test_permutations_leave_out_what_stays() -> None:
    transpose = schedule("perm_transpose", "mesh3x3", 2)[0]
    assert list(zip(transpose["source"].tolist(), transpose["target"].tolist(), strict=True)) == [
        (1, 3), (2, 6), (3, 1), (5, 7), (6, 2), (7, 5),
    ]  # fmt: skip
    assert set(transpose["flits"].tolist()) == {32}
    assert schedule("perm_complement", "ring5", 1)[0]["target"].tolist() == [4, 3, 1, 0]
    assert schedule("perm_shift_half", "ring4", 1)[0]["target"].tolist() == [2, 3, 0, 1]


def test_random_messages_are_the_references() -> None:
    # 1103515245 x + 12345 from x = 1: x = 1103527590, x >> 16 = 16838, mod 16 = 6
    messages = schedule("random_k8_f32", "mesh4x4", 1)[0]
    assert (messages.size, messages["source"].tolist()[:3], int(messages["target"][0])) == (128, [0, 1, 2], 6)
    # from x = 7: 7724619060 mod 2^31 = 1282168116, >> 16 = 19564, mod 16 = 12
    assert int(schedule("random_k1_f256", "mesh4x4", 1)[0]["target"][0]) == 12
    assert (messages["source"] != messages["target"]).all()


def test_skewed_starts() -> None:
    messages = schedule("skew_ring_ag_ham", "mesh4x4", 4)[0]
    assert messages["delay"].tolist()[:4] == [0, 37, 74, 10]  # 111 mod 101
    assert not messages["delay"][16:].any()
