"""The simulated network: BookSim 2's latencies and collectives to the cycle, by hand and from the reference's closed forms."""

from collections.abc import Iterable

import numpy as np
import pytest

from hdasim.core import _core, layout
from hdasim.core._core import Network
from hdasim.errors import CoreError
from hdasim.noc import cases, messages
from hdasim.noc.names import parse, topology

Message = tuple[int, int, int, int, tuple[int, ...]]  # source, target, flits, delay, dependencies


def net(name: str, router: str = "R1", packet: int = 16, channels: int = 8, buffer: int = 8) -> Network:
    cells = {"topology": name, "router_cfg": router, "packet_flits": str(packet), "num_vcs": str(channels),
             "vc_buf_flits": str(buffer), "messages": "0>1:1"}  # fmt: skip
    return cases.schedule(cases.parse(cells))[0]


def arrays(given: Iterable[Message]) -> tuple[np.ndarray, np.ndarray]:
    rows, deps = [], []
    for source, target, flits, delay, before in given:
        rows.append((source, target, flits, delay, len(deps), len(before)))
        deps += before
    return np.array(rows, layout.MESSAGE), np.array(deps, np.int64)


def done(network: Network, text: str, mode: str = "") -> list[int]:
    found, deps = messages.parse(text, network.order.size)
    return network.run(found, deps, mode)[0].tolist()


def cycles(name: str, collective: str, chunk: int, router: str = "R1") -> int:
    cells = {"topology": name, "router_cfg": router, "packet_flits": "16", "chunk_flits": str(chunk), "collective": collective}
    return cases.simulate(cases.parse(cells)).cycles


# ---- single messages: (h + 1) t_router + h + 3 + (L - 1) ----


@pytest.mark.parametrize(
    ("name", "text", "r1", "r2"),
    [
        ("mesh8x8", "0>1:1", 10, 12),  # 4 + 6; 5 + 7
        ("mesh8x8", "0>63:1", 62, 77),  # 14 links: 56 + 6; 70 + 7
        ("mesh8x8", "63>0:16", 77, 92),  # + 15
        ("mesh8x8", "0>9:16", 29, 32),  # 2 links: 8 + 6 + 15; 10 + 7 + 15
        ("torus8x8", "0>63:1", 14, 17),  # one wrap in each dimension
        ("torus8x8", "0>36:1", 38, 47),  # 4 + 4 links, both ties
        ("ring16", "0>15:1", 10, 12),
        ("ring16", "0>8:1", 38, 47),  # a tie: 8 links either way
        ("xbar32", "3>17:16", 21, 22),  # one router: 6 + 15; 7 + 15
        ("cmesh4x4c4", "0>1:1", 6, 7),  # the same router
        ("cmesh4x4c4", "0>63:4", 33, 40),  # 6 links: 24 + 6 + 3; 30 + 7 + 3
        ("edges:0-1,1-2,2-3", "0>3:1", 18, 22),  # 3 links
    ],
)
def test_zero_load_latency(name: str, text: str, r1: int, r2: int) -> None:
    for mode in ("", "router"):
        assert done(net(name), text, mode) == [r1]
        assert done(net(name, "R2"), text, mode) == [r2]


def test_delays_are_parameters() -> None:
    # (h + 1) router + h link + port + L - 1 with 5, 2, 7 over 3 links of 4 flits: 20 + 6 + 7 + 3
    t = topology("ring8")
    slow = Network(
        t.router_of, t.link_from, t.link_to, t.next_link.ravel(), t.order, router_delay=5, link_delay=2, port_delay=7,
        link_dimension=t.link_dimension, link_wraps=t.link_wraps,
    )  # fmt: skip
    assert done(slow, "0>3:4") == done(slow, "0>3:4", "router") == [36]


# ---- small schedules ----


def test_messages_queue_at_ports_and_links() -> None:
    # BookSim's one_to_seven_row: node 0 injects 64 flits to each neighbour of its row in turn; the i-th (from 0) starts at 64 i
    row = ";".join(f"0>{i}:64" for i in range(1, 8))
    assert done(net("mesh8x8"), row) == [64 * (i - 1) + 4 * i + 6 + 63 for i in range(1, 8)]
    # its two_flows_opposite and two_flows_disjoint do not meet: 28 + 6 + 255
    assert done(net("mesh8x8"), "0>7:256;7>0:256;8>15:256") == [289] * 3


def test_dependent_messages_start_a_cycle_after_receipt() -> None:
    # BookSim's chain_sf_7hops_f64: seven times 64 + 10, less the one cycle before the first: 517
    chain = ";".join(f"{i}>{i + 1}:64" + (f"@0|{i - 1}" if i else "") for i in range(7))
    assert done(net("mesh8x8"), chain)[-1] == 517
    # 0>1 ends at 25 (4 + 6 + 15); 1>2 is ready 5 cycles later and takes 10
    assert done(net("mesh8x8"), "0>1:16;1>2:1@5|0") == [25, 40]
    # one without dependency starts at its delay
    assert done(net("mesh8x8"), "0>1:1@100") == [110]


def test_joins_take_no_time() -> None:
    given = arrays([(1, 0, 1, 0, ()), (2, 0, 16, 0, ()), (0, 0, 0, 0, (0, 1)), (0, 4, 1, 0, (2,))])
    # 1>0 is received at 10, 2>0 at 8 + 6 + 15 = 29; 0>4 takes 10 from 30 on
    for mode in ("", "router"):
        assert net("mesh4x4").run(*given, mode)[0].tolist() == [10, 29, 29, 40]


@pytest.mark.parametrize(
    ("packet", "channels", "buffer", "expected"),
    # BookSim's stream_h7_f1024 (noc README 3): one channel of 8 flits halves the rate of 1-flit packets; 8 x 8 never stalls:
    # 7 links: 28 + 6 + 1023 = 1057
    [(1, 1, 8, 2080), (4, 1, 8, 1312), (16, 1, 8, 1120), (16, 4, 4, 1760), (16, 1, 4, 2074), (1, 8, 8, 1057), (16, 8, 8, 1057)],
)
def test_small_buffers_stall_a_stream(packet: int, channels: int, buffer: int, expected: int) -> None:
    assert done(net("mesh8x8", "R1", packet, channels, buffer), "0>7:1024") == [expected]


# ---- closed forms (noc README 5): c flits, N nodes, a dependent step of one link costs c + 10; both directions of a ring share
# the ports, so that their forms hold where c / 2 + 10 >= c, and beyond it the port bound: c flits a step, and 9 ----

FORMS = [
    ("ring_ag_ham", lambda n, c: (n - 1) * (c + 10) - 1),
    ("ring_ar_ham", lambda n, c: 2 * (n - 1) * (c + 10) - 1),
    ("ring_ag_ham_bidir", lambda n, c: max((n - 1) * (c // 2 + 10) - 1 + c // 2, (n - 1) * c + 9)),
    ("ring_ar_ham_bidir", lambda n, c: max(2 * (n - 1) * (c // 2 + 10) - 1 + c // 2, 2 * (n - 1) * c + 9)),
    ("incast", lambda n, c: (n - 1) * 4 * c + 9),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form[0])
@pytest.mark.parametrize(("name", "chunk"), [("mesh4x4", 16), ("mesh8x8", 16), ("mesh3x2", 64), ("torus4x4", 6), ("ring8", 16)])
def test_closed_forms(form: tuple, name: str, chunk: int) -> None:
    assert cycles(name, form[0], chunk) == form[1](parse(name)[1], chunk)


def test_the_reference_s_numbers_for_8x8() -> None:
    """Chunks of 16 flits; the long links of rows add 4 (7 - 1) cycles for each time a chunk crosses one."""
    found = {name: cycles("mesh8x8", name, 16) for name in ("ring_ag_rowmajor", "twod_ag", "twod_ar", "bcast_unicast")}
    assert found == {
        "ring_ag_rowmajor": 1885,  # 1637 + 248
        "twod_ag": 1195,  # 7 26 + 4 6 + 7 (128 + 10) + 4 6 - 1
        "twod_ar": 2391,  # 2 [7 (128 + 10) + 24] + 14 26 + 48 - 1
        "bcast_unicast": 63 * 64 + 4 * 14 + 5,
    }
    # R2: a step costs c + 12
    assert cycles("mesh8x8", "ring_ag_ham", 16, "R2") == 63 * 28 - 1


@pytest.mark.parametrize(("columns", "rows", "chunk"), [(4, 4, 16), (8, 4, 16), (3, 5, 8), (2, 2, 32)])
def test_two_dimensional_collectives_on_a_mesh(columns: int, rows: int, chunk: int) -> None:
    """(Kx - 1)(c + 10) + 4 (Kx - 2) + (Ky - 1)(Kx c + 10) + 4 (Ky - 2) - 1, and its counterpart for the all-reduce."""
    name, row, column = f"mesh{columns}x{rows}", columns - 1, rows - 1
    far = 4 * (columns - 2), 4 * (rows - 2)
    gather = row * (chunk + 10) + far[0] + column * (columns * chunk + 10) + far[1] - 1
    assert cycles(name, "twod_ag", chunk) == gather
    reduce = 2 * (row * (rows * chunk + 10) + far[0]) + 2 * column * (chunk + 10) + 2 * far[1] - 1
    assert cycles(name, "twod_ar", chunk) == reduce


@pytest.mark.parametrize("nodes", [2, 5, 32])
def test_collectives_on_a_crossbar(nodes: int) -> None:
    """A message crosses one router: a dependent step costs c + 6."""
    assert cycles(f"xbar{nodes}", "ring_ag_ham", 16) == (nodes - 1) * 22 - 1
    assert cycles(f"xbar{nodes}", "incast", 16) == (nodes - 1) * 64 + 5


# ---- bounds ----


def test_loads_by_hand() -> None:
    network = net("mesh4x1")
    # 0>3 and 1>3 share the links 1>2 and 2>3 and the port of 3; 0 injects 20 in all
    found, deps = messages.parse("0>3:8;1>3:8;0>1:12", 4)
    load = network.bound(found, deps)
    assert {key: load[key] for key in ("max_inject", "max_eject", "max_link", "flit_hops")} == {
        "max_inject": 20, "max_eject": 16, "max_link": 20, "flit_hops": 8 * 3 + 8 * 2 + 12,
    }  # fmt: skip
    # 20 flits of a port or link, the last of which crosses a link after it: 20 + 9; 0>3 alone takes 12 + 6 + 7 = 25
    assert load["cycles"] == 29


def test_the_bound_of_a_chain_is_its_latency() -> None:
    network = net("mesh8x8")
    found, deps = messages.parse(";".join(f"{i}>{i + 1}:64" + (f"@0|{i - 1}" if i else "") for i in range(7)), 64)
    assert network.bound(found, deps)["cycles"] == 517


def test_the_bound_of_a_link_is_never_above_its_cycles() -> None:
    """0>8 and 4>12 on a mesh of 4 columns share the link 4>8, one at its end and one at its start: 512 flits in 521 cycles."""
    network = net("mesh4x4")
    found, deps = messages.parse("0>8:256;4>12:256", 16)
    assert network.bound(found, deps)["cycles"] == 521 <= network.run(found, deps)[1]


def test_a_message_within_a_router_bounds_nothing_else() -> None:
    network = net("cmesh2x1c2")
    found, deps = messages.parse("0>1:40;0>3:1", 4)
    assert network.bound(found, deps)["cycles"] == 41 + 5 <= network.run(found, deps)[1]


# ---- what is refused ----


def test_cyclic_waits_are_a_deadlock() -> None:
    with pytest.raises(CoreError, match="never completes"):
        net("mesh4x4").run(*arrays([(0, 1, 4, 0, (2,)), (1, 2, 4, 0, (0,)), (2, 3, 4, 0, (1,))]))


@pytest.mark.parametrize(
    "message",
    [(0, 0, 1, 0, ()), (0, 16, 1, 0, ()), (-1, 0, 1, 0, ()), (0, 1, 0, 0, ()), (0, 1, -1, 0, ()), (0, 1, 1, -1, ()),
     (0, 1, 1, 0, (1,)), (0, 1, 1, 0, (-1,))],
)  # fmt: skip
def test_messages_out_of_range(message: Message) -> None:
    for function in (net("mesh4x4").run, net("mesh4x4").bound):
        with pytest.raises(CoreError, match="out of range"):
            function(*arrays([message]))


def test_messages_that_would_take_for_ever() -> None:
    with pytest.raises(CoreError):
        net("mesh4x4").run(*arrays([(0, 1, 2**63 - 1, 0, ())]))


@pytest.mark.parametrize(
    "change",
    [{"router_delay": 0}, {"router_delay": 1, "link_delay": 0}, {"virtual_channels": 0}, {"buffer_flits": 0},
     {"packet_flits": 0}, {"columns": -1}, {"virtual_channels": 1000}],
)  # fmt: skip
def test_networks_out_of_range(change: dict[str, int]) -> None:
    t = topology("mesh4x4")
    with pytest.raises(CoreError):
        Network(t.router_of, t.link_from, t.link_to, t.next_link.ravel(), t.order, **change)


def test_collectives_that_do_not_fit() -> None:
    for collective, algorithm, members, columns in (
        ("all_gather", "recursive", 6, 0), ("all_gather", "two_d", 6, 4), ("broadcast", "ring", 4, 0), ("gather", "tree", 4, 0),
    ):  # fmt: skip
        with pytest.raises(CoreError):
            _core.schedule(collective, algorithm, np.arange(members), 4, columns=columns)
