"""The file of evaluations: what it keeps, what it refuses, who may write it, and what it says when it cannot."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hdasim.errors import SpecError
from hdasim.search.loop import Evaluated, Job
from hdasim.search.store import Store, difference

MADE_FROM: dict[str, Any] = {"hdasim_version": "1", "method": "toy", "spec": {"seed": 1, "chip": {"area": 516.0}}, "files": {}}


def job(number: int) -> Job:
    return Job(f"{number:064x}", "m:f", f'{{"n":{number}}}')


def filled(folder: Path, count: int = 3) -> Path:
    with Store(folder, MADE_FROM, resume=False) as store:
        for number in range(count):
            store.add(job(number), Evaluated(f'{{"r":{number}}}', 0.5))
    return folder / "search.sqlite"


def refused(folder: Path, resume: bool = True, **changes: Any) -> str:
    with pytest.raises(SpecError) as caught:
        Store(folder, {**MADE_FROM, **changes}, resume)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_records_are_kept(tmp_path: Path) -> None:
    path = filled(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["search.lock", "search.sqlite"]
    with Store(tmp_path, MADE_FROM, resume=True) as store:
        assert (len(store), store.added, store.run) == (3, 0, 2)
        assert [store.get(job(number).key) for number in range(4)] == ['{"r":0}', '{"r":1}', '{"r":2}', None]
        assert list(store.records([job(2).key, job(0).key])) == ['{"r":2}', '{"r":0}']
        store.add(job(3), Evaluated("{}", 0.1))
    reader = sqlite3.connect(path)
    rows = reader.execute("SELECT json_extract(spec, '$.n'), run FROM evaluations ORDER BY key").fetchall()
    reader.close()
    assert rows == [(0, 1), (1, 1), (2, 1), (3, 2)]


def test_a_key_is_recorded_once(tmp_path: Path) -> None:
    with Store(tmp_path, MADE_FROM, resume=False) as store:
        store.add(job(1), Evaluated("{}", 0.1))
        with pytest.raises(sqlite3.IntegrityError):
            store.add(job(1), Evaluated('{"other":1}', 0.1))


def test_resume_without_an_earlier_search_begins_one(tmp_path: Path) -> None:
    with Store(tmp_path, MADE_FROM, resume=True) as store:
        assert len(store) == 0


def test_an_earlier_search_is_not_overwritten(tmp_path: Path) -> None:
    filled(tmp_path, 0)
    path = filled(tmp_path)  # one without evaluations is
    assert refused(tmp_path, resume=False) == (
        f"{path}: holds this search, unfinished (3 evaluations); --resume goes on from there; to begin anew, "
        "choose another --output-dir"
    )
    with Store(tmp_path, MADE_FROM, resume=True) as store:
        store.finish()
    assert "holds a finished search (3 evaluations)" in refused(tmp_path, resume=False)


@pytest.mark.parametrize("resume", [False, True])
def test_another_search_is_refused_and_says_which(tmp_path: Path, resume: bool) -> None:
    filled(tmp_path)
    spec = {"seed": 1, "chip": {"area": 400.0, "new": "x" * 100}}
    assert "holds another search: chip.area is 516.0 there, 400.0 here; choose" in refused(tmp_path, resume, spec=spec)
    assert "method is \"toy\" there, \"ador\" here" in refused(tmp_path, resume, method="ador")
    assert "files./t.csv is nothing there, \"ab\" here" in refused(tmp_path, resume, files={"/t.csv": "ab"})
    assert "was made by hdasim 1, this is 2" in refused(tmp_path, resume, hdasim_version="2")


@pytest.mark.parametrize("resume", [False, True])
def test_a_search_that_ended_before_its_first_evaluation_holds_nobody_up(tmp_path: Path, resume: bool) -> None:
    filled(tmp_path, 0)
    other = {**MADE_FROM, "hdasim_version": "2", "spec": {"seed": 2}}
    with Store(tmp_path, other, resume) as store:
        store.add(job(1), Evaluated("{}", 0.1))
    assert "was made by hdasim 2, this is 1" in refused(tmp_path, resume)
    with Store(tmp_path, other, resume=True) as store:
        assert (len(store), store.run) == (1, 3)


def test_a_finished_search_without_evaluations_is_kept(tmp_path: Path) -> None:
    with Store(tmp_path, MADE_FROM, resume=False) as store:
        store.finish()
    assert "holds another search: seed is 1 there, 2 here" in refused(tmp_path, spec={**MADE_FROM["spec"], "seed": 2})


def test_difference_names_the_first_place() -> None:
    assert difference({"a": 1, "b": {"c": [1, 2]}}, {"a": 1, "b": {"c": [1, 3]}}) == "b.c is [1,2] there, [1,3] here"
    assert difference({"b": None}, {}) == "b is nothing there, nothing here"
    assert difference({}, {"b": "x" * 100}) == f'b is nothing there, "{"x" * 56}... here'


def test_files_of_others_and_damaged_ones(tmp_path: Path) -> None:
    path = tmp_path / "search.sqlite"
    path.write_text("no database, though long enough to be taken for one" * 100, encoding="utf-8")
    assert "is no file of hdasim search, or damaged (file is not a database)" in refused(tmp_path)
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.close()
    assert "is no file of hdasim search; choose another --output-dir" in refused(tmp_path)
    path.unlink()
    filled(tmp_path, 2000)
    raw = bytearray(path.read_bytes())
    raw[4096 * 20 : 4096 * 30] = bytes(4096 * 10)
    path.write_bytes(raw)
    assert "damaged" in refused(tmp_path)
    path.write_bytes(raw[:5000])
    assert "damaged" in refused(tmp_path)


def test_what_a_kill_before_the_first_commit_leaves(tmp_path: Path) -> None:
    path = tmp_path / "search.sqlite"
    path.touch()
    with Store(tmp_path, MADE_FROM, resume=False) as store:
        assert len(store) == 0
    path.unlink()
    empty = sqlite3.connect(path)
    empty.execute("PRAGMA journal_mode = WAL")
    empty.close()
    with Store(tmp_path, MADE_FROM, resume=True) as store:
        assert len(store) == 0


def test_one_search_at_a_time(tmp_path: Path) -> None:
    with Store(tmp_path, MADE_FROM, resume=False):
        message = refused(tmp_path)
        assert f"search.lock: process {os.getpid()} on " in message
        assert "searches in this folder; wait for it, or choose another --output-dir" in message
    with Store(tmp_path, MADE_FROM, resume=True):
        pass


def test_the_lock_of_a_dead_process_does_not_hold(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from hdasim.search.store import Store\n"
        f"Store(Path(sys.argv[1]), {MADE_FROM!r}, False); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert (tmp_path / "search.lock").read_text(encoding="utf-8").startswith("process ")
    with Store(tmp_path, MADE_FROM, resume=True) as store:
        assert store.run == 2


def test_a_reader_does_not_stop_the_writer(tmp_path: Path) -> None:
    with Store(tmp_path, MADE_FROM, resume=False) as store:
        reader = sqlite3.connect(tmp_path / "search.sqlite", isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM evaluations").fetchone() == (0,)
        store.add(job(1), Evaluated("{}", 0.1))
        assert reader.execute("SELECT count(*) FROM evaluations").fetchone() == (0,)
        reader.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM evaluations").fetchone() == (1,)
        reader.close()


def test_another_writer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdasim.search.store._PATIENCE", 0.05)
    with Store(tmp_path, MADE_FROM, resume=False) as store:
        other = sqlite3.connect(tmp_path / "search.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpecError, match=r"another program keeps it locked; close that and go on with --resume"):
            store.add(job(1), Evaluated("{}", 0.1))
        other.execute("ROLLBACK")
        other.close()
        store.add(job(1), Evaluated("{}", 0.1))


def test_a_full_disk_keeps_what_is_committed(tmp_path: Path) -> None:
    with Store(tmp_path, MADE_FROM, resume=False) as store:
        store._db.execute("PRAGMA max_page_count = 12")
        with pytest.raises(SpecError, match=r"search\.sqlite: the disk is full; make room and go on with --resume$"):
            for number in range(100):
                store.add(job(number), Evaluated(f'"{"x" * 1000}"', 0.1))
        kept = store.added
    assert 0 < kept < 100
    with Store(tmp_path, MADE_FROM, resume=True) as store:
        assert len(store) == kept
        assert store.get(job(kept).key) is None
        store.add(job(kept), Evaluated("{}", 0.1))


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "search.sqlite").mkdir()
    assert "cannot be read or written (unable to open database file)" in refused(tmp_path)
    (tmp_path / "search.lock").unlink()
    (tmp_path / "search.lock").mkdir()
    assert "search.lock: cannot be written (Is a directory)" in refused(tmp_path)
