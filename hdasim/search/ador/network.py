"""Step 2: the narrowest NoC links and the least bandwidth between devices that hide communication."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ...units import show
from . import chip as chips
from .bench import Asking, Bench, Screened
from .chip import WIDEST_LINK, Chip
from .sizing import noc_rules
from .space import Needs

#: Bandwidth between devices at which nothing waits; powers of two below and above the limit that are tried.
UNLIMITED_LINKS, BELOW, ABOVE = 1e15, 5, 8


@dataclass(frozen=True)
class Network:
    """What step 2 found for a chip: the chip with its links, whether its NoC can hide at all, and a line for the log."""

    chip: Chip
    feasible: bool
    said: str
    exposed: float = 0.0


def link_widths(most: int) -> list[int]:
    """Powers of two from 8 bytes/cycle on, and the limit."""
    widths = [8]
    while 2 * widths[-1] < most:
        widths.append(2 * widths[-1])
    return sorted({*(w for w in widths if w < most), most})


def slowdown(record: dict[str, Any], unlimited: dict[str, Any]) -> float:
    """The most by which a step takes longer, as a share of the same step with unlimited bandwidth."""
    return max(float(record["seconds"][name] / best - 1) for name, best in unlimited["seconds"].items())


def least(values: list[float], slow: Callable[[float], float], tolerance: float) -> float | None:
    """The least of ascending `values` that hides communication, as do all larger ones; None if the largest does not."""
    found = None
    for value in reversed(values):
        if slow(value) > tolerance:
            break
        found = value
    return found


class Links:
    """Step 2 for some chips at once."""

    def __init__(self, bench: Bench, needs: Needs):
        self.bench, self.needs, self.search = bench, needs, bench.search

    @property
    def group(self) -> int:
        serving = self.search.serving
        ranks = serving.data_parallel_size if serving.enable_expert_parallel else 1
        return serving.device_count * serving.pipeline_parallel_size * ranks

    def size(self, finalists: list[Screened]) -> Asking:
        """A `Network` for each chip."""
        found = yield from self._noc([s.chip for s in finalists])
        if self.group == 1:
            return found
        return (yield from self._p2p(found))

    def _measure(self, wanted: dict[Chip, list[Chip]]) -> Asking:
        """Records of variants of each chip, in the order of its list."""
        tasks = [self.bench.steps_task(chips.device(self.search, v)) for variants in wanted.values() for v in variants]
        records = iter((yield tasks))
        return {chip: [next(records) for _ in variants] for chip, variants in wanted.items()}

    def _noc(self, wanted: list[Chip]) -> Asking:
        widths = [*link_widths(self.search.constraints.max_link_width), WIDEST_LINK]
        variants = {c: [msgspec.structs.replace(c, link_width=w) for w in widths] for c in wanted}
        records = yield from self._measure(variants)
        return [self._narrowest(c, widths[:-1], records[c]) for c in wanted]

    def _narrowest(self, chip: Chip, widths: list[int], records: list[dict[str, Any]]) -> Network:
        if any("error" in r for r in records):
            return Network(chip, False, f"{chip.label}: {next(r['error'] for r in records if 'error' in r)}")
        slow = {w: slowdown(r, records[-1]) for w, r in zip(widths, records, strict=False)}
        enough = least(list(map(float, widths)), lambda w: slow[int(w)], self.search.tolerance)
        device = chips.device(self.search, chip)
        rules = noc_rules(device, self.needs.ops, self.search.serving.max_num_seqs, self.needs.element)
        rule = f"the rules ask for {rules[0]:.0f} (latency mode) and {rules[1]:.0f} (throughput mode)"
        width = widths[-1] if enough is None else int(enough)
        exposed = slow[width]
        if exposed > self.search.max_exposed:
            said = (
                f"{chip.label}: {width} B/cycle leave {exposed:.1%} of a step exposed; {rule}: "
                "infeasible, back to step 1 for fewer cores or smaller arrays"
            )
            return Network(chip, False, said, exposed)
        how = "hide" if enough is not None else "are the limit, and nearly hide"
        said = f"{chip.label}: links of {width} B/cycle {how} what cores exchange ({exposed:.1%} exposed); {rule}"
        chosen = msgspec.structs.replace(chip, link_width=width)
        self.bench.linked[chosen] = self.bench.screened_of(chosen, records[widths.index(width)])
        return Network(chosen, True, said, exposed)

    def _p2p(self, found: list[Network]) -> Asking:
        limit = self.search.constraints.p2p.bandwidth if self.search.constraints.p2p else 1.0
        below = [limit / 2**i for i in range(BELOW, 0, -1)]
        values = [*below, *(limit * 2**i for i in range(ABOVE + 1)), UNLIMITED_LINKS]
        going = [n for n in found if n.feasible]
        variants = {n.chip: [msgspec.structs.replace(n.chip, p2p_bandwidth=v) for v in values] for n in going}
        records = yield from self._measure(variants)
        sized = {n.chip: self._slowest_links(n, values[:-1], records[n.chip], limit) for n in going}
        return [sized.get(n.chip, n) for n in found]

    def _slowest_links(self, network: Network, values: list[float], records: list[dict[str, Any]], limit: float) -> Network:
        """The least bandwidth up to the limit that hides communication of every step within `max_exposed`, else the limit."""
        if any("error" in r for r in records):
            return replace(network, feasible=False, said=next(r["error"] for r in records if "error" in r))
        tolerance, found, said = self.search.max_exposed, [], []
        for name in ("prefill", "decode", "mixed"):
            slow = {v: r["seconds"][name] / records[-1]["seconds"][name] - 1 for v, r in zip(values, records, strict=False)}
            enough = least(values, slow.__getitem__, tolerance)
            found.append(enough)
            where = f"hidden from {show(enough, 'B/s')} on" if enough else f"not hidden at {show(values[-1], 'B/s')}"
            said.append(f"{name} {slow[limit]:.1%} exposed at {show(limit, 'B/s')}, {where}")
        wanted = [e if e is not None else limit for e in found]
        bandwidth = min(max(wanted), limit)
        if any(e is None or e > limit for e in found):
            said.append("the limit is taken; a smaller chip would not exchange less")
        chosen = msgspec.structs.replace(network.chip, p2p_bandwidth=bandwidth)
        self.bench.linked[chosen] = self.bench.screened_of(chosen, records[values.index(bandwidth)])
        return replace(network, chip=chosen, said=f"{network.said}; links between devices, {show(bandwidth, 'B/s')} each way: "
                       + "; ".join(said))  # fmt: skip


def infeasible_from(failed: list[Chip], chip: Chip) -> bool:
    """Whether a chip exchanges at least as much as one whose NoC is infeasible: cores, arrays as large, local memory as small."""
    return any(
        chip.core_count >= f.core_count and chip.side >= f.side and chip.local_memory <= f.local_memory for f in failed
    )
