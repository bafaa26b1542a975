"""ADOR's search for a chip, in three steps that repeat (Section V of the paper; papers.md 3.9).

1. Compute units and memories (`space`). The MAC tree comes first: wide enough for what DRAM delivers, lanes for the reuse of keys
   and experts. Every array side and core count that the rest of the area holds, with every local memory from one token's
   activations to all that the model needs at its peak, is evaluated on the model's steps by the engine.
2. NoC and links between devices (`network`): the narrowest that hide communication. Link width costs no area in the area model,
   whose ports are a constant for each core. A chip whose NoC cannot hide it goes back to step 1.
3. Serving simulation of the best few against the targets of users and vendor. A miss moves area (`goals.shift`): ADOR gives the
   vendor's targets to the array and the users' to the MAC tree; here it goes there only if that unit limits, and the log says so
   where it does not. Targets met, the search asks what the trees' lanes beyond the model's reuse (or beyond `lane_min`, if that
   is less) are worth, by halving them.

Among the simulated chips that meet all targets the one with the best area efficiency is proposed: the geometric mean of those of
TTFT and TBT, chips that are no worse than the reference on either first. If none meets them, the nearest is, with the least of
each single resource that would (`needed`).
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from ...errors import SpecError
from ...spec.search_ador import AdorSearch
from . import chip as chips
from .bench import Asking, Bench, Screened
from .chip import KIB, MIB, Chip
from .fit import refuse_misfit
from .goals import Goal, shift
from .judge import Judge
from .needed import remedies, told
from .network import Links, infeasible_from
from .result import Journal, document, print_result, write_files
from .sizing import reuse, tree_lanes
from .space import Needs, fitting, global_sizes, refuse_too_small

__all__ = ["print_result", "search", "write_files"]

#: Arrays have to be so much faster after a vendor's target was missed by less.
FASTER = 1.25
#: Arrays this much slower than ones that suffice are not worth a try.
NEARLY = 1.02
#: So many times the finalists are tried with more global memory.
VARIED = 6


def search(spec: AdorSearch, log: Callable[[str], None]) -> Generator[list[Any], list[dict[str, Any]], dict[str, Any]]:
    """Propose a chip; `log` is told every decision.

    Raises
    ------
    SpecError, CapacityError
        If no chip of the space fits the area, the model does not fit the devices' DRAM, or the reference cannot serve it.
    """
    found: dict[str, Any] = yield from Search(spec, log).run()
    return found


@dataclass(frozen=True)
class State:
    """What an iteration starts from: lanes of the tree, and the most seconds that the GEMMs of the prompt may take."""

    lanes: int
    gemm: float | None = None


class Search:
    """One run of the method."""

    def __init__(self, spec: AdorSearch, log: Callable[[str], None]):
        self.spec, self.journal = spec, Journal(log)
        ops, kv_tokens = refuse_misfit(spec)
        self.bench = Bench(spec, kv_tokens)
        self.judge = Judge(self.bench)
        used = reuse(ops, spec.conditions.latency_batch)
        self.needs = Needs(spec, ops, used)
        self.floor = min(tree_lanes(used, 1), spec.space.lane_min)
        self.banned: list[Chip] = []

    def run(self) -> Asking:
        """All iterations; the document."""
        refuse_too_small(self.needs)
        yield from self.bench.evaluate_reference()
        state: State | None = self._first()
        tried: set[State] = set()
        while state is not None and len(tried) < self.spec.max_iterations:
            tried.add(state)
            self.journal.iteration = len(tried)
            state = yield from self._iterate(state)
            if state in tried:
                self._stop("this was tried before: no area is left to shift")
                state = None
        if state is not None:
            self.journal.tell("3", f"{self.spec.max_iterations} iterations are over")
        if not self.judge.goals:
            raise SpecError(
                "no chip of this space has a NoC that hides what its cores exchange; raise it,"
                " or allow fewer cores or smaller arrays",
                ("constraints", "max_link_width"),
            )
        best = self.judge.best()
        needed: list[dict[str, Any]] = []
        missed = self.judge.missed(best)
        if missed:
            needed = yield from remedies(self.bench, self.needs, best, missed)
            self._tell_needed(missed, needed)
        self.journal.tell("result", f"proposed: {best.label}, {chips.area(self.spec, best):.1f} mm2")
        return document(self.judge, self.journal, best, needed)

    def _first(self) -> State:
        """Lanes of the formula, or as many of them as fit the area with anything else."""
        lanes = tree_lanes(self.needs.reuse, self.spec.space.lane_min)
        while lanes > 1 and not fitting(self.needs, lanes):
            self.journal.tell("1", f"no chip with {lanes} lanes fits {self.spec.constraints.area:g} mm2: half of them")
            lanes //= 2
        return State(lanes)

    def _iterate(self, state: State) -> Asking:
        """One pass through the three steps; the next state, None to stop."""
        ranked = yield from self._step_one(state)
        while True:
            allowed = [s for s in ranked if not infeasible_from(self.banned, s.chip)]
            if not allowed:
                self._stop("no chip is left to try")
                return None
            grown = yield from self._with_memory(state, allowed)
            networks = yield from Links(self.bench, self.needs).size(self._few(grown))
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
        gemm = f"{1e3 * fastest.gemm:.2f} ms, {fastest.area:.1f} mm2"
        tell("1", f"{len(known)} chips fit; best GEMMs: {fastest.chip.label}, {gemm}")
        ranked = self._ranked(state, known)
        if state.gemm is not None:
            enough = sum(s.gemm <= state.gemm for s in known)
            so = "" if enough else ": the fastest go on"
            tell("1", f"{enough} of them do the GEMMs in {1e3 * state.gemm:.2f} ms or less{so}")
        best = ranked[0]
        cores, ratio = best.chip.core_count, self.bench.load_efficiency(best).mean
        need, name = self.needs.local(cores)
        local = f"all activations need {need / KIB:.0f} KiB a core ({name}), one token {self.needs.least_local(cores) / KIB:.1f}"
        tell("1", f"best estimate: {best.chip.label}, {best.area:.1f} mm2, area efficiency {ratio:.2f}; {local}")
        return ranked

    def _ranked(self, state: State, known: list[Screened]) -> list[Screened]:
        """Best first: chips whose GEMMs are as fast as demanded by area efficiency, the others by their GEMMs."""

        def key(s: Screened) -> tuple[Any, ...]:
            enough = state.gemm is None or s.gemm <= state.gemm
            return enough, 0.0 if enough else -s.gemm, self.bench.rank(s), -s.area

        return sorted(known, key=key, reverse=True)

    def _few(self, ranked: list[Screened]) -> list[Screened]:
        """The best of each array side and core count, as many as are simulated."""
        found: dict[tuple[int, int], Screened] = {}
        for s in ranked:
            found.setdefault((s.chip.side, s.chip.core_count), s)
        return list(found.values())[: self.spec.finalists]

    def _with_memory(self, state: State, ranked: list[Screened]) -> Asking:
        """ADOR gives all that is left to global memory; here the best chips get as much of it as makes up for its area."""
        ahead = ranked[: VARIED * self.spec.finalists]
        variants = {s.chip: global_sizes(self.spec, s.chip) for s in ahead}
        yield from self.bench.screen(c for sizes in variants.values() for c in sizes)
        grown = [self.bench.screened[c] for sizes in variants.values() for c in sizes if c in self.bench.screened]
        again = self._ranked(state, [*ahead, *grown])
        own = ranked[0]
        known = [self.bench.screened[c] for c in variants[own.chip] if c in self.bench.screened]
        if known:
            self._tell_memory(own, known[-1], self._ranked(state, [own, *known])[0])
        return again

    def _tell_memory(self, own: Screened, full: Screened, chosen: Screened) -> None:
        need, most, taken = (s.chip.global_memory / MIB for s in (own, full, chosen))
        change = ", ".join(f"{name} {b / a - 1:+.1%}" for name, a, b in zip(("TTFT", "TBT"), own.steps, full.steps, strict=True))
        self.journal.tell(
            "1", f"global memory: a chunk's keys and values need {need:g} MiB; all the area left would hold {most:g} MiB: "
            f"{change} for {full.area - own.area:+.1f} mm2; taken {taken:g} MiB",
        )  # fmt: skip

    def _step_three(self, state: State, feasible: list[Chip]) -> Asking:
        """Simulate, compare with the targets, and say where area goes."""
        tell = self.journal.tell
        yield from self.bench.simulate(feasible)
        for chip in feasible:
            self.judge.add(chip)
            tell("3", self.judge.told(chip))
        ahead = max(feasible, key=self.judge.merit)
        record, found = self.bench.simulated[ahead], self.judge.goals[ahead]
        if all(g.met for g in found):
            return self._after_success(state, ahead)
        where, why = shift(found, record.get("bottleneck") or {})
        if where == "none":
            if state.lanes <= self.floor:
                self._stop(why)
                return None
            tell("3", f"{why}; trees with half the lanes leave area to others")
            return State(state.lanes // 2, state.gemm)
        if where == "tree":
            tell("3", why)
            return State(2 * state.lanes, state.gemm)
        gemm = self.bench.linked[ahead].gemm
        if state.lanes <= self.floor and state.gemm is not None and gemm > state.gemm:
            self._stop(f"{why}, but these are the fastest that the area holds")
            return None
        tell("3", why)
        faster = max([FASTER, *(g.ratio for g in found if not g.met and g.ratio)])
        enough = [self.bench.linked[c].gemm for c in self.judge.goals if not self.judge.missed(c)]
        known = max((g for g in enough if g < gemm), default=None)
        return State(max(state.lanes // 2, self.floor), gemm / faster if known is None else math.sqrt(gemm * known))

    def _after_success(self, state: State, ahead: Chip) -> State | None:
        """Ask for less of the arrays if more was asked than needed; else halve the lanes while that pays."""
        best = self.judge.best()
        size, limits = chips.area(self.spec, ahead), self.bench.simulated[ahead].get("bottleneck") or {}
        trees = size - chips.area(self.spec, ahead, trees=False)
        said = f"all targets met; trees take {trees:.1f} of {size:.1f} mm2 and limit {limits.get('mt', 0.0):.1%} of the time"
        gemm = self.bench.linked[ahead].gemm
        slower = [self.bench.linked[c].gemm for c in self.judge.goals if self.judge.missed(c)]
        least = min((g for g in slower if g > NEARLY * gemm), default=None)
        if state.gemm is not None and least is not None:
            middle = math.sqrt(least * gemm)
            self.journal.tell("3", f"{said}; arrays between this and the fastest that missed may do, {1e3 * middle:.2f} ms")
            return State(state.lanes, middle)
        if best != ahead:
            self._stop(f"{said}; no better than {best.label}")
            return None
        if state.lanes <= self.floor:
            self._stop(f"{said}; {self._least()}")
            return None
        self.journal.tell("3", f"{said}: try half the lanes")
        return State(state.lanes // 2, state.gemm)

    def _least(self) -> str:
        if self.floor < self.spec.space.lane_min:
            return f"{self.floor} lanes are the model's reuse, below which a tree cannot follow DRAM"
        return f"{self.floor} lanes are lane_min"

    def _stop(self, why: str) -> None:
        self.journal.tell("3", f"{why}; stop")

    def _tell_needed(self, missed: list[Goal], needed: list[dict[str, Any]]) -> None:
        for goal in missed:
            rows = [row for row in needed if row["target"] == goal.name]
            found = [told(row) for row in rows if row["factor"] is not None]
            if not found:
                found = [f"{goal.name}: no single resource up to {self.spec.max_factor:g} times meets it"]
            for line in found:
                self.journal.tell("needed", line)
