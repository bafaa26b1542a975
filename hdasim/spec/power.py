"""What a device draws: its limit, where its energies come from, and any of them that is known better than its node tells."""

from typing import Annotated, Literal

from msgspec import Meta

from .base import Joules, Spec, SquareMillimetres, Watts

Ratio = Annotated[float, Meta(ge=0.1, le=10)]

#: Processes, memories and links whose energies `hdasim.device.energy` knows, with their sources.
Node = Literal["5nm", "6nm", "7nm", "10nm", "14nm"]
Memory = Literal["HBM2", "HBM2e", "HBM3", "HBM3e", "GDDR6", "GDDR6X", "GDDR7", "LPDDR5", "DDR4", "DDR5"]
Links = Literal["NVLink3", "NVLink4", "PCIe4", "PCIe5"]


class Power(Spec):
    """Energies follow from `process_node`, `memory` and `links` (`hdasim.device.energy`: sources and derivations); what is given
    beside them counts instead. Without `process_node` they are unknown, and so is the power; `tdp` alone is a data sheet's limit.

    `operands`: how those of a multiply-accumulate arrive: ``cells`` of a systolic array hand them on, ``registers`` hold
    fragments (mma), ``shared_memory`` feeds tensor cores, and registers hold accumulators (wgmma). `clock_gain`: how much faster
    circuits are clocked than the same ones at 7 nm, which costs voltage. `die`: where the area model does not know it.

    Joules: `mac` on an array, `tree_mac` on a MAC tree, `vector_op`; for a byte of `dram_byte`, `global_byte`, `local_byte`,
    `noc_byte` (from a core to its neighbour), `link_byte` (received from another device). Watts: `static` while a step runs
    (leakage, clock tree), `idle` between steps.
    """

    tdp: Watts | None = None
    process_node: Node | None = None
    memory: Memory | None = None
    links: Links | None = None
    operands: Literal["cells", "registers", "shared_memory"] = "cells"
    clock_gain: Ratio = 1.0
    die: SquareMillimetres | None = None
    mac: Joules | None = None
    tree_mac: Joules | None = None
    vector_op: Joules | None = None
    dram_byte: Joules | None = None
    global_byte: Joules | None = None
    local_byte: Joules | None = None
    noc_byte: Joules | None = None
    link_byte: Joules | None = None
    static: Watts | None = None
    idle: Watts | None = None
