"""Step 1: which chips there are. The MAC tree first, then arrays, cores and local memory that the area holds."""

from dataclasses import dataclass
from itertools import product

import msgspec

from ...compiler.ops import Op
from ...errors import SpecError
from ...spec.search_ador import AdorSearch
from . import chip as chips
from .chip import GLOBAL_UNIT, KIB, Chip
from .sizing import global_bytes, local_bytes, tree_width


@dataclass(frozen=True)
class Needs:
    """What the model asks of a chip, by its operators on one device.

    `reuse`: queries per key or tokens per expert. `global_memory`: bytes of keys and values of a chunk.
    """

    search: AdorSearch
    ops: list[Op]
    reuse: int

    @property
    def element(self) -> float:
        return self.search.model.activation_bytes

    @property
    def global_memory(self) -> int:
        """Whole units of the area model's SRAM."""
        size = global_bytes(self.ops, self.search.serving.max_num_batched_tokens, self.search.model.kv_cache_bytes)
        return -int(-size // GLOBAL_UNIT) * GLOBAL_UNIT

    def width(self, cores: int) -> int:
        """Of the MAC tree of each of `cores` cores."""
        given = self.search.constraints
        rounding = self.search.space.mt_round
        return tree_width(given.dram.bandwidth, given.frequency, self.search.model.weight_bytes, cores, rounding)

    def local(self, cores: int) -> tuple[float, str]:
        """(bytes that the most demanding operator needs at most in each core, its name)."""
        serving, tile = self.search.serving, self.search.space.softmax_tile
        return local_bytes(self.ops, cores, serving.max_num_batched_tokens, serving.max_num_seqs, tile, self.element)

    def least_local(self, cores: int) -> float:
        """The hard minimum: activations of one token."""
        return local_bytes(self.ops, cores, 1, 1, self.search.space.softmax_tile, self.element)[0]

    def local_sizes(self, cores: int) -> list[int]:
        """Sizes to try: from one token's activations to the least that holds everything (or the largest, if none does)."""
        sizes = [int(size) for size in self.search.space.local_memories]
        most = next((size for size in sizes if size >= self.local(cores)[0]), sizes[-1])
        return [size for size in sizes if self.least_local(cores) <= size <= most]


def all_chips(needs: Needs, lanes: int, link_width: int) -> list[Chip]:
    """Every chip of the space with `lanes` in its tree, whatever its area; global memory as needed."""
    search = needs.search
    p2p = search.constraints.p2p
    return [
        Chip(side=side, core_count=cores, width=needs.width(cores), lanes=lanes, local_memory=local,
             global_memory=needs.global_memory, link_width=link_width, p2p_bandwidth=p2p.bandwidth if p2p else None)
        for cores, side in product(search.space.core_counts, search.space.sides)
        for local in needs.local_sizes(cores)
    ]  # fmt: skip


def fitting(needs: Needs, lanes: int) -> list[Chip]:
    """Those within the area."""
    search = needs.search
    limit = search.constraints.area
    return [c for c in all_chips(needs, lanes, search.constraints.max_link_width) if chips.area(search, c) <= limit]


def global_sizes(search: AdorSearch, chip: Chip) -> list[Chip]:
    """The chip with 2, 4, 8 and 16 times its global memory, and at last with all that the area holds."""
    most = chips.rest(search, chip)
    sizes = [factor * max(chip.global_memory, GLOBAL_UNIT) for factor in (2, 4, 8, 16)]
    sizes = [size for size in sizes if size < most]
    return [msgspec.structs.replace(chip, global_memory=s) for s in [*sizes, most] if s > chip.global_memory]


def refuse_too_small(needs: Needs) -> None:
    """SpecError if not even the smallest chip of the space, with the fewest lanes, fits the area."""
    search, limit = needs.search, needs.search.constraints.area
    every = all_chips(needs, 1, search.constraints.max_link_width)
    if not every:
        least = min(needs.least_local(cores) for cores in search.space.core_counts)
        most = search.space.local_memories[-1] / KIB
        raise SpecError(
            f"one token's activations take {least / KIB:.0f} KiB of a core, more than the largest local memory of {most:.0f} "
            "KiB; allow larger ones",
            ("space", "local_memories"),
        )
    least_area, chip = min(((chips.area(search, c), c) for c in every), key=lambda pair: pair[0])
    if least_area > limit:
        bare = chips.area(search, msgspec.structs.replace(chip, core_count=1, side=search.space.sides[0]))
        raise SpecError(
            f"{limit:g} mm2 hold no chip of this space: {chips.smallest(search.constraints)} take {bare:.1f} mm2, the smallest "
            f"chip ({chip.label}) {least_area:.1f}; allow that much, or smaller space.core_counts",
            ("constraints", "area"),
        )
