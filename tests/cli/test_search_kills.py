"""Searches killed or interrupted at random moments: each goes on, evaluates nothing again, and ends like an undisturbed one."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from search_runs import ADOR, Run, Searches, per_run, recorded

#: About 370 evaluations of 10 ms.
TOY = "method: search_toy:Toy\nrounds: 20\npoints: 20\nseed: 1\npause: 10 ms\n"
KILLS = 10


@pytest.fixture
def searches(tmp_path: Path) -> Searches:
    (tmp_path / "toy.yaml").write_text(TOY, encoding="utf-8")
    return Searches(tmp_path, "toy.yaml", ("--resume",))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the toy search writes when nothing stops it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "toy.yaml").write_text(TOY, encoding="utf-8")
    searches = Searches(folder, "toy.yaml")
    searches.whole("out", "--workers", "2")
    return searches.contents("out")


def wait_for(run: Run, records: int) -> None:
    """Until the store has so many records."""
    while len(recorded(run.folder)) < records:
        assert run.process.poll() is None, run.process.communicate()
        time.sleep(0.005)


def killed(searches: Searches, most: int, *options: str) -> Iterator[dict[str, tuple[str, int]]]:
    """Kill the search in the folder "killed" again and again, yield what it has recorded each time, and let it end.

    Every second kill comes after 1 to `most` new records, the others at any moment, also while it starts.
    """
    draw, folder = random.Random(most), searches.directory / "killed"
    for number in range(KILLS):
        run = searches.start("killed", *options)
        if number % 2:
            wait_for(run, len(recorded(folder)) + draw.randrange(1, most + 1))
            time.sleep(draw.random() * 0.03)
        else:
            time.sleep(draw.random() * 0.9)
        assert run.process.poll() is None, "it ended before the kill"
        run.kill()
        assert run.all_gone(), run.left()
        yield recorded(folder)
    searches.whole("killed", *options)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_ten_kills(searches: Searches, undisturbed: dict[str, bytes], workers: str) -> None:
    after = [(records, len(_seen(searches))) for records in killed(searches, 30, "--workers", workers)]
    assert searches.contents("killed") == undisturbed
    assert len(after) == KILLS
    for records, begun in after:
        points = {spec.split('"at":[')[1].split("]")[0] for spec, _ in records.values()}
        assert not points & set(_seen(searches)[begun:])
    counts = [len(records) for records, _ in after]
    assert counts == sorted(counts) and counts[-1] >= KILLS // 2
    again = sum(times - 1 for times in Counter(_seen(searches)).values())
    assert again <= KILLS * int(workers)  # those that ran when a kill came


def _seen(searches: Searches) -> list[str]:
    return searches.seen.read_text(encoding="utf-8").splitlines() if searches.seen.exists() else []


@pytest.mark.slow
def test_ten_kills_of_a_search_for_a_chip(tmp_path: Path) -> None:
    changes = tuple(part for change in ADOR for part in ("--set", change))
    searches = Searches(tmp_path, "ador-llama3-8b-chat", ("--resume", *changes))
    searches.whole("undisturbed", "--workers", "1")
    after = list(killed(searches, 9, "--workers", "2"))
    assert searches.contents("killed") == searches.contents("undisturbed")
    final = recorded(tmp_path / "killed")
    assert final.keys() == recorded(tmp_path / "undisturbed").keys()
    for records in after:  # what a run recorded is still that run's
        assert records.items() <= final.items()
    assert len(per_run(tmp_path / "killed")) > KILLS // 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_interrupts_of_the_keyboard(searches: Searches, undisturbed: dict[str, bytes], workers: str) -> None:
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
        said = f"interrupted; {count} evaluations are saved, go on with: hdasim search toy.yaml --output-dir interrupted --resume"
        assert said in err.splitlines()
        assert run.all_gone(), run.left()
        assert not (folder / "result.json").exists()
    searches.whole("interrupted", "--workers", workers)
    assert searches.contents("interrupted") == undisturbed
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
        assert any(line.startswith("interrupted; ") for line in err.splitlines())  # a worker may end after it, with noise
        assert run.all_gone(), run.left()
