"""`hdasim cost`: what it prints and writes, and one line for everything that is wrong."""

import csv
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from hdasim.cli import main
from hdasim.cost.table import INPUTS, RESULTS

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "reference" / "llmcompass" / "area_cost.csv"
ROW = "7,128,4,16,16,32,16,0,16,8,1,16384,32,4,192,48,HBM2e,6,80,NVLink3,12"  # GA100
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


# ---- cost of a device ----


@pytest.mark.parametrize(
    ("name", "area", "tflops"),
    [("a100", "826.8", "311.9"), ("llmcompass-l", "477.9", "196.6"), ("llmcompass-t", "786.6", "786.4")],
)
def test_it_prints_llmcompass_areas(name: str, area: str, tflops: str, capsys: Capture) -> None:
    assert main(["cost", name]) == 0
    text = capsys.readouterr().out
    assert re.search(rf"^die +[\d.]+ +{area} +100\.0%$", text, re.M)
    assert re.search(rf"^systolic arrays, TFLOPS +{tflops}$", text, re.M)


def test_ador_prints_both_areas_of_its_trees_and_the_gap(capsys: Capture) -> None:
    assert main(["cost", "ador"]) == 0
    text = capsys.readouterr().out
    assert "printed die 516 mm2" in text and "the model gives 374.5 mm2, -27.4 %" in text
    assert "mac_tree_area synthesis: 374.5 to 398.1 mm2 by the links, -27.4 % to -22.8 %; mac_tree_area ador is a calib" in text
    rows = re.findall(r"^(synthesis|ador) +\(?(\w+ x\d+)\)? +([\d.]+) +([-+][\d.]+) %$", text, re.M)
    assert rows == [("synthesis", "PCIe4 x16", "374.5", "-27.4"), ("synthesis", "PCIe5 x16", "377.3", "-26.9"),
                    ("synthesis", "NVLink3 x12", "398.1", "-22.8"), ("ador", "PCIe4 x16", "515.8", "+0.0"),
                    ("ador", "PCIe5 x16", "518.6", "+0.5"), ("ador", "NVLink3 x12", "539.4", "+4.5")]  # fmt: skip
    assert re.search(r"^together, TFLOPS +417\.8$", text, re.M)


@pytest.mark.parametrize(
    "option",
    [["--set", "area.mac_tree_area=ador"], ["--set", "device.area.mac_tree_area=ador"], ["--mac-tree-area", "ador"]],
)
@pytest.mark.parametrize("what", ["ador", "ador-llama3-8b", "file.yaml"])
def test_the_trees_area_can_be_chosen(what: str, option: list[str], capsys: Capture) -> None:
    Path("file.yaml").write_text("device: {preset: ador}\n", encoding="utf-8")
    if what == "ador-llama3-8b" and option[1].startswith("area"):
        assert "unknown key 'area'" in refusal(capsys, "cost", what, *option)
        return
    assert document(capsys, "cost", what, *option)["die_total_mm2"] == pytest.approx(516, rel=0.02)


def test_the_document_of_a_device(capsys: Capture) -> None:
    found = document(capsys, "cost", "a100")
    assert found["die_total_mm2"] == pytest.approx(826.7636, abs=1e-4)
    assert found["total_cost_usd_no_yield"] == pytest.approx(710.74, abs=0.005)
    assert set(RESULTS) <= set(found)
    assert found["peak_tflops"]["total"] == pytest.approx(311.869, abs=1e-3)


def test_unknown_areas_have_a_reason(capsys: Capture) -> None:
    assert main(["cost", "l40s"]) == 0
    text = capsys.readouterr().out
    assert "area unknown: LLMCompass's model has no GDDR6 interface" in text
    assert re.search(r"^TFLOPS per mm2 +unknown$", text, re.M)


def test_a_die_over_the_reticle_is_told(capsys: Capture) -> None:
    assert main(["cost", "a100", "--set", "area.memory.count=8"]) == 0
    assert "OVER THE RETICLE: 859.1 mm2 is more than the 858 mm2" in capsys.readouterr().out


def test_devices_of_an_experiment_are_added_up(capsys: Capture) -> None:
    found = document(capsys, "cost", experiment("four", "a100", 4))
    assert (found["devices"], found["total"]["devices"], found["name"], found["device"]) == (4, 4, "four", "a100")
    assert found["total"]["die_total_mm2"] == pytest.approx(4 * found["die_total_mm2"])
    found = document(capsys, "cost", "llmshare-gpt3-175b")
    assert [pool["devices"] for pool in found["pools"]] == [32, 48]
    assert main(["cost", "llmshare-gpt3-175b"]) == 0
    text = capsys.readouterr().out
    assert "prefill: 32 x h100" in text and re.search(r"^All 80 devices", text, re.M)


def test_files_that_it_writes(capsys: Capture) -> None:
    printed = document(capsys, "cost", "ador", "--output-dir", "out")
    assert json.loads(Path("out/cost.json").read_text()) == printed
    page = Path("out/cost.html").read_text()
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        ET.fromstring(svg)
    assert page.count("<svg") == 2 and "model, synthesis" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing from elsewhere
    assert main(["cost", "ador", "--output-dir", "again"]) == 0
    assert Path("again/cost.html").read_text() == page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["adr"], "adr: no such file, and neither hardware nor an experiment of that name ships (did you mean 'ador'?)"),
     (["none.yaml"], "none.yaml"), (["."], "cannot read"), (["ador", "--set", "area.mac_tree_area=lpu"], "use ador or synthesis"),
     (["ador", "--set", "area.procss_node=7nm"], "did you mean 'process_node'?"),
     (["ador", "--set", "area.process_node=3nm"], "unknown '3nm'"),
     (["ador", "--set", "area.process_node=10nm"], "area.sram_cell: LLMCompass has no SRAM cell at 10nm"),
     (["ador", "--set", "area.printed_die.area=-1 mm2"], "area.printed_die.area: must be greater than 0"),
     (["ador", "--set", "area.links=3"], "area.links: expected a mapping"), (["ador", "--set", "device"], "expected KEY=VALUE"),
     (["a100", "--set", "core_count=129"], "area.cores: the die has 128, but the device uses 129"),
     (["ador-llama3-8b", "--set", "device.area.cores=4"], "device.area.cores: the die has 4"),
     (["ador", "--set", "core_count=4096", "--set", "noc.topology=crossbar", "--set", "area.memory.count=4096"],
      "gives no whole die"),
     (["ador", "--output-dir", "/dev/null/x"], "--output-dir"), (["ador", "--mac-tree-area", "lpu"], "--mac-tree-area"),
     ([], "the following arguments are required"), (["cases.csv"], "a table of devices needs --output OUT.csv"),
     (["cases.csv", "--output", "o.csv", "--set", "a=1"], "--set does not go with a table"),
     (["cases.csv", "--output", "o.csv"], "cases.csv: cannot be read")],
)  # fmt: skip
def test_one_line_for_what_is_wrong(arguments: list[str], message: str, capsys: Capture) -> None:
    assert message in refusal(capsys, "cost", *arguments)


def test_errors_of_a_file_have_its_line(capsys: Capture) -> None:
    Path("chip.yaml").write_text("preset: a100\narea:\n  cores: 100\n", encoding="utf-8")
    assert refusal(capsys, "cost", "chip.yaml").startswith("chip.yaml:3: area.cores: the die has 100, but the device uses 108")


# ---- tables of devices ----


def save(*rows: str, header: str = ",".join(INPUTS), name: str = "cases.csv") -> None:
    Path(name).write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8", newline="")


def rows_of(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(name).read_text(encoding="utf-8").splitlines()))


@pytest.mark.skipif(not GOLDEN.is_file(), reason="../shared/reference/llmcompass is not beside this checkout")
def test_llmcompass_table_comes_out_again(capsys: Capture) -> None:
    assert main(["cost", str(GOLDEN), "--output", "out.csv"]) == 0
    assert capsys.readouterr().out == "cases: 12, errors: 0, output: out.csv\n"
    for theirs, ours in zip(rows_of(str(GOLDEN)), rows_of("out.csv"), strict=True):
        assert list(ours)[: len(theirs)] == list(theirs)
        for name in theirs:
            if name in RESULTS:
                assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-3), (theirs["config"], name)
            else:
                assert ours[name] == theirs[name]


def test_other_columns_stay_and_bad_rows_say_why(capsys: Capture) -> None:
    rows = [f'"GA100, full",{ROW},x', f"b,{ROW.replace('HBM2e', 'HBM9')},y", "c,7", f"d,{ROW.replace('7,128', '8,128')},z"]
    save(*rows, header=f"config,{','.join(INPUTS)},note")
    assert main(["cost", "cases.csv", "--output", "out.csv"]) == 2
    written = capsys.readouterr()
    assert written.err.splitlines()[0].startswith("cases.csv:3: mem_protocol: unknown 'HBM9'")
    first, second, third, fourth = rows_of("out.csv")
    assert (first["config"], first["note"], first["error"]) == ("GA100, full", "x", "")
    assert float(first["die_total_mm2"]) == pytest.approx(826.7636, abs=1e-4) and len(first["die_total_mm2"]) > 12  # not rounded
    assert (second["die_total_mm2"], second["note"]) == ("", "y")
    assert second["error"].startswith("mem_protocol: unknown 'HBM9'")
    assert third["error"].startswith("row: 2 fields") and fourth["error"].startswith("process_nm: unknown node '8'")


def test_optional_columns_of_the_table(capsys: Capture) -> None:
    ador = "7,32,1,64,64,32,16,0,16,8,1,16384,32,4,2048,16,HBM2e,6,80,PCIe4,16"
    header = f"{','.join(INPUTS)},mac_tree_width,mac_tree_lanes,mac_tree_area"
    save(f"{ador},16,16,ador", f"{ador},16,16,", f"{ador},,,", header=header)
    assert main(["cost", "cases.csv", "--output", "out.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["die_total_mm2"] for row in found["rows"]] == pytest.approx([515.796, 374.481, 370.798], abs=1e-3)
    assert found["rows"][0]["over_reticle"] is False and found["errors"] == []


def test_a_missing_column_is_named(capsys: Capture) -> None:
    save(ROW, header=",".join(INPUTS).replace("vector_width", "vector_widht"))
    line = refusal(capsys, "cost", "cases.csv", "--output", "o.csv")
    assert "column is missing: vector_width (did you mean 'vector_widht'?)" in line
