"""Compiling a model, and executing steps with the engine behind each of them."""

from typing import Any

import msgspec
import numpy as np
import pytest

from hdasim.compiler.program import compile_program
from hdasim.device.latency import build
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load_device

BATCHES = {
    "decode_1": ([1], [1024]),
    "decode_128": ([1] * 128, [1024] * 128),
    "prefill_2048": ([2048], [0]),
    "mixed_64_and_512": ([1] * 64 + [512], [1024] * 64 + [0]),
}


def test_compile(benchmark: Any, experiment: Experiment) -> None:
    benchmark.extra_info.update(work=1, unit="programs")
    benchmark(compile_program, experiment)


@pytest.mark.parametrize("device", ["ador", "h100"])
@pytest.mark.parametrize("batch", BATCHES)
def test_step(benchmark: Any, experiment: Experiment, batch: str, device: str) -> None:
    q_len, past = (np.array(values, np.int64) for values in BATCHES[batch])
    machine = build(msgspec.structs.replace(experiment, device=load_device(device)))
    benchmark.extra_info.update(work=1, unit="steps")
    benchmark(machine.core.step, q_len, past, q_len.size)


def test_first_step_of_a_new_size(benchmark: Any, experiment: Experiment) -> None:
    """The search for a mapping, once for each number of tokens."""
    benchmark.extra_info.update(work=256, unit="mappings")

    def plan() -> None:
        machine = build(experiment)
        for tokens in range(1, 257):
            machine.core.mapping(1, tokens)

    benchmark.pedantic(plan, rounds=3, warmup_rounds=1)
