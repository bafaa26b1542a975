"""What the search loop costs beside the evaluations: tasks per second whose evaluator does nothing.

Each task is recorded in SQLite before the next batch. Starting workers is not counted; that of Ray takes seconds.
"""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from hdasim.search.loop import Method, Task, search
from hdasim.search.runners import runner
from hdasim.search.store import Store

RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (pip install 'hdasim[ray]')")


def nothing(spec: dict[str, Any]) -> dict[str, Any]:
    """An evaluation of no cost."""
    return {"n": spec["n"]}


@pytest.mark.parametrize(
    ("name", "workers"), [("local", 1), ("local", 2), pytest.param("ray", 2, marks=[RAY, pytest.mark.filterwarnings("ignore")])]
)
def test_tasks(benchmark: Any, tmp_path: Path, name: str, workers: int) -> None:
    numbers = iter(range(10**9))

    def method(count: int) -> Method:
        for _ in range(count // 100):
            yield [Task("benchmarks.bench_search:nothing", {"n": next(numbers)}) for _ in range(100)]
        return {}

    with Store(tmp_path, {}, resume=False) as store, runner(name, workers) as where:
        search(method(100), store, where)  # workers start
        benchmark.pedantic(lambda: search(method(2000), store, where), rounds=3)
    benchmark.extra_info.update(work=2000, unit="tasks")
