"""benchmarks/paper A7: bytes worked out by hand, by the formula and by the engine's mapping."""

from pathlib import Path
from typing import Any

import pytest

from hdasim.errors import SpecError

MEMORY = """
prefill_tokens: [1, 1024, 2048]
decode_batches: [16, 32, 256]
decode_context: 1024
softmax_tile: 64
"""


@pytest.fixture(scope="module")
def memory(paper: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("paper") / "memory.yaml"
    file.write_text(MEMORY)
    return paper("a7").run(file)


def point(outcome: Any, phase: str, tokens: int, operator: str) -> dict[str, Any]:
    return next(p for p in outcome.points if (p["phase"], p["tokens"], p["operator"]) == (phase, tokens, operator))


def test_formula(memory: Any) -> None:
    # LLaMA3-8B on 32 cores: hidden 4,096, 32 heads of 128, FFN 14,336, vocabulary 128,256; 2 bytes
    decode = {p["operator"]: p["bytes"] for p in memory.points if p["phase"] == "decode" and p["tokens"] == 16}
    assert decode == {
        "qkv_proj": 16 * (4096 + 6144) * 2 / 32, "scores": 16 * (128 + 1024) * 2, "scores, decomposed": 16 * (128 + 66) * 2,
        "o_proj": 16 * 8192 * 2 / 32, "gate_up_proj": 16 * 32768 * 2 / 32, "down_proj": 16 * (14336 + 4096) * 2 / 32,
        "lm_head": 132_352, "lm_head, all rows": 132_352,
    }  # fmt: skip
    assert point(memory, "prefill", 1024, "scores")["bytes"] == 1024 * (128 + 1024) * 2 == 2_359_296
    assert point(memory, "prefill", 1024, "lm_head")["bytes"] == 8272  # one token of the prompt emits
    assert point(memory, "prefill", 1024, "lm_head, all rows")["bytes"] == 1024 * 8272
    assert point(memory, "prefill", 1, "scores, decomposed")["bytes"] == (128 + 3) * 2  # no more scores than there are


def test_mapping(memory: Any) -> None:
    p = point(memory, "decode", 32, "gate_up_proj")
    # one row group: 1/32 of 4,096 inputs in 2 bytes, 896 columns in fp32
    assert p["grid"] == "1 x 32" and p["engine_bytes"] == 32 * (128 * 2 + 896 * 4) == 122_880
    for q in memory.points:
        if "engine_bytes" not in q:
            continue
        assert q["engine_bytes"] <= 2048 * 1024
        whole = q["column_tiles"] == q["row_tiles"] == 1 and q["input_in"] == "local memory"
        assert (q["engine_bytes"] == q["engine_whole_bytes"]) is whole
        assert not whole or q["bytes"] <= q["engine_bytes"] <= 2 * q["bytes"]  # sums of 4 bytes where the formula has 2
    tiled = point(memory, "decode", 256, "lm_head")
    assert tiled["column_tiles"] > 1 and tiled["engine_whole_bytes"] > 2048 * 1024


def test_what_dominates_and_under_which_condition(memory: Any) -> None:
    def found(name: str, start: str) -> Any:
        return next(r for r in memory.rows if r.name == name and f"; {start}" in r.conditions)

    cases = "cases in which LM head or scores need most"
    assert found(cases, "decode; scores and lm_head").ours == 1
    assert found(cases, "decode; scores, decomposed and lm_head").ours == 1
    # of prompts of 1, 1,024 and 2,048 tokens: the LM head at 1; scores from 1,024 on unless they are decomposed
    assert found(cases, "prefill; scores and lm_head;").ours == 1
    rare = found(cases, "prefill; scores, decomposed and lm_head;")
    assert rare.ours == pytest.approx(1 / 3) and "gate_up_proj" in rare.conditions
    assert found(cases, "prefill; scores, decomposed and lm_head, all rows").ours == 1
    # 2,097,152 / 8,272 = 253.5; / 2,048 of gate and up = 1,024; T (128 + T) 2 <= 2,097,152 up to 961
    assert found("largest batch that local memory holds", "decode; scores and lm_head").ours == 253
    assert found("largest prompt that local memory holds", "prefill; scores, decomposed and lm_head;").ours == 1024
    assert found("largest prompt that local memory holds", "prefill; scores and lm_head;").ours == 961
    # 132,352 / 32 heads - 128
    assert found("context at which scores need as much as the LM head", "decode").ours == 4008


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("[16, 32, 256]", "[32, 16]", ":3: decode_batches", "must ascend"),
        ("softmax_tile: 64", "softmax_tile: 64\nmodel: gpt-oss-20b", ":6: model", "dense models"),
        ("softmax_tile: 64", "softmax_tiles: 64", ":5: softmax_tiles", "did you mean"),
    ],
)
def test_mistakes_in_the_file(paper: Any, tmp_path: Path, old: str, new: str, place: str, message: str) -> None:
    file = tmp_path / "memory.yaml"
    file.write_text(MEMORY.replace(old, new))
    with pytest.raises(SpecError) as error:
        paper("a7").run(file)
    assert f"{file}{place}" in str(error.value) and message in str(error.value)
