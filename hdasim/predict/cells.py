"""The cells of a table of cases by column, checked in bulk."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hdasim.errors import SpecError
from hdasim.text import MOST, choice, whole

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
T = TypeVar("T")


class Cells:
    """Columns of texts, and what is wrong with their rows.

    Readers return one value a row. A row whose cell is wrong gets a stand-in and is kept in `faults` with the column and the
    message; of several mistakes in a row the one that is found first stays.

    Parameters
    ----------
    texts
        By column; a column that is not there is missing or None.
    count
        Number of rows.
    """

    def __init__(self, texts: Mapping[str, Sequence[str] | None], count: int) -> None:
        self.texts = {name: column for name, column in texts.items() if column is not None}
        self.count = count
        self.faults: dict[int, tuple[str, str]] = {}

    def has(self, name: str) -> bool:
        """Whether any row has a value in the column."""
        return any(map(str.strip, set(self.texts.get(name, ()))))

    def whole(self, name: str, least: int = 1, most: int = MOST, default: int | None = None) -> Ints:
        """Whole numbers; `default` stands where there is no value."""
        column = self.texts.get(name)
        if column is None and default is not None:
            return np.full(self.count, default, np.int64)
        assert column is not None
        values = _digits(column)
        if values is not None and values.min() >= least and values.max() <= most:
            return values
        return np.array(self._each(name, lambda text: whole(text, name, least, most), least, default), np.int64)

    def mapped(self, name: str, read: Callable[[str], float], default: float) -> Floats:
        """Numbers that `read` makes of the texts; it raises `SpecError` if one is wrong."""
        return np.array(self._each(name, read, default, default), np.float64)

    def choice(self, name: str, words: Mapping[str, int], default: int | None = None) -> Ints:
        """What the words stand for."""
        return self.meaning(name, lambda text: words[choice(text, name, words)], default)

    def meaning(self, name: str, read: Callable[[str], int], default: int | None = None) -> Ints:
        """What `read` makes of the texts; it raises `SpecError` if one is wrong."""
        return np.array(self._each(name, read, 0 if default is None else default, default), np.int64)

    def refuse(self, wrong: NDArray[np.bool_], name: str, say: Callable[[int], str]) -> None:
        """Rows that are wrong for another reason than the text of one cell; `say` gets a row's number."""
        for row in np.flatnonzero(wrong).tolist():
            if row not in self.faults:
                self.faults[row] = name, say(row)

    def _each(self, name: str, read: Callable[[str], T], stand_in: T, default: T | None) -> list[T]:
        """Every distinct text is read once."""
        column = self.texts.get(name)
        if column is None:
            assert default is not None
            return [default] * self.count
        known: dict[str, T] = {}
        wrong: dict[str, str] = {}
        for text in dict.fromkeys(column):
            if default is not None and not text.strip():
                known[text] = default
                continue
            try:
                known[text] = read(text)
            except SpecError as error:
                known[text], wrong[text] = stand_in, error.message
        if wrong:
            for row, text in enumerate(column):
                if text in wrong and row not in self.faults:
                    self.faults[row] = name, wrong[text]
        return list(map(known.__getitem__, column))


def _digits(column: Sequence[str]) -> Ints | None:
    """The numbers of a column that has nothing but digits; None of any other. One too large for 64 bits becomes the largest."""
    text = ",".join(column)
    digits = text.replace(",", "")
    if not (digits.isascii() and digits.isdecimal()) or ",," in text or text[0] == "," or text[-1] == ",":
        return None
    values: Ints = np.fromstring(text, np.int64, sep=",")
    return values
