"""Types of the C core's boundary; see _core.pyx for what the functions do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

MEASURED_SIZES: int
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

def schedule(
    collective: str, algorithm: str, members: Ints | list[int], chunk: int, columns: int = 0, pieces: int = 1
) -> tuple[np.ndarray, Ints]: ...

class Network:
    def __init__(
        self,
        router_of: Ints,
        link_from: Ints,
        link_to: Ints,
        next_link: Ints,
        order: list[int] | Ints,
        *,
        columns: int = 0,
        router_delay: int = 3,
        link_delay: int = 1,
        port_delay: int = 3,
        virtual_channels: int = 8,
        buffer_flits: int = 8,
        packet_flits: int = 16,
        link_dimension: Ints | None = None,
        link_wraps: Ints | None = None,
    ) -> None: ...
    @property
    def order(self) -> Ints: ...
    @property
    def columns(self) -> int: ...
    def run(self, messages: np.ndarray, deps: Ints, mode: str = "") -> tuple[Ints, int]: ...
    def bound(self, messages: np.ndarray, deps: Ints) -> dict[str, int]: ...

class Links:
    def __init__(
        self,
        device_count: int,
        link_to: Ints,
        next_link: Ints,
        bandwidth: npt.NDArray[np.float64],
        latency: Ints,
        store_and_forward: bool = False,
    ) -> None: ...
    def run(self, messages: np.ndarray, deps: Ints) -> tuple[Ints, int]: ...

class Program:
    @property
    def network(self) -> Network: ...
    @property
    def links(self) -> Links: ...
    @property
    def op_count(self) -> int: ...
    def __init__(
        self,
        device: dict[str, Any],
        network: Network,
        links: Links,
        ops: np.ndarray,
        blocks: np.ndarray,
        segments: np.ndarray,
        max_rows: int,
        block_size: int,
    ) -> None: ...
    def step(self, q_len: Ints, past: Ints, emit_count: int, exact: bool = False, per_op: bool = False) -> tuple[Any, Any]: ...
    def mapping(self, op: int, rows: int, core: int = 0) -> Any: ...

class Profile:
    def __init__(self, tables: dict[str, Any], extrapolate: bool = False) -> None: ...
    @property
    def outside(self) -> tuple[int, int, float, float]: ...
    def step(self, q_len: Ints, past: Ints, emit_count: int, group_tokens: int = 0) -> Any: ...

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
