"""Topologies between devices as flat arrays: rings, a switch, all to all."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hdasim.noc.topology import Ints


@dataclass(frozen=True, eq=False)
class Graph:
    """Directed links between nodes, the devices first, then a switch.

    Attributes
    ----------
    link_to
        Shape (links,): the node at the far end.
    next_link
        Shape (nodes, nodes): the link that a node takes towards another one, -1 for itself.
    """

    link_to: Ints
    next_link: Ints


@lru_cache(maxsize=16)
def graph(topology: str, devices: int) -> Graph:
    """`ring`: links both ways, the shorter one, up on a tie; `switch`: over the last node; `fully_connected`: a link to each."""
    here = np.arange(devices)
    if topology == "fully_connected":
        source, target = np.nonzero(here[:, None] != here)
        next_link = np.full((devices, devices), -1, np.int64)
        next_link[source, target] = np.arange(source.size)
        return Graph(target, next_link)
    if topology == "switch":
        next_link = np.full((devices + 1, devices + 1), -1, np.int64)
        next_link[:devices] = here[:, None]
        next_link[devices, :devices] = devices + here
        next_link[here, here] = -1
        return Graph(np.concatenate([np.full(devices, devices), here]), next_link)
    up = (here - here[:, None]) % devices
    next_link = np.where(2 * up <= devices, here[:, None], devices + here[:, None])
    next_link[here, here] = -1
    ends = (here + 1) % devices, (here - 1) % devices
    return Graph(np.concatenate(ends if devices > 2 else ends[:1]), next_link)
