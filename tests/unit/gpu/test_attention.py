"""Fused attention on GPUs (csrc/gpu_prefill.c, csrc/gpu_decode.c), term by term against figures worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest

from hdasim.core import layout
from hdasim.core._core import gpu_decode, gpu_prefill
from hdasim.device.gpu import record
from hdasim.errors import CoreError
from hdasim.spec.load import load_device

US = 1e-6
NEVER = 1.0  # seconds: a way that is never the fastest
DRAM, L2 = 1e12, 4e12


def gpu(sm_count: float = 1, **constants: float) -> np.ndarray:
    """1 GHz, 1000 MACs, 100 lanes and 10 exponentials per SM and cycle; what a test does not name is neutral or never chosen."""
    out = np.zeros(1, layout.GPU)
    sizes = {"clock": 1e9, "lanes": 100, "exps": 10, "registers": 1e6, "shared_memory": 1e6, "l2_size": 1e6}
    rates = {"l2_bandwidth": L2, "dram_bandwidth": DRAM, "launch": US, "sm_count": sm_count}
    for name, value in {**sizes, **rates}.items():
        out[name] = value
    out["macs"] = [1000, 0, 0, 0]
    neutral = {
        "launches": 2, "efficiency": 1, "serial": 0, "key_block": 64, "prologue": US, "small_tile": 1e6, "tail": 0, "copy": 1,
        "stream": 1, "sm_read": 1e6, "l2_hold": 1, "group_cta": 2 * US, "head_cta": NEVER, "merge": NEVER,
    }  # fmt: skip
    for name, value in {**neutral, **constants}.items():
        out["attention"][name] = value
    return out


def heads(q_heads: int = 1, kv_heads: int = 1, dim: int = 64, **more: Any) -> np.ndarray:
    out = np.zeros(1, layout.HEADS)
    fields = {"q_heads": q_heads, "kv_heads": kv_heads, "key_dim": dim, "value_dim": dim, "kv_bytes": 2, **more}
    for name, value in fields.items():
        out[name] = value
    return out


def prefill(device: np.ndarray, shape: np.ndarray, *prompts: tuple[int, int, int]) -> np.void:
    return gpu_prefill(device, shape, np.array(list(prompts), layout.PROMPT), np.array([len(prompts)], np.int64))[0]


def decode(device: np.ndarray, shape: np.ndarray, sequences: int, tokens: float, longest: float | None = None) -> np.void:
    case = np.array([(sequences, tokens, tokens / sequences if longest is None else longest)], layout.DECODE)
    return gpu_decode(device, shape, case)[0]


# one SM, tiles of 128 queries, blocks of 64 keys, dimension 64: products 128 x 64 x 128 MACs / 1000 per ns = 1.049 us, softmax
# 128 x 64 scores x (1 / 10 exponentials + 6 operations / 100 lanes) = 1.311 us
PRODUCTS, SOFTMAX = 1.048576 * US, 1.31072 * US


def test_a_block_takes_the_longer_of_products_and_softmax_and_what_is_not_hidden() -> None:
    assert prefill(gpu(), heads(), (1, 64, 0))["compute"] == pytest.approx(SOFTMAX)
    assert prefill(gpu(serial=0.5), heads(), (1, 64, 0))["compute"] == pytest.approx(SOFTMAX + 0.5 * PRODUCTS)
    assert prefill(gpu(efficiency=0.5), heads(), (1, 64, 0))["compute"] == pytest.approx(2 * PRODUCTS)


def test_prefill_adds_launches_the_cache_write_and_the_longest_queue() -> None:
    kernel = prefill(gpu(), heads(), (1, 256, 0))
    # tiles of 2 and 4 blocks: (1 + 2 x 1.311) + (1 + 4 x 1.311) us, in whole CTAs of the shorter kind
    short = US + 2 * SOFTMAX
    queue = math.ceil((2 * US + 6 * SOFTMAX) / short) * short
    append = 256 * 128 * (2 + 2) / DRAM
    assert kernel["time"] == pytest.approx(2 * US + append + queue)
    assert (kernel["tile_m"], kernel["tile_n"], kernel["waves"], kernel["split"]) == (128, 64, 2, 1)
    assert kernel["macs"] == 128 * 256 * 257 / 2


def test_the_last_wave_exposes_a_part_of_the_longest_cta() -> None:
    times = [prefill(gpu(tail=tail), heads(), (1, 256, 0))["time"] for tail in (0, 0.5)]
    assert times[1] - times[0] == pytest.approx(0.5 * 2 * SOFTMAX)


def test_idle_sms_let_prefill_split_the_keys() -> None:
    kernel = prefill(gpu(sm_count=4, merge=US), heads(), (1, 64, 64 * 7))
    # 8 blocks in 4 parts of 2, and 4 parts to merge
    append, parts = 64 * 128 * 4 / DRAM, 4
    assert kernel["time"] == pytest.approx(2 * US + append + US + 2 * SOFTMAX + US + parts * 45e-9)
    assert kernel["split"] == parts


def test_small_tiles_are_taken_where_large_ones_are_mostly_padding() -> None:
    kernel = prefill(gpu(small_tile=1), heads(), (1, 64, 0))
    append = 64 * 128 * 4 / DRAM
    assert kernel["tile_m"] == 64
    assert kernel["time"] == pytest.approx(2 * US + append + 0.6 * US + SOFTMAX / 2)


def blocks_by_hand(q_len: int, past: int, group: int, window: int) -> int:
    """Key blocks of all tiles of packed rows, by walking through them."""
    total, rows = 0, q_len * group
    for start in range(0, rows, 128):
        first, last = start // group, (min(start + 128, rows) - 1) // group
        begin = max(past + first + 1 - window, 0) if window else 0
        total += math.ceil((past + last + 1) / 64) - begin // 64
    return total


def test_how_a_window_meets_key_blocks_changes_no_count_of_waves() -> None:
    # 11 CTAs on 10 SMs: one comes second wherever the window's ends lie in blocks of 64 keys
    device = gpu(10)
    times = [prefill(device, heads(window=600), (11, 77, past))["time"] for past in range(9000, 9064)]
    assert max(times) < 1.1 * min(times)  # one block of 11 more or less


@pytest.mark.parametrize("group", [1, 3, 8, 128])
@pytest.mark.parametrize("window", [0, 1, 100, 4096])
def test_blocks_beyond_the_diagonal_and_before_the_window_are_skipped(group: int, window: int) -> None:
    rng = np.random.default_rng(group)
    for _ in range(20):
        q_len, past = int(rng.integers(1, 3000)), int(rng.integers(0, 3000))
        kernel = prefill(gpu(), heads(group, 1, window=window), (1, q_len, past))
        assert kernel["compute"] / SOFTMAX == pytest.approx(blocks_by_hand(q_len, past, group, window)), (q_len, past)
        seen = sum(min(past + i + 1, window or 10**9) for i in range(q_len))
        assert kernel["macs"] == pytest.approx(128 * group * seen)


def test_prompts_of_one_launch_queue_together() -> None:
    one, other = (2, 300, 0), (1, 1000, 128)
    both = prefill(gpu(), heads(), one, other)
    apart = [prefill(gpu(), heads(), prompt) for prompt in (one, other)]
    for field in ("compute", "macs", "dram_bytes"):
        assert both[field] == pytest.approx(sum(kernel[field] for kernel in apart))


def test_prefill_is_never_faster_than_its_bytes() -> None:
    kernel = prefill(gpu(sm_count=1000, copy=0.5), heads(128, 128), (64, 16, 0))
    moved = 64 * 16 * 128 * 128 * (2 + 2)  # queries and outputs, keys and values; the cache write as many again
    assert kernel["dram_bytes"] == moved
    assert kernel["time"] >= 2 * US + 2 * moved / (0.5 * DRAM)
    assert layout.KERNEL_CAUSES[kernel["cause"]] == "dram"


# decode: tiles of 64 rows, so half a block's times above
BLOCK = SOFTMAX / 2


def test_decode_joins_fixed_times_and_streaming() -> None:
    shape, sequences, length = heads(), 3, 64
    kernel = decode(gpu(), shape, sequences, sequences * length)
    moved = sequences * (length * 128 * 2 + 128 * (2 + 4))
    fixed = 2 * US + BLOCK
    assert kernel["time"] == pytest.approx(2 * US + fixed + math.hypot(2 * fixed, moved / DRAM))
    assert kernel["dram_bytes"] == moved
    assert (kernel["tile_m"], kernel["split"], kernel["waves"]) == (64, 1, 3)


def test_an_sm_reads_or_computes_block_after_block() -> None:
    times = [decode(gpu(), heads(), 1, 64 * blocks)["time"] for blocks in (1, 5)]
    assert times[1] - times[0] == pytest.approx(4 * BLOCK, rel=0.02)
    slow = gpu(sm_read=1 / 64, sm_count=2000, merge=1.0)  # 1 byte per ns: 64 keys x 256 bytes take 16.4 us; no split
    times = [decode(slow, heads(), 1, 64 * blocks)["time"] for blocks in (1, 5)]
    assert times[1] - times[0] == pytest.approx(4 * 16.384 * US, rel=0.02)


def test_all_sms_together_read_what_dram_gives() -> None:
    """One SM that would read 1 byte per ns still has 1.4 times what DRAM gives, so that its reading hides behind that."""
    few, many = (decode(gpu(sm_read=1 / 64, sm_count=count, merge=1.0), heads(), 1, 64 * 64)["time"] for count in (1, 1000))
    assert few < many / 10


def test_a_cache_may_be_split_into_more_parts_than_sms() -> None:
    """Three CTAs on two SMs take two rounds whole; in two parts each, three rounds of half the length."""
    whole = decode(gpu(sm_count=2, merge=1.0), heads(kv_heads=3, q_heads=3), 1, 64 * 64)
    split = decode(gpu(sm_count=2, merge=0.0), heads(kv_heads=3, q_heads=3), 1, 64 * 64)
    assert (whole["split"], whole["waves"]) == (1, 2)
    assert split["split"] in (2, 4, 8)
    assert split["time"] < 0.85 * whole["time"]


def test_a_long_cache_is_split_over_idle_sms_and_merged() -> None:
    kernel = decode(gpu(sm_count=4, merge=US), heads(), 1, 64 * 16)
    moved = 64 * 16 * 256 + 128 * 6
    assert kernel["split"] == 4
    expected = max(2 * US + BLOCK + moved / DRAM, 2 * US + BLOCK + 3 * BLOCK)
    assert kernel["time"] == pytest.approx(2 * US + expected + US + 4 * 45e-9)


def test_one_head_per_cta_where_its_fixed_time_is_shorter() -> None:
    kernel = decode(gpu(head_cta=0.5 * US), heads(), 1, 1)
    moved = 256 + 128 * 6
    assert kernel["tile_m"] == 1
    assert kernel["time"] == pytest.approx(2 * US + 0.5 * US + moved / DRAM, rel=1e-3)


def test_the_longest_sequence_keeps_the_batch_waiting() -> None:
    even, uneven = (decode(gpu(sm_count=8), heads(), 8, 8 * 640, longest) for longest in (640, 3200))
    assert uneven["time"] - even["time"] > 30 * BLOCK
    assert uneven["dram_bytes"] == even["dram_bytes"]


def test_the_l2_serves_a_repeated_call_whose_cache_it_holds() -> None:
    tokens = 2000  # 512 KB of 1 MB
    cold, warm = (decode(gpu(), heads(warm=warm), 1, tokens) for warm in (0, 1))
    assert cold["l2"] == 0
    assert warm["l2"] == pytest.approx(tokens * 256 / (0.6 * L2))
    assert warm["dram"] < cold["dram"] / 100
    assert decode(gpu(), heads(warm=1), 1, 10_000)["l2"] == 0


def test_a_latent_cache_is_read_once() -> None:
    latent = decode(gpu(), heads(128, 1, key_dim=576, value_dim=512, kv_elements=576), 4, 4096)
    assert latent["dram_bytes"] == 4096 * 576 * 2 + 4 * (128 * 1088 * 2 + 576 * 4)
    assert latent["macs"] == 4096 * 128 * 1088


def test_a_window_bounds_what_decode_reads() -> None:
    assert decode(gpu(), heads(window=128), 2, 2 * 5000)["macs"] == decode(gpu(), heads(), 2, 2 * 128)["macs"]


def test_fp8_caches_halve_the_bytes() -> None:
    large = [decode(gpu(sm_count=64), heads(kv_bytes=width), 64, 64 * 10_000)["dram"] for width in (2, 1)]
    assert large[0] / large[1] == pytest.approx(2, rel=1e-3)


def test_time_grows_with_length_and_batch_and_stays_above_the_bound() -> None:
    device = record(load_device("h100"))
    for shape in (heads(32, 8, 128), heads(8, 1, 128), heads(16, 16, 64)):
        lengths, batches = [2**i for i in range(1, 16)], [2**i for i in range(11)]
        decodes = np.array([[decode(device, shape, b, b * s)["time"] for s in lengths] for b in batches])
        prefills = np.array([[prefill(device, shape, (b, s, 0))["time"] for s in lengths] for b in batches])
        for times in (decodes, prefills):
            assert (np.diff(times, axis=0) >= -1e-12).all()
            assert (np.diff(times, axis=1) >= -1e-12).all()
        for b in batches:
            for s in lengths:
                for kernel in (decode(device, shape, b, b * s), prefill(device, shape, (b, s, s))):
                    assert kernel["time"] >= kernel["bound"] > 0


@pytest.mark.parametrize(
    "shape", [heads(3, 2), heads(0), heads(window=-1), heads(kv_bytes=0), heads(warm=2), heads(kv_elements=-1)]
)
def test_impossible_heads_are_refused(shape: np.ndarray) -> None:
    with pytest.raises(CoreError):
        prefill(gpu(), shape, (1, 1, 0))
    with pytest.raises(CoreError):
        decode(gpu(), shape, 1, 1)


def test_impossible_batches_are_refused() -> None:
    for prompt in ((0, 1, 0), (1, 0, 0), (1, 1, -1), (1, 2**41, 0)):
        with pytest.raises(CoreError):
            prefill(gpu(), heads(), prompt)
    for sequences, tokens, longest in ((0, 1, 1), (2, 1, 1), (1, math.nan, 1), (1, 5, 0)):
        with pytest.raises(CoreError):
            decode(gpu(), heads(), sequences, tokens, longest)
