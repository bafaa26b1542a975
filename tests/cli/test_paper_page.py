"""`python -m benchmarks.paper all` makes one page, and a browser shows it: no errors, nothing fetched, every picture drawn."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BROWSER = runpy.run_path(str(ROOT / "tests" / "browser.py"))
CHROMIUM = _BROWSER["find"]()
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH: apt-get install chromium")
#: Changes to the shipped files: the experiments that take long, made small.
SMALLER = {
    "a5": [("[32, 64, 96, 128, 160, 192, 224, 256, 384, 512]", "[32, 64, 128]"),
           ("[128, 256, 512, 1024, 2048, 4096]", "[256, 1024]")],
    "a6": [("[1, 2, 4, 8, 16, 32, 64]", "[4, 16, 64]"), ("batches: [1, 32]", "batches: [32]")],
    "a8": [("[1, 2, 4, 8, 16]", "[1, 2, 4, 8]"), ("  - {phase: decode, batch_size: 16, input_len: 1024}\n", "")],
    "a9": [("2 GB/s, 4 GB/s, 8 GB/s, 16 GB/s, ", ""), ("  - {tp_method: all_reduce, tp_algorithm: direct}\n", ""),
           ("  - {phase: decode, batch_size: 45, input_len: 1024}\n  - {phase: decode, batch_size: 64, input_len: 1024}\n", "")],
    "a13": [("seeds: 3", "seeds: 1"), ("8192", "300"), ("2048", "200"), ("tolerance: 0.02", "tolerance: 0.3")],
    "a14": [("4, 8, 16, 32, 64, 128, 256, 512, ", "64, "), ("num_prompts: 2000", "num_prompts: 200"),
            ("capacity_prompts: 1000", "capacity_prompts: 200"), ("[0.5, 0.6, 0.7, 0.8, 0.9, 0.95]", "[0.5, 0.9]")],
}  # fmt: skip
EXPERIMENTS = ("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "A9b", "A10", "A11", "A12", "A13", "A14", "timing")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes, from smaller files."""
    files, out = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("paper")
    for name, changes in SMALLER.items():
        text = (ROOT / "benchmarks" / "paper" / f"{name}.yaml").read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, (name, old)
            text = text.replace(old, new)
        (files / f"{name}.yaml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.paper", "all", "--json", "--file", str(files), "--output-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {r["experiment"] for r in rows} == set(EXPERIMENTS)
    for r in rows:
        assert list(r) == ["experiment", "name", "baseline", "input_len", "published", "ours", "ratio", "conditions"]
        assert r["ratio"] is None or r["ratio"] == pytest.approx(r["ours"] / r["published"])
    return out


def look(page: Path, profile: Path) -> Any:
    with _BROWSER["browser"](CHROMIUM, profile) as browser:
        return browser.open(page)


def test_one_page_has_every_experiment(folder: Path) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert [p.name for p in folder.iterdir() if p.suffix == ".html"] == ["index.html"]
    for name in EXPERIMENTS:
        part = text.partition(f'<section id="{name}">')[2].partition("</section>")[0]
        assert part.count("<svg ") >= 1 and part.count("<table>") >= 1, name
        assert "Conditions: the experiment file" in part, name
        assert (folder / f"{name}.csv").is_file() and (folder / f"{name}.json").is_file()
    summary = text.partition('class="summary"')[2].partition("</table>")[0]
    for published in ("2.36", "1.93", "3.78", "2.51", "4.01", "23.3", "3.87", "3.85", "2.21", "516"):
        assert published in summary, published
    assert "baseline&#x27;s software" in text.partition('id="summary"')[0]


@needs_chromium
def test_a_browser_draws_every_picture(folder: Path, tmp_path: Path) -> None:
    seen = look(folder / "index.html", tmp_path)
    assert seen.errors == []
    assert [r for r in seen.requests if not r.startswith(("file:", "data:"))] == [] and len(seen.requests) <= 2
    assert [p for p in seen.pictures if not p["drawn"]] == []
    assert len(seen.pictures) > len(EXPERIMENTS)
    assert seen.overlaps == []


GOOD = '<svg width="50" height="50" aria-label="good"><path d="M0 0h20v20"/><text x="1" y="20">a</text></svg>'

#: A plot without its data.
AXES = (
    '<svg width="50" height="50" aria-label="axes"><path class="frame" d="M9 2v30h40"/>'
    '<line class="grid" x1="9" x2="49" y1="9" y2="9"/>{}</svg>'
)


@needs_chromium
@pytest.mark.parametrize(
    ("body", "what"),
    [
        (GOOD, None),
        ('<img src="missing.png">', "request"),
        ('<img src="data:image/png;base64,AAAA">', "picture"),
        ("<script>console.error('oh')</script>", "error"),
        ("<script>undefined_function()</script>", "error"),
        ('<svg width="50" height="50" aria-label="empty"></svg>', "picture"),
        ('<svg width="50" height="50" aria-label="text only"><text x="1" y="20">a</text></svg>', "picture"),
        ('<svg width="50" height="50" aria-label="no numbers"><path d="M0 0h20v20"/><path d="MNaN 0h9"/></svg>', "picture"),
        ('<svg width="0" height="0" aria-label="no size"><path d="M0 0h20v20"/></svg>', "picture"),
        (AXES.format('<path class="line s0" d="M12 8h20"/>'), None),
        (AXES.format('<path class="line ink" d="M12 8h20"/>'), "picture"),
        (AXES.format('<path class="line s0" d="M12 8h20" transform="translate(0,400)"/>'), "picture"),
        (GOOD.replace("</svg>", '<text x="2" y="21">b</text></svg>'), "overlap"),
        (GOOD.replace("</svg>", '<text x="45" y="40">cut off</text></svg>'), "overlap"),
    ],
)
def test_what_is_wrong_is_seen(tmp_path: Path, body: str, what: str | None) -> None:
    """The look that passes the page fails pages on which something is wrong."""
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><link rel="icon" href="data:,"><body>{GOOD}{body}</body>', encoding="utf-8")
    seen = look(page, tmp_path / "profile")
    wrong = {
        "error": bool(seen.errors), "request": any("request failed" in e or "ERR_" in e for e in seen.errors),
        "picture": any(not p["drawn"] for p in seen.pictures), "overlap": bool(seen.overlaps),
    }  # fmt: skip
    if what is None:
        assert not any(wrong.values()) and len(seen.pictures) == 2
    else:
        assert wrong[what]
