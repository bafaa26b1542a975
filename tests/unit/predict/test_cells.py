"""Columns of cells: what is read in bulk equals what is read one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdasim.errors import SpecError
from hdasim.predict.cells import Cells
from hdasim.text import whole

ODD = ["", " ", "7 ", "+5", "1_0", "٣", "1e3", "2.0", "2.5", "nan", "inf", "0", "x", "²", "007"]
TEXTS = st.one_of(st.integers(-3, 2**70).map(str), st.sampled_from(ODD))


def one_by_one(texts: list[str], least: int, most: int) -> tuple[list[int], dict[int, tuple[str, str]]]:
    values, faults = [], {}
    for row, text in enumerate(texts):
        try:
            values.append(whole(text, "n", least, most))
        except SpecError as error:
            values.append(least)
            faults[row] = "n", error.message
    return values, faults


@given(st.lists(TEXTS, min_size=1, max_size=6), st.sampled_from([(1, 2**40), (0, 9), (1, 100)]))
def test_whole_numbers(texts: list[str], ends: tuple[int, int]) -> None:
    cells = Cells({"n": texts}, len(texts))
    values = cells.whole("n", *ends)
    assert (values.tolist(), cells.faults) == one_by_one(texts, *ends)


def test_a_missing_column_and_an_empty_cell_are_the_default() -> None:
    cells = Cells({"a": ["3", " "], "b": None}, 2)
    assert cells.whole("a", default=8).tolist() == [3, 8]
    assert cells.whole("b", default=8).tolist() == [8, 8]
    assert cells.choice("b", {"x": 4}, default=5).tolist() == [5, 5]
    assert cells.mapped("b", float, 0.5).tolist() == [0.5, 0.5]
    assert not cells.faults


def test_the_first_mistake_of_a_row_stays() -> None:
    cells = Cells({"a": ["x", "1"], "b": ["y", "2"]}, 2)
    cells.whole("a")
    cells.choice("b", {"1": 0, "2": 1})
    cells.refuse(np.array([True, True]), "c", lambda row: f"row {row}")
    assert cells.faults[0][0] == "a"
    assert cells.faults[1] == ("c", "row 1")


def test_words() -> None:
    cells = Cells({"op": ["add", "adds", "add"]}, 3)
    assert cells.choice("op", {"emb": 3, "add": 7}).tolist() == [7, 0, 7]
    assert list(cells.faults) == [1] and "did you mean 'add'?" in cells.faults[1][1]


@pytest.mark.parametrize("text", ["99999999999999999999999999", "9223372036854775808", "1099511627777"])
def test_a_number_too_large_for_a_machine_word_is_too_large(text: str) -> None:
    cells = Cells({"n": ["1", text]}, 2)
    cells.whole("n")
    assert "too large" in cells.faults[1][1]
