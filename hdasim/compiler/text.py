"""A compiled program as text: memory map, mapping by number of tokens, and the instruction streams of the cores."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from ..core._core import Program
from ..core.layout import DATAFLOWS_ON_CORES
from ..spec.hardware import Device
from .ops import Op
from .program import CompiledProgram

_HOMES = ("local memory", "global memory", "DRAM")
_FLOWS = {number: name for name, number in DATAFLOWS_ON_CORES.items()}

#: What an instruction waits for: whether its buffer is free, broadcasts for the packets of the transfer, exchanges and what works
#: element by element for each tile of what comes before, others for all of it.
_BUFFER, _PACKETS, _TILES, _ALL = "buffer", "packets", "tiles", "all"
_Instruction = tuple[str, str, str]


def describe(compiled: CompiledProgram, core: Program, device: Device, tokens: list[int], most: int) -> str:
    """Memory map, mapping ranges for 1 to `most` tokens, and streams for steps of each number of `tokens`."""
    lines = [*_memory(compiled), "", *_expert_group(compiled), *_ranges(compiled, core, most)]
    for count in tokens:
        lines += ["", *_streams(compiled, core, device, count)]
    return "\n".join(lines) + "\n"


def _memory(compiled: CompiledProgram) -> Iterator[str]:
    m = compiled.memory
    yield "DRAM of each device, bytes"
    yield f"  {'start':>16} {'size':>16}  what"
    position = 0.0
    for segment in compiled.segments:
        for copy in range(segment.repeat if segment.layers else 1):
            for b in segment.blocks:
                size = sum(op.weight_size for op in compiled.blocks[b])
                if size and (copy in (0, segment.repeat - 1)):
                    yield f"  {position:16,.0f} {size:16,.0f}  weights, {compiled.block_names[b]} {copy + 1} of {segment.repeat}"
                elif copy == 1:
                    yield f"  {'..':>16} {size:16,.0f}  weights, one every {size:,.0f} bytes"
                position += size
    if m.weights > position:
        yield f"  {position:16,.0f} {m.weights - position:16,.0f}  embedding tables"
    yield f"  {m.weights:16,.0f} {m.activations:16,.0f}  activations that exceed on-chip memory"
    pool = m.page_count * m.page_bytes
    yield f"  {m.weights + m.activations:16,.0f} {pool:16,.0f}  KV cache: {m.page_count:,} pages of {m.page_bytes:,.0f}"
    yield f"  {m.usable:16,.0f} {m.capacity - m.usable:16,.0f}  left to the system (1 - memory_utilization)"


def _expert_group(compiled: CompiledProgram) -> Iterator[str]:
    """Over which devices whole experts are spread, and how tokens get there and back."""
    op = next((op for op in compiled.ops if op.kind == "experts" and op.group), None)
    if op is None:
        return
    whose = "all data-parallel ranks" if op.rows == "group" else "the tensor-parallel group"
    exchanges = ", ".join(dict.fromkeys(o.sync for o in compiled.ops if o.sync and o.name in _TRAVEL))
    yield f"Experts: {op.experts * op.group}, {op.experts} whole ones on each of the {op.group} devices of {whose}"
    yield f"  each token goes to {op.top_k} of them and back: {exchanges}"
    yield ""


#: What carries tokens to experts and back.
_TRAVEL = ("dispatch", "experts_down", "experts_sum")


def _linear(compiled: CompiledProgram) -> list[tuple[int, Op]]:
    return [(i, op) for i, op in enumerate(compiled.ops) if op.kind == "linear" and op.rows == "tokens"]


def _units(mapping: Any) -> str:
    used = [name for name, columns in (("sa", mapping["sa_columns"]), ("mt", mapping["mt_columns"])) if columns]
    return "+".join(used)


def _ranges(compiled: CompiledProgram, core: Program, most: int) -> Iterator[str]:
    """Ranges of tokens with the same grid, dataflow, units and homes of all GEMMs."""
    yield "Mapping by tokens in the step (grid: row groups x column groups of cores)"
    yield " latency: cores own columns of weights, inputs are gathered in the row group; throughput: cores own rows of the input;"
    yield " row_split: cores own rows of weights, partial sums are reduced in the row group"

    def choice(tokens: int) -> tuple[str, ...]:
        maps = [(op.name, core.mapping(i, tokens)) for i, op in _linear(compiled)]
        grid = f"grid {maps[0][1]['grid_rows']} x {maps[0][1]['grid_cols']}" if maps else "-"
        cells = {f"{name}: {_FLOWS[int(m['dataflow'])]}, {_units(m)} from {_HOMES[m['home']]}" for name, m in maps}
        return (grid, *sorted(cells))

    for (grid, *cells), group in groupby(range(1, most + 1), choice):
        run = list(group)
        yield f"  {run[0]:>6} - {run[-1]:<6} {grid:14} {'; '.join(cells)}"


def _streams(compiled: CompiledProgram, core: Program, device: Device, tokens: int) -> Iterator[str]:
    """Instruction streams; cores whose shares are equal have the same stream."""
    linear = _linear(compiled)

    def shares(c: int) -> tuple[tuple[int, ...], ...]:
        maps = [(op, core.mapping(i, tokens, c)) for i, op in linear]
        return tuple((int(m["m"]), int(m["sa_columns"]), int(m["mt_columns"]), _weight_rows(op, m, c)) for op, m in maps)

    classes: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for c in range(device.core_count):
        classes.setdefault(shares(c), []).append(c)
    for members in classes.values():
        yield f"Cores {_spans(members)}, {tokens} tokens"
        yield " filled by the step: $T tokens, $E sequences that emit, $S cached tokens, $L decoding tokens and prefill contexts"
        yield ' "tiles of": an exchange sends each tile while the next one is computed, and ends with the last'
        if any(op.rows == "share" for op in compiled.ops):
            yield " $D tokens that the device owns, $T divided by the devices of its group"
        if any(op.rows == "group" for op in compiled.ops):
            yield " $G tokens of all data-parallel ranks that share experts"
        position = 0
        for name, block in zip(compiled.block_names, compiled.blocks, strict=True):
            yield f" block {name}"
            yield from _block(block, position, core, device, tokens, members[0])
            position += len(block)
        yield ""


def _spans(members: list[int]) -> str:
    spans = []
    for _, group in groupby(enumerate(members), lambda pair: pair[1] - pair[0]):
        run = [core for _, core in group]
        spans.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ", ".join(spans)


def _weight_rows(op: Op, m: Any, member: int) -> int:
    """Rows of weights that a core owns."""
    if _FLOWS[int(m["dataflow"])] != "row_split":
        return op.k
    cores = int(m["grid_cols"])
    return op.k // cores + (member % cores < op.k % cores)


def _tiled(op: Op, block: tuple[Op, ...]) -> bool:
    """Whether exchanges of the operator's inputs can go tile by tile: they appear that way where an operator of the same block
    computes them; what devices have exchanged is there at once.
    """
    before = [other for other in block if other.name in op.after]
    return op.rows in ("tokens", "emit", "group") and bool(before) and not any(other.sync for other in before)


def _block(block: tuple[Op, ...], position: int, core: Program, device: Device, tokens: int, member: int) -> Iterator[str]:
    """Instructions of a block: an operator's exchange of inputs, its units side by side, then its exchange of results."""
    number = 0
    for offset, op in enumerate(block):
        mapping = core.mapping(position + offset, tokens, member) if op.kind == "linear" else None
        gate, inputs = ", ".join(op.after), "tiles of" if _tiled(op, block) else "after"
        units: list[str] = []
        transfer = ""
        for unit, text, kind in _instructions(op, mapping, device, member):
            if kind == _BUFFER:
                waits, transfer = "as soon as its buffer is free", f"#{number}"
            elif kind == _PACKETS:
                waits = f"packets of {transfer}"
            else:
                results = unit in ("noc", "p2p") and bool(units)
                own = results or gate.startswith("#")  # waits for instructions of the operator itself, not for its inputs
                word = "after" if kind == _ALL else "tiles of" if own else inputs
                waits = f"{word} {', '.join(units) if results else gate}"
                if unit in ("noc", "p2p"):
                    gate, units = f"#{number}", []
                else:
                    units.append(f"#{number}")
            yield f"  {number:4} {unit:5} {op.name:20} {text:74} {waits}"
            number += 1


def _instructions(op: Op, mapping: Any, device: Device, member: int) -> Iterator[_Instruction]:
    """(unit, operands, what it waits for) of one operator on one core; $T, $E, $S, $L, $D, $G are filled by the step."""
    rows = {"tokens": "$T", "emit": "$E", "latent": "$L", "share": "$D", "group": "$G"}[op.rows]
    planned = op.rows in ("tokens", "emit", "group")
    exchange = _TILES if planned else _ALL
    if op.kind == "load":
        yield "dma", f"read {rows} x {op.n:,} B", _BUFFER
    elif op.kind == "store":
        yield "dma", f"write {rows} x {op.n:,} B of keys and values", _ALL
    elif op.kind == "linear":
        yield from _linear_instructions(op, mapping, device, member, exchange)
    elif op.kind == "experts":
        yield "dma", f"stream experts hit of {op.experts}, {op.k * op.n * op.weight_bytes:,.0f} B each", _BUFFER
        part = f"/{op.group}" if op.group > 1 else ""
        yield "noc", f"all-gather {rows} x {op.top_k}{part} rows of {op.k}", exchange
        size = f"[{rows}*{op.top_k}{part}/hit x {op.k}] x [{op.k} x {op.n}]"
        yield "sa+mt", f"grouped GEMM {size} per expert, columns dealt over cores", _ALL
    elif op.kind == "vector":
        if op.n:
            parts = op.elementwise and planned and not device.launch_overhead
            text = f"{rows} rows x {op.n} elements x {op.vector_ops:g} operations, over the grid"
            yield "vu", text, _TILES if parts else _ALL
        if op.reduce_bytes and device.noc.topology != "shared":
            yield "noc", f"all-reduce {rows} x {op.reduce_bytes:g} B of statistics in the row group", _ALL
    else:
        yield from _attention_instructions(op, device)
    if op.sync:
        yield "p2p", f"{op.sync} {rows} x {op.sync_bytes:,.0f} B", exchange


def _linear_instructions(op: Op, m: Any, device: Device, member: int, exchange: str) -> Iterator[_Instruction]:
    columns = int(m["sa_columns"] + m["mt_columns"])
    if not columns:
        return
    k, cores, split = _weight_rows(op, m, member), int(m["grid_cols"]), _FLOWS[int(m["dataflow"])] == "row_split"
    size = k * columns * op.weight_bytes
    ahead = min(size, float(m["prefetch_bytes"]))
    yield "dma", f"stream {size:,.0f} B of weights x {m['row_tiles']} passes, {ahead:,.0f} B ahead", _BUFFER
    if m["grid_rows"] > 1 and device.noc.topology != "shared":
        yield "noc", f"broadcast them to the {m['grid_rows']} cores of the column group", _PACKETS
    if op.gather and not split:
        if m["home"]:
            yield "noc", f"write own part of the input to {_HOMES[m['home']]}", exchange
        elif cores > 1:
            text = f"all-gather {m['m']} rows of {op.k} over {cores} cores, {m['column_tiles']} column tiles"
            yield "noc", text, exchange
    for unit, share in (("sa", m["sa_columns"]), ("mt", m["mt_columns"])):
        if share:
            yield unit, f"[{m['m']} x {k}] x [{k} x {share}], input in {_HOMES[m['home']]}", _ALL
    if split:
        yield "noc", f"reduce-scatter fp32 sums [{m['m']} x {columns}] over {cores} cores", exchange
        yield "vu", f"add the sums of {cores} cores as they arrive", _TILES


def _attention_instructions(op: Op, device: Device) -> Iterator[_Instruction]:
    yield "dma", f"read $S x {op.kv_elements} cached elements", _BUFFER
    if op.gather and device.noc.topology != "shared":
        yield "noc", "deal queries to the cores that hold their tiles", _ALL
    unit = "sa" if op.kind == "prefill_attention" else "mt|sa"
    window = f", window {op.window}" if op.window else ""
    yield unit, f"{op.kv_heads} kv heads x {op.group} queries, keys {op.key_dim}, values {op.value_dim}{window}", _ALL
    yield "vu", f"softmax, {op.vector_ops:g} operations per score", _ALL
    if op.kind == "decode_attention":
        yield "noc", "merge sequences that are cut between cores", _TILES if op.sync else _ALL
