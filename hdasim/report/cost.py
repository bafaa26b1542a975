"""What a device costs, as text for a terminal: the parts of its die, dies of a wafer, memory, peak rate."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..cost.experiment import Group
from .table import grid

Costs = dict[str, Any]
#: Parts of a die: key, name, whether it is of each core, and its colour among the eight of a chart.
PARTS = (
    ("core_control_mm2", "control", True, 0), ("core_alu_mm2", "vector ALUs", True, 6),
    ("core_array_mm2", "systolic arrays", True, 1), ("core_mac_tree_mm2", "MAC trees", True, 7),
    ("core_regfile_mm2", "register files", True, 2), ("core_sram_mm2", "local memory", True, 3),
    ("core_comm_mm2", "ports of cores", False, 5), ("global_buffer_mm2", "global memory", False, 3),
    ("mem_phy_mm2", "memory PHYs", False, 4), ("mem_ctrl_mm2", "memory controllers", False, 4),
    ("link_phy_mm2", "link PHYs", False, 6), ("link_ctrl_mm2", "link controllers", False, 6),
    ("host_mm2", "host interface", False, 5),
)  # fmt: skip
#: Colours of rich in the order of the eight of a chart.
_TERMINAL = ("blue", "red", "green", "magenta", "yellow", "white", "cyan", "bright_red")
_BAR = 100


def parts_of(costs: Costs) -> list[tuple[str, float, float | None, int]]:
    """(name, mm2 on the die, mm2 in one core, colour) of each part that there is."""
    if costs["die_total_mm2"] is None:
        return []
    rows = [(name, costs[key] * (costs["cores_on_die"] if core else 1), costs[key] if core else None, colour)
            for key, name, core, colour in PARTS]  # fmt: skip
    return [row for row in rows if row[1] > 0]


def print_cost(groups: Sequence[Group], total: dict[str, Any] | None, console: Console) -> None:
    """Tables of each group of devices and, of several devices, what they cost together."""
    for i, group in enumerate(groups):
        if i:
            console.print()
        _print_device(group, console)
    if total is not None and total["devices"] > 1:
        console.print()
        console.print(_total(total))


def _print_device(group: Group, console: Console) -> None:
    costs = group.costs
    for line in (group.title, *remarks(costs)):
        console.print(line, markup=False, highlight=False)
    if costs["die_total_mm2"] is not None:
        console.print()
        console.print(_area(costs))
        if console.is_terminal:
            console.print(_stacked(costs))
    for table in (_options(costs), _money(costs), _peak(costs)):
        if table is not None:
            console.print()
            console.print(table)


def remarks(costs: Costs) -> list[str]:
    """What is unknown, how the model compares with the real or the printed die, and whether it can be made in one piece."""
    die, lines = costs["die_total_mm2"], []
    if costs["unknown"]:
        lines.append(f"area unknown: {costs['unknown']}")
    for key, what in (("measured_die", "measured"), ("printed_die", "printed")):
        known = costs[key]
        if known is not None:
            gap = "" if known["gap"] is None else f"; the model gives {die:.1f} mm2, {signed(known['gap'])}"
            lines.append(f"{what} die {known['area']:.4g} mm2 ({known['source']}){gap}")
    if costs["printed_die"] and costs["mac_tree_options"]:
        counted = [row for row in costs["mac_tree_options"] if row["mac_tree_area"] == "synthesis"]
        areas, gaps = sorted(row["die_total_mm2"] for row in counted), sorted(row["gap"] for row in counted)
        lines.append(f"mac_tree_area synthesis: {areas[0]:.1f} to {areas[-1]:.1f} mm2 by the links, {signed(gaps[0])} to "
                     f"{signed(gaps[-1])}; mac_tree_area ador is a calibration to the 516 mm2 that ADOR prints")  # fmt: skip
    if costs["over_reticle"]:
        lines.append(f"OVER THE RETICLE: {die:.1f} mm2 is more than the {costs['reticle_mm2']:.0f} mm2 of one exposure; "
                     "such a die cannot be made in one piece")  # fmt: skip
    return lines


def _area(costs: Costs) -> Table:
    tree = f", MAC trees: {costs['mac_tree_area']}" if costs["mac_tree_area"] else ""
    used = "" if costs["core_count"] == costs["cores_on_die"] else f", {costs['core_count']} used"
    title = f"Die at {costs['process_node']}, {costs['cores_on_die']} cores{used}{tree}"
    table = grid(title, ("", "core, mm2", "die, mm2", "share"))
    for name, area, core, _ in parts_of(costs):
        table.add_row(name, "" if core is None else f"{core:.4f}", f"{area:.2f}", f"{area / costs['die_total_mm2']:.1%}")
    table.add_row("die", f"{costs['core_total_mm2']:.4f}", f"{costs['die_total_mm2']:.1f}", "100.0%", style="bold")
    return table


def _stacked(costs: Costs) -> Text:
    """One bar of the parts in colours, with their names below; every part gets a cell or none, so that the bar has its length."""
    text, drawn, done = Text(), 0, 0.0
    names = Text()
    for name, area, _, colour in parts_of(costs):
        done += area
        cells = round(_BAR * done / costs["die_total_mm2"]) - drawn
        drawn += cells
        text.append("█" * cells, style=_TERMINAL[colour])
        names.append("█ ", style=_TERMINAL[colour]).append(f"{name}  ")
    return Text("\n").join([text, names])


def _options(costs: Costs) -> Table | None:
    """The die under each way to count MAC trees."""
    options = costs["mac_tree_options"]
    if not options:
        return None
    printed = costs["printed_die"]
    columns = ("MAC trees counted as", "links", "die, mm2") + (("against the printed",) if printed else ())
    table = grid("The die by the area of its MAC trees", columns)
    for row in options:
        gap = (signed(row["gap"]),) if printed else ()
        links = row["links"] or "none"
        table.add_row(row["mac_tree_area"], links if row["own_links"] else f"({links})", f"{row['die_total_mm2']:.1f}", *gap)
    return table


def _money(costs: Costs) -> Table | None:
    if costs["die_total_mm2"] is None and costs["memory_cost_usd"] is None:
        return None
    table = grid("Cost, USD", ("", "any die", "good dies"))
    if costs["die_total_mm2"] is not None:
        share = costs["yield_negbin"]
        dies = costs["dies_per_wafer"]
        table.add_row("dies per wafer of 300 mm", f"{dies:.2f}", f"{dies * share:.2f}")
        table.add_row("yield", "", f"{share:.1%}")
        table.add_row("die", *_pair(costs, "die_cost_usd"))
    gb = f"{costs['memory_gb']:.4g} GB"
    if costs["memory_cost_usd"] is None:
        table.add_row(f"memory, {gb}", "unknown", "unknown")
    else:
        price = f"{gb} at {costs['memory_price_usd_per_gb']:.2f} ({costs['memory_price']})"
        table.add_row(f"memory, {price}", *[f"{costs['memory_cost_usd']:,.2f}"] * 2)
    table.add_row("die and memory", *_pair(costs, "total_cost_usd"), style="bold")
    once = costs["one_off"]
    if once:
        table.add_row("not in it: mask set of the design", f"{once['mask_set_usd']:,.0f}", "")
        table.add_row("not in it: package and assembly of a chip", f"{once['package_and_assembly_usd']:.2f}", "")
    return table


def _peak(costs: Costs) -> Table:
    peak = costs["peak_tflops"]
    table = grid("Peak, fp16", ("", ""))
    table.add_row("systolic arrays, TFLOPS", f"{peak['systolic_array']:.1f}")
    if peak["mac_tree"]:
        table.add_row("MAC trees, TFLOPS", f"{peak['mac_tree']:.1f}")
        table.add_row("together, TFLOPS", f"{peak['total']:.1f}")
    table.add_row("TFLOPS per mm2", "unknown" if costs["tflops_per_mm2"] is None else f"{costs['tflops_per_mm2']:.3f}")
    if costs["tdp_watts"] is not None:
        table.add_row("TDP, W", f"{costs['tdp_watts']:.0f}")
    return table


def _total(total: dict[str, Any]) -> Table:
    table = grid(f"All {total['devices']:,} devices", ("", "any die", "good dies"))
    area = total["die_total_mm2"]
    table.add_row("dies, mm2", "unknown" if area is None else f"{area:,.1f}", "")
    table.add_row("dies, USD", *_pair(total, "die_cost_usd"))
    memory = total["memory_cost_usd"]
    table.add_row("memory, USD", *["unknown" if memory is None else f"{memory:,.2f}"] * 2)
    table.add_row("dies and memory, USD", *_pair(total, "total_cost_usd"), style="bold")
    table.add_row("peak, TFLOPS", f"{total['peak_tflops']:,.1f}", "")
    return table


def _pair(costs: Costs, name: str) -> list[str]:
    values = [costs[f"{name}_{which}_yield"] for which in ("no", "with")]
    return ["unknown" if value is None else f"{value:,.2f}" for value in values]


def signed(share: float) -> str:
    """A share more or less, in percent."""
    return f"{round(100 * share, 1) + 0.0:+.1f} %"
