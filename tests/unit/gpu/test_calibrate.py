"""benchmarks/calibrate: constants that made a table are found in it again, and go into a file without harm to the rest."""

import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="benchmarks need scipy: pip install hdasim[dev]")

from benchmarks import calibrate, calibrate_cdna2, calibrate_experts, calibrate_gemm, calibrate_shares, calibrate_vector
from benchmarks.generation_file import FOLDER, rewrite
from benchmarks.measured import shipped, statistics, with_constants
from hdasim.core import layout
from hdasim.core._core import gpu_gemm
from hdasim.device.elementwise import VIDUR
from hdasim.device.gpu import record
from hdasim.spec.load import load_device

H100 = record(load_device("h100"))


def gemm_table(path: Path, constants: dict[str, float], shapes: list[tuple[int, int, int]], vllm: float = 1.0) -> None:
    """Times of the model; vLLM takes `vllm` times as long as the others."""
    cases = np.zeros(len(shapes), layout.GEMM_CASE)
    for place, name in enumerate(("m", "n", "k")):
        cases[name] = [shape[place] for shape in shapes]
    cases["a_bytes"] = cases["b_bytes"] = cases["c_bytes"] = 2
    cases["copies"] = np.clip(np.ceil(H100["l2_size"] / (2 * cases["n"] * cases["k"])), 1, 5)
    times = gpu_gemm(with_constants(H100, "gemm", constants), cases)["time"] * 1e6
    rows = [f"{m},{n},{k},{t!r},{t * vllm!r},{t!r}" for (m, n, k), t in zip(shapes, times.tolist(), strict=True)]
    path.write_text("\n".join(["m,n,k,trtllm_us,vllm_us,sglang_us", *rows]) + "\n")


def test_gemm_constants_are_found_again(tmp_path: Path) -> None:
    shapes = list(itertools.product((8, 64, 500, 4000), (1024, 4096, 14336), (1024, 4096, 8192)))
    true = {**shipped("h100", "gemm"), "efficiency": 0.8, "dram_share": 0.7}
    gemm_table(tmp_path / "a.csv", true, shapes)
    gemms = calibrate_gemm.read(tmp_path / "a.csv", "bf16", float(H100["l2_size"][0]))
    names = ("efficiency", "dram_share")
    found = calibrate_gemm.descend(gemms, with_constants(H100, "gemm", {"efficiency": 0.9, "dram_share": 0.9}), names)
    assert [float(found["gemm"][name][0]) for name in names] == pytest.approx([0.8, 0.7], rel=0.01)


def test_experts_constants_are_found_again(tmp_path: Path) -> None:
    true = {"efficiency": 0.6, "bandwidth": 0.75, "vector": 0.4, "kernels": 7.0}
    sizes = list(itertools.product((1, 16, 256, 4096, 16384), (2048, 4096), (128, 768, 4096), (8, 64)))
    head = "gpu,framework,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,distribution,latency_us"
    texts = [f"h100_sxm,{{}},{tokens},{hidden},{inter},2,{experts},1,1,uniform,{{}}" for tokens, hidden, inter, experts in sizes]
    table = tmp_path / "moe_grouped_gemm_bf16.csv"
    table.write_text("\n".join([head, *(text.format("a", 1.0) for text in texts)]) + "\n")
    cases, _, _ = calibrate_experts.read(tmp_path, "h100_sxm")
    times = (calibrate_experts.predicted(H100, true, cases) * 1e6).tolist()
    rows = [text.format(name, t * by) for text, t in zip(texts, times, strict=True) for name, by in (("a", 1.0), ("b", 1.1))]
    table.write_text("\n".join([head, *rows]) + "\n")
    fit = calibrate_experts.fit(tmp_path, "hopper")
    assert fit.constants == pytest.approx(true, rel=0.02)
    assert fit.errors["all rows"]["median"] < 0.005 and fit.errors["all rows, across halves"]["median"] < 0.01


def test_vector_constants_are_found_again(tmp_path: Path) -> None:
    true = {"efficiency": 0.8, "issue": 100.0, "step": 0.9e-6, **calibrate_vector.COMMON}
    head = "model,op,tp,num_tokens,hidden,ffn_per_gpu,q_heads_per_gpu,kv_heads_per_gpu,head_dim,median_us"
    rows = []
    for op, tokens, hidden in itertools.product(("mlp_act", "add", "input_layernorm"), (64, 500, 4000, 32000), (2048, 8192)):
        width = 4 * hidden if op == "mlp_act" else hidden
        seconds = calibrate_vector.predicted(H100, true, (op, 1), np.array([float(tokens)]), np.array([float(width)]), VIDUR)
        rows.append(f"x,{op},1,{tokens},{hidden},{4 * hidden},8,8,128,{float(seconds[0]) * 1e6!r}")
    (tmp_path / "elementwise_vidur_h100.csv").write_text("\n".join([head, *rows]) + "\n")
    fit = calibrate_vector.fit(tmp_path, "hopper")
    assert fit.errors["10 us and more"]["median"] < 0.02
    assert fit.constants["efficiency"] == pytest.approx(0.8, rel=0.03)


def test_cdna2_constants_are_found_again(tmp_path: Path) -> None:
    mi210, rows = record(load_device("mi210")), ["device,m,n,k,latency_us"]
    gpu = with_constants(mi210, "gemm", {"efficiency": 0.6, "dram_share": 0.5})
    for shape in ((32, 12288, 12288), (128, 8192, 8192), (2048, 4096, 8192), (8192, 4096, 4096), (16, 16384, 8192)):
        case = np.zeros(1, layout.GEMM_CASE)
        case["m"], case["n"], case["k"] = shape
        case["a_bytes"] = case["b_bytes"] = case["c_bytes"] = 2
        case["copies"] = 1
        time = gpu_gemm(gpu, case)["time"][0] - mi210["launch"][0]
        rows.append("MI210,{},{},{},{!r}".format(*shape, (float(time) + calibrate_cdna2.LAUNCH) * 1e6))
    (tmp_path / "llmcompass_matmul.csv").write_text("\n".join([*rows, "A100-80GB,1,1,1,5"]) + "\n")
    fit = calibrate_cdna2.fit(tmp_path, "cdna2")
    assert fit.constants == pytest.approx({"efficiency": 0.6, "dram_share": 0.5}, rel=0.02)
    assert fit.errors["bf16"]["rows"] == 5 and fit.errors["bf16"]["median"] < 0.005


def test_shares_are_those_of_the_table(tmp_path: Path) -> None:
    big = [(4096 + 64 * i, 32768, 65536) for i in range(24)]
    thin = [(1 + i, 16384, 8192 + 64 * i) for i in range(12)]
    for gpu in ("a100_sxm", "h100_sxm", "rtx_pro_6000_server"):
        rows = big[:5] if gpu == "a100_sxm" else big
        gemm_table(tmp_path / f"gemm_{gpu}_bf16.csv", shipped("h100", "gemm"), [*rows, *thin], vllm=0.8)
    assert calibrate_shares.sustained(tmp_path, "hopper") == (0.8, 24)
    assert calibrate_shares.sustained(tmp_path, "ampere") == (1.0, 5)  # too few
    share, rows_used = calibrate_shares.streaming(tmp_path, "hopper")
    assert rows_used == 12 and 0.8 < share * 0.8 < 1.0  # vLLM is the fastest here
    value, ratios = calibrate_shares.unmeasured(tmp_path, "blackwell-rtx", "attention")
    assert set(ratios) == {"ampere", "hopper"}
    assert ratios["hopper"] == pytest.approx(shipped("h100", "attention")["stream"] / share)
    own, _ = calibrate_shares.streaming(tmp_path, "blackwell-rtx")
    assert value == pytest.approx(own * np.mean(list(ratios.values())), rel=1e-2)


def test_a_model_without_data_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate.calibrate(tmp_path, "blackwell-rtx", ["vector"]) == {}
    assert "too few measurements of rtx-pro-6000" in capsys.readouterr().out


FILE = """\
generation: x
sustained: 1
# gemm: 5 of a comment
gemm:
  efficiency: 0.9  # efficiency: 0.1, on what
  fine: 0
attention:
  efficiency: 0.8
  merge: 5.99 us
experts: {efficiency: 0.5, bandwidth: 0.7, step: 0.6 us}  # why
"""


def test_constants_are_rewritten_and_nothing_else() -> None:
    changes = {
        "": {"sustained": 0.84}, "gemm": {"efficiency": 0.912}, "attention": {"merge": 1.35e-6},
        "experts": {"bandwidth": 0.871, "step": 0.5e-6},
    }  # fmt: skip
    text = rewrite(FILE, changes)
    expected = FILE.replace("sustained: 1", "sustained: 0.84").replace("efficiency: 0.9 ", "efficiency: 0.912 ")
    expected = expected.replace("5.99 us", "1.35 us").replace("0.7,", "0.871,").replace("0.6 us", "0.5 us")
    assert text == expected and rewrite(text, changes) == text
    with pytest.raises(KeyError, match="gemm load"):
        rewrite(FILE, {"gemm": {"load": 1.0}})


@pytest.mark.parametrize("generation", calibrate_gemm.MEASURED)
def test_files_that_ship_have_every_key(generation: str) -> None:
    text = (FOLDER / f"{generation}.yaml").read_text()
    device = calibrate_gemm.MEASURED[generation][0]
    same = {model: shipped(device, model) for model in calibrate.MODELS}
    for constants in same.values():
        for name in ("fine", "varlen", "key_block"):  # not fitted
            constants.pop(name, None)
    assert rewrite(text, {model: {k: v * 2 for k, v in constants.items()} for model, constants in same.items()}) != text


def test_statistics() -> None:
    found = statistics(np.array([-0.1, 0.2, 0.3]))
    assert found["rows"] == 3 and found["median"] == 0.2 and found["signed"] == 0.2 and found["mean"] == pytest.approx(0.2)
