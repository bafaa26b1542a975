"""Tables of devices: CASES.csv in, the same rows with area and cost out.

Columns are those of LLMCompass's devices: counts on the die, `process_nm` in nm, `local_sram_KB` and `global_buffer_MB` binary,
ALUs and register files of one lane. Interfaces are those of `hdasim.cost.area.INTERFACES`, or ``none``.
"""

from pathlib import Path
from typing import Any

from hdasim.cost import money
from hdasim.cost.area import INTERFACES, LOGIC_DENSITY, MAC_TREE_TRANSISTORS, DiePlan, plan_area
from hdasim.cost.summary import AREA, COST, area_columns, cost_columns
from hdasim.errors import SpecError
from hdasim.sheet import Outcome, RowError, read_sheet
from hdasim.spec.area import Alus, Interface, RegisterFile
from hdasim.text import NUMBER, check_writable, choice, number, whole

INPUTS = (
    "process_nm", "cores_physical", "lanes_per_core", "array_h", "array_w", "vector_width", "int32_alus_per_lane",
    "fp16_alus_per_lane", "fp32_alus_per_lane", "fp64_alus_per_lane", "regfiles_per_lane", "registers_per_file", "register_bits",
    "regfile_ports", "local_sram_KB", "global_buffer_MB", "mem_protocol", "mem_channels_physical", "mem_capacity_GB", "link_type",
    "links_per_device",
)  # fmt: skip
OPTIONAL = ("mac_tree_width", "mac_tree_lanes", "mac_tree_area", "host_type", "host_links", "memory_price", "sram_cell_um2")
#: LLMCompass's columns in its order, then ours.
_OWN = ("core_mac_tree_mm2", "host_mm2", "total_cost_usd_with_yield")
RESULTS = (*(name for name in (*AREA, *COST) if name not in _OWN), *_OWN, "over_reticle")

_TEXTS = ("mem_protocol", "link_type", "host_type", "mac_tree_area", "memory_price", "process_nm")
_NONE = "none"
_MOST = 1e6
#: Which column to change for a complaint of the model about a key.
_COLUMNS = {"area": "", "register_file": "registers_per_file", "sram_cell": "process_nm"}


def run(source: Path, output: Path) -> Outcome:
    """Work out every row of `source` and write `output`; columns that are neither inputs nor results are kept.

    Raises
    ------
    SpecError
        If a file cannot be read or written, or is no table of devices. A row with wrong values does not raise.
    """
    sheet = read_sheet(source, lambda sheet: sheet.find(INPUTS))
    check_writable(output)
    names = (*INPUTS, *(name for name in OPTIONAL if name in sheet.names))
    places = sheet.find(names)
    outputs: list[str | RowError | None] = []
    for i, row in enumerate(sheet.rows):
        texts = {name: row[place].strip() for name, place in zip(names, places, strict=True)}
        try:
            outputs.append(sheet.ragged_row(i) or ",".join(map(_shown, evaluate(texts).values())))
        except SpecError as error:
            column = str(error.path[-1]) if error.path else ""
            outputs.append(RowError(sheet.lines[i], _COLUMNS.get(column, column), error.message))
    outcome = sheet.outcome(output, RESULTS, outputs, _value)
    outcome.write(sheet.newline)
    return outcome


def evaluate(texts: dict[str, str]) -> dict[str, Any]:
    """`RESULTS` of a device given by the texts of `INPUTS` and of any of `OPTIONAL`; `SpecError` names the wrong column."""
    plan = parse(texts)
    die = plan_area(plan)
    kind = texts.get("memory_price") and choice(texts["memory_price"], "memory_price", money.MEMORY_PRICE)
    price = money.memory_price(kind or None, plan.memory.kind if plan.memory else None)
    gb = number(texts["mem_capacity_GB"], "mem_capacity_GB", 0, 1e9)
    costs = cost_columns(die.total, plan.process_node, gb, price[1] if price else 0.0 if gb == 0 else None)
    found = {**area_columns(die), **costs, "over_reticle": die.total > money.RETICLE}
    return {name: found[name] for name in RESULTS}


def parse(texts: dict[str, str]) -> DiePlan:
    """What is on the die of a row."""

    def amount(name: str, least: float = 0.0, most: float = _MOST) -> float:
        return number(texts[name], name, least, most)

    def count(name: str, least: int = 0, most: int = int(_MOST)) -> int:
        return whole(texts[name], name, least, most)

    files = RegisterFile(
        files=count("regfiles_per_lane"), registers=count("registers_per_file", 1, 2**24), bits=count("register_bits", 1),
        ports=count("regfile_ports", 1),
    )  # fmt: skip
    trees = [whole(texts.get(name) or "0", name, 0, int(_MOST)) for name in ("mac_tree_width", "mac_tree_lanes")]
    if (trees[0] == 0) != (trees[1] == 0):
        raise SpecError("width and lanes of the MAC trees must both be given, or neither", ("mac_tree_lanes",))
    option, cell = texts.get("mac_tree_area") or "synthesis", texts.get("sram_cell_um2")
    return DiePlan(
        process_node=_node(texts["process_nm"]),
        cores=count("cores_physical", 1),
        lanes=count("lanes_per_core", 1),
        cells=count("array_h") * count("array_w"),
        vector_width=amount("vector_width"),
        alus=Alus(**{kind: amount(f"{kind}_alus_per_lane") for kind in ("int32", "fp16", "fp32", "fp64")}),
        register_file=files,
        local_memory=amount("local_sram_KB", most=1e9) * 2**10,
        global_memory=amount("global_buffer_MB") * 2**20,
        memory=_interface(texts, "mem_protocol", "mem_channels_physical"),
        links=_interface(texts, "link_type", "links_per_device"),
        host=_interface(texts, "host_type", "host_links"),
        multipliers=trees[0] * trees[1],
        mac_tree_area=choice(option, "mac_tree_area", MAC_TREE_TRANSISTORS),
        sram_cell=number(cell, "sram_cell_um2", 1e-6, 1e3) * 1e-6 if cell else None,
    )


def _node(text: str) -> str:
    bare = text.lower().removesuffix("nm").strip()
    node = f"{float(bare):g}nm" if NUMBER.fullmatch(bare) else text
    if node not in LOGIC_DENSITY:
        known = ", ".join(name.removesuffix("nm") for name in LOGIC_DENSITY)
        raise SpecError(f"unknown node {text[:40]!r}; use {known}" if text else f"no value; use {known}", ("process_nm",))
    return node


def _interface(texts: dict[str, str], kind: str, count: str) -> Interface | None:
    """None where the row has none."""
    number_of = whole(texts.get(count) or "0", count, 0, int(_MOST))
    cases = {name.lower(): name for name in (*INTERFACES, _NONE)}
    text = texts.get(kind) or _NONE
    name = choice(cases.get(text.lower(), text), kind, cases.values())
    if name == _NONE and number_of:
        raise SpecError(f"no value, but {count} is {number_of}; use {', '.join(INTERFACES)}", (kind,))
    return None if name == _NONE else Interface(kind=name, count=number_of)  # type: ignore[arg-type]


def _shown(value: float | bool | None) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _value(name: str, text: str) -> Any:
    """A cell as plain data: numbers as numbers, an empty result as None."""
    if name in RESULTS and not text:
        return None
    if name == "over_reticle":
        return text == "true"
    if name in _TEXTS or not NUMBER.fullmatch(text.strip()):
        return text
    return int(text) if text.strip().isdecimal() and len(text) < 20 else float(text)
