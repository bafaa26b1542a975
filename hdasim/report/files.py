"""Results as files: result.json, requests.csv, steps.csv, spec.yaml. The same experiment and seed give the same bytes."""

import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

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
    fidelity = "profile" if e.profile else "engine"
    meta = {"hdasim_version": __version__, "seed": e.seed, "fidelity": fidelity, "interrupted": result.served.interrupted}
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


def write_run(result: Result, folder: Path) -> None:
    """Write result.json, spec.yaml and requests.csv into `folder`, each one whole or not at all.

    Raises `SpecError` if the folder cannot be written.
    """
    make_folder(folder)
    try:
        _write(folder / "result.json", [to_json(result_document(result))])
        _write(folder / "spec.yaml", [expanded(result.experiment, folder)])
        _write(folder / "requests.csv", _requests_csv(result))
    except OSError as error:
        raise _unwritable(folder, error) from None


def _write(path: Path, parts: Iterable[str]) -> None:
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8", newline="") as file:
        for text in parts:
            file.write(text)
    os.replace(part, path)


def _csv(columns: Iterable[list[Any]]) -> str:
    """Rows of these columns; floats in shortest exact form."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(zip(*columns, strict=True))
    return text.getvalue()


#: Rows that are text at the same time.
_ROWS = 10_000


def _blank(values: np.ndarray) -> list[Any]:
    """Floats, with blanks for NaN."""
    return ["" if v != v else v for v in values.tolist()]


def _requests_csv(result: Result) -> Iterator[str]:
    """One row per request, times in seconds on the simulation's clock; blank where it did not come to that."""
    served = result.served
    requests, out, times = served.requests, served.outcomes, request_times(served)
    several = int(served.instances.size) > 1 or served.pools[0].ranks > 1
    names = ["request_id", "arrival_s", "input_len", "output_len", "generated", "cached", "state", "preemptions"]
    names += ["rank", "decode_rank"] if several else []
    yield ",".join([*names, "queued_s", "scheduled_s", "first_token_s", "last_token_s", *(f"{name}_s" for name in times)]) + "\n"
    for start in range(0, len(requests), _ROWS):
        own = slice(start, start + _ROWS)
        columns: list[list[Any]] = [
            list(range(start, min(start + _ROWS, len(requests)))), _known(out["arrival"][own]), requests.input_len[own].tolist(),
            requests.output_len[own].tolist(), out["generated"][own].tolist(), out["cached"][own].tolist(),
            [REQUEST_STATES[s] for s in out["state"][own]], out["preemptions"][own].tolist(),
        ]  # fmt: skip
        columns += [out[name][own].tolist() for name in ("rank", "decode_rank")] if several else []
        columns += [_known(out[name][own]) for name in ("queued", "scheduled", "first_token", "last_token")]
        yield _csv([*columns, *(_blank(seconds[own]) for seconds in times.values())])


def _known(times: np.ndarray) -> list[Any]:
    return _blank(np.where(times < 0, np.nan, times))


class StepsFile:
    """steps.csv, written slice by slice: one row per step in the order in which they end.

    `busy_*` seconds per unit, `limited_*` seconds by cause, `energy_j` of all devices of the instance, blank if not known;
    of several instances, which one. Use as a context manager: the file
    gets its name at the end, even of an interrupted run.
    """

    def __init__(self, folder: Path, several: bool):
        self.path, self.several, self.count = folder / "steps.csv", several, 0
        self.file: Any = None

    def __enter__(self) -> Self:
        try:
            self.file = open(self._part, "w", encoding="utf-8", newline="")
        except OSError as error:
            raise _unwritable(self.path.parent, error) from None
        names = ["step", *(["instance"] if self.several else []), "start_s", "time_s", "bound_s", *_COUNTS]
        names += ["systolic_array_macs", "mac_tree_macs", *(f"busy_{u}_s" for u in UNITS), *(f"limited_{c}_s" for c in CAUSES)]
        names += ["energy_j"]
        self.file.write(",".join(names) + "\n")
        return self

    def __call__(self, steps: np.ndarray) -> None:
        """Append the rows of these STEP_RECORDs."""
        columns: list[list[Any]] = [list(range(self.count, self.count + steps.size))]
        columns += [steps["instance"].tolist()] if self.several else []
        columns += [steps[name].tolist() for name in ("start", "time", "bound", *_COUNTS)]
        for name in ("macs", "busy", "limited"):
            columns += steps[name].T.tolist()
        columns.append(_blank(np.where(steps["energy"].any(axis=1), steps["energy"].sum(axis=1), np.nan)))
        self.count += steps.size
        try:
            self.file.write(_csv(columns))
        except OSError as error:
            raise _unwritable(self.path.parent, error) from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.file.close()
            if kind is None:
                os.replace(self._part, self.path)
        except OSError as failed:
            self._part.unlink(missing_ok=True)
            raise _unwritable(self.path.parent, failed) from None
        if kind is not None:
            self._part.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        return self.path.with_name("steps.csv.part")


_COUNTS = ("prefill_tokens", "decode_tokens", "running", "waiting", "kv_blocks", "preemptions", "dram_bytes", "p2p_bytes")
