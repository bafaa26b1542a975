"""The whole flow on one screen: load -> compile -> serve -> measure -> `Result`."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from .core.layout import REQUEST_STATES
from .device.latency import Machine, build
from .errors import CapacityError, SpecError
from .metrics import summarise
from .serving.arrivals import requests as make_requests
from .serving.engine import Progress, Served, serve
from .spec.experiment import Experiment

MAX_STEP_TOKENS = 1 << 20


@dataclass(frozen=True, eq=False)
class Result:
    """An experiment, the machine that ran it, what happened, and the summary (`hdasim.metrics.summarise`)."""

    experiment: Experiment
    machine: Machine
    served: Served
    summary: dict[str, Any]


def simulate(experiment: Experiment, progress: Progress | None = None, speed: float = 1.0) -> Result:
    """Run the experiment: the main job. Its requests arrive `speed` times as fast as it says.

    Raises
    ------
    SpecError, CapacityError, TraceError
        If the experiment cannot run; one line that says what would be right.
    """
    machine = build(experiment)
    requests = make_requests(experiment.workload, np.random.default_rng(experiment.seed))
    if speed != 1.0:
        requests = dataclasses.replace(requests, arrival_s=requests.arrival_s / speed)
    served = serve(machine, experiment.serving, requests, progress)
    _refuse_if_none_fits(experiment, machine, served)
    return Result(experiment, machine, served, summarise(served, machine, experiment.slo))


def _refuse_if_none_fits(experiment: Experiment, machine: Machine, served: Served) -> None:
    """`CapacityError` if the scheduler had to reject every single request."""
    if not (served.outcomes["state"] == REQUEST_STATES.index("rejected")).all():
        return
    tokens = machine.page_count * experiment.serving.block_size
    shortest = int((served.requests.input_len + served.requests.output_len).min())
    if not experiment.serving.enable_chunked_prefill and shortest <= tokens:
        budget = experiment.serving.max_num_batched_tokens
        raise CapacityError(
            f"without chunked prefill no request fits the budget of {budget} tokens: the shortest has {shortest} tokens, all of "
            "which are computed again after a preemption; "
            f"set max_num_batched_tokens to {shortest} or more, or enable_chunked_prefill",
            ("serving", "max_num_batched_tokens"),
        )
    raise CapacityError(
        f"no request fits the KV cache of {tokens:,} tokens: the shortest has {shortest:,}; use more devices or memory",
        ("serving", "device_count"),
    )


def _check_pages(machine: Machine, block_size: int, pages: int) -> None:
    """`CapacityError` if a step's sequences need more KV pages than the device has."""
    most = machine.page_count
    if pages > most:
        raise CapacityError(
            f"the step needs {pages * block_size:,} tokens of KV cache, the device has room for {most * block_size:,}; "
            "use a smaller batch, shorter contexts, or more devices",
            ("serving", "device_count"),
        )


def step(
    experiment: Experiment, phase: str, batch_size: int, input_len: int, *, exact: bool = False
) -> tuple[Machine, Any, np.ndarray]:
    """Execute one step of one replica: (machine, STEP record, OP_STEP array in the order of `machine.operators()`).

    On a pipeline the batch passes all stages and the links between them; nothing else is in flight.

    Parameters
    ----------
    phase
        "prefill": `batch_size` prompts of `input_len` tokens at once. "decode": `batch_size` sequences with `input_len` cached
        tokens each. "mixed": those decodes beside one prompt chunk that fills the token budget, or `input_len` tokens if that
        is less.
    exact
        Execute every core and every layer instead of one of each kind; the answer is the same, only slower.

    Raises
    ------
    SpecError, CapacityError
        If the model cannot run on the device, or no room is left for a prompt in a mixed step.
    """
    if batch_size < 1 or input_len < 1:
        raise SpecError(f"batch size and input length must be at least 1, got {batch_size} and {input_len}")
    budget = experiment.serving.max_num_batched_tokens
    q_len, past = [1] * batch_size, [input_len] * batch_size
    if phase == "prefill":
        q_len, past = [input_len] * batch_size, [0] * batch_size
    elif phase == "mixed":
        if budget <= batch_size:
            raise SpecError(
                f"{batch_size} decoding sequences fill the budget of {budget} tokens; raise serving.max_num_batched_tokens"
            )
        q_len, past = [*q_len, min(input_len, budget - batch_size)], [*past, 0]
    tokens = sum(q_len)
    if tokens > MAX_STEP_TOKENS:
        raise SpecError(f"a step of {tokens} tokens is more than {MAX_STEP_TOKENS}; use a smaller batch or input length")
    serving = msgspec.structs.replace(experiment.serving, max_num_batched_tokens=max(budget, tokens))
    machine = build(msgspec.structs.replace(experiment, serving=serving))
    pages = sum(-(-(q + p) // serving.block_size) for q, p in zip(q_len, past, strict=True))
    _check_pages(machine, serving.block_size, pages)
    return machine, *machine.step(q_len, past, len(q_len), exact=exact)
