"""Blocks of operators as the kernels of a GPU's serving libraries.

The operators of `layers` are kept, with what a kernel needs to know of them, except where libraries do otherwise (vLLM 0.19):
the three operators of routed experts are one fused layer that ends with the weighted sum, and attention writes new keys and
values to the cache before it reads them. Element-wise kernels move whole tensors of activations; a norm adds
the residual on the way, and stores it (vLLM's fused_add_rms_norm).
"""

from collections.abc import Callable
from dataclasses import replace

from ..spec.model import Model
from .ops import Op

#: (reads, writes) of a vector operator, in bytes per row; `b` bytes per activation, n elements per row.
_Traffic = Callable[[Op, Model], tuple[float, float]]


def _copied(reads: float, writes: float) -> _Traffic:
    return lambda op, m: (reads * op.n * m.activation_bytes, writes * op.n * m.activation_bytes)


def _activated(op: Op, m: Model) -> tuple[float, float]:
    return (2 if m.gated else 1) * op.n * m.activation_bytes, op.n * m.activation_bytes


def _routed(op: Op, m: Model) -> tuple[float, float]:
    """Router logits in; expert and weight of each choice out."""
    return op.n * m.activation_bytes, 8 * m.num_experts_per_tok


def _sampled(op: Op, m: Model) -> tuple[float, float]:
    """vLLM's sampler widens logits to fp32 and takes the largest: it reads them twice and writes them once."""
    return op.n * (m.activation_bytes + 4), op.n * 4


_TRAFFIC: dict[str, _Traffic] = {
    "input_norm": _copied(2, 2), "post_norm": _copied(2, 2), "final_norm": _copied(2, 2),
    "q_a_norm": _copied(1, 1), "kv_a_norm": _copied(1, 1), "rotary": _copied(1, 1),
    "activation": _activated, "shared_activation": _activated, "routing": _routed, "sampling": _sampled,
}  # fmt: skip


def kernels(block: list[Op], model: Model) -> list[Op]:
    """The operators of a block on a GPU."""
    ops = _fuse_experts([op for op in block if op.kind != "store"], model)
    return [_typed(_moving(op, model), model) for op in ops]


def _moving(op: Op, model: Model) -> Op:
    """Give a vector operator the bytes that its kernel moves."""
    if op.kind != "vector" or op.name not in _TRAFFIC:
        return op
    reads, writes = _TRAFFIC[op.name](op, model)
    return replace(op, read_bytes=reads, write_bytes=writes)


def _typed(op: Op, model: Model) -> Op:
    """Tensor cores compute in the model's type where weights are quantised."""
    quantised = op.kind in ("linear", "experts") and op.weight_bytes < model.activation_bytes
    return replace(op, type=model.compute_type) if quantised else op


def _fuse_experts(block: list[Op], model: Model) -> list[Op]:
    """Routed experts as one operator, from the hidden state to the weighted sum over experts."""
    down = next((op for op in block if op.name == "experts_down"), None)
    if down is None:
        return block
    up = next(op for op in block if op.name == "experts_gate_up")
    width = up.n // (2 if model.gated else 1)
    fused = replace(up, name="experts", n=up.n + width, inter=width, sync=down.sync, sync_bytes=down.sync_bytes)
    shared = any(op.name == "shared_down_proj" for op in block)
    result = []
    for op in block:
        if op.name in ("experts_activation", "experts_down"):
            continue
        if op.name in ("combine", "experts_sum"):  # the sum is done; what is left adds the shared experts
            added = 3 * model.hidden_size * model.activation_bytes if shared and op.name == "combine" else 0.0
            op = replace(op, read_bytes=added * 2 / 3, write_bytes=added / 3)
        after = tuple("experts" if name == "experts_down" else name for name in op.after)
        result.append(fused if op is up else replace(op, after=after))
    return result
