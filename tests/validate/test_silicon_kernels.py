"""Kernels of GPUs against measured ones: that every table is compared, and quickly."""

import time
from pathlib import Path

import numpy as np
import pytest

from hdasim.validate.silicon import Validation, against_data
from hdasim.validate.silicon_groups import statistics

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
    assert {op for op, _ in compared} == {"gemm", "attention_context", "attention_generation", "moe", "elementwise", "collective"}
    gpus = {"a100", "h100", "rtx-pro-6000", "mi210", "jetson-orin", "jetson-thor"}
    assert {gpu for op, gpu in compared if op == "gemm"} == gpus
    assert len(done.files) == 3 and sum(group.measured.size for group in done.measured) > 180_000
    assert not any("no preset" in reason for reason in done.skipped)


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
    ("gemm", "a100"): 0.065, ("gemm", "h100"): 0.06, ("gemm", "rtx-pro-6000"): 0.06, ("attention_context", "a100"): 0.08,
    ("attention_context", "h100"): 0.08, ("attention_generation", "h100"): 0.08, ("moe", "h100"): 0.12,
}  # fmt: skip


@pytest.mark.parametrize(("op", "gpu"), LIMITS)
def test_errors(op: str, gpu: str, done: Validation) -> None:
    group = next(g for g in done.measured if (g.op, g.gpu, g.dtype, g.source) == (op, gpu, "bf16", ""))
    assert np.median(np.abs(group.error)) < LIMITS[op, gpu]


@pytest.mark.parametrize("gpu", ["a100", "h100"])
def test_element_wise_kernels_of_10_us_or_more(gpu: str, done: Validation) -> None:
    group = next(g for g in done.measured if (g.op, g.gpu, g.source) == ("elementwise", gpu, "vidur"))
    assert np.median(np.abs(group.error[group.measured >= 10])) < 0.15
