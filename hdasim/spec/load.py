"""From a file name or preset to a validated `Experiment`, or to an error that says where, what is wrong, what would be right."""

import os
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from ..errors import CapacityError, CoreError, SpecError, TraceError
from . import huggingface
from .base import NonNegativeInt, Spec
from .convert import SpecT, check_key, convert, meant, shown
from .document import Document, Path_, parse
from .experiment import Experiment
from .hardware import Device
from .model import Model
from .profile import Profile
from .slo import SLO
from .workload import TraceArrival, Workload

PRESETS = Path(__file__).resolve().parent.parent / "presets"
#: ``key=value``, or that with the text to blame for it in errors (``--set key=value`` if there is none).
Override = str | tuple[str, str]


def presets(kind: str) -> list[str]:
    """Names of the shipped presets of `kind`: "hardware", "generations", "models", "slo", "experiments" or "searches"."""
    return sorted(p.stem for p in (PRESETS / kind).glob("*") if p.suffix in (".yaml", ".json"))


def preset_path(kind: str, name: object) -> Path:
    """The file of a preset; `SpecError` lists near names if there is none."""
    for suffix in (".yaml", ".json"):
        path = PRESETS / kind / f"{name}{suffix}"
        if isinstance(name, str) and re.fullmatch(r"[\w.+-]+", name) and path.is_file():
            return path
    known = presets(kind)
    raise SpecError(f"unknown preset {reprlib.repr(name)}{meant(str(name), known) or '; known: ' + ', '.join(known)}")


def load(source: str | Path, overrides: Iterable[Override] = ()) -> Experiment:
    """Read the experiment in file `source`, or the shipped experiment of that name, and apply ``key=value`` overrides.

    Raises
    ------
    SpecError
        One line: place (file:line or the override), key, what is wrong, what would be right.
    """
    return open_experiment(source, overrides)[0]


def open_experiment(source: str | Path, overrides: Iterable[Override] = ()) -> tuple[Experiment, Document]:
    """Like `load`, with the document, so that later errors can be given their place by `locate`."""
    path, folder = find(source, "experiments", "experiment")
    document = Document.read(path)
    with locate(document):
        return build(document, Experiment, folder, overrides), document


def find(source: str | Path, kind: str, word: str) -> tuple[Path, Path]:
    """(file, folder to which paths in it are relative) of a file, or of the shipped preset of `kind`, a `word`, of that name."""
    path, known = Path(source), presets(kind)
    if _there(path, known) or path.name != str(source):
        return path, path.resolve().parent
    if str(source) not in known:
        hint = meant(str(source), known) or f"; shipped {kind}: {', '.join(known)}"
        if kind == "experiments" and str(source) in presets("hardware"):
            hint = f", only hardware; write device: {{preset: {source}}} in an experiment, or --set device.preset={source} to one"
        raise SpecError(f"no such file, and no shipped {word} of that name{hint}", place=str(source))
    return preset_path(kind, str(source)), _preset_root()


def _there(path: Path, known: Iterable[str]) -> bool:
    """Whether a path is meant where a preset could be: a folder that happens to have a preset's name is not."""
    return os.path.exists(path) and not (os.path.isdir(path) and str(path) in known)


@contextmanager
def locate(document: Document) -> Iterator[None]:
    """Give errors about a key the place, file:line, of that key, and errors about the trace the place of its name."""
    try:
        yield
    except (SpecError, CapacityError) as error:
        error.place = error.place or document.place(error.path)
        raise
    except CoreError as error:
        message = f"the simulator refuses these sizes ({error.message}); stay nearer to real models and hardware"
        raise CoreError(message, place=error.place or document.source) from None
    except TraceError as error:
        error.place = error.place or document.place(("workload", "arrival", "path"))
        raise


def _preset_root() -> Path:
    """The folder to which paths in shipped experiments are relative: it holds `traces`, installed or in the source tree."""
    return PRESETS if (PRESETS / "traces").is_dir() else PRESETS.parent.parent


def load_device(source: str | Path) -> Device:
    """Read a device from a file (the content of a `device:` section, or a document that has one), or a preset by name."""
    return open_device(source)[0]


def open_device(source: str | Path, overrides: Iterable[Override] = ()) -> tuple[Device, Document]:
    """Like `load_device`, with ``key=value`` overrides, whose keys may begin with ``device.``, and the document for `locate`."""
    path, known = Path(source), presets("hardware")
    if not _there(path, known) and path.name == str(source) and not path.suffix:
        if str(source) not in known:
            hint = meant(str(source), known) or f"; shipped hardware: {', '.join(known)}"
            raise SpecError(f"no such file, and no hardware preset of that name{hint}", place=str(source))
        path = preset_path("hardware", str(source))
    document = Document.read(path)
    if isinstance(document.data.get("device"), dict):
        document = document.sub("device")
    with locate(document):
        _apply_overrides(document, [(text.strip().removeprefix("device."), place) for text, place in _named(overrides)])
        _apply_device(document, ())
        return convert(document.data, Device), document


def load_model(name: str) -> Model:
    """The shipped model of that name; `SpecError` lists near names if there is none."""
    return convert(_model({"preset": name}, PRESETS), Model)


def expanded(experiment: Experiment, folder: Path) -> str:
    """The experiment in full, without presets, as YAML text for a file in `folder`, to which its paths are relative."""
    arrival = experiment.workload.arrival
    data = msgspec.to_builtins(experiment)
    if isinstance(arrival, TraceArrival) and not os.path.isabs(arrival.path):
        data["workload"]["arrival"]["path"] = os.path.relpath(arrival.path, folder)
    if experiment.profile is not None and not os.path.isabs(experiment.profile.path):
        data["profile"]["path"] = os.path.relpath(experiment.profile.path, folder)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def build(document: Document, kind: type[SpecT], folder: Path, overrides: Iterable[Override] = ()) -> SpecT:
    """A document as `kind`: overrides applied, presets of its devices, goals and model filled in, paths relative to `folder`."""
    _apply_overrides(document, _named(overrides))
    sections = {field.name: {field.type, *get_args(field.type)} for field in msgspec.structs.fields(kind)}
    for name, types in sections.items():
        if Device in types:
            _apply_device(document, (name,))
        elif SLO in types:
            document.rename((name, "tbt"), "itl")
            _apply_preset(document, (name,), "slo")
    _complete_pools(document)
    for name in [name for name, types in sections.items() if Model in types and name in document.data]:
        document.data[name] = _under((name,), lambda name=name: _model(document.data[name], folder))  # type: ignore[misc]
    spec = convert(document.data, kind)
    changes: dict[str, Any] = {}
    if isinstance(workload := getattr(spec, "workload", None), Workload):
        changes["workload"] = _resolved(workload, folder)
    if isinstance(profile := getattr(spec, "profile", None), Profile):
        changes["profile"] = msgspec.structs.replace(profile, path=_found(profile.path, folder))
    return msgspec.structs.replace(spec, **changes) if changes else spec


def _resolved(workload: Workload, folder: Path) -> Workload:
    """The workload with the path of its trace relative to the working directory; in the file it is relative to `folder`."""
    arrival = workload.arrival
    if not isinstance(arrival, TraceArrival):
        return workload
    return msgspec.structs.replace(workload, arrival=msgspec.structs.replace(arrival, path=_found(arrival.path, folder)))


def _found(name: str, folder: Path) -> str:
    """A path relative to the working directory; an absolute one stays as it is, unless it lies below that."""
    path = os.path.relpath(folder / name)
    return name if os.path.isabs(name) and path.startswith(os.pardir) else path


def _under(path: Path_, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except SpecError as error:
        raise SpecError(error.message, path + error.path, error.place) from None


def _named(overrides: Iterable[Override]) -> list[tuple[str, str]]:
    """Overrides with the text to blame."""
    return [override if isinstance(override, tuple) else (override, f"--set {override}") for override in overrides]


def _apply_overrides(document: Document, named: list[tuple[str, str]]) -> None:
    for text, place in sorted(named, key=lambda pair: not pair[0].partition("=")[0].strip().endswith("preset")):
        _override(document, text, place if len(place) <= 200 else place[:200] + "...")


def _override(document: Document, text: str, place: str) -> None:
    key, equals, value = text.partition("=")
    path: Path_ = tuple(step.strip() for step in key.split("."))
    if not equals or not all(path):
        raise SpecError("expected KEY=VALUE such as device.core_count=64", place=place)
    parsed, _ = parse(value, lambda line: place)
    if path[-1] == "preset":  # another preset replaces what the file overrides in the old one
        document.clear(path[:-1])
    document.set(path, parsed, place)


def _complete_pools(document: Document) -> None:
    """Presets of the devices of pools, and what their `serving` leaves to that of the experiment."""
    cluster = document.data.get("cluster")
    pools = cluster.get("pools") if isinstance(cluster, dict) else None
    for i, pool in enumerate(pools if isinstance(pools, list) else []):
        if not isinstance(pool, dict):
            continue
        _apply_device(document, ("cluster", "pools", i, "device"))
        serving = document.data.get("serving")
        if isinstance(pool.get("serving"), dict) and isinstance(serving, dict):
            pool["serving"] = {**serving, **pool["serving"]}


def _apply_device(document: Document, path: Path_) -> None:
    """Put presets below what the device at `path` says: of the device, and of its generation if it is a GPU."""
    _apply_preset(document, path, "hardware")
    _apply_preset(document, (*path, "gpu"), "generations")


def _apply_preset(document: Document, path: Path_, kind: str) -> None:
    """Put the preset that the section at `path` names below its other keys."""
    data: Any = document.data
    for key in path:
        data = data.get(key) if isinstance(data, dict) else data[int(key)] if isinstance(data, list) else None
    if not isinstance(data, dict) or "preset" not in data:
        return
    name = data.pop("preset")
    base = Document.read(_under((*path, "preset"), lambda: preset_path(kind, name)))
    if kind == "hardware":
        base.data.setdefault("name", name)
    document.put(path, base)


def _model(data: Any, folder: Path) -> Any:
    """Builtins of the `Model` that the section describes: a preset, a config.json, a config in place, or a model in full."""
    if not isinstance(data, dict):
        raise SpecError(f"expected {{preset: NAME}} or {{config: PATH}}, got {shown(data)}")
    data = dict(data)
    if "preset" in data and "config" in data:
        raise SpecError("give either preset or config, not both", ("config",))
    if "preset" in data:
        name = data.pop("preset")
        path = _under(("preset",), lambda: preset_path("models", name))
    elif "config" in data:
        name = data.pop("config")
        if not isinstance(name, str):
            raise SpecError(f"expected the path of a config.json, got {shown(name)}", ("config",))
        path = folder / name
        name = path.parent.name if path.name == "config.json" else path.stem
    elif "model_type" in data:
        return msgspec.to_builtins(huggingface.from_config(data, str(data.get("name", "model"))))
    else:
        for key in data:
            check_key(key, {*Model.__struct_fields__, "preset", "config", "model_type"}, ())
        if "layers" not in data:
            raise SpecError("names no model; give {preset: NAME} or {config: PATH of a Hugging Face config.json}")
        return data
    config = _under(("config",), lambda: huggingface.load_config(path))
    widths = {key: data.pop(key) for key in _WIDTHS if key in data}
    for key in data:
        check_key(key, {*config, *COMMON_KEYS, *_WIDTHS}, ())
    try:
        model = msgspec.to_builtins(huggingface.from_config({**config, **data}, str(name)))
    except SpecError as error:
        if not error.path or error.path[0] in data or path.is_relative_to(PRESETS):
            raise
        raise SpecError(f"{os.path.relpath(path)}: {'.'.join(map(str, error.path))}: {error.message}", ("config",)) from None
    if "weight_bytes" in widths:
        widths.setdefault("attention_weight_bytes", widths["weight_bytes"])
    return {**model, **widths}


#: Keys beside a preset or config that change the bytes per element, whatever the config says.
_WIDTHS = ("weight_bytes", "attention_weight_bytes", "activation_bytes", "kv_cache_bytes", "compute_type")
#: Keys that any config may be given, even if it leaves them to their defaults.
COMMON_KEYS = frozenset(
    {
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "vocab_size", "tie_word_embeddings", "sliding_window", "torch_dtype", "dtype", "quantization_config",
        "num_experts_per_tok",
    }
)  # fmt: skip


class _WorkloadFile(Spec):
    workload: Workload
    seed: NonNegativeInt = 0


def load_workload(source: str | Path) -> tuple[Workload, int]:
    """(workload, seed) of a file with just these two keys, as `trace generate` takes it; `SpecError` as for `load`."""
    document = Document.read(Path(source))
    with locate(document):
        file = convert(document.data, _WorkloadFile)
        return _resolved(file.workload, Path(source).resolve().parent), file.seed
