"""A11: see `benchmarks.paper.versus`."""

from pathlib import Path

from . import versus as METHOD
from .outcome import Outcome
from .versus import run_as


def run(file: Path, data: Path | None = None) -> Outcome:
    """Evaluate the experiment `file`; `data` is a folder of measured kernels instead of the file's."""
    return run_as("A11", file, data)
