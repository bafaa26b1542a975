"""The hardware presets: they load, reach the printed peaks, state links per direction, and name a source for every number."""

import re

import pytest

from hdasim.errors import SpecError
from hdasim.spec.hardware import ConstantUtilization, Device, LogUtilization, MacTree
from hdasim.spec.load import load_device, preset_path, presets

# Name: (dense fp16/bf16 TFLOPS, DRAM bytes/s, link bytes/s of one direction) as printed in papers.md 2.1, 2.3 or the data sheet.
PRINTED: dict[str, tuple[float, float, float]] = {
    "a100": (312, 2039e9, 300e9),
    "a100-ador": (312, 2e12, 300e9),
    "h100": (989.4, 3350e9, 450e9),
    "h200": (989.4, 4.8e12, 450e9),
    "b200": (2250, 8e12, 900e9),
    "l40s": (362.05, 864e9, 32e9),
    "rtx-pro-6000": (480, 1597e9, 64e9),
    "rtx-4090": (165.2, 1008e9, 32e9),
    "tpu-v4": (275, 1.2e12, 100e9),
    "groq-tsp": (205, 80e12, 165e9),
    "llmcompass-l": (196.6, 2e12, 300e9),
    "llmcompass-t": (786.4, 1e12, 300e9),
    "ador": (417.8, 2e12, 32e9),
}


def test_exactly_the_promised_presets_ship() -> None:
    assert presets("hardware") == sorted(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_preset_loads_with_the_printed_figures(name: str) -> None:
    tflops, dram, link = PRINTED[name]
    device = load_device(name)
    assert isinstance(device, Device)
    assert device.name == name
    assert device.peak_flops == pytest.approx(tflops * 1e12, rel=0.01)
    assert device.dram.bandwidth == dram
    assert device.p2p is not None
    assert device.p2p.bandwidth == link
    assert 0 < device.p2p.latency < 10e-6


@pytest.mark.parametrize("name", PRINTED)
def test_on_chip_bandwidth_is_between_dram_and_ports(name: str) -> None:
    device = load_device(name)
    assert device.dram.bandwidth <= device.global_bandwidth
    # at most a tenth more than the ports of all cores take together (B200's assumed 10240 B/cycle against 148 x 64)
    assert device.global_bandwidth <= 1.1 * device.core_count * device.noc.link_width * device.frequency


def test_ador_peak_by_hand() -> None:
    # arrays 32 x 64 x 64 x 2 x 1.5e9 = 393.216e12; trees 32 x 16 x 16 x 2 x 1.5e9 = 24.576e12
    ador = load_device("ador")
    assert [2 * rate for rate in ador.peak_macs_per_second] == [393.216e12, 24.576e12]
    assert ador.core.mac_tree == MacTree(width=16, lanes=16, lanes_split=True)
    assert ador.dram.utilization == LogUtilization()
    # SRAM 32 x 2 MiB + 16 MiB = 80 MiB; a link of 128 B x 1.5 GHz = 192 GB/s
    assert ador.core_count * ador.core.local_memory + ador.global_memory == 80 * 2**20
    assert ador.noc.link_width * ador.frequency == 192e9


@pytest.mark.parametrize(
    ("name", "mebibytes"), [("llmcompass-l", 36), ("llmcompass-t", 96), ("a100-ador", 68.25), ("tpu-v4", 160)]
)
def test_sram_totals(name: str, mebibytes: float) -> None:
    device = load_device(name)
    assert device.core_count * device.core.local_memory + device.global_memory == mebibytes * 2**20


def test_the_two_a100_differ_only_in_memory_and_launches() -> None:
    real, baseline = load_device("a100"), load_device("a100-ador")
    assert isinstance(baseline.dram.utilization, ConstantUtilization)
    assert baseline.dram.utilization.value == 0.60
    differing = {field for field in Device.__struct_fields__ if getattr(real, field) != getattr(baseline, field)}
    assert differing == {"name", "global_memory", "dram", "launch_overhead"}


@pytest.mark.parametrize("name", PRINTED)
def test_gpus_pay_for_launches_and_accelerators_do_not(name: str) -> None:
    is_gpu = name.startswith(("a100", "h100", "h200", "b200", "l40s", "rtx")) and name != "a100-ador"  # the 60 % contain it
    overhead = load_device(name).launch_overhead
    assert 1e-6 < overhead < 5e-6 if is_gpu else overhead == 0


@pytest.mark.parametrize("name", PRINTED)
def test_every_number_has_a_source(name: str) -> None:
    lines = preset_path("hardware", name).read_text(encoding="utf-8").splitlines()
    numeric = [i for i, line in enumerate(lines) if re.match(r"\s*[\w-]+:.*[\s{\[,][-+.]?\d", line.split("#")[0])]
    assert len(numeric) >= 15
    bare = [lines[i] for i in numeric if "#" not in lines[i] and not lines[i - 1].lstrip().startswith("#")]
    assert bare == []


def test_unknown_preset_suggests_the_near_name() -> None:
    with pytest.raises(SpecError, match=r"unknown preset 'h10' \(did you mean 'h100'\?\)"):
        preset_path("hardware", "h10")
