"""Programs, networks and serving loops through the boundary: what operators move and compute, and what is refused."""

from typing import Any

import numpy as np
import pytest

from hdasim.core import layout
from hdasim.core._core import Links, Network, Program, Serve, mt_attention_cycles, schedule
from hdasim.errors import CoreError

DEVICE: dict[str, Any] = {
    "frequency": 1e9, "core_count": 4, "array": (16, 16, 1), "tree": (8, 8, True), "vector_width": 16, "local_memory": 1e6,
    "global_memory": 16e6, "global_bandwidth": 256e9, "dram": (0, 100e9, 0.0, 0.0, 0.8, 0.8, 0.0), "link_width": 64.0,
    "shared": False, "prefetch": True,
    "p2p_algorithm": 0, "device_count": 1, "p2p_bandwidth": 1.0, "dataflow": 0, "measured": None, "launch_overhead": 0.0,
    "activation_bytes": 2.0, "kv_bytes": 2.0,
}  # fmt: skip


def links() -> Links:
    return Links(2, [1, 0], [-1, 0, 1, -1], [1.0, 1.0], [0, 0])


def crossbar(nodes: int = 4) -> Network:
    return Network([0] * nodes, [], [], [-1], list(range(nodes)))


def table(dtype: np.dtype, *rows: dict[str, Any]) -> np.ndarray:
    result = np.zeros(len(rows), dtype)
    for record, row in zip(result, rows, strict=True):
        for key, value in row.items():
            record[key] = value
    return result


def op(kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": layout.OP_KINDS[kind], "after": (-1, -2), **fields}


def program(*ops: dict[str, Any], max_rows: int = 64, block_size: int = 4, **device: Any) -> Program:
    blocks = table(layout.BLOCK, {"first": 0, "count": len(ops)})
    segments = table(layout.SEGMENT, {"first": 0, "count": 1, "repeat": 1, "layers": 1})
    return Program({**DEVICE, **device}, crossbar(), links(), table(layout.OP, *ops), blocks, segments, max_rows, block_size)


def step(target: Program, q_len: list[int], past: list[int], emit_count: int = 0, **flags: bool) -> tuple[Any, np.ndarray]:
    return target.step(np.array(q_len, np.int64), np.array(past, np.int64), emit_count, per_op=True, **flags)


LINEAR = op("linear", k=64, n=96, weight_bytes=2.0)


def test_linear_streams_its_weights_once() -> None:
    total, ops = step(program(LINEAR), [10], [0])
    # 64 * 96 * 2 bytes, 10 * 64 * 96 multiply-accumulates
    assert ops["dram_bytes"][0] == total["dram_bytes"] == 12_288
    assert ops["useful_macs"][0] == sum(total["macs"]) == 61_440
    # DRAM at 80 % of 100 GB/s and at its peak: 12288 / 80e9 = 153.6 ns, 12288 / 100e9 = 122.88 ns
    assert total["busy"][0] == pytest.approx(153.6e-9)
    assert total["bound_by"][1] == pytest.approx(122.88e-9)
    assert total["time"] >= 153.6e-9


def test_experts_stream_those_that_tokens_hit() -> None:
    experts = op("experts", k=64, n=96, weight_bytes=1.0, experts=8, top_k=2)
    # 4 tokens pick 2 of 8: 8 (1 - (6/8)^4) = 8 * 0.68359375 = 5.46875 experts are hit, of 64 * 96 bytes each = 33,600
    _, ops = step(program(experts), [4], [0])
    assert ops["dram_bytes"][0] == pytest.approx(33_600)
    assert ops["useful_macs"][0] == 4 * 2 * 64 * 96
    # one token hits exactly its two
    _, ops = step(program(experts), [1], [0])
    assert ops["dram_bytes"][0] == pytest.approx(2 * 64 * 96)
    # all of them if every token picks all
    _, ops = step(program({**experts, "top_k": 8}), [1], [0])
    assert ops["dram_bytes"][0] == 8 * 64 * 96


ATTENTION: dict[str, Any] = {
    "vector_ops": 8.0, "kv_heads": 2, "group": 3, "key_dim": 16, "value_dim": 8, "kv_elements": 2 * (16 + 8)
}  # fmt: skip


def test_decode_reads_the_cache() -> None:
    # contexts of 5 and 40 tokens, 48 elements of 2 bytes each; 47 scores and values with the new tokens
    _, ops = step(program(op("decode_attention", **ATTENTION)), [1, 1], [5, 40])
    assert ops["dram_bytes"][0] == 45 * 48 * 2
    assert ops["useful_macs"][0] == 47 * 2 * 3 * (16 + 8)
    # a window of 32 keys, the new token among them, reads 5 and 31
    _, ops = step(program(op("decode_attention", window=32, **ATTENTION)), [1, 1], [5, 40])
    assert ops["dram_bytes"][0] == 36 * 48 * 2


@pytest.mark.parametrize(("past", "pages"), [(3, 1), (4, 2), (7, 2), (8, 3)])
def test_decode_computes_whole_pages(past: int, pages: int) -> None:
    """On one core the tree takes all pages of both heads; the new token needs a place too."""
    total, _ = step(program(op("decode_attention", **ATTENTION), core_count=1), [1], [past])
    # scores ceil(16 / 8) deep, values ceil(tokens / 8) deep, 8 lanes for 3 query heads
    cycles = mt_attention_cycles(3, 16, 8, 2 * 4 * pages, 8, 8)
    assert total["busy"][2] == pytest.approx(cycles * 1e-9)


def test_prefill_computes_its_pairs_and_reads_what_was_cached() -> None:
    # 4 tokens after 2: 3 + 4 + 5 + 6 = 18 pairs; a sequence with one new token and a past decodes
    _, ops = step(program(op("prefill_attention", **ATTENTION)), [4, 1], [2, 9])
    assert ops["useful_macs"][0] == 18 * 2 * 3 * (16 + 8)
    assert ops["dram_bytes"][0] == 2 * 48 * 2
    _, ops = step(program(op("decode_attention", **ATTENTION)), [4, 1], [2, 9])
    assert ops["dram_bytes"][0] == 9 * 48 * 2


def test_loads_and_stores_move_bytes_per_row() -> None:
    total, ops = step(program(op("load", n=100), op("store", n=30)), [5, 1], [0, 3])
    assert list(ops["dram_bytes"]) == [600, 180]
    # (600 + 180) / 80e9: the step ends with its last store
    assert total["time"] == pytest.approx(780 / 80e9)


def test_vector_operators_take_the_vector_units() -> None:
    # 16 rows x 8 elements x 4 operations on 4 cores of 16 lanes: 512 / 64 = 8 cycles
    total, _ = step(program(op("vector", n=8, vector_ops=4.0)), [16], [0])
    assert total["busy"][3] == pytest.approx(8e-9)


def test_rows_that_emit() -> None:
    head = op("linear", rows=layout.ROWS["emit"], k=64, n=96, weight_bytes=2.0)
    _, ops = step(program(head), [1, 1, 8], [3, 3, 0], emit_count=2)
    assert ops["useful_macs"][0] == 2 * 64 * 96
    total, ops = step(program(head), [8], [0], emit_count=0)
    assert ops["dram_bytes"][0] == total["time"] == 0


def test_limits_of_a_step_add_up() -> None:
    total, ops = step(program(LINEAR, op("vector", after=(0, -2), n=96, vector_ops=4.0)), [10], [0])
    assert total["limited"].sum() == pytest.approx(total["time"])
    assert ops["exposed"].sum() <= total["time"] * (1 + 1e-9)


# ---- refusals ----


@pytest.mark.parametrize(
    ("q_len", "past", "emit_count", "message"),
    [
        ([0], [0], 0, "out of range"),
        ([1], [-1], 0, "out of range"),
        ([1], [2**37], 0, "out of range"),
        ([1], [0], 2, "out of range"),
        ([1], [0], -1, "out of range"),
        ([65], [0], 0, "more than the program was created for"),
        ([], [], 0, "1 or more items"),
        ([1, 1], [0], 0, "2 or more items"),
    ],
)
def test_steps_out_of_range(q_len: list[int], past: list[int], emit_count: int, message: str) -> None:
    with pytest.raises(CoreError, match=message):
        step(program(LINEAR), q_len, past, emit_count)


def test_steps_of_other_arrays() -> None:
    with pytest.raises(CoreError, match="contiguous array"):
        program(LINEAR).step(np.array([1.0]), np.array([0]), 0)
    with pytest.raises(CoreError, match="contiguous array"):
        program(LINEAR).step(np.arange(1, 9)[::2], np.zeros(4, np.int64), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"frequency": 0.0}, {"frequency": float("nan")}, {"core_count": 5}, {"core_count": 0}, {"array": (0, 16, 1)},
        {"array": (2**21, 16, 1)}, {"tree": (0, 8, True)}, {"local_memory": 0.0}, {"dram": (9, 1e11, 0, 0, 0.8, 0.8, 0)},
        {"dram": (0, 1e11, 0, 0, 0.8, 1.1, 0)}, {"dram": (2, 1e11, 0, 0, 0.8, 0.8, -1)}, {"p2p_algorithm": 6},
        {"p2p_algorithm": -1}, {"dataflow": 4}, {"dataflow": -1}, {"device_count": 3, "p2p_bandwidth": 1e9},
        {"device_count": 2, "p2p_bandwidth": 0.0}, {"launch_overhead": -1e-6}, {"kv_bytes": 0.0},
    ],
)  # fmt: skip
def test_devices_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(CoreError, match="out of range"):
        program(LINEAR, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 7}, {"rows": 4}, {"rows": 5}, {"sync": 6}, {"after": (0, -2)}, {"after": (-3, -2)}, {"k": 0}, {"n": -1},
        {"k": 2**33, "n": 2**33}, {"weight_bytes": 0.0}, {"weight_bytes": float("nan")}, {"sync_bytes": -1.0},
        op("experts", experts=2, top_k=3), op("decode_attention"), op("decode_attention", **{**ATTENTION, "window": -1}),
        op("prefill_attention", **{**ATTENTION, "group": 2**21}),
    ],
)  # fmt: skip
def test_operators_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(CoreError, match="out of range"):
        program({**LINEAR, **change})


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 2), (1, 1), (2**31 - 1, 2**31 - 1), (0, 0)])
def test_blocks_and_segments_out_of_range(first: int, count: int) -> None:
    ops, one = table(layout.OP, LINEAR), {"first": 0, "count": 1}
    whole = table(layout.SEGMENT, {**one, "repeat": 1})
    part = table(layout.BLOCK, {"first": first, "count": count})
    with pytest.raises(CoreError, match="out of range"):
        Program(DEVICE, crossbar(), links(), ops, part, whole, 8, 4)
    whole = table(layout.SEGMENT, {"first": first, "count": count, "repeat": 1})
    with pytest.raises(CoreError, match="out of range"):
        Program(DEVICE, crossbar(), links(), ops, table(layout.BLOCK, one), whole, 8, 4)


@pytest.mark.parametrize(("max_rows", "block_size"), [(0, 4), (2**24 + 1, 4), (8, 0), (8, 2**20 + 1)])
def test_sizes_out_of_range(max_rows: int, block_size: int) -> None:
    with pytest.raises(CoreError, match="out of range"):
        program(LINEAR, max_rows=max_rows, block_size=block_size)


@pytest.mark.parametrize(("index", "rows", "core"), [(-1, 1, 0), (1, 1, 0), (0, 0, 0), (0, 65, 0), (0, 1, -1), (0, 1, 4)])
def test_mappings_out_of_range(index: int, rows: int, core: int) -> None:
    with pytest.raises(CoreError, match="out of range"):
        program(LINEAR).mapping(index, rows, core)


def test_mappings_cover_the_operator() -> None:
    target = program(LINEAR)
    for rows in (1, 7, 64):
        cores = [target.mapping(0, rows, core) for core in range(4)]
        assert len({(m["grid_rows"], m["grid_cols"]) for m in cores}) == 1
        assert sum(m["m"] * (m["sa_columns"] + m["mt_columns"]) for m in cores) == rows * 96


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([0, 0], [], [], [-1], [0, 0]), "fit together"),  # a node twice in the order
        (([0, 0], [], [], [-1], [0]), "fit together"),
        (([0], [1], [], [-1], [0]), "fit together"),  # a link with one end
        (([0], [], [], [-1, -1], [0]), "fit together"),  # two routers need four routes
        (([], [], [], [], []), "out of range"),
        (([0, 1], [], [], [-1], [0, 1]), "out of range"),  # a node at no router
        (([0, -1], [], [], [-1], [0, 1]), "out of range"),
        (([0], [0], [1], [-1], [0]), "out of range"),  # a link to no router
        (([0], [-1], [0], [-1], [0]), "out of range"),
        (([0], [0], [0], [-1], [0]), "out of range"),  # and one from a router to itself
        (([0], [], [], [1], [0]), "out of range"),  # a route over no link
        (([0, 1], [0, 1], [1, 0], [-1, 1, 0, -1], [0, 1]), "out of range"),  # and over links of others
    ],
)
def test_networks_that_make_no_sense(arrays: tuple[list[int], ...], message: str) -> None:
    with pytest.raises(CoreError, match=message):
        Network(*arrays)


@pytest.mark.parametrize("change", [{"link_dimension": [0]}, {"link_wraps": [0]}])
def test_networks_whose_rings_do_not_fit(change: dict[str, list[int]]) -> None:
    with pytest.raises(CoreError, match="fit together"):
        Network([0, 1], [0, 1], [1, 0], [-1, 0, 1, -1], [0, 1], **change)


def test_rings_need_two_classes_of_channels() -> None:
    arrays = [0, 1], [0, 1], [1, 0], [-1, 0, 1, -1], [0, 1]
    Network(*arrays, link_wraps=[0, 1], virtual_channels=2)
    with pytest.raises(CoreError, match="out of range"):
        Network(*arrays, link_wraps=[0, 1], virtual_channels=1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([1, 0], [-1, 0, 1], [1.0, 1.0], [0, 0]), "fit together"),
        (([1, 0], [-1, 0, 1, -1], [1.0], [0, 0]), "fit together"),
        (([1, 0], [-1, 0, 1, -1], [1.0, 1.0], [0]), "fit together"),
        (([2, 0], [-1, 0, 1, -1], [1.0, 1.0], [0, 0]), "out of range"),
        (([1, 0], [-1, 2, 1, -1], [1.0, 1.0], [0, 0]), "out of range"),
        (([1, 0], [-1, 0, 1, -1], [0.0, 1.0], [0, 0]), "out of range"),
        (([1, 0], [-1, 0, 1, -1], [float("nan"), 1.0], [0, 0]), "out of range"),
        (([1, 0], [-1, 0, 1, -1], [1.0, 1.0], [-1, 0]), "out of range"),
        (([], [-1], [], []), "out of range"),  # fewer nodes than devices
    ],
)
def test_links_that_make_no_sense(arrays: tuple[list, ...], message: str) -> None:
    with pytest.raises(CoreError, match=message):
        Links(2, *arrays)


@pytest.mark.parametrize(
    ("members", "chunk", "fields"),
    [([], 1, {}), ([0, 1], 0, {}), ([0, 1], 2**40, {}), ([0, 1], 1, {"pieces": 0}), ([0, 1, 0], 1, {})],
)
def test_collectives_that_do_not_fit(members: list[int], chunk: int, fields: dict[str, int]) -> None:
    for kind, how in (("all_gather", "ring"), ("all_reduce", "direct"), ("broadcast", "chain")):
        with pytest.raises(CoreError):
            schedule(kind, how, members, chunk, **fields)


def test_sends_need_a_link_and_two_devices() -> None:
    send = op("vector", n=8, sync=layout.SYNCS["send"], sync_bytes=1e3)
    # 16 rows x 1000 bytes at 1 byte/s, whatever the number of devices in the group
    total, ops = step(program(send), [16], [0])
    assert total["communication"].tolist() == [0, pytest.approx(16e3)]
    assert ops["p2p_bytes"][0] == total["p2p_bytes"] == 16_000
    assert total["bound_by"][2] == 16e3
    assert total["exposed_communication"][1] == pytest.approx(16e3) == total["limited"][layout.CAUSES.index("p2p")]
    with pytest.raises(CoreError, match="out of range"):
        program(send, p2p_bandwidth=0.0)


def serve(count: int = 2, **changes: Any) -> Serve:
    trace = {"arrival": np.zeros(count), "input_len": np.full(count, 5), "output_len": np.full(count, 3)}
    trace |= {"parent": None, "hash_ids": None, "hash_offsets": None, "hash_block": 4}
    instance: dict[str, Any] = {
        "programs": [program(LINEAR)], "rank_count": 1, "role": 0, "policy": 0, "max_num_seqs": 4, "max_num_batched_tokens": 64,
        "block_size": 4, "block_count": 10, "chunked_prefill": True, "prefix_caching": True, "async_scheduling": False,
        "reserve_full_prompt": True, "host_overhead": 0.0, "kv_bytes": 0.0, "kv_bandwidth": float("inf"), "kv_latency": 0.0,
        "kv_overlap": 0.0,
    }  # fmt: skip
    trace |= {key: changes.pop(key) for key in list(changes) if key in trace}
    assert changes.keys() <= instance.keys()
    return Serve([instance | changes], 0, **trace)


@pytest.mark.parametrize(
    "change",
    [
        {"arrival": np.array([1.0, 0.0])}, {"arrival": np.array([0.0, np.nan])}, {"arrival": np.array([0.0, np.inf])},
        {"arrival": np.array([-1.0, 0.0])}, {"input_len": np.array([1, 0])}, {"output_len": np.array([0, 1])},
        {"output_len": np.array([1, 2**36])}, {"max_num_seqs": 0}, {"max_num_batched_tokens": 0}, {"block_size": 0},
        {"block_count": -1}, {"input_len": np.array([1])}, {"input_len": np.array([1.0, 1.0])}, {"arrival": np.zeros(0)},
        {"policy": 6}, {"role": 3}, {"host_overhead": -1.0}, {"kv_bandwidth": 0.0}, {"programs": []}, {"rank_count": 0},
        {"parent": np.array([-1, 1])}, {"parent": np.array([1, -1])}, {"parent": np.array([-2, -1])},
        {"hash_ids": np.array([0, 1]), "hash_offsets": np.array([0, 1])},
        {"hash_ids": np.array([0, 1]), "hash_offsets": np.array([0, 2, 1])},
        {"hash_ids": np.array([0, 1]), "hash_offsets": np.array([1, 1, 2])},
        {"hash_ids": np.array([0, -1]), "hash_offsets": np.array([0, 1, 2])},
        {"hash_ids": np.array([0, 2**40]), "hash_offsets": np.array([0, 1, 2])},
        {"hash_ids": np.array([0, 1]), "hash_offsets": np.array([0, 1, 2]), "hash_block": 3},
    ],
)  # fmt: skip
def test_serving_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(CoreError):
        serve(**change)


def test_serving_in_slices_is_serving_at_once() -> None:
    def collect(capacity: int) -> tuple[bytes, bytes]:
        loop, parts = serve(3), []
        while True:
            count, steps, _ = loop.run(capacity)
            if not count:
                return np.concatenate(parts).tobytes(), loop.requests().tobytes()
            assert steps is not None
            parts.append(steps.copy())

    assert collect(1) == collect(100)


def test_a_failed_step_is_an_error() -> None:
    loop = serve(max_num_batched_tokens=65, input_len=np.array([65, 1]), block_count=100)
    with pytest.raises(CoreError, match="more than the program was created for"):
        loop.run(10)
