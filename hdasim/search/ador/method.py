"""ADOR's search for a chip, in three steps that repeat (Section V of the paper; papers.md 3.9).

1. Compute units and memories (`space`). The MAC tree comes first: wide enough for what DRAM delivers, lanes for the reuse of keys
   and experts. Every array side and core count that the rest of the area holds, with every local memory from one token's
   activations to all that the model needs at its peak, is evaluated on the model's steps by the engine.
2. NoC and links between devices (`network`): the narrowest that hide communication. Link width costs no area in the area model,
   whose ports are a constant for each core. A chip whose NoC cannot hide it goes back to step 1.
3. Serving simulation of the best few against the targets of users and vendor. A miss moves area (`goals.shift`): ADOR gives the
   vendor's targets to the array and the users' to the MAC tree; here it goes there only if that unit limits, and the log says so
   where it does not. Targets met, the search asks what the trees' lanes beyond the model's reuse are worth, by halving them.

Among the simulated chips that meet all targets the one with the best area efficiency is proposed: the geometric mean of those of
TTFT and TBT, chips that are no worse than the reference on either first. If none meets them, the nearest is, with the least of
each single resource that would (`needed`).
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import msgspec

from ...spec.search_ador import AdorSearch
from . import chip as chips
from .bench import Asking, Bench, Screened
from .chip import KIB, MIB, Chip
from .fit import refuse_misfit
from .goals import Goal, efficiency, goals, miss, shift, times
from .needed import remedies, told
from .network import Links, infeasible_from
from .result import Journal, document, print_result, write_files
from .sizing import reuse, tree_lanes
from .space import Needs, fitting, global_sizes, refuse_too_small

__all__ = ["print_result", "search", "write_files"]

#: Arrays have to be so much faster after a vendor's target was missed by less.
FASTER = 1.25


def search(spec: AdorSearch, log: Callable[[str], None]) -> Generator[list[Any], list[dict[str, Any]], dict[str, Any]]:
    """Propose a chip; `log` is told every decision.

    Raises
    ------
    SpecError, CapacityError
        If no chip of the space fits the area, the model does not fit the devices' DRAM, or the reference cannot serve it.
    """
    return (yield from Search(spec, log).run())


@dataclass(frozen=True)
class State:
    """What an iteration starts from: lanes of the tree, and the most seconds that the GEMMs of the prompt may take."""

    lanes: int
    gemm: float | None = None


class Search:
    """One run of the method."""

    def __init__(self, spec: AdorSearch, log: Callable[[str], None]):
        self.spec, self.journal = spec, Journal(log)
        ops = refuse_misfit(spec)
        self.bench = Bench(spec)
        used = reuse(ops, spec.conditions.latency_batch)
        self.needs = Needs(spec, ops, used)
        self.floor = tree_lanes(used, 1)
        self.banned: list[Chip] = []
        self.missing: dict[Chip, list[Goal]] = {}

    def run(self) -> Asking:
        """All iterations; the document."""
        refuse_too_small(self.needs)
        yield from self.bench.evaluate_reference()
        state: State | None = State(tree_lanes(self.needs.reuse, self.spec.space.lane_min))
        tried: set[State] = set()
        while state is not None and len(tried) < self.spec.max_iterations:
            tried.add(state)
            self.journal.iteration = len(tried)
            state = yield from self._iterate(state)
            if state in tried:
                state = self._stop("this was tried before: no area is left to shift")
        if state is not None:
            self.journal.tell("3", f"{self.spec.max_iterations} iterations are over")
        best = self._best()
        needed: list[dict[str, Any]] = []
        missed = [g for g in self.missing[best] if not g.met]
        if missed:
            needed = yield from remedies(self.bench, self.needs, best, missed)
            self._tell_needed(best, missed, needed)
        self.journal.tell("result", f"proposed: {best.label}, {chips.area(self.spec, best):.1f} mm2")
        return document(self.bench, self.journal, best, self.missing, needed)

    def _iterate(self, state: State) -> Asking:
        """One pass through the three steps; the next state, None to stop."""
        ranked = yield from self._step_one(state)
        while True:
            allowed = [s for s in ranked if s.chip is not None and not infeasible_from(self.banned, s.chip)]
            if not allowed:
                self.journal.tell("2", "no chip of this area has a NoC that hides communication within max_link_width")
                return self._fallback()
            finalists = yield from self._with_memory(self._few(allowed))
            networks = yield from Links(self.bench, self.needs).size(finalists)
            for network in networks:
                self.journal.tell("2", network.said)
            self.banned += [n.chip for n in networks if not n.feasible]
            feasible = [n.chip for n in networks if n.feasible]
            if feasible:
                break
        return (yield from self._step_three(state, feasible))

    def _step_one(self, state: State) -> Asking:
        """Chips of the area with this tree, best first."""
        spec, tell = self.spec, self.journal.tell
        widths = "; width by cores: " + ", ".join(f"{self.needs.width(n)} with {n}" for n in spec.space.core_counts)
        said = f"MAC tree: {state.lanes} lanes (reuse {self.needs.reuse}, lane_min {spec.space.lane_min})"
        tell("1", said + (widths if self.journal.iteration == 1 else ""))
        wanted = fitting(self.needs, state.lanes)
        if not wanted:
            tell("1", f"no chip with {state.lanes} lanes fits {spec.constraints.area:g} mm2")
            return []
        yield from self.bench.screen(wanted)
        known = [self.bench.screened[c] for c in wanted if c in self.bench.screened]
        if not known:
            tell("1", f"none of {len(wanted)} chips can run the model: {self.bench.failed[wanted[0]]}")
            return []
        fastest = min(known, key=lambda s: (s.gemm, s.area))
        tell("1", f"{len(known)} chips fit; best GEMMs: {fastest.chip.label}, {1e3 * fastest.gemm:.2f} ms, {fastest.area:.1f} mm2")
        ranked = sorted(known, key=lambda s: (self.bench.rank(s), -s.area), reverse=True)
        if state.gemm is not None:
            enough = [s for s in ranked if s.gemm <= state.gemm]
            tell("1", f"{len(enough)} of them do the GEMMs in {1e3 * state.gemm:.2f} ms or less" + ("" if enough else ": the fastest goes on"))
            ranked = enough or sorted(known, key=lambda s: (s.gemm, s.area))
        best = ranked[0]
        need, name = self.needs.local(best.chip.core_count)
        tell(
            "1", f"best estimate: {best.chip.label}, {best.area:.1f} mm2, area efficiency {self.bench.load_efficiency(best).mean:.2f}; "
            f"all activations need {need / KIB:.0f} KiB a core ({name}), one token {self.needs.least_local(best.chip.core_count) / KIB:.1f}",
        )  # fmt: skip
        return ranked

    def _few(self, ranked: list[Screened]) -> list[Screened]:
        """The best of each array side and core count, as many as are simulated."""
        found: dict[tuple[int, int], Screened] = {}
        for s in ranked:
            if s.chip is not None:
                found.setdefault((s.chip.side, s.chip.core_count), s)
        return list(found.values())[: self.spec.finalists]

    def _with_memory(self, finalists: list[Screened]) -> Asking:
        """ADOR gives all that is left to global memory; here as much of it as makes up for its area."""
        variants = {s.chip: global_sizes(self.spec, s.chip) for s in finalists if s.chip is not None}
        yield from self.bench.screen(c for sizes in variants.values() for c in sizes)
        chosen = []
        for own in finalists:
            known = [self.bench.screened[c] for c in variants[own.chip] if c in self.bench.screened] if own.chip else []
            chosen.append(max([own, *known], key=self.bench.rank))
            if own is finalists[0] and known:
                self._tell_memory(own, known[-1], chosen[0])
        return chosen

    def _tell_memory(self, own: Screened, full: Screened, chosen: Screened) -> None:
        sizes = [s.chip.global_memory / MIB for s in (own, full, chosen) if s.chip is not None]
        change = ", ".join(f"{name} {b / a - 1:+.1%}" for name, a, b in zip(("TTFT", "TBT"), own.steps, full.steps, strict=True))
        self.journal.tell(
            "1", f"global memory: a chunk's keys and values need {sizes[0]:g} MiB; all the area that is left would hold {sizes[1]:g} "
            f"MiB: {change} for {full.area - own.area:+.1f} mm2; taken {sizes[2]:g} MiB",
        )  # fmt: skip

    def _step_three(self, state: State, feasible: list[Chip]) -> Asking:
        """Simulate, compare with the targets, and say where area goes."""
        tell = self.journal.tell
        yield from self.bench.simulate(feasible)
        for chip in feasible:
            record = self.bench.simulated[chip]
            self.missing[chip] = goals(record, self.spec)
            tell("3", f"{chip.label}: {self._told(chip, record)}")
        ahead = max(feasible, key=self._merit)
        record, found = self.bench.simulated[ahead], self.missing[ahead]
        if all(g.met for g in found):
            return self._after_success(state, ahead)
        where, why = shift(found, record.get("bottleneck") or {})
        if where == "none":
            if state.lanes <= self.floor:
                return self._stop(why)
            tell("3", f"{why}; trees with half the lanes leave area to others")
            return State(state.lanes // 2, state.gemm)
        tell("3", why)
        if where == "tree":
            return State(2 * state.lanes, state.gemm)
        faster = max([FASTER, *(g.ratio for g in found if not g.met and g.ratio)])
        gemm = self.bench.screened[self._screened_as(ahead)].gemm / faster
        return State(max(state.lanes // 2, self.floor), gemm)

    def _after_success(self, state: State, ahead: Chip) -> State | None:
        """Halve the lanes while that pays."""
        best = self._best()
        size = chips.area(self.spec, ahead)
        bare = chips.area(self.spec, msgspec.structs.replace(ahead, lanes=1))
        trees = (size - bare) * ahead.lanes / (ahead.lanes - 1) if ahead.lanes > 1 else 0.0
        limits = self.bench.simulated[ahead].get("bottleneck") or {}
        said = f"all targets met; trees take {trees:.1f} of {size:.1f} mm2 and limit {limits.get('mt', 0.0):.1%} of the time"
        if best != ahead:
            return self._stop(f"{said}; no better than {best.label}")
        if state.lanes <= self.floor:
            return self._stop(f"{said}; {state.lanes} lanes are the model's reuse, below which a tree cannot follow DRAM")
        self.journal.tell("3", f"{said}: try half the lanes")
        return State(state.lanes // 2, state.gemm)

    def _fallback(self) -> None:
        self._stop("nothing is left to try")

    def _stop(self, why: str) -> None:
        self.journal.tell("3", f"{why}; stop")

    def _screened_as(self, chip: Chip) -> Chip:
        """The chip as it was screened: with the widest links."""
        given = self.spec.constraints
        return msgspec.structs.replace(
            chip, link_width=given.max_link_width, p2p_bandwidth=given.p2p.bandwidth if given.p2p else None
        )

    def _merit(self, chip: Chip) -> tuple[Any, ...]:
        """For the best: fewest targets missed, least missed, no worse than the reference on either, area efficiency."""
        count, far = miss(self.missing[chip])
        own, theirs = (times(r, self.spec.statistic) for r in (self.bench.simulated[chip], self.bench.reference_run))
        size = chips.area(self.spec, chip)
        if own is None or theirs is None:
            return -count, -far, (False, False, 0.0), -size
        load = efficiency(own, theirs, size, self.bench.reference.area)
        step = self.bench.step_efficiency(self.bench.screened[self._screened_as(chip)])
        return -count, -far, (min(load) >= 1, min(step) >= 1, load.mean), -size

    def _best(self) -> Chip:
        return max(self.missing, key=self._merit)

    def _told(self, chip: Chip, record: dict[str, Any]) -> str:
        if "error" in record:
            return str(record["error"])
        own, theirs = times(record, self.spec.statistic), times(self.bench.reference_run, self.spec.statistic)
        said = f"{record['request_throughput']:.2f} requests/s"
        if own and theirs:
            ratio = efficiency(own, theirs, chips.area(self.spec, chip), self.bench.reference.area)
            said += f", TTFT {own[0]:.1f} ms, TBT {own[1]:.2f} ms, area efficiency {ratio.ttft:.2f} and {ratio.tbt:.2f}"
        missed = [g.name for g in self.missing[chip] if not g.met]
        return f"{said}; " + (f"misses {', '.join(missed)}" if missed else "meets all targets")

    def _tell_needed(self, best: Chip, missed: list[Goal], needed: list[dict[str, Any]]) -> None:
        for goal in missed:
            rows = [row for row in needed if row["target"] == goal.name]
            found = [told(row) for row in rows if row["factor"] is not None]
            if not found:
                found = [f"{goal.name}: no single resource up to {self.spec.max_factor:g} times meets it"]
            for line in found:
                self.journal.tell("needed", line)
