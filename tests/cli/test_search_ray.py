"""`hdasim search --runner ray`: the same bytes as on local workers, nothing of Ray on stdout, its errors in one line."""

import importlib.util
from pathlib import Path

import pytest
from search_runs import Searches, recorded

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (pip install 'hdasim[ray]')"),
]
TOY = "method: search_toy:Toy\nrounds: 4\npoints: 10\nseed: 3\n"


@pytest.fixture
def searches(tmp_path: Path) -> Searches:
    (tmp_path / "toy.yaml").write_text(TOY, encoding="utf-8")
    return Searches(tmp_path, "toy.yaml")


def test_the_same_files_as_on_local_workers(searches: Searches) -> None:
    local, _ = searches.whole("local", "--workers", "2", "--json")
    out, err = searches.whole("ray", "--runner", "ray", "--workers", "2", "--json")
    assert out == local
    assert searches.contents("ray") == searches.contents("local")
    others = [line for line in err.splitlines() if not line.startswith(("round ", "done: "))]
    assert all(line.endswith(" evaluations") for line in others), others


def test_a_worker_that_always_dies(searches: Searches) -> None:
    options = ("--runner", "ray", "--workers", "1", "--set", "fault=exit", "--set", "points=40")
    out, err = searches.whole("out", *options, code=1)
    assert out == ""
    assert err.splitlines()[-1].startswith("Ray lost an evaluation: ")
    assert err.splitlines()[-1].endswith("--output-dir out --resume")
    assert "Traceback" not in err


def test_a_cluster_that_is_not_there(searches: Searches) -> None:
    for address in ("ray:127.0.0.1:1", "ray:auto"):
        _, err = searches.whole("none", "--runner", address, code=2)
        assert len(err.splitlines()) == 1
        assert err.startswith(f"--runner {address}: Ray cannot be reached or started: ")


def test_a_killed_search_goes_on_even_with_other_workers(searches: Searches) -> None:
    searches.options = ("--set", "pause=50 ms", "--resume", "--workers", "2")
    run = searches.start("ray", "--runner", "ray")
    while len(recorded(run.folder)) < 12:
        assert run.process.poll() is None, run.process.communicate()
    run.kill()
    known = len(recorded(run.folder))
    assert known < 36
    _, err = searches.whole("ray")
    assert f"({36 - known} now, {known} known before)" in err
    searches.whole("undisturbed")
    assert searches.contents("ray") == searches.contents("undisturbed")
