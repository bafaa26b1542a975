"""Constants of csrc/gpu_experts.c from measured layers of experts.

    python -m benchmarks.calibrate --data shared/reference/silicon --model experts

Efficiency, bandwidth and kernels of a generation minimise the mean |ln(predicted / fastest library)|, cut at 0.6, over the rows
that at least two libraries ran: one alone may have no tuned kernel for the shape, and be twice too slow. `vector` is fitted on
H100, whose thin slices of experts (down to 48 wide) show it, and held on A100, where it hardly matters.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.measured import Errors, Fit, Floats, halves, rounded, statistics, table, with_constants
from hdasim.core import _core, layout
from hdasim.device.gpu import record
from hdasim.spec.load import load_device

#: Generation, the GPU it is fitted on, and its name in the table.
MEASURED = {"ampere": ("a100", "a100_sxm"), "hopper": ("h100", "h100_sxm")}
START = {"efficiency": 0.7, "bandwidth": 0.87, "vector": 0.44, "kernels": 8.0}
FITTED = {"ampere": ("efficiency", "bandwidth", "kernels"), "hopper": ("efficiency", "bandwidth", "vector", "kernels")}
#: No pipe is better than this, whatever the residual.
HIGHEST = {"efficiency": 0.95, "bandwidth": 0.95, "vector": 0.95, "kernels": 100.0}
SKEWS = {"balanced": -1.0, "uniform": 0.0}


def read(folder: Path, gpu: str) -> tuple[NDArray[np.void], Floats, NDArray[np.bool_]]:
    """Cases of a GPU, the fastest library's seconds for each, and whether others ran it, too."""
    times: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in table(folder / "moe_grouped_gemm_bf16.csv"):
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
    result: Floats = _core.gpu_experts(with_constants(gpu, "experts", constants), cases)["time"]
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


def load(data: Path, generation: str) -> tuple[NDArray[np.void], Floats, NDArray[np.bool_], NDArray[np.void]]:
    """Cases, seconds, and whether several libraries ran them, of a generation in `MEASURED`; and its GPU."""
    preset, name = MEASURED[generation]
    return *read(data, name), record(load_device(preset))


def fit(data: Path, generation: str) -> Fit:
    """Constants of a generation; errors of all rows, and of each half with constants of the other."""
    cases, seconds, rivals, gpu = load(data, generation)
    constants = {name: rounded(x) for name, x in search(gpu, cases[rivals], seconds[rivals], FITTED[generation]).items()}
    half = halves(len(cases))
    crossed = np.empty(len(cases))
    for part in (half, ~half):
        other = search(gpu, cases[~part & rivals], seconds[~part & rivals], FITTED[generation])
        crossed[part] = predicted(gpu, other, cases[part]) / seconds[part] - 1
    found = errors(data, generation, constants) | {"all rows, across halves": statistics(crossed)}
    return Fit(constants, FITTED[generation], found)


def errors(data: Path, generation: str, constants: dict[str, float], source: str = "") -> Errors:
    """Errors of a generation's rows with these constants."""
    cases, seconds, rivals, gpu = load(data, generation)
    signed = predicted(gpu, constants, cases) / seconds - 1
    return {"all rows": statistics(signed), "of two libraries": statistics(signed[rivals])}
