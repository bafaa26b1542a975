"""Inter-token latencies of a run: all of them, so that percentiles are exact, in little memory.

A run of a million requests has tens of millions of gaps. Beyond `IN_MEMORY` records they go to a temporary file, and percentiles
are found in two passes over it: a histogram over the leading bits of the numbers, which for floats that are not negative are in
the order of their values, then a sort of the few bins in which the wanted ranks lie.
"""

import math
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core import layout

Floats = npt.NDArray[np.float64]

#: Records of 16 bytes that are kept in memory.
IN_MEMORY = 1 << 20
#: Leading bits of a float64, after its sign, by which values are counted: bins of at most 1.6 % of the value.
_BITS = 17


class Gaps:
    """GAP records of `core.layout`: `count` inter-token latencies of `seconds` each."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.held = self.spilled = 0
        self.file: Any = None

    def append(self, gaps: np.ndarray) -> None:
        """Take in more; the array is copied."""
        self.parts.append(gaps.copy())
        self.held += gaps.size
        if self.held > IN_MEMORY:
            if self.file is None:
                self.file = tempfile.TemporaryFile()  # noqa: SIM115
                weakref.finalize(self, self.file.close)
            for part in self.parts:
                self.file.write(part.tobytes())
            self.spilled += self.held
            self.parts, self.held = [], 0

    def array(self) -> np.ndarray:
        """All records in one array."""
        return np.concatenate([*self._chunks(), np.zeros(0, layout.GAP)])

    def count(self) -> int:
        """How many latencies there are."""
        return sum(int(part["count"].sum()) for part in self._chunks())

    def moments(self) -> tuple[float, float]:
        """(mean, standard deviation) in seconds; ValueError if there are none."""
        total = self.count()
        if not total:
            raise ValueError("no gaps")
        mean = math.fsum(float((p["seconds"] * p["count"]).sum()) for p in self._chunks()) / total
        square = math.fsum(float(((p["seconds"] - mean) ** 2 * p["count"]).sum()) for p in self._chunks())
        return mean, math.sqrt(square / total)

    def percentiles(self, q: Sequence[float]) -> list[float]:
        """`numpy.percentile` (linear) of all latencies, in seconds; ValueError if there are none."""
        total = self.count()
        if not total:
            raise ValueError("no gaps")
        positions = [(total - 1) * p / 100.0 for p in q]
        ranks = sorted({r for x in positions for r in (math.floor(x), min(math.floor(x) + 1, total - 1))})
        value = dict(zip(ranks, self._order_statistics(ranks), strict=True))
        result = []
        for x in positions:
            low, high = value[math.floor(x)], value[min(math.floor(x) + 1, total - 1)]
            result.append(low + (high - low) * (x - math.floor(x)))
        return result

    def _order_statistics(self, ranks: list[int]) -> list[float]:
        """The values at these ranks (from 0, rising)."""
        histogram = np.zeros(1 << _BITS, np.int64)
        for part in self._chunks():
            histogram += np.bincount(_bins(part["seconds"]), part["count"], 1 << _BITS).astype(np.int64)
        ends = np.cumsum(histogram)
        wanted = np.unique(np.searchsorted(ends, ranks, side="right"))
        found = np.concatenate([part[np.isin(_bins(part["seconds"]), wanted)] for part in self._chunks()])
        found = found[np.argsort(found["seconds"], kind="stable")]
        # The rank of each one found: those before its bin, and those found in its bin before it.
        bins = np.searchsorted(wanted, _bins(found["seconds"]))
        left_out = ends[wanted] - np.cumsum(histogram[wanted])
        last = np.cumsum(found["count"]) + left_out[bins]
        return [float(v) for v in found["seconds"][np.searchsorted(last, ranks, side="right")]]

    def _chunks(self) -> Iterator[np.ndarray]:
        for start in range(0, self.spilled, IN_MEMORY // 4):
            self.file.seek(start * layout.GAP.itemsize)
            size = min(IN_MEMORY // 4, self.spilled - start)
            yield np.frombuffer(self.file.read(size * layout.GAP.itemsize), layout.GAP)
        if self.spilled:
            self.file.seek(0, 2)
        yield from self.parts


def _bins(seconds: Floats) -> npt.NDArray[np.int64]:
    bits: npt.NDArray[np.int64] = np.ascontiguousarray(seconds).view(np.int64) >> (63 - _BITS)
    return bits
