"""`hdasim run`: the files it writes, their determinism, its options, and its end on an interrupt."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hdasim
from hdasim.cli import main

SAMPLE = Path(__file__).with_name("sample.yaml")
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
SHORT = ["--set", "workload.num_prompts=20"]

Run = Callable[..., dict[str, Any]]


def table(path: Path | str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the sample (or `file`) in a folder of its own and return the document that --json prints."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE, "model.yaml")

    def run_(*arguments: str, file: str = "model.yaml") -> dict[str, Any]:
        assert main(["run", file, "--json", "--output-dir", "out", *arguments]) == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return run_


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """The shipped experiment, run as a process whose output is piped."""
    folder = tmp_path_factory.mktemp("shipped")
    command = [sys.executable, "-m", "hdasim", "run", "ador-llama3-8b"]
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)


def test_the_shipped_experiment_writes_four_files(shipped: tuple[Path, "subprocess.CompletedProcess[str]"]) -> None:
    folder, done = shipped
    out = folder / "results" / "ador-llama3-8b"
    assert sorted(path.name for path in out.iterdir()) == ["requests.csv", "result.json", "spec.yaml", "steps.csv"]
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert result["name"] == "ador-llama3-8b"
    assert result["completed"] == 1000
    assert result["meta"] == {"hdasim_version": hdasim.__version__, "seed": 0, "fidelity": "engine", "interrupted": False}
    rows = table(out / "requests.csv")
    assert len(rows) == 1000
    assert sum(int(row["generated"]) for row in rows) == result["total_output_tokens"]
    steps = table(out / "steps.csv")
    assert len(steps) == result["steps"]
    assert float(steps[-1]["start_s"]) + float(steps[-1]["time_s"]) == pytest.approx(result["duration"])
    assert f"{result['steps']:,} steps" in done.stderr


def test_piped_output_is_plain(shipped: tuple[Path, "subprocess.CompletedProcess[str]"]) -> None:
    _, done = shipped
    assert "\x1b" not in done.stdout + done.stderr
    assert "TTFT, ms" in done.stdout
    assert "Held back by" in done.stdout
    assert len(done.stderr.splitlines()) == 1


def test_no_colour_even_where_the_environment_asks_for_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hdasim", "run", str(SAMPLE), *SHORT]
    done = subprocess.run(command, cwd=tmp_path, env={"FORCE_COLOR": "1"}, capture_output=True, timeout=60, check=True)
    assert b"\x1b" not in done.stdout


def test_the_same_experiment_gives_the_same_bytes(run: Run) -> None:
    first = run(*SHORT)
    again = run(*SHORT, "--output-dir", "other/place")
    assert first == again
    for name in ("result.json", "requests.csv", "steps.csv"):
        assert Path("out", name).read_bytes() == Path("other/place", name).read_bytes()
    assert json.loads(Path("out/result.json").read_bytes()) == first


def test_the_saved_specification_gives_the_same_result(run: Run) -> None:
    Path("t.csv").write_text(VIDUR + "0,100,5\n0.5,300,7\n", encoding="utf-8")
    for arguments in (SHORT, ["--trace", "t.csv"]):
        first = run(*arguments, "--set", "device.noc.columns=4", "--set", "model.weight_bytes=1")
        assert "preset" not in Path("out/spec.yaml").read_text(encoding="utf-8")
        again = run("--output-dir", "again", file="out/spec.yaml")
        assert first == again


def test_json_is_all_there_is_on_stdout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hdasim", "run", str(SAMPLE), *SHORT, "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    document, end = json.JSONDecoder().raw_decode(done.stdout)
    assert done.stdout[end:] == "\n"
    assert document["completed"] == 20
    assert document == json.loads((tmp_path / "results/ador-llama3-8b/result.json").read_text(encoding="utf-8"))


def test_the_sample_runs_as_printed(run: Run) -> None:
    result = run()
    p2p = result["spec"]["device"]["p2p"]
    assert (result["completed"], p2p["bandwidth"], p2p["latency"], p2p["kind"]) == (1000, 64e9, 1e-6, None)
    assert result["request_goodput"] <= result["request_throughput"]


def test_options(run: Run) -> None:
    result = run("--set", "device.core_count=16", "--seed", "7", "--request-rate", "2.5", "--num-prompts", "15",
                 "--goodput", "ttft:1000", "e2el:1e6")  # fmt: skip
    spec = result["spec"]
    assert spec["device"]["core_count"] == 16
    assert (spec["seed"], result["meta"]["seed"]) == (7, 7)
    assert spec["workload"]["arrival"] == {"kind": "poisson", "request_rate": 2.5}
    assert (spec["workload"]["num_prompts"], result["completed"]) == (15, 15)
    assert spec["slo"] == {"ttft": 1.0, "tpot": 0.05, "e2el": 1000.0}


def test_the_seed_matters_and_is_all_that_does(run: Run) -> None:
    times = [run(*SHORT, "--seed", seed)["duration"] for seed in ("0", "1", "0")]
    assert times[0] == times[2] != times[1]


def test_all_requests_at_once(run: Run) -> None:
    result = run("--request-rate", "inf", *SHORT)
    assert result["completed"] == 20
    assert {float(row["arrival_s"]) for row in table("out/requests.csv")} == {0}


def test_goodput_counts_what_meets_every_goal(run: Run) -> None:
    every = run(*SHORT, "--goodput", "ttft:1e6", "tpot:1e6")
    none = run(*SHORT, "--goodput", "ttft:0.001")
    assert every["request_goodput"] == every["request_throughput"]
    assert none["request_goodput"] == 0


def test_a_trace_replaces_the_workload(run: Run) -> None:
    Path("t.csv").write_text(VIDUR + "0,100,5\n0.5,300,7\n9,10,1\n", encoding="utf-8")
    result = run("--trace", "t.csv")
    assert (result["completed"], result["total_input_tokens"], result["total_output_tokens"]) == (3, 410, 13)
    assert result["spec"]["workload"]["arrival"] == {"kind": "trace", "path": "t.csv", "speed": None, "request_rate": None}
    assert run("--trace", "t.csv", "--num-prompts", "2")["total_input_tokens"] == 400


def test_a_trace_is_replayed_at_a_rate(run: Run) -> None:
    Path("t.csv").write_text(VIDUR + "0,100,5\n0.5,300,7\n9,10,1\n", encoding="utf-8")
    # 3 requests in 9 s are 1/3 per second; at twice that the last one comes at 4.5 s, and its one token soon after
    durations = [run("--trace", "t.csv", *more)["duration"] for more in ((), ("--request-rate", str(2 / 3)))]
    last = durations[0] - 9
    assert 0 < last < 1
    assert durations[1] == pytest.approx(4.5 + last)
    assert run("--trace", "t.csv", "--set", "workload.arrival.speed=2")["duration"] == pytest.approx(4.5 + last)
    assert run("--trace", "t.csv", "--request-rate", "inf")["duration"] < 1


def test_the_path_of_a_trace_is_relative_to_the_file(run: Run) -> None:
    Path("deep").mkdir()
    text = SAMPLE.read_text(encoding="utf-8")
    text = re.sub(r"workload:.*slo:", "workload: {arrival: {kind: trace, path: data.csv}}\nslo:", text, flags=re.DOTALL)
    Path("deep/model.yaml").write_text(text, encoding="utf-8")
    Path("deep/data.csv").write_text(VIDUR + "0,100,5\n", encoding="utf-8")
    assert run(file="deep/model.yaml")["total_input_tokens"] == 100
    assert run("--output-dir", "elsewhere/out", file="out/spec.yaml")["total_input_tokens"] == 100


def test_a_config_of_ones_own(run: Run) -> None:
    config = {"model_type": "llama", "hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 1000,
              "intermediate_size": 512}  # fmt: skip
    Path("tiny").mkdir()
    Path("tiny/config.json").write_text(json.dumps(config), encoding="utf-8")
    result = run(*SHORT, "--set", "model={config: tiny/config.json, num_key_value_heads: 2}")
    assert (result["spec"]["model"]["name"], result["spec"]["model"]["num_key_value_heads"]) == ("tiny", 2)


def test_a_name_is_no_path(run: Run, tmp_path: Path) -> None:
    assert main(["run", "model.yaml", *SHORT, "--set", "name=../../etc/x y"]) == 0
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["etc-x-y"]


def test_a_rejected_request_is_told(run: Run) -> None:
    Path("t.csv").write_text(VIDUR + "0,100,5\n0.5,10000000,7\n", encoding="utf-8")
    result = run("--trace", "t.csv")
    assert (result["completed"], result["rejected"], result["unfinished"]) == (1, 1, 0)


def test_a_request_longer_than_the_cache_leaves_the_others_alone(run: Run) -> None:
    Path("with.csv").write_text(VIDUR + "0,100,5\n0,2000,7\n0.5,300,7\n", encoding="utf-8")
    Path("without.csv").write_text(VIDUR + "0,100,5\n0.5,300,7\n", encoding="utf-8")
    small = ("--set", "serving.num_gpu_blocks=100")  # 1,600 tokens
    result = run("--trace", "with.csv", *small)
    assert (result["completed"], result["rejected"]) == (2, 1)
    rows = table("out/requests.csv")
    assert [row["state"] for row in rows] == ["finished", "rejected", "finished"]
    run("--trace", "without.csv", *small)
    others = table("out/requests.csv")
    for row, other in zip((rows[0], rows[2]), others, strict=True):
        assert {**row, "request_id": ""} == {**other, "request_id": ""}


@pytest.mark.parametrize("how", ["module", "script"])
def test_a_policy_beside_the_file(how: str, tmp_path: Path) -> None:
    """From the current directory, which Python puts on its path for neither an installed script nor everywhere else."""
    script = Path(sys.executable).with_name("hdasim")
    if how == "script" and not script.exists():
        pytest.skip("no installed script beside the interpreter")
    (tmp_path / "mine.py").write_text(
        "from hdasim.serving.policies import Vllm\n\n\nclass Own(Vllm):\n    pass\n", encoding="utf-8"
    )
    start = [sys.executable, "-P", "-m", "hdasim"] if how == "module" else [str(script)]
    for name in ("vllm", "mine.Own"):
        command = [*start, "run", str(SAMPLE), *SHORT, "--set", f"serving.scheduler={name}", "--output-dir", name]
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    for file in ("requests.csv", "steps.csv"):
        assert (tmp_path / "vllm" / file).read_bytes() == (tmp_path / "mine.Own" / file).read_bytes()


def test_a_cluster_names_its_pools_and_ranks(run: Run) -> None:
    pools = "cluster={pools: [{role: prefill, count: 2}, {role: decode}], link: {bandwidth: 100 GB/s}, router: splitwise}"
    result = run(*SHORT, "--set", pools)
    assert [pool["role"] for pool in result["pools"]] == ["prefill", "decode"]
    assert result["completed"] == 20 and "occupancy" not in result
    assert {row["instance"] for row in table("out/steps.csv")} <= {"0", "1", "2"}
    assert {row["decode_rank"] for row in table("out/requests.csv")} == {"2"}
    again = run("--output-dir", "again", file="out/spec.yaml")
    assert again == result


@pytest.mark.slow
def test_a_million_requests_at_once(tmp_path: Path) -> None:
    """Of one token each way: 256 a step, 3,907 steps; 64 MB of outcomes, 24 MB of requests, and Python with its libraries."""
    code = (
        "import resource, sys\nfrom hdasim.cli import main\nstatus = main()\n"
        "sys.stderr.write(f'{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\\n')\nsys.exit(status)"
    )
    tokens = ["--set", "workload.lengths={kind: fixed, input_len: 1, output_len: 1}"]
    command = [sys.executable, "-c", code, "run", str(SAMPLE), "--num-prompts", "1000000", "--request-rate", "inf", *tokens,
               "--no-steps", "--json"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    result = json.loads(done.stdout)
    assert (result["completed"], result["steps"], result["total_output_tokens"]) == (1_000_000, 3907, 1_000_000)
    assert int(done.stderr.splitlines()[-1]) < 600 * 1024  # KiB; 330 MiB measured


def test_an_interrupt_saves_what_is_done(tmp_path: Path) -> None:
    # a parent that ignores interrupts would pass that on, so the handler is set in the process itself
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hdasim.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "run", str(SAMPLE), "--num-prompts", "1000000", "--no-steps", "--output-dir", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first = process.stderr.readline()  # the line of progress that says that the run is long
    assert "of 1,000,000 requests" in first
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted; what was done is saved" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert "requests unfinished" in output
    result = json.loads((tmp_path / "out/result.json").read_text(encoding="utf-8"))
    assert result["meta"]["interrupted"] is True
    assert 0 < result["completed"] < 1_000_000
    assert result["completed"] + result["unfinished"] == 1_000_000
    assert len(table(tmp_path / "out/requests.csv")) == 1_000_000
    assert not (tmp_path / "out/steps.csv").exists()
