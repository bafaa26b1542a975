"""The serving loop: requests through the C scheduler and engine, in slices, so that it can report progress and be interrupted."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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
    """What happened: REQUEST, STEP_RECORD and GAP arrays of `core.layout`; `interrupted` if it was stopped before the end."""

    requests: Requests
    outcomes: np.ndarray
    steps: np.ndarray
    gaps: np.ndarray
    interrupted: bool


def serve(machine: Machine, serving: Serving, requests: Requests, progress: Progress | None = None) -> Served:
    """Serve all `requests` on `machine`; `progress(finished, total, simulated seconds, steps)` is called after every slice.

    A KeyboardInterrupt ends the run cleanly with what was done until then.
    """
    loop = Serve(
        [machine.core],
        np.ascontiguousarray(requests.arrival_s, np.float64),
        np.ascontiguousarray(requests.input_len, np.int64),
        np.ascontiguousarray(requests.output_len, np.int64),
        serving.max_num_seqs,
        serving.max_num_batched_tokens,
        serving.block_size,
        machine.compiled.memory.page_count,
        serving.enable_chunked_prefill,
    )
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    count, interrupted = 0, False
    try:
        while True:
            new_steps, new_gaps = loop.run(SLICE)
            if not new_steps.size:
                break
            parts.append((new_steps, new_gaps.copy()))  # at once: an interrupt never separates the two
            count += new_steps.size
            if progress is not None:
                finished, now = loop.progress()
                progress(finished, len(requests), now, count)
    except KeyboardInterrupt:
        interrupted = True
    steps, gaps = (_joined([part[i] for part in parts], t) for i, t in enumerate((layout.STEP_RECORD, layout.GAP)))
    return Served(requests, loop.requests(), steps, gaps, interrupted)


def _joined(parts: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)
