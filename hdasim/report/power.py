"""Power and energy of a run or a step, for people and as data."""

from typing import Any

from rich.table import Table

from ..core.layout import ENERGY_PARTS, PHASES
from ..units import show
from .grid import grid, number, percent

POWER_PARTS = {
    "systolic_array": "systolic array", "mac_tree": "MAC tree", "vector_unit": "vector unit", "dram": "DRAM",
    "memory": "memories on the chip", "noc": "NoC", "links": "device links", "static": "static", "idle": "idle",
}  # fmt: skip


def power_table(power: dict[str, Any], title: str) -> Table:
    table = grid(title, ("", ""))
    for key, label in (("average_w", "average of the run"), ("step_w", "while steps run"), ("peak_w", "highest of a step")):
        share = power.get("of_tdp", {}).get(key.removesuffix("_w"))
        if power.get(key) is not None:
            of = f" ({percent(share)} of TDP)" if share is not None else ""
            table.add_row(f"W per device, {label}", f"{power[key]:,.1f}{of}")
    if power.get("above_tdp"):
        table.add_row("time of steps above TDP", percent(power["above_tdp"]))
    table.add_row("energy, J", number(power["energy_j"], 1))
    for key, label in (("joules_per_output_token", "output token"), ("joules_per_token", "token of either kind"),
                       ("prefill_joules_per_prompt_token", "prompt token, prefill"),
                       ("decode_joules_per_output_token", "output token, decode")):  # fmt: skip
        table.add_row(f"J per {label}", number(power[key], 4))
    table.add_row("tokens of either kind per J", number(power["tokens_per_joule"], 2))
    for name, joules in power["by_part_j"].items():
        if joules > 0:
            table.add_row(f"  {POWER_PARTS[name]}", percent(joules / power["energy_j"]))
    return table


def step_power(machine: Any, step: Any) -> dict[str, Any] | None:
    """Watts of a device while it executes the step (on a pipeline of the stages that follow each other), and joules of one device
    of each stage by part and phase; None where energies are not known."""
    if machine.energies is None:
        return None
    energy, tdp = float(step["energy"].sum()), machine.device.power.tdp
    power = energy / float(step["time"])
    return {
        "power_w": power, "tdp_w": tdp, "of_tdp": power / tdp if tdp else None, "energy_j": energy,
        "by_part_j": dict(zip(ENERGY_PARTS, step["energy"].tolist(), strict=True)),
        "by_phase_j": dict(zip(PHASES, step["phase_energy"].tolist(), strict=True)),
    }  # fmt: skip


def step_power_line(power: dict[str, Any] | None) -> str:
    if power is None:
        return "power: unknown, as the device's energies are"
    of = f" ({percent(power['of_tdp'])} of its TDP)" if power["of_tdp"] is not None else ""
    parts = sorted(((joules, name) for name, joules in power["by_part_j"].items() if joules > 0), reverse=True)
    shares = ", ".join(f"{POWER_PARTS[name]} {percent(joules / power['energy_j'])}" for joules, name in parts)
    return f"power {power['power_w']:,.0f} W a device{of}, energy {show(power['energy_j'], 'J')}: {shares}"
