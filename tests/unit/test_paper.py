"""benchmarks/paper: rows that others may rely on, an optimum that brute force confirms, and mistakes answered in one line."""

import csv
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import hdasim
from hdasim.errors import SpecError
from hdasim.spec.load import load_device

ROOT = Path(__file__).resolve().parents[2]
KEYS = ["experiment", "name", "baseline", "input_len", "published", "ours", "ratio", "conditions"]
SWEEP = """
model: llama3.2-1b
macs: 16384
array_rows: [32, 64, 96]
array_cols: [32, 64]
published: {rows: 64, cols: 64}
tokens: [48, 256]
reference_tokens: 256
designs:
  - {name: shared, link_width: share}
  - {name: alike, local_memory: same, vector_unit: same, link_width: same}
"""
TIMING = """
model: llama3.2-1b
array: {rows: 64, cols: 64}
tokens: [1, 128]
stalls:
  cases:
    - {layer: o_proj, tokens: 32, buffer_kb: 64, bandwidth: [64, 64, 64]}
    - {layer: o_proj, tokens: 32, buffer_kb: 8192, bandwidth: [64, 64, 64]}
"""


@pytest.fixture(scope="module")
def sweep(paper: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("paper") / "sweep.yaml"
    file.write_text(SWEEP)
    return paper("a5").run(file)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.paper", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_list_and_unknown_id(tmp_path: Path) -> None:
    listed = run()
    assert listed.returncode == 0 and listed.stdout.startswith("A1 ")
    unknown = run("A99", "--output-dir", str(tmp_path / "none"))
    assert unknown.returncode == 2 and unknown.stdout == ""
    assert unknown.stderr.count("\n") == 1
    assert "known: A1, A2, A3, A4, A5, A6, A7, A8, A9, A9b, A10, A11, A12, A13, A14, timing, all" in unknown.stderr
    assert not (tmp_path / "none").exists()


def test_json_rows_and_files(tmp_path: Path) -> None:
    (tmp_path / "timing.yaml").write_text(TIMING)
    done = run("timing", "--json", "--file", str(tmp_path / "timing.yaml"), "--output-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert all(list(row) == KEYS for row in rows)
    assert rows[0]["ratio"] == pytest.approx(rows[0]["ours"] / rows[0]["published"])
    assert json.loads((tmp_path / "timing.json").read_text())["rows"] == rows
    assert len(list(csv.DictReader((tmp_path / "timing.csv").read_text().splitlines()))) == len(rows)


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("macs:", "mcas:", ":3: mcas", "did you mean 'macs'?"),
        ("[48, 256]", "[256, 48]", ":7: tokens", "must ascend"),
        ("reference_tokens: 256", "reference_tokens: 2", ":8: reference_tokens", "not among tokens"),
        ("cols: 64}", "cols: 128}", ":6: published", "not in the sweep"),
        ("macs: 16384", "macs: 100", ":3: macs", "less than one published array"),
        ("link_width: share", "link_width: wide", ":10: designs.0.link_width", "match or same or share"),
        ("llama3.2-1b", "llama9", ":2: model", "unknown preset"),
        ("macs:", "device: adorr\nmacs:", ":3: device", "no such file"),
    ],
)
def test_mistakes_in_the_file(paper: Any, tmp_path: Path, old: str, new: str, place: str, message: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.replace(old, new))
    with pytest.raises(SpecError) as error:
        paper("a5").run(file)
    assert str(file) in str(error.value) and place in str(error.value) and message in str(error.value)
    assert "\n" not in str(error.value)


def cycles(m: int, k: int, n: int, rows: int, cols: int) -> int:
    """csrc/systolic.h: rows + (F - 1) max(m, rows) + m + rows + cols - 2."""
    folds = -(-k // rows) * -(-n // cols)
    return rows + (folds - 1) * max(m, rows) + m + rows + cols - 2


def test_array_cycles_are_those_of_the_best_grid(paper: Any) -> None:
    a5, size = paper("a5"), paper("inputs").ArraySize(rows=32, cols=96)
    gemms = [(200, 1000, 3), (96, 70, 1)]
    cores, tokens = 7, 90
    grids = [(r, c) for r, c in product(range(1, cores + 1), repeat=2) if r * c <= cores]
    best = sum(
        repeat * min(cycles(-(-tokens // r), k, -(-n // c), size.rows, size.cols) for r, c in grids) for k, n, repeat in gemms
    )
    assert a5.array_cycles(gemms, tokens, size, cores) == best


def engine_seconds(rows: int, cols: int, tokens: int) -> float:
    """The sweep's design "shared", written out."""
    experiment = hdasim.load("ador-llama3-8b", ["model={preset: llama3.2-1b}"])
    ador = load_device("ador")
    cores = 16384 // (rows * cols)
    columns = {4: 2, 8: 4, 16: 4, 5: 4, 2: 2}[cores]
    replace = msgspec.structs.replace
    core = replace(
        ador.core, mac_tree=None, local_memory=ador.core.local_memory * 32 / cores,
        vector_unit=replace(ador.core.vector_unit, width=32 * 32 // cores),
        systolic_array=replace(ador.core.systolic_array, rows=rows, cols=cols),
    )  # fmt: skip
    noc = replace(ador.noc, columns=columns, link_width=128 * 32 // cores)
    device = replace(ador, core_count=cores, core=core, noc=noc)
    machine, _, ops = hdasim.step(replace(experiment, device=device), "prefill", 1, tokens)
    pairs = zip(machine.compiled.ops, ops, strict=True)
    return sum(float(o["exposed"]) for op, o in pairs if op.kind == "linear" and op.rows == "tokens")


def test_optimum_is_what_brute_force_gives(sweep: Any) -> None:
    for tokens in (48, 256):
        times = {(r, c): engine_seconds(r, c, tokens) for r in (32, 64, 96) for c in (32, 64)}
        mine = {
            (p["rows"], p["cols"]): p["gemm_ms"] / 1e3
            for p in sweep.points
            if p["judged_by"] == "engine, shared" and p["tokens"] == tokens
        }
        assert mine == pytest.approx(times)
        best = min(times, key=times.__getitem__)
        rows = {r.name: r for r in sweep.rows if r.input_len == tokens and r.conditions.startswith("engine, shared")}
        assert (rows["best array, rows"].ours, rows["best array, columns"].ours) == best
        assert rows["best array, rows"].published == rows["best array, columns"].published == 64
        slowdown = rows["time of 64 x 64 / best"]
        assert slowdown.ours == slowdown.ratio == pytest.approx(times[64, 64] / times[best])
        verdict = "is the optimum" if best == (64, 64) else "is not the optimum"
        assert verdict in slowdown.conditions


def test_points_keep_to_the_budget_and_the_peak(sweep: Any) -> None:
    for p in sweep.points:
        assert p["macs"] == p["core_count"] * p["rows"] * p["cols"] <= 16384
        assert p["macs"] + p["rows"] * p["cols"] > 16384
        assert 0 < p["of_budget"] <= p["utilization"] <= 1 or p["judged_by"] != "array cycles alone"
    assert all(list(msgspec.to_builtins(r)) == KEYS for r in sweep.rows)
    mean = [r for r in sweep.rows if r.input_len is None and r.name == "time of 64 x 64 / best"]
    assert len(mean) == 3 and all(r.ours >= 1 for r in mean)


def test_budget_that_no_core_count_meets_is_rounded_down(paper: Any) -> None:
    a5, size = paper("a5"), paper("inputs").ArraySize
    ador = load_device("ador")
    design = a5.Design(name="all", local_memory="share", vector_unit="share", mac_tree="share", link_width="match")
    device = a5.device_with(ador, size(rows=96, cols=96), 131072, design)
    assert device.core_count == 14  # 131,072 / 9,216 = 14.2
    assert device.noc.link_width == 192 and device.core.local_memory == pytest.approx(2048 * 1024 * 32 / 14)
    assert device.core.mac_tree.width * device.core.mac_tree.lanes <= 8192 / 14
    same = a5.device_with(ador, size(rows=64, cols=64), 131072, design)
    assert same == ador  # at its own size every sharing gives ADOR itself


def test_files_of_an_outcome(paper: Any, sweep: Any, tmp_path: Path) -> None:
    assert "A5.csv, A5.json" in paper("outcome").save(sweep, "A5", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["A5.csv", "A5.json"]


def test_scalesim_and_double_buffered_cycles(paper: Any) -> None:
    timing, size = paper("timing"), paper("inputs").ArraySize(rows=64, cols=64)
    # K = N = 128: 4 folds. SCALE-Sim 4 (2 x 64 + 64 + 100 - 2) = 1160; double-buffered 64 + 3 x 100 + 100 + 64 + 64 - 2 = 590
    point = timing.evaluate("hand", 100, 128, 128, size)
    assert (point["scalesim_cycles"], point["double_buffered_cycles"]) == (1160, 590)
    assert point["ideal_cycles"] == 400
    # one fold: nothing to hide
    single = timing.evaluate("hand", 100, 64, 64, size)
    assert single["scalesim_cycles"] == single["double_buffered_cycles"]
    # many folds: the limits that the user guide states
    for tokens, limit in ((1, 191 / 64), (64, 254 / 64), (4096, 4286 / 4096)):
        assert timing.evaluate("limit", tokens, 1 << 16, 1 << 16, size)["ratio"] == pytest.approx(limit, rel=1e-3)


def test_stalls_are_above_the_bound(paper: Any) -> None:
    stalls = paper("stalls")
    rng = np.random.default_rng(0)
    cases = tuple(
        stalls.StallCase(
            layer="layer", tokens=int(rng.integers(1, 40)), buffer_kb=int(rng.integers(1, 5)),
            bandwidth=tuple(int(b) for b in rng.integers(1, 40, 3)),
        )
        for _ in range(20)
    )  # fmt: skip
    points = stalls.stalled(stalls.Stalls(cases=cases), {"layer": (100, 90)}, 8, 8)
    for p in points:
        assert p["bound_cycles"] >= p["compute_cycles"]
        assert p["scalesim_cycles"] >= p["compute_cycles"]
        assert p["dram_ofmap_writes"] >= p["needed_dram_ofmap_writes"]
    # ifmap 2 x 4 words, kept whole; 4 x 8 weights; 2 x 8 results
    assert stalls.needed_words(2, 4, 8, 4, 100) == (8, 32, 16)
    # none kept: streamed for each of 2 columns of folds
    assert stalls.needed_words(2, 4, 8, 4, 0) == (16, 32, 16)
    with pytest.raises(SpecError, match="unknown layer 'layer'"):
        stalls.stalled(stalls.Stalls(cases=cases[:1]), {"other": (1, 1)}, 8, 8)
