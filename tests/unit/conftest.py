"""Fixtures of several unit tests."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def paper() -> Iterator[Any]:
    """Imports a module of benchmarks.paper, wherever pytest was started."""
    sys.path.insert(0, str(ROOT))
    yield lambda name: importlib.import_module(f"benchmarks.paper.{name}")
    sys.path.remove(str(ROOT))
