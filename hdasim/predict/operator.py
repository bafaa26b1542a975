"""What `hdasim predict` needs to know of an operator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hdasim.spec.hardware import Device


class Prediction(NamedTuple):
    """Per case: seconds, seconds below which no implementation gets on this device, and what sets the time."""

    time: NDArray[np.float64]
    bound: NDArray[np.float64]
    bottleneck: list[str]


@dataclass(frozen=True)
class Operator:
    """An operator as a table of cases has it.

    Parameters
    ----------
    columns
        The input columns, each with the names that it may have; the first is the one used in messages and in `read`.
    optional
        The same for columns that may be missing; their cells are then "".
    read
        A case from the cells of a row by column; `SpecError` with the column as its path if a cell is wrong.
    check
        `SpecError` with the key as its path if the device cannot run the operator at all.
    predict
        Times of the cases that `read` made.
    remarks
        Lines to the user about the rows' cells as a whole.
    """

    columns: tuple[tuple[str, ...], ...]
    optional: tuple[tuple[str, ...], ...]
    read: Callable[[dict[str, str]], Any]
    check: Callable[[Device], None]
    predict: Callable[[Device, Sequence[Any]], Prediction]
    remarks: Callable[[Sequence[dict[str, str]]], list[str]] = lambda rows: []
