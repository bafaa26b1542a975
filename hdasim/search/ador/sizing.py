"""The formulas of step 1 and 2: lanes and width of the MAC tree, local and global memory, and the rules for the NoC.

papers.md 3.3, 3.6 and 3.7 hold them; ADOR prints its formula for the tree as an image that is not available, so that of 3.3 is
a replacement, checked against the published design: 2 TB/s at 1.5 GHz are 20.8 elements for each of 32 cores, width 16.
"""

import math
from collections.abc import Sequence

from ...compiler.ops import Op
from ...spec.hardware import Device, LogUtilization, OverheadUtilization


def tree_width(bandwidth: float, frequency: float, element: float, cores: int, rounding: str) -> int:
    """Multipliers per lane, so that the trees of all cores consume `bandwidth`: 2^round(log2(e)), e = bandwidth / (f b cores).

    2e12 / (1.5e9 x 2 x 32) = 20.8 -> 16. Less than one element a cycle for each core gives 1. With rounding ``none``: ceil(e).
    """
    each = bandwidth / (frequency * element * cores)
    if rounding == "none":
        return max(math.ceil(each), 1)
    return 1 << max(round(math.log2(each)), 0)


def reuse(ops: Sequence[Op], tokens: int) -> int:
    """How often the tree uses what DRAM delivers: queries per key (GQA, MQA), or tokens per expert of a batch of `tokens`.

    LLaMA3-8B: 32 / 8 = 4. Mixtral, 16 tokens: max(4, ceil(16 x 2 / 8)) = 4; of 64 tokens 16.
    """
    groups = [op.group for op in ops if op.kind == "decode_attention"]
    experts = [-(-tokens * op.top_k // (op.experts * max(op.group, 1))) for op in ops if op.kind == "experts"]
    return max([1, *groups, *experts])


def tree_lanes(used: int, least: int) -> int:
    """2^ceil(log2(max(reuse, least)))."""
    return 1 << (max(used, least) - 1).bit_length()


def _gemm_bytes(op: Op, tokens: int, emitting: int, element: float) -> float:
    """Input and output of a GEMM; of experts those of the tokens that one of them gets on average."""
    rows = emitting if op.rows == "emit" else tokens
    if op.kind == "experts":
        rows = -(-tokens * op.top_k // (op.experts * max(op.group, 1)))
    return rows * (op.k + op.n) * element


def local_bytes(ops: Sequence[Op], cores: int, tokens: int, emitting: int, tile: int, element: float) -> tuple[float, str]:
    """(bytes of local memory that the most demanding operator needs in each core, its name); papers.md 3.6.

    Of a GEMM its input and output, of attention queries and `tile` + 2 scores of each (softmax decomposed), dealt to the cores:
    LLaMA3-8B, 32 cores, 512 tokens: gate and up 512 x (4096 + 28672) x 2 / 32 = 1,048,576; lm_head of 128 sequences
    128 x (4096 + 128256) x 2 / 32 = 1,058,816.
    """
    best, name = 0.0, ""
    for op in ops:
        if op.kind in ("linear", "experts"):
            size = _gemm_bytes(op, tokens, emitting, element)
        elif op.kind in ("prefill_attention", "decode_attention"):
            rows = tokens if op.kind == "prefill_attention" else emitting
            size = op.kv_heads * op.group * rows * (op.key_dim + tile + 2) * element
        else:
            continue
        if size > best:
            best, name = size, op.name
    return best / cores, name


def global_bytes(ops: Sequence[Op], tokens: int, element: float) -> float:
    """Keys and values of one layer for the `tokens` of a chunk, which prefill attention then finds in global memory.

    LLaMA3-8B on one device, 512 tokens: 512 x 2 x 8 x 128 x 2 B = 2 MiB.
    """
    return tokens * max([op.kv_elements for op in ops] or [0]) * element


def sustained(device: Device) -> float:
    """Bytes/s of DRAM at the largest share of its peak that it sustains."""
    u = device.dram.utilization
    share = u.maximum if isinstance(u, (LogUtilization, OverheadUtilization)) else u.value
    return share * device.dram.bandwidth


def noc_rules(device: Device, ops: Sequence[Op], tokens: int, element: float) -> tuple[float, float]:
    """(latency mode, throughput mode) bytes per cycle into a core that hide what cores exchange; papers.md 3.7.

    Latency mode: a core receives its inputs while the GEMM before streams: (n - 1) / n x B x rate / K at the least K. Throughput
    mode: a tile of R rows hides the next weights of an array: R x C x b / R. 64 x 64: 128 B/cycle, 192 GB/s at 1.5 GHz.
    """
    n, array = device.core_count, device.core.systolic_array
    narrowest = min((op.k for op in ops if op.kind == "linear"), default=1)
    latency = (n - 1) / n * tokens * sustained(device) / narrowest / device.frequency
    return latency, array.rows * array.cols * array.lanes * element / array.rows
