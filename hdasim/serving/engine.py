"""The serving loop: requests through the C scheduler and engine, in slices, so that it can report progress and be interrupted."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..core import layout
from ..core._core import Serve
from ..device.latency import Machine
from ..spec.serving import Serving
from .requests import Requests

#: Steps between two looks at the outside world.
SLICE = 2048
Progress = Callable[[int, int, float, int], None]


@dataclass(frozen=True, eq=False)
class Served:
    """What happened: REQUEST, STEP_RECORD and GAP arrays of `core.layout`; `interrupted` if it was stopped before the end.

    Attributes
    ----------
    steps
        By start; steps of equal start in the order of their replicas.
    replicas
        How many there were (data_parallel_size), idle ones included.
    replica
        Index of the replica that ran each step, int64 of the shape of `steps`.
    program_time
        Seconds for which the parts of the pipeline (stage, link, stage, ..) ran, summed over replicas; float64.
    """

    requests: Requests
    outcomes: np.ndarray
    steps: np.ndarray
    gaps: np.ndarray
    interrupted: bool
    replicas: int = 1
    replica: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    program_time: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))


class _Replica:
    """One replica's loop and what it has done."""

    def __init__(self, machine: Machine, serving: Serving, requests: Requests, own: slice):
        self.own = own
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []
        self.loop = Serve(
            [part.core for part in machine.chain],
            np.ascontiguousarray(requests.arrival_s[own], np.float64),
            np.ascontiguousarray(requests.input_len[own], np.int64),
            np.ascontiguousarray(requests.output_len[own], np.int64),
            serving.max_num_seqs,
            serving.max_num_batched_tokens,
            serving.block_size,
            machine.page_count,
            serving.enable_chunked_prefill,
        )

    def run(self) -> int:
        """Run a slice; returns its steps, 0 when all was done before."""
        new_steps, new_gaps = self.loop.run(SLICE)
        if new_steps.size:
            full = new_steps.size == SLICE
            self.parts.append((new_steps if full else new_steps.copy(), new_gaps.copy()))  # both at once
        return new_steps.size


def serve(machine: Machine, serving: Serving, requests: Requests, progress: Progress | None = None) -> Served:
    """Serve all `requests` on the replicas of `machine`, dealt in turn: request i to replica i mod data_parallel_size.

    `progress(finished, total, simulated seconds, steps)` is called after every slice. A KeyboardInterrupt ends the run cleanly
    with what was done until then; replicas advance together, the one with the earliest clock first.
    """
    count = min(serving.data_parallel_size, len(requests))
    replicas = [_Replica(machine, serving, requests, slice(i, None, serving.data_parallel_size)) for i in range(count)]
    clocks = [(0.0, i) for i in range(count)]
    finished, done, steps, interrupted = [0] * count, 0, 0, False
    try:
        while clocks:
            index = clocks[0][1]
            new_steps = replicas[index].run()
            if not new_steps:
                heapq.heappop(clocks)
                continue
            now_finished, now = replicas[index].loop.progress()
            heapq.heapreplace(clocks, (now, index))
            done, steps = done + now_finished - finished[index], steps + new_steps
            finished[index] = now_finished
            if progress is not None:
                progress(done, len(requests), clocks[0][0], steps)
    except KeyboardInterrupt:
        interrupted = True
    return _merged(requests, replicas, serving.data_parallel_size, interrupted)


def _merged(requests: Requests, replicas: list[_Replica], count: int, interrupted: bool) -> Served:
    parts = [part for r in replicas for part in r.parts]
    steps, gaps = (_joined([part[i] for part in parts], t) for i, t in enumerate((layout.STEP_RECORD, layout.GAP)))
    replica = np.repeat(np.arange(len(replicas)), [sum(part[0].size for part in r.parts) for r in replicas])
    if len(replicas) > 1:
        order = np.argsort(steps["start"], kind="stable")
        steps, replica = steps[order], replica[order]
    outcomes = np.zeros(len(requests), layout.REQUEST)
    for r in replicas:
        outcomes[r.own] = r.loop.requests()
    times = np.sum([r.loop.busy() for r in replicas], axis=0)
    return Served(requests, outcomes, steps, gaps, interrupted, count, replica, times)


def _joined(parts: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
