"""Search files: what they are made of, presets and paths in them, and that everything written out is the same search."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hdasim.errors import SpecError
from hdasim.search.loop import METHODS as MODULES
from hdasim.search.loop import canonical
from hdasim.spec.load import preset_path, presets
from hdasim.spec.schema import search_schema
from hdasim.spec.search import METHODS, document_of, expanded_search, file_digests, load_search

SHIPPED = presets("searches")


def test_every_method_has_a_specification_and_a_module() -> None:
    assert METHODS.keys() == MODULES.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_searches(name: str, tmp_path: Path) -> None:
    method, spec, document = load_search(name)
    assert spec.name == name
    path = tmp_path / "again.yaml"
    path.write_text(expanded_search(method, spec), encoding="utf-8")
    assert load_search(path)[:2] == (method, spec)
    assert document.source == str(preset_path("searches", name))
    canonical(document_of(method, spec))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_schema_accepts_what_ships(name: str) -> None:
    schema = json.loads(json.dumps(search_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    data = yaml.safe_load(preset_path("searches", name).read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(data)] == []
    for bad in ({"method": "adro"}, {"colour": "red"}, {"seed": "x"}):
        assert list(validator.iter_errors(data | bad)) != []
    del data["method"]
    assert list(validator.iter_errors(data)) != []


def written(tmp_path: Path, **changes: Any) -> Path:
    data = yaml.safe_load(preset_path("searches", "ador-llama3-8b-chat").read_text(encoding="utf-8"))
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(data | changes), encoding="utf-8")
    return path


def test_files_are_found_beside_the_search_and_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,8,8\n1,8,8\n", encoding="utf-8")
    path = written(tmp_path, workload={"arrival": {"kind": "trace", "path": "trace.csv"}})
    spec = load_search(path)[1]
    assert spec.workload.arrival.path == str(trace)
    before = file_digests(spec)
    assert list(before) == [str(trace)] and len(before[str(trace)]) == 64
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_search(os.path.relpath(path))[1] == spec
    trace.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,8,9\n", encoding="utf-8")
    assert file_digests(spec) != before
    trace.unlink()
    with pytest.raises(SpecError, match=r"cannot read .*No such file"):
        file_digests(spec)


def test_an_infinite_rate_is_text(tmp_path: Path) -> None:
    workload = {"arrival": {"kind": "poisson", "request_rate": "inf"}, "num_prompts": 8}
    workload["lengths"] = {"kind": "fixed", "input_len": 8, "output_len": 8}
    method, spec, _ = load_search(written(tmp_path, workload=workload))
    assert document_of(method, spec)["workload"]["arrival"]["request_rate"] == "inf"
    again = tmp_path / "again.yaml"
    again.write_text(expanded_search(method, spec), encoding="utf-8")
    assert load_search(again)[1] == spec


@pytest.mark.parametrize(
    ("changes", "overrides", "message"),
    [
        ({"reference": {"preset": "adro"}}, [], "reference.preset: unknown preset 'adro' (did you mean 'ador'?)"),
        ({"slo": {"preset": "x"}}, [], "slo.preset: unknown preset 'x'; known: "),
        ({"model": {"preset": "llama9"}}, [], "model.preset: unknown preset 'llama9'"),
        ({}, ["reference.preset=h10"], "--set reference.preset=h10: reference.preset: unknown preset 'h10' (did you mean"),
        ({}, ["constraints.area=-3"], "--set constraints.area=-3: constraints.area: "),
        ({}, ["seed=1.5"], "--set seed=1.5: seed: expected a whole number, got 1.5"),
    ],
)
def test_errors_name_file_line_and_key(tmp_path: Path, changes: dict[str, Any], overrides: list[str], message: str) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(SpecError) as caught:
        load_search(path, overrides)
    text = str(caught.value)
    assert message in text
    if not overrides:
        section = next(iter(changes))
        lines = path.read_text(encoding="utf-8").splitlines()
        number = lines.index(f"{section}:") + 2
        assert text.startswith(f"{path}:{number}: ")


def test_the_short_name_of_a_goal() -> None:
    _, spec, _ = load_search("ador-llama3-8b-chat", ["slo={tbt: {p99: 50 ms}}"])
    assert spec.slo.itl.p99 == 0.05
