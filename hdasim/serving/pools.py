"""What serves: pools of equal instances, compiled and bound to their devices."""

import importlib
import os
import sys
import traceback
from dataclasses import dataclass
from typing import Any

import msgspec

from ..core import layout
from ..core._core import Profile
from ..device.latency import Machine, build
from ..errors import CapacityError, SpecError
from ..profile.machine import profile
from ..spec.cluster import MAX_SERVERS, Cluster, KvLink, Pool
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
        serving = self.serving
        own = None if serving.scheduler in SCHEDULERS else load_policy(serving.scheduler, self.place)
        policy = "custom" if own else "vllm" if serving.scheduler == "ador" else serving.scheduler
        chunks = policy != "vllm_v0" and getattr(own, "chunked_prefill", True)
        habit = policy == "vllm" or bool(own and getattr(own, "async_scheduling", True))
        entry = {
            "programs": [] if self.profile else [part.core for part in self.machine.chain], "profile": self.profile,
            "rank_count": self.ranks, "device_count": self.machine.device_count, "role": layout.ROLES[self.role],
            "policy": layout.POLICIES[policy],
            "max_num_seqs": serving.max_num_seqs, "max_num_batched_tokens": serving.max_num_batched_tokens,
            "block_size": serving.block_size, "block_count": self.block_count,
            "chunked_prefill": serving.enable_chunked_prefill and chunks,
            "prefix_caching": serving.enable_prefix_caching, "async_scheduling": serving.asynchronous(habit),
            "reserve_full_prompt": serving.scheduler_reserve_full_isl, "host_overhead": serving.host_overhead,
            "kv_bytes": kv_bytes, "kv_bandwidth": self.link.bandwidth if self.link else float("inf"),
            "kv_latency": self.link.latency if self.link else 0.0, "kv_overlap": self.link.overlap if self.link else 0.0,
        }  # fmt: skip
        return [{**entry, "custom": own and [self._policy(own) for _ in range(self.ranks)]} for _ in range(self.instances)]

    def _policy(self, own: Any) -> Any:
        try:
            return own()
        except Exception as error:
            name, path = self.serving.scheduler, (*self.place, "scheduler")
            raise SpecError(f"{name} cannot be made without arguments: {describe_error(error)}", path) from error


def load_policy(name: str, place: tuple[str | int, ...] = ("serving",)) -> Any:
    """The class with a dotted name, also from the current directory (which Python itself leaves out for an installed script).

    Raises
    ------
    SpecError
        If there is none, its module cannot be imported, or it is not a policy (`hdasim.serving.policies`).
    """
    module, _, attribute = name.rpartition(".")
    path, here = (*place, "scheduler"), os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except AttributeError:
        raise SpecError(f"cannot load {name}: module {module} has no {attribute}", path) from None
    except ModuleNotFoundError as error:
        raise SpecError(f"cannot load {name}: {error}; it must lie in {here} or on PYTHONPATH", path) from None
    except Exception as error:
        raise SpecError(f"cannot load {name}: {describe_error(error)}", path) from error
    if not isinstance(found, type) or not callable(getattr(found, "schedule", None)):
        raise SpecError(f"{name} is no class with a method schedule(scheduler); see hdasim.serving.policies", path)
    for key in ("chunked_prefill", "async_scheduling"):
        if not isinstance(getattr(found, key, True), bool):
            raise SpecError(f"{name}.{key} must be True or False, got {str(getattr(found, key))[:40]!r}", path)
    return found


def describe_error(error: BaseException) -> str:
    """An error of a user's own code in one line, with the place in that code where it came about."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    package = os.path.dirname(os.path.dirname(__file__))
    hidden = (package + os.sep, os.path.dirname(importlib.__file__) + os.sep)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if os.path.isfile(f.filename) and f.filename.endswith(".py")]
    own = [f for f in frames if not f.filename.startswith(hidden)]
    text = " ".join(str(error).split())
    return (f"{own[-1].filename}:{own[-1].lineno}: " if own else "") + type(error).__name__ + (f": {text}" if text else "")


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
    _check_cluster(experiment, cluster)
    pools, machines = [], dict[Any, Machine]()
    for i, pool in enumerate(cluster.pools):
        changes = {key: value for key in ("device", "serving") if (value := getattr(pool, key)) is not None}
        own = msgspec.structs.replace(experiment, **changes)
        place: tuple[str | int, ...] = ("cluster", "pools", i)
        try:
            key = (own.device, own.serving)
            if key not in machines:
                machines[key] = build(own)
        except (SpecError, CapacityError) as error:
            if error.path[:1] in (("device",), ("serving",)) and changes:
                raise type(error)(error.message, place + error.path, error.place) from None
            raise
        pools.append(_servers(own, pool, cluster, (*place, "serving"), machines[key]))
    return pools


def _check_cluster(experiment: Experiment, cluster: Cluster) -> None:
    """`SpecError` where there are too many servers, or a profile of one device and pools on others."""
    servers = 0
    for i, pool in enumerate(cluster.pools):
        serving = pool.serving or experiment.serving
        servers += pool.count * serving.data_parallel_size
        if servers > MAX_SERVERS:
            raise SpecError(
                f"up to this pool there are {servers:,} servers, data-parallel replicas included; at most {MAX_SERVERS:,} can be "
                "simulated", ("cluster", "pools", i, "count")
            )  # fmt: skip
        if experiment.profile is not None and pool.device not in (None, experiment.device):
            raise SpecError(
                "the profile's tables are those of the experiment's device, and would be taken for this one; leave out either",
                ("cluster", "pools", i, "device"),
            )


def _servers(
    experiment: Experiment, pool: Pool, cluster: Cluster | None, place: tuple[str | int, ...], machine: Machine
) -> Servers:
    serving = experiment.serving
    replicas = serving.data_parallel_size // serving.lockstep
    link = cluster.link if cluster else None
    tables = profile(experiment, experiment.profile) if experiment.profile else None
    return Servers(pool.role, machine, serving, pool.count * replicas, serving.lockstep, tables, link, place)
