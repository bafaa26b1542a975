"""`hdasim capacity`: what it prints and writes, --resume, its exit codes, and its errors."""

import json
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hdasim.cli import main

write_profile = runpy.run_path(str(Path(__file__).parents[1] / "profile_files.py"))["write_profile"]
SAMPLE = Path(__file__).with_name("sample.yaml")
SMALL = ["--set", "workload.lengths={kind: fixed, input_len: 128, output_len: 8}", "--num-prompts", "150", "--seeds", "2",
         "--tolerance", "0.1"]  # fmt: skip
GOALS = ["--set", "slo={ttft: {p90: 60 ms}}"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE, "model.yaml")
    return tmp_path


def found(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main(["capacity", "model.yaml", "--json", "--output-dir", "out", *arguments]) == code
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["capacity", "model.yaml", "--output-dir", "out", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_the_document_and_the_file_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    result = found(capsys, *SMALL, *GOALS)
    assert json.loads(Path("out/capacity.json").read_text(encoding="utf-8")) == result
    assert result["status"] == "found"
    for seed in result["seeds"]:
        assert seed["failed"] <= 1.1 * seed["passed"]
    at, above = result["at_capacity"]["slo"]["goals"][0], result["above"]["slo"]["goals"][0]
    assert at["value_ms"] <= 60 < above["value_ms"]


def test_resume_evaluates_nothing_again(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = found(capsys, *SMALL, *GOALS)
    bytes_before = Path("out/capacity.json").read_bytes()

    def refuse(*_: object) -> None:
        raise AssertionError("evaluated again")

    monkeypatch.setattr("hdasim.search.capacity.simulate", refuse)
    assert found(capsys, *SMALL, *GOALS, "--resume", "--workers", "1") == first
    assert Path("out/capacity.json").read_bytes() == bytes_before


def test_the_same_bytes_on_any_number_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    one = found(capsys, *SMALL, *GOALS, "--workers", "1")
    assert found(capsys, *SMALL, *GOALS, "--workers", "4") == one


def test_the_table_and_the_curve(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", "model.yaml", *SMALL, *GOALS, "--plot", "curve.html"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ador-llama3-8b: capacity ")
    for part in ("limited by: ", "p90 TTFT", "Latency against rate", "All runs", "at once", "95 % interval"):
        assert part in out
    page = Path("curve.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 6
    assert "limit of p90" in page


def test_pools_have_figures_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    pools = "cluster={link: {bandwidth: 100 GB/s}, pools: [{role: prefill}, {role: decode}]}"
    assert main(["capacity", "model.yaml", "--output-dir", "out", *SMALL, *GOALS, "--set", pools, "--plot", "curve.html"]) == 0
    text = capsys.readouterr().out
    for wanted in ("held back there (prefill pool) by: ", "running requests (decode pool)", "DRAM (decode pool)"):
        assert wanted in text


def test_operator_tables_do_not_tell_what_limits(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    write_profile(folder / "profile")
    goals = ["--set", "slo={ttft: {p90: 60 ms}}", "--set", "profile={path: profile, extrapolate: true}"]
    assert main(["capacity", "model.yaml", "--output-dir", "out", *SMALL, *goals]) == 0
    text = capsys.readouterr().out
    assert "capacity" in text and "held back" not in text
    table = folder / "profile" / "dense.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("qkv_proj,1,10", "qkv_proj,1,11"), encoding="utf-8")
    assert "holds runs of another experiment" in error(capsys, *SMALL, *goals, "--resume")


def test_the_table_says_how_many_requests_are_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    """A tenth of prompts has over 200 tokens, up to 100,000; 100 blocks hold 1,600."""
    long = "workload.lengths={kind: quantiles, input: [[0, 100], [0.9, 200], [1, 100000]], output: [[0, 8], [1, 8]]}"
    goals = ["--set", "slo={ttft: {p50: 60 ms}}", "--set", "serving.num_gpu_blocks=100"]
    assert main(["capacity", "model.yaml", *SMALL, *goals, "--set", long]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "rejected" in line]
    assert 5 < float(line.split(" %")[0]) < 15


def test_goals_that_no_rate_meets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", "model.yaml", *SMALL, "--set", "slo={tpot: {p50: 1 ms}}"]) == 3
    out = capsys.readouterr().out.splitlines()[0]
    assert "no rate meets the service levels: even at" in out
    assert "p50 TPOT is" in out
    assert "times its limit of 1 ms" in out


def test_goals_that_all_at_once_meets(capsys: pytest.CaptureFixture[str]) -> None:
    result = found(capsys, *SMALL, "--set", "slo={itl: {p99: 10 s}}")
    assert (result["status"], result["capacity"]) == ("unlimited", pytest.approx(result["offline_throughput"]))


def test_a_trace_has_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{i / 10},128,8\n" for i in range(150))
    Path("t.csv").write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + rows, encoding="utf-8")
    trace = ["--set", "workload={arrival: {kind: trace, path: t.csv}}"]
    result = found(capsys, *trace, *GOALS, "--tolerance", "0.1")
    assert (len(result["seeds"]), result["half_width"], result["num_prompts"]) == (1, None, 150)
    assert result["status"] == "found"
    Path("t.csv").write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + rows.replace("128", "64"), encoding="utf-8")
    assert "another experiment" in error(capsys, *trace, *GOALS, "--tolerance", "0.1", "--resume")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "slo={}"], "slo: no goals to search a capacity for; set slo, such as {preset: sarathi-strict-mistral-7b}"),
        (["--set", "slo={preset: mlperf-llama2-70b}"], "slo.preset: unknown preset 'mlperf-llama2-70b' (did you mean 'mlperf-ll"),
        (["--min-rate", "fast"], "--min-rate: expected a quantity such as '10 req/s', got 'fast'"),
        (["--max-rate", "-1"], "--max-rate: expected a rate above 0, such as 10, got -1"),
        (["--max-rate", "inf"], "--max-rate: expected a rate above 0, such as 10, got inf"),
        (["--min-rate", "5", "--max-rate", "2"], "--min-rate: must not be above --max-rate 2, got 5"),
        (["--seeds", "0"], "--seeds: expected a whole number from 1 to 100, got 0"),
        (["--num-prompts", "0"], "--num-prompts: expected a whole number from 1"),
        (["--tolerance", "2"], "--tolerance: expected a share from 0.0001 to 0.5, such as 0.02, got 2"),
        (["--tolerance", "nan"], "--tolerance: expected a share from 0.0001 to 0.5, such as 0.02, got nan"),
        (["--tolerance", "small"], "--tolerance: expected a number, got 'small'"),
    ],
)  # fmt: skip
def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in error(capsys, *arguments)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"points": [{}], "made_from": {}}', '{"points": 3}', "\xff"])
def test_a_file_that_is_no_search_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    Path("out").mkdir()
    Path("out/capacity.json").write_text(text, encoding="latin-1")
    assert "not a file that hdasim capacity wrote" in error(capsys, *SMALL, "--resume")


def test_another_experiment_is_not_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    found(capsys, *SMALL, *GOALS)
    assert "holds runs of another experiment" in error(capsys, *SMALL, *GOALS, "--set", "serving.max_num_seqs=8", "--resume")


def test_an_interrupt_prints_what_is_known_and_can_be_resumed(folder: Path) -> None:
    command = [sys.executable, "-m", "hdasim", "capacity", "model.yaml", "--output-dir", "out", *GOALS,
               "--num-prompts", "1000000", "--set", "workload.lengths={kind: fixed, input_len: 128, output_len: 8}"]  # fmt: skip
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not Path("out/capacity.json").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted before the capacity was known" in out.splitlines()[0]
    assert "--resume does the rest" in err
    assert "Traceback" not in err
    saved = json.loads(Path("out/capacity.json").read_text(encoding="utf-8"))
    assert saved["interrupted"]
    assert len(saved["points"]) >= 1
