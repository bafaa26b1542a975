"""Reports: JSON, the four files, tables on plain text, progress that stays out of the way."""

import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import hdasim
from hdasim.core import layout
from hdasim.report import files
from hdasim.report.progress import Reporter
from hdasim.report.table import CAUSE_NAMES, communication, print_result, print_step, step_rows

SAMPLE = Path(__file__).resolve().parents[2] / "cli" / "sample.yaml"


@pytest.fixture(scope="module")
def result() -> hdasim.Result:
    return hdasim.simulate(hdasim.load(SAMPLE, ["workload.num_prompts=10"]))


def console() -> Console:
    return Console(file=io.StringIO(), width=160, force_terminal=False)


def text_of(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def test_json_is_exact_and_ends_a_line() -> None:
    text = files.to_json({"a": 0.1 + 0.2, "b": float("inf"), "c": [1, None]})
    assert json.loads(text) == {"a": 0.30000000000000004, "b": None, "c": [1, None]}
    assert text.endswith("}\n")


def test_the_document_is_flat_with_blocks(result: hdasim.Result) -> None:
    document = files.result_document(result)
    blocks = {key for key, value in document.items() if isinstance(value, dict)}
    assert blocks == {"bound", "occupancy", "device", "bottleneck", "communication", "meta", "spec", "saturation", "slo"}
    assert sum(document["bottleneck"].values()) == pytest.approx(1)
    limits = document["bottleneck"]["noc"] + document["bottleneck"]["p2p"]
    assert 0 < document["communication"]["exposed"] <= limits * (1 + 1e-9)
    json.loads(files.to_json(document))


def test_files_are_whole(result: hdasim.Result, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    files.write_run(result, folder)
    with files.StepsFile(folder, several=False) as steps:
        for part in np.array_split(result.served.steps, 3):
            steps(part)
        assert not (folder / "steps.csv").exists()
    assert sorted(p.name for p in folder.iterdir()) == ["requests.csv", "result.json", "spec.yaml", "steps.csv"]
    lines = (folder / "requests.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == (
        "request_id,arrival_s,input_len,output_len,generated,cached,state,preemptions,queued_s,scheduled_s,first_token_s,"
        "last_token_s,ttft_s,tpot_s,e2el_s,scheduling_delay_s"
    )
    assert all(line.split(",")[6] == "finished" for line in lines[1:])
    rows = (folder / "steps.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("step,start_s,time_s,bound_s,prefill_tokens,decode_tokens,running,waiting,kv_blocks,preemptions,")
    assert [int(row.split(",")[0]) for row in rows[1:]] == list(range(result.served.steps.size))
    assert [float(row.split(",")[1]) for row in rows[1:]] == result.served.steps["start"].tolist()


class FullDisk(io.StringIO):
    def write(self, *_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_no_half_file(result: hdasim.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        files.write_run(result, tmp_path)
        with files.StepsFile(tmp_path, several=False) as steps:
            steps(result.served.steps)

    write()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(files, "open", lambda *_, **__: FullDisk(), raising=False)
    full = pytest.raises(hdasim.SpecError, match="cannot write results: no space left on device; choose another folder")
    with full:
        files.write_run(result, tmp_path)
    with pytest.raises(hdasim.SpecError, match="no space left on device"):
        write()
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_disk_that_fills_up_at_the_end_leaves_no_half_file(result: hdasim.Result, tmp_path: Path) -> None:
    steps = files.StepsFile(tmp_path, several=False)
    with pytest.raises(hdasim.SpecError, match="no space left on device"), steps:
        steps(result.served.steps)
        steps.file.close()
        steps.file = FullDisk()
        steps.file.close = steps.file.write
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(hdasim.SpecError, match="permission denied"):
        files.make_folder(tmp_path)


def test_the_table_has_every_figure(result: hdasim.Result) -> None:
    to = console()
    print_result(result, to)
    text = text_of(to)
    s = result.summary
    for part in (
        f"{s['mean_ttft_ms']:,.2f}",
        f"{s['p99_itl_ms']:,.2f}",
        f"{s['output_throughput']:,.1f}",
        "10 of 10",
        "TTFT, each request",
        f"{s['mean_scheduling_delay_ms']:,.2f}",
        f"exposed communication  {100 * s['communication']['exposed']:9.1f} %",
    ):
        assert part in text
    assert f"Held back by: {CAUSE_NAMES[max(s['bottleneck'], key=s['bottleneck'].get)]}" in text
    assert "\x1b" not in text
    assert "\n\n\n" not in text


def test_the_step_table_fits_its_width() -> None:
    machine, record, ops = hdasim.step(hdasim.load(SAMPLE), "decode", 8, 512)
    rows = step_rows(machine, record, ops)
    to = console()
    print_step("title", machine, record, rows, to)
    text = text_of(to)
    assert "…" not in text
    assert all(row["operator"] in text for row in rows)


def test_communication_is_split_by_network() -> None:
    """A step of 10 s: 3 s between cores of which 1 pushed the end, 4 s between devices of which all did."""
    step = np.zeros(1, layout.STEP)[0]
    step["time"], step["communication"], step["exposed_communication"] = 10, (3, 4), (1, 4)
    c = communication(step)
    assert (c["communication_time"], c["communication_hidden"], c["communication_exposed"]) == (7, 2, 5)
    assert c["communication"] == {
        "cores": {"time": 3, "hidden": 2, "exposed": 1},
        "devices": {"time": 4, "hidden": 0, "exposed": 4},
    }
    machine, _, _ = hdasim.step(hdasim.load(SAMPLE), "decode", 1, 64)
    to = console()
    print_step("title", machine, step, [], to)
    assert "communication between cores 3 s: 2 s hidden, 1 s exposed (10.0 % of the step)" in text_of(to)
    assert "communication between devices 4 s: 0 s hidden, 4 s exposed (40.0 % of the step)" in text_of(to)


def test_progress_is_silent_then_a_line_then_rare(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter() as reporter:
        reporter(1, 10, 2.0, 3)
        assert capsys.readouterr().err == ""
        reporter.started -= 2
        reporter(2, 1000, 1234.0, 3000)
        assert capsys.readouterr().err == "2 of 1,000 requests, 1,234 s simulated, 3,000 steps\n"
        reporter(3, 1000, 1235.0, 3001)
        assert capsys.readouterr().err == ""
        reporter.last -= 6
        reporter(4, 1000, 1236.0, 3002)
        assert capsys.readouterr().err.startswith("4 of 1,000")


def test_progress_on_a_terminal_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Reporter() as reporter:
        reporter.started -= 2
        reporter(2, 1000, 1234.0, 3000)
        assert reporter.bar is not None
        assert reporter.bar.tasks[0].completed == 2
    assert reporter.bar.finished is False


def test_a_queue_that_grows_is_said_and_has_no_percentiles() -> None:
    result = hdasim.simulate(hdasim.load(SAMPLE, ["workload.arrival.request_rate=40", "workload.num_prompts=400"]))
    to = console()
    print_result(result, to)
    lines = text_of(to).splitlines()
    assert any(line.startswith("SATURATED: the ") for line in lines)
    assert next(line for line in lines if line.startswith("TTFT, ms")).split()[2:] == ["grows"] * 4
    assert "grows" not in next(line for line in lines if line.startswith("ITL"))
    assert result.summary["saturated"]


def test_all_at_once_is_offline() -> None:
    result = hdasim.simulate(hdasim.load(SAMPLE, ["workload.arrival.request_rate=inf", "workload.num_prompts=100"]))
    to = console()
    print_result(result, to)
    assert "OFFLINE: all requests arrive at once" in text_of(to)
    assert (result.summary["saturated"], result.summary["saturation"]["kind"]) == (False, "offline")
