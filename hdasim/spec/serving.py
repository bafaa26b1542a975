"""How requests are served: scheduler, batching limits, paging, parallelism."""

import re
from typing import Annotated, Literal

from msgspec import Meta

from .base import BatchCount, DeviceCount, Fraction, Seconds, Spec
from .convert import meant

SCHEDULERS = ("vllm", "ador", "static", "orca", "sarathi", "vllm_v0")
_DOTTED = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+"
Scheduler = Annotated[
    str,
    Meta(
        min_length=1, max_length=200, description=f"{', '.join(SCHEDULERS)}, or module.Class",
        extra_json_schema={"pattern": f"^({'|'.join(SCHEDULERS)}|{_DOTTED})$"},
    ),
]  # fmt: skip
Router = Literal["vllm", "round_robin", "least_outstanding", "least_kv", "prefix_aware", "splitwise"]
#: KV blocks of one device; block numbers are 32-bit.
BlockCount = Annotated[int, Meta(ge=1, le=2**31 - 2)]


class Serving(Spec):
    """Batching as vLLM V1 names and does it, on data_parallel_size x pipeline_parallel_size x device_count devices.

    `scheduler` ``vllm`` is vLLM V1's; ``ador`` the same with decode attention on the MAC trees beside prefill attention on the
    arrays; ``static``, ``orca``, ``sarathi`` and ``vllm_v0`` are what csrc/policy.c says; ``module.Class`` is a policy of the
    user's own (`hdasim.serving.policies` says how to write one).

    `device_count` is vLLM's tensor_parallel_size: the devices of one tensor-parallel group, which share every layer. `tp_method`
    ``megatron`` splits columns then rows with two all-reduces a layer, ``all_gather`` splits every weight by columns and gathers
    four times, ``all_reduce`` splits every weight by rows and reduces four times (papers.md 3.8). `tp_algorithm` ``auto`` takes
    the fastest for each size; ``direct`` all-reduce sends every partial sum to everyone, ``two_shot`` scatters and gathers.

    With `enable_expert_parallel` each device holds whole experts, and tokens travel to them, between all data_parallel_size x
    device_count devices, by `all2all_backend` (vLLM's default is ``allgather_reducescatter``; ``all_to_all`` stands for DeepEP).
    `pipeline_parallel_size` groups hold consecutive layers each, and work on different batches at the same time.
    `data_parallel_size` replicas of all that serve requests of their own; with expert parallelism they share the experts and
    work in lockstep. `router` says who gets a request: ``vllm`` is its data-parallel client's rule (least 4 x waiting + running).

    `enable_prefix_caching` keeps full KV blocks until their memory is needed and finds them by content (as traces with block
    hashes tell it); without hashes it only matters after a preemption. `scheduler_reserve_full_isl` admits a prompt only where
    all of it has room. With `async_scheduling` a step is scheduled while the one before runs, as vLLM 0.19 does in the recorded
    runs of vllm_runs; left out, it is on without a pipeline for ``vllm``, ``ador`` and policies of one's own (unless their class
    says ``async_scheduling = False``); with a pipeline it cannot be on. `host_overhead` is the time that the host takes to
    prepare a step, one after the other: it delays every step, unless asynchronous scheduling hides it. `num_gpu_blocks` overrides
    the number of KV blocks that memory allows (vLLM's own count is one more, of a block that it never uses).
    """

    device_count: DeviceCount = 1
    pipeline_parallel_size: DeviceCount = 1
    data_parallel_size: DeviceCount = 1
    enable_expert_parallel: bool = False
    all2all_backend: Literal["all_to_all", "allgather_reducescatter"] = "all_to_all"
    scheduler: Scheduler = "vllm"
    router: Router = "vllm"
    max_num_seqs: BatchCount = 256
    max_num_batched_tokens: BatchCount = 2048
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = True
    async_scheduling: bool | None = None
    scheduler_reserve_full_isl: bool = True
    host_overhead: Seconds = 0.0
    block_size: BatchCount = 16
    num_gpu_blocks: BlockCount | None = None
    memory_utilization: Fraction = 0.9
    tp_method: Literal["megatron", "all_gather", "all_reduce"] = "megatron"
    tp_algorithm: Literal["auto", "direct", "two_shot", "ring", "tree", "recursive"] = "auto"

    def __post_init__(self) -> None:
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens: {self.max_num_batched_tokens} is less than max_num_seqs {self.max_num_seqs}, and every "
                f"running sequence needs one token a step; set it to {self.max_num_seqs} or more, or lower max_num_seqs"
            )
        if self.scheduler not in SCHEDULERS and not re.fullmatch(_DOTTED, self.scheduler):
            raise ValueError(
                f"scheduler: unknown {self.scheduler[:40]!r}{meant(self.scheduler, SCHEDULERS)}; use {', '.join(SCHEDULERS)}, "
                "or the dotted name of a class such as my_policies.ShortestFirst"
            )
        if self.async_scheduling and self.pipeline_parallel_size > 1:
            raise ValueError(
                "async_scheduling: a sequence's next step would enter the first stage before the last one has its token; leave "
                "it out with pipeline_parallel_size > 1, where batches of other sequences are in flight anyway"
            )
        if self.router == "splitwise":
            raise ValueError("router: splitwise needs pools for prefill and decode; give it in a `cluster:` section")

    def asynchronous(self, default: bool) -> bool:
        """Whether steps are scheduled before the tokens of the one before are there; `default` is the scheduler's own habit."""
        if self.async_scheduling is None:
            return default and self.pipeline_parallel_size == 1
        return self.async_scheduling

    @property
    def lockstep(self) -> int:
        """Data-parallel ranks that share experts and so run in lockstep; 1 if none do."""
        return self.data_parallel_size if self.enable_expert_parallel else 1

    @property
    def devices(self) -> int:
        """All devices of a server with its data-parallel replicas."""
        return self.data_parallel_size * self.pipeline_parallel_size * self.device_count

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
