"""Searches killed or interrupted at random moments: each goes on, evaluates nothing again, and ends like an undisturbed one."""

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from search_runs import Run, Searches, per_run, recorded

#: About 370 evaluations of 10 ms.
TOY = "method: search_toy:Toy\nrounds: 20\npoints: 20\nseed: 1\npause: 10 ms\n"
KILLS = 10


@pytest.fixture
def searches(tmp_path: Path) -> Searches:
    (tmp_path / "toy.yaml").write_text(TOY, encoding="utf-8")
    return Searches(tmp_path, "toy.yaml", ("--resume",))


def wait_for(run: Run, records: int) -> None:
    """Until the store has so many records."""
    while len(recorded(run.folder)) < records:
        assert run.process.poll() is None, run.process.communicate()
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ten_kills(searches: Searches, workers: str) -> None:
    searches.whole("undisturbed", "--workers", "2")
    draw, folder = random.Random(int(workers)), searches.directory / "killed"
    after: list[tuple[set[str], int]] = []  # what was recorded at each kill, and how many evaluations had begun
    searches.seen.unlink()
    for number in range(KILLS):
        run = searches.start("killed", "--workers", workers)
        if number % 2:  # while evaluations are recorded
            wait_for(run, len(recorded(folder)) + draw.randrange(1, 30))
            time.sleep(draw.random() * 0.03)
        else:  # at any moment, also while it starts
            time.sleep(draw.random() * 0.9)
        assert run.process.poll() is None, "it ended before the kill"
        run.kill()
        assert run.all_gone(), run.left()
        known = {spec for spec, _ in recorded(folder).values()}
        after.append((known, len(_seen(searches))))
    searches.whole("killed", "--workers", workers)
    assert searches.contents("killed") == searches.contents("undisturbed")

    for known, begun in after:
        points = {spec.split('"at":[')[1].split("]")[0] for spec in known}
        assert not points & set(_seen(searches)[begun:])
    counts = [len(known) for known, _ in after]
    assert counts == sorted(counts) and counts[-1] >= KILLS // 2
    records = recorded(folder)
    assert sum(per_run(folder).values()) == len(records) == len(recorded(searches.directory / "undisturbed"))
    twice = {point: times for point, times in Counter(_seen(searches)).items() if times > 1}
    assert sum(twice.values()) - len(twice) <= KILLS * int(workers)  # those that ran when a kill came


def _seen(searches: Searches) -> list[str]:
    return searches.seen.read_text(encoding="utf-8").splitlines() if searches.seen.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_interrupts_of_the_keyboard(searches: Searches, workers: str) -> None:
    searches.whole("undisturbed", "--workers", "2")
    draw, folder = random.Random(2), searches.directory / "interrupted"
    for _ in range(3):
        before = len(recorded(folder))
        run = searches.start("interrupted", "--workers", workers)
        wait_for(run, before + draw.randrange(1, 60))
        run.interrupt()
        out, err = run.process.communicate(timeout=20)
        assert run.process.returncode == 130
        assert out == ""
        assert "Traceback" not in err
        count = len(recorded(folder))
        assert err.splitlines()[-1] == (
            f"interrupted; {count} evaluations are saved, go on with: hdasim search toy.yaml --output-dir interrupted --resume"
        )
        assert run.all_gone(), run.left()
        assert not (folder / "result.json").exists()
    searches.whole("interrupted", "--workers", workers)
    assert searches.contents("interrupted") == searches.contents("undisturbed")
    assert set(per_run(folder)) == {1, 2, 3, 4}


def test_an_interrupt_while_workers_start(searches: Searches) -> None:
    for pause in (0.0, 0.05, 0.15, 0.3):
        folder = searches.directory / f"out{pause}"
        run = searches.start(folder.name, "--workers", "2")
        while not (folder / "log.txt").exists():
            time.sleep(0.001)
        time.sleep(pause)
        run.interrupt()
        out, err = run.process.communicate(timeout=20)
        assert (run.process.returncode, out) == (130, "")
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("interrupted; ")
        assert run.all_gone(), run.left()
