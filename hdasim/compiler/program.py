"""From a model shard on a device to a program: blocks of operators, the arrays that the C engine executes, and the memory map."""

from dataclasses import dataclass, replace
from itertools import accumulate, groupby, islice

import msgspec
import numpy as np

from ..core import layout
from ..errors import CapacityError, SpecError
from ..spec.experiment import Experiment
from ..spec.model import Layer, Model
from ..spec.serving import Serving
from .kernels import kernels
from .layers import Context, epilogue_block, layer_block, link_block, prologue_block
from .ops import Op
from .parallel import expert_ranks, shard, stage_sizes

Block = tuple[Op, ...]


@dataclass(frozen=True)
class Stage:
    """What one stage of a pipeline holds: decoder layers, the embedding if it is the `first`, the lm_head if it is the `last`."""

    layers: tuple[Layer, ...]
    first: bool = True
    last: bool = True


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
    """Blocks in the order of execution, the segments that repeat them, and the memory map; one for each (stage, device, plan)."""

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
          "key_dim", "value_dim", "window", "kv_elements", "gather", "elementwise", "inter", "read_bytes",
          "write_bytes")  # fmt: skip


def _encode(op: Op, index: dict[str, int], record: np.ndarray) -> None:
    record["kind"] = layout.OP_KINDS[op.kind]
    record["rows"] = layout.ROWS[op.rows]
    record["sync"] = layout.SYNCS[op.sync]
    record["type"] = layout.TYPES[op.type]
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


def pipeline(experiment: Experiment) -> tuple[Stage, ...]:
    """The stages of the experiment's pipeline, in order; `SpecError` if there are more of them than layers."""
    layers = experiment.model.layers
    sizes = stage_sizes(len(layers), experiment.serving.pipeline_parallel_size)
    parts = [layers[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]
    return tuple(Stage(part, i == 0, i == len(parts) - 1) for i, part in enumerate(parts))


def compile_program(experiment: Experiment, stage: Stage | None = None) -> CompiledProgram:
    """Compile the experiment's model, or the `stage` of its pipeline, for one device of a tensor-parallel group.

    Raises
    ------
    SpecError
        If the model's dimensions do not divide over the devices.
    CapacityError
        If weights and at least one page of keys and values do not fit; says how many devices would hold them.
    """
    model, serving, device = experiment.model, experiment.serving, experiment.device
    stage = stage or Stage(model.layers)
    _check_weights(experiment)
    if device.gpu is not None and serving.tp_method != "megatron":
        raise SpecError(f"{serving.tp_method} is not what GPU libraries do; use megatron", ("serving", "tp_method"))
    ctx = Context(
        model,
        shard(model, serving),
        device.core.vector_unit.exp_ops,
        serving.scheduler == "ador" and device.core.mac_tree is not None,
        device.gpu is not None,
    )
    blocks: list[Block] = []
    names: list[str] = []
    segments: list[Segment] = []

    def add(pattern: list[tuple[str, list[Op]]], repeat: int = 1, layers: int = 0) -> None:
        start = len(blocks)
        names.extend(name for name, _ in pattern)
        blocks.extend(tuple(kernels(block, model) if device.gpu else block) for _, block in pattern)
        segments.append(Segment(tuple(range(start, len(blocks))), repeat, layers))

    if stage.first:
        add([("prologue", prologue_block(ctx))])
    for layers, repeat in _pattern(stage.layers):
        add([(_layer_name(layer), layer_block(ctx, layer)) for layer in layers], repeat, len(layers))
    if stage.last:
        add([("epilogue", epilogue_block(ctx))])
    program = CompiledProgram(tuple(blocks), tuple(names), tuple(segments), _NO_MEMORY)
    return replace(program, memory=_memory_map(experiment, stage, program))


_NO_MEMORY = MemoryMap(0, 0, 0, 0, 0, 0)


def compile_link(experiment: Experiment) -> CompiledProgram:
    """The transfer of a batch's hidden states from one stage to the next, as a program of its own that holds no memory."""
    return CompiledProgram((tuple(link_block(experiment.model)),), ("link",), (Segment((0,), 1, 0),), _NO_MEMORY)


def _layer_name(layer: Layer) -> str:
    return f"{layer.mlp}" + (f"-window{layer.window}" if layer.window else "")


def _embedding_bytes(model: Model, stage: Stage, vocab: int) -> float:
    """Input and position table of the first stage.

    A tied input table is the lm_head's, and counted there, unless that is in another stage, which then has a copy (as in vLLM).
    """
    if not stage.first:
        return 0.0
    table = 0 if model.tie_word_embeddings and stage.last else vocab
    return (table + model.position_embeddings) * model.hidden_size * model.activation_bytes


def _memory_map(experiment: Experiment, stage: Stage, program: CompiledProgram) -> MemoryMap:
    model, serving, device = experiment.model, experiment.serving, experiment.device
    b, group, ops = model.activation_bytes, serving.device_count, program.ops
    weights = sum(op.weight_size * times for op, times in zip(ops, program.repeats(), strict=True))
    weights += _embedding_bytes(model, stage, -(-model.vocab_size // group))
    owned = {"tokens": 1, "latent": 1, "share": group}
    widest = max((op.k + op.n) / owned[op.rows] for op in ops if op.kind == "linear" and op.rows != "emit")
    spill = serving.max_num_batched_tokens * widest * b
    activations = spill if spill > device.global_memory / 2 else 0.0
    elements = {op.kv_elements for op in ops if op.kv_elements}
    page = serving.block_size * len(stage.layers) * max(elements) * model.kv_cache_bytes
    usable = device.dram.capacity * serving.memory_utilization
    pages = int((usable - weights - activations) // page)
    if pages < 1:
        what = model.name if stage.first and stage.last else f"a stage of {len(stage.layers)} layers of {model.name}"
        raise CapacityError(
            f"{what} needs {(weights + activations + page) / 1e9:.2f} GB on each of {group} {device.name} "
            f"for weights, activations and one page of KV cache; {usable / 1e9:.2f} GB are usable "
            f"({device.dram.capacity / 1e9:.2f} GB x memory_utilization {serving.memory_utilization:g}); {_advice(experiment)}",
            ("serving", "device_count"),
        )
    return MemoryMap(device.dram.capacity, usable, weights, activations, page, pages)


def _check_weights(experiment: Experiment) -> None:
    """Refuse early, before divisibility, when weights alone exceed all devices of a replica."""
    model, serving, device = experiment.model, experiment.serving, experiment.device
    needed, capacity = _rank_bytes(experiment), device.dram.capacity
    count = serving.device_count * serving.pipeline_parallel_size
    if needed <= count * capacity * serving.memory_utilization:
        return
    least = int(-(-needed // capacity))
    each = f" in each of {serving.data_parallel_size} data-parallel ranks" if expert_ranks(serving) > 1 else ""
    raise CapacityError(
        f"{model.name} needs {needed / 1e9:.2f} GB for weights alone{each}: {least} x {device.name} by capacity "
        f"({capacity / 1e9:.2f} GB each), the experiment has {count}; {_advice(experiment)}",
        ("serving", "device_count"),
    )


def _rank_bytes(experiment: Experiment) -> float:
    """Weights in one data-parallel rank: all of them, but of shared experts its part."""
    model, ranks = experiment.model, expert_ranks(experiment.serving)
    layers = sum(layer.mlp == "moe" for layer in model.layers)
    experts = layers * model.ffn_parameter_count(model.num_experts * model.moe_intermediate_size) * model.weight_bytes
    return model.weight_total_bytes - experts * (ranks - 1) / ranks


def _advice(experiment: Experiment) -> str:
    """The smallest device_count that divides the model and holds weights with a tenth to spare for keys and values.

    Also more stages, if that takes fewer devices; if no group is large enough, the fewest devices that do in several stages.
    """
    model, serving = experiment.model, experiment.serving
    present, stages = serving.device_count, serving.pipeline_parallel_size
    groups = [d for d in range(1, model.num_attention_heads + 1) if _divides(model, serving, d)]
    plans = [(d * s, s, d) for d in groups for s in _fewest_stages(experiment, d)]
    longer = next((s for _, s, d in plans if d == present and s > stages), 0)
    for count in groups:
        if count > present and _holds(experiment, count, stages):
            fewer = longer and longer * present < count * stages
            return f"set serving.device_count to {count}" + (f", or pipeline_parallel_size to {longer}" if fewer else "")
    if longer:
        return f"set serving.pipeline_parallel_size to {longer}"
    if plans:
        _, stages, count = min(plans)
        return f"set serving.pipeline_parallel_size to {stages} and device_count to {count}"
    most = f"{model.num_hidden_layers} stages (its layers) of up to {max(groups)} devices (its attention heads)"
    return f"no pipeline of up to {most} holds it; use devices with more memory"


def _divides(model: Model, serving: Serving, devices: int) -> bool:
    """Whether the model can be cut over so many tensor-parallel devices."""
    try:
        shard(model, msgspec.structs.replace(serving, device_count=devices))
    except SpecError:
        return False
    return True


def _holds(experiment: Experiment, devices: int, stages: int) -> bool:
    """Whether the largest of `stages` stages leaves a tenth of its weights for keys and values; an estimate for equal layers."""
    model = experiment.model
    tables = model.embedding_parameter_count * model.activation_bytes
    layers = model.num_hidden_layers
    needed = (_rank_bytes(experiment) - tables) * -(-layers // stages) / layers + tables
    return 1.1 * needed <= devices * experiment.device.dram.capacity * experiment.serving.memory_utilization


def _fewest_stages(experiment: Experiment, devices: int) -> list[int]:
    """The fewest stages of `devices` devices that hold the model, in a list; empty if none do."""
    layers = range(1, experiment.model.num_hidden_layers + 1)
    return list(islice((stages for stages in layers if _holds(experiment, devices, stages)), 1))
