"""A7: local memory that activations need, by operator, and what the engine's mapping of GEMMs holds there.

The formula (papers.md 3.6): a core holds its share of an operator's input and output, and the most demanding operator sets the
requirement. Of a GEMM on T rows these are T (K + N) b / cores, on any grid of cores (the input is split over column groups, the
output over both). Of attention they are queries and scores: nq / cores x (t dh + t S) b, where t S counts pairs of new tokens and
context; with decomposed softmax only a tile of the scores and two running statistics are alive: nq / cores x t (dh + tile + 2) b.

Which rows the LM head sees decides its share: those that emit a token (one of a prompt), as serving needs, or all, as training
and scoring do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from rich.table import Table

from hdasim.compiler.ops import Op
from hdasim.device.latency import Machine, build
from hdasim.errors import SpecError
from hdasim.spec.base import DeviceCount, Spec
from hdasim.spec.load import locate

from .inputs import Count, Loader, Shape, blame, check_ascending
from .lines import Curve, Panel, figure
from .outcome import Outcome, Row, read, row
from .tables import plain

Point = dict[str, Any]
#: Sums of products are fp32 in the engine (csrc/resolve.h).
ACCUMULATOR_BYTES = 4
#: The largest batch or prompt that is tried.
MOST = 1 << 16
Counts = Annotated[tuple[Count, ...], Meta(min_length=1, max_length=32)]
UNFUSED, DECOMPOSED = "scores", "scores, decomposed"
EMIT, ALL = "lm_head", "lm_head, all rows"
HOMES = ("local memory", "global memory", "DRAM")


class Memory(Spec):
    """The experiment file."""

    prefill_tokens: Counts
    decode_batches: Counts
    decode_context: Count
    softmax_tile: Count
    device: str = "ador"
    model: str = "llama3-8b"
    device_count: DeviceCount = 1

    def __post_init__(self) -> None:
        check_ascending(prefill_tokens=self.prefill_tokens, decode_batches=self.decode_batches)

    def shape(self, phase: str, count: int) -> Shape:
        """A batch of `count` decoding sequences, or a prompt of `count` tokens."""
        if phase == "decode":
            return Shape(phase="decode", batch_size=count, input_len=self.decode_context)
        return Shape(phase="prefill", batch_size=1, input_len=count)

    def shapes(self) -> list[Shape]:
        return [self.shape("decode", b) for b in self.decode_batches] + [self.shape("prefill", t) for t in self.prefill_tokens]


def gemm_bytes(rows: int, k: int, n: int, cores: int, element: float) -> float:
    """Share of a core in the input and output of a GEMM."""
    return rows * (k + n) * element / cores


def score_bytes(tokens: int, alive: int, heads: int, key_dim: int, cores: int, element: float) -> float:
    """Share of a core in the queries of `tokens` and the scores of each that are `alive` at a time."""
    return heads * tokens * (key_dim + alive) * element / cores


@dataclass(frozen=True)
class Chip:
    """A compiled program with what the formula needs of it."""

    machine: Machine
    element: float
    softmax_tile: int

    @property
    def cores(self) -> int:
        return self.machine.device.core_count

    def operators(self) -> list[tuple[int, Op]]:
        """The GEMMs of a layer, decode attention to stand for scores, and the LM head, each kind once."""
        found: dict[str, tuple[int, Op]] = {}
        for i, op in enumerate(self.machine.compiled.ops):
            if op.kind == "experts" or op.rows == "latent":
                raise SpecError("covers dense models without latent attention only; try llama3-8b")
            if op.kind in ("linear", "decode_attention"):
                found.setdefault(op.name, (i, op))
        return list(found.values())

    def uses(self, shape: Shape) -> dict[str, float]:
        """Operator -> bytes that a core needs by the formula."""
        found, tokens = {}, shape.tokens
        for _, op in self.operators():
            if op.kind == "linear":
                rows = shape.batch_size if op.rows == "emit" else tokens
                found[op.name] = gemm_bytes(rows, op.k, op.n, self.cores, self.element)
                if op.rows == "emit":
                    found[ALL] = gemm_bytes(tokens, op.k, op.n, self.cores, self.element)
                continue
            heads, dim = op.kv_heads * op.group, op.key_dim
            tile = min(self.softmax_tile, shape.input_len)
            for name, alive in ((UNFUSED, shape.input_len), (DECOMPOSED, tile + 2)):
                found[name] = score_bytes(tokens, alive, heads, dim, self.cores, self.element)
        return found

    def points(self, shape: Shape) -> Iterator[Point]:
        """One for each operator: the formula, and for GEMMs what the engine's mapping holds on the busiest core."""
        index = {op.name: i for i, op in self.operators()}
        for name, needed in self.uses(shape).items():
            point: Point = {
                "phase": shape.phase,
                "tokens": shape.tokens,
                "context": shape.input_len,
                "operator": name,
                "bytes": needed,
            }
            op = self.machine.compiled.ops[index[EMIT if name == ALL else name]] if name not in (UNFUSED, DECOMPOSED) else None
            if op is not None:
                rows = shape.batch_size if name == EMIT else shape.tokens
                point |= self._mapped(op, self.machine.core.mapping(index[op.name], rows))
            yield point

    def _mapped(self, op: Op, m: Any) -> Point:
        """What the mapping holds: its slice of the input, and fp32 sums of a tile; "whole" if the columns were one tile."""
        columns = -(-op.n // int(m["grid_cols"]))
        whole = int(m["m"]) * (-(-op.k // int(m["grid_cols"])) * self.element + columns * ACCUMULATOR_BYTES)
        return {
            "engine_bytes": float(m["local_bytes"]), "engine_whole_bytes": whole, "input_in": HOMES[int(m["home"])],
            "column_tiles": int(m["column_tiles"]), "row_tiles": int(m["row_tiles"]),
            "grid": f"{m['grid_rows']} x {m['grid_cols']}",
        }  # fmt: skip


def variants(phase: str) -> list[tuple[str, str]]:
    """(scores, LM head) that a chip may choose between; when decoding every row emits."""
    return list(product((UNFUSED, DECOMPOSED), (EMIT,) if phase == "decode" else (EMIT, ALL)))


def chosen(uses: dict[str, float], variant: tuple[str, str]) -> dict[str, float]:
    """`uses` without the scores and LM heads of other variants."""
    return {name: size for name, size in uses.items() if name in variant or name not in (UNFUSED, DECOMPOSED, EMIT, ALL)}


def largest(uses: dict[str, float]) -> str:
    return max(uses, key=uses.__getitem__)


def most_that_fit(chip: Chip, sweep: Memory, phase: str, variant: tuple[str, str], room: float) -> int:
    """The largest batch (decode) or prompt (prefill) whose most demanding operator needs at most `room` bytes of a core."""
    low, high = 0, MOST + 1
    while high - low > 1:
        middle = (low + high) // 2
        if max(chosen(chip.uses(sweep.shape(phase, middle)), variant).values()) <= room:
            low = middle
        else:
            high = middle
    return low


def crossing(chip: Chip) -> float:
    """The context at which a decoding sequence's unfused scores need as much as the LM head: (H + V) / nq - dh."""
    operators = [op for _, op in chip.operators()]
    head = next(op for op in operators if op.rows == "emit")
    attention = next(op for op in operators if op.kind == "decode_attention")
    return (head.k + head.n) / (attention.kv_heads * attention.group) - attention.key_dim


def _rows(chip: Chip, sweep: Memory) -> list[Row]:
    rows: list[Row] = []
    room = chip.machine.device.core.local_memory
    base = f"{sweep.model} x {sweep.device_count} on {chip.machine.device.name}"
    for phase in ("decode", "prefill"):
        shapes = [s for s in sweep.shapes() if s.phase == phase]
        context = sweep.decode_context if phase == "decode" else None
        for variant in variants(phase):
            text = f"{base}; {phase}; {' and '.join(variant)}"
            first = {s: largest(chosen(chip.uses(s), variant)) for s in shapes}
            share = sum(name in variant for name in first.values()) / len(first)
            others = sorted({name for name in first.values() if name not in variant})
            rest = f"in the others {', '.join(others)} needs most" if others else "in every case"
            rows.append(
                row(
                    "A7",
                    "cases in which LM head or scores need most",
                    share,
                    1.0,
                    input_len=context,
                    conditions=f"{text}; {rest}",
                )
            )
            fit = most_that_fit(chip, sweep, phase, variant, room)
            what = "batch" if phase == "decode" else "prompt"
            more = f"{text}; local memory {room:,.0f} B a core, all of it for activations" + (
                ", no limit up to there" if fit == MOST else ""
            )
            rows.append(row("A7", f"largest {what} that local memory holds", float(fit), input_len=context, conditions=more))
            for s in shapes:
                size = chip.uses(s)[first[s]]
                rows.append(
                    row("A7", "largest use of local memory, bytes", size, input_len=s.input_len,
                        conditions=f"{text}; {s.label}; needed by {first[s]}; {size / room:.1%} of local memory")
                )  # fmt: skip
    text = f"{base}; decode at any batch, scores not fused; below it the LM head needs more"
    return [*rows, row("A7", "context at which scores need as much as the LM head", crossing(chip), conditions=text)]


def _engine_rows(points: list[Point], sweep: Memory) -> list[Row]:
    rows = []
    for p in points:
        if "engine_bytes" not in p or (p["operator"] == ALL and p["phase"] == "decode"):
            continue
        tiled = p["column_tiles"] > 1 or p["row_tiles"] > 1 or p["input_in"] != HOMES[0]
        how = f"in {p['column_tiles']} column and {p['row_tiles']} row tiles, input from {p['input_in']}" if tiled else "whole"
        rows.append(
            row("A7", f"engine's local memory for {p['operator']}, bytes", p["engine_bytes"], p["bytes"], input_len=p["context"],
                baseline="formula of papers.md 3.6",
                conditions=f"{sweep.model}; {p['phase']}, {p['tokens']} tokens; grid {p['grid']}; {how}; sums in fp32")
        )  # fmt: skip
    return rows


def _table(chip: Chip, points: list[Point], phase: str) -> Table:
    """KiB of a core by operator and tokens; the mapping's figure behind the formula's."""
    mine = [p for p in points if p["phase"] == phase]
    counts = sorted({p["tokens"] for p in mine})
    head = "batch" if phase == "decode" else "tokens of a prompt"
    title = f"A7, {phase}: KiB of local memory a core, formula / engine's mapping"
    table = plain(title, (head, *(f"{count:,}" for count in counts)))
    for name in dict.fromkeys(p["operator"] for p in mine):
        if name == ALL and phase == "decode":
            continue
        cells = []
        for p in (p for p in mine if p["operator"] == name):
            text = f"{p['bytes'] / 1024:.0f}"
            if "engine_bytes" in p:
                tiled = p["column_tiles"] > 1 or p["row_tiles"] > 1 or p["input_in"] != HOMES[0]
                text += f"/{p['engine_bytes'] / 1024:.0f}{'t' if tiled else ' '}"
            cells.append(text)
        table.add_row(name, *cells)
    for variant in variants(phase):
        uses = {c: chosen({p["operator"]: p["bytes"] for p in mine if p["tokens"] == c}, variant) for c in counts}
        short = " + ".join(variant) if phase == "prefill" else variant[0]
        table.add_row(f"most: {short}", *(f"{largest(u).removesuffix('_proj').split(',')[0]} " for u in uses.values()))
    table.caption = (
        f"t: cut into tiles, or fed from global memory   local memory: {chip.machine.device.core.local_memory / 1024:,.0f} KiB"
    )
    return table


def _panels(chip: Chip, points: list[Point]) -> list[list[Panel]]:
    room = chip.machine.device.core.local_memory / 1024
    panels = []
    for phase in ("decode", "prefill"):
        mine = [p for p in points if p["phase"] == phase and not (phase == "decode" and p["operator"] == ALL)]
        curves = [
            Curve(name, [p["tokens"] for p in mine if p["operator"] == name],
                  [p["bytes"] / 1024 for p in mine if p["operator"] == name], dashed=name in (DECOMPOSED, ALL))
            for name in dict.fromkeys(p["operator"] for p in mine)
        ]  # fmt: skip
        what = "sequences that decode" if phase == "decode" else "tokens of a prompt"
        ticks = sorted({p["tokens"] for p in mine})
        panels.append(Panel(phase, what, "KiB a core", curves, level=(room, "local memory"), ticks=ticks))
    return [panels]


def run(file: Path) -> Outcome:
    """Evaluate formula and mapping for every batch and prompt of the experiment `file`."""
    sweep, document = read(file, Memory)
    with locate(document):
        most = max(*(s.tokens for s in sweep.shapes()), 256)
        load = Loader(sweep.model, sweep.device)
        settings = {
            "serving.device_count": sweep.device_count, "serving.max_num_batched_tokens": most,
            "device.dataflow": "latency",  # weights cut by columns, as the formula has it
        }  # fmt: skip
        with blame("model"):
            experiment = load.with_(settings)
            chip = Chip(build(experiment), experiment.model.activation_bytes, sweep.softmax_tile)
            points = [p for s in sweep.shapes() for p in chip.points(s)]
    tables = [_table(chip, points, phase) for phase in ("decode", "prefill")]
    what = f"{sweep.model} on {chip.machine.device.name}, decode context {sweep.decode_context:,}"
    title = f"A7: local memory that activations need, {what}"
    rows = _rows(chip, sweep) + _engine_rows(points, sweep)
    return Outcome(rows, points, tables, [figure(title, _panels(chip, points))])
