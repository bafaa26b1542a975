"""Layers of experts on a GPU: every term worked out by hand on one with round numbers."""

from typing import Any

import numpy as np
import pytest

from hdasim.core import _core, layout
from hdasim.errors import CoreError

# 10 SMs at 1 GHz with 1,000 MACs per cycle: 1e13 MAC/s; an SM reads 64 B per cycle from L2; DRAM 100 GB/s; 1 us per launch
SMS, CLOCK, MACS, DRAM = 10, 1e9, 1000.0, 1e11


def gpu(**constants: float) -> Any:
    result = np.zeros(1, layout.GPU)
    for name, value in {"sm_count": SMS, "clock": CLOCK, "dram_bandwidth": DRAM, "launch": 1e-6, "l2_size": 1e7}.items():
        result[name] = value
    result["macs"] = [MACS, 2 * MACS, 0, 0]
    result["l2_bandwidth"] = 1e13
    for name, value in {"efficiency": 1.0, "bandwidth": 1.0, "vector": 1.0, "kernels": 1.0, **constants}.items():
        result["experts"][name] = value
    return result


def layer(tokens: int, **changes: Any) -> Any:
    case = np.zeros(1, layout.EXPERTS_CASE)
    sizes = {"hidden": 1024, "inter": 512, "top_k": 2, "experts": 8, "own": 8, "a_bytes": 2, "b_bytes": 2, "skew": -1}
    for name, value in {"tokens": tokens, **sizes, **changes}.items():
        case[name] = value
    return case


def run(tokens: int, device: Any = None, **changes: Any) -> Any:
    return _core.gpu_experts(gpu() if device is None else device, layer(tokens, **changes))[0]


# ---- load ----


@pytest.mark.parametrize(("tokens", "hit"), [(1, 2), (3, 6), (4, 8), (64, 8)])
def test_even_load_hits_an_expert_per_selection(tokens: int, hit: int) -> None:
    # weights of `hit` experts, 3 x 1024 x 512 x 2 B each, and the tokens in and out
    assert run(tokens)["dram_bytes"] == pytest.approx(hit * 3 * 1024 * 512 * 2 + 2 * tokens * 1024 * 2)


def test_random_load_misses_experts() -> None:
    # two tokens of 2 in 8: 8 (1 - 0.75^2) = 3.5 experts in the mean
    assert run(2, skew=0)["dram_bytes"] == pytest.approx(3.5 * 3 * 1024 * 512 * 2 + 2 * 2 * 1024 * 2)
    assert run(2, skew=0)["macs"] == pytest.approx(4 * 3 * 1024 * 512)


def test_experts_of_this_device_only() -> None:
    # 4 of 8 experts: half of 64 x 2 rows
    assert run(64, own=4)["macs"] == pytest.approx(64 * 3 * 1024 * 512)


def test_power_law_keeps_all_rows() -> None:
    for tokens in (1, 4, 16, 500):
        assert run(tokens, skew=1.2)["macs"] == pytest.approx(tokens * 2 * 3 * 1024 * 512, rel=0.02)


def test_a_power_law_of_exponent_one_is_the_limit() -> None:
    assert run(64, skew=1.0)["time"] == pytest.approx(run(64, skew=1.0001)["time"], rel=1e-3)


@pytest.mark.parametrize(
    ("experts", "top_k", "devices", "tokens", "share"),
    # means over 200 draws of the procedure
    [
        (8, 2, 8, 128, 0.407), (8, 2, 8, 16384, 0.484), (8, 2, 4, 512, 0.524), (8, 2, 2, 2048, 0.634),
        (128, 8, 2, 128, 0.550), (128, 8, 4, 2048, 0.360), (128, 8, 8, 512, 0.211), (128, 8, 16, 16384, 0.193),
    ],
)  # fmt: skip
def test_power_law_loads_the_busiest_device_as_draws_do(
    experts: int, top_k: int, devices: int, tokens: int, share: float
) -> None:
    rows = run(tokens, experts=experts, top_k=top_k, own=experts // devices, skew=1.2)["macs"] / (3 * 1024 * 512)
    assert rows / (tokens * top_k) == pytest.approx(share, rel=0.16)


# ---- time ----


def test_streaming_weights() -> None:
    # 4 tokens, one row for each of 8 experts. Up: 8 (1024 x 1024 + 1024 + 1024) x 2 B at 100 GB/s = 168.1 us; down: 8 (512 x 1024
    # + 512 + 1024) x 2 B = 84.1 us; beside them 2 (4 + 8) x 1024 x 2 B + 3 x 8 x 512 x 2 B = 73,728 B = 0.7 us; a launch 1 us.
    # L2 is no limit: up has 8 x 16 tiles of 16 x 64, 13 waves of 1024 x 80 x 2 B / 64 GB/s = 2.56 us, 33 us
    kernel = run(4, gpu(efficiency=1e3))
    dram = (8 * (1024 * 1024 + 2048) * 2 + 8 * (512 * 1024 + 1536) * 2 + 73_728) / DRAM
    assert kernel["dram"] == pytest.approx(dram)
    assert kernel["time"] == pytest.approx(1e-6 + dram)
    assert layout.KERNEL_CAUSES[kernel["cause"]] == "dram"


def test_experts_take_turns_so_a_heavy_one_does_not_hide_the_weights_of_light_ones() -> None:
    kernel = run(256, gpu(efficiency=0.3), skew=1.5)
    assert kernel["time"] - kernel["launch"] > max(kernel["compute"], kernel["dram"])


def test_long_sequences_compute_in_whole_waves() -> None:
    # 1280 tokens: 320 rows for each of 8 experts; efficiency 1/10 leaves only compute. Tiles of 64 x 128: 8 x 5 x 8 = 320 of
    # them for up, 32 waves of 64 x 128 x 1024 / 1e11 = 83.886 us; down the same: 32 waves of 41.943 us
    kernel = run(1280, gpu(efficiency=0.1))
    assert kernel["compute"] == pytest.approx(32 * 64 * 128 * 1536 / 1e11)
    assert kernel["time"] == pytest.approx(1e-6 + kernel["compute"] + (2 * (1280 + 2560) * 1024 + 3 * 2560 * 512) * 2 / DRAM)
    assert layout.KERNEL_CAUSES[kernel["cause"]] == "compute"


def test_constants_scale_their_terms() -> None:
    base = run(4, gpu(efficiency=1e3))
    assert run(4, gpu(efficiency=1e3, kernels=8))["time"] == pytest.approx(base["time"] + 7e-6)
    side = 73_728 / DRAM
    assert run(4, gpu(efficiency=1e3, vector=0.5))["time"] == pytest.approx(base["time"] + side)


def test_bf16_stands_in_for_missing_types() -> None:
    fp8, fp4, bf16 = (run(1280, gpu(efficiency=0.1), type=layout.TYPES[name]) for name in ("fp8", "fp4", "bf16"))
    assert fp8["compute"] == pytest.approx(bf16["compute"] / 2)
    assert fp4["compute"] == bf16["compute"]
    assert run(1280, gpu(efficiency=0.1), type=layout.TYPES["int8"])["compute"] == bf16["compute"]


@pytest.mark.parametrize("skew", [-1, 0, 0.6, 1.2, 2])
def test_more_tokens_take_longer_and_never_less_than_the_bound(skew: float) -> None:
    tokens = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384, 65536])
    kernels = _core.gpu_experts(
        gpu(efficiency=0.9), np.concatenate([layer(t, skew=skew, experts=128, own=32, top_k=8) for t in tokens])
    )
    assert (kernels["time"] >= kernels["bound"]).all()
    assert (np.diff(kernels["time"]) > -1e-9).all()


def test_a_skewed_load_is_no_faster_once_all_experts_are_hit() -> None:
    for tokens in (256, 4096):
        assert run(tokens, skew=1.2)["time"] >= 0.99 * run(tokens, skew=-1)["time"]


@pytest.mark.parametrize(
    "changes",
    [{"tokens": 0}, {"hidden": 0}, {"inter": 0}, {"top_k": 0}, {"top_k": 9}, {"own": 9}, {"own": 0}, {"type": 4}, {"type": -1},
     {"skew": np.nan}, {"tokens": 2**41}],
)  # fmt: skip
def test_refuses_what_is_no_layer(changes: dict[str, Any]) -> None:
    case = layer(4)
    for name, value in changes.items():
        case[name] = value
    with pytest.raises(CoreError):
        _core.gpu_experts(gpu(), case)
