"""Kernels, layers and whole systems on GPUs against measured ones: that every table is compared, quickly, and how well."""

import time
from pathlib import Path

import numpy as np
import pytest

from hdasim.predict.operators import OPERATORS
from hdasim.validate.silicon import Validation, against_data
from hdasim.validate.silicon_groups import statistics
from hdasim.validate.silicon_tables import SYSTEMS

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "reference" / "silicon"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/reference is not beside this checkout")


@pytest.fixture(scope="module")
def done() -> Validation:
    started = time.process_time()
    result = against_data(FOLDER)
    assert time.process_time() - started < 60
    return result


def test_every_table_is_compared_or_left_out_for_a_reason(done: Validation) -> None:
    compared = {(group.op, group.gpu) for group in done.measured}
    assert {op for op, _ in compared} == {*OPERATORS, *SYSTEMS}
    gpus = {"a100", "h100", "rtx-pro-6000", "mi210", "jetson-orin", "jetson-thor"}
    assert {gpu for op, gpu in compared if op == "gemm"} == gpus
    assert not done.files and sum(group.measured.size for group in done.measured) > 180_000
    assert [reason for reason in done.skipped if "no preset" in reason] == ["no preset for h100-80gb-pcap"]  # a power cap
    assert sum(group.measured.size for group in done.measured if group.op == "serving") > 2 * 400


def test_no_prediction_is_below_its_bound(done: Validation) -> None:
    for group in done.measured:
        assert (group.done.time >= group.done.bound * (1 - 1e-9)).all(), group.name


def test_statistics_are_those_of_the_rows(done: Validation) -> None:
    group = next(g for g in done.measured if (g.op, g.gpu, g.dtype, g.source) == ("gemm", "h100", "bf16", ""))
    total, parts = statistics([group])[0]
    error = np.abs(group.predicted / group.measured - 1)
    assert total.median == np.median(error) and total.rows == sum(part.rows for part in parts)
    assert total.noise is not None and 0.02 < total.noise < 0.08  # 4.4 % between two frameworks (silicon README)


#: median |error| of kernels that generations were fitted on, with room for noise of the fit
LIMITS = {
    ("gemm", "a100", "bf16"): 0.065, ("gemm", "h100", "bf16"): 0.06, ("gemm", "rtx-pro-6000", "bf16"): 0.06,
    ("gemm", "h100", "fp8"): 0.085, ("gemm", "rtx-pro-6000", "fp8"): 0.08, ("attention_context", "a100", "bf16"): 0.08,
    ("attention_context", "h100", "bf16"): 0.08, ("attention_generation", "h100", "bf16"): 0.08, ("moe", "h100", "bf16"): 0.12,
}  # fmt: skip


@pytest.mark.parametrize(("op", "gpu", "dtype"), LIMITS)
def test_errors(op: str, gpu: str, dtype: str, done: Validation) -> None:
    group = next(g for g in done.measured if (g.op, g.gpu, g.dtype, g.source) == (op, gpu, dtype, ""))
    assert np.median(np.abs(group.error)) < LIMITS[op, gpu, dtype]


@pytest.mark.parametrize("gpu", ["jetson-orin", "jetson-thor"])
def test_gemms_of_gpus_without_a_fit(gpu: str, done: Validation) -> None:
    groups = [g for g in done.measured if (g.op, g.gpu) == ("gemm", gpu)]
    assert len(groups) >= 2 and np.median(np.abs(np.concatenate([g.error for g in groups]))) < 0.12


#: median |error| of quantities of whole systems on all GPUs and splits
SYSTEM_LIMITS = {("batch", "prompt"): 0.1, ("batch", "token"): 0.1, ("serving", "tpot"): 0.09, ("layer", "prefill"): 0.09}


@pytest.mark.parametrize(("op", "quantity"), SYSTEM_LIMITS)
def test_errors_of_systems(op: str, quantity: str, done: Validation) -> None:
    groups = [g for g in done.measured if (g.op, g.quantity) == (op, quantity)]
    assert np.median(np.abs(np.concatenate([g.error for g in groups]))) < SYSTEM_LIMITS[op, quantity]


def test_first_tokens_where_it_is_known_how_requests_come(done: Validation) -> None:
    (group,) = [g for g in done.measured if (g.op, g.quantity) == ("serving", "ttft")]
    for name in ("vllm Llama-3.1-70B fp8", "sglang Qwen3-32B"):
        assert np.median(np.abs(group.error[group.which == group.classes.index(name)])) < 0.15


@pytest.mark.parametrize("gpu", ["a100", "h100"])
def test_element_wise_kernels_of_10_us_or_more(gpu: str, done: Validation) -> None:
    group = next(g for g in done.measured if (g.op, g.gpu, g.source) == ("elementwise", gpu, "vidur"))
    assert np.median(np.abs(group.error[group.measured >= 10])) < 0.15
