"""A1: peak rates and dies of the four designs, and whether the printed ratios follow from each other.

Dies are LLMCompass's transistor model (`hdasim.cost.area`), with the MAC tree in both of its options: `ador` was calibrated to
the printed die, so that it meets it says nothing; `synthesis` is independent of it.
"""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from rich.table import Table

from hdasim.cost.area import DieArea, die_area
from hdasim.spec.base import PositiveFloat, Spec
from hdasim.spec.hardware import Device
from hdasim.spec.load import load_device, locate

from .bars import Bar, stacked
from .inputs import Tolerance, blame
from .outcome import Claim, Figure, Outcome, Row, read, row, together, within
from .tables import plain

Name = Annotated[str, Meta(min_length=1)]


class Design(Spec):
    """A device with its printed peak, TFLOPS, and die, mm2."""

    device: Name
    tflops: PositiveFloat
    die_mm2: PositiveFloat


class Ratios(Spec):
    """Printed ratios of times and area efficiencies."""

    tbt_8b: PositiveFloat
    tbt_70b: PositiveFloat
    area_efficiency_ttft: PositiveFloat
    area_efficiency_8b: PositiveFloat
    area_efficiency_70b: PositiveFloat


class Dies(Spec):
    """The experiment file."""

    designs: Annotated[tuple[Design, ...], Meta(min_length=1, max_length=16)]
    mac_tree_areas: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=4)]
    reference: Name
    design: Name
    ratios: Ratios
    tolerance: Tolerance = 0.01

    def __post_init__(self) -> None:
        for key in ("reference", "design"):
            if getattr(self, key) not in [d.device for d in self.designs]:
                raise ValueError(f"{key}: must be one of the designs, got {getattr(self, key)!r}")

    def printed(self, key: str) -> Design:
        return next(d for d in self.designs if d.device == getattr(self, key))


def parts(area: DieArea) -> dict[str, float]:
    """mm2 of the whole die by what they are for."""
    n = area.cores
    interfaces = area.mem_phy_mm2 + area.mem_ctrl_mm2 + area.link_phy_mm2 + area.link_ctrl_mm2 + area.host_mm2
    return {
        "arrays": n * area.core_array_mm2,
        "MAC trees": n * area.core_mac_tree_mm2,
        "vector units and control": n * (area.core_alu_mm2 + area.core_control_mm2),
        "register files": n * area.core_regfile_mm2,
        "local memory": n * area.core_sram_mm2,
        "global memory": area.global_buffer_mm2,
        "interfaces and ports": interfaces + area.core_comm_mm2,
    }


def identities(sweep: Dies) -> list[tuple[str, float, float | None]]:
    """(what, from the printed numbers, what is printed for it): area efficiency = ratio of times x ratio of dies."""
    r, dies = sweep.ratios, sweep.printed("reference").die_mm2 / sweep.printed("design").die_mm2
    return [
        ("ratio of the dies", dies, None),
        ("area efficiency, TBT, LLaMA3-8B", r.tbt_8b * dies, r.area_efficiency_8b),
        ("area efficiency, TBT, LLaMA3-70B", r.tbt_70b * dies, r.area_efficiency_70b),
        ("TTFT ratio behind the area efficiency in TTFT", r.area_efficiency_ttft / dies, None),
        ("ratio of peaks", sweep.printed("design").tflops / sweep.printed("reference").tflops, None),
    ]


def compare(sweep: Dies, devices: list[Device], areas: dict[str, list[DieArea]]) -> list[Row]:
    rows = []
    for design, device in zip(sweep.designs, devices, strict=True):
        rows.append(row("A1", f"peak TFLOPS, {design.device}", device.peak_flops / 1e12, design.tflops,
                        conditions="fp16, arrays and MAC trees, 2 x MAC/s"))  # fmt: skip
        for option, found in areas.items():
            area = found[devices.index(device)]
            if option != sweep.mac_tree_areas[0] and not area.core_mac_tree_mm2:
                continue
            tree = f"MAC tree {option}" if area.core_mac_tree_mm2 else "no MAC tree"
            rows.append(
                row("A1", f"die mm2, {design.device}", area.total, design.die_mm2, conditions=f"LLMCompass's model, 7 nm, {tree}")
            )
    rows += [
        row("A1", f"identity: {what}", ours, printed, conditions="from the printed numbers alone")
        for what, ours, printed in identities(sweep)
    ]
    return rows


def _tables(sweep: Dies, devices: list[Device], areas: dict[str, list[DieArea]]) -> list[Table]:
    first, *others = sweep.mac_tree_areas
    columns = ["", "TFLOPS printed", "ours", "%", "die mm2 printed", f"ours, {first}", "%"]
    for other in others:
        columns += [f"ours, {other}", "%"]
    table = plain("A1: peak rates and dies; % is ours / printed - 1", columns)
    for i, (design, device) in enumerate(zip(sweep.designs, devices, strict=True)):
        cells = [
            f"{design.tflops:g}",
            f"{device.peak_flops / 1e12:.1f}",
            f"{100 * (device.peak_flops / 1e12 / design.tflops - 1):+.1f}",
            f"{design.die_mm2:g}",
        ]
        for option in sweep.mac_tree_areas:
            total = areas[option][i].total
            cells += [f"{total:.1f}", f"{100 * (total / design.die_mm2 - 1):+.1f}"]
        table.add_row(design.device, *cells)
    check = plain("A1: do the printed ratios follow from each other?", ("", "follows", "printed"))
    for what, ours, printed in identities(sweep):
        check.add_row(what, f"{ours:.4f}", "-" if printed is None else f"{printed:g}")
    return [table, check]


def _figure(sweep: Dies, areas: dict[str, list[DieArea]]) -> Figure:
    bars = []
    for i, design in enumerate(sweep.designs):
        for option in sweep.mac_tree_areas:
            area = areas[option][i]
            if option == sweep.mac_tree_areas[0] or area.core_mac_tree_mm2:
                label = f"{design.device}, MAC tree {option}" if area.core_mac_tree_mm2 else design.device
                bars.append(Bar(label, list(parts(area).items()), f"{area.total:.0f}, printed {design.die_mm2:g}"))
    return Figure("A1: dies by part", [stacked("Die area by part", bars, "mm2 at 7 nm")])


def _span(ratios: list[float]) -> str:
    low, high = f"{min(ratios):.3f}", f"{max(ratios):.3f}"
    return low if low == high else f"{low} to {high}"


def _claims(sweep: Dies, devices: list[Device], areas: dict[str, list[DieArea]]) -> list[Claim]:
    def line(what: str, published: list[float], ours: list[float], why: str = "") -> Claim:
        ratios = [o / p for o, p in zip(ours, published, strict=True)]
        return Claim(what=what, published=" / ".join(f"{p:g}" for p in published), ours=" / ".join(f"{o:.1f}" for o in ours),
                     ratio=_span(ratios), verdict=together([within(r, sweep.tolerance) for r in ratios]),
                     why=why)  # fmt: skip

    names, (first, *others) = ", ".join(d.device for d in sweep.designs), sweep.mac_tree_areas
    found = [
        line(f"peak TFLOPS: {names}", [d.tflops for d in sweep.designs], [d.peak_flops / 1e12 for d in devices]),
        line(f"die, mm2, MAC tree {first}: the same", [d.die_mm2 for d in sweep.designs], [a.total for a in areas[first]],
             "ADOR's own die is met by calibration of the MAC tree, the other three by the model"),
    ]  # fmt: skip
    i = [d.device for d in sweep.designs].index(sweep.design)
    for option in others:
        gap = areas[option][i].total / sweep.designs[i].die_mm2 - 1
        found.append(line(f"die of {sweep.design}, mm2, MAC tree {option}", [sweep.designs[i].die_mm2], [areas[option][i].total],
                          f"{gap:+.0%}: published areas of multipliers and adders do not explain the printed die"))  # fmt: skip
    return found


def run(file: Path) -> Outcome:
    """Evaluate the experiment `file`."""
    sweep, document = read(file, Dies)
    devices: list[Device] = []
    areas: dict[str, list[DieArea]] = {option: [] for option in sweep.mac_tree_areas}
    with locate(document):
        for i, design in enumerate(sweep.designs):
            with blame("designs", i, "device"):
                devices.append(load_device(design.device))
            for j, option in enumerate(sweep.mac_tree_areas):
                with blame("mac_tree_areas", j):
                    areas[option].append(die_area(devices[-1], option))
    points: list[dict[str, Any]] = [
        {
            "device": d.device,
            "mac_tree_area": option,
            "peak_tflops": device.peak_flops / 1e12,
            "die_mm2": area.total,
            **parts(area),
        }
        for option, found in areas.items()
        for d, device, area in zip(sweep.designs, devices, found, strict=True)
    ]
    return Outcome(
        compare(sweep, devices, areas),
        points,
        _tables(sweep, devices, areas),
        [_figure(sweep, areas)],
        _claims(sweep, devices, areas),
    )
