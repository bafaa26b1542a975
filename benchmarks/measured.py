"""What the calibrations of the kernel models share: tables of measured times, errors, and what a fit gives."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hdasim.device.gpu import record
from hdasim.spec.load import load_device

Floats = NDArray[np.float64]
Errors = dict[str, dict[str, float]]
FRAMEWORKS = ("trtllm_us", "vllm_us", "sglang_us")


@dataclass(frozen=True)
class Fit:
    """Constants of a model by name, and statistics of the errors by group of rows; `fitted` are the names that the data set."""

    constants: dict[str, float]
    fitted: tuple[str, ...]
    errors: Errors


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def integers(rows: list[dict[str, str]], name: str) -> NDArray[np.int64]:
    return np.array([int(row[name]) for row in rows])


def framework(rows: list[dict[str, str]], name: str) -> Floats:
    """Seconds in a column of `FRAMEWORKS`; NaN where it is empty or missing."""
    return np.array([float(row.get(name) or "nan") for row in rows]) * 1e-6


def fastest(rows: list[dict[str, str]]) -> Floats:
    """Seconds of the fastest framework."""
    best: Floats = np.nanmin([framework(rows, name) for name in FRAMEWORKS], axis=0)
    return best


def statistics(signed: Floats) -> dict[str, float]:
    """Rows, and median, mean, 90th percentile and signed median of errors predicted / measured - 1."""
    size = np.abs(signed)
    median, p90 = np.quantile(size, [0.5, 0.9])
    return {
        "rows": len(signed), "median": float(median), "mean": float(size.mean()), "p90": float(p90),
        "signed": float(np.median(signed)),
    }  # fmt: skip


def halves(count: int, seed: int = 0) -> NDArray[np.bool_]:
    """Which of so many rows are in the first of two random halves."""
    first: NDArray[np.bool_] = np.random.default_rng(seed).random(count) < 0.5
    return first


def shipped(device: str, model: str) -> dict[str, float]:
    """Constants of a kernel model as the preset of a GPU has them."""
    constants = record(load_device(device))[model]
    return {name: float(constants[name][0]) for name in constants.dtype.names or ()}


def with_constants(gpu: NDArray[np.void], model: str, constants: dict[str, float]) -> NDArray[np.void]:
    out = gpu.copy()
    for name, value in constants.items():
        out[model][name] = value
    return out


def rounded(value: float, digits: int = 3) -> float:
    """As many digits as ship."""
    return float(f"{value:.{digits}g}")
