"""The devices of an experiment in groups of equal ones, and what they cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import SpecError
from ..spec.experiment import Experiment
from ..spec.hardware import Device
from .summary import device_cost, system_cost


@dataclass(frozen=True)
class Group:
    """Equal devices: what they are called, how many, and what one costs (`hdasim.cost.summary.device_cost`)."""

    title: str
    count: int
    costs: dict[str, Any]


def experiment_cost(experiment: Experiment, mac_tree_area: str | None = None) -> tuple[list[Group], dict[str, Any]]:
    """(groups, `system_cost` of all of them). Every device counts, the replicas and all servers of the pools too.

    Raises
    ------
    SpecError
        If a device's area section contradicts the device; its path starts at the experiment.
    """
    groups = []
    for path, role, device, count in _devices(experiment):
        try:
            groups.append(Group(f"{role}{count} x {device.name}", count, device_cost(device, mac_tree_area)))
        except SpecError as error:
            raise SpecError(error.message, path + error.path, error.place) from None
    return groups, system_cost([(group.count, group.costs) for group in groups])


def _devices(experiment: Experiment) -> Iterator[tuple[tuple[str | int, ...], str, Device, int]]:
    """(path of the section, role, device, how many) of each group."""
    if experiment.cluster is None:
        yield ("device",), "", experiment.device, experiment.serving.devices
        return
    for i, pool in enumerate(experiment.cluster.pools):
        own = ("cluster", "pools", i, "device")
        serving = pool.serving or experiment.serving
        role = "" if pool.role == "both" else f"{pool.role}: "
        yield ("device",) if pool.device is None else own, role, pool.device or experiment.device, pool.count * serving.devices
