"""From a file name or preset to a validated `Experiment`, or to an error that says where, what is wrong and what would be right."""

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from .. import units
from ..errors import CapacityError, SpecError
from . import huggingface
from .base import NonNegativeInt, Spec
from .document import Document, Path_
from .experiment import Experiment
from .hardware import Device
from .model import Model
from .workload import TraceArrival, Workload

PRESETS = Path(__file__).resolve().parent.parent / "presets"
SpecT = TypeVar("SpecT", bound=Spec)


def presets(kind: str) -> list[str]:
    """Names of the shipped presets of `kind`: "hardware", "models" or "experiments"."""
    return sorted(p.stem for p in (PRESETS / kind).iterdir() if p.suffix in (".yaml", ".json"))


def preset_path(kind: str, name: object) -> Path:
    """The file of a preset; `SpecError` lists near names if there is none."""
    for suffix in (".yaml", ".json"):
        path = PRESETS / kind / f"{name}{suffix}"
        if isinstance(name, str) and re.fullmatch(r"[\w.+-]+", name) and path.is_file():
            return path
    known = presets(kind)
    raise SpecError(f"unknown preset {name!r}{_meant(str(name), known) or '; known: ' + ', '.join(known)}")


def load(source: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read the experiment in file `source`, or the shipped experiment of that name, and apply ``key=value`` overrides.

    Raises
    ------
    SpecError
        One line: place (file:line or the override), key, what is wrong, what would be right.
    """
    return open_experiment(source, overrides)[0]


def open_experiment(source: str | Path, overrides: Iterable[str] = ()) -> tuple[Experiment, Document]:
    """Like `load`, with the document, so that later errors can be given their place by `locate`."""
    path = Path(source)
    folder = path.resolve().parent
    if not path.is_file() and str(source) in presets("experiments"):
        path, folder = preset_path("experiments", str(source)), _preset_root()
    document = Document.read(path)
    with locate(document):
        return _experiment(document, folder, list(overrides)), document


@contextmanager
def locate(document: Document) -> Iterator[None]:
    """Give errors about a key the place, file:line, of that key."""
    try:
        yield
    except (SpecError, CapacityError) as error:
        error.place = error.place or document.place(error.path)
        raise


def _preset_root() -> Path:
    """The folder to which paths in preset experiments are relative: it holds `traces`, in an installed package or in the source tree."""
    return PRESETS if (PRESETS / "traces").is_dir() else PRESETS.parent.parent


def load_device(source: str | Path) -> Device:
    """Read a device from a file (the content of a `device:` section, or a document that has one), or a hardware preset by name."""
    path = Path(source)
    if not path.is_file() and str(source) in presets("hardware"):
        path = preset_path("hardware", source)
    document = Document.read(path)
    if isinstance(document.data.get("device"), dict):
        document = document.sub("device")
    with locate(document):
        _apply_device_preset(document, ())
        return convert(document.data, Device)


def expanded(experiment: Experiment, folder: Path) -> str:
    """The experiment in full, without presets, as YAML text for a file in `folder`, to which the path of its trace is made relative."""
    arrival = experiment.workload.arrival
    data = msgspec.to_builtins(experiment)
    if isinstance(arrival, TraceArrival) and not os.path.isabs(arrival.path):
        data["workload"]["arrival"]["path"] = os.path.relpath(arrival.path, folder)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def _experiment(document: Document, folder: Path, overrides: list[str]) -> Experiment:
    for override in sorted(overrides, key=lambda text: not text.partition("=")[0].strip().endswith("preset")):
        _override(document, override)
    _apply_device_preset(document, ("device",))
    if "model" in document.data:
        document.data["model"] = _under(("model",), lambda: _model(document.data["model"], folder))
    experiment = convert(document.data, Experiment)
    return msgspec.structs.replace(experiment, workload=_resolved(experiment.workload, folder))


def _resolved(workload: Workload, folder: Path) -> Workload:
    """The workload with the path of its trace, relative to `folder`, made relative to the working directory; absolute paths stay."""
    arrival = workload.arrival
    if not isinstance(arrival, TraceArrival) or os.path.isabs(arrival.path):
        return workload
    arrival = msgspec.structs.replace(arrival, path=os.path.relpath(folder / arrival.path))
    return msgspec.structs.replace(workload, arrival=arrival)


def _under(path: Path_, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except SpecError as error:
        raise SpecError(error.message, path + error.path, error.place) from None


def _override(document: Document, text: str) -> None:
    key, equals, value = text.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise SpecError("expected KEY=VALUE such as device.core_count=64", place=f"--set {text}")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise SpecError("the value is not valid YAML", place=f"--set {text}") from None
    target = document.data
    for step in path[:-1]:
        if not isinstance(target.setdefault(step, {}), dict):
            target[step] = {}
        target = target[step]
    if path[-1] == "preset":  # another preset replaces what the file overrides in the old one
        target.clear()
    target[path[-1]] = parsed
    document.places[path] = f"--set {text}"


def _apply_device_preset(document: Document, path: Path_) -> None:
    data = document.data
    for key in path:
        data = data.get(str(key), {})
    if not isinstance(data, dict) or "preset" not in data:
        return
    name = data.pop("preset")
    base = Document.read(_under((*path, "preset"), lambda: preset_path("hardware", name)))
    base.data.setdefault("name", name)
    document.put(path, base)


def _model(data: Any, folder: Path) -> Any:
    """Builtins of the `Model` that the section describes: a preset, a config.json, a config in place, or a model in full."""
    if not isinstance(data, dict):
        raise SpecError("expected {preset: NAME} or {config: PATH}")
    data = dict(data)
    if "preset" in data and "config" in data:
        raise SpecError("give either preset or config, not both", ("config",))
    if "preset" in data:
        name = data.pop("preset")
        path = _under(("preset",), lambda: preset_path("models", name))
    elif "config" in data:
        name = data.pop("config")
        if not isinstance(name, str):
            raise SpecError("expected the path of a config.json", ("config",))
        path = folder / name
        name = path.parent.name if path.name == "config.json" else path.stem
    elif "model_type" in data:
        return msgspec.to_builtins(huggingface.from_config(data, str(data.get("name", "model"))))
    else:
        return data
    config = _under(("config",), lambda: huggingface.load_config(path))
    widths = {key: data.pop(key) for key in _WIDTHS if key in data}
    known = set(config) | _COMMON_KEYS
    for key in data:
        if key not in known:
            raise SpecError(f"unknown key {key!r}{_meant(key, known | set(_WIDTHS))}", (key,))
    model = msgspec.to_builtins(huggingface.from_config({**config, **data}, str(name)))
    if "weight_bytes" in widths:
        widths.setdefault("attention_weight_bytes", widths["weight_bytes"])
    return {**model, **widths}


#: Keys beside a preset or config that change the bytes per element, whatever the config says.
_WIDTHS = ("weight_bytes", "attention_weight_bytes", "activation_bytes", "kv_cache_bytes")
#: Keys that any config may be given, even if it leaves them to their defaults.
_COMMON_KEYS = frozenset(
    "hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim vocab_size tie_word_embeddings "
    "sliding_window torch_dtype dtype quantization_config num_experts_per_tok".split()
)


def convert(data: Any, kind: type[SpecT]) -> SpecT:
    """Validate plain data as `kind`: units parsed, unknown keys and ill-typed values reported with their path (`SpecError`)."""
    prepared = _prepare(data, msgspec.inspect.type_info(kind), ())
    try:
        return msgspec.convert(prepared, kind)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        path = tuple(int(p[1:-1]) if p[0] == "[" else p[1:] for p in re.findall(r"\.\w+|\[\d+\]", where))
        raise SpecError(_plain(message, _value(prepared, path)), path) from None


def _value(data: Any, path: Path_) -> Any:
    for key in path:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _plain(message: str, value: Any) -> str:
    """msgspec's sentence in the words of the specification, with the offending value."""
    message = message[:1].lower() + message[1:]
    message = message.replace("`", "").replace("object missing required field", "missing key").replace("expected float", "expected a number")
    if isinstance(value, dict) or "missing key" in message or value is None:
        return message
    return message if "got " in message else f"{message}, got {value!r}"


def _prepare(data: Any, info: msgspec.inspect.Type, path: Path_) -> Any:
    """Parse quantities and check keys, following the type; values that do not fit are left for msgspec to report."""
    unit = None
    while isinstance(info, msgspec.inspect.Metadata):
        unit = (info.extra or {}).get("unit", unit)
        info = info.type
    if isinstance(info, msgspec.inspect.UnionType):
        return _prepare_union(data, info, path)
    if isinstance(info, msgspec.inspect.StructType) and isinstance(data, dict):
        return _prepare_struct(data, info, path)
    if isinstance(info, msgspec.inspect.VarTupleType) and isinstance(data, list):
        return [_prepare(item, info.item_type, (*path, i)) for i, item in enumerate(data)]
    if unit is not None:
        try:
            return units.parse(data, unit)
        except ValueError as error:
            raise SpecError(str(error), path) from None
    if isinstance(info, msgspec.inspect.FloatType) and isinstance(data, str):
        data = _number(data)
    if isinstance(info, msgspec.inspect.IntType) and isinstance(data, str) and isinstance(_number(data), float):
        data = _number(data)
    if isinstance(info, msgspec.inspect.IntType) and isinstance(data, float) and data.is_integer() and abs(data) < 2**53:
        data = int(data)
    if isinstance(data, int) and not isinstance(data, bool) and abs(data) >= 2**53:
        raise SpecError(f"{data} is too large; use a number below 2^53", path)
    if isinstance(data, float) and not math.isfinite(data):
        raise SpecError(f"expected a finite number, got {data}", path)
    return data


def _number(text: str) -> float | str:
    """YAML 1.1 reads ``1e9`` as text; it is a number here."""
    try:
        return float(text)
    except ValueError:
        return text


def _prepare_union(data: Any, info: msgspec.inspect.UnionType, path: Path_) -> Any:
    options = [t for t in info.types if not isinstance(t, msgspec.inspect.NoneType)]
    if data is None and len(options) < len(info.types):
        return None
    if len(options) == 1:
        return _prepare(data, options[0], path)
    structs = [t for t in options if isinstance(t, msgspec.inspect.StructType)]
    if not structs:
        return data
    tags = {str(t.tag): t for t in structs}
    if not isinstance(data, dict) or "kind" not in data:
        raise SpecError(f"expected a mapping with kind: {' | '.join(tags)}", path)
    kind = data["kind"]
    if kind not in tags:
        raise SpecError(f"unknown kind {kind!r}{_meant(str(kind), tags) or '; use ' + ', '.join(tags)}", (*path, "kind"))
    return {"kind": kind, **_prepare_struct({k: v for k, v in data.items() if k != "kind"}, tags[kind], path)}


def _prepare_struct(data: dict[str, Any], info: msgspec.inspect.StructType, path: Path_) -> dict[str, Any]:
    fields = {f.name: f for f in info.fields}
    for key in data:
        if key not in fields:
            hint = _meant(key, fields) or f"; known: {', '.join(fields)}"
            raise SpecError(f"unknown key {key!r}{hint}", (*path, key))
    for name, field in fields.items():
        if field.required and name not in data:
            raise SpecError(f"missing key {name!r}", path)
    return {key: _prepare(value, fields[key].type, (*path, key)) for key, value in data.items()}


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


class _WorkloadFile(Spec):
    workload: Workload
    seed: NonNegativeInt = 0


def load_workload(source: str | Path) -> tuple[Workload, int]:
    """(workload, seed) of a file with just these two keys, as `trace generate` takes it; `SpecError` as for `load`."""
    document = Document.read(Path(source))
    with locate(document):
        file = convert(document.data, _WorkloadFile)
        return _resolved(file.workload, Path(source).resolve().parent), file.seed
