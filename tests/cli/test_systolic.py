"""`hdasim systolic`: tables of cases and SCALE-Sim's own files, byte for byte, and one line for everything that is wrong."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdasim.cli import main
from hdasim.scalesim import cases
from hdasim.scalesim.files import read_config, read_topology
from hdasim.scalesim.table import INPUTS

SHARED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "scalesim"
GOLDEN = SHARED / "gemm_ws_os_is.csv"
EXAMPLES = ("is_4x4_m5_n6_k7_calc", "os_4x4_m5_n6_k7_calc", "ws_4x4_m5_n6_k7_calc", "os_16x8_m100_n60_k80_user_stalls",
            "ws_8x8_m40_n24_k40_user_stalls")  # fmt: skip
needs_reference = pytest.mark.skipif(not GOLDEN.is_file(), reason="../shared/reference/scalesim is not beside this checkout")

HEADER = (
    "array_rows,array_cols,dataflow,M,N,K,ifmap_sram_kb,filter_sram_kb,ofmap_sram_kb,bandwidth_mode,ifmap_bw,filter_bw,ofmap_bw"
)
GOOD = "8,8,ws,4,4,4,1,1,1,CALC,,,"
USER = "8,8,ws,40,24,40,1,1,1,USER,4,4,4"
SLOW = "1,1,os,100000,1000,100,1,1,1,USER,1,1,1"  # about 10^10 lines: minutes

CONFIG = """\
[general]
run_name = run

[architecture_presets]
ArrayHeight: 4
ArrayWidth: 4
IfmapSramSzkB: 1
FilterSramSzkB: 1
OfmapSramSzkB: 1
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 10, 3
Dataflow: ws
MemoryBanks: 1
ReadRequestBuffer: 32
WriteRequestBuffer: 32

[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 1
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 1
FilterSRAMBankPort: 2

[sparsity]
SparsitySupport: false

[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
GEMM = "Layer,M,N,K,\ng0,5,6,7,\n"
CONV = "Layer,h,w,fh,fw,c,n,s,\n"
DETAILS = """\
LayerID, SRAM IFMAP Start Cycle, SRAM IFMAP Stop Cycle, SRAM IFMAP Reads, SRAM Filter Start Cycle, SRAM Filter Stop Cycle, \
SRAM Filter Reads, SRAM OFMAP Start Cycle, SRAM OFMAP Stop Cycle, SRAM OFMAP Writes, DRAM IFMAP Start Cycle, DRAM IFMAP Stop \
Cycle, DRAM IFMAP Reads, DRAM Filter Start Cycle, DRAM Filter Stop Cycle, DRAM Filter Reads, DRAM OFMAP Start Cycle, DRAM OFMAP \
Stop Cycle, DRAM OFMAP Writes,
0, 5.0, 56.0, 70, 1.0, 49.0, 42, 7.0, 57.0, 60, -4.0, -1.0, 35, -5.0, -1.0, 42, 59.0, 73.0, 60,
"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(*rows: str, name: str = "cases.csv", header: str = HEADER) -> None:
    Path(name).write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8", newline="")


def tabulate(*arguments: str, source: str | Path = "cases.csv", code: int = 0) -> list[dict[str, str]]:
    """Run a table and return the rows of out.csv."""
    assert main(["systolic", str(source), "--output", "out.csv", *arguments]) == code
    assert not Path("out.csv.part").exists()
    return list(csv.DictReader(Path("out.csv").read_text(encoding="utf-8").splitlines()))


def change(name: str, row: int, **cells: str) -> None:
    """Change cells of a row of a table."""
    rows = list(csv.DictReader(Path(name).read_text(encoding="utf-8").splitlines()))
    rows[row].update(cells)
    with Path(name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def scalesim(*arguments: str, config: str = CONFIG, topology: str = GEMM) -> int:
    Path("scale.cfg").write_bytes(config.encode())
    Path("t.csv").write_bytes(topology.encode())
    return main(["systolic", "--scalesim-config", "scale.cfg", "--topology", "t.csv", "--output-dir", "out", *arguments])


def layers(capsys: Capture, **files: str) -> list[dict[str, Any]]:
    """The layers in the JSON document of a run that succeeds."""
    assert scalesim("--json", **files) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["layers"]
    return found


# Tables.


@needs_reference
def test_the_golden_file_comes_back_byte_for_byte() -> None:
    tabulate(source=GOLDEN)
    assert Path("out.csv").read_bytes() == GOLDEN.read_bytes()


@needs_reference
def test_the_golden_inputs_alone_in_another_order_give_the_golden_outputs() -> None:
    golden = list(csv.DictReader(GOLDEN.read_text(encoding="utf-8").splitlines()))
    columns = ["tag", *reversed(INPUTS), "case_id"]
    save(*(",".join(row[column] for column in columns) for row in golden), header=",".join(columns))
    rows = tabulate("--workers", "3")
    assert list(rows[0]) == [*columns, *cases.OUTPUTS]
    assert [{name: row[name] for name in golden[0]} for row in rows] == golden


def test_a_row_by_hand(capsys: Capture) -> None:
    save("x," + GOOD + ",y", header="note," + HEADER + ",M of what")
    (row,) = tabulate()
    assert capsys.readouterr().out == "cases: 1, errors: 0, output: out.csv\n"
    # F L - 1 with one fold of L = 2 R + C + M - 2 = 26 lines; 64 MACs in 25 cycles on 64 PEs
    assert (row["note"], row["M of what"], row["total_cycles"], row["stall_cycles"]) == ("x", "y", "25", "0")
    assert (row["overall_util_pct"], row["compute_util_pct"], row["avg_ifmap_dram_bw"]) == ("4", "3.0303030303030303", "8")


def test_numbers_may_be_written_as_floats_and_unused_bandwidths_may_be_anything() -> None:
    save(GOOD, "8.0, 8 ,ws,4.,+4,4e0,1,1,1,CALC,-3,no,0")
    first, second = tabulate()
    assert [first[name] for name in cases.OUTPUTS] == [second[name] for name in cases.OUTPUTS]
    assert second["array_cols"] == " 8 "


@pytest.mark.parametrize("content", [f"\ufeff{HEADER}\n{GOOD}\n", f"{HEADER}\n\n{GOOD}", f" {HEADER} \n{GOOD}\n\n"])
def test_byte_order_marks_blank_lines_and_spaces_are_fine(content: str) -> None:
    Path("cases.csv").write_text(content, encoding="utf-8", newline="")
    (row,) = tabulate()
    assert row["total_cycles"] == "25"


def test_line_ends_are_kept() -> None:
    Path("cases.csv").write_bytes(f"{HEADER}\r\n{GOOD}\r\n".encode())
    tabulate()
    lines = Path("out.csv").read_bytes().split(b"\n")
    assert [line.endswith(b"\r") for line in lines] == [True, True, False]


def test_a_bad_row_does_not_stop_the_others(capsys: Capture) -> None:
    save(GOOD, GOOD.replace("ws", "WS"), USER)
    good, bad, user = tabulate(code=2)
    captured = capsys.readouterr()
    assert captured.err == "cases.csv:3: dataflow: unknown 'WS' (did you mean 'ws'?); use ws, os or is\n"
    assert captured.out == "cases: 3, errors: 1, output: out.csv\n"
    assert (good["total_cycles"], user["total_cycles"], good["error"], user["error"]) == ("25", "1587", "", "")
    assert bad["error"] == "dataflow: unknown 'WS' (did you mean 'ws'?); use ws, os or is"
    assert {bad[name] for name in cases.OUTPUTS} == {""}


def test_the_output_can_be_corrected_and_fed_back(capsys: Capture) -> None:
    save(GOOD, GOOD.replace("ws", "WS"))
    tabulate(code=2)
    Path("cases.csv").write_text(Path("out.csv").read_text(encoding="utf-8").replace(",WS,", ",ws,"), encoding="utf-8")
    first, second = tabulate()
    assert first == second
    assert "error" not in first


def test_many_bad_rows_are_counted(capsys: Capture) -> None:
    save(*[GOOD.replace("ws", "ss")] * 25)
    rows = tabulate(code=2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "cases.csv: 5 more bad rows; see column error of out.csv"
    assert {row["error"] for row in rows} == {"dataflow: unknown 'ss'; use ws, os or is"}


def test_json_is_one_document(capsys: Capture) -> None:
    save("a," + GOOD, "b," + GOOD.replace(",4,4,4,", ",0,4,4,"), header="note," + HEADER)
    tabulate("--json", code=2)
    document = json.loads(capsys.readouterr().out)
    message = "got '0', which is zero; expected a whole number from 1 to 1099511627776"
    assert document["errors"] == [{"row": 3, "column": "M", "message": message}]
    assert (document["cases"], document["output"]) == (2, "out.csv")
    good, bad = document["rows"]
    assert list(good) == ["note", *HEADER.split(","), *cases.OUTPUTS]
    assert (good["note"], good["M"], good["dataflow"], good["ifmap_bw"], good["total_cycles"]) == ("a", 4, "ws", None, 25)
    assert isinstance(good["overall_util_pct"], float)
    assert (bad["total_cycles"], bad["error"]) == (None, f"M: {message}")


def test_what_the_simulation_refuses_is_a_bad_row(capsys: Capture) -> None:
    huge = "1,1,os,1099511627776,1099511627776,1099511627776,1,1,1,CALC,,,"
    save(huge, GOOD, "1,1,os,1,1,1,1,1,1,CALC,,,")
    first, second, third = tabulate("--max-lines", "26", code=2)
    assert "2^63" in first["error"]
    assert second["total_cycles"] == "25"
    assert "divides by zero" in third["error"]
    (one, two, _) = tabulate("--max-lines", "25", code=2)
    assert "--max-lines" in two["error"]
    assert one == first | {"error": one["error"]}
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_resume_takes_over_what_is_done(capsys: Capture) -> None:
    save("1," + GOOD, "2," + GOOD.replace("ws", "WS"), "3," + USER, header="id," + HEADER)
    tabulate(code=2)
    change("out.csv", 2, total_cycles="12345")  # to see that it is not computed again
    save("7," + USER, "8," + GOOD.replace("ws", "os"), "9," + GOOD.replace("ws", "is"), "10," + GOOD, header="id," + HEADER)
    capsys.readouterr()
    rows = tabulate("--resume", "--json")
    assert [row["id"] for row in rows] == ["7", "8", "9", "10"]
    assert [row["total_cycles"] for row in rows] == ["12345", "17", "25", "25"]
    assert json.loads(capsys.readouterr().out)["rows"][0]["total_cycles"] == 12345
    assert tabulate("--resume") == rows
    assert capsys.readouterr().out == "cases: 4 (4 taken over), errors: 0, output: out.csv\n"
    assert tabulate()[0]["total_cycles"] == "1587"


def test_resume_without_a_file_is_a_first_run() -> None:
    save(GOOD)
    assert tabulate("--resume")[0]["total_cycles"] == "25"


@pytest.mark.parametrize(("column", "text"), [("total_cycles", ""), ("total_cycles", "x"), ("avg_ifmap_dram_bw", "nan")])
def test_resume_computes_damaged_rows_again(column: str, text: str) -> None:
    save(GOOD)
    rows = tabulate()
    change("out.csv", 0, **{column: text})
    assert tabulate("--resume") == rows


def test_resume_of_something_else(capsys: Capture) -> None:
    save(GOOD)
    shutil.copy("cases.csv", "out.csv")
    assert main(["systolic", "cases.csv", "--output", "out.csv", "--resume"]) == 2
    assert "out.csv:1: columns are missing: compute_cycles, " in capsys.readouterr().err
    assert Path("out.csv").read_bytes() == Path("cases.csv").read_bytes()


def interrupt(*arguments: str) -> tuple[int, str, str]:
    """Send SIGINT to a run once it has said that it takes long."""
    # a parent that ignores interrupts would pass that on, so the handler is set in the process itself
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hdasim.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "systolic", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, first + errors


def test_an_interrupt_saves_what_is_done() -> None:
    save(GOOD, GOOD.replace("ws", "is").replace("CALC", "calc"), USER, *[SLOW] * 4)
    code, output, errors = interrupt("cases.csv", "--output", "out.csv", "--workers", "1")
    assert code == 130, errors
    assert errors.startswith("2 of 6 cases\ncases.csv:3: bandwidth_mode: ")
    assert errors.endswith("interrupted; what was done is saved, --resume does the rest\n")
    assert len(errors.splitlines()) == 3
    assert output == "cases: 7, errors: 5, output: out.csv\n"
    rows = list(csv.DictReader(Path("out.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["total_cycles"] for row in rows] == ["25", "", "1587", "", "", "", ""]
    assert [row["error"] for row in rows[3:]] == ["interrupted"] * 4
    change("out.csv", 0, total_cycles="24")  # to see what is computed again
    for row in range(3, 7):
        change("out.csv", row, M="10")
    change("out.csv", 1, bandwidth_mode="CALC")
    rows = tabulate("--resume", source="out.csv")
    assert "error" not in rows[0]
    assert [row["total_cycles"] for row in rows[:3]] == ["24", "25", "1587"]
    assert len({row["total_cycles"] for row in rows[3:]}) == 1


def test_an_interrupt_of_scalesims_own_files() -> None:
    Path("scale.cfg").write_text(CONFIG.replace("CALC", "USER").replace(": 4\n", ": 1\n"), encoding="utf-8")
    Path("t.csv").write_text("h\ng,100000,1000,100,\n", encoding="utf-8")
    code, output, errors = interrupt("--scalesim-config", "scale.cfg", "--topology", "t.csv", "--output-dir", "out")
    assert (code, output, errors) == (130, "", "0 of 1 cases\ninterrupted\n")
    assert not list(Path("out/run").iterdir())


# SCALE-Sim's own files.


@needs_reference
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_reports_come_out_byte_for_byte(name: str) -> None:
    example = SHARED / "examples" / name
    files = ["--scalesim-config", str(example / "scale.cfg"), "--topology", str(example / "gemm.csv")]
    assert main(["systolic", *files, "--output-dir", "out"]) == 0
    reports = sorted(path.name for path in example.glob("*_REPORT.csv"))
    assert len(reports) == 3
    assert sorted(path.name for path in Path("out/run").iterdir()) == reports
    for report in reports:
        assert Path("out/run", report).read_bytes() == (example / report).read_bytes(), report


def test_the_reports_of_a_small_layer(capsys: Capture) -> None:
    assert scalesim() == 0
    assert Path("out/run/DETAILED_ACCESS_REPORT.csv").read_text(encoding="utf-8") == DETAILS
    title, header, row, _, place = capsys.readouterr().out.splitlines()
    assert title == "run: 4 x 4, ws, CALC"
    assert header.split() == ["layer", "M", "N", "K", "total", "cycles", "stalls", "utilisation"]
    assert row.split() == ["g0", "5", "6", "7", "59", "0", "22.2", "%"]
    assert place == "reports in out/run"


def test_what_scalesim_skips_is_skipped(capsys: Capture) -> None:
    plain = layers(capsys, topology="\na,5,6,7,\nb,3,3,3,\n")
    odd = layers(capsys, topology="a,1,1,1,\r\n\r\n  a , 5,6 ,+7,2:4, dropped\r\n \r\nb,3,3,3,1:1,\r\n")
    assert plain == odd
    assert [(row["layer"], row["name"], row["M"], row["N"], row["K"]) for row in plain] == [(0, "a", 5, 6, 7), (1, "b", 3, 3, 3)]


def test_a_convolution_is_told_by_its_fields(capsys: Capture) -> None:
    (row,) = layers(capsys, topology=CONV + "c,7,6,3,2,2,5,2,\n")
    assert (row["M"], row["N"], row["K"]) == (3 * 3, 5, 3 * 2 * 2)
    assert layers(capsys, topology=CONV + "c,7,6,3,2,2,5,2,2:4,\n") == [row]


def test_depthwise_layers_are_split_by_channel(capsys: Capture) -> None:
    split = layers(capsys, topology=CONV + "xDPy,7,6,3,2,3,5,2,\nc,4,4,1,1,2,2,1,\n")
    assert [row["name"] for row in split] == ["xDPyChannel_0", "xDPyChannel_1", "xDPyChannel_2", "c"]
    alone = layers(capsys, topology=CONV + "xdpy,7,6,3,2,1,5,2,\n" * 3)
    assert [row | {"name": "xdpy"} for row in split[:3]] == alone
    assert len(Path("out/run/COMPUTE_REPORT.csv").read_text(encoding="utf-8").splitlines()) == 4
    assert layers(capsys, topology="h\naDP,5,6,7,\n")[0]["name"] == "aDP"


def test_key_names_are_case_insensitive_and_user_takes_three_bandwidths() -> None:
    text = CONFIG.replace("CALC", "USER").replace("ArrayHeight", "arrayheight").replace("BankNum: 1", "BankNum: 2")
    text = text.replace("FilterSRAMBankBandwidth: 10", "FILTERSRAMBANKBANDWIDTH=6")
    Path("scale.cfg").write_bytes(("\ufeff" + text).replace("\n", "\r\n").encode())
    config = read_config(Path("scale.cfg"))
    assert (config.rows, config.bandwidth, config.run_name, config.sram_kb) == (4, (10, 6, 10), "run", (1, 1, 1))


def test_what_has_no_effect_in_calc_may_be_anything(capsys: Capture) -> None:
    odd = CONFIG.replace("Bandwidth: 10, 3\n", "Bandwidth: x\n").replace("BankNum: 1", "BankNum: 0")
    odd = odd.replace("Port: 2", "Port: -5")
    assert layers(capsys, config=odd) == layers(capsys)


def test_topologies_keep_the_lines_of_their_layers() -> None:
    Path("t.csv").write_text("h\n\na,1,2,3,\n\nb,4,5,6,\n", encoding="utf-8")
    found = read_topology(Path("t.csv"))
    assert [(layer.name, layer.line, layer.sizes) for layer in found] == [("a", 3, (1, 2, 3)), ("b", 5, (4, 5, 6))]


def test_names_are_shown_as_they_are(capsys: Capture) -> None:
    assert scalesim(topology="h\n[red]x,5,6,7,\n\x1b[31mb,5,6,7,\n,5,6,7,\n") == 0
    out = capsys.readouterr().out
    assert "[red]x" in out
    assert "\x1b" not in out


def test_a_layer_that_cannot_be_run_is_named(capsys: Capture) -> None:
    assert scalesim("--max-lines", "60", topology="h\na,5,6,7,\nb,50,60,70,\n") == 2
    assert capsys.readouterr().err.startswith("t.csv:3: layer 'b': ")
    assert not Path("out").exists()


# Bad input of every kind.

CELLS = {
    "zero": ("M", "0", "got '0', which is zero; expected a whole number from 1 to 1099511627776"),
    "negative": ("N", "-3", "got '-3', which is negative; expected a whole number from 1"),
    "fraction": ("K", "1.5", "got '1.5', which is not whole; expected a whole number"),
    "text": ("array_rows", "abc", "got 'abc', which is not a number; expected"),
    "nan": ("array_cols", "NaN", "got 'NaN', which stands for no number; expected"),
    "inf": ("ifmap_sram_kb", "inf", "got 'inf', which is not finite; expected"),
    "minus-inf": ("filter_sram_kb", "-Infinity", "got '-Infinity', which is not finite; expected"),
    "blank": ("ofmap_sram_kb", "", "no value; expected a whole number from 1"),
    "spaces": ("M", "   ", "no value; expected a whole number from 1"),
    "huge": ("M", "1099511627777", "got '1099511627777', which is too large; expected"),
    "endless": ("M", "9" * 5000, "got '9999999999999999999999999999999999999999', which is too large; expected"),
    "overflow": ("M", "1e999", "got '1e999', which is too large; expected"),
    "underscore": ("M", "1_000", "got '1_000', which is not a number; expected"),
    "hexadecimal": ("M", "0x10", "got '0x10', which is not a number; expected"),
    "other-digits": ("M", "٣", "got '٣', which is not a number; expected"),
    "dataflow-case": ("dataflow", "OS", "unknown 'OS' (did you mean 'os'?); use ws, os or is"),
    "dataflow": ("dataflow", "rs", "unknown 'rs'; use ws, os or is"),
    "dataflow-blank": ("dataflow", "", "no value; use ws, os or is"),
    "mode-case": ("bandwidth_mode", "user", "unknown 'user' (did you mean 'USER'?); use CALC or USER"),
    "mode": ("bandwidth_mode", "FAST", "unknown 'FAST'; use CALC or USER"),
    "bandwidth-zero": ("ifmap_bw", "0", "got '0', which is zero; expected"),
    "bandwidth-blank": ("filter_bw", "", "no value; expected a whole number from 1"),
    "bandwidth-fraction": ("ofmap_bw", "0.5", "got '0.5', which is not whole; expected"),
}


@pytest.mark.parametrize("name", CELLS)
def test_a_bad_cell(name: str, capsys: Capture) -> None:
    column, text, message = CELLS[name]
    cells = dict(zip(HEADER.split(","), USER.split(","), strict=True)) | {column: text}
    save(GOOD, ",".join(cells.values()))
    good, bad = tabulate(code=2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"cases.csv:3: {column}: {message}")
    assert f"cases.csv:3: {bad['error']}" == lines[0]
    assert good["error"] == ""


TABLES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "cases.csv:1: file is empty; expected a table of cases"),
    "blank": ("\n \n", "cases.csv:1: file is empty; expected a table of cases"),
    "header-only": (HEADER + "\n", "cases.csv:1: header without rows; expected one row per case below it"),
    "missing-columns": ("M,N\n1,2\n", "cases.csv:1: columns are missing: array_rows, array_cols, dataflow, K, ifmap_sram_kb, "),
    "missing-column": (f"{HEADER.replace('array_rows', 'rows')}\n{GOOD}\n", "cases.csv:1: column is missing: array_rows; "),
    "semicolons": (f"{HEADER}\n{GOOD}\n".replace(",", ";"), "cases.csv:1: columns are missing: array_rows, array_cols"),
    "duplicate": (f"{HEADER},M\n{GOOD},3\n", "cases.csv:1: M: column appears 2 times; expected it once"),
    "open-quote": (f'{HEADER}\n{GOOD}\n"a\n', "cases.csv:3: row: unexpected end of data; expected comma-separated values"),
    "nul": (f"{HEADER}\n{GOOD}\0\n", "cases.csv:2: holds a NUL byte; give a table of cases"),
    "latin": (f"{HEADER},ä\n{GOOD},\n".encode("latin-1"), "cases.csv:1: not UTF-8 text; save a table of cases (CSV) as UTF-8"),
    "gzip": (b"\x1f\x8b\x08\x00\xff", "cases.csv:1: not UTF-8 text"),
    "long-cell": (f"{HEADER}\n{'x' * 200_000}{GOOD}\n", "cases.csv:2: row: field larger than field limit"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_bad_table(name: str, capsys: Capture) -> None:
    content, message = TABLES[name]
    Path("cases.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    Path("out.csv").write_text("as it was", encoding="utf-8")
    assert main(["systolic", "cases.csv", "--output", "out.csv"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert (len(captured.err.splitlines()), captured.out) == (1, "")
    assert Path("out.csv").read_text(encoding="utf-8") == "as it was"


@pytest.mark.parametrize(("row", "fields"), [("1,2", 2), (f"{GOOD},", 14)], ids=["short", "long"])
def test_a_ragged_row_does_not_stop_the_others(row: str, fields: int, capsys: Capture) -> None:
    Path("cases.csv").write_text(f"{HEADER}\n{row}\n{GOOD}\n", encoding="utf-8")
    assert main(["systolic", "cases.csv", "--output", "out.csv"]) == 2
    assert capsys.readouterr().err == f"cases.csv:2: row: {fields} fields; expected 13 as in the header\n"
    _, bad, good = csv.reader(Path("out.csv").read_text(encoding="utf-8").splitlines())
    assert len(bad) == len(good) == 13 + len(cases.OUTPUTS) + 1
    assert bad[13:-1] == [""] * len(cases.OUTPUTS)
    assert bad[-1] == f"row: {fields} fields; expected 13 as in the header"
    assert "" not in good[13:-1]


def test_a_link_stays_a_link_and_other_files_stay() -> None:
    save(GOOD)
    Path("real.csv").write_text("old", encoding="utf-8")
    Path("out.csv").symlink_to("real.csv")
    Path("out.csv.part").write_text("precious", encoding="utf-8")
    before = {path.name for path in Path().iterdir()}
    assert main(["systolic", "cases.csv", "--output", "out.csv"]) == 0
    assert Path("out.csv").is_symlink()
    assert Path("real.csv").read_text(encoding="utf-8").count("\n") == 2
    assert Path("out.csv.part").read_text(encoding="utf-8") == "precious"
    assert {path.name for path in Path().iterdir()} == before


def test_a_device_is_no_output(capsys: Capture) -> None:
    save(GOOD)
    assert main(["systolic", "cases.csv", "--output", "/dev/stdout"]) == 2
    assert "/dev/stdout: cannot be written (this is no file)" in capsys.readouterr().err


def test_a_small_buffer_under_a_large_operand_takes_no_longer(capsys: Capture) -> None:
    # SCALE-Sim's window is walked round 60,000 half-buffers for each of 8,192 folds: seconds at most, not minutes
    save("64,64,ws,1,8192,4096,1,1,1,USER,64,64,64")
    assert main(["systolic", "cases.csv", "--output", "out.csv"]) == 0


PATHS: dict[str, tuple[str, str, str]] = {
    "missing": ("no.csv", "out.csv", "no.csv: cannot be read (No such file or directory); give the path of a table of cases"),
    "directory": (".", "out.csv", ".: cannot be read (Is a directory); give the path of a table of cases"),
    "nul-in-name": ("a\0b", "out.csv", "cannot be read (embedded null byte)"),
    "no-folder": ("cases.csv", "no/out.csv", "no/out.csv: cannot be written (no such folder); give a file name in a folder"),
    "below-a-file": ("cases.csv", "cases.csv/out.csv", "cases.csv/out.csv: cannot be written (no such folder)"),
    "output-directory": ("cases.csv", ".", ".: cannot be written (this is a directory); give a file name"),
    "output-empty": ("cases.csv", "", ".: cannot be written (this is a directory); give a file name"),
    "long-name": ("cases.csv", "o" * 300, "cannot be written (File name too long); give a file name"),
}
if Path("/dev/zero").exists():
    PATHS["device"] = ("/dev/zero", "out.csv", "/dev/zero: cannot be read (this is a device)")
    PATHS["output-device"] = ("cases.csv", "/dev/null", "/dev/null: cannot be written (this is no file)")
if Path("/proc/self").exists():
    PATHS["unwritable"] = ("cases.csv", "/proc/out.csv", "/proc/out.csv: cannot be written (")


@pytest.mark.parametrize("name", PATHS)
def test_a_bad_path(name: str, capsys: Capture) -> None:
    source, output, message = PATHS[name]
    save(GOOD)
    assert main(["systolic", source, "--output", output]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert (len(captured.err.splitlines()), captured.out) == (1, "")


Edit = tuple[str, str, str]
EDITS: dict[str, Edit] = {
    "value-float": ("ArrayHeight: 4", "ArrayHeight: 4.0", "scale.cfg:5: ArrayHeight: got '4.0'; SCALE-Sim takes digits only"),
    "value-zero": ("ArrayWidth: 4", "ArrayWidth: 0", "scale.cfg:6: ArrayWidth: got '0', which is zero; expected a whole number"),
    "value-half": ("IfmapSramSzkB: 1", "IfmapSramSzkB: 0.5", "scale.cfg:7: IfmapSramSzkB: got '0.5', which is not whole"),
    "value-comment": ("ArrayWidth: 4", "ArrayWidth: 4 ; wide", "scale.cfg:6: ArrayWidth: got '4 ; wide', which is not a"),
    "value-blank": ("FilterSramSzkB: 1", "FilterSramSzkB:", "scale.cfg:8: FilterSramSzkB: no value; expected a whole number"),
    "value-unused": ("WriteRequestBuffer: 32", "WriteRequestBuffer: x", "scale.cfg:17: WriteRequestBuffer: got 'x', which is"),
    "no-value": ("ArrayWidth: 4", "ArrayWidth", "scale.cfg:6: got 'ArrayWidth'; expected [section] or KEY: VALUE"),
    "missing-key": ("ArrayWidth: 4\n", "", "scale.cfg: SCALE-Sim 3 needs keys that are missing; add [architecture_presets]"),
    "missing-bandwidth": ("Bandwidth: 10, 3\n", "", "scale.cfg: SCALE-Sim 3 needs keys that are missing; "
                          "add [architecture_presets] Bandwidth: 10"),
    "twice": ("ArrayWidth: 4", "ArrayWidth: 4\narraywidth = 4", "scale.cfg:7: arraywidth: this key appears twice; keep one"),
    "section-twice": ("[layout]", "[general]", "scale.cfg:19: section [general] appears twice; keep one"),
    "no-section": ("[general]\n", "", "scale.cfg:1: got 'run_name = run'; expected [general] or another section above it"),
    "open-section": ("[layout]", "[layout", "scale.cfg:19: got '[layout'; expected [section] or KEY: VALUE"),
    "dataflow-case": ("Dataflow: ws", "Dataflow: WS", "scale.cfg:14: Dataflow: unknown 'WS' (did you mean 'ws'?); use ws, os"),
    "dataflow": ("Dataflow: ws", "Dataflow: rs", "scale.cfg:14: Dataflow: unknown 'rs'; use ws, os or is"),
    "run-name-path": ("= run", "= ../run", "scale.cfg:2: run_name: got '../run'; expected the name of a folder below"),
    "run-name-absolute": ("= run", "= /tmp/run", "scale.cfg:2: run_name: got '/tmp/run'; expected the name of a folder"),
    "run-name-dots": ("= run", "= ..", "scale.cfg:2: run_name: got '..'; expected the name of a folder"),
    "run-name-empty": ("= run", "=", "scale.cfg:2: run_name: got ''; expected the name of a folder"),
    "run-name-long": ("= run", f"= {'r' * 300}", "scale.cfg:2: run_name: got 'rrrrr"),
    "percent": ("= run", "= a%b", "scale.cfg:2: run_name: a % refers to another key here; write %% for a percent sign"),
    "sparsity": ("SparsitySupport: false", "SparsitySupport: true", "scale.cfg:30: SparsitySupport: got 'true'; sparsity is"),
    "ramulator": ("UseRamulatorTrace: False", "UseRamulatorTrace: True", "scale.cfg:34: UseRamulatorTrace: got 'True'; traces"),
    "ifmap-layout": ("IfmapCustomLayout: False", "IfmapCustomLayout: True", "scale.cfg:20: IfmapCustomLayout: got 'True'"),
    "filter-layout": ("FilterCustomLayout: False", "FilterCustomLayout: yes", "scale.cfg:24: FilterCustomLayout: got 'yes'"),
    "mode-case": ("InterfaceBandwidth: USER", "InterfaceBandwidth: user", "scale.cfg:33: InterfaceBandwidth: unknown 'user'"),
    "mode": ("InterfaceBandwidth: USER", "InterfaceBandwidth: MAX", "scale.cfg:33: InterfaceBandwidth: unknown 'MAX'; use CALC"),
    "offset": ("IfmapOffset: 0", "IfmapOffset: -1", "scale.cfg:10: IfmapOffset: got '-1', which is negative; expected a whole"),
    "bandwidth": ("Bandwidth: 10, 3", "Bandwidth: 10, x", "scale.cfg:13: Bandwidth: got 'x', which is not a number; expected"),
    "bandwidth-zero": ("Bandwidth: 10, 3", "Bandwidth: 0", "scale.cfg:13: Bandwidth: got '0', which is zero; expected"),
    "bank-bandwidth": ("IfmapSRAMBankBandwidth: 10", "IfmapSRAMBankBandwidth: 0", "scale.cfg:21: IfmapSRAMBankBandwidth: got"),
    "banks": ("FilterSRAMBankNum: 1", "FilterSRAMBankNum: 3", "scale.cfg:26: FilterSRAMBankNum: 3 banks do not divide "
              "FilterSRAMBankBandwidth 10; use a divisor"),
    "banks-zero": ("IfmapSRAMBankNum: 1", "IfmapSRAMBankNum: 0", "scale.cfg:22: IfmapSRAMBankNum: got '0', which is zero"),
    "network": ("[layout]", "[network_presets]\nTopologyCsvLoc: x\n[layout]", "scale.cfg:19: SCALE-Sim 3 cannot read a file"),
    "nul": ("= run", "= r\0n", "scale.cfg:2: holds a NUL byte; give a SCALE-Sim configuration file as plain text"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_a_bad_configuration(name: str, capsys: Capture) -> None:
    old, new, message = EDITS[name]
    text = CONFIG.replace("CALC", "USER")
    assert text.count(f"{old}") == 1 + (old.startswith("Bandwidth") and old.endswith("10"))
    assert scalesim(config=text.replace(old, new)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert (len(captured.err.splitlines()), captured.out) == (1, "")
    assert not Path("out").exists()


def test_a_version_2_configuration_is_told_all_it_lacks(capsys: Capture) -> None:
    text = CONFIG[: CONFIG.index("ReadRequestBuffer")] + "[run_presets]\nInterfaceBandwidth: USER\n"
    assert scalesim(config=text) == 2
    line = capsys.readouterr().err
    for part in ("[architecture_presets] ReadRequestBuffer: 32, WriteRequestBuffer: 32; [layout] IfmapCustomLayout: False, ",
                 "; [sparsity] SparsitySupport: false; [run_presets] UseRamulatorTrace: False\n"):  # fmt: skip
        assert part in line
    # doing as told gives what version 2 meant: its first bandwidth for all operands
    for section in line.partition("add ")[2].split("; "):
        header, _, keys = section.strip().partition("] ")
        keys = keys.replace(", ", "\n")
        text = text.replace(f"{header}]\n", f"{header}]\n{keys}\n") if f"{header}]" in text else f"{text}{header}]\n{keys}\n"
    assert scalesim(config=text) == 0
    assert read_config(Path("scale.cfg")).bandwidth == (10, 10, 10)


ROWS = {
    "empty": ("", "t.csv:1: file is empty; expected a SCALE-Sim topology (CSV)"),
    "header-only": ("h\n", "t.csv:1: no layers; expected rows such as name, M, N, K, below the first line"),
    "layer-as-header": ("a,1,2,3,\n", "t.csv:1: no layers; expected rows such as name, M, N, K, below the first line, which is"),
    "two-headers": ("\nLayer,M,N,K,\n", "t.csv:2: M: got 'M', which is not a number; expected"),
    "no-comma": ("h\na,1,2,3\n", "t.csv:2: row: no comma at the end, so SCALE-Sim would drop '3'; write a,1,2,3,"),
    "no-comma-conv": ("h\nb,3,3,2,2,1,4,1\n", "t.csv:2: row: no comma at the end, so SCALE-Sim would drop '1'; write"),
    "few-fields": ("h\n\na,1,2,\n", "t.csv:3: row: 3 fields before the last comma; expected 4 or 5 (name, M, N, K[, n:m],) or"),
    "many-fields": ("h\na,1,2,3,4,5,6,7,8,9,\n", "t.csv:2: row: 10 fields before the last comma; expected"),
    "no-fields": ("h\nhello\n", "t.csv:2: row: 0 fields before the last comma; expected"),
    "zero": ("h\na,0,2,3,\n", "t.csv:2: M: got '0', which is zero; expected a whole number from 1"),
    "float": ("h\na,1,2.0,3,\n", "t.csv:2: N: got '2.0'; SCALE-Sim takes digits only, write 2"),
    "blank": ("h\na,1,2,,\n", "t.csv:2: K: no value; expected a whole number from 1"),
    "text": ("h\nb,3,3,2,2,1,x,1,\n", "t.csv:2: num filters: got 'x', which is not a number; expected"),
    "stride": ("h\nb,3,3,2,2,1,4,0,\n", "t.csv:2: stride: got '0', which is zero; expected"),
    "sparsity": ("h\na,1,2,3,4,\n", "t.csv:2: sparsity: got '4'; expected a ratio such as 1:1, which has no effect, or nothing"),
    "sparsity-conv": ("h\nb,3,3,2,2,1,4,1,x:y,\n", "t.csv:2: sparsity: got 'x:y'; expected a ratio"),
    "mixed": ("h\na,1,2,3,\nb,3,3,2,2,1,4,1,\n", "t.csv:3: row: a convolution below rows that are GEMMs; keep them in files of"),
    "mixed-conv": ("h\nb,3,3,2,2,1,4,1,\na,1,2,3,\n", "t.csv:3: row: a GEMM below rows that are convolutions; keep them"),
    "filter-height": ("h\nb,3,3,4,2,1,4,1,\n", "t.csv:2: filter height: 4 is larger than the ifmap's 3; use a smaller filter"),
    "filter-width": ("h\nb,3,3,2,4,1,4,1,\n", "t.csv:2: filter width: 4 is larger than the ifmap's 3; use a smaller filter"),
    "huge": ("h\na,1,2,1099511627777,\n", "t.csv:2: K: got '1099511627777', which is too large; expected"),
    "huge-ofmap": ("h\nb,99999999,99999999,1,1,1,4,1,\n", "t.csv:2: row: 9999999800000001 pixels in the ofmap are too many"),
    "huge-window": ("h\nb,9999999,9999999,9999999,9999999,1,4,1,\n", "t.csv:2: row: 99999980000001 words in a window are too"),
    "many-channels": ("h\nDP,3,3,2,2,99999999,4,1,\n", "t.csv:2: channels: 99999999 layers, one per channel since the name"),
    "many-layers": ("h\n" + "DP,3,3,2,2,90000,4,1,\n" * 2, "t.csv:3: more than 131072 layers (one per channel where a name"),
    "nul": ("h\na\0,1,2,3,\n", "t.csv:2: holds a NUL byte; give a SCALE-Sim topology (CSV) as plain text"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_topology(name: str, capsys: Capture) -> None:
    content, message = ROWS[name]
    assert scalesim(topology=content) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert (len(captured.err.splitlines()), captured.out) == (1, "")
    assert not Path("out").exists()


def test_files_that_are_not_there(capsys: Capture) -> None:
    Path("t.csv").write_text(GEMM, encoding="utf-8")
    Path("scale.cfg").write_text(CONFIG, encoding="utf-8")
    for files, message in (
        (("no.cfg", "t.csv", "out"), "no.cfg: cannot be read (No such file or directory); give the path of a SCALE-Sim"),
        ((".", "t.csv", "out"), ".: cannot be read (Is a directory); give the path of a SCALE-Sim configuration file"),
        (("scale.cfg", "no.csv", "out"), "no.csv: cannot be read (No such file or directory); give the path of a SCALE-Sim"),
        (("scale.cfg", "t.csv", "t.csv"), "--output-dir t.csv/run: cannot write results: not a directory; choose another folder"),
    ):
        options = zip(("--scalesim-config", "--topology", "--output-dir"), files, strict=True)
        assert main(["systolic", *(word for option in options for word in option)]) == 2
        assert capsys.readouterr().err.startswith(message)


USAGE = {
    "": "give CASES.csv and --output, or --scalesim-config, --topology and --output-dir",
    "c.csv": "CASES.csv needs --output too",
    "--output o.csv": "--output needs CASES.csv too",
    "--resume": "--resume needs CASES.csv and --output too",
    "c.csv --output o.csv --topology t.csv": "CASES.csv and --topology exclude each other; give a table of cases or SCALE-Sim's",
    "--resume --topology t.csv": "--resume and --topology exclude each other; give a table of cases or",
    "--topology t.csv": "--topology needs --scalesim-config and --output-dir too",
    "--scalesim-config s.cfg --topology t.csv": "--scalesim-config needs --output-dir too",
    "c.csv --output o.csv --workers 0": "argument --workers: expected a whole number from 1 to 1024, got '0'",
    "c.csv --output o.csv --max-lines x": "argument --max-lines: expected a whole number from 1 to 1000000000000000, got 'x'",
}


@pytest.mark.parametrize("arguments", USAGE)
def test_the_two_forms_exclude_each_other_and_name_what_they_lack(arguments: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["systolic", *arguments.split()])
    captured = capsys.readouterr()
    assert (ended.value.code, captured.out, captured.err.count("\n")) == (2, "", 1)
    assert captured.err.startswith(f"hdasim systolic: {USAGE[arguments]}")
    assert captured.err.endswith("; see hdasim systolic --help\n")


def test_help_says_what_is_not_done(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["systolic", "--help"])
    out = capsys.readouterr().out
    assert "not its traces" in out
    assert "example:\n  hdasim systolic " in out


def test_a_process_ends_without_a_traceback(folder: Path) -> None:
    save(GOOD, GOOD.replace("ws", "WS"))
    command = [sys.executable, "-m", "hdasim", "systolic", "cases.csv", "--output", "out.csv", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert json.loads(done.stdout)["cases"] == 2


Reader = Callable[[Path], Any]


@pytest.mark.parametrize("reader", [read_config, read_topology])
def test_random_bytes_never_crash_a_reader(reader: Reader) -> None:
    import random

    from hdasim.errors import SpecError

    source = random.Random(7)
    text = CONFIG if reader is read_config else "h\na,1,2,3,\nb,4,5,6,1:1,\n"
    for _ in range(400):
        data = bytearray(text.encode())
        for _ in range(source.randint(1, 6)):
            at = source.randrange(len(data))
            garbage = bytes(source.choice(b'\0\n\r,;:=[]%" -0159.eaDP\xff\xc3') for _ in range(source.randint(0, 4)))
            data[at : at + source.randint(0, 9)] = garbage
        Path("file").write_bytes(data)
        try:
            reader(Path("file"))
        except SpecError as error:
            assert str(error).startswith("file")
