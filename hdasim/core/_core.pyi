"""Types of the C core's boundary; see _core.pyx for what the functions do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

OVERFLOW: int
MEMORY: int
STOPPED: int
LONG: int
UNDEFINED: int

class ScaleSim:
    def run(
        self, cases: np.ndarray, results: np.ndarray, first: int, last: int, max_lines: int, stop: npt.NDArray[np.int32]
    ) -> None: ...

def scalesim_compute(cases: np.ndarray) -> np.ndarray: ...
def status_text(status: int) -> str: ...

class Network:
    def __init__(
        self,
        router_of: Ints,
        link_to: Ints,
        next_link: Ints,
        order: list[int] | Ints,
        router_delay: int,
        link_delay: int,
        port_delay: int,
    ) -> None: ...
    def run(self, messages: np.ndarray) -> tuple[Ints, int]: ...
    def schedule(self, collective: str, groups: int, size: int, flits: int) -> np.ndarray: ...
    def zero_load(self, collective: str, size: int, flits: int) -> int: ...

class Program:
    @property
    def network(self) -> Network: ...
    @property
    def op_count(self) -> int: ...
    def __init__(
        self,
        device: dict[str, Any],
        network: Network,
        ops: np.ndarray,
        blocks: np.ndarray,
        segments: np.ndarray,
        max_rows: int,
        block_size: int,
    ) -> None: ...
    def step(self, q_len: Ints, past: Ints, emit_count: int, exact: bool = False, per_op: bool = False) -> tuple[Any, Any]: ...
    def mapping(self, op: int, rows: int, core: int = 0) -> Any: ...

class Serve:
    def __init__(
        self,
        programs: Sequence[Program],
        arrival: npt.NDArray[np.float64],
        input_len: Ints,
        output_len: Ints,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        block_size: int,
        block_count: int,
        chunked_prefill: bool,
    ) -> None: ...
    def run(self, step_capacity: int) -> tuple[np.ndarray, np.ndarray]: ...
    def requests(self) -> np.ndarray: ...
    def progress(self) -> tuple[int, float]: ...
    def busy(self) -> npt.NDArray[np.float64]: ...

def sa_gemm_cycles(mkn: Ints, rows: int, cols: int, lanes: int) -> Ints: ...
def mt_gemm_cycles(mkn: Ints, width: int, lanes: int, lanes_split: bool) -> Ints: ...
def mt_attention_cycles(
    group: int, key_dim: int, value_dim: int, tokens: int, width: int, lanes: int, lanes_split: bool = True
) -> int: ...
def prefill_tiles(tokens: int, past: int, window: int, tile_tokens: int, block: int) -> int: ...
def prefill_pairs(tokens: int, past: int, window: int) -> float: ...
def dram_utilization(gigabytes: float, slope: float, intercept: float, minimum: float, maximum: float) -> float: ...
