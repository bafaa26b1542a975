"""The operators that `hdasim predict --op` knows. To add one, write a module like `gemm` and enter its `Operator` here."""

from hdasim.errors import SpecError
from hdasim.predict import attention, collective, elementwise, gemm, moe
from hdasim.predict.operator import Operator
from hdasim.spec.convert import meant

OPERATORS: dict[str, Operator] = {
    "collective": collective.OPERATOR,
    "gemm": gemm.OPERATOR,
    "attention_context": attention.CONTEXT_OPERATOR,
    "attention_generation": attention.GENERATION_OPERATOR,
    "moe": moe.OPERATOR,
    "elementwise": elementwise.OPERATOR,
}


def operator(name: str) -> Operator:
    """The operator that `--op` names; `SpecError` lists the known ones."""
    if name not in OPERATORS:
        raise SpecError(f"unknown operator {name[:40]!r}{meant(name, OPERATORS)}; known: {', '.join(OPERATORS)}", ("--op",))
    return OPERATORS[name]
