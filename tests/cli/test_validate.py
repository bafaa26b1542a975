"""`validate scalesim` on SCALE-Sim 3.0.0's outputs for three random layers on each of eight arrays (tests/golden/scalesim)."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from hdasim.cli import main

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "scalesim"


def test_reports_of_the_real_package_are_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "scalesim", "--data", str(GOLDEN)]) == 0
    out = capsys.readouterr().out
    assert "24 of 24 cases equal in every column" in out
    assert "reports the same to the byte: 8 of 8 cases" in out


def test_json_rows_have_the_stable_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "scalesim", "--data", str(GOLDEN / "conv_ws_user"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 3 * 30  # three layers, all columns but compute_cycles, which is derived
    assert all(set(row) == {"name", "reference", "predicted", "error"} and row["error"] == 0 for row in rows)


def test_a_difference_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "case"
    shutil.copytree(GOLDEN / "gemm_os_user", folder)
    report = folder / "COMPUTE_REPORT.csv"
    header, first, *rest = report.read_text().splitlines()
    cells = first.split(", ")
    cells[2] = str(int(cells[2]) + 1)
    report.write_text("\n".join([header, ", ".join(cells), *rest]) + "\n")
    assert main(["validate", "scalesim", "--data", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "2 of 3 cases equal in every column" in out
    assert "0 of 1" in out


def test_a_row_that_cannot_be_run_does_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hdasim.scalesim import cases, table

    values = dict.fromkeys(table.INPUTS, "1") | {"dataflow": "os", "bandwidth_mode": "CALC"}
    path = tmp_path / "cases.csv"
    path.write_text(",".join((*values, *cases.OUTPUTS)) + "\n" + ",".join((*values.values(), *["0"] * len(cases.OUTPUTS))) + "\n")
    assert main(["validate", "scalesim", "--data", str(path)]) == 1
    assert "divides by zero" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "holds no table"),
        (lambda path: path.write_text("a,b\n1,2\n"), "columns are missing: array_rows"),
        (lambda path: path.write_text(""), "file is empty"),
    ],
    ids=["missing", "empty folder", "another table", "empty file"],
)
def test_what_is_no_reference_is_one_line(
    make: object, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "reference"
    make(path)  # type: ignore[operator]
    assert main(["validate", "scalesim", "--data", str(path)]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda text: text.replace(",", ";"), "COMPUTE_REPORT.csv:1: got the header"),
        (lambda text: text.replace("\n1, ", "\n1, x"), "expected a number"),
        (lambda text: text[:40], "COMPUTE_REPORT.csv:1: got the header"),
        (lambda text: text + text.splitlines()[-1] + "\n", "4 layers; the topology has 3"),
        (lambda text: text.splitlines()[0] + "\n", "0 layers; the topology has 3"),
        (lambda text: text.replace("\n1, ", "\n1, 5, "), "7 numbers; expected 6"),
        (lambda text: "", "file is empty"),
    ],
    ids=["semicolons", "no number", "cut", "one more", "header only", "a number more", "empty"],
)
def test_a_malformed_report_is_one_line(edit: object, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(GOLDEN / "gemm_os_user", tmp_path / "case")
    report = tmp_path / "case" / "COMPUTE_REPORT.csv"
    report.write_text(edit(report.read_text()))  # type: ignore[operator]
    assert main(["validate", "scalesim", "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


@pytest.mark.skipif(importlib.util.find_spec("scalesim") is not None, reason="SCALE-Sim is installed here")
def test_without_the_extra_live_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "scalesim", "--live", "1"]) == 2
    assert "make validate" in capsys.readouterr().err
