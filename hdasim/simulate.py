"""The whole flow on one screen: load -> compile -> serve -> measure -> `Result`."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from .core.layout import REQUEST_STATES
from .device.latency import Machine, build
from .errors import CapacityError, SpecError
from .metrics import summarise
from .serving.arrivals import requests as make_requests
from .serving.engine import Progress, Served, Sink, serve
from .serving.pools import Servers, build_pools
from .spec.experiment import Experiment

MAX_STEP_TOKENS = 1 << 20


@dataclass(frozen=True, eq=False)
class Result:
    """An experiment, what happened on which machines, and the summary (`hdasim.metrics.summarise`)."""

    experiment: Experiment
    served: Served
    summary: dict[str, Any]

    @property
    def machine(self) -> Machine:
        """A replica of the (first) pool."""
        return self.served.pools[0].machine


def simulate(
    experiment: Experiment, progress: Progress | None = None, *, sink: Sink | None = None, keep_steps: bool = True
) -> Result:
    """Run the experiment: the main job.

    `progress`, `sink` and `keep_steps` are those of `hdasim.serving.engine.serve`: step records can be taken slice by slice, or
    left out, where a run has too many for memory.

    Raises
    ------
    SpecError, CapacityError, TraceError
        If the experiment cannot run; one line that says what would be right.
    """
    pools = build_pools(experiment)
    requests = make_requests(experiment.workload, np.random.default_rng(experiment.seed))
    cluster, model = experiment.cluster, experiment.model
    served = serve(
        pools, requests, router=cluster.router if cluster else experiment.serving.router,
        kv_bytes=model.kv_bytes_per_token, progress=progress, sink=sink, keep_steps=keep_steps,
    )  # fmt: skip
    _refuse_if_none_fits(served)
    return Result(experiment, served, summarise(served, experiment.slo))


def several_instances(experiment: Experiment) -> bool:
    """Whether more than one instance serves, so that it matters which."""
    pools = experiment.cluster.pools if experiment.cluster else ()
    return sum(pool.count for pool in pools) > 1 or experiment.serving.data_parallel_size > 1


def _room(pool: Servers) -> int:
    """Tokens of KV cache of a rank."""
    return pool.block_count * pool.serving.block_size


def _refuse_if_none_fits(served: Served) -> None:
    """`CapacityError` if the scheduler had to reject every single request."""
    if not (served.outcomes["state"] == REQUEST_STATES.index("rejected")).all():
        return
    shortest = int((served.requests.input_len + served.requests.output_len).min())
    roomiest = [
        max((pool for pool in served.pools if pool.role in roles), key=_room, default=None)
        for roles in (("both", "prefill"), ("both", "decode"))
    ]
    # the pool of the phase with the least room; of one pool that does both, that one
    pool = min((pool for pool in roomiest if pool is not None), key=_room)
    serving, tokens = pool.serving, _room(pool)
    if not (serving.enable_chunked_prefill and serving.scheduler != "vllm_v0") and shortest <= tokens:
        raise CapacityError(
            f"without chunked prefill no request fits the budget of {serving.max_num_batched_tokens} tokens: the shortest has "
            f"{shortest} tokens, all of which are computed again after a preemption; "
            f"set max_num_batched_tokens to {shortest} or more, or enable_chunked_prefill",
            (*pool.place, "max_num_batched_tokens"),
        )
    raise CapacityError(
        f"no request fits the KV cache of {tokens:,} tokens: the shortest has {shortest:,}; "
        + ("raise num_gpu_blocks" if serving.num_gpu_blocks else "use more devices or memory"),
        (*pool.place, "num_gpu_blocks" if serving.num_gpu_blocks else "device_count"),
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


def refuse_profile(experiment: Experiment) -> None:
    """`SpecError` if steps would come from operator tables: they have no operators to show."""
    if experiment.profile is not None:
        message = "a profile tells how long a step takes, not its operators; set profile=null for the engine's"
        raise SpecError(message, ("profile",))


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
    refuse_profile(experiment)
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
