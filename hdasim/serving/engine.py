"""The serving loop: requests through the C scheduler and engine, in slices, so that it can report progress and be interrupted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core import layout
from ..core._core import Serve
from ..errors import CoreError, SpecError
from ..profile.machine import outside
from ..spec.serving import SCHEDULERS
from .gaps import Gaps
from .pools import Servers, describe_error
from .requests import Requests, covering_outputs

#: Steps between two looks at the outside world.
SLICE = 4096
#: Called with (requests finished, all requests, simulated seconds, steps).
Progress = Callable[[int, int, float, int], None]
#: Called with the STEP_RECORDs of each slice.
Sink = Callable[[np.ndarray], None]


@dataclass(frozen=True, eq=False)
class Served:
    """What happened.

    Attributes
    ----------
    outcomes
        REQUEST array of `core.layout`, by request. `rank` and `decode_rank` count the ranks of all instances.
    itl
        Inter-token latencies; `gaps` is their GAP array.
    totals
        TOTALS array, by instance: sums over its steps.
    pools, instances
        The pools, and of each instance the index of its pool.
    program_time
        Of each instance, seconds for which the parts of its pipeline (stage, link, stage, ..) ran.
    interrupted
        Whether it was stopped before the end.
    router
        A key of `core.layout.ROUTERS`.
    steps
        STEP_RECORD array in the order in which steps ended; empty if they were not kept.
    """

    requests: Requests
    outcomes: np.ndarray
    itl: Gaps
    totals: np.ndarray
    pools: Sequence[Servers]
    instances: npt.NDArray[np.int64]
    program_time: list[npt.NDArray[np.float64]]
    interrupted: bool
    router: str = "vllm"
    steps: np.ndarray = field(default_factory=lambda: np.zeros(0, layout.STEP_RECORD))

    @property
    def gaps(self) -> np.ndarray:
        """GAP array: inter-token latencies."""
        return self.itl.array()


def serve(
    pools: Sequence[Servers],
    requests: Requests,
    *,
    router: str = "vllm",
    kv_bytes: float = 0.0,
    progress: Progress | None = None,
    sink: Sink | None = None,
    keep_steps: bool = True,
) -> Served:
    """Serve all `requests` on the instances of `pools`.

    A KeyboardInterrupt ends the run cleanly with what was done until then.

    Parameters
    ----------
    router
        A key of `core.layout.ROUTERS`.
    kv_bytes
        Keys and values of a token, for those sent between pools.
    progress, sink
        Called after every slice of up to `SLICE` steps.
    keep_steps
        Whether `Served.steps` holds all of them (328 bytes each).

    Raises
    ------
    SpecError
        If a policy of the user's own fails, or schedules nothing although requests wait; if block hashes do not fit the block
        size; if a step lies outside the profile.
    """
    described = [entry for pool in pools for entry in pool.describe(kv_bytes)]
    _check_hashes(pools, requests)
    loop = Serve(described, layout.ROUTERS[router], *_arrays(requests))
    parts: list[np.ndarray] = []
    gaps = Gaps()
    steps, interrupted = 0, False
    try:
        while True:
            count, some, new_gaps = _run(loop, pools, keep_steps or sink is not None)
            if not count:
                break
            steps += count
            gaps.append(new_gaps)
            if some is not None and sink is not None:
                sink(some)
            if some is not None and keep_steps:
                parts.append(some if count == SLICE else some.copy())
            if progress is not None:
                finished, now = loop.progress()
                progress(finished, len(requests), now, steps)
    except KeyboardInterrupt:
        interrupted = True
    finished, _ = loop.progress()
    if finished < len(requests) and not interrupted:
        _complain(pools, len(requests) - finished)
    index = np.repeat(np.arange(len(pools)), [pool.instances for pool in pools])
    times = [loop.busy(i) for i in range(len(described))]
    kept = {"steps": np.concatenate(parts)} if parts else {}
    return Served(requests, loop.requests(), gaps, loop.totals(), pools, index, times, interrupted, router, **kept)


def _run(loop: Serve, pools: Sequence[Servers], keep_steps: bool) -> tuple[int, np.ndarray | None, np.ndarray]:
    """A slice; what a policy of the user's own raises, or a step outside a profile, becomes one line."""
    try:
        return loop.run(SLICE, keep_steps)
    except CoreError:
        for pool in pools:
            if pool.profile is not None and (what := outside(pool.profile)):
                raise SpecError(
                    f"{what}; give a profile that reaches further, lower max_num_seqs or max_num_batched_tokens, "
                    "or set extrapolate: true",
                    ("profile",),
                ) from None
        raise
    except (Exception, SystemExit) as error:
        if error is not loop.error:
            raise
        own = next(pool for pool in pools if pool.serving.scheduler not in SCHEDULERS)
        raise SpecError(f"{own.serving.scheduler} failed: {describe_error(error)}", (*own.place, "scheduler")) from error


def _arrays(requests: Requests) -> list[Any]:
    ids, offsets = requests.hash_ids, requests.hash_offsets
    outputs = ids is not None and requests.parent is not None
    if outputs:
        ids, offsets = covering_outputs(requests)
    ints = (requests.parent, ids, offsets)
    return [
        np.ascontiguousarray(requests.arrival_s, np.float64),
        np.ascontiguousarray(requests.input_len, np.int64),
        np.ascontiguousarray(requests.output_len, np.int64),
        *(None if array is None else np.ascontiguousarray(array, np.int64) for array in ints),
        requests.hash_block,
        outputs,
    ]


def _check_hashes(pools: Sequence[Servers], requests: Requests) -> None:
    if requests.hash_ids is None:
        return
    for pool in pools:
        size, each = pool.serving.block_size, requests.hash_block
        if pool.serving.enable_prefix_caching and size % each and each % size:
            raise SpecError(
                f"the trace hashes blocks of {each} tokens, which do not divide into KV blocks of {size}; "
                f"use {each} or one of its divisors, or enable_prefix_caching: false",
                (*pool.place, "block_size"),
            )


def _complain(pools: Sequence[Servers], left: int) -> None:
    names = ", ".join(dict.fromkeys(pool.serving.scheduler for pool in pools))
    raise SpecError(
        f"scheduler {names} schedules nothing although {left:,} requests are left; "
        "it must run or admit something whenever the machine is idle and a request fits",
        (*pools[0].place, "scheduler"),
    )
