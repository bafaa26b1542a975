"""The reader of Hugging Face configurations: each family's habits, quantisation, and errors that name the key."""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hdasim.spec.huggingface as huggingface
from hdasim.errors import SpecError
from hdasim.spec.huggingface import from_config, load_config
from hdasim.spec.model import Model

PRESETS = Path(huggingface.__file__).parents[1] / "presets" / "models"


def preset_config(name: str, **changes: Any) -> dict[str, Any]:
    return load_config(PRESETS / f"{name}.json") | changes


def preset(name: str, **changes: Any) -> Model:
    return from_config(preset_config(name, **changes), name)


def llama(**changes: Any) -> dict[str, Any]:
    """A small llama config: hidden 64, 4 heads, 2 layers."""
    return {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "vocab_size": 100,
    } | changes


def windows(model: Model) -> list[int]:
    return [layer.window for layer in model.layers]


# --- families --------------------------------------------------------------------------------------------------------------


def test_mistral_slides_in_every_layer_and_null_means_none() -> None:
    assert windows(preset("mistral-7b")) == [4096] * 32
    assert windows(preset("mistral-7b", sliding_window=None)) == [0] * 32


def test_qwen_slides_only_when_told() -> None:
    assert windows(preset("qwen2.5-7b")) == [0] * 28
    sliding = preset("qwen2.5-7b", use_sliding_window=True, max_window_layers=26)
    assert windows(sliding) == [0] * 26 + [131072] * 2


def test_gpt_oss_alternates_with_and_without_layer_types() -> None:
    assert windows(preset("gpt-oss-20b")) == [128, 0] * 12
    assert windows(preset("gpt-oss-20b", layer_types=None)) == [128, 0] * 12


def test_gemma3_keeps_every_sixth_layer_full() -> None:
    config = llama(model_type="gemma3_text", num_hidden_layers=7, sliding_window=512, head_dim=32)
    model = from_config(config, "gemma")
    assert windows(model) == [512] * 5 + [0] + [512]
    assert model.tie_word_embeddings
    assert windows(from_config(config | {"sliding_window_pattern": 2}, "gemma")) == [512, 0] * 3 + [512]


def test_parallel_attention_families() -> None:
    assert preset("phi-2").parallel_attention
    assert preset("falcon-7b").parallel_attention
    assert not preset("falcon-7b", parallel_attn=False).parallel_attention
    assert not preset("llama3-8b").parallel_attention


def test_phi_rotates_part_of_the_head() -> None:
    phi = preset("phi-2")
    assert (phi.head_dim, phi.rotary_dim, phi.gated, phi.norm) == (80, 32, False, "layernorm")  # 0.4 x 80
    new = preset("phi-2", partial_rotary_factor=None, rope_parameters={"partial_rotary_factor": 0.5})
    assert new.rotary_dim == 40


def test_learned_positions() -> None:
    assert preset("opt-125m").position_embeddings == 2050
    assert preset("gpt3-175b").position_embeddings == 2048
    assert preset("gpt3-175b").rotary_dim == 0


@pytest.mark.parametrize(
    ("model_type", "extra", "kv_heads"),
    [
        ("RefinedWeb", {"n_head_kv": 8}, 8),
        ("RefinedWebModel", {"multi_query": True}, 1),
        ("RefinedWebModel", {"alibi": True}, 128),
    ],
)
def test_falcon_old_keys(model_type: str, extra: dict[str, Any], kv_heads: int) -> None:
    old = {
        "model_type": model_type,
        "hidden_size": 8192,
        "n_layer": 60,
        "n_head": 128,
        "vocab_size": 65024,
        "parallel_attn": True,
    }
    model = from_config(old | extra, "old")
    assert model.num_key_value_heads == kv_heads
    assert model.rotary_dim == (0 if "alibi" in extra else 64)
    if model_type == "RefinedWeb":
        assert model == msgspec.structs.replace(preset("falcon-40b"), name="old")


def test_bloom() -> None:
    config = {"model_type": "bloom", "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112, "vocab_size": 250880}
    model = from_config(config, "bloom")
    # 70 x 12 x 14336^2 + 250880 x 14336 (tied) = 176.2 B, the published 176 B
    assert model.parameter_count == 70 * 12 * 14336**2 + 250880 * 14336
    assert (model.rotary_dim, model.position_embeddings, model.num_key_value_heads) == (0, 0, 112)


def test_qwen_moe_dense_layers() -> None:
    model = preset("qwen3-30b-a3b", num_hidden_layers=6, decoder_sparse_step=2, mlp_only_layers=[3])
    assert [layer.mlp for layer in model.layers] == ["dense", "moe", "dense", "dense", "dense", "moe"]


def test_deepseek_moe_layer_freq() -> None:
    model = preset("deepseek-v3", num_hidden_layers=6, moe_layer_freq=2)
    assert [layer.mlp for layer in model.layers] == ["dense", "dense", "dense", "dense", "moe", "dense"]


def test_nested_text_config_inherits_dtype_and_quantisation() -> None:
    wrapper = {
        "model_type": "some_vl",
        "torch_dtype": "float16",
        "quantization_config": {"quant_method": "fp8"},
        "vision_config": {"hidden_size": 1},
        "text_config": llama(torch_dtype=None),
    }
    nested = from_config(wrapper, "nested")
    assert nested == from_config(llama(quantization_config={"quant_method": "fp8"}), "nested")


def test_llama4_scout_text() -> None:
    text = {
        "model_type": "llama4_text",
        "hidden_size": 5120,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "num_local_experts": 16,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 1,
        "attention_chunk_size": 8192,
        "vocab_size": 202048,
    }
    model = from_config({"model_type": "llama4", "text_config": text}, "scout")
    assert round(model.parameter_count / 1e9) == 108  # published: 109 B with the vision tower, 17 B active
    assert round(model.active_parameter_count / 1e9) == 17
    assert windows(model)[:5] == [8192, 8192, 8192, 0, 8192]


def test_unknown_model_type_with_llama_keys() -> None:
    unknown = from_config(llama(model_type="brand_new"), "new")
    assert unknown == from_config(llama(), "new")
    del (config := llama())["model_type"]
    assert from_config(config, "new") == unknown


def test_unknown_model_type_is_recognised_by_its_keys() -> None:
    moe = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
    grouped = from_config(llama(model_type="glm4_moe", n_routed_experts=8, first_k_dense_replace=1, **moe), "glm")
    assert (grouped.num_experts, grouped.is_mla, [layer.mlp for layer in grouped.layers]) == (8, False, ["dense", "moe"])
    assert from_config(llama(model_type="phimoe", num_local_experts=4, **moe), "phi").moe_intermediate_size == 32
    assert from_config(llama(model_type="new_moe", num_experts=4, **moe), "new").num_experts == 4


def test_null_and_absent_head_keys() -> None:
    assert from_config(llama(head_dim=None, num_key_value_heads=None), "x") == from_config(llama(), "x")
    model = from_config(llama(head_dim=32), "x")
    assert (model.head_dim, model.num_key_value_heads) == (32, 4)  # a head wider than hidden / heads = 16


# --- bytes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2.0),
        ({"torch_dtype": "float32"}, 4.0),
        ({"torch_dtype": "torch.float16"}, 2.0),
        ({"dtype": "bfloat16", "torch_dtype": "float32"}, 2.0),
        ({"quantization_config": None, "dtype": "float32"}, 4.0),
        ({"quantization_config": {"quant_method": "fp8"}}, 1.0),
        ({"quantization_config": {"quant_method": "mxfp4"}}, 0.53125),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, 0.5),
        ({"quantization_config": {"quant_method": "gptq", "bits": 8, "desc_act": None}}, 1.0),
        (
            {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4}}}}},
            0.5,
        ),
    ],
)
def test_weight_bytes(changes: dict[str, Any], expected: float) -> None:
    assert from_config(llama(**changes), "x").weight_bytes == expected


def test_quantisation_leaves_embeddings_routers_and_cache_alone() -> None:
    model = from_config(preset_config("qwen3-30b-a3b", quantization_config={"quant_method": "fp8"}), "x")
    assert (model.weight_bytes, model.attention_weight_bytes) == (1.0, 1.0)
    assert (model.activation_bytes, model.kv_cache_bytes) == (2.0, 2.0)
    unquantised = model.embedding_parameter_count + model.router_parameter_count
    assert model.weight_total_bytes == model.parameter_count + unquantised


@pytest.mark.parametrize("name", ["gpt-oss-20b", "gpt-oss-120b"])
def test_gpt_oss_quantises_only_its_experts(name: str) -> None:
    model = preset(name)
    assert (model.weight_bytes, model.attention_weight_bytes) == (0.53125, 2.0)
    assert preset(name, quantization_config={"quant_method": "mxfp4"}).attention_weight_bytes == 0.53125


def test_gpt_oss_bytes_by_hand() -> None:
    # experts: 24 layers x 32 x 3 x 2880 x 2880 = 19,110,297,600 at 4.25 bits
    # attention: 24 x 2880 x 64 x (64 + 8 + 8 + 64) = 637,009,920; routers 24 x 2880 x 32 = 2,211,840
    # embedding and lm_head: 2 x 201088 x 2880
    rest = 637_009_920 + 2_211_840 + 2 * 201088 * 2880
    assert preset("gpt-oss-20b").weight_total_bytes == 0.53125 * 19_110_297_600 + 2 * rest


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["lm_head"], 0.53125),
        (["self_attn"], 2.0),
        (["model.layers.0.self_attn"], 0.53125),
        (["model.layers.*.self_attn", 3], 2.0),
    ],
)
def test_attention_counts_as_kept_only_when_every_layer_is(names: list[Any], expected: float) -> None:
    quantisation = {"quant_method": "mxfp4", "modules_to_not_convert": names}
    assert from_config(llama(quantization_config=quantisation), "x").attention_weight_bytes == expected


# --- errors ----------------------------------------------------------------------------------------------------------------

BAD_CONFIGS: list[tuple[dict[str, Any], str, str]] = [
    ({"hidden_size": None}, "hidden_size", "missing"),
    ({"vocab_size": 0}, "vocab_size", "got 0"),
    ({"vocab_size": True}, "vocab_size", "got True"),
    ({"vocab_size": 100.0}, "vocab_size", "got 100.0"),
    ({"vocab_size": "100"}, "vocab_size", "got '100'"),
    ({"vocab_size": -5}, "vocab_size", "got -5"),
    ({"vocab_size": math.nan}, "vocab_size", "got nan"),
    ({"vocab_size": 2**40}, "vocab_size", "2147483647"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers", "10000"),
    ({"num_attention_heads": 5}, "hidden_size", "not divisible by num_attention_heads 5"),
    ({"num_key_value_heads": 3}, "num_attention_heads", "not divisible by num_key_value_heads 3; use a divisor, e.g. 2 or 4"),
    ({"num_key_value_heads": 8}, "num_key_value_heads", "use a divisor, e.g. 4"),
    ({"tie_word_embeddings": "no"}, "tie_word_embeddings", "true or false"),
    ({"hidden_act": 3}, "hidden_act", "text"),
    ({"partial_rotary_factor": 1.5}, "partial_rotary_factor", "from 0 to 1"),
    ({"partial_rotary_factor": math.nan}, "partial_rotary_factor", "from 0 to 1"),
    ({"sliding_window": -1}, "sliding_window", "got -1"),
    ({"layer_types": ["full_attention"]}, "layer_types", "1 entries for 2 layers"),
    ({"layer_types": ["full_attention", "linear_attention"]}, "layer_types", "got 'linear_attention'"),
    ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding_window", "missing"),
    ({"layer_types": "full"}, "layer_types", "a list"),
    ({"torch_dtype": "int7"}, "torch_dtype", "bfloat16"),
    ({"dtype": 16}, "dtype", "bfloat16"),
    ({"quantization_config": "fp8"}, "quantization_config", "an object"),
    ({"quantization_config": {"quant_method": "zip"}}, "quantization_config.quant_method", "gptq"),
    ({"quantization_config": {"quant_method": "awq"}}, "quantization_config.bits", "missing"),
    (
        {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 99}}}}},
        "quantization_config.config_groups.g.weights.num_bits",
        "got 99",
    ),
    (
        {"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": "lm_head"}},
        "quantization_config.modules_to_not_convert",
        "a list",
    ),
    ({"text_config": llama(vocab_size=0)}, "text_config.vocab_size", "got 0"),
    ({"text_config": 3}, "text_config", "an object"),
    ({"model_type": 7}, "model_type", "'llama'"),
    ({"model_type": "mystery", "intermediate_size": None}, "intermediate_size", "model_type 'mystery' is unknown"),
    ({"model_type": "jamba", "mamba_d_state": 16}, "mamba_d_state", "state-space"),
    ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "num_experts_per_tok", "exceeds num_experts 2"),
    ({"model_type": "mixtral"}, "num_experts", "missing"),
    ({"model_type": "deepseek_v3", "kv_lora_rank": 8}, "qk_nope_head_dim", "missing"),
    ({"model_type": "opt", "word_embed_proj_dim": 32, "max_position_embeddings": 8}, "word_embed_proj_dim", "hidden_size"),
    ({"model_type": "falcon", "multi_query": 1}, "multi_query", "true or false"),
]


@pytest.mark.parametrize(("changes", "key", "hint"), BAD_CONFIGS)
def test_bad_config_is_one_line_naming_the_key(changes: dict[str, Any], key: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_config(llama(**changes), "bad")
    message = str(caught.value)
    assert "\n" not in message
    assert key in message
    assert hint in message


def test_error_names_the_key_the_file_uses() -> None:
    with pytest.raises(SpecError, match=r"^n_head: must be an integer"):
        preset("gpt3-175b", n_head="many")


@pytest.mark.parametrize("config", [[], "llama", None, 3])
def test_config_must_be_an_object(config: Any) -> None:
    with pytest.raises(SpecError, match="must be an object"):
        from_config(config, "bad")


KEYS = st.sampled_from([*llama(), "head_dim", "num_key_value_heads", "layer_types", "dtype", "rope_parameters", "sliding_window"])
JUNK = (
    st.none()
    | st.booleans()
    | st.integers(-2, 300)
    | st.floats()
    | st.sampled_from(["", "4", "float16"])
    | st.lists(st.integers(), max_size=2)
)


@given(st.dictionaries(KEYS, JUNK))
def test_any_config_gives_a_model_or_a_spec_error(changes: dict[str, Any]) -> None:
    try:
        model = from_config(llama(**changes), "fuzz")
    except SpecError:
        return
    assert model.parameter_count > 0


# --- files -----------------------------------------------------------------------------------------------------------------


def test_load_config_reads_an_object(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("\ufeff" + json.dumps(llama()), encoding="utf-8")
    assert load_config(path) == llama()
    assert load_config(str(path)) == llama()


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b'{\n  "a": }', ":2:8: not JSON"),
        (b"", ":1:1: not JSON"),
        (b"[1]", "JSON list"),
        (b"null", "instead of an object"),
        (b"\xff\xfe{", "UnicodeDecodeError"),
        (b"[" * 100_000, "RecursionError"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_load_config_says_what_is_wrong(tmp_path: Path, content: bytes, hint: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert hint in message
    assert "config.json" in message
    assert "\n" not in message


def test_load_config_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"No such file or directory; give a Hugging Face config\.json"):
        load_config(tmp_path / "nothing.json")
    with pytest.raises(SpecError, match=r"Is a directory; give a Hugging Face config\.json"):
        load_config(tmp_path)
