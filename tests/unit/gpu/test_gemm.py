"""GEMM kernels on a GPU: terms worked out by hand on one with round numbers, and what holds of any."""

from typing import Any

import numpy as np
import pytest

from hdasim.core import _core, layout
from hdasim.device.gpu import record
from hdasim.errors import CoreError
from hdasim.spec.load import load_device

KB, MB = 1024.0, 1024.0**2


def gpu(**constants: float) -> np.ndarray:
    """100 SMs of 1024 multiply-accumulates at 1 GHz, 100 B/cycle of loads each; nothing takes time that is not set here."""
    device = np.zeros(1, layout.GPU)
    sheet: dict[str, Any] = {
        "sm_count": 100, "clock": 1e9, "macs": [1024, 2048, 0, 0], "lanes": 64, "exps": 16, "registers": 256 * KB,
        "shared_memory": 160 * KB, "l2_size": 40 * MB, "l2_bandwidth": 4e12, "dram_bandwidth": 1e12, "launch": 2e-6,
    }  # fmt: skip
    for name, value in sheet.items():
        device[name] = value
    unit = {"efficiency": 1.0, "load": 100.0, "dram_share": 1.0, "l2_share": 1.0, "l2_held": 1.0, "narrow": 1.0}
    for name, value in {**unit, **constants}.items():
        device["gemm"][name] = value
    return device


def kernel(device: np.ndarray, m: int, n: int, k: int, **case: float) -> Any:
    cases = np.zeros(1, layout.GEMM_CASE)
    values = {"m": m, "n": n, "k": k, "a_bytes": 2, "b_bytes": 2, "c_bytes": 2, **case}
    for name, value in values.items():
        cases[name] = value
    return _core.gpu_gemm(device, cases)[0]


def test_one_wave_of_large_tiles() -> None:
    # 1280 x 1280 in tiles of 128 x 128: 100, one for each SM; 4096 / 64 steps of 128 x 128 x 64 / 1024 = 1024 cycles
    result = kernel(gpu(feed=0.1), 1280, 1280, 4096)
    assert (result["tile_m"], result["tile_n"], result["split"], result["waves"]) == (128, 128, 1, 1)
    # 0.1 cycles for each of 256 rows and columns beside
    assert result["compute"] == pytest.approx(64 * (1024 + 25.6) * 1e-9)
    # A was just written and C will be read: both stay in L2; B comes from DRAM
    operand, output = 1280 * 4096 * 2, 1280 * 1280 * 2
    assert result["dram_bytes"] == operand
    assert result["dram"] == pytest.approx(operand / 1e12)
    assert result["l2"] == pytest.approx((2 * operand + output) / 4e12)
    together = float(result["compute"] ** 4 + result["dram"] ** 4 + result["l2"] ** 4) ** 0.25
    # its 128 x 128 x 2 bytes leave an SM at 100 B/ns, and those of all SMs enter L2 at 4 TB/s
    assert result["time"] == pytest.approx(2e-6 + together + 32768 / 100e9 + output / 4e12)
    assert layout.KERNEL_CAUSES[result["cause"]] == "compute"


def test_thin_rows_stream_weights() -> None:
    # 16 x 16384 x 16384: 537 MB of weights at 1 TB/s; DRAM takes 15 times what the products do
    result = kernel(gpu(), 16, 16384, 16384)
    weights = 16384 * 16384 * 2 / 1e12
    assert result["dram"] == pytest.approx(weights, rel=0.01)
    assert weights < result["time"] < 1.02 * weights + 6e-6
    assert layout.KERNEL_CAUSES[result["cause"]] == "dram"


def test_weights_in_turn_that_fit_come_from_l2() -> None:
    # 2 x 2048 x 2048 bytes = 8 MiB: three of them fit in 40 MiB, eight do not
    cold, three, eight = (kernel(gpu(), 16, 2048, 2048, copies=copies) for copies in (0, 3, 8))
    assert cold["dram_bytes"] == eight["dram_bytes"] == 8 * MB
    assert three["dram_bytes"] == 0 and three["dram"] == 0
    assert three["time"] < cold["time"]


def test_split_costs_a_launch() -> None:
    # 128 x 128 x 65536: too few blocks without a split
    result = kernel(gpu(), 128, 128, 65536)
    assert result["split"] > 4
    assert result["time"] > 2e-6 + 0.9 * 2e-6


def test_steps_of_dependent_work() -> None:
    # one block: 16 steps of 64 of k take 500 cycles each, far more than its products
    slow, fast = kernel(gpu(step=500.0), 16, 32, 1024), kernel(gpu(step=50.0), 16, 32, 1024)
    assert slow["time"] > fast["time"]
    if slow["split"] == 1:
        assert slow["compute"] == pytest.approx(16 * 500e-9)


def test_conversion_is_a_kernel_before() -> None:
    plain = kernel(gpu(convert=1.0), 4096, 4096, 4096, a_bytes=1, b_bytes=1, type=layout.TYPES["fp8"])
    converted = kernel(gpu(convert=1.0), 4096, 4096, 4096, a_bytes=1, b_bytes=1, source_bytes=2, type=layout.TYPES["fp8"])
    # a launch, and at least 3 bytes of each of 16 Mi elements through L2
    assert converted["time"] - plain["time"] >= 2e-6 + 3 * 16 * MB / 4e12 - 1e-12


def test_a_type_without_tensor_cores_runs_as_bf16() -> None:
    wide = kernel(gpu(), 4096, 4096, 4096)
    assert kernel(gpu(), 4096, 4096, 4096, type=layout.TYPES["fp4"])["time"] == wide["time"]
    assert kernel(gpu(), 4096, 4096, 4096, type=layout.TYPES["fp8"])["compute"] < wide["compute"]


def test_the_bound_knows_no_fitted_constant() -> None:
    # 8 matrices of 33.6 MB in turn: at best an eighth of an L2 of 42 MB serves each call, whatever share the generation keeps
    cold = (4096 * 4096 * 2 - 40 * MB / 8) / 1e12
    for share in (0.1, 1.0):
        assert kernel(gpu(l2_held=share), 16, 4096, 4096, copies=8)["bound"] == pytest.approx(cold)
    assert kernel(gpu(), 16, 4096, 4096)["bound"] == pytest.approx(4096 * 4096 * 2 / 1e12)  # a model's come from DRAM
    assert kernel(gpu(), 16, 64, 64, copies=1)["bound"] == pytest.approx(16 * 64 * 64 / (100 * 1024 * 1e9))


@pytest.mark.parametrize("wrong", [{"m": 0}, {"n": -1}, {"k": 2**41}, {"a_bytes": 0.0}, {"type": 4}, {"copies": -1.0}])
def test_wrong_cases(wrong: dict[str, float]) -> None:
    with pytest.raises(CoreError):
        kernel(gpu(), **{"m": 16, "n": 16, "k": 16, **wrong})


@pytest.mark.parametrize("name", ["a100", "h100", "rtx-pro-6000", "h200", "b200", "l40s"])
def test_any_shape_takes_its_bound_and_grows(name: str) -> None:
    device = record(load_device(name))
    rng = np.random.default_rng(0)
    cases = np.zeros(2000, layout.GEMM_CASE)
    for dimension in ("m", "n", "k"):
        cases[dimension] = np.exp(rng.uniform(0, np.log(32768), len(cases)))
    cases["a_bytes"] = cases["b_bytes"] = cases["c_bytes"] = 2.0
    result = _core.gpu_gemm(device, cases)
    assert np.isfinite(result["time"]).all()
    assert (result["time"] >= result["bound"]).all() and (result["time"] >= device["launch"]).all()
    assert (result["macs"] == cases["m"].astype(float) * cases["n"] * cases["k"]).all()
    for dimension in ("m", "n", "k"):
        larger = cases.copy()
        larger[dimension] *= 4
        # not quite: more of larger operands may come from L2, and a library's tile fits some sizes badly
        assert (_core.gpu_gemm(device, larger)["time"] >= 0.94 * result["time"]).mean() > 0.98
