"""Collectives: columns op, devices and bytes, in the names of nccl-tests tables and of Vidur's profiles."""

import numpy as np

from hdasim.device.collectives import OPS, collective_times
from hdasim.errors import SpecError
from hdasim.predict.cells import Cells
from hdasim.predict.operator import Cases, Operator, Prediction
from hdasim.spec.base import MAX_DEVICES
from hdasim.spec.hardware import Device

DEVICES = ("num_gpus", "n_gpus", "num_workers")
#: `op` is a place in OPS; `size` in bytes by the convention of `hdasim.device.collectives.SIZES`.
CASE = np.dtype([("op", "i8"), ("devices", "i8"), ("size", "i8")])
_PLACES = {name: place for place, name in enumerate(OPS)}


def read(cells: Cells, device: Device) -> Cases:
    """The cases, items of `CASE`."""
    cases = np.zeros(cells.count, CASE)
    cases["op"] = cells.choice("op", _PLACES)
    devices = cases["devices"] = cells.whole("num_gpus")
    cells.refuse(
        (devices < 2) | (devices > MAX_DEVICES), "num_gpus",
        lambda row: f"got {devices[row]}; a collective takes 2 to {MAX_DEVICES} GPUs",
    )  # fmt: skip
    alone = (cases["op"] == _PLACES["send_recv"]) & (devices != 2)
    cells.refuse(alone, "num_gpus", lambda row: f"got {devices[row]}; a send_recv takes 2 GPUs")
    cases["size"] = cells.whole("message_bytes")
    together = cells.whole("devices_per_node", default=MAX_DEVICES)
    cells.refuse(
        together < devices, "devices_per_node",
        lambda row: f"got {together[row]} for {devices[row]} GPUs; only collectives within a node are predicted",
    )  # fmt: skip
    return cases


def check(device: Device) -> None:
    """`SpecError` if the device has no links."""
    if device.p2p is None:
        raise SpecError(f"{device.name} has no links to other devices; give p2p: {{bandwidth: ..., latency: ...}}", ("p2p",))


def predict(device: Device, cases: Cases) -> Prediction:
    """Times of the cases; the bottleneck is "links" where bytes on the links take longer than latencies, else "latency"."""
    assert device.p2p is not None  # `check` has refused such a device
    time, bound, links, latency = (np.zeros(len(cases)) for _ in range(4))
    for op in np.unique(cases["op"]).tolist():
        rows = np.flatnonzero(cases["op"] == op)
        devices, size = cases["devices"][rows], cases["size"][rows]
        times = collective_times(device.p2p, OPS[op], devices, size)
        time[rows], bound[rows], links[rows], latency[rows] = times.time, times.bound, times.transfer, times.latency
    cause = (links > latency).astype(np.int64)
    why = {"links_us": links, "steps_us": latency}
    return Prediction(time, bound, cause, ("latency", "links"), np.zeros(len(cases)), why)


def remarks(cells: Cells) -> list[str]:
    """A line if some rows were measured with kernels other than NCCL's."""
    others = [name for name in map(str.strip, cells.texts.get("library", ())) if name not in ("", "nccl")]
    if not others:
        return []
    return [f"library: {len(others):,} rows are not NCCL's ({others[0]}, ...); they get the time that NCCL would take"]


OPERATOR = Operator(
    columns=(("op",), DEVICES, ("message_bytes", "bytes")),
    optional=(("devices_per_node",), ("library",)),
    read=read, check=check, predict=predict, why=("links_us", "steps_us"), remarks=remarks,
)  # fmt: skip
