"""benchmarks/paper A13: the roofline by hand, what is solved for, and refusals."""

from pathlib import Path
from typing import Any

import pytest

import hdasim
from hdasim.errors import SpecError

CHAT = """
experiments:
  - {experiment: FILE, published: 40}
seeds: 2
tolerance: 0.2
num_prompts: 200
sarathi_prompts: 100
solve: FILE
"""
SMALL = """
device: {preset: ador}
model: {preset: llama3-8b}
serving: {scheduler: ador, max_num_seqs: 16, max_num_batched_tokens: 64}
slo: {preset: sarathi-strict-mistral-7b}
workload:
  arrival: {kind: poisson, request_rate: 10}
  lengths: {kind: lognormal, input_mean: 20, input_cv: 0.5, output_mean: 20, output_cv: 0.5, output_max: 100}
  num_prompts: 100
"""


def test_the_roofline_by_hand(paper: Any) -> None:
    """LLaMA3-8B reads 7,504,658,432 parameters a step (8.03e9 less 128,256 x 4,096 looked up), 131,072 B of cache a token.

    DRAM: 350 x 15.009 GB / 128 = 41.04 GB of weights, (536 x 350 + 350^2 x 1.36 / 2) x 131,072 B = 35.51 GB of cache, at 2 TB/s
    38.27 ms: 26.13 requests/s. Arithmetic: 2 x 7.505e9 x 886 = 13.30 TFLOP at 417.8 TFLOPS: 31.83 ms, 31.4 requests/s. Both one
    after the other 70.1 ms, 14.26 requests/s.
    """
    rates = paper("a13").roofline(hdasim.load("ador-llama3-8b-chat-strict"))
    assert rates == pytest.approx({"dram": 26.13, "compute": 31.42, "apart": 14.26}, abs=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    (folder / "small.yaml").write_text(SMALL, encoding="utf-8")
    (folder / "a13.yaml").write_text(CHAT.replace("FILE", str(folder / "small.yaml")), encoding="utf-8")
    return folder


def test_what_is_solved_for_passes(paper: Any, folder: Path) -> None:
    outcome = paper("a13").run(folder / "a13.yaml")
    rows = {r.name.partition(",")[0]: r for r in outcome.rows}
    found, roof = rows["highest req/s"], next(r for r in outcome.rows if r.name.startswith("roofline req/s, dram"))
    assert 0 < found.ours <= 1.3 * roof.ours
    assert found.ratio == pytest.approx(found.ours / 40)
    assert "limited by" in found.conditions
    solved = next(r for r in outcome.rows if r.name.startswith("solved: mean answer"))
    # a shorter answer is what a higher rate needs, a longer one what a lower rate leaves room for
    assert (solved.ours < 20) == (found.ours < 40)
    assert {p["experiment"] for p in outcome.points} == {str(folder / "small.yaml")}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("solve: FILE", "solve: other", "solve: must be one of the experiments with a published rate, got 'other'"),
        ("experiment: FILE", "experiment: ador-llama3-8b-chat-strik", "did you mean 'ador-llama3-8b-chat-strict'?"),
        ("seeds: 2", "seeds: 0", "seeds: must be at least 1, got 0"),
    ],
)
def test_refusals(paper: Any, folder: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    text = CHAT.replace(old, new).replace("FILE", str(folder / "small.yaml"))
    text = text if "solve: other" in text or old != "experiment: FILE" else text.replace("solve:", "# solve:")
    (tmp_path / "a13.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as error:
        paper("a13").run(tmp_path / "a13.yaml")
    assert message in str(error.value)
    assert "a13.yaml:" in str(error.value)
