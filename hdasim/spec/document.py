"""YAML documents that remember where each key stands, so that an error can name file and line.

They are built from libyaml's events, not from its nodes: composing nodes recurses in C, which crashes on deep nesting, and an
alias there stands for all it expands to. Here depth and number of values are limited, and each use of an alias counts with all
its values.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import yaml

from ..errors import SpecError

Path_ = tuple[str | int, ...]
_MAX_BYTES = 1 << 20
_MAX_DEPTH = 40
_MAX_VALUES = 50_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_TAGS = {"!", *(_TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map"))}


class Document:
    """Plain data (dicts, lists, scalars) and the place, "file:line", of every path in it."""

    def __init__(self, data: dict[str, Any], places: dict[Path_, str], source: str):
        self.data, self.places, self.source = data, places, source

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML or JSON mapping; `SpecError` names file and line if that fails."""
        try:
            with open(path, "rb") as file:
                raw = file.read(_MAX_BYTES + 1)
            text = raw[:_MAX_BYTES].decode("utf-8-sig") if len(raw) <= _MAX_BYTES else ""
        except (OSError, ValueError) as error:
            raise SpecError(f"cannot read: {_reason(error)}", place=str(path)) from None
        if len(raw) > _MAX_BYTES:
            raise SpecError(f"larger than {_MAX_BYTES >> 20} MiB; give a specification in YAML", place=str(path))
        data, places = parse(text, lambda line: f"{path}:{line}")
        if not isinstance(data, dict):
            got = "an empty file" if data is None else "a list" if isinstance(data, list) else f"{str(data)[:40]!r}"
            raise SpecError(f"expected a mapping of keys such as device, model, workload; got {got}", place=f"{path}:1")
        return cls(data, places, str(path))

    def place(self, path: Path_) -> str:
        """Where `path`, or the nearest of its parents, stands."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.source)

    def sub(self, *path: str) -> "Document":
        """The document below `path`, which must be a mapping."""
        data: Any = self.data
        for key in path:
            data = data[key]
        places = {p[len(path) :]: place for p, place in self.places.items() if p[: len(path)] == path}
        return Document(data, places, self.place(path))

    def put(self, path: Path_, other: "Document") -> None:
        """Merge `other` below `path`; what this document already says there wins."""
        target: Any = self.data
        for key in path:
            target = target[key]
        _merge(target, other.data)
        for p, place in other.places.items():
            self.places.setdefault(path + p, place)

    def set(self, path: Path_, value: Any, place: str) -> None:
        """Replace what stands at `path` by `value`, which comes from `place`; mappings on the way are made."""
        target: Any = self.data
        path = tuple(path)
        for i, step in enumerate(path):
            last = i == len(path) - 1
            if isinstance(target, list):
                if not str(step).isdecimal() or int(step) >= len(target):
                    raise SpecError(f"expected an index from 0 to {len(target) - 1}, got {str(step)[:40]!r}", path[:i], place)
                step = int(step)
                path = (*path[:i], step, *path[i + 1 :])
            elif not last and not isinstance(target.get(step), dict | list):
                target[step] = {}
            if last:
                target[step] = value
            else:
                target = target[step]
        self.places = {p: at for p, at in self.places.items() if p[: len(path)] != path}
        self.places[path] = place

    def rename(self, path: Path_, key: str) -> None:
        """Call the value at `path`, if there is one, `key`; `SpecError` if both are there."""
        target: Any = self.data
        for step in path[:-1]:
            target = target.get(step) if isinstance(target, dict) else None
        if not isinstance(target, dict) or path[-1] not in target:
            return
        new = (*path[:-1], key)
        if key in target:
            raise SpecError(f"the same as {key}; keep one", path)
        target[key] = target.pop(path[-1])
        self.places |= {new + p[len(path) :]: at for p, at in self.places.items() if p[: len(path)] == path}

    def clear(self, path: Path_) -> None:
        """Empty the mapping at `path`, if there is one."""
        target: Any = self.data
        for key in path:
            target = target.get(key) if isinstance(target, dict) else None
        if isinstance(target, dict):
            target.clear()
            self.places = {p: at for p, at in self.places.items() if p[: len(path)] != path or p == path}


def parse(text: str, where: Callable[[int], str]) -> tuple[Any, dict[Path_, str]]:
    """Plain data of one YAML document (None if empty) and the place of each path in it; `where` makes one of a line number."""
    builder = _Builder(text, where)
    try:
        return builder.document(), builder.places
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or ""
        start = "cannot start any token" in what
        remedy = "; indent with spaces, not tabs" if start else "; check brackets, quotes and indentation"
        raise SpecError(f"not valid YAML: {what}{remedy}", place=where(mark.line + 1 if mark else 1)) from None
    except yaml.YAMLError as error:  # characters that YAML does not allow
        raise SpecError(f"not valid YAML: {str(error).splitlines()[0]}; give a text file", place=where(1)) from None


class _Builder:
    """One pass over the events of a text."""

    def __init__(self, text: str, where: Callable[[int], str]):
        self.events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self.where = where
        self.places: dict[Path_, str] = {}
        self.anchors: dict[str, Any] = {}
        self.count = 0
        self.resolver = yaml.resolver.Resolver()
        self.constructor = yaml.constructor.SafeConstructor()

    def document(self) -> Any:
        next(self.events)  # start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return None
        data = self._value(next(self.events), ())
        next(self.events)  # end of the document
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise SpecError("a second YAML document starts here; keep one to a file", place=self._at(event))
        return data

    def _at(self, event: Any) -> str:
        return self.where(event.start_mark.line + 1)

    def _counted(self, event: Any, depth: int) -> None:
        self.count += 1
        if depth > _MAX_DEPTH:
            raise SpecError(f"nested more than {_MAX_DEPTH} levels deep; a specification has about five", place=self._at(event))
        if self.count > _MAX_VALUES:
            message = f"more than {_MAX_VALUES:,} values, aliases written out; a specification has some hundred"
            raise SpecError(message, place=self._at(event))

    def _value(self, event: Any, path: Path_) -> Any:
        self._counted(event, len(path))
        self.places.setdefault(path, self._at(event))
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise SpecError(f"alias *{event.anchor} stands before or inside its anchor; write it out", place=self._at(event))
            return self._copy(self.anchors[event.anchor], event, len(path))
        if event.tag is not None and event.tag not in _TAGS:
            raise SpecError(f"tag {event.tag[:40]} is not understood; leave it out", path, self._at(event))
        if isinstance(event, yaml.MappingStartEvent):
            data: Any = self._mapping(path)
        elif isinstance(event, yaml.SequenceStartEvent):
            data = []
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                data.append(self._value(item, (*path, len(data))))
        else:
            data = self._scalar(event, path)
        if event.anchor is not None:
            self.anchors[event.anchor] = data
        return data

    def _mapping(self, path: Path_) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise SpecError("a key must be plain text", path, self._at(event))
            key = event.value
            if key in data:
                raise SpecError("this key appears twice; keep one", (*path, key), self._at(event))
            self.places[(*path, key)] = self._at(event)
            data[key] = self._value(next(self.events), (*path, key))
        return data

    def _scalar(self, event: Any, path: Path_) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self.resolver.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        if tag.removeprefix(_TAG) not in ("null", "bool", "int", "float"):
            return str(event.value)  # also dates and the like
        try:
            return self.constructor.construct_object(yaml.ScalarNode(tag, event.value))
        except (ValueError, KeyError):  # thousands of digits, or a value that its tag does not fit
            raise SpecError(f"{event.value[:20]!r} is not a number that can be read", path, self._at(event)) from None

    def _copy(self, data: Any, event: Any, depth: int) -> Any:
        self._counted(event, depth)
        if isinstance(data, dict):
            return {key: self._copy(value, event, depth + 1) for key, value in data.items()}
        if isinstance(data, list):
            return [self._copy(value, event, depth + 1) for value in data]
        return data


def _merge(over: dict[str, Any], base: dict[str, Any]) -> None:
    for key, value in base.items():
        if key not in over:
            over[key] = value
        elif isinstance(over[key], dict) and isinstance(value, dict):
            kinds = over[key].get("kind"), value.get("kind")
            if None in kinds or kinds[0] == kinds[1]:
                _merge(over[key], value)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "this is a directory; give a file"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text; give a specification in YAML"
    return getattr(error, "strerror", None) or str(error)
