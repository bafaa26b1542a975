"""Roofline bounds of single requests: what no scheduler and no mapping on this device can beat."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..compiler.program import CompiledProgram
from .latency import Machine

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RequestBounds:
    """Lower bounds in seconds, one entry per request: first token, second token, mean output token after the first, all."""

    ttft: Floats
    itl: Floats
    tpot: Floats
    e2el: Floats


def request_bounds(
    machine: Machine,
    input_len: npt.NDArray[np.int64],
    output_len: npt.NDArray[np.int64],
    cached: npt.NDArray[np.int64] | None = None,
) -> RequestBounds:
    """Bounds of requests served alone. On a pipeline an output token passes one stage after the other; chunks of a prompt are in
    several at the same time, but all go through the slowest, and at least one token through the others before or after that.

    In each stage, max(operations / peak, bytes read / peak DRAM bandwidth) of a device, and on each link between stages bytes /
    bandwidth. The first token needs all multiply-accumulates of its prompt (exact causal pairs) beyond its first `cached` tokens,
    whose keys and values were there, and every weight once; output
    token j reads every weight and the keys and values of input + j - 1 tokens. The mean over j takes the mean context (the larger
    of two linear functions is convex, so its mean is no less), or the first context where a window makes the count concave. Of
    experts only the chosen count, dealt evenly over the devices if each holds whole ones.
    """
    s = input_len.astype(np.float64)
    known = np.zeros_like(s) if cached is None else cached.astype(np.float64)
    mean_past = s + np.maximum(output_len - 2, 0) / 2.0
    least, longest, itl, tpot = 0.0, np.zeros_like(s), np.zeros_like(s), np.zeros_like(s)
    programs = [part.compiled for part in machine.chain]
    for program in dict.fromkeys(programs):
        token, prompt, second, later = _stage_bounds(machine, program, s, known, mean_past)
        count = programs.count(program)
        least += token * count
        longest = np.maximum(longest, prompt - token)
        itl += second * count
        tpot += later * count
    ttft = least + longest
    return RequestBounds(ttft, itl, tpot, ttft + (output_len - 1) * tpot)


def _stage_bounds(
    machine: Machine, program: CompiledProgram, s: Floats, known: Floats, mean_past: Floats
) -> tuple[float, Floats, Floats, Floats]:
    """Seconds of (any step, prompt, second token, mean later token) in one stage or on one link."""
    peak, rate = sum(machine.device.peak_macs_per_second), machine.device.dram.bandwidth
    prompt_macs, token_macs, first_macs = np.zeros_like(s), np.zeros_like(s), np.zeros_like(s)
    weights, token_kv, first_kv, sent = 0.0, np.zeros_like(s), np.zeros_like(s), 0.0
    for op, times in zip(program.ops, program.repeats(), strict=True):
        if op.sync == "send" and machine.device.p2p is not None:
            sent += times * op.sync_bytes / machine.device.p2p.bandwidth
        if op.kind in ("linear", "experts"):
            chosen = op.top_k / max(op.group, 1) if op.kind == "experts" else 1
            macs = float(times) * op.k * op.n * chosen
            weights += times * op.k * op.n * op.weight_bytes * chosen
            devices = machine.device_count if op.rows == "share" else 1
            prompt_macs += macs if op.rows == "emit" else macs * (s - known) / devices
            token_macs += macs
            first_macs += macs
            continue
        if op.kind not in ("prefill_attention", "decode_attention"):
            continue
        scale = float(times) * op.kv_heads * op.group * (op.key_dim + op.value_dim)
        if op.kind == "prefill_attention":
            prompt_macs += scale * (_pairs(s, op.window) - _pairs(known, op.window))
            continue
        reach = op.window - 1 if op.window else np.inf  # cached tokens that a new one may see
        past, first_past = np.minimum(s if op.window else mean_past, reach), np.minimum(s, reach)
        token_macs += scale * (past + 1)
        first_macs += scale * (first_past + 1)
        kv = float(times) * op.kv_elements * machine.kv_bytes
        token_kv += kv * past
        first_kv += kv * first_past
    ttft = np.maximum(prompt_macs / peak, weights / rate)
    tpot = np.maximum(token_macs / peak, (weights + token_kv) / rate)
    itl = np.maximum(first_macs / peak, (weights + first_kv) / rate)
    return weights / rate + sent, ttft + (s - known) * sent, itl + sent, tpot + sent


def _pairs(s: Floats, window: int) -> Floats:
    """Causal pairs of a prompt of s tokens: sum over j = 1 .. s of min(j, window)."""
    rising = np.minimum(s, window) if window else s
    return rising * (rising + 1) / 2 + (s - rising) * window
