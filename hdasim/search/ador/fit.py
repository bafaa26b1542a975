"""Whether the model can run at all within the constraints, before anything is searched."""

from ...compiler.ops import Op
from ...compiler.program import compile_program, pipeline
from ...errors import CapacityError, SpecError
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
        If the model cannot be cut over the devices.
    """
    space, given = search.space, search.constraints
    p2p = given.p2p.bandwidth if given.p2p else None
    chip = Chip(side=space.sides[0], core_count=space.core_counts[0], width=1, lanes=1, global_memory=MIB,
                local_memory=int(space.local_memories[-1]), link_width=given.max_link_width, p2p_bandwidth=p2p)  # fmt: skip
    experiment = search.experiment(chips.device(search, chip))
    stages = list(dict.fromkeys(pipeline(experiment)))
    try:
        programs = [compile_program(experiment, stage) for stage in stages]
    except CapacityError as error:
        each = given.dram.capacity
        wanted = search.model.weight_total_bytes / (search.serving.device_count * search.serving.pipeline_parallel_size)
        wanted /= search.serving.memory_utilization
        message = f"{error.message}; or dram.capacity above {wanted / 1e9:.0f} GB instead of {each / 1e9:.0f} GB"
        raise CapacityError(message, error.path) from None
    pages = min(p.memory.page_count for p in programs)
    block, conditions = search.serving.block_size, search.conditions
    asked = conditions.batch_size * -(-(conditions.context_len + 1) // block)
    if asked > pages:
        raise SpecError(
            f"{conditions.batch_size} sequences of {conditions.context_len} tokens need {asked * block:,} tokens of KV cache, "
            f"the devices have room for {pages * block:,}; use a smaller batch_size, or more serving.device_count",
            ("conditions", "batch_size"),
        )
    return [op for p in programs for op in p.ops], pages * block

