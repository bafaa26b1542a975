"""benchmarks/paper A2, A3 and A4: closed forms by hand against executed steps, crossings, the bandwidth relation."""

from pathlib import Path
from typing import Any

import pytest

import hdasim
from hdasim.errors import SpecError

READS = """
batch_size: 128
contexts: [1024, 8192, 16384]
models: [llama3-8b, mistral-7b]
published: 0.9
dram_capacity: 100 TB
"""
OPERATIONS = """
contexts: [512, 8192, 32768]
models: [llama3-8b]
published: 0.25
near: [0.2, 0.3]
dram_capacity: 100 TB
"""
TREE = """
models: [{model: opt-1.3b}, {model: opt-30b}]
relations:
  log: {slope: 0.0825, intercept: 0.5625, minimum: 0.05, maximum: 0.90}
  overhead: {maximum: 0.90, layer_time: 15 us}
published_maximum: 0.9
dram_capacity: 200 GB
times:
  - {model: opt-1.3b, bandwidth: 3.28 TB/s, ms: 1.25}
  - {model: opt-66b, device_count: 2, bandwidth: 3.28 TB/s, ms: 20.9}
"""


def run(paper: Any, folder: Path, name: str, text: str) -> Any:
    (folder / f"{name}.yaml").write_text(text)
    return paper(name).run(folder / f"{name}.yaml")


def test_closed_forms_by_hand(paper: Any) -> None:
    """LLaMA3-8B reads 7,504,658,432 parameters of 2 B a step and has 131,072 B of cache a token.

    Batch 128 at 1,024 tokens: 17.180 GB of cache beside 15.009 GB of weights, 53.4 %. 90 % at 9 x 15.009 GB / (128 x 131,072 B) =
    8,051.6 tokens. Attention at 1,024: 32 layers x 32 heads x 256 x 1,024 = 268.4 M multiply-accumulates of 7,773 M, 3.45 %.
    """
    shares, model = paper("shares"), hdasim.load("ador-llama3-8b").model
    assert shares.read_share(model, 128, 1024) == pytest.approx(0.5337, abs=5e-5)
    assert shares.read_context(model, 128, 0.9) == pytest.approx(8051.6, abs=0.1)
    assert shares.decode_macs_share(model, 1024) == pytest.approx(0.03453, abs=5e-6)
    window = hdasim.load("ador-llama3-8b", ["model={preset: mistral-7b}"]).model
    assert shares.read_context(window, 128, 0.9) is None  # 7,629 tokens are beyond its window of 4,096
    assert shares.read_context(window, 128, 0.5) == pytest.approx(847.7, abs=0.1)


def test_crossings(paper: Any) -> None:
    crossing = paper("shares").crossing
    assert crossing((1, 4, 16), [0.1, 0.2, 0.3], 0.25) == pytest.approx(8)  # half way between 4 and 16 in the logarithm
    assert crossing((1, 4), [0.1, 0.2], 0.3) is None


def test_executed_reads_follow_the_closed_form(paper: Any, tmp_path: Path) -> None:
    outcome = run(paper, tmp_path, "a2", READS)
    mine = [p for p in outcome.points if p["model"] == "llama3-8b"]
    assert [p["share"] for p in mine] == pytest.approx([p["formula"] for p in mine], rel=0.01)
    assert mine[0]["share"] < 0.9 < mine[2]["share"]
    window = [p["share"] for p in outcome.points if p["model"] == "mistral-7b"]
    assert window[1] == pytest.approx(window[2], rel=0.01) and window[2] < 0.9  # the window bounds what is read
    known = {r.name.split(", ")[1]: r.ours for r in outcome.rows if r.name.startswith("context")}
    assert known["mistral-7b"] is None and known["llama3-8b"] == pytest.approx(8051.6, abs=0.1)
    assert outcome.claims[0].verdict == "partly" and outcome.figures


def test_executed_operations_follow_the_closed_form(paper: Any, tmp_path: Path) -> None:
    outcome = run(paper, tmp_path, "a3", OPERATIONS)
    decode = [p for p in outcome.points if p["phase"] == "decode"]
    prefill = [p for p in outcome.points if p["phase"] == "prefill"]
    assert [p["share"] for p in decode] == pytest.approx([p["formula"] for p in decode], rel=0.01)
    # the mean token of a causal prompt sees half of it; the LM head computes one row only
    for d, p in zip(decode, prefill, strict=True):
        odds = p["share"] / (1 - p["share"]) / (d["share"] / (1 - d["share"]))
        assert odds == pytest.approx(0.5 * 7504658432 / 6979321856, rel=0.01)  # with and without the head's 525 M parameters
    assert {r.name: r.ours for r in outcome.rows if "25%" in r.name}


def test_the_relation_by_hand_and_as_executed(paper: Any, tmp_path: Path) -> None:
    """0.0825 ln(2.623) + 0.5625 = 0.64206; 59.92 GB give 0.9002, capped."""
    outcome, a4 = run(paper, tmp_path, "a4", TREE), paper("a4")
    log = paper("outcome").read(tmp_path / "a4.yaml", a4.Tree)[0].relations.log
    assert a4.share_of(log, 2.623) == pytest.approx(0.64206, abs=1e-5)
    assert a4.share_of(log, 59.92) == 0.9 and a4.share_of(log, 1e-9) == 0.05
    shares = {(p["model"], p["relation"], p["tb_per_s"]): p for p in outcome.points}
    for p in outcome.points:
        if p["formula"] is not None:
            assert p["share"] == pytest.approx(p["formula"], rel=0.02)
    # overhead: 59.91 GB / (0.9 x 2 TB/s) + 48 x 15 us = 33.28 + 0.72 = 34.0 ms
    assert shares["opt-30b", "overhead", 2.0]["ms"] == pytest.approx(34.0, rel=0.005)
    tension = next(c for c in outcome.claims if "opt-66b" in c.what)
    assert tension.verdict == "does not hold" and "above the printed maximum" in tension.why
    assert len(outcome.notes) == 1 and outcome.notes[0].startswith("opt-66b")


@pytest.mark.parametrize(
    ("name", "text", "old", "new", "message"),
    [
        ("a2", READS, "[1024, 8192, 16384]", "[8192, 1024]", "contexts: must ascend"),
        ("a2", READS, "mistral-7b", "mistral-8b", "models.1"),
        ("a3", OPERATIONS, "0.25", "25", "published"),
        ("a4", TREE, "opt-30b", "opt-31b", "models.1.model"),
        ("a4", TREE, "slope", "slop", "did you mean 'slope'?"),
    ],
)
def test_refusals(paper: Any, tmp_path: Path, name: str, text: str, old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        run(paper, tmp_path, name, text.replace(old, new))
    assert message in str(error.value) and f"{name}.yaml:" in str(error.value) and "\n" not in str(error.value)
