"""A11: see `benchmarks.paper.versus`."""

from pathlib import Path

from . import versus
from .outcome import Outcome
from .versus_report import run_as

#: Whose words the page shows.
METHOD = versus


def run(file: Path, data: Path | None = None) -> Outcome:
    """Evaluate the experiment `file`; `data` is a folder of measured kernels instead of the file's."""
    return run_as("A11", file, data)
