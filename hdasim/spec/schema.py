"""JSON Schema of the experiment file as users write it, so that editors complete it."""

import json
from typing import Any

import msgspec

from .base import QUANTITY
from .experiment import Experiment
from .load import COMMON_KEYS, preset_path, presets


def schema() -> dict[str, Any]:
    """The schema of `Experiment`, with `preset` beside the keys of `device`, and `preset` or `config` beside those of `model`."""
    (document,), parts = msgspec.json.schema_components([Experiment], ref_template="#/$defs/{name}")
    for name, part in parts.items():
        part["title"] = name
        for value in part["properties"].values():
            for choice in (value, *value.get("anyOf", ())):
                if choice.get("description", "").startswith(QUANTITY):
                    choice["type"] = ["number", "string"]
    device, model = parts["Device"], parts["Model"]
    device["properties"]["preset"] = {"enum": presets("hardware"), "description": "a shipped device; other keys override its"}
    parts["Gpu"]["properties"]["preset"] = {"enum": presets("generations"), "description": "constants of measured GPUs"}
    _relax(device, parts)
    for key in sorted(_config_keys()):
        model["properties"].setdefault(key, {"description": "key of config.json"})
    model["properties"]["preset"] = {"enum": presets("models"), "description": "a shipped model; other keys override its"}
    model["properties"]["config"] = {"type": "string", "description": "path of a Hugging Face config.json"}
    model.pop("required", None)
    slo = parts["SLO"]["properties"]
    slo["preset"] = {"enum": presets("slo"), "description": "shipped goals; other keys override them"}
    slo["tbt"] = {**slo["itl"], "description": "another name of itl"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hdasim experiment",
        **document,
        "$defs": parts,
    }


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
