"""The picture of a search: its candidates by area, TTFT and TBT, the chosen chip and the reference; its decisions as a table."""

import math
from collections.abc import Sequence
from typing import Any

from ...report.svg import Series, Table, chart, page

_PARTS = (
    ("control", "core_control_mm2"), ("vector ALUs", "core_alu_mm2"), ("systolic array", "core_array_mm2"),
    ("MAC tree", "core_mac_tree_mm2"), ("registers", "core_regfile_mm2"), ("local memory", "core_sram_mm2"),
)  # fmt: skip
_WHOLE = (
    ("ports between cores", "core_comm_mm2"), ("global memory", "global_buffer_mm2"), ("DRAM PHYs", "mem_phy_mm2"),
    ("DRAM controllers", "mem_ctrl_mm2"), ("link PHYs", "link_phy_mm2"), ("link controllers", "link_ctrl_mm2"),
    ("host", "host_mm2"),
)  # fmt: skip

_CHARTS = (
    ("step_ttft_ms", "TTFT of a prompt alone"), ("step_tbt_ms", "TBT of a decode step"),
    ("estimated_ttft_ms", "TTFT under traffic, estimated"), ("estimated_tbt_ms", "TBT under traffic, estimated"),
)  # fmt: skip


#: Times of more than this multiple of the slower of proposed and reference are not drawn.
_SHOWN = 4.0


def _points(document: dict[str, Any], key: str, title: str) -> str:
    """Area against one time, with the best that each area allows; cross-hairs on the chip and the reference."""
    chosen, reference = document["chip"], document["reference"]
    least_area = min(c["area"] for c in document["candidates"])
    most = _SHOWN * max([r[key] for r in (chosen, reference) if r[key] is not None], default=math.inf)
    every = [c for c in document["candidates"] if c[key] is not None and c[key] <= most]
    edge: list[tuple[float, float]] = []
    for c in sorted(every, key=lambda c: (c["area"], c[key])):
        if not edge or c[key] < edge[-1][1]:
            edge.append((c["area"], c[key]))
    series = [
        Series("candidates", [c["area"] for c in every], [c[key] for c in every], "points"),
        Series("least for its area", [a for a, _ in edge], [t for _, t in edge], "step"),
        _hair("proposed", chosen, key, least_area, edge),
        _hair(f"reference {reference['name']}", reference, key, least_area, edge),
    ]
    return chart(series, title=title, x_label="die, mm2", y_label="ms", log_y=True)


def _hair(name: str, row: dict[str, Any], key: str, left: float, edge: list[tuple[float, float]]) -> Series:
    """Lines from a point to both axes."""
    value = math.nan if row[key] is None else row[key]
    bottom = min([t for _, t in edge] + [value])
    return Series(name, [left, row["area"], row["area"]], [value, value, bottom], dashed=True)


def _breakdown(document: dict[str, Any]) -> Table:
    rows: list[list[object]] = []
    parts = [document[name]["breakdown"] for name in ("chip", "reference")]
    for name, key in _PARTS:
        rows.append([f"cores: {name}", *(p["cores"] * p[key] for p in parts)])
    rows += [[name, *(p[key] for p in parts)] for name, key in _WHOLE]
    rows.append(["die", *(document[name]["area"] for name in ("chip", "reference"))])
    return Table("Area, mm2", ("part", "proposed", document["reference"]["name"]), rows)


def search_page(document: dict[str, Any], figures: Sequence[tuple[str, Any, Any]]) -> str:
    """One HTML document without scripts or files from elsewhere."""
    chip, reference = document["chip"], document["reference"]["name"]
    charts = [_points(document, key, title) for key, title in _CHARTS]
    targets = [[t["whose"], t["name"], t["value"], t["limit"], "met" if t["met"] else "missed"] for t in document["targets"]]
    rows = [
        [s["label"], s["area"], s["ttft_ms"], s["tbt_ms"], *(s["efficiency"][key] for key in ("ttft", "tbt", "mean")),
         ", ".join(s["missed"]) or "none"]
        for s in document["simulated"]
    ]  # fmt: skip
    told = [[str(d["iteration"]), d["step"], d["text"]] for d in document["decisions"]]
    tables = [
        Table("Figures", ("", "proposed", reference), [list(row) for row in figures]),
        Table("Targets", ("of", "target", "reached", "limit", ""), targets),
        _breakdown(document),
        Table("Simulated chips; area efficiency against the reference",
              ("chip", "mm2", "TTFT, ms", "TBT, ms", "for TTFT", "for TBT", "mean", "misses"), rows),
        Table("Decisions", ("iteration", "step", "decision"), told),
    ]  # fmt: skip
    note = (
        f"Proposed: {chip['label']}; NoC links of {chip['link_width']} bytes per cycle, whose width costs no area in this model. "
        "Area efficiency: ratio of times x ratio of areas to the reference."
    )
    return page(f"Search {document['name']}", charts, tables, note)
