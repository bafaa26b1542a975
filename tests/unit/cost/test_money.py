"""Dies of a wafer, yield, prices: every formula by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdasim.cost import money
from hdasim.errors import SpecError


def test_dies_per_wafer() -> None:
    # 70,685.83 / 100 - 942.478 / sqrt(200) = 706.858 - 66.643
    assert money.dies_per_wafer(100) == pytest.approx(640.215, abs=0.001)
    assert money.dies_per_wafer(826.7636) == pytest.approx(62.320, abs=0.001)


def test_yield() -> None:
    assert money.die_yield(100, "7nm") == pytest.approx(1 / 1.05**3)  # 100 x 0.0015 / 3 = 0.05
    assert money.die_yield(300, "5nm") == pytest.approx(1 / 1.2**3)  # 300 x 0.002 / 3 = 0.2
    assert money.die_yield(600, "28nm") == pytest.approx(1 / 1.1**3)  # 600 x 0.0005 / 3 = 0.1


def test_a_die() -> None:
    cost = money.die_cost(100, "7nm")
    assert cost.die_cost_usd_no_yield == pytest.approx(9346 / 640)  # whole dies only
    assert cost.die_cost_usd_with_yield == pytest.approx(9346 / 640 * 1.05**3)
    assert money.die_cost(100, "6nm") == cost  # 6 nm takes price and defects of 7 nm
    assert money.die_cost(100, "5nm").die_cost_usd_no_yield == pytest.approx(16_988 / 640)


@pytest.mark.parametrize("area", [9000, 31_000, 1e7])
def test_a_die_that_no_wafer_gives_is_refused(area: float) -> None:
    with pytest.raises(SpecError, match="a wafer of 300 mm gives no whole die of"):
        money.die_cost(area, "7nm")


@pytest.mark.parametrize(
    ("capacity", "gb"), [(80 * 2**30, 80), (80e9, 80), (141 * 2**30, 141), (0.22e9, 0.22), (1.5 * 2**30, 1.610612736)]
)
def test_memory_counts_as_on_its_label(capacity: float, gb: float) -> None:
    assert money.memory_gb(capacity) == pytest.approx(gb)


@pytest.mark.parametrize(
    ("kind", "interface", "price"),
    [(None, "HBM2e", ("HBM2e", 7)), (None, "DDR5", ("DDR5", 0.3)), (None, "PCIe5", ("DDR5", 0.3)), (None, "NVLink3", None),
     (None, None, None), ("DDR5-2025", "PCIe5", ("DDR5-2025", 2.4)), ("HBM2e", None, ("HBM2e", 7))],
)  # fmt: skip
def test_prices_of_memory(kind: str | None, interface: str | None, price: tuple[str, float] | None) -> None:
    assert money.memory_price(kind, interface) == price


def test_every_node_has_a_price_a_defect_density_and_masks() -> None:
    from hdasim.cost.area import LOGIC_DENSITY

    for table in (money.WAFER_PRICE, money.DEFECTS, money.MASK_SET):
        assert set(table) == set(LOGIC_DENSITY)
    assert (money.MASK_SET["7nm"], money.MASK_SET["14nm"], money.PACKAGE + money.ASSEMBLY) == (10.5e6, 2.82e6, 21)


@given(area=st.floats(1, 7000), more=st.floats(0.01, 1000), node=st.sampled_from(sorted(money.DEFECTS)))
def test_larger_dies_are_fewer_worse_and_dearer(area: float, more: float, node: str) -> None:
    small, large = money.die_cost(area, node), money.die_cost(area + more, node)
    assert large.dies_per_wafer < small.dies_per_wafer
    assert large.yield_negbin < small.yield_negbin
    assert large.die_cost_usd_with_yield > small.die_cost_usd_with_yield
    assert math.isfinite(large.die_cost_usd_with_yield)
