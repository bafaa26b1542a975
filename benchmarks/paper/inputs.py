"""What experiments have in common in their files."""

from pathlib import Path

from hdasim.errors import SpecError
from hdasim.spec.base import Side, Spec
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load


class ArraySize(Spec):
    rows: Side
    cols: Side


def load_model(model: str) -> Experiment:
    """The shipped experiment with another model, a preset or the path of a config.json; errors blame the key `model`."""
    key, value = ("config", str(Path(model).resolve())) if model.endswith(".json") else ("preset", model)
    quoted = value.replace("'", "''")
    try:
        return load("ador-llama3-8b", [f"model={{{key}: '{quoted}'}}"])
    except SpecError as error:
        raise SpecError(error.message, ("model",)) from None
