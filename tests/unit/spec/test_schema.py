"""The JSON Schema: sound, strict, and with units."""

import json
from typing import Any

import jsonschema
import pytest

from hdasim.spec.load import preset_path, presets
from hdasim.spec.schema import schema


@pytest.fixture(scope="module")
def validator() -> Any:
    document = json.loads(json.dumps(schema()))
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def experiment(**sections: Any) -> dict[str, Any]:
    workload = {"arrival": {"kind": "trace", "path": "t.csv"}}
    return {"device": {"preset": "ador"}, "model": {"preset": "llama3-8b"}, "workload": workload} | sections


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"device": {"preset": "a100", "dram": {"bandwidth": "3 TB/s"}, "core": {"mac_tree": None}}},
        {"device": {"preset": "a100", "gpu": None}},
        {"device": {"preset": "a100", "gpu": {"preset": "hopper", "rates": {"fp8": 2}, "gemm": {"efficiency": 0.5}}}},
        {"model": {"config": "a/config.json", "num_hidden_layers": 3, "rope_theta": 1e6}},
        {"workload": {"arrival": {"kind": "gamma", "request_rate": "5 req/s"}, "num_prompts": 3}},
        {"slo": {"ttft": 0.2, "tpot": "50 ms"}, "seed": 3, "name": "x"},
        {"slo": {"preset": "sarathi-strict-mistral-7b", "ttft": {"request": "200 ms", "p99": 2}, "tbt": {"p99": "100 ms"}}},
    ],
)
def test_accepts(validator: Any, sections: dict[str, Any]) -> None:
    assert [error.message for error in validator.iter_errors(experiment(**sections))] == []


@pytest.mark.parametrize(
    "sections",
    [
        {"sede": 3},
        {"device": {"preset": "a10"}},
        {"device": {"preset": "a100", "dram": {"bandwith": "3 TB/s"}}},
        {"device": {"preset": "a100", "dram": {"bandwidth": -3}}},
        {"device": {"preset": "a100", "core_count": 10**9}},
        {"device": {"preset": "a100", "gpu": {"preset": "hoper"}}},
        {"device": {"preset": "a100", "gpu": {"rates": {"fp8": -1}}}},
        {"model": {"preset": "llama3-8b", "vocabsize": 3}},
        {"workload": {"arrival": {"kind": "poison", "request_rate": 3}}},
        {"serving": {"scheduler": "adro"}},
        {"slo": {"ttft": {"p150": 1}}},
        {"slo": {"itl": {"request": 1}}},
        {"slo": {"preset": "sarathi-strict"}},
        {"seed": -1},
    ],
)
def test_refuses(validator: Any, sections: dict[str, Any]) -> None:
    assert not validator.is_valid(experiment(**sections))


@pytest.mark.parametrize("missing", ["device", "model", "workload"])
def test_sections_that_are_needed(validator: Any, missing: str) -> None:
    document = experiment()
    del document[missing]
    assert not validator.is_valid(document)


def test_quantities_take_text_and_say_their_unit(validator: Any) -> None:
    bandwidth = schema()["$defs"]["Dram"]["properties"]["bandwidth"]
    assert bandwidth["type"] == ["number", "string"]
    assert "base unit B/s" in bandwidth["description"]


@pytest.mark.parametrize("name", presets("models"))
def test_every_shipped_config_may_stand_in_place(validator: Any, name: str) -> None:
    config = json.loads(preset_path("models", name).read_text(encoding="utf-8"))
    assert validator.is_valid(experiment(model=config))
