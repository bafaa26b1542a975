"""Student's t against its closed forms and published tables."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdasim.statistics import student_cdf, student_quantile


@given(t=st.floats(-50, 50))
def test_one_two_and_three_degrees_by_their_closed_forms(t: float) -> None:
    assert student_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)
    assert student_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-12)
    x = t / math.sqrt(3)
    assert student_cdf(t, 3) == pytest.approx(0.5 + (x / (1 + x * x) + math.atan(x)) / math.pi, abs=1e-12)


@pytest.mark.parametrize(
    ("p", "degrees", "t"),
    [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 4, 2.776), (0.99, 18, 2.552), (0.975, 30, 2.042), (0.95, 9, 1.833)],
)
def test_quantiles_of_the_tables(p: float, degrees: int, t: float) -> None:
    assert student_quantile(p, degrees) == pytest.approx(t, abs=5e-4)
    assert student_quantile(1 - p, degrees) == pytest.approx(-t, abs=5e-4)


@pytest.mark.parametrize(("p", "degrees"), [(0.0, 3), (1.0, 3), (0.5, 0)])
def test_refusals(p: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        student_quantile(p, degrees)
