"""The one loop of every design-space search: a method proposes tasks, the loop evaluates them in parallel and records them.

A method is a generator: it yields batches of tasks, is sent their records in the same order, and returns the result document. It
is a deterministic function of its search file, which is what makes a search resumable without saving the method's state: after an
interruption the generator runs again from its start, and every task that the store knows is answered from there. So its decisions
are told again, and nothing is evaluated twice.

A method is a module with

- ``search(spec, log) -> Method``: `spec` is the search file, ``log(text)`` tells a decision in one line;
- ``print_result(document, console)``: the result on a `rich` console;
- ``write_files(document, folder)``, if it writes more than the loop does.

The result document says with ``status`` how it ended; ``none`` means that no design meets the targets.

An evaluator is a function at the top of a module, from plain JSON data to plain JSON data, without side effects, found by its
dotted name ``"package.module:function"`` in this and in any other process. It gets and gives exactly what JSON can hold: both go
through text, whatever the runner, so that a record is the same fresh, from another process and from the store.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from .. import __version__

#: Yields tasks, is sent their records in the same order, returns the result document.
Method = Generator[list["Task"], list[dict[str, Any]], dict[str, Any]]
#: Methods that ship: the module of each. That of a user's own method ``module:Class`` is its module.
METHODS = {"ador": "hdasim.search.ador.method"}


class Task(msgspec.Struct, frozen=True):
    """One evaluation: `evaluator` of `spec`."""

    evaluator: str
    spec: dict[str, Any]


class Job(NamedTuple):
    """A task as it travels: `key` is unique to (evaluator, spec, version), `spec` is canonical JSON."""

    key: str
    evaluator: str
    spec: str


class Evaluated(NamedTuple):
    """What became of a job: `record` is canonical JSON; `seconds` of wall-clock time."""

    record: str
    seconds: float


class EvaluationFailed(Exception):
    """An evaluator raised what is no error of its input, which is a bug in it. `trace` is the text of its traceback."""

    def __init__(self, message: str, trace: str = ""):
        super().__init__(message)
        self.trace = trace


class Runner(Protocol):
    """Evaluates jobs, in any order; yields (index of the job, what became of it) as they end."""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Evaluated]]: ...


class Records(Protocol):
    """Where records are kept (`hdasim.search.store.Store`)."""

    def get(self, key: str) -> str | None:
        """The record of a key, None if it has none."""

    def add(self, job: Job, evaluated: Evaluated) -> None:
        """Keep a record, for good once this returns."""


def canonical(data: Any) -> str:
    """The one JSON text of plain data: keys sorted, floats in shortest exact form, nothing that JSON cannot hold (ValueError)."""
    return json.dumps(data, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def job(task: Task) -> Job:
    """The job of a task. The key is SHA-256 of its canonical JSON and the version of hdasim."""
    spec = canonical(task.spec)
    text = canonical([task.evaluator, spec, __version__])
    return Job(hashlib.sha256(text.encode()).hexdigest(), task.evaluator, spec)


def search(
    method: Method, store: Records, runner: Runner, progress: Callable[[int, int], None] = lambda *_: None,
    asked: dict[str, Job] | None = None,
) -> dict[str, Any]:
    """Run a method to its end and return its document, as plain JSON data.

    Every record is in the store before the method sees it. ``progress(done, expected)`` counts tasks that differ; `expected`
    knows only the batches so far. `asked` is filled with the jobs that the method asked for, each once, in that order.
    """
    asked = {} if asked is None else asked
    try:
        batch = next(method)
        while True:
            jobs = [job(task) for task in batch]
            fresh = {each.key: each for each in jobs if each.key not in asked}
            asked |= fresh
            unknown = [each for key, each in fresh.items() if store.get(key) is None]
            done = len(asked) - len(unknown)
            progress(done, len(asked))
            for index, evaluated in runner.run(unknown):
                store.add(unknown[index], evaluated)
                done += 1
                progress(done, len(asked))
            batch = method.send([_record(store, each.key) for each in jobs])
    except StopIteration as end:
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(end.value))
        return document


def _record(store: Records, key: str) -> dict[str, Any]:
    text = store.get(key)
    if text is None:
        raise RuntimeError(f"the runner gave no record of {key}")
    record: dict[str, Any] = json.loads(text)
    return record
