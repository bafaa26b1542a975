"""What a device and an experiment cost, as plain data."""

import pytest

from hdasim.cost.experiment import experiment_cost
from hdasim.cost.summary import AREA, COST, SUMS, device_cost, system_cost
from hdasim.errors import SpecError
from hdasim.spec.load import load, load_device, open_device, presets


def test_the_a100_costs_what_llmcompass_prints() -> None:
    cost = device_cost(load_device("a100"))
    assert cost["die_cost_usd_no_yield"] == pytest.approx(150.74, abs=0.005)
    assert cost["die_cost_usd_with_yield"] == pytest.approx(425.61, abs=0.005)
    assert (cost["memory_cost_usd"], cost["memory_price"]) == (560, "HBM2e")
    assert cost["total_cost_usd_no_yield"] == pytest.approx(710.74, abs=0.005)
    assert cost["total_cost_usd_with_yield"] == pytest.approx(425.61 + 560, abs=0.005)
    assert cost["measured_die"] == {"area": 826, "source": "A100 white paper", "gap": pytest.approx(826.7636 / 826 - 1, rel=1e-3)}
    assert (cost["cores_on_die"], cost["core_count"], cost["over_reticle"]) == (128, 108, False)
    assert cost["tflops_per_mm2"] == pytest.approx(311.869 / 826.764, rel=1e-5)
    assert cost["one_off"] == {"mask_set_usd": 10.5e6, "package_and_assembly_usd": 21}


def test_the_price_of_memory_can_be_chosen() -> None:
    assert device_cost(load_device("llmcompass-t"))["total_cost_usd_no_yield"] == pytest.approx(295.21, abs=0.005)
    corrected, _ = open_device("llmcompass-t", ["area.memory_price=DDR5-2025"])
    assert device_cost(corrected)["memory_cost_usd"] == pytest.approx(512 * 2.4)
    without, _ = open_device("llmcompass-l", ["area.memory=null"])
    assert device_cost(without)["memory_cost_usd"] is None


def test_both_areas_of_the_mac_trees_are_told() -> None:
    cost = device_cost(load_device("ador"), "ador")
    assert cost["mac_tree_area"] == "ador"
    assert cost["die_total_mm2"] == pytest.approx(516, rel=0.02)
    rows = {(row["mac_tree_area"], row["links"]): (row["die_total_mm2"], row["gap"]) for row in cost["mac_tree_options"]}
    assert {option: [row for row in rows if row[0] == option] for option in ("synthesis", "ador")} == {
        option: [(option, "PCIe4 x16"), (option, "PCIe5 x16"), (option, "NVLink3 x12")] for option in ("synthesis", "ador")
    }
    # areas: papers.md 2.4 and llmcompass README 1
    for links, area, gap in (("PCIe4 x16", 374.5, -0.274), ("PCIe5 x16", 377.3, -0.269), ("NVLink3 x12", 398.1, -0.228)):
        assert rows["synthesis", links] == (pytest.approx(area, abs=0.05), pytest.approx(gap, abs=5e-4))
    assert rows["ador", "PCIe4 x16"][1] == pytest.approx(0, abs=1e-3)
    assert device_cost(load_device("a100"))["mac_tree_options"] is None


def test_a_die_over_the_reticle_is_told() -> None:
    device, _ = open_device("a100", ["area.memory.count=8"])
    assert device_cost(device)["over_reticle"] is True


def test_what_is_unknown_stays_unknown() -> None:
    cost = device_cost(load_device("rtx-4090"))
    assert "GDDR6X" in cost["unknown"]
    assert [cost[name] for name in (*AREA, *COST, "tflops_per_mm2", "over_reticle")] == [None] * (len(AREA) + len(COST) + 2)
    assert cost["peak_tflops"]["total"] == pytest.approx(165.2, abs=0.05)
    assert (cost["measured_die"]["area"], cost["measured_die"]["gap"]) == (608.5, None)


@pytest.mark.parametrize("name", presets("hardware"))
def test_every_preset_has_an_area_or_a_reason(name: str) -> None:
    cost = device_cost(load_device(name))
    assert (cost["die_total_mm2"] is None) == (cost["unknown"] is not None)
    if cost["measured_die"] and cost["measured_die"]["gap"] is not None:
        assert abs(cost["measured_die"]["gap"]) < 0.10  # LLMCompass, figure 6: within 10 % of the dies it was made for


def test_a_device_without_area_is_unknown_and_a_contradiction_an_error() -> None:
    device, _ = open_device("ador", ["area=null"])
    assert "ador has no area section" in device_cost(device)["unknown"]
    device, _ = open_device("a100", ["core_count=129"])
    with pytest.raises(SpecError, match=r"area\.cores"):
        device_cost(device)


def test_devices_add_up() -> None:
    a100, ador, unknown = (device_cost(load_device(name)) for name in ("a100", "ador", "l40s"))
    total = system_cost([(3, a100), (2, ador)])
    assert total["devices"] == 5
    assert total["die_total_mm2"] == pytest.approx(3 * a100["die_total_mm2"] + 2 * ador["die_total_mm2"])
    assert total["peak_tflops"] == pytest.approx(3 * 311.869 + 2 * 417.792, rel=1e-5)
    assert [system_cost([(3, a100), (1, unknown)])[name] for name in SUMS] == [None] * len(SUMS)


def test_every_device_of_an_experiment_counts() -> None:
    changes = ["serving.device_count=2", "serving.pipeline_parallel_size=2", "serving.data_parallel_size=3"]
    groups, total = experiment_cost(load("ador-llama3-8b", changes))
    assert [(group.title, group.count) for group in groups] == [("12 x ador", 12)]
    assert total["devices"] == 12
    groups, total = experiment_cost(load("llmshare-gpt3-175b"))
    assert [group.title for group in groups] == ["prefill: 32 x h100", "decode: 48 x h100"]
    assert total["die_total_mm2"] == pytest.approx(80 * 757.2286, rel=1e-6)


def test_errors_name_the_section_of_the_experiment() -> None:
    with pytest.raises(SpecError, match=r"^device\.area\.cores: the die has 4"):
        experiment_cost(load("ador-llama3-8b", ["device.area.cores=4"]))
