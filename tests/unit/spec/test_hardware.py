"""The hardware presets: they load, reach the printed peaks, state links per direction, and name a source for every number."""

import re

import pytest
import yaml

from hdasim.device.gpu import borrowed, record
from hdasim.errors import SpecError
from hdasim.spec.hardware import ConstantUtilization, Device, LogUtilization, MacTree
from hdasim.spec.load import load_device, preset_path, presets

GIB = 2**30
# Name: (dense fp16/bf16 TFLOPS, DRAM bytes, DRAM bytes/s, link bytes/s of one direction) as papers.md 2.1 and 2.3 or the data
# sheet print them, which mean 10^9 bytes and 2^30 bytes by GB of DRAM, and 0 for no links.
PRINTED: dict[str, tuple[float, float, float, float]] = {
    "a100": (312, 80 * GIB, 2039e9, 300e9),  # A100 data sheet, SXM 80 GB
    "a100-40gb": (312, 40 * GIB, 1555e9, 300e9),  # A100 data sheet of 2020, SXM 40 GB
    "a100-pcie": (312, 80 * GIB, 1935e9, 32e9),  # A100 data sheet, PCIe 80 GB
    "a100-ador": (312, 80e9, 2e12, 300e9),  # papers.md 2.3
    "h100": (989.4, 80 * GIB, 3350e9, 450e9),  # H100 data sheet, SXM: 1,979 with sparsity
    "h100-pcie": (756, 80 * GIB, 2039e9, 64e9),  # H100 data sheet, PCIe: 1,513 with sparsity; bandwidth printed 2 TB/s
    "h200": (989.4, 141 * GIB, 4.8e12, 450e9),  # H200 data sheet
    "b200": (2250, 180 * GIB, 8e12, 900e9),  # DGX B200 data sheet, an eighth
    "l40s": (362.05, 48e9, 864e9, 32e9),  # L40S data sheet
    "a40": (149.7, 48e9, 696e9, 32e9),  # A40 data sheet
    "rtx-pro-6000": (480, 96 * GIB, 1597e9, 64e9),  # 4 x 120 TFLOPS of fp32, RTX PRO 6000 Server Edition data sheet
    "rtx-4090": (165.2, 24 * GIB, 1008e9, 32e9),  # Ada white paper, fp32 accumulate
    "mi210": (181, 64 * GIB, 1638.4e9, 150e9),  # MI210 data sheet; bandwidth printed 1.6 TB/s
    "jetson-orin": (42.5, 64 * GIB, 204.8e9, 0),  # Jetson AGX Orin technical brief, a quarter of 170 TOPS int8 sparse
    "jetson-thor": (258.75, 128 * GIB, 273e9, 0),  # Jetson T5000 data sheet, an eighth of 2,070 TFLOPS fp4 sparse
    "tpu-v4": (275, 32 * GIB, 1.2e12, 100e9),  # papers.md 2.1
    "groq-tsp": (205, 220e6, 80e12, 165e9),  # papers.md 2.1
    "llmcompass-l": (196.6, 80e9, 2e12, 300e9),  # papers.md 2.3
    "llmcompass-t": (786.4, 512e9, 1e12, 300e9),  # papers.md 2.3
    "ador": (417.8, 80e9, 2e12, 32e9),  # papers.md 2.3
}
# Dense TFLOPS or TOPS of other types, from the same sheets: (fp8, int8, fp4), 0 for types that the tensor cores lack.
OTHER_TYPES: dict[str, tuple[float, float, float]] = {
    "a100": (0, 624, 0),
    "a100-40gb": (0, 624, 0),
    "a100-pcie": (0, 624, 0),
    "h100": (1979, 1979, 0),
    "h100-pcie": (1513, 1513, 0),
    "h200": (1979, 1979, 0),
    "b200": (4500, 4500, 9000),
    "l40s": (733, 733, 0),
    "a40": (0, 299.3, 0),
    "rtx-pro-6000": (960, 960, 1920),
    "rtx-4090": (330.3, 660.6, 0),
    "mi210": (0, 181, 0),
    "jetson-orin": (0, 85, 0),
    "jetson-thor": (517, 517, 1035),
}
# Name: (generation, the one whose constants it has)
GENERATIONS = {
    "a100": ("ampere", "ampere"),
    "a100-40gb": ("ampere", "ampere"),
    "a100-pcie": ("ampere", "ampere"),
    "h100": ("hopper", "hopper"),
    "h100-pcie": ("hopper", "hopper"),
    "h200": ("hopper", "hopper"),
    "b200": ("blackwell", "hopper"),
    "l40s": ("ada", "blackwell-rtx"),
    "a40": ("ampere-ga10x", "blackwell-rtx"),
    "rtx-pro-6000": ("blackwell-rtx", "blackwell-rtx"),
    "rtx-4090": ("ada", "blackwell-rtx"),
    "mi210": ("cdna2", "cdna2"),
    "jetson-orin": ("ampere-ga10x", "blackwell-rtx"),
    "jetson-thor": ("blackwell-thor", "blackwell-rtx"),
}


def test_exactly_the_promised_presets_ship() -> None:
    assert presets("hardware") == sorted(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_preset_loads_with_the_printed_figures(name: str) -> None:
    tflops, capacity, dram, link = PRINTED[name]
    device = load_device(name)
    assert isinstance(device, Device)
    assert device.name == name
    assert device.peak_flops == pytest.approx(tflops * 1e12, rel=0.01)
    assert device.dram.bandwidth == dram
    assert device.dram.capacity == capacity
    assert (device.p2p.bandwidth if device.p2p else 0) == link
    assert device.p2p is None or 0 < device.p2p.latency < 10e-6


@pytest.mark.parametrize("name", OTHER_TYPES)
def test_gpu_has_the_printed_rate_of_every_type(name: str) -> None:
    device = load_device(name)
    assert device.gpu is not None
    for kind, printed in zip(("fp8", "int8", "fp4"), OTHER_TYPES[name], strict=True):
        # data sheets round to three figures
        assert device.peak_flops * getattr(device.gpu.rates, kind) == pytest.approx(printed * 1e12, rel=0.015)


@pytest.mark.parametrize("name", PRINTED)
def test_gpus_take_the_constants_of_their_generation_or_say_whose(name: str) -> None:
    device = load_device(name)
    if device.gpu is None:
        assert name not in GENERATIONS and borrowed(device) == ""
        return
    assert (device.gpu.generation, device.gpu.fitted_on) == GENERATIONS[name]
    assert device.gpu.fitted_on in presets("generations")
    own, other = GENERATIONS[name]
    assert borrowed(device) == (
        "" if own == other else f"{name}: no {own} GPU was measured; constants are those of {other}, the nearest generation"
    )


@pytest.mark.parametrize("name", GENERATIONS)
def test_gpus_are_plausible(name: str) -> None:
    device = load_device(name)
    assert device.gpu is not None
    record(device)
    assert isinstance(device.dram.utilization, ConstantUtilization) and device.dram.utilization.value == 1
    assert device.gpu.shared_memory <= device.core.local_memory
    # cycles from an SM to L2 and to DRAM
    assert 200 < device.gpu.l2_latency * device.frequency < 400
    assert 400 < device.gpu.dram_latency * device.frequency < 900


@pytest.mark.parametrize("name", presets("generations"))
def test_generations_of_measured_gpus_are_their_own(name: str) -> None:
    data = yaml.safe_load(preset_path("generations", name).read_text(encoding="utf-8"))
    assert (data["generation"], data["fitted_on"]) == (name, name)


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


def test_the_two_a100_differ_only_in_memory_launches_and_kernels() -> None:
    real, baseline = load_device("a100"), load_device("a100-ador")
    assert isinstance(baseline.dram.utilization, ConstantUtilization)
    assert baseline.dram.utilization.value == 0.60
    differing = {field for field in Device.__struct_fields__ if getattr(real, field) != getattr(baseline, field)}
    assert differing == {"name", "global_memory", "dram", "launch_overhead", "gpu"}


@pytest.mark.parametrize("name", PRINTED)
def test_gpus_pay_for_launches_and_accelerators_do_not(name: str) -> None:
    overhead = load_device(name).launch_overhead  # none for a100-ador, whose 60 % contain it
    assert 1e-6 < overhead <= 5e-6 if name in GENERATIONS else overhead == 0


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
