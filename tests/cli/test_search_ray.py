"""`hdasim search --runner ray`: the same bytes as on local workers, nothing of Ray on stdout, its errors in one line."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from search_runs import ADOR, Searches, recorded

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


def test_the_same_chip_as_on_local_workers(tmp_path: Path) -> None:
    changes = (part for change in ADOR for part in ("--set", change))
    searches = Searches(tmp_path, "ador-llama3-8b-chat", (*changes, "--workers", "2", "--json"))
    assert searches.whole("ray", "--runner", "ray")[0] == searches.whole("local")[0]
    assert searches.contents("ray") == searches.contents("local")


def test_a_worker_that_always_dies(searches: Searches) -> None:
    options = ("--runner", "ray", "--workers", "1", "--set", "fault=exit", "--set", "points=40")
    out, err = searches.whole("out", *options, code=1)
    assert out == ""
    assert err.splitlines()[-1].startswith("Ray lost an evaluation: ")
    assert err.splitlines()[-1].endswith("--output-dir out --resume")
    assert "Traceback" not in err


def test_a_cluster_that_is_not_there(searches: Searches, monkeypatch: pytest.MonkeyPatch) -> None:
    ray_notes = searches.directory / "ray"
    ray_notes.mkdir()
    (ray_notes / "ray_current_cluster").write_text("127.0.0.1:2", encoding="utf-8")  # what a cluster that was killed leaves
    monkeypatch.setenv("RAY_TMPDIR", str(searches.directory))
    for address, asked in (("ray:127.0.0.1:1", "127.0.0.1:1"), ("ray:auto", "127.0.0.1:2"), ("ray://127.0.0.1:3", "127.0.0.1:3")):
        _, err = searches.whole("none", "--runner", address, code=2)
        (line,) = err.splitlines()
        assert line.startswith(f"--runner {address}: Ray cannot be reached or started: no answer from {asked} (Connection ref")
        assert line.endswith("RAY_AUTH_MODE=token here")


def test_a_server_that_is_no_ray(searches: Searches) -> None:
    script = "import sys, hdasim.search.ray_runner as r, hdasim.cli as c; r.JOIN = 5.0; sys.exit(c.main(sys.argv[1:]))"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ray:127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-c", script, "search", "toy.yaml", "--runner", address]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        done = subprocess.run(command, cwd=searches.directory, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--runner {address}: Ray cannot be reached or started: what answers there is no Ray" in done.stderr.splitlines()[-1]


def test_a_killed_search_goes_on_even_with_other_workers(searches: Searches) -> None:
    searches.options = ("--set", "pause=50 ms", "--resume", "--workers", "2")
    run = searches.start("ray", "--runner", "ray")
    while len(recorded(run.folder)) < 12:
        assert run.process.poll() is None, run.process.communicate()
    run.kill()
    assert run.all_gone(but="Agent"), run.left()  # Ray's own agents, which do no work, may take a minute
    known = len(recorded(run.folder))
    assert known < 36
    _, err = searches.whole("ray")
    assert f"({36 - known} now, {known} known before)" in err
    searches.whole("undisturbed")
    assert searches.contents("ray") == searches.contents("undisturbed")
