"""A chip of the template: the numbers that are searched, the device they make, and what area allows."""

import math
from collections.abc import Callable

import msgspec

from ...cost.area import die_area
from ...spec.hardware import Core, Device, MacTree, SystolicArray
from ...spec.search_ador import AdorSearch, Constraints

KIB, MIB = 1024, 1 << 20
#: Global memory is sized in the units of the area model's SRAM.
GLOBAL_UNIT = 512 * KIB
#: The widest link that a device may have stands for unlimited.
WIDEST_LINK = 1 << 20


class Chip(msgspec.Struct, frozen=True, kw_only=True):
    """What is searched; bytes, bytes/cycle, bytes/s per direction. `width` and `lanes` are those of the MAC tree."""

    side: int
    core_count: int
    width: int
    lanes: int
    local_memory: int
    global_memory: int
    link_width: int
    p2p_bandwidth: float | None = None

    @property
    def label(self) -> str:
        """``32 cores of 64x64, tree 16x16, 2048 KiB; 16 MiB``."""
        local = f"{self.local_memory / KIB:g} KiB"
        return (
            f"{self.core_count} cores of {self.side}x{self.side}, tree {self.width}x{self.lanes}, {local}; "
            f"{self.global_memory / MIB:g} MiB"
        )


def columns(core_count: int) -> int:
    """Columns of the mesh nearest to a square: the smallest divisor of the cores that is not below their root (32: 8)."""
    return next(d for d in range(math.isqrt(core_count - 1) + 1, core_count + 1) if core_count % d == 0) if core_count > 1 else 1


def device(search: AdorSearch, chip: Chip) -> Device:
    """The device of a chip within the constraints of the search."""
    given = search.constraints
    p2p = given.p2p
    if p2p is not None and chip.p2p_bandwidth is not None:
        p2p = msgspec.structs.replace(p2p, bandwidth=chip.p2p_bandwidth)
    width = given.global_memory_width * chip.global_memory / MIB
    return Device(
        name="proposed", frequency=given.frequency, core_count=chip.core_count,
        core=Core(
            systolic_array=SystolicArray(rows=chip.side, cols=chip.side),
            mac_tree=MacTree(width=chip.width, lanes=chip.lanes, lanes_split=search.space.lanes_split),
            vector_unit=given.vector_unit, local_memory=float(chip.local_memory),
        ),
        global_memory=float(chip.global_memory),
        global_memory_bandwidth=max(width * given.frequency, 1.0), dram=given.dram,
        noc=msgspec.structs.replace(given.noc, columns=columns(chip.core_count), link_width=chip.link_width),
        p2p=p2p, area=given.die, power=given.power,
    )  # fmt: skip


def area(search: AdorSearch, chip: Chip, *, trees: bool = True) -> float:
    """mm2 of the die, or of the die without its MAC trees."""
    parts = die_area(device(search, chip))
    return parts.total if trees else parts.total - parts.cores * parts.core_mac_tree_mm2


def reference(search: AdorSearch) -> Device:
    """The reference, its MAC trees' area (and so its leakage) counted as those of the chips."""
    given = search.reference
    assert given.area is not None  # `AdorSearch` holds that
    area = msgspec.structs.replace(given.area, mac_tree_area=search.constraints.die.mac_tree_area)
    return msgspec.structs.replace(given, area=area)


def most(fits: Callable[[int], bool]) -> int:
    """The largest whole number that fits, where smaller ones fit too; -1 if not even 0 does."""
    if not fits(0):
        return -1
    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def rest(search: AdorSearch, chip: Chip) -> int:
    """Bytes of global memory that the area left by the rest of the chip holds, in whole units; -1 if the rest is too large."""
    limit = search.constraints.area

    def fits(units: int) -> bool:
        return area(search, msgspec.structs.replace(chip, global_memory=units * GLOBAL_UNIT)) <= limit

    return max(most(fits) * GLOBAL_UNIT, -1)


def smallest(constraints: Constraints) -> str:
    """Words for an error: what takes area however small the chip is."""
    die = constraints.die
    parts = [f"{p.count} x {p.kind}" for p in (die.memory, die.links, die.host) if p is not None]
    return f"interfaces ({', '.join(parts)}) and one core" if parts else "one core"
