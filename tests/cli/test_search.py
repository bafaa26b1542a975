"""`hdasim search`: the same files however it runs, --resume, exit codes, and its errors."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from search_runs import Searches, per_run, recorded

from hdasim.cli import main

TOY = "method: search_toy:Toy\nrounds: 4\npoints: 10\nseed: 3\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("toy.yaml").write_text(TOY, encoding="utf-8")
    return tmp_path


def found(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main(["search", "toy.yaml", "--json", "--output-dir", "out", "--workers", "1", *arguments]) == code
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def error(capsys: pytest.CaptureFixture[str], *arguments: str, file: str = "toy.yaml", code: int = 2) -> str:
    assert main(["search", file, "--output-dir", "out", "--workers", "1", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if not line.startswith(("round ", "noise "))]
    assert len(lines) == 1, lines
    return lines[0]


def test_document_files_and_table(capsys: pytest.CaptureFixture[str]) -> None:
    result = found(capsys)
    assert json.loads(Path("out/result.json").read_text(encoding="utf-8")) == result
    assert result["status"] == "found"
    assert result["meta"] == {"hdasim_version": "0.1.0", "method": "search_toy:Toy", "seed": 3, "evaluations": 36}
    assert result["spec"]["points"] == 10
    rows = Path("out/evaluations.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 37
    assert rows[0] == "evaluation,evaluator,key,spec.at,record.height,record.parts.x,record.parts.y"
    assert len(recorded(Path("out"))) == 36
    assert Path("out/toy.txt").exists()
    assert Path("out/log.txt").read_text(encoding="utf-8").count("\n") == 4
    assert sorted(os.listdir("out")) == [
        "evaluations.csv", "log.txt", "result.json", "search.lock", "search.sqlite", "spec.yaml", "toy.txt"
    ]  # fmt: skip
    assert main(["search", "toy.yaml", "--output-dir", "again", "--workers", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"toy: lowest {result['height']:g}\n"
    assert "round 4: lowest" in captured.err
    assert "noise that belongs to nobody" in captured.err
    assert captured.err.splitlines()[-1].startswith("done: 36 evaluations (36 now, 0 known before) in ")


def test_resume_of_a_finished_search_evaluates_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    first = found(capsys)
    before = {path.name: path.read_bytes() for path in Path("out").iterdir() if path.name != "search.sqlite"}
    # the file with everything written out is the same search
    assert main(["search", "out/spec.yaml", "--json", "--output-dir", "out", "--resume"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == first
    assert "done: 36 evaluations (0 now, 36 known before)" in captured.err
    assert "noise" not in captured.err
    assert {path.name: path.read_bytes() for path in Path("out").iterdir() if path.name != "search.sqlite"} == before
    assert "holds a finished search (36 evaluations); --resume goes on from there" in error(capsys)
    assert "holds another search: seed is 3 there, 6 here" in error(capsys, "--resume", "--set", "seed=6")


def test_exit_code_of_a_search_without_a_design(capsys: pytest.CaptureFixture[str]) -> None:
    assert found(capsys, "--set", "target=1e-9", code=3)["status"] == "none"


def test_errors_of_designs_are_records(capsys: pytest.CaptureFixture[str]) -> None:
    found(capsys, "--set", "fault=design", "--set", "points=40")
    text = Path("out/evaluations.csv").read_text(encoding="utf-8")
    assert ",at: x must not be 0" in text
    assert "record.error" in text


def test_a_bug_in_an_evaluator_is_one_line_and_the_rest_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    line = error(capsys, "--set", "fault=bug", "--set", "points=40", code=1)
    assert re.fullmatch(
        r'search_toy:evaluate failed on \{"at":\[0,.*\}: ZeroDivisionError: a bug, in two lines; this is a bug in the evaluator; '
        r"\d+ evaluations are saved, go on with: hdasim search toy.yaml --set fault=bug --set points=40 --output-dir out "
        r"--resume",
        line,
    )
    assert len(recorded(Path("out"))) == int(line.split(" evaluations are saved")[0].rsplit(" ", 1)[1]) > 0


def test_an_interrupt_that_an_evaluator_swallows_is_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    line = error(capsys, "--set", "fault=interrupt", "--set", "points=40", code=130)
    assert line.startswith("interrupted; ")
    assert not any('"at":[0,' in spec for spec, _ in recorded(Path("out")).values())


def test_the_same_files_on_any_number_of_workers(tmp_path: Path) -> None:
    searches = Searches(tmp_path, "toy.yaml", ("--set", "pause=4 ms"))
    one = searches.whole("one", "--workers", "1", "--json")[0]
    two, err = searches.whole("two", "--workers", "2", "--json")
    assert two == one
    assert "noise" in err
    assert searches.contents("one") == searches.contents("two")
    assert per_run(tmp_path / "one") == per_run(tmp_path / "two") == {1: 36}
    assert all(run.all_gone() for run in searches.runs)


def test_a_dead_worker_is_one_line(tmp_path: Path) -> None:
    searches = Searches(tmp_path, "toy.yaml", ("--set", "fault=exit", "--set", "points=40", "--workers", "2"))
    out, err = searches.whole("out", code=1)
    assert out == ""
    (line,) = (line for line in err.splitlines() if not line.startswith(("round", "noise")))
    assert line.startswith("a worker process has died (killed, or out of memory); use fewer --workers if memory is short; ")
    assert line.endswith("go on with: hdasim search toy.yaml --set fault=exit --set points=40 --output-dir out --resume")
    assert searches.runs[0].all_gone()


def test_two_searches_in_one_folder(tmp_path: Path) -> None:
    searches = Searches(tmp_path, "toy.yaml", ("--set", "pause=1 s", "--workers", "1"))
    first = searches.start("out")
    while not (tmp_path / "out" / "spec.yaml").exists():
        assert first.process.poll() is None
    _, err = searches.whole("out", "--resume", code=2)
    assert f"out/search.lock: process {first.process.pid} on " in err
    assert "searches in this folder" in err
    first.kill()


def test_search_files_are_checked_like_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    def edited(text: str) -> str:
        Path("bad.yaml").write_text(text, encoding="utf-8")
        return error(capsys, file="bad.yaml")

    assert edited("rounds: 4\n") == "bad.yaml:1: missing key 'method'; add method: ador"
    experiment = Path(__file__).with_name("sample.yaml").read_text(encoding="utf-8")
    assert "missing key 'method'" in (line := edited(experiment)) and line.endswith("this is an experiment, for hdasim run")
    assert edited("method: adro\n") == (
        "bad.yaml:1: method: unknown 'adro' (did you mean 'ador'?); use ador, or MODULE:CLASS of your own"
    )
    assert "method: unknown a list" in edited("method: [ador]\n")
    assert "cannot load no_such:Thing: ModuleNotFoundError: No module named 'no_such'; it must lie in" in edited(
        "method: no_such:Thing\n"
    )
    assert "has no attribute 'Absent'" in edited("method: search_toy:Absent\n")
    assert "search_toy:Count is no class made from hdasim.spec.base.Spec" in edited("method: search_toy:Count\n")
    assert "hdasim.spec.slo has no function search" in edited("method: hdasim.spec.slo:SLO\n")
    assert edited(TOY + "colour: red\n").startswith("bad.yaml:5: colour: unknown key 'colour'; known: rounds, points")
    assert edited(TOY.replace("rounds: 4", "rounds: 0")) == "bad.yaml:2: rounds: must be at least 1, got 0"
    assert edited(TOY + "pause: 3 m/s\n").startswith("bad.yaml:5: pause: ")
    assert edited("") == "bad.yaml:1: expected a mapping of keys such as device, model, workload; got an empty file"
    assert "--set rounds=x: rounds: expected a whole number, got 'x'" in error(capsys, "--set", "rounds=x")
    assert "no such file, and no shipped search of that name" in error(capsys, file="ador-nothing")
    assert "no such file" in error(capsys, file="nothing.yaml")


def test_options_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for bad in ("slurm", "ray:", "ray://", "ray://host", "ray:host:port", "local:2"):
        line = error(capsys, "--runner", bad)
        assert line.startswith("--runner: expected local, ray (started here), ray:auto, ray:HOST:PORT (one that runs) or ray://")
        assert line.endswith(repr(bad))
    with pytest.raises(SystemExit, match="2"):
        main(["search", "toy.yaml", "--workers", "0"])
    assert "expected a whole number from 1 to 1024" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").touch()
    assert error(capsys).startswith("--output-dir out: cannot write results: file exists")
    Path("out").unlink()
    Path("out/log.txt").mkdir(parents=True)
    assert error(capsys) == "out/log.txt: cannot be written (Is a directory); mend that and go on with --resume"


def test_a_damaged_store(capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/search.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    assert "out/search.sqlite: is no file of hdasim search, or damaged" in error(capsys, "--resume")


def test_without_ray_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('No module named ray')", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"}
    command = [sys.executable, "-m", "hdasim", "search", "toy.yaml", "--runner", "ray"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "--runner ray: ray is not installed; pip install 'hdasim[ray]'\n"


def test_the_method_may_lie_in_the_working_directory(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "search_toy.py"
    (tmp_path / "mine.py").write_text(source.read_text(encoding="utf-8").replace("search_toy:", "mine:"), encoding="utf-8")
    Path("toy.yaml").write_text(TOY.replace("search_toy:", "mine:"), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    script = "import sys\nfrom hdasim.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    (tmp_path / "bin").mkdir()  # as an installed script, which does not have the working directory on its path
    (tmp_path / "bin" / "hdasim").write_text(script, encoding="utf-8")
    command = [sys.executable, "bin/hdasim", "search", "toy.yaml", "--workers", "2", "--output-dir", "out"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_searches_are_listed_and_have_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "--json"]) == 0
    assert "searches" in json.loads(capsys.readouterr().out)
    written = yaml.safe_load(TOY)
    assert written["method"] == "search_toy:Toy"
