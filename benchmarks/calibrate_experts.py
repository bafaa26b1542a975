"""Constants of csrc/gpu_experts.c from measured layers of experts.

    python -m benchmarks.calibrate_experts --data shared/reference/silicon

Efficiency, bandwidth and kernels of a generation minimise the mean |ln(predicted / fastest library)|, cut at 0.6, over the rows
that at least two libraries ran: one alone may have no tuned kernel for the shape, and be twice too slow. `vector` is fitted on
H100, whose thin slices of experts (down to 48 wide) show it, and held on A100, where it hardly matters. Prints the residuals of
all rows, those of each half under constants of the other half, and those of each GPU under constants of the other.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from hdasim.core import _core, layout
from hdasim.device.gpu import record
from hdasim.spec.load import load_device

Floats = NDArray[np.float64]
#: preset and name in the table
GPUS = {"ampere": ("a100", "a100_sxm"), "hopper": ("h100", "h100_sxm")}
START = {"efficiency": 0.7, "bandwidth": 0.87, "vector": 0.44, "kernels": 8.0}
FITTED = {"ampere": ("efficiency", "bandwidth", "kernels"), "hopper": ("efficiency", "bandwidth", "vector", "kernels")}
#: No pipe is better than this, whatever the residual.
HIGHEST = {"efficiency": 0.95, "bandwidth": 0.95, "vector": 0.95, "kernels": 100.0}
SKEWS = {"balanced": -1.0, "uniform": 0.0}


def read(folder: Path, gpu: str) -> tuple[NDArray[np.void], Floats, NDArray[np.bool_]]:
    """Cases of a GPU, the fastest library's seconds for each, and whether others ran it, too."""
    times: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    with (folder / "moe_grouped_gemm_bf16.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["gpu"] == gpu:
                key = (
                    int(row["num_tokens"]), int(row["hidden_size"]), int(row["inter_size"]) // int(row["moe_tp_size"]),
                    int(row["topk"]), int(row["num_experts"]), int(row["num_experts"]) // int(row["moe_ep_size"]), 2.0, 2.0,
                    skew(row["distribution"]), layout.TYPES["bf16"],
                )  # fmt: skip
                times[key].append(float(row["latency_us"]) * 1e-6)
    best = np.array([min(found) for found in times.values()])
    return np.array(list(times), layout.EXPERTS_CASE), best, np.array([len(found) > 1 for found in times.values()])


def skew(distribution: str) -> float:
    return SKEWS[distribution] if distribution in SKEWS else float(distribution.removeprefix("power_law_"))


def predicted(gpu: NDArray[np.void], constants: dict[str, float], cases: NDArray[np.void]) -> Floats:
    gpu = gpu.copy()
    for name, value in constants.items():
        gpu["experts"][name] = value
    result: Floats = _core.gpu_experts(gpu, cases)["time"]
    return result


def search(gpu: NDArray[np.void], cases: NDArray[np.void], seconds: Floats, names: tuple[str, ...]) -> dict[str, float]:
    def constants(scale: Floats) -> dict[str, float]:
        moved = {name: min(START[name] * abs(by), HIGHEST[name]) for name, by in zip(names, scale.tolist(), strict=True)}
        return {**START, **moved}

    def loss(scale: Floats) -> float:
        return float(np.minimum(np.abs(np.log(predicted(gpu, constants(scale), cases) / seconds)), 0.6).mean())

    ones = np.ones(len(names))
    simplex = np.vstack([ones, ones + 0.15 * np.diag([-1.0, *ones[1:]])])
    return constants(minimize(loss, ones, method="Nelder-Mead", options={"initial_simplex": simplex, "maxiter": 300}).x)


def residuals(errors: Floats) -> dict[str, float]:
    size = np.abs(errors)
    return {
        "rows": len(errors), "median": float(np.median(size)), "p90": float(np.quantile(size, 0.9)),
        "signed": float(np.median(errors)),
    }  # fmt: skip


def fit(data_dir: Path, generation: str) -> dict[str, Any]:
    """Constants of a generation, with the residuals over all rows and across halves under `residuals` and `halves`."""
    preset, name = GPUS[generation]
    gpu = record(load_device(preset))
    cases, seconds, rivals = read(data_dir, name)
    constants = search(gpu, cases[rivals], seconds[rivals], FITTED[generation])
    half = np.random.default_rng(0).random(len(cases)) < 0.5
    crossed = np.empty(len(cases))
    for part in (half, ~half):
        other = search(gpu, cases[~part & rivals], seconds[~part & rivals], FITTED[generation])
        crossed[part] = predicted(gpu, other, cases[part]) / seconds[part] - 1
    errors = predicted(gpu, constants, cases) / seconds - 1
    return {
        "constants": constants, "residuals": residuals(errors), "halves": residuals(crossed),
        "two libraries": residuals(errors[rivals]),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    fits = {generation: fit(folder, generation) for generation in GPUS}
    for generation, (preset, name) in GPUS.items():
        print(generation, fits[generation])
        cases, seconds, _ = read(folder, name)
        for other in fits.keys() - {generation}:
            times = predicted(record(load_device(preset)), fits[other]["constants"], cases)
            print(f"{preset} under constants of {other}", residuals(times / seconds - 1))


if __name__ == "__main__":
    main()
