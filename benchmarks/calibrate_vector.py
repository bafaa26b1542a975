"""Constants of csrc/gpu_vector.c from measured element-wise kernels.

    python -m benchmarks.calibrate --data shared/reference/silicon --model vector
    python -m benchmarks.calibrate_vector --data shared/reference/silicon    # what generations share

Rows are those of at least 5 us (times come in whole microseconds). Of a generation: efficiency, issue and step; of all together:
l2, kept, the operations per element of each kernel (`hdasim.device.elementwise.KERNELS`) and what Vidur's measurement adds, with
`issue` of hopper held at 128, four warps of 32 threads per cycle, to fix the scale. Both minimise the mean of
|ln(predicted / measured)|, cut at 0.6. Errors are those of the rows of 10 us and more.
"""

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.measured import Errors, Fit, Floats, rounded, shipped, statistics, table, with_constants
from hdasim.core import _core
from hdasim.device.elementwise import KERNELS, LLMCOMPASS, VIDUR, Elementwise, vector_cases
from hdasim.device.gpu import record
from hdasim.spec.load import load_device

#: Generation, and the GPU it is fitted on.
MEASURED = {"ampere": "a100", "hopper": "h100"}
COMMON = {"l2": 0.56, "kept": 0.187}
FITTED = ("efficiency", "issue", "step")
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
    for row in table(folder / f"elementwise_vidur_{gpu}.csv"):
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
        for row in table(folder / f"llmcompass_{kernel}.csv"):
            if row["device"] == name:
                shape = (float(row["m"]), float(row["n"])) if kernel != "gelu" else (1.0, float(row["elements"]))
                found[row["operator"], 1].append((*shape, float(row["latency_us"]) * 1e-6))
    return {key: tuple(np.array(values).T) for key, values in found.items()}


def predicted(
    gpu: NDArray[np.void], constants: dict[str, float], key: tuple[str, int], rows: Floats, width: Floats, fixed: float,
    kernels: dict[str, Elementwise] | None = None,
) -> Floats:  # fmt: skip
    """Seconds of an operation as it was measured: `fixed` in place of the launch."""
    gpu = with_constants(gpu, "vector", constants)
    gpu["launch"] = fixed
    op, calls = key
    result: Floats = calls * _core.gpu_vector(gpu, vector_cases((kernels or KERNELS)[op], rows, width))["time"]
    return result


def signed_errors(
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
    return _search(lambda c: _loss(signed_errors(gpu, c, table, 5e-6, part)), START, FITTED)


def fit(data: Path, generation: str) -> Fit:
    """Constants of a generation; errors of all rows of 10 us and more, and of each half with constants of the other."""
    preset = MEASURED[generation]
    gpu, rows = record(load_device(preset)), read(data, preset)
    constants = {name: rounded(value, 4 if name == "issue" else 3) for name, value in search(gpu, rows).items()}
    crossed = [signed_errors(gpu, search(gpu, rows, 1 - part), rows, part=part) for part in (0, 1)]
    found = errors(data, generation, constants)
    found["10 us and more, across halves"] = statistics(np.concatenate([e for half in crossed for e in half.values()]))
    return Fit(constants, FITTED, found)


def errors(data: Path, generation: str, constants: dict[str, float], source: str = "") -> Errors:
    """Errors of a generation's rows with these constants, and of each kernel."""
    preset = MEASURED[generation]
    found = signed_errors(record(load_device(preset)), constants, read(data, preset))
    kernels = {op if calls == 1 else f"{op} x {calls}": statistics(e) for (op, calls), e in sorted(found.items()) if len(e)}
    return {"10 us and more": statistics(np.concatenate(list(found.values()))), **kernels}


def fit_common(data: Path) -> dict[str, float]:
    """What generations share, with constants of each beside it, from all rows of A100 and H100."""
    gpus = {name: (record(load_device(name)), read(data, name)) for name in MEASURED.values()}
    start = {**COMMON, "fixed": VIDUR, **{f"ops {op}": KERNELS[op].ops for op in OPS}}
    for name in gpus:
        start |= {f"{name} {field}": START[field] for field in FITTED}
    start["h100 issue"] = 128.0

    def loss(c: dict[str, float]) -> float:
        kernels = dict(KERNELS)
        for op in OPS:
            kernels[op] = replace(kernels[op], ops=c[f"ops {op}"])
        kernels["post_attention_layernorm"] = kernels["input_layernorm"]
        total = 0.0
        for name, (gpu, rows) in gpus.items():
            own = {**{field: c[f"{name} {field}"] for field in FITTED}, **{k: c[k] for k in COMMON}}
            total += _loss(signed_errors(gpu, own, rows, 5e-6, fixed=c["fixed"], kernels=kernels))
        return total

    return _search(loss, start, tuple(name for name in start if name != "h100 issue"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    print(fit_common(data))
    a100, constants = record(load_device("a100")), shipped("a100", "vector")
    for key, (rows, width, seconds) in read_llmcompass(data, "a100").items():
        times = predicted(a100, constants, key, rows, width, LLMCOMPASS["a100"][key[0]])
        print("LLMCompass a100", key[0], statistics(times / seconds - 1))


if __name__ == "__main__":
    main()
