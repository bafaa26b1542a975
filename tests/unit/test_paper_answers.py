"""benchmarks/paper A14: growth by hand, queueing that must show, what is solved for, refusals."""

from pathlib import Path
from typing import Any

import pytest

from hdasim.errors import SpecError

TEXT = """
baselines: [a100]
input_len: 256
output_lens: [1, 2, 64]
load: 0.7
loads: [0.5, 0.9]
max_num_seqs: 32
num_prompts: 150
capacity_prompts: 150
published: {tbt: 3.87, ttft: 3.85, better_than_gpu: 1.2}
"""


def run(paper: Any, folder: Path, text: str = TEXT) -> Any:
    (folder / "a14.yaml").write_text(text)
    return paper("a14").run(folder / "a14.yaml")


@pytest.fixture(scope="module")
def outcome(paper: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(paper, tmp_path_factory.mktemp("answers"))


def test_growth_by_hand(paper: Any, tmp_path: Path) -> None:
    """TBT from the second length on, 30 / 20; TTFT from the first, 90 / 30."""
    (tmp_path / "a14.yaml").write_text(TEXT)
    answers = paper("answers")
    sweep, _ = paper("outcome").read(tmp_path / "a14.yaml", answers.Lengths)
    values = {1: (None, 30.0), 2: (20.0, 31.0), 64: (30.0, 90.0)}
    points = [{"device": "x", "output_len": n, "tbt_ms": b, "ttft_ms": f} for n, (b, f) in values.items()]
    assert answers.growth(sweep, points, device="x") == {"tbt": 1.5, "ttft": 3.0}


def test_rows_and_loads(outcome: Any) -> None:
    points = outcome.points
    assert all((p["tbt_ms"] is None) == (p["output_len"] == 1) for p in points)
    own = {p["device"]: p["load"] for p in points if p["what"] == "own load"}
    assert own == pytest.approx({"ador": 0.7, "a100": 0.7})
    rates = {p["rate"] for p in points if p["what"] == "same rate"}
    capacity = {r.baseline: r.ours for r in outcome.rows if r.name.startswith("capacity")}
    assert rates == {0.7 * min(capacity.values())}
    published = [r for r in outcome.rows if r.published is not None]
    assert [r.published for r in published if r.baseline == "ador"] == [3.87, 3.85]
    for r in published:
        assert r.ratio == pytest.approx(r.ours / r.published)
    assert len(outcome.claims) == 3 and len(outcome.figures[0].charts) == 4


def test_a_higher_load_waits_longer(outcome: Any) -> None:
    for device in ("ador", "a100"):
        waits = [p["ttft_ms"] for load in ("load 0.5", "load 0.9") for p in outcome.points
                 if (p["device"], p["what"], p["output_len"]) == (device, load, 64)]  # fmt: skip
        assert waits[0] < waits[1]


def test_the_load_that_is_solved_for(paper: Any, outcome: Any, tmp_path: Path) -> None:
    """Above every ratio that is reached there is none; below, the ratio is reached there and not a step before."""
    solved = next(r for r in outcome.rows if r.name.startswith("solved"))
    assert solved.ours is None or 0 < solved.ours <= 1
    none = run(paper, tmp_path, TEXT.replace("better_than_gpu: 1.2", "better_than_gpu: 1000"))
    assert next(r for r in none.rows if r.name.startswith("solved")).ours is None
    low = run(paper, tmp_path, TEXT.replace("better_than_gpu: 1.2", "better_than_gpu: 0.1"))
    assert next(r for r in low.rows if r.name.startswith("solved")).ours == pytest.approx(0.0, abs=0.02)


def test_the_same_file_gives_the_same_numbers(paper: Any, outcome: Any, tmp_path: Path) -> None:
    assert run(paper, tmp_path).points == outcome.points


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[1, 2, 64]", "[64, 2, 1]", "output_lens: must ascend"),
        ("load: 0.7", "load: 1.7", "load"),
        ("baselines: [a100]", "baselines: [b100]", "baselines.0"),
        ("load: 0.7", "load: 0.7\nbaseline_scheduler: fifo", "scheduler"),
    ],
)
def test_refusals(paper: Any, tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        run(paper, tmp_path, TEXT.replace(old, new))
    assert message in str(error.value) and "a14.yaml:" in str(error.value) and "\n" not in str(error.value)
