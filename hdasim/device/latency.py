"""Batch composition -> step time and breakdown: a compiled program bound to its device, ready to execute."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiler.ops import Op
from ..compiler.parallel import expert_ranks
from ..compiler.program import CompiledProgram, compile_link, compile_program, pipeline
from ..core import layout
from ..core._core import MEASURED_SIZES, Program
from ..errors import SpecError
from ..noc.topology import device_network
from ..spec.experiment import Experiment
from ..spec.hardware import ConstantUtilization, Device, LogUtilization
from .allreduce import all_reduce_seconds
from .collectives import collective_seconds
from .energy import Energies, energies
from .energy import record as energy_record
from .gpu import record
from .links import network as links

_DRAM_KINDS = {"constant": 0, "log": 1, "overhead": 2}


@dataclass(frozen=True)
class Executable:
    """A compiled program and its counterpart in the C core."""

    compiled: CompiledProgram
    core: Program


@dataclass(frozen=True)
class Operator:
    """Where an operator of a step stands: stage (from 1), block, and how often the step runs it."""

    stage: int
    block: str
    op: Op
    repeat: int


@dataclass(frozen=True)
class Machine:
    """One replica: the stages of its pipeline, each for one device of its tensor-parallel group of `device_count`.

    Equal stages share one program. `link` carries a batch from stage to stage, if there are several. `kv_bytes` is per element of
    the KV cache. `expert_ranks` such replicas share their experts. `energies` of one device are None where they are not known.
    """

    stages: tuple[Executable, ...]
    link: Executable | None
    device: Device
    device_count: int
    kv_bytes: float
    expert_ranks: int = 1
    energies: Energies | None = None

    @property
    def compiled(self) -> CompiledProgram:
        """The program of the first stage, which is all there is without a pipeline."""
        return self.stages[0].compiled

    @property
    def core(self) -> Program:
        """`compiled`, bound to the device."""
        return self.stages[0].core

    @property
    def page_count(self) -> int:
        """KV pages of the replica: every sequence has its pages in all stages, so the stage with the fewest decides."""
        return min(stage.compiled.memory.page_count for stage in self.stages)

    @property
    def chain(self) -> list[Executable]:
        """What a batch passes through: stage, link, stage, .."""
        links = [] if self.link is None else [self.link]
        return [part for stage in self.stages for part in (stage, *links)][: 2 * len(self.stages) - 1]

    def distinct_stages(self) -> dict[Executable, list[int]]:
        """Each different stage with the numbers (from 1) of those equal to it."""
        result: dict[Executable, list[int]] = {}
        for number, stage in enumerate(self.stages, 1):
            result.setdefault(stage, []).append(number)
        return result

    def operators(self) -> list[Operator]:
        """The operators of a step in the order of `step`'s OP_STEP array."""
        result = []
        for i, part in enumerate(self.chain):
            c = part.compiled
            names = [name for name, block in zip(c.block_names, c.blocks, strict=True) for _ in block]
            rows = zip(names, c.ops, c.repeats(), strict=True)
            result += [Operator(i // 2 + 1, name, op, times) for name, op, times in rows]
        return result

    def step(
        self, q_len: list[int], past: list[int], emit_count: int, *, exact: bool = False, group_tokens: int = 0
    ) -> tuple[Any, np.ndarray]:
        """Execute one step of sequences with `q_len` new tokens after `past` cached ones.

        `group_tokens` of all ranks that share experts, this one's included; 0: all have as many as this one.

        Returns
        -------
        (STEP record, OP_STEP array in the order of `operators`); seconds, bytes, multiply-accumulates of one device of each
        stage, added up over stages and links.
        """
        batch = np.array(q_len, np.int64), np.array(past, np.int64), emit_count
        done: dict[Program, tuple[Any, np.ndarray]] = {}
        for part in self.chain:
            if part.core not in done:
                done[part.core] = part.core.step(*batch, exact=exact, per_op=True, group_tokens=group_tokens)
        results = [done[part.core] for part in self.chain]
        if len(results) == 1:
            return results[0]
        total = np.zeros(1, layout.STEP)
        for name in layout.STEP.names or ():
            total[name][0] = sum(step[name] for step, _ in results)
        return total[0], np.concatenate([ops for _, ops in results])


def build(experiment: Experiment) -> Machine:
    """Compile the experiment and bind it to its device; `SpecError` or `CapacityError` if it cannot run."""
    device, serving = experiment.device, experiment.serving
    ranks = expert_ranks(serving)
    group = ranks * serving.device_count
    if group * serving.pipeline_parallel_size > 1 and device.p2p is None:
        raise SpecError(
            f"{device.name} has no links to other devices; give p2p: {{bandwidth: ..., latency: ...}}", ("device", "p2p")
        )
    if group > 1 and device.p2p is not None and device.p2p.kind and serving.tp_algorithm != "auto":
        raise SpecError(
            f"tp_algorithm {serving.tp_algorithm} does not apply to links of kind {device.p2p.kind}, on which NCCL chooses; "
            "use auto, or set device.p2p.kind to null",
            ("serving", "tp_algorithm"),
        )
    for count in (serving.device_count, group) if serving.tp_algorithm == "recursive" else ():
        if count & (count - 1):
            raise SpecError(
                f"tp_algorithm recursive takes 1, 2, 4, 8, .. devices, not {count}; use auto or ring", ("serving", "tp_algorithm")
            )
    plan = pipeline(experiment)
    fields, noc, p2p = _fields(experiment), device_network(device), links(device.p2p, serving.device_count)
    known = energies(device)
    fields["energy"] = energy_record(device, known)
    experts = links(device.p2p, group) if ranks > 1 else None

    def bind(compiled: CompiledProgram, **changes: Any) -> Executable:
        sizes = serving.max_num_batched_tokens, serving.block_size
        program = Program(fields | changes, noc, p2p, *compiled.arrays(), *sizes, experts)
        return Executable(compiled, program)

    programs = {stage: bind(compile_program(experiment, stage)) for stage in dict.fromkeys(plan)}
    # a link takes none of its devices' time: what they draw whatever runs is that of the stages
    still = energy_record(device, known, standing=False)
    link = bind(compile_link(experiment), energy=still) if len(plan) > 1 else None
    kv_bytes = experiment.model.kv_cache_bytes
    return Machine(tuple(programs[s] for s in plan), link, device, serving.device_count, kv_bytes, ranks, known)


def _dram(device: Device) -> tuple[int, float, float, float, float, float, float]:
    """kind, bandwidth, slope, intercept, minimum, maximum, layer_time of hda_dram_t."""
    u, rate = device.dram.utilization, device.dram.bandwidth
    if isinstance(u, ConstantUtilization):
        return _DRAM_KINDS["constant"], rate, 0.0, 0.0, u.value, u.value, 0.0
    if isinstance(u, LogUtilization):
        return _DRAM_KINDS["log"], rate, u.slope, u.intercept, u.minimum, u.maximum, 0.0
    return _DRAM_KINDS["overhead"], rate, 0.0, 0.0, u.maximum, u.maximum, u.layer_time


def _measured(device: Device, count: int) -> np.ndarray | None:
    """Seconds of collectives among `count` devices whose links take NCCL's time: all-reduce, all-gather, all-to-all, send,
    reduce-scatter of 2^(i/4) bytes; None where messages are simulated."""
    if device.p2p is None or device.p2p.kind is None:
        return None
    sizes = 2.0 ** (np.arange(MEASURED_SIZES) / 4)
    ops = ("all_reduce", "all_gather", "alltoall", "send_recv", "reduce_scatter")
    times = [collective_seconds(device.p2p, op, max(count, 2), sizes) for op in ops]
    if device.gpu is not None:
        times[0] = all_reduce_seconds(device.p2p, max(count, 2), sizes)
    return np.concatenate(times)


def _fields(experiment: Experiment) -> dict[str, Any]:
    """The fields of hda_device_t."""
    device, serving, model = experiment.device, experiment.serving, experiment.model
    array, tree = device.core.systolic_array, device.core.mac_tree
    ranks = expert_ranks(serving)
    return {
        "frequency": device.frequency,
        "core_count": device.core_count,
        "array": (array.rows, array.cols, array.lanes),
        "tree": (tree.width, tree.lanes, tree.lanes_split) if tree else (0, 0, False),
        "vector_width": device.core.vector_unit.width,
        "local_memory": device.core.local_memory,
        "global_memory": device.global_memory,
        "global_bandwidth": device.global_bandwidth,
        "dram": _dram(device),
        "link_width": device.noc.link_width,
        "shared": device.noc.topology == "shared",
        "p2p_algorithm": layout.P2P_ALGORITHMS[serving.tp_algorithm],
        "device_count": serving.device_count,
        "p2p_bandwidth": device.p2p.bandwidth if device.p2p else 1.0,
        "measured": _measured(device, serving.device_count),
        "rank_count": ranks,
        "expert_measured": _measured(device, ranks * serving.device_count) if ranks > 1 else None,
        "dataflow": layout.DATAFLOWS_ON_CORES[device.dataflow],
        "launch_overhead": device.launch_overhead + (device.gpu.gap if device.gpu else 0.0),
        "prefetch": device.prefetch,
        "activation_bytes": model.activation_bytes,
        "kv_bytes": model.kv_cache_bytes,
        "gpu": record(device) if device.gpu is not None else None,
    }
