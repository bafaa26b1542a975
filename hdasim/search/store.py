"""search.sqlite: every evaluation of a search, each in the file before anybody sees its record.

Read it with ``sqlite3 DIR/search.sqlite``, also while the search runs:

meta(name, value)
    ``hdasim_version``, ``method``, ``spec`` (the expanded search file, JSON), ``files`` (SHA-256 of the files that it names,
    JSON), ``finished`` (yes or no).
evaluations(key, evaluator, spec, record, run, seconds)
    One row for each finished evaluation. `key` is SHA-256 of evaluator, spec and version; `spec` and `record` are JSON, so
    ``json_extract(record, '$.ttft')`` works; `run` says which run of the command evaluated it, `seconds` how long that took.
runs(run, started, host, pid, runner, workers)
    One row for each start of the command, by that number; `started` is UTC.

What differs between two searches of the same file is only `run`, `seconds` and the table runs.

The file has a write-ahead log: a commit needs no wait for the disk and no reader stops it, and a process killed at any moment
loses nothing that it committed; after a power cut the last evaluations may be missing, to be evaluated again. Until the search
ends the newest rows are in search.sqlite-wal, so copy both. One process writes: it holds search.lock, which the system frees when
that process ends in whatever way.
"""

import datetime
import errno
import fcntl
import json
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import SpecError
from .loop import Evaluated, Job, canonical

#: Marks the file as one of ours ("hdas"), and the version of its tables.
_APPLICATION, _TABLES = 0x68646173, 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (run INTEGER PRIMARY KEY, started TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
                   runner TEXT NOT NULL, workers INTEGER);
CREATE TABLE evaluations (key TEXT PRIMARY KEY, evaluator TEXT NOT NULL, spec TEXT NOT NULL, record TEXT NOT NULL,
                          run INTEGER NOT NULL REFERENCES runs, seconds REAL NOT NULL) WITHOUT ROWID;
"""
#: Seconds to wait for another program that writes or checks the file.
_PATIENCE = 30.0
_ELSEWHERE = "choose another --output-dir"


class Store:
    """The evaluations of one search in a folder, which must exist. Use as a context manager.

    Parameters
    ----------
    made_from
        What the records depend on, plain data: ``hdasim_version``, ``method``, ``spec``, ``files``.
    resume
        Go on where an earlier run of the same search was; without one, begin. Without `resume` an earlier one that has
        evaluations is left alone. One that ended before its first evaluation leaves nothing behind: any other takes its place.

    Raises
    ------
    SpecError
        The folder is in use by another search, holds one already (without `resume`), or one of something else; the file is
        damaged or cannot be written, at any later moment too.
    """

    def __init__(self, folder: Path, made_from: dict[str, Any], resume: bool, runner: str = "local", workers: int | None = None):
        self.path = folder / "search.sqlite"
        self.added = 0
        self._lock = _locked(folder / "search.lock")
        try:
            with self._told():
                self._db = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)
            try:
                with self._told():
                    self._open(made_from, resume)
                    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                    start = (now, socket.gethostname(), os.getpid(), runner, workers)
                    insert = "INSERT INTO runs (started, host, pid, runner, workers) VALUES (?, ?, ?, ?, ?)"
                    self.run = self._db.execute(insert, start).lastrowid
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self, made_from: dict[str, Any], resume: bool) -> None:
        mine = {name: value if isinstance(value, str) else canonical(value) for name, value in made_from.items()}
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables:
            marks = [self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
            if marks != [_APPLICATION, _TABLES]:
                raise SpecError(f"is no file of hdasim search; {_ELSEWHERE}", place=str(self.path))
            if not len(self) and self._meta().get("finished") == "no":
                with self._transaction():
                    self._db.execute("DELETE FROM meta")
                    self._insert_meta(mine)
            self._check_same(mine)
            if not resume and len(self):
                state = "a finished search" if self._meta()["finished"] == "yes" else "this search, unfinished"
                remedy = f"--resume goes on from there; to begin anew, {_ELSEWHERE}"
                raise SpecError(f"holds {state} ({len(self):,} evaluations); {remedy}", place=str(self.path))
            self._check_sound()
        self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        self._db.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            with self._transaction():
                self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {_TABLES}")
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._insert_meta(mine)

    def _insert_meta(self, mine: dict[str, str]) -> None:
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", [*mine.items(), ("finished", "no")])

    def _meta(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT name, value FROM meta"))

    def _check_same(self, mine: dict[str, str]) -> None:
        theirs = self._meta()
        version, own = theirs.get("hdasim_version"), mine.get("hdasim_version")
        if version != own:
            raise SpecError(f"was made by hdasim {version}, this is {own}; {_ELSEWHERE}", place=str(self.path))
        for name, value in mine.items():
            if name not in theirs:
                raise SpecError(f"is damaged: {name} is missing; {_ELSEWHERE}", place=str(self.path))
            if theirs[name] != value:
                there, here = (json.loads(text) if text[:1] in "{[" else text for text in (theirs[name], value))
                differs = difference(there, here, "" if name == "spec" else name)
                raise SpecError(f"holds another search: {differs}; {_ELSEWHERE}", place=str(self.path))

    def _check_sound(self) -> None:
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let others write it."""
        try:
            with self._told():
                self._db.close()
        finally:
            os.close(self._lock)

    def __len__(self) -> int:
        with self._told():
            return int(self._db.execute("SELECT count(*) FROM evaluations").fetchone()[0])

    def get(self, key: str) -> str | None:
        """The record of a key as JSON, None if it has none."""
        with self._told():
            row = self._db.execute("SELECT record FROM evaluations WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def add(self, job: Job, evaluated: Evaluated) -> None:
        """Commit a record. A second one of the same key is an error of the program (`sqlite3.IntegrityError`)."""
        row = (*job, evaluated.record, self.run, evaluated.seconds)
        with self._told():
            self._db.execute("INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, ?)", row)
        self.added += 1

    def records(self, keys: Iterable[str]) -> Iterator[str]:
        """The records of keys that all have one."""
        for key in keys:
            record = self.get(key)
            if record is None:
                raise KeyError(key)
            yield record

    def finish(self) -> None:
        """Note that the search came to its end."""
        with self._told():
            self._db.execute("UPDATE meta SET value = 'yes' WHERE name = 'finished'")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        yield
        self._db.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of SQLite in one line."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            code, reason = getattr(error, "sqlite_errorname", "") or "", " ".join(str(error).split())[:100]
            if code.startswith("SQLITE_FULL"):
                message = "the disk is full; make room and go on with --resume"
            elif code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                message = "another program keeps it locked; close that and go on with --resume"
            elif isinstance(error, sqlite3.OperationalError) and not code.startswith(("SQLITE_CORRUPT", "SQLITE_ERROR")):
                message = f"cannot be read or written ({reason}); {_ELSEWHERE}, or mend that and go on with --resume"
            else:
                message = f"is no file of hdasim search, or damaged ({reason}); {_ELSEWHERE}"
            raise SpecError(message, place=str(self.path)) from None


def difference(there: Any, here: Any, path: str = "") -> str:
    """The first place where two plain values differ, in words."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            if there.get(key) != here.get(key) or (key in there) != (key in here):
                return difference(there.get(key), here.get(key), f"{path}.{key}" if path else key)
    shown = ["nothing" if value is None else canonical(value) for value in (there, here)]
    return f"{path} is {_short(shown[0])} there, {_short(shown[1])} here"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _locked(path: Path) -> int:
    """The open file, by its number, that keeps other searches out of the folder."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise SpecError(f"cannot be written ({error.strerror}); {_ELSEWHERE}", place=str(path)) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError as error:
        who = os.pread(file, 200, 0).decode(errors="replace").strip() or "another process"
        os.close(file)
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise SpecError(f"{who} searches in this folder; wait for it, or {_ELSEWHERE}", place=str(path)) from None
        raise SpecError(f"cannot be locked ({error.strerror}); {_ELSEWHERE}", place=str(path)) from None
    return file
