"""What experiments have in common in their files, and how they load what they name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hdasim.errors import CapacityError, SpecError
from hdasim.spec.base import Side, Spec
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load, load_device

#: Sequences or tokens of a step.
Count = Annotated[int, Meta(ge=1, le=1 << 16)]
#: By how much a time may exceed the best one and still count as saturated.
Tolerance = Annotated[float, Meta(gt=0, le=1)]


class ArraySize(Spec):
    rows: Side
    cols: Side


class Shape(Spec):
    """One step: `batch_size` sequences with `input_len` cached tokens each (decode), or prompts of that length (prefill)."""

    phase: Literal["decode", "prefill"]
    batch_size: Count
    input_len: Count

    @property
    def tokens(self) -> int:
        return self.batch_size if self.phase == "decode" else self.batch_size * self.input_len

    @property
    def label(self) -> str:
        if self.phase == "decode":
            return f"decode, batch {self.batch_size}"
        return f"prefill, {self.tokens:,} tokens"


def check_ascending(**values: Sequence[float]) -> None:
    """`ValueError` that names the key of the file whose values do not ascend."""
    for key, given in values.items():
        if list(given) != sorted(set(given)):
            raise ValueError(f"{key}: must ascend, each value once, got {list(given)}")


class _BlamedError(SpecError):
    """An error whose key is one of the experiment file."""


@contextmanager
def blame(*path: str | int) -> Iterator[None]:
    """Give errors about a model or device the key of the experiment file that asked for it; the innermost `blame` counts."""
    try:
        yield
    except _BlamedError:
        raise
    except (SpecError, CapacityError) as error:
        raise _BlamedError(error.message, path) from None


def _model_override(model: str) -> str:
    key, value = ("config", str(Path(model).resolve())) if model.endswith(".json") else ("preset", model)
    quoted = value.replace("'", "''")
    return f"model={{{key}: '{quoted}'}}"


def load_model(model: str) -> Experiment:
    """The shipped experiment with another model, a preset or the path of a config.json; errors blame the key `model`."""
    with blame("model"):
        return load("ador-llama3-8b", [_model_override(model)])


class Loader:
    """A model on a device, read once; `with_` gives the experiment in which some settings (``--set`` of the command line) differ.

    Parameters
    ----------
    model, device
        Presets or paths, as experiment files name them.
    keys
        The keys of the experiment file that named them, which errors blame.
    """

    def __init__(self, model: str, device: str, keys: Mapping[str, tuple[str | int, ...]] | None = None) -> None:
        self._keys = {"model": ("model",), "device": ("device",), **(keys or {})}
        with blame(*self._keys["device"]):
            self._device = msgspec.json.encode(load_device(device)).decode()
        self._model = model

    def with_(self, settings: Mapping[str, Any]) -> Experiment:
        changes = [f"{key}={msgspec.json.encode(value).decode()}" for key, value in settings.items()]
        with blame(*self._keys["model"]):
            return load("ador-llama3-8b", [_model_override(self._model), f"device={self._device}", *changes])
