"""What has been evaluated: tasks for chips, their records, and the order of chips by them."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...cost.area import die_area
from ...errors import SpecError
from ...spec.hardware import Device
from ...spec.search_ador import AdorSearch
from ..loop import Task
from . import chip as chips
from .chip import Chip
from .estimate import Traffic, shapes, slots, traffic, under_load
from .evaluate import SERVE, STEPS, plain
from .goals import Efficiency, efficiency

Records = list[dict[str, Any]]
#: Yields tasks, is sent their records.
Asking = Generator[list[Task], Records, Any]


@dataclass(frozen=True)
class Measured:
    """Steps of a device; times in seconds, `load` (TTFT, TBT) as estimated under traffic, None if overloaded or unknown."""

    area: float
    record: dict[str, Any]
    steps: tuple[float, float]
    load: tuple[float, float] | None

    @property
    def gemm(self) -> float:
        """Seconds of the GEMMs of the prompt."""
        return float(self.record["gemm"])


@dataclass(frozen=True)
class Screened(Measured):
    """A chip with its steps."""

    chip: Chip


class Bench:
    """Evaluates chips of a search, each at most once."""

    def __init__(self, search: AdorSearch, kv_tokens: int):
        self.search = search
        self.traffic: Traffic = traffic(search)
        self.slots = slots(search, self.traffic, kv_tokens)
        self.shapes = shapes(search, self.traffic, self.slots)
        self.screened: dict[Chip, Screened] = {}
        #: With the links that step 2 gave them.
        self.linked: dict[Chip, Screened] = {}
        self.failed: dict[Chip, str] = {}
        self.simulated: dict[Chip, dict[str, Any]] = {}
        self.reference: Measured
        self.reference_run: dict[str, Any]

    def steps_task(self, device: Device) -> Task:
        data = plain(self.search.experiment(device))
        return Task(STEPS, {"experiment": data, "shapes": {n: [s.prompt, s.decode, s.context] for n, s in self.shapes.items()}})

    def serve_task(self, device: Device, **changes: Any) -> Task:
        return Task(SERVE, {"experiment": plain(self.search.experiment(device, **changes))})

    def evaluate_reference(self) -> Asking:
        """Steps and simulation of the reference, as it is."""
        device = chips.reference(self.search)
        record, run = yield [self.steps_task(device), self.serve_task(device)]
        for each in (record, run):
            if "error" in each:
                raise SpecError(f"the reference cannot serve this: {each['error']}", ("reference",))
        self.reference = Measured(die_area(device).total, record, *self._times(record))
        self.reference_run = run

    def screen(self, wanted: Iterable[Chip]) -> Asking:
        """Steps of chips that are not known yet; those that cannot run the model go to `failed`."""
        new = [c for c in dict.fromkeys(wanted) if c not in self.screened and c not in self.failed]
        if not new:
            return
        records = yield [self.steps_task(chips.device(self.search, c)) for c in new]
        for chip, record in zip(new, records, strict=True):
            if "error" in record:
                self.failed[chip] = record["error"]
            else:
                self.screened[chip] = self.screened_of(chip, record)

    def screened_of(self, chip: Chip, record: dict[str, Any]) -> Screened:
        """A chip with a record of its steps."""
        return Screened(chips.area(self.search, chip), record, *self._times(record), chip)

    def simulate(self, wanted: Sequence[Chip]) -> Asking:
        """Serving simulations of chips that have none yet."""
        new = [c for c in dict.fromkeys(wanted) if c not in self.simulated]
        if not new:
            return
        records = yield [self.serve_task(chips.device(self.search, c)) for c in new]
        self.simulated.update(zip(new, records, strict=True))

    def _times(self, record: dict[str, Any]) -> tuple[tuple[float, float], tuple[float, float] | None]:
        """(TTFT, TBT) at the conditions, and as estimated under traffic."""
        seconds, budget = record["seconds"], self.search.serving.max_num_batched_tokens
        estimate = under_load(seconds, self.traffic, self.slots, budget, self.shapes["mixed"].prompt)
        return (seconds["prefill"], seconds["decode"]), estimate

    def step_efficiency(self, screened: Measured) -> Efficiency:
        """At the conditions of the search."""
        return efficiency(screened.steps, self.reference.steps, screened.area, self.reference.area)

    def load_efficiency(self, screened: Measured) -> Efficiency:
        """As estimated under traffic; where that is unknown of either, at the conditions."""
        if screened.load is None or self.reference.load is None:
            return self.step_efficiency(screened)
        return efficiency(screened.load, self.reference.load, screened.area, self.reference.area)

    def rank(self, screened: Measured) -> tuple[bool, bool, float]:
        """For the best: not overloaded, no worse than the reference in anything, geometric mean."""
        step, load = self.step_efficiency(screened), self.load_efficiency(screened)
        steady = screened.load is not None or self.traffic.rate is None
        return steady, min(*step, *load) >= 1, load.mean
