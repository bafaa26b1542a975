"""SCALE-Sim's arithmetic: closed forms in bulk, whole layers, and SCALE-Sim itself beside us where it is installed."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdasim.core.layout import SCALESIM_CASE
from hdasim.scalesim import cases, files
from hdasim.validate.scalesim import run_reference

ROWS = 100_000
CONFIG = """[general]
run_name = run
[architecture_presets]
ArrayHeight: 64
ArrayWidth: 64
IfmapSramSzkB: 64
FilterSramSzkB: 64
OfmapSramSzkB: 64
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: ws
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 1
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 1
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """128 x 4096 x 4096 on 64 x 64, weight stationary, as SCALE-Sim's files."""
    (tmp_path / "scale.cfg").write_text(CONFIG)
    (tmp_path / "layers.csv").write_text("Layer, M, N, K,\nq_proj, 128, 4096, 4096,\n")
    (tmp_path / "layout.csv").write_text("none\n")
    return tmp_path


def ours(folder: Path) -> files.Run:
    return files.run(folder / "scale.cfg", folder / "layers.csv", folder / "ours", 1, cases.MAX_LINES)


def test_closed_forms(benchmark: Any) -> None:
    draw = np.random.default_rng(0)
    layers = np.zeros(ROWS, SCALESIM_CASE)
    layers["dataflow"], layers["rows"], layers["cols"] = draw.integers(0, 3, ROWS), 64, 64
    for size in "mnk":
        layers[size] = draw.integers(1, 16384, ROWS)
    benchmark.extra_info.update(work=ROWS, unit="closed forms")
    benchmark(cases.closed_forms, layers)


@pytest.mark.parametrize("bandwidth", [None, (64, 64, 64)], ids=["calc", "user"])
def test_512x14336x4096_on_64x64(benchmark: Any, bandwidth: tuple[int, int, int] | None) -> None:
    layer = cases.gemm(64, 64, "ws", 512, 14336, 4096, (64, 64, 64), bandwidth)
    benchmark.extra_info.update(work=224 * 64 * (2 * 64 + 64 + 512 - 2), unit="lines")
    assert benchmark(cases.simulate, layer)["status"][0] == 0


def test_many_small_layers(benchmark: Any) -> None:
    draw = np.random.default_rng(0)
    layers = np.concatenate([
        cases.gemm(16, 16, "ws", *draw.integers(1, 160, 3).tolist(), (4, 4, 4), (8, 8, 8)) for _ in range(1000)
    ])  # fmt: skip
    benchmark.extra_info.update(work=layers.size, unit="layers")
    benchmark(cases.simulate, layers)


def test_full_reports(benchmark: Any, folder: Path) -> None:
    benchmark.extra_info.update(work=1, unit="layers")
    benchmark(ours, folder)


def test_beside_scalesim(benchmark: Any, folder: Path) -> None:
    pytest.importorskip("scalesim", reason="SCALE-Sim is not installed: make bench-scalesim has an environment with it")
    started = time.process_time()
    run_reference(folder, conv=False)
    theirs = time.process_time() - started
    ours(folder)
    for report in files.REPORTS:
        assert (folder / "theirs" / "run" / report).read_bytes() == (folder / "ours" / "run" / report).read_bytes()
    started = time.process_time()
    for _ in range(20):
        ours(folder)
    seconds = (time.process_time() - started) / 20
    ratio = f"CPU time: SCALE-Sim {theirs:.1f} s, hdasim {seconds * 1000:.2f} ms"
    benchmark.extra_info.update(work=1, unit="layers", times=theirs / seconds, ratio=ratio)
    benchmark(ours, folder)
