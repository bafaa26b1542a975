"""What papers.md 3.8 says about tensor parallelism, in formulas: volumes, the crossover, and the bandwidth that hides them."""

from typing import Literal

from hdasim.errors import SpecError
from hdasim.spec.base import Spec
from hdasim.spec.experiment import Experiment
from hdasim.spec.model import Model

from .inputs import Loader, Shape

Method = Literal["megatron", "all_gather", "all_reduce"]
#: A network that takes no time: what the step needs without communication.
IDEAL = {"device.p2p.bandwidth": 1e15, "device.p2p.latency": 0}


class Variant(Spec):
    """How weights are split and tensors exchanged; `auto` takes the fastest algorithm for each size."""

    tp_method: Method
    tp_algorithm: Literal["direct", "ring", "tree", "auto"]

    @property
    def label(self) -> str:
        return f"{self.tp_method.replace('_', '-')} {self.tp_algorithm}"

    def on(self, load: Loader, device_count: int, **settings: object) -> Experiment:
        """The experiment with this variant on `device_count` devices."""
        own = {
            "serving.device_count": device_count,
            "serving.tp_method": self.tp_method,
            "serving.tp_algorithm": self.tp_algorithm,
        }
        return load.with_(own | settings)


def check_dense(model: Model) -> None:
    """`SpecError` for models to which the formulas do not apply: their layers synchronise other tensors."""
    if model.num_experts or model.is_mla or model.parallel_attention:
        raise SpecError(f"{model.name}: the formulas hold for dense models with attention before the MLP; try llama3-70b")


def share(variant: Variant, devices: int) -> tuple[int, int] | None:
    """Numerator and denominator of what a device receives of each synchronised tensor; None where the size decides."""
    d = devices
    if variant.tp_method == "all_gather":
        return d - 1, d
    return {"direct": (d - 1, 1), "ring": (2 * (d - 1), d), "tree": (2, 1) if d > 1 else (0, 1)}.get(variant.tp_algorithm)


def widths(variant: Variant, model: Model) -> int:
    """Elements per token of the tensors that a layer synchronises: 2 H for Megatron, attention + 2 H + F for the others."""
    if variant.tp_method == "megatron":
        return 2 * model.hidden_size
    return model.num_attention_heads * model.v_head_dim + 2 * model.hidden_size + model.intermediate_size


def volume(variant: Variant, model: Model, devices: int, tokens: int) -> int | None:
    """Bytes that a device receives per layer, exactly; None if the algorithm is chosen by size."""
    part = share(variant, devices)
    if part is None:
        return None
    bytes_all = int(tokens * widths(variant, model) * model.activation_bytes)
    whole, rest = divmod(bytes_all * part[0], part[1])
    if rest:
        raise ValueError(f"{bytes_all} bytes are not divided evenly by {devices} devices")
    return whole


def crossover(model: Model) -> float:
    """Devices from which all-gather moves less than Megatron with direct all-reduce: (3H + F) / (2H)."""
    gather = Variant(tp_method="all_gather", tp_algorithm="direct")
    return widths(gather, model) / (2 * model.hidden_size)


def layer_bytes(model: Model, devices: int) -> float:
    """Weights of a dense layer on one device."""
    h, dh = model.hidden_size, model.head_dim
    heads, kv = model.num_attention_heads // devices, max(1, model.num_key_value_heads // devices)
    attention = h * (heads + 2 * kv) * dh + heads * model.v_head_dim * h
    mlp = (3 if model.gated else 2) * h * model.intermediate_size // devices
    return attention * model.attention_weight_bytes + mlp * model.weight_bytes


def context_bytes(model: Model, devices: int) -> float:
    """Keys and values of one token in one layer on one device."""
    return 2 * max(1, model.num_key_value_heads // devices) * model.head_dim * model.kv_cache_bytes


def layer_rule(variant: Variant, model: Model, devices: int, shape: Shape, dram_rate: float, mac_rate: float) -> float | None:
    """Bytes/s that move a layer's volume while it streams its weights, keys and values, or computes, whichever takes longer."""
    moved = volume(variant, model, devices, shape.tokens)
    if moved is None:
        return None
    weights = layer_bytes(model, devices)
    cached = shape.batch_size * shape.input_len * context_bytes(model, devices) if shape.phase == "decode" else 0
    macs = shape.tokens * weights / model.weight_bytes
    return moved / max((weights + cached) / dram_rate, macs / mac_rate)


def gemm_rule(variant: Variant, model: Model, devices: int, tokens: int, dram_rate: float) -> float | None:
    """The same for the tightest single GEMM: share x d x B / K of the DRAM rate, K the least input width before a collective."""
    part = share(variant, devices)
    if part is None:
        return None
    inputs = [model.num_attention_heads * model.v_head_dim, model.intermediate_size]
    if variant.tp_method != "megatron":
        inputs.append(model.hidden_size * (2 if model.gated else 1))
    return dram_rate * part[0] / part[1] * devices * tokens / min(inputs)


def batch_hidden(variant: Variant, model: Model, devices: int, context: int, bandwidth: float, dram_rate: float) -> float:
    """The batch up to which `bandwidth` satisfies `layer_rule` in decode (memory-bound); infinite if it always does."""
    part = share(variant, devices)
    if part is None:
        raise ValueError("the algorithm is chosen by size")
    moved = widths(variant, model) * model.activation_bytes * part[0] / part[1]
    spare = dram_rate * moved - bandwidth * context * context_bytes(model, devices)
    return bandwidth * layer_bytes(model, devices) / spare if spare > 0 else float("inf")
