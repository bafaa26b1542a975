"""The small profile of tests/profile_files.py, in a folder of its own."""

import runpy
from pathlib import Path

import pytest

write_profile = runpy.run_path(str(Path(__file__).parents[2] / "profile_files.py"))["write_profile"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made: Path = write_profile(tmp_path / "profile" / "tp1")
    return made
