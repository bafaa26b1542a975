"""Search files: YAML whose key `method` says which search it is, and so which other keys it has."""

import hashlib
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ..errors import SpecError
from .base import Spec
from .convert import meant, shown
from .document import Document
from .experiment import Experiment
from .load import Override, build, find, locate
from .workload import TraceArrival, Workload

#: The specification of each method that ships.
METHODS = {"ador": "hdasim.spec.search_ador:AdorSearch"}


def load_search(source: str | Path, overrides: Iterable[Override] = ()) -> tuple[str, Any, Document]:
    """(method, specification, document) of the search in file `source`, or of the shipped search of that name.

    `method` is one of `METHODS`, or the ``module:Class`` of a user's own, where the class is a `Spec` and the module does the
    rest (`hdasim.search.loop`). Paths are made absolute, so that workers in other directories find them.

    Raises
    ------
    SpecError
        One line: place (file:line or the override), key, what is wrong, what would be right.
    """
    path, folder = find(source, "searches", "search")
    document = Document.read(path)
    with locate(document):
        method = _method(document)
        kind = search_class(method)
        del document.data["method"]
        spec = build(document, kind, folder, overrides)
        return method, _absolute(spec), document


def _method(document: Document) -> str:
    known = " or ".join(METHODS)
    if "method" not in document.data:
        experiment = "device" in document.data and not {*document.data} - {*Experiment.__struct_fields__}
        hint = "; this is an experiment, for hdasim run" if experiment else ""
        raise SpecError(f"missing key 'method'; add method: {known}{hint}", place=f"{document.source}:1")
    method = document.data["method"]
    if not isinstance(method, str) or (method not in METHODS and ":" not in method):
        hint = meant(str(method), METHODS)
        raise SpecError(f"unknown {shown(method)}{hint}; use {known}, or MODULE:CLASS of your own", ("method",))
    return method


def search_class(method: str) -> type[Spec]:
    """The specification of a method; one that does not ship may lie in the working directory."""
    module, _, name = METHODS.get(method, method).partition(":")
    here = os.getcwd()
    if method not in METHODS and here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        if method in METHODS:
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise SpecError(f"cannot load {method}: {reason}; it must lie in {here} or on PYTHONPATH", ("method",)) from error
    if not isinstance(found, type) or not issubclass(found, Spec):
        raise SpecError(f"{method} is no class made from hdasim.spec.base.Spec", ("method",))
    return found


def _absolute(spec: Any) -> Any:
    workload = getattr(spec, "workload", None)
    if not isinstance(workload, Workload) or not isinstance(workload.arrival, TraceArrival):
        return spec
    arrival = msgspec.structs.replace(workload.arrival, path=os.path.abspath(workload.arrival.path))
    return msgspec.structs.replace(spec, workload=msgspec.structs.replace(workload, arrival=arrival))


def document_of(method: str, spec: Any) -> dict[str, Any]:
    """The search in full, without presets, as plain data that `load_search` understands."""
    data: dict[str, Any] = msgspec.to_builtins(spec)
    return {"method": method, **{key: value for key, value in data.items() if key != "method"}}


def expanded_search(method: str, spec: Any) -> str:
    """That as YAML text."""
    return yaml.safe_dump(document_of(method, spec), sort_keys=False, allow_unicode=True, width=120)


def file_digests(spec: Any) -> dict[str, str]:
    """SHA-256 of each file that a search names, as results depend on their content."""
    workload = getattr(spec, "workload", None)
    if not isinstance(workload, Workload) or not isinstance(workload.arrival, TraceArrival):
        return {}
    path = workload.arrival.path
    try:
        return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}", ("workload", "arrival", "path")) from None
