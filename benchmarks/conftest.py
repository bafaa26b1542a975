"""Prints work per second beside pytest-benchmark's table: a benchmark sets `benchmark.extra_info["work"]` and `["unit"]`."""

from typing import Any

import pytest

from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    """LLaMA3-8B on one ADOR chip under the shipped conversation-like trace."""
    return load("ador-llama3-8b")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    rows = [b for b in getattr(session, "benchmarks", []) if "work" in b.extra_info and not b.has_error]
    if rows:
        terminalreporter.write_sep("-", "work per second (best round)")
    for b in rows:
        rate = b.extra_info["work"] / b.stats.min
        terminalreporter.write_line(f"{b.name:50} {rate:16,.0f} {b.extra_info['unit']}/s")
        if "times" in b.extra_info:
            terminalreporter.write_line(f"{'':50} {b.extra_info['times']:16,.0f} times less ({b.extra_info['ratio']})")
