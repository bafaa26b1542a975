"""`hdasim predict --op gemm` end to end: read, check, predict and write a table. Goal: 100,000 rows per CPU-second."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdasim.predict import table

ROWS = 100_000


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes as different from each other as can be, in the columns of a table of measurements."""
    shapes = np.exp(np.random.default_rng(0).uniform(0, np.log(65536), (ROWS, 3))).astype(int)
    path = tmp_path_factory.mktemp("predict") / "cases.csv"
    lines = [f"{m},{n},{k},10.5,11.25,12.125" for m, n, k in shapes.tolist()]
    path.write_text("\n".join(["m,n,k,trtllm_us,vllm_us,sglang_us", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
def test_gemms(benchmark: Any, cases: Path, dtype: str) -> None:
    benchmark.extra_info.update(work=ROWS, unit="rows")
    done = benchmark(table.run, cases, cases.with_name("out.csv"), "gemm", "h100", dtype=dtype)
    assert not done.errors


def test_attention(benchmark: Any, tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    lines = [f"{1 + i % 64},{1 + i},{32},{8},{128}" for i in range(ROWS)]
    path.write_text("\n".join(["batch,kv_len,q_heads,kv_heads,head_dim", *lines]) + "\n", encoding="utf-8")
    benchmark.extra_info.update(work=ROWS, unit="rows")
    assert not benchmark(table.run, path, tmp_path / "out.csv", "attention_generation", "h100").errors
