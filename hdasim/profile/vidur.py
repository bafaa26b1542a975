"""Reads Vidur's compute profiles: mlp.csv and attention.csv of one GPU and model (microsoft/vidur, data/profiling/compute).

Times are medians in milliseconds, of one layer on one rank; rows of other tensor-parallel sizes are passed over. Prompts and
decodes were measured apart, as Sarathi runs them. Vidur measures no lm_head and no sampler, and its predictor counts neither the
embedding (vidur/execution_time_predictor/sklearn_execution_time_predictor.py): the embedding is counted here, the others cost
nothing.
"""

from pathlib import Path

import numpy as np

from ..errors import SpecError
from ..sheet import Texts
from .tables import Floats, Operator, Points, Tables, counts, operators, read_columns, times, unique_points

_MILLI = 1e-3
_LAYER = ("input_layernorm", "attn_pre_proj", "attn_rope", "attn_post_proj", "post_attention_layernorm", "add")
_MLP = ("mlp_up_proj", "mlp_act", "mlp_down_proj")
_OPTIONAL = ("input_layernorm", "post_attention_layernorm", "add", "emb")
_RANKS = "num_tensor_parallel_workers"
_SHAPE = ("prefill_chunk_size", "kv_cache_size", "batch_size")


def _column(name: str) -> str:
    return f"time_stats.{name}.median"


def read(folder: Path, ranks: int) -> Tables:
    """Read the rows of `ranks` tensor-parallel workers; `SpecError` with file and line if that is not possible."""
    layer, mlp, once = _dense(folder / "mlp.csv", ranks)
    return Tables(folder, layer, mlp, once, (), _attention(folder / "attention.csv", ranks))


def _dense(path: Path, ranks: int) -> tuple[tuple[Operator, ...], ...]:
    required = tuple(_column(name) for name in (*_LAYER, *_MLP) if name not in _OPTIONAL)
    sheet, cells = read_columns(path, ("num_tokens", _RANKS, *required), tuple(_column(name) for name in _OPTIONAL))
    keep = _of_ranks(path, counts(sheet, _RANKS, cells[_RANKS]), ranks)
    tokens = counts(sheet, "num_tokens", cells["num_tokens"])[keep]

    def group(names: Texts) -> tuple[Operator, ...]:
        result = []
        for name in names:
            if (texts := cells.get(_column(name))) is not None and any(texts):
                seconds = times(sheet, _column(name), texts, _MILLI)[keep]
                points = operators(sheet, (name,) * tokens.size, tokens, seconds)
                result.append(Operator(name, *points[name]))
        return tuple(result)

    return group(_LAYER), group(_MLP), group(("emb",))


def _attention(path: Path, ranks: int) -> Points:
    prompt, decode, save = (_column(f"attn_{name}") for name in ("prefill", "decode", "kv_cache_save"))
    sheet, cells = read_columns(path, (*_SHAPE, _RANKS, prompt, decode), (save,))
    keep = _of_ranks(path, counts(sheet, _RANKS, cells[_RANKS]), ranks)
    chunk, cached, batch = (counts(sheet, name, cells[name]) for name in _SHAPE)
    # a row measures one of the two, the other cell is empty or 0; the cache is written in both
    main = tuple(p if c > 0 else d for p, d, c in zip(cells[prompt], cells[decode], chunk, strict=True))
    seconds = times(sheet, f"{prompt} or {decode}", main, _MILLI)
    if save in cells and all(cells[save]):
        seconds = seconds + times(sheet, save, cells[save], _MILLI)
    prefill = chunk > 0
    columns = (chunk, np.where(prefill, cached, 0), np.where(prefill, 0, batch), np.where(prefill, 0, cached))
    at: Floats = np.stack(columns, axis=1)
    usable = keep & (~prefill | (batch == 1))
    return Points(*unique_points(at[usable], seconds[usable]))


def _of_ranks(path: Path, column: Floats, ranks: int) -> np.ndarray:
    keep: np.ndarray = column == ranks
    if not keep.any():
        known = ", ".join(str(int(value)) for value in np.unique(column))
        raise SpecError(f"no rows of {ranks} workers; the table has {known}", (_RANKS,), str(path))
    return keep
