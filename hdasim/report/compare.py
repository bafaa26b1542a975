"""Runs side by side: throughput, latency, utilisation, area, cost and energy, each against the first run.

Area efficiency is ADOR's (papers.md 4): performance ratio x (reference area / area), with 1 / mean TTFT or 1 / mean TBT for the
performance and the first run for the reference. The area is that of all dies: a group of d devices has d times the area.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from ..core.layout import CAUSES
from .bars import Bar, bars
from .svg import Table, page
from .table import CAUSE_NAMES, grid, load_line

Figures = dict[str, float | str | bool | None]
_LATENCIES = (("ttft", "TTFT"), ("tpot", "TPOT"), ("itl", "ITL (TBT)"), ("e2el", "E2E latency"))
_STATISTICS = (("mean", "mean"), ("median", "p50"), ("p99", "p99"))
_UNITS = (("busy", "busy"), ("systolic_array", "systolic array"), ("mac_tree", "MAC tree"), ("vector_unit", "vector unit"),
          ("dram", "DRAM bandwidth"), ("noc", "NoC"), ("p2p", "device links"))  # fmt: skip
_COSTS = (("die_total_mm2", "dies, mm2"), ("die_cost_usd_no_yield", "dies, any, USD"),
          ("die_cost_usd_with_yield", "dies, good ones, USD"), ("memory_cost_usd", "memory, USD"),
          ("total_cost_usd_no_yield", "dies and memory, USD"),
          ("total_cost_usd_with_yield", "good dies and memory, USD"))  # fmt: skip
#: Of the block `power`, None where energies are not known.
_POWER = (("average_w", "average power of a device, W", -1), ("joules_per_output_token", "energy per output token, J", -1),
          ("joules_per_token", "energy per token of either kind, J", -1),
          ("prefill_joules_per_prompt_token", "energy per prompt token, prefill, J", -1),
          ("decode_joules_per_output_token", "energy per output token, decode, J", -1),
          ("output_tokens_per_joule", "output tokens per joule", 1))  # fmt: skip
#: Latencies that include the wait in a queue, and so say nothing while it grows.
_QUEUED = ("ttft", "e2el")


@dataclass(frozen=True)
class Run:
    """One column: `summary` is that of `hdasim.metrics.summarise`, `costs` a `system_cost`, where unknown figures are None.

    `notes` say why they are, and how the area was counted.
    """

    label: str
    source: str
    summary: Mapping[str, Any]
    costs: Mapping[str, Any] | None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """A figure of every run: `key` in the JSON document, what it is called, how it is shown and whether more is better."""

    key: str
    label: str
    kind: str = "number"
    better: int = 0


def compare(runs: Sequence[Run]) -> dict[str, Any]:
    """The comparison as plain data.

    Returns
    -------
    dict
        ``reference``: the label of the first run; ``runs``: for each its ``figures`` by the keys of `rows_of`, and
        ``difference``, each number over that of the first less 1, None where either is unknown or the first is 0.
    """
    figures = [_figures(run) for run in runs]
    first = figures[0]
    for own in figures:
        for name, latency in (("ttft", "mean_ttft_ms"), ("tbt", "mean_itl_ms")):
            own[f"area_efficiency_{name}"] = _efficiency(first, own, latency)
    return {
        "reference": runs[0].label,
        "runs": [
            {"name": run.label, "source": run.source, "figures": own, "difference": _difference(first, own),
             "notes": list(run.notes)}
            for run, own in zip(runs, figures, strict=True)
        ],
    }  # fmt: skip


def rows_of(document: dict[str, Any]) -> list[Row]:
    """The figures that any run of a comparison has, in the order in which they are shown."""
    rows = [
        Row("devices", "devices", "count"), Row("request_throughput", "requests/s", better=1),
        Row("request_goodput", "goodput, requests/s", better=1), Row("output_throughput", "output tokens/s", better=1),
        Row("total_token_throughput", "all tokens/s", better=1), Row("saturated", "queue grows"),
        *(Row(f"{s}_{key}_ms", f"{label}, {name}, ms", better=-1) for key, label in _LATENCIES for s, name in _STATISTICS),
    ]  # fmt: skip
    keys = dict.fromkeys(key for run in document["runs"] for key in run["figures"])
    units = [key for key in keys if key.partition(":")[0] == "utilization"]
    names = dict(_UNITS)
    order = [unit for unit, _ in _UNITS]
    units.sort(key=lambda key: (key.split(":")[1:-1], order.index(key.split(":")[-1])))
    rows += [Row(key, ", ".join(["utilisation", names[key.split(":")[-1]], *key.split(":")[1:-1]]), "share") for key in units]
    rows += [Row(key, ", ".join(["bottleneck", *key.split(":")[1:]]), "text") for key in keys if key.startswith("bottleneck")]
    rows += [Row(key, label, better=-1) for key, label in _COSTS]
    rows += [Row(key, label, better=better) for key, label, better in _POWER]
    rows += [Row("area_efficiency_ttft", "area efficiency, TTFT", "ratio", 1)]
    rows += [Row("area_efficiency_tbt", "area efficiency, TBT", "ratio", 1)]
    return [row for row in rows if any(run["figures"].get(row.key) is not None for run in document["runs"]) or row.better]


def _figures(run: Run) -> Figures:
    s = run.summary
    result: Figures = {"devices": run.costs["devices"] if run.costs else None}
    for key in ("request_throughput", "request_goodput", "output_throughput", "total_token_throughput", "saturated"):
        result[key] = s[key]
    for key, _ in _LATENCIES:
        for statistic, _ in _STATISTICS:
            grows = s["saturated"] and key in _QUEUED
            result[f"{statistic}_{key}_ms"] = None if grows else s[f"{statistic}_{key}_ms"]
    pools = s.get("pools") or [s]
    for i, pool in enumerate(pools):
        role = "" if len(pools) == 1 else f":pool {i + 1} {pool['role']}"
        used = pool.get("utilization") or pool["device"]
        result |= {f"utilization{role}:{unit}": used[unit] for unit, _ in _UNITS if used[unit] is not None}
        if pool["bottleneck"] is not None:
            worst = max(CAUSES, key=lambda cause: pool["bottleneck"][cause])
            result[f"bottleneck{role}"] = f"{CAUSE_NAMES[worst]} {pool['bottleneck'][worst]:.0%}"
    power = s.get("power") or {}
    result |= {key: run.costs[key] if run.costs else None for key, _ in _COSTS}
    return result | {key: power.get(key) for key, _, _ in _POWER}


def _efficiency(first: Figures, own: Figures, latency: str) -> float | None:
    values = [first[latency], own[latency], first["die_total_mm2"], own["die_total_mm2"]]
    if not all(isinstance(value, (int, float)) and value > 0 for value in values):
        return None
    before, after, reference, area = (float(value) for value in values if value is not None)
    return before / after * (reference / area)


def _difference(first: Figures, own: Figures) -> dict[str, float | None]:
    """Of each number, how much more it is than that of the first."""
    result: dict[str, float | None] = {}
    for key, value in own.items():
        base = first.get(key)
        if any(isinstance(v, (str, bool)) for v in (value, base)):
            continue
        known = value is not None and base is not None and base != 0
        result[key] = float(value) / float(base) - 1 if known else None  # type: ignore[arg-type]
    return result


def remarks(runs: Sequence[Run]) -> list[str]:
    """What a reader must know before the figures: growing queues, what is unknown or counted how, what the reference is."""
    lines = [f"{run.label}: {line}" for run in runs if (line := load_line(dict(run.summary)))]
    lines += [f"{run.label}: {note}" for run in runs for note in run.notes]
    lines.append(f"Area efficiency: (1 / mean latency) x (1 / area of all dies), both over those of {runs[0].label}.")
    return lines


def print_comparison(document: dict[str, Any], runs: Sequence[Run], console: Console) -> None:
    """One table with a column for each run; behind each number how much more it is than that of the first run."""
    for line in remarks(runs):
        console.print(line, markup=False, highlight=False)
    console.print()
    table = grid("", ("", *(run["name"].replace("[", "(") for run in document["runs"])))
    table.title = None
    for row in rows_of(document):
        table.add_row(row.label, *(_cell(row, run, i > 0) for i, run in enumerate(document["runs"])))
    console.print(table)


def _cell(row: Row, run: dict[str, Any], against: bool) -> str:
    value = run["figures"].get(row.key)
    if value is None:
        grows = run["figures"]["saturated"] and any(f"_{key}_ms" in row.key for key in _QUEUED)
        modelled = row.kind == "ratio" or row.key in {key for key, *_ in (*_COSTS, *_POWER)}
        return "grows" if grows else "unknown" if modelled else "-"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{100 * value:.1f} %" if row.kind == "share" else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    more = run["difference"].get(row.key)
    if row.kind == "ratio":
        return f"{value:.3f} x"
    return f"{text} ({100 * more:+.1f} %)" if against and more is not None and row.kind == "number" else text


def comparison_page(document: dict[str, Any], runs: Sequence[Run]) -> str:
    """A page that stands alone: the table, and bars for each figure that is better one way."""
    rows = rows_of(document)
    header = ("", *(run["name"] for run in document["runs"]))
    cells = [(row.label, *(_cell(row, run, i > 0) for i, run in enumerate(document["runs"]))) for row in rows]
    charts = [_bars(row, document) for row in rows if row.better or row.kind == "share"]
    note = " ".join(f"{line.rstrip('.')}." for line in remarks(runs))
    return page("Comparison of " + ", ".join(header[1:]), charts, [Table("Figures, against the first", header, cells)], note)


def _bars(row: Row, document: dict[str, Any]) -> str:
    scale = 100 if row.kind == "share" else 1
    rows = []
    for run in document["runs"]:
        value = run["figures"].get(row.key)
        missing = Bar(run["name"], None, _cell(row, run, False))
        rows.append(missing if value is None else Bar(run["name"], [("", float(value) * scale)]))
    better = {1: ", more is better", -1: ", less is better", 0: ""}[row.better]
    return bars(f"{row.label}{', %' if scale == 100 else ''}{better}", rows, width=420)
