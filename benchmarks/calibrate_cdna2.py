"""GEMM constants of cdna2 from LLMCompass's 11 rows of MI210, whose launch overhead is taken off.

Rows are too few for more than `efficiency` and `dram_share`; the others are ampere's. The fit starts from two values, as the loss
no longer falls where a row is wrong by more than its cut. Other models of this generation are no fit.
"""

from pathlib import Path

import numpy as np

from benchmarks.calibrate_gemm import Gemms, descend, loss
from benchmarks.measured import Errors, Fit, Floats, integers, rounded, statistics, table, with_constants
from hdasim.core import layout
from hdasim.device.gpu import record
from hdasim.spec.load import load_device
from hdasim.validate.silicon_tables import OVERHEADS

MEASURED = {"cdna2": "mi210"}
FITTED = ("efficiency", "dram_share")
STARTS = (0.4, 0.8)
LAUNCH = OVERHEADS["mi210"]["matmul"] * 1e-6


def read(path: Path) -> Gemms:
    """MI210's rows, with the launch that the model counts in place of LLMCompass's."""
    rows = [row for row in table(path) if row["device"] == "MI210"]
    cases = np.zeros(len(rows), layout.GEMM_CASE)
    for name in ("m", "n", "k"):
        cases[name] = integers(rows, name)
    cases["a_bytes"] = cases["b_bytes"] = cases["c_bytes"] = 2
    cases["copies"], cases["type"] = 1, layout.TYPES["bf16"]
    seconds = np.array([float(row["latency_us"]) * 1e-6 for row in rows])
    return Gemms(cases, seconds - LAUNCH + load_device("mi210").launch_overhead)


def fit(data: Path, generation: str) -> Fit:
    """Constants; errors of all rows, and of each row with constants of the others."""
    gemms, gpu = read(data / "llmcompass_matmul.csv"), record(load_device("mi210"))

    def fitted(rows: Gemms) -> dict[str, float]:
        starts = [with_constants(gpu, "gemm", {"efficiency": 0.8, "dram_share": share}) for share in STARTS]
        best = min((descend(rows, start, FITTED) for start in starts), key=lambda each: loss(rows, each))
        return {name: rounded(float(best["gemm"][name][0])) for name in FITTED}

    every = np.arange(len(gemms.seconds))
    constants = fitted(gemms)
    apart = [_signed(gemms, fitted(gemms.pick(every[every != row])))[row] for row in every]
    return Fit(constants, FITTED, {**errors(data, generation, constants), "each row left out": statistics(np.array(apart))})


def errors(data: Path, generation: str, constants: dict[str, float], source: str = "") -> Errors:
    """Errors of the rows as they were measured, launch included."""
    return {"bf16": statistics(_signed(read(data / "llmcompass_matmul.csv"), constants))}


def _signed(gemms: Gemms, constants: dict[str, float]) -> Floats:
    gpu = record(load_device("mi210"))
    shift = LAUNCH - float(gpu["launch"][0])
    times = gemms.predict(with_constants(gpu, "gemm", constants))
    signed: Floats = (times + shift) / (gemms.seconds + shift) - 1
    return signed
