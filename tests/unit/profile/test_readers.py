"""Files of profiles: both forms, and what is wrong with them in one line."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from hdasim.errors import SpecError
from hdasim.profile import machine
from hdasim.profile.build import build
from hdasim.spec.load import load_device
from hdasim.spec.model import Layer, Model
from hdasim.spec.serving import Serving


@pytest.mark.parametrize(("file", "old", "new", "message"), [
    ("dense.csv", "layer,tokens", "layer,token", "dense.csv:1: column is missing: tokens (did you mean 'token'?)"),
    ("dense.csv", "qkv_proj,1,10", "qkv_prj,1,10", "dense.csv:6: layer: unknown operator 'qkv_prj' (did you mean 'qkv_proj'?)"),
    ("dense.csv", "qkv_proj,1,10", "qkv_proj,1.5,10", "dense.csv:6: tokens: got '1.5'; expected a whole number of 0 or more"),
    ("dense.csv", "qkv_proj,1,10", "qkv_proj,0,10", "dense.csv:6: qkv_proj has a time at 0 rows; expected 1 or more"),
    ("dense.csv", "qkv_proj,1,10", "qkv_proj,1,0", "dense.csv:6: time_us: got '0'; expected a time greater than 0"),
    ("dense.csv", "qkv_proj,1,10", "qkv_proj,1,nan", "dense.csv:6: time_us: got 'nan'; expected a time greater than 0"),
    ("dense.csv", "qkv_proj,1,10", "qkv_proj,1", "dense.csv:6: row: 2 fields; expected 3 as in the header"),
    ("per_sequence.csv", "sampler", "lm_head", "per_sequence.csv: layer: no times of sampler"),
    ("attention.csv", "0,0,1,16,10", "0,0,1,16,-1", "attention.csv:2: time_us: got '-1'; expected a time greater than 0"),
    ("skew.csv", "pure,2,0,0.1", "pure,2,0,x", "skew.csv:2: alpha: got 'x'; expected a number"),
])  # fmt: skip
def test_mistakes_name_file_and_line(folder: Path, file: str, old: str, new: str, message: str) -> None:
    path = folder / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SpecError) as error:
        machine.read(folder, 1)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_profile(tmp_path: Path, folder: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(SpecError, match="no profile; give a folder with"):
            machine.read(path, 1)
    (folder / "attention.csv").unlink()
    with pytest.raises(SpecError, match=r"attention\.csv: cannot be read"):
        machine.read(folder.parent, 1)


def test_several_times_for_one_point_count_by_their_median(folder: Path) -> None:
    with (folder / "dense.csv").open("a") as file:
        file.write("qkv_proj,1,30\nqkv_proj,1,12\n")
    operator = next(op for op in machine.read(folder, 1).layer if op.name == "qkv_proj")
    assert operator.seconds[0] == pytest.approx(12e-6)


VIDUR_MLP = """num_tokens,num_tensor_parallel_workers,time_stats.emb.median,time_stats.input_layernorm.median,\
time_stats.attn_pre_proj.median,time_stats.attn_rope.median,time_stats.attn_post_proj.median,\
time_stats.post_attention_layernorm.median,time_stats.mlp_up_proj.median,time_stats.mlp_act.median,\
time_stats.mlp_down_proj.median,time_stats.add.median
1,1,0.001,0.002,0.01,0.003,0.005,0.002,0.02,0.004,0.008,0.001
64,1,0.01,0.02,0.1,0.03,0.05,0.02,0.2,0.04,0.08,0.01
1,2,9,9,9,9,9,9,9,9,9,9
"""
VIDUR_ATTENTION = """batch_size,prefill_chunk_size,kv_cache_size,num_tensor_parallel_workers,time_stats.attn_prefill.median,\
time_stats.attn_decode.median,time_stats.attn_kv_cache_save.median
1,0,16,1,,0.01,0.001
4,0,16,1,,0.04,0.001
1,0,116,1,,0.02,0.001
4,0,116,1,,0.08,0.001
1,32,0,1,0.05,,0.001
1,64,0,1,0.09,,0.001
"""


def test_vidur(tmp_path: Path) -> None:
    (tmp_path / "mlp.csv").write_text(VIDUR_MLP)
    (tmp_path / "attention.csv").write_text(VIDUR_ATTENTION)
    tables = machine.read(tmp_path, 1)
    device = msgspec.structs.replace(load_device("a100"), launch_overhead=0.0)
    shape = Model(
        name="small", hidden_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=16, vocab_size=1000,
        intermediate_size=128, layers=(Layer(), Layer()),
    )  # fmt: skip
    profile = build(tables, shape, Serving(), device)

    def microseconds(q_len: list[int], past: list[int]) -> float:
        return float(profile.step(np.array(q_len), np.array(past), 0)["time"]) * 1e6

    # a token: 2 layers of 2 + 10 + 3 + 5 + 2 + 20 + 4 + 8 + 1 = 55 us, the embedding 1 us; attention 10 us and 1 us of writing
    assert microseconds([1], [15]) == pytest.approx(2 * 55 + 1 + 2 * 11)
    # 33 tokens, 32/63 of the way to ten times; a prompt of 32 (51 us) and then a decode of 16 (11 us): two kernels, as measured
    assert microseconds([32, 1], [0, 15]) == pytest.approx(111 * (1 + 9 * 32 / 63) + 2 * (51 + 11))
    with pytest.raises(SpecError, match="no rows of 8 workers; the table has 1, 2"):
        machine.read(tmp_path, 8)
