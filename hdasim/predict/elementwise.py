"""Norms, rotary embedding, activation, residual addition and embedding look-up, in the names of Vidur's profiles, and single kernels.

Widths are per GPU. `model`, if the column is there, says whether the activation is gated and whether attention and feed-forward
layer run in parallel, so that two residuals are added; without it the activation is gated and one residual is added.

Vidur's operators are those of an eager program: `passes` is how often they move their data compared with one fused kernel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdasim.core import _core
from hdasim.core.layout import VECTOR_CASE
from hdasim.device.gpu import record
from hdasim.predict.cells import Cells, Ints
from hdasim.predict.kernel import WHY, check, prediction
from hdasim.predict.operator import Cases, Operator, Prediction
from hdasim.spec import huggingface
from hdasim.spec.hardware import Device
from hdasim.spec.load import preset_path, presets

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Kernel:
    """An operator on rows of `width` elements.

    `reads` and `writes` are elements moved per element of the width, `ops` and `exps` operations; a kernel that `reduces` needs
    sums over each row.
    """

    width: str
    reads: float
    writes: float
    ops: float
    exps: float = 0.0
    reduces: bool = False
    passes: float = 1.0


KERNELS = {
    "emb": Kernel("hidden", 1, 1, 0, passes=5.9),
    "input_layernorm": Kernel("hidden", 1, 1, 4, reduces=True, passes=2.8),
    "post_attention_layernorm": Kernel("hidden", 1, 1, 4, reduces=True, passes=2.8),
    "attn_rope": Kernel("heads", 1, 1, 3, passes=2.05),
    "mlp_act": Kernel("ffn_per_gpu", 2, 1, 4, exps=1, passes=5 / 3),
    "add": Kernel("hidden", 2, 1, 1),
    "rmsnorm": Kernel("hidden", 1, 1, 4, reduces=True),
    "rmsnorm_residual": Kernel("hidden", 2, 2, 5, reduces=True),
    "layernorm": Kernel("hidden", 1, 1, 6, reduces=True),
    "softmax": Kernel("hidden", 1, 1, 3, exps=1, reduces=True),
    "gelu": Kernel("hidden", 1, 1, 8, exps=1),
    "silu_mul": Kernel("ffn_per_gpu", 2, 1, 4, exps=1),
}
_NAMES = tuple(KERNELS)
#: What the model of a row changes: an activation without a gate, two residuals.
_PLAIN_ACT, _TWO_ADDS = Kernel("ffn_per_gpu", 1, 1, 8, exps=1, passes=1.35), Kernel("hidden", 2, 1, 1, passes=2)
_UNGATED, _PARALLEL = 1, 2
_BYTES = 2.0
CASE = np.dtype([("vector", VECTOR_CASE), ("passes", "f8")])


def read(cells: Cells, device: Device) -> Cases:
    """The cases, items of `CASE`."""
    op = cells.choice("op", {name: place for place, name in enumerate(_NAMES)})
    tokens = cells.whole("num_tokens", most=2**31)
    widths = {name: cells.whole(name, least=0, most=2**24, default=0) for name in ("hidden", "ffn_per_gpu")}
    q, kv, dim = (cells.whole(name, least=0, most=2**16, default=0) for name in ("q_heads_per_gpu", "kv_heads_per_gpu", "head_dim"))
    widths["heads"] = (q + kv) * dim
    style = cells.meaning("model", _style, default=0)
    cases = np.zeros(cells.count, CASE)
    for place in np.unique(op).tolist():
        name = _NAMES[place]
        kernels = [(KERNELS[name], op == place)]
        if name == "mlp_act":
            kernels.append((_PLAIN_ACT, (op == place) & (style & _UNGATED > 0)))
        if name == "add":
            kernels.append((_TWO_ADDS, (op == place) & (style & _PARALLEL > 0)))
        for kernel, rows in kernels:
            width = widths[kernel.width]
            cells.refuse(rows & (width < 1), *_missing(kernel.width, name))
            _fill(cases, rows, kernel, tokens, width)
    return cases


def _missing(width: str, op: str) -> tuple[str, object]:
    column = "q_heads_per_gpu" if width == "heads" else width
    needs = "q_heads_per_gpu, kv_heads_per_gpu and head_dim" if width == "heads" else width
    return column, lambda row: f"no width; {op} needs {needs} of 1 or more"


def _fill(cases: Cases, rows: NDArray[np.bool_], kernel: Kernel, tokens: Ints, width: Ints) -> None:
    elements = (tokens * width)[rows].astype(np.float64)
    values = {
        "read_bytes": kernel.reads * _BYTES * elements, "write_bytes": kernel.writes * _BYTES * elements,
        "ops": kernel.ops * elements, "exps": kernel.exps * elements,
        "rows": tokens[rows] if kernel.reduces else 0, "width": width[rows] if kernel.reduces else 0,
    }  # fmt: skip
    for name, value in values.items():
        cases["vector"][name][rows] = value
    cases["passes"][rows] = kernel.passes


def _style(text: str) -> int:
    """What is known of a model by its name, such as microsoft/phi-2."""
    name = text.strip().rpartition("/")[2].lower()
    if name not in presets("models"):
        return 0
    model = huggingface.from_config(huggingface.load_config(preset_path("models", name)), name)
    return (0 if model.gated else _UNGATED) | (_PARALLEL if model.parallel_attention else 0)


def predict(device: Device, cases: Cases) -> Prediction:
    """Times on a GPU; the bound is that of one fused kernel."""
    gpu = record(device)
    fused = np.ascontiguousarray(cases["vector"])
    moved = fused.copy()
    for name in ("read_bytes", "write_bytes"):
        moved[name] *= cases["passes"]
    kernels = _core.gpu_vector(gpu, moved)
    kernels["bound"] = _core.gpu_vector(gpu, fused)["bound"]
    return prediction(kernels)


OPERATOR = Operator(
    columns=(("op",), ("num_tokens",)),
    optional=(("hidden",), ("ffn_per_gpu",), ("q_heads_per_gpu",), ("kv_heads_per_gpu",), ("head_dim",), ("model",)),
    read=read, check=check, predict=predict, why=WHY,
)  # fmt: skip
