"""Element-wise kernels on a GPU: every term worked out by hand on one with round numbers."""

from typing import Any

import numpy as np
import pytest

from hdasim.core import _core, layout
from hdasim.device.elementwise import KERNELS, vector_cases
from hdasim.errors import CoreError

MB = 1e6


def gpu(**constants: float) -> Any:
    """10 SMs at 1 GHz; DRAM 1 TB/s, L2 10 MB and 10 TB/s; 1 us per launch; 10 exponentials per SM and cycle."""
    result = np.zeros(1, layout.GPU)
    sheet = {"sm_count": 10, "clock": 1e9, "exps": 10, "l2_size": 10 * MB, "l2_bandwidth": 1e13, "dram_bandwidth": 1e12}
    for name, value in {**sheet, "launch": 1e-6}.items():
        result[name] = value
    for name, value in {"efficiency": 0.5, "l2": 0.5, "kept": 0.2, "issue": 100, "step": 1e-6, **constants}.items():
        result["vector"][name] = value
    return result


def run(device: Any = None, **values: float) -> Any:
    case = np.zeros(1, layout.VECTOR_CASE)
    for name, value in values.items():
        case[name] = value
    return _core.gpu_vector(gpu() if device is None else device, case)[0]


def cause(kernel: Any) -> str:
    return layout.KERNEL_CAUSES[kernel["cause"]]


def test_streaming() -> None:
    # 102 MB, of which L2 keeps 20 % of 10: 100 MB at 0.5 TB/s = 200 us, and a launch
    kernel = run(read_bytes=68 * MB, write_bytes=34 * MB)
    assert kernel["dram_bytes"] == pytest.approx(100 * MB)
    assert kernel["time"] == pytest.approx(201e-6)
    assert kernel["bound"] == pytest.approx(92e-6)  # what L2 cannot hold, at the peak
    assert cause(kernel) == "dram"


def test_l2_resident() -> None:
    # 2 MB that L2 keeps: at half of 10 TB/s 0.4 us, less than a step of 1 us
    kernel = run(read_bytes=MB, write_bytes=MB)
    assert (kernel["dram"], kernel["bound"]) == (0, 0)
    assert kernel["time"] == pytest.approx(2e-6)
    assert cause(kernel) == "latency"
    # the same at a twentieth: 4 us
    kernel = run(gpu(l2=0.05), read_bytes=MB, write_bytes=MB)
    assert kernel["time"] == pytest.approx(5e-6)
    assert cause(kernel) == "l2"


def test_operations_overlap_with_memory_unless_a_row_is_reduced() -> None:
    # 4e8 operations at 100 per SM and cycle: 400 us; memory 200 us
    work = {"read_bytes": 68 * MB, "write_bytes": 34 * MB, "ops": 4e8}
    assert run(**work)["time"] == pytest.approx(401e-6)
    assert cause(run(**work)) == "compute"
    assert run(**work, reduced=1)["time"] == pytest.approx(601e-6)


def test_exponentials() -> None:
    # 1e7 at 10 x 10 per cycle of 1 ns: 100 us, which no implementation gets around
    kernel = run(read_bytes=MB, write_bytes=MB, exps=1e7)
    assert kernel["time"] == pytest.approx(101e-6)
    assert kernel["bound"] == pytest.approx(100e-6)


def test_a_block_steps_through_its_row() -> None:
    # 3,000 elements are 3 steps of 1024 threads; 20 such rows run at once on 10 SMs, 21 take two waves
    assert run(read_bytes=MB, rows=20, width=3000)["time"] == pytest.approx(4e-6)
    assert run(read_bytes=MB, rows=21, width=3000)["time"] == pytest.approx(7e-6)


def test_short_rows_share_an_sm() -> None:
    # 100 threads: 20 blocks on an SM; never fewer than 64 threads: 32 blocks
    assert run(read_bytes=MB, rows=204, width=100)["waves"] == 1
    assert run(read_bytes=MB, rows=205, width=100)["waves"] == 2
    assert run(read_bytes=MB, rows=320, width=1)["waves"] == 1
    assert run(read_bytes=MB, rows=321, width=1)["waves"] == 2


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_take_longer_for_more_rows_and_never_less_than_the_bound(name: str) -> None:
    rows = np.array([1, 10, 100, 1000, 10_000, 100_000])
    kernels = _core.gpu_vector(gpu(), vector_cases(KERNELS[name], rows, 4096))
    assert (np.diff(kernels["time"]) >= 0).all()
    assert (kernels["time"] >= kernels["bound"]).all()


def test_cases_of_a_kernel() -> None:
    case = vector_cases(KERNELS["mlp_act"], 3, 1000)[0]
    assert [case[name] for name in ("read_bytes", "write_bytes", "rows", "width", "reduced")] == [12_000, 6_000, 3, 1000, 0]
    assert case["ops"] == 3000 * KERNELS["mlp_act"].ops
    norm = vector_cases(KERNELS["rmsnorm+residual (fused)"], [2], [4100])[0]
    assert [norm[name] for name in ("read_bytes", "write_bytes", "width", "reduced")] == [32_800, 32_800, 513, 1]


@pytest.mark.parametrize("values", [{}, {"read_bytes": -1.0}, {"read_bytes": np.nan}, {"read_bytes": 8, "ops": -1.0},
                                    {"read_bytes": 1e19}])  # fmt: skip
def test_refuses_what_is_no_kernel(values: dict[str, float]) -> None:
    with pytest.raises(CoreError):
        run(**values)
