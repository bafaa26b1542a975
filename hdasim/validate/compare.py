"""One comparison of a reference with our number, and tables of many."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """`case` and `quantity` name what is compared."""

    case: str
    quantity: str
    reference: float
    predicted: float

    @property
    def error(self) -> float | None:
        """predicted / reference - 1; None where the reference is 0 and the prediction is not."""
        if self.reference == 0:
            return 0.0 if self.predicted == 0 else None
        return self.predicted / self.reference - 1

    def equal(self) -> bool:
        """Integers equal, ratios to 1e-9 of the reference."""
        if isinstance(self.reference, int) and isinstance(self.predicted, int):
            return self.reference == self.predicted
        return math.isclose(self.reference, self.predicted, rel_tol=1e-9, abs_tol=0)

    def document(self) -> dict[str, Any]:
        """The row as plain data: name, reference, predicted, error."""
        name = f"{self.case}: {self.quantity}"
        return {"name": name, "reference": self.reference, "predicted": self.predicted, "error": self.error}


def by_quantity(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of each quantity, in the order in which the quantities first appear."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.quantity, []).append(row)
    return groups


def by_case(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of each case, in order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.case, []).append(row)
    return groups
