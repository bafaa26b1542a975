"""Networks built from devices: routes, BookSim 2's latencies and collectives to the cycle, and edge lists that are refused."""

import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from hdasim.core import layout
from hdasim.core._core import Network
from hdasim.device.noc import network
from hdasim.errors import CoreError, SpecError
from hdasim.spec.load import load_device

SHARED = Path(__file__).resolve().parents[4] / "shared" / "reference" / "noc"
DEVICE = load_device("ador")
Message = tuple[int, int, int, int]


def build(topology: str, cores: int, columns: int = 8, edges: Iterable[tuple[int, int]] = ()) -> Network:
    """A network with BookSim's R1 delays: router 3, link 1, ports 3."""
    noc = msgspec.structs.replace(
        DEVICE.noc, topology=topology, columns=columns, edges=tuple(edges), router_delay=3, link_delay=1, port_delay=3
    )  # fmt: skip
    return network(msgspec.structs.replace(DEVICE, core_count=cores, noc=noc))


def run(net: Network, messages: Iterable[Message]) -> tuple[list[int], int]:
    done, makespan = net.run(np.array(list(messages), layout.MESSAGE))
    return done.tolist(), makespan


# ---- single messages: 4 h + 6 + (L - 1), on a crossbar 6 + (L - 1) ----


@pytest.mark.parametrize(
    ("topology", "cores", "source", "target", "flits", "cycles"),
    [
        ("mesh", 64, 0, 1, 1, 10),  # 4 + 6
        ("mesh", 64, 0, 63, 1, 62),  # 14 links: 56 + 6
        ("mesh", 64, 63, 0, 64, 125),  # 56 + 6 + 63
        ("mesh", 64, 0, 9, 16, 29),  # 2 links: 8 + 6 + 15
        ("torus", 64, 0, 63, 1, 14),  # one wrap in each dimension
        ("torus", 64, 0, 36, 1, 38),  # 4 + 4 links, both ties
        ("ring", 16, 0, 15, 1, 10),
        ("ring", 16, 0, 7, 64, 97),  # 28 + 6 + 63
        ("ring", 16, 0, 8, 1, 38),  # a tie: 8 links either way
        ("crossbar", 32, 3, 17, 1, 6),
        ("crossbar", 32, 3, 17, 16, 21),
    ],
)
def test_zero_load_latency(topology: str, cores: int, source: int, target: int, flits: int, cycles: int) -> None:
    assert run(build(topology, cores), [(source, target, flits, -1)]) == ([cycles], cycles)


def test_delays_are_parameters() -> None:
    # (h + 1) router + h link + port + L - 1 with 5, 2, 7 over 3 links of 4 flits: 20 + 6 + 7 + 3
    noc = msgspec.structs.replace(DEVICE.noc, topology="ring", router_delay=5, link_delay=2, port_delay=7)
    assert run(network(msgspec.structs.replace(DEVICE, core_count=8, noc=noc)), [(0, 3, 4, -1)]) == ([36], 36)


def test_a_single_core_has_a_network() -> None:
    for topology in ("mesh", "torus", "ring", "crossbar", "shared", "edges"):
        assert run(build(topology, 1, columns=1), []) == ([], 0)


# ---- contention ----


def test_messages_queue_at_ports_and_links() -> None:
    # BookSim's one_to_seven_row: node 0 injects 64 flits to each neighbour of its row in turn; the i-th (from 0) starts at 64 i
    done, _ = run(build("mesh", 64), [(0, i, 64, -1) for i in range(1, 8)])
    assert done == [64 * (i - 1) + 4 * i + 6 + 63 for i in range(1, 8)]
    # its two_flows_opposite and two_flows_disjoint do not meet: 28 + 6 + 255
    assert run(build("mesh", 64), [(0, 7, 256, -1), (7, 0, 256, -1), (8, 15, 256, -1)])[0] == [289] * 3


def test_messages_hold_links_until_their_tail_has_passed() -> None:
    # 0 > 2 takes the link 1 > 2 from cycle 7 on, for 16 flits; 1 > 3 could have had it at 3 and gets it at 23: 8 + 6 + 15 + 20
    assert run(build("mesh", 64), [(0, 2, 16, -1), (1, 3, 16, -1)])[0] == [29, 49]


def test_dependent_messages_start_a_cycle_after_receipt() -> None:
    # BookSim's chain_sf_7hops_f64: seven times 64 + 10, less the one cycle before the first: 517
    assert run(build("mesh", 64), [(i, i + 1, 64, i - 1) for i in range(7)])[1] == 517


def test_incast_fills_one_ejection_port() -> None:
    # (N - 1) M + 9 = 63 * 16 + 9
    net = build("mesh", 64)
    assert net.run(net.schedule("incast", 1, 64, 16))[1] == net.zero_load("incast", 64, 16) == 1017


# ---- collectives on rings: (N - 1)(c + 10) - 1, all-reduce 2 (N - 1)(c + 10) - 1 ----


@pytest.mark.parametrize(("topology", "cores"), [("torus", 64), ("ring", 64)])
def test_rings_of_neighbours(topology: str, cores: int) -> None:
    """8 x 8, chunks of 16: the snake closes over one wrap link."""
    net = build(topology, cores)
    assert net.run(net.schedule("all_gather", 1, cores, 16))[1] == net.zero_load("all_gather", cores, 16) == 1637
    assert net.run(net.schedule("all_reduce", 1, cores, 16))[1] == net.zero_load("all_reduce", cores, 16) == 3275


def test_the_snake_of_a_mesh_closes_over_its_column() -> None:
    """Its last hop has 7 links: 4 (7 - 1) = 24 cycles for each of the times that a chunk crosses it, once and twice."""
    net = build("mesh", 64)
    assert net.run(net.schedule("all_gather", 1, 64, 16))[1] == 1637 + 24
    assert net.run(net.schedule("all_reduce", 1, 64, 16))[1] == 3275 + 48


def test_groups_of_a_row_close_over_it() -> None:
    # 7 (16 + 10) - 1 + 24
    net = build("mesh", 64)
    assert net.run(net.schedule("all_gather", 8, 8, 16))[1] == 7 * 26 - 1 + 24


@pytest.mark.parametrize("collective", sorted(layout.COLLECTIVES))
def test_members_get_every_chunk(collective: str) -> None:
    """Replay who holds which chunk (or partial sum): each message carries what its sender had when the one before arrived."""
    net, size = build("mesh", 24), 6
    messages = net.schedule(collective, 4, size, 3)
    assert set(messages["flits"].tolist()) == {3}
    received = np.bincount(messages["target"], minlength=24)
    if collective == "incast":
        assert sorted(received.tolist()) == [0] * 20 + [size - 1] * 4
        return
    steps = (size - 1) * (2 if "all_reduce" in collective else 1)
    assert received.tolist() == np.bincount(messages["source"]).tolist() == [steps] * 24
    for message in messages[messages["after"] >= 0]:
        assert messages[message["after"]]["target"] == message["source"]
    assert net.schedule(collective, 4, 1, 3).size == 0


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8, 16, 33, 64])
@pytest.mark.parametrize("collective", sorted(layout.COLLECTIVES))
def test_closed_forms_hold_without_contention(collective: str, size: int) -> None:
    """On a ring of just these nodes neighbours are one link apart; on a line of a mesh a folded ring's are two apart."""
    net = build("mesh", 64) if collective.startswith("folded") else build("ring", size)
    assert net.run(net.schedule(collective, 1, size, 16))[1] == net.zero_load(collective, size, 16)


@pytest.mark.parametrize("collective", ["all_gather", "all_reduce", "incast"])
def test_closed_forms_on_a_crossbar(collective: str) -> None:
    # a message crosses one router: 6 + (L - 1), a dependent step c + 6
    net = build("crossbar", 32)
    cycles = {"all_gather": 31 * 22 - 1, "all_reduce": 62 * 22 - 1, "incast": 31 * 16 + 5}[collective]
    assert net.run(net.schedule(collective, 1, 32, 16))[1] == net.zero_load(collective, 32, 16) == cycles


# ---- BookSim 2's golden numbers ----


def hamiltonian(kx: int, ky: int) -> list[int]:
    """A cycle of neighbours: rows back and forth over columns 1 .., then home along column 0."""
    if ky == 1:
        return list(range(kx))
    rows = [[y * kx + x for x in range(1, kx)][:: 1 if y % 2 == 0 else -1] for y in range(ky)]
    return [0, *(node for row in rows for node in row), *(y * kx for y in range(ky - 1, 0, -1))]


def ring(order: list[int], steps: int, flits: int, base: int = 0) -> list[Message]:
    n = len(order)
    return [
        (order[i], order[(i + 1) % n], flits, base + (s - 1) * n + (i - 1) % n if s else -1)
        for s in range(steps)
        for i in range(n)
    ]


def ring_schedule(name: str, kx: int, ky: int, chunk: int) -> list[Message]:
    order = hamiltonian(kx, ky) if "_ham" in name else list(range(kx * ky))
    steps = (kx * ky - 1) * (2 if "_ar_" in name else 1)
    if not name.endswith("bidir"):
        return ring(order, steps, chunk)
    clockwise = ring(order, steps, -(-chunk // 2))
    return clockwise + ring(order[::-1], steps, chunk // 2, len(clockwise))


def binomial(nodes: int, flits: int) -> list[Message]:
    messages: list[Message] = []
    brought = {0: -1}
    distance = 1 << (nodes - 1).bit_length() - 1
    while distance:
        messages += [(h, h + distance, flits, brought[h]) for h in sorted(brought) if h + distance < nodes]
        brought |= {m[1]: i for i, m in enumerate(messages) if m[1] not in brought}
        distance //= 2
    return messages


def rows_then_columns(kx: int, ky: int, flits: int) -> list[Message]:
    messages: list[Message] = []
    brought: dict[tuple[int, int], int] = {}
    hops = [(s, x, x + 1) for s in range(8) for x in range(kx - 1)]
    hops += [(s, y * kx + x, (y + 1) * kx + x) for x in range(kx) for s in range(8) for y in range(ky - 1)]
    for s, source, target in hops:
        messages.append((source, target, flits, brought.get((source, s), -1)))
        brought[target, s] = len(messages) - 1
    return messages


def exchanges(nodes: int, chunk: int, distances: list[int]) -> list[Message]:
    messages: list[Message] = []
    brought = dict.fromkeys(range(nodes), -1)
    for distance in distances:
        new = {}
        for node in range(nodes):
            new[node ^ distance] = len(messages)
            messages.append((node, node ^ distance, distance * chunk, brought[node]))
        brought = new
    return messages


def doubling(nodes: int) -> list[int]:
    return [1 << i for i in range(nodes.bit_length() - 1)]


#: Schedules of the reference (its README, section 4): name -> (columns, rows, chunk) -> messages.
SCHEDULES: dict[str, Callable[[int, int, int], list[Message]]] = {
    "incast": lambda kx, ky, c: [(i, 0, 4 * c, -1) for i in range(1, kx * ky)],
    "bcast_unicast": lambda kx, ky, c: [(0, i, 4 * c, -1) for i in range(1, kx * ky)],
    "bcast_binomial": lambda kx, ky, c: binomial(kx * ky, 4 * c),
    "bcast_rowcol_pipe8": lambda kx, ky, c: rows_then_columns(kx, ky, 4 * c),
    "direct_ag": lambda kx, ky, c: [(i, (i + r) % (kx * ky), c, -1) for r in range(1, kx * ky) for i in range(kx * ky)],
    "recdoubling_ag": lambda kx, ky, c: exchanges(kx * ky, c, doubling(kx * ky)),
    "halvdoub_ar": lambda kx, ky, c: exchanges(kx * ky, c, doubling(kx * ky)[::-1] + doubling(kx * ky)),
    "perm_complement": lambda kx, ky, c: [(i, kx * ky - 1 - i, 16 * c, -1) for i in range(kx * ky)],
    "perm_shift_half": lambda kx, ky, c: [(i, (i + kx * ky // 2) % (kx * ky), 16 * c, -1) for i in range(kx * ky)],
}
#: Of those, the ones whose messages meet on links of a mesh, torus or ring. Only crossbars are exact there.
CONTENDED = {"direct_ag", "recdoubling_ag", "halvdoub_ar", "perm_complement", "perm_shift_half"}


def reference_rows(name: str) -> list[dict[str, str]]:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no reference data at {path.parent.name}/{name}")
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["router_cfg"] == "R1"]


def of_booksim(topology: str) -> tuple[str, int, int]:
    match = re.fullmatch(r"(mesh|torus|ring|xbar)(\d+)(?:x(\d+))?", topology)
    assert match is not None
    return match[1].replace("xbar", "crossbar"), int(match[2]), int(match[3] or 1)


def makespan(row: dict[str, str]) -> int | None:
    """Cycles of a row's schedule on our network; None for the few schedules whose messages wait for several others."""
    topology, kx, ky = of_booksim(row["topology"])
    name, chunk = row["collective"], int(row["chunk_flits"])
    if name.startswith("ring_"):
        messages = ring_schedule(name, kx, ky, chunk)
    elif name in SCHEDULES:
        messages = SCHEDULES[name](kx, ky, chunk)
    else:
        return None
    assert len(messages) == int(row["messages"])
    return run(build(topology, kx * ky, kx), messages)[1]


def test_booksim_collectives_without_contention_to_the_cycle() -> None:
    compared = 0
    for row in reference_rows("booksim_collectives.csv"):
        topology, name = row["topology"], row["collective"]
        if name in CONTENDED and not topology.startswith("xbar"):
            continue
        cycles = makespan(row)
        if cycles is not None:
            assert cycles == int(row["booksim_cycles"]), (topology, name, row["chunk_flits"])
            compared += 1
    assert compared >= 76


def test_booksim_collectives_with_contention_on_meshes() -> None:
    """Links are booked for whole messages in order of readiness, so crossing flows are off by up to half; the mean is small."""
    errors = []
    for row in reference_rows("booksim_collectives.csv"):
        if row["collective"] in CONTENDED and row["topology"].startswith("mesh"):
            cycles = makespan(row)
            assert cycles is not None
            errors.append(cycles / int(row["booksim_cycles"]) - 1)
    assert np.mean(np.abs(errors)) < 0.15
    assert max(map(abs, errors)) < 0.5


def test_booksim_messages_to_the_cycle() -> None:
    compared = 0
    for row in reference_rows("booksim_micro.csv"):
        exact = row["case"].startswith(("single", "chain", "one_to", "two_flows_disjoint", "two_flows_opposite"))
        if not exact or "+" in row["messages"]:
            continue
        topology, kx, ky = of_booksim(row["topology"])
        parts = [re.fullmatch(r"(\d+)>(\d+):(\d+)@0(?:\|(\d+))?", part) for part in row["messages"].split(";")]
        messages = [(int(p[1]), int(p[2]), int(p[3]), int(p[4] or -1)) for p in parts if p]
        assert len(messages) == len(parts)
        done, last = run(build(topology, kx * ky, kx), messages)
        assert last == int(row["booksim_makespan"]), row["case"]
        assert done == [int(x) for x in row["per_message_completion"].split(";")], row["case"]
        compared += 1
    assert compared >= 20


# ---- schedules and edge lists that are refused ----


def test_cyclic_waits_are_a_deadlock() -> None:
    with pytest.raises(CoreError, match="never completes"):
        run(build("mesh", 16, 4), [(0, 1, 4, 2), (1, 2, 4, 0), (2, 3, 4, 1)])


@pytest.mark.parametrize("message", [(0, 0, 1, -1), (0, 16, 1, -1), (-1, 0, 1, -1), (0, 1, 0, -1), (0, 1, 1, 1), (0, 1, 1, -2)])
def test_messages_out_of_range(message: Message) -> None:
    with pytest.raises(CoreError, match="out of range"):
        run(build("mesh", 16, 4), [message])


def test_messages_that_would_take_for_ever() -> None:
    with pytest.raises(CoreError, match="63 bits"):
        run(build("mesh", 16, 4), [(0, 1, 2**63 - 1, -1)])


@pytest.mark.parametrize(
    ("cores", "edges", "message"),
    [
        (3, [(0, 1), (1, 1), (1, 2)], "joins a core to itself"),
        (3, [(0, 1)], "no path from core 0 to core 2"),
        (3, [(0, 1), (1, 3)], "names core 3, but cores are 0 to 2"),
        (3, [], "needs a list of core pairs"),
        (5, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)], "wait for each other"),
    ],
)
def test_edge_lists_that_are_refused(cores: int, edges: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(SpecError, match=message) as info:
        build("edges", cores, edges=edges)
    assert info.value.path[:3] == ("device", "noc", "edges")
    assert "\n" not in str(info.value)


def test_edge_lists_route_along_shortest_paths() -> None:
    # a star: every pair over the hub has two links, 8 + 6 + 3
    star = build("edges", 5, edges=[(0, i) for i in range(1, 5)])
    assert run(star, [(1, 4, 4, -1)]) == ([17], 17)
    # a square routes over its lowest corners without a cycle; doubled edges are one
    square = build("edges", 4, edges=[(0, 1), (1, 2), (2, 3), (3, 0), (1, 0)])
    assert run(square, [(0, 2, 1, -1), (1, 3, 1, -1)])[0] == [14, 14]


def test_a_torus_needs_whole_rows() -> None:
    with pytest.raises(SpecError, match="multiple") as info:
        build("torus", 30, 8)
    assert info.value.path == ("device", "noc", "columns")
