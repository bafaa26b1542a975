"""From per-request and per-step arrays to a summary, in vLLM's definitions and key names.

TTFT = first token - arrival, TPOT = (E2EL - TTFT) / (output tokens - 1) over requests with two or more, ITL = gaps between
output tokens pooled over requests (ADOR's TBT), E2EL = last token - arrival, scheduling delay = first scheduled - arrival
(Sarathi-Serve's). Percentiles are exact, linear between order statistics (numpy's default).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .core import layout
from .core.layout import CAUSES, REQUEST_STATES, UNITS
from .device.bound import request_bounds
from .profile.machine import outside
from .serving.engine import Served
from .serving.gaps import Gaps
from .serving.pools import Servers
from .serving.power import pool_power, total_power
from .serving.saturation import assess
from .spec.slo import SLO, Goal

Floats = npt.NDArray[np.float64]
PERCENTILES = (50, 90, 99)
_FINISHED = REQUEST_STATES.index("finished")
_REJECTED = REQUEST_STATES.index("rejected")


def _keys(name: str) -> list[str]:
    return [f"{k}_{name}_ms" for k in ("mean", "median", "std", *(f"p{p}" for p in PERCENTILES))]


def _statistics(name: str, seconds: Floats) -> dict[str, float | None]:
    """mean, median, std and percentiles in ms; None where there is nothing to measure."""
    if not seconds.size:
        return dict.fromkeys(_keys(name))
    values = np.sort(seconds)
    values *= 1e3
    ranks = np.percentile(values, (50, *PERCENTILES)).tolist()
    return dict(zip(_keys(name), [float(values.mean()), ranks[0], float(values.std()), *ranks[1:]], strict=True))


def _gap_statistics(gaps: Gaps) -> dict[str, float | None]:
    """The same of inter-token latencies."""
    if not gaps.count():
        return dict.fromkeys(_keys("itl"))
    mean, std = gaps.moments()
    ranks = gaps.percentiles((50, *PERCENTILES))
    return dict(zip(_keys("itl"), [1e3 * value for value in (mean, ranks[0], std, *ranks[1:])], strict=True))


def request_times(served: Served) -> dict[str, Floats]:
    """Seconds per request: ttft, tpot, e2el, scheduling_delay; NaN where a request did not get that far (TPOT also with one
    output token).
    """
    out = served.outcomes
    arrival = out["arrival"]
    finished = out["state"] == _FINISHED
    delay = np.where(out["scheduled"] >= 0, out["scheduled"] - arrival, np.nan)
    ttft = np.where(out["first_token"] >= 0, out["first_token"] - arrival, np.nan)
    e2el = np.where(finished, out["last_token"] - arrival, np.nan)
    gaps = served.requests.output_len - 1
    tpot = np.where(finished & (gaps > 0), (e2el - ttft) / np.maximum(gaps, 1), np.nan)
    return {"ttft": ttft, "tpot": tpot, "e2el": e2el, "scheduling_delay": delay}


def good_requests(served: Served, slo: SLO) -> npt.NDArray[np.bool_]:
    """Finished requests that meet every goal for each request; one output token counts as TPOT 0."""
    good: npt.NDArray[np.bool_] = served.outcomes["state"] == _FINISHED
    for goal in slo.goals():
        if goal.statistic == "request":
            good &= _of_each(served, goal.metric) <= goal.limit
    return good


def _of_each(served: Served, metric: str) -> Floats:
    """Seconds of every request: inf where it did not get that far, a TPOT of 0 with one output token."""
    seconds = request_times(served)[metric]
    done = served.outcomes["state"] == _FINISHED
    return np.where(np.isnan(seconds), np.where(done, 0.0, np.inf), seconds)


def against_slo(served: Served, slo: SLO) -> dict[str, Any] | None:
    """What became of the goals; None without any.

    Returns
    -------
    dict
        ``met``: all of `goals`, and `attainment`. ``goals``: each ``metric``, ``statistic``, ``limit_ms``, the ``value_ms``
        reached, ``met``, and, for a limit of each request, ``attainment``: the share of all requests within it; its value is the
        latency that the wanted share of requests stays within. ``attainment``: the share of requests within all limits of each
        request (None without any), ``wanted_attainment`` that asked for.

        A statistic of nothing (no request got that far) is None, and met only if requests finished: all of one output token have
        no ITL.
    """
    if not slo.goals():
        return None
    goals = [_reached(served, goal, slo.attainment) for goal in slo.goals()]
    each = any(goal.statistic == "request" for goal in slo.goals())
    share = float(good_requests(served, slo).mean()) if each and len(served.requests) else None
    met = all(goal["met"] for goal in goals) and (share is None or share >= slo.attainment)
    return {"met": met, "goals": goals, "attainment": share, "wanted_attainment": slo.attainment if each else None}


def _reached(served: Served, goal: Goal, wanted: float) -> dict[str, Any]:
    result = {"metric": goal.metric, "statistic": goal.statistic, "limit_ms": goal.limit * 1e3}
    if goal.statistic == "request":
        seconds = np.sort(_of_each(served, goal.metric))
        rank = max(math.ceil(wanted * seconds.size - 1e-9), 1)
        value = float(seconds[rank - 1]) if seconds.size else math.inf
        share = float((seconds <= goal.limit).mean()) if seconds.size else 0.0
        return result | {"value_ms": value * 1e3 if value < math.inf else None, "met": value <= goal.limit, "attainment": share}
    reached = _statistic(served, goal)
    if reached is None:
        return result | {"value_ms": None, "met": bool((served.outcomes["state"] == _FINISHED).any())}
    if reached == math.inf:
        return result | {"value_ms": None, "met": False}
    return result | {"value_ms": reached * 1e3, "met": reached <= goal.limit}


def _statistic(served: Served, goal: Goal) -> float | None:
    """Mean or percentile in seconds of a metric of `spec.slo.METRICS`; None of nothing.

    Of a rejected request all but gaps between tokens count as infinite: who turns requests away does not serve others sooner.
    """
    if goal.metric == "itl":
        if not served.itl.count():
            return None
        return served.itl.moments()[0] if goal.statistic == "mean" else served.itl.percentiles([float(goal.statistic[1:])])[0]
    seconds = request_times(served)[goal.metric]
    seconds = seconds[~np.isnan(seconds)]
    if not seconds.size:
        return None
    rejected = int((served.outcomes["state"] == _REJECTED).sum())
    if goal.statistic == "mean":
        return math.inf if rejected else float(seconds.mean())
    rank = (seconds.size + rejected - 1) * float(goal.statistic[1:]) / 100
    if math.ceil(rank) >= seconds.size:
        return math.inf
    return float(np.interp(rank, np.arange(seconds.size), np.sort(seconds)))


def summarise(served: Served, slo: SLO) -> dict[str, Any]:
    """All figures of a run: vLLM's flat keys, whether it is `saturated` (`serving.saturation`), then blocks `saturation`, `slo`
    (`against_slo`), `bound`, and `occupancy`, `device`, `bottleneck`, `communication`, `power` (`serving.power`), for a pipeline
    `pipeline` and for operator tables `profile`; where there are several pools, these in a list `pools`, one for each, and
    `power` of all of them besides.
    """
    out, requests = served.outcomes, served.requests
    done = out["state"] == _FINISHED
    duration = float(served.totals["end"].max())
    generated, times = int(out["generated"].sum()), request_times(served)
    load = assess(requests, out)
    prompts = int(requests.input_len[out["first_token"] >= 0].sum())
    rate = 1.0 / duration if duration else 0.0
    result: dict[str, Any] = {
        "duration": duration,
        "completed": int(done.sum()),
        "rejected": int((out["state"] == _REJECTED).sum()),
        "unfinished": int(((out["state"] != _FINISHED) & (out["state"] != _REJECTED)).sum()),
        "total_input_tokens": prompts,
        "total_output_tokens": generated,
        "request_throughput": int(done.sum()) * rate,
        "request_goodput": int(good_requests(served, slo).sum()) * rate if slo.goals() else None,
        "output_throughput": generated * rate,
        "total_token_throughput": (prompts + generated) * rate,
        "preemptions": int(out["preemptions"].sum()),
        "prefix_cache_hit_rate": int(out["cached"].sum()) / prompts if prompts else None,
        "steps": int(served.totals["steps"].sum()),
    }
    for name in ("ttft", "tpot", "e2el", "scheduling_delay"):
        result |= _statistics(name, times[name][~np.isnan(times[name])])
    result |= _gap_statistics(served.itl)
    result["saturated"] = load.kind == "saturated"
    result["saturation"] = {"kind": load.kind, "excess": load.excess, "reason": load.reason}
    result["slo"] = against_slo(served, slo)
    result["bound"] = _bounds(served, times)
    pools = [_pool(served, i, duration) for i in range(len(served.pools))]
    tokens = (prompts, generated)
    powers = [pool_power(served, i, duration, *tokens) for i in range(len(pools))]
    for pool, power in zip(pools, powers, strict=True):
        pool["power"] = power
    if len(pools) > 1:
        result["power"] = total_power(powers, *tokens)
    result |= pools[0] if len(pools) == 1 else {"pools": pools}
    if "profile" in result:
        result["profile"]["below_bound"] = _below_bound(result)
    return result


def _below_bound(summary: dict[str, Any]) -> list[str]:
    """Metrics whose median is below that of the bound: the tables are of a smaller model or of a faster device."""
    keys = [f"median_{name}_ms" for name in ("ttft", "tpot", "itl", "e2el")]
    pairs = [(key, summary[key], summary["bound"][key]) for key in keys]
    return [key for key, value, bound in pairs if value is not None and bound is not None and value < bound]


#: Requests whose bounds are worked out at a time; it takes twenty numbers for each.
_AT_ONCE = 65_536


def _bounds(served: Served, times: dict[str, Floats]) -> dict[str, float | None]:
    """The same statistics of each request's lower bound, over the same requests; of several pools that could serve the least.

    Splitwise moves servers between pools, so that any may do either.
    """
    out, requests = served.outcomes, served.requests
    moves = served.router == "splitwise"
    ttft, tpot, gaps = np.empty(len(requests)), np.empty(len(requests)), Gaps()
    for start in range(0, len(requests), _AT_ONCE):
        own = slice(start, start + _AT_ONCE)
        sizes = requests.input_len[own], requests.output_len[own], out["cached"][own]
        bounds = [("both" if moves else pool.role, request_bounds(pool.machine, *sizes)) for pool in served.pools]
        ttft[own] = np.minimum.reduce([b.ttft for role, b in bounds if role != "decode"])
        least = np.minimum.reduce([b.itl for role, b in bounds if role != "prefill"])
        rows = np.empty(least.size, layout.GAP)
        rows["seconds"], rows["count"] = least, np.maximum(out["generated"][own] - 1, 0)
        gaps.append(rows)
        tpot[own] = np.minimum.reduce([b.tpot for role, b in bounds if role != "prefill"])
    result = _gap_statistics(gaps)
    for name, seconds in (("ttft", ttft), ("tpot", tpot), ("e2el", ttft + (requests.output_len - 1) * tpot)):
        result |= _statistics(name, seconds[~np.isnan(times[name])])
    return result


def _pool(served: Served, index: int, duration: float) -> dict[str, Any]:
    """What the instances of one pool did, together."""
    pool, own = served.pools[index], served.instances == index
    sums = {name: served.totals[name][own].sum(axis=0) for name in layout.TOTALS.names or ()}
    most = {name: served.totals[f"max_{name}"][own].max() for name in ("running", "waiting", "kv_blocks")}
    head = {} if len(served.pools) == 1 else {
        "role": pool.role, "device": pool.machine.device.name, "instances": pool.instances, "steps": int(sums["steps"]),
    }  # fmt: skip
    result: dict[str, Any] = {
        "occupancy": _occupancy(sums, most, pool.ranks * pool.block_count),
        "device": _utilization(sums, pool, duration * pool.instances),
        "bottleneck": _bottleneck(sums),
        "communication": _communication(sums),
    }
    if pool.profile is not None:  # tables tell times, not what bounds them
        result["device"] = dict.fromkeys(result["device"]) | {"busy": result["device"]["busy"]}
        result |= {"bottleneck": None, "communication": None, "profile": {"outside": outside(pool.profile) or None}}
    if pool.role == "prefill" or sums["sent_bytes"]:
        share = float(sums["sent_time"]) / (duration * pool.instances) if duration else 0.0
        result["kv_transfer"] = {"bytes": float(sums["sent_bytes"]), "link": share}
    if len(pool.machine.stages) > 1:
        ran = [time for time, mine in zip(served.program_time, own, strict=True) if mine]
        result["pipeline"] = _pipeline(np.sum(ran, axis=0), float(sums["occupied"]))
    return head | ({"utilization": result.pop("device")} | result if head else result)


def _occupancy(sums: dict[str, Any], most: dict[str, Any], blocks: int) -> dict[str, float | None]:
    """Running and waiting requests and KV blocks of an instance, averaged over the time of steps, and their maxima."""
    result: dict[str, float | None] = {}
    for name, scale in (("running", 1.0), ("waiting", 1.0), ("kv_blocks", 1.0 / blocks)):
        label = "kv_cache" if name == "kv_blocks" else name
        result[f"mean_{label}"] = float(sums[name] / sums["time"]) * scale if sums["time"] else None
        result[f"max_{label}"] = float(most[name]) * scale if sums["steps"] else None
    return result


def _utilization(sums: dict[str, Any], pool: Servers, duration: float) -> dict[str, float | None]:
    """Shares while steps run, per device: averages over the stages of a pipeline, over ranks and over instances.

    systolic_array, mac_tree: useful multiply-accumulates / peak. dram, p2p: bytes / (peak bandwidth x time). vector_unit, noc:
    time that the busiest core's unit is occupied. busy: share of the run's `duration` (of all instances together) in which a
    step runs; steps that overlap (in a pipeline) count once.
    """
    machine, busy = pool.machine, float(sums["occupied"])
    if not busy:
        return dict.fromkeys(("busy", "systolic_array", "mac_tree", "vector_unit", "dram", "noc", "p2p"))
    device, stages = machine.device, len(machine.stages)
    array, tree = device.peak_macs_per_second
    time = busy * stages * pool.ranks
    linked = machine.device_count * stages * pool.ranks > 1
    links = device.p2p.bandwidth * time if device.p2p and linked else 0.0
    return {
        "busy": min(busy / duration, 1.0),  # the sum of steps may round up
        "systolic_array": float(sums["macs"][0]) / (array * time),
        "mac_tree": float(sums["macs"][1]) / (tree * time) if tree else None,
        "vector_unit": float(sums["busy"][UNITS.index("vu")]) / time,
        "dram": float(sums["dram_bytes"]) / (device.dram.bandwidth * time),
        "noc": float(sums["busy"][UNITS.index("noc")]) / time if device.noc.topology != "shared" else None,
        "p2p": float(sums["p2p_bytes"]) / links if links else None,
    }


def _pipeline(program_time: Floats, busy: float) -> dict[str, Any]:
    """Of the time in which batches are in flight: the share that each stage computes, and `bubbles`, what is left on average."""
    stages = program_time[::2]
    shares = [float(t) / busy if busy else None for t in stages]
    return {"stages": len(shares), "stage_busy": shares, "bubbles": 1.0 - float(stages.mean()) / busy if busy else None}


def _bottleneck(sums: dict[str, Any]) -> dict[str, float]:
    """Share of the time of steps that each cause limits; they add up to 1."""
    total = float(sums["limited"].sum())
    return {cause: float(value) / total if total else 0.0 for cause, value in zip(CAUSES, sums["limited"], strict=True)}


def _communication(sums: dict[str, Any]) -> dict[str, Any]:
    """Exchanges between cores and between devices as shares of the time of steps.

    `time` is what they take, `exposed` the part of it that pushes the end of steps. Of both together only `exposed` means
    something: the two networks work at the same time.
    """
    total = float(sums["limited"].sum())
    scale = 1.0 / total if total else 0.0
    time = [float(sums["busy"][UNITS.index(unit)]) * scale for unit in ("noc", "p2p")]
    exposed = [float(e) * scale for e in (sums["exposed_noc"], sums["limited"][CAUSES.index("p2p")])]
    split = {name: {"time": t, "exposed": e} for name, t, e in zip(("cores", "devices"), time, exposed, strict=True)}
    return {"exposed": sum(exposed), **split}
