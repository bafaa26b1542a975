"""What a chip costs: dies per wafer, yield, a die, its memory (LLMCompass and its supply-chain model, Ning et al., ISCA 2023).

    dies = pi 150^2 / A - pi 300 / sqrt(2 A)        yield = (1 + A D / 3)^-3        die = wafer price / floor(dies) [/ yield]

LLMCompass's published costs are without yield; both are given here. The total is a die and its memory: neither package, test and
masks nor design and margin are in it. 6 nm takes price and defect density of 7 nm, which its sources do not set apart.

A GB of memory is one of its label: chips are binary, so a capacity of a whole number of GiB counts as that many GB.
"""

import math
from dataclasses import dataclass

from ..errors import SpecError

#: USD of a wafer of 300 mm (Khan and Mann, AI Chips, 2020, by way of ttm-cas).
WAFER_PRICE = {"90nm": 1650.0, "65nm": 1937.0, "40nm": 2274.0, "28nm": 2891.0, "20nm": 3677.0, "14nm": 3984.0, "10nm": 5992.0,
               "7nm": 9346.0, "6nm": 9346.0, "5nm": 16988.0}  # fmt: skip
#: Defects per mm2 (TSMC's public slides for 10 nm and 5 nm, by way of ttm-cas).
DEFECTS = {"90nm": 5e-4, "65nm": 5e-4, "40nm": 5e-4, "28nm": 5e-4, "20nm": 8e-4, "14nm": 1e-3, "10nm": 1.2e-3, "7nm": 1.5e-3,
           "6nm": 1.5e-3, "5nm": 2e-3}  # fmt: skip
#: USD of a GB (DRAMeXchange, October 2023, by way of LLMCompass). For DDR5 the paper has 0.30, which its authors corrected to 2.4
#: in October 2025: DDR5-2025.
MEMORY_PRICE = {"HBM2e": 7.0, "DDR5": 0.30, "DDR5-2025": 2.4}
#: The price for memory behind each kind of interface: LLMCompass puts DDR5 behind PCIe.
PRICE_BEHIND = {"HBM2e": "HBM2e", "DDR5": "DDR5", "PCIe4": "DDR5", "PCIe5": "DDR5"}
#: USD once for a design's masks (IC Knowledge, by way of ttm-cas), and for each chip's package and its assembly (Moonwalk).
MASK_SET = {"90nm": 1.65e5, "65nm": 2.08e5, "40nm": 5e5, "28nm": 1.2e6, "20nm": 1.9e6, "14nm": 2.82e6, "10nm": 4.74e6,
            "7nm": 1.05e7, "6nm": 1.05e7, "5nm": 1.81e7}  # fmt: skip
PACKAGE, ASSEMBLY = 20.0, 1.0
#: mm2 that one exposure covers, 26 x 33: no larger die can be made in one piece.
RETICLE = 858.0

_RADIUS = 150.0
_CLUSTERING = 3.0
_GIB = 2.0**30


@dataclass(frozen=True)
class DieCost:
    """Of one die: how many a wafer gives, which share of them works, USD for any and for a good one."""

    dies_per_wafer: float
    yield_negbin: float
    die_cost_usd_no_yield: float
    die_cost_usd_with_yield: float


def die_cost(area: float, process_node: str) -> DieCost:
    """Cost of a die of `area` mm2; `SpecError` if a wafer does not give a single one."""
    dies, good = dies_per_wafer(area), die_yield(area, process_node)
    if dies < 1:
        raise SpecError(f"a wafer of 300 mm gives no whole die of {area:,.0f} mm2; use fewer or smaller units", ("area",))
    each = WAFER_PRICE[process_node] / math.floor(dies)
    return DieCost(dies, good, each, each / good)


def dies_per_wafer(area: float) -> float:
    """Whole and partial dies of `area` mm2 less those at the edge; negative where none fits."""
    return math.pi * _RADIUS**2 / area - math.pi * 2 * _RADIUS / math.sqrt(2 * area)


def die_yield(area: float, process_node: str) -> float:
    """Share of dies without a defect, negative binomial with clustering 3."""
    return float((1 + area * DEFECTS[process_node] / _CLUSTERING) ** -_CLUSTERING)


def memory_gb(capacity: float) -> float:
    """GB on the label of a memory of `capacity` bytes."""
    gib = capacity / _GIB
    return gib if gib.is_integer() else capacity / 1e9


def memory_price(kind: str | None, interface: str | None) -> tuple[str, float] | None:
    """(name, USD of a GB) of the memory of `kind`, or behind an interface where that is not given; None if neither is priced."""
    name = kind or PRICE_BEHIND.get(interface or "")
    return None if name is None else (name, MEMORY_PRICE[name])
