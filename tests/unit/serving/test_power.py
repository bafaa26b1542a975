"""Power and energy of runs: what adds up to what, and what stays unknown."""

import csv
import io
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import hdasim
from hdasim.core import layout
from hdasim.report.files import StepsFile, result_document, to_json
from hdasim.report.table import print_result
from hdasim.simulate import Result, simulate
from hdasim.spec.load import load

WORKLOAD = "workload={arrival: {kind: poisson, request_rate: 20}, lengths: {kind: lognormal, input_mean: 600, input_cv: 1, \
output_mean: 40, output_cv: 1}, num_prompts: 60}"
write_profile = runpy.run_path(str(Path(__file__).parents[2] / "profile_files.py"))["write_profile"]
STATIC = layout.ENERGY_PARTS.index("static")


def run(*overrides: str, workload: str = WORKLOAD) -> Result:
    return hdasim.simulate(load("ador-llama3-8b", [workload, *overrides]))


def watts(result: Result) -> Any:
    known = result.machine.energies
    assert known is not None
    return known


def test_a_run_is_the_sum_of_its_steps_and_of_idle_time() -> None:
    result = run("device.preset=a100", "workload.arrival.request_rate=2")
    power, steps = result.summary["power"], result.served.steps
    known = watts(result)
    busy = steps["time"].sum()
    assert sum(power["by_part_j"].values()) == pytest.approx(power["energy_j"])
    assert sum(power["by_phase_j"].values()) == pytest.approx(power["energy_j"])
    for part, joules in zip(layout.ENERGY_PARTS, steps["energy"].sum(axis=0), strict=True):
        assert power["by_part_j"][part] == pytest.approx(joules)
    assert steps["phase_energy"].sum(axis=1) == pytest.approx(steps["energy"].sum(axis=1))
    assert power["by_part_j"]["static"] == pytest.approx(known.static * busy)
    assert power["by_part_j"]["idle"] == pytest.approx(known.idle * (result.summary["duration"] - busy))
    assert power["by_part_j"]["idle"] > 0


def test_averages_and_tokens() -> None:
    result = run("device.preset=a100", "workload.arrival.request_rate=2")
    s, power, steps = result.summary, result.summary["power"], result.served.steps
    each = steps["energy"].sum(axis=1) / steps["time"]
    assert power["average_w"] == pytest.approx(power["energy_j"] / s["duration"])
    assert power["step_w"] == pytest.approx(steps["energy"].sum() / steps["time"].sum())
    assert power["peak_w"] == pytest.approx(each.max())
    assert steps["power"] == pytest.approx(each)
    assert power["of_tdp"]["peak"] == pytest.approx(each.max() / 400)
    assert power["average_w"] < power["step_w"] < power["peak_w"]
    assert power["joules_per_output_token"] == pytest.approx(power["energy_j"] / s["total_output_tokens"])
    assert power["prefill_joules_per_prompt_token"] == pytest.approx(power["by_phase_j"]["prefill"] / s["total_input_tokens"])
    assert power["decode_joules_per_output_token"] == pytest.approx(power["by_phase_j"]["decode"] / s["total_output_tokens"])
    assert power["tokens_per_joule"] * power["joules_per_token"] == pytest.approx(1)


def test_time_above_the_limit_is_told() -> None:
    result = run("device.preset=h100-pcie")
    power, steps = result.summary["power"], result.served.steps
    above = steps["power"] > 350
    assert 0 < above.sum() < steps.size
    assert power["above_tdp"] == pytest.approx(steps["time"][above].sum() / steps["time"].sum())
    assert run().summary["power"]["above_tdp"] is None  # ADOR states no limit


def test_more_devices_draw_more() -> None:
    """Two devices of a tensor-parallel group: joules of both, watts of one."""
    result = run("device.preset=a100", "serving.device_count=2")
    power, steps = result.summary["power"], result.served.steps
    assert power["devices"] == 2
    assert power["by_part_j"]["static"] == pytest.approx(2 * watts(result).static * steps["time"].sum())
    assert power["step_w"] == pytest.approx(power["energy_j"] / 2 / steps["time"].sum(), rel=0.3)
    assert power["by_part_j"]["links"] > 0


def test_stages_of_a_pipeline_stand_while_others_run() -> None:
    result = run("device.preset=a100", "serving.pipeline_parallel_size=2")
    power, known = result.summary["power"], watts(result)
    ran = float(result.served.program_time[0][::2].sum())
    assert power["by_part_j"]["static"] == pytest.approx(known.static * ran)
    assert power["by_part_j"]["idle"] == pytest.approx(known.idle * (2 * result.summary["duration"] - ran))
    assert power["peak_w"] <= 400


def test_ranks_in_lockstep_wait_with_their_static_power_on() -> None:
    moe = ("model={preset: mixtral-8x7b}", "serving.data_parallel_size=2", "serving.enable_expert_parallel=true")
    result = run("device.preset=h200", *moe)
    power, steps = result.summary["power"], result.served.steps
    assert power["devices"] == 2
    assert steps["energy"][:, STATIC] == pytest.approx(2 * watts(result).static * steps["time"])
    assert steps["phase_energy"].sum(axis=1) == pytest.approx(steps["energy"].sum(axis=1))


POOLS = "cluster={router: least_outstanding, link: {bandwidth: 200 GB/s}, pools: [{role: prefill, count: 1}, \
{role: decode, count: 2, device: {preset: DECODE}}]}"


def test_pools_add_up() -> None:
    result = run("device.preset=a100", POOLS.replace("DECODE", "h200"))
    total, pools = result.summary["power"], [pool["power"] for pool in result.summary["pools"]]
    assert total["devices"] == 3
    assert total["energy_j"] == pytest.approx(sum(pool["energy_j"] for pool in pools))
    assert total["average_w"] == pytest.approx(total["energy_j"] / result.summary["duration"] / 3)
    for key in ("joules_per_output_token", "prefill_joules_per_prompt_token"):
        assert total[key] == pytest.approx(sum(pool[key] for pool in pools))
    assert pools[0]["by_phase_j"]["decode"] == 0


def test_a_pool_of_unknown_energies_leaves_the_total_unknown() -> None:
    result = run("device.preset=a100", POOLS.replace("DECODE", "b200"))
    assert result.summary["power"] is None
    assert [pool["power"] is None for pool in result.summary["pools"]] == [False, True]


def test_unknown_is_null_blank_and_said(tmp_path: Path) -> None:
    with StepsFile(tmp_path, several=False) as steps:
        result = simulate(load("ador-llama3-8b", [WORKLOAD, "device.preset=b200"]), sink=steps)
    assert result.summary["power"] is None
    assert json.loads(to_json(result_document(result)))["power"] is None
    rows = list(csv.DictReader((tmp_path / "steps.csv").read_text().splitlines()))
    assert {row["energy_j"] for row in rows} == {""}
    console = Console(record=True, width=160, file=io.StringIO())
    print_result(result, console)
    assert "Power: unknown" in console.export_text()


def test_steps_csv_holds_the_joules_of_each_step(tmp_path: Path) -> None:
    with StepsFile(tmp_path, several=False) as steps:
        result = simulate(load("ador-llama3-8b", [WORKLOAD, "device.preset=a100"]), sink=steps)
    rows = list(csv.DictReader((tmp_path / "steps.csv").read_text().splitlines()))
    assert [float(row["energy_j"]) for row in rows] == result.served.steps["energy"].sum(axis=1).tolist()


def test_the_table_tells_power() -> None:
    result = run("device.preset=a100")
    power = result.summary["power"]
    console = Console(record=True, width=160, file=io.StringIO())
    print_result(result, console)
    text = console.export_text()
    assert f"{power['peak_w']:,.1f} ({100 * power['of_tdp']['peak']:.1f} % of TDP)" in text
    assert f"{power['joules_per_output_token']:.4f}" in text


def test_a_profile_knows_no_energy_of_its_steps(tmp_path: Path) -> None:
    folder = write_profile(tmp_path / "tp1")
    result = run("device.preset=a100", f"profile={{path: {folder.parent}, extrapolate: true}}")
    assert result.summary["power"] is None


@pytest.mark.parametrize("name", ["a100", "h100"])
def test_a_saturated_prefill_server_draws_near_its_limit(name: str) -> None:
    """Prompts alone, all at once, one token out: the data sheet's limit within 25 %."""
    workload = "workload={arrival: {kind: poisson, request_rate: .inf}, lengths: {kind: fixed, input_len: 2048, output_len: 1}, \
num_prompts: 100}"
    power = run(f"device.preset={name}", "serving.max_num_batched_tokens=8192", workload=workload).summary["power"]
    assert power["of_tdp"]["average"] == pytest.approx(1, abs=0.25)
    assert power["by_phase_j"]["decode"] == 0
    assert np.isclose(power["by_phase_j"]["prefill"], power["energy_j"])
