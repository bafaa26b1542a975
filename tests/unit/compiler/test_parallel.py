"""Division over devices: bytes between them as papers.md 3.8 counts them, stages, whole experts."""

from typing import Any

import msgspec
import numpy as np
import pytest

import hdasim
from hdasim.compiler.parallel import shard, stage_sizes
from hdasim.compiler.program import compile_program, pipeline
from hdasim.device.latency import build
from hdasim.errors import CapacityError, SpecError
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load, load_device, presets
from hdasim.spec.serving import Serving


def experiment(model: str = "llama3-8b", **serving: Any) -> Experiment:
    e = load("ador-llama3-8b", [f"model.preset={model}", "device.dram.capacity=4 TB"])
    return msgspec.structs.replace(e, serving=Serving(**serving))


def link_bytes(e: Experiment, batch: int) -> dict[str, float]:
    """Bytes on the links in one decode step, by operator, summed over stages and repetitions."""
    machine, step, ops = hdasim.step(e, "decode", batch, 100)
    result: dict[str, float] = {}
    for o, r in zip(machine.operators(), ops, strict=True):
        result[o.op.name] = result.get(o.op.name, 0.0) + float(r["p2p_bytes"])
    assert sum(result.values()) == step["p2p_bytes"]
    return result


# ---- tensor parallel: papers.md 3.8, LLaMA3-70B: H 8192, F 28672, 80 layers, vocabulary 128256, 2 bytes ----

LAYERS, H, F, V = 80, 8192, 28672, 128256
VOLUMES = {  # bytes per layer, device and token, times d
    ("all_gather", "direct"): lambda d: (d - 1) * (3 * H + F) * 2,
    ("all_reduce", "direct"): lambda d: d * (d - 1) * (3 * H + F) * 2,
    ("all_reduce", "ring"): lambda d: 2 * (d - 1) * (3 * H + F) * 2,
    ("megatron", "direct"): lambda d: 2 * d * (d - 1) * H * 2,
    ("megatron", "ring"): lambda d: 4 * (d - 1) * H * 2,
}
#: The table of papers.md, in units of 1024 bytes, for 2, 4, 8 and 16 devices.
PRINTED = {
    ("all_gather", "direct"): (52, 78, 91, 97.5),
    ("all_reduce", "direct"): (104, 312, 728, 1560),
    ("all_reduce", "ring"): (104, 156, 182, 195),
    ("megatron", "direct"): (32, 96, 224, 480),
    ("megatron", "ring"): (32, 48, 56, 60),
}


@pytest.mark.parametrize("batch", [1, 37])
@pytest.mark.parametrize("devices", [1, 2, 4, 8, 16])
@pytest.mark.parametrize(("method", "algorithm"), VOLUMES)
def test_volumes_to_the_byte(method: str, algorithm: str, devices: int, batch: int) -> None:
    sent = link_bytes(experiment("llama3-70b", device_count=devices, tp_method=method, tp_algorithm=algorithm), batch)
    head = sent.pop("lm_head")
    whole, rest = divmod(batch * VOLUMES[method, algorithm](devices), devices)
    assert rest == 0
    assert sum(sent.values()) == LAYERS * whole
    # the logits of every sequence are gathered once a step, whatever the method, and belong to no layer
    assert head == (devices - 1) * batch * V * 2 / devices
    if batch == 1 and devices > 1:
        assert whole / 1024 == PRINTED[method, algorithm][devices.bit_length() - 2]


def test_which_operators_talk() -> None:
    syncs = {
        "megatron": {"o_proj", "down_proj"},
        "all_gather": {"prefill_attention", "decode_attention", "o_proj", "activation", "down_proj"},
        "all_reduce": {"prefill_attention", "decode_attention", "o_proj", "activation", "down_proj"},
    }
    for method, names in syncs.items():
        ops = compile_program(experiment("llama3-70b", device_count=4, tp_method=method)).ops
        assert {op.name for op in ops if op.sync} == names | {"lm_head"}


# ---- pipeline ----


def test_stage_sizes() -> None:
    # as vLLM's get_pp_indices: what is left over goes to the stages before the last
    assert stage_sizes(80, 4) == [20, 20, 20, 20]
    assert stage_sizes(61, 4) == [15, 15, 16, 15]
    assert stage_sizes(94, 4) == [23, 24, 24, 23]
    assert stage_sizes(7, 4) == [2, 2, 2, 1]
    assert stage_sizes(7, 2) == [4, 3]
    assert stage_sizes(5, 5) == [1] * 5
    assert stage_sizes(5, 1) == [5]
    for layers in range(1, 40):
        for stages in range(1, layers + 1):
            sizes = stage_sizes(layers, stages)
            assert sum(sizes) == layers and max(sizes) - min(sizes) <= 1 and sizes[-1] == min(sizes)
    with pytest.raises(SpecError, match=r"size: 6 stages are more than the model's 5 layers; set it to 5 or less"):
        stage_sizes(5, 6)


@pytest.mark.parametrize("name", presets("models"))
def test_stages_hold_the_model_between_them(name: str) -> None:
    e = experiment(name, pipeline_parallel_size=3)
    stages = pipeline(e)
    assert sum((stage.layers for stage in stages), ()) == e.model.layers
    assert [(stage.first, stage.last) for stage in stages] == [(True, False), (False, False), (False, True)]
    compiled = [compile_program(e, stage) for stage in stages]
    copy = e.model.vocab_size * e.model.hidden_size * e.model.activation_bytes if e.model.tie_word_embeddings else 0
    assert sum(c.memory.weights for c in compiled) == pytest.approx(e.model.weight_total_bytes + copy, rel=1e-9)
    assert sum(c.memory.page_bytes for c in compiled) == 16 * e.model.kv_bytes_per_token
    names = [{op.name for op in c.ops} for c in compiled]
    assert ["embedding" in n for n in names] == [True, False, False]
    assert ["lm_head" in n for n in names] == [False, False, True]


def test_equal_stages_share_a_program_and_the_least_pages_decide() -> None:
    machine = build(experiment("llama3-70b", pipeline_parallel_size=8))
    cores = [stage.core for stage in machine.stages]
    assert len(set(cores)) == 3 and len(set(cores[1:-1])) == 1
    assert machine.page_count == min(stage.compiled.memory.page_count for stage in machine.stages)
    assert machine.page_count < machine.stages[1].compiled.memory.page_count  # no tables in the middle


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("stages", [2, 4, 5])
def test_a_step_is_its_stages_and_the_links_between_them(stages: int, devices: int) -> None:
    plain, piped = (
        experiment("llama3-70b", device_count=devices, pipeline_parallel_size=s, tp_algorithm="ring") for s in (1, stages)
    )
    machine, step, ops = hdasim.step(piped, "decode", 8, 1000)
    _, whole, _ = hdasim.step(plain, "decode", 8, 1000)
    links = [i for i, o in enumerate(machine.operators()) if o.op.name == "p2p"]
    assert len(links) == stages - 1
    # 8 tokens x 8192 x 2 bytes over 32 GB/s and 1 us
    assert [float(ops[i]["p2p_bytes"]) for i in links] == [8 * 8192 * 2] * (stages - 1)
    assert [float(ops[i]["exposed"]) for i in links] == pytest.approx([8 * 8192 * 2 / 32e9 + 1e-6] * (stages - 1))
    assert step["p2p_bytes"] == whole["p2p_bytes"] + (stages - 1) * 8 * 8192 * 2
    assert step["dram_bytes"] == pytest.approx(whole["dram_bytes"], rel=1e-12)
    assert step["macs"].sum() == pytest.approx(whole["macs"].sum())
    parts = [part.core.step(np.ones(8, np.int64), np.full(8, 1000), 8 * (i == 2 * stages - 2))[0]["time"]
             for i, part in enumerate(machine.chain)]  # fmt: skip
    assert step["time"] == pytest.approx(sum(parts))
    assert step["limited"].sum() == pytest.approx(step["time"])
    assert step["bound"] <= step["time"]
    # stages stream less each, at the lower utilisation of the fit: a pipeline does not make one batch faster
    assert step["time"] > whole["time"]


# ---- expert parallel: Mixtral 8x7B, E 8, k 2, H 4096, F_e 14336, 32 layers ----


@pytest.mark.parametrize("method", ["megatron", "all_gather", "all_reduce"])
@pytest.mark.parametrize("batch", [1, 37, 64])
@pytest.mark.parametrize("devices", [2, 4, 8])
def test_bytes_of_expert_parallel(devices: int, batch: int, method: str) -> None:
    sent = link_bytes(experiment("mixtral-8x7b", device_count=devices, enable_expert_parallel=True, tp_method=method), batch)
    d, hidden = devices, batch * 4096 * 2 * 32
    # dispatch and combine: T k H b / d to other devices with probability (d - 1) / d
    assert sent["dispatch"] == sent["experts_down"] == pytest.approx(2 * hidden / d * (d - 1) / d)
    assert sent["gather"] == pytest.approx(hidden * (d - 1) / d)
    # from row-split summands: reduce-scatter; from column slices: each device's columns of all tokens to all columns of its own
    assert sent["o_proj"] == pytest.approx(hidden * (d - 1) / d / (d if method == "all_gather" else 1))
    talking = {name for name, sent_bytes in sent.items() if sent_bytes}
    attention = {"decode_attention"} if method != "megatron" else set()
    assert talking == {"o_proj", "dispatch", "experts_down", "gather", "lm_head"} | attention


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_whole_experts_are_divided(devices: int) -> None:
    e = experiment("mixtral-8x7b", device_count=devices, enable_expert_parallel=True)
    ops = {op.name: op for op in compile_program(e).ops}
    up = ops["experts_gate_up"]
    assert (up.experts, up.k, up.n, up.top_k) == (8 // devices, 4096, 2 * 14336, 2)
    assert up.weight_size * devices == 8 * 4096 * 2 * 14336 * 2
    # the same bytes as when every expert is cut
    cut = {op.name: op for op in compile_program(experiment("mixtral-8x7b", device_count=devices)).ops}
    assert up.weight_size == cut["experts_gate_up"].weight_size
    if devices == 1:
        assert ops == cut


def test_the_busiest_device_reads_the_expected_number_of_its_experts() -> None:
    # DeepSeek-V3 on 16 devices: 16 of 256 experts each, 8 chosen. 64 tokens: 16 (1 - (1 - 8/256)^64) = 13.90 of them
    e = experiment("deepseek-v3", device_count=16, enable_expert_parallel=True)
    machine, _, ops = hdasim.step(e, "decode", 64, 100)
    records = {o.op.name: (o, r) for o, r in zip(machine.operators(), ops, strict=True)}
    o, r = records["experts_gate_up"]
    each = o.op.k * o.op.n * o.op.weight_bytes * o.repeat
    assert r["dram_bytes"] / each == pytest.approx(16 * (1 - (1 - 8 / 256) ** 64))
    assert r["useful_macs"] == 64 * 8 / 16 * o.op.k * o.op.n * o.repeat
    # one token: 0.5 expected on a device, but the busiest has a whole expert, and one row
    machine, _, ops = hdasim.step(e, "decode", 1, 100)
    o, r = {o.op.name: (o, r) for o, r in zip(machine.operators(), ops, strict=True)}["experts_gate_up"]
    assert r["dram_bytes"] == each
    assert r["useful_macs"] == o.op.k * o.op.n * o.repeat


def test_shared_experts_are_whole_and_see_a_share_of_the_tokens() -> None:
    e = experiment("deepseek-v3", device_count=16, enable_expert_parallel=True)
    machine, _, ops = hdasim.step(e, "decode", 64, 100)
    o, r = {o.op.name: (o, r) for o, r in zip(machine.operators(), ops, strict=True)}["shared_gate_up_proj"]
    assert (o.op.k, o.op.n) == (7168, 2 * 2048)
    assert r["useful_macs"] == 64 / 16 * 7168 * 4096 * 58
    weights = compile_program(e).memory.weights
    plain = compile_program(experiment("deepseek-v3", device_count=16)).memory.weights
    # 15/16 of 58 shared experts of 3 x 7168 x 2048 weights more than when they are cut too
    assert weights - plain == pytest.approx(58 * 3 * 7168 * 2048 * 15 / 16 * e.model.weight_bytes, rel=1e-6)


@pytest.mark.parametrize("name", ["mixtral-8x7b", "deepseek-v3", "qwen3-30b-a3b", "gpt-oss-120b"])
@pytest.mark.parametrize("method", ["megatron", "all_gather", "all_reduce"])
def test_experts_in_a_pipeline_run_and_stay_above_their_bound(name: str, method: str) -> None:
    e = experiment(name, device_count=4, pipeline_parallel_size=3, enable_expert_parallel=True, tp_method=method)
    for phase, batch in (("prefill", 1), ("decode", 1), ("decode", 50), ("mixed", 8)):
        _, step, _ = hdasim.step(e, phase, batch, 500)
        _, exact, _ = hdasim.step(e, phase, batch, 500, exact=True)
        assert step["bound"] * (1 - 1e-12) <= step["time"] == pytest.approx(exact["time"], rel=1e-3)


# ---- refusals ----


@pytest.mark.parametrize(
    ("model", "serving", "message"),
    [
        ("llama3-8b", {"enable_expert_parallel": True}, r"serving.enable_expert_parallel: llama3-8b has no experts; leave"),
        (
            "mixtral-8x7b",
            {"enable_expert_parallel": True, "device_count": 16},
            r"serving.device_count: num_experts 8 is not divisible by 16 devices; use one of 1, 2, 4, 8",
        ),
        ("llama3-8b", {"pipeline_parallel_size": 33}, r"serving.pipeline_parallel_size: 33 stages are more than the model's 32"),
    ],
)
def test_plans_that_do_not_fit_the_model(model: str, serving: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build(experiment(model, **serving))


def test_stages_need_links() -> None:
    e = experiment(pipeline_parallel_size=2)
    e = msgspec.structs.replace(e, device=msgspec.structs.replace(e.device, p2p=None))
    with pytest.raises(SpecError, match=r"device.p2p: ador has no links"):
        build(e)


def test_advice_offers_a_pipeline_where_no_group_is_large_enough() -> None:
    groq = msgspec.structs.replace(load("ador-llama3-8b"), device=load_device("groq-tsp"))
    with pytest.raises(CapacityError, match=r"set serving.pipeline_parallel_size to 4 and device_count to 32$"):
        compile_program(groq)
    # and what it says is enough
    serving = Serving(device_count=32, pipeline_parallel_size=4, max_num_batched_tokens=256)
    e = msgspec.structs.replace(groq, serving=serving)
    assert all(compile_program(e, stage).memory.page_count > 0 for stage in pipeline(e))
    # Falcon-7B has 71 heads, so 1 or 71 devices. 13.25 GB of layers, 0.59 of table: 1.1 (13.25 x 7/32 + 0.59) = 3.84 GB is more
    # than 0.9 x 4.2 = 3.78, and 1.1 (13.25 x 6/32 + 0.59) = 3.38 is less, so six stages
    e = load("ador-llama3-8b", ["model.preset=falcon-7b", "device.dram.capacity=4.2 GB"])
    with pytest.raises(CapacityError, match=r"set serving\.device_count to 71, or pipeline_parallel_size to 6$"):
        compile_program(e)
    tiny = msgspec.structs.replace(e, device=load("ador-llama3-8b", ["device.dram.capacity=1 MB"]).device)
    with pytest.raises(CapacityError, match=r"no pipeline of up to 32 stages .* holds it; use devices with more memory"):
        compile_program(tiny)


def test_a_stage_that_does_not_fit_is_named() -> None:
    e = load("ador-llama3-8b", ["serving.pipeline_parallel_size=2", "device.dram.capacity=9 GB"])
    with pytest.raises(CapacityError, match=r"a stage of 16 layers of llama3-8b needs .* for weights, activations and one page"):
        build(e)


def test_replication_of_kv_heads_is_per_group() -> None:
    model = experiment("llama3-70b").model
    assert [shard(model, Serving(device_count=d)).kv_heads for d in (1, 4, 8, 16, 64)] == [8, 2, 1, 1, 1]
