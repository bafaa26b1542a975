"""Shards: how a model is divided over the devices of a tensor-parallel group and over the stages of a pipeline.

Tensor-parallel methods (papers.md 3.8, volumes per layer and device for B tokens of b bytes): ``megatron`` two all-reduces of H;
``all_gather`` gathers of attention output H, projection H, FFN activation F, FFN output H; ``all_reduce`` the same four tensors,
reduced.

Expert parallel, as DeepSeek serves V3 (its report, section 3.4: attention tensor and data parallel, with sequence parallelism,
experts reached by all-to-all) and as vLLM does with data parallelism and its sequence-parallel MoE: the group of experts has the
g = R d devices of all R data-parallel ranks. Attention stays tensor parallel over the d devices of a rank, for the rank's own t
tokens, and ends with a reduce-scatter (if d > 1), after which each device owns t/d tokens. It normalises and routes those, and
they travel to their experts and back (below). Shared experts are whole on every device and see its own tokens. An all-gather of
H then gives the next layer all tokens of the rank. The reduce-scatter is counted as the exchange it is when done directly, an
all-to-all of d summands: t * H * b * (d-1)/d bytes per device, what a ring moves as well.

T tokens of all ranks travel, by `all2all_backend` (vLLM: ``--all2all-backend``, before VLLM_ALL2ALL_BACKEND):

``all_to_all``, as DeepEP, vLLM's deepep_high_throughput and deepep_low_latency: each token to its top_k experts (dispatch), their
outputs back (combine), T * top_k * H * b / g * (g-1)/g bytes per device each. A token whose experts share a device is sent once
for each, as the formula has it. Where ranks have unequal t, a device of the largest sends the most, and the exchange lasts as if
all had as many: max(T, R t) for T.

``allgather_reducescatter``, vLLM's default: all devices gather all tokens, T * H * b * (g-1)/g bytes, each adds up what its own
experts make of each token, and a reduce-scatter of as many bytes gives the sums to the tokens' owners. These follow T, however
it is divided (vLLM's all_gatherv and reduce_scatterv). Weights and numbers of the chosen experts, which travel along, are not
counted. What is sent has the type of activations (DeepSeek dispatches in 8 bits).

Exchanges within a rank and between ranks have a network each, of d and of g devices, both with the whole bandwidth of a device:
they never run at once. Where devices are fully connected, the smaller one thus has what wires to other ranks would carry.

vLLM uses neither without data parallelism (R = 1): there every device sees all tokens, and results are all-reduced.

Load: routing is uniform. The busiest device computes ceil(T * top_k / g) rows and reads (E/g) (1 - (1 - top_k/E)^T) of its E/g
experts (papers.md 3.1), at least one; all devices are taken to be as slow as that. T is R t unless a batch says otherwise (its
`group_tokens`). A rank without a token of its own computes experts for others all the same; vLLM, which runs a whole step of one
dummy token there, pads no more than that unless its CUDA graphs do. Ranks start a step together and exchange in step: a group's
step is its slowest rank's.
"""

from dataclasses import dataclass

from ..errors import SpecError
from ..spec.model import Model
from ..spec.serving import Serving


@dataclass(frozen=True)
class Shard:
    """Dimensions on one device. `heads` query heads in `kv_heads` groups; fewer KV heads than devices are replicated.

    `experts` routed experts of width `moe_intermediate`: all of them, in slices, or with `expert_parallel` some, whole, on each
    device of `ranks` such groups.
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
    ranks: int = 1
    all2all: str = "all_to_all"

    @property
    def expert_devices(self) -> int:
        """Devices over which whole experts are spread."""
        return self.ranks * self.device_count


def expert_ranks(serving: Serving) -> int:
    """Data-parallel ranks that share experts; 1 where replicas share nothing."""
    return serving.data_parallel_size if serving.enable_expert_parallel else 1


def _divided(name: str, value: int, devices: int) -> int:
    if value % devices:
        raise SpecError(
            f"{name} {value} is not divisible by {devices} devices; use one of {_divisors(value, 4 * devices)}",
            ("serving", "device_count"),
        )
    return value // devices


def _whole_experts(experts: int, serving: Serving, ranks: int) -> int:
    """Experts on each device of `ranks` tensor-parallel groups."""
    if ranks == 1:
        return _divided("num_experts", experts, serving.device_count)
    devices = ranks * serving.device_count
    if experts % devices:
        raise SpecError(
            f"num_experts {experts} is not divisible by the {devices} devices that share them, data_parallel_size {ranks} x "
            f"device_count {serving.device_count}; make the product one of {_divisors(experts, 4 * devices)}",
            ("serving", "data_parallel_size"),
        )
    return experts // devices


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
    ranks = expert_ranks(serving)
    whole = serving.enable_expert_parallel and ranks * devices > 1
    experts, slices = model.num_experts, 1 if whole else devices
    return Shard(
        device_count=devices,
        method=serving.tp_method,
        heads=heads,
        kv_heads=heads if model.is_mla else max(1, kv // devices),
        intermediate=_divided("intermediate_size", model.intermediate_size, devices) if dense else 0,
        experts=_whole_experts(experts, serving, ranks) if whole else experts,
        moe_intermediate=_divided("moe_intermediate_size", model.moe_intermediate_size, slices) if sparse else 0,
        shared_intermediate=_divided("shared_expert_intermediate_size", model.shared_expert_intermediate_size, slices)
        if sparse
        else 0,
        vocab=-(-model.vocab_size // devices),
        expert_parallel=whole,
        ranks=ranks,
        all2all=serving.all2all_backend,
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
