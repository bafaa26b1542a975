"""What a die is made of beside its architecture: process node, physical counts, register files, interfaces.

`hdasim.cost.area` turns it into square millimetres by LLMCompass's transistor model (Zhang et al., ISCA 2024).
"""

from typing import Annotated, Literal

from msgspec import Meta

from .base import CoreCount, PositiveBytes, Side, Spec, Width

#: Of one lane; may be fractional.
Count = Annotated[float, Meta(ge=0, le=1e6)]
Interfaces = Annotated[int, Meta(ge=0, le=4096)]


class Alus(Spec):
    """Vector ALUs of one lane."""

    int32: Count = 16
    fp16: Count = 0
    fp32: Count = 16
    fp64: Count = 8


class RegisterFile(Spec):
    """Register files of one lane."""

    files: Interfaces = 1
    registers: Annotated[int, Meta(ge=1, le=1 << 20)] = 16384
    bits: Annotated[int, Meta(ge=1, le=4096)] = 32
    ports: Annotated[int, Meta(ge=1, le=64)] = 4


class Interface(Spec):
    """`count` PHYs with their controllers: HBM2e stacks of 1024 bits, DDR5 channels of 32 bits, links, PCIe lanes."""

    kind: Literal["HBM2e", "DDR5", "PCIe4", "PCIe5", "NVLink3", "NVLink4", "InfinityFabric"]
    count: Interfaces


class Area(Spec):
    """Physical counts are those on the die, enabled or not; None: as many as the device has.

    `lanes`: sublanes of a core, each with its array, control and registers. `vector_width` of one lane.
    `mac_tree_area`: ``synthesis`` counts multipliers and adders of the tree, ``ador`` is calibrated to the 516 mm2 that ADOR
    prints for its design (`hdasim.cost.area`).
    """

    process_node: Literal["5nm", "6nm", "7nm", "10nm", "14nm", "20nm", "28nm", "40nm", "65nm", "90nm"]
    memory: Interface | None = None
    links: Interface | None = None
    host: Interface | None = None
    cores: CoreCount | None = None
    lanes: Side | None = None
    vector_width: Width | None = None
    alus: Alus = Alus()
    register_file: RegisterFile = RegisterFile()
    local_memory: PositiveBytes | None = None
    global_memory: PositiveBytes | None = None
    mac_tree_area: Literal["synthesis", "ador"] = "synthesis"
