"""What a die is made of beside its architecture: process node, physical counts, register files, interfaces.

`hdasim.cost.area` turns it into square millimetres by LLMCompass's transistor model (Zhang et al., ISCA 2024).
"""

from typing import Annotated, Literal

from msgspec import Meta

from .base import CoreCount, PositiveBytes, Side, Spec, SquareMillimetres, Width

#: Of one lane; may be fractional.
Count = Annotated[float, Meta(ge=0, le=1e6)]
Interfaces = Annotated[int, Meta(ge=0, le=4096)]
ProcessNode = Literal["5nm", "6nm", "7nm", "10nm", "14nm", "20nm", "28nm", "40nm", "65nm", "90nm"]
InterfaceKind = Literal["HBM2e", "DDR5", "PCIe4", "PCIe5", "NVLink3", "NVLink4", "InfinityFabric"]
MacTreeArea = Literal["synthesis", "ador"]
MemoryPrice = Literal["HBM2e", "DDR5", "DDR5-2025"]


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

    kind: InterfaceKind
    count: Interfaces


class KnownDie(Spec):
    """The area of the die by somebody else, and who says so."""

    area: SquareMillimetres
    source: Annotated[str, Meta(min_length=1, max_length=300)]


class Area(Spec):
    """Physical counts are those on the die, enabled or not; None: as many as the device has.

    `lanes`: sublanes of a core, each with its array, control and registers. `vector_width` of one lane, by default the core's
    vector unit divided by the lanes. `alus` default to those of LLMCompass for that width: half of it int32 and fp32, a quarter
    fp64. `array_rows` and `array_cols` where the die has more cells than work in a cycle. None of `memory`, `links` and `host`:
    not on the die, or not counted. `memory_price` names the price of a GB (`hdasim.cost.money`), by default that of `memory`.

    Without a `process_node`, `unknown` says why the model cannot give this die. `sram_cell`, the area of an SRAM bit, is needed
    at nodes for which LLMCompass has none (all but 5, 6 and 7 nm).

    `mac_tree_area`: ``synthesis`` counts multipliers and adders of the tree, ``ador`` is calibrated to the 516 mm2 that ADOR
    prints for its design (`hdasim.cost.area`). `measured_die` is the real die, `printed_die` what a paper's own model gave;
    neither enters the model.
    """

    process_node: ProcessNode | None = None
    unknown: Annotated[str, Meta(min_length=1, max_length=300)] | None = None
    memory: Interface | None = None
    links: Interface | None = None
    host: Interface | None = None
    cores: CoreCount | None = None
    lanes: Side | None = None
    array_rows: Side | None = None
    array_cols: Side | None = None
    vector_width: Width | None = None
    alus: Alus | None = None
    register_file: RegisterFile = RegisterFile()
    local_memory: PositiveBytes | None = None
    global_memory: PositiveBytes | None = None
    sram_cell: SquareMillimetres | None = None
    mac_tree_area: MacTreeArea = "synthesis"
    memory_price: MemoryPrice | None = None
    measured_die: KnownDie | None = None
    printed_die: KnownDie | None = None

    def __post_init__(self) -> None:
        if self.process_node is None and self.unknown is None:
            raise ValueError("process_node: a die needs one, such as 7nm, unless `unknown` says why its area is not known")
