"""Norms, rotary embedding, activation, residual addition and embedding look-up.

The operators of Vidur's profiles are the kernels that it measured, scalar ones of vLLM and PyTorch's, each with what its profiler
counts of an empty kernel in place of a launch. `model`, if the column is there, says whether the activation is gated and whether
attention and feed-forward layer run in parallel, so that two residuals are added; without it the activation is gated and one
residual is added. Widths are per GPU. Other operators are single kernels on rows of `hidden` elements.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hdasim.core import _core
from hdasim.core.layout import VECTOR_CASE
from hdasim.device.elementwise import KERNELS, UNGATED, VIDUR, vector_cases
from hdasim.device.gpu import record
from hdasim.predict.cells import Cells
from hdasim.predict.kernel import WHY, check, prediction
from hdasim.predict.operator import Cases, Operator, Prediction
from hdasim.spec import huggingface
from hdasim.spec.hardware import Device
from hdasim.spec.load import preset_path, presets

#: Vidur's operators, and the column or columns of their widths.
_WIDTHS = {
    "emb": "hidden", "input_layernorm": "hidden", "post_attention_layernorm": "hidden", "add": "hidden",
    "attn_rope": "heads", "mlp_act": "ffn_per_gpu",
}  # fmt: skip
_OTHERS = {"rmsnorm_residual": "rmsnorm+residual (fused)", "layernorm": "layernorm", "softmax": "softmax", "gelu": "gelu_tanh"}
_NAMES = (*_WIDTHS, *_OTHERS)
_NEEDED = {"heads": ("q_heads_per_gpu", "q_heads_per_gpu, kv_heads_per_gpu and head_dim")}
_PLAIN, _PARALLEL = 1, 2
#: `calls` kernels one after the other, each with `launch` seconds, or the device's where that is negative.
CASE = np.dtype([("vector", VECTOR_CASE), ("calls", "f8"), ("launch", "f8")])


def read(cells: Cells, device: Device) -> Cases:
    """The cases, items of `CASE`."""
    op = cells.choice("op", {name: place for place, name in enumerate(_NAMES)})
    tokens = cells.whole("num_tokens", most=2**31)
    widths = {name: cells.whole(name, least=0, most=2**24, default=0) for name in ("hidden", "ffn_per_gpu")}
    heads = ("q_heads_per_gpu", "kv_heads_per_gpu", "head_dim")
    q, kv, dim = (cells.whole(name, least=0, most=2**16, default=0) for name in heads)
    widths["heads"] = (q + kv) * dim
    style = cells.meaning("model", _style, default=0)
    cases = np.zeros(cells.count, CASE)
    for place in np.unique(op).tolist():
        name, mine = _NAMES[place], op == place
        column = _WIDTHS.get(name, "hidden")
        cells.refuse(mine & (widths[column] < 1), *_missing(column, name))
        plain = mine & (name == "mlp_act") & (style & _PLAIN > 0)
        for kernel, rows in ((KERNELS[_OTHERS.get(name, name)], mine & ~plain), (UNGATED, plain)):
            cases["vector"][rows] = vector_cases(kernel, tokens[rows], widths[column][rows])
        cases["calls"][mine] = np.where((style[mine] & _PARALLEL > 0) & (name == "add"), 2, 1)
        cases["launch"][mine] = VIDUR if name in _WIDTHS else -1
    return cases


def _missing(width: str, op: str) -> tuple[str, Callable[[int], str]]:
    column, needs = _NEEDED.get(width, (width, width))
    return column, lambda row: f"no width; {op} needs {needs} of 1 or more"


@lru_cache(maxsize=1024)
def _style(text: str) -> int:
    """What is known of a model by its name, such as microsoft/phi-2."""
    name = text.strip().rpartition("/")[2].lower()
    if name not in presets("models"):
        return 0
    model = huggingface.from_config(huggingface.load_config(preset_path("models", name)), name)
    return (0 if model.gated else _PLAIN) | (_PARALLEL if model.parallel_attention else 0)


def predict(device: Device, cases: Cases) -> Prediction:
    """Times on a GPU."""
    kernels = _core.gpu_vector(record(device), np.ascontiguousarray(cases["vector"]))
    launch = np.where(cases["launch"] < 0, kernels["launch"], cases["launch"])
    kernels["time"] += launch - kernels["launch"]
    kernels["launch"] = launch
    for name in ("time", "bound", "launch", "compute", "dram", "l2"):
        kernels[name] *= cases["calls"]
    return prediction(kernels)


OPERATOR = Operator(
    columns=(("op",), ("num_tokens",)),
    optional=(("hidden",), ("ffn_per_gpu",), ("q_heads_per_gpu",), ("kv_heads_per_gpu",), ("head_dim",), ("model",)),
    read=read, check=check, predict=predict, why=WHY,
)  # fmt: skip
