"""Imports go down only: a module stands on a floor and imports from lower ones, or its own package. Nothing heavy is imported."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "hdasim"
FLOORS = {
    "units": 0, "errors": 0, "statistics": 0,
    "spec": 1, "core": 1,
    "compiler": 2, "text": 2,
    "sheet": 3,
    "noc": 4, "cost": 4,
    "device": 5,
    "profile": 6,
    "serving": 7,
    "metrics": 8,
    "simulate": 9,
    "report": 10,
    "scalesim": 11,
    "predict": 12,
    "search": 12,
    "validate": 13,
    "cli_parts": 14,
    "cli_capacity": 15,
    "cli_compare": 15,
    "cli_cost": 15,
    "cli_search": 15,
    "cli_trace": 15,
    "cli": 16,
    "__main__": 17,
}  # fmt: skip
HEAVY = {"torch", "ray", "pandas", "plotly", "scalesim"}
#: Modules that may import a heavy package, which is then an optional extra.
HEAVY_IN: dict[str, set[str]] = {"validate": {"scalesim"}, "search": {"ray"}}
FILES = sorted([*ROOT.rglob("*.py"), *ROOT.rglob("*.pyi")])


def imports(file: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, dotted path) of every import in `file`, also of those in functions; relative ones are made absolute.

    Of ``from a import b`` the path is a.b, which covers b being a module; a name in a module stands on that module's floor.
    """
    here = ("hdasim", *file.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, tuple(alias.name.split("."))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((node.lineno, (*base, alias.name)) for alias in node.names)


def part(path: tuple[str, ...]) -> str:
    """The part of hdasim, a module or a package, to which a dotted path belongs; "" for the root itself and its names."""
    return path[1] if len(path) > 1 and path[1] in FLOORS else ""


def problems(file: Path) -> Iterator[str]:
    name = file.relative_to(ROOT.parent).as_posix()
    mine = part(("hdasim", *file.relative_to(ROOT).with_suffix("").parts))
    for line, path in imports(file):
        if path[0] in HEAVY and path[0] not in HEAVY_IN.get(mine, set()):
            yield f"{name}:{line}: imports {path[0]}, which is heavy"
        other = part(path)
        if path[0] == "hdasim" and other and other != mine and mine and FLOORS[other] >= FLOORS[mine]:
            yield f"{name}:{line}: {mine} (floor {FLOORS[mine]}) imports {other} (floor {FLOORS[other]})"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_go_down(file: Path) -> None:
    assert list(problems(file)) == []


def test_every_module_stands_on_a_floor() -> None:
    parts = {file.relative_to(ROOT).with_suffix("").parts[0] for file in FILES} - {"__init__"}
    assert parts <= set(FLOORS)


def test_an_upward_import_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path / "hdasim")
    (tmp_path / "hdasim" / "spec").mkdir(parents=True)
    file = tmp_path / "hdasim" / "spec" / "a.py"
    file.write_text(
        "from ..simulate import step\nfrom .. import cli\nimport hdasim.core._core\nimport torch.nn\n"
        "from ..errors import SpecError\nfrom .b import c\ndef f():\n    from pandas import DataFrame\n",
        encoding="utf-8",
    )
    assert sorted(problems(file)) == [
        f"hdasim/spec/a.py:1: spec (floor 1) imports simulate (floor {FLOORS['simulate']})",
        f"hdasim/spec/a.py:2: spec (floor 1) imports cli (floor {FLOORS['cli']})",
        "hdasim/spec/a.py:3: spec (floor 1) imports core (floor 1)",
        "hdasim/spec/a.py:4: imports torch, which is heavy",
        "hdasim/spec/a.py:8: imports pandas, which is heavy",
    ]
