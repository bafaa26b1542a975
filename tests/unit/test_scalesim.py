"""SCALE-Sim's columns worked out by hand. In ws and is a fold takes 2 rows + cols + T - 2 lines, in os rows + cols + T - 2.

A line takes a cycle; a read is ready the cycle after. 1 kB is 1024 words: an epoch of CALC is 500 of them, a set of USER 11, the
active half 512, which are 47 sets.
"""

from typing import Any

import pytest

from hdasim.scalesim import cases

ONE_KB = (1, 1, 1)


def run(case: Any) -> dict[str, int | float]:
    result = cases.simulate(case)[0]
    assert result["status"] == 0, cases.describe_status(result["status"])
    report = cases.report(case[0], result)
    assert tuple(report) == cases.OUTPUTS
    return report


def operand(report: dict[str, int | float], name: str) -> tuple[int | float, ...]:
    """count, start and stop of the SRAM, then of DRAM"""
    access = "writes" if name == "ofmap" else "reads"
    return tuple(
        report[f"{memory}_{name}_{value}"] for memory in ("sram", "dram") for value in (access, "start_cycle", "stop_cycle")
    )


# ---- 5 x 7 by 7 x 6 on a 4 x 4 array: two folds of rows by two of columns, the last one smaller ----


def test_weight_stationary() -> None:
    report = run(cases.gemm(4, 4, "ws", 5, 6, 7, ONE_KB))
    # Sr 7, Sc 6, T 5: folds of 8 + 4 + 5 - 2 = 15 lines, 60 lines, the last of which is number 59
    assert (report["total_cycles"], report["stall_cycles"], report["compute_cycles"]) == (59, 0, 59)
    # each of two column folds reads the ifmap: 2 (5 7). First at line R = 4. The last fold, at 45, has 3 rows and 2 columns: row
    # 2 gets t = 4 at line 4 + 2 + 4. DRAM: 35 words are 4 sets of 10, at 10 words a cycle, just before cycle 0
    assert operand(report, "ifmap") == (70, 5, 45 + 10 + 1, 35, -4, -1)
    # 7 6 once: first at line 0, last at line 3 of the last fold, whose top row is loaded last; 42 words are 5 sets
    assert operand(report, "filter") == (42, 1, 45 + 3 + 1, 42, -5, -1)
    # each of two row folds writes 5 6 partial sums: first at line 2 R - 1 = 7, last at 7 + 1 + 4. DRAM takes 4 words a cycle from
    # the last line on
    assert operand(report, "ofmap") == (60, 7, 45 + 12, 60, 59, 59 + 60 // 4 - 1)
    assert report["total_cycles_incl_prefetch"] == 73 + 5
    assert report["overall_util_pct"] == 5 * 6 * 7 * 100 / (59 * 16)
    assert report["mapping_eff_pct"] == pytest.approx(100 * 7 * 6 / (4 * 16), rel=1e-12)
    assert report["compute_util_pct"] == pytest.approx(100 * 7 * 6 * 5 / (4 * 16 * (8 + 8 + 5 - 3)), rel=1e-12)
    sram = [report[f"avg_{name}_sram_bw"] for name in cases.OPERANDS]
    assert sram == [70 / 59, 42 / 59, 60 / 59]
    assert [report[f"avg_{name}_dram_bw"] for name in cases.OPERANDS] == [35 / 4, 42 / 5, 60 / 15]


def test_input_stationary() -> None:
    report = run(cases.gemm(4, 4, "is", 5, 6, 7, ONE_KB))
    # Sr 7, Sc 5, T 6: folds of 8 + 4 + 6 - 2 = 16 lines; the last one, at 48, has 3 rows and 1 column
    assert report["total_cycles"] == 4 * 16 - 1
    assert operand(report, "ifmap") == (35, 1, 48 + 3 + 1, 35, -4, -1)
    assert operand(report, "filter") == (84, 5, 48 + 4 + 2 + 5 + 1, 42, -5, -1)
    assert operand(report, "ofmap") == (60, 7, 48 + 7 + 5, 60, 63, 63 + 15 - 1)
    assert report["mapping_eff_pct"] == pytest.approx(100 * 7 * 5 / (4 * 16), rel=1e-12)
    assert report["compute_util_pct"] == pytest.approx(100 * 7 * 5 * 6 / (4 * 16 * (8 + 8 + 6 - 3)), rel=1e-12)


def test_output_stationary() -> None:
    report = run(cases.gemm(4, 4, "os", 5, 6, 7, ONE_KB))
    # Sr 5, Sc 6, T 7: folds of 4 + 4 + 7 - 2 = 13 lines; the last one, at 39, has 1 row and 2 columns
    assert report["total_cycles"] == 4 * 13 - 1
    assert operand(report, "ifmap") == (2 * 35, 1, 39 + 6 + 1, 35, -4, -1)  # row 0, t = 6
    assert operand(report, "filter") == (2 * 42, 1, 39 + 7 + 1, 42, -5, -1)  # column 1, t = 6
    # 5 6 outputs, and rows + cols more for each fold: SCALE-Sim counts so. From line T - 1 on, bottom row first; the only row of
    # the last fold is the top one, three lines later, column 1 another. DRAM: 30 words are 8 rows of 4
    assert operand(report, "ofmap") == (30 + 4 * 8, 6, 39 + 6 + 3 + 1, 30, 51, 58)
    assert report["mapping_eff_pct"] == pytest.approx(100 * 5 * 6 / (4 * 16), rel=1e-12)
    assert report["compute_util_pct"] == pytest.approx(100 * 5 * 6 * 7 / (4 * 16 * 13), rel=1e-12)


def test_a_single_element_on_a_single_cell() -> None:
    # ws: load, multiply: 2 + 1 + 1 - 2 lines. os: a single line, number 0, through which SCALE-Sim divides
    assert run(cases.gemm(1, 1, "ws", 1, 1, 1, ONE_KB))["total_cycles"] == 1
    status = cases.simulate(cases.gemm(1, 1, "os", 1, 1, 1, ONE_KB))["status"][0]
    assert "divides by zero" in cases.describe_status(status)
    assert run(cases.gemm(1, 1, "os", 1, 1, 2, ONE_KB))["total_cycles"] == 1


# ---- CALC: a buffer forgets everything when it has fetched an epoch of 500 distinct words ----


@pytest.mark.parametrize(
    ("m", "expected"),
    [
        # one cell, k = 1, two column folds: the ifmap is read twice, a word a line, first at line 1; a fold has m + 1 lines
        (499, (499, -50, -1)),  # all stay; 50 sets of 10 words at 10 words a cycle
        # word 500 closes an epoch at line 500, and the second fold's, from line 501 on, at 501 + 500; the first was fetched in
        # the 50 cycles before line 1
        (500, (1000, 1 - 50, 1001 + 1)),
        # an epoch closes at line 500; word 501 and words 1 to 499 of the second fold, from line 502 on, make the next: 502 + 499
        (501, (1002, 1 - 50, 1001 + 1)),
    ],
)
def test_epochs(m: int, expected: tuple[int, int, int]) -> None:
    report = run(cases.gemm(1, 1, "ws", m, 2, 1, ONE_KB))
    assert report["sram_ifmap_reads"] == 2 * m
    assert operand(report, "ifmap")[3:] == expected
    assert report["stall_cycles"] == 0


def test_a_larger_buffer_has_a_longer_epoch() -> None:
    # 2 kB: floor(2048 / 100) = 20 words a set, 50 sets an epoch
    assert run(cases.gemm(1, 1, "ws", 999, 2, 1, (2, 1, 1)))["dram_ifmap_reads"] == 999
    assert run(cases.gemm(1, 1, "ws", 1000, 2, 1, (2, 1, 1)))["dram_ifmap_reads"] == 2000


# ---- USER: a window of sets over the order in which the words come from DRAM ----


def test_the_buffer_is_filled_before_the_first_cycle() -> None:
    report = run(cases.gemm(1, 1, "ws", 600, 1, 1, ONE_KB, (10, 10, 10)))
    # 512 words in 52 cycles of 10. Word 517, of set 47, is missed at line 518; by then the next 512 have come, at -1 + 52 + 1,
    # so that nobody waits
    assert operand(report, "ifmap") == (600, 2, 601, 1040, -52, 52)
    assert operand(report, "filter")[3:] == (10, -1, -1)  # one word is a whole row of DRAM
    assert report["stall_cycles"] == 0


def test_a_wait_is_counted_twice() -> None:
    report = run(cases.gemm(2, 1, "ws", 300, 1, 2, ONE_KB, (1, 1, 1)))
    # two words a line, in diagonals (t, 0), (t - 1, 1): word 517, (259, 0), is missed at line 2 + 259 = 261 and wanted at 262.
    # The next 512 words come a cycle each after a pause of one: -1 + 1 + 512 = 512. 250 too late, so 500 stall cycles
    assert report["stall_cycles"] == 2 * (512 - 262)
    assert report["total_cycles"] == (4 + 1 + 300 - 2 - 1) + 500
    # word 599, (299, 1), at line 2 + 1 + 299
    assert operand(report, "ifmap") == (600, 3, 302 + 500 + 1, 1024, -512, 512)
    assert operand(report, "ofmap") == (300, 3, 302 + 500, 300, 802, 802 + 299)
    assert report["total_cycles_incl_prefetch"] == 1101 + 512


def test_a_stall_of_the_last_line_is_not_in_the_total() -> None:
    report = run(cases.gemm(2, 1, "ws", 259, 1, 2, ONE_KB, (1, 1, 1)))
    # as before, but word 517, (258, 1), is the last one, missed at line 2 + 1 + 258 = 261, which is also the last line
    assert report["stall_cycles"] == 2 * (512 - 262)
    assert report["total_cycles"] == 261
    assert report["compute_cycles"] == 261 - 500
    assert report["sram_ifmap_stop_cycle"] == 261 + 500 + 1


# ---- writes ----


@pytest.mark.parametrize(
    ("m", "start", "stop"),
    [
        # one cell writes word t at line t + 1, and DRAM takes a word a cycle
        (512, 512, 512 + 511),  # half of the buffer is no reason to drain; from the last line, number 512, on
        (513, 513, 513 + 511),  # one more is: 512 words from line 513 on, and the last one meanwhile
        (600, 513, 513 + 511),  # the 88 left after line 600 go out while that drain is running
    ],
)
def test_half_of_the_buffer_drains_at_a_time(m: int, start: int, stop: int) -> None:
    report = run(cases.gemm(1, 1, "ws", m, 1, 1, ONE_KB))
    assert operand(report, "ofmap") == (m, 2 - 1, m, m, start, stop)


def test_a_full_buffer_stalls() -> None:
    report = run(cases.gemm(1, 4, "ws", 386, 4, 1, ONE_KB, (100, 100, 1)))
    # a column starts a line after the one before: lines 1, 2 and 3 write 1, 2 and 3 words, so line l ends with 6 + 4 (l - 3).
    # Word 513 is in line 130: drain 512 rows of 1 word in cycles 130 to 641, 1023 words free. Word 1536, in line 386, takes the
    # last: wait from 386 to 641. The next drain, until 641 + 511 = 1152, outlives the other 8 words. Lines: 2 + 4 + 386 - 2
    assert report["stall_cycles"] == 641 - 386
    assert report["total_cycles"] == 390 - 1 + 255
    # at the end 1544 - 1024 words are left: 512 rows from 644 on, overlapping, and after them 8 rows
    assert operand(report, "ofmap") == (4 * 386, 1, 388 + 1 + 255, 1544, 130, 644 + 512 + 8 - 1)
    assert operand(report, "ifmap")[3:] == (400, -4, -1)  # 386 words in 4 rows of 100


def test_rows_of_a_drain_count_as_full() -> None:
    report = run(cases.gemm(1, 1, "ws", 1025, 1, 1, ONE_KB, (600, 600, 256)))
    # word 513, at line 513, closes a row of 1 word and drains two of 256, cycles 513 and 514. Word 513 + 512 drains the short row
    # and one of 256, taken for 2 256 words, cycles 1025 and 1026; as it is the last, the row that is left goes at 1025 as well
    assert operand(report, "ofmap") == (1025, 1, 1025, 512 + 512 + 256, 513, 1026)
    assert report["stall_cycles"] == 0


# ---- convolutions: windows overlap or hang over the edge ----


def test_overlapping_windows_share_words() -> None:
    # 2 x 2 windows on 3 x 3 words, stride 1: 4 windows of 4 words, of which 9 are distinct, on a 4 x 1 array
    case = (4, 1, "ws", (3, 3), (2, 2), 1, 1, 1, ONE_KB)
    report = run(cases.convolution(*case))
    assert report["total_cycles"] == 8 + 1 + 4 - 2 - 1
    assert operand(report, "ifmap") == (16, 5, 4 + 3 + 3 + 1, 9, -1, -1)
    # but every window brings its words: 16 rows of 1
    assert operand(run(cases.convolution(*case, (1, 1, 1))), "ifmap")[3:] == (16, -16, -1)


def test_windows_hang_over_the_edge() -> None:
    # stride 2 on 3 x 3: a second window begins at the last row and column, ceil((3 - 2 + 2) / 2) = 2
    report = run(cases.convolution(4, 1, "os", (3, 3), (2, 2), 1, 1, 2, ONE_KB))
    assert report["total_cycles"] == 4 + 1 + 4 - 2 - 1
    # windows 1, 2 and 3 hold 2, 2 and 1 words of their 4, which are counted all the same. The last word that exists is read in
    # line 3 (row r gets word k at line r + k: row 3 only word 0, row 2 words 0 and 1, row 1 words 0 and 2), not in line 3 + 3
    assert operand(report, "ifmap") == (16, 1, 3 + 1, 9, -1, -1)


def test_a_stride_may_leave_words_out() -> None:
    # 1 x 1 windows, stride 3, on 7 x 7 words: 3 x 3 outputs
    report = run(cases.convolution(4, 4, "ws", (7, 7), (1, 1), 2, 3, 3, ONE_KB))
    assert report == run(cases.gemm(4, 4, "ws", 9, 3, 2, ONE_KB))
