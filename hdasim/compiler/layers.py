"""A model's decoder step as blocks of operators: prologue, one block for each kind of layer, epilogue (papers.md 3.1)."""

from dataclasses import dataclass, replace
from typing import Any

from ..spec.model import Layer, Model
from .ops import ROTARY_OPS, Op, activation_ops, norm_bytes, norm_ops, routing_ops, softmax_ops
from .parallel import Shard


@dataclass(frozen=True)
class Context:
    """What builders of operators need: model, shard, cost of an exponential, whether decode and prefill attention may overlap.

    `replicate`: whole experts within a tensor-parallel group get all tokens, as GPU libraries do, not those that chose them.
    """

    model: Model
    shard: Shard
    exp_ops: int
    overlap_attention: bool
    replicate: bool = False

    def divides_tokens(self, layer: Layer) -> bool:
        """Whether tokens travel to the devices of the experts that they chose."""
        return self.shard.expert_parallel and layer.mlp == "moe" and not (self.replicate and self.shard.ranks == 1)

    def sync(self, op: Op, *, width: int, megatron: bool) -> Op:
        """Give `op` the collective that follows it: `width` elements per row, `megatron` if that method synchronises here too."""
        method = self.shard.method
        if self.shard.device_count == 1 or (method == "megatron" and not megatron):
            return op
        kind = "all_gather" if method == "all_gather" else "all_reduce"
        return replace(op, sync=kind, sync_bytes=width * self.model.activation_bytes)

    def scatter(self, op: Op) -> Op:
        """Give `op`, whose result has `hidden_size` columns, the exchange that leaves each device with its T/d tokens.

        Split by rows, every device has a summand of the whole result (reduce-scatter); split by columns, a part of its columns.
        """
        if self.shard.device_count == 1:
            return op
        summands = 1 if self.shard.method == "all_gather" else self.shard.device_count
        return replace(op, sync="all_to_all", sync_bytes=summands * self.model.hidden_size * self.model.activation_bytes)

    def linear(self, name: str, after: tuple[str, ...], k: int, n: int, *, rows: str = "tokens", wide: bool = False) -> Op:
        """A GEMM; `wide` weights stay at the activation type (router, lm_head)."""
        bytes_each = self.model.activation_bytes if wide else self.model.weight_bytes
        return Op(name=name, kind="linear", after=after, rows=rows, k=k, n=n, weight_bytes=bytes_each, gather=True)

    def attention_linear(self, name: str, after: tuple[str, ...], k: int, n: int, *, rows: str = "tokens") -> Op:
        """A GEMM of the attention block, whose weights may be wider than those of the feed-forward layers."""
        return replace(self.linear(name, after, k, n, rows=rows), weight_bytes=self.model.attention_weight_bytes)

    def column(self, k: int, n: int) -> tuple[int, int]:
        """(K, N) on this device of a K x N weight that Megatron splits by columns."""
        d = self.shard.device_count
        return (-(-k // d), n * d) if self.shard.method == "all_reduce" else (k, n)

    def row(self, k: int, n: int) -> tuple[int, int]:
        """(K, N) of a K/d x N weight that Megatron splits by rows; `k` is already divided."""
        d = self.shard.device_count
        return (k * d, -(-n // d)) if self.shard.method == "all_gather" else (k, n)


def _norm(ctx: Context, name: str, after: tuple[str, ...], width: int, rows: str = "tokens") -> Op:
    norm = ctx.model.norm
    return Op(
        name=name, kind="vector", after=after, rows=rows, n=width, vector_ops=norm_ops(norm), reduce_bytes=norm_bytes(norm)
    )  # fmt: skip


def _vector(name: str, after: tuple[str, ...], width: int, ops: float, rows: str = "tokens") -> Op:
    return Op(name=name, kind="vector", after=after, rows=rows, n=width, vector_ops=ops)


def _elementwise(name: str, after: tuple[str, ...], width: int, ops: float) -> Op:
    return replace(_vector(name, after, width, ops), elementwise=True)


def _projections(ctx: Context) -> list[Op]:
    """From the normalised input to queries, keys and values."""
    m, s = ctx.model, ctx.shard
    k, n = ctx.column(m.hidden_size, (s.heads + 2 * s.kv_heads) * m.head_dim)
    ops = [ctx.attention_linear("qkv_proj", ("input_norm",), k, n)]
    if m.qk_norm:
        ops.append(_elementwise("qk_norm", ("qkv_proj",), (s.heads + s.kv_heads) * m.head_dim, norm_ops(m.norm)))
    if m.rotary_dim:
        ops.append(_elementwise("rotary", (ops[-1].name,), (s.heads + s.kv_heads) * m.rotary_dim, ROTARY_OPS))
    return ops


def _mla_projections(ctx: Context) -> list[Op]:
    """Multi-head latent attention: low-rank queries, one latent per token, up-projected for prefill and absorbed for decode.

    kv_b_proj has a row for each decoding token (W_UK on its query and W_UV on its output, together the same products as one
    up-projection) and for each token of a prefill's context. The down-projections are replicated on all devices.
    """
    m, s = ctx.model, ctx.shard
    query = s.heads * (m.qk_nope_head_dim + m.qk_rope_head_dim)
    ops: list[Op] = []
    if m.q_lora_rank:
        ops.append(ctx.attention_linear("q_a_proj", ("input_norm",), m.hidden_size, m.q_lora_rank))
        ops.append(_norm(ctx, "q_a_norm", ("q_a_proj",), m.q_lora_rank))
        ops.append(ctx.attention_linear("q_b_proj", ("q_a_norm",), m.q_lora_rank, query))
    else:
        ops.append(ctx.attention_linear("q_b_proj", ("input_norm",), m.hidden_size, query))
    ops.append(ctx.attention_linear("kv_a_proj", ("input_norm",), m.hidden_size, m.kv_lora_rank + m.qk_rope_head_dim))
    ops.append(_norm(ctx, "kv_a_norm", ("kv_a_proj",), m.kv_lora_rank))
    ops.append(_elementwise("rotary", ("q_b_proj", "kv_a_norm"), (s.heads + 1) * m.qk_rope_head_dim, ROTARY_OPS))
    up = s.heads * (m.qk_nope_head_dim + m.v_head_dim)
    ops.append(ctx.attention_linear("kv_b_proj", ("rotary",), m.kv_lora_rank, up, rows="latent"))
    return ops


def _attention(ctx: Context, layer: Layer, source: str) -> list[Op]:
    """Attention of prefill and of decode, and the write of new keys and values."""
    m, s = ctx.model, ctx.shard
    elements = m.kv_lora_rank + m.qk_rope_head_dim if m.is_mla else 2 * s.kv_heads * m.head_dim
    common: dict[str, Any] = {
        "vector_ops": softmax_ops(ctx.exp_ops), "window": layer.window, "kv_elements": elements, "gather": True,
    }  # fmt: skip
    prefill = Op(
        name="prefill_attention", kind="prefill_attention", after=(source,), kv_heads=s.kv_heads, group=s.heads // s.kv_heads,
        key_dim=m.head_dim, value_dim=m.v_head_dim, **common,
    )  # fmt: skip
    decode = replace(
        prefill, name="decode_attention", kind="decode_attention",
        after=(source if ctx.overlap_attention else "prefill_attention",),
    )  # fmt: skip
    if m.is_mla:
        decode = replace(
            decode, kv_heads=1, group=s.heads, key_dim=m.kv_lora_rank + m.qk_rope_head_dim, value_dim=m.kv_lora_rank
        )  # fmt: skip
    width = m.num_attention_heads * m.v_head_dim
    store = Op(name="kv_store", kind="store", after=(source,), n=int(elements * m.kv_cache_bytes))
    k, n = ctx.row(s.heads * m.v_head_dim, m.hidden_size)
    output = ctx.attention_linear("o_proj", ("prefill_attention", "decode_attention"), k, n)
    prefill, decode = (ctx.sync(op, width=width, megatron=False) for op in (prefill, decode))
    if ctx.divides_tokens(layer):
        output = ctx.scatter(output)
    elif not m.parallel_attention:
        output = ctx.sync(output, width=m.hidden_size, megatron=True)
    return [prefill, decode, store, output]


def _mlp(ctx: Context, source: str, width: int, full_width: int, prefix: str = "") -> list[Op]:
    m = ctx.model
    k, n = ctx.column(m.hidden_size, width * (2 if m.gated else 1))
    up = ctx.linear(f"{prefix}gate_up_proj" if m.gated else f"{prefix}up_proj", (source,), k, n)
    act = _elementwise(f"{prefix}activation", (up.name,), width, activation_ops(m.activation, m.gated, ctx.exp_ops))
    k, n = ctx.row(width, m.hidden_size)
    down = ctx.linear(f"{prefix}down_proj", (act.name,), k, n)
    return [up, ctx.sync(act, width=full_width, megatron=False), down]


def _experts(ctx: Context, source: str) -> list[Op]:
    """Routed experts, and shared ones. One slice of each routed expert is on every device; with expert parallelism whole ones,
    for which every device has all tokens, as of the tensor-parallel group whose sums are all-reduced.
    """
    m, s = ctx.model, ctx.shard
    routed: dict[str, Any] = {"kind": "experts", "k": 0, "n": 0, "experts": m.num_experts, "top_k": m.num_experts_per_tok}
    if s.expert_parallel:
        routed |= {"experts": s.experts, "group": s.expert_devices}
    router = ctx.linear("router", (source,), m.hidden_size, m.num_experts, wide=True)
    choose = _vector("routing", ("router",), m.num_experts, routing_ops(m.num_experts_per_tok, ctx.exp_ops))
    k, n = ctx.column(m.hidden_size, s.moe_intermediate * (2 if m.gated else 1))
    up = replace(ctx.linear("experts_gate_up", ("routing",), 1, 1), **{**routed, "k": k, "n": n})
    act_width = s.moe_intermediate * m.num_experts_per_tok
    act = _elementwise("experts_activation", (up.name,), act_width, activation_ops(m.activation, m.gated, ctx.exp_ops))
    k, n = ctx.row(s.moe_intermediate, m.hidden_size)
    down = replace(ctx.linear("experts_down", (act.name,), 1, 1), **{**routed, "k": k, "n": n})
    shared: list[Op] = []
    if s.shared_intermediate:
        shared = _mlp(ctx, source, s.shared_intermediate, m.shared_expert_intermediate_size, "shared_")
    last = ("experts_down", "shared_down_proj") if shared else ("experts_down",)
    combine = _vector("combine", last, m.hidden_size * m.num_experts_per_tok, 1.0)
    full = m.moe_intermediate_size * m.num_experts_per_tok
    return [router, choose, up, ctx.sync(act, width=full, megatron=False), down, *shared, combine]


def _whole_experts(ctx: Context, source: str) -> list[Op]:
    """Expert parallel: `s.experts` whole experts on this device, for the tokens of all ranks; routing and shared experts on its
    share of its rank's.
    """
    m, s = ctx.model, ctx.shard
    k, h, group = m.num_experts_per_tok, m.hidden_size, s.expert_devices
    own, everyone = "share" if s.device_count > 1 else "tokens", "group" if s.ranks > 1 else "tokens"
    routed: dict[str, Any] = {"kind": "experts", "experts": s.experts, "top_k": k, "group": group}
    inner, gathered = 2 if m.gated else 1, s.all2all == "allgather_reducescatter"
    state = h * m.activation_bytes
    travel: dict[str, Any] = {"sync": "all_to_all", "sync_bytes": k * state}
    router = ctx.linear("router", (source,), h, m.num_experts, rows=own, wide=True)
    choose = _vector("routing", ("router",), m.num_experts, routing_ops(k, ctx.exp_ops), rows=own)
    dispatch = replace(_vector("dispatch", ("routing",), 0, 0.0, rows=everyone), **travel)
    if gathered:
        dispatch = replace(dispatch, sync="all_gather", sync_bytes=state)
    up = replace(ctx.linear("experts_gate_up", ("dispatch",), h, inner * s.moe_intermediate, rows=everyone), **routed)
    act_width = -(-s.moe_intermediate * k // group)
    act_ops = activation_ops(m.activation, m.gated, ctx.exp_ops)
    act = _vector("experts_activation", (up.name,), act_width, act_ops, rows=everyone)
    down = replace(ctx.linear("experts_down", (act.name,), s.moe_intermediate, h, rows=everyone), **routed)
    ops = [router, choose, dispatch, up, act, down if gathered else replace(down, **travel)]
    if gathered:
        add = _vector("experts_sum", (down.name,), -(-h * k // group), 1.0, rows=everyone)
        ops.append(replace(add, sync="reduce_scatter", sync_bytes=state))
    last: tuple[str, ...] = (ops[-1].name,)
    if width := s.shared_intermediate:
        up_name = "shared_gate_up_proj" if m.gated else "shared_up_proj"
        ops += [
            ctx.linear(up_name, (source,), h, inner * width, rows=own),
            _vector("shared_activation", (up_name,), width, act_ops, rows=own),
            ctx.linear("shared_down_proj", ("shared_activation",), width, h, rows=own),
        ]
        last = (*last, "shared_down_proj")
    if len(last) > 1 or not gathered:
        ops.append(_vector("combine", last, h if gathered else h * k, 1.0, rows=own))
        last = ("combine",)
    if s.device_count > 1 or m.parallel_attention:
        gather = _vector("gather", last, 0, 0.0)
        ops.append(replace(gather, sync="all_gather", sync_bytes=state) if s.device_count > 1 else gather)
    return ops


def layer_block(ctx: Context, layer: Layer) -> list[Op]:
    """The operators of one decoder layer. Its last operator is the one that the next block waits for."""
    m, s = ctx.model, ctx.shard
    whole = ctx.divides_tokens(layer)
    ops = [_norm(ctx, "input_norm", ("input",), m.hidden_size)]
    ops += _mla_projections(ctx) if m.is_mla else _projections(ctx)
    ops += _attention(ctx, layer, ops[-1].name)
    source = "input_norm"
    if not m.parallel_attention:
        source = "post_norm"
        rows = "share" if whole and s.device_count > 1 else "tokens"
        ops.append(_norm(ctx, source, ("o_proj",), m.hidden_size, rows=rows))
    if layer.mlp == "dense":
        ops += _mlp(ctx, source, s.intermediate, m.intermediate_size)
    else:
        ops += _whole_experts(ctx, source) if whole else _experts(ctx, source)
    last = ops[-1]
    if m.parallel_attention:  # both branches end here, with one all-reduce of their sum
        last = replace(last, after=(*last.after, "o_proj"))
    ops[-1] = last if whole else ctx.sync(last, width=m.hidden_size, megatron=True)
    return ops


def prologue_block(ctx: Context) -> list[Op]:
    """Embedding look-up, one row of the table for each token."""
    m = ctx.model
    rows = 2 if m.position_embeddings else 1
    return [Op(name="embedding", kind="load", after=("input",), n=int(rows * m.hidden_size * m.activation_bytes))]


def epilogue_block(ctx: Context) -> list[Op]:
    """Final norm, lm_head and sampling for the sequences that emit a token; logits are gathered from all devices."""
    m, s = ctx.model, ctx.shard
    head = ctx.linear("lm_head", ("final_norm",), m.hidden_size, s.vocab, rows="emit", wide=True)
    if s.device_count > 1:
        head = replace(head, sync="all_gather", sync_bytes=m.vocab_size * m.activation_bytes)
    return [
        _norm(ctx, "final_norm", ("input",), m.hidden_size, rows="emit"),
        head,
        _vector("sampling", ("lm_head",), s.vocab, softmax_ops(ctx.exp_ops), rows="emit"),
    ]


def link_block(model: Model) -> list[Op]:
    """Between two stages: the hidden state of every token, B * H * b bytes, over one link (papers.md 3.8).

    Every device of a group sends to its peer of the next, as they all hold the whole state after the layer's last collective.
    vLLM sends the residual beside it, unfused from the next norm, and may cut both over the group and gather; neither is counted.
    """
    send = Op(name="p2p", kind="vector", after=("input",), sync="send", sync_bytes=model.hidden_size * model.activation_bytes)
    return [send]
