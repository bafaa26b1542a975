"""Whole runs: simulated steps and requests per second of one core's time.

Vidur's own figures for such work are 4,650 to 6,200 steps and 600 to 900 requests per CPU-second.
"""

from typing import Any

import msgspec
import numpy as np
import pytest

from hdasim.serving.arrivals import requests as make_requests
from hdasim.serving.engine import serve
from hdasim.serving.pools import build_pools
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load, load_workload
from hdasim.spec.workload import PoissonArrival, Workload


def _run(benchmark: Any, experiment: Experiment, unit: str, rounds: int = 3) -> None:
    pools = build_pools(experiment)
    requests = make_requests(experiment.workload, np.random.default_rng(0))
    router = experiment.cluster.router if experiment.cluster else experiment.serving.router
    kv_bytes = experiment.model.kv_bytes_per_token

    def run() -> int:
        served = serve(pools, requests, router=router, kv_bytes=kv_bytes, keep_steps=False)
        return int(served.totals["steps"].sum())

    steps = benchmark.pedantic(run, rounds=rounds, warmup_rounds=rounds > 1)
    benchmark.extra_info.update(work=steps if unit == "steps" else len(requests), unit=unit)


def _saturated(experiment: Experiment, count: int) -> Experiment:
    """Requests all at once with the lengths of the Azure conversation trace: the batch stays full."""
    lengths = load_workload("traces/azure-conv-like.yaml")[0].lengths
    workload = Workload(arrival=PoissonArrival(request_rate=float("inf")), lengths=lengths, num_prompts=count)
    return msgspec.structs.replace(experiment, workload=workload)


@pytest.mark.parametrize("unit", ["steps", "requests"])
def test_shipped_trace(benchmark: Any, experiment: Experiment, unit: str) -> None:
    _run(benchmark, experiment, unit)


@pytest.mark.parametrize("unit", ["steps", "requests"])
@pytest.mark.parametrize("max_num_seqs", [128, 256])
def test_saturated(benchmark: Any, experiment: Experiment, unit: str, max_num_seqs: int) -> None:
    serving = msgspec.structs.replace(experiment.serving, max_num_seqs=max_num_seqs)
    _run(benchmark, _saturated(msgspec.structs.replace(experiment, serving=serving), 10_000), unit)


@pytest.mark.parametrize("count", [1_000, 10_000, 100_000, 1_000_000])
def test_cost_is_linear_in_requests(benchmark: Any, experiment: Experiment, count: int) -> None:
    """The same work per second from a thousand requests to a million."""
    _run(benchmark, _saturated(experiment, count), "requests", rounds=3 if count < 100_000 else 1)


def test_pipeline(benchmark: Any, experiment: Experiment) -> None:
    """The shipped trace on four stages: each step is executed by three programs (first, middle, last) and a link."""
    serving = msgspec.structs.replace(experiment.serving, pipeline_parallel_size=4)
    _run(benchmark, msgspec.structs.replace(experiment, serving=serving), "steps")


def test_cluster(benchmark: Any) -> None:
    """LLMShare's experiment: four prefill and six decode servers, 2,454 requests of GPT-3 175B."""
    _run(benchmark, load("llmshare-gpt3-175b"), "requests")
