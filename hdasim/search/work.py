"""One evaluation, wherever it runs: in this process, in a worker process, or somewhere in a Ray cluster."""

import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any, NamedTuple

from .. import __version__
from ..errors import CapacityError, CoreError, SpecError
from .loop import Evaluated, EvaluationFailed, Job, canonical

Evaluator = Callable[[dict[str, Any]], dict[str, Any]]
#: Errors about the design itself: such a chip cannot do what is asked, which is a result.
_RESULTS = (SpecError, CapacityError, CoreError)


class Broken(Exception):
    """The workers are gone or of no use; the message is one line that says why and what to do."""


class Done(NamedTuple):
    """What comes back from a worker: a record as JSON, or in `failed` an exception in one line and in `trace` its traceback."""

    record: str
    seconds: float
    failed: str = ""
    trace: str = ""


def work(evaluator: str, spec: str, version: str) -> Done:
    """Evaluate canonical JSON. Errors about the design become ``{"error": text}``; any other exception is told, not raised."""
    started = time.perf_counter()
    if version != __version__:
        return Done("", 0.0, f"hdasim {__version__} is installed where the workers are, {version} here; install the same")
    try:
        with redirect_stdout(sys.stderr):  # the standard output is the search's result
            record = canonical(_record(_function(evaluator), json.loads(spec)))
    except _Absent as error:
        return Done("", 0.0, f"the workers cannot import it ({error}); install it where they are, or put it on PYTHONPATH")
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Done("", 0.0, f"{text}; this is a bug in the evaluator", traceback.format_exc())
    return Done(record, time.perf_counter() - started)


class _Absent(Exception):
    """There is no evaluator of that name."""


def _function(evaluator: str) -> Evaluator:
    module, _, name = evaluator.partition(":")
    try:
        function: Evaluator = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise _Absent(error) from None
    return function


def _record(function: Evaluator, spec: dict[str, Any]) -> dict[str, Any]:
    try:
        return function(spec)
    except _RESULTS as error:
        return {"error": " ".join(str(error).split())}


def evaluated(job: Job, done: Done) -> Evaluated:
    """The record of a job, or `EvaluationFailed`, which names it."""
    if done.failed:
        raise EvaluationFailed(f"{job.evaluator} failed on {job.spec[:200]}: {done.failed}", done.trace)
    return Evaluated(done.record, done.seconds)
