"""Blocks of operators as kernels of a GPU, against counts by hand."""

from typing import Any

import msgspec
import pytest

from hdasim.compiler.ops import Op
from hdasim.compiler.program import compile_program
from hdasim.device.latency import build
from hdasim.errors import SpecError
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load, load_device
from hdasim.spec.serving import Serving


def experiment(model: str = "llama3-8b", *overrides: str, **serving: Any) -> Experiment:
    e = load("ador-llama3-8b", [f"model.preset={model}", "device.preset=h100", *overrides])
    return msgspec.structs.replace(e, serving=Serving(**serving))


def ops(e: Experiment) -> dict[str, Op]:
    return {op.name: op for op in compile_program(e).ops}


def test_dense_layer() -> None:
    """LLaMA3-8B: H 4096, 32 + 2 x 8 heads of 128, F 14336, V 128256, two bytes everywhere."""
    by_name = ops(experiment())
    moved = {name: (op.read_bytes, op.write_bytes) for name, op in by_name.items() if op.kind == "vector"}
    assert moved == {
        "input_norm": (4 * 4096, 4 * 4096),  # hidden state and residual, both ways
        "rotary": (2 * 40 * 128, 2 * 40 * 128),  # queries and keys
        "post_norm": (4 * 4096, 4 * 4096),
        "activation": (2 * 2 * 14336, 2 * 14336),  # gate and up in, their product out
        "final_norm": (4 * 4096, 4 * 4096),
        "sampling": (6 * 128256, 4 * 128256),  # bf16 and fp32 read, fp32 written
    }
    assert not [op for op in by_name.values() if op.kind == "store"]  # attention writes the cache
    assert {op.type for op in by_name.values()} == {"bf16"}


def test_experts_are_one_kernel() -> None:
    """Mixtral 8x7B: 8 experts of 4096 x 14336, three matrices; nothing is left of the sum over experts."""
    by_name = ops(experiment("mixtral-8x7b", "device.dram.capacity=4 TB"))
    experts = by_name["experts"]
    assert (experts.kind, experts.k, experts.n, experts.inter) == ("experts", 4096, 3 * 14336, 14336)
    assert (experts.experts, experts.top_k) == (8, 2)
    assert experts.weight_size == 8 * 3 * 4096 * 14336 * 2
    assert not {"experts_gate_up", "experts_activation", "experts_down"} & by_name.keys()
    assert by_name["combine"].after == ("experts",)
    assert by_name["combine"].read_bytes == by_name["combine"].write_bytes == 0
    plain = ops(load("ador-llama3-8b", ["model.preset=mixtral-8x7b", "device.dram.capacity=4 TB"]))
    assert sum(op.weight_size for op in plain.values()) == sum(op.weight_size for op in by_name.values())


def test_shared_experts_are_added() -> None:
    """DeepSeek-V3: what is left to combine reads both sums of 7168 elements and writes one."""
    combine = ops(experiment("deepseek-v3", "device.dram.capacity=4 TB"))["combine"]
    assert (combine.read_bytes, combine.write_bytes) == (2 * 2 * 7168, 2 * 7168)
    assert set(combine.after) == {"experts", "shared_down_proj"}


def test_quantised_models_compute_in_their_type() -> None:
    by_name = ops(experiment("deepseek-v3", "device.dram.capacity=4 TB"))
    assert {name for name, op in by_name.items() if op.type == "fp8"} == {
        "q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj", "o_proj", "gate_up_proj", "down_proj", "experts", "shared_gate_up_proj",
        "shared_down_proj",
    }  # fmt: skip
    widened = ops(experiment("llama3-8b", "model.weight_bytes=0.5"))
    assert widened["qkv_proj"].type == "bf16"


def test_kernels_follow_each_other() -> None:
    """The step is the sum of what its kernels take, none of which is below its roofline."""
    machine = build(experiment())
    step, records = machine.step([1] * 8 + [100], [1000] * 8 + [0], 9)
    assert sum(records["exposed"]) == pytest.approx(step["time"], rel=1e-9)
    peak, rate = machine.device.peak_flops / 2, machine.device.dram.bandwidth
    for record in records:
        assert record["exposed"] >= max(record["useful_macs"] / peak, record["dram_bytes"] / rate)


def test_only_megatron() -> None:
    with pytest.raises(SpecError, match="use megatron"):
        compile_program(experiment(device_count=2, tp_method="all_gather"))


def test_plain_template_without_gpu() -> None:
    assert load_device("a100-ador").gpu is None
    e = load("ador-llama3-8b", ["device.preset=h100", "device.gpu=null"])
    assert "store" in {op.kind for op in compile_program(e).ops}
