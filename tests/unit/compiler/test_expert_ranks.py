"""Experts spread over the devices of data-parallel ranks: rows, bytes, experts and volumes by hand."""

from typing import Any

import msgspec
import numpy as np
import pytest

import hdasim
from hdasim.compiler.parallel import shard
from hdasim.compiler.program import compile_program
from hdasim.compiler.text import describe
from hdasim.device.collectives import collective_seconds
from hdasim.device.latency import Machine, build
from hdasim.errors import CapacityError, CoreError, SpecError
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load, load_device
from hdasim.spec.serving import Serving

BACKENDS = ("all_to_all", "allgather_reducescatter")


def experiment(model: str, device: str, **serving: Any) -> Experiment:
    """On the plain template, whose operators of experts are apart; a GPU's are one fused kernel."""
    e = load("ador-llama3-8b", [f"model.preset={model}"])
    plain = msgspec.structs.replace(load_device(device), gpu=None)
    return msgspec.structs.replace(e, device=plain, serving=Serving(enable_expert_parallel=True, **serving))


def records(machine: Machine, ops: np.ndarray) -> dict[str, tuple[Any, Any]]:
    """(operator, OP_STEP) by name, of the layers with experts (the last that has the name)."""
    return {o.op.name: (o, r) for o, r in zip(machine.operators(), ops, strict=True)}


def each(record: tuple[Any, Any], field: str) -> float:
    """What one repetition of an operator counts."""
    return float(record[1][field]) / record[0].repeat


# ---- Qwen3-30B-A3B on 2 x RTX PRO 6000: E 128, k 8, H 2048, F_e 768, 48 layers, bf16 ----


def test_qwen3_on_two_ranks_of_one_device() -> None:
    e = experiment("qwen3-30b-a3b", "rtx-pro-6000", data_parallel_size=2)
    machine, step, ops = hdasim.step(e, "decode", 64, 1000)
    names = records(machine, ops)
    up, down = names["experts_gate_up"], names["experts_down"]
    assert (up[0].op.experts, up[0].op.k, up[0].op.n, up[0].op.group) == (64, 2048, 2 * 768, 2)
    # 128 tokens of both ranks x 8 experts / 2 devices = 512 rows of 2048 x 1536, and of 768 x 2048
    assert each(up, "useful_macs") == 512 * 2048 * 1536
    assert each(down, "useful_macs") == 512 * 768 * 2048
    # 64 (1 - (1 - 8/128)^128) = 63.98 of its 64 experts
    hit = 64 * (1 - (1 - 8 / 128) ** 128)
    assert each(up, "dram_bytes") == pytest.approx(hit * 2048 * 1536 * 2)
    # attention and router see the rank's own 64 tokens
    assert each(names["o_proj"], "useful_macs") == 64 * 32 * 128 * 2048
    assert each(names["router"], "useful_macs") == 64 * 2048 * 128
    # all-to-all: 128 x 8 x 2048 x 2 bytes of all tokens, / 2 devices x 1/2 to the other
    assert each(names["dispatch"], "p2p_bytes") == each(down, "p2p_bytes") == 128 * 8 * 2048 * 2 / 4
    seconds = collective_seconds(e.device.p2p, "alltoall", 2, 128 * 8 * 2048 * 2 / 2)
    assert names["dispatch"][1]["exposed"] == pytest.approx(48 * float(seconds), rel=1e-3)
    # one device in a rank: nothing else is exchanged
    assert {name for name, (_, r) in names.items() if r["p2p_bytes"]} == {"dispatch", "experts_down"}
    assert step["bound"] <= step["time"]


def test_qwen3_gathers_and_reduces_the_states_of_all_tokens() -> None:
    e = experiment("qwen3-30b-a3b", "rtx-pro-6000", data_parallel_size=2, all2all_backend="allgather_reducescatter")
    machine, step, ops = hdasim.step(e, "decode", 64, 1000)
    names = records(machine, ops)
    # 128 x 2048 x 2 bytes, of which a device lacks half, and has half of the sums to give
    assert each(names["dispatch"], "p2p_bytes") == each(names["experts_sum"], "p2p_bytes") == 128 * 2048 * 2 / 2
    assert {name for name, (_, r) in names.items() if r["p2p_bytes"]} == {"dispatch", "experts_sum"}
    # each device adds 512 rows of 2048; there are no shared experts to add to the sums
    assert names["experts_sum"][0].op.n == 8 * 2048 / 2 and "combine" not in names
    seconds = collective_seconds(e.device.p2p, "all_gather", 2, 128 * 2048 * 2)
    assert names["dispatch"][1]["exposed"] == pytest.approx(48 * float(seconds), rel=1e-3)
    assert step["bound"] <= step["time"]


def test_qwen3_holds_half_of_the_experts() -> None:
    alone = build(experiment("qwen3-30b-a3b", "rtx-pro-6000", data_parallel_size=1))
    shared = build(experiment("qwen3-30b-a3b", "rtx-pro-6000", data_parallel_size=2))
    # 48 layers x 64 experts x 3 x 2048 x 768 x 2 bytes = 28.99 GB less, which are 18,432 pages of 16 x 98,304 bytes more
    less = 48 * 64 * 3 * 2048 * 768 * 2
    assert alone.compiled.memory.weights - shared.compiled.memory.weights == less
    assert shared.compiled.memory.page_bytes == 16 * 48 * 2 * 4 * 128 * 2
    assert shared.page_count - alone.page_count == less // (16 * 98_304)


# ---- DeepSeek-V3 on 8 x H200: E 256, k 8, H 7168, F_e 2048, 58 of 61 layers, weights of 1 byte, activations of 2 ----


@pytest.mark.parametrize(("ranks", "devices"), [(8, 1), (4, 2)])
def test_deepseek_v3_on_eight_devices(ranks: int, devices: int) -> None:
    e = experiment("deepseek-v3", "h200", data_parallel_size=ranks, device_count=devices)
    s = shard(e.model, e.serving)
    assert (s.experts, s.expert_devices, s.heads) == (32, 8, 128 // devices)
    machine, step, ops = hdasim.step(e, "decode", 64, 1000)
    names = records(machine, ops)
    up, total = names["experts_gate_up"], 64 * ranks
    # `total` tokens x 8 experts / 8 devices
    assert each(up, "useful_macs") == total * 7168 * 2 * 2048
    assert each(up, "dram_bytes") == pytest.approx(32 * (1 - (1 - 8 / 256) ** total) * 7168 * 4096 * e.model.weight_bytes)
    # the tokens that a device owns pass its router and its shared expert
    assert each(names["router"], "useful_macs") == 64 // devices * 7168 * 256
    assert each(names["shared_gate_up_proj"], "useful_macs") == 64 // devices * 7168 * 4096
    # the all-to-all of `total` x 8 x 7168 x 2 bytes between 8 devices
    assert each(names["dispatch"], "p2p_bytes") == total * 8 * 7168 * 2 / 8 * 7 / 8
    # in a rank of two: half of 64 x 7168 x 2 bytes is scattered and gathered again
    if devices == 2:
        assert each(names["o_proj"], "p2p_bytes") == each(names["gather"], "p2p_bytes") == 64 * 7168 * 2 / 2
    else:
        assert each(names["o_proj"], "p2p_bytes") == 0 and "gather" not in names
    assert step["bound"] <= step["time"]


@pytest.mark.parametrize(("ranks", "devices"), [(8, 1), (4, 2)])
def test_deepseek_v3_by_all_gather_and_reduce_scatter(ranks: int, devices: int) -> None:
    e = experiment("deepseek-v3", "h200", data_parallel_size=ranks, device_count=devices, all2all_backend=BACKENDS[1])
    machine, step, ops = hdasim.step(e, "decode", 64, 1000)
    names = records(machine, ops)
    for name in ("dispatch", "experts_sum"):
        assert each(names[name], "p2p_bytes") == 64 * ranks * 7168 * 2 * 7 / 8
    # the shared expert's output is added to the tokens that the device owns
    assert names["combine"][0].op.n == 7168 and names["combine"][0].op.rows == ("share" if devices > 1 else "tokens")
    assert step["bound"] <= step["time"]


# ---- Mixtral-8x7B on 8 x ADOR: E 8, k 2, H 4096, F_e 14336, 32 layers, bf16 ----


def test_mixtral_on_two_ranks_of_four_devices() -> None:
    e = experiment("mixtral-8x7b", "ador", data_parallel_size=2, device_count=4)
    machine, _, ops = hdasim.step(e, "decode", 64, 1000)
    names = records(machine, ops)
    up = names["experts_gate_up"]
    # one expert on each device, for 128 x 2 / 8 = 32 rows
    assert (up[0].op.experts, each(up, "useful_macs")) == (1, 32 * 4096 * 28672)
    # at least one expert is read: 1 (1 - (6/8)^128) is less
    assert each(up, "dram_bytes") == 4096 * 28672 * 2
    # over 8 devices 128 x 2 x 4096 x 2 / 8 x 7/8 bytes, over 4 devices 64 x 4096 x 2 x 3/4
    assert each(names["dispatch"], "p2p_bytes") == 128 * 2 * 4096 * 2 / 8 * 7 / 8
    assert each(names["o_proj"], "p2p_bytes") == each(names["gather"], "p2p_bytes") == 64 * 4096 * 2 * 3 / 4
    # links of 32 GB/s in 7 parts, one chunk of 128 x 2 x 4096 x 2 / 64 bytes on each, 1 us: 32,768 x 7 / 32e9 + 1e-6 = 8.168 us
    assert float(names["dispatch"][1]["communication"][1]) / 32 == pytest.approx(8.168e-6)


# ---- unequal ranks ----


@pytest.mark.parametrize("backend", BACKENDS)
def test_unequal_ranks(backend: str) -> None:
    e = experiment("mixtral-8x7b", "ador", data_parallel_size=2, device_count=4, all2all_backend=backend)
    machine = build(e)

    def sent(own: int, group: int) -> tuple[float, float]:
        """Rows of the experts, and bytes that the busiest device receives in the dispatch."""
        _, ops = machine.step([1] * own, [100] * own, own, group_tokens=group)
        names = records(machine, ops)
        return each(names["experts_gate_up"], "useful_macs") / 4096 / 28672, each(names["dispatch"], "p2p_bytes")

    # 16 tokens here, 48 there: 64 x 2 / 8 rows on every device
    small, large = sent(16, 64), sent(48, 64)
    assert small[0] == large[0] == 16
    if backend == "all_to_all":  # this rank's devices send 16, and receive what 64 send; there they send as much as 2 x 48 would
        assert small[1] == 64 * 2 * 4096 * 2 / 8 * 7 / 8
        assert large[1] == 96 * 2 * 4096 * 2 / 8 * 7 / 8
    else:  # all devices gather the same 64 tokens
        assert small[1] == large[1] == 64 * 4096 * 2 * 7 / 8
    # 9 tokens x 2 experts over 8 devices: 3 rows on the busiest
    assert sent(4, 9)[0] == 3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("devices", [1, 4])
def test_a_rank_without_sequences_computes_its_experts(devices: int, backend: str) -> None:
    e = experiment("deepseek-v3", "ador", data_parallel_size=8, device_count=devices, all2all_backend=backend)
    e = msgspec.structs.replace(e, device=load("ador-llama3-8b", ["device.dram.capacity=1 TB"]).device)
    machine = build(e)
    empty, ops = machine.step([], [], 0, group_tokens=40)
    names = records(machine, ops)
    working = {name for name, (_, r) in names.items() if r["unit_time"].any()}
    travel = {"experts_sum"} if backend == BACKENDS[1] else set()
    assert working == {"dispatch", "experts_gate_up", "experts_activation", "experts_down"} | travel
    # what they do for the others does not depend on who has the tokens
    full, others = machine.step([1] * 5, [100] * 5, 5, group_tokens=40)
    for name in working:
        for field in ("useful_macs", "dram_bytes", "p2p_bytes"):
            assert names[name][1][field] == records(machine, others)[name][1][field]
    assert 0 < empty["bound"] <= empty["time"] < full["time"]
    assert machine.step([], [], 0, group_tokens=40, exact=True)[0]["time"] == pytest.approx(empty["time"], rel=1e-9)


def test_a_pipeline_of_ranks_takes_empty_batches() -> None:
    e = experiment("deepseek-v3", "ador", data_parallel_size=4, pipeline_parallel_size=20)
    e = msgspec.structs.replace(e, device=load("ador-llama3-8b", ["device.dram.capacity=1 TB"]).device)
    machine = build(e)
    # the first stage has dense layers only, the links nothing to carry
    first, *rest = (part.core.step(np.zeros(0, np.int64), np.zeros(0, np.int64), 0, group_tokens=8)[0] for part in machine.chain)
    assert first["time"] == 0
    assert [r["time"] > 0 for r in rest] == [i % 2 == 1 for i in range(len(rest))]


# ---- refusals and words ----


def test_group_tokens_that_cannot_be() -> None:
    machine = build(experiment("mixtral-8x7b", "ador", data_parallel_size=2, device_count=4))
    for own, group in ((4, 3), (4, -1), (0, 0)):
        with pytest.raises(CoreError, match=r"out of range|1 or more items"):
            machine.step([1] * own, [9] * own, own, group_tokens=group)
    with pytest.raises(CoreError, match="more than the program was created for"):
        machine.step([1] * 4, [9] * 4, 4, group_tokens=4 + 2048 + 1)
    alone = build(experiment("mixtral-8x7b", "ador", device_count=4))
    with pytest.raises(CoreError, match="out of range"):
        alone.step([1] * 4, [9] * 4, 4, group_tokens=5)


def test_experts_that_do_not_divide() -> None:
    for serving, product in (({"data_parallel_size": 3, "device_count": 2}, "3 x device_count 2"),
                             ({"data_parallel_size": 16}, "16 x device_count 1")):  # fmt: skip
        with pytest.raises(SpecError) as error:
            shard(experiment("mixtral-8x7b", "ador").model, Serving(enable_expert_parallel=True, **serving))
        assert f"data_parallel_size {product}; make the product one of 1, 2, 4, 8" in str(error.value)
        assert error.value.path == ("serving", "data_parallel_size")


def test_ranks_that_share_experts_need_links_and_replicas_do_not() -> None:
    e = experiment("mixtral-8x7b", "ador", data_parallel_size=2)
    large = load("ador-llama3-8b", ["device.dram.capacity=1 TB"]).device
    e = msgspec.structs.replace(e, device=msgspec.structs.replace(large, p2p=None))
    with pytest.raises(SpecError, match=r"device.p2p: ador has no links to other devices; give p2p"):
        build(e)
    build(msgspec.structs.replace(e, serving=Serving(data_parallel_size=2)))


def test_recursive_algorithm_needs_a_power_of_two() -> None:
    e = experiment("qwen2-57b-a14b", "ador", data_parallel_size=4, tp_algorithm="recursive")
    assert build(e).expert_ranks == 4
    e = msgspec.structs.replace(e, model=msgspec.structs.replace(e.model, num_experts=66), serving=msgspec.structs.replace(
        e.serving, data_parallel_size=3))  # fmt: skip
    with pytest.raises(SpecError, match=r"tp_algorithm recursive takes 1, 2, 4, 8, .. devices, not 3"):
        build(e)


def test_advice_counts_a_rank_and_its_part_of_the_experts() -> None:
    # DeepSeek-V3 on one ADOR of 80 GB in each of 8 ranks: 654 GB of experts / 8 = 82 GB and 17 GB of the rest are too much
    with pytest.raises(
        CapacityError, match=r"in each of 8 data-parallel ranks: 2 x ador .* has 1; set serving.device_count to 2"
    ):
        compile_program(experiment("deepseek-v3", "ador", data_parallel_size=8))
    assert build(experiment("deepseek-v3", "ador", data_parallel_size=8, device_count=2)).page_count > 0


def test_words() -> None:
    assert Serving(data_parallel_size=8, enable_expert_parallel=True).group("h200") == "8 x h200 (data, experts over 8)"
    both = Serving(data_parallel_size=4, device_count=2, enable_expert_parallel=True)
    assert both.group("h200") == "4 x 2 x h200 (data x tensor, experts over 8)"
    assert both.group("h200", replicas=False) == "2 x h200 (tensor, experts over 8)"
    assert Serving(device_count=2, enable_expert_parallel=True).group("h200") == "2 x h200 (tensor and expert)"
    machine = build(experiment("mixtral-8x7b", "ador", data_parallel_size=2, device_count=4, all2all_backend=BACKENDS[1]))
    text = describe(machine.compiled, machine.core, machine.device, [1], 1)
    assert "Experts: 8, 1 whole ones on each of the 8 devices of all data-parallel ranks" in text
    assert "each token goes to 2 of them and back: all_gather, reduce_scatter" in text
    assert "$G tokens of all data-parallel ranks that share experts" in text
    assert "all_gather $G x 8,192 B" in text and "reduce_scatter $G x 8,192 B" in text
