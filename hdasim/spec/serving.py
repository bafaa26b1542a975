"""How requests are served: scheduler, batching limits, paging, parallelism."""

from typing import Literal

from .base import BatchCount, DeviceCount, Fraction, Spec


class Serving(Spec):
    """Batching as vLLM V1 names and does it, on data_parallel_size x pipeline_parallel_size x device_count devices.

    `scheduler` ``vllm`` runs the attention of prefill and decode one after the other; ``ador`` runs decode attention on the MAC
    trees beside prefill attention on the arrays.

    `device_count` is vLLM's tensor_parallel_size: the devices of one tensor-parallel group, which share every layer. `tp_method`
    ``megatron`` splits columns then rows with two all-reduces a layer, ``all_gather`` splits every weight by columns and gathers
    four times, ``all_reduce`` splits every weight by rows and reduces four times (papers.md 3.8). `tp_algorithm` ``auto`` takes
    the fastest for each size; ``direct`` all-reduce sends every partial sum to everyone, ``two_shot`` scatters and gathers.

    With `enable_expert_parallel` each device holds whole experts, and tokens travel to them, between all data_parallel_size x
    device_count devices, by `all2all_backend` (vLLM's default is ``allgather_reducescatter``; ``all_to_all`` stands for DeepEP).
    `pipeline_parallel_size` groups hold consecutive layers each, and work on different batches at the same time.
    `data_parallel_size` replicas of all that serve requests of their own, dealt in turn, and share nothing but such experts.
    """

    device_count: DeviceCount = 1
    pipeline_parallel_size: DeviceCount = 1
    data_parallel_size: DeviceCount = 1
    enable_expert_parallel: bool = False
    all2all_backend: Literal["all_to_all", "allgather_reducescatter"] = "all_to_all"
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

    def group(self, device: str, *, replicas: bool = True) -> str:
        """The devices in words: ``4 x ador`` (tensor parallel only), ``2 x 4 x ador (pipeline x tensor)``."""
        sizes = [("data", self.data_parallel_size if replicas else 1), ("pipeline", self.pipeline_parallel_size)]
        sizes = [(name, size) for name, size in sizes if size > 1]
        ranks = self.data_parallel_size if self.enable_expert_parallel else 1
        experts = self.enable_expert_parallel and ranks == 1 and self.device_count > 1
        if self.device_count > 1 or not sizes:
            sizes.append(("tensor and expert" if experts else "tensor", self.device_count))
        names = " x ".join(name for name, _ in sizes) + (f", experts over {ranks * self.device_count}" if ranks > 1 else "")
        return " x ".join([*(str(size) for _, size in sizes), device]) + (f" ({names})" if names != "tensor" else "")
