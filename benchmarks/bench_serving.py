"""Whole runs: simulated steps and requests per second of one core's time."""

from typing import Any

import msgspec
import numpy as np
import pytest

from hdasim.device.latency import build
from hdasim.serving.arrivals import requests as make_requests
from hdasim.serving.engine import serve
from hdasim.spec.experiment import Experiment
from hdasim.spec.workload import PoissonArrival, Workload


def _run(benchmark: Any, experiment: Experiment, unit: str) -> None:
    machine = build(experiment)
    requests = make_requests(experiment.workload, np.random.default_rng(0))
    served = serve(machine, experiment.serving, requests)
    benchmark.extra_info.update(work=served.steps.size if unit == "steps" else len(requests), unit=unit)
    benchmark.pedantic(serve, (machine, experiment.serving, requests), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("unit", ["steps", "requests"])
def test_shipped_trace(benchmark: Any, experiment: Experiment, unit: str) -> None:
    _run(benchmark, experiment, unit)


@pytest.mark.parametrize("unit", ["steps", "requests"])
def test_saturated(benchmark: Any, experiment: Experiment, unit: str) -> None:
    """10,000 requests at once with conversation lengths: the batch stays full."""
    from hdasim.spec.load import load_workload

    lengths = load_workload("traces/azure-conv-like.yaml")[0].lengths
    workload = Workload(arrival=PoissonArrival(request_rate=float("inf")), lengths=lengths, num_prompts=10_000)
    _run(benchmark, msgspec.structs.replace(experiment, workload=workload), unit)


def test_pipeline(benchmark: Any, experiment: Experiment) -> None:
    """The shipped trace on four stages: each step is executed by three programs (first, middle, last) and a link."""
    serving = msgspec.structs.replace(experiment.serving, pipeline_parallel_size=4)
    _run(benchmark, msgspec.structs.replace(experiment, serving=serving), "steps")
