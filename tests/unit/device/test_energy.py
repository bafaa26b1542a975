"""Energies of devices against arithmetic by hand, and against what chips are known to draw."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest

import hdasim
from hdasim.core import layout
from hdasim.cost.area import die_area
from hdasim.device.energy import STATIC, Energies, energies, record, sram_byte
from hdasim.errors import SpecError
from hdasim.spec.experiment import Experiment
from hdasim.spec.hardware import Device
from hdasim.spec.load import load, load_device, presets
from hdasim.spec.power import Power

UNKNOWN = {"a40", "b200", "groq-tsp", "jetson-orin", "jetson-thor", "rtx-pro-6000"}
PARTS = layout.ENERGY_PARTS


def known(device: Device) -> Energies:
    result = energies(device)
    assert result is not None
    return result


def experiment(device: str, *overrides: str) -> Experiment:
    return load("ador-llama3-8b", [f"device.preset={device}", *overrides])


def only(**each: float) -> str:
    """Energies of 0 but for `each`, in microjoules, on no process node: the joules are then counts x 1e-6."""
    names = ("mac", "tree_mac", "vector_op", "dram_byte", "global_byte", "local_byte", "noc_byte", "link_byte")
    given = ", ".join(f"{name}: {each.get(name, 0)} uJ" for name in names)
    return f"device.power={{{given}, static: {each.get('static', 1e-30)}}}"


def joules(e: Experiment, phase: str = "decode", batch: int = 4, length: int = 256) -> tuple[Any, np.ndarray]:
    _, step, ops = hdasim.step(e, phase, batch, length)
    return step, ops


# ---- the energies themselves ----


def test_an_a100_by_hand() -> None:
    """mma: 0.34 + 0.38 + 1792 / 2048 B x 0.9375 + 2 x 2 / 64 B of shared memory (192 KiB); L2: 1.75 + 0.64 x 2/3 x sqrt(826)."""
    a100 = known(load_device("a100"))
    # between 32 KiB (1.0625 pJ/B) and 1 MiB (1.75), over logarithms: log2(192) - 5 = 2.585 of 5 steps
    shared = 1.0625 + (1.75 - 1.0625) * 2.585 / 5
    assert sram_byte(192 * 1024) == pytest.approx(shared, rel=1e-4)
    assert a100.mac == pytest.approx((0.72 + 0.8203125 + 0.0625 * shared) * 1e-12, rel=1e-4)
    assert a100.global_byte == pytest.approx((1.75 + 0.64 * 2 / 3 * 28.7402) * 1e-12, rel=1e-4)
    assert a100.dram_byte == pytest.approx(43.75e-12)
    assert a100.static == pytest.approx(826 * 81.27398 / 815, rel=1e-6)  # 82.4 W
    assert a100.idle == 60


def test_an_h100_pays_for_its_clock() -> None:
    """5 nm takes 0.70 at the speed of 7 nm and 1 / 1.15 at 1.15 of it (TSMC); wgmma reads 0.5 B of registers, 0.039 B shared."""
    h100 = load_device("h100")
    assert h100.power is not None
    at = {
        gain: known(msgspec.structs.replace(h100, power=msgspec.structs.replace(h100.power, clock_gain=gain))).mac
        for gain in (1.0, 1.15)
    }
    seven = 0.72 + 0.5 * 0.9375 + 10240 / 262144 * sram_byte(256 * 1024)
    assert at[1.0] == pytest.approx(0.70 * seven * 1e-12)
    assert at[1.15] == pytest.approx(seven / 1.15 * 1e-12, rel=2e-3)
    assert known(h100).mac > at[1.15]


def test_sizes_beyond_the_table_have_the_energy_of_a_bank() -> None:
    assert sram_byte(1024) == sram_byte(8 << 10) == 7.5 / 8
    assert sram_byte(64 << 20) == sram_byte(1 << 20) == 14 / 8


def test_a_chip_of_ones_own_has_static_power_by_its_die() -> None:
    """No preset: the node, the memory and the die that the area model finds."""
    device = msgspec.structs.replace(load_device("ador"), name="own", core_count=48)
    assert known(device).static == pytest.approx(STATIC * die_area(device).total)
    assert known(device).static > known(load_device("ador")).static


@pytest.mark.parametrize("name", presets("hardware"))
def test_presets_know_their_energies_or_say_nothing(name: str) -> None:
    device = load_device(name)
    assert device.power is not None
    result = energies(device)
    assert (result is None) == (name in UNKNOWN)
    if result is None:
        assert device.power.tdp  # a data sheet's limit is not a source of energies
        return
    assert all(math.isfinite(value) and value >= 0 for value in msgspec.to_builtins(result).values())
    assert 0.3e-12 < result.mac < 4e-12
    if device.power.tdp is not None:
        assert result.static < 0.4 * device.power.tdp


def test_fp8_takes_less_as_its_rate_is_higher() -> None:
    h100 = load_device("h100")
    each = record(h100, energies(h100))
    assert each is not None
    bf16, fp8, int8, fp4 = each["array"][0]
    assert fp8 == int8 == pytest.approx(bf16 / 2)
    assert fp4 == bf16  # it has no such rate, and computes in bf16


@pytest.mark.parametrize(
    ("power", "message"),
    [
        (Power(process_node="7nm"), "name the memory, such as HBM2e"),
        (Power(process_node="7nm", memory="HBM2"), "the device has links to others; name their kind"),
        (Power(process_node="7nm", memory="HBM2", links="PCIe4"), "give die, in mm2, or the device's area"),
    ],
)
def test_what_is_missing_is_named(power: Power, message: str) -> None:
    device = msgspec.structs.replace(load_device("ador"), power=power, area=None)
    with pytest.raises(SpecError, match=message) as caught:
        energies(device)
    assert caught.value.path[:2] == ("device", "power")


def test_unknown_stays_unknown() -> None:
    a100 = load_device("a100")
    for power in (None, Power(), Power(tdp=400.0), Power(mac=1e-12), Power(memory="HBM2e", static=80.0)):
        assert energies(msgspec.structs.replace(a100, power=power)) is None


# ---- what the engine counts ----


def test_energy_is_joules_times_counts() -> None:
    """Each energy set to 1 uJ shows its count; all together are the sum of each x its own energy."""
    e = experiment("ador")
    step, _ = joules(e)
    each = known(load_device("ador"))
    total = step["energy"].sum()
    names = [name for name in Energies.__dataclass_fields__ if name not in ("static", "idle")]
    counts = {name: 1e6 * float(joules(experiment("ador", only(**{name: 1.0})))[0]["energy"][:-1].sum()) for name in names}
    assert counts["mac"] + counts["tree_mac"] == pytest.approx(step["macs"].sum())
    assert counts["dram_byte"] == pytest.approx(step["dram_bytes"])
    assert counts["link_byte"] == step["p2p_bytes"] == 0
    assert all(counts[name] > 0 for name in ("vector_op", "local_byte", "noc_byte"))
    expected = sum(getattr(each, name) * counts[name] for name in names) + each.static * float(step["time"])
    assert total == pytest.approx(expected, rel=1e-12)


def test_a_gemm_by_hand() -> None:
    """The LM head in decode: 4 x 4096 x 128,256 multiply-accumulates, each with 0.72 pJ on the trees or 0.78 on the arrays."""
    machine, _, ops = hdasim.step(experiment("ador", only(mac=1.0, tree_mac=1.0)), "decode", 4, 256)
    names = [operator.op.name for operator in machine.operators()]
    assert 1e6 * ops["energy"][names.index("lm_head")] == pytest.approx(4 * 4096 * 128_256)
    _, _, ops = hdasim.step(experiment("ador", only(dram_byte=1.0)), "decode", 4, 256)
    assert 1e6 * ops["energy"][names.index("lm_head")] == pytest.approx(4096 * 128_256 * 2)


def test_operands_of_an_array_by_hand() -> None:
    """A prompt on the arrays of `ador`, 64 x 64 of fp16: 2 / 64 B of activations and 2 x 4 / 64 B of partial sums each,
    and weights: read from DRAM once, written to local memory, and read by every row of cores."""
    e = experiment("ador", "device.core.mac_tree=null", "device.dataflow=latency", only(local_byte=1.0))
    machine, _, ops = hdasim.step(e, "prefill", 1, 512)
    names = [operator.op.name for operator in machine.operators()]
    i = names.index("qkv_proj")
    weights = 32 * 4096 * 6144 * 2
    assert machine.core.mapping(i, 512)["grid_rows"] == 1
    assert machine.core.mapping(i, 512)["row_tiles"] == 1
    assert 1e6 * ops["energy"][i] == pytest.approx(32 * 512 * 4096 * 6144 * (2 / 64 + 8 / 64) + 2 * weights)


def test_a_gpus_gemm_reads_strips_from_l2() -> None:
    """4096 x 4096 x 4096 in the tiles that the kernel chooses: A for every column of tiles, B for every row, C once."""
    from hdasim.core._core import gpu_gemm
    from hdasim.device.gpu import record as gpu_record

    case = np.zeros(1, layout.GEMM_CASE)
    for name, value in {"m": 4096, "n": 4096, "k": 4096, "a_bytes": 2, "b_bytes": 2, "c_bytes": 2}.items():
        case[name] = value
    kernel = gpu_gemm(gpu_record(load_device("a100")), case)[0]
    side = 4096 * 4096 * 2
    assert kernel["split"] == 1
    assert kernel["l2_bytes"] == side * (4096 / kernel["tile_n"] + 4096 / kernel["tile_m"] + 1)


@pytest.mark.parametrize("device", ["ador", "h100"])
def test_static_power_takes_its_time(device: str) -> None:
    """Only static power: the step's energy is watts x its time, and half the watts are half of it."""
    for watts in (100.0, 50.0):
        step, ops = joules(experiment(device, only(static=watts)))
        assert step["energy"][PARTS.index("static")] == pytest.approx(watts * float(step["time"]))
        assert step["energy"].sum() == pytest.approx(watts * float(step["time"]))
        assert not ops["energy"].any()


@pytest.mark.parametrize("device", ["ador", "a100", "a100-ador", "tpu-v4"])
@pytest.mark.parametrize("phase", ["prefill", "decode", "mixed"])
def test_phases_sum_to_the_total(device: str, phase: str) -> None:
    step, ops = joules(experiment(device), phase, 8, 700)
    assert step["phase_energy"].sum() == pytest.approx(step["energy"].sum(), rel=1e-12)
    assert ops["energy"].sum() == pytest.approx(step["energy"][:-1].sum(), rel=1e-12)
    assert (step["phase_energy"][0] > 0) == (phase != "decode")
    assert (step["phase_energy"][1] > 0) == (phase != "prefill")


def test_attention_counts_to_its_own_phase() -> None:
    """8 decodes beside a prompt of 700: of all but attention, decode has 8 / 708."""
    machine, step, ops = hdasim.step(experiment("ador"), "mixed", 8, 700)
    kinds = np.array([operator.op.kind for operator in machine.operators()])
    own = ops["energy"][kinds == "decode_attention"].sum()
    attention = own + ops["energy"][kinds == "prefill_attention"].sum()
    assert own > 0
    assert step["phase_energy"][1] == pytest.approx(own + 8 / 708 * (step["energy"].sum() - attention))


def test_every_core_and_layer_gives_the_same_energy() -> None:
    e = experiment("ador", "device.core_count=16")
    _, short, _ = hdasim.step(e, "mixed", 4, 300)
    _, exact, _ = hdasim.step(e, "mixed", 4, 300, exact=True)
    assert short["energy"] == pytest.approx(exact["energy"], rel=1e-9)


def test_unknown_energies_cost_nothing_and_change_nothing() -> None:
    powered, silent = joules(experiment("ador"))[0], joules(experiment("ador", "device.power=null"))[0]
    assert not silent["energy"].any()
    assert not silent["phase_energy"].any()
    assert powered["time"] == silent["time"]


def test_tensor_parallel_devices_pay_for_their_links() -> None:
    step, _ = joules(experiment("a100", "serving.device_count=2"))
    each = known(load_device("a100"))
    assert step["energy"][PARTS.index("links")] == pytest.approx(each.link_byte * float(step["p2p_bytes"]))
    assert step["p2p_bytes"] > 0


# ---- against known chips ----


@pytest.mark.parametrize(("name", "tdp"), [("a100", 400), ("h100", 700)])
def test_prefill_at_full_load_draws_what_the_data_sheet_allows(name: str, tdp: float) -> None:
    """Within 25 %. Nothing was fitted on the limit: the energies are those of the process node."""
    step, _ = joules(experiment(name), "prefill", 8, 2048)
    assert float(step["energy"].sum() / step["time"]) == pytest.approx(tdp, rel=0.25)


@pytest.mark.parametrize("name", ["a100", "h100", "h200"])
def test_decode_draws_far_less_than_prefill(name: str) -> None:
    """An H200 draws 137 to 300 W of 700 in decode (Ma et al., arXiv 2605.11999); an A100 43 to 76 % of 400 (Splitwise's data)."""
    watts = {}
    for phase, batch in (("prefill", 8), ("decode", 1), ("decode", 64)):
        step, _ = joules(experiment(name), phase, batch, 1024)
        watts[phase, batch] = float(step["energy"].sum() / step["time"])
    device = load_device(name)
    assert device.power is not None
    assert device.power.tdp is not None
    assert 0.2 * device.power.tdp < watts["decode", 1] < watts["decode", 64] < 0.6 * device.power.tdp
    assert watts["prefill", 8] > 1.6 * watts["decode", 64]


def test_a_tpu_draws_what_google_measured() -> None:
    """121 W at least, 170 on average and 192 at most in production (Jouppi et al., ISCA 2023): decode within that,
    prefill near it."""
    decode, prefill = (joules(experiment("tpu-v4"), *case)[0] for case in (("decode", 64, 1024), ("prefill", 8, 2048)))
    assert 121 < float(decode["energy"].sum() / decode["time"]) < 192
    assert 170 < float(prefill["energy"].sum() / prefill["time"]) < 1.25 * 192


def test_the_limit_of_a_card_is_told_not_enforced() -> None:
    machine, step, _ = hdasim.step(experiment("h100-pcie"), "prefill", 4, 2048)
    assert machine.device.power is not None
    assert float(step["energy"].sum() / step["time"]) > (machine.device.power.tdp or 0)
