"""benchmarks/paper A6: times of the tree worked out by hand, and knees that follow from them."""

from pathlib import Path
from typing import Any

import pytest

from hdasim.errors import SpecError

SWEEP = """
lanes: [2, 4, 8, 16]
batches: [32]
context: 1024
published: 16
models:
  - {model: llama3-8b}
"""


@pytest.fixture(scope="module")
def lanes(paper: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("paper") / "lanes.yaml"
    file.write_text(SWEEP)
    return paper("a6").run(file)


def points(outcome: Any, judged: str, split: bool) -> dict[int, dict[str, Any]]:
    return {p["lanes"]: p for p in outcome.points if p["judged_by"] == judged and p["lanes_split"] is split}


def test_knee(paper: Any) -> None:
    knee = paper("knee").knee
    xs = [1, 2, 4, 8]
    assert knee(xs, [10, 5.1, 5.05, 5.0], 0.02) == 1  # 5.1 = 1.02 x 5
    assert knee(xs, [10, 5.1, 5.05, 5.0], 0.01) == 2
    assert knee(xs, [10, 5.0, 6.0, 5.0], 0.02) == 3  # a dip that does not last
    assert knee(xs, [5, 5, 5, 5], 0.02) == 0
    assert knee(xs, [10, 8, 6, 5], 0.02, reference=4.5) is None  # 5 > 4.59
    found = paper("knee").refine(lambda x: 1 / x, 1, 100, 0.1)
    assert 10 <= found <= 10.1


def test_lanes_that_keep_up(paper: Any) -> None:
    # 1.8e12 / (32 x 1.5e9 x 2) = 18.75 elements a cycle and core; 18.75 / 16 for each query head
    needed = paper("a6").lanes_needed(4, 1.8e12, 16, 32, 1.5e9, 2)
    assert needed == pytest.approx(4 * 18.75 / 16)


def test_time_of_the_tree_is_that_of_its_passes(lanes: Any) -> None:
    # 32 sequences x 65 pages x 8 kv heads over 32 cores: 520 pages = 8,320 tokens a core.
    # 4 lanes, 4 queries: scores 8,320 x 128 / 16, values 128 x 8,320 / 16, 5 stages each: 133,130 cycles; 32 layers, 1.5 GHz
    four = 32 * 133_130 / 1.5e9 * 1e3
    eight, two = 32 * 66_570 / 1.5e9 * 1e3, 32 * 266_250 / 1.5e9 * 1e3
    split, reuse = points(lanes, "tree alone", True), points(lanes, "tree alone", False)
    assert [split[n]["tree_ms"] for n in (2, 4, 8)] == pytest.approx([two, four, eight])
    assert [reuse[n]["tree_ms"] for n in (2, 4, 8, 16)] == pytest.approx([two, four, four, four])  # lanes beyond 4 queries idle
    for p in (*split.values(), *reuse.values()):
        longest = max(p["tree_ms"], p["vector_ms"], p["dram_ms"])
        assert longest <= p["ms"] <= longest + p["noc_ms"] + 1e-9
        assert p["tokens_per_s"] == pytest.approx(32 / p["ms"] * 1e3)
    # 32 layers x 32 sequences x 1,024 tokens x 8 heads x 2 x 128 x 2 B at no more than 90 % of 2 TB/s
    assert split[16]["dram_ms"] >= 32 * 32 * 1024 * 4096 / 1.8e12 * 1e3
    assert split[16]["kv_share_of_dram_peak"] == pytest.approx(32 * 32 * 1024 * 4096 / (split[16]["ms"] / 1e3) / 2e12)
    assert all(p["attention_on"] == "tree" for p in split.values())


def test_knees_and_verdicts(lanes: Any) -> None:
    def rows(text: str, split: str) -> dict[str, Any]:
        return {r.name: r for r in lanes.rows if r.conditions.startswith(text) and split in r.conditions}

    split, reuse = rows("tree alone", "lanes split"), rows("tree alone", "for reuse only")
    # keeping up takes a little more than the 4 lanes of the 4 queries, so 8 where lanes split; without, 4 are all that help
    assert 4 < split["lanes that keep up with DRAM"].ours < 8
    assert (split["knee, lanes"].ours, reuse["knee, lanes"].ours) == (8, 4)
    assert split["knee, lanes"].published == 16 and split["knee, lanes"].ratio == 0.5
    assert split["time at 16 lanes / best"].ours == 1
    peak = "keys and values at 16 lanes / peak DRAM bandwidth"
    assert reuse[peak].ours < 32 * 16 * 1.5e9 * 2 / 2e12 < split[peak].ours <= 0.9  # 77 % is the most without the split
    step = rows("decode step", "lanes split")["knee, lanes"]
    assert step.ours == 2 and "tree from 16 lanes, arrays below" in step.conditions
    assert "tree from" not in rows("decode step", "for reuse only")["knee, lanes"].conditions


def test_no_saturation_is_said(paper: Any, tmp_path: Path) -> None:
    file = tmp_path / "lanes.yaml"
    file.write_text(SWEEP.replace("[2, 4, 8, 16]", "[1, 2]").replace("published: 16", "published: 1"))
    rows = [r for r in paper("a6").run(file).rows if r.conditions.startswith("tree alone") and r.name == "knee, lanes"]
    assert [r.ours for r in rows] == [2, 2]
    assert all("no saturation in the sweep" in r.conditions and "1 lanes are not enough" in r.conditions for r in rows)


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("published: 16", "published: 3", ":5: published", "not among lanes"),
        ("[2, 4, 8, 16]", "[4, 2, 16]", ":2: lanes", "must ascend"),
        ("llama3-8b", "llama9-8b", ":7: models.0.model", "unknown preset"),
        ("llama3-8b}", "llama3-8b, device_count: 3}", ":7: models.0", "not divisible by 3"),
        ("llama3-8b}", "llama3-70b}", ":7: models.0", "device_count"),
        ("context: 1024", "context: 1024\ndevice: tpu-v9", ":5: device", "no such file"),
    ],
)
def test_mistakes_in_the_file(paper: Any, tmp_path: Path, old: str, new: str, place: str, message: str) -> None:
    file = tmp_path / "lanes.yaml"
    file.write_text(SWEEP.replace(old, new))
    with pytest.raises(SpecError) as error:
        paper("a6").run(file)
    assert f"{file}{place}" in str(error.value) and message in str(error.value)
    assert "\n" not in str(error.value)


def test_figure(lanes: Any) -> None:
    (figure,) = lanes.figures
    assert len(figure.charts) == 3 * len({p["batch"] for p in lanes.points})
    assert all('<path class="line s' in chart for chart in figure.charts) and "as published" in figure.legend
