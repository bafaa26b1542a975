"""The commands beside `run`, and what holds for all: help, one JSON document, quick answers."""

import json
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import hdasim
from hdasim.cli import main
from hdasim.serving.traces import read
from hdasim.spec.load import preset_path, presets

SAMPLE = Path(__file__).with_name("sample.yaml")
write_profile = runpy.run_path(str(Path(__file__).parents[1] / "profile_files.py"))["write_profile"]
COMMANDS = [["run"], ["step"], ["compile"], ["systolic"], ["presets"], ["schema"], ["trace"], ["trace", "describe"],
            ["trace", "convert"], ["trace", "generate"]]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own that holds the sample as model.yaml."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE, "model.yaml")
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(printed(capsys, *arguments, "--json"))


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "example:\n  hdasim " + " ".join(command) in out


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hdasim.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print(sorted({'numpy', 'networkx', 'rich', 'yaml', 'msgspec'} & set(sys.modules)), file=sys.stderr)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert time.perf_counter() - started < 5  # well under half a second on an idle machine
    assert done.stderr == "[]\n"


def test_a_mistake_is_answered_before_the_simulator_is_imported() -> None:
    code = (
        "import sys; from hdasim.cli import main; code = main(['run', 'model.yaml', '--set', 'device.core_count=0'])\n"
        "print(code, sorted({'numpy', 'networkx', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "2 []\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"hdasim {hdasim.__version__}\n")


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["run"], ["step", "model.yaml"], ["run", "model.yaml", "--sede", "3"]], ids=" ".join
)
def test_usage_errors_are_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
    assert "--help" in captured.err


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(hdasim.SpecError, match="no such file"):
        main(["run", "no.yaml", "--debug"])


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m hdasim schema | head -c 10"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("device", ["sample", "a100", "ador"])
@pytest.mark.parametrize("phase", ["prefill", "decode", "mixed"])
def test_the_operators_of_a_step_add_up_to_its_time(device: str, phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    override = [] if device == "sample" else ["--set", f"device.preset={device}"]
    arguments = ["step", "model.yaml", *override, "--phase", phase, "--batch-size", "3", "--isl", "700"]
    step = document(capsys, *arguments)
    assert sum(op["exposed"] for op in step["operators"]) == pytest.approx(step["time"], rel=1e-9)
    assert sum(op["share"] for op in step["operators"]) == pytest.approx(1, rel=1e-9)
    assert 0 < step["bound"] <= step["time"]
    assert sum(op["dram_bytes"] for op in step["operators"]) == pytest.approx(step["dram_bytes"], rel=1e-9)
    # the first table shows the same, in tenths of a microsecond, the row's name and eleven columns
    rows = printed(capsys, *arguments).split("\n\n")[0].splitlines()
    cells = {line.split()[0]: line.split() for line in rows if line.split()}
    shown = sum(float(cells[op["operator"]][4].replace(",", "")) for op in step["operators"])
    assert shown == pytest.approx(1e6 * step["time"], abs=0.06 * len(step["operators"]))


@pytest.mark.parametrize("phase", ["prefill", "decode", "mixed"])
@pytest.mark.parametrize(
    "group",
    [
        [],
        ["serving.device_count=4"],
        ["serving.device_count=2", "serving.pipeline_parallel_size=3"],
        ["device.preset=h100", "serving.device_count=2"],
    ],
    ids=["one", "tensor", "pipeline", "shared"],
)
def test_communication_of_operators_adds_up(phase: str, group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    settings = [part for setting in group for part in ("--set", setting)]
    step = document(capsys, "step", "model.yaml", *settings, "--phase", phase, "--batch-size", "5", "--isl", "400")
    rows = step["operators"]
    for key in ("noc_bytes", "p2p_bytes", "communication_time", "communication_hidden", "communication_exposed"):
        assert sum(row[key] for row in rows) == pytest.approx(step[key], rel=1e-9, abs=1e-15)
    for row in (*rows, step):
        parts = row["communication"]
        assert set(parts) == {"cores", "devices"}
        for part in ("time", "hidden", "exposed"):
            assert row[f"communication_{part}"] == pytest.approx(parts["cores"][part] + parts["devices"][part])
        for p in parts.values():
            assert p["time"] == pytest.approx(p["hidden"] + p["exposed"], abs=1e-15)
            assert min(p.values()) >= 0
    assert all(row["communication_exposed"] <= row["exposed"] * (1 + 1e-9) for row in rows)
    assert step["communication_exposed"] < step["time"]
    assert (step["communication"]["devices"]["time"] > 0) == bool(group)


def test_communication_is_a_table_and_totals(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["step", "model.yaml", "--phase", "decode", "--batch-size", "5", "--isl", "400"]
    for settings in ([], ["--set", "serving.device_count=4"], PIPELINE):
        step = document(capsys, *arguments, *settings)
        text = printed(capsys, *arguments, *settings)
        assert max(map(len, text.splitlines()[1:])) <= 140
        tables = text.split("\n\n")
        staged = "stage" in step["operators"][0]
        shown = [line.split() for line in tables[1].splitlines()[1:]]
        talking = [row for row in step["operators"] if row["communication_time"] > 0]
        assert [cells[0] for cells in shown] == [row["operator"] for row in talking]
        for network, first in (("cores", 3), ("devices", 7)):
            for i, part in enumerate(("time", "hidden", "exposed")):
                column = [cells[first + i + staged] for cells in shown]
                total = sum(float(cell.replace(",", "")) for cell in column if cell != "-")
                assert total == pytest.approx(1e6 * step["communication"][network][part], abs=0.06 * len(column))
        assert tables[2].count("communication between cores") == 1
        assert tables[2].count("communication between devices") == bool(settings)
        share = 100 * step["communication"]["cores"]["exposed"] / step["time"]
        assert f"exposed ({share:.1f} % of the step)" in tables[2]


def test_a_device_that_talks_to_nobody_has_no_table_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    alone = ("--set", "device.core_count=1")
    text = printed(capsys, "step", "model.yaml", *alone, "--phase", "decode", "--batch-size", "1", "--isl", "9")
    assert "communication" not in text


def test_exact_steps_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["step", "model.yaml", "--phase", "decode", "--batch-size", "3", "--isl", "700"]
    quick, exact = document(capsys, *arguments), document(capsys, *arguments, "--exact")
    assert exact["time"] == pytest.approx(quick["time"], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--phase", "decode", "--batch-size", "0", "--isl", "5"], "expected a whole number from 1 to 1048576, got '0'"),
        (["--phase", "decode", "--batch-size", "2", "--isl", "-5"], "expected a whole number from 1 to 2147483648, got '-5'"),
        (["--phase", "decode", "--batch-size", "1000000000000", "--isl", "5"], "expected a whole number from 1 to 1048576"),
        (["--phase", "sleep", "--batch-size", "2", "--isl", "5"], "invalid choice: 'sleep'"),
    ],
)
def test_bad_steps(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["step", "model.yaml", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["step", "model.yaml", "--phase", "mixed", "--batch-size", "2048", "--isl", "5"],
            "raise serving.max_num_batched_tokens",
        ),
        (
            ["step", "model.yaml", "--phase", "prefill", "--batch-size", "2000", "--isl", "2000"],
            "use a smaller batch or input length",
        ),
        (["compile", "model.yaml", "--tokens", "5000"], "--tokens 5000: a step has 1 to 2048 tokens"),
        (["trace", "describe", "no.csv"], "no.csv: cannot be read"),
        (["trace", "generate", "no.yaml", "--output", "t.csv"], "no.yaml: cannot read: no such file"),
        (["trace", "generate", "model.yaml", "--output", "t.csv"], "model.yaml:1: name: unknown key 'name'"),
    ],
)
def test_other_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
    assert message in captured.err


def test_compile_prints_memory_and_streams(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, "compile", "model.yaml", "--tokens", "1", "64")
    assert "KV cache" in out
    assert "64 tokens" in out
    assert "qkv_proj" in out
    compiled = document(capsys, "compile", "model.yaml", "--tokens", "1")
    memory = compiled["memory"]
    # weights 16.06 GB; 80 GiB x 0.9 less weights and activations, in pages of 16 tokens x 131,072 B
    assert memory["weights"] == pytest.approx(16.06e9, rel=1e-3)
    assert memory["page_bytes"] == 16 * 131_072
    assert memory["page_count"] == (memory["usable"] - memory["weights"] - memory["activations"]) // memory["page_bytes"]


def test_presets(capsys: pytest.CaptureFixture[str]) -> None:
    names = document(capsys, "presets")
    assert {"ador-llama3-8b"} <= set(names["experiments"])
    assert {"ador", "a100"} <= set(names["hardware"])
    out = printed(capsys, "presets")
    assert all(name in out.split() for kind in names.values() for name in kind)


def test_schema_accepts_what_ships_and_refuses_unknown_keys(capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads(printed(capsys, "schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    files = [SAMPLE, *(preset_path("experiments", name) for name in presets("experiments"))]
    for file in files:
        assert list(validator.iter_errors(yaml.safe_load(file.read_text(encoding="utf-8")))) == []
    assert main(["run", "model.yaml", "--num-prompts", "1", "--output-dir", "out"]) == 0
    assert list(validator.iter_errors(yaml.safe_load(Path("out/spec.yaml").read_text(encoding="utf-8")))) == []
    for path in ((), ("device",), ("device", "core", "mac_tree"), ("model",), ("serving",), ("workload", "lengths"), ("slo",)):
        sample = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
        section = sample
        for key in path:
            section = section[key]
        section["colz"] = 3
        assert not validator.is_valid(sample), path
    for key, value in (("core_count", 0), ("core_count", "many"), ("noc", {"topology": "mseh"}), ("preset", "a10")):
        sample = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
        sample["device"][key] = value
        assert not validator.is_valid(sample), key


WORKLOAD = """workload:
  arrival: {kind: gamma, request_rate: 5, burstiness: 0.5}
  lengths: {kind: lognormal, input_mean: 500, input_cv: 1, output_mean: 50, output_cv: 0.5}
  num_prompts: 300
seed: 4
"""


def test_traces_are_generated_and_described(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("workload.yaml").write_text(WORKLOAD, encoding="utf-8")
    generated = document(capsys, "trace", "generate", "workload.yaml", "--output", "a.csv")
    assert document(capsys, "trace", "describe", "a.csv") == generated
    assert (generated["rows"], len(read("a.csv"))) == (300, 300)
    assert generated["request_rate"] == pytest.approx(5, rel=0.3)
    out = printed(capsys, "trace", "describe", "a.csv")
    assert out.splitlines()[0].split() == ["rows", "300"]
    assert "e+" not in out
    printed(capsys, "trace", "generate", "workload.yaml", "--output", "b.csv")
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    printed(capsys, "trace", "generate", "workload.yaml", "--output", "c.csv", "--seed", "5")
    assert Path("a.csv").read_bytes() != Path("c.csv").read_bytes()


# ---- several devices ----

PIPELINE = ("--set", "serving.pipeline_parallel_size=3", "--set", "serving.device_count=2")


def test_a_step_on_a_pipeline_shows_stages_and_transfers(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("step", "model.yaml", "--phase", "decode", "--batch-size", "8", "--isl", "512", *PIPELINE)
    result = document(capsys, *arguments)
    rows = result["operators"]
    assert [row["stage"] for row in rows if row["operator"] == "p2p"] == [1, 2]
    assert {row["stage"] for row in rows} == {1, 2, 3}
    assert [row["p2p_bytes"] for row in rows if row["operator"] == "p2p"] == [8 * 4096 * 2] * 2
    assert sum(row["exposed"] for row in rows) == pytest.approx(result["time"])
    assert "(pipeline x tensor): decode" in result["title"]
    text = printed(capsys, *arguments)
    assert text.startswith("llama3-8b on 3 x 2 x custom (pipeline x tensor): decode, 8 x 512")
    assert [table.count("\np2p ") for table in text.split("\n\n")] == [2, 2, 0]
    assert "stage" not in document(capsys, *arguments[:-4])["operators"][0]


def test_compile_prints_every_different_stage(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "compile", "model.yaml", "--tokens", "1", "--set", "serving.pipeline_parallel_size=4")
    assert [line for line in text.splitlines() if line.startswith("Stage")] == ["Stage 1 of 4", "Stage 2, 3 of 4", "Stage 4 of 4"]
    assert text.endswith("Between stages\n p2p   send $T x 8,192 B, each device to its peer\n")
    assert len(document(capsys, "compile", "model.yaml", "--tokens", "1", *PIPELINE)["stages"]) == 3


def test_a_run_on_everything_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plan = (*PIPELINE, "--set", "serving.data_parallel_size=2")
    arguments = ("run", "model.yaml", "--num-prompts", "30", *plan, "--output-dir", "o")
    text = printed(capsys, *arguments)
    assert "llama3-8b on 2 x 3 x 2 x custom (data x pipeline x tensor), scheduler ador" in text
    assert "pipeline bubbles" in text
    assert (tmp_path / "o/steps.csv").read_text(encoding="utf-8").startswith("step,instance,start_s,")
    result = document(capsys, *arguments)
    assert result["completed"] == 30
    assert 0 < result["pipeline"]["bubbles"] < 1
    assert (result["spec"]["serving"]["pipeline_parallel_size"], result["pipeline"]["stages"]) == (3, 3)
    assert printed(capsys, "run", "o/spec.yaml", "--json", "--output-dir", "again") == printed(capsys, *arguments, "--json")


PROFILE = ("--set", "profile={path: profile, extrapolate: true}")


@pytest.mark.parametrize("command", [("step", "model.yaml", "--phase", "decode", "--batch-size", "1", "--isl", "8"),
                                     ("compile", "model.yaml")])  # fmt: skip
def test_a_profile_has_no_operators_to_show(capsys: pytest.CaptureFixture[str], command: tuple[str, ...], tmp_path: Path) -> None:
    write_profile(tmp_path / "profile")
    assert main([*command, *PROFILE]) == 2
    assert "profile: a profile tells how long a step takes, not its operators" in capsys.readouterr().err
    printed(capsys, *command, *PROFILE, "--set", "profile=null")


def test_a_profile_below_the_bound_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The profile's layers take 62 us, an 8B model on a chip of 2 TB/s cannot."""
    write_profile(tmp_path / "profile")
    lengths = ("--set", "workload.lengths={kind: fixed, input_len: 16, output_len: 8}")
    arguments = ("run", "model.yaml", "--num-prompts", "5", "--output-dir", "o", *PROFILE, *lengths)
    assert "They are below the device's bound: is the profile of this model and this device?" in printed(capsys, *arguments)
    assert "median_tpot_ms" in document(capsys, *arguments)["profile"]["below_bound"]
