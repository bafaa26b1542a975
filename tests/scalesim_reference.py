"""SCALE-Sim 3.0.0 word by word: slow Python that is plainly right, to compare hdasim.scalesim with.

Nothing is shortened here: operands are matrices of addresses, every line of every fold is a list of words, every word is looked
up in sets, every row of written words is kept. A word is an address; the operands have address spaces of their own.
"""

from collections.abc import Iterator
from itertools import chain
from math import ceil

EMPTY = -1  # a slot in which no word is

Matrix = list[list[int]]
Line = tuple[list[int], list[int], list[int]]


def operands(m: int, n: int, k: int, conv: tuple[int, ...] | None) -> tuple[Matrix, Matrix, Matrix]:
    """Addresses of ifmap (m x k), filter (k x n), ofmap (m x n). A GEMM is a convolution whose window is a row of the ifmap."""
    height, width, window_h, window_w, channels, stride = conv or (m, k, 1, k, 1, 1)
    out_h, out_w = (ceil((size - reach + stride) / stride) for size, reach in ((height, window_h), (width, window_w)))
    assert (m, k) == (out_h * out_w, window_h * window_w * channels)

    def pixel(i: int, j: int) -> int:
        row = i // out_w * stride + j // channels // window_w
        col = i % out_w * stride + j // channels % window_w
        return (row * width + col) * channels + j % channels if row < height and col < width else EMPTY

    return (
        [[pixel(i, j) for j in range(k)] for i in range(m)],
        [[j * k + i for j in range(n)] for i in range(k)],
        [[i * n + j for j in range(n)] for i in range(m)],
    )


def transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


# ---- the array ----


def lines_os(rows: int, cols: int, ifmap: Matrix, filters: Matrix, ofmap: Matrix) -> Iterator[Line]:
    """What each line of each fold reads of the ifmap and of the filter, and what it writes: the outputs stay in the array."""
    high, wide, time = len(ofmap), len(ofmap[0]), len(filters)
    for left in range(0, wide, cols):
        for top in range(0, high, rows):
            used_rows, used_cols = range(min(rows, high - top)), range(min(cols, wide - left))
            for line in range(rows + cols + time - 2):
                bottom = rows - 1 + (time - 1) - line  # the outputs leave by the bottom row, it first
                yield (
                    [ifmap[top + r][line - r] for r in used_rows if line - r in range(time)],
                    [filters[line - c][left + c] for c in used_cols if line - c in range(time)],
                    [ofmap[top + bottom + c][left + c] for c in used_cols if bottom + c in used_rows],
                )


def lines_held(rows: int, cols: int, moving: Matrix, held: Matrix, result: Matrix) -> Iterator[Line]:
    """The same with an operand that stays in the array, `held`, while the other one moves through it."""
    high, wide, time = len(held), len(held[0]), len(moving)
    for left in range(0, wide, cols):
        for top in range(0, high, rows):
            used_rows, used_cols = range(min(rows, high - top)), range(min(cols, wide - left))
            for line in range(2 * rows + cols + time - 2):
                loaded = rows - 1 - line  # the bottom row is loaded first
                start = line - rows  # row r of the array gets its first word r lines after the load
                end = line - (2 * rows - 1)
                yield (
                    [moving[start - r][top + r] for r in used_rows if start - r in range(time)],
                    [held[top + loaded][left + c] for c in used_cols if loaded in used_rows],
                    [result[end - c][left + c] for c in used_cols if end - c in range(time)],
                )


def occupation(rows: int, cols: int, high: int, wide: int, time: int, fold_cycles: int) -> tuple[float, float]:
    """Mapping efficiency and compute utilisation: means over the folds, summed in the order in which the folds run."""
    mapping = utilization = folds = 0.0
    for left in range(0, wide, cols):
        for top in range(0, high, rows):
            used = min(rows, high - top) * min(cols, wide - left)
            mapping += used / (rows * cols)
            utilization += used * time / (rows * cols * fold_cycles)
            folds += 1
    return mapping / folds, utilization / folds


# ---- the order in which the words come from DRAM in the USER mode ----


def stacked(matrix: Matrix, width: int) -> Matrix:
    """Cut the matrix into blocks of `width` columns and put them below each other; the last block may have empty columns."""
    return [
        [*row[left : left + width], *[EMPTY] * (left + width - len(row))]
        for left in range(0, len(matrix[0]), width)
        for row in matrix
    ]


def by_rows(matrix: Matrix) -> list[int]:
    return [*chain(*matrix)]


def by_diagonals(matrix: Matrix) -> list[int]:
    """Anti-diagonals one after the other, each from its lowest row upwards."""
    high, wide = len(matrix), len(matrix[0])
    return [
        matrix[row][diagonal - row]
        for diagonal in range(high + wide - 1)
        for row in range(min(diagonal, high - 1), max(0, diagonal - wide + 1) - 1, -1)
    ]


# ---- buffers ----


class EpochBuffer:
    """A read buffer of the CALC mode: never stalls; forgets everything when an epoch's worth of distinct words was fetched."""

    def __init__(self, size: int) -> None:
        self.set_size = size // 100
        self.epoch = 50 * self.set_size
        self.seen: set[int] = set()
        self.fetched = 0
        self.first: int | None = None  # cycle of the first access
        self.closed: int | None = None  # cycle at which the last epoch closed

    def read(self, cycle: int, words: list[int]) -> int:
        if words and self.first is None:
            self.first = cycle
        for word in words:
            if word in self.seen:
                continue
            self.seen.add(word)
            self.fetched += 1
            if len(self.seen) == self.epoch:
                if self.closed == cycle:
                    raise ZeroDivisionError("SCALE-Sim fails: two epochs close in the same cycle")
                self.seen, self.closed = set(), cycle
        return 0

    def span(self) -> tuple[int, int]:
        if self.closed is not None:
            assert self.first is not None
            return self.first - ceil(self.epoch / 10), self.closed + 1
        return -ceil(ceil(len(self.seen) / self.set_size) * self.set_size / 10), -1


class WindowBuffer:
    """A read buffer of the USER mode: a ring of sets of words in the order of DRAM, of which a window is in the buffer."""

    def __init__(self, size: int, bandwidth: int, order: list[int]) -> None:
        active = ceil(size / 2)
        set_size = ceil(size / 100)
        self.sets: list[set[int]] = [set()]
        words = 0
        for word in order:
            if word != EMPTY:
                self.sets[-1].add(word)  # a word of several windows of a convolution counts each time
                words += 1
                if words % set_size == 0:
                    self.sets.append(set())
        self.window = min(ceil(active / set_size), len(self.sets))
        self.step = min(ceil((size - active) / set_size), len(self.sets) - self.window)
        self.left = 0  # the first set of the window
        self.burst = ceil((size - active) / bandwidth)
        self.bandwidth = bandwidth
        fill = min(ceil(active / bandwidth), ceil(len(order) / bandwidth))
        self.start, self.last = -fill, -1
        self.fetched = fill * bandwidth

    def holds(self, word: int) -> bool:
        return any(word in self.sets[(self.left + i) % len(self.sets)] for i in range(self.window))

    def read(self, cycle: int, words: list[int]) -> int:
        ready = cycle + 1
        for word in words:
            while not self.holds(word):
                self.left = (self.left + self.step) % len(self.sets)
                self.last += self.burst + 1
                self.fetched += self.burst * self.bandwidth
                wait = self.last - ready
                ready += wait
                if wait > 0:
                    ready += wait  # SCALE-Sim waits twice
        return ready - (cycle + 1)

    def span(self) -> tuple[int, int]:
        return self.start, self.last


class WriteBuffer:
    """The ofmap's buffer: rows of as many words as DRAM takes in a cycle; half of the buffer drains at a time."""

    def __init__(self, size: int, bandwidth: int) -> None:
        self.size, self.half, self.bandwidth = size, size - ceil(size / 2), bandwidth
        self.free = size
        self.row: list[int] = []  # being filled
        self.rows: list[list[int]] = []
        self.next = 0  # the first row that is not drained
        self.drain_end = 0
        self.written = 0
        self.busy: list[int] = []  # cycles in which DRAM takes a row

    def close_row(self) -> None:
        if self.row:
            self.rows.append(self.row)
            self.row = []

    def drain(self, cycle: int) -> None:
        taken = self.rows[self.next : self.next + ceil(self.half / self.bandwidth)]
        self.next += len(taken)
        words = (len(taken) - 1) * self.bandwidth + len(taken[-1])  # rows but the last are taken for full
        self.free += words
        self.written += words
        self.busy += range(cycle, cycle + len(taken))
        self.drain_end = cycle + len(taken) - 1

    def write(self, cycle: int, words: list[int]) -> int:
        """The cycle in which the last word has been taken."""
        for word in words:
            self.row.append(word)
            self.free -= 1
            if len(self.row) == self.bandwidth:
                self.close_row()
            if cycle < self.drain_end:
                if self.free <= 0:
                    cycle = self.drain_end
            elif self.free < self.size - self.half:
                self.close_row()
                self.drain(cycle)
        return cycle

    def finish(self, cycle: int) -> None:
        self.close_row()
        while self.next < len(self.rows):
            self.drain(cycle)
            cycle = self.drain_end + 1


# ---- a layer ----


def reference(
    rows: int, cols: int, dataflow: str, m: int, n: int, k: int, sram_kb: tuple[int, int, int],
    bandwidth: tuple[int, int, int] | None = None, conv: tuple[int, int, int, int, int, int] | None = None,
) -> dict[str, int | float]:  # fmt: skip
    """Every column of `hdasim.scalesim.cases.OUTPUTS`; ZeroDivisionError where SCALE-Sim ends with one.

    `bandwidth` is of ifmap, filter and ofmap and means the USER mode; `conv` is (ifmap height, ifmap width, filter height, filter
    width, channels, stride).
    """
    ifmap, filters, ofmap = operands(m, n, k, conv)
    if dataflow == "os":
        lines = lines_os(rows, cols, ifmap, filters, ofmap)
        high, wide, time, fold_cycles = m, n, k, rows + cols + k - 2
        orders = [by_diagonals(stacked(transposed(ifmap), rows)), by_diagonals(stacked(filters, cols))]
    elif dataflow == "ws":
        lines = lines_held(rows, cols, ifmap, filters, ofmap)
        high, wide, time, fold_cycles = k, n, m, 2 * rows + 2 * cols + m - 3
        orders = [by_diagonals(stacked(ifmap, rows)), by_rows(stacked(filters, cols))]
    else:  # the filter moves and the ifmap stays; a line's words are put back into the operands' order
        held = lines_held(rows, cols, transposed(filters), transposed(ifmap), transposed(ofmap))
        lines = ((stays, moves, out) for moves, stays, out in held)
        high, wide, time, fold_cycles = k, m, n, 2 * rows + 2 * cols + n - 3
        orders = [by_rows(stacked(transposed(ifmap), cols)), by_diagonals(stacked(transposed(filters), rows))]

    sizes = [kb * 1024 for kb in sram_kb]
    reads: list[EpochBuffer | WindowBuffer] = (
        [EpochBuffer(size) for size in sizes[:2]]
        if bandwidth is None
        else [WindowBuffer(*buffer) for buffer in zip(sizes[:2], bandwidth[:2], orders, strict=True)]
    )
    writes = WriteBuffer(sizes[2], cols if bandwidth is None else bandwidth[2])

    stalls = served = 0
    counts = [0, 0, 0]
    accesses: list[list[int]] = [[], [], []]  # cycles of the lines that access ifmap, filter, ofmap
    for number, line in enumerate(lines):
        cycle = number + stalls
        words = [[word for word in part if word != EMPTY] for part in line]
        waits = [buffer.read(cycle, part) for buffer, part in zip(reads, words[:2], strict=True)]
        served = writes.write(cycle, words[2])
        stalls += max(*waits, served - cycle)
        for i, done in enumerate((cycle + 1 + waits[0], cycle + 1 + waits[1], served)):
            counts[i] += len(line[i])  # also slots of windows that hang over the edge
            if words[i]:
                accesses[i].append(done)
    writes.finish(served)

    total = served
    if dataflow == "os":
        counts[2] += ceil(m / rows) * ceil(n / cols) * (rows + cols)
    mapping, utilization = occupation(rows, cols, high, wide, time, fold_cycles)
    spans = [*(buffer.span() for buffer in reads), (min(writes.busy), max(writes.busy))]
    fetched = [*(buffer.fetched for buffer in reads), writes.written]
    result: dict[str, int | float] = {
        "compute_cycles": total - stalls,
        "total_cycles_incl_prefetch": spans[2][1] - min(spans[0][0], spans[1][0]),
        "total_cycles": total,
        "stall_cycles": stalls,
        "overall_util_pct": m * n * k * 100 / (total * (rows * cols)),
        "mapping_eff_pct": mapping * 100,
        "compute_util_pct": utilization * 100,
    }
    names = ("ifmap", "filter", "ofmap")
    kinds = ("ifmap_reads", "filter_reads", "ofmap_writes")
    result |= {f"sram_{kind}": counts[i] for i, kind in enumerate(kinds)}
    result |= {f"dram_{kind}": fetched[i] for i, kind in enumerate(kinds)}
    for i, name in enumerate(names):
        result |= {f"sram_{name}_start_cycle": accesses[i][0], f"sram_{name}_stop_cycle": accesses[i][-1]}
    for i, name in enumerate(names):
        result |= {f"dram_{name}_start_cycle": spans[i][0], f"dram_{name}_stop_cycle": spans[i][1]}
    result |= {f"avg_{name}_sram_bw": counts[i] / total for i, name in enumerate(names)}
    result |= {f"avg_{name}_dram_bw": fetched[i] / (spans[i][1] - spans[i][0] + 1) for i, name in enumerate(names)}
    return result
