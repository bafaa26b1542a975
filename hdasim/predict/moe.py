"""Fused layers of experts on one rank: routing, gate and up projection, activation, down projection, sum.

`num_tokens` are those of all ranks that the experts are spread over. Tensor parallelism cuts every expert's intermediate size,
expert parallelism gives each rank its own experts.
"""

import re

import numpy as np

from hdasim.core import _core
from hdasim.core.layout import EXPERTS_CASE
from hdasim.device.gpu import record
from hdasim.errors import SpecError
from hdasim.predict.cells import Cells, Ints
from hdasim.predict.kernel import WHY, check, column, compute_types, prediction, types
from hdasim.predict.operator import Cases, Operator, Prediction
from hdasim.spec.hardware import Device

_LAW = re.compile(r"power_law_([0-9]{1,2}(\.[0-9]{1,4})?)")
_EVEN, _RANDOM = -1.0, 0.0  # as hda_experts_case_t has them


def skew(text: str) -> float:
    """What the core calls the distribution of tokens over experts."""
    word = text.strip().lower()
    if word in ("balanced", "even"):
        return _EVEN
    if word in ("uniform", "random"):
        return _RANDOM
    if (law := _LAW.fullmatch(word)) and float(law[1]) > 0:
        return float(law[1])
    raise SpecError(f"unknown {text.strip()[:40]!r}; use balanced, uniform or power_law_EXPONENT", ("distribution",))


def read(cells: Cells, device: Device) -> Cases:
    """The cases, items of `layout.EXPERTS_CASE`."""
    cases = np.zeros(cells.count, EXPERTS_CASE)
    cases["tokens"] = cells.whole("num_tokens", most=2**31)
    cases["hidden"] = cells.whole("hidden_size", most=2**24)
    inter = cells.whole("inter_size", most=2**24)
    top_k, experts = cells.whole("topk", most=2**16), cells.whole("num_experts", most=2**16)
    tensor, expert = (cells.whole(name, most=2**16, default=1) for name in ("moe_tp_size", "moe_ep_size"))
    law = cells.mapped("distribution", skew, _RANDOM)
    kinds = types(cells, device)
    _at_most(cells, "topk", top_k, experts, "num_experts")
    _at_most(cells, "moe_tp_size", tensor, inter, "inter_size")
    _at_most(cells, "moe_ep_size", expert, experts, "num_experts")
    cases["inter"], cases["own"] = -(-inter // tensor), -(-experts // expert)
    cases["top_k"], cases["experts"], cases["skew"] = top_k, experts, law
    cases["a_bytes"], cases["b_bytes"], cases["type"] = column(kinds, 0), column(kinds, 1), compute_types(kinds)
    return cases


def _at_most(cells: Cells, name: str, values: Ints, most: Ints, other: str) -> None:
    cells.refuse(values > most, name, lambda row: f"got {values[row]}; expected at most {other}, which is {most[row]}")


def predict(device: Device, cases: Cases) -> Prediction:
    """Times on a GPU."""
    return prediction(_core.gpu_experts(record(device), np.ascontiguousarray(cases)))


OPERATOR = Operator(
    columns=(("num_tokens",), ("hidden_size",), ("inter_size",), ("topk",), ("num_experts",)),
    optional=(("moe_tp_size",), ("moe_ep_size",), ("distribution",), ("dtype", "moe_dtype")),
    read=read, check=check, predict=predict, why=WHY, type_column="dtype",
)  # fmt: skip
