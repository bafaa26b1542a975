"""Steps in parts, and the baseline that a published ratio would need.

A step's parts are its decode attention, what exchanges between devices push out, and the rest, mostly weights. On a baseline
without prefetching nothing overlaps, so the step is their sum, and "weights at one share of the bandwidth, attention at another"
is the rest of one executed step and the attention of another.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

import hdasim
from hdasim.errors import SpecError
from hdasim.spec.experiment import Experiment

from .inputs import Loader

#: Shares of the peak bandwidth between which the baseline's attention is searched for.
LEAST_SHARE, MOST_SHARE = 1e-4, 1.0
RESOLUTION = 1e-6


@dataclass(frozen=True)
class Parts:
    """One executed step: seconds of all, of decode attention and of exposed exchange between devices; bytes of one device."""

    seconds: float
    attention: float
    exchange: float
    attention_bytes: float
    dram_bytes: float
    bandwidth: float

    @property
    def rest(self) -> float:
        """Seconds of all but decode attention."""
        return self.seconds - self.attention

    @property
    def attention_share(self) -> float | None:
        """Of the peak DRAM bandwidth, what decode attention gets; None without such an operator of its own."""
        return self.attention_bytes / (self.attention * self.bandwidth) if self.attention else None

    @property
    def share(self) -> float:
        """Of the peak DRAM bandwidth, what the whole step gets."""
        return self.dram_bytes / (self.seconds * self.bandwidth)


def execute(experiment: Experiment, phase: str, batch_size: int, input_len: int) -> Parts:
    """The step of `hdasim.step`, in parts."""
    machine, record, ops = hdasim.step(experiment, phase, batch_size, input_len)
    mine = np.array([op.kind == "decode_attention" for op in machine.compiled.ops])
    return Parts(
        seconds=float(record["time"]), attention=float(ops["exposed"][mine].sum()),
        exchange=float(record["exposed_communication"][1]), attention_bytes=float(ops["dram_bytes"][mine].sum()),
        dram_bytes=float(record["dram_bytes"]), bandwidth=machine.device.dram.bandwidth,
    )  # fmt: skip


def at_share(load: Loader, settings: dict[str, Any], share: float, batch_size: int, input_len: int) -> Parts:
    """A decode step of the device with `share` of its peak bandwidth for everything."""
    own = {**settings, "device.dram.utilization": {"kind": "constant", "value": share}}
    return execute(load.with_(own), "decode", batch_size, input_len)


def solve_attention(
    load: Loader, settings: dict[str, Any], weights: float, seconds: float, batch: int, input_len: int
) -> float | None:  # fmt: skip
    """The share of peak bandwidth for attention with which the decode step takes `seconds`, if all else has the share `weights`.

    By bisection on executed steps. None if attention would have to be faster than at the peak, or slower than `LEAST_SHARE`.
    """
    experiment = load.with_(settings)
    if experiment.device.gpu is not None or experiment.device.prefetch:
        name = experiment.device.name
        raise SpecError(
            f"{name}: shares of the bandwidth need a device without gpu and prefetch; try a100-ador", ("solve", "device")
        )
    wanted = seconds - at_share(load, settings, weights, batch, input_len).rest

    def attention(share: float) -> float:
        return at_share(load, settings, share, batch, input_len).attention

    low, high = LEAST_SHARE, MOST_SHARE
    if not attention(high) <= wanted <= attention(low):
        return None
    while high / low > 1 + RESOLUTION:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if attention(middle) <= wanted else (middle, high)
    return high


def needed_share(parts: Parts, seconds: float) -> float | None:
    """The same in closed form, all else as in `parts`: attention's bytes over the bandwidth and the time that is left for it."""
    left = seconds - parts.rest
    share = parts.attention_bytes / (left * parts.bandwidth) if left > 0 else np.inf
    return float(share) if share <= 1 else None
