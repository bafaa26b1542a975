"""Runs of SCALE-Sim 3.0.0 itself, recorded: every integer is equal, every ratio to the last digits."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hdasim.scalesim import cases

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "reference" / "scalesim" / "gemm_ws_os_is.csv"
pytestmark = pytest.mark.skipif(not GOLDEN.is_file(), reason="shared/reference/scalesim is not beside this checkout")


def triple(row: dict[str, str], suffix: str) -> tuple[int, int, int]:
    ifmap, filters, ofmap = (int(row[f"{operand}_{suffix}"]) for operand in cases.OPERANDS)
    return ifmap, filters, ofmap


def same(value: int | float, text: str) -> bool:
    return value == int(text) if isinstance(value, int) else value == pytest.approx(float(text), rel=1e-9, abs=0)


def test_every_column_of_every_run() -> None:
    with GOLDEN.open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 200
    batch = np.concatenate([
        cases.gemm(
            int(row["array_rows"]), int(row["array_cols"]), row["dataflow"], int(row["M"]), int(row["N"]), int(row["K"]),
            triple(row, "sram_kb"), triple(row, "bw") if row["bandwidth_mode"] == "USER" else None,
        )
        for row in rows
    ])  # fmt: skip
    results = cases.simulate(batch)
    assert not results["status"].any()
    wrong = [
        f"case {row['case_id']} ({row['dataflow']}, {row['bandwidth_mode']}): {name} is {value}, SCALE-Sim says {row[name]}"
        for row, case, result in zip(rows, batch, results, strict=True)
        for name, value in cases.report(case, result).items()
        if not same(value, row[name])
    ]
    assert not wrong, "\n".join(wrong)
