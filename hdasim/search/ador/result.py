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
from .bench import Bench, Measured, Screened
from .chip import Chip
from .evaluate import experiment_of, plain
from .goals import times
from .judge import Judge
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


def document(judge: Judge, journal: Journal, best: Chip, needed: list[dict[str, Any]]) -> dict[str, Any]:
    """All of it as plain data; times in ms, areas in mm2. ``status`` is "none" if no chip meets all targets."""
    search, bench = judge.search, judge.bench
    device, missed = chips.device(search, best), [g.name for g in judge.missed(best)]
    return {
        "method": "ador", "name": search.name, "status": "none" if missed else "found", "missed": missed,
        "targets": [g._asdict() for g in judge.goals[best]],
        "chip": _described(device, bench.simulated[best]) | _row(judge, best),
        "reference": _described(chips.reference(search), bench.reference_run) | _steps(bench.reference),
        "needed": needed, "decisions": journal.decisions, "simulated": [_row(judge, chip) for chip in judge.goals],
        "candidates": [_candidate(bench, s) for s in bench.screened.values()],
        "failed": [{"chip": c.label, "error": text} for c, text in bench.failed.items()],
        "statistic": search.statistic, "area_limit": search.constraints.area,
        "experiment": plain(search.experiment(device)),
    }  # fmt: skip


def _described(device: Device, run: dict[str, Any]) -> dict[str, Any]:
    """A device with the parts of its die, its peak, and its simulation."""
    parts = die_area(device)
    breakdown = dataclasses.asdict(parts) | {"core_total_mm2": parts.core_total_mm2, "all_cores_mm2": parts.all_cores_mm2}
    return {
        "name": device.name, "area": parts.total, "breakdown": breakdown, "peak_tflops": device.peak_flops / 1e12,
        "noc_link_width": device.noc.link_width,
        "serving": run, "power": run.get("power"),
    }  # fmt: skip


def _steps(screened: Measured) -> dict[str, Any]:
    """Steps at the conditions, and the estimate under traffic."""
    ttft, tbt = screened.steps
    load = screened.load or (None, None)
    return {
        "area": screened.area, "step_ttft_ms": 1e3 * ttft, "step_tbt_ms": 1e3 * tbt, "gemm_ms": 1e3 * screened.gemm,
        "estimated_ttft_ms": load[0] and 1e3 * load[0], "estimated_tbt_ms": load[1] and 1e3 * load[1],
    }  # fmt: skip


def _candidate(bench: Bench, screened: Screened) -> dict[str, Any]:
    step, load = bench.step_efficiency(screened), bench.load_efficiency(screened)
    ratios = {"step_efficiency": list(step), "estimated_efficiency": list(load)}
    return {**msgspec.to_builtins(screened.chip), **_steps(screened), **ratios}


def _row(judge: Judge, chip: Chip) -> dict[str, Any]:
    """A simulated chip: its numbers, TTFT and TBT in traffic, and area efficiency there and at the conditions."""
    run = judge.bench.simulated[chip]
    own, load, step = times(run, judge.search.statistic), judge.in_traffic(chip), judge.of_steps(chip)
    ratios = {"ttft": load and load.ttft, "tbt": load and load.tbt, "mean": load and load.mean}
    return {
        **msgspec.to_builtins(chip), **_steps(judge.bench.linked[chip]),
        "label": chip.label, "area": chips.area(judge.search, chip), "ttft_ms": own and own[0], "tbt_ms": own and own[1],
        "efficiency": {**ratios, "step_ttft": step.ttft, "step_tbt": step.tbt}, "bottleneck": run.get("bottleneck"),
        "request_throughput": run.get("request_throughput"), "missed": [g.name for g in judge.missed(chip)],
    }  # fmt: skip


def _figures(document: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, proposed, reference)."""
    ours, theirs, s = document["chip"], document["reference"], document["statistic"]
    pairs = [("die, mm2", ours["area"], theirs["area"]), ("peak TFLOPS", ours["peak_tflops"], theirs["peak_tflops"])]
    pairs.append(("NoC links (no area), B/cycle", ours["noc_link_width"], theirs["noc_link_width"]))
    for name, key in ((f"{s} TTFT, ms", f"{s}_ttft_ms"), (f"{s} TBT, ms", f"{s}_itl_ms"), ("p99 TBT, ms", "p99_itl_ms"),
                      ("requests/s", "request_throughput"), ("output tokens/s", "output_throughput"),
                      ("goodput, requests/s", "request_goodput"), ("compute used", "compute_utilization"),
                      ("DRAM bandwidth used", "dram_utilization")):  # fmt: skip
        pairs.append((name, ours["serving"].get(key), theirs["serving"].get(key)))
    for name, key in (("average power, W", "average_w"), ("joules per output token", "joules_per_output_token")):
        watts = [(d["power"] or {}).get(key) for d in (ours, theirs)]
        pairs.append((name, watts[0], watts[1]))
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
