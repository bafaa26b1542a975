"""GEMMs C[m, n] = A[m, k] B[k, n]: columns m (tokens), n, k and maybe the operands' dtype. Results are written in 16 bits.

Where A is narrower than 16 bits, the kernel that converts it is part of the call.
"""

import numpy as np

from hdasim.core import _core
from hdasim.core.layout import GEMM_CASE
from hdasim.device.gpu import record
from hdasim.predict.cells import Cells
from hdasim.predict.kernel import WHY, check, column, compute_types, prediction, types
from hdasim.predict.operator import Cases, Operator, Prediction
from hdasim.spec.hardware import Device

#: Bytes per element of the result by its type.
_RESULTS = {"bf16": 2, "fp16": 2, "fp8": 1, "int8": 1, "fp4": 0.5, "fp32": 4}


def read(cells: Cells, device: Device) -> Cases:
    """The cases, items of `layout.GEMM_CASE`."""
    cases = np.zeros(cells.count, GEMM_CASE)
    for name in ("m", "n", "k"):
        cases[name] = cells.whole(name)
    kinds = types(cells, device)
    cases["a_bytes"], cases["b_bytes"], cases["type"] = column(kinds, 0), column(kinds, 1), compute_types(kinds)
    places = cells.choice("output_dtype", {name: place for place, name in enumerate(_RESULTS)}, default=0)
    cases["c_bytes"] = np.array(list(_RESULTS.values()), np.float64)[places]
    return cases


def predict(device: Device, cases: Cases) -> Prediction:
    """Times on a GPU."""
    return prediction(_core.gpu_gemm(record(device), np.ascontiguousarray(cases)))


OPERATOR = Operator(
    columns=(("m",), ("n",), ("k",)), optional=(("dtype", "input_dtype"), ("output_dtype",)),
    read=read, check=check, predict=predict, why=WHY, type_column="dtype",
)  # fmt: skip
