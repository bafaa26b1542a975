"""Steps of small machines against times worked out by hand."""

import msgspec
import pytest

from hdasim.device.latency import Machine, build
from hdasim.spec.experiment import Experiment
from hdasim.spec.hardware import ConstantUtilization, Core, Device, Dram, Noc, SystolicArray, VectorUnit
from hdasim.spec.load import load, load_device, presets
from hdasim.spec.model import Layer, Model
from hdasim.spec.serving import Serving
from hdasim.spec.workload import FixedLengths, PoissonArrival, Workload

WORKLOAD = Workload(arrival=PoissonArrival(request_rate=1.0), lengths=FixedLengths(input_len=1, output_len=1), num_prompts=1)


def tiny_device(**changes: object) -> Device:
    """One core at 1 GHz, 16 x 16 array, 1 GB/s DRAM at full efficiency, memories large enough for everything."""
    device = Device(
        frequency=1e9,
        core_count=1,
        core=Core(systolic_array=SystolicArray(rows=16, cols=16), vector_unit=VectorUnit(width=16), local_memory=64 * 2**20),
        global_memory=64 * 2**20,
        dram=Dram(capacity=1e9, bandwidth=1e9, utilization=ConstantUtilization(value=1.0)),
        noc=Noc(topology="crossbar", link_width=1024),
    )
    return msgspec.structs.replace(device, **changes)


def tiny_model(layers: int = 1) -> Model:
    """Hidden 64, 4 heads of 16, FFN 128, vocabulary 256, relu, no rotary."""
    return Model(
        name="tiny", hidden_size=64, num_attention_heads=4, num_key_value_heads=4, head_dim=16, vocab_size=256,
        intermediate_size=128, gated=False, activation="relu", norm="rmsnorm", tie_word_embeddings=False, rotary_dim=0,
        layers=(Layer(mlp="dense"),) * layers,
    )  # fmt: skip


def machine(device: Device, model: Model) -> Machine:
    return build(Experiment(device=device, model=model, workload=WORKLOAD, serving=Serving()))


def operators(m: Machine, q_len: list[int], past: list[int]) -> dict[str, msgspec.Raw]:
    step, ops = m.step(q_len, past, len(q_len))
    return {op.name: times for op, times in zip(m.compiled.ops, ops, strict=True)} | {"step": step}


def test_a_decode_step_streams_every_weight_once() -> None:
    # qkv 64 x 192, o 64 x 64, up 64 x 128, down 128 x 64: 12288 + 4096 + 8192 + 8192 = 32768 weights; lm_head 64 x 256 = 16384.
    # 2 bytes each: 98304. Keys and values of 10 tokens: 10 x 2 x 64 x 2 = 2560. Embedding row 128; new keys and values 256.
    ops = operators(machine(tiny_device(), tiny_model()), [1], [10])
    assert ops["step"]["dram_bytes"] == 98304 + 2560 + 128 + 256
    # at 1 GB/s these 101248 bytes take 101.248 us; DRAM is by far the slowest, and only the last tile and sampling follow it
    assert ops["step"]["time"] == pytest.approx(101.248e-6, rel=0.01)
    assert ops["step"]["time"] >= 101.248e-6 - 256e-9


def test_gemm_of_a_prefill_by_hand() -> None:
    # 100 tokens through up_proj 64 x 128 on 16 x 16: folds 4 x 8 = 32; cycles 16 + 31 x 100 + 100 + 16 + 16 - 2 = 3246 at 1 GHz
    ops = operators(machine(tiny_device(), tiny_model()), [100], [0])
    assert ops["up_proj"]["unit_time"][1] == pytest.approx(3246e-9)
    # relu on 100 x 128 elements, one operation each, 16 lanes: 800 cycles
    assert ops["activation"]["unit_time"][3] == pytest.approx(800e-9)
    # RMSNorm with residual, 4 operations: 100 x 64 x 4 / 16 = 1600 cycles
    assert ops["input_norm"]["unit_time"][3] == pytest.approx(1600e-9)


def test_prefill_attention_by_hand() -> None:
    # 4 heads, group 1: query tiles of 16 tokens (16 rows of the array), key blocks of 16. 32 tokens: tiles end at 16 and 32
    # keys, 1 + 2 = 3 score tiles a head, 12 in all. Each: scores ceil(16/16) fold, values ceil(16/16) x ceil(16/16) fold,
    # together 2 folds of 16 rows. 24 folds: 16 + 23 x 16 + 16 + 16 + 16 - 2 = 430 cycles.
    # Softmax: 12 x 16 x 16 scores x 8 operations / 16 lanes = 1536 cycles.
    ops = operators(machine(tiny_device(), tiny_model()), [32], [0])
    assert ops["prefill_attention"]["unit_time"][1] == pytest.approx(430e-9)
    assert ops["prefill_attention"]["unit_time"][3] == pytest.approx(1536e-9)
    # exact causal pairs 32 x 33 / 2 = 528 a head, times 4 heads, times 16 + 16 multiply-accumulates
    assert ops["prefill_attention"]["useful_macs"] == 528 * 4 * 32


def test_layers_add_up() -> None:
    one, five, nine = (machine(tiny_device(), tiny_model(n)).step([100], [0], 1)[0]["time"] for n in (1, 5, 9))
    assert nine - five == pytest.approx(five - one, rel=0.01)


def test_bound_by_hand() -> None:
    # 100 tokens: multiply-accumulates 100 x 32768 + 16384 (one emits) + 4 x 100 x 101 / 2 x 32; peak 256 per ns
    m = machine(tiny_device(dram=Dram(capacity=1e9, bandwidth=1e12, utilization=ConstantUtilization(value=1.0))), tiny_model())
    bound_by = m.step([100], [0], 1)[0]["bound_by"]
    assert bound_by[0] == pytest.approx((100 * 32768 + 16384 + 4 * 5050 * 32) / 256e9)
    # weights, 100 embedding rows of 128 bytes, and 256 bytes of new keys and values for each token
    assert bound_by[1] == pytest.approx((98304 + 12800 + 25600) / 1e12)


def test_without_prefetch_transfers_start_with_their_operator() -> None:
    slow, fast = (machine(tiny_device(prefetch=p), tiny_model(4)).step([64], [0], 1)[0]["time"] for p in (False, True))
    assert fast < slow


def test_launch_overhead_is_paid_once_per_operator() -> None:
    # norm, qkv, prefill attention, o, norm, up, relu, down, norm, lm_head, sampling: 11 (the embedding only moves data)
    plain, eager = (machine(tiny_device(launch_overhead=t), tiny_model()).step([100], [0], 1)[0] for t in (0.0, 1e-3))
    assert eager["time"] - plain["time"] == pytest.approx(11e-3, rel=0.02)
    assert eager["limited"][7] == pytest.approx(11e-3, rel=0.02)


def test_ador_decode_streams_at_the_utilisation_of_the_fit() -> None:
    # x = 15.14 GB: 0.0825 ln(15.14) + 0.5625 = 0.7867
    m = build(load("ador-llama3-8b"))
    step = m.step([1], [1024], 1)[0]
    gigabytes = step["dram_bytes"] / 1e9
    assert gigabytes == pytest.approx(15.14, abs=0.01)
    assert step["dram_bytes"] / step["time"] / 2e12 == pytest.approx(0.7867, rel=0.005)


def test_ador_prefill_of_1024_reaches_seventy_percent_of_the_array() -> None:
    m = build(load("ador-llama3-8b"))
    step = m.step([1024], [0], 1)[0]
    assert step["macs"][0] / step["time"] / m.device.peak_macs_per_second[0] >= 0.70


@pytest.mark.parametrize("name", presets("hardware"))
def test_every_preset_is_at_or_above_its_bound(name: str) -> None:
    e = msgspec.structs.replace(load("ador-llama3-8b"), device=load_device(name))
    if name == "groq-tsp":
        pytest.skip("220 MB of SRAM do not hold the model (tests/cli/test_bad_input.py)")
    m = build(e)
    for q_len, past in (([1], [1000]), ([1] * 100, [1000] * 100), ([2048], [0]), ([1] * 50 + [900], [700] * 50 + [300])):
        step, exact = m.step(q_len, past, len(q_len))[0], m.step(q_len, past, len(q_len), exact=True)[0]
        assert step["time"] >= step["bound"] * (1 - 1e-12)
        assert step["time"] == pytest.approx(exact["time"], rel=1e-3)


def test_ador_scheduler_runs_the_two_attentions_side_by_side() -> None:
    # papers.md 3.5: max(decode attention on the trees, prefill attention on the arrays) instead of their sum
    e = load("ador-llama3-8b")
    times = {}
    for scheduler in ("ador", "vllm"):
        m = build(msgspec.structs.replace(e, serving=Serving(scheduler=scheduler)))
        step, ops = m.step([1] * 64 + [1024], [1024] * 64 + [0], 65)
        times[scheduler] = step["time"]
        unit = {op.name: r["unit_time"].max() for op, r in zip(m.compiled.ops, ops, strict=True)}
    shorter = min(unit["prefill_attention"], unit["decode_attention"])
    assert times["vllm"] - times["ador"] == pytest.approx(shorter, rel=0.1)


MODELS = {
    "llama3-70b": 8, "mixtral-8x7b": 2, "qwen3-30b-a3b": 1, "deepseek-v3": 16, "falcon-40b": 2, "gpt3-175b": 8, "gpt-oss-120b": 2,
    "mistral-7b": 1, "opt-30b": 2, "phi-2": 1,
}  # fmt: skip


@pytest.mark.parametrize(("name", "devices"), MODELS.items())
@pytest.mark.parametrize("method", ["megatron", "all_gather", "all_reduce"])
def test_every_family_runs(name: str, devices: int, method: str) -> None:
    model = load("ador-llama3-8b", [f"model.preset={name}"]).model
    serving = Serving(device_count=devices, scheduler="ador", tp_method=method)
    m = build(Experiment(device=load_device("ador"), model=model, workload=WORKLOAD, serving=serving))
    for q_len, past in (([1] * 8, [1000] * 8), ([512], [0])):
        step, exact = m.step(q_len, past, len(q_len))[0], m.step(q_len, past, len(q_len), exact=True)[0]
        assert step["time"] >= step["bound"] * (1 - 1e-12)
        assert step["time"] == pytest.approx(exact["time"], rel=1e-3)
        assert (step["p2p_bytes"] > 0) == (devices > 1)
