"""A compiled program as text: memory map, mapping by number of tokens, and the instruction streams of the cores."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from ..core._core import Program
from ..spec.hardware import Device
from .ops import Op
from .program import CompiledProgram

_HOMES = ("local memory", "global memory", "DRAM")


def describe(compiled: CompiledProgram, core: Program, device: Device, tokens: list[int], most: int) -> str:
    """Memory map, mapping ranges for 1 to `most` tokens, and streams for steps of each number of `tokens`."""
    lines = [*_memory(compiled), "", *_ranges(compiled, core, most)]
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


def _linear(compiled: CompiledProgram) -> list[tuple[int, Op]]:
    return [(i, op) for i, op in enumerate(compiled.ops) if op.kind == "linear" and op.rows == "tokens"]


def _units(mapping: Any) -> str:
    used = [name for name, columns in (("sa", mapping["sa_columns"]), ("mt", mapping["mt_columns"])) if columns]
    return "+".join(used)


def _ranges(compiled: CompiledProgram, core: Program, most: int) -> Iterator[str]:
    """Ranges of tokens with the same grid, units and homes of all GEMMs."""
    yield "Mapping by tokens in the step (grid: row groups x column groups of cores)"

    def choice(tokens: int) -> tuple[str, ...]:
        maps = [(op.name, core.mapping(i, tokens)) for i, op in _linear(compiled)]
        grid = f"grid {maps[0][1]['grid_rows']} x {maps[0][1]['grid_cols']}" if maps else "-"
        cells = {f"{name}: {_units(m)} from {_HOMES[m['home']]}" for name, m in maps}
        return (grid, *sorted(cells))

    for (grid, *cells), group in groupby(range(1, most + 1), choice):
        run = list(group)
        yield f"  {run[0]:>6} - {run[-1]:<6} {grid:14} {'; '.join(cells)}"


def _streams(compiled: CompiledProgram, core: Program, device: Device, tokens: int) -> Iterator[str]:
    """Instruction streams; cores whose shares are equal have the same stream."""
    linear = _linear(compiled)

    def shares(c: int) -> tuple[tuple[int, int, int], ...]:
        maps = (core.mapping(i, tokens, c) for i, _ in linear)
        return tuple((int(m["m"]), int(m["sa_columns"]), int(m["mt_columns"])) for m in maps)

    classes: dict[tuple[tuple[int, int, int], ...], list[int]] = {}
    for c in range(device.core_count):
        classes.setdefault(shares(c), []).append(c)
    for members in classes.values():
        yield f"Cores {_spans(members)}, {tokens} tokens"
        yield " filled by the step: $T tokens, $E sequences that emit, $S cached tokens, $L decoding tokens and prefill contexts"
        if any(op.rows == "share" for op in compiled.ops):
            yield " $D tokens that the device owns, $T divided by the devices of its group"
        position = 0
        for name, block in zip(compiled.block_names, compiled.blocks, strict=True):
            yield f" block {name}"
            yield from _block(block, position, core, tokens, members[0])
            position += len(block)
        yield ""


def _spans(members: list[int]) -> str:
    spans = []
    for _, group in groupby(enumerate(members), lambda pair: pair[1] - pair[0]):
        run = [core for _, core in group]
        spans.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ", ".join(spans)


def _block(block: tuple[Op, ...], position: int, core: Program, tokens: int, member: int) -> Iterator[str]:
    """Instructions of a block: an operator's exchange of inputs, its units side by side, then its exchange of results."""
    number = 0
    for offset, op in enumerate(block):
        mapping = core.mapping(position + offset, tokens, member) if op.kind == "linear" else None
        gate = f"after {', '.join(op.after)}"
        units: list[str] = []
        for unit, text in _instructions(op, mapping):
            waits = gate
            if unit == "dma" and op.kind != "store":
                waits = "as soon as its buffer is free"
            elif unit in ("noc", "p2p"):
                waits = f"after {', '.join(units)}" if units else gate
                gate, units = f"after #{number}", []
            else:
                units.append(f"#{number}")
            yield f"  {number:4} {unit:5} {op.name:20} {text:70} {waits}"
            number += 1


def _instructions(op: Op, mapping: Any) -> Iterator[tuple[str, str]]:
    """(unit, operands) of one operator on one core; $T tokens, $E sequences that emit, $S context are filled by the step."""
    rows = {"tokens": "$T", "emit": "$E", "latent": "$L", "share": "$D"}[op.rows]
    if op.kind == "load":
        yield "dma", f"read {rows} x {op.n:,} B"
    elif op.kind == "store":
        yield "dma", f"write {rows} x {op.n:,} B of keys and values"
    elif op.kind == "linear":
        yield from _linear_instructions(op, mapping, rows)
    elif op.kind == "experts":
        yield "dma", f"stream experts hit of {op.experts}, {op.k * op.n * op.weight_bytes:,.0f} B each"
        part = f"/{op.group}" if op.group > 1 else ""
        yield "noc", f"all-gather {rows} x {op.top_k}{part} rows of {op.k}"
        yield "sa+mt", f"grouped GEMM [$T*{op.top_k}{part}/hit x {op.k}] x [{op.k} x {op.n}] per expert, columns dealt over cores"
    elif op.kind == "vector":
        if op.n:
            yield "vu", f"{rows} rows x {op.n} elements x {op.vector_ops:g} operations, over the grid"
        if op.reduce_bytes:
            yield "noc", f"all-reduce {rows} x {op.reduce_bytes:g} B of statistics in the row group"
    else:
        yield from _attention_instructions(op)
    if op.sync:
        yield "p2p", f"{op.sync} {rows} x {op.sync_bytes:,.0f} B"


def _linear_instructions(op: Op, m: Any, rows: str) -> Iterator[tuple[str, str]]:
    columns = int(m["sa_columns"] + m["mt_columns"])
    if not columns:
        return
    size = op.k * columns * op.weight_bytes
    ahead = min(size, float(m["prefetch_bytes"]))
    yield "dma", f"stream {size:,.0f} B of weights x {m['row_tiles']} passes, {ahead:,.0f} B ahead"
    if m["grid_cols"] > 1 and m["home"] == 0:
        yield "noc", f"all-gather {m['m']} rows of {op.k} over {m['grid_cols']} cores, {m['column_tiles']} column tiles"
    for unit, share in (("sa", m["sa_columns"]), ("mt", m["mt_columns"])):
        if share:
            yield unit, f"[{m['m']} x {op.k}] x [{op.k} x {share}], input in {_HOMES[m['home']]}"


def _attention_instructions(op: Op) -> Iterator[tuple[str, str]]:
    yield "dma", f"read $S x {op.kv_elements} cached elements"
    yield "noc", "deal queries to the cores that hold their tiles"
    unit = "sa" if op.kind == "prefill_attention" else "mt|sa"
    yield unit, f"{op.kv_heads} kv heads x {op.group} queries, keys {op.key_dim}, values {op.value_dim}" + (
        f", window {op.window}" if op.window else ""
    )
    yield "vu", f"softmax, {op.vector_ops:g} operations per score"
    if op.kind == "decode_attention":
        yield "noc", "merge sequences that are cut between cores"
