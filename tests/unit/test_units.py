"""Quantities: every unit, the round trip, YAML's traps, and what is refused."""

import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hdasim.units import UNITS, example, parse, show


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("80 GiB", "B", 80 * 1024**3),
        ("80GB", "B", 80e9),
        (" 2048 KiB ", "B", 2 * 1024**2),
        ("1 kB", "B", 1000),
        ("2 TB/s", "B/s", 2e12),
        ("3.072 TB/s", "B/s", 3.072e12),
        ("64 GiB/s", "B/s", 64 * 1024**3),
        ("1.5 GHz", "Hz", 1.5e9),
        ("1000 MHz", "Hz", 1e9),
        ("200 ms", "s", 0.2),
        ("2.57 us", "s", 2.57e-6),
        ("2 µs", "s", 2e-6),
        ("1 min", "s", 60),
        (".5e-3 s", "s", 0.0005),
        ("10 req/s", "1/s", 10),
        ("inf", "1/s", math.inf),
        (".inf", "1/s", math.inf),
        (math.inf, "1/s", math.inf),
        ("1e9", "Hz", 1e9),
        ("+5", "s", 5),
        (5, "s", 5),
        (2.5, "B", 2.5),
        ("-3 GB", "B", -3e9),
        ("516 mm2", "mm2", 516),
        ("0.4 um2", "mm2", 4e-7),
        ("1.5cm2", "mm2", 150),
    ],
)
def test_parse(text: object, unit: str, expected: float) -> None:
    assert parse(text, unit) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("2 GHz", "B/s", "wrong unit 'GHz' in '2 GHz': expected a quantity such as '2 TB/s'"),
        ("80 Gib", "B", "wrong unit 'Gib'"),
        ("80 gb", "B", "wrong unit 'gb'"),
        ("2 TB", "B/s", "wrong unit 'TB'"),
        ("fast", "s", "expected a quantity such as '200 ms', got 'fast'"),
        ("", "s", "expected a quantity"),
        ("1 2", "s", "expected a quantity"),
        ("nan", "s", "expected a quantity"),
        ("inf", "s", "expected a quantity"),
        (math.nan, "s", "expected a finite quantity"),
        (math.nan, "1/s", "expected a finite quantity"),
        (math.inf, "B", "expected a finite quantity"),
        ("1e999", "B", "expected a finite quantity"),
        (10**400, "B", "is too large"),
        (True, "s", "got true"),
        (None, "s", "got None"),
        ([1], "s", r"got \[1\]"),
        ("1" * 100_000 + "x", "s", "expected a quantity"),
        (" " * 100_000, "s", "expected a quantity"),
    ],
)
def test_refusals(text: object, unit: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(text, unit)
    assert len(str(caught.value)) < 200


def test_what_yaml_makes_of_numbers() -> None:
    # YAML 1.1: 1e9 is text, 1.0e+9 a float, `no` false, 1:30 sexagesimal
    assert yaml.safe_load("[1e9, 1.0e9, 1.0e+9, no, 1:30]") == ["1e9", "1.0e9", 1e9, False, 90]
    assert [parse(value, "Hz") for value in yaml.safe_load("[1e9, 1.0e9, 1.0e+9, 1:30]")] == [1e9, 1e9, 1e9, 90]
    with pytest.raises(ValueError, match="got false"):
        parse(yaml.safe_load("no"), "Hz")


@pytest.mark.parametrize("unit", UNITS)
def test_the_example_is_a_quantity(unit: str) -> None:
    assert parse(example(unit), unit) > 0


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(2e12, "B/s", "2 TB/s"), (9.53e-3, "s", "9.53 ms"), (0, "s", "0 s"), (1.5e9, "Hz", "1.5 GHz"), (1e18, "B/s", "1 EB/s"),
     (20.45, "1/s", "20.45 req/s"), (math.inf, "1/s", "inf"), (1e-12, "s", "0.001 ns"), (4096, "B", "4.096 kB"),
     (826.7636, "mm2", "826.8 mm2"), (70_685.8, "mm2", "70686 mm2"),
     (1.63e-12, "J", "1.63 pJ"), (338.5, "J", "338 J"), (400, "W", "400 W"), (0, "J", "0 J")],
)  # fmt: skip
def test_show(value: float, unit: str, text: str) -> None:
    assert show(value, unit) == text


NUMBERS = st.floats(1e-9, 1e18, allow_nan=False)


@settings(deadline=None)
@given(value=NUMBERS, unit=st.sampled_from(sorted(UNITS)), negative=st.booleans())
def test_what_is_shown_can_be_read(value: float, unit: str, negative: bool) -> None:
    value = -value if negative else value
    assert parse(show(value, unit), unit) == pytest.approx(value, rel=6e-3)  # three digits


@settings(deadline=None)
@given(value=NUMBERS, unit=st.sampled_from(sorted(UNITS)), data=st.data(), space=st.sampled_from(["", " ", "  "]))
def test_every_unit_scales(value: float, unit: str, data: st.DataObject, space: str) -> None:
    name = data.draw(st.sampled_from(sorted(UNITS[unit])))
    space = space or " " * name.startswith("1")  # "5 1/s" needs one
    assert parse(f"{value!r}{space}{name}", unit) == value * UNITS[unit][name]


@settings(deadline=None)
@given(text=st.text(alphabet="0123456789.eE+- kMGTiBHzsum/\n", max_size=20), unit=st.sampled_from(sorted(UNITS)))
def test_any_text_is_a_number_or_one_line(text: str, unit: str) -> None:
    try:
        assert math.isfinite(parse(text, unit)) or unit == "1/s"
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
