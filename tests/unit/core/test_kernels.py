"""One number worked out by hand for every formula of the core, and refusal of what lies outside its range."""

import numpy as np
import pytest

from hdasim.core import _core, layout
from hdasim.errors import CoreError

INT64_MAX = 2**63 - 1


def sa(m: int, k: int, n: int, rows: int, cols: int, lanes: int = 1) -> int:
    return int(_core.sa_gemm_cycles(np.array([[m, k, n]], np.int64), rows, cols, lanes)[0])


def mt(m: int, k: int, n: int, width: int, lanes: int, lanes_split: bool = True) -> int:
    return int(_core.mt_gemm_cycles(np.array([[m, k, n]], np.int64), width, lanes, lanes_split)[0])


# ---- systolic array: rows + (F - 1) max(m, rows) + m + rows + cols - 2 ----


def test_one_fold_is_scale_sims_2r_c_m_2() -> None:
    # K = 64, N = 64 on 64 x 64 is one fold; M = 1024: 2 * 64 + 64 + 1024 - 2 = 1214
    assert sa(1024, 64, 64, 64, 64) == 2 * 64 + 64 + 1024 - 2 == 1214


def test_folds_hide_their_loads_behind_streams() -> None:
    # LLaMA3-8B q_proj at 1024 tokens on 64 x 64: 4096 / 64 = 64, 64 * 64 = 4096 folds, each streams 1024 rows:
    # 64 + 4095 * 1024 + 1024 + 64 + 64 - 2 = 4,194,494
    assert sa(1024, 4096, 4096, 64, 64) == 4_194_494


def test_folds_of_few_rows_take_the_time_of_their_loads() -> None:
    # one row: a fold occupies the array for its load of 64 cycles: 64 + 4095 * 64 + 1 + 64 + 64 - 2 = 262,271
    assert sa(1, 4096, 4096, 64, 64) == 262_271


def test_lanes_share_the_folds() -> None:
    # ceil(4096 / 3) = 1366 folds for the busiest lane: 64 + 1365 * 1024 + 1024 + 64 + 64 - 2 = 1,398,974
    assert sa(1024, 4096, 4096, 64, 64, lanes=3) == 1_398_974


def test_ragged_edges_round_up_to_folds() -> None:
    # ceil(65 / 64) * ceil(1 / 32) = 2 folds: 64 + 1 * 100 + 100 + 64 + 32 - 2 = 358
    assert sa(100, 65, 1, 64, 32) == 358


@pytest.mark.parametrize("mkn", [(0, 8, 8), (8, 0, 8), (8, 8, 0)])
def test_nothing_takes_no_cycles(mkn: tuple[int, int, int]) -> None:
    assert sa(*mkn, 8, 8) == 0
    assert mt(*mkn, 8, 8) == 0


# ---- MAC tree: min over r of ceil(k / width) ceil(n / (lanes / r)) ceil(m / r) + depth ----


def test_lanes_split_over_columns_for_one_row() -> None:
    # ADOR's 16 x 16 tree, one token of a 4096 x 1000 GEMM: 4096 / 16 = 256 passes, ceil(1000 / 16) = 63 columns each,
    # depth 4 + 1: 256 * 63 + 5 = 16,133
    assert mt(1, 4096, 1000, 16, 16) == 16_133


def test_without_the_split_all_lanes_hold_one_column() -> None:
    # every lane but one idles at one row: 256 * 1000 + 5 = 256,005; 17 rows take two passes
    assert mt(1, 4096, 1000, 16, 16, lanes_split=False) == 256_005
    assert mt(17, 4096, 1000, 16, 16, lanes_split=False) == 512_005


def test_the_split_serves_rows_and_columns() -> None:
    # 6 rows, 20 columns, 8 lanes: r = 1: 3 * 6 = 18 passes, r = 2: 5 * 3 = 15, r = 4: 10 * 2 = 20, r = 8: 20;
    # 15 * ceil(40 / 16) + 5 = 50
    assert mt(6, 40, 20, 16, 8) == 50


def test_lanes_that_are_no_power_of_two() -> None:
    # 12 lanes, 3 rows, 12 columns: r = 1: 1 * 3, r = 2: 2 * 2, r = 4: 4 * 1, r = 8: 12 columns on one lane group;
    # 3 * 1 + depth 4 = 7
    assert mt(3, 8, 12, 8, 12) == 7


def test_decode_attention_on_the_tree() -> None:
    # group 4, 1000 tokens, head 128, 16 x 16. Scores: 128 / 16 = 8 deep, r = 4: ceil(1000 / 4) = 250, 8 * 250 + 5 = 2005.
    # Values: ceil(1000 / 16) = 63 deep, r = 4: 128 / 4 = 32, 63 * 32 + 5 = 2021
    assert _core.mt_attention_cycles(4, 128, 128, 1000, 16, 16) == 2005 + 2021
    # unsplit: 16 lanes for 4 rows: 8 * 1000 + 5 and 63 * 128 + 5
    assert _core.mt_attention_cycles(4, 128, 128, 1000, 16, 16, False) == 8005 + 8069
    assert _core.mt_attention_cycles(4, 128, 128, 0, 16, 16) == 0


# ---- attention ----


def test_prefill_skips_blocks_above_the_diagonal() -> None:
    # 256 tokens in tiles and blocks of 64: 1 + 2 + 3 + 4; one more block each after 64 cached tokens
    assert _core.prefill_tiles(256, 0, 0, 64, 64) == 10
    assert _core.prefill_tiles(256, 64, 0, 64, 64) == 14
    # 100 tokens in tiles of 32, blocks of 24, 10 cached: ends 42, 74, 106, 110 -> 2 + 4 + 5 + 5
    assert _core.prefill_tiles(100, 10, 0, 32, 24) == 16


def test_prefill_windows_cap_the_blocks() -> None:
    # 64 keys back from the first query to the last of 64: 127 keys, 2 blocks; the first tile ends at 64, 1 block: 1 + 2 + 2 + 2
    assert _core.prefill_tiles(256, 0, 64, 64, 64) == 7
    # a window longer than everything cuts nothing
    assert _core.prefill_tiles(256, 0, INT64_MAX, 64, 64) == 10


def test_prefill_pairs() -> None:
    # 1 + 2 + 3 + 4; 3 + 4 + 5 + 6; with a window of 4: 3 + 4 + 4 + 4
    assert _core.prefill_pairs(4, 0, 0) == 10
    assert _core.prefill_pairs(4, 2, 0) == 18
    assert _core.prefill_pairs(4, 2, 4) == 15
    # LLaMA3-8B at 8192 tokens: 8192 * 8193 / 2 = 33,558,528
    assert _core.prefill_pairs(8192, 0, 0) == 33_558_528


# ---- DRAM: clamp(0.0825 ln x + 0.5625, minimum, 0.90) ----


@pytest.mark.parametrize(
    ("gigabytes", "share"),
    [
        (2.623, 0.642),  # OPT-1.3B: 0.0825 * 0.9643 + 0.5625 = 0.64206
        (59.92, 0.900),  # OPT-30B: 0.0825 * 4.0930 + 0.5625 = 0.90017, cut to 0.90
        (1.0, 0.5625),  # ln 1 = 0
        (1000.0, 0.90),
    ],
)
def test_dram_fit(gigabytes: float, share: float) -> None:
    assert _core.dram_utilization(gigabytes, 0.0825, 0.5625, 0.05, 0.90) == pytest.approx(share, abs=5e-4)


def test_dram_fit_is_cut_at_both_ends() -> None:
    assert _core.dram_utilization(59.92, 0.0825, 0.5625, 0.05, 0.90) == 0.90
    # 0.0825 * ln 1e-6 + 0.5625 = -0.577: the minimum, or the slope if that is more, so that less data never takes longer
    assert _core.dram_utilization(1e-6, 0.0825, 0.5625, 0.25, 0.90) == 0.25
    assert _core.dram_utilization(1e-6, 0.0825, 0.5625, 0.05, 0.90) == 0.0825
    assert _core.dram_utilization(0.0, 0.0825, 0.5625, 0.05, 0.90) == 0.0825


# ---- refusals ----


@pytest.mark.parametrize("mkn", [(-1, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_bulk_functions_refuse_negative_sizes(mkn: tuple[int, int, int]) -> None:
    rows = np.array([(1, 1, 1), mkn], np.int64)
    with pytest.raises(CoreError, match="out of range"):
        _core.sa_gemm_cycles(rows, 8, 8, 1)
    with pytest.raises(CoreError, match="out of range"):
        _core.mt_gemm_cycles(rows, 8, 8, True)


@pytest.mark.parametrize("shape", [(0, 8, 1), (8, 0, 1), (8, 8, 0), (-8, 8, 1)])
def test_bulk_functions_refuse_empty_units(shape: tuple[int, int, int]) -> None:
    with pytest.raises(CoreError, match="out of range"):
        _core.sa_gemm_cycles(np.ones((1, 3), np.int64), *shape)
    if min(shape[:2]) < 1:
        with pytest.raises(CoreError, match="out of range"):
            _core.mt_gemm_cycles(np.ones((1, 3), np.int64), *shape[:2], True)
        with pytest.raises(CoreError, match="out of range"):
            _core.mt_attention_cycles(1, 1, 1, 1, *shape[:2])


def test_bulk_functions_refuse_what_does_not_fit_in_63_bits() -> None:
    with pytest.raises(CoreError, match="63 bits"):
        sa(INT64_MAX, 1, 1, 1, 1)
    with pytest.raises(CoreError, match="63 bits"):
        sa(1, INT64_MAX, INT64_MAX, 1, 1)
    with pytest.raises(CoreError, match="63 bits"):
        mt(INT64_MAX, INT64_MAX, 1, 1, 1)


def test_bulk_functions_refuse_other_arrays() -> None:
    for function in (lambda a: _core.sa_gemm_cycles(a, 8, 8, 1), lambda a: _core.mt_gemm_cycles(a, 8, 8, True)):
        with pytest.raises(ValueError, match="mismatch"):
            function(np.ones((1, 3), np.float64))
        with pytest.raises(ValueError, match="dimensions"):
            function(np.ones(3, np.int64))
        assert function(np.ones((0, 3), np.int64)).size == 0


@pytest.mark.parametrize("bad", [(-1, 0, 0, 1, 1), (1, -1, 0, 1, 1), (1, 0, -1, 1, 1), (1, 0, 0, 0, 1), (1, 0, 0, 1, 0)])
def test_prefill_tiles_refuses(bad: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(CoreError, match="out of range"):
        _core.prefill_tiles(*bad)


# ---- layouts ----


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        # eight 4-byte words; sync_bytes, k, n, weight_bytes, experts, top_k, vector_ops, reduce_bytes, kv_heads, group, key_dim,
        # value_dim, window, kv_elements, inter, read_bytes, write_bytes: 32 + 17 * 8
        (layout.OP, 168),
        (layout.BLOCK, 8),
        (layout.SEGMENT, 16),
        # time, bound, 3 terms, two byte counts, 2 x MACs, 6 units, 8 causes, 2 x communication and 2 x what of it is exposed,
        # energy in 8 parts and 2 phases
        (layout.STEP, (2 + 3 + 2 + 2 + 6 + 8 + 2 + 2 + 8 + 2) * 8),
        # exposed, 6 units, two byte counts, 2 x MACs, useful ones, 8 causes, bytes between cores, communication as above, energy
        (layout.OP_STEP, (1 + 6 + 2 + 2 + 1 + 8 + 1 + 2 + 2 + 1) * 8),
        (layout.MAPPING, 7 * 8 + 8 + 2 * 8),
        # four times, two counts; four 4-byte words
        (layout.REQUEST, 7 * 8 + 4 * 4),
        (layout.STEP_RECORD, (3 + 7 + 2 + 2 + 6 + 8 + 1 + 8 + 2 + 1) * 8),
        # counts, times, occupancies, bound, byte counts, 2 x MACs, 6 units, 8 causes, exposed, what was sent, energy, power and time
        (layout.TOTALS, (5 + 3 + 3 + 1 + 2 + 2 + 6 + 8 + 1 + 2 + 8 + 2 + 2) * 8),
        # 4 types; tree, vector, 3 memories, operands, 2 networks; 2 powers
        (layout.ENERGY, (4 + 8 + 2) * 8),
        (layout.GAP, 16),
        (layout.MESSAGE, 6 * 8),
    ],
    ids=["op", "block", "segment", "step", "op_step", "mapping", "request", "step_record", "totals", "energy", "gap", "message"],
)
def test_layout_sizes(dtype: np.dtype, size: int) -> None:
    assert dtype.itemsize == size


def test_layout_words() -> None:
    assert len(layout.UNITS) == layout.STEP["busy"].shape[0] == 6
    assert len(layout.CAUSES) == layout.STEP["limited"].shape[0] == 8
    assert sorted(layout.OP_KINDS.values()) == list(range(7))
    assert sorted(layout.COLLECTIVES.values()) == list(range(len(layout.COLLECTIVES)))
