"""A layer of GPT-3 175B in eager PyTorch on four A100, operator by operator, as LLMCompass measured it (its README 4 and 5).

Nothing is fused: scores are written, normalised and read again. Each operator takes its kernel's time without the floor of a
launch in a CUDA graph, and the launch that LLMCompass measured for empty operators of its kind instead. All-reduces are NCCL's.
"""

from collections.abc import Mapping

import numpy as np

from ..core import _core, layout
from ..device.collectives import collective_seconds
from ..device.elementwise import KERNELS, LLMCOMPASS, vector_cases
from ..device.gpu import record
from ..spec.hardware import Device

#: Seconds to launch an eager matrix product on an A100's host (llmcompass README 3).
LAUNCH = 21e-6
_HIDDEN, _HEADS, _HEAD, _FEED_FORWARD, _BYTES = 12288, 96, 128, 4 * 12288, 2


def operators(device: Device, devices: int, batch: int, query_tokens: int, kv_tokens: int) -> Mapping[str, float]:
    """Seconds of each operator by LLMCompass's names, and of the layer, on one of `devices` tensor-parallel devices."""
    gpu = record(device)
    rows, heads = batch * query_tokens, batch * _HEADS // devices

    def matmul(m: int, n: int, k: int, count: int = 1) -> float:
        """`count` products of one operator; batched ones have operands of their own."""
        case = np.zeros(1, layout.GEMM_CASE)
        case["m"], case["n"], case["k"], case["type"] = m * count, n, k, layout.TYPES["bf16"]
        case["a_bytes"] = case["b_bytes"] = case["c_bytes"] = _BYTES
        kernel = _core.gpu_gemm(gpu, case)[0]
        moved = _BYTES * count * (m * k + n * k + m * n) / device.dram.bandwidth
        return LAUNCH + float(max(kernel["time"] - kernel["launch"], moved))

    def vector(kind: str, count: float, width: float) -> float:
        """`count` rows of `width` elements."""
        kernel = _core.gpu_vector(gpu, vector_cases(KERNELS[kind], count, width))[0]
        return LLMCOMPASS["a100"][kind] + float(kernel["time"] - kernel["launch"])

    assert device.p2p is not None
    norm = vector("layernorm", rows, _HIDDEN)
    reduce = float(collective_seconds(device.p2p, "all_reduce", devices, np.array([rows * _HIDDEN * _BYTES]))[0])
    times = {
        "qkv_proj(3 matmuls)": 3 * matmul(rows, _HIDDEN // devices, _HIDDEN),
        "q_mul_k": matmul(query_tokens, kv_tokens, _HEAD, heads),
        "softmax": vector("softmax", heads * query_tokens, kv_tokens),
        "a_mul_v": matmul(query_tokens, _HEAD, kv_tokens, heads),
        "w0_proj": matmul(rows, _HIDDEN, _HIDDEN // devices),
        "allreduce_mha": reduce,
        "layernorm_mha": norm,
        "w1_proj": matmul(rows, _FEED_FORWARD // devices, _HIDDEN),
        "gelu": vector("gelu_tanh", rows, _FEED_FORWARD // devices),
        "w2_proj": matmul(rows, _HIDDEN, _FEED_FORWARD // devices),
        "allreduce_ffn": reduce,
        "layernorm_ffn": norm,
    }
    return {**times, "layer_total": sum(times.values())}
