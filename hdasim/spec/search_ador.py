"""The file of a search by ADOR's three steps: what the vendor has, what users want, and which chips may be proposed."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from .area import Area
from .base import (
    BatchCount,
    CoreCount,
    Fraction,
    Hertz,
    NonNegativeInt,
    PositiveBytes,
    PositiveFloat,
    Side,
    Spec,
    SquareMillimetres,
    Width,
)
from .experiment import Experiment
from .hardware import P2P, Device, Dram, Noc, VectorUnit
from .model import Model
from .power import Power
from .serving import Serving
from .slo import SLO
from .workload import TokenCount, Workload

Tolerance = Annotated[float, Meta(gt=0, le=1)]
Iterations = Annotated[int, Meta(ge=1, le=64)]
Finalists = Annotated[int, Meta(ge=1, le=256)]
#: Keys of `Area` that follow from the chip that is proposed.
_COUNTED = ("cores", "lanes", "vector_width", "local_memory", "global_memory")


class Constraints(Spec):
    """What the vendor gives: limits, and everything of a chip that is not searched.

    `area` limits the die in mm2; `die` says what it is made of beside the searched units: process node, interfaces, area of a
    MAC tree. `p2p.bandwidth` and `max_link_width` (bytes/cycle of a NoC link) are the most that there may be; the search takes
    the least that hides communication. The columns of `noc` follow the core count. Global memory delivers
    `global_memory_width` bytes per cycle for each MiB. Without `power` that of the chip stays unknown.
    """

    area: SquareMillimetres
    frequency: Hertz
    dram: Dram
    die: Area
    p2p: P2P | None = None
    vector_unit: VectorUnit = VectorUnit(width=32)
    noc: Noc = Noc()
    max_link_width: Width = 512
    global_memory_width: PositiveFloat = 128.0
    power: Power | None = None

    def __post_init__(self) -> None:
        for key in _COUNTED:
            if getattr(self.die, key) is not None:
                raise ValueError(f"die: {key} follows from the chip that is proposed; remove it")
        if self.noc.topology in ("cmesh", "edges", "shared"):
            raise ValueError(f"noc: a {self.noc.topology} does not follow the core count; use mesh, torus, ring or crossbar")


class Targets(Spec):
    """The vendor's goals in the serving simulation: at least so many requests/s or output tokens/s in all, and shares used of the
    peak multiply-accumulates and of the peak DRAM bandwidth while steps run."""

    request_throughput: PositiveFloat | None = None
    output_throughput: PositiveFloat | None = None
    compute_utilization: Fraction | None = None
    dram_utilization: Fraction | None = None


class Conditions(Spec):
    """Steps by which chips are screened: a prompt of `input_len` tokens alone (TTFT) and a decode step of `batch_size` sequences
    with `context_len` cached tokens (TBT); ADOR's ratios are at batch 150. `latency_batch` is the batch at which experts are
    reused in the formula for lanes of the MAC tree (papers.md 3.3)."""

    input_len: TokenCount = 1024
    batch_size: BatchCount = 150
    context_len: TokenCount = 1024
    latency_batch: BatchCount = 16


class Space(Spec):
    """Which chips may be proposed.

    `sides` of the square systolic array: ADOR's multiples of 32, and LLMCompass-L's 16. `local_memories` in bytes per core: the
    sizes that the area model's SRAM comes in. `lane_min`: the fewest lanes of a MAC tree to begin with; ADOR's design has 16
    where the reuse of LLaMA3-8B's keys asks for 4, "to ensure sufficient parallelization". With ``mt_round: none`` the width of
    a tree is rounded up to a whole number, not to a power of two. `softmax_tile`: scores of one query that are alive at a time.
    """

    sides: Annotated[tuple[Side, ...], Meta(min_length=1, max_length=64)] = (16, 32, 64, 96, 128, 160, 192, 224, 256)
    core_counts: Annotated[tuple[CoreCount, ...], Meta(min_length=1, max_length=64)] = (4, 8, 12, 16, 24, 32, 48, 64, 96)
    local_memories: Annotated[tuple[PositiveBytes, ...], Meta(min_length=1, max_length=32)] = (
        65536.0, 131072.0, 262144.0, 524288.0, 1048576.0, 2097152.0, 4194304.0,
    )  # fmt: skip
    lane_min: Side = 16
    mt_round: Literal["power_of_two", "none"] = "power_of_two"
    lanes_split: bool = True
    softmax_tile: TokenCount = 256

    def __post_init__(self) -> None:
        for key in ("sides", "core_counts", "local_memories"):
            values = list(getattr(self, key))
            if values != sorted(set(values)):
                raise ValueError(f"{key}: must ascend, each value once, got {values}")


class AdorSearch(Spec, tag="ador", tag_field="method"):
    """From service levels and constraints to a chip, by ADOR's three steps (`hdasim.search.ador.method`).

    `reference` is the chip that area efficiency is measured against, evaluated as it is under the same model, serving and
    traffic. `statistic` is that of TTFT and TBT in the serving simulation. Of each iteration the best `finalists` are simulated.

    Between cores, communication counts as hidden if no step takes more than 1 + `tolerance` times as long as with unlimited
    bandwidth; a NoC that leaves more than `max_exposed` at the limit is infeasible. Between devices, where the limit is taken
    anyway, hidden means `max_exposed`. `max_factor`: the largest factor on a resource that is tried when goals are missed.
    """

    constraints: Constraints
    model: Model
    workload: Workload
    reference: Device
    serving: Serving = Serving(scheduler="ador")
    slo: SLO = SLO()
    targets: Targets = Targets()
    conditions: Conditions = Conditions()
    space: Space = Space()
    statistic: Literal["mean", "p50", "p90", "p99"] = "mean"
    max_iterations: Iterations = 6
    finalists: Finalists = 4
    tolerance: Tolerance = 0.01
    max_exposed: Tolerance = 0.05
    max_factor: Annotated[float, Meta(gt=1, le=4096)] = 64.0
    seed: NonNegativeInt = 0
    name: Annotated[str, Meta(min_length=1, max_length=200)] = "search"

    def __post_init__(self) -> None:
        serving = self.serving
        if serving.device_count * serving.pipeline_parallel_size > 1 and self.constraints.p2p is None:
            raise ValueError("constraints: several devices need links; add p2p: {bandwidth: 32 GB/s, latency: 1 us}")
        if self.reference.area is None:
            raise ValueError(f"reference: {self.reference.name} has no area section to compare with; add one, or use another")

    def experiment(self, device: Device, **changes: Any) -> Experiment:
        """The experiment of this search on a chip; `changes` replace its other sections."""
        parts = {"model": self.model, "workload": self.workload, "serving": self.serving, "slo": self.slo, "seed": self.seed}
        return Experiment(device=device, name=self.name, **{**parts, **changes})
