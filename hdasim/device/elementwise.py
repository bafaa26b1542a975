"""Element-wise kernels that were measured, as cases of csrc/gpu_vector.c.

What a kernel moves is what its source says; how many operations it issues for an element is fitted jointly on A100 and H100
(python -m benchmarks.calibrate_vector). Vidur's are those of vLLM in early 2024, which load one element at a time, where
later ones load eight; LLMCompass' are PyTorch's, eager.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core import layout

#: Seconds that a measurement adds to its kernel in place of a launch. Vidur: what the profiler counts of an empty kernel, fitted
#: with the operations. LLMCompass: launch overheads of eager PyTorch as its README has them, section 3.
VIDUR = 1.8e-6
LLMCOMPASS = {
    "a100": {"softmax": 12e-6, "layernorm": 45e-6, "gelu_tanh": 45e-6},
    "mi210": {"softmax": 22e-6, "layernorm": 28e-6, "gelu_tanh": 21e-6},
}


@dataclass(frozen=True)
class Elementwise:
    """Elements read and written, and operations, for each element of a row; `vector` elements that a thread loads at once, 0 if
    no block owns a row; whether a row is reduced before it is written."""

    reads: float
    writes: float
    ops: float
    vector: int = 0
    reduced: bool = False


KERNELS = {
    # vLLM, csrc: activation_kernels.cu (gate and up in), pos_encoding_kernels.cu (query and key in place), layernorm_kernels.cu
    "mlp_act": Elementwise(2, 1, 95, vector=1),
    "attn_rope": Elementwise(1, 1, 72, vector=1),
    "input_layernorm": Elementwise(1, 1, 58, vector=1, reduced=True),
    "post_attention_layernorm": Elementwise(1, 1, 58, vector=1, reduced=True),
    # PyTorch: vectorised_elementwise_kernel; indexSelectLargeIndex, two bytes and an integer division at a time
    "add": Elementwise(2, 1, 8),
    "emb": Elementwise(1, 1, 203),
    # PyTorch, eager
    "gelu_tanh": Elementwise(1, 1, 8),
    "layernorm": Elementwise(1, 1, 2, vector=4, reduced=True),
    "softmax": Elementwise(1, 1, 33, vector=8, reduced=True),
    # FlashInfer's fused_add_rmsnorm: the residual is read and written too
    "rmsnorm+residual (fused)": Elementwise(2, 2, 8, vector=8, reduced=True),
}
#: "mlp_act" of models without a gate, such as phi-2: PyTorch's GELU.
UNGATED = Elementwise(1, 1, 48)


def vector_cases(kernel: Elementwise, rows: ArrayLike, width: ArrayLike, element_bytes: float = 2.0) -> NDArray[np.void]:
    """`layout.VECTOR_CASE` for `rows` rows of `width` elements each."""
    rows, width = np.broadcast_arrays(np.asarray(rows, float), np.asarray(width, float))
    cases = np.zeros(rows.size, layout.VECTOR_CASE)
    elements = rows * width
    cases["read_bytes"] = kernel.reads * element_bytes * elements
    cases["write_bytes"] = kernel.writes * element_bytes * elements
    cases["ops"] = kernel.ops * elements
    if kernel.vector:
        cases["rows"], cases["width"] = rows, np.ceil(width / kernel.vector)
    cases["reduced"] = kernel.reduced
    return cases
