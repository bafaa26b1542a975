"""Shards: how a model is divided over the devices of a tensor-parallel group and over the stages of a pipeline.

Tensor-parallel methods (papers.md 3.8, volumes per layer and device for B tokens of b bytes): ``megatron`` two all-reduces of H;
``all_gather`` gathers of attention output H, projection H, FFN activation F, FFN output H; ``all_reduce`` the same four tensors,
reduced.

Expert parallel, for T tokens and d devices, as DeepSeek serves V3 (its report, section 3.4: attention tensor parallel with
sequence parallelism, experts reached by all-to-all) and as vLLM does with its sequence-parallel MoE: attention stays tensor
parallel and ends with a reduce-scatter, after which each device owns T/d tokens. It normalises and routes those, sends each to
its top_k experts (dispatch) and gets their outputs back (combine), an all-to-all of T * top_k * H * b / d * (d-1)/d bytes per
device each. Shared experts are whole on every device and see its own tokens. An all-gather of H then gives the next layer all
tokens. The reduce-scatter is counted as the exchange it is when done directly, an all-to-all of d summands: T * H * b * (d-1)/d
bytes per device, what a ring moves as well. Unlike in vLLM, whose expert-parallel group spans data-parallel ranks too, replicas
share nothing. What is sent has the type of activations (DeepSeek dispatches in 8 bits), and a token whose experts share a device
is sent once for each, as the formula has it.

Load: routing is uniform. The busiest device computes ceil(T * top_k / d) rows and reads (E/d) (1 - (1 - top_k/E)^T) of its E/d
experts (papers.md 3.1), at least one; all devices are taken to be as slow as that.
"""

from dataclasses import dataclass

from ..errors import SpecError
from ..spec.model import Model
from ..spec.serving import Serving


@dataclass(frozen=True)
class Shard:
    """Dimensions on one device. `heads` query heads in `kv_heads` groups; fewer KV heads than devices are replicated.

    `experts` routed experts of width `moe_intermediate`: all of them, in slices, or with `expert_parallel` some, whole.
    """

    device_count: int
    method: str
    heads: int
    kv_heads: int
    intermediate: int
    experts: int
    moe_intermediate: int
    shared_intermediate: int
    vocab: int
    expert_parallel: bool


def _divided(name: str, value: int, devices: int) -> int:
    if value % devices:
        raise SpecError(
            f"{name} {value} is not divisible by {devices} devices; use one of {_divisors(value, 4 * devices)}",
            ("serving", "device_count"),
        )
    return value // devices


def _divisors(value: int, most: int) -> str:
    return ", ".join(str(d) for d in range(1, min(value, most) + 1) if value % d == 0)


def shard(model: Model, serving: Serving) -> Shard:
    """Divide `model` over the devices of a tensor-parallel group.

    Raises
    ------
    SpecError
        If heads, feed-forward columns or experts do not divide, or if there are no experts to be parallel.
    """
    devices = serving.device_count
    heads = _divided("num_attention_heads", model.num_attention_heads, devices)
    kv = model.num_key_value_heads
    if not model.is_mla and kv % devices and devices % kv:
        raise SpecError(
            f"num_key_value_heads {kv} neither divides nor is divided by {devices} devices; use one of {_divisors(kv, kv)} "
            f"or a multiple of {kv}",
            ("serving", "device_count"),
        )
    dense = any(layer.mlp == "dense" for layer in model.layers)
    sparse = any(layer.mlp == "moe" for layer in model.layers)
    if serving.enable_expert_parallel and not sparse:
        raise SpecError(
            f"{model.name} has no experts; leave enable_expert_parallel out, or take a mixture-of-experts model",
            ("serving", "enable_expert_parallel"),
        )
    whole = serving.enable_expert_parallel and devices > 1
    experts, slices = model.num_experts, 1 if whole else devices
    return Shard(
        device_count=devices,
        method=serving.tp_method,
        heads=heads,
        kv_heads=heads if model.is_mla else max(1, kv // devices),
        intermediate=_divided("intermediate_size", model.intermediate_size, devices) if dense else 0,
        experts=_divided("num_experts", experts, devices) if whole else experts,
        moe_intermediate=_divided("moe_intermediate_size", model.moe_intermediate_size, slices) if sparse else 0,
        shared_intermediate=_divided("shared_expert_intermediate_size", model.shared_expert_intermediate_size, slices)
        if sparse
        else 0,
        vocab=-(-model.vocab_size // devices),
        expert_parallel=whole,
    )


def stage_sizes(layers: int, stages: int) -> list[int]:
    """Number of layers in each of `stages` stages.

    As even as possible. Layers that are left over go to the stage before the last, the one before that and so on, as in vLLM's
    ``get_pp_indices``: the last stage also has the lm_head, the first the embedding.

    Raises
    ------
    SpecError
        If there are more stages than layers.
    """
    if stages > layers:
        raise SpecError(
            f"{stages} stages are more than the model's {layers} layers; set it to {layers} or less",
            ("serving", "pipeline_parallel_size"),
        )
    sizes = [layers // stages] * stages
    for i in range(layers % stages):
        sizes[-2 - i] += 1
    return sizes
