"""What devices cost, as a page: of each its die as a treemap and as bars beside the dies of others, and the tables."""

from collections.abc import Sequence

from ..cost.experiment import Group
from .bars import Bar, bars
from .cost import Costs, parts_of, remarks, signed
from .svg import Table, page
from .treemap import treemap

_FIGURES = (
    ("dies_per_wafer", "dies per wafer"), ("yield_negbin", "yield"), ("die_cost_usd_no_yield", "die, USD, any"),
    ("die_cost_usd_with_yield", "die, USD, good ones"), ("memory_cost_usd", "memory, USD"),
    ("total_cost_usd_no_yield", "die and memory, USD, any"), ("total_cost_usd_with_yield", "die and memory, USD, good ones"),
    ("tflops_per_mm2", "peak TFLOPS per mm2"), ("tdp_watts", "TDP, W"),
)  # fmt: skip
#: Fewer parts than colours: PHYs and controllers together, and what is left of the cores.
_FAMILIES = {
    "systolic arrays": "systolic arrays", "MAC trees": "MAC trees", "local memory": "local memory",
    "global memory": "global memory", "memory PHYs": "memory interface", "memory controllers": "memory interface",
    "link PHYs": "links and host", "link controllers": "links and host", "host interface": "links and host",
}  # fmt: skip


def cost_page(name: str, groups: Sequence[Group]) -> str:
    """One HTML document that needs nothing else."""
    charts: list[str] = []
    tables: list[Table] = []
    notes: list[str] = []
    for group in groups:
        costs, rows = group.costs, parts_of(group.costs)
        notes += [f"{group.title}.", *(f"{line}." for line in remarks(costs))]
        if rows:
            title = f"{costs['name']}: {costs['die_total_mm2']:.1f} mm2 at {costs['process_node']}"
            charts += [treemap(title, [(part, area, colour) for part, area, _, colour in rows], "mm2"), _bars(costs)]
            shares = [(part, core, area, f"{area / costs['die_total_mm2']:.1%}") for part, area, core, _ in rows]
            tables.append(Table(title, ("part", "core, mm2", "die, mm2", "share"), shares))
        if costs["mac_tree_options"]:
            tables.append(_options(costs))
        figures = [(label, costs[key]) for key, label in _FIGURES if costs[key] is not None]
        tables.append(Table(f"{costs['name']}: cost and peak", ("", ""), figures))
    return page(f"Cost of {name}", charts, tables, " ".join(notes))


def _options(costs: Costs) -> Table:
    rows = []
    for row in costs["mac_tree_options"]:
        gap = "-" if row["gap"] is None else signed(row["gap"])
        rows.append((row["mac_tree_area"], row["links"] or "none", row["die_total_mm2"], gap))
    header = ("counted as", "links", "die, mm2", "against the printed")
    return Table(f"{costs['name']}: MAC trees counted in two ways", header, rows)


def _bars(costs: Costs) -> str:
    """The die's parts in a row, for each way to count MAC trees; below, the dies that others measured or printed."""
    parts = [(name, area) for name, area, _, _ in parts_of(costs)]
    rows = [Bar("model", _merged(parts), "mm2")]
    if costs["mac_tree_options"]:
        own = [row for row in costs["mac_tree_options"] if row["own_links"]]
        others = {row["mac_tree_area"]: row["die_total_mm2"] - costs["die_total_mm2"] for row in own}
        rows = [Bar(f"model, {option}", _merged([*parts, ("MAC trees", more)]), "mm2") for option, more in others.items()]
    for key, what in (("measured_die", "measured"), ("printed_die", "printed")):
        if costs[key] is not None:
            rows.append(Bar(what, [("whole die", costs[key]["area"])], "mm2"))
    return bars(f"{costs['name']}: the die in parts", rows, "mm2")


def _merged(parts: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    result: dict[str, float] = {}
    for name, area in parts:
        family = _FAMILIES.get(name, "rest of cores")
        result[family] = result.get(family, 0.0) + area
    return list(result.items())
