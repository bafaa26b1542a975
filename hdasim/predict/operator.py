"""What `hdasim predict` needs to know of an operator."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hdasim.predict.cells import Cells
from hdasim.spec.hardware import Device

Floats = NDArray[np.float64]
#: One item for each case.
Cases = NDArray[np.void]


@dataclass(frozen=True)
class Prediction:
    """Per case: seconds, seconds below which no implementation gets on this device, and what sets the time.

    Parameters
    ----------
    time, bound
        Seconds.
    cause
        Place in `causes` of what sets the time.
    launch
        Seconds of `time` that the launch takes.
    why
        How the time comes about: columns of numbers, those in seconds with names that end in ``_us``.
    """

    time: Floats
    bound: Floats
    cause: NDArray[np.int64]
    causes: tuple[str, ...]
    launch: Floats
    why: dict[str, Floats] = field(default_factory=dict)

    @property
    def bottleneck(self) -> list[str]:
        return list(map(self.causes.__getitem__, self.cause.tolist()))


@dataclass(frozen=True)
class Operator:
    """An operator as a table of cases has it.

    Parameters
    ----------
    columns
        The input columns, each with the names that it may have; the first is the one used in messages and in `read`.
    optional
        The same for columns that may be missing.
    read
        The cases of all rows; those of rows with mistakes, which `Cells` keeps, are not used. It knows the device, because that
        may lack a type.
    check
        `SpecError` with the key as its path if the device cannot run the operator at all.
    predict
        Times of cases that `read` made.
    why
        Names of the columns in `Prediction.why`.
    type_column
        The optional column that ``--dtype`` stands for where it is missing or empty; "" if there is none.
    remarks
        Lines to the user about the rows' cells as a whole.
    """

    columns: tuple[tuple[str, ...], ...]
    optional: tuple[tuple[str, ...], ...]
    read: Callable[[Cells, Device], Cases]
    check: Callable[[Device], None]
    predict: Callable[[Device, Cases], Prediction]
    why: tuple[str, ...]
    type_column: str = ""
    remarks: Callable[[Cells], list[str]] = lambda cells: []
