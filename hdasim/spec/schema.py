"""JSON Schema of experiment and search files as users write them, so that editors complete them."""

import json
from typing import Any

import msgspec

from .base import QUANTITY, Spec
from .experiment import Experiment
from .load import COMMON_KEYS, preset_path, presets
from .search import METHODS, search_class


def schema() -> dict[str, Any]:
    """The schema of `Experiment`, with `preset` beside the keys of `device`, and `preset` or `config` beside those of `model`."""
    (document,), parts = _components([Experiment])
    return {"$schema": _DRAFT, "title": "hdasim experiment", **document, "$defs": parts}


def search_schema() -> dict[str, Any]:
    """The schema of search files: one of the methods that ship, by the key `method`."""
    documents, parts = _components([search_class(method) for method in METHODS])
    for method, document in zip(METHODS, documents, strict=True):
        part = parts[document["$ref"].rpartition("/")[2]]
        part["properties"] = {"method": {"const": method}, **part["properties"]}
        part["required"] = ["method", *(key for key in part.get("required", ()) if key != "method")]
    return {"$schema": _DRAFT, "title": "hdasim search", "oneOf": list(documents), "$defs": parts}


_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def _components(kinds: list[type[Spec]]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """(schema of each kind, their parts by name) as users write them: quantities as text, presets, parts of them optional."""
    documents, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    for name, part in parts.items():
        part["title"] = name
        for value in part["properties"].values():
            for choice in (value, *value.get("anyOf", ())):
                if choice.get("description", "").startswith(QUANTITY):
                    choice["type"] = ["number", "string"]
    if "Device" in parts:
        device = parts["Device"]
        device["properties"]["preset"] = {"enum": presets("hardware"), "description": "a shipped device; other keys override its"}
        parts["Gpu"]["properties"]["preset"] = {"enum": presets("generations"), "description": "constants of measured GPUs"}
        _relax(device, parts)
    if "Model" in parts:
        model = parts["Model"]
        for key in sorted(_config_keys()):
            model["properties"].setdefault(key, {"description": "key of config.json"})
        model["properties"]["preset"] = {"enum": presets("models"), "description": "a shipped model; other keys override its"}
        model["properties"]["config"] = {"type": "string", "description": "path of a Hugging Face config.json"}
        model.pop("required", None)
    if "SLO" in parts:
        slo = parts["SLO"]["properties"]
        slo["preset"] = {"enum": presets("slo"), "description": "shipped goals; other keys override them"}
        slo["tbt"] = {**slo["itl"], "description": "another name of itl"}
    return documents, parts


def _relax(device: dict[str, Any], parts: dict[str, Any]) -> None:
    """Beside a preset the device and its parts may be partial."""
    device.pop("required", None)
    constants = (name for name in parts if name.endswith("Constants"))
    for name in ("Core", "Dram", "SystolicArray", "MacTree", "VectorUnit", "P2P", "Gpu", "Interface", *constants):
        parts[name].pop("required", None)


def _config_keys() -> set[str]:
    """Keys that a model section may override: those of the shipped configs, and those that any config may be given."""
    keys = set(COMMON_KEYS)
    for name in presets("models"):
        keys |= set(json.loads(preset_path("models", name).read_text(encoding="utf-8")))
    return keys
