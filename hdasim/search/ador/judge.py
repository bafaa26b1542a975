"""Which of the simulated chips is best, and what is said of them."""

from typing import Any

from . import chip as chips
from .bench import Bench
from .chip import Chip
from .goals import Efficiency, Goal, efficiency, goals, miss, times


class Judge:
    """Simulated chips with their targets."""

    def __init__(self, bench: Bench):
        self.bench, self.search = bench, bench.search
        self.goals: dict[Chip, list[Goal]] = {}

    def add(self, chip: Chip) -> None:
        """Judge a chip that has been simulated."""
        self.goals[chip] = goals(self.bench.simulated[chip], self.search)

    def missed(self, chip: Chip) -> list[Goal]:
        return [g for g in self.goals[chip] if not g.met]

    def in_traffic(self, chip: Chip) -> Efficiency | None:
        """Area efficiency of TTFT and TBT in the simulation; None if the chip, or the reference, has no such times."""
        own, theirs = (times(r, self.search.statistic) for r in (self.bench.simulated[chip], self.bench.reference_run))
        if own is None or theirs is None:
            return None
        return efficiency(own, theirs, chips.area(self.search, chip), self.bench.reference.area)

    def of_steps(self, chip: Chip) -> Efficiency:
        """At the conditions of the search."""
        return self.bench.step_efficiency(self.bench.linked[chip])

    def merit(self, chip: Chip) -> tuple[Any, ...]:
        """For the best: fewest targets missed, least missed; no worse than the reference in traffic, nor in single steps; area
        efficiency in traffic; smallest."""
        count, far = miss(self.goals[chip])
        load = self.in_traffic(chip)
        size = chips.area(self.search, chip)
        if load is None:
            return -count, -far, False, False, 0.0, -size
        return -count, -far, min(load) >= 1, min(self.of_steps(chip)) >= 1, load.mean, -size

    def best(self) -> Chip:
        """Of all that were simulated."""
        return max(self.goals, key=self.merit)

    def told(self, chip: Chip) -> str:
        """What came out of the simulation, in a line."""
        record = self.bench.simulated[chip]
        if "error" in record:
            return f"{chip.label}: {record['error']}"
        said = f"{chip.label}: {record['request_throughput']:.2f} requests/s"
        own, ratio = times(record, self.search.statistic), self.in_traffic(chip)
        if own and ratio:
            said += f", TTFT {own[0]:.1f} ms, TBT {own[1]:.2f} ms, area efficiency {ratio.ttft:.2f} and {ratio.tbt:.2f}"
        names = ", ".join(g.name for g in self.missed(chip))
        return f"{said}; misses {names}" if names else f"{said}; meets all targets"
