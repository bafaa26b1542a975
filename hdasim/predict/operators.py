"""The operators that `hdasim predict --op` knows. To add one, write a module like `gemm` and enter its `Operator` here."""

from collections.abc import Iterable

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


def operator(name: str, others: Iterable[str] = ()) -> Operator:
    """The operator that `--op` names; `SpecError` lists the known ones, and `others` that the command takes."""
    if name not in OPERATORS:
        known = [*OPERATORS, *others]
        raise SpecError(f"unknown operator {name[:40]!r}{meant(name, known)}; known: {', '.join(known)}", ("--op",))
    return OPERATORS[name]
