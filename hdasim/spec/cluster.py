"""Clusters: pools of servers with roles, and the links between them."""

from typing import Annotated, Literal

from msgspec import Meta

from .base import BytesPerSecond, Seconds, Spec
from .hardware import Device
from .serving import Router, Serving

#: Servers of a pool, and of all pools together with their data-parallel replicas.
MAX_SERVERS = 65_536
ServerCount = Annotated[int, Meta(ge=1, le=MAX_SERVERS)]


class Pool(Spec):
    """`count` equal servers. `device` and `serving` are those of the experiment unless given; keys of `serving` override its.

    `role` ``prefill`` computes prompts and the first token, ``decode`` the tokens after it, ``both`` everything.
    """

    role: Literal["both", "prefill", "decode"] = "both"
    count: ServerCount = 1
    device: Device | None = None
    serving: Serving | None = None


class KvLink(Spec):
    """The link of each server over which keys and values travel: one message at a time, the slower end sets the pace.

    `overlap` is the share of a transfer that is hidden behind the prefill, layer by layer (Splitwise: 0.9).
    """

    bandwidth: BytesPerSecond
    latency: Seconds = 0.0
    overlap: Annotated[float, Meta(ge=0, le=1)] = 0.0


class Cluster(Spec):
    """Pools of servers behind one router.

    `router` ``splitwise`` chooses both servers of a request when it arrives and moves servers between the pools of prefill and
    decode as load asks for it (papers.md 6.7); with the others a server keeps its role.
    """

    pools: Annotated[tuple[Pool, ...], Meta(min_length=1, max_length=1000)]
    router: Router = "vllm"
    link: KvLink | None = None

    def __post_init__(self) -> None:
        roles = {pool.role for pool in self.pools}
        if ("prefill" in roles) != ("decode" in roles):
            here, missing = ("prefill", "decode") if "prefill" in roles else ("decode", "prefill")
            raise ValueError(f"pools: a pool with role {here} needs one with role {missing}; add it, or use role both alone")
        if "prefill" in roles and self.link is None:
            raise ValueError("link: keys and values travel between pools; give {bandwidth: ..., latency: ...}")
        if self.router == "splitwise" and not {"prefill", "decode"} <= roles:
            raise ValueError("router: splitwise needs a pool with role prefill and one with role decode")
