"""`hdasim predict` on kernels of a GPU: columns, types, explanations, and one line for everything that is wrong."""

import csv
import json
from pathlib import Path

import pytest

from hdasim.cli import main

Capture = pytest.CaptureFixture[str]
Rows = list[dict[str, str]]
TABLES = {
    "gemm": "m,n,k\n1,4096,4096\n4096,4096,4096\n",
    "attention_context": "batch,seq_len,q_heads,kv_heads,head_dim\n1,128,32,8,128\n4,8192,32,8,128\n",
    "attention_generation": "batch,kv_len,q_heads,kv_heads,head_dim\n1,128,32,8,128\n64,8192,32,8,128\n",
    "moe": "num_tokens,hidden_size,inter_size,topk,num_experts\n1,2048,768,8,128\n4096,2048,768,8,128\n",
    "elementwise": (
        "op,num_tokens,hidden,ffn_per_gpu,q_heads_per_gpu,kv_heads_per_gpu,head_dim\n"
        "add,64,4096,11008,32,32,128\nadd,65536,4096,11008,32,32,128\n"
    ),
}  # fmt: skip


def predict(tmp_path: Path, op: str, text: str, *more: str, hardware: str = "h100") -> tuple[int, Rows]:
    source, output = tmp_path / "cases.csv", tmp_path / "out.csv"
    source.write_text(text)
    code = main(["predict", str(source), "--op", op, "--hardware", hardware, "--output", str(output), *more])
    return code, list(csv.DictReader(output.read_text().splitlines())) if output.exists() else []


def times(rows: Rows) -> list[float]:
    return [float(row["time_us"]) for row in rows]


@pytest.mark.parametrize("op", TABLES)
@pytest.mark.parametrize("hardware", ["a100", "h100", "rtx-pro-6000"])
def test_every_operator(op: str, hardware: str, tmp_path: Path, capsys: Capture) -> None:
    code, rows = predict(tmp_path, op, TABLES[op], hardware=hardware)
    assert code == 0 and "errors: 0" in capsys.readouterr().out
    assert list(rows[0]) == [*TABLES[op].splitlines()[0].split(","), "time_us", "bound_us", "bottleneck"]
    small, large = rows
    assert 0 < float(small["time_us"]) < 100 < float(large["time_us"])
    assert all(float(row["bound_us"]) <= float(row["time_us"]) for row in rows)
    assert large["bottleneck"] in ("compute", "dram", "l2")


@pytest.mark.parametrize("op", TABLES)
def test_an_explanation_adds_columns_and_changes_nothing_else(op: str, tmp_path: Path) -> None:
    _, plain = predict(tmp_path, op, TABLES[op])
    code, rows = predict(tmp_path, op, TABLES[op], "--explain")
    assert code == 0
    added = ["tile_m", "tile_n", "split", "waves", "launch_us", "compute_us", "dram_us", "l2_us"]
    assert list(rows[0]) == [*plain[0], *added]
    assert [{name: row[name] for name in plain[0]} for row in rows] == plain
    assert all(float(row["launch_us"]) > 0 for row in rows)
    assert predict(tmp_path, op, (tmp_path / "out.csv").read_text(), "--explain")[1] == rows


def test_collectives_are_explained_too(tmp_path: Path) -> None:
    code, (row,) = predict(tmp_path, "collective", "op,num_gpus,message_bytes\nall_reduce,8,1000000000\n", "--explain")
    assert code == 0 and float(row["links_us"]) > float(row["steps_us"]) > 0


def test_types_of_a_column_or_of_the_option(tmp_path: Path) -> None:
    shape = "4096,4096,16384"
    _, rows = predict(tmp_path, "gemm", f"m,n,k,dtype\n{shape},fp8\n{shape},bf16\n{shape},float16\n{shape},\n")
    fp8, *others = times(rows)
    assert fp8 < 0.85 * others[0] and len(set(others)) == 1
    _, rows = predict(tmp_path, "gemm", f"m,n,k,dtype\n{shape},\n{shape},bf16\n", "--dtype", "fp8_e4m3")
    assert times(rows) == [fp8, others[0]]
    _, rows = predict(tmp_path, "gemm", f"m,n,k\n{shape}\n", "--dtype", "fp8")
    assert times(rows) == [fp8]


def test_operands_that_are_narrow_already_and_weights_in_l2(tmp_path: Path) -> None:
    _, rows = predict(tmp_path, "gemm", "m,n,k,dtype,source_dtype\n2048,4096,4096,fp8,\n2048,4096,4096,fp8,fp8\n")
    assert times(rows)[0] > times(rows)[1] + 1
    _, rows = predict(tmp_path, "gemm", "m,n,k,copies\n1,2048,2048,1\n1,2048,2048,\n1,2048,2048,100\n")
    warm, usual, cold = times(rows)
    assert warm < cold and warm <= usual <= cold


def test_narrow_weights_are_read_faster(tmp_path: Path) -> None:
    _, rows = predict(tmp_path, "gemm", "m,n,k,dtype\n1,28672,8192,bf16\n1,28672,8192,w8a16\n1,28672,8192,w4a16\n")
    wide, half, quarter = times(rows)
    assert wide > 1.6 * half > 1.6 * 1.5 * quarter


def test_optional_columns_of_attention(tmp_path: Path) -> None:
    table = "batch,seq_len,q_heads,kv_heads,head_dim,past,window\n8,1024,32,8,128,,\n8,1024,32,8,128,8192,\n8,1024,32,8,128,8192,512\n"
    _, rows = predict(tmp_path, "attention_context", table)
    alone, after, windowed = times(rows)
    assert after > 3 * alone and after > 3 * windowed
    table = "batch,kv_len,q_heads,kv_heads,head_dim,kv_dtype\n64,8192,32,8,128,bf16\n64,8192,32,8,128,fp8\n"
    _, rows = predict(tmp_path, "attention_generation", table)
    assert times(rows)[0] > 1.5 * times(rows)[1]


def test_parallel_experts(tmp_path: Path) -> None:
    header = "num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,distribution\n"
    ways = "1,1,balanced\n8192,4096,1536,8,128,4,1,balanced\n8192,4096,1536,8,128,1,4,balanced\n8192,4096,1536,8,128,1,4,power_law_1.2"
    code, rows = predict(tmp_path, "moe", f"{header}8192,4096,1536,8,128,{ways}\n")
    whole, tensor, expert, skewed = times(rows)
    assert code == 0 and whole > 2 * tensor and whole > 2 * expert and skewed > expert


def test_a_model_names_its_activation(tmp_path: Path) -> None:
    header = "model,op,num_tokens,hidden,ffn_per_gpu\n"
    rows = "microsoft/phi-2,add,65536,2560,10240\nx/y,add,65536,2560,10240\nmicrosoft/phi-2,mlp_act,65536,2560,10240\n,mlp_act,65536,2560,10240\n"
    code, found = predict(tmp_path, "elementwise", header + rows)
    two, one, plain, gated = times(found)
    assert code == 0 and two == pytest.approx(2 * one) and plain < 0.8 * gated


@pytest.mark.parametrize(("op", "table", "complaint"), [
    ("gemm", "m,n,k\n0,1,1\n", "2: m: got '0', which is zero; expected a whole number from 1"),
    ("gemm", "m,n,k\n1,1e30,1\n", "2: n: got '1e30', which is too large"),
    ("gemm", "m,n,k\n1,1,\n", "2: k: no value; expected a whole number"),
    ("gemm", "m,n,k,dtype\n1,1,1,fp7\n", "2: dtype: unknown 'fp7' (did you mean 'fp8'?); use bf16, fp8, int8"),
    ("gemm", "m,n,k,input_dtype\n1,1,1,fp4\n", "2: input_dtype: got fp4, for which h100 has no tensor cores; use w8a16 or w4a16"),
    ("gemm", "m,n,k,output_dtype\n1,1,1,int3\n", "2: output_dtype: unknown 'int3' (did you mean 'int8'?); use bf16"),
    ("gemm", "m,n,k\n1,1,1,1\n", "2: row: 4 fields; expected 3 as in the header"),
    ("attention_context", "batch,chunk_len,q_heads,kv_heads,head_dim\n1,-1,8,8,64\n", "2: chunk_len: got '-1', which is negative"),
    ("attention_context", "batch,seq_len,q_heads,kv_heads,head_dim\n1,1,6,4,64\n", "2: q_heads: got 6; expected a multiple of kv_heads, which is 4"),
    ("attention_generation", "batch,kv_len,q_heads,kv_heads,head_dim,kv_dtype\n1,1,8,8,64,w4a16\n", "2: kv_dtype: unknown 'w4a16'"),
    ("moe", "num_tokens,hidden_size,inter_size,topk,num_experts\n1,1,1,9,8\n", "2: topk: got 9; expected at most num_experts, which is 8"),
    ("moe", "num_tokens,hidden_size,inter_size,topk,num_experts,moe_ep_size\n1,1,1,1,8,9\n", "2: moe_ep_size: got 9; expected at most"),
    ("moe", "num_tokens,hidden_size,inter_size,topk,num_experts,distribution\n1,1,1,1,8,zipf\n", "2: distribution: unknown 'zipf'; use balanced"),
    ("elementwise", "op,num_tokens,hidden\nmlp_act,1,8\n", "2: ffn_per_gpu: no width; mlp_act needs ffn_per_gpu of 1 or more"),
    ("elementwise", "op,num_tokens,hidden\nattn_rope,1,8\n", "2: q_heads_per_gpu: no width; attn_rope needs q_heads_per_gpu, kv_heads_per_gpu and"),
    ("elementwise", "op,num_tokens,hidden\nmlp_atc,1,8\n", "2: op: unknown 'mlp_atc' (did you mean 'mlp_act'?); use emb"),
])  # fmt: skip
def test_a_wrong_row_says_why(op: str, table: str, complaint: str, tmp_path: Path, capsys: Capture) -> None:
    code, (row,) = predict(tmp_path, op, table)
    err = capsys.readouterr().err
    assert code == 2 and f"cases.csv:{complaint}" in err and err.count("\n") == 1
    assert row["time_us"] == row["bound_us"] == row["bottleneck"] == "" and complaint.split(": ", 1)[1] in row["error"]


def test_sizes_that_the_core_refuses_are_errors_of_their_rows(tmp_path: Path, capsys: Capture) -> None:
    table = "op,num_tokens,q_heads_per_gpu,kv_heads_per_gpu,head_dim\n"
    code, rows = predict(
        tmp_path, "elementwise", f"{table}attn_rope,1,8,8,64\nattn_rope,{2**31},65536,65536,65536\nattn_rope,1,8,8,64\n"
    )
    assert code == 2 and "cases.csv:3: row: the kernel models refuse these sizes" in capsys.readouterr().err
    assert [bool(row["time_us"]) for row in rows] == [True, False, True]


def test_wrong_rows_keep_their_places(tmp_path: Path, capsys: Capture) -> None:
    code, rows = predict(tmp_path, "gemm", "m,n,k\n" + "8,64,64\nx,64,64\n" * 30 + '"8",64,64\n')
    err = capsys.readouterr().err.splitlines()
    assert code == 2 and len(err) == 21 and "10 more bad rows" in err[-1]
    assert [bool(row["error"]) for row in rows] == [False, True] * 30 + [False]
    assert len({row["time_us"] for row in rows}) == 2


@pytest.mark.parametrize(("op", "table", "more", "complaint"), [
    ("gemm", "m,n\n1,1\n", (), "cases.csv:1: column is missing: k; expected the columns m, n, k"),
    ("attention_context", "batch,seq_len,chunk_len\n1,1,1\n", (), "cases.csv:1: columns seq_len and chunk_len mean the same; keep one"),
    ("gemm", "m,n,k\n1,1,1\n", ("--dtype", "fq8"), "--dtype: unknown 'fq8' (did you mean 'fp8'?)"),
    ("elementwise", TABLES["elementwise"], ("--dtype", "fp8"), "--dtype fp8: elementwise has no type of operands"),
])  # fmt: skip
def test_no_table_of_such_cases(
    op: str, table: str, more: tuple[str, ...], complaint: str, tmp_path: Path, capsys: Capture
) -> None:
    code, rows = predict(tmp_path, op, table, *more)
    err = capsys.readouterr().err
    assert code == 2 and not rows and complaint in err and err.count("\n") == 1


def test_a_device_that_is_no_gpu(tmp_path: Path, capsys: Capture) -> None:
    code, rows = predict(tmp_path, "gemm", TABLES["gemm"], hardware="ador")
    err = capsys.readouterr().err
    assert code == 2 and not rows and err.count("\n") == 1
    assert "ador: gpu: ador is no GPU" in err and "a100" in err and "h100" in err


def test_cells_with_quotes_and_other_columns_stay(tmp_path: Path) -> None:
    code, rows = predict(tmp_path, "gemm", 'name,m,n,k\n"a, ""b""",8,64,64\nc,8,64,64\n')
    assert code == 0 and [row["name"] for row in rows] == ['a, "b"', "c"]
    assert rows[0]["time_us"] == rows[1]["time_us"] != ""


def test_json_has_numbers(tmp_path: Path, capsys: Capture) -> None:
    code, rows = predict(tmp_path, "gemm", TABLES["gemm"], "--json", "--explain")
    document = json.loads(capsys.readouterr().out)
    assert code == 0 and [row["time_us"] for row in document["rows"]] == times(rows)
    assert document["rows"][0]["m"] == 1 and isinstance(document["rows"][0]["waves"], (int, float))
