"""Reads an unmodified Hugging Face ``config.json`` as a `Model`.

A family is one small reader in `_READERS`; an unknown ``model_type`` is read by its keys, as most new models keep the llama ones.
Hybrid models (state-space or linear-attention layers) are refused instead of miscounted.
"""

import json
import os
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import SpecError
from .model import MAX_COUNT, MAX_LAYERS, Layer, Model

Config = Mapping[str, Any]
Fields = dict[str, Any]
_T = TypeVar("_T")

# Reading one key, under its llama name or an older family's; nulls are dropped before (null means absent, as in transformers).

_ALIASES = {
    "hidden_size": ("n_embd", "n_embed"),
    "num_hidden_layers": ("n_layer",),
    "num_attention_heads": ("n_head",),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv"),
    "intermediate_size": ("ffn_dim", "ffn_hidden_size", "n_inner"),
    "max_position_embeddings": ("n_positions",),
    "hidden_act": ("hidden_activation", "activation_function", "activation"),
    "num_experts": ("num_local_experts", "n_routed_experts"),
    "num_experts_per_tok": ("experts_per_token",),
    "partial_rotary_factor": ("rotary_pct",),
    "sliding_window": ("attention_chunk_size",),
    "dtype": ("torch_dtype",),
    "bits": ("w_bit",),
}


def _named(config: Config, key: str) -> str:
    """Return the alias under which `config` holds `key`, or `key` itself."""
    return next((name for name in (key, *_ALIASES.get(key, ())) if name in config), key)


def _bad(key: str, value: object, expected: str) -> SpecError:
    return SpecError(f"must be {expected}, got {reprlib.repr(value)}", (key,))


def _count(config: Config, key: str, default: int | None = None, low: int = 1, high: int = MAX_COUNT) -> int:
    name = _named(config, key)
    value = config.get(name, default)
    if value is None:
        raise SpecError(f"missing; add it with an integer from {low} to {high}", (key,))
    if type(value) is not int or not (low <= value <= high or value == default):
        raise _bad(name, value, f"an integer from {low} to {high}")
    return value


def _typed(config: Config, key: str, default: _T, expected: str) -> _T:
    """Return the value of `key`, which must have the type of `default`."""
    name = _named(config, key)
    value = config.get(name, default)
    if not isinstance(value, type(default)):
        raise _bad(name, value, expected)
    return value


def _flag(config: Config, key: str, default: bool) -> bool:
    return _typed(config, key, default, "true or false")


def _section(config: Config, key: str, read: Callable[[Config], _T]) -> _T:
    """Apply `read` to the object under `key`, without its nulls; errors inside name `key` too."""
    section: dict[str, Any] = _typed(config, key, {}, "an object")
    try:
        return read({k: v for k, v in section.items() if v is not None})
    except SpecError as error:
        raise SpecError(error.message, (key, *error.path)) from None


# Parts that families share. A reader returns keyword arguments of `Model`.


def _windows(config: Config) -> list[int]:
    """Sliding window of each layer.

    `layer_types` decides when present; else qwen slides only with `use_sliding_window` and from `max_window_layers` on, gemma and
    gpt_oss leave every n-th layer full, and the others (mistral) slide everywhere. A chunk counts as a window, its upper bound.
    """
    count = _count(config, "num_hidden_layers", high=MAX_LAYERS)
    family, window = config.get("model_type", ""), _count(config, "sliding_window", default=0, low=0)
    if "layer_types" in config:
        types: list[Any] = _typed(config, "layer_types", [], "a list")
        if len(types) != count:
            raise SpecError(f"has {len(types)} entries for {count} layers; give one per layer", ("layer_types",))
        for kind in types:
            if kind not in _LAYER_TYPES:
                raise _bad("layer_types", kind, f"a list of {', '.join(_LAYER_TYPES)}")
        return [0 if kind == "full_attention" else _count(config, "sliding_window") for kind in types]
    qwen = family.startswith("qwen")
    if not _flag(config, "use_sliding_window", default=not qwen):
        return [0] * count
    first_sliding = _count(config, "max_window_layers", default=28, low=0) if qwen else 0
    every = _count(config, "sliding_window_pattern", default=_FULL_EVERY.get(family, count + 1))
    return [window if i >= first_sliding and (i + 1) % every else 0 for i in range(count)]


def _layers(config: Config, is_moe: Callable[[int], bool] = lambda i: False) -> tuple[Layer, ...]:
    return tuple(Layer(mlp="moe" if is_moe(i) else "dense", window=window) for i, window in enumerate(_windows(config)))


def _rotary_dim(config: Config, head_dim: int) -> int:
    source = config if _named(config, "partial_rotary_factor") in config else config.get("rope_parameters", {})
    share = source.get(_named(source, "partial_rotary_factor"), 1.0) if isinstance(source, Mapping) else 1.0
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise _bad("partial_rotary_factor", share, "a number from 0 to 1")
    return int(head_dim * share)


def _shape(config: Config, classic: bool) -> Fields:
    """Read what all families have; `classic` are those before llama: layernorm, two FFN matrices 4 x hidden, tied embeddings."""
    hidden, heads = _count(config, "hidden_size"), _count(config, "num_attention_heads")
    if "head_dim" not in config and hidden % heads:
        divisor = f"{_named(config, 'num_attention_heads')} {heads}"
        raise SpecError(f"{hidden} is not divisible by {divisor}; fix one or give head_dim", (_named(config, "hidden_size"),))
    tied = classic or config.get("model_type", "").startswith(("gemma", "cohere"))
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": _count(config, "num_key_value_heads", default=heads),
        "head_dim": _count(config, "head_dim", default=hidden // heads),
        "vocab_size": _count(config, "vocab_size"),
        "intermediate_size": _count(config, "intermediate_size", default=4 * hidden if classic else None),
        "layers": _layers(config),
        "gated": not classic,
        "activation": _typed(config, "hidden_act", "gelu" if classic else "silu", "a text such as 'silu'"),
        "norm": "layernorm" if classic else "rmsnorm",
        "tie_word_embeddings": _flag(config, "tie_word_embeddings", tied),
    }


def _experts(config: Config, is_moe: Callable[[int], bool], width: str = "moe_intermediate_size") -> Fields:
    return {
        "layers": _layers(config, is_moe),
        "num_experts": _count(config, "num_experts"),
        "num_experts_per_tok": _count(config, "num_experts_per_tok"),
        "moe_intermediate_size": _count(config, width),
    }


# One reader per family.


def _llama(config: Config) -> Fields:
    fields = _shape(config, classic=False) | _TRAITS.get(config.get("model_type", ""), {})
    return fields | {"rotary_dim": _rotary_dim(config, fields["head_dim"])}


def _mixtral(config: Config) -> Fields:
    """Mixtral and gpt_oss: every layer is MoE, and intermediate_size is the width of one expert."""
    width = "moe_intermediate_size" if "moe_intermediate_size" in config else "intermediate_size"
    return _llama(config) | _experts(config, lambda i: True, width)


def _qwen_moe(config: Config) -> Fields:
    """Every decoder_sparse_step-th layer is MoE, except those in mlp_only_layers."""
    step = _count(config, "decoder_sparse_step", default=1)
    dense: list[Any] = _typed(config, "mlp_only_layers", [], "a list of layer indices")
    shared = _count(config, "shared_expert_intermediate_size", default=0, low=0)
    experts = _experts(config, lambda i: i not in dense and (i + 1) % step == 0)
    return _llama(config) | experts | {"shared_expert_intermediate_size": shared}


def _deepseek(config: Config) -> Fields:
    """First_k_dense_replace dense layers, then MoE with shared experts; MLA when kv_lora_rank is set."""
    fields: Fields = {}
    if _count(config, "num_experts", default=0, low=0):
        first, step = _count(config, "first_k_dense_replace", default=0, low=0), _count(config, "moe_layer_freq", default=1)
        fields = _experts(config, lambda i: i >= first and i % step == 0)
        shared = _count(config, "n_shared_experts", default=0, low=0)
        fields["shared_expert_intermediate_size"] = shared * fields["moe_intermediate_size"]
    if "kv_lora_rank" in config:
        latent = {key: _count(config, key) for key in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")}
        latent["q_lora_rank"] = _count(config, "q_lora_rank", default=0, low=0)
        fields |= latent | {"rotary_dim": latent["qk_rope_head_dim"]}
        head_dim, heads = latent["qk_nope_head_dim"] + latent["qk_rope_head_dim"], _count(config, "num_attention_heads")
        config = {**config, "head_dim": head_dim, "num_key_value_heads": heads}
    return _llama(config) | fields


def _llama4(config: Config) -> Fields:
    """Every interleave_moe_layer_step-th layer is MoE with one shared expert; intermediate_size is the width of one expert."""
    step = _count(config, "interleave_moe_layer_step", default=1)
    fields = _llama(config) | _experts(config, lambda i: (i + 1) % step == 0, "intermediate_size")
    fields["shared_expert_intermediate_size"] = fields["moe_intermediate_size"]
    return fields | {"intermediate_size": _count(config, "intermediate_size_mlp")}


def _opt(config: Config) -> Fields:
    """OPT's position table has two rows more than positions (the offset of its learned embedding)."""
    fields = _shape(config, classic=True)
    if _count(config, "word_embed_proj_dim", default=fields["hidden_size"]) != fields["hidden_size"]:
        raise _bad("word_embed_proj_dim", config["word_embed_proj_dim"], "hidden_size (projected embeddings are not modelled)")
    return fields | {"position_embeddings": _count(config, "max_position_embeddings") + 2}


def _gpt2(config: Config) -> Fields:
    return _shape(config, classic=True) | {"position_embeddings": _count(config, "max_position_embeddings")}


def _bloom(config: Config) -> Fields:
    return _shape(config, classic=True)


def _falcon(config: Config) -> Fields:
    """Falcon with new or old (RefinedWeb) keys; 40B's old config marks the new architecture only by n_head_kv."""
    fields, old = _shape(config, classic=True), config["model_type"] != "falcon"
    new_architecture = _flag(config, "new_decoder_architecture", old and "n_head_kv" in config)
    one_head = _flag(config, "multi_query", not old) and not new_architecture
    return fields | {
        "num_key_value_heads": 1 if one_head else fields["num_key_value_heads"],
        "parallel_attention": new_architecture or _flag(config, "parallel_attn", True),
        "rotary_dim": 0 if _flag(config, "alibi", False) else fields["head_dim"],
    }


_READERS: dict[str, Callable[[Config], Fields]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "phi", "phi3", "gemma", "gemma2", "gemma3_text"), _llama),
    **dict.fromkeys(("mixtral", "gpt_oss"), _mixtral),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe"), _qwen_moe),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "kimi_k2"), _deepseek),
    **dict.fromkeys(("falcon", "RefinedWeb", "RefinedWebModel"), _falcon),
    "opt": _opt,
    "gpt2": _gpt2,
    "bloom": _bloom,
    "llama4_text": _llama4,
}
#: What a family with llama keys does differently.
_TRAITS: dict[str, Fields] = {
    **{key: {"gated": False, "norm": "layernorm", "parallel_attention": True} for key in ("phi", "gpt_neox")},
    "cohere": {"norm": "layernorm", "parallel_attention": True},
    "starcoder2": {"gated": False, "norm": "layernorm"},
}
#: Every n-th layer keeps full attention, when the config does not say which.
_FULL_EVERY = {"gemma2": 2, "gemma3_text": 6, "gpt_oss": 2, "llama4_text": 4}
_LAYER_TYPES = ("full_attention", "sliding_attention", "chunked_attention")
#: Keys whose presence means layers that `Model` cannot count.
_UNSUPPORTED = {
    "linear_num_value_heads": "linear attention",
    "mamba_d_state": "state-space layers",
    "index_topk": "indexed sparse attention",
}
_LLAMA_KEYS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
_BY_KEY = {"kv_lora_rank": _deepseek, "n_routed_experts": _deepseek, "num_local_experts": _mixtral, "num_experts": _qwen_moe}


def _reader(config: Config) -> Callable[[Config], Fields]:
    """Reader of the config's model_type; an unknown type is recognised by its keys if it has at least the llama ones."""
    family = _typed(config, "model_type", "", "a text such as 'llama'")
    if family in _READERS:
        return _READERS[family]
    for key in _LLAMA_KEYS:
        if key not in config:
            known = ", ".join(_READERS)
            raise SpecError(f"missing, and model_type {family!r} is unknown; add the llama keys or use one of {known}", (key,))
    for key, what in _UNSUPPORTED.items():
        if key in config:
            raise SpecError(f"{what} (model_type {family!r}) is not modelled; use full or sliding attention", (key,))
    return next((reader for key, reader in _BY_KEY.items() if config.get(key)), _llama)


_DTYPE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
#: Bits per weight; mxfp4 shares an 8-bit scale between 32 weights (OCP Microscaling Formats specification 1.0): 4 + 8 / 32.
_QUANT_BITS = {"fp8": 8, "fbgemm_fp8": 8, "int8": 8, "mxfp4": 4.25, "int4": 4}


def _dtype_bytes(config: Config) -> float:
    """Bytes per element of `dtype` (or the older `torch_dtype`); absent -> 2, which is what serving engines run."""
    expected = f"one of {', '.join(_DTYPE_BYTES)}"
    dtype = _typed(config, "dtype", "bfloat16", expected).removeprefix("torch.")
    if dtype not in _DTYPE_BYTES:
        raise _bad(_named(config, "dtype"), dtype, expected)
    return _DTYPE_BYTES[dtype]


def _quantised_bytes(quantisation: Config) -> float:
    """Bytes per linear weight of a `quantization_config`; scales and zero points (a few percent) are ignored."""
    method = _typed(quantisation, "quant_method", "none", "a text such as 'fp8'")
    if method in _QUANT_BITS:
        return _QUANT_BITS[method] / 8
    if method in ("awq", "gptq"):
        return _count(quantisation, "bits", high=16) / 8
    if method == "compressed-tensors":
        return _section(quantisation, "config_groups", _group_bits) / 8
    raise _bad("quant_method", method, f"one of {', '.join(_QUANT_BITS)}, awq, gptq, compressed-tensors")


def _compute_type(quantisation: Config) -> str:
    """The type of quantised activations; bf16 where only weights are quantised (awq, gptq, mxfp4 as gpt-oss has it)."""
    method = _typed(quantisation, "quant_method", "none", "a text such as 'fp8'")
    if method == "compressed-tensors":
        return _section(quantisation, "config_groups", _group_type)
    return "fp8" if "fp8" in method else "bf16"


_ACTIVATION_TYPES: dict[tuple[Any, Any], str] = {(8, "float"): "fp8", (8, "int"): "int8", (4, "float"): "fp4"}


def _group_type(groups: Config) -> str:
    """Type of the input_activations of a config group of compressed-tensors."""
    for group in groups.values():
        inputs = group.get("input_activations") if isinstance(group, Mapping) else None
        if isinstance(inputs, Mapping):
            return _ACTIVATION_TYPES.get((inputs.get("num_bits"), inputs.get("type")), "bf16")
    return "bf16"


def _leaves_attention(quantisation: Config) -> bool:
    """Whether the attention of every layer keeps its dtype: gpt_oss names ``model.layers.*.self_attn`` as not converted."""
    names: list[Any] = _typed(quantisation, "modules_to_not_convert", [], "a list of module names")
    parts = [name.split(".") for name in names if isinstance(name, str)]
    return any(part[-1] == "self_attn" and not any(step.isdigit() for step in part) for part in parts)


def _group_bits(groups: Config) -> int:
    """Widest weights among the config_groups of compressed-tensors."""

    def bits(group: Config) -> int:
        return _section(group, "weights", lambda weights: _count(weights, "num_bits", high=16))

    return max((_section(groups, name, bits) for name in groups), default=16)


_INHERITED = ("model_type", "dtype", "torch_dtype", "quantization_config", "tie_word_embeddings")


def from_config(config: Config, name: str) -> Model:
    """Return the `Model` that an unmodified Hugging Face ``config.json`` describes.

    Parameters
    ----------
    config
        The parsed JSON object. Of a multimodal wrapper its ``text_config`` is read, with dtype, quantisation and tying inherited.
    name
        What to call the model in reports.

    Raises
    ------
    SpecError
        A key is missing, malformed or contradicts another; the message names it.
    """
    if not isinstance(config, Mapping):
        raise SpecError(f"a model config must be an object, got {reprlib.repr(config)}")
    config = {key: value for key, value in config.items() if value is not None}
    if "text_config" in config:
        inherited = {key: config[key] for key in _INHERITED if key in config}
        return _section(config, "text_config", lambda text: from_config({**inherited, **text}, name))
    fields = _reader(config)(config)
    element_bytes = weight_bytes = attention_bytes = _dtype_bytes(config)
    if "quantization_config" in config:
        weight_bytes = _section(config, "quantization_config", _quantised_bytes)
        attention_bytes = element_bytes if _section(config, "quantization_config", _leaves_attention) else weight_bytes
    widths: dict[str, Any] = {"weight_bytes": weight_bytes, "attention_weight_bytes": attention_bytes}
    if "quantization_config" in config:
        widths["compute_type"] = _section(config, "quantization_config", _compute_type)
    try:
        return Model(name=name, activation_bytes=element_bytes, kv_cache_bytes=element_bytes, **(fields | widths))
    except ValueError as error:
        raise SpecError(str(error)) from None


#: Far above any config.json; a slip that names the weights instead is not read whole.
_MAX_CHARACTERS = 16 << 20


def load_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the JSON object in the file `path`, or raise a `SpecError` that says where it is broken."""
    shown, wanted = os.fspath(path), "give a Hugging Face config.json"
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(_MAX_CHARACTERS + 1)
        if len(text) > _MAX_CHARACTERS:
            raise SpecError(f"{shown}: longer than {_MAX_CHARACTERS} characters; {wanted}")
        config = json.loads(text)
    except OSError as error:
        raise SpecError(f"{shown}: {error.strerror}; {wanted}") from None
    except json.JSONDecodeError as error:
        raise SpecError(f"{shown}:{error.lineno}:{error.colno}: not JSON ({error.msg}); {wanted}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, an absurdly long number or nesting
        raise SpecError(f"{shown}: not JSON ({type(error).__name__}); {wanted}") from None
    if not isinstance(config, dict):
        raise SpecError(f"{shown}: holds a JSON {type(config).__name__} instead of an object; {wanted}")
    return config
