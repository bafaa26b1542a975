"""Constants of fused attention of a generation, fitted on the measured kernels of one of its GPUs.

    python -m benchmarks.calibrate_attention --data shared/reference/silicon

`fit` minimises the mean of sqrt(e^2 + 0.02^2), e = ln(predicted / best framework), over the context and the generation rows
of the GPU: prefill and decode by turns, as they share few constants. Not used are times that no such kernel can have: the
cache is larger than the L2, and the time is below what the DRAM peak needs for it (TensorRT-LLM on the A100, whose rows
reach 1.7 times that peak: keys and values were read from the same blocks). `report` counts all rows.
"""

import argparse
import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from hdasim.core import layout
from hdasim.core._core import gpu_decode, gpu_prefill
from hdasim.device.gpu import record
from hdasim.spec.load import load_device

Floats = NDArray[np.float64]

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
FRAMEWORKS = ("trtllm_us", "vllm_us", "sglang_us")


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
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    column = {name: np.array([int(row[name]) for row in rows]) for name in rows[0] if name not in FRAMEWORKS}
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
    best = [min(float(row[name]) for name in FRAMEWORKS if row[name]) for row in rows]
    return Kernels(heads, cases, np.array(best) * 1e-6)


def possible(kernels: Kernels, gpu: NDArray[np.void]) -> Kernels:
    """Without rows whose cache exceeds the L2 and whose time is below what the DRAM peak needs for it."""
    size = kernels.cache_bytes()
    return kernels.pick((size <= gpu["l2_size"]) | (size / kernels.seconds <= gpu["dram_bandwidth"]))


def loss(kernels: Kernels, gpu: NDArray[np.void]) -> float:
    error = np.log(kernels.predict(gpu) / kernels.seconds)
    return float(np.sqrt(error * error + 4e-4).mean())


def with_constants(gpu: NDArray[np.void], constants: dict[str, float]) -> NDArray[np.void]:
    out = gpu.copy()
    for name, value in constants.items():
        out["attention"][name] = value
    return out


def descend(phases: Iterable[Kernels], gpu: NDArray[np.void], names: tuple[str, ...], steps: int) -> NDArray[np.void]:
    """The GPU with better values of these constants: a simplex in their logarithms."""
    kernels, start = list(phases), {name: float(gpu["attention"][name][0]) for name in names}

    def changed(logs: Floats) -> NDArray[np.void]:
        scaled = {name: start[name] * float(np.exp(log)) for name, log in zip(names, logs, strict=True)}
        return with_constants(gpu, {name: min(x, 1.0) if name in SHARES else x for name, x in scaled.items()})

    simplex = np.vstack([np.zeros(len(names)), 0.15 * np.eye(len(names))])
    options = {"maxfev": steps, "initial_simplex": simplex, "adaptive": True, "xatol": 1e-3, "fatol": 1e-6}
    objective = lambda logs: sum(loss(each, changed(logs)) for each in kernels)  # noqa: E731
    return changed(minimize(objective, np.zeros(len(names)), method="Nelder-Mead", options=options).x)


def calibrate(prefill: Kernels, decode: Kernels, gpu: NDArray[np.void], generation: str, rounds: int = 8) -> NDArray[np.void]:
    """The GPU with fitted constants."""
    gpu = with_constants(gpu, {**START, "key_block": KEY_BLOCK[generation]})
    decode = possible(decode, gpu)
    for _ in range(rounds):
        gpu = descend([prefill], gpu, PREFILL, 250)
        gpu = descend([decode], gpu, DECODE, 250)
        gpu = descend([prefill, decode], gpu, ("launches", "efficiency", "serial"), 60)
    return gpu


def errors(kernels: Kernels, gpu: NDArray[np.void]) -> dict[str, float]:
    """Rows, and median, mean, 90th percentile and signed median of predicted / measured - 1."""
    signed = kernels.predict(gpu) / kernels.seconds - 1
    size = np.abs(signed)
    median, p90 = np.quantile(size, [0.5, 0.9])
    return {"rows": len(signed), "median": median, "mean": size.mean(), "p90": p90, "signed": np.median(signed)}


def report(prefill: Kernels, decode: Kernels, gpu: NDArray[np.void]) -> dict[str, dict[str, float]]:
    """Errors of prefill; of decode: all rows, those that DRAM can have served, and of these those with caches above 2 L2."""
    honest = possible(decode, gpu)
    large = honest.pick(honest.cache_bytes() > 2 * gpu["l2_size"])
    groups = {"prefill": prefill, "decode": decode, "decode, possible": honest, "decode, possible, above 2 L2": large}
    return {name: errors(kernels, gpu) for name, kernels in groups.items()}


def load(data: Path, generation: str, device: str | Path | None = None) -> tuple[Kernels, Kernels, NDArray[np.void]]:
    name, word = MEASURED[generation]
    gpu = record(load_device(device or name))
    return read(data / f"attention_context_{word}_bf16.csv"), read(data / f"attention_generation_{word}_bf16.csv"), gpu


def fit(
    data: str | Path, generation: str, device: str | Path | None = None
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Constants of a generation in `MEASURED`, and their errors by group of rows."""
    prefill, decode, gpu = load(Path(data), generation, device)
    gpu = calibrate(prefill, decode, gpu, generation)
    names = layout.GPU_ATTENTION.names or ()
    return {name: float(f"{gpu['attention'][name][0]:.3g}") for name in names}, report(prefill, decode, gpu)


def halves(kernels: Kernels, seed: int) -> tuple[Kernels, Kernels]:
    first = np.random.default_rng(seed).random(len(kernels.seconds)) < 0.5
    return kernels.pick(first), kernels.pick(~first)


def show(title: str, groups: dict[str, dict[str, float]]) -> None:
    print(title)
    for name, error in groups.items():
        percent = " ".join(f"{key} {100 * error[key]:5.1f} %" for key in ("median", "mean", "p90", "signed"))
        print(f"  {name:30} {error['rows']:6.0f} rows  {percent}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", action="append", default=[], help="GENERATION=FILE instead of the shipped preset")
    args = parser.parse_args()
    files = dict(pair.split("=", 1) for pair in args.device)
    fitted = {}
    for generation in MEASURED:
        constants, groups = fit(args.data, generation, files.get(generation))
        fitted[generation] = constants
        show(f"{generation}: {constants}", groups)
        prefill, decode, gpu = load(args.data, generation, files.get(generation))
        (first, second), (third, fourth) = halves(prefill, 0), halves(decode, 0)
        show("fitted on one half, tested on the other", report(second, fourth, calibrate(first, third, gpu, generation)))
    for generation in MEASURED:
        prefill, decode, gpu = load(args.data, generation, files.get(generation))
        (other,) = (constants for name, constants in fitted.items() if name != generation)
        show(f"{generation}: with the other generation's constants", report(prefill, decode, with_constants(gpu, other)))


if __name__ == "__main__":
    main()
