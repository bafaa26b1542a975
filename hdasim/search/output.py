"""What a search leaves in its folder beside search.sqlite: result.json, evaluations.csv, log.txt, spec.yaml.

The same search file gives the same bytes, interrupted or not, on any runner and any number of workers.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import SpecError
from .loop import Job


def evaluations_csv(jobs: Iterable[Job], records: Iterable[str]) -> str:
    """One row for each evaluation in the order in which the method asked for them.

    Columns are `evaluation` (from 1), `evaluator`, `key` (its first 12 digits), then the values of the specs that are not the
    same in all rows (spec.yaml has those), then those of the records; nested keys are joined by dots, lists are JSON. Blank where
    there is no value.
    """
    rows = []
    for number, (job, record) in enumerate(zip(jobs, records, strict=True), 1):
        spec, found = (dict(_cells(json.loads(text), name)) for text, name in ((job.spec, "spec"), (record, "record")))
        rows.append(([str(number), job.evaluator, job.key[:12]], spec, found))
    specs = list(dict.fromkeys(name for _, spec, _ in rows for name in spec))
    first = rows[0][1] if rows else {}
    varied = [name for name in specs if any(spec.get(name) != first.get(name) for _, spec, _ in rows)]
    given = list(dict.fromkeys(name for _, _, found in rows for name in found))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["evaluation", "evaluator", "key", *varied, *given])
    for head, spec, found in rows:
        writer.writerow([*head, *(spec.get(name, "") for name in varied), *(found.get(name, "") for name in given)])
    return out.getvalue()


def _cells(data: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _cells(value, f"{path}.{key}")
    elif data is not None:
        yield path, data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))


class Log:
    """Decisions of the method, one line each: by `say` as they come, and in a file. Use as a context manager.

    There are no times in it: a search that goes on tells all decisions from its start again.
    """

    def __init__(self, path: Path, say: Callable[[str], None]):
        self._path, self._say = path, say
        self._file: Any = None

    def __enter__(self) -> Self:
        try:
            self._file = open(self._path, "w", encoding="utf-8", newline="")
        except OSError as error:
            raise _unwritable(self._path, error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def __call__(self, text: str) -> None:
        line = " ".join(text.split())
        self._say(line)
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise _unwritable(self._path, error) from None


def _unwritable(path: Path, error: OSError) -> SpecError:
    return SpecError(f"cannot be written ({error.strerror}); mend that and go on with --resume", place=str(path))
