"""Reads the profiles of LLMServingSim 2.0 as tidy tables: dense.csv, attention.csv, per_sequence.csv, moe.csv, skew.csv.

Times are microseconds of one layer's operators on one rank, the sums of their kernels' own times, measured with vLLM, eagerly
(casys-kaist/LLMServingSim, profiler).
"""

from pathlib import Path

import numpy as np

from ..errors import SpecError
from ..spec.convert import meant
from .tables import Floats, Operator, Points, Skew, Tables, counts, numbers, operators, read_columns, times, unique_points

_MICRO = 1e-6
#: How often each operator runs in a decoder layer. A missing one that is not required costs nothing.
_LAYER = {"layernorm": 2, "qkv_proj": 1, "qk_norm": 1, "rotary_emb": 1, "o_proj": 1}
_MLP = {"gate_up_proj": 1, "act_fn": 1, "down_proj": 1}
_ONCE = {"embedding": 1, "final_layernorm": 1}
_PER_SEQUENCE = {"lm_head": 1, "sampler": 1}
_REQUIRED = ("layernorm", "qkv_proj", "o_proj", "embedding", "final_layernorm")
_ATTENTION = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")


def read(folder: Path) -> Tables:
    """Read the tables of one tensor-parallel size.

    Raises
    ------
    SpecError
        If a file is missing or malformed, or an operator is unknown or has no times; with file and line.
    """
    dense = _operators(folder / "dense.csv", "tokens", _LAYER | _MLP | _ONCE, _REQUIRED)
    sequence = _operators(folder / "per_sequence.csv", "sequences", _PER_SEQUENCE, tuple(_PER_SEQUENCE))
    layer, mlp, once = (tuple(op for op in dense if op.name in names) for names in (_LAYER, _MLP, _ONCE))
    moe, skew = folder / "moe.csv", folder / "skew.csv"
    return Tables(
        folder, layer, mlp, once, sequence, _points(folder / "attention.csv", _ATTENTION),
        _points(moe, ("tokens", "activated_experts")) if moe.exists() else None, _skew(skew) if skew.exists() else None,
    )  # fmt: skip


def _operators(path: Path, rows: str, known: dict[str, int], required: tuple[str, ...]) -> tuple[Operator, ...]:
    sheet, cells = read_columns(path, ("layer", rows, "time_us"))
    for name, line in zip(cells["layer"], sheet.lines, strict=True):
        if name not in known:
            hint = meant(name, list(known)) or f"; expected one of {', '.join(known)}"
            raise SpecError(f"unknown operator {name[:40]!r}{hint}", ("layer",), f"{path}:{line}")
    found = operators(sheet, cells["layer"], counts(sheet, rows, cells[rows]), times(sheet, "time_us", cells["time_us"], _MICRO))
    for name in required:
        if name not in found:
            raise SpecError(f"no times of {name}; expected rows of {', '.join(required)}", ("layer",), str(path))
    return tuple(Operator(name, *found[name], count) for name, count in known.items() if name in found)


def _points(path: Path, columns: tuple[str, ...]) -> Points:
    sheet, cells = read_columns(path, (*columns, "time_us"))
    at: Floats = np.stack([counts(sheet, name, cells[name]) for name in columns], axis=1)
    return Points(*unique_points(at, times(sheet, "time_us", cells["time_us"], _MICRO)))


def _skew(path: Path) -> Skew:
    """Batches whose two uniform times are alike have no alpha, an empty cell; they are left out."""
    sheet, cells = read_columns(path, ("n", "pc", "alpha"))
    keep = np.array([cell != "" for cell in cells["alpha"]])
    alpha = numbers(sheet, "alpha", tuple(cell or "0" for cell in cells["alpha"]), lambda value: True, "a number")
    sequences, chunk = counts(sheet, "n", cells["n"]), counts(sheet, "pc", cells["pc"])
    return Skew(chunk[keep] > 0, sequences[keep], alpha[keep])
