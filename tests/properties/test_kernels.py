"""The C kernels equal slow Python that is plainly right, never beat the ideal, and never fall when the work grows."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hdasim.core import _core

small = st.integers(1, 24)
sizes = st.integers(0, 90)
wide = st.integers(0, 5000)


def sa(m: int, k: int, n: int, rows: int, cols: int, lanes: int) -> int:
    return int(_core.sa_gemm_cycles(np.array([[m, k, n]], np.int64), rows, cols, lanes)[0])


def mt(m: int, k: int, n: int, width: int, lanes: int, lanes_split: bool) -> int:
    return int(_core.mt_gemm_cycles(np.array([[m, k, n]], np.int64), width, lanes, lanes_split)[0])


# ---- systolic array ----


def simulated_array(m: int, folds: int, rows: int, cols: int) -> int:
    """Fold by fold: one buffer streams while the other loads for `rows` cycles; the last result leaves after the skew."""
    loader_free = streamer_free = 0
    for _ in range(folds):
        loaded = loader_free + rows
        start = max(loaded, streamer_free)  # the buffers swap here
        loader_free, streamer_free = start, start + m
    return streamer_free + rows - 1 + cols - 1


def dealt(k: int, n: int, rows: int, cols: int, lanes: int) -> int:
    """Weight tiles of the lane that gets most when they are dealt in turn."""
    hands = [0] * lanes
    for i, _ in enumerate((a, b) for a in range(0, k, rows) for b in range(0, n, cols)):
        hands[i % lanes] += 1
    return max(hands)


@given(m=sizes, k=sizes, n=sizes, rows=small, cols=small, lanes=st.integers(1, 5))
def test_array_equals_its_simulation(m: int, k: int, n: int, rows: int, cols: int, lanes: int) -> None:
    expected = simulated_array(m, dealt(k, n, rows, cols, lanes), rows, cols) if m and k and n else 0
    assert sa(m, k, n, rows, cols, lanes) == expected


@given(m=wide, k=wide, n=wide, rows=st.integers(1, 256), cols=st.integers(1, 256), lanes=st.integers(1, 8))
def test_array_never_beats_its_cells(m: int, k: int, n: int, rows: int, cols: int, lanes: int) -> None:
    assert sa(m, k, n, rows, cols, lanes) * rows * cols * lanes >= m * k * n


@given(
    m=wide, k=wide, n=wide, rows=st.integers(1, 256), cols=st.integers(1, 256), lanes=st.integers(1, 8), more=st.integers(0, 300)
)
def test_array_grows_with_the_work_and_shrinks_with_lanes(
    m: int, k: int, n: int, rows: int, cols: int, lanes: int, more: int
) -> None:
    cycles = sa(m, k, n, rows, cols, lanes)
    assert sa(m + more, k, n, rows, cols, lanes) >= cycles
    assert sa(m, k + more, n, rows, cols, lanes) >= cycles
    assert sa(m, k, n + more, rows, cols, lanes) >= cycles
    assert sa(m, k, n, rows, cols, lanes + more) <= cycles


# ---- MAC tree ----


def brute_tree(m: int, k: int, n: int, width: int, lanes: int, lanes_split: bool) -> int:
    """Count passes one by one for every way of splitting the lanes between rows and columns."""
    if not (m and k and n):
        return 0
    splits = [1 << i for i in range(lanes.bit_length()) if 1 << i <= lanes] if lanes_split else [lanes]
    passes = min(
        sum(1 for _ in range(0, k, width) for _ in range(0, n, lanes // r if lanes_split else 1) for _ in range(0, m, r))
        for r in splits
    )
    stages, inputs = 1, width  # the multipliers, then adders that halve the number of values
    while inputs > 1:
        inputs, stages = -(-inputs // 2), stages + 1
    return passes + stages


@given(m=st.integers(0, 30), k=st.integers(0, 60), n=st.integers(0, 30), width=small, lanes=small, lanes_split=st.booleans())
def test_tree_equals_brute_force(m: int, k: int, n: int, width: int, lanes: int, lanes_split: bool) -> None:
    assert mt(m, k, n, width, lanes, lanes_split) == brute_tree(m, k, n, width, lanes, lanes_split)


@given(m=wide, k=wide, n=wide, width=st.integers(1, 128), lanes=st.integers(1, 64), lanes_split=st.booleans())
def test_tree_never_beats_its_multipliers(m: int, k: int, n: int, width: int, lanes: int, lanes_split: bool) -> None:
    cycles = mt(m, k, n, width, lanes, lanes_split)
    assert cycles * width * lanes >= m * k * n
    if lanes & (lanes - 1) == 0:  # all lanes on one column is one of the splits
        assert mt(m, k, n, width, lanes, True) <= cycles


@given(m=wide, k=wide, n=wide, width=st.integers(1, 128), lanes=st.integers(1, 64), split=st.booleans(), more=st.integers(0, 300))
def test_tree_grows_with_the_work(m: int, k: int, n: int, width: int, lanes: int, split: bool, more: int) -> None:
    cycles = mt(m, k, n, width, lanes, split)
    assert mt(m + more, k, n, width, lanes, split) >= cycles
    assert mt(m, k + more, n, width, lanes, split) >= cycles
    assert mt(m, k, n + more, width, lanes, split) >= cycles
    assert mt(m, k, n, width, lanes + more, split) <= cycles


@given(group=small, key=small, value=small, tokens=sizes, width=small, lanes=small, split=st.booleans())
def test_decode_attention_is_two_products(
    group: int, key: int, value: int, tokens: int, width: int, lanes: int, split: bool
) -> None:
    expected = brute_tree(group, key, tokens, width, lanes, split) + brute_tree(group, tokens, value, width, lanes, split)
    assert _core.mt_attention_cycles(group, key, value, tokens, width, lanes, split) == expected


# ---- prefill attention ----

prefills = {
    "tokens": st.integers(0, 70), "past": st.integers(0, 60), "window": st.one_of(st.just(0), st.integers(1, 80)),
    "tile": small, "block": small,
}  # fmt: skip


def visible(query: int, window: int) -> range:
    """Keys that the query at this position (0 is the first token of the sequence) may see: itself and those before it."""
    return range(max(0, query - window + 1) if window else 0, query + 1)


@given(**prefills)
def test_tiles_of_the_contract(tokens: int, past: int, window: int, tile: int, block: int) -> None:
    """The sum of the header, term by term."""
    count = 0
    for first in range(0, tokens, tile):
        end = past + min(first + tile, tokens)
        count += math.ceil(min(end, window + tile - 1 if window else end) / block)
    assert _core.prefill_tiles(tokens, past, window, tile, block) == count


@given(**prefills)
def test_tiles_cover_what_queries_see(tokens: int, past: int, window: int, tile: int, block: int) -> None:
    """Mark every key that a query of the tile sees, pack those into blocks; a padded last tile may count a little more."""
    count = 0
    for first in range(0, tokens, tile):
        seen = set().union(*(visible(past + q, window) for q in range(first, min(first + tile, tokens))))
        count += -(-len(seen) // block)
    got = _core.prefill_tiles(tokens, past, window, tile, block)
    padding = -tokens % tile if window else 0
    assert count <= got <= count + -(-padding // block)


@given(tokens=st.integers(0, 60), past=st.integers(0, 60), window=st.integers(0, 80))
def test_pairs_are_what_queries_see(tokens: int, past: int, window: int) -> None:
    assert _core.prefill_pairs(tokens, past, window) == sum(len(visible(past + q, window)) for q in range(tokens))


@given(
    tokens=st.integers(0, 100_000), past=st.integers(0, 1_000_000), window=st.integers(0, 100_000), tile=st.integers(1, 512),
    block=st.integers(1, 512),
)  # fmt: skip
def test_tiles_hold_all_pairs(tokens: int, past: int, window: int, tile: int, block: int) -> None:
    tiles = _core.prefill_tiles(tokens, past, window, tile, block)
    assert tiles * tile * block >= _core.prefill_pairs(tokens, past, window)
    assert _core.prefill_tiles(tokens + 1, past, window, tile, block) >= tiles
    assert _core.prefill_tiles(tokens, past + 1, window, tile, block) >= tiles
    assert _core.prefill_tiles(tokens, past, 0, tile, block) >= tiles


@given(tokens=st.integers(1, 50_000), past=st.integers(0, 50_000), chunk=st.integers(1, 50_000), window=st.integers(0, 5000))
def test_a_prompt_in_chunks_has_the_same_pairs(tokens: int, past: int, chunk: int, window: int) -> None:
    chunk = max(chunk, tokens // 20)
    pieces = sum(_core.prefill_pairs(min(chunk, tokens - t), past + t, window) for t in range(0, tokens, chunk))
    assert pieces == _core.prefill_pairs(tokens, past, window)


# ---- DRAM ----

shares = st.floats(0.01, 1.0)


@given(low=st.floats(1e-9, 1e4), high=st.floats(1e-9, 1e4), slope=st.floats(1e-3, 0.3), intercept=st.floats(0, 1), minimum=shares)
def test_more_bytes_never_take_less_time(low: float, high: float, slope: float, intercept: float, minimum: float) -> None:
    low, high = sorted((low, high))
    share = [_core.dram_utilization(x, slope, intercept, minimum, 1.0) for x in (low, high)]
    assert max(minimum, slope) <= share[0] <= share[1] <= 1.0
    assert low / share[0] <= high / share[1] * (1 + 1e-12)
