"""`hdasim validate silicon` on hand-made tables of every kind that it knows."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hdasim.cli import main

Capture = pytest.CaptureFixture[str]
ATTENTION = "batch,{},q_heads,kv_heads,head_dim,vllm_us,sglang_us"
#: Round numbers of our own, not measurements.
TABLES = {
    "gemm_h100_sxm_bf16": "m,n,k,trtllm_us,vllm_us,sglang_us\n8,1000,1000,10,12,11\n16,1000,1000,,20,\n2000,1000,1000,30,,33\n",
    "gemm_h100_sxm_fp8": "m,n,k,trtllm_us\n8,1000,1000,10\n",
    "gemm_b300_sxm_bf16": "m,n,k,trtllm_us\n8,1000,1000,10\n",
    "gemm_vidur_a100_fp16": "model,op,tp,m,n,k,median_us\nx,mlp,1,8,1000,1000,10\n",
    "attention_context_a100_sxm_bf16": ATTENTION.format("seq_len") + "\n1,100,8,8,128,10,11\n",
    "attention_generation_h100_sxm_bf16": ATTENTION.format("kv_len") + "\n1,100,8,8,128,10,11\n512,10000,8,8,128,900,\n",
    "attention_chunked_prefill_vidur_a100_fp16": "batch,chunk_len,past_kv_len,q_heads,kv_heads,head_dim,median_us\n1,100,50,8,8,128,10\n",
    "moe_any": (
        "gpu,framework,num_tokens,hidden_size,inter_size,topk,num_experts,distribution,latency_us\n"
        "h100_sxm,A,10,1000,1000,2,8,balanced,100\nh100_sxm,B,10,1000,1000,2,8,balanced,80\nh100_sxm,A,20,1000,1000,2,8,balanced,90\n"
    ),
    "elementwise_vidur_a100": "model,op,num_tokens,hidden,median_us\nx,add,100,1000,4\nx,add,100000,1000,400\n",
    "collectives_any": "node,op,num_workers,devices_per_node,message_bytes,median_us\na100_dgx,all_reduce,8,8,1000,20\na100_dgx,all_reduce,16,8,1000,20\n",
    "llmcompass_matmul": "device,operator,m,n,k,dtype,latency_us\nA100-80GB,matmul,100,1000,1000,bf16,30\n",
    "llmcompass_softmax": "device,operator,m,n,dtype,latency_us\nA100-80GB,softmax,1000,1000,fp16,20\n",
    "llmcompass_gelu": "device,operator,elements,dtype,latency_us\nA100-80GB,gelu_tanh,1000000,fp16,50\n",
    "llmcompass_allreduce": 'system,operator,devices,bytes_per_device,latency_us\n"4x A100-80GB",allreduce,4,1000,15\n',
    "llmcompass_plus_flash_attention": (
        "device,operator,batch,q_tokens,kv_tokens,q_heads,kv_heads,head_dim,causal,kv_splits,latency_us\n"
        "Jetson AGX Orin,flash_attention,1,1000,1000,8,8,128,True,1,900\nJetson AGX Orin,flash_attention,1,1000,1000,8,8,128,True,2,800\n"
        "Jetson AGX Orin,flash_attention,1,64,1000,8,8,128,False,2,90\n"
    ),
    "llmcompass_transformer_layer": (
        "device,tensor_parallel,model,phase,batch,query_tokens,kv_tokens,operator,latency_us\n"
        'A100-80GB,4,"GPT-3 175B (96 heads)",prefill,8,2048,2048,w1_proj,17000\nA100-80GB,4,GPT-3 175B,prefill,8,2048,2048,layer_total,70000\n'
        "A100-80GB,4,OPT,prefill,8,2048,2048,w1_proj,17000\nA100-80GB,4,GPT-3 175B,prefill,8,2048,2048,w9,1\nB300,4,GPT-3,prefill,8,2048,2048,gelu,1\n"
    ),
    "e2e_batch": (
        "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,e2e_time,tensor_parallel\n"
        "llama2-70b,a100-80gb,512,1,128,200,50,7000,2\nllama2-70b,a100-80gb,512,1,128,200,40,7000,8\n"
        "bloom-176b,a100-80gb,512,1,128,200,50,7000,8\nllama2-70b,a100-80gb,512,1,128,200,50,7000,3\n"
    ),
    "e2e_serving": (
        "system,backend,model_path,precision,mode,isl,osl,concurrency,tp_size,pp_size,moe_ep_size,silicon_ttft_ms,silicon_tpot_ms,measured\n"
        "h100_sxm,vllm,meta-llama/Llama-3.1-8B-Instruct,,agg,100,20,2.0,1.0,,,10,8,\n"
        "h100_sxm,sglang,meta-llama/Llama-3.1-8B-Instruct,fp8,agg,100,20,2.0,1.0,1.0,0.0,,8,2026-01-01\n"
        "h100_sxm,vllm,meta-llama/Llama-3.1-8B-Instruct,,disagg,100,20,2,1,,,10,8,\nh100_sxm,vllm,x/other,,agg,100,20,2,1,,,10,8,\n"
        "h100_sxm,vllm,x/Llama-3.1-8B-Instruct,,agg,100,20,,1,,,10,8,\nh100_sxm,tgi,x/Llama-3.1-8B-Instruct,,agg,100,20,2,1,,,10,8,\n"
        "b300_sxm,vllm,x/Llama-3.1-8B-Instruct,,agg,100,20,2,1,,,10,8,\nh100_sxm,vllm,x/Llama-3.1-70B,,agg,100,20,2,1,,,10,8,\n"
    ),
    "other": "a,b\n1,2\n",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for name, text in TABLES.items():
        (data / f"{name}.csv").write_text(text)
    return data


def validate(path: Path, *more: str) -> int:
    return main(["validate", "silicon", "--data", str(path), *more])


def rows_of(path: Path, capsys: Capture, *more: str) -> list[dict[str, object]]:
    assert validate(path, "--json", *more) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    assert all(set(row) == {"name", "reference", "predicted", "error"} for row in found)
    return found


def test_every_kind_of_table_is_known(folder: Path, capsys: Capture) -> None:
    rows = rows_of(folder, capsys)
    groups = {str(row["name"]).split(": ")[1] for row in rows}
    assert groups == {
        "h100 gemm bf16 m 1-16", "h100 gemm bf16 m above 1024", "h100 gemm fp8 m 1-16", "a100 gemm bf16 vidur m 1-16",
        "a100 attention_context bf16 tokens 1-128", "h100 attention_generation bf16 cache within L2",
        "h100 attention_generation bf16 above 2 L2", "a100 attention_context bf16 vidur tokens 1-128", "h100 moe bf16 tokens 1-16",
        "h100 moe bf16 tokens 17-128", "a100 elementwise vidur below 10 us", "a100 elementwise vidur 10 us or more",
        "a100 all_reduce 8", "a100 gemm bf16 llmcompass m 17-128", "a100 elementwise llmcompass softmax 10 us or more",
        "a100 elementwise llmcompass gelu 10 us or more", "a100 llmcompass all_reduce 4",
        "jetson-orin attention_context bf16 llmcompass+ tokens 129-1024",
        "jetson-orin attention_context bf16 llmcompass+ tokens 1-128",
        "a100 layer prefill operators", "a100 layer prefill whole layer", "a100 batch prompt llama2-70b tp 2",
        "a100 batch prompt llama2-70b tp 8", "a100 batch token llama2-70b tp 2", "a100 batch token llama2-70b tp 8",
        "h100 serving ttft vllm Llama-3.1-8B-Instruct", "h100 serving tpot vllm Llama-3.1-8B-Instruct",
        "h100 serving tpot sglang Llama-3.1-8B-Instruct fp8",
    }  # fmt: skip


def test_the_fastest_framework_is_the_reference(folder: Path, capsys: Capture) -> None:
    rows = rows_of(folder / "gemm_h100_sxm_bf16.csv", capsys)
    assert [row["reference"] for row in rows] == [10, 20, 30]
    rows = rows_of(folder / "moe_any.csv", capsys)
    assert [row["reference"] for row in rows] == [80, 90]
    rows = rows_of(folder / "llmcompass_plus_flash_attention.csv", capsys)
    assert [row["reference"] for row in rows] == [800, 90]


def test_what_is_left_out_is_said(folder: Path, capsys: Capture) -> None:
    assert validate(folder) == 0
    err = capsys.readouterr().err
    for line in (
        "left out 1 rows: no model bloom-176b", "left out 1 rows: no layer of OPT", "left out 1 rows: no operator w9 in the layer",
        "left out 1 rows: no preset for 'B300'", "left out 1 rows: prefill and decode on servers of their own",
        "left out 1 rows: no model other", "left out 1 rows: no concurrency", "left out 1 rows: no server tgi",
        "left out 1 rows: no preset for 'b300_sxm'", "needs 141.10 GB for weights alone", "not divisible by 3 devices",
        "left out other.csv: its columns are those of no operator with measured times",
        "left out 1 rows: no preset for 'gemm_b300_sxm_bf16'", "left out 1 rows: collectives over several nodes",
    ):  # fmt: skip
        assert line in err


def test_a_table_shows_errors_noise_and_the_worst_rows(folder: Path, capsys: Capture) -> None:
    assert validate(folder, "--op", "gemm") == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("h100 gemm bf16 ")]
    assert line.split()[3] == "3" and line.endswith("10.0 %")  # others: 20 %, 10 %, 10 % slower
    assert "Worst rows: gemm" in out and "h100 gemm bf16 m=2000 n=1000 k=1000" in out and "bound" in out and "launch" in out
    assert "attention" not in out


def test_systems_are_groups_of_their_own(folder: Path, capsys: Capture) -> None:
    rows = rows_of(folder, capsys, "--op", "batch")
    assert [(row["name"], row["reference"]) for row in rows[:1]] == [
        ("a100 llama2-70b tp 2 prompt_size=512 batch_size=1 token_size=128: a100 batch prompt llama2-70b tp 2", 200_000)
    ]
    assert len(rows) == 4
    assert validate(folder, "--op", "serving") == 0
    out = capsys.readouterr().out
    assert "h100 serving tpot" in out and "Worst rows: serving" in out and " ms\n" in out and "bound" not in out
    assert validate(folder / "llmcompass_transformer_layer.csv", "--op", "layer") == 0
    assert "Worst rows: layer" in capsys.readouterr().out


def test_eager_launches_of_llmcompass_replace_ours(folder: Path, capsys: Capture, tmp_path: Path) -> None:
    (row,) = rows_of(folder / "llmcompass_matmul.csv", capsys)
    (tmp_path / "cases.csv").write_text("m,n,k\n100,1000,1000\n")
    out = tmp_path / "out.csv"
    main(["predict", str(tmp_path / "cases.csv"), "--op", "gemm", "--hardware", "a100", "--output", str(out), "--explain"])
    (plain,) = csv.DictReader(out.read_text().splitlines())
    assert row["predicted"] == pytest.approx(float(plain["time_us"]) - float(plain["launch_us"]) + 21, rel=1e-6)


def test_files_of_a_report(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    target = tmp_path / "report"
    assert validate(folder, "--output-dir", str(target)) == 0
    names = {path.name for path in target.iterdir()}
    assert {"errors.csv", "groups.json", "worst.csv", "silicon.svg", "silicon-gemm.svg", "silicon-serving.svg"} <= names
    groups = json.loads((target / "groups.json").read_text())
    (gemm,) = [g for g in groups if (g["op"], g["dtype"], g["source"], g["class"]) == ("gemm", "bf16", "", "all")]
    assert gemm["gpu"] == "h100" and gemm["rows"] == 3 and gemm["noise"] == pytest.approx(0.1)
    assert 0 <= gemm["median"] <= gemm["p90"] and abs(gemm["signed"]) <= gemm["p90"]
    worst = list(csv.DictReader((target / "worst.csv").read_text().splitlines()))
    assert {row["group"] for row in worst} >= {"h100 gemm bf16", "h100 moe bf16"} and worst[0]["bound_us"]
    svg = (target / "silicon-gemm.svg").read_text()
    assert svg.count("<circle") >= 5 and "h100 bf16" in svg and "no error" in svg
    first = {path.name: path.read_bytes() for path in target.iterdir()}
    assert validate(folder, "--output-dir", str(target)) == 0
    assert first == {path.name: path.read_bytes() for path in target.iterdir()}
    capsys.readouterr()


def test_plots_of_many_points_stay_small() -> None:
    import numpy as np

    from hdasim.predict.operator import Prediction
    from hdasim.validate.silicon_groups import Group
    from hdasim.validate.silicon_report import plot

    random = np.random.default_rng(0)
    measured = np.exp(random.uniform(0, 14, 200_000))
    none = np.zeros(0)
    done = Prediction(measured, measured, measured.astype(np.int64), ("x",), measured)
    title: Callable[[int], str] = str
    group = Group(
        "gemm", "h100", "bf16", "", none, title, measured, none, none.astype(np.int64), measured * np.exp(random.normal(0, 0.3, 200_000)),
        done, ("all",), np.zeros(200_000, np.int64),
    )  # fmt: skip
    assert len(plot("gemm", [("h100", [group])])) < 1_000_000


@pytest.mark.parametrize(("name", "text", "complaint"), [
    ("gemm_h100_sxm_bf16", "m,n,k,trtllm_us\n8,x,8,1\n", "gemm_h100_sxm_bf16.csv:2: n: got 'x', which is not a number"),
    ("gemm_h100_sxm_bf16", "m,n,k,trtllm_us\n8,8,8,-1\n", "gemm_h100_sxm_bf16.csv:2: trtllm_us: got '-1'; expected microseconds"),
    ("gemm_h100_sxm_bf16", "m,n,k,trtllm_us,vllm_us\n8,8,8,,\n", "gemm_h100_sxm_bf16.csv:2: no time in the columns trtllm_us, vllm_us"),
    ("gemm_h100_sxm_bf16", "m,n,k\n8,8,8\n", "gemm_h100_sxm_bf16.csv:1: no column of measured times; expected latency_us"),
    ("gemm_h100_sxm_bf16", "m,n,k,dtype,vllm_us\n8,8,8,fp7,1\n", "gemm_h100_sxm_bf16.csv:2: dtype: unknown 'fp7'"),
    ("gemm_h100_sxm_bf16", "m,n,k,vllm_us\n8,8,8\n", "gemm_h100_sxm_bf16.csv:2: row: 3 fields; expected 4"),
    ("gemm_a100_sxm_fp8", "m,n,k,vllm_us\n8,8,8,1\n", "no measurements on known hardware (left out 1 rows: a100 has no tensor cores for fp8)"),
    ("x", "a,b\n1,2\n", "x.csv:1: columns of no operator; known: collective, gemm"),
    ("x", "model,hardware,tensor_parallel,prompt_size,batch_size,token_size,prompt_time,token_time\nm,a100-80gb,2,1,0,1,1,1\n",
     "x.csv:2: batch_size: got '0'; expected a number from 1 to 1e+06"),
    ("x", "model,hardware,tensor_parallel,prompt_size,batch_size,token_size,prompt_time,token_time\nm,a100-80gb,2,1,2,1,x,1\n",
     "x.csv:2: prompt_time: got 'x'; expected a number"),
    ("x", "model,hardware,tensor_parallel,prompt_size,batch_size,token_size,prompt_time,token_time\n,a100-80gb,2,1,2,1,1,1\n",
     "x.csv:2: model: is empty"),
    ("x", "", "x.csv:1: file is empty"),
])  # fmt: skip
def test_a_file_that_cannot_be_compared(name: str, text: str, complaint: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / f"{name}.csv"
    path.write_text(text)
    assert validate(path) == 2
    err = capsys.readouterr().err
    assert complaint in err and err.count("\n") == 1


def test_options_that_are_wrong(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert validate(folder, "--op", "gem") == 2
    assert "--op: unknown operator 'gem' (did you mean 'gemm'?)" in capsys.readouterr().err
    assert validate(tmp_path / "none") == 2
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert validate(tmp_path / "empty") == 2
    assert "no measurements on known hardware" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert validate(folder, "--output-dir", str(tmp_path / "file")) == 2
    assert "--output-dir" in capsys.readouterr().err
