"""All that is known of what a device costs, as plain data with the names of LLMCompass's tables."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from ..errors import SpecError
from ..spec.area import Interface, KnownDie
from ..spec.hardware import Device
from . import money
from .area import MAC_TREE_TRANSISTORS, DieArea, die_area, die_plan, plan_area

#: Figures of a die, in the order of LLMCompass's tables; the MAC tree and the host are ours.
AREA = ("core_control_mm2", "core_alu_mm2", "core_array_mm2", "core_mac_tree_mm2", "core_regfile_mm2", "core_sram_mm2",
        "core_total_mm2", "all_cores_mm2", "core_comm_mm2", "global_buffer_mm2", "mem_phy_mm2", "mem_ctrl_mm2", "link_phy_mm2",
        "link_ctrl_mm2", "host_mm2", "die_total_mm2")  # fmt: skip
COST = ("dies_per_wafer", "yield_negbin", "die_cost_usd_no_yield", "die_cost_usd_with_yield", "memory_cost_usd",
        "total_cost_usd_no_yield", "total_cost_usd_with_yield")  # fmt: skip
#: Links that a design may have had which does not print its own (papers.md 2.4).
_OTHER_LINKS = (Interface(kind="PCIe4", count=16), Interface(kind="PCIe5", count=16), Interface(kind="NVLink3", count=12))


def device_cost(device: Device, mac_tree_area: str | None = None) -> dict[str, Any]:
    """Area, cost and peak rate of a device; None where one is unknown, which `unknown` explains.

    Returns
    -------
    dict
        `AREA` in mm2 and `COST` in USD (dies, a share). ``peak_tflops`` of arrays, trees and both, ``tflops_per_mm2``.
        ``one_off``: USD that are not in the total. ``measured_die`` and ``printed_die``: ``area``, ``source`` and ``gap``, the
        model over it less 1. ``mac_tree_options``: the die for each option and some links, of a device with MAC trees.
    """
    area, unknown, die = device.area, None, None
    try:
        die = die_area(device, mac_tree_area)
    except SpecError as error:
        if area is not None and area.process_node is not None:
            raise
        unknown = area.unknown if area is not None else error.message
    node = area.process_node if area else None
    trees = die is not None and device.core.mac_tree is not None
    arrays, tree = (2e-12 * macs for macs in device.peak_macs_per_second)
    result: dict[str, Any] = {
        "name": device.name,
        "unknown": unknown,
        "process_node": node,
        "mac_tree_area": (mac_tree_area or area.mac_tree_area) if area and trees else None,
        "cores_on_die": die.cores if die else None,
        "core_count": device.core_count,
        **area_columns(die),
        **cost_columns(die.total if die else None, node, *_memory(device)),
        "memory_price_usd_per_gb": price[1] if (price := _price(device)) else None,
        "memory_price": price[0] if price else None,
        "memory_gb": money.memory_gb(device.dram.capacity),
        "one_off": {"mask_set_usd": money.MASK_SET[node], "package_and_assembly_usd": money.PACKAGE + money.ASSEMBLY} if node
        else None,
        "reticle_mm2": money.RETICLE,
        "over_reticle": die.total > money.RETICLE if die else None,
        "peak_tflops": {"systolic_array": arrays, "mac_tree": tree, "total": arrays + tree},
        "tflops_per_mm2": (arrays + tree) / die.total if die else None,
        "tdp_watts": tdp(device),
    }  # fmt: skip
    for key in ("measured_die", "printed_die"):
        result[key] = _known(getattr(area, key, None), die)
    result["mac_tree_options"] = _options(device) if trees else None
    return result


def area_columns(die: DieArea | None) -> dict[str, float | None]:
    """`AREA` of a die."""
    if die is None:
        return dict.fromkeys(AREA)
    return {name: die.total if name == "die_total_mm2" else getattr(die, name) for name in AREA}


def cost_columns(area: float | None, node: str | None, gb: float, price: float | None) -> dict[str, float | None]:
    """`COST` of a die of `area` mm2 with `gb` GB of memory at `price` USD each."""
    result: dict[str, float | None] = dict.fromkeys(COST)
    result["memory_cost_usd"] = memory = None if price is None else gb * price
    if area is None or node is None:
        return result
    die = money.die_cost(area, node)
    result |= asdict(die)
    if memory is not None:
        result["total_cost_usd_no_yield"] = die.die_cost_usd_no_yield + memory
        result["total_cost_usd_with_yield"] = die.die_cost_usd_with_yield + memory
    return result


#: Figures of a device that add up over devices.
SUMS = ("die_total_mm2", "die_cost_usd_no_yield", "die_cost_usd_with_yield", "memory_cost_usd", "total_cost_usd_no_yield",
        "total_cost_usd_with_yield")  # fmt: skip


def system_cost(groups: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """`SUMS` over groups of (devices, `device_cost`), None where one is unknown, with ``devices`` and ``peak_tflops``."""
    result: dict[str, Any] = {"devices": sum(count for count, _ in groups)}
    for name in SUMS:
        values = [count * cost[name] if cost[name] is not None else None for count, cost in groups]
        result[name] = None if None in values else sum(value for value in values if value is not None)
    result["peak_tflops"] = sum(count * cost["peak_tflops"]["total"] for count, cost in groups)
    return result


def tdp(device: Device) -> float | None:
    """Watts that the device is built for, if its power section says so."""
    return device.power.tdp if device.power else None


def _price(device: Device) -> tuple[str, float] | None:
    area = device.area
    return money.memory_price(area.memory_price, area.memory.kind if area.memory else None) if area else None


def _memory(device: Device) -> tuple[float, float | None]:
    price = _price(device)
    return money.memory_gb(device.dram.capacity), price[1] if price else None


def _known(known: KnownDie | None, die: DieArea | None) -> dict[str, Any] | None:
    if known is None:
        return None
    return {"area": known.area, "source": known.source, "gap": die.total / known.area - 1 if die else None}


def _options(device: Device) -> list[dict[str, Any]]:
    """The die under each area of the MAC tree, with the device's own links, then with others that a printed die may have."""
    area = device.area
    assert area is not None
    printed = area.printed_die
    links = [area.links, *(other for other in _OTHER_LINKS if printed and other != area.links)]
    rows = []
    for option in MAC_TREE_TRANSISTORS:
        for link in links:
            die = plan_area(replace(die_plan(device, option), links=link))
            known = _known(printed, die)
            rows.append({
                "mac_tree_area": option, "links": f"{link.kind} x{link.count}" if link else None, "own_links": link == area.links,
                "die_total_mm2": die.total, "gap": known["gap"] if known else None,
            })  # fmt: skip
    return rows
