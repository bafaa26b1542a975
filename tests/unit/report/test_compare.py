"""Comparisons of made-up runs: differences and area efficiency by hand, and what is left unknown."""

from typing import Any

import pytest
from rich.console import Console

from hdasim.core.layout import CAUSES
from hdasim.cost.summary import SUMS
from hdasim.report.compare import Run, compare, comparison_page, print_comparison, rows_of

UNITS = ("busy", "systolic_array", "mac_tree", "vector_unit", "dram", "noc", "p2p")


def summary(ttft: float | None, itl: float, **changes: Any) -> dict[str, Any]:
    latencies = {f"{s}_{key}_ms": itl for key in ("ttft", "tpot", "itl", "e2el") for s in ("mean", "median", "p99")}
    return {
        "request_throughput": 2.0, "request_goodput": None, "output_throughput": 20.0, "total_token_throughput": 100.0,
        "saturated": False, "saturation": {"kind": "online", "excess": 0.0, "reason": ""}, **latencies, "mean_ttft_ms": ttft,
        "device": dict.fromkeys(UNITS) | {"dram": 0.5}, "bottleneck": dict.fromkeys(CAUSES, 0.0) | {"dram": 1.0}, **changes,
    }  # fmt: skip


def costs(area: float | None, devices: int = 1) -> dict[str, Any]:
    return {"devices": devices, **dict.fromkeys(SUMS, 1.0), "die_total_mm2": area}


def test_adors_area_efficiency() -> None:
    # papers.md 5: area ratio 826 / 516; TBT 2.36 times better gives 3.78, TTFT 1.206 times 1.93
    first = Run("a100", "", summary(1.206, 23.6), costs(826))
    own = compare([first, Run("ador", "", summary(1.0, 10.0), costs(516))])["runs"][1]
    assert own["figures"]["area_efficiency_tbt"] == pytest.approx(3.78, abs=0.005)
    assert own["figures"]["area_efficiency_ttft"] == pytest.approx(1.93, abs=0.005)
    assert own["difference"]["mean_itl_ms"] == pytest.approx(10 / 23.6 - 1)
    assert own["difference"]["request_throughput"] == 0 and own["difference"]["request_goodput"] is None


@pytest.mark.parametrize(
    ("ttft", "area"), [(None, 516.0), (1.0, None), (0.0, 516.0)], ids=["no first token", "no area", "no time"]
)
def test_what_cannot_be_compared_is_unknown(ttft: float | None, area: float | None) -> None:
    document = compare([Run("a", "", summary(1.0, 1.0), costs(826)), Run("b", "", summary(ttft, 1.0), costs(area))])
    assert document["runs"][1]["figures"]["area_efficiency_ttft"] is None


def test_energy_is_shown_where_it_is_known() -> None:
    power = {"average_w": 300.0, "joules_per_output_token": 0.6}
    runs = [Run("a", "", summary(1, 1, power=power), costs(1)), Run("b", "", summary(1, 1, power=None), costs(1)),
            Run("c", "", summary(1, 1, power=power | {"joules_per_output_token": 0.3}), costs(1))]  # fmt: skip
    document = compare(runs)
    assert [run["figures"]["joules_per_output_token"] for run in document["runs"]] == [0.6, None, 0.3]
    assert document["runs"][2]["difference"]["joules_per_output_token"] == -0.5
    console = Console(width=200, force_terminal=False, record=True)
    print_comparison(document, runs, console)
    line = next(line for line in console.export_text().splitlines() if line.startswith("energy per output token, J"))
    assert line.split()[-4:] == ["unknown", "0.3", "(-50.0", "%)"]


def test_units_stand_in_their_order_and_names_are_escaped() -> None:
    used = {"dram": 0.5, "mac_tree": 0.1, "busy": 1.0}
    runs = [Run("<a>", "", summary(1, 1), costs(1)), Run("b", "", summary(1, 1, device=dict.fromkeys(UNITS) | used), costs(1))]
    document = compare(runs)
    labels = [row.label for row in rows_of(document) if row.kind == "share"]
    assert labels == ["utilisation, busy", "utilisation, MAC tree", "utilisation, DRAM bandwidth"]
    page = comparison_page(document, runs)
    assert "&lt;a&gt;" in page and "<a>" not in page
