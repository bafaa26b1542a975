"""Tensor-parallel shards: how a model's dimensions are divided over `device_count` devices, and which collectives that needs.

Methods (papers.md 3.8, volumes per layer and device for B tokens of b bytes): ``megatron`` two all-reduces of H; ``all_gather``
gathers of attention output H, projection H, FFN activation F, FFN output H; ``all_reduce`` the same four tensors, reduced.
"""

from dataclasses import dataclass

from ..errors import SpecError
from ..spec.model import Model


@dataclass(frozen=True)
class Shard:
    """Dimensions on one device. `heads` query heads in `kv_heads` groups; fewer KV heads than devices are replicated."""

    device_count: int
    method: str
    heads: int
    kv_heads: int
    intermediate: int
    moe_intermediate: int
    shared_intermediate: int
    vocab: int


def _divided(name: str, value: int, devices: int) -> int:
    if value % devices:
        raise SpecError(
            f"{name} {value} is not divisible by {devices} devices; use one of {_divisors(value, 4 * devices)}",
            ("serving", "device_count"),
        )
    return value // devices


def _divisors(value: int, most: int) -> str:
    return ", ".join(str(d) for d in range(1, min(value, most) + 1) if value % d == 0)


def shard(model: Model, device_count: int, method: str) -> Shard:
    """Divide `model` over `device_count` devices; `SpecError` if heads or feed-forward columns do not divide."""
    heads = _divided("num_attention_heads", model.num_attention_heads, device_count)
    kv = model.num_key_value_heads
    if not model.is_mla and kv % device_count and device_count % kv:
        raise SpecError(
            f"num_key_value_heads {kv} neither divides nor is divided by {device_count} devices; use one of {_divisors(kv, kv)} "
            f"or a multiple of {kv}",
            ("serving", "device_count"),
        )
    dense = any(layer.mlp == "dense" for layer in model.layers)
    sparse = any(layer.mlp == "moe" for layer in model.layers)
    return Shard(
        device_count,
        method,
        heads,
        heads if model.is_mla else max(1, kv // device_count),
        _divided("intermediate_size", model.intermediate_size, device_count) if dense else 0,
        _divided("moe_intermediate_size", model.moe_intermediate_size, device_count) if sparse else 0,
        _divided("shared_expert_intermediate_size", model.shared_expert_intermediate_size, device_count) if sparse else 0,
        -(-model.vocab_size // device_count),
    )
