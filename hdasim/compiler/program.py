"""From a model shard on a device to a program: blocks of operators, the arrays that the C engine executes, and the memory map."""

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ..core import layout
from ..errors import CapacityError
from ..spec.experiment import Experiment
from ..spec.model import Layer, Model
from .layers import Context, epilogue_block, layer_block, prologue_block
from .ops import Op
from .parallel import shard

Block = tuple[Op, ...]


@dataclass(frozen=True)
class Segment:
    """Consecutive `blocks` (indices into the program's), run `repeat` times; `layers` of them are decoder layers."""

    blocks: tuple[int, ...]
    repeat: int
    layers: int


@dataclass(frozen=True)
class MemoryMap:
    """Bytes of DRAM on each device: weights, activations that spill, and pages of keys and values."""

    capacity: float
    usable: float
    weights: float
    activations: float
    page_bytes: float
    page_count: int


@dataclass(frozen=True)
class CompiledProgram:
    """Blocks in the order of execution, the segments that repeat them, and the memory map; one for each (shard, device, plan)."""

    blocks: tuple[Block, ...]
    block_names: tuple[str, ...]
    segments: tuple[Segment, ...]
    memory: MemoryMap

    @property
    def ops(self) -> list[Op]:
        """All operators, block after block, in the order of the engine's indices."""
        return [op for block in self.blocks for op in block]

    def repeats(self) -> list[int]:
        """How often each operator runs in a step."""
        counts = [0] * len(self.blocks)
        for segment in self.segments:
            for block in segment.blocks:
                counts[block] += segment.repeat
        return [counts[b] for b, block in enumerate(self.blocks) for _ in block]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(operators, blocks, segments) in the layouts of `core.layout`."""
        ops = np.zeros(sum(map(len, self.blocks)), layout.OP)
        blocks = np.zeros(len(self.blocks), layout.BLOCK)
        position = 0
        for b, block in enumerate(self.blocks):
            blocks[b] = (position, len(block))
            index = {op.name: i for i, op in enumerate(block)} | {"input": -1}
            for op in block:
                _encode(op, index, ops[position : position + 1])
                position += 1
        segments = np.array([(s.blocks[0], len(s.blocks), s.repeat, s.layers) for s in self.segments], layout.SEGMENT)
        return ops, blocks, segments


_PLAIN = ("sync_bytes", "k", "n", "weight_bytes", "experts", "top_k", "vector_ops", "reduce_bytes", "kv_heads", "group",
          "key_dim", "value_dim", "window", "kv_elements", "gather", "elementwise")  # fmt: skip


def _encode(op: Op, index: dict[str, int], record: np.ndarray) -> None:
    record["kind"] = layout.OP_KINDS[op.kind]
    record["rows"] = layout.ROWS[op.rows]
    record["sync"] = layout.SYNCS[op.sync]
    after = [index[name] for name in op.after]
    if len(after) > 2:
        raise ValueError(f"{op.name} waits for {len(after)} operators; the engine takes two")
    record["after"][0] = [*after, -2, -2][:2]
    for field in _PLAIN:
        record[field] = getattr(op, field)


def _pattern(layers: tuple[Layer, ...]) -> list[tuple[tuple[Layer, ...], int]]:
    """Layers as (pattern, repetitions): runs of equal layers, or one repeating pattern of up to 8 layers if that is shorter."""
    runs: list[tuple[tuple[Layer, ...], int]] = [((kind,), len(list(same))) for kind, same in groupby(layers)]
    for length in range(2, 9):
        if len(layers) % length == 0 and layers == layers[:length] * (len(layers) // length) and len(runs) > length:
            return [(layers[:length], len(layers) // length)]
    return runs


def compile_program(experiment: Experiment) -> CompiledProgram:
    """Compile the experiment's model for one device of its tensor-parallel group.

    Raises
    ------
    SpecError
        If the model's dimensions do not divide over the devices.
    CapacityError
        If weights and at least one page of keys and values do not fit; says how many devices would hold them.
    """
    model, serving, device = experiment.model, experiment.serving, experiment.device
    _check_weights(experiment)
    ctx = Context(
        model,
        shard(model, serving.device_count, serving.tp_method),
        device.core.vector_unit.exp_ops,
        serving.scheduler == "ador" and device.core.mac_tree is not None,
    )
    blocks: list[Block] = [tuple(prologue_block(ctx))]
    names, segments = ["prologue"], [Segment((0,), 1, 0)]
    for pattern, repeat in _pattern(model.layers):
        start = len(blocks)
        blocks += [tuple(layer_block(ctx, layer)) for layer in pattern]
        names += [f"{layer.mlp}" + (f"-window{layer.window}" if layer.window else "") for layer in pattern]
        segments.append(Segment(tuple(range(start, len(blocks))), repeat, len(pattern)))
    segments.append(Segment((len(blocks),), 1, 0))
    blocks.append(tuple(epilogue_block(ctx)))
    names.append("epilogue")
    program = CompiledProgram(tuple(blocks), tuple(names), tuple(segments), MemoryMap(0, 0, 0, 0, 0, 0))
    return CompiledProgram(program.blocks, program.block_names, program.segments, _memory_map(experiment, program))


def _embedding_bytes(model: Model, vocab: int) -> float:
    """Input table (shared with lm_head if tied, which is then counted there) and position table."""
    table = 0 if model.tie_word_embeddings else vocab
    return (table + model.position_embeddings) * model.hidden_size * model.activation_bytes


def _memory_map(experiment: Experiment, program: CompiledProgram) -> MemoryMap:
    model, serving, device = experiment.model, experiment.serving, experiment.device
    b = model.activation_bytes
    weights = sum(op.weight_size * times for op, times in zip(program.ops, program.repeats(), strict=True))
    weights += _embedding_bytes(model, -(-model.vocab_size // serving.device_count))
    widest = max(op.k + op.n for op in program.ops if op.kind == "linear" and op.rows != "emit")
    spill = serving.max_num_batched_tokens * widest * b
    activations = spill if spill > device.global_memory / 2 else 0.0
    elements = {op.kv_elements for op in program.ops if op.kv_elements}
    page = serving.block_size * model.num_hidden_layers * max(elements) * model.kv_cache_bytes
    usable = device.dram.capacity * serving.memory_utilization
    pages = int((usable - weights - activations) // page)
    if pages < 1:
        raise CapacityError(
            f"{model.name} needs {(weights + activations + page) / 1e9:.2f} GB on each of {serving.device_count} {device.name} "
            f"for weights, activations and one page of KV cache; {usable / 1e9:.2f} GB are usable "
            f"({device.dram.capacity / 1e9:.2f} GB x memory_utilization {serving.memory_utilization:g}); {_advice(experiment)}",
            ("serving", "device_count"),
        )
    return MemoryMap(device.dram.capacity, usable, weights, activations, page, pages)


def _check_weights(experiment: Experiment) -> None:
    """Refuse early, before divisibility, when weights alone exceed all devices."""
    model, serving, device = experiment.model, experiment.serving, experiment.device
    needed, capacity = model.weight_total_bytes, device.dram.capacity
    if needed <= serving.device_count * capacity * serving.memory_utilization:
        return
    least = int(-(-needed // capacity))
    raise CapacityError(
        f"{model.name} needs {needed / 1e9:.2f} GB for weights alone: {least} x {device.name} by capacity "
        f"({capacity / 1e9:.2f} GB each), the experiment has {serving.device_count}; {_advice(experiment)}",
        ("serving", "device_count"),
    )


def _advice(experiment: Experiment) -> str:
    """The smallest device_count that divides the model and holds weights with a tenth to spare for keys and values."""
    model, serving, device = experiment.model, experiment.serving, experiment.device
    usable = device.dram.capacity * serving.memory_utilization
    heads, kv = model.num_attention_heads, model.num_key_value_heads
    for count in range(serving.device_count + 1, heads + 1):
        divides = heads % count == 0 and (model.is_mla or kv % count == 0 or count % kv == 0)
        widths = [w for w in (model.intermediate_size, model.moe_intermediate_size, model.shared_expert_intermediate_size) if w]
        if divides and all(w % count == 0 for w in widths) and 1.1 * model.weight_total_bytes <= count * usable:
            return f"set serving.device_count to {count}"
    return f"no tensor-parallel group of up to {heads} devices (its attention heads) holds it; use devices with more memory"
