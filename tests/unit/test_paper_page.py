"""The page of benchmarks/paper: pictures by hand, summary and verdicts, text that cannot break it, the runner's own mistakes."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def boxes(svg: str) -> list[tuple[str, float, float, str]]:
    """(class, left, right, title) of the bars."""
    found = []
    for path in ET.fromstring(svg).findall(f"{SVG}path"):
        title = path.find(f"{SVG}title")
        match = re.match(r"M([\d.]+) [\d.]+H([\d.]+)v", path.get("d", ""))
        if title is not None and match:
            found.append((path.get("class", ""), float(match[1]), float(match[2]), title.text or ""))
    return found


def test_stacked_bars_by_hand(paper: Any) -> None:
    """Labels of 1 letter leave 24 + 6.6 pixels; the axis runs to 1.04 x 10 at pixel 810: 74.94 pixels each."""
    bars = paper("bars")
    svg = bars.stacked("t", [bars.Bar("a", [("x", 4), ("y", 6)]), bars.Bar("b", [("y", 2)])], "ms", [(5, "line")])
    unit = (810 - 30.6) / 10.4
    expected = [("dot s0", 0, 4), ("dot s1", 4, 10), ("dot s1", 0, 2)]
    for (kind, left, right, _), (colour, start, end) in zip(boxes(svg), expected, strict=True):
        assert kind == colour
        assert (left, right) == (pytest.approx(30.6 + start * unit, abs=0.06), pytest.approx(30.6 + end * unit, abs=0.06))


def test_a_waterfall_by_hand(paper: Any) -> None:
    """2 = 4 x 0.5: the second bar goes back from where the first ends to the published ratio."""
    bars, outcome = paper("bars"), paper("outcome")
    factors = (("architecture", 4), ("baseline's software", 0.5))
    svg = bars.waterfall("t", [outcome.Split(label="a", published=2, factors=factors)])
    (first, one, four, _), (second, two, again, _) = boxes(svg)
    assert (first, second) == ("dot s0", "dot s2") and four == again
    assert two == pytest.approx((one + four) / 2, abs=0.1)  # logarithmic: 2 is half way from 1 to 4
    marks = [p.get("d", "") for p in ET.fromstring(svg).findall(f"{SVG}path") if p.get("class") == "line ink"]
    mark = next(m for m in marks if "V" in m)
    assert float(mark[1:].split()[0]) == pytest.approx(two, abs=0.1)


def test_verdicts(paper: Any) -> None:
    outcome = paper("outcome")
    assert [outcome.within(r, 0.15) for r in (1.15, 0.84, None)] == ["holds", "does not hold", "no figure"]
    assert outcome.together(["holds", "does not hold"]) == "partly" and outcome.together(["holds", "holds"]) == "holds"


def section(paper: Any, name: str = "A1", evil: str = "<b>&\x00") -> Any:
    outcome, tables, page = paper("outcome"), paper("tables"), paper("page")
    table = tables.plain(f"title {evil}", ("a", "b"))
    table.add_row(r"\[x]", "1")
    figure = outcome.Figure("figure", ['<svg xmlns="http://www.w3.org/2000/svg" class="chart"><path d="M0 0h1"/></svg>'])
    claims = [outcome.Claim(what=evil, published="1", ours="2", ratio="2.0", verdict="does not hold", why="because"),
              outcome.Claim(what="x", published="1", ours="1", verdict="holds")]  # fmt: skip
    factors = (("architecture", 1.6), ("baseline's software", 1.25))
    split = outcome.Split(label=f"{name} TBT, input 1", published=2, factors=factors)
    found = outcome.Outcome([], [], [table], [figure], claims, [split], [f"note {evil}"])
    return page.Section(name, "what it shows", found, claims, f"key: {evil}", "Method with `code`.\n\nMore.")


def test_the_page_is_whole_and_says_what_came_out(paper: Any) -> None:
    page = paper("page")
    sections = [section(paper), section(paper, "A2")]
    text = page.render(sections)
    assert text == page.render(sections)
    assert "<b>&\x00" not in text and "\x00" not in text and text.count("&lt;b&gt;&amp;") >= 6
    assert "Of 4 published statements 2 come out, 0 come out under" in text and "2 do not" in text
    assert text.count('class="verdict no"') == 4 and text.count('class="verdict yes"') == 4  # summary and section
    for name in ("A1", "A2"):
        assert f'<section id="{name}">' in text and f'href="#{name}"' in text
    assert "input 1: 2 published = architecture 1.60 x baseline&#x27;s software 1.25." in text
    assert "<td>[x]</td>" in text and "<code>code</code>" in text and "<script" not in text
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text) and "http" not in text.replace("http://www.w3.org/2000/svg", "")
    single = page.render(sections[:1])
    assert "<h1>A1: what it shows</h1>" in single and "Every published number" not in single


def test_any_number_of_processes_gives_the_same_page(paper: Any) -> None:
    runner, page = paper("__main__"), paper("page")
    names = ["A4", "A1", "A12"]
    texts = []
    for workers in (1, 2):
        outcomes = runner.run_all(names, None, None, workers)
        texts.append(page.render([page.Section(n, "", o, o.claims, "") for n, o in zip(names, outcomes, strict=True)]))
    assert texts[0] == texts[1] and len(texts[0]) > 20_000


def test_long_tables_are_folded_and_heat_keeps_its_colours(paper: Any) -> None:
    page, tables = paper("page"), paper("tables")
    table = tables.plain("long", ("a", "b"))
    for i in range(15):
        table.add_row(str(i), "1")
    assert page._table(table).startswith("<details><summary>long (15 lines)</summary>")
    points = [{"rows": r, "cols": 32, "of_budget": 0.5 + r / 200, "gemm_ms": 1.0 + r} for r in (32, 64)]
    heat = page._table(paper("heatmap").heat_table("heat", points, "rows", "cols", (32, 32)))
    assert 'style="color:' in heat and "background:rgb(" in heat and "[66.0]" in heat


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("all", "--file", "pyproject.toml"), "give a folder with all"),
        (("A1", "--file", "tests"), "give a file with one experiment"),
        (("A10", "--data", "nowhere"), "--data nowhere: no such folder"),
        (("A1", "--workers", "0"), "--workers: must be from 1 to 256, got 0"),
    ],
)
def test_the_runners_mistakes(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    command = [sys.executable, "-m", "benchmarks.paper", *arguments, "--output-dir", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1 and message in done.stderr
    assert not (tmp_path / "out").exists()
