"""Whole systems on GPUs against measured ones: batches through a replica, and servers under a constant number of requests.

Batches: vLLM of 2023 launched every kernel from Python, so a step takes no less than the host needs for that, launches x
`LAUNCH`, and a prompt `PROMPT` before it. Both are fitted on BLOOM-176B (python -m benchmarks.hosts) and used for Llama-2-70B,
whose launches are those of our operators. Prompts of a batch ran one after the other: the table's time of B prompts is about B
times that of one.

Servers: as soon as a request ends its client sends the next. Rows with a date are InferenceMAX's, which draws lengths evenly from
0.8 of the nominal ones to those; the others are taken to have one length. Schedulers are those that the servers have by default:
vLLM's, TensorRT-LLM's, which is alike but for whole prompts, and SGLang's, which runs prompts before decodes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from ..device.latency import Machine, build
from ..errors import CapacityError, SpecError
from ..simulate import simulate
from ..spec.experiment import Experiment
from ..spec.load import load_device, load_model
from ..spec.model import Model
from ..spec.serving import Serving
from ..spec.workload import ConcurrencyArrival, FixedLengths, Lengths, QuantileLengths, Workload

#: Seconds in which the hosts of the table launch a kernel, and what they take for a prompt beside its kernels.
LAUNCH = {"a100": 47.1e-6, "h100": 34.4e-6}
PROMPT = {"a100": 21.6e-3, "h100": 17.6e-3}
#: Requests of each client, as InferenceMAX has them.
WAVES = 10
_MODELS = {
    "llama2-70b": "llama2-70b", "Qwen3-32B": "qwen3-32b", "Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
    "Llama-3.1-8B-Instruct": "llama3-8b", "Llama-3.1-70B": "llama3-70b", "gpt-oss-120b": "gpt-oss-120b",
    "DeepSeek-V3": "deepseek-v3", "DeepSeek-R1": "deepseek-v3",
}  # fmt: skip
#: Schedulers of the servers, with the tokens of a step that they allow on an H100 by default.
_SERVERS: dict[str, dict[str, Any]] = {
    "vllm": {"scheduler": "vllm", "max_num_batched_tokens": 8192},
    "trtllm": {"scheduler": "vllm", "max_num_batched_tokens": 8192, "enable_chunked_prefill": False},
    "sglang": {"scheduler": "vllm_v0", "max_num_batched_tokens": 16384},
}

Cells = Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """(quantity, measured, predicted) of a row, in milliseconds, or why there are none."""

    times: tuple[tuple[str, float, float], ...] = ()
    refused: str = ""


def _model(name: str, precision: str) -> Model:
    """The preset for a name of the tables; quantised to fp8 or fp4 where they say so and the checkpoint does not."""
    model = load_model(_MODELS[name.rpartition("/")[2]])
    if precision == "fp8" and model.weight_bytes == model.activation_bytes:
        return msgspec.structs.replace(model, weight_bytes=1.0, attention_weight_bytes=1.0, compute_type="fp8")
    return model


def _count(cells: Cells, name: str) -> int:
    text = cells[name].strip()
    return int(float(text)) if text else 1


# ---- batches ----


def batch(cells: Cells, machines: dict[Any, Machine]) -> Outcome:
    """Prompt and token time of a batch; `machines` are kept from row to row."""
    gpu = cells["hardware"].partition("-")[0]
    if cells["hardware"] not in ("a100-80gb", "h100-80gb"):
        return Outcome(refused=f"no preset for {cells['hardware']}")
    if cells["model"] not in _MODELS:
        return Outcome(refused=f"no model {cells['model']}")
    devices, prompt = _count(cells, "tensor_parallel"), _count(cells, "prompt_size")
    size, tokens = _count(cells, "batch_size"), _count(cells, "token_size")
    key = gpu, devices
    if key not in machines:
        serving = Serving(device_count=devices, max_num_batched_tokens=16384)
        machines[key] = build(_experiment(gpu, _model(cells["model"], ""), serving, 1, 1, 1))
    machine = machines[key]
    first = PROMPT[gpu] + _eager(machine, [prompt], [0], LAUNCH[gpu])
    # the mean over a generation of the context is that of its middle: step times are linear in it
    each = _eager(machine, [1] * size, [prompt + tokens // 2] * size, LAUNCH[gpu])
    measured = float(cells["prompt_time"]), float(cells["token_time"])
    return Outcome((("prompt", measured[0], size * first * 1e3), ("token", measured[1], each * 1e3)))


def _eager(machine: Machine, q_len: list[int], past: list[int], launch: float) -> float:
    """Seconds of a step whose kernels the host launches one by one."""
    step, ops = machine.step(q_len, past, len(q_len))
    launches = sum(
        operator.repeat * (1 + (record["communication"][1] > 0) + ("attention" in operator.op.kind))  # and the cache write
        for operator, record in zip(machine.operators(), ops, strict=True)
        if record["exposed"] > 0
    )
    return max(float(step["time"]), float(launches * launch))


# ---- servers ----


def server(cells: Cells) -> Outcome:
    """TTFT and TPOT of a server with `concurrency` requests at all times."""
    name = cells["model_path"].rpartition("/")[2]
    if cells["mode"] != "agg":
        return Outcome(refused="prefill and decode on servers of their own")
    if name not in _MODELS:
        return Outcome(refused=f"no model {name}")
    if cells["backend"] not in _SERVERS:
        return Outcome(refused=f"no server {cells['backend']}")
    clients = _count(cells, "concurrency")
    serving = Serving(
        device_count=_count(cells, "tp_size"), pipeline_parallel_size=_count(cells, "pp_size"),
        enable_expert_parallel=_count(cells, "moe_ep_size") > 1, max_num_seqs=max(clients, 256),
        all2all_backend="allgather_reducescatter", **_SERVERS[cells["backend"]],
    )  # fmt: skip
    model = _model(name, cells["precision"])
    gpu = cells["system"].partition("_")[0]
    try:
        served = simulate(
            _experiment(gpu, model, serving, clients, _count(cells, "isl"), _count(cells, "osl"), bool(cells["measured"])),
            keep_steps=False,
        ).served
    except (SpecError, CapacityError) as error:
        return Outcome(refused=str(error))
    done = served.outcomes
    means = {
        "ttft": (done["first_token"] - done["arrival"]).mean(),
        "tpot": ((done["last_token"] - done["first_token"]) / np.maximum(done["generated"] - 1, 1)).mean(),
    }
    measured = {key: cells[f"silicon_{key}_ms"].strip() for key in means}
    return Outcome(tuple((key, float(text), float(means[key]) * 1e3) for key, text in measured.items() if text))


def _experiment(gpu: str, model: Model, serving: Serving, clients: int, isl: int, osl: int, drawn: bool = False) -> Experiment:
    lengths: Lengths = FixedLengths(input_len=isl, output_len=osl)
    if drawn:
        lengths = QuantileLengths(input=((0, int(0.8 * isl)), (1, isl)), output=((0, int(0.8 * osl)), (1, osl)))
    workload = Workload(arrival=ConcurrencyArrival(clients=clients), lengths=lengths, num_prompts=WAVES * clients)
    return Experiment(device=load_device(gpu), model=model, serving=serving, workload=workload)
