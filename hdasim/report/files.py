"""Results as files: result.json, requests.csv, steps.csv, spec.yaml. The same experiment and seed give the same bytes."""

import csv
import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .. import __version__
from ..core.layout import CAUSES, REQUEST_STATES, UNITS
from ..errors import SpecError
from ..metrics import request_times
from ..simulate import Result
from ..spec.load import expanded


def result_document(result: Result) -> dict[str, Any]:
    """The summary with `meta` (version, seed, fidelity) and the expanded `spec`."""
    e = result.experiment
    meta = {"hdasim_version": __version__, "seed": e.seed, "fidelity": "engine", "interrupted": result.served.interrupted}
    return {"name": e.name, **result.summary, "meta": meta, "spec": msgspec.to_builtins(e)}


def to_json(document: Any) -> str:
    """Indented JSON with a final newline; floats in shortest exact form."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def make_folder(folder: Path) -> None:
    """Make the folder of a run's results, before the work begins; `SpecError` if that or writing into it is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "permission denied")
    except (OSError, ValueError) as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: Exception) -> SpecError:
    reason = getattr(error, "strerror", None) or str(error)
    return SpecError(f"cannot write results: {reason.lower()}; choose another folder", place=f"--output-dir {folder}")


#: From here on writing steps.csv takes seconds, and is announced.
_MANY_STEPS = 100_000


def write_run(result: Result, folder: Path, *, steps: bool = True) -> None:
    """Write the four files (without `steps`, all but steps.csv) into `folder`, each one whole or not at all.

    Raises `SpecError` if the folder cannot be written.
    """
    make_folder(folder)
    try:
        _write(folder / "result.json", to_json(result_document(result)))
        _write(folder / "spec.yaml", expanded(result.experiment, folder))
        _write(folder / "requests.csv", _requests_csv(result))
        if steps:
            if result.served.steps.size > _MANY_STEPS:
                count = result.served.steps.size
                sys.stderr.write(f"writing {count:,} steps to {folder / 'steps.csv'} (--no-steps leaves it out)\n")
            _write(folder / "steps.csv", _steps_csv(result))
    except OSError as error:
        raise _unwritable(folder, error) from None


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="")
    os.replace(part, path)


def _table(header: list[str], columns: list[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


def _blank(values: np.ndarray) -> list[Any]:
    """Floats, with blanks for NaN."""
    return ["" if v != v else v for v in values.tolist()]


def _requests_csv(result: Result) -> str:
    """One row per request, times in seconds on the simulation's clock (0 = first arrival)."""
    requests, out = result.served.requests, result.served.outcomes
    times = request_times(result.served)
    columns: dict[str, list[Any]] = {
        "request_id": list(range(len(requests))),
        "arrival_s": requests.arrival_s.tolist(),
        "input_len": requests.input_len.tolist(),
        "output_len": requests.output_len.tolist(),
        "generated": out["generated"].tolist(),
        "state": [REQUEST_STATES[s] for s in out["state"]],
        "preemptions": out["preemptions"].tolist(),
    }
    for name in ("scheduled", "first_token", "last_token"):
        columns[f"{name}_s"] = _blank(np.where(out[name] < 0, np.nan, out[name]))
    for name, seconds in times.items():
        columns[f"{name}_s"] = _blank(seconds)
    return _table(list(columns), list(columns.values()))


def _steps_csv(result: Result) -> str:
    """One row per step; `busy_*` seconds per unit, `limited_*` seconds by cause; of several replicas, which one."""
    steps = result.served.steps
    columns: dict[str, list[Any]] = {"step": list(range(steps.size))}
    if result.experiment.serving.data_parallel_size > 1:
        columns["replica"] = result.served.replica.tolist()
    for name, label in (("start", "start_s"), ("time", "time_s"), ("bound", "bound_s")):
        columns[label] = steps[name].tolist()
    for name in ("prefill_tokens", "decode_tokens", "running", "waiting", "kv_blocks", "preemptions", "dram_bytes", "p2p_bytes"):
        columns[name] = steps[name].tolist()
    for i, name in enumerate(("systolic_array_macs", "mac_tree_macs")):
        columns[name] = steps["macs"][:, i].tolist()
    for i, unit in enumerate(UNITS):
        columns[f"busy_{unit}_s"] = steps["busy"][:, i].tolist()
    for i, cause in enumerate(CAUSES):
        columns[f"limited_{cause}_s"] = steps["limited"][:, i].tolist()
    return _table(list(columns), list(columns.values()))
