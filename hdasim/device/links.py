"""Networks between devices, ready for the C core."""

import numpy as np

from ..core._core import Links
from ..noc.links import graph
from ..spec.hardware import P2P

PICOSECONDS = 1e12


def network(p2p: P2P | None, count: int) -> Links:
    """The network of `count` devices with the links of `p2p`; of no use where `p2p` is None.

    On a switch a device has one link up and one down, each with its whole bandwidth, and the first byte of a message arrives
    `latency` after it was sent. On a ring and between fully connected devices the bandwidth is divided over a device's links in
    one direction: 2 and count - 1.
    """
    count = max(count, 2)
    topology = p2p.topology if p2p else "fully_connected"
    arcs = graph(topology, count)
    link_to, next_link = arcs.link_to, arcs.next_link.ravel()
    if p2p is None:
        return Links(count, link_to, next_link, np.ones(link_to.size), np.zeros(link_to.size, np.int64))
    latency = round(p2p.latency * PICOSECONDS)
    rate = p2p.bandwidth * p2p.efficiency
    if topology == "switch":
        delays = np.where(link_to == count, 0, latency)
        return Links(count, link_to, next_link, np.full(link_to.size, rate), delays)
    share = rate / (min(2, count - 1) if topology == "ring" else count - 1)
    return Links(count, link_to, next_link, np.full(link_to.size, share), np.full(link_to.size, latency))
