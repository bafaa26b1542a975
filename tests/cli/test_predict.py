"""`hdasim predict` and `hdasim validate silicon`: what they write, and one line for everything that is wrong."""

import csv
import json
from pathlib import Path

import pytest

from hdasim.cli import main

HEADER = "gpu,library,op,num_gpus,message_bytes,latency_us\n"
GOOD = "a100_sxm,nccl,all_reduce,2,1000000,25.0\n"
Capture = pytest.CaptureFixture[str]


def predict(tmp_path: Path, text: str | bytes, hardware: str = "a100", *more: str) -> tuple[int, list[dict[str, str]]]:
    source, output = tmp_path / "cases.csv", tmp_path / "out.csv"
    source.write_bytes(text if isinstance(text, bytes) else text.encode())
    code = main(["predict", str(source), "--op", "collective", "--hardware", hardware, "--output", str(output), *more])
    return code, list(csv.DictReader(output.read_text().splitlines())) if output.exists() else []


def test_columns_are_kept_and_times_added(tmp_path: Path, capsys: Capture) -> None:
    code, rows = predict(tmp_path, HEADER + GOOD + "a100_sxm,nccl,all_gather,8,512,15\n")
    assert code == 0
    assert list(rows[0]) == [*HEADER.strip().split(","), "time_us", "bound_us", "bottleneck"]
    # by hand: tests/unit/device/test_collectives.py; bound 1 MB / 300 GB/s
    assert float(rows[0]["time_us"]) == pytest.approx(23.8028, rel=1e-5)
    assert float(rows[0]["bound_us"]) == pytest.approx(10 / 3)
    assert [row["bottleneck"] for row in rows] == ["latency", "latency"]
    assert rows[0]["latency_us"] == "25.0"
    out, err = capsys.readouterr()
    assert out.startswith("cases: 2, errors: 0, hardware: a100") and err == ""


@pytest.mark.parametrize("header", ["system,nccl_version,op,n_gpus,bytes", "node,x,op,num_workers,message_bytes"])
def test_both_tables_of_measurements_are_read(header: str, tmp_path: Path) -> None:
    code, rows = predict(tmp_path, f"{header}\na100,2.27.3,all_reduce,2,1000000\n")
    assert code == 0 and float(rows[0]["time_us"]) == pytest.approx(23.8028, rel=1e-5)


def test_a_second_run_over_the_output_gives_the_same(tmp_path: Path) -> None:
    _, first = predict(tmp_path, HEADER + GOOD)
    _, second = predict(tmp_path, (tmp_path / "out.csv").read_bytes())
    assert first == second


def test_json_is_one_document(tmp_path: Path, capsys: Capture) -> None:
    code, _ = predict(tmp_path, HEADER + GOOD + "a100_sxm,nccl,all_reduce,2,x,1\n", "a100", "--json")
    document = json.loads(capsys.readouterr().out)
    assert code == 2 and document["cases"] == 2 and document["hardware"] == "a100"
    assert document["rows"][0]["num_gpus"] == 2 and document["rows"][0]["bottleneck"] == "latency"
    assert document["rows"][1]["time_us"] is None
    assert document["errors"][0]["row"] == 3 and document["errors"][0]["column"] == "message_bytes"


def test_other_hardware_and_libraries_are_remarked_once(tmp_path: Path, capsys: Capture) -> None:
    code, _ = predict(tmp_path, HEADER + 3 * GOOD + 2 * GOOD.replace("nccl", "custom:vllm"), "h100")
    err = capsys.readouterr().err.splitlines()
    assert code == 0 and len(err) == 2
    assert "gpu: 5 rows name other hardware (a100_sxm); all are predicted on h100" in err[0]
    assert "library: 2 rows are not NCCL's (custom:vllm, ...)" in err[1]


def test_hardware_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "chip.yaml"
    file.write_text("device: {preset: ador, p2p: {bandwidth: 1 GB/s, latency: 1 us}}\n")
    code, rows = predict(tmp_path, "op,n_gpus,bytes\nall_reduce,8,8000\n", str(file))
    assert code == 0 and float(rows[0]["time_us"]) == pytest.approx(28)


@pytest.mark.parametrize(("row", "complaint"), [
    ("a100,nccl,allreduce,2,8,1", "3: op: unknown 'allreduce' (did you mean 'all_reduce'?); use all_reduce, all_gather"),
    ("a100,nccl,,2,8,1", "3: op: no value; use"),
    ("a100,nccl,all_reduce,1,8,1", "3: num_gpus: got 1; a collective takes 2 to 65536 GPUs"),
    ("a100,nccl,all_reduce,100000,8,1", "3: num_gpus: got 100000; a collective takes"),
    ("a100,nccl,send_recv,4,8,1", "3: num_gpus: got 4; a send_recv takes 2 GPUs"),
    ("a100,nccl,all_reduce,2,-8,1", "3: message_bytes: got '-8', which is negative; expected a whole number"),
    ("a100,nccl,all_reduce,2,0,1", "3: message_bytes: got '0', which is zero"),
    ("a100,nccl,all_reduce,2,1e30,1", "3: message_bytes: got '1e30', which is too large"),
    ("a100,nccl,all_reduce,2,nan,1", "3: message_bytes: got 'nan', which stands for no number"),
    ("a100,nccl,all_reduce,2", "3: row: 4 fields; expected 6 as in the header"),
])  # fmt: skip
def test_a_wrong_row_says_why_and_the_others_are_done(row: str, complaint: str, tmp_path: Path, capsys: Capture) -> None:
    code, rows = predict(tmp_path, f"{HEADER}{GOOD}{row}\n")
    assert code == 2
    assert f"cases.csv:{complaint}" in capsys.readouterr().err
    assert rows[0]["time_us"] and rows[0]["error"] == ""
    assert rows[1]["time_us"] == "" and complaint.split(": ", 1)[1] in rows[1]["error"]


def test_names_of_the_file_are_those_of_the_complaint(tmp_path: Path, capsys: Capture) -> None:
    assert predict(tmp_path, "op,n_gpus,bytes\nall_reduce,1,8\n")[0] == 2
    assert "cases.csv:2: n_gpus: got 1" in capsys.readouterr().err


def test_collectives_of_several_nodes_are_refused(tmp_path: Path, capsys: Capture) -> None:
    text = "node,op,num_workers,devices_per_node,message_bytes\na100_dgx,all_reduce,16,8,1024\n"
    assert predict(tmp_path, text)[0] == 2
    assert "devices_per_node: got 8 for 16 GPUs; only collectives within a node are predicted" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "complaint"), [
    ("op,num_gpus\nall_reduce,2\n", "cases.csv:1: column is missing: message_bytes; expected the columns op, num_gpus or n_gpus"),
    ("opp,size\nall_reduce,2\n", "cases.csv:1: columns are missing: op (did you mean 'opp'?), num_gpus, message_bytes"),
    ("op,num_gpus,n_gpus,bytes\na,2,2,8\n", "cases.csv:1: columns num_gpus and n_gpus mean the same; keep one"),
    ("op,op,n_gpus,bytes\na,a,2,8\n", "cases.csv:1: op: column appears 2 times; expected it once"),
    ("", "cases.csv:1: file is empty; expected a table of cases (CSV)"),
    (HEADER, "cases.csv:1: header without rows; expected one row per case below it"),
    (HEADER.encode() + b"\xff\xfe\n", "cases.csv:2: not UTF-8 text"),
    (HEADER.encode() + b"a\0\n", "cases.csv:2: holds a NUL byte"),
])  # fmt: skip
def test_a_file_that_is_no_table_of_cases(text: str | bytes, complaint: str, tmp_path: Path, capsys: Capture) -> None:
    code, rows = predict(tmp_path, text)
    err = capsys.readouterr().err
    assert code == 2 and not rows and complaint in err and err.count("\n") == 1


def test_hardware_that_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    lonely = tmp_path / "lonely.yaml"
    lonely.write_text(
        "frequency: 1 GHz\ncore_count: 1\nglobal_memory: 1 MiB\ndram: {capacity: 1 GB, bandwidth: 1 GB/s}\n"
        "core: {systolic_array: {rows: 1, cols: 1}, vector_unit: {width: 1}, local_memory: 1 KiB}\n"
    )
    for hardware, complaint in (
        ("h10", "h10: no such file, and no hardware preset of that name (did you mean 'h100'?)"),
        ("zzz", "zzz: no such file, and no hardware preset of that name; shipped hardware: a100, "),
        (str(tmp_path / "none.yaml"), "none.yaml: cannot read"),
        (str(lonely), "lonely.yaml: p2p: custom has no links to other devices; give p2p: {bandwidth: ..., latency: ...}"),
        (str(tmp_path / "cases.csv"), "cases.csv:1: expected a mapping"),
    ):
        code, rows = predict(tmp_path, HEADER + GOOD, hardware)
        err = capsys.readouterr().err
        assert code == 2 and not rows and complaint in err and err.count("\n") == 1, hardware


def test_an_unknown_operator_and_an_output_that_cannot_be_written(tmp_path: Path, capsys: Capture) -> None:
    source = tmp_path / "cases.csv"
    source.write_text(HEADER + GOOD)
    assert main(["predict", str(source), "--op", "colective", "--hardware", "a100", "--output", str(tmp_path / "o.csv")]) == 2
    assert "--op: unknown operator 'colective' (did you mean 'collective'?); known: collective" in capsys.readouterr().err
    assert main(["predict", str(source), "--op", "collective", "--hardware", "a100", "--output", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


# ---- validate silicon ----


def test_validation_compares_what_it_knows_and_counts_the_rest(tmp_path: Path, capsys: Capture) -> None:
    others = "mi300x,nccl,all_reduce,2,8,1\na100_sxm,custom:x,all_reduce,2,8,1\na100_sxm,nccl,all_reduce_custom,2,8,1\n"
    (tmp_path / "a.csv").write_text(HEADER + GOOD + others)
    (tmp_path / "b.csv").write_text("m,n,k\n1,2,3\n")
    assert main(["validate", "silicon", "--data", str(tmp_path), "--op", "collective", "--json"]) == 0
    out, err = capsys.readouterr()
    (row,) = json.loads(out)
    assert row["name"] == "a100 all_reduce 2 GPUs 1000000 B: a100 all_reduce 2" and row["reference"] == 25.0
    assert row["error"] == pytest.approx(23.8028 / 25 - 1, rel=1e-4)
    assert err.count("left out 1 rows") == 3
    assert main(["validate", "silicon", "--data", str(tmp_path / "a.csv"), "--op", "collective"]) == 0
    assert "a100 all_reduce 2" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "complaint"), [
    ("op,num_gpus\nall_reduce,2\n", "a.csv:1: column is missing: gpu or system; expected the columns gpu or system, op"),
    (HEADER + GOOD.replace("25.0", "-1"), "a.csv:2: latency_us: got '-1'; expected microseconds greater than 0"),
    (HEADER + GOOD.replace("25.0", "1,2"), "a.csv:2: row: 7 fields; expected 6"),
    (HEADER + GOOD.replace("a100_sxm", "mi300x"), "a.csv: no measurements of collective on known hardware"),
])  # fmt: skip
def test_data_that_cannot_be_compared(text: str, complaint: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert main(["validate", "silicon", "--data", str(tmp_path / "a.csv"), "--op", "collective"]) == 2
    assert complaint in capsys.readouterr().err
