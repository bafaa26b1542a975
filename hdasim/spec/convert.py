"""Plain data -> specification types: units, keys, types and ranges, each complaint with its path and a remedy.

msgspec would check most of this, but in its own words and without a suggestion, so the walk over the types is ours; msgspec
builds the objects and runs the rules across keys (`__post_init__`).
"""

import difflib
import math
import operator
import re
import reprlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from .. import units
from ..errors import SpecError
from .base import Spec
from .document import Path_
from .gpu import Gpu
from .hardware import Device

SpecT = TypeVar("SpecT", bound=Spec)


def convert(data: Any, kind: type[SpecT]) -> SpecT:
    """Validate plain data as `kind`: units parsed, unknown keys and ill-typed values reported with their path (`SpecError`)."""
    prepared = _prepare(data, msgspec.inspect.type_info(kind), ())
    try:
        return msgspec.convert(prepared, kind)
    except msgspec.ValidationError as error:  # a rule across keys; "key: what is wrong" names the one to change
        message, _, where = str(error).partition(" - at `$")
        path: Path_ = tuple(int(p[1:-1]) if p[0] == "[" else p[1:] for p in re.findall(r"\.\w+|\[\d+\]", where))
        if match := re.match(r"(\w+): ", message):
            path, message = (*path, match[1]), message[match.end() :]
        raise SpecError(message[:1].lower() + message[1:], path) from None


#: What a value of each type is called.
_WORDS: dict[type, tuple[str, tuple[type, ...]]] = {
    msgspec.inspect.IntType: ("a whole number", (int,)),
    msgspec.inspect.FloatType: ("a number", (int, float)),
    msgspec.inspect.BoolType: ("true or false", (bool,)),
    msgspec.inspect.StrType: ("text", (str,)),
    msgspec.inspect.StructType: ("a mapping of keys", (dict,)),
    msgspec.inspect.VarTupleType: ("a list", (list, tuple)),
    msgspec.inspect.TupleType: ("a list", (list, tuple)),
}


def _prepare(data: Any, info: msgspec.inspect.Type, path: Path_) -> Any:
    """Parse quantities and check keys, types and ranges, following the type."""
    unit = None
    while isinstance(info, msgspec.inspect.Metadata):
        unit = (info.extra or {}).get("unit", unit)
        info = info.type
    if isinstance(info, msgspec.inspect.UnionType):
        return _prepare_union(data, info, path)
    if isinstance(info, msgspec.inspect.LiteralType):
        if data not in info.values:
            remedy = f"{meant(str(data), info.values)}; use {' or '.join(map(str, info.values))}"
            raise SpecError(f"unknown {shown(data)}{remedy}", path)
        return data
    if unit is not None:
        try:
            quantity = units.parse(data, unit)
        except ValueError as error:
            raise SpecError(str(error), path) from None
        _check_range(quantity, data, info, unit, path)
        return quantity
    value = _numeric(data, info, path)
    word, accepted = _WORDS[type(info)]
    if type(value) not in accepted:
        raise SpecError(f"expected {word}, got {shown(data)}{_wrong_type_hint(data, info)}", path)
    _check_range(value, data, info, "", path)
    if isinstance(info, msgspec.inspect.StructType):
        return _prepare_struct(value, info, path)
    if isinstance(info, msgspec.inspect.VarTupleType):
        return [_prepare(item, info.item_type, (*path, i)) for i, item in enumerate(value)]
    if isinstance(info, msgspec.inspect.TupleType):
        if len(value) != len(info.item_types):
            raise SpecError(f"expected a list of {len(info.item_types)} values, got {len(value)}", path)
        return [_prepare(item, kind, (*path, i)) for i, (item, kind) in enumerate(zip(value, info.item_types, strict=True))]
    return value


def _numeric(data: Any, info: msgspec.inspect.Type, path: Path_) -> Any:
    """Numbers that YAML 1.1 reads as text (``1e9``) and whole floats for integers, as numbers; other data as it is."""
    if isinstance(info, (msgspec.inspect.IntType, msgspec.inspect.FloatType)) and isinstance(data, str) and len(data) < 100:
        try:
            data = float(data)
        except ValueError:
            return data
    if isinstance(data, float):
        if not math.isfinite(data):
            raise SpecError(f"expected a finite number, got {data}", path)
        if isinstance(info, msgspec.inspect.IntType) and data.is_integer():
            return int(data)
    return data


def _check_range(value: Any, given: Any, info: Any, unit: str, path: Path_) -> None:
    for name, holds, words in _BOUNDS:
        bound = getattr(info, name, None)
        if bound is not None and not holds(value, bound):
            limit = units.show(bound, unit) if unit else str(bound) if isinstance(bound, int) else f"{bound:.15g}"
            raise SpecError(f"must be {words} {limit}, got {shown(given)}", path)
    least, most = getattr(info, "min_length", None), getattr(info, "max_length", None)
    if (least is not None and len(value) < least) or (most is not None and len(value) > most):
        wanted = f"from {least or 0} to {most}" if most is not None else f"at least {least}"
        what = "characters" if isinstance(value, str) else "entries"
        raise SpecError(f"must have {wanted} {what}, got {len(value)}", path)


_BOUNDS: tuple[tuple[str, Callable[[Any, Any], bool], str], ...] = (
    ("gt", operator.gt, "greater than"),
    ("ge", operator.ge, "at least"),
    ("lt", operator.lt, "less than"),
    ("le", operator.le, "at most"),
)


def shown(value: Any) -> str:
    """A value for an error message: short, in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, (list, tuple)) else reprlib.repr(value)


def _wrong_type_hint(data: Any, info: msgspec.inspect.Type) -> str:
    if isinstance(info, msgspec.inspect.StructType):
        if info.cls is Device and isinstance(data, str):
            return f"; for a preset write device: {{preset: {data[:40]}}}"
        if info.cls is Gpu and isinstance(data, str):
            return f"; for the constants of a generation write gpu: {{preset: {data[:40]}}}"
        return f"; its keys are {', '.join(field.name for field in info.fields)}"
    return "; put it in quotes" if isinstance(info, msgspec.inspect.StrType) and not isinstance(data, (dict, list)) else ""


def _prepare_union(data: Any, info: msgspec.inspect.UnionType, path: Path_) -> Any:
    options = [t for t in info.types if not isinstance(t, msgspec.inspect.NoneType)]
    if data is None and len(options) < len(info.types):
        return None
    if len(options) == 1:
        return _prepare(data, options[0], path)
    mappings = [t for t in options if isinstance(t, msgspec.inspect.StructType)]
    if len(options) == 2 and len(mappings) == 1:  # a value, or a mapping that says more
        plain = next(t for t in options if t is not mappings[0])
        return _prepare(data, mappings[0] if isinstance(data, dict) else plain, path)
    tags = {str(t.tag): t for t in options if isinstance(t, msgspec.inspect.StructType)}
    if not isinstance(data, dict) or "kind" not in data:
        raise SpecError(f"expected a mapping with kind: {' | '.join(tags)}", path)
    kind = data["kind"]
    if kind not in tags:
        raise SpecError(f"unknown kind {shown(kind)}{meant(str(kind), tags)}; use {' or '.join(tags)}", (*path, "kind"))
    return {"kind": kind, **_prepare_struct({k: v for k, v in data.items() if k != "kind"}, tags[kind], path)}


def _prepare_struct(data: dict[str, Any], info: msgspec.inspect.StructType, path: Path_) -> dict[str, Any]:
    fields = {f.name: f for f in info.fields}
    for key in data:
        check_key(key, {**fields, "preset": None} if info.cls in (Device, Gpu) else fields, path)
    for name, field in fields.items():
        if field.required and name not in data:
            constants = info.cls is Gpu and name != "shared_memory"
            remedy = "preset: hopper, or another generation that has it" if constants else f"{name}: {_example(name, field.type)}"
            raise SpecError(f"missing key {name!r}; add {remedy}", path)
    return {key: _prepare(value, fields[key].type, (*path, key)) for key, value in data.items()}


_EXAMPLES = {"device": "{preset: ador}", "model": "{preset: llama3-8b}", "arrival": "{kind: poisson, request_rate: 10}",
             "workload": "{arrival: {kind: trace, path: FILE}}", "rates": "[[0, 2], [600, 10]]",
             "dram": "{capacity: 80 GB, bandwidth: 2 TB/s}", "shared_memory": "228 KiB"}  # fmt: skip


def _example(name: str, info: msgspec.inspect.Type) -> str:
    """What one would write for a missing key."""
    if name not in _EXAMPLES and isinstance(info, msgspec.inspect.Metadata) and "unit" in (info.extra or {}):
        return units.example((info.extra or {})["unit"])
    return _EXAMPLES.get(name, "...")


def check_key(key: str, known: Iterable[str], path: Path_) -> None:
    names = list(known)
    if key not in names:
        hint = meant(key, names) or f"; known: {', '.join(sorted(names) if len(names) > 20 else names)}"
        raise SpecError(f"unknown key {reprlib.repr(key)}{hint}", (*path, key))


def meant(word: str, known: Iterable[Any]) -> str:
    near = difflib.get_close_matches(word[:60], [str(name) for name in known], n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
