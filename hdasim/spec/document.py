"""YAML documents that remember where each key stands, so that an error can name file and line."""

from pathlib import Path
from typing import Any, Self

import yaml

from ..errors import SpecError

Path_ = tuple[str | int, ...]
_MAX_BYTES = 16 << 20


class Document:
    """Plain data (dicts, lists, scalars) and the place, "file:line", of every path in it."""

    def __init__(self, data: dict[str, Any], places: dict[Path_, str], source: str):
        self.data, self.places, self.source = data, places, source

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML or JSON mapping; `SpecError` names file and line if that fails."""
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise SpecError(f"larger than {_MAX_BYTES >> 20} MiB; this is not a specification", place=str(path))
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"cannot read: {_reason(error)}", place=str(path)) from None
        places: dict[Path_, str] = {}
        loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
        try:
            node = yaml.compose(text, Loader=loader)
            data = _build(node, (), str(path), places) if node is not None else None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise SpecError(f"not valid YAML: {error.problem or error.context}", place=f"{path}{line}") from None
        except (yaml.YAMLError, ValueError) as error:
            raise SpecError(f"not valid YAML: {str(error).splitlines()[0]}", place=str(path)) from None
        except RecursionError:
            raise SpecError("nested too deeply; a specification has five levels", place=str(path)) from None
        if not isinstance(data, dict):
            raise SpecError(f"expected a mapping of keys such as device, model, workload; got {_kind(data)}", place=f"{path}:1")
        return cls(data, places, str(path))

    def place(self, path: Path_) -> str:
        """Where `path`, or the nearest of its parents, stands."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.source)

    def sub(self, *path: str | int) -> "Document":
        """The document below `path`, which must be a mapping."""
        data: Any = self.data
        for key in path:
            data = data[key]
        places = {p[len(path) :]: place for p, place in self.places.items() if p[: len(path)] == path}
        return Document(data, places, self.place(path))

    def put(self, path: Path_, other: "Document") -> None:
        """Merge `other` below `path`; what this document already says there wins."""
        target = self.data
        for key in path:
            target = target[key]
        _merge(target, other.data)
        for p, place in other.places.items():
            self.places.setdefault(path + p, place)


def _merge(over: dict[str, Any], base: dict[str, Any]) -> None:
    for key, value in base.items():
        if key not in over:
            over[key] = value
        elif isinstance(over[key], dict) and isinstance(value, dict):
            kinds = over[key].get("kind"), value.get("kind")
            if kinds[0] is None or kinds[0] == kinds[1]:
                _merge(over[key], value)


def _build(node: yaml.Node, path: Path_, file: str, places: dict[Path_, str]) -> Any:
    """Turn a node into plain data. Anchors are refused where they would nest without end."""
    places.setdefault(path, f"{file}:{node.start_mark.line + 1}")
    if len(path) > 40:
        raise SpecError("nested more than 40 levels deep", place=f"{file}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = f"{file}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise SpecError("a key must be plain text", place=place)
            key = key_node.value
            if key in result:
                raise SpecError("this key appears twice; keep one", (*path, key), place)
            places[(*path, key)] = place
            result[key] = _build(value_node, (*path, key), file, places)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, i), file, places) for i, item in enumerate(node.value)]
    value: Any = yaml.constructor.SafeConstructor().construct_object(node)  # type: ignore[no-untyped-call]
    if value is not None and not isinstance(value, (str, int, float, bool)):
        return str(node.value)  # dates and the like stay text
    return value


def _kind(value: object) -> str:
    return "an empty file" if value is None else f"a {type(value).__name__}"


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "this is a directory"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return getattr(error, "strerror", None) or str(error)
