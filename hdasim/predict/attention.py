"""Fused attention of one device's heads: of prompts (context), or of one new token for each sequence (generation).

kv_dtype is the type of cached keys and values; window, of tokens, is 0 for full attention. As in a benchmark that repeats one
call, L2 may still hold a part of the cache.
"""

import numpy as np

from hdasim.core import _core
from hdasim.core.layout import DECODE, HEADS, PROMPT
from hdasim.device.gpu import record
from hdasim.predict.cells import Cells
from hdasim.predict.kernel import WHY, check, operands, prediction
from hdasim.predict.operator import Cases, Operator, Prediction
from hdasim.spec.hardware import Device

#: A case: its heads, and either its prompts or its sequences.
CONTEXT = np.dtype([("heads", HEADS), ("prompt", PROMPT)])
GENERATION = np.dtype([("heads", HEADS), ("decode", DECODE)])
_HEADS = (("q_heads", "num_heads"), ("kv_heads", "num_kv_heads"), ("head_dim",))
_OPTIONAL = (("window",), ("kv_dtype", "kv_cache_dtype"))
_TOKENS, _SEQUENCES = 2**31, 2**20
#: Bytes of a cached element.
_CACHED = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625}


def heads(cells: Cells) -> Cases:
    """The columns that both have as items of `layout.HEADS`."""
    out = np.zeros(cells.count, HEADS)
    q = out["q_heads"] = cells.whole("q_heads", most=2**20)
    kv = out["kv_heads"] = cells.whole("kv_heads", most=2**20)
    out["key_dim"] = out["value_dim"] = cells.whole("head_dim", most=2**16)
    out["window"] = cells.whole("window", least=0, most=_TOKENS, default=0)
    places = cells.meaning("kv_dtype", lambda text: list(_CACHED).index(operands(text, "kv_dtype", _CACHED)), default=0)
    out["kv_bytes"] = np.array(list(_CACHED.values()))[places]
    out["warm"] = 1
    cells.refuse(q % kv != 0, "q_heads", lambda row: f"got {q[row]}; expected a multiple of kv_heads, which is {kv[row]}")
    return out


def read_context(cells: Cells, device: Device) -> Cases:
    """The cases, items of `CONTEXT`."""
    cases = np.zeros(cells.count, CONTEXT)
    cases["prompt"]["count"] = cells.whole("batch", most=_SEQUENCES)
    cases["prompt"]["q_len"] = cells.whole("seq_len", most=_TOKENS)
    cases["heads"] = heads(cells)
    cases["prompt"]["past"] = cells.whole("past", least=0, most=_TOKENS, default=0)
    return cases


def predict_context(device: Device, cases: Cases) -> Prediction:
    """Times of causal attention on a GPU."""
    parts = (np.ascontiguousarray(cases[name]) for name in ("heads", "prompt"))
    return prediction(_core.gpu_prefill(record(device), *parts))


def read_generation(cells: Cells, device: Device) -> Cases:
    """The cases, items of `GENERATION`."""
    cases = np.zeros(cells.count, GENERATION)
    batch = cases["decode"]["sequences"] = cells.whole("batch", most=_SEQUENCES)
    length = cells.whole("kv_len", most=_TOKENS)
    cases["heads"] = heads(cells)
    window = cases["heads"]["window"]
    length = np.where(window > 0, np.minimum(length, window), length)
    cases["decode"]["tokens"], cases["decode"]["longest"] = batch * length, length
    return cases


def predict_generation(device: Device, cases: Cases) -> Prediction:
    """Times on a GPU."""
    parts = (np.ascontiguousarray(cases[name]) for name in ("heads", "decode"))
    return prediction(_core.gpu_decode(record(device), *parts))


CONTEXT_OPERATOR = Operator(
    columns=(("batch",), ("seq_len", "chunk_len"), *_HEADS),
    optional=(("past", "past_kv_len"), *_OPTIONAL),
    read=read_context, check=check, predict=predict_context, why=WHY, type_column="kv_dtype",
)  # fmt: skip
GENERATION_OPERATOR = Operator(
    columns=(("batch",), ("kv_len",), *_HEADS), optional=_OPTIONAL,
    read=read_generation, check=check, predict=predict_generation, why=WHY, type_column="kv_dtype",
)  # fmt: skip
