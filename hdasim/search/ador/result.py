"""What a search found: its decisions, the chip, what it was compared with; as plain data, on a console and as files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from ...cost.area import die_area
from ...report.table import grid
from ...spec.hardware import Device
from ...spec.load import expanded
from . import chip as chips
from .bench import Bench, Screened
from .chip import Chip
from .evaluate import experiment_of, plain
from .goals import Goal, efficiency, times
from .page import search_page


class Journal:
    """Decisions in order, each told at once."""

    def __init__(self, log: Callable[[str], None]):
        self.decisions: list[dict[str, Any]] = []
        self.iteration = 0
        self._log = log

    def tell(self, step: str, text: str) -> None:
        """`step`: "1", "2", "3", "needed" or "result"."""
        self.decisions.append({"iteration": self.iteration, "step": step, "text": text})
        head = f"iteration {self.iteration}, step {step}" if step in "123" else step
        self._log(f"{head}: {text}")


def document(
    bench: Bench, journal: Journal, best: Chip, found: dict[Chip, list[Goal]], needed: list[dict[str, Any]]
) -> dict[str, Any]:
    """All of it as plain data; times of steps in ms, areas in mm2."""
    search = bench.search
    missed = [g.name for g in found[best] if not g.met]
    device = chips.device(search, best)
    simulated = [_row(bench, chip) | {"missed": [g.name for g in goals if not g.met]} for chip, goals in found.items()]
    return {
        "method": "ador", "name": search.name, "status": "none" if missed else "found", "missed": missed,
        "targets": [g._asdict() for g in found[best]], "chip": _described(bench, device, bench.simulated[best]) | _row(bench, best),
        "reference": _described(bench, search.reference, bench.reference_run) | _steps(bench.reference),
        "needed": needed, "decisions": journal.decisions, "simulated": simulated,
        "candidates": [_candidate(bench, s) for s in bench.screened.values()],
        "failed": [{"chip": c.label, "error": text} for c, text in bench.failed.items()],
        "statistic": search.statistic, "area_limit": search.constraints.area,
        "experiment": plain(search.experiment(device)),
    }  # fmt: skip


def _described(bench: Bench, device: Device, run: dict[str, Any]) -> dict[str, Any]:
    """A device with the parts of its die, its peak, and its simulation."""
    parts = die_area(device, bench.search.constraints.die.mac_tree_area)
    breakdown = dataclasses.asdict(parts) | {"core_total_mm2": parts.core_total_mm2, "all_cores_mm2": parts.all_cores_mm2}
    return {
        "name": device.name, "area": parts.total, "breakdown": breakdown, "peak_tflops": device.peak_flops / 1e12,
        "serving": run, "power": run.get("power"), "energy": run.get("energy"),
    }  # fmt: skip


def _steps(screened: Screened) -> dict[str, Any]:
    """Steps at the conditions, and the estimate under traffic."""
    ttft, tbt = screened.steps
    load = screened.load or (None, None)
    return {
        "area": screened.area, "step_ttft_ms": 1e3 * ttft, "step_tbt_ms": 1e3 * tbt, "gemm_ms": 1e3 * screened.gemm,
        "estimated_ttft_ms": load[0] and 1e3 * load[0], "estimated_tbt_ms": load[1] and 1e3 * load[1],
    }  # fmt: skip


def _candidate(bench: Bench, screened: Screened) -> dict[str, Any]:
    chip = screened.chip
    assert chip is not None  # only the reference has none
    step, load = bench.step_efficiency(screened), bench.load_efficiency(screened)
    ratios = {"step_efficiency": list(step), "estimated_efficiency": list(load)}
    return msgspec.to_builtins(chip) | _steps(screened) | ratios  # type: ignore[no-any-return]


def _row(bench: Bench, chip: Chip) -> dict[str, Any]:
    """A simulated chip: its numbers, TTFT and TBT in traffic, and area efficiency there and at the conditions."""
    search, run = bench.search, bench.simulated[chip]
    own, theirs = times(run, search.statistic), times(bench.reference_run, search.statistic)
    size = chips.area(search, chip)
    given = search.constraints
    as_screened = msgspec.structs.replace(
        chip, link_width=given.max_link_width, p2p_bandwidth=given.p2p.bandwidth if given.p2p else None
    )
    row = msgspec.to_builtins(chip) | _steps(bench.screened[as_screened])
    load = efficiency(own, theirs, size, bench.reference.area) if own and theirs else None
    step = bench.step_efficiency(bench.screened[as_screened])
    return row | {
        "label": chip.label, "area": size, "ttft_ms": own and own[0], "tbt_ms": own and own[1],
        "efficiency": {
            "ttft": load and load.ttft, "tbt": load and load.tbt, "mean": load and load.mean,
            "step_ttft": step.ttft, "step_tbt": step.tbt,
        },
        "bottleneck": run.get("bottleneck"), "request_throughput": run.get("request_throughput"),
    }  # fmt: skip


def _figures(document: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, proposed, reference)."""
    ours, theirs, s = document["chip"], document["reference"], document["statistic"]
    pairs = [("die, mm2", ours["area"], theirs["area"]), ("peak TFLOPS", ours["peak_tflops"], theirs["peak_tflops"])]
    for name, key in ((f"{s} TTFT, ms", f"{s}_ttft_ms"), (f"{s} TBT, ms", f"{s}_itl_ms"), ("p99 TBT, ms", "p99_itl_ms"),
                      ("requests/s", "request_throughput"), ("output tokens/s", "output_throughput"),
                      ("goodput, requests/s", "request_goodput"), ("compute used", "compute_utilization"),
                      ("DRAM bandwidth used", "dram_utilization")):  # fmt: skip
        pairs.append((name, ours["serving"].get(key), theirs["serving"].get(key)))
    for name, key in (("prompt alone, ms", "step_ttft_ms"), ("decode step, ms", "step_tbt_ms")):
        pairs.append((name, ours[key], theirs[key]))
    return pairs


def print_result(document: dict[str, Any], console: Console) -> None:
    """The chip beside the reference, targets, and what is needed where they are missed."""
    chip, ratio = document["chip"], document["chip"]["efficiency"]
    console.print(f"{document['name']}: {chip['label']}; links {chip['link_width']} B/cycle")
    table = grid("", ("", "proposed", document["reference"]["name"]))
    for name, ours, theirs in _figures(document):
        table.add_row(name, *("-" if v is None else f"{v:,.2f}" for v in (ours, theirs)))
    console.print(table)
    if ratio["mean"] is not None:
        console.print(f"area efficiency in traffic: TTFT {ratio['ttft']:.2f}, TBT {ratio['tbt']:.2f}, mean {ratio['mean']:.2f}")
    console.print(f"area efficiency of single steps: TTFT {ratio['step_ttft']:.2f}, TBT {ratio['step_tbt']:.2f}")
    for target in document["targets"]:
        value = "-" if target["value"] is None else f"{target['value']:.4g}"
        console.print(f"{target['whose']} target {target['name']}: {value}, limit {target['limit']:.4g}: "
                      f"{'met' if target['met'] else 'MISSED'}")  # fmt: skip
    for line in (d["text"] for d in document["decisions"] if d["step"] == "needed"):
        console.print(f"needed for {line}")


def write_files(document: dict[str, Any], folder: Path) -> None:
    """chip.yaml, an experiment that `hdasim run` and `hdasim cost` take, and search.html."""
    experiment = experiment_of(document["experiment"])
    (folder / "chip.yaml").write_text(expanded(experiment, folder), encoding="utf-8")
    (folder / "search.html").write_text(search_page(document, _figures(document)), encoding="utf-8")
