"""Constants of fused attention of a generation, fitted on the measured kernels of one of its GPUs.

    python -m benchmarks.calibrate --data shared/reference/silicon --model attention

`fit` minimises the mean of sqrt(e^2 + 0.02^2), e = ln(predicted / best framework), over the context and the generation rows
of the GPU: prefill and decode by turns, as they share few constants. Not used are times that no such kernel can have: the
cache is larger than the L2, and the time is below what the DRAM peak needs for it (TensorRT-LLM on the A100, whose rows
reach 1.7 times that peak: keys and values were read from the same blocks).
`errors` counts all rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks import measured
from benchmarks.measured import FRAMEWORKS, Errors, Fit, Floats, halves, rounded, statistics, with_constants
from hdasim.core import layout
from hdasim.core._core import gpu_decode, gpu_prefill
from hdasim.device.gpu import record
from hdasim.spec.load import load_device

#: Generation, the GPU it is fitted on, and the file names' word for that.
MEASURED = {"ampere": ("a100", "a100_sxm"), "hopper": ("h100", "h100_sxm")}
PREFILL = ("launches", "efficiency", "serial", "prologue", "small_tile", "tail", "copy")
DECODE = ("launches", "stream", "sm_read", "l2_hold", "group_cta", "head_cta", "merge")
SHARES = ("efficiency", "serial", "tail", "copy", "stream", "sm_read", "l2_hold")
#: Keys per block: FlashAttention's choice for 128 dimensions on Ampere and Hopper; not fitted.
KEY_BLOCK = {"ampere": 64.0, "hopper": 128.0}
START = {
    "launches": 3.0, "efficiency": 0.75, "serial": 0.25, "prologue": 3.5e-6, "small_tile": 1.6, "tail": 0.3, "copy": 0.7,
    "stream": 0.85, "sm_read": 0.27, "l2_hold": 0.65, "group_cta": 3e-6, "head_cta": 1.5e-6, "merge": 3e-6,
}  # fmt: skip


@dataclass(frozen=True)
class Kernels:
    """Measured attention kernels of one phase: cases as the core takes them, and seconds of the fastest framework."""

    heads: NDArray[np.void]
    cases: NDArray[np.void]
    seconds: Floats

    def predict(self, gpu: NDArray[np.void]) -> Floats:
        kernel = gpu_decode if self.cases.dtype == layout.DECODE else gpu_prefill
        times: Floats = kernel(gpu, self.heads, self.cases)["time"]
        return times

    def pick(self, rows: NDArray[np.bool_]) -> "Kernels":
        return Kernels(self.heads[rows], self.cases[rows], self.seconds[rows])

    def cache_bytes(self) -> Floats:
        tokens = self.cases["tokens"] if "tokens" in (self.cases.dtype.names or ()) else self.cases["count"] * self.cases["q_len"]
        out: Floats = 4.0 * tokens * self.heads["kv_heads"] * self.heads["key_dim"]
        return out


def read(path: Path) -> Kernels:
    """A file attention_context_*.csv or attention_generation_*.csv."""
    rows = measured.table(path)
    column = {name: measured.integers(rows, name) for name in rows[0] if name not in FRAMEWORKS}
    heads = np.zeros(len(rows), layout.HEADS)
    heads["q_heads"], heads["kv_heads"] = column["q_heads"], column["kv_heads"]
    heads["key_dim"] = heads["value_dim"] = column["head_dim"]
    heads["kv_bytes"], heads["warm"] = 2.0, 1.0
    if "kv_len" in column:
        cases = np.zeros(len(rows), layout.DECODE)
        cases["sequences"], cases["longest"] = column["batch"], column["kv_len"]
        cases["tokens"] = column["batch"] * column["kv_len"]
    else:
        cases = np.zeros(len(rows), layout.PROMPT)
        cases["count"], cases["q_len"] = column["batch"], column["seq_len"]
    return Kernels(heads, cases, measured.fastest(rows))


def possible(kernels: Kernels, gpu: NDArray[np.void]) -> Kernels:
    """Without rows whose cache exceeds the L2 and whose time is below what the DRAM peak needs for it."""
    size = kernels.cache_bytes()
    return kernels.pick((size <= gpu["l2_size"]) | (size / kernels.seconds <= gpu["dram_bandwidth"]))


def loss(kernels: Kernels, gpu: NDArray[np.void]) -> float:
    error = np.log(kernels.predict(gpu) / kernels.seconds)
    return float(np.sqrt(error * error + 4e-4).mean())


def descend(phases: Iterable[Kernels], gpu: NDArray[np.void], names: tuple[str, ...], steps: int) -> NDArray[np.void]:
    """The GPU with better values of these constants: a simplex in their logarithms."""
    kernels, start = list(phases), {name: float(gpu["attention"][name][0]) for name in names}

    def changed(logs: Floats) -> NDArray[np.void]:
        scaled = {name: start[name] * float(np.exp(log)) for name, log in zip(names, logs, strict=True)}
        return with_constants(gpu, "attention", {name: min(x, 1.0) if name in SHARES else x for name, x in scaled.items()})

    simplex = np.vstack([np.zeros(len(names)), 0.15 * np.eye(len(names))])
    options = {"maxfev": steps, "initial_simplex": simplex, "adaptive": True, "xatol": 1e-3, "fatol": 1e-6}
    objective = lambda logs: sum(loss(each, changed(logs)) for each in kernels)  # noqa: E731
    return changed(minimize(objective, np.zeros(len(names)), method="Nelder-Mead", options=options).x)


def calibrate(prefill: Kernels, decode: Kernels, gpu: NDArray[np.void], generation: str, rounds: int = 8) -> NDArray[np.void]:
    """The GPU with fitted constants."""
    gpu = with_constants(gpu, "attention", {**START, "key_block": KEY_BLOCK[generation]})
    decode = possible(decode, gpu)
    for _ in range(rounds):
        gpu = descend([prefill], gpu, PREFILL, 250)
        gpu = descend([decode], gpu, DECODE, 250)
        gpu = descend([prefill, decode], gpu, ("launches", "efficiency", "serial"), 60)
    return gpu


def load(data: Path, generation: str) -> tuple[Kernels, Kernels, NDArray[np.void]]:
    name, word = MEASURED[generation]
    gpu = record(load_device(name))
    return read(data / f"attention_context_{word}_bf16.csv"), read(data / f"attention_generation_{word}_bf16.csv"), gpu


def fit(data: Path, generation: str) -> Fit:
    """Constants of a generation in `MEASURED`; errors of all rows, and of each half with constants of the other."""
    prefill, decode, gpu = load(data, generation)
    fitted = calibrate(prefill, decode, gpu, generation)
    constants = {name: rounded(float(fitted["attention"][name][0])) for name in layout.GPU_ATTENTION.names or ()}
    constants["library"] = library(data, generation, with_constants(gpu, "attention", constants))
    first, second = halves(len(prefill.seconds)), halves(len(decode.seconds))
    crossed = [
        _signed(prefill.pick(~a), decode.pick(~b), calibrate(prefill.pick(a), decode.pick(b), gpu, generation))
        for a, b in ((first, second), (~first, ~second))
    ]
    found = _statistics(_signed(prefill, decode, with_constants(gpu, "attention", constants)))
    joined = {name: np.concatenate([part[name] for part in crossed]) for name in crossed[0]}
    found |= {f"{name}, across halves": each for name, each in _statistics(joined).items()}
    return Fit(constants, tuple(dict.fromkeys((*PREFILL, *DECODE, "library"))), found)


def library(data: Path, generation: str, gpu: NDArray[np.void]) -> float:
    """Time of vLLM's decode / predicted, median where its kernel is busy and contexts are those of serving."""
    path = data / f"attention_generation_{MEASURED[generation][1]}_bf16.csv"
    kernels, vllm = read(path), measured.framework(measured.table(path), "vllm_us")
    blocks, length = kernels.cases["sequences"] * kernels.heads["kv_heads"], kernels.cases["longest"]
    there = np.isfinite(vllm) & (blocks >= 64) & (length >= 256) & (length <= 4096)
    return rounded(float(np.median(vllm[there] / kernels.predict(gpu)[there])))


def errors(data: Path, generation: str, constants: dict[str, float], source: str = "") -> Errors:
    """Errors of a generation's rows with these constants."""
    prefill, decode, gpu = load(data, generation)
    return _statistics(_signed(prefill, decode, with_constants(gpu, "attention", constants)))


def _signed(prefill: Kernels, decode: Kernels, gpu: NDArray[np.void]) -> dict[str, Floats]:
    """Errors of prefill; of decode: all rows, those that DRAM can have served, and of these those with caches above 2 L2."""
    honest = possible(decode, gpu)
    large = honest.pick(honest.cache_bytes() > 2 * gpu["l2_size"])
    groups = {"prefill": prefill, "decode": decode, "decode, possible": honest, "decode, possible, above 2 L2": large}
    return {name: kernels.predict(gpu) / kernels.seconds - 1 for name, kernels in groups.items()}


def _statistics(groups: dict[str, Floats]) -> Errors:
    return {name: statistics(signed) for name, signed in groups.items()}
