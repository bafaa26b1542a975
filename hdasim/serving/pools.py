"""What serves: pools of equal instances, compiled and bound to their devices."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import msgspec

from ..core import layout
from ..core._core import Profile
from ..device.latency import Machine, build
from ..errors import SpecError
from ..profile.machine import profile
from ..spec.cluster import Cluster, KvLink, Pool
from ..spec.experiment import Experiment
from ..spec.serving import SCHEDULERS, Serving


@dataclass(frozen=True, eq=False)
class Servers:
    """A pool of `instances` equal instances, each of `ranks` data-parallel ranks in lockstep (1: none).

    `profile` takes the place of the machine's programs. `place` is where the pool's serving section stands in the experiment.
    """

    role: str
    machine: Machine
    serving: Serving
    instances: int
    ranks: int
    profile: Profile | None = None
    link: KvLink | None = None
    place: tuple[str | int, ...] = ("serving",)

    @property
    def block_count(self) -> int:
        """KV blocks of a rank."""
        return self.serving.num_gpu_blocks or self.machine.page_count

    def describe(self, kv_bytes: float) -> list[dict[str, Any]]:
        """An entry per instance in the form of `core.Serve`; `kv_bytes` are those of a token."""
        serving, own = self.serving, self.serving.scheduler not in SCHEDULERS
        policy = "custom" if own else "vllm" if serving.scheduler == "ador" else serving.scheduler
        entry = {
            "programs": [] if self.profile else [part.core for part in self.machine.chain], "profile": self.profile,
            "rank_count": self.ranks, "role": layout.ROLES[self.role], "policy": layout.POLICIES[policy],
            "max_num_seqs": serving.max_num_seqs, "max_num_batched_tokens": serving.max_num_batched_tokens,
            "block_size": serving.block_size, "block_count": self.block_count,
            "chunked_prefill": serving.enable_chunked_prefill and policy != "vllm_v0",
            "prefix_caching": serving.enable_prefix_caching, "async_scheduling": serving.asynchronous,
            "reserve_full_prompt": serving.scheduler_reserve_full_isl, "host_overhead": serving.host_overhead,
            "kv_bytes": kv_bytes, "kv_bandwidth": self.link.bandwidth if self.link else float("inf"),
            "kv_latency": self.link.latency if self.link else 0.0, "kv_overlap": self.link.overlap if self.link else 0.0,
        }  # fmt: skip
        make = _policy(serving.scheduler, self.place) if own else None
        return [{**entry, "custom": make and [make() for _ in range(self.ranks)]} for _ in range(self.instances)]


def _policy(name: str, place: tuple[str | int, ...]) -> Any:
    """The class with that dotted name."""
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        reason = f"{error}; it must be importable: set PYTHONPATH, or run where the module lies"
        raise SpecError(f"cannot load {name}: {reason}", (*place, "scheduler")) from None
    if not callable(getattr(found, "schedule", None)):
        raise SpecError(f"{name} has no method schedule(scheduler); see hdasim.serving.policies", (*place, "scheduler"))
    return found


def build_pools(experiment: Experiment) -> list[Servers]:
    """Compile the experiment for each of its pools; one pool of `data_parallel_size` replicas without a cluster.

    Raises
    ------
    SpecError, CapacityError
        If it cannot run; with the place of the pool.
    """
    cluster = experiment.cluster
    if cluster is None:
        return [_servers(experiment, Pool(), None, ("serving",), build(experiment))]
    pools, machines = [], dict[Any, Machine]()
    for i, pool in enumerate(cluster.pools):
        changes = {key: value for key in ("device", "serving") if (value := getattr(pool, key)) is not None}
        own = msgspec.structs.replace(experiment, **changes)
        place: tuple[str | int, ...] = ("cluster", "pools", i)
        try:
            key = (own.device, own.serving)
            if key not in machines:
                machines[key] = build(own)
        except SpecError as error:
            if error.path[:1] in (("device",), ("serving",)) and error.path[0] in changes:
                raise type(error)(error.message, place + error.path, error.place) from None
            raise
        pools.append(_servers(own, pool, cluster, (*place, "serving"), machines[key]))
    return pools


def _servers(
    experiment: Experiment, pool: Pool, cluster: Cluster | None, place: tuple[str | int, ...], machine: Machine
) -> Servers:
    serving = experiment.serving
    replicas = serving.data_parallel_size // serving.lockstep
    link = cluster.link if cluster else None
    tables = profile(experiment, experiment.profile) if experiment.profile else None
    return Servers(pool.role, machine, serving, pool.count * replicas, serving.lockstep, tables, link, place)
