"""What `hdasim.search.capacity` found, as text and as points of charts."""

import math
from typing import Any

from rich.console import Console
from rich.table import Table

from ..units import show
from .svg import Series, chart, page
from .svg import Table as PageTable
from .table import CAUSE_NAMES, grid

_LABELS = {
    "scheduling_delay": "scheduling delay", "ttft": "TTFT", "tpot": "TPOT", "itl": "ITL (TBT)", "e2el": "E2E latency",
}  # fmt: skip
_UNITS = (("busy", "steps run"), ("systolic_array", "systolic array"), ("mac_tree", "MAC tree"), ("dram", "DRAM"))
_SHOWN = (("p50", "scheduling_delay"), ("p50", "ttft"), ("p99", "ttft"), ("p50", "tpot"), ("p99", "tpot"), ("p99", "itl"))


def limit_name(limit: str) -> str:
    """A limit of a point in words: ``p99 itl`` is p99 ITL (TBT)."""
    if limit == "saturation":
        return "the queue grows"
    if limit == "attainment":
        return "requests within all limits"
    statistic, _, metric = limit.partition(" ")
    return f"{statistic} {_LABELS.get(metric, metric)}"


def answer(found: dict[str, Any]) -> str:
    """The answer in one line."""
    mean, half = found["capacity"], found["half_width"]
    rate = None if mean is None else f"{mean:.4g} req/s"
    seeds = f"{len(found['seeds'])} seed{'s' if len(found['seeds']) != 1 else ''}"
    spread = f", 95 % interval {mean - half:.4g} to {mean + half:.4g}, {seeds}" if half is not None else f", {seeds}"
    match found["status"]:
        case "found":
            return f"capacity {rate} ({found['tolerance']:.3g} relative width{spread})"
        case "unlimited":
            return (
                f"capacity {rate}{spread}: the service levels are met even with all requests at once, so it is the throughput "
                "that limits"
            )
        case "at_least":
            return f"capacity at least {rate}: the highest rate tried passes; raise --max-rate"
        case "interrupted":
            return f"interrupted before the capacity was known{_so_far(found)}"
    return no_capacity(found)


def _so_far(found: dict[str, Any]) -> str:
    """The highest rate that passed and the lowest that failed, on any seed."""
    points = [p for p in found["points"] if math.isfinite(p["rate"])]
    rates = {passed: [p["rate"] for p in points if p["passed"] == passed] for passed in (True, False)}
    said = [f"{max(rates[True]):.4g} req/s passes"] if rates[True] else []
    said += [f"{min(rates[False]):.4g} req/s fails"] if rates[False] else []
    return f"; so far {' and '.join(said)}" if said else ""


def no_capacity(found: dict[str, Any]) -> str:
    """Which goal is missed at the lowest rate tried, and by how much."""
    worst = next(s for s in found["seeds"] if s["passed"] is None)
    point = next(p for p in found["points"] if (p["rate"], p["seed"]) == (worst["failed"], worst["seed"]))
    misses = [g for g in point["summary"]["slo"]["goals"] if not g["met"]]
    said = []
    for goal in misses:
        name = limit_name(f"{goal['statistic']} {goal['metric']}").removeprefix("request ")
        if goal["value_ms"] is None:
            said.append(f"{name} is not reached by enough requests")
            continue
        value, limit = (goal[key] / 1e3 for key in ("value_ms", "limit_ms"))
        said.append(f"{name} is {show(value, 's')}, {value / limit:.3g} times its limit of {show(limit, 's')}")
    slo = point["summary"]["slo"]
    if not said and slo["attainment"] is not None and not slo["met"]:
        share, wanted = 100 * slo["attainment"], 100 * slo["wanted_attainment"]
        said.append(f"{share:.1f} % of requests are within all limits, {wanted:.1f} % wanted")
    said = said or [limit_name(point["limit"])]
    return f"no rate meets the service levels: even at {point['rate']:.3g} req/s {'; '.join(said)}"


def print_capacity(name: str, found: dict[str, Any], console: Console) -> None:
    """Print the answer, what limits, the figures at the capacity, and the curve if there is one."""
    console.print(f"{name}: {answer(found)}", highlight=False)
    for line in _notes(found):
        console.print(line, highlight=False)
    if found["at_capacity"] is not None:
        for table in (_goals(found), _figures(found)):
            console.print()
            console.print(table, highlight=False)
    if found["curve"]:
        console.print()
        console.print(_curve("Latency against rate (means over seeds)", found["curve"], found["capacity"]), highlight=False)
    console.print()
    console.print(_points(found), highlight=False)


def _notes(found: dict[str, Any]) -> list[str]:
    lines = []
    limits = [s["limit_above"] for s in found["seeds"] if s["limit_above"]]
    if limits and found["status"] in ("found", "interrupted"):
        counts = {limit: limits.count(limit) for limit in dict.fromkeys(limits)}
        lines.append("limited by: " + ", ".join(f"{limit_name(k)} ({v} of {len(limits)} seeds)" for k, v in counts.items()))
    at = found["at_capacity"]
    if at is not None:
        for pool, part in _parts(at):
            if part["bottleneck"] is not None:  # operator tables do not tell
                cause, share = max(part["bottleneck"].items(), key=lambda item: item[1] or 0.0)
                lines.append(f"held back there{pool} by: {CAUSE_NAMES[cause]} ({100 * share:.1f} % of the time)")
        if at["rejected"]:
            share = at["rejected"] / found["num_prompts"]
            lines.append(f"{100 * share:.3g} % of requests are rejected, as they fit nowhere; goals count them as endless")
    if found["offline_throughput"] is not None:
        lines.append(f"throughput with all {found['num_prompts']:,} requests at once: {found['offline_throughput']:.4g} req/s")
    longer = found["longer_run"]
    if longer["seeds"]:
        fine = longer["passed"] == longer["seeds"]
        lines.append(
            f"runs of twice the requests at {100 * longer['share']:.0f} % of it: {longer['passed']} of {longer['seeds']} pass"
            + ("" if fine else "; the runs are too short to be settled, raise --num-prompts")
        )
    return lines


def _parts(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(what to add to names, blocks) of each pool: `occupancy`, `utilization` and `bottleneck`."""
    if "pools" not in summary:
        return [("", {**summary, "utilization": summary["device"]})]
    return [(f" ({pool['role']} pool)", pool) for pool in summary["pools"]]


def _running(summary: dict[str, Any]) -> str:
    """Running requests of an instance; of each pool, if there are several."""
    return " / ".join(f"{part['occupancy']['mean_running'] or 0:,.1f}" for _, part in _parts(summary))


def _goals(found: dict[str, Any]) -> Table:
    table = grid("Service levels", ("", "limit", "at capacity", "above it"))
    at, above = found["at_capacity"]["slo"], found["above"] and found["above"]["slo"]
    for i, goal in enumerate(at["goals"]):
        after = above["goals"][i]["value_ms"] if above else None
        cells = (None if v is None else show(v / 1e3, "s") for v in (goal["limit_ms"], goal["value_ms"], after))
        table.add_row(limit_name(f"{goal['statistic']} {goal['metric']}"), *(c or "-" for c in cells))
    if at["attainment"] is not None:
        shares = (at["wanted_attainment"], at["attainment"], above["attainment"] if above else None)
        table.add_row("requests within all limits", *("-" if s is None else f"{100 * s:.1f} %" for s in shares))
    return table


def _figures(found: dict[str, Any]) -> Table:
    at = found["at_capacity"]
    table = grid("At the capacity (means over seeds)", ("", ""))
    for statistic, metric in _SHOWN:
        value = at[f"{statistic}_{metric}_ms"]
        table.add_row(f"{statistic} {_LABELS[metric]}", "-" if value is None else show(value / 1e3, "s"))
    table.add_row("output tokens/s", f"{at['output_throughput']:,.1f}")
    for pool, part in _parts(at):
        table.add_row(f"running requests{pool}", f"{part['occupancy']['mean_running'] or 0:,.1f}")
        table.add_row(f"KV cache{pool}", f"{100 * (part['occupancy']['mean_kv_cache'] or 0):.1f} %")
        for key, label in _UNITS:
            value = part["utilization"][key]
            table.add_row(f"{label}{pool}", "-" if value is None else f"{100 * value:.1f} %")
    return table


_UNITS = (("busy", "steps run"), ("systolic_array", "systolic array"), ("mac_tree", "MAC tree"), ("dram", "DRAM"))


def _curve(title: str, rows: list[dict[str, Any]], capacity: float | None) -> Table:
    columns = ("req/s", "of capacity", "passes", *(f"{s} {_LABELS[m]}" for s, m in _SHOWN), "throughput", "running", "")
    table = grid(title, columns)
    for row in rows:
        s = row["summary"]
        times = ("-" if (v := s[f"{a}_{b}_ms"]) is None else show(v / 1e3, "s") for a, b in _SHOWN)
        of = f"{100 * row['rate'] / capacity:.0f} %" if capacity else "-"
        grows = "saturated" if row["saturated"] > 0.5 else ""
        table.add_row(f"{row['rate']:.4g}", of, f"{100 * row['passed']:.0f} %", *times, f"{s['request_throughput']:.4g}",
                      _running(s), grows)  # fmt: skip
    return table


def curve_page(name: str, found: dict[str, Any]) -> str:
    """An HTML page with the latencies and the throughput of the curve against the rate, and the limits as dashed lines."""
    rows = found["curve"]
    rates = [row["rate"] for row in rows]

    def line(key: str, label: str, scale: float = 1e-3) -> Series:
        return Series(label, rates, [math.nan if (v := row["summary"][key]) is None else v * scale for row in rows])

    charts = []
    goals = (found["at_capacity"] or (rows[0]["summary"] if rows else {"slo": {"goals": []}}))["slo"]["goals"]
    for metric, label in _LABELS.items():
        lines = [line(f"{s}_{metric}_ms", s) for s in ("p50", "p90", "p99")]
        for goal in (g for g in goals if g["metric"] == metric):
            limit = [goal["limit_ms"] / 1e3] * len(rates)
            lines.append(Series(f"limit of {goal['statistic']}", rates, limit, dashed=True))
        charts.append(chart(lines, title=f"{label} against rate", x_label="requests/s", y_label="s", log_y=True))
    lines = [line("request_throughput", "served", 1.0), Series("offered", rates, rates, dashed=True)]
    charts.append(chart(lines, title="Throughput against rate", x_label="requests/s", y_label="requests/s"))
    header = ("requests/s", "passes", "saturated", *(f"{s} {_LABELS[m]}, s" for s, m in _SHOWN), "throughput")
    values = [
        [row["rate"], row["passed"], row["saturated"],
         *(None if (v := row["summary"][f"{s}_{m}_ms"]) is None else v / 1e3 for s, m in _SHOWN),
         row["summary"]["request_throughput"]]
        for row in rows
    ]  # fmt: skip
    table = PageTable("Means over seeds; passes, saturated: shares of seeds", header, values)
    return page(f"{name}: latency against rate", charts, [table], answer(found))


def _points(found: dict[str, Any]) -> Table:
    table = grid("All runs", ("req/s", "seed", "requests", "", "nearest limit", "of the limit"))
    for p in found["points"]:
        ratio = "-" if p["ratio"] is None else f"{100 * p['ratio']:.0f} %"
        rate = "at once" if math.isinf(p["rate"]) else f"{p['rate']:.4g}"
        table.add_row(rate, str(p["seed"]), f"{p['num_prompts']:,}", "passes" if p["passed"] else "fails", limit_name(p["limit"]),
                      ratio)  # fmt: skip
    return table
