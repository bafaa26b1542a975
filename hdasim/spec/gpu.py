"""What a device needs to be a GPU: rates of its types, sizes that the template lacks, and the constants of its generation.

The rest of the data sheet stands where every device has it: SMs are `core_count`, the clock `frequency`, tensor cores the
`systolic_array`, fp32 lanes the `vector_unit`, L2 the `global_memory`, L1 and shared memory the `local_memory`.
"""

from typing import Annotated, Literal

from msgspec import Meta

from .base import Fraction, PositiveBytes, Seconds, Spec

Generation = Annotated[str, Meta(min_length=1, max_length=40)]
Rate = Annotated[float, Meta(ge=0, le=1024)]
#: Above 0 by enough that no time is infinite.
Factor = Annotated[float, Meta(ge=1e-6, le=1e9)]


class TypeRates(Spec):
    """Dense multiply-accumulates of a type as multiples of those of bf16 and fp16; 0: the tensor cores do not have it."""

    fp8: Rate = 0.0
    int8: Rate = 0.0
    fp4: Rate = 0.0

    def of(self, name: str) -> float:
        """Rate of a type; that of bf16, 1, where the tensor cores lack it."""
        rate: float = getattr(self, name, 0.0)
        return rate or 1.0


class GemmConstants(Spec):
    """Constants of csrc/gpu_gemm.c, in the order of hda_gpu_gemm_t, which says what they are."""

    efficiency: Fraction
    feed: Factor
    step: Factor
    load: Factor
    dram_share: Fraction
    l2_share: Fraction
    l2_held: Fraction
    narrow: Factor
    convert: Factor
    convert_split: Factor
    fine: Literal[0, 1]


class AttentionConstants(Spec):
    """Constants of csrc/gpu_prefill.c and csrc/gpu_decode.c, in the order of hda_gpu_attention_t, which says what they are."""

    launches: Factor
    efficiency: Fraction
    serial: Fraction
    key_block: Factor
    prologue: Seconds
    small_tile: Factor
    tail: Fraction
    copy: Fraction
    stream: Fraction
    sm_read: Fraction
    l2_hold: Fraction
    group_cta: Seconds
    head_cta: Seconds
    merge: Seconds
    varlen: bool
    library: Factor


class ExpertsConstants(Spec):
    """Constants of csrc/gpu_experts.c, in the order of hda_gpu_experts_t."""

    efficiency: Fraction
    bandwidth: Fraction
    vector: Fraction
    kernels: Factor


class VectorConstants(Spec):
    """Constants of csrc/gpu_vector.c, in the order of hda_gpu_vector_t."""

    efficiency: Fraction
    l2: Fraction
    kept: Fraction
    issue: Factor
    step: Seconds


class Gpu(Spec):
    """A GPU's kernels instead of the template's compiled programs.

    Generations are named after NVIDIA's architectures, split where kernels differ (compute capability in brackets): ampere (8.0),
    ampere-ga10x (8.6 and 8.7, GeForce's dies and Orin), ada (8.9), hopper (9.0), blackwell (10.0), blackwell-thor (11.0),
    blackwell-rtx (12.0, GeForce's dies); AMD's: cdna2. Those with a file in presets/generations were measured. Of the others the
    nearest is, by how kernels feed the tensor cores (from registers with mma.sync and cp.async, or asynchronously from shared
    memory with TMA) and then by the SM and the memory: blackwell-rtx for ampere-ga10x, ada and blackwell-thor, hopper for
    blackwell. Measured GEMMs bear it out: fp16 of Orin has a median error of 4.8 % (7.8 % with ampere's), fp8 and fp4 of Thor on
    cold weights 10 and 8 % (16 and 15 % with hopper's).

    Parameters
    ----------
    generation
        Of the GPU. Where it differs from `fitted_on`, constants are those of the nearest generation that was measured.
    fitted_on
        The generation whose measurements the constants come from.
    sustained
        Rate of the tensor cores in bf16 GEMMs of a model that follow each other for long, relative to those of short benchmarks.
    gap
        Seconds from a kernel to the next, different one in a CUDA graph, beside the floor of a kernel that is repeated.
    rates
        Tensor-core rates of other types than bf16.
    registers, shared_memory
        Bytes of an SM; a kernel can have `shared_memory` of the local memory.
    exps
        Exponentials per SM and cycle.
    l2_latency, dram_latency
        Seconds from an SM's load to its data.
    """

    generation: Generation
    fitted_on: Generation
    gemm: GemmConstants
    attention: AttentionConstants
    experts: ExpertsConstants
    vector: VectorConstants
    sustained: Fraction
    gap: Seconds
    shared_memory: PositiveBytes
    rates: TypeRates = TypeRates()
    registers: PositiveBytes = 256 * 1024
    exps: Factor = 16.0
    l2_latency: Seconds = 0.2e-6
    dram_latency: Seconds = 0.5e-6

    def __post_init__(self) -> None:
        if self.dram_latency < self.l2_latency:
            raise ValueError("dram_latency: a load from DRAM passes L2; set it to l2_latency or more")
