"""A small search, and a loop without workers or store."""

import importlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from hdasim.search.ador.method import search
from hdasim.search.loop import canonical
from hdasim.spec.search import load_search
from hdasim.spec.search_ador import AdorSearch

#: The shipped search for LLaMA3-8B with few chips and little traffic.
SMALL = (
    "space.sides=[96, 128]", "space.core_counts=[8, 16]", "space.local_memories=[512 KiB, 1 MiB]", "workload.num_prompts=150",
    "targets.request_throughput=5", "constraints.max_link_width=512", "finalists=2", "max_factor=4",
)  # fmt: skip
Overrides = tuple[str, ...]


def load(*overrides: str, name: str = "ador-llama3-8b-chat") -> AdorSearch:
    """The shipped search with overrides."""
    _, spec, _ = load_search(name, overrides)
    assert isinstance(spec, AdorSearch)
    return spec


def drive(spec: AdorSearch, log: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Run the method to its end; every record goes through JSON text, and no task is evaluated twice."""
    method, known = search(spec, log), {}
    try:
        batch = next(method)
        while True:
            for task in batch:
                key = canonical([task.evaluator, task.spec])
                if key not in known:
                    module, _, name = task.evaluator.partition(":")
                    evaluate = getattr(importlib.import_module(module), name)
                    known[key] = canonical(evaluate(json.loads(canonical(task.spec))))
            batch = method.send([json.loads(known[canonical([t.evaluator, t.spec])]) for t in batch])
    except StopIteration as end:
        document: dict[str, Any] = json.loads(canonical(end.value))
        return document


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    """The document of the small search."""
    return drive(load(*SMALL))
