"""Constants of another generation than the GPU's own: a line on stderr, whatever the command, and never in the JSON document."""

import json
import shutil
from pathlib import Path

import pytest

from hdasim.cli import main
from hdasim.predict.table import _constants_remarks
from hdasim.spec.load import load, load_device

SAMPLE = Path(__file__).with_name("sample.yaml")
L40S = "l40s: no ada GPU was measured; constants are those of blackwell-rtx, the nearest generation"
STEP = ["step", "model.yaml", "--phase", "decode", "--batch-size", "4", "--isl", "100"]
SHORT = ["--set", "workload.lengths={kind: fixed, input_len: 128, output_len: 4}"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE, "model.yaml")


def warnings(capsys: Capture, *arguments: str) -> list[str]:
    assert main([*arguments, "--json"]) in (0, 3)
    captured = capsys.readouterr()
    json.loads(captured.out)
    return [line for line in captured.err.splitlines() if line.startswith("warning: ")]


@pytest.mark.parametrize(
    "command",
    [
        STEP,
        ["run", "model.yaml", "--num-prompts", "10", *SHORT],
        ["capacity", "model.yaml", "--num-prompts", "50", "--seeds", "1", "--tolerance", "0.4", *SHORT],
    ],
    ids=lambda command: command[0],
)
def test_a_line_on_stderr(command: list[str], capsys: Capture) -> None:
    assert warnings(capsys, *command, "--set", "device.preset=l40s") == [f"warning: {L40S}"]


def test_none_with_constants_of_its_own_or_without_a_gpu(capsys: Capture) -> None:
    assert warnings(capsys, *STEP, "--set", "device.preset=h100") == []
    assert warnings(capsys, *STEP, "--set", "device.preset=l40s", "--set", "device.gpu=null") == []
    assert warnings(capsys, *STEP) == []


def test_constants_of_another_generation_on_request(capsys: Capture) -> None:
    arguments = ["--set", "device.preset=a100", "--set", "device.gpu.preset=hopper"]
    line = "a100: constants are those of hopper, although ampere GPUs were measured"
    assert warnings(capsys, *STEP, *arguments) == [f"warning: {line}"]


def test_once_for_each_kind_of_pool(capsys: Capture) -> None:
    pools = "[{count: 2}, {count: 1, device: {preset: a40}}, {device: {preset: h100}}]"
    command = ["run", "model.yaml", "--num-prompts", "10", *SHORT, "--set", "device.preset=l40s"]
    lines = warnings(capsys, *command, "--set", f"cluster={{pools: {pools}}}")
    assert [line.split(": ")[1] for line in lines] == ["l40s", "a40"]


def test_predict_remarks_on_it_but_not_for_collectives() -> None:
    assert _constants_remarks("gemm", load_device("l40s")) == [L40S]
    assert _constants_remarks("gemm", load_device("h100")) == []
    assert _constants_remarks("collective", load_device("l40s")) == []


def test_a_gpu_can_be_taken_away_and_its_constants_changed() -> None:
    assert load("model.yaml", ["device.preset=h100", "device.gpu=null"]).device.gpu is None
    gpu = load("model.yaml", ["device.preset=h100", "device.gpu.gemm.efficiency=0.5"]).device.gpu
    assert gpu is not None and gpu.gemm.efficiency == 0.5
    assert gpu.generation == gpu.fitted_on == "hopper"
