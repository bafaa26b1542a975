"""GEMMs C[m, n] = A[m, k] B[k, n]: columns m (tokens), n, k, maybe dtype (of operands), output_dtype, source_dtype.

Results are of 16 bits, and so is A before the call, which converts it where `dtype` is narrower; a `source_dtype` as narrow as
`dtype` leaves that out. `copies` are matrices like B that are used in turn, so that L2 holds B if it holds all of them; where the
column is missing or empty it is what aiconfigurator's benchmark takes: as many as fill L2, but 5 at most.
"""

import numpy as np

from hdasim.core import _core
from hdasim.core.layout import GEMM_CASE
from hdasim.device.gpu import record
from hdasim.predict.cells import Cells
from hdasim.predict.kernel import WHY, check, column, compute_types, prediction, types
from hdasim.predict.operator import Cases, Operator, Prediction
from hdasim.spec.hardware import Device

#: Bytes per element of results and sources by their types.
_RESULTS = {"bf16": 2, "fp16": 2, "fp8": 1, "int8": 1, "fp4": 0.5, "fp32": 4}
_MOST_COPIES = 5


def read(cells: Cells, device: Device) -> Cases:
    """The cases, items of `layout.GEMM_CASE`."""
    cases = np.zeros(cells.count, GEMM_CASE)
    for name in ("m", "n", "k"):
        cases[name] = cells.whole(name)
    kinds = types(cells, device)
    cases["a_bytes"], cases["b_bytes"], cases["type"] = column(kinds, 0), column(kinds, 1), compute_types(kinds)
    names, sizes = {name: place for place, name in enumerate(_RESULTS)}, np.array(list(_RESULTS.values()), np.float64)
    cases["c_bytes"] = sizes[cells.choice("output_dtype", names, default=0)]
    source = sizes[cells.choice("source_dtype", names, default=0)]
    fill = np.ceil(device.global_memory / (cases["n"].astype(np.float64) * cases["k"] * cases["b_bytes"]))
    copies = cells.whole("copies", most=2**20, default=0)
    cases["copies"] = np.where(copies > 0, copies, np.minimum(fill, _MOST_COPIES))
    cases["source_bytes"] = np.where(source > cases["a_bytes"], source, 0)
    return cases


def predict(device: Device, cases: Cases) -> Prediction:
    """Times on a GPU."""
    return prediction(_core.gpu_gemm(record(device), np.ascontiguousarray(cases)))


OPERATOR = Operator(
    columns=(("m",), ("n",), ("k",)), optional=(("dtype", "input_dtype"), ("output_dtype",), ("source_dtype",), ("copies",)),
    read=read, check=check, predict=predict, why=WHY, type_column="dtype",
)  # fmt: skip
