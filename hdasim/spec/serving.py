"""How requests are served: scheduler, batching limits, paging, parallelism."""

from typing import Literal

from .base import BatchCount, DeviceCount, Fraction, Spec


class Serving(Spec):
    """Batching as vLLM V1 names and does it, on one group of `device_count` tensor-parallel devices.

    `scheduler` ``vllm`` runs the attention of prefill and decode one after the other; ``ador`` runs decode attention on the MAC
    trees beside prefill attention on the arrays. `tp_method` ``megatron`` splits columns then rows with two all-reduces a layer,
    ``all_gather`` splits every weight by columns and gathers four times, ``all_reduce`` splits every weight by rows and reduces
    four times (papers.md 3.8). `tp_algorithm` ``auto`` takes the fastest for each size; ``direct`` all-reduce sends every partial
    sum to everyone, ``two_shot`` scatters and gathers.
    """

    device_count: DeviceCount = 1
    scheduler: Literal["vllm", "ador"] = "vllm"
    max_num_seqs: BatchCount = 256
    max_num_batched_tokens: BatchCount = 2048
    enable_chunked_prefill: bool = True
    block_size: BatchCount = 16
    memory_utilization: Fraction = 0.9
    tp_method: Literal["megatron", "all_gather", "all_reduce"] = "megatron"
    tp_algorithm: Literal["auto", "direct", "two_shot", "ring", "tree", "recursive"] = "auto"

    def __post_init__(self) -> None:
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens: {self.max_num_batched_tokens} is less than max_num_seqs {self.max_num_seqs}, and every "
                f"running sequence needs one token a step; set it to {self.max_num_seqs} or more, or lower max_num_seqs"
            )
