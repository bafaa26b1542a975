"""GEMM constants of a generation, fitted on the measured kernels of one of its GPUs.

    python -m benchmarks.calibrate --data shared/reference/silicon --model gemm

`fit` minimises the mean of min(|ln(predicted / best framework)|, 0.4) over a random sample of the rows: first the constants
that bf16 sets, then, where fp8 was measured, those of narrower types. Cases are as the benchmark ran them (collector of
ai-dynamo/aiconfigurator): TensorRT-LLM uses as many copies of the weights in turn as exceed the L2, 5 at most, so that
smaller weights come from there; fp8 rows contain the kernel that converts bf16 activations, in all three frameworks.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.measured import Errors, Fit, Floats, fastest, integers, rounded, statistics, table, with_constants
from hdasim.core import layout
from hdasim.core._core import gpu_gemm
from hdasim.device.gpu import record
from hdasim.spec.load import load_device

#: Generation, the GPU it is fitted on, and the files of its rows by type.
MEASURED = {
    "ampere": ("a100", {"bf16": "gemm_a100_sxm_bf16.csv"}),
    "hopper": ("h100", {"bf16": "gemm_h100_sxm_bf16.csv", "fp8": "gemm_h100_sxm_fp8.csv"}),
    "blackwell-rtx": (
        "rtx-pro-6000",
        {"bf16": "gemm_rtx_pro_6000_server_bf16.csv", "fp8": "gemm_rtx_pro_6000_server_fp8.csv"},
    ),
}
FITTED = {
    "bf16": ("efficiency", "feed", "step", "load", "dram_share", "l2_share", "l2_held"),
    "fp8": ("narrow", "convert", "convert_split"),
}
#: Of `fine` only the two values make sense: wgmma takes any multiple of 8 tokens, mma.sync does not.
FINE = {"ampere": 0.0, "hopper": 1.0, "blackwell-rtx": 0.0}
START = {
    "efficiency": 0.9, "feed": 0.2, "step": 150.0, "load": 32.0, "dram_share": 0.88, "l2_share": 0.6, "l2_held": 0.8,
    "narrow": 1.2, "convert": 1.0, "convert_split": 3.0,
}  # fmt: skip
#: Where the fit starts, as the simplex finds local minima in these cycles of dependent work.
STEPS = (150.0, 500.0)
MOST = {"efficiency": 1.0, "dram_share": 0.97, "l2_share": 1.0, "l2_held": 1.0}
COPIES = 5


@dataclass(frozen=True)
class Gemms:
    """Measured kernels: cases as the core takes them, and seconds of the fastest framework."""

    cases: NDArray[np.void]
    seconds: Floats

    def pick(self, rows: NDArray[np.int64]) -> "Gemms":
        return Gemms(self.cases[rows], self.seconds[rows])

    def predict(self, gpu: NDArray[np.void]) -> Floats:
        times: Floats = gpu_gemm(gpu, self.cases)["time"]
        return times


def read(path: Path, kind: str, l2_size: float) -> Gemms:
    """A file gemm_*.csv, of a GPU with that L2."""
    rows = table(path)
    cases = np.zeros(len(rows), layout.GEMM_CASE)
    for name in ("m", "n", "k"):
        cases[name] = integers(rows, name)
    operand = 2.0 if kind == "bf16" else 1.0
    cases["a_bytes"] = cases["b_bytes"] = operand
    cases["c_bytes"], cases["type"] = 2.0, layout.TYPES[kind]
    cases["source_bytes"] = 0.0 if kind == "bf16" else 2.0
    cases["copies"] = np.clip(np.ceil(l2_size / (operand * cases["n"] * cases["k"])), 1, COPIES)
    return Gemms(cases, fastest(rows))


def loss(gemms: Gemms, gpu: NDArray[np.void]) -> float:
    return float(np.minimum(np.abs(np.log(gemms.predict(gpu) / gemms.seconds)), 0.4).mean())


def descend(gemms: Gemms, gpu: NDArray[np.void], names: tuple[str, ...]) -> NDArray[np.void]:
    """The GPU with better values of these constants: simplexes of shrinking size in their logarithms."""
    start = np.log([float(gpu["gemm"][name][0]) for name in names])

    def changed(logs: Floats) -> NDArray[np.void]:
        values = np.exp(logs)
        return with_constants(gpu, "gemm", {name: min(x, MOST.get(name, x)) for name, x in zip(names, values, strict=True)})

    for size in (0.25, 0.3, 0.15):
        simplex = np.vstack([start, start + size * np.eye(len(names))])
        options = {"maxfev": 400, "initial_simplex": simplex, "adaptive": True}
        start = minimize(lambda logs: loss(gemms, changed(logs)), start, method="Nelder-Mead", options=options).x
    return changed(start)


def calibrate(gemms: dict[str, Gemms], gpu: NDArray[np.void], generation: str) -> NDArray[np.void]:
    """The GPU with fitted constants."""
    gpu = with_constants(gpu, "gemm", {**START, "fine": FINE[generation]})
    tried = [descend(gemms["bf16"], with_constants(gpu, "gemm", {"step": step}), FITTED["bf16"]) for step in STEPS]
    gpu = min(tried, key=lambda each: loss(gemms["bf16"], each))
    return descend(gemms["fp8"], gpu, FITTED["fp8"]) if "fp8" in gemms else gpu


def load(data: Path, generation: str) -> tuple[dict[str, Gemms], NDArray[np.void]]:
    device, files = MEASURED[generation]
    gpu = record(load_device(device))
    return {kind: read(data / file, kind, float(gpu["l2_size"][0])) for kind, file in files.items()}, gpu


def sample(gemms: dict[str, Gemms], count: int, seed: int = 0) -> tuple[dict[str, Gemms], dict[str, Gemms]]:
    """So many rows of one random half, and the other half."""
    first, second = {}, {}
    for kind, each in gemms.items():
        order = np.random.default_rng(seed).permutation(len(each.seconds))
        half = len(order) // 2
        first[kind], second[kind] = each.pick(order[: min(count, half)]), each.pick(order[half:])
    return first, second


def fit(data: Path, generation: str, rows: int = 2500) -> Fit:
    """Constants of a generation in `MEASURED`, from a sample of one half; errors of all rows, and of the other half."""
    gemms, gpu = load(data, generation)
    first, second = sample(gemms, rows)
    gpu = calibrate(first, gpu, generation)
    constants = {name: rounded(float(gpu["gemm"][name][0])) for name in layout.GPU_GEMM.names or ()}
    gpu = with_constants(gpu, "gemm", constants)
    errors = {kind: _errors(each, gpu) for kind, each in gemms.items()}
    errors |= {f"{kind}, across halves": _errors(each, gpu) for kind, each in second.items()}
    return Fit(constants, tuple(name for kind in gemms for name in FITTED[kind]), errors)


def errors(data: Path, generation: str, constants: dict[str, float], source: str = "") -> Errors:
    """Errors of a generation's rows with constants of `source`, as far as that ran the types; `fine` is the GPU's own."""
    gemms, gpu = load(data, generation)
    gpu = with_constants(gpu, "gemm", {**constants, "fine": FINE[generation]})
    kinds = [kind for kind in gemms if kind in MEASURED[source or generation][1]]
    return {kind: _errors(gemms[kind], gpu) for kind in kinds}


def _errors(gemms: Gemms, gpu: NDArray[np.void]) -> dict[str, float]:
    return statistics(gemms.predict(gpu) / gemms.seconds - 1)
