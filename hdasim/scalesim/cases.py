"""SCALE-Sim cases in bulk: what one run of SCALE-Sim 3.0.0 on one layer reports, for many layers at once.

A case is one record of `layout.SCALESIM_CASE`. The kernel (csrc/scalesim.h) gives integers and two means over folds; what
SCALE-Sim divides in Python is divided here in Python, so that every digit is the same.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import numpy as np
import numpy.typing as npt

from hdasim.core import _core, layout
from hdasim.errors import SpecError

#: Lines of one case unless told otherwise: about an hour in USER (40 million lines a second where a line touches few sets).
MAX_LINES = 10**11

#: The reports' columns in the order of `reference/scalesim/gemm_ws_os_is.csv`.
OUTPUTS = (
    "compute_cycles", "total_cycles_incl_prefetch", "total_cycles", "stall_cycles",
    "overall_util_pct", "mapping_eff_pct", "compute_util_pct",
    "sram_ifmap_reads", "sram_filter_reads", "sram_ofmap_writes", "dram_ifmap_reads", "dram_filter_reads", "dram_ofmap_writes",
    "sram_ifmap_start_cycle", "sram_ifmap_stop_cycle", "sram_filter_start_cycle", "sram_filter_stop_cycle",
    "sram_ofmap_start_cycle", "sram_ofmap_stop_cycle", "dram_ifmap_start_cycle", "dram_ifmap_stop_cycle",
    "dram_filter_start_cycle", "dram_filter_stop_cycle", "dram_ofmap_start_cycle", "dram_ofmap_stop_cycle",
    "avg_ifmap_sram_bw", "avg_filter_sram_bw", "avg_ofmap_sram_bw",
    "avg_ifmap_dram_bw", "avg_filter_dram_bw", "avg_ofmap_dram_bw",
)  # fmt: skip
OPERANDS = ("ifmap", "filter", "ofmap")

Cases = npt.NDArray[np.void]
Results = npt.NDArray[np.void]


def gemm(
    rows: int, cols: int, dataflow: str, m: int, n: int, k: int, sram_kb: tuple[int, int, int],
    bandwidth: tuple[int, int, int] | None = None,
) -> Cases:  # fmt: skip
    """One GEMM case (array of shape (1,) of `layout.SCALESIM_CASE`): ifmap m x k, filter k x n, ofmap m x n.

    Parameters
    ----------
    rows, cols
        Size of the array.
    dataflow
        ``ws``, ``os`` or ``is``.
    sram_kb
        Size of the ifmap, filter and ofmap double buffers; 1 kB holds 1024 words.
    bandwidth
        DRAM words per cycle of ifmap, filter and ofmap: SCALE-Sim's USER mode. None: its CALC mode, in which reads never stall.
    """
    case = np.zeros(1, layout.SCALESIM_CASE)
    case["dataflow"], case["user"] = layout.DATAFLOWS[dataflow], bandwidth is not None
    case["rows"], case["cols"], case["m"], case["n"], case["k"] = rows, cols, m, n, k
    case["buffer"] = [kb * 1024 for kb in sram_kb]
    if bandwidth is not None:
        case["bandwidth"] = bandwidth
    return case


def convolution(
    rows: int, cols: int, dataflow: str, ifmap: tuple[int, int], window: tuple[int, int], channels: int, filters: int,
    stride: int, sram_kb: tuple[int, int, int], bandwidth: tuple[int, int, int] | None = None,
) -> Cases:  # fmt: skip
    """One convolution case: ifmap (height, width) x channels under `filters` windows of (height, width), no padding.

    SCALE-Sim's output has ``ceil((size - window + stride) / stride)`` rows and columns: windows may hang over the edge.

    Raises
    ------
    SpecError
        If the stride is below 1 or the window larger than the ifmap.
    """
    if stride < 1:
        raise SpecError(f"got {stride}; expected a stride of at least 1", ("stride",))
    if window[0] > ifmap[0] or window[1] > ifmap[1]:
        raise SpecError(f"{window} is larger than the ifmap's {ifmap}", ("window",))
    out_h, out_w = (-(-(size - reach + stride) // stride) for size, reach in zip(ifmap, window, strict=True))
    case = gemm(rows, cols, dataflow, out_h * out_w, filters, window[0] * window[1] * channels, sram_kb, bandwidth)
    case["ifmap_h"], case["ifmap_w"] = ifmap
    case["filter_h"], case["filter_w"] = window
    case["channels"], case["stride"] = channels, stride
    return case


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `simulate`; `results` holds what was done, and `layout.SCALESIM_PENDING` as the status of the rest."""

    def __init__(self, results: Results):
        super().__init__()
        self.results = results


def simulate(
    cases: Cases, workers: int | None = None, progress: Callable[[int, int], None] | None = None, max_lines: int = MAX_LINES
) -> Results:
    """Run every case.

    Parameters
    ----------
    cases
        Shape (cases,) of `layout.SCALESIM_CASE`.
    workers
        Threads, by default one for each processor; the results do not depend on it.
    progress
        Called with (cases done, cases) about five times a second.
    max_lines
        A case of more lines (stall-free cycles) than this is refused.

    Returns
    -------
    Results
        Shape (cases,) of `layout.SCALESIM_RESULT`; where `status` is not 0, `describe_status` says why and nothing else is valid.

    Raises
    ------
    Interrupted
        On Ctrl-C.
    """
    cases = np.ascontiguousarray(cases, layout.SCALESIM_CASE)
    results = np.zeros(cases.size, layout.SCALESIM_RESULT)
    results["status"] = layout.SCALESIM_PENDING
    stop = np.zeros(1, np.int32)
    workers = max(1, min(workers or os.cpu_count() or 1, cases.size))
    chunk = max(1, min(256, cases.size // (8 * workers)))
    local = threading.local()

    def run(first: int) -> int:
        last = min(first + chunk, cases.size)
        if stop[0] == 0:
            if not hasattr(local, "scratch"):
                local.scratch = _core.ScaleSim()
            local.scratch.run(cases, results, first, last, max_lines, stop)
        return last - first

    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting = {pool.submit(run, first) for first in range(0, cases.size, chunk)}
            done = 0
            while waiting:
                finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                done += sum(future.result() for future in finished)
                if progress is not None:
                    progress(done, cases.size)
        except KeyboardInterrupt:
            stop[0] = 1
            pool.shutdown(cancel_futures=True)
            results["status"][results["status"] == _core.STOPPED] = layout.SCALESIM_PENDING
            raise Interrupted(results) from None
    return results


def report(case: np.void, result: np.void) -> dict[str, int | float]:
    """Every column of `OUTPUTS` for one case and its result: counts in words, times in cycles, bandwidths in words per cycle.

    Source: the reports of SCALE-Sim 3.0.0. Its Total Cycles is the index of the last cycle, one less than their number.
    """
    total, stalls = int(result["total_cycles"]), int(result["stall_cycles"])
    sram, sram_start, sram_stop, dram, dram_start, dram_stop = (
        result[key].tolist() for key in ("sram_count", "sram_start", "sram_stop", "dram_count", "dram_start", "dram_stop")
    )
    macs = int(case["m"]) * int(case["n"]) * int(case["k"])
    columns: dict[str, int | float] = {
        "compute_cycles": total - stalls,
        "total_cycles_incl_prefetch": dram_stop[2] - min(dram_start[:2]),
        "total_cycles": total,
        "stall_cycles": stalls,
        "overall_util_pct": macs * 100 / (total * int(case["rows"]) * int(case["cols"])),
        "mapping_eff_pct": float(result["mapping"]) * 100,
        "compute_util_pct": float(result["utilization"]) * 100,
    }
    for i, (operand, access) in enumerate(zip(OPERANDS, ("reads", "reads", "writes"), strict=True)):
        columns[f"sram_{operand}_{access}"] = sram[i]
        columns[f"dram_{operand}_{access}"] = dram[i]
        columns[f"sram_{operand}_start_cycle"], columns[f"sram_{operand}_stop_cycle"] = sram_start[i], sram_stop[i]
        columns[f"dram_{operand}_start_cycle"], columns[f"dram_{operand}_stop_cycle"] = dram_start[i], dram_stop[i]
        columns[f"avg_{operand}_sram_bw"] = sram[i] / total
        columns[f"avg_{operand}_dram_bw"] = dram[i] / (dram_stop[i] - dram_start[i] + 1)
    return {name: columns[name] for name in OUTPUTS}


def describe_status(status: int) -> str:
    """Why a case was not run, and what would be right."""
    return _REASONS.get(int(status)) or _core.status_text(int(status))


_REASONS = {
    layout.SCALESIM_PENDING: "interrupted before it was done",
    _core.OVERFLOW: "a count passes 2^63 - 1; make M, N or K smaller, or the array larger",
    _core.MEMORY: "its tables do not fit in memory: a convolution may read and hold at most 2^30 words of ifmap",
    _core.LONG: "has more lines (stall-free cycles) than --max-lines allows; raise --max-lines to run it all the same",
    _core.UNDEFINED: "SCALE-Sim divides by zero for os, M = N = K = 1 on a 1x1 array: its cycles count is 0",
}  # fmt: skip


def closed_forms(cases: Cases) -> npt.NDArray[np.void]:
    """Stall-free cycles, folds, mapping and utilisation (shares) and SRAM counts alone, in bulk: `layout.SCALESIM_COMPUTE`.

    Raises
    ------
    CoreError
        If a size is below 1 or a count passes 63 bits.
    """
    result: npt.NDArray[np.void] = _core.scalesim_compute(np.ascontiguousarray(cases, layout.SCALESIM_CASE))
    return result
