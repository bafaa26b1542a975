"""Steps by interpolation: every number worked out by hand."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from hdasim.core._core import Profile
from hdasim.device.allreduce import all_reduce_seconds
from hdasim.device.collectives import collective_seconds
from hdasim.errors import CoreError, SpecError
from hdasim.profile import machine
from hdasim.profile.build import EXPERT_KERNELS, build
from hdasim.profile.grid import fill
from hdasim.profile.tables import Points
from hdasim.spec.hardware import P2P, Device
from hdasim.spec.load import load_device
from hdasim.spec.model import Layer, Model
from hdasim.spec.serving import Serving

LAYERS = 2
#: Per layer 2 layernorms (2 each), 10 + 3 + 5, 20 + 4 + 8 us at one token; once 1 + 2.
ONE_TOKEN = LAYERS * 54 + 3


def model(**more: Any) -> Model:
    base: dict[str, Any] = {
        "name": "small", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "vocab_size": 1000, "intermediate_size": 128, "layers": (Layer(),) * LAYERS,
    }  # fmt: skip
    return Model(**{**base, **more})


def device(**more: Any) -> Device:
    return msgspec.structs.replace(load_device("rtx-pro-6000"), **{"launch_overhead": 0.0, **more})


def made(folder: Path, *, extrapolate: bool = False, launch: float = 0.0, serving: Serving | None = None) -> Profile:
    tables = machine.read(folder, (serving or Serving()).device_count)
    return build(tables, model(), serving or Serving(), device(launch_overhead=launch), extrapolate=extrapolate)


def microseconds(profile: Profile, q_len: list[int], past: list[int], emit: int, group: int = 0) -> float:
    return float(profile.step(np.array(q_len, np.int64), np.array(past, np.int64), emit, group)["time"]) * 1e6


def test_a_decode_step(folder: Path) -> None:
    # one sequence with a context of 66, halfway from 16 to 116: attention 15 us a layer; lm_head and sampler 110 us
    assert microseconds(made(folder), [1], [65], 1) == pytest.approx(ONE_TOKEN + LAYERS * 15 + 110)


def test_tokens_and_sequences_lie_on_lines(folder: Path) -> None:
    # 5 tokens: 4/63 of the way from 1 to 10 times; 3 sequences emit: 2/7 of the way from 100 to 170, and 10
    # attention of 5 sequences with 16 tokens each: 50 us a layer; all contexts alike, so no alpha
    dense = ONE_TOKEN * (1 + 9 * 4 / 63)
    assert microseconds(made(folder), [1] * 5, [15] * 5, 3) == pytest.approx(dense + LAYERS * 50 + 100 + 20 + 10)


def test_contexts_that_differ_cost_a_share_of_the_longest(folder: Path) -> None:
    # contexts 16, 16, 116, mean 49.333, n = 3 between 1 and 5: at 16 30, at 116 60 us -> 40 at the mean, 60 at the longest
    # alpha: median 0.2 at n = 2, 0.5 at n = 8; n = 3 is ln(1.5) / ln(4) of the way in the logarithm
    alpha = 0.2 + 0.3 * np.log(1.5) / np.log(4)
    dense, emits = ONE_TOKEN * (1 + 9 * 2 / 63), 100 + 20 + 10
    expected = dense + emits + LAYERS * (40 + alpha * 20)
    assert microseconds(made(folder), [1] * 3, [15, 15, 115], 3) == pytest.approx(expected)


def test_the_grid_of_four_axes(folder: Path) -> None:
    # two prompts of 16 tokens after 50 in all, 2 decodes of 66: halfway on every axis.
    # n = 0: 30, 40, 62, 104 -> 59; n = 4: 60, 100, 70, 110, 92, 132, 134, 174 -> 109; half of both 84
    dense = ONE_TOKEN * (1 + 9 * 33 / 63)
    profile = made(folder)
    assert microseconds(profile, [16, 16, 1, 1], [25, 25, 65, 65], 2) == pytest.approx(dense + LAYERS * 84 + 110 + 10)
    # a prompt alone, between its four points: 59
    assert microseconds(profile, [32], [50], 0) == pytest.approx(ONE_TOKEN * (1 + 9 * 31 / 63) + LAYERS * 59 + 110)


def test_below_the_first_point_the_first_counts(folder: Path) -> None:
    profile = made(folder)  # 3 new tokens as 16, contexts of 2 as 16
    assert microseconds(profile, [3], [0], 0) == pytest.approx(ONE_TOKEN * (1 + 9 * 2 / 63) + LAYERS * 30 + 110)
    assert microseconds(profile, [1], [1], 1) == pytest.approx(ONE_TOKEN + LAYERS * 10 + 110)
    assert profile.outside[0] == 0


@pytest.mark.parametrize(("q_len", "past", "emit", "what"), [
    ([1] * 65, [15] * 65, 1, "65 tokens in a step, where the profile ends at 64"),
    ([1] * 5, [15] * 5, 5, ""),
    ([1] * 6, [15] * 6, 1, "6 decoding sequences in a step without prompts, where the profile ends at 5"),
    ([1], [200], 1, "201 tokens of context in a step without prompts, where the profile ends at 116"),
    ([49], [0], 1, "49 new tokens in a step with prompts, where the profile ends at 48"),
    ([16], [101], 1, "101 cached tokens in a step with prompts, where the profile ends at 100"),
    ([16] + [1] * 5, [0] + [15] * 5, 1, "5 decoding sequences in a step with prompts, where the profile ends at 4"),
    ([2] * 9, [0] * 9, 9, "9 sequences that emit a token, where the profile ends at 8"),
])  # fmt: skip
def test_outside_the_tables(folder: Path, q_len: list[int], past: list[int], emit: int, what: str) -> None:
    strict, loose = made(folder), made(folder, extrapolate=True)
    assert microseconds(loose, q_len, past, emit) > 0
    if not what:
        microseconds(strict, q_len, past, emit)
        assert machine.outside(strict) == machine.outside(loose) == ""
        return
    with pytest.raises(CoreError, match="outside the operator tables"):
        microseconds(strict, q_len, past, emit)
    microseconds(loose, q_len, past, emit)
    assert machine.outside(loose) == f"2 steps outside the profile, the first with {what}"


def test_the_line_beyond_the_last_two_points(folder: Path) -> None:
    profile = made(folder, extrapolate=True)
    # one sequence with a context of 216: 10 us more per 100; 30 us a layer
    assert microseconds(profile, [1], [215], 1) == pytest.approx(ONE_TOKEN + LAYERS * 30 + 110)
    # 9 sequences emit: 10 us more than 170 + 10; tokens 18, prompts of 18 after 0: 30 + 2/32 of 32
    dense = ONE_TOKEN * (1 + 9 * 17 / 63)
    assert microseconds(profile, [2] * 9, [0] * 9, 9) == pytest.approx(dense + LAYERS * 32 + 190)


def test_every_kernel_starts_late(folder: Path) -> None:
    # per layer 2 + 3 + 3 operators and attention, 2 before and after, 2 per sequence: 22 kernels
    assert microseconds(made(folder, launch=1e-6), [1], [65], 1) == pytest.approx(ONE_TOKEN + LAYERS * 15 + 110 + 22)


def test_experts_by_the_tokens_of_all_ranks(folder: Path) -> None:
    # 8 experts, 2 of them for each token, on 2 ranks of 4: n tokens hit 4 (1 - 0.75^n)
    (folder / "moe.csv").write_text("tokens,activated_experts,time_us\n1,1,10\n1,4,40\n3,1,20\n3,4,50\n")
    moe = model(layers=(Layer(mlp="moe"),) * LAYERS, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32)
    serving = Serving(data_parallel_size=2, enable_expert_parallel=True)
    links = P2P(bandwidth=1e9, latency=0.0)
    profile = build(machine.read(folder, 1), moe, serving, device(p2p=links))
    # 1 token hits 1: 10 us; 3 hit 4 x (1 - 27/64) = 2.3125: 20 + 10 x 1.3125 = 33.125 us; 2 tokens lie between: 21.5625
    # 2 layers of 2 x 2 + 10 + 3 + 5 = 22 us without the MLP; a token of 64 x 2 bytes, gathered to 256 B and scattered again:
    # half of 256 B at 1 GB/s is 0.128 us, twice in each layer
    base = LAYERS * 22 + 3 + LAYERS * 15 + 110 + LAYERS * 2 * 0.128
    assert microseconds(profile, [1], [65], 1, 2) == pytest.approx(base + LAYERS * 21.5625)
    assert microseconds(profile, [1], [65], 1, 1) == pytest.approx(base + LAYERS * 10)
    # no group named: both ranks have one token. Nothing to do: one dummy token, without attention, and nothing emitted
    assert microseconds(profile, [1], [65], 1) == pytest.approx(base + LAYERS * 21.5625)
    assert microseconds(profile, [], [], 0, 3) == pytest.approx(base - LAYERS * 15 + LAYERS * 33.125)
    step = profile.step(np.array([1]), np.array([65]), 1, 2)
    assert step["communication"][1] * 1e6 == pytest.approx(0.512)
    assert step["limited"].sum() == pytest.approx(step["time"])
    kernels = build(machine.read(folder, 1), moe, serving, device(p2p=links, launch_overhead=1e-6))
    # per layer layernorm twice, qkv, rotary, o, attention and the experts'; embedding, norm, lm_head, sampler
    expected = base + LAYERS * 10 + LAYERS * (6 + EXPERT_KERNELS) + 4
    assert microseconds(kernels, [1], [65], 1, 1) == pytest.approx(expected)


def test_tensor_parallel_ranks_exchange(folder: Path) -> None:
    folder.rename(folder.parent / "tp2")
    links = P2P(bandwidth=1e9, latency=1e-6)
    profile = build(machine.read(folder.parent, 2), model(), Serving(device_count=2), device(p2p=links))
    # 2 x 2 layers + 1 all-reduces of 128 B: 2 us + 128 B / 1 GB/s; all-gather of 2000 B of logits: 1 us + 1000 B / 1 GB/s
    assert microseconds(profile, [1], [65], 1) == pytest.approx(ONE_TOKEN + LAYERS * 15 + 110 + 5 * 2.128 + 2)
    with pytest.raises(SpecError, match="no folder tp4, for one of 4 devices; there are tp2"):
        machine.read(folder.parent, 4)
    with pytest.raises(SpecError, match="holds operators of one of 2 devices; the run has 4"):
        machine.read(folder.parent / "tp2", 4)


def test_all_reduce_of_vllm_by_hand() -> None:
    pcie, nvlink = P2P(bandwidth=100e9, kind="pcie"), P2P(bandwidth=100e9, kind="nvlink")
    # two devices: 4.5 us + 620 kB / 62 GB/s
    assert all_reduce_seconds(pcie, 2, 620_000) * 1e6 == pytest.approx(14.5)
    # four: three times 62 kB; from 512 KiB on 6 us + 1.5 x 620 kB
    assert all_reduce_seconds(nvlink, 4, 62_000) * 1e6 == pytest.approx(4.5 + 3)
    assert all_reduce_seconds(nvlink, 4, 620_000) * 1e6 == pytest.approx(6 + 15)
    # NCCL from 8 MiB on, and without NVLink beyond two
    for p2p, n, size in ((pcie, 2, 8 * 2**20), (pcie, 4, 1000)):
        assert all_reduce_seconds(p2p, n, size) == collective_seconds(p2p, "all_reduce", n, size)


def test_points_that_were_not_measured_lie_between_those_nearest_in_ratio() -> None:
    # (8, 8), (64, 8), (16, 16), (16, 64) .. : a cross; f = x + 2 y, which every interpolation along a line meets
    at = np.array([[8, 8], [64, 8], [8, 64], [64, 64], [32, 8], [8, 32]], float)
    grid = fill(Points(at, at[:, 0] + 2 * at[:, 1]))
    assert [axis.tolist() for axis in grid.axes] == [[8, 32, 64], [8, 32, 64]]
    x, y = np.meshgrid(*grid.axes, indexing="ij")
    assert grid.values == pytest.approx(x + 2 * y)
    assert grid.known.all()


def test_what_no_axis_encloses_is_marked() -> None:
    at = np.array([[1, 1], [2, 1], [1, 2], [2, 2], [1, 3]], float)
    grid = fill(Points(at, 10 * at[:, 0] + at[:, 1]))
    assert grid.known.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert grid.values[1, 2] == pytest.approx(23)


@pytest.mark.parametrize("change", [
    {"tokens": np.zeros(1)}, {"tokens": np.array([0.0, np.nan])}, {"alpha": np.full((2, 1), np.inf)}, {"rank_count": 0},
    {"decode": ([np.zeros(1), np.zeros(1), np.array([2.0, 1.0]), np.zeros(1)], np.zeros((1, 1, 2, 1)), np.ones(2, np.uint8))},
])  # fmt: skip
def test_the_core_refuses_broken_tables(change: dict[str, Any]) -> None:
    grid = ([np.zeros(1)] * 4, np.zeros((1, 1, 1, 1)), np.ones(1, np.uint8))
    tables: dict[str, Any] = {
        "rank_count": 1, "tokens": np.zeros(2), "exchange": np.zeros(2), "sequences": np.zeros(2), "gather": np.zeros(2),
        "group": np.zeros(0), "alpha": np.zeros((2, 1)), "decode": grid, "mixed": grid, "separate": False,
    }  # fmt: skip
    Profile(tables)
    with pytest.raises(CoreError):
        Profile(tables | change)


@pytest.mark.parametrize(("q_len", "past", "emit", "group"), [
    ([], [], 0, 0), ([0], [5], 0, 0), ([1], [-1], 0, 0), ([1], [5], 2, 0), ([1], [5], -1, 0), ([2**31], [0], 0, 0),
    ([1], [2**40], 0, 0), ([1], [5], 0, -1),
])  # fmt: skip
def test_the_core_refuses_impossible_batches(folder: Path, q_len: list[int], past: list[int], emit: int, group: int) -> None:
    with pytest.raises(CoreError):
        microseconds(made(folder, extrapolate=True), q_len, past, emit, group)
