"""Constants of csrc/gpu_vector.c from measured element-wise kernels.

    python -m benchmarks.calibrate_vector --data shared/reference/silicon

Rows are those of at least 5 us (times come in whole microseconds). Of a generation: efficiency, issue and step; of all together:
l2, kept, the operations per element of each kernel (`hdasim.device.elementwise.KERNELS`) and what Vidur's measurement adds, with
`issue` of hopper held at 128, four warps of 32 threads per cycle, to fix the scale. Both minimise the mean of
|ln(predicted / measured)|, cut at 0.6. Prints residuals of the rows of 10 us and more.
"""

import argparse
import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.calibrate_experts import residuals
from hdasim.core import _core
from hdasim.device.elementwise import KERNELS, LLMCOMPASS, VIDUR, Elementwise, vector_cases
from hdasim.device.gpu import record
from hdasim.spec.load import load_device

Floats = NDArray[np.float64]
GPUS = {"ampere": "a100", "hopper": "h100"}
COMMON = {"l2": 0.56, "kept": 0.187}
START = {"efficiency": 0.9, "issue": 115.0, "step": 0.6e-6, **COMMON}
HIGHEST = {"efficiency": 0.98}
#: kernel: names of its operations in `fit_common`
OPS = ("mlp_act", "attn_rope", "input_layernorm", "emb")
#: Kernels of one operation: phi-2 adds attention and MLP to the residual, one after the other.
CALLS = {("microsoft/phi-2", "add"): 2}
Rows = dict[tuple[str, int], tuple[Floats, Floats, Floats]]


def read(folder: Path, gpu: str) -> Rows:
    """(rows, width, seconds) of each operation of Vidur's table, by its name and the calls that it takes."""
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = defaultdict(list)
    with (folder / f"elementwise_vidur_{gpu}.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            heads = int(row["q_heads_per_gpu"]) + int(row["kv_heads_per_gpu"])
            widths = {"mlp_act": int(row["ffn_per_gpu"]), "attn_rope": heads * int(row["head_dim"])}
            width = widths.get(row["op"], int(row["hidden"]))
            calls = CALLS.get((row["model"], row["op"]), 1)
            found[row["op"], calls].append((float(row["num_tokens"]), width, float(row["median_us"]) * 1e-6))
    return {key: tuple(np.array(values).T) for key, values in found.items()}


def read_llmcompass(folder: Path, gpu: str) -> Rows:
    """The same of LLMCompass' tables, without its launch overhead."""
    name = {"a100": "A100-80GB", "mi210": "MI210"}[gpu]
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = defaultdict(list)
    for kernel in ("softmax", "layernorm", "gelu"):
        with (folder / f"llmcompass_{kernel}.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["device"] == name:
                    shape = (float(row["m"]), float(row["n"])) if kernel != "gelu" else (1.0, float(row["elements"]))
                    found[row["operator"], 1].append((*shape, float(row["latency_us"]) * 1e-6))
    return {key: tuple(np.array(values).T) for key, values in found.items()}


def predicted(
    gpu: NDArray[np.void], constants: dict[str, float], key: tuple[str, int], rows: Floats, width: Floats, fixed: float,
    kernels: dict[str, Elementwise] | None = None,
) -> Floats:  # fmt: skip
    """Seconds of an operation as it was measured: `fixed` in place of the launch."""
    gpu = gpu.copy()
    for name, value in constants.items():
        gpu["vector"][name] = value
    gpu["launch"] = fixed
    op, calls = key
    result: Floats = calls * _core.gpu_vector(gpu, vector_cases((kernels or KERNELS)[op], rows, width))["time"]
    return result


def errors(
    gpu: NDArray[np.void], constants: dict[str, float], table: Rows, least: float = 9.5e-6, part: int | None = None,
    fixed: float = VIDUR, kernels: dict[str, Elementwise] | None = None,
) -> dict[tuple[str, int], Floats]:  # fmt: skip
    """Relative errors of the rows of at least `least` seconds, of every other one if `part` says which."""
    out = {}
    for key, (rows, width, seconds) in table.items():
        keep = seconds >= least
        if part is not None:
            keep &= np.random.default_rng(0).integers(0, 2, len(seconds)) == part
        out[key] = predicted(gpu, constants, key, rows[keep], width[keep], fixed, kernels) / seconds[keep] - 1
    return out


def _loss(found: dict[tuple[str, int], Floats]) -> float:
    return float(np.minimum(np.abs(np.log1p(np.concatenate(list(found.values())))), 0.6).mean())


def _search(loss: Any, start: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    def values(scale: Floats) -> dict[str, float]:
        moved = zip(names, np.abs(scale).tolist(), strict=True)
        return {**start, **{name: min(start[name] * by, HIGHEST.get(name, np.inf)) for name, by in moved}}

    scale = np.ones(len(names))
    for _ in range(2):  # Powell stops early on a loss of absolute values
        scale = minimize(lambda x: loss(values(x)), scale, method="Powell", options={"maxiter": 5, "xtol": 1e-3, "ftol": 1e-5}).x
    return values(scale)


def search(gpu: NDArray[np.void], table: Rows, part: int | None = None) -> dict[str, float]:
    return _search(lambda c: _loss(errors(gpu, c, table, 5e-6, part)), START, ("efficiency", "issue", "step"))


def fit(data_dir: Path, generation: str) -> dict[str, Any]:
    """Constants of a generation, with residuals over all rows of 10 us and across halves."""
    preset = GPUS[generation]
    gpu, table = record(load_device(preset)), read(data_dir, preset)
    constants = search(gpu, table)
    every = errors(gpu, constants, table)
    halves = [errors(gpu, search(gpu, table, 1 - part), table, part=part) for part in (0, 1)]
    return {
        "constants": constants, "residuals": residuals(np.concatenate(list(every.values()))),
        "halves": residuals(np.concatenate([e for half in halves for e in half.values()])),
        "kernels": {f"{op} x {calls}": residuals(e) for (op, calls), e in every.items() if len(e)},
    }  # fmt: skip


def fit_common(data_dir: Path) -> dict[str, float]:
    """What generations share, with constants of each beside it, from all rows of A100 and H100."""
    gpus = {name: (record(load_device(name)), read(data_dir, name)) for name in GPUS.values()}
    start = {**COMMON, "fixed": VIDUR, **{f"ops {op}": KERNELS[op].ops for op in OPS}}
    for name in gpus:
        start |= {f"{name} {field}": START[field] for field in ("efficiency", "issue", "step")}
    start["h100 issue"] = 128.0

    def loss(c: dict[str, float]) -> float:
        kernels = dict(KERNELS)
        for op in OPS:
            kernels[op] = replace(kernels[op], ops=c[f"ops {op}"])
        kernels["post_attention_layernorm"] = kernels["input_layernorm"]
        total = 0.0
        for name, (gpu, table) in gpus.items():
            own = {**{field: c[f"{name} {field}"] for field in ("efficiency", "issue", "step")}, **{k: c[k] for k in COMMON}}
            total += _loss(errors(gpu, own, table, 5e-6, fixed=c["fixed"], kernels=kernels))
        return total

    return _search(loss, start, tuple(name for name in start if name != "h100 issue"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--common", action="store_true", help="fit what generations share, too")
    arguments = parser.parse_args()
    if arguments.common:
        print(fit_common(arguments.data))
    fits = {generation: fit(arguments.data, generation) for generation in GPUS}
    for generation, preset in GPUS.items():
        print(generation, fits[generation])
        gpu = record(load_device(preset))
        for other in fits.keys() - {generation}:
            found = errors(gpu, fits[other]["constants"], read(arguments.data, preset))
            print(f"{preset} under constants of {other}", residuals(np.concatenate(list(found.values()))))
    a100 = record(load_device("a100"))
    for key, (rows, width, seconds) in read_llmcompass(arguments.data, "a100").items():
        times = predicted(a100, fits["ampere"]["constants"], key, rows, width, LLMCOMPASS["a100"][key[0]])
        print("LLMCompass a100", key[0], residuals(times / seconds - 1))


if __name__ == "__main__":
    main()
