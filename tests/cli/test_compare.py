"""`hdasim compare`: runs side by side, finished or not, and one line for everything that is wrong."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from hdasim.cli import main

EXPERIMENT = """\
name: {name}
device: {{preset: {device}}}
model: {{preset: llama3-8b}}
serving: {{device_count: {devices}}}
workload:
  arrival: {{kind: poisson, request_rate: 5}}
  lengths: {{kind: fixed, input_len: 64, output_len: 8}}
  num_prompts: 12
slo: {{ttft: 1 s}}
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def document(capsys: Capture, *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys: Capture, *arguments: str) -> str:
    """The one line that a command writes about what is wrong."""
    try:
        code = main(list(arguments))
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    written = capsys.readouterr()
    assert (code, written.out) == (2, "")
    assert written.err.count("\n") == 1 and "Traceback" not in written.err
    return written.err


def experiment(name: str, device: str = "ador", devices: int = 1) -> str:
    Path(f"{name}.yaml").write_text(EXPERIMENT.format(name=name, device=device, devices=devices), encoding="utf-8")
    return f"{name}.yaml"


def test_runs_side_by_side(capsys: Capture) -> None:
    first, second = experiment("gpu", "a100"), experiment("chip")
    found = document(capsys, "compare", first, second, "--mac-tree-area", "ador")
    assert [run["name"] for run in found["runs"]] == ["gpu", "chip"] and found["reference"] == "gpu"
    gpu, chip = (run["figures"] for run in found["runs"])
    assert found["runs"][1]["difference"]["mean_ttft_ms"] == pytest.approx(chip["mean_ttft_ms"] / gpu["mean_ttft_ms"] - 1)
    assert gpu["area_efficiency_ttft"] == gpu["area_efficiency_tbt"] == 1
    ratio = 826.763555 / 515.796283
    assert chip["area_efficiency_ttft"] == pytest.approx(gpu["mean_ttft_ms"] / chip["mean_ttft_ms"] * ratio)
    assert chip["area_efficiency_tbt"] == pytest.approx(gpu["mean_itl_ms"] / chip["mean_itl_ms"] * ratio)
    assert main(["compare", first, second, "--mac-tree-area", "ador"]) == 0
    text = capsys.readouterr().out
    assert "chip: MAC trees of ador counted as mac_tree_area: ador" in text
    for label in ("requests/s", "goodput, requests/s", "TTFT, p99, ms", "ITL (TBT), p50, ms", "utilisation, MAC tree",
                  "bottleneck", "dies, mm2", "good dies and memory, USD", "area efficiency, TBT"):  # fmt: skip
        assert re.search(rf"^{re.escape(label)} +\S", text, re.M), label


def test_every_device_counts_for_the_area(capsys: Capture) -> None:
    found = document(capsys, "compare", experiment("one", "a100", 1), experiment("two", "a100", 2))
    one, two = (run["figures"] for run in found["runs"])
    assert two["die_total_mm2"] == pytest.approx(2 * one["die_total_mm2"]) and two["devices"] == 2
    assert two["area_efficiency_tbt"] == pytest.approx(one["mean_itl_ms"] / two["mean_itl_ms"] / 2)


def test_finished_runs_are_taken_as_they_are(capsys: Capture) -> None:
    file = experiment("gpu", "a100")
    assert main(["run", file, "--output-dir", "done"]) == 0
    capsys.readouterr()
    found = document(capsys, "compare", "done", file, "--output-dir", "out")
    done, again = found["runs"]
    assert done["figures"] == again["figures"] and (done["name"], again["name"]) == ("gpu (done)", "gpu (gpu.yaml)")
    assert {value for value in again["difference"].values() if value is not None} == {0}
    assert json.loads(Path("out/compare.json").read_text()) == found
    assert document(capsys, "compare", "done/result.json", "done")["runs"][0]["figures"] == done["figures"]
    page = Path("out/compare.html").read_text()
    drawn = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(drawn) > 20 and all(ET.fromstring(svg) is not None for svg in drawn)


def test_unknown_areas_stay_unknown(capsys: Capture) -> None:
    found = document(capsys, "compare", experiment("gpu", "a100"), experiment("card", "l40s"))
    figures = found["runs"][1]["figures"]
    assert figures["die_total_mm2"] is figures["area_efficiency_ttft"] is figures["total_cost_usd_no_yield"] is None
    assert any("GDDR6" in note for note in found["runs"][1]["notes"])
    assert found["runs"][1]["difference"]["die_total_mm2"] is None


def test_a_growing_queue_has_no_ttft_to_compare(capsys: Capture) -> None:
    change = ["workload.arrival.request_rate=400", "workload.num_prompts=600", "serving.max_num_seqs=4"]
    found = document(capsys, "compare", experiment("a"), experiment("b"), *(word for c in change for word in ("--set", c)))
    figures = found["runs"][1]["figures"]
    assert figures["saturated"] is True and figures["mean_itl_ms"] > 0
    assert figures["mean_ttft_ms"] is figures["p99_e2el_ms"] is figures["area_efficiency_ttft"] is None
    assert figures["area_efficiency_tbt"] == 1


def test_pools_are_compared_one_by_one(capsys: Capture) -> None:
    change = ["--set", "workload.num_prompts=20"]
    found = document(capsys, "compare", "llmshare-gpt3-175b", "llmshare-gpt3-175b", *change)
    figures = found["runs"][0]["figures"]
    assert {"bottleneck:pool 1 prefill", "utilization:pool 2 decode:dram"} <= set(figures)
    assert [run["name"] for run in found["runs"]] == [f"llmshare-gpt3-175b (llmshare-gpt3-175b) {i}" for i in (1, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["ador-llama3-8b"], "expected two files or more"), (["none.yaml", "ador-llama3-8b"], "none.yaml"), ([], "required"),
     (["empty", "ador-llama3-8b"], "result.json: cannot be read"), (["other", "ador-llama3-8b"], "missing key 'device'"),
     (["bad", "ador-llama3-8b"], "it is not one that this version"), (["list", "ador-llama3-8b"], "it is not one that this"),
     (["empty", "ador-llama3-8b", "--set", "seed=1"], "empty: is a finished run, which --set cannot change"),
     (["ador-llama3-8b", "ador-llama3-8b", "--set", "device.core_count=0"], "device.core_count")],
)  # fmt: skip
def test_one_line_for_what_cannot_be_compared(arguments: list[str], message: str, capsys: Capture) -> None:
    for name, text in (("empty", None), ("other", '{"spec": {}}'), ("bad", "{"), ("list", "[1]")):
        Path(name).mkdir()
        if text is not None:
            Path(name, "result.json").write_text(text)
    assert message in refusal(capsys, "compare", *arguments)
