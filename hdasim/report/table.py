"""Results as text for a terminal: plain when piped, aligned always."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ..core.layout import CAUSES, UNITS
from ..metrics import PERCENTILES
from ..serving.pools import Servers
from ..simulate import Result
from ..units import show
from .grid import grid as grid
from .grid import number, percent
from .power import power_table, step_power, step_power_line

CAUSE_NAMES = {
    "sa": "systolic array", "mt": "MAC tree", "vu": "vector unit", "dram": "DRAM bandwidth", "global_memory": "global memory",
    "noc": "NoC", "p2p": "device links", "overhead": "launch overhead",
}  # fmt: skip
_METRICS = (("ttft", "TTFT, ms"), ("tpot", "TPOT, ms"), ("itl", "ITL (TBT), ms"), ("e2el", "E2E latency, ms"),
            ("scheduling_delay", "scheduling delay, ms"))  # fmt: skip
#: Latencies that include the wait in a queue, and so have no percentiles while it grows.
_QUEUED = ("ttft", "e2el", "scheduling_delay")
_STATISTICS = ("mean", *(f"p{p}" for p in PERCENTILES))


def _headline(result: Result) -> str:
    e = result.experiment
    pools = result.served.pools
    if len(pools) > 1:
        return "\n".join([f"{e.name}: {e.model.name} on a cluster", *(_pool_line(pool) for pool in pools)])
    return f"{e.name}: {e.model.name} on {_pool_line(pools[0])}"


def _pool_line(pool: Servers) -> str:
    serving, stages = pool.serving, pool.machine.stages
    weights = max(stage.compiled.memory.weights for stage in stages)
    tokens, most = pool.block_count * serving.block_size, "up to " if len(stages) > 1 else ""
    each = " per rank" if pool.ranks > 1 else " each" if pool.instances > 1 else ""
    role = "" if pool.role == "both" else f"{pool.role}: {pool.instances} x "
    return (
        f"{role}{serving.group(pool.machine.device.name)}, scheduler {serving.scheduler}\n"
        f"weights {most}{weights / 1e9:.2f} GB per device, KV cache {tokens:,} tokens{each}"
    )


def _latency(summary: dict[str, Any]) -> Table:
    table = grid("Latency (below each line: its roofline bound)", ("", *_STATISTICS))
    for key, label in _METRICS:
        if summary["saturated"] and key in _QUEUED:
            table.add_row(label, *["grows"] * len(_STATISTICS))
            continue
        table.add_row(label, *(number(summary[f"{s}_{key}_ms"]) for s in _STATISTICS))
        if key != "scheduling_delay":
            table.add_row("  bound", *(number(summary["bound"][f"{s}_{key}_ms"]) for s in _STATISTICS), style="dim")
    return table


def load_line(summary: dict[str, Any]) -> str:
    """What a reader has to know before the percentiles of a run whose queue grows, or that is offline; "" of others."""
    load = summary["saturation"]
    if load["kind"] == "saturated":
        return (
            f"SATURATED: {load['reason']}. Requests come faster than they are served, so latencies only say how long the run "
            "was; use a lower rate (hdasim capacity finds the highest)."
        )
    return f"OFFLINE: {load['reason']}." if load["kind"] == "offline" else ""


def goals_table(slo: dict[str, Any]) -> Table:
    """The goals of `metrics.against_slo` one by one."""
    labels = {key: label.removesuffix(", ms") for key, label in _METRICS}
    table = grid(f"Service levels: {'met' if slo['met'] else 'MISSED'}", ("", "limit", "reached", "within", ""))
    for goal in slo["goals"]:
        each = goal["statistic"] == "request"
        name = labels[goal["metric"]] if each else f"{goal['statistic']} {labels[goal['metric']]}"
        limit, value = (None if goal[k] is None else show(goal[k] / 1e3, "s") for k in ("limit_ms", "value_ms"))
        share = percent(goal["attainment"]) if each else ""
        table.add_row(f"{name}, each request" if each else name, limit, value or "-", share, "met" if goal["met"] else "MISSED")
    if slo["attainment"] is not None:
        wanted, met = percent(slo["wanted_attainment"]), slo["attainment"] >= slo["wanted_attainment"]
        table.add_row("requests within all limits", wanted, "", percent(slo["attainment"]), "met" if met else "MISSED")
    return table


def _throughput(result: Result) -> Table:
    s = result.summary
    table = grid("Throughput", ("", ""))
    table.add_row("requests completed", f"{s['completed']:,} of {len(result.served.requests):,} in {s['duration']:,.1f} s")
    if s["rejected"]:
        why = "longer than the KV cache, or than the budget without chunked prefill"
        table.add_row("requests rejected", f"{s['rejected']:,} ({why})")
    if s["unfinished"]:
        table.add_row("requests unfinished", f"{s['unfinished']:,}")
    table.add_row("requests/s", number(s["request_throughput"]))
    if s["request_goodput"] is not None:
        table.add_row("goodput, requests/s", number(s["request_goodput"]))
    table.add_row("output tokens/s", number(s["output_throughput"], 1))
    table.add_row("all tokens/s", number(s["total_token_throughput"], 1))
    table.add_row("preemptions", f"{s['preemptions']:,}")
    if s["prefix_cache_hit_rate"]:
        table.add_row("prompt tokens found in the prefix cache", percent(s["prefix_cache_hit_rate"]))
    return table


def _load(summary: dict[str, Any], title: str) -> Table:
    o = summary["occupancy"]
    table = grid(title, ("", "mean", "max"))
    table.add_row("running requests", number(o["mean_running"], 1), number(o["max_running"], 0))
    table.add_row("waiting requests", number(o["mean_waiting"], 1), number(o["max_waiting"], 0))
    table.add_row("KV cache", percent(o["mean_kv_cache"]), percent(o["max_kv_cache"]))
    return table


def _hardware(summary: dict[str, Any], title: str) -> Table:
    table = grid(title, ("", "utilisation", "limits"))
    d, b = summary.get("utilization") or summary["device"], summary["bottleneck"]
    rows = (
        ("systolic array", "systolic_array", "sa"), ("MAC tree", "mac_tree", "mt"), ("vector unit", "vector_unit", "vu"),
        ("DRAM bandwidth", "dram", "dram"), ("global memory", None, "global_memory"), ("NoC", "noc", "noc"),
        ("device links", "p2p", "p2p"), ("launch overhead", None, "overhead"),
    )  # fmt: skip
    for label, used, limits in rows:
        table.add_row(label, percent(d[used]) if used else "", percent(b[limits]))
    table.add_row("exposed communication", percent(summary["communication"]["exposed"]), "")
    table.add_row("steps run", percent(d["busy"]), "")
    if "pipeline" in summary:
        table.add_row("pipeline bubbles", percent(summary["pipeline"]["bubbles"]), "")
    if "kv_transfer" in summary:
        table.add_row("link for keys and values", percent(summary["kv_transfer"]["link"]), "")
    return table


def _pools(result: Result) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what to add to titles, blocks) of each pool."""
    pools = result.served.pools
    for pool, summary in zip(pools, result.summary.get("pools", [result.summary]), strict=True):
        each = "per instance" if pool.instances > 1 else ""
        yield ", ".join(filter(None, ["" if len(pools) == 1 else f"{pool.role} pool", each])), summary


def print_result(result: Result, console: Console) -> None:
    """Print the tables of a run."""
    console.print(_headline(result), highlight=False)
    if line := load_line(result.summary):
        console.print(f"\n{line}", highlight=False)
    tables = [_latency(result.summary), _throughput(result)]
    if result.summary["slo"] is not None:
        tables.insert(1, goals_table(result.summary["slo"]))
    for table in tables:
        console.print()
        console.print(table, highlight=False)
    for name, summary in _pools(result):
        which = f", {name}" if name else ""
        console.print()
        console.print(_load(summary, f"Occupancy (while steps run{which})"), highlight=False)
        if "profile" in summary:
            left = f"; extrapolated: {summary['profile']['outside']}" if summary["profile"]["outside"] else ""
            console.print(f"\nTimes of steps are those of the profile{left}", highlight=False)
            if summary["profile"]["below_bound"]:
                console.print("They are below the device's bound: is the profile of this model and this device?", highlight=False)
            continue
        console.print()
        console.print(_hardware(summary, f"Where the time goes (while steps run{which})"), highlight=False)
        if any(summary["bottleneck"].values()):
            worst = max(summary["bottleneck"].items(), key=lambda item: item[1])
            console.print(f"\nHeld back by: {CAUSE_NAMES[worst[0]]} ({percent(worst[1])} of the time)", highlight=False)
        console.print()
        if summary["power"] is None:
            console.print(f"Power{which}: unknown, as the device's energies are", highlight=False)
        else:
            console.print(power_table(summary["power"], f"Power and energy{which}"), highlight=False)


_NETWORKS = ("cores", "devices")


def communication(record: Any) -> dict[str, Any]:
    """Seconds of the exchanges of a STEP or OP_STEP record, in all and between `cores` and `devices`.

    `time` that they take is `hidden` under other work or `exposed`: pushes the end of the step.
    """
    time, exposed = record["communication"], record["exposed_communication"]
    split = {
        network: {"time": float(t), "hidden": max(float(t - e), 0.0), "exposed": float(e)}
        for network, t, e in zip(_NETWORKS, time, exposed, strict=True)
    }
    total = {f"communication_{part}": sum(split[n][part] for n in _NETWORKS) for part in ("time", "hidden", "exposed")}
    return {**total, "communication": split}


def step_head(machine: Any, step: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The totals of a step over `rows`: seconds, bytes, communication, power."""
    totals = {key: float(step[key]) for key in ("time", "bound", "dram_bytes", "p2p_bytes")}
    noc = sum(row["noc_bytes"] for row in rows)
    return {**totals, "noc_bytes": noc, **communication(step), "power": step_power(machine, step)}


def step_rows(machine: Any, step: Any, ops: np.ndarray) -> list[dict[str, Any]]:
    """One dictionary per operator that does something: seconds, bytes, FLOPs, what limits it, and its own roofline bound."""
    rows = []
    device = machine.device
    peak, rate = 2 * sum(device.peak_macs_per_second), device.dram.bandwidth
    for o, r in zip(machine.operators(), ops, strict=True):
        if not (r["unit_time"].any() or r["dram_bytes"] > 0 or r["exposed"] > 0):
            continue
        flops = 2.0 * float(r["useful_macs"])
        unit = int(np.argmax(r["unit_time"]))
        longest = float(r["exposed"] - r["exposed_communication"].sum() if device.gpu else r["unit_time"][unit])
        fastest = peak * (device.gpu.rates.of(o.op.type) if device.gpu else 1.0)
        limited = r["limited"]
        rows.append(
            {
                **({"stage": o.stage} if len(machine.stages) > 1 else {}),
                "block": o.block, "operator": o.op.name, "repeat": o.repeat, "unit": UNITS[unit], "time": longest,
                "exposed": float(r["exposed"]), "share": float(r["exposed"]) / float(step["time"]),
                "dram_bytes": float(r["dram_bytes"]), "noc_bytes": float(r["noc_bytes"]), "p2p_bytes": float(r["p2p_bytes"]),
                **communication(r), "flops": flops,
                "utilization": flops / (longest * fastest) if longest else 0.0,
                "bandwidth": float(r["dram_bytes"]) / (longest * rate) if longest else 0.0,
                "bound": max(flops / fastest, float(r["dram_bytes"]) / rate),
                "limited_by": CAUSES[int(np.argmax(limited))] if limited.any() else "hidden",
                "energy": float(r["energy"]) if machine.energies is not None else None,
            }
        )  # fmt: skip
    return rows


def print_step(title: str, machine: Any, step: Any, rows: list[dict[str, Any]], console: Console) -> None:
    """Print one step operator by operator, then those that communicate, then the totals."""
    staged = bool(rows) and "stage" in rows[0]
    columns = ("operator", *(["stage"] if staged else []), "x", "unit", "time us", "exposed us", "share", "DRAM MB", "GFLOP",
               "of peak", "of DRAM", "bound us", "limited by")  # fmt: skip
    table = grid(title, columns)
    for r in rows:
        table.add_row(
            r["operator"], *([str(r["stage"])] if staged else []), str(r["repeat"]), r["unit"], number(r["time"] * 1e6, 1),
            number(r["exposed"] * 1e6, 1), percent(r["share"]), number(r["dram_bytes"] / 1e6, 1), number(r["flops"] / 1e9, 1),
            percent(r["utilization"]), percent(r["bandwidth"]), number(r["bound"] * 1e6, 1),
            CAUSE_NAMES.get(r["limited_by"], r["limited_by"]),
        )  # fmt: skip
    console.print(table, highlight=False)
    talking = [r for r in rows if r["communication_time"] > 0]
    if talking:
        console.print()
        console.print(_communication(talking, staged), highlight=False)
    bounds = ", ".join(f"{n} {show(float(v), 's')}" for n, v in zip(("compute", "DRAM", "links"), step["bound_by"], strict=True))
    console.print(f"\nstep {show(float(step['time']), 's')}, bound {show(float(step['bound']), 's')} ({bounds})", highlight=False)
    for network, parts in communication(step)["communication"].items():
        if parts["time"] > 0:
            time, hidden, exposed = (show(parts[part], "s") for part in ("time", "hidden", "exposed"))
            line = f"communication between {network} {time}: {hidden} hidden, {exposed} exposed"
            console.print(f"{line} ({percent(parts['exposed'] / float(step['time']))} of the step)", highlight=False)
    console.print(step_power_line(step_power(machine, step)), highlight=False)
    legend = (
        "time: the operator's busiest unit or a GPU's kernel, all repetitions; exposed: by how much it pushed the end of the step"
    )
    console.print(legend, highlight=False)


def _communication(rows: list[dict[str, Any]], staged: bool) -> Table:
    """Exchanges of operators: bytes that the busiest core (of GEMMs only) or device receives, and seconds by network."""
    parts = ("time", "hidden", "exposed")
    columns = ("communication", *(["stage"] if staged else []), "x", "cores MB", *(f"{part} us" for part in parts), "links MB",
               *(f"{part} us" for part in parts))  # fmt: skip
    table = grid("", columns)
    table.title = None
    for r in rows:
        cells = [r["operator"], *([str(r["stage"])] if staged else []), str(r["repeat"])]
        for network, volume in zip(_NETWORKS, ("noc_bytes", "p2p_bytes"), strict=True):
            own = r["communication"][network]
            used = own["time"] > 0
            cells += [number(r[volume] / 1e6 or None), *(number(own[p] * 1e6 if used else None, 1) for p in parts)]
        table.add_row(*cells)
    return table
