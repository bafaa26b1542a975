"""The shape of a language model: every family in one flat `Model` with Hugging Face names, and what can be counted from it.

Nothing above this floor knows a family; `hdasim.spec.huggingface` reads them. What we gave up: more weight widths than one for
MLPs and one for attention (scales of quantised weights are ignored), and hybrid models (state-space or linear-attention layers).
"""

import math
import reprlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .base import ElementBytes, Spec

MAX_COUNT = 2**31 - 1  # the product of two counts still fits an int64
MAX_LAYERS = 10_000
MAX_HEADS = 65_536
Count = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
HeadCount = Annotated[int, Meta(ge=1, le=MAX_HEADS)]
OptionalCount = Annotated[int, Meta(ge=0, le=MAX_COUNT)]


class Layer(Spec, frozen=True):
    """What may differ between two decoder layers: the kind of MLP and the sliding window in tokens (0 = full attention)."""

    mlp: Literal["dense", "moe"] = "dense"
    window: OptionalCount = 0

    def __post_init__(self) -> None:
        _check_choice("mlp", self.mlp, "dense", "moe")
        _check_int("window", self.window, 0)


class Model(Spec, frozen=True, cache_hash=True):
    """Shape of a decoder-only transformer; sizes in elements, ``*_bytes`` in bytes per element.

    Parameters
    ----------
    intermediate_size, moe_intermediate_size, shared_expert_intermediate_size
        FFN width of a dense layer, of one expert, and of all shared experts together.
    gated
        The FFN has three matrices (gate, up, down) instead of two.
    rotary_dim, position_embeddings
        Rotated elements per head (0 when none) and rows of a learned position table.
    head_dim, v_head_dim
        Width of a query/key head and of a value head (0 takes `head_dim`). With MLA a query head is nope + rope wide.
    kv_lora_rank, q_lora_rank, qk_nope_head_dim, qk_rope_head_dim
        Multi-head latent attention, in use when `kv_lora_rank` > 0; `q_lora_rank` 0 means one full query projection.
    weight_bytes, activation_bytes, kv_cache_bytes
        Bytes per linear weight, per activation (also embeddings, lm_head and routers), and per stored KV element.
    attention_weight_bytes
        Bytes per attention weight, for checkpoints that quantise only their MLPs; 0 takes `weight_bytes`, once, so who replaces
        one of them later replaces both.
    compute_type
        In which a GPU's tensor cores multiply quantised weights: bf16 (or fp16) if they are widened on the way, as in weight-only
        quantisation; else activations are quantised too.
    """

    name: str
    hidden_size: Count
    num_attention_heads: HeadCount
    num_key_value_heads: HeadCount
    head_dim: Count
    vocab_size: Count
    intermediate_size: Count
    layers: tuple[Layer, ...]
    gated: bool = True
    activation: str = "silu"
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    parallel_attention: bool = False
    tie_word_embeddings: bool = False
    rotary_dim: OptionalCount = 0
    position_embeddings: OptionalCount = 0
    num_experts: OptionalCount = 0
    num_experts_per_tok: OptionalCount = 0
    moe_intermediate_size: OptionalCount = 0
    shared_expert_intermediate_size: OptionalCount = 0
    q_lora_rank: OptionalCount = 0
    kv_lora_rank: OptionalCount = 0
    qk_nope_head_dim: OptionalCount = 0
    qk_rope_head_dim: OptionalCount = 0
    v_head_dim: OptionalCount = 0
    weight_bytes: ElementBytes = 2.0
    activation_bytes: ElementBytes = 2.0
    kv_cache_bytes: ElementBytes = 2.0
    attention_weight_bytes: Annotated[float, Meta(ge=0, le=64)] = 0.0
    compute_type: Literal["bf16", "fp8", "int8", "fp4"] = "bf16"

    def __post_init__(self) -> None:
        for key, low in _LOWEST.items():
            _check_int(key, getattr(self, key), low)
        if self.attention_weight_bytes == 0:
            msgspec.structs.force_setattr(self, "attention_weight_bytes", self.weight_bytes)
        for key in ("weight_bytes", "activation_bytes", "kv_cache_bytes", "attention_weight_bytes"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ValueError(f"{key} must be a finite number greater than 0, got {reprlib.repr(value)}")
        _check_choice("norm", self.norm, "rmsnorm", "layernorm")
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise ValueError(f"layers must hold 1 to {MAX_LAYERS} layers, got {len(self.layers)}")
        self._check_attention()
        self._check_experts()
        if self.v_head_dim == 0:
            msgspec.structs.force_setattr(self, "v_head_dim", self.head_dim)

    def _check_attention(self) -> None:
        heads, kv_heads, parts = self.num_attention_heads, self.num_key_value_heads, self.qk_nope_head_dim + self.qk_rope_head_dim
        if heads % kv_heads:
            fitting = [d for d in _divisors(heads) if d < kv_heads][-1:] + [d for d in _divisors(heads) if d > kv_heads][:1]
            raise ValueError(
                f"num_attention_heads {heads} is not divisible by num_key_value_heads {kv_heads}; "
                f"use a divisor, e.g. {' or '.join(map(str, fitting))}"
            )
        if self.rotary_dim > self.head_dim:
            raise ValueError(f"rotary_dim {self.rotary_dim} exceeds head_dim {self.head_dim}; rotate at most the whole head")
        if self.is_mla and parts != self.head_dim:
            raise ValueError(f"head_dim {self.head_dim} must be qk_nope_head_dim + qk_rope_head_dim, here {parts}, with MLA")

    def _check_experts(self) -> None:
        used, experts = self.num_experts_per_tok, self.num_experts
        if used > experts:
            raise ValueError(f"num_experts_per_tok {used} exceeds num_experts {experts}; route to at most all experts")
        if any(layer.mlp == "moe" for layer in self.layers):
            for key in ("num_experts", "num_experts_per_tok", "moe_intermediate_size"):
                _check_int(key, getattr(self, key), 1)

    @property
    def num_hidden_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    @property
    def is_mla(self) -> bool:
        """Whether attention is multi-head latent attention (DeepSeek), which caches one latent vector for all heads."""
        return self.kv_lora_rank > 0

    @property
    def kv_elements_per_token_per_layer(self) -> int:
        """Elements cached per token: a key and a value per KV head, or with MLA the shared latent and the rotated key part."""
        if self.is_mla:
            return self.kv_lora_rank + self.qk_rope_head_dim
        return self.num_key_value_heads * (self.head_dim + self.v_head_dim)

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of KV cache one token takes over all layers; a sliding window bounds the tokens kept, not their size."""
        return self.num_hidden_layers * self.kv_elements_per_token_per_layer * self.kv_cache_bytes

    @property
    def attention_parameter_count(self) -> int:
        """Weights of one attention block.

        Heads: Q is ``hidden x heads*head_dim``, K and V the same with KV heads, O is ``heads*v_head_dim x hidden``.
        MLA (DeepSeek-V2, section 2.1): Q goes through rank `q_lora_rank` if that is set, K and V through `kv_lora_rank`; the
        rotated key part, one for all heads, comes straight from the hidden state.
        """
        hidden, heads, query_width = self.hidden_size, self.num_attention_heads, self.num_attention_heads * self.head_dim
        cached, output = hidden * self.kv_elements_per_token_per_layer, heads * self.v_head_dim * hidden
        query = self.q_lora_rank * (hidden + query_width) if self.q_lora_rank else hidden * query_width
        expand = self.kv_lora_rank * heads * (self.qk_nope_head_dim + self.v_head_dim)
        return query + cached + expand + output

    def ffn_parameter_count(self, width: int) -> int:
        """Weights of one FFN of inner size `width`: two ``hidden x width`` matrices, three when gated."""
        return (3 if self.gated else 2) * self.hidden_size * width

    def mlp_parameter_count(self, layer: Layer, experts: int) -> int:
        """Weights of the MLP of `layer`: dense, or `experts` routed experts and the shared ones (without the router)."""
        width = experts * self.moe_intermediate_size + self.shared_expert_intermediate_size
        return self.ffn_parameter_count(width if layer.mlp == "moe" else self.intermediate_size)

    def linear_parameter_count(self, experts: int) -> int:
        """Weights of all decoder layers with `experts` experts per MoE layer: the part that quantisation shrinks."""
        return sum(self.attention_parameter_count + self.mlp_parameter_count(layer, experts) for layer in self.layers)

    @property
    def router_parameter_count(self) -> int:
        """Weights of all routers: ``hidden x num_experts`` per MoE layer."""
        return sum(layer.mlp == "moe" for layer in self.layers) * self.hidden_size * self.num_experts

    @property
    def embedding_parameter_count(self) -> int:
        """Weights of token embedding, learned positions and lm_head; a tied lm_head is the token embedding and counts once."""
        tables = 1 if self.tie_word_embeddings else 2
        return (tables * self.vocab_size + self.position_embeddings) * self.hidden_size

    @property
    def parameter_count(self) -> int:
        """All weights: layers with every expert, routers, embeddings. Biases, norms and sinks (under 0.1 %) are ignored."""
        return self.linear_parameter_count(self.num_experts) + self.router_parameter_count + self.embedding_parameter_count

    @property
    def active_parameter_count(self) -> int:
        """Weights that belong to one token: as `parameter_count` with only the routed experts; includes both embeddings."""
        layers = self.linear_parameter_count(self.num_experts_per_tok) + self.router_parameter_count
        return layers + self.embedding_parameter_count

    @property
    def read_parameter_count(self) -> int:
        """Weights a decode step of one token reads in full: the active ones less the looked-up tables.

        Positions and an untied input embedding are looked up (a row per token); a tied embedding is read whole as the lm_head.
        """
        layers = self.linear_parameter_count(self.num_experts_per_tok) + self.router_parameter_count
        return layers + self.vocab_size * self.hidden_size

    @property
    def weight_total_bytes(self) -> float:
        """Bytes of all weights: attention and MLPs at their own widths; embeddings, lm_head and routers at `activation_bytes`."""
        attention = self.num_hidden_layers * self.attention_parameter_count
        mlps = self.linear_parameter_count(self.num_experts) - attention
        rest = self.router_parameter_count + self.embedding_parameter_count
        return mlps * self.weight_bytes + attention * self.attention_weight_bytes + rest * self.activation_bytes


#: Lowest value of each count field of `Model`, taken from its annotation.
_LOWEST = {
    f.name: 0 if f.type == OptionalCount else 1
    for f in msgspec.structs.fields(Model)
    if f.type in (Count, HeadCount, OptionalCount)
}


def _check_int(key: str, value: object, low: int) -> None:
    if type(value) is not int or not low <= value <= MAX_COUNT:
        raise ValueError(f"{key} must be an integer from {low} to {MAX_COUNT}, got {reprlib.repr(value)}")


def _check_choice(key: str, value: object, *choices: str) -> None:
    if value not in choices:
        raise ValueError(f"{key} must be {' or '.join(map(repr, choices))}, got {reprlib.repr(value)}")


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})
