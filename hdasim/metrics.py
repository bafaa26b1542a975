"""From per-request and per-step arrays to a summary, in vLLM's definitions and key names.

TTFT = first token - arrival, TPOT = (E2EL - TTFT) / (output tokens - 1) over requests with two or more, ITL = gaps between
output tokens pooled over requests (ADOR's TBT), E2EL = last token - arrival, scheduling delay = first scheduled - arrival
(Sarathi-Serve's). Percentiles are exact, linear between order statistics (numpy's default).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .core.layout import CAUSES, REQUEST_STATES, UNITS
from .device.bound import request_bounds
from .device.latency import Machine
from .serving.engine import Served
from .serving.saturation import assess
from .spec.slo import SLO, Goal

Floats = npt.NDArray[np.float64]
PERCENTILES = (50, 90, 99)
_FINISHED = REQUEST_STATES.index("finished")
_REJECTED = REQUEST_STATES.index("rejected")


def weighted_percentile(values: Floats, counts: npt.NDArray[np.int64], q: float) -> float:
    """`numpy.percentile(numpy.repeat(values, counts), q)` without the repetition, for values in rising order.

    Raises ValueError if there is nothing to rank.
    """
    ends = np.cumsum(counts)
    if not ends.size or ends[-1] == 0:
        raise ValueError("no values")
    position = (int(ends[-1]) - 1) * q / 100.0
    low = math.floor(position)
    below, above = (float(values[np.searchsorted(ends, i, side="right")]) for i in (low, min(low + 1, int(ends[-1]) - 1)))
    return below + (above - below) * (position - low)


def _statistics(name: str, seconds: Floats, counts: npt.NDArray[np.int64] | None = None) -> dict[str, float | None]:
    """mean, median, std and percentiles in ms; None where there is nothing to measure."""
    keys = [f"{k}_{name}_ms" for k in ("mean", "median", "std", *(f"p{p}" for p in PERCENTILES))]
    if counts is None:
        counts = np.ones(seconds.size, np.int64)
    if not counts.sum():
        return dict.fromkeys(keys)
    order = np.argsort(seconds, kind="stable")
    values, weights = seconds[order] * 1e3, counts[order]
    mean = float(np.average(values, weights=weights))
    std = math.sqrt(float(np.average((values - mean) ** 2, weights=weights)))
    ranks = [weighted_percentile(values, weights, p) for p in (50, *PERCENTILES)]
    return dict(zip(keys, [mean, ranks[0], std, *ranks[1:]], strict=True))


def request_times(served: Served) -> dict[str, Floats]:
    """Seconds per request: ttft, tpot, e2el, scheduling_delay; NaN where a request did not get that far (TPOT also with one
    output token).
    """
    out, arrival = served.outcomes, served.requests.arrival_s
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
    seconds, counts = _measured(served, goal.metric)
    if not counts.sum():
        return result | {"value_ms": None, "met": bool((served.outcomes["state"] == _FINISHED).any())}
    order = np.argsort(seconds, kind="stable")
    if goal.statistic == "mean":
        value = float(np.average(seconds, weights=counts))
    else:
        value = weighted_percentile(seconds[order], counts[order], float(goal.statistic[1:]))
    return result | {"value_ms": value * 1e3, "met": value <= goal.limit}


def _measured(served: Served, metric: str) -> tuple[Floats, npt.NDArray[np.int64]]:
    """(values in seconds, how often each occurs) of a metric of `spec.slo.METRICS`."""
    if metric == "itl":
        return served.gaps["seconds"], served.gaps["count"]
    seconds = request_times(served)[metric]
    seconds = seconds[~np.isnan(seconds)]
    return seconds, np.ones(seconds.size, np.int64)


def summarise(served: Served, machine: Machine, slo: SLO) -> dict[str, Any]:
    """All figures of a run: vLLM's flat keys, whether it is `saturated` (`serving.saturation`), then blocks `saturation`, `slo`
    (`against_slo`), `device`, `bottleneck`, `communication`, `bound`, `occupancy`, and for a pipeline `pipeline`.
    """
    out, requests, steps = served.outcomes, served.requests, served.steps
    done = out["state"] == _FINISHED
    duration = float((steps["start"] + steps["time"]).max()) if steps.size else 0.0
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
        "steps": int(steps.size),
    }
    for name in ("ttft", "tpot", "e2el", "scheduling_delay"):
        result |= _statistics(name, times[name][~np.isnan(times[name])])
    result |= _statistics("itl", served.gaps["seconds"], served.gaps["count"])
    result["saturated"] = load.kind == "saturated"
    result["saturation"] = {"kind": load.kind, "excess": load.excess, "reason": load.reason}
    result["slo"] = against_slo(served, slo)
    result["bound"] = _bounds(served, machine)
    result["occupancy"] = _occupancy(steps, machine.page_count)
    busy = _busy_time(served, machine)
    result["device"] = _utilization(steps, machine, busy, duration * served.replicas)
    result["bottleneck"] = _bottleneck(steps)
    result["communication"] = _communication(steps)
    if len(machine.stages) > 1:
        result["pipeline"] = _pipeline(served, busy)
    return result


def _bounds(served: Served, machine: Machine) -> dict[str, float | None]:
    """The same statistics of each request's lower bound, over the same requests."""
    out, requests = served.outcomes, served.requests
    bounds = request_bounds(machine, requests.input_len, requests.output_len)
    times = request_times(served)
    result: dict[str, float | None] = {}
    for name, seconds in (("ttft", bounds.ttft), ("tpot", bounds.tpot), ("e2el", bounds.e2el)):
        result |= _statistics(name, seconds[~np.isnan(times[name])])
    return result | _statistics("itl", bounds.itl, np.maximum(out["generated"] - 1, 0))


def _occupancy(steps: np.ndarray, pages: int) -> dict[str, float | None]:
    """Running and waiting requests and KV pages of a replica, averaged over the time of steps, and their maxima."""
    result: dict[str, float | None] = {}
    for name, scale in (("running", 1.0), ("waiting", 1.0), ("kv_blocks", 1.0 / pages)):
        label = "kv_cache" if name == "kv_blocks" else name
        values = steps[name] * scale
        result[f"mean_{label}"] = float(np.average(values, weights=steps["time"])) if steps.size else None
        result[f"max_{label}"] = float(values.max()) if steps.size else None
    return result


def _busy_time(served: Served, machine: Machine) -> float:
    """Seconds in which a step runs, summed over replicas; where steps overlap (in a pipeline) they count once."""
    steps = served.steps
    if len(machine.stages) == 1:
        return float(steps["time"].sum())
    total = 0.0
    for replica in np.unique(served.replica):
        own = steps[served.replica == replica]
        ends = own["start"] + own["time"]  # steps end in the order in which they start
        total += float((ends - np.maximum(own["start"], np.concatenate([[0.0], ends[:-1]]))).sum())
    return total


def _utilization(steps: np.ndarray, machine: Machine, busy: float, duration: float) -> dict[str, float | None]:
    """Shares while steps run, per device: averages over the stages of a pipeline and over replicas.

    systolic_array, mac_tree: useful multiply-accumulates / peak. dram, p2p: bytes / (peak bandwidth x time). vector_unit, noc:
    time that the busiest core's unit is occupied. busy: share of the run's `duration` (of all replicas together) in which a step
    runs.
    """
    if not busy:
        return dict.fromkeys(("busy", "systolic_array", "mac_tree", "vector_unit", "dram", "noc", "p2p"))
    device, stages = machine.device, len(machine.stages)
    array, tree = device.peak_macs_per_second
    macs = steps["macs"].sum(axis=0)
    occupied = steps["busy"].sum(axis=0)
    time = busy * stages
    links = device.p2p.bandwidth * time if device.p2p and machine.device_count * stages > 1 else 0.0
    return {
        "busy": min(busy / duration, 1.0),  # the sum of steps may round up
        "systolic_array": float(macs[0]) / (array * time),
        "mac_tree": float(macs[1]) / (tree * time) if tree else None,
        "vector_unit": float(occupied[UNITS.index("vu")]) / time,
        "dram": float(steps["dram_bytes"].sum()) / (device.dram.bandwidth * time),
        "noc": float(occupied[UNITS.index("noc")]) / time if device.noc.topology != "shared" else None,
        "p2p": float(steps["p2p_bytes"].sum()) / links if links else None,
    }


def _pipeline(served: Served, busy: float) -> dict[str, Any]:
    """Of the time in which batches are in flight: the share that each stage computes, and `bubbles`, what is left on average."""
    stages = served.program_time[::2]
    shares = [float(t) / busy if busy else None for t in stages]
    return {"stages": len(shares), "stage_busy": shares, "bubbles": 1.0 - float(stages.mean()) / busy if busy else None}


def _bottleneck(steps: np.ndarray) -> dict[str, float]:
    """Share of the time of steps that each cause limits; they add up to 1."""
    limited = steps["limited"].sum(axis=0)
    total = float(limited.sum())
    return {cause: float(value) / total if total else 0.0 for cause, value in zip(CAUSES, limited, strict=True)}


def _communication(steps: np.ndarray) -> dict[str, Any]:
    """Exchanges between cores and between devices as shares of the time of steps.

    `time` is what they take, `exposed` the part of it that pushes the end of steps. Of both together only `exposed` means
    something: the two networks work at the same time.
    """
    total = float(steps["limited"].sum())
    scale = 1.0 / total if total else 0.0
    time = [float(steps["busy"][:, UNITS.index(unit)].sum()) * scale for unit in ("noc", "p2p")]
    exposed = [float(e.sum()) * scale for e in (steps["exposed_noc"], steps["limited"][:, CAUSES.index("p2p")])]
    split = {name: {"time": t, "exposed": e} for name, t, e in zip(("cores", "devices"), time, exposed, strict=True)}
    return {"exposed": sum(exposed), **split}
