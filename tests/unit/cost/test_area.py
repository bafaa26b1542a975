"""Die areas: every formula by hand, whole dies by hand, LLMCompass's own where they are at hand, and how areas grow."""

import math
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdasim.cost.area import (
    FP16,
    FP32,
    INTERFACES,
    LOGIC_DENSITY,
    MAC_TREE_TRANSISTORS,
    SRAM_CELL,
    DiePlan,
    alu_transistors,
    default_alus,
    die_area,
    die_plan,
    plan_area,
    register_file_mm2,
    sram_mm2,
)
from hdasim.errors import SpecError
from hdasim.spec.area import Alus, Interface, RegisterFile
from hdasim.spec.load import load_device, open_device

SEVEN = 96.3e6
CELL = 1.7e-7

#: One core of one lane with a 2 x 2 array and the smallest memories.
SMALL = DiePlan(
    process_node="7nm", cores=1, lanes=1, cells=4, vector_width=2, alus=Alus(int32=1, fp16=0, fp32=1, fp64=0),
    register_file=RegisterFile(files=1, registers=64, bits=32, ports=2), local_memory=4096, global_memory=4096,
)  # fmt: skip


def changed(plan: DiePlan, **changes: Any) -> DiePlan:
    return replace(plan, **changes)


# ---- formulas ----


def test_multipliers_scale_with_the_square_of_the_mantissa() -> None:
    assert pytest.approx(25_343.93, abs=0.01) == FP16  # 685,300 x 100 / 2,704
    assert pytest.approx(134_069.42, abs=0.01) == FP32  # 685,300 x 529 / 2,704
    assert pytest.approx(263.18, abs=0.01) == FP16 / SEVEN * 1e6  # um2 of a cell at 7 nm


def test_alus() -> None:
    # 2 x 177,690 + 3 x 25,343.935 + 0.5 x 134,069.42 + 685,300 = 355,380 + 76,031.8 + 67,034.7 + 685,300
    assert alu_transistors(Alus(int32=2, fp16=3, fp32=0.5, fp64=1)) == pytest.approx(1_183_746.5, abs=0.1)
    assert default_alus(32) == Alus(int32=16, fp16=0, fp32=16, fp64=8)


@pytest.mark.parametrize(
    ("size", "area"),
    [
        (1, 4096 * 8 * CELL / 0.076),  # no memory is smaller than 4 KiB
        (4096, 4096 * 8 * CELL / 0.076),
        (4097, 4097 * 8 * CELL / 0.142),  # its own size, the efficiency of the next power of two
        (192 * 1024, 0.508335),  # 196,608 x 8 x 1.7e-7 / 0.526, the bin of 256 KiB
        (256 * 1024, 262_144 * 8 * CELL / 0.526),
        (512 * 1024, 1.18444),  # 524,288 x 8 x 1.7e-7 / 0.602
        (512 * 1024 + 1, 2 * 1.18444),
        (768 * 1024, 2 * 1.18444),
        (48 * 2**20, 96 * 1.18444),
    ],
)
def test_sram(size: float, area: float) -> None:
    assert sram_mm2(size, CELL) == pytest.approx(area, rel=1e-5)


def test_register_files() -> None:
    # 64 registers of 32 bits, 2 ports, um2 at 90 nm: 32,900 - 69,760 - 28,256 - 11,100 + 109,568 + 61.44 + 11.0592 + 2.344
    # + 18,176 + 23,552 = 75,154.84; x 1.6 / 96.3 = 1,248.67
    three = RegisterFile(files=3, registers=64, bits=32, ports=2)
    assert register_file_mm2(three, SEVEN) == pytest.approx(3 * 1.24867e-3, rel=1e-5)
    assert register_file_mm2(RegisterFile(), SEVEN) == pytest.approx(0.39133, abs=1e-5)


def test_a_register_file_outside_the_fit_is_refused() -> None:
    with pytest.raises(SpecError, match=r"area\.register_file: 1 registers of 1000 bits with 1 ports lie outside"):
        register_file_mm2(RegisterFile(registers=1, bits=1000, ports=1), SEVEN)
    assert register_file_mm2(RegisterFile(files=0, registers=1, bits=1000, ports=1), SEVEN) == 0


def test_a_small_die_by_hand() -> None:
    die = plan_area(changed(SMALL, memory=Interface(kind="DDR5", count=2), links=Interface(kind="PCIe4", count=4),
                                    host=Interface(kind="PCIe5", count=1)))  # fmt: skip
    assert die.core_control_mm2 == pytest.approx(0.0206895, rel=1e-5)  # 2 x 996,200 / 96.3e6
    assert die.core_alu_mm2 == pytest.approx(3.237377e-3, rel=1e-5)  # (177,690 + 134,069.4) / 96.3e6
    assert die.core_array_mm2 == pytest.approx(1.052707e-3, rel=1e-5)  # 4 x 25,343.93 / 96.3e6
    assert die.core_mac_tree_mm2 == 0
    assert die.core_regfile_mm2 == pytest.approx(1.24867e-3, rel=1e-5)
    assert die.core_sram_mm2 == pytest.approx(0.0732968, rel=1e-5)  # 4,096 x 8 x 1.7e-7 / 0.076
    assert die.core_comm_mm2 == pytest.approx(0.460021, rel=1e-5)  # 44.3e6 / 96.3e6
    assert die.global_buffer_mm2 == die.core_sram_mm2
    assert (die.mem_phy_mm2, die.mem_ctrl_mm2) == (2.9, pytest.approx(1.878430, rel=1e-6))  # 2 x 90,446,400 / 96.3e6
    assert (die.link_phy_mm2, die.link_ctrl_mm2) == (1.92, pytest.approx(0.164590, rel=1e-5))  # 4 x 3,962,500 / 96.3e6
    assert die.host_mm2 == pytest.approx(0.695785, rel=1e-6)  # 0.64 + 5,372,100 / 96.3e6
    assert die.core_total_mm2 == pytest.approx(0.0995251, rel=1e-5)
    assert die.total == pytest.approx(0.0995251 + 0.460021 + 0.0732968 + 4.778430 + 2.084590 + 0.695785, rel=1e-6)


def test_cores_and_lanes_multiply() -> None:
    one, many = plan_area(SMALL), plan_area(changed(SMALL, cores=3, lanes=2))
    assert many.core_array_mm2 == pytest.approx(2 * one.core_array_mm2)
    assert many.core_sram_mm2 == one.core_sram_mm2
    assert many.all_cores_mm2 == pytest.approx(3 * (2 * (one.core_total_mm2 - one.core_sram_mm2) + one.core_sram_mm2))
    assert many.core_comm_mm2 == pytest.approx(3 * one.core_comm_mm2)


def test_mac_trees_have_two_named_areas() -> None:
    assert MAC_TREE_TRANSISTORS["synthesis"] / SEVEN * 1e6 == pytest.approx(449.6, abs=0.1)  # um2
    assert MAC_TREE_TRANSISTORS["ador"] / SEVEN * 1e6 == pytest.approx(17_700)
    for option, area in (("synthesis", 0.115107), ("ador", 4.5312)):  # 256 x 43,300 / 96.3e6; 256 x 0.0177
        plan = changed(SMALL, multipliers=256, mac_tree_area=option)
        assert plan_area(plan).core_mac_tree_mm2 == pytest.approx(area, rel=1e-5)
    five = plan_area(changed(SMALL, process_node="5nm", multipliers=256, mac_tree_area="ador"))
    assert five.core_mac_tree_mm2 == pytest.approx(4.5312 * 96.3 / 138.2)


# ---- devices ----


@pytest.mark.parametrize(
    ("name", "option", "area"),
    [("a100", None, 826.76), ("a100-ador", None, 826.76), ("a100-40gb", None, 826.76), ("a100-pcie", None, 826.76),
     ("llmcompass-l", None, 477.93), ("llmcompass-t", None, 786.58), ("mi210", None, 666.24), ("h100", None, 757.23),
     ("ador", "ador", 515.80), ("ador", "synthesis", 374.48), ("ador", None, 374.48)],
)  # fmt: skip
def test_presets(name: str, option: str | None, area: float) -> None:
    assert die_area(load_device(name), option).total == pytest.approx(area, abs=0.005)


@pytest.mark.parametrize(
    ("name", "tflops"),
    [("a100", 311.9), ("a100-ador", 311.9), ("llmcompass-l", 196.6), ("llmcompass-t", 786.4), ("ador", 417.8)],
)  # fmt: skip
def test_peak_rates(name: str, tflops: float) -> None:
    assert load_device(name).peak_flops / 1e12 == pytest.approx(tflops, abs=0.05)


def test_ador_without_its_trees_is_what_the_calibration_starts_from() -> None:
    device, _ = open_device("ador", ["core.mac_tree=null"])
    rest = die_area(device).total
    assert rest == pytest.approx(370.80, abs=0.005)
    assert (516 - rest) / 8192 * 1e6 == pytest.approx(17_700, rel=0.002)  # um2 for each of 32 x 16 x 16 multipliers
    lane = 996_200 + 177_690 / 2 + FP32 / 2 + 685_300 / 4  # a vector lane for each multiplier
    assert lane == pytest.approx(1_323_405, abs=1)
    assert rest + 8192 * lane / SEVEN == pytest.approx(483.4, abs=0.05)


def test_counts_default_to_those_of_the_device() -> None:
    device, _ = open_device("llmcompass-l", ["area={process_node: 7nm}"])
    plan = die_plan(device)
    assert (plan.cores, plan.lanes, plan.cells, plan.vector_width) == (64, 4, 256, 32)
    assert (plan.alus, plan.local_memory, plan.global_memory) == (default_alus(32), 192 * 1024, 24 * 2**20)
    assert (plan.memory, plan.links, plan.host, plan.multipliers) == (None, None, None, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [("core_count=129", r"area\.cores: the die has 128, but the device uses 129; the die must have at least as many"),
     ("global_memory=64 MiB", r"area\.global_memory: the die has 5.03316e\+07, but"),
     ("core.local_memory=256 KiB", r"area\.local_memory"),
     ("area.process_node=14nm", r"area\.sram_cell: LLMCompass has no SRAM cell at 14nm"),
     ("area=null", r"area: a100 has no area section, so its area is unknown")],
)  # fmt: skip
def test_devices_that_the_model_does_not_cover(change: str, message: str) -> None:
    device, _ = open_device("a100", [change])
    with pytest.raises(SpecError, match=message):
        die_area(device)


def test_other_nodes_need_the_area_of_an_sram_bit() -> None:
    device, _ = open_device("a100", ["area.process_node=14nm", "area.sram_cell=0.4 um2"])
    die = die_area(device)
    assert die.core_array_mm2 == pytest.approx(4 * 256 * FP16 / 28.9e6)
    assert die.core_sram_mm2 == pytest.approx(196_608 * 8 * 0.4e-6 / 0.526)
    assert die.mem_phy_mm2 == pytest.approx(62.7)  # does not scale


def test_a_die_may_say_why_it_is_unknown() -> None:
    with pytest.raises(SpecError, match=r"area\.unknown: the area of l40s is unknown: .*GDDR6"):
        die_area(load_device("l40s"))
    with pytest.raises(SpecError, match=r"process_node: a die needs one"):
        open_device("a100", ["area={}"])


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(SpecError, match=r"area\.mac_tree_area: unknown 'lpu'; use synthesis or ador"):
        die_area(load_device("ador"), "lpu")


# ---- how areas grow ----

COUNTS = st.integers(0, 64)
INTERFACE = st.builds(Interface, kind=st.sampled_from(sorted(INTERFACES)), count=st.integers(0, 300))
PLANS = st.builds(
    DiePlan,
    process_node=st.sampled_from(sorted(SRAM_CELL)), cores=st.integers(1, 200), lanes=st.integers(1, 8),
    cells=st.integers(0, 4096), vector_width=st.integers(0, 256),
    alus=st.builds(Alus, int32=COUNTS, fp16=COUNTS, fp32=COUNTS, fp64=COUNTS),
    register_file=st.builds(
        RegisterFile, files=COUNTS, registers=st.integers(64, 65_536), bits=st.integers(32, 64), ports=st.integers(1, 8)
    ),
    local_memory=st.integers(1, 2**23), global_memory=st.integers(1, 2**27), memory=INTERFACE, links=INTERFACE, host=st.none(),
    multipliers=st.integers(0, 4096), mac_tree_area=st.sampled_from(sorted(MAC_TREE_TRANSISTORS)),
)  # fmt: skip


@given(plan=PLANS, name=st.sampled_from(["cores", "lanes", "cells", "vector_width", "multipliers"]), more=st.integers(1, 100))
def test_more_of_anything_takes_more_area(plan: DiePlan, name: str, more: int) -> None:
    assert plan_area(changed(plan, **{name: getattr(plan, name) + more})).total > plan_area(plan).total


@given(plan=PLANS, name=st.sampled_from(["memory", "links"]), more=st.integers(1, 100))
def test_more_interfaces_take_more_area(plan: DiePlan, name: str, more: int) -> None:
    part = getattr(plan, name)
    grown = changed(plan, **{name: msgspec.structs.replace(part, count=part.count + more)})
    assert plan_area(grown).total > plan_area(plan).total


@given(plan=PLANS, more=st.integers(1, 40))
def test_more_units_of_memory_take_more_area(plan: DiePlan, more: int) -> None:
    least = max(plan.global_memory, 512 * 1024)  # below, a larger bin may be the more efficient one
    sizes = [sram_mm2(size, CELL) for size in (least, least + more * 512 * 1024)]
    assert sizes[1] == pytest.approx(sizes[0] * (1 + more / math.ceil(least / (512 * 1024))))


@given(plan=PLANS)
def test_a_denser_node_is_never_larger(plan: DiePlan) -> None:
    five, six, seven = (plan_area(changed(plan, process_node=node)) for node in ("5nm", "6nm", "7nm"))
    assert five.total <= six.total <= seven.total
    assert five.mem_phy_mm2 == seven.mem_phy_mm2


def test_densities_rise_from_node_to_node() -> None:
    nodes = sorted(LOGIC_DENSITY, key=lambda node: int(node.removesuffix("nm")))
    assert [LOGIC_DENSITY[node] for node in nodes] == sorted(LOGIC_DENSITY.values(), reverse=True)


@given(plan=PLANS)
def test_the_parts_add_up(plan: DiePlan) -> None:
    die = plan_area(plan)
    parts = [getattr(die, name) for name in die.__dataclass_fields__ if name.endswith("_mm2")]
    core = sum(value for name, value in zip([n for n in die.__dataclass_fields__ if n.endswith("_mm2")], parts, strict=True)
               if name.startswith("core_") and name != "core_comm_mm2")  # fmt: skip
    assert die.core_total_mm2 == pytest.approx(core)
    assert die.total == pytest.approx(sum(parts) - core + plan.cores * core)
