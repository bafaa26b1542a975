"""The collectives that a table of cases may name, as messages on a topology (noc README 4; order of messages and all).

What the core knows as an algorithm is built there; the patterns that only serve to load a network are built here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdasim.core import _core, layout
from hdasim.errors import SpecError
from hdasim.noc import names
from hdasim.noc.messages import MOST_MESSAGES
from hdasim.noc.topology import Ints
from hdasim.spec.convert import meant
from hdasim.text import SHOWN

Messages = tuple[npt.NDArray[np.void], Ints]
#: Nodes, columns -> messages and joins, at most.
Count = Callable[[int, int], int]
_PLACE = ("collective",)
_RANDOM = re.compile(r"random_k([0-9]{1,9})_f([0-9]{1,13})")


@dataclass(frozen=True)
class Algorithm:
    """A collective of the core: with chunks of `scale` times the table's, cut into `pieces`; `count` bounds its messages."""

    collective: str
    algorithm: str
    count: Count
    scale: int = 1
    pieces: int = 1


def _steps(number: int) -> Count:
    return lambda n, _: number * n * n


#: Without the suffix _rowmajor or _ham of those along a ring.
_ALGORITHMS = {
    "ring_ag": Algorithm("all_gather", "ring", _steps(1)),
    "ring_ar": Algorithm("all_reduce", "ring", _steps(2)),
    "ring_ag_bidir": Algorithm("all_gather", "bidirectional", _steps(2)),
    "ring_ar_bidir": Algorithm("all_reduce", "bidirectional", _steps(4)),
    "skew_ring_ag": Algorithm("all_gather", "ring", _steps(1)),
    "twod_ag": Algorithm("all_gather", "two_d", lambda n, k: n * (k + n // k)),
    "twod_ag_bidir": Algorithm("all_gather", "two_d_bidirectional", lambda n, k: 2 * n * (k + n // k)),
    "twod_ar": Algorithm("all_reduce", "two_d", lambda n, k: 2 * n * (k + n // k)),
    "twod_ar_bidir": Algorithm("all_reduce", "two_d_bidirectional", lambda n, k: 4 * n * (k + n // k)),
    "direct_ag": Algorithm("all_gather", "direct", _steps(1)),
    "direct_ar": Algorithm("all_reduce", "direct", _steps(2)),
    "recdoubling_ag": Algorithm("all_gather", "recursive", lambda n, _: n * n.bit_length()),
    "halvdoub_ar": Algorithm("all_reduce", "recursive", lambda n, _: 2 * n * n.bit_length()),
    "incast": Algorithm("gather", "direct", lambda n, _: n, scale=4),
    "bcast_unicast": Algorithm("broadcast", "direct", lambda n, _: n, scale=4),
    "bcast_binomial": Algorithm("broadcast", "tree", lambda n, _: n, scale=4),
    "bcast_rowcol_pipe8": Algorithm("broadcast", "row_column", lambda n, _: 8 * n, scale=32, pieces=8),
}
_ALONG = ("ring_ag", "ring_ar", "skew_ring_ag")
_PERMUTATIONS = ("perm_transpose", "perm_complement", "perm_shift_half")
#: Every name; random_kK_fF for any K and F beside them.
NAMES = (
    *(f"ring_{op}_{order}{way}" for op in ("ag", "ar") for order in ("rowmajor", "ham") for way in ("", "_bidir")),
    "skew_ring_ag_ham", *(name for name in _ALGORITHMS if not name.startswith(_ALONG)), *_PERMUTATIONS,
)  # fmt: skip


def most_chunk(nodes: int) -> int:
    """Largest chunk of a collective, in flits: the core counts a vector of all nodes' chunks, 32 of them where a broadcast is."""
    return 2**35 // nodes


def check(name: str, topology: str) -> None:
    """`SpecError`, with the path ``("collective",)``, if there is no such collective or it does not fit the topology."""
    nodes = names.parse(topology)[1]
    grid = names.grid(topology)
    if match := _RANDOM.fullmatch(name):
        if not 0 < int(match[2]) <= most_chunk(nodes) or not int(match[1]):
            expected = f"random_kK_fF with K of at least 1 rounds and F from 1 to {most_chunk(nodes)} flits"
            raise SpecError(f"got {name[:SHOWN]!r}; expected {expected}", _PLACE)
        count = nodes * int(match[1])
    elif name not in NAMES:
        known = [*NAMES, "random_k8_f32"]
        got = f"unknown {name[:SHOWN]!r}{meant(name, known)}" if name else "no value"
        raise SpecError(f"{got}; use {', '.join(known[:-1])} or random_kK_fF", _PLACE)
    else:
        _check_shape(name, topology, nodes, grid)
        known_count = _ALGORITHMS.get(_bare(name))
        count = known_count.count(nodes, grid[0] if grid else 1) if known_count else nodes
    if count > MOST_MESSAGES:
        many = f"{name} of {nodes} nodes has up to {count:,} messages"
        raise SpecError(f"{many}, but {MOST_MESSAGES:,} is the most; use fewer nodes", _PLACE)


def _bare(name: str) -> str:
    return re.sub("_rowmajor|_ham", "", name)


def _check_shape(name: str, topology: str, nodes: int, grid: tuple[int, int] | None) -> None:
    shown, other = topology[:SHOWN], name.replace("ham", "rowmajor").removeprefix("skew_")
    needs = ""
    if "_ham" in name and not names.has_cycle(topology):
        what = f"an even number of rows, got {grid[1]} of {shown}" if grid else "a cycle of neighbours, which edges do not name"
        needs = f"{what}; use {other}"
    elif name in ("recdoubling_ag", "halvdoub_ar") and nodes & (nodes - 1):
        needs = f"a number of nodes that is a power of two, got {nodes} of {shown}"
    elif (name.startswith("twod") or name in ("bcast_rowcol_pipe8", "perm_transpose")) and grid is None:
        needs = f"rows and columns, which {shown} has not; use a mesh, torus, cmesh or ring"
    elif name == "perm_transpose" and grid is not None and grid[0] != grid[1]:
        needs = f"as many rows as columns, got {grid[0]} x {grid[1]} of {shown}"
    if needs:
        raise SpecError(f"{name} needs {needs}", _PLACE)


def schedule(name: str, topology: str, chunk: int) -> Messages:
    """Messages (array of `layout.MESSAGE`) and dependencies of a checked collective.

    Parameters
    ----------
    chunk
        Flits that one node contributes; broadcasts, incast and permutations send the multiples of it that the reference has.
    """
    nodes = names.parse(topology)[1]
    if match := _RANDOM.fullmatch(name):
        return _alone(*_random(nodes, int(match[1])), int(match[2]))
    if name in _PERMUTATIONS:
        return _alone(*_permutation(name, topology, nodes), 16 * chunk)
    how = _ALGORITHMS[_bare(name)]
    members = names.topology(topology).order if "_ham" in name else np.arange(nodes)
    grid = names.grid(topology)
    messages, deps = _core.schedule(
        how.collective, how.algorithm, members, how.scale * chunk, columns=grid[0] if grid else 0, pieces=how.pieces
    )  # fmt: skip
    if name.startswith("skew"):
        messages["delay"][:nodes] = 37 * np.arange(nodes) % 101
    return messages, deps


def _alone(source: Ints, target: Ints, flits: int) -> Messages:
    """Messages without dependencies; those to oneself are left out."""
    sent = source != target
    messages = np.zeros(int(sent.sum()), layout.MESSAGE)
    messages["source"], messages["target"], messages["flits"] = source[sent], target[sent], flits
    return messages, np.empty(0, np.int64)


def _random(nodes: int, rounds: int) -> tuple[Ints, Ints]:
    """In each round every node in turn sends to a pseudo-random other one; the seed is 7 for a single round, else 1."""
    source = np.tile(np.arange(nodes), rounds)
    x = 7 if rounds == 1 else 1
    target = np.empty(source.size, np.int64)
    for i in range(source.size):
        x = (1103515245 * x + 12345) % 2**31
        target[i] = (x >> 16) % nodes
    return source, np.where(target == source, (target + 1) % nodes, target)


def _permutation(name: str, topology: str, nodes: int) -> tuple[Ints, Ints]:
    source = np.arange(nodes)
    if name == "perm_complement":
        return source, nodes - 1 - source
    if name == "perm_shift_half":
        return source, (source + nodes // 2) % nodes
    columns, rows = names.grid(topology) or (nodes, 1)
    return source, source.reshape(rows, columns).T.ravel()
