"""A recorded vLLM run, replayed: what its requests saw against what they see here.

A run is a folder with requests.csv (arrivals, lengths, the engine's own stamps, hashes of the prompts' blocks), meta.json (the
engine's settings), timeseries.csv (running and waiting by second, if there) and profile/tpN (operator tables, if there). TTFT and
latency count from `queued`, when the engine takes a request from its input queue, which it does between two steps; so do ours.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hdasim.core.layout import REQUEST_STATES
from hdasim.errors import SpecError
from hdasim.predict.table import same_hardware
from hdasim.profile.machine import outside
from hdasim.profile.tables import Floats, numbers, read_columns
from hdasim.simulate import simulate
from hdasim.spec import huggingface
from hdasim.spec.convert import meant
from hdasim.spec.experiment import Experiment
from hdasim.spec.hardware import Device
from hdasim.spec.load import load_device, preset_path, presets
from hdasim.spec.model import Model
from hdasim.spec.profile import Profile
from hdasim.spec.serving import Serving
from hdasim.spec.workload import TraceArrival, Workload
from hdasim.text import read_text
from hdasim.validate.compare import Row

PERCENTILES = (50, 90, 95, 99)
_STAMPS = ("queued_s", "scheduled_s", "first_token_s", "last_token_s")
#: Settings of vLLM and the keys of `Serving` that they are.
_SETTINGS = {
    "tensor_parallel_size": "device_count", "pipeline_parallel_size": "pipeline_parallel_size",
    "data_parallel_size": "data_parallel_size", "enable_expert_parallel": "enable_expert_parallel",
    "max_num_seqs": "max_num_seqs", "max_num_batched_tokens": "max_num_batched_tokens",
    "enable_chunked_prefill": "enable_chunked_prefill", "enable_prefix_caching": "enable_prefix_caching",
    "async_scheduling": "async_scheduling",
}  # fmt: skip
#: Keys of meta.json that may name the hardware.
_HARDWARE = ("gpu", "hardware", "device")
#: What links and the start of kernels are taken from where a run with a profile does not name its hardware.
_ASSUMED = "h100"
#: Models of the same shape as an earlier one.
_SAME_SHAPE = {"llama3.18b": "llama3-8b", "llama3.170b": "llama3-70b", "llama3.370b": "llama3-70b"}


@dataclass(frozen=True, eq=False)
class Times:
    """Seconds of each request on one clock, and its output tokens."""

    queued: Floats
    scheduled: Floats
    first: Floats
    last: Floats
    output: Floats

    @property
    def ttft(self) -> Floats:
        return self.first - self.queued

    @property
    def tpot(self) -> Floats:
        """Of requests with two or more output tokens."""
        several = self.output > 1
        result: Floats = (self.last - self.first)[several] / (self.output[several] - 1)
        return result

    @property
    def latency(self) -> Floats:
        return self.last - self.queued

    def numbers(self) -> dict[str, float]:
        """Mean and percentiles of the three, seconds from the first request to the last token, and output tokens per second."""
        result = {}
        for name in ("ttft", "tpot", "latency"):
            values = getattr(self, name)
            if values.size:
                result[f"{name}_mean"] = float(values.mean())
                result |= {f"{name}_p{p}": float(np.percentile(values, p)) for p in PERCENTILES}
        result["duration"] = float(self.last.max() - self.queued.min())
        return result | {"throughput": float(self.output.sum()) / result["duration"]}

    def counts(self, at: Floats) -> tuple[Floats, Floats]:
        """(running, waiting) at each time of `at`."""
        stamps = (self.queued, self.scheduled, self.last)
        queued, scheduled, last = (np.searchsorted(np.sort(stamp), at, side="right") for stamp in stamps)
        return (scheduled - last).astype(np.float64), (queued - scheduled).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Run:
    """A recorded run; `running` and `waiting` by `second`, empty if they were not recorded."""

    folder: Path
    meta: dict[str, Any]
    times: Times
    second: Floats = field(default_factory=lambda: np.zeros(0))
    running: Floats = field(default_factory=lambda: np.zeros(0))
    waiting: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def name(self) -> str:
        return self.folder.resolve().name


@dataclass(frozen=True, eq=False)
class Validation:
    """A run and its replay. `source` says what gave the steps' times, `remarks` what to bear in mind."""

    run: Run
    simulated: Times
    source: str
    remarks: list[str]

    @property
    def rows(self) -> list[Row]:
        """A row per quantity; seconds, tokens per second."""
        ours = self.simulated.numbers()
        return [Row(self.run.name, name, value, ours[name]) for name, value in self.run.times.numbers().items() if name in ours]

    def document(self) -> list[dict[str, Any]]:
        """Rows of name, reference, predicted, error."""
        return [row.document() | {"name": row.quantity} for row in self.rows]


def against_data(
    folder: Path, *, profile: Path | None = None, hardware: str | None = None, model: Path | None = None,
    progress: Callable[[int, int, float, int], None] | None = None,
) -> Validation:  # fmt: skip
    """Replay the run in `folder`.

    Parameters
    ----------
    profile
        Operator tables that give the steps' times; by default the run's own, unless `hardware` is given.
    hardware
        A preset or a file with a device, for links and memory, and without `profile` for the steps' times. By default what
        meta.json or the folder's name names.
    model
        A config.json, if the model that meta.json names does not ship.

    Raises
    ------
    SpecError, CapacityError, TraceError
        If the folder is no such run, or cannot be replayed.
    """
    run = read_run(folder)
    own = folder / "profile"
    if profile is None and hardware is None and own.is_dir():
        profile = own
    device, remarks = _device(run, hardware, assume=profile is not None)
    experiment = _experiment(run, device, find_model(run, model), profile)
    served = simulate(experiment, progress)
    tables = [pool.profile for pool in served.served.pools if pool.profile is not None]
    remarks += [f"extrapolated: {text}" for text in map(outside, tables) if text]
    out = served.served.outcomes
    done = out["state"] == REQUEST_STATES.index("finished")
    if not done.all():
        remarks.append(f"{int((~done).sum()):,} requests were not finished; the comparison leaves them out")
        run = _some(run, done)
    queued, scheduled, first, last = (out[name][done] for name in ("queued", "scheduled", "first_token", "last_token"))
    simulated = Times(queued, scheduled, first, last, out["generated"][done].astype(np.float64))
    return Validation(run, simulated, f"profile {profile}" if profile else f"preset {experiment.device.name}", remarks)


def _some(run: Run, keep: np.ndarray) -> Run:
    """The run with some of its requests."""
    t = run.times
    times = Times(t.queued[keep], t.scheduled[keep], t.first[keep], t.last[keep], t.output[keep])
    return Run(run.folder, run.meta, times, run.second, run.running, run.waiting)


def read_run(folder: Path) -> Run:
    """Read a run's requests, settings and time series; `SpecError` with file and line if they are not as expected."""
    path = folder / "requests.csv"
    if not path.exists():
        runs = sorted(p.parent.name for p in folder.glob("*/requests.csv"))
        there = f"; there are runs in {', '.join(runs[:5])}" if runs else ""
        raise SpecError(f"no recorded run; give the folder that holds requests.csv and meta.json{there}", place=str(folder))
    sheet, cells = read_columns(path, ("arrival_s", "input_tokens", "output_tokens", *_STAMPS))
    texts, expected = cells["output_tokens"], "a whole number of 1 or more"
    output = numbers(sheet, "output_tokens", texts, lambda value: value >= 1 and value == int(value), expected)
    stamps = [numbers(sheet, name, cells[name], lambda value: value >= 0, "seconds of 0 or more") for name in _STAMPS]
    for earlier, later, name in zip(stamps, stamps[1:], _STAMPS[1:], strict=False):
        if (wrong := later < earlier).any():
            line = sheet.lines[int(wrong.argmax())]
            raise SpecError("is before the stamp that should precede it; expected rising stamps", (name,), f"{path}:{line}")
    arrival = numbers(sheet, "arrival_s", cells["arrival_s"], lambda value: value >= 0, "seconds of 0 or more")
    order = np.argsort(arrival, kind="stable")
    queued, scheduled, first, last = (stamp[order] for stamp in stamps)
    times = Times(queued, scheduled, first, last, output[order])
    return Run(folder, _meta(folder / "meta.json"), times, *_series(folder / "timeseries.csv"))


def _meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(read_text(path, "the settings of a vLLM run (JSON)"))
    except ValueError as error:
        raise SpecError(f"no JSON ({error}); expected the settings of a vLLM run", place=str(path)) from None
    if not isinstance(meta, dict) or not isinstance(meta.get("engine_kwargs"), dict) or not isinstance(meta.get("model"), str):
        raise SpecError('expected {"model": NAME, "engine_kwargs": {...}, "kv_cache": {...}}', place=str(path))
    return meta


def _series(path: Path) -> tuple[Floats, ...]:
    if not path.exists():
        return ()
    sheet, cells = read_columns(path, ("t", "running", "waiting"))
    return tuple(numbers(sheet, name, cells[name], lambda v: v >= 0, "a number of 0 or more") for name in cells)


def _experiment(run: Run, device: Device, model: Model, profile: Path | None) -> Experiment:
    meta, place = run.meta, str(run.folder / "meta.json")
    kwargs, cache = meta["engine_kwargs"], meta.get("kv_cache") or {}
    serving = {ours: kwargs[theirs] for theirs, ours in _SETTINGS.items() if kwargs.get(theirs) is not None}
    serving.setdefault("all2all_backend", "allgather_reducescatter")  # vLLM's default
    serving |= {key: cache[key] for key in ("num_gpu_blocks", "block_size") if cache.get(key) is not None}
    if isinstance(serving.get("num_gpu_blocks"), int):
        serving["num_gpu_blocks"] -= 1  # vLLM's block pool keeps the first for itself (block_pool.py, null_block)
    if str(kwargs.get("kv_cache_dtype", "auto")).startswith("fp8"):
        model = msgspec.structs.replace(model, kv_cache_bytes=1.0)
    extra: dict[str, Any] = {"profile": Profile(path=str(profile), extrapolate=True)} if profile else {}
    try:
        return Experiment(
            name=run.name, device=device, model=model, serving=msgspec.convert(serving, Serving),
            workload=Workload(arrival=TraceArrival(path=str(run.folder / "requests.csv"))), **extra,
        )  # fmt: skip
    except msgspec.ValidationError as error:
        raise SpecError(f"{error}", ("engine_kwargs",), place) from None


def _device(run: Run, hardware: str | None, *, assume: bool) -> tuple[Device, list[str]]:
    """The device of a run, and remarks; with `assume` it need not be known, as a profile tells most of what it does."""
    known = presets("hardware")
    if hardware is not None:
        named = "" if hardware in known or Path(hardware).exists() else _preset(hardware, known)
        return load_device(named or hardware), []
    names = [run.meta[key] for key in _HARDWARE if isinstance(run.meta.get(key), str)]
    found = next((preset for text in (*names, run.name) if (preset := _preset(text, known))), "")
    if found:
        return load_device(found), []
    if assume:
        text = f"{run.name} names no hardware that ships: links and kernel starts as {_ASSUMED}'s; --hardware gives others"
        return load_device(_ASSUMED), [text]
    message = f"names no hardware that ships; give --hardware, one of {', '.join(known)}, or a file"
    raise SpecError(message, place=str(run.folder))


def _preset(text: str, known: list[str]) -> str:
    """The preset for a name such as `NVIDIA A100-SXM4-80GB` or `rtxpro6000_llama`; "" if there is none."""
    bare = re.sub(r"^(nvidia|geforce|tesla|\s|-|_)+", "", text.lower())
    return max((name for name in known if same_hardware(bare, name)), key=len, default="")


def find_model(run: Run, config: Path | None) -> Model:
    """The model of a run: from `config`, or the preset that its name begins with, whoever published it."""
    name = run.meta["model"]
    if config is not None:
        return huggingface.from_config(huggingface.load_config(config), name)
    known = presets("models")
    bare = _model_name(name)
    shapes = {_model_name(preset): preset for preset in known} | _SAME_SHAPE
    found = max((shape for shape in shapes if bare.startswith(shape)), key=len, default="")
    if not found:
        message = f"no model preset for {name[:80]!r}{meant(bare, known)}; give its config.json by --model"
        raise SpecError(message, ("model",), str(run.folder / "meta.json"))
    path = preset_path("models", shapes[found])
    return huggingface.from_config(huggingface.load_config(path), shapes[found])


def _model_name(name: str) -> str:
    """llama3.18b of meta-llama/Meta-Llama-3.1-8B: no owner, lower case, letters, digits and points."""
    return re.sub(r"[^a-z0-9.]|^meta-", "", name.rpartition("/")[2].lower())


_HEADER = ("quantity", "measured", "simulated", "error")
_PLOTS = (
    ("ttft", "Time to first token", "s", 1.0), ("tpot", "Time per output token", "ms", 1e3), ("latency", "Latency", "s", 1.0),
)  # fmt: skip


def _percent(row: Row) -> str:
    return "-" if row.error is None else f"{100 * row.error:+.1f} %"


def print_validation(done: Validation, console: Any) -> None:
    """Print a line for each quantity, then the remarks."""
    from hdasim.report.table import grid

    table = grid(f"{done.run.name} against its replay ({done.source})", _HEADER)
    for row in done.rows:
        scale, unit = (1e3, "ms") if row.quantity.startswith("tpot") else (1.0, "s")
        unit = "tokens/s" if row.quantity == "throughput" else unit
        table.add_row(row.quantity, *(f"{scale * v:,.4g} {unit}" for v in (row.reference, row.predicted)), _percent(row))
    console.print(table, highlight=False)
    for remark in done.remarks:
        console.print(remark, highlight=False, markup=False)


def plot(done: Validation) -> str:
    """A page with the distributions of both, and what ran and waited over time."""
    from hdasim.report.svg import Series, Table, cdf, chart, page

    measured, simulated = done.run.times, done.simulated
    charts = []
    for name, title, unit, scale in _PLOTS:
        ours, theirs = (scale * getattr(times, name) for times in (simulated, measured))
        both = [cdf("measured", theirs), cdf("simulated", ours, dashed=True)]
        charts.append(chart(both, title=title, x_label=unit, y_label="share of requests", log_x=name == "ttft"))
    at = np.linspace(0.0, max(float(t.last.max()) for t in (measured, simulated)), 1001)
    running, waiting = simulated.counts(at)
    if done.run.second.size:
        series = [Series("running, measured", done.run.second, done.run.running, "step")]
        series += [Series("waiting, measured", done.run.second, done.run.waiting, "step")]
    else:
        counts = zip(("running", "waiting"), measured.counts(at), strict=True)
        series = [Series(f"{name}, measured", at, count, "step") for name, count in counts]
    series += [Series("running, simulated", at, running, "step", dashed=True)]
    series += [Series("waiting, simulated", at, waiting, "step", dashed=True)]
    charts.append(chart(series, title="Running and waiting requests", x_label="s", y_label="requests"))
    rows = [(row.quantity, row.reference, row.predicted, _percent(row)) for row in done.rows]
    table = Table("Measured and simulated (s, tokens/s)", _HEADER, rows)
    note = ". ".join([f"Times of steps: {done.source}", *done.remarks])
    return page(f"{done.run.name} against its replay", charts, [table], note)
