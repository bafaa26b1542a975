"""GEMM constants of a generation, fitted on the measured kernels of one of its GPUs.

    python -m benchmarks.calibrate_gemm --data shared/reference/silicon

`fit` minimises the mean of min(|ln(predicted / best framework)|, 0.4) over a random sample of the rows: first the constants
that bf16 sets, then, where fp8 was measured, those of narrower types. Cases are as the benchmark ran them (collector of
ai-dynamo/aiconfigurator): TensorRT-LLM uses as many copies of the weights in turn as exceed the L2, 5 at most, so that
smaller weights come from there; fp8 rows contain the kernel that converts bf16 activations, in all three frameworks.
"""

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from hdasim.core import layout
from hdasim.core._core import gpu_gemm
from hdasim.device.gpu import record
from hdasim.spec.load import load_device

Floats = NDArray[np.float64]

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
FRAMEWORKS = ("trtllm_us", "vllm_us", "sglang_us")
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
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    cases = np.zeros(len(rows), layout.GEMM_CASE)
    for name in ("m", "n", "k"):
        cases[name] = [int(row[name]) for row in rows]
    operand = 2.0 if kind == "bf16" else 1.0
    cases["a_bytes"] = cases["b_bytes"] = operand
    cases["c_bytes"], cases["type"] = 2.0, layout.TYPES[kind]
    cases["source_bytes"] = 0.0 if kind == "bf16" else 2.0
    cases["copies"] = np.clip(np.ceil(l2_size / (operand * cases["n"] * cases["k"])), 1, COPIES)
    best = [min(float(row[name]) for name in FRAMEWORKS if row[name]) for row in rows]
    return Gemms(cases, np.array(best) * 1e-6)


def with_constants(gpu: NDArray[np.void], constants: dict[str, float]) -> NDArray[np.void]:
    out = gpu.copy()
    for name, value in constants.items():
        out["gemm"][name] = value
    return out


def loss(gemms: Gemms, gpu: NDArray[np.void]) -> float:
    return float(np.minimum(np.abs(np.log(gemms.predict(gpu) / gemms.seconds)), 0.4).mean())


def descend(gemms: Gemms, gpu: NDArray[np.void], names: tuple[str, ...]) -> NDArray[np.void]:
    """The GPU with better values of these constants: simplexes of shrinking size in their logarithms."""
    start = np.log([float(gpu["gemm"][name][0]) for name in names])

    def changed(logs: Floats) -> NDArray[np.void]:
        values = np.exp(logs)
        return with_constants(gpu, {name: min(x, MOST.get(name, x)) for name, x in zip(names, values, strict=True)})

    for size in (0.25, 0.3, 0.15):
        simplex = np.vstack([start, start + size * np.eye(len(names))])
        options = {"maxfev": 400, "initial_simplex": simplex, "adaptive": True}
        start = minimize(lambda logs: loss(gemms, changed(logs)), start, method="Nelder-Mead", options=options).x
    return changed(start)


def calibrate(gemms: dict[str, Gemms], gpu: NDArray[np.void], generation: str) -> NDArray[np.void]:
    """The GPU with fitted constants."""
    gpu = with_constants(gpu, {**START, "fine": FINE[generation]})
    tried = [descend(gemms["bf16"], with_constants(gpu, {"step": step}), FITTED["bf16"]) for step in STEPS]
    gpu = min(tried, key=lambda each: loss(gemms["bf16"], each))
    return descend(gemms["fp8"], gpu, FITTED["fp8"]) if "fp8" in gemms else gpu


def errors(gemms: Gemms, gpu: NDArray[np.void]) -> dict[str, float]:
    """Rows, and median, mean, 90th percentile and signed median of predicted / measured - 1."""
    signed = gemms.predict(gpu) / gemms.seconds - 1
    median, p90 = np.quantile(np.abs(signed), [0.5, 0.9])
    return {"rows": len(signed), "median": median, "mean": np.abs(signed).mean(), "p90": p90, "signed": float(np.median(signed))}


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


def fit(data: str | Path, generation: str, rows: int = 2500) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Constants of a generation in `MEASURED`, and their errors: of all rows, and of a half that the fit did not see."""
    gemms, gpu = load(Path(data), generation)
    first, second = sample(gemms, rows)
    gpu = calibrate(first, gpu, generation)
    gpu = with_constants(gpu, {name: float(f"{gpu['gemm'][name][0]:.3g}") for name in layout.GPU_GEMM.names or ()})
    constants = {name: float(gpu["gemm"][name][0]) for name in layout.GPU_GEMM.names or ()}
    groups = {kind: errors(each, gpu) for kind, each in gemms.items()}
    return constants, groups | {f"{kind}, other half": errors(each, gpu) for kind, each in second.items()}


def show(title: str, groups: dict[str, dict[str, float]]) -> None:
    print(title)
    for name, error in groups.items():
        percent = " ".join(f"{key} {100 * error[key]:5.1f} %" for key in ("median", "mean", "p90", "signed"))
        print(f"  {name:20} {error['rows']:6.0f} rows  {percent}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    fitted = {}
    for generation in MEASURED:
        fitted[generation], groups = fit(args.data, generation)
        show(f"{generation}: {fitted[generation]}", groups)
    for generation in MEASURED:
        gemms, gpu = load(args.data, generation)
        for other in MEASURED:
            if other == generation:
                continue
            held_out = with_constants(gpu, {**fitted[other], "fine": FINE[generation]})
            show(f"{generation}, with the constants of {other}", {kind: errors(each, held_out) for kind, each in gemms.items()})


if __name__ == "__main__":
    main()
