"""Networks between devices as the flat arrays that the C core simulates."""

import numpy as np

from ..core._core import Links
from ..spec.hardware import P2P

PICOSECONDS = 1e12


def _arrays(count: int, nodes: int, edges: list[tuple[int, int]], hop: dict[tuple[int, int], int]) -> tuple[np.ndarray, np.ndarray]:
    """(link_to, next_link) of directed `edges`; `hop` gives the next node from one towards another."""
    index = {edge: i for i, edge in enumerate(edges)}
    next_link = np.full((nodes, nodes), -1, np.int64)
    for (a, b), over in hop.items():
        next_link[a, b] = index[a, over]
    return np.array([b for _, b in edges], np.int64), next_link.ravel()


def switched(count: int) -> tuple[np.ndarray, np.ndarray]:
    """All devices on one switch, node `count`: (link_to, next_link)."""
    edges = [(i, count) for i in range(count)] + [(count, i) for i in range(count)]
    hop = {(a, b): count for a in range(count) for b in range(count) if a != b} | {(count, b): b for b in range(count)}
    return _arrays(count, count + 1, edges, hop)


def ring(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Each device linked to the next and the one before; the shorter way round, up on a tie."""
    edges = [(i, (i + 1) % count) for i in range(count)] + ([(i, (i - 1) % count) for i in range(count)] if count > 2 else [])
    hop = {}
    for a in range(count):
        for b in range(count):
            if a != b:
                hop[a, b] = (a + (1 if 2 * ((b - a) % count) <= count else -1)) % count
    return _arrays(count, count, edges, hop)


def fully_connected(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A link from every device to every other."""
    edges = [(a, b) for a in range(count) for b in range(count) if a != b]
    return _arrays(count, count, edges, {edge: edge[1] for edge in edges})


def network(p2p: P2P | None, count: int) -> Links:
    """The network of `count` devices with the links of `p2p`; of no use where `p2p` is None.

    On a switch a device has one link up and one down, each with its whole bandwidth, and the first byte of a message arrives `latency`
    after it was sent. On a ring and between fully connected devices the bandwidth is divided over a device's links in one
    direction: 2 and count - 1.
    """
    count = max(count, 2)
    if p2p is None:
        link_to, next_link = fully_connected(count)
        return Links(count, link_to, next_link, np.ones(link_to.size), np.zeros(link_to.size, np.int64))
    latency = round(p2p.latency * PICOSECONDS)
    rate = p2p.bandwidth * p2p.efficiency
    if p2p.topology == "switch":
        link_to, next_link = switched(count)
        delays = np.where(link_to == count, 0, latency)
        return Links(count, link_to, next_link, np.full(link_to.size, rate), delays)
    link_to, next_link = ring(count) if p2p.topology == "ring" else fully_connected(count)
    share = rate / (min(2, count - 1) if p2p.topology == "ring" else count - 1)
    return Links(count, link_to, next_link, np.full(link_to.size, share), np.full(link_to.size, latency))
