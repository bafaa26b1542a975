"""The model shape: counts against the published dimensions of every preset, by hand, and its own checks."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hdasim.spec.model as model_module
from hdasim.spec.huggingface import from_config, load_config
from hdasim.spec.model import Layer, Model

PRESETS = Path(model_module.__file__).parents[1] / "presets" / "models"

# Billions of parameters (all, active with both embeddings, read per decode step) and KV bytes per token at fp16.
ZOO: dict[str, tuple[float, float, float, int]] = {
    "llama2-7b": (6.74, 6.74, 6.61, 524288),
    "llama2-13b": (13.02, 13.02, 12.85, 819200),
    "llama2-70b": (68.98, 68.98, 68.71, 327680),
    "llama3-8b": (8.03, 8.03, 7.50, 131072),
    "llama3-70b": (70.55, 70.55, 69.50, 327680),
    "llama3.1-405b": (405.85, 405.85, 403.75, 516096),
    "llama3.2-1b": (1.24, 1.24, 1.24, 32768),
    "llama3.2-3b": (3.21, 3.21, 3.21, 114688),
    "yi-34b": (34.39, 34.39, 33.93, 245760),
    "mistral-7b": (7.24, 7.24, 7.11, 131072),
    "mixtral-8x7b": (46.70, 12.88, 12.75, 131072),
    "mixtral-8x22b": (140.62, 39.15, 38.95, 229376),
    "falcon-7b": (6.92, 6.92, 6.92, 8192),
    "falcon-40b": (41.30, 41.30, 41.30, 122880),
    "falcon-180b": (178.55, 178.55, 178.55, 163840),
    "qwen2.5-0.5b": (0.49, 0.49, 0.49, 12288),
    "qwen2.5-1.5b": (1.54, 1.54, 1.54, 28672),
    "qwen2.5-3b": (3.09, 3.09, 3.09, 36864),
    "qwen2.5-7b": (7.62, 7.62, 7.07, 57344),
    "qwen2.5-14b": (14.77, 14.77, 13.99, 196608),
    "qwen2.5-32b": (32.76, 32.76, 31.98, 262144),
    "qwen2.5-72b": (72.70, 72.70, 71.46, 327680),
    "qwen2-57b-a14b": (57.41, 14.25, 13.70, 57344),
    "qwen3-0.6b": (0.60, 0.60, 0.60, 114688),
    "qwen3-1.7b": (1.72, 1.72, 1.72, 114688),
    "qwen3-4b": (4.02, 4.02, 4.02, 147456),
    "qwen3-8b": (8.19, 8.19, 7.57, 147456),
    "qwen3-14b": (14.77, 14.77, 13.99, 163840),
    "qwen3-32b": (32.76, 32.76, 31.98, 262144),
    "qwen3-30b-a3b": (30.53, 3.35, 3.04, 98304),
    "qwen3-235b-a22b": (235.09, 22.19, 21.57, 192512),
    "qwen3-coder-480b-a35b": (480.15, 35.47, 34.54, 253952),
    "gpt3-175b": (174.59, 174.59, 174.56, 4718592),
    "opt-125m": (0.13, 0.13, 0.12, 36864),
    "opt-1.3b": (1.32, 1.32, 1.31, 196608),
    "opt-2.7b": (2.65, 2.65, 2.65, 327680),
    "opt-6.7b": (6.66, 6.66, 6.65, 524288),
    "opt-13b": (12.85, 12.85, 12.84, 819200),
    "opt-30b": (29.97, 29.97, 29.96, 1376256),
    "opt-66b": (65.71, 65.71, 65.69, 2359296),
    "opt-175b": (174.59, 174.59, 174.56, 4718592),
    "phi-2": (2.78, 2.78, 2.65, 327680),
    "gpt-oss-20b": (20.91, 4.19, 3.61, 49152),
    "gpt-oss-120b": (116.79, 5.71, 5.13, 73728),
    "deepseek-v3": (671.03, 37.55, 36.62, 70272),
}


def preset(name: str, **changes: Any) -> Model:
    return from_config(load_config(PRESETS / f"{name}.json") | changes, name)


def test_every_preset_is_in_the_table() -> None:
    assert {path.stem for path in PRESETS.glob("*.json")} == set(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_preset_matches_published_counts(name: str) -> None:
    model = preset(name)
    counts = (model.parameter_count, model.active_parameter_count, model.read_parameter_count)
    assert (*(round(count / 1e9, 2) for count in counts), model.kv_bytes_per_token) == ZOO[name]


@pytest.mark.parametrize("name", ZOO)
def test_preset_is_hashable_and_survives_a_round_trip(name: str) -> None:
    model = preset(name)
    again = msgspec.convert(msgspec.to_builtins(model), Model)
    assert again == model
    assert hash(again) == hash(model)


def test_llama3_8b_by_hand() -> None:
    # attention: Q and O 2 x 4096 x 4096, K and V 2 x 4096 x (8 x 128) = 33,554,432 + 8,388,608 = 41,943,040
    # FFN: 3 x 4096 x 14336 = 176,160,768; one layer 218,103,808; 32 layers 6,979,321,856
    # embedding 128256 x 4096 = 525,336,576, and the same again for lm_head: 8,029,995,008 in all
    model = preset("llama3-8b")
    assert model.attention_parameter_count == 41_943_040
    assert model.ffn_parameter_count(model.intermediate_size) == 176_160_768
    assert model.parameter_count == 8_029_995_008
    assert model.read_parameter_count == 8_029_995_008 - 525_336_576
    assert model.weight_total_bytes == 2 * 8_029_995_008
    assert model.kv_elements_per_token_per_layer == 2 * 8 * 128


def test_deepseek_v3_mla_by_hand() -> None:
    # Q 7168 x 1536 + 1536 x 128 x 192 = 48,758,784; latent 7168 x 576 = 4,128,768
    # K and V out of the latent 512 x 128 x 256 = 16,777,216; O 128 x 128 x 7168 = 117,440,512
    model = preset("deepseek-v3")
    assert model.is_mla
    assert model.attention_parameter_count == 48_758_784 + 4_128_768 + 16_777_216 + 117_440_512
    assert model.kv_elements_per_token_per_layer == 576
    assert (model.head_dim, model.v_head_dim, model.rotary_dim) == (192, 128, 64)
    assert [layer.mlp for layer in model.layers] == ["dense"] * 3 + ["moe"] * 58
    assert model.router_parameter_count == 58 * 7168 * 256


def test_mla_without_query_compression() -> None:
    # the query is one 7168 x (128 x 192) matrix instead of going through rank 1536
    full, low = preset("deepseek-v3", q_lora_rank=None), preset("deepseek-v3")
    assert full.attention_parameter_count - low.attention_parameter_count == 7168 * 24576 - 1536 * (7168 + 24576)


def test_shared_experts_add_up() -> None:
    assert preset("deepseek-v3", n_shared_experts=2).shared_expert_intermediate_size == 2 * 2048
    assert preset("deepseek-v3", n_shared_experts=None).shared_expert_intermediate_size == 0
    assert preset("qwen2-57b-a14b").shared_expert_intermediate_size == 20480


def test_wider_value_heads_are_counted() -> None:
    narrow = preset("llama3-8b")
    wide = msgspec.structs.replace(narrow, v_head_dim=256)
    assert narrow.v_head_dim == 128
    assert wide.kv_elements_per_token_per_layer == 8 * (128 + 256)
    # V grows by 4096 x 8 x 128 and O by 32 x 128 x 4096
    assert wide.attention_parameter_count - narrow.attention_parameter_count == 4096 * 128 * (8 + 32)


@given(layers=st.integers(1, 8), experts=st.integers(1, 16), data=st.data())
def test_read_is_at_most_active_is_at_most_all(layers: int, experts: int, data: st.DataObject) -> None:
    used, tied = data.draw(st.integers(1, experts)), data.draw(st.booleans())
    changes = {
        "num_hidden_layers": layers,
        "num_local_experts": experts,
        "num_experts_per_tok": used,
        "tie_word_embeddings": tied,
    }
    model = preset("mixtral-8x7b", **changes)
    assert 0 < model.read_parameter_count <= model.active_parameter_count <= model.parameter_count
    assert model.num_hidden_layers == layers


def test_attention_may_have_its_own_weight_width() -> None:
    # 32 layers x 41,943,040 attention weights, 1 byte narrower each
    model = preset("llama3-8b")
    assert model.attention_weight_bytes == model.weight_bytes == 2
    narrow = msgspec.structs.replace(model, attention_weight_bytes=1)
    assert model.weight_total_bytes - narrow.weight_total_bytes == 32 * 41_943_040
    assert msgspec.structs.replace(model, weight_bytes=1, attention_weight_bytes=0).attention_weight_bytes == 1


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"layers": ()}, "layers"),
        ({"weight_bytes": math.nan}, "weight_bytes"),
        ({"kv_cache_bytes": math.inf}, "kv_cache_bytes"),
        ({"activation_bytes": 0}, "activation_bytes"),
        ({"attention_weight_bytes": -1}, "attention_weight_bytes"),
        ({"weight_bytes": True}, "weight_bytes"),
        ({"norm": "batchnorm"}, "norm"),
        ({"rotary_dim": 999}, "rotary_dim"),
        ({"kv_lora_rank": 512}, "head_dim"),
        ({"layers": (Layer(mlp="moe"),)}, "num_experts"),
        ({"hidden_size": True}, "hidden_size"),
        ({"q_lora_rank": -1}, "q_lora_rank"),
    ],
)
def test_model_checks_itself(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        msgspec.structs.replace(preset("llama3-8b"), **changes)


def test_layer_checks_itself() -> None:
    with pytest.raises(ValueError, match="window"):
        Layer(window=-1)
    with pytest.raises(ValueError, match="mlp"):
        Layer(mlp="sparse")  # type: ignore[arg-type]
    with pytest.raises(msgspec.ValidationError, match="windows"):
        msgspec.convert({"windows": 3}, Layer)
