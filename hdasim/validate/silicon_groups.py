"""Measured and predicted times of one operator, GPU, type and source, their size classes, and statistics of their errors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdasim.device.collectives import OPS
from hdasim.predict.operator import Cases, Prediction
from hdasim.spec.hardware import Device

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class Group:
    """Rows of one operator, GPU, type and source, or of one quantity of a whole system; times in microseconds.

    Parameters
    ----------
    title
        The name of a row's case.
    others, other_rows
        How much longer each other framework took than the fastest, relative to that, and in which row.
    done
        The prediction; `predicted` differs where another launch than the device's counts.
    classes, which
        Names of size classes, and the class of each row.
    quantity
        Of whole systems: which time, such as "ttft"; "" for an operator.
    """

    op: str
    gpu: str
    dtype: str
    source: str
    cases: Cases
    title: Callable[[int], str]
    measured: Floats
    others: Floats
    other_rows: Ints
    predicted: Floats
    done: Prediction
    classes: tuple[str, ...]
    which: Ints
    quantity: str = ""

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.gpu, self.op, self.quantity, self.dtype, self.source)))

    @property
    def error(self) -> Floats:
        error: Floats = self.predicted / self.measured - 1
        return error

    def label(self, place: int) -> str:
        """The name of a size class; of a collective, that of the operation is enough."""
        name = self.name.replace(" collective", "") if self.op == "collective" else self.name
        return f"{name} {self.classes[place]}"


@dataclass(frozen=True)
class Statistics:
    """Errors of the rows of a name: of |predicted / measured - 1|, but `signed` is the median with its sign.

    `noise` is the median of how much longer other frameworks took than the fastest; None where there is one only.
    """

    name: str
    rows: int
    median: float
    mean: float
    p90: float
    signed: float
    noise: float | None = None

    @classmethod
    def of(cls, name: str, error: Floats, others: Floats) -> "Statistics":
        size = np.abs(error)
        noise = float(np.median(others)) if others.size else None
        p90 = float(np.percentile(size, 90))
        return cls(name, error.size, float(np.median(size)), float(size.mean()), p90, float(np.median(error)), noise)


def statistics(groups: list[Group]) -> list[tuple[Statistics, list[Statistics]]]:
    """Of each group, and of its size classes."""
    out = []
    for group in groups:
        error, parts = group.error, []
        for place in np.unique(group.which).tolist():
            mine = group.which == place
            parts.append(Statistics.of(group.classes[place], error[mine], group.others[mine[group.other_rows]]))
        out.append((Statistics.of(group.name, error, group.others), parts))
    return out


def classes(op: str, device: Device, cases: Cases, measured: Floats) -> tuple[tuple[str, ...], Ints]:
    """Names of the size classes of an operator, and the class of each case."""
    if op == "gemm":
        return _steps("m", cases["m"], (16, 128, 1024))
    if op == "moe":
        return _steps("tokens", cases["tokens"], (16, 128, 1024))
    if op == "attention_context":
        return _steps("tokens", cases["prompt"]["q_len"], (128, 1024))
    if op == "attention_generation":
        heads = cases["heads"]
        cache = cases["decode"]["tokens"] * heads["kv_heads"] * (heads["key_dim"] + heads["value_dim"]) * heads["kv_bytes"]
        l2 = device.global_memory
        return ("cache within L2", "L2 to 2 L2", "above 2 L2"), np.searchsorted([l2, 2 * l2], cache).astype(np.int64)
    if op == "elementwise":
        return ("below 10 us", "10 us or more"), (measured >= 10).astype(np.int64)
    pairs = sorted(set(zip(cases["op"].tolist(), cases["devices"].tolist(), strict=True)))
    places = {pair: place for place, pair in enumerate(pairs)}
    names = tuple(f"{OPS[op_]} {devices}" for op_, devices in pairs)
    return names, np.array([places[pair] for pair in zip(cases["op"].tolist(), cases["devices"].tolist(), strict=True)], np.int64)


def _steps(name: str, values: Ints, ends: tuple[int, ...]) -> tuple[tuple[str, ...], Ints]:
    starts = (1, *(end + 1 for end in ends))
    names = [f"{name} {start}-{end}" for start, end in zip(starts, ends, strict=False)] + [f"{name} above {ends[-1]}"]
    return tuple(names), np.searchsorted(ends, values).astype(np.int64)
