"""JSON Schema of the experiment file as users write it, so that editors complete it."""

from typing import Any

import msgspec

from .experiment import Experiment
from .load import presets


def schema() -> dict[str, Any]:
    """The schema of `Experiment`, with `preset` beside the keys of `device`, and `preset` or `config` beside those of `model`."""
    (document,), parts = msgspec.json.schema_components([Experiment], ref_template="#/$defs/{name}")
    for name, part in parts.items():
        part["title"] = name
    device, model = parts["Device"], parts["Model"]
    device["properties"]["preset"] = {"enum": presets("hardware"), "description": "start from this device; other keys override it"}
    device.pop("required", None)  # a preset may bring any of them
    model["properties"]["preset"] = {"enum": presets("models"), "description": "a shipped model"}
    model["properties"]["config"] = {"type": "string", "description": "path of a Hugging Face config.json"}
    model.pop("required", None)
    model["additionalProperties"] = True  # keys of config.json override the preset's
    for part in (device["properties"][key] for key in ("core", "dram")):
        part.setdefault("description", "may be partial beside a preset")
    for name in ("Core", "Dram", "SystolicArray", "MacTree", "VectorUnit", "P2P"):
        parts[name].pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hdasim experiment",
        **document,
        "$defs": parts,
    }
