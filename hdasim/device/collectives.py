"""Collectives among the devices of one node: NCCL's time by operation, number of devices and size, from the links' data sheet.

    t = alpha + x + ramp sqrt(alpha x),    alpha = launch + steps hop,    x = (steps + COPIES) S / (n B)

S bytes on n devices (for the convention see `SIZES`) in 2 (n - 1) steps of an all-reduce, n - 1 of a ring all-gather or
reduce-scatter; B = bandwidth x efficiency. An all-to-all or a send sends to all its peers at once: alpha = launch + pair_setup +
(n - 1) pair, and its x has n - 1 for the steps; a single send has no square root and no COPIES, as Vidur's profile of send_recv
on A100 and H100 shows (collectives_vidur.csv: median error 16 % and 2 % so, 59 % and 34 % with them).

The square root is the way from latency to bandwidth: NCCL takes a protocol of low latency and a part of the link's rate (LL,
LL128) and few channels for small messages, and more of both as they grow. Where the switch adds (NVLS), all-reduce takes the
faster of the ring and alpha = NVLS_LATENCY, x = (1 + 1/n) S / (B nvls_efficiency): each device sends its vector to the switch
and, of its n-th part, the sum back to it.

Context: every constant is NCCL's own (its tuning model, src/graph/tuning.cc and topo.h of NCCL 2.28), or one of few per kind of
link, fitted on nccl_latency_table.csv of the reference data (nccl-tests; A100, H100, L40S, RTX PRO 6000; 2, 4, 8 GPUs) by
``python -m benchmarks.collectives``, which also leaves each GPU out in turn. Choice: one smooth curve. NCCL's choice among its
protocols shows as jumps of up to 40 % between 512 KiB and 4 MiB, which we give up: they move from version to version.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..spec.hardware import P2P

Floats = NDArray[np.float64]

#: What the bytes of each operation are, as in nccl-tests: one device's vector, all that it has in the end, all that it gives.
SIZES = {
    "all_reduce": "the vector that each device gives and gets",
    "all_gather": "the whole output of a device, n times what it gives",
    "reduce_scatter": "the whole input of a device, n times what it gets",
    "alltoall": "the whole input of a device, an n-th of it for each device",
    "send_recv": "the message from one device to another",
}
OPS = tuple(SIZES)

#: Steps' worth of time that go on local copies: the first and the last step of a ring read and write the user's buffers, and
#: pass the device's own part. By hand from 512 MiB, where 2 GPUs (A100, H100) reach 0.73 to 0.78 of the bus bandwidth of 8 in
#: all-gather and reduce-scatter; this gives 0.76.
COPIES = 0.4
#: Seconds of an NVLS all-reduce beside its bytes (NCCL, hwLatencies of NVLS on NVLINK: 25 us).
NVLS_LATENCY = 25e-6


@dataclass(frozen=True)
class Link:
    """What NCCL makes of a kind of link.

    `efficiency` is the share of the peak that the protocol sustains; `crossing` what remains of that when more than two devices
    share the links' way through the host. Times are in seconds: `hop` a step of a ring, `pair_setup` and `pair` what
    point-to-point exchanges cost together and per peer. `ramp` weighs the way from latency to bandwidth.
    """

    efficiency: float
    crossing: float
    hop: float
    pair_setup: float
    pair: float
    ramp: float


LINKS = {
    # efficiency: NCCL's rates of a link over the data sheet's: 20.0 of 25 (A100), 20.6 of 25 (H100), 40.1 of 50 GB/s (B200), 0.81
    # in the mean. The rest fitted on A100 and H100.
    "nvlink": Link(efficiency=0.81, crossing=1.0, hop=0.78e-6, pair_setup=2.2e-6, pair=0.23e-6, ramp=1.15),
    # efficiency: NCCL's 12.0 of 15.75 GB/s of PCIe gen 3 x16; 25 of 32 measured on gen 4 (noc README 9) is 0.78. The rest fitted
    # on RTX PRO 6000 and L40S, but crossing on RTX PRO 6000 alone: the host of the L40S has a `contention` of its own.
    "pcie": Link(efficiency=0.76, crossing=0.55, hop=1.24e-6, pair_setup=2.0e-6, pair=0.66e-6, ramp=0.85),
    # One device per node and NIC. efficiency: NCCL's 12.0 of 12.5 GB/s of EDR; hop: its ring step of LL on NET. [A] the rest as
    # PCIe; not compared with measurements.
    "infiniband": Link(efficiency=0.96, crossing=1.0, hop=2.7e-6, pair_setup=2.0e-6, pair=0.66e-6, ramp=0.85),
}


class Times(NamedTuple):
    """Seconds of each case: predicted, its part that only the links' rate sets, its part without bytes, and no faster than."""

    time: Floats
    transfer: Floats
    latency: Floats
    bound: Floats


def collective_seconds(p2p: P2P, op: str, devices: ArrayLike, size: ArrayLike) -> Floats:
    """Seconds of one collective.

    Parameters
    ----------
    p2p
        The devices' link. Those of a `kind` take NCCL's time; others a ring of steps of `latency` + bytes / `bandwidth`.
    op
        One of `OPS`.
    devices, size
        Devices (at least 2) and bytes by the convention of `SIZES`, broadcast against each other.
    """
    return collective_times(p2p, op, devices, size).time


def collective_times(p2p: P2P, op: str, devices: ArrayLike, size: ArrayLike, link: Link | None = None) -> Times:
    """Like `collective_seconds`, with the parts of the time; `link` replaces the constants of the kind.

    Raises
    ------
    ValueError
        If `op` is unknown, or a collective has fewer than 2 devices or less than no bytes.
    """
    if op not in SIZES:
        raise ValueError(f"unknown op {op!r}; use one of {', '.join(OPS)}")
    n, s = np.broadcast_arrays(np.asarray(devices, np.float64), np.asarray(size, np.float64))
    if (n < 2).any() or (s < 0).any():
        raise ValueError("a collective needs at least 2 devices and no negative number of bytes")
    if p2p.kind is None:
        return _textbook(p2p, op, n, s)
    link = link or LINKS[p2p.kind]
    alpha = p2p.collective_launch + _latency(link, op, n)
    copies = 0.0 if op == "send_recv" else COPIES / n
    x = (_shares(op, n) + copies) * s / (p2p.bandwidth * link.efficiency * _through_host(p2p, link, n))
    shares = _shares(op, n)
    ramp = 0.0 if op == "send_recv" else link.ramp
    time = alpha + x + ramp * np.sqrt(alpha * x)
    if op == "all_reduce" and p2p.nvls_efficiency is not None:
        in_switch = 1 + 1 / n
        y = in_switch * s / (p2p.bandwidth * link.efficiency * p2p.nvls_efficiency)
        nvls = NVLS_LATENCY + y + link.ramp * np.sqrt(NVLS_LATENCY * y)
        better = nvls < time
        time, x, alpha = np.where(better, nvls, time), np.where(better, y, x), np.where(better, NVLS_LATENCY, alpha)
        shares = np.minimum(shares, in_switch)
    return Times(time, x, alpha, shares * s / p2p.bandwidth)


def _shares(op: str, n: Floats) -> Floats:
    """Bytes that each device must send over its link, in units of the size."""
    if op == "send_recv":
        return np.ones_like(n)
    return (2 if op == "all_reduce" else 1) * (n - 1) / n


def _steps(op: str, n: Floats) -> Floats:
    if op == "send_recv":
        return np.ones_like(n)
    return (2 if op == "all_reduce" else 1) * (n - 1)


def _latency(link: Link, op: str, n: Floats) -> Floats:
    if op == "send_recv":
        return np.full_like(n, link.pair_setup + link.pair)
    return link.pair_setup + link.pair * (n - 1) if op == "alltoall" else link.hop * _steps(op, n)


def _through_host(p2p: P2P, link: Link, n: Floats) -> Floats:
    """What remains of a device's rate when n of them share the way through the host."""
    if p2p.contention is None:
        return np.where(n > 2, link.crossing, 1.0)
    shared: Floats = (2 / np.maximum(n, 2)) ** p2p.contention
    return shared


def _textbook(p2p: P2P, op: str, n: Floats, s: Floats) -> Times:
    alpha, x = p2p.latency * _steps(op, n), _shares(op, n) * s / p2p.bandwidth
    return Times(alpha + x, x, alpha, x)
