"""Whether the model can run at all within the constraints, before anything is searched."""

import msgspec

from ...compiler.ops import Op
from ...compiler.program import CompiledProgram, compile_program, pipeline
from ...cost.area import die_area
from ...errors import CapacityError, SpecError
from ...simulate import MAX_STEP_TOKENS
from ...spec.experiment import Experiment
from ...spec.hardware import Device
from ...spec.search_ador import AdorSearch
from . import chip as chips
from .chip import MIB, Chip


def refuse_misfit(search: AdorSearch) -> tuple[list[Op], int]:
    """The operators of one device in every stage, and the tokens of KV cache that there is room for.

    Raises
    ------
    CapacityError
        If weights and KV cache of the conditions do not fit; says how many devices, or how much DRAM, would hold them.
    SpecError
        If the model cannot be cut over the devices, or the area model does not know the die, or that of the reference.
    """
    space, given = search.space, search.constraints
    p2p = given.p2p.bandwidth if given.p2p else None
    chip = Chip(side=space.sides[0], core_count=space.core_counts[0], width=1, lanes=1, global_memory=MIB,
                local_memory=int(space.local_memories[-1]), link_width=given.max_link_width, p2p_bandwidth=p2p)  # fmt: skip
    device = chips.device(search, chip)
    for die, key in ((device, ("constraints", "die")), (chips.reference(search), ("reference", "area"))):
        try:
            die_area(die)
        except SpecError as error:
            raise SpecError(error.message, (*key, *error.path[1:])) from None
    experiment = search.experiment(device)
    try:
        compiled = programs(experiment)
    except CapacityError as error:
        each = given.dram.capacity
        wanted = search.model.weight_total_bytes / (search.serving.device_count * search.serving.pipeline_parallel_size)
        wanted /= search.serving.memory_utilization
        more = f"dram.capacity above {wanted / 1e9:.0f} GB instead of {each / 1e9:.0f} GB"
        message = f"{error.message}; or, for the weights alone, {more}"
        raise CapacityError(message, error.path) from None
    _refuse_long_prompts(search, device)
    pages = min(p.memory.page_count for p in compiled)
    block, conditions = search.serving.block_size, search.conditions
    asked = conditions.batch_size * -(-(conditions.context_len + 1) // block)
    if asked > pages:
        raise SpecError(
            f"{conditions.batch_size} sequences of {conditions.context_len} tokens need {asked * block:,} tokens of KV cache, "
            f"the devices have room for {pages * block:,}; use a smaller batch_size, or more serving.device_count",
            ("conditions", "batch_size"),
        )
    return [op for p in compiled for op in p.ops], pages * block



def programs(experiment: Experiment) -> list[CompiledProgram]:
    """One of each different stage; SpecError or CapacityError if the model cannot be cut so, or does not fit."""
    return [compile_program(experiment, stage) for stage in dict.fromkeys(pipeline(experiment))]


def _refuse_long_prompts(search: AdorSearch, device: Device) -> None:
    """SpecError if a step of `input_len` tokens is too much for the engine, or its activations for the DRAM."""
    tokens, serving = search.conditions.input_len, search.serving
    budget = min(max(serving.max_num_batched_tokens, tokens), MAX_STEP_TOKENS)
    wide = msgspec.structs.replace(serving, max_num_batched_tokens=budget)
    try:
        if tokens > MAX_STEP_TOKENS:
            raise CapacityError(f"the engine takes {MAX_STEP_TOKENS:,} at most")
        programs(search.experiment(device, serving=wide))
    except CapacityError as error:
        message = f"a prompt of {tokens:,} tokens in one step is too long: {error.message.partition(';')[0]}; use a shorter one"
        raise SpecError(message, ("conditions", "input_len")) from None
