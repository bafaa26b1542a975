"""Die area by LLMCompass's transistor model (Zhang et al., ISCA 2024; cost_model.py of its repository).

    die = cores (lanes (control + ALUs + array + register files) + MAC trees + SRAM(local) + port) + SRAM(global) + interfaces

Logic is counted in transistors and divided by the logic density of the node; SRAM is bits x cell / efficiency; register files
follow a polynomial fitted at 90 nm, scaled by density; PHYs do not scale. Counts are those on the die, enabled or not.

LLMCompass has no MAC tree; that of ADOR's papers has two named areas (`MAC_TREE_TRANSISTORS`). Both count multipliers, width x
lanes of them in each core, and scale with the logic density:

``synthesis``
    43,300 transistors per multiplier with its share of the fp32 adder tree, 450 um2 at 7 nm: an fp16 multiplier of 1,640 um2 and
    an fp32 adder of 4,184 um2 at 45 nm (Horowitz, ISSCC 2014; Sze et al., Proceedings of the IEEE 2017) over 13, the density of
    7 nm over that of 45 nm.
``ador``
    17,700 um2 per multiplier at 7 nm, 1,704,510 transistors. This is a calibration and no physics: it is what is missing between
    the rest of ADOR's design with 6 HBM2e stacks and PCIe 4 x16 (370.8 mm2) and the 516 mm2 that the paper prints, whose own
    constant, vector width and links are not published. It is 67 times the model's own fp16 cell.

A third way to count, which is no option: were every multiplier a lane of a vector unit with control (996,200), half an int32,
half an fp32 and a quarter of an fp64 ALU, it would take 1,323,405 transistors or 13,743 um2 at 7 nm, and ADOR's design 483 mm2.
"""

import math
from dataclasses import dataclass

from ..errors import SpecError
from ..spec.area import Alus, Interface, RegisterFile
from ..spec.hardware import Device

#: Million transistors per mm2 of logic (Khan and Mann, AI Chips, by way of ttm-cas and LLMCompass).
LOGIC_DENSITY = {"5nm": 138.2, "6nm": 114.2, "7nm": 96.3, "10nm": 52.5, "14nm": 28.9, "20nm": 22.1, "28nm": 15.3, "40nm": 7.7,
                 "65nm": 3.3, "90nm": 1.6}  # fmt: skip
#: mm2 of an SRAM bit (LLMCompass).
SRAM_CELL = {"5nm": 1.25e-7, "6nm": 1.40e-7, "7nm": 1.70e-7}
#: Share of a memory's area that its cells take, at 4, 8, 16, .. KiB (CACTI, by way of LLMCompass).
_SRAM_EFFICIENCY = (0.076, 0.142, 0.247, 0.393, 0.559, 0.704, 0.526, 0.602, 0.561)
_SRAM_UNIT, _SRAM_LEAST = 512 * 1024, 4096

#: Transistors. A multiplier and adder of fewer bits takes (mantissa / 52)^2 of the one of fp64.
FP64 = 685_300
FP32, FP16 = FP64 * (23 / 52) ** 2, FP64 * (10 / 52) ** 2
INT32 = 177_690
#: Of a lane for each element of its vector unit, and of a core's port to the others: means of LLMCompass's A100 and MI210.
CONTROL, CORE_PORT = 996_200, 44_300_000
#: Transistors of a multiplier of a MAC tree.
MAC_TREE_TRANSISTORS = {"synthesis": 43_300.0, "ador": 17_700e-6 * 96.3e6}
#: (mm2 of a PHY, transistors of its controller) for each stack, channel, link or lane.
INTERFACES = {
    "HBM2e": (10.45, 552_743_000), "DDR5": (1.45, 90_446_400), "PCIe5": (0.64, 5_372_100), "PCIe4": (0.48, 3_962_500),
    "NVLink3": (1.888, 74_632_000), "NVLink4": (0.965, 86_628_000), "InfinityFabric": (5.69, 348_148_000),
}  # fmt: skip


@dataclass(frozen=True)
class DiePlan:
    """What is on a die, used or not.

    `cells` of the systolic array of one lane; `vector_width`, `alus` and `register_file` of one lane; `multipliers` of the MAC
    trees of one core; memories in bytes; `sram_cell` in mm2 where the node has none of its own.
    """

    process_node: str
    cores: int
    lanes: float
    cells: float
    vector_width: float
    alus: Alus
    register_file: RegisterFile
    local_memory: float
    global_memory: float
    memory: Interface | None = None
    links: Interface | None = None
    host: Interface | None = None
    multipliers: float = 0
    mac_tree_area: str = "synthesis"
    sram_cell: float | None = None


@dataclass(frozen=True)
class DieArea:
    """The parts of a die in mm2.

    Those of a core are of one core with all its lanes; `core_comm_mm2`, the ports of all cores, and the rest of the whole die.
    """

    cores: int
    core_control_mm2: float
    core_alu_mm2: float
    core_array_mm2: float
    core_mac_tree_mm2: float
    core_regfile_mm2: float
    core_sram_mm2: float
    core_comm_mm2: float
    global_buffer_mm2: float
    mem_phy_mm2: float
    mem_ctrl_mm2: float
    link_phy_mm2: float
    link_ctrl_mm2: float
    host_mm2: float

    @property
    def core_total_mm2(self) -> float:
        """One core without its port."""
        own = self.core_control_mm2 + self.core_alu_mm2 + self.core_array_mm2 + self.core_mac_tree_mm2
        return own + self.core_regfile_mm2 + self.core_sram_mm2

    @property
    def all_cores_mm2(self) -> float:
        return self.cores * self.core_total_mm2

    @property
    def total(self) -> float:
        """The die in mm2."""
        memory, links = self.mem_phy_mm2 + self.mem_ctrl_mm2, self.link_phy_mm2 + self.link_ctrl_mm2
        return self.all_cores_mm2 + self.core_comm_mm2 + self.global_buffer_mm2 + memory + links + self.host_mm2


def die_area(device: Device, mac_tree_area: str | None = None) -> DieArea:
    """Area of the device's die; `mac_tree_area`, "synthesis" or "ador", in place of that of the device.

    Raises
    ------
    SpecError
        If the device has no area section or says that its area is unknown, if it has fewer units on the die than it uses, or
        if the model does not cover it.
    """
    return plan_area(die_plan(device, mac_tree_area))


def die_plan(device: Device, mac_tree_area: str | None = None) -> DiePlan:
    """What is on the device's die; arguments and errors are those of `die_area`."""
    area, core = device.area, device.core
    if area is None:
        remedy = "add area: {process_node: 7nm, ..}"
        raise SpecError(f"{device.name} has no area section, so its area is unknown; {remedy}", ("area",))
    if area.process_node is None:
        raise SpecError(f"the area of {device.name} is unknown: {area.unknown}", ("area", "unknown"))
    array, tree = core.systolic_array, core.mac_tree
    lanes = area.lanes or array.lanes
    width = area.vector_width or core.vector_unit.width / lanes
    return DiePlan(
        process_node=area.process_node,
        cores=int(_on_die(area.cores, device.core_count, "cores")),
        lanes=lanes,
        cells=(area.array_rows or array.rows) * (area.array_cols or array.cols),
        vector_width=width,
        alus=area.alus or default_alus(width),
        register_file=area.register_file,
        local_memory=_on_die(area.local_memory, core.local_memory, "local_memory"),
        global_memory=_on_die(area.global_memory, device.global_memory, "global_memory"),
        memory=area.memory,
        links=area.links,
        host=area.host,
        multipliers=tree.width * tree.lanes if tree else 0,
        mac_tree_area=mac_tree_area or area.mac_tree_area,
        sram_cell=area.sram_cell,
    )


def plan_area(plan: DiePlan) -> DieArea:
    """Area of the parts of a die; `SpecError` names the key of an area section that the model does not cover."""
    if plan.mac_tree_area not in MAC_TREE_TRANSISTORS:
        raise SpecError(f"unknown {plan.mac_tree_area!r}; use {' or '.join(MAC_TREE_TRANSISTORS)}", ("area", "mac_tree_area"))
    cell, density = _sram_cell(plan), LOGIC_DENSITY[plan.process_node] * 1e6
    memory, links, host = (_interface(part, density) for part in (plan.memory, plan.links, plan.host))
    return DieArea(
        cores=plan.cores,
        core_control_mm2=plan.lanes * plan.vector_width * CONTROL / density,
        core_alu_mm2=plan.lanes * alu_transistors(plan.alus) / density,
        core_array_mm2=plan.lanes * plan.cells * FP16 / density,
        core_mac_tree_mm2=plan.multipliers * MAC_TREE_TRANSISTORS[plan.mac_tree_area] / density,
        core_regfile_mm2=plan.lanes * register_file_mm2(plan.register_file, density),
        core_sram_mm2=sram_mm2(plan.local_memory, cell),
        core_comm_mm2=plan.cores * CORE_PORT / density,
        global_buffer_mm2=sram_mm2(plan.global_memory, cell),
        mem_phy_mm2=memory[0],
        mem_ctrl_mm2=memory[1],
        link_phy_mm2=links[0],
        link_ctrl_mm2=links[1],
        host_mm2=sum(host),
    )


def default_alus(width: float) -> Alus:
    """Vector ALUs of a lane whose vector unit is `width` wide, as LLMCompass's A100 has them."""
    return Alus(int32=width / 2, fp16=0, fp32=width / 2, fp64=width / 4)


def alu_transistors(alus: Alus) -> float:
    return alus.int32 * INT32 + alus.fp16 * FP16 + alus.fp32 * FP32 + alus.fp64 * FP64


def register_file_mm2(file: RegisterFile, density: float) -> float:
    """All register files of a lane; a polynomial in um2 at 90 nm (EMPIRE, by way of LLMCompass), scaled by logic density."""
    d, w, p = file.registers, file.bits, file.ports
    um2 = 3.29e4 - 1090 * d - 883 * w - 5550 * p + 53.5 * d * w + 0.015 * d**2 + 0.0108 * w**2
    um2 += 0.586 * p**2 + 142 * d * p + 368 * w * p
    if um2 < 0 < file.files:
        size = f"{d} registers of {w} bits with {p} ports"
        message = f"{size} lie outside LLMCompass's fit, which makes them negative; use more registers or bits"
        raise SpecError(message, ("area", "register_file"))
    return file.files * um2 * 1e-6 * (LOGIC_DENSITY["90nm"] * 1e6 / density)


def sram_mm2(size: float, cell: float) -> float:
    """A memory of `size` bytes: in units of 512 KiB if it is larger than that; no unit is smaller than 4 KiB."""
    units, unit = (math.ceil(size / _SRAM_UNIT), _SRAM_UNIT) if size > _SRAM_UNIT else (1, max(size, _SRAM_LEAST))
    exponent = (math.ceil(unit) - 1).bit_length()  # of the next power of two
    return units * unit * 8 * cell / _SRAM_EFFICIENCY[exponent - 12]


def _sram_cell(plan: DiePlan) -> float:
    cell = plan.sram_cell or SRAM_CELL.get(plan.process_node)
    if cell is None:
        message = f"LLMCompass has no SRAM cell at {plan.process_node}, only at {', '.join(SRAM_CELL)}"
        remedy = "add the area of a bit, such as sram_cell: 0.4 um2, or use one of these nodes"
        raise SpecError(f"{message}; {remedy}", ("area", "sram_cell"))
    return cell


def _interface(part: Interface | None, density: float) -> tuple[float, float]:
    """mm2 of (PHYs, controllers)."""
    if part is None:
        return 0.0, 0.0
    phy, transistors = INTERFACES[part.kind]
    return part.count * phy, part.count * transistors / density


def _on_die(physical: float | None, used: float, key: str) -> float:
    """The count on the die, or what the device uses if that is not given."""
    if physical is not None and physical < used:
        message = f"the die has {physical:g}, but the device uses {used:g}; the die must have at least as many"
        raise SpecError(message, ("area", key))
    return used if physical is None else physical
