"""Joules for each operation and byte of a device, from its process node, memory and links, each from a published source.

Sources, by the names used below:

TPUv4i
    Jouppi et al., Ten Lessons From Three Generations Shaped Google's TPUv4i, ISCA 2021, table 2: energies at 45 nm (Horowitz,
    ISSCC 2014) and at 7 nm, 2.6 times less in the geometric mean. At 7 nm a multiplication takes 0.34 pJ (fp16), 0.21 (bf16),
    1.31 (fp32), an addition 0.16 (fp16), 0.11 (bf16), 0.38 (fp32); 64 bits of an SRAM of 8 KiB, 32 KiB, 1 MiB 7.5, 8.5, 14 pJ;
    64 bits of DDR3/4 1300, HBM2 250 to 450, GDDR6 350 to 480 pJ.
FGDRAM
    O'Connor et al., Fine-Grained DRAM, MICRO 2017: HBM2 takes 3.92 pJ/bit, which is the lower end of TPUv4i's range.
AccelWattch
    Kandiah et al., MICRO 2021, accelwattch_sass_hybrid.xml of a V100: 32.33 W whatever happens, 48.95 W more, static, while
    tensor cores run.
TSMC
    Its announcements: 5 nm, against 7 nm, takes 30 % less power at the same speed or is 15 % faster at the same power; 7 nm
    takes 60 % less power than 16 nm and 40 % less than 10 nm; 6 nm is 7 nm with smaller cells.
LLMCompassPlus
    Power logs of a Jetson AGX Orin in 162 fp16 GEMMs (llmcompass_plus_matmul.csv): least squares give 4.7 W + 13.8 pJ/byte on
    the memory's rail, and 23 W + 1.34 pJ per multiply-accumulate on the GPU's (with its shared memory and registers, at 8 nm),
    which is a check of ``registers`` below: 1.63 pJ at 7 nm.

Derivations:

cells
    fp16 product + fp32 addition = 0.72 pJ, and 48 wires (an activation, a partial sum) over one cell of 16 um: 0.06
    pJ.
registers
    mma.m16n8k16 (PTX ISA) reads A 512 B, B 256 B, C 512 B and writes D 512 B for 2048 multiply-accumulates: 0.875 B each, of
    register files in banks of 8 KiB. A warp's tile of 64 x 64 reads 2 B of either operand from shared memory for 64 of them,
    besides.
shared_memory
    wgmma.m64n256k16 (PTX ISA) reads A 2 KiB and B 8 KiB of shared memory, and reads and writes accumulators of 64 KiB in
    registers, for 262,144 multiply-accumulates: 0.039 and 0.5 B each.
vector operation
    Mean of an fp32 product and sum, 0.85 pJ, and three operands of 4 B in registers.
global memory
    Banks of 1 MiB, and wires over 2/3 of the die's side, the mean distance between two points of a square along its axes.
NoC hop
    Wires over one core's side, and a router's buffer written and read (8 KiB).
static power
    AccelWattch's 81.3 W over the V100's 815 mm2: 0.0997 W/mm2, taken for every die and node [A].
5 nm at another clock
    TSMC's two points, energy 0.70 at speed 1 and 1 / 1.15 at speed 1.15, give 0.70 x speed^1.55; beyond 1.15 that is
    extrapolated [A].
HBM3, DDR5
    Their predecessor's x the square of the supply voltages, 1.1 V and 1.2 V (JEDEC) [A].
wires
    80 fJ/bit/mm at 7 nm and below [A]; Dally, Turakhia and Han, CACM 2020, have 100 at 14 nm. An L2 the size of an RTX 3090's
    would take 12 pJ a byte, and 8 to 10 were measured on one (github.com/bang001/gpupower0701, not peer-reviewed).
links
    NVIDIA's 1.3 pJ/bit of NVLink-C2C for NVLink, five times that for PCIe [A].
GDDR
    Micron: GDDR6 7.5, GDDR6X 7.25, GDDR7 4.5 pJ/bit, each as its product pages are quoted.

Quoted from memory, without the publication at hand, and so [A]: the SRAM and DRAM lines of TPUv4i's table, NVIDIA's links. Types
narrower than 16 bits take as much less as their rate is higher [A]; on the Orin, int8 took 0.78 of fp16 at twice its rate.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import layout
from ..cost.area import die_area
from ..errors import SpecError
from ..spec.hardware import Device
from ..spec.power import Power

PICO = 1e-12
#: Energy of logic and SRAM relative to 7 nm, at the speed of 7 nm (TSMC; 14 nm as 16 nm).
NODE = {"5nm": 0.70, "6nm": 1.0, "7nm": 1.0, "10nm": 1 / 0.6, "14nm": 1 / 0.4}
#: log(1 / 1.15 / 0.70) / log(1.15) (TSMC).
SPEED_EXPONENT = 1.55
#: pJ at 7 nm (TPUv4i).
FP16_PRODUCT, FP32_PRODUCT, FP32_SUM = 0.34, 1.31, 0.38
#: pJ per byte of an SRAM of so many bytes, at 7 nm (TPUv4i); between them straight lines over logarithms.
SRAM = ((8 << 10, 7.5 / 8), (32 << 10, 8.5 / 8), (1 << 20, 14 / 8))
#: pJ per bit and mm [A].
WIRE = 0.08
#: pJ per byte. Of a range the middle.
MEMORY = {
    "HBM2": 350 / 8, "HBM2e": 350 / 8, "HBM3": 350 / 8 * (1.1 / 1.2) ** 2, "HBM3e": 350 / 8 * (1.1 / 1.2) ** 2,
    "GDDR6": 7.5 * 8, "GDDR6X": 7.25 * 8, "GDDR7": 4.5 * 8,
    "LPDDR5": 13.8, "DDR4": 1300 / 8, "DDR5": 1300 / 8 * (1.1 / 1.2) ** 2,
}  # fmt: skip
#: pJ per byte [A].
LINKS = {"NVLink3": 1.3 * 8, "NVLink4": 1.3 * 8, "PCIe4": 6.5 * 8, "PCIe5": 6.5 * 8}
#: W per mm2 while a step runs (AccelWattch).
STATIC = (32.32522 + 48.94876) / 815
#: mm of a cell of a systolic array: 263 um2 (LLMCompass's fp16 cell at 7 nm).
CELL = 0.0162


@dataclass(frozen=True)
class Energies:
    """Joules of `mac`, `tree_mac` and `vector_op`, for a byte of each memory and network; watts `static` and `idle`."""

    mac: float
    tree_mac: float
    vector_op: float
    dram_byte: float
    global_byte: float
    local_byte: float
    noc_byte: float
    link_byte: float
    static: float
    idle: float


def sram_byte(size: float) -> float:
    """pJ per byte of an SRAM of `size` bytes at 7 nm; larger ones have banks of 1 MiB, smaller ones the energy of 8 KiB."""
    sizes, energies = zip(*SRAM, strict=True)
    return float(np.interp(math.log(max(size, 1.0)), np.log(sizes), energies))


def energies(device: Device) -> Energies | None:
    """What is known of a device's energies; None if that is not enough for its power.

    Raises
    ------
    SpecError
        If `device.power` names a process node but not the memory, or links that the device has, or leaves the die unknown.
    """
    power = device.power
    if power is None or (power.process_node is None and any(getattr(power, name) is None for name in _NEEDED)):
        return None
    derived = _derived(device, power) if power.process_node is not None else {}
    given = {name: value for name in Energies.__dataclass_fields__ if (value := getattr(power, name)) is not None}
    known = {"noc_byte": 0.0, "link_byte": 0.0, "tree_mac": 0.0, **derived, **given}
    return Energies(**{"idle": known["static"], **known})


#: What a device without a process node has to give itself; trees, NoC and links count nothing unless it does.
_NEEDED = ("mac", "vector_op", "dram_byte", "global_byte", "local_byte", "static")


def _derived(device: Device, power: Power) -> dict[str, float]:
    """Energies of the process node, memory and links."""
    if power.memory is None and power.dram_byte is None:
        message = "a process_node tells energies on the chip only; name the memory, such as HBM2e"
        raise SpecError(message, ("device", "power", "memory"))
    if device.p2p is not None and power.links is None and power.link_byte is None:
        message = "the device has links to others; name their kind, such as PCIe5, or give link_byte"
        raise SpecError(message, ("device", "power", "links"))
    die, core = _die(device, power), device.core.local_memory
    scale = PICO * NODE[power.process_node or "7nm"] * power.clock_gain**SPEED_EXPONENT
    side = math.sqrt(die)
    wires = 8 * WIRE * PICO
    tree = FP16_PRODUCT + FP32_SUM
    return {
        "mac": scale * _mac(power, core),
        "tree_mac": scale * tree,
        "vector_op": scale * ((FP32_PRODUCT + FP32_SUM) / 2 + 12 * sram_byte(8 << 10)),
        "dram_byte": PICO * MEMORY[power.memory] if power.memory else 0.0,
        "global_byte": scale * sram_byte(1 << 20) + wires * side * 2 / 3,
        "local_byte": scale * sram_byte(core),
        "noc_byte": scale * 2 * sram_byte(8 << 10) + wires * side / math.sqrt(device.core_count),
        "link_byte": PICO * LINKS[power.links] if power.links else 0.0,
        "static": STATIC * die,
    }


def _mac(power: Power, local_memory: float) -> float:
    """pJ of a multiply-accumulate with its operands, at 7 nm."""
    arithmetic, register = FP16_PRODUCT + FP32_SUM, sram_byte(8 << 10)
    if power.operands == "cells":
        return arithmetic + (16 + 32) * CELL * WIRE
    if power.operands == "registers":
        return arithmetic + 1792 / 2048 * register + 2 * (2 / 64) * sram_byte(local_memory)
    return arithmetic + 131072 / 262144 * register + 10240 / 262144 * sram_byte(local_memory)


def _die(device: Device, power: Power) -> float:
    """mm2: what is given, or what the area model says."""
    if power.die is not None:
        return power.die
    if device.area is None:
        message = "static power and wires follow from the die; give die, in mm2, or the device's area"
        raise SpecError(message, ("device", "power", "die"))
    return die_area(device).total


def record(device: Device, known: Energies | None, *, standing: bool = True) -> np.ndarray | None:
    """The energies as one item of `layout.ENERGY`, without static power unless `standing`; None where they are not known."""
    if known is None or device.power is None:
        return None
    result = np.zeros(1, layout.ENERGY)
    rates = [getattr(device.gpu.rates, name) if device.gpu else 0.0 for name in ("fp8", "int8", "fp4")]
    values: dict[str, Any] = {
        "array": [known.mac, *(known.mac / rate if rate else known.mac for rate in rates)],
        "tree": known.tree_mac, "vector": known.vector_op, "dram": known.dram_byte, "global_memory": known.global_byte,
        "local_memory": known.local_byte, "noc": known.noc_byte, "links": known.link_byte,
        "operand": known.local_byte if device.power.operands == "cells" else 0.0,
        "standing": known.static if standing else 0.0, "power_limit": device.power.tdp or 0.0,
    }  # fmt: skip
    for name, value in values.items():
        result[name] = value
    return result
