"""Operators of a decoder step and what they cost in vector operations.

An `Op` describes one operator on one device of a tensor-parallel group; sizes that change from step to step are its rows.
`layers.py` builds lists of them, `program.py` turns them into the arrays that the C engine executes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operator of a block.

    `kind`, `rows`, `sync` are the words of `core.layout`. `after` names operators of the same block (or "input": the previous
    block). GEMMs are rows x `k` by `k` x `n`. Bytes are per device, `sync_bytes` per row of what the `sync` is about. Fields
    mirror ``hda_op_t`` in csrc/program.h; `type`, `inter`, `read_bytes` and `write_bytes` are of a GPU's kernels.
    """

    name: str
    kind: str
    after: tuple[str, ...]
    rows: str = "tokens"
    k: int = 0
    n: int = 0
    weight_bytes: float = 0.0
    gather: bool = False
    elementwise: bool = False
    sync: str = ""
    sync_bytes: float = 0.0
    experts: int = 0
    top_k: int = 0
    vector_ops: float = 0.0
    reduce_bytes: float = 0.0
    kv_heads: int = 0
    group: int = 0
    key_dim: int = 0
    value_dim: int = 0
    window: int = 0
    kv_elements: int = 0
    type: str = "bf16"
    inter: int = 0
    read_bytes: float = 0.0
    write_bytes: float = 0.0

    @property
    def weight_size(self) -> float:
        """Bytes of weights that it keeps in DRAM."""
        return self.k * self.n * self.weight_bytes * max(self.experts, 1)


# Vector operations per element, counted from the formulas; `e` is the cost of an exponential on the vector unit.


def norm_ops(norm: str) -> float:
    """Residual addition and normalisation.

    RMSNorm: add residual, multiply-accumulate the square, multiply by 1/rms, multiply by the gain = 4.
    LayerNorm: add residual, accumulate the sum, multiply-accumulate the square, subtract the mean, multiply by 1/sigma, gain and
    bias in one multiply-add = 6.
    """
    return 4.0 if norm == "rmsnorm" else 6.0


def norm_bytes(norm: str) -> float:
    """Statistics per row that cores exchange: the fp32 sum of squares, and for LayerNorm the fp32 sum."""
    return 4.0 if norm == "rmsnorm" else 8.0


ROTARY_OPS = 3.0  # x * cos + rotated x * sin: two products and a sum


def activation_ops(activation: str, gated: bool, e: int) -> float:
    """relu 1; silu (x / (1 + exp -x)): exp + add + divide; gelu (tanh form): polynomial 4, tanh by exp + 3; gate: a product."""
    name = activation.lower()
    base = 1.0 if "relu" in name else e + 2.0 if "silu" in name or "swi" in name else e + 7.0
    return base + (1.0 if gated else 0.0)


def softmax_ops(e: int) -> float:
    """Per score: scale, running maximum, subtract, exponential, running sum."""
    return e + 4.0


def routing_ops(top_k: int, e: int) -> float:
    """Per expert and token: softmax over router logits and one compare for each of the top k."""
    return softmax_ops(e) + top_k
