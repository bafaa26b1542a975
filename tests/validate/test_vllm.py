"""Recorded vLLM runs: the real ones where they are, and one that we made ourselves."""

import csv
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdasim.cli import main
from hdasim.errors import SpecError
from hdasim.validate import vllm

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "reference" / "vllm_runs"
needs_runs = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/reference/vllm_runs is not beside this checkout")

write_profile = runpy.run_path(str(ROOT / "tests" / "profile_files.py"))["write_profile"]

CONFIG = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000,
          "intermediate_size": 128, "num_hidden_layers": 2, "torch_dtype": "bfloat16"}  # fmt: skip
META: dict[str, Any] = {
    "model": "someone/Small-1B", "engine_kwargs": {"max_num_seqs": 4, "max_num_batched_tokens": 48, "max_model_len": None},
    "kv_cache": {"num_gpu_blocks": 64, "block_size": 16},
}  # fmt: skip
HEADER = "request_id,arrival_s,input_tokens,output_tokens,queued_s,scheduled_s,first_token_s,last_token_s,prefix_hash_ids"


def write_run(folder: Path, rows: list[str], **meta: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "requests.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "meta.json").write_text(json.dumps(META | meta))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two requests far from each other: 16 prompt tokens and 3 generated, 32 and 2."""
    folder = write_run(tmp_path / "rtx4090_small", ["a,0,16,3,0,0,0.5,1.5,0", "b,1000,32,2,1000,1000,1001,1003,1 2"])
    write_profile(folder / "profile" / "tp1")
    return folder


def replay(folder: Path, **more: Any) -> vllm.Validation:
    return vllm.against_data(folder, model=folder / "config.json", **more)


def test_rows_by_hand(run: Path) -> None:
    done = replay(run)
    rows = {row.quantity: row for row in done.rows}
    quantities = [f"{name}_{what}" for name in ("ttft", "tpot", "latency") for what in ("mean", "p50", "p90", "p95", "p99")]
    assert list(rows) == [*quantities, "duration", "throughput"]
    # measured: TTFT 0.5 and 1 s; TPOT 1 / 2 and 2 / 1 s; latency 1.5 and 3 s; 5 tokens in 1003 s
    measured = {name: row.reference for name, row in rows.items()}
    assert measured["ttft_mean"] == pytest.approx(0.75)
    assert measured["tpot_mean"] == pytest.approx(1.25)
    assert measured["latency_p90"] == pytest.approx(1.5 + 0.9 * 1.5)
    assert measured["throughput"] == pytest.approx(5 / 1003)
    # simulated: 2 layers of 54 us and 3 us at one token, 10 times that at 64 (tests/unit/profile); 22 kernels of 1.82 us
    kernels, emit = 22 * 1.82, 110

    def dense(tokens: int) -> float:
        return 111 * (1 + 9 * (tokens - 1) / 63)

    # prompts: attention 30 us a layer at 16 tokens, at 32 halfway to 62
    first = [dense(16) + 2 * 30, dense(32) + 2 * 46]
    assert done.simulated.ttft * 1e6 == pytest.approx([time + emit + kernels for time in first])
    # decodes with contexts of 17 and 18 (10 us and a tenth for each token more), 33
    decode = [dense(1) + 2 * (10 + 0.1 * (context - 16)) + emit + kernels for context in (17, 18, 33)]
    assert done.simulated.tpot * 1e6 == pytest.approx([(decode[0] + decode[1]) / 2, decode[2]])
    assert rows["ttft_mean"].predicted == pytest.approx(done.simulated.ttft.mean())
    documents = done.document()
    assert [document["name"] for document in documents] == list(rows)
    assert documents[0]["error"] == pytest.approx(documents[0]["predicted"] / documents[0]["reference"] - 1)


def test_a_run_of_our_own_is_met_exactly(run: Path) -> None:
    rng = np.random.default_rng(0)
    plain = [(i, 0.0005 * i, int(rng.integers(1, 100)), int(rng.integers(1, 20))) for i in range(30)]

    def write(stamps: list[tuple[float, ...]]) -> None:
        """Some prompts share their first block."""
        blocks = [[100 * (i if k or i % 3 else 0) + k for k in range(row[2] // 16)] for i, row in enumerate(plain)]
        rows = zip(plain, stamps, (" ".join(map(str, own)) for own in blocks), strict=True)
        write_run(run, [",".join([*map(str, row), *map(repr, times), own]) for row, times, own in rows])

    write([(at, at, at + 1, at + 2) for _, at, _, _ in plain])
    ours = replay(run).simulated
    write([tuple(map(float, times)) for times in zip(ours.queued, ours.scheduled, ours.first, ours.last, strict=True)])
    assert [row.error for row in replay(run).rows] == pytest.approx([0.0] * 17, abs=1e-12)


def test_the_hardware_comes_from_the_folder_or_the_settings(run: Path, tmp_path: Path) -> None:
    assert replay(run).source == f"profile {run / 'profile'}"
    assert replay(run, hardware="h100").source == "preset h100"
    assert replay(run, hardware="RTX4090").source == "preset rtx-4090"
    assert replay(run, hardware="h100", profile=run / "profile").source == f"profile {run / 'profile'}"
    nameless = run.rename(tmp_path / "nameless")
    assert replay(nameless).remarks[0].startswith("nameless names no hardware that ships: links and kernel starts as h100's")
    (nameless / "profile").rename(tmp_path / "elsewhere")
    with pytest.raises(SpecError, match="nameless: names no hardware that ships; give --hardware, one of a100"):
        replay(nameless)
    (tmp_path / "elsewhere").rename(nameless / "profile")
    (nameless / "meta.json").write_text(json.dumps(META | {"gpu": "NVIDIA A100-SXM4-80GB"}))
    assert replay(nameless, profile=nameless / "profile").rows


@pytest.mark.parametrize(("name", "preset"), [
    ("meta-llama/Llama-3.1-8B", "llama3-8b"), ("meta-llama/Meta-Llama-3-70B-Instruct", "llama3-70b"),
    ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b"), ("Qwen/Qwen3-32B", "qwen3-32b"), ("qwen/qwen2.5-7B", "qwen2.5-7b"),
    ("Qwen/Qwen2-57B-A14B", "qwen2-57b-a14b"), ("meta-llama/Llama-3.3-70B-Instruct", "llama3-70b"),
    ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"), ("meta-llama/Llama-3.1-405B-FP8", "llama3.1-405b"),
])  # fmt: skip
def test_models_by_their_names(run: Path, name: str, preset: str) -> None:
    (run / "meta.json").write_text(json.dumps(META | {"model": name}))
    assert vllm.find_model(vllm.read_run(run), None).name == preset


@pytest.mark.parametrize(("file", "old", "new", "message"), [
    ("requests.csv", "queued_s", "queue_s", "requests.csv:1: column is missing: queued_s (did you mean 'queue_s'?)"),
    ("requests.csv", "a,0,16,3", "a,0,16,0", "requests.csv:2: output_tokens: got '0'; expected a whole number of 1 or more"),
    ("requests.csv", "0.5,1.5", "2.5,1.5", "requests.csv:2: last_token_s: is before the stamp that should precede it"),
    ("requests.csv", "0.5,1.5", "x,1.5", "requests.csv:2: first_token_s: got 'x'; expected seconds of 0 or more"),
    ("meta.json", "{", "[", "meta.json: no JSON"),
    ("meta.json", '"model"', '"modle"', 'meta.json: expected {"model": NAME, "engine_kwargs": {...}'),
    ("meta.json", '"max_num_seqs": 4', '"max_num_seqs": "four"', "meta.json: engine_kwargs: "),
])  # fmt: skip
def test_mistakes_name_file_and_line(run: Path, file: str, old: str, new: str, message: str) -> None:
    path = run / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SpecError) as error:
        replay(run)
    assert message in str(error.value)


def test_an_unknown_model_asks_for_its_config(run: Path) -> None:
    with pytest.raises(SpecError, match=r"no model preset for 'someone/Small-1B'; give its config\.json by --model"):
        vllm.against_data(run)


def test_running_and_waiting_over_time() -> None:
    times = vllm.Times(*(np.array(v, float) for v in ([0, 1, 1], [0, 1, 3], [1, 2, 4], [3, 3, 5], [2, 2, 2])))
    # at 1: two run, the third has just come; at 3 the first two leave as the third starts
    running, waiting = times.counts(np.array([0.0, 1.0, 2.9, 3.0, 5.0]))
    assert running.tolist() == [1, 2, 2, 1, 0]
    assert waiting.tolist() == [0, 1, 1, 0, 0]


def test_the_page_holds_both(run: Path) -> None:
    page = vllm.plot(replay(run))
    assert page.count("<svg") == 4
    for text in ("measured", "simulated", "Time to first token", "Running and waiting", "ttft_p95", "rtx4090_small"):
        assert text in page


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["validate", "vllm", "--data", str(run), "--model", str(run / "config.json")]
    plot = tmp_path / "run.html"
    assert main([*command, "--json", "--plot", str(plot)]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert names[0] == "ttft_mean" and names[-2:] == ["duration", "throughput"]
    assert plot.read_text().startswith("<!doctype html>")
    assert main(command) == 0
    assert "rtx4090_small against its replay" in capsys.readouterr().out
    assert main([*command, "--profile", str(tmp_path / "nowhere")]) == 2
    complaint = capsys.readouterr().err
    assert "nowhere: no profile; give a folder" in complaint and complaint.count("\n") == 1


#: Run, and the largest errors of TTFT (mean), TPOT (mean, p99) and latency (mean).
LIMITS = {
    "rtxpro6000_llama-3.1-8b": {"ttft_mean": 0.05, "tpot_mean": 0.02, "tpot_p99": 0.03, "latency_mean": 0.02},
    "rtxpro6000_qwen3-30b-a3b_dp2ep2": {"ttft_mean": 0.10, "tpot_mean": 0.02, "tpot_p99": 0.03, "latency_mean": 0.02},
}


@needs_runs
@pytest.mark.parametrize("name", LIMITS)
def test_real_runs(name: str) -> None:
    done = vllm.against_data(SHARED / name)
    errors = {row.quantity: row.error for row in done.rows}
    with (SHARED / name / "requests.csv").open() as file:
        assert done.simulated.queued.size == sum(1 for _ in csv.DictReader(file))
    for quantity, limit in LIMITS[name].items():
        error = errors[quantity]
        assert error is not None and abs(error) < limit, (quantity, error)


def test_a_folder_of_runs_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "requests.csv").write_text("")
    with pytest.raises(SpecError, match=r"no recorded run; give the folder .*; there are runs in one"):
        vllm.read_run(tmp_path)
