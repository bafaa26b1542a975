"""Topologies by name, as in tables of cases: mesh8x8, torus4x4, ring16, xbar32, cmesh4x4c4, edges:0-1,1-2."""

import re
from functools import lru_cache

import numpy as np

from hdasim.errors import SpecError
from hdasim.noc.topology import Topology, build, hamiltonian, tile
from hdasim.spec.base import MAX_CONCENTRATION, MAX_CORES, MAX_ROUTED_CORES
from hdasim.spec.convert import meant
from hdasim.spec.hardware import Noc
from hdasim.text import SHOWN

_FORMS = {
    "mesh": "mesh8x8", "torus": "torus4x4", "ring": "ring16", "xbar": "xbar32", "cmesh": "cmesh4x4c4", "edges": "edges:0-1,1-2",
}  # fmt: skip
_GRID = re.compile(r"(mesh|torus|cmesh)([0-9]{1,9})x([0-9]{1,9})(?:c([0-9]{1,9}))?")
_LINE = re.compile(r"(ring|xbar)([0-9]{1,9})")
_PLACE = ("topology",)


@lru_cache(maxsize=256)
def parse(name: str) -> tuple[Noc, int]:
    """What a name says: the topology as a device would state it, and the number of nodes.

    Raises
    ------
    SpecError
        With the path ``("topology",)``.
    """
    name = name.strip()
    if name.startswith("edges:"):
        return _edges(name[len("edges:") :])
    if match := _GRID.fullmatch(name):
        kind, columns, rows, concentration = match[1], int(match[2]), int(match[3]), match[4]
        if (kind == "cmesh") == (concentration is not None):
            return _grid(name, kind, columns, rows, int(concentration or 1))
    if match := _LINE.fullmatch(name):
        nodes = int(match[2])
        _check_nodes(name, nodes, nodes if match[1] == "ring" else 1)
        return Noc(topology="ring" if match[1] == "ring" else "crossbar"), nodes
    raise _unknown(name)


@lru_cache(maxsize=16)
def topology(name: str) -> Topology:
    """The topology of that name, its nodes in the order of the reference's rings (noc README 4); `SpecError` as `parse`."""
    noc, nodes = parse(name)
    try:
        built = build(noc, nodes, "node")
    except SpecError as error:
        raise SpecError(error.message, _PLACE) from None
    if has_cycle(name) and noc.topology in ("mesh", "torus", "cmesh"):
        order = hamiltonian(built.columns, nodes // built.columns)
    else:
        order = np.arange(nodes)
    return Topology(
        built.router_of, built.link_from, built.link_to, built.next_link, order, built.columns, built.link_dimension,
        built.link_wraps,
    )  # fmt: skip


def grid(name: str) -> tuple[int, int] | None:
    """Columns and rows of nodes; None where there are none: crossbars and edge lists."""
    noc, nodes = parse(name)
    if noc.topology in ("crossbar", "edges"):
        return None
    if noc.topology == "ring":
        return nodes, 1
    columns = noc.columns * tile(noc.concentration)[0]
    return columns, nodes // columns


def has_cycle(name: str) -> bool:
    """Whether the order of `topology` is a ring of the reference: rows even in number or one; a crossbar's nodes."""
    if (size := grid(name)) is None:
        return parse(name)[0].topology == "crossbar"
    return size[1] == 1 or size[1] % 2 == 0


def _grid(name: str, kind: str, columns: int, rows: int, concentration: int) -> tuple[Noc, int]:
    if min(columns, rows, concentration) < 1:
        raise SpecError(f"got {name[:SHOWN]!r} with a size of zero; expected sizes of at least 1", _PLACE)
    if concentration > MAX_CONCENTRATION:
        raise SpecError(f"{concentration} nodes per router are too many; use at most {MAX_CONCENTRATION}", _PLACE)
    _check_nodes(name, columns * rows * concentration, columns * rows)
    if kind == "mesh":
        return Noc(topology="mesh", columns=columns), columns * rows
    if kind == "torus":
        return Noc(topology="torus", columns=columns), columns * rows
    return Noc(topology="cmesh", columns=columns, concentration=concentration), columns * rows * concentration


def _check_nodes(name: str, nodes: int, routers: int) -> None:
    if nodes < 1:
        raise SpecError(f"got {name[:SHOWN]!r} with a size of zero; expected sizes of at least 1", _PLACE)
    if nodes < 2:
        raise SpecError(f"{name[:SHOWN]!r} has one node, which has nobody to send to; use at least 2", _PLACE)
    if nodes > MAX_CORES or routers > MAX_ROUTED_CORES:
        most = f"use at most {MAX_CORES} nodes and {MAX_ROUTED_CORES} routers"
        raise SpecError(f"{nodes} nodes on {routers} routers are too many; {most}", _PLACE)


def _edges(text: str) -> tuple[Noc, int]:
    edges = []
    for part in re.split(r"[,;\s]+", text.strip().strip(",;")) if text.strip() else []:
        if not (match := re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", part)):
            raise SpecError(f"got the edge {part[:SHOWN]!r}; expected two nodes such as 0-1", _PLACE)
        edges.append((int(match[1]), int(match[2])))
    if not edges:
        raise SpecError("no edges; expected pairs of nodes such as edges:0-1,1-2", _PLACE)
    nodes = 1 + max(max(edge) for edge in edges)
    _check_nodes("edges", max(nodes, 2), nodes)  # a single node is a self loop, which says more
    return Noc(topology="edges", edges=tuple(edges)), nodes


def _unknown(name: str) -> SpecError:
    kind = re.match(r"[A-Za-z]*", name)
    word = kind[0].lower() if kind else ""
    if not name:
        return SpecError(f"no value; use {', '.join(_FORMS.values())}", _PLACE)
    if word in _FORMS:
        return SpecError(f"got {name[:SHOWN]!r}; write a {word} as {_FORMS[word]}", _PLACE)
    hint = meant(word, _FORMS) if word else ""
    return SpecError(f"unknown {name[:SHOWN]!r}{hint}; use {', '.join(_FORMS.values())}", _PLACE)
