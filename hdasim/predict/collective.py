"""Collectives: columns op, devices and bytes, in the names of nccl-tests tables and of Vidur's profiles."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hdasim.device.collectives import OPS, collective_times
from hdasim.errors import SpecError
from hdasim.predict.operator import Operator, Prediction
from hdasim.spec.base import MAX_DEVICES
from hdasim.spec.hardware import Device
from hdasim.text import choice, whole

DEVICES = ("num_gpus", "n_gpus", "num_workers")


class Case(NamedTuple):
    """`op` on `devices` devices; `size` in bytes by the convention of `hdasim.device.collectives.SIZES`."""

    op: str
    devices: int
    size: int


def read(cells: dict[str, str]) -> Case:
    """The case of a row; `SpecError` names the column that is wrong."""
    op = choice(cells["op"], "op", OPS)
    devices = whole(cells["num_gpus"], "num_gpus")
    if not 2 <= devices <= MAX_DEVICES:
        raise SpecError(f"got {devices}; a collective takes 2 to {MAX_DEVICES} GPUs", ("num_gpus",))
    if op == "send_recv" and devices != 2:
        raise SpecError(f"got {devices}; a send_recv takes 2 GPUs", ("num_gpus",))
    size = whole(cells["message_bytes"], "message_bytes")
    if cells["devices_per_node"].strip():
        together = whole(cells["devices_per_node"], "devices_per_node")
        if together < devices:
            message = f"got {together} for {devices} GPUs; only collectives within a node are predicted"
            raise SpecError(message, ("devices_per_node",))
    return Case(op, devices, size)


def check(device: Device) -> None:
    """`SpecError` if the device has no links."""
    if device.p2p is None:
        raise SpecError(f"{device.name} has no links to other devices; give p2p: {{bandwidth: ..., latency: ...}}", ("p2p",))


def predict(device: Device, cases: Sequence[Case]) -> Prediction:
    """Times of the cases; the bottleneck is "links" where bytes on the links take longer than latencies, else "latency"."""
    assert device.p2p is not None  # `check` has refused such a device
    time, bound = np.empty(len(cases)), np.empty(len(cases))
    bottleneck = [""] * len(cases)
    ops = np.array([case.op for case in cases])
    devices, size = (np.array([case[i] for case in cases], float) for i in (1, 2))
    for op in dict.fromkeys(ops.tolist()):
        rows = np.flatnonzero(ops == op)
        times = collective_times(device.p2p, op, devices[rows], size[rows])
        time[rows], bound[rows] = times.time, times.bound
        for row, links in zip(rows.tolist(), (times.transfer > times.latency).tolist(), strict=True):
            bottleneck[row] = "links" if links else "latency"
    return Prediction(time, bound, bottleneck)


def remarks(rows: Sequence[dict[str, str]]) -> list[str]:
    """A line if some rows were measured with kernels other than NCCL's."""
    others = [row["library"].strip() for row in rows if row["library"].strip() not in ("", "nccl")]
    if not others:
        return []
    return [f"library: {len(others):,} rows are not NCCL's ({others[0]}, ...); they get the time that NCCL would take"]


OPERATOR = Operator(
    columns=(("op",), DEVICES, ("message_bytes", "bytes")),
    optional=(("devices_per_node",), ("library",)),
    read=read, check=check, predict=predict, remarks=remarks,
)  # fmt: skip
