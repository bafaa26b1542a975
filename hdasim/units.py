"""Quantities with units <-> SI base numbers.

``parse("80 GiB", "B") == 85899345920.0``. kB/MB/GB are powers of 1000, KiB/MiB/GiB powers of 1024. A bare number, or numeric text
such as ``1e9`` (which YAML 1.1 loads as a string), is already in the base unit.
"""

import math
import re
import reprlib

_DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {f"{p}i": 1024.0**i for i, p in enumerate("KMGTP", start=1)}
_TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "ps": 1e-12, "min": 60.0, "h": 3600.0}

_BYTES = {f"{p}B": f for p, f in {**_DECIMAL, **_BINARY}.items()}
#: For each base unit, the unit texts it accepts and their factors.
UNITS: dict[str, dict[str, float]] = {
    "B": _BYTES,
    "B/s": {f"{u}/s": f for u, f in _BYTES.items()},
    "Hz": {f"{p}Hz": f for p, f in _DECIMAL.items()},
    "s": _TIME,
    "J": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12, "fJ": 1e-15},
    "W": {"mW": 1e-3, **{f"{p}W": f for p, f in _DECIMAL.items()}},
    "1/s": {"req/s": 1.0, "1/s": 1.0, "/s": 1.0, "rps": 1.0, "qps": 1.0},
    "mm2": {"mm2": 1.0, "mm^2": 1.0, "mm²": 1.0, "cm2": 1e2, "um2": 1e-6},
}
_EXAMPLE = {
    "B": "80 GiB", "B/s": "2 TB/s", "Hz": "1.5 GHz", "s": "200 ms", "1/s": "10 req/s", "mm2": "826 mm2",
    "J": "0.72 pJ", "W": "400 W",
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*((?<=\s)1/s|[^\d\s].*?)?\s*")


#: No quantity is longer as text.
_LONGEST = 100


def parse(value: object, unit: str) -> float:
    """Return `value` as a number of the SI base `unit` ("B", "B/s", "Hz", "s", "1/s" or "mm2").

    Raises
    ------
    ValueError
        If `value` is not a number with a fitting unit, or not finite (``inf`` is accepted for "1/s": all requests at once).
    """
    got = str(value).lower() if isinstance(value, bool) else reprlib.repr(value)
    expected = f"expected a quantity such as {_EXAMPLE[unit]!r}, got {got}"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(expected)
    if isinstance(value, (int, float)):
        try:
            number = float(value)
        except OverflowError:
            raise ValueError(f"{reprlib.repr(value)} is too large; {expected.partition(',')[0]}") from None
    elif unit == "1/s" and value.strip().lower() in ("inf", ".inf"):
        return math.inf
    else:
        match = _QUANTITY.fullmatch(value) if len(value) <= _LONGEST else None
        if match is None:
            raise ValueError(expected)
        text = match.group(2)
        if text is not None and text not in UNITS[unit]:
            raise ValueError(f"wrong unit {text!r} in {value!r}: expected a quantity such as {_EXAMPLE[unit]!r}")
        number = float(match.group(1)) * (UNITS[unit][text] if text else 1.0)
    if math.isnan(number) or (math.isinf(number) and unit != "1/s"):
        raise ValueError(f"expected a finite quantity such as {_EXAMPLE[unit]!r}, got {value!r}")
    return number


def example(unit: str) -> str:
    """A quantity in `unit` as one would write it."""
    return _EXAMPLE[unit]


def show(value: float, unit: str) -> str:
    """Return `value` in `unit` for people, as `parse` reads it: decimal prefix, three or four digits ("2 TB/s", "9.53 ms")."""
    if unit == "1/s":
        return f"{value:.4g} req/s" if math.isfinite(value) else "inf"
    if unit == "mm2":
        return f"{value:.4g} mm2" if abs(value) < 1e4 else f"{value:.0f} mm2"
    if unit == "s" and value != 0:
        for text, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
            if abs(value) >= factor or text == "ns":
                return f"{value / factor:.3g} {text}"
    if unit == "J" and value != 0:
        for text, factor in (("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9), ("pJ", 1e-12), ("fJ", 1e-15)):
            if abs(value) >= factor or text == "fJ":
                return f"{value / factor:.3g} {text}"
    prefix = ""
    for name, factor in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor:
            prefix, value = name, value / factor
            break
    return f"{value:.4g} {prefix}{unit}"
