"""Rows of tables: LLMCompass's own where they are at hand, two by hand, and what is refused."""

import csv
from pathlib import Path

import pytest

from hdasim.cost.table import INPUTS, RESULTS, evaluate, parse
from hdasim.errors import SpecError
from hdasim.spec.area import Interface

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "reference" / "llmcompass" / "area_cost.csv"
#: Small enough to be worked out by hand, in another node; see test_a_row_by_hand.
ROW = {
    "process_nm": "5", "cores_physical": "2", "lanes_per_core": "2", "array_h": "4", "array_w": "4", "vector_width": "8",
    "int32_alus_per_lane": "1.5", "fp16_alus_per_lane": "2", "fp32_alus_per_lane": "0", "fp64_alus_per_lane": "0",
    "regfiles_per_lane": "0", "registers_per_file": "64", "register_bits": "32", "regfile_ports": "2", "local_sram_KB": "16",
    "global_buffer_MB": "1", "mem_protocol": "DDR5", "mem_channels_physical": "3", "mem_capacity_GB": "10", "link_type": "PCIe4",
    "links_per_device": "2",
}  # fmt: skip


@pytest.mark.skipif(not GOLDEN.is_file(), reason="../shared/reference/llmcompass is not beside this checkout")
def test_all_rows_of_llmcompass() -> None:
    rows = list(csv.DictReader(GOLDEN.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 12
    names = [name for name in RESULTS if name in rows[0]]
    assert [*rows[0]][1 + len(INPUTS) :] == names and len(names) == 20
    for row in rows:
        ours = evaluate({name: row[name] for name in INPUTS})
        for name in names:  # printed with 4 digits behind the point
            assert ours[name] == pytest.approx(float(row[name]), rel=1e-3), (row["config"], name)
        assert ours["over_reticle"] is (float(row["die_total_mm2"]) > 858)


def test_a_row_by_hand() -> None:
    ours = evaluate(ROW)
    density = 138.2e6
    assert ours["core_control_mm2"] == pytest.approx(2 * 8 * 996_200 / density)
    assert ours["core_alu_mm2"] == pytest.approx(2 * (1.5 * 177_690 + 2 * 25_343.93) / density, rel=1e-6)
    assert ours["core_array_mm2"] == pytest.approx(2 * 16 * 25_343.93 / density, rel=1e-6)
    assert ours["core_regfile_mm2"] == 0
    assert ours["core_sram_mm2"] == pytest.approx(16_384 * 8 * 1.25e-7 / 0.247)
    assert ours["global_buffer_mm2"] == pytest.approx(2 * 524_288 * 8 * 1.25e-7 / 0.602)
    assert ours["core_comm_mm2"] == pytest.approx(2 * 44.3e6 / density)
    assert (ours["mem_phy_mm2"], ours["mem_ctrl_mm2"]) == (pytest.approx(4.35), pytest.approx(3 * 90.4464e6 / density))
    assert (ours["link_phy_mm2"], ours["link_ctrl_mm2"]) == (0.96, pytest.approx(2 * 3.9625e6 / density))
    # cores 2 x (0.115334 + 0.004590 + 0.005868 + 0.066332) + 0.641100, buffer 1.741827, memory 6.313380, links 1.017344
    assert ours["die_total_mm2"] == pytest.approx(10.0979, abs=1e-4)
    assert ours["yield_negbin"] == pytest.approx((1 + 10.0979 * 2e-3 / 3) ** -3, rel=1e-6)
    assert ours["die_cost_usd_no_yield"] == pytest.approx(16_988 / 6790)  # 7,000.06 - 209.72 dies
    assert ours["memory_cost_usd"] == 3
    assert ours["total_cost_usd_no_yield"] == pytest.approx(16_988 / 6790 + 3)


def test_mac_trees_hosts_and_prices() -> None:
    plain = evaluate(ROW)
    trees = evaluate(ROW | {"mac_tree_width": "16", "mac_tree_lanes": "4", "host_type": "PCIe5", "host_links": "16"})
    assert trees["core_mac_tree_mm2"] == pytest.approx(64 * 43_300 / 138.2e6)
    assert trees["host_mm2"] == pytest.approx(16 * (0.64 + 5_372_100 / 138.2e6))
    assert trees["die_total_mm2"] - plain["die_total_mm2"] == pytest.approx(2 * trees["core_mac_tree_mm2"] + trees["host_mm2"])
    assert parse(ROW | {"mac_tree_width": "16", "mac_tree_lanes": "4", "mac_tree_area": "ador"}).mac_tree_area == "ador"
    assert evaluate(ROW | {"memory_price": "DDR5-2025"})["memory_cost_usd"] == 24
    assert evaluate(ROW | {"memory_price": "", "mac_tree_width": "", "host_type": ""}) == plain


def test_nodes_are_written_in_several_ways() -> None:
    assert {parse(ROW | {"process_nm": text}).process_node for text in ("5", "5.0", "5nm", "5 nm", "5NM")} == {"5nm"}
    older = evaluate(ROW | {"process_nm": "14", "sram_cell_um2": "0.4"})
    assert older["core_sram_mm2"] == pytest.approx(16_384 * 8 * 4e-7 / 0.247)


def test_interfaces_are_found_in_any_case() -> None:
    assert parse(ROW | {"link_type": "nvlink3", "mem_protocol": "hbm2E"}).memory == Interface(kind="HBM2e", count=3)


def test_no_memory_and_no_links() -> None:
    none = evaluate(ROW | {"mem_protocol": "none", "mem_channels_physical": "0", "mem_capacity_GB": "0", "link_type": "",
                           "links_per_device": "0"})  # fmt: skip
    assert (none["mem_phy_mm2"], none["link_phy_mm2"], none["memory_cost_usd"]) == (0, 0, 0)
    assert evaluate(ROW | {"mem_protocol": "NVLink3"})["memory_cost_usd"] is None  # nobody says what is behind it


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [("process_nm", "8", "unknown node '8'; use 5, 6, 7, 10"), ("process_nm", "", "no value; use 5, 6, 7"),
     ("process_nm", "1e99", "unknown node"), ("process_nm", "28", "no SRAM cell at 28nm"),
     ("cores_physical", "0", "which is zero"), ("cores_physical", "1.5", "not whole"), ("array_h", "-1", "negative"),
     ("vector_width", "nan", "expected a number"),
     ("fp64_alus_per_lane", "x", "expected a number"), ("mem_protocol", "HBM3", "unknown 'HBM3'; use HBM2e"),
     ("mem_protocol", "", "no value, but mem_channels_physical is 3"), ("link_type", "NVLink", r"use .*NVLink3"),
     ("local_sram_KB", "1e300", "expected a number from 0 to 1e"), ("registers_per_file", "0", "zero"),
     ("cores_physical", "1000000", "gives no whole die"), ("mem_capacity_GB", "-1", "expected a number")],
)  # fmt: skip
def test_refusals(column: str, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        evaluate(ROW | {column: text})


@pytest.mark.parametrize(
    ("extra", "message"),
    [({"mac_tree_width": "16"}, "mac_tree_lanes: width and lanes"), ({"mac_tree_area": "lpu"}, "mac_tree_area: unknown 'lpu'"),
     ({"host_links": "3"}, "host_type: no value"), ({"memory_price": "HBM3"}, "memory_price: unknown 'HBM3'"),
     ({"sram_cell_um2": "0"}, "sram_cell_um2: got '0'")],
)  # fmt: skip
def test_refusals_of_optional_columns(extra: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        evaluate(ROW | extra)
