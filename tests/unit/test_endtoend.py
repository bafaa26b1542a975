"""hdasim.validate.endtoend and layer on hand-made rows: what bounds a step, what is refused, what operators of a layer take."""

from typing import Any

import numpy as np
import pytest

from hdasim.device.collectives import collective_seconds
from hdasim.device.latency import Machine
from hdasim.spec.load import load_device
from hdasim.validate import endtoend, layer

BATCH = {
    "model": "llama2-70b", "hardware": "a100-80gb", "tensor_parallel": "8", "prompt_size": "512", "batch_size": "1",
    "token_size": "128", "prompt_time": "100", "token_time": "40",
}  # fmt: skip
SERVER = {
    "system": "h100_sxm", "backend": "vllm", "model_path": "meta-llama/Llama-3.1-8B-Instruct", "precision": "", "mode": "agg",
    "isl": "128", "osl": "32", "concurrency": "4.0", "tp_size": "1.0", "pp_size": "", "moe_ep_size": "", "measured": "",
    "silicon_ttft_ms": "10", "silicon_tpot_ms": "7",
}  # fmt: skip


def predicted(done: endtoend.Outcome) -> dict[str, float]:
    assert not done.refused
    return {name: value for name, _, value in done.times}


def launches(machine: Machine) -> float:
    """Kernels of a step as the host starts them: operators, all-reduces, and the write of the cache."""
    _, ops = machine.step([1], [576], 1)
    pairs = zip(machine.operators(), ops, strict=True)
    shown = [(op, record) for op, record in pairs if record["exposed"] > 0]
    return float(sum(op.repeat * (1 + (rec["communication"][1] > 0) + ("attention" in op.op.kind)) for op, rec in shown))


def test_a_small_step_takes_what_its_launches_take() -> None:
    machines: dict[Any, Machine] = {}
    done = endtoend.batch(BATCH, machines)
    assert [(name, measured) for name, measured, _ in done.times] == [("prompt", 100.0), ("token", 40.0)]
    (machine,) = machines.values()
    count = launches(machine)
    assert 80 * 6 <= count <= 80 * 15  # of a layer: two norms, four GEMMs, attention, two all-reduces, and what is beside them
    assert predicted(done)["token"] == pytest.approx(count * endtoend.LAUNCH["a100"] * 1e3)
    assert machine.step([1], [576], 1)[0]["time"] * 1e3 < predicted(done)["token"]


def test_a_large_step_takes_what_the_gpu_takes() -> None:
    machines: dict[Any, Machine] = {}
    done = endtoend.batch({**BATCH, "tensor_parallel": "2", "batch_size": "64", "prompt_size": "2000"}, machines)
    (machine,) = machines.values()
    step, _ = machine.step([1] * 64, [2064] * 64, 64)
    assert predicted(done)["token"] == pytest.approx(float(step["time"]) * 1e3)
    assert float(step["time"]) > launches(machine) * endtoend.LAUNCH["a100"]


def test_prompts_of_a_batch_run_one_after_the_other() -> None:
    machines: dict[Any, Machine] = {}
    one, four = (predicted(endtoend.batch({**BATCH, "batch_size": size}, machines))["prompt"] for size in ("1", "4"))
    assert four == pytest.approx(4 * one) and len(machines) == 1


@pytest.mark.parametrize(("change", "reason"), [
    ({"hardware": "h100-80gb-pcap"}, "no preset for h100-80gb-pcap"),
    ({"model": "bloom-176b"}, "no model bloom-176b"),
])  # fmt: skip
def test_batches_that_are_refused(change: dict[str, str], reason: str) -> None:
    assert endtoend.batch({**BATCH, **change}, {}) == endtoend.Outcome(refused=reason)


def test_a_server_has_times_of_its_requests() -> None:
    alone, busy = (predicted(endtoend.server({**SERVER, "concurrency": clients})) for clients in ("1", "32"))
    assert set(alone) == {"ttft", "tpot"} and 3 < alone["tpot"] < 10  # 16 GB of weights at 3.35 TB/s: 4.8 ms
    assert busy["tpot"] > alone["tpot"] and busy["ttft"] > alone["ttft"]
    quantised = predicted(endtoend.server({**SERVER, "concurrency": "1", "precision": "fp8"}))
    assert 0.4 < quantised["tpot"] / alone["tpot"] < 0.8
    only = endtoend.server({**SERVER, "silicon_ttft_ms": " "})
    assert [name for name, _, _ in only.times] == ["tpot"]


@pytest.mark.parametrize(("change", "reason"), [
    ({"mode": "disagg"}, "prefill and decode on servers of their own"),
    ({"model_path": "x/MiniMax-M2.5"}, "no model MiniMax-M2.5"),
    ({"backend": "tgi"}, "no server tgi"),
    ({"model_path": "meta-llama/Llama-3.1-70B"}, "weights"),  # in bf16 on one GPU
    ({"system": "b900_sxm"}, "b900"),
])  # fmt: skip
def test_servers_that_are_refused(change: dict[str, str], reason: str) -> None:
    done = endtoend.server({**SERVER, **change})
    assert reason in done.refused and not done.times


def test_a_layer_is_the_sum_of_its_operators() -> None:
    a100 = load_device("a100")
    times = dict(layer.operators(a100, 4, 8, 2048, 2048))
    total = times.pop("layer_total")
    assert total == pytest.approx(sum(times.values())) and len(times) == 12
    flops = 2 * 8 * 2048 * 12288 * 12288
    assert 3 * flops / 4 / 312e12 + 3 * layer.LAUNCH < times["qkv_proj(3 matmuls)"] < 3 * flops / 4 / 150e12
    scores = 2.0 * 8 * 24 * 2048 * 2048  # bytes of the scores of a device
    assert times["softmax"] > 2 * scores / a100.dram.bandwidth and times["q_mul_k"] > scores / a100.dram.bandwidth
    assert a100.p2p is not None
    reduce = collective_seconds(a100.p2p, "all_reduce", 4, np.array([8 * 2048 * 12288 * 2]))
    assert times["allreduce_mha"] == times["allreduce_ffn"] == pytest.approx(float(reduce[0]))


def test_a_decode_layer_reads_weights_and_cache_once_at_least() -> None:
    a100 = load_device("a100")
    times = layer.operators(a100, 4, 8, 1, 3073)
    assert times["w1_proj"] - layer.LAUNCH > 2 * 12288 * 12288 / a100.dram.bandwidth
    assert times["q_mul_k"] - layer.LAUNCH > 2.0 * 8 * 24 * 3073 * 128 / a100.dram.bandwidth
    assert times["gelu"] == pytest.approx(45e-6, rel=0.1)  # hardly more than its launch
