"""A search method for tests of the loop, named in files as ``method: search_toy:Toy`` with tests/ on PYTHONPATH.

It climbs down a bowl: each round draws points around the best one so far. Points lie on a grid, so some come again, within a
round and in later ones. `hdasim.search.loop` says what a method is.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from hdasim.errors import SpecError
from hdasim.search.loop import Method, Task
from hdasim.spec.base import NonNegativeInt, PositiveFloat, Seconds, Spec

Count = Annotated[int, Meta(ge=1, le=10_000)]


class Toy(Spec):
    """`fault`: what goes wrong at points with x = 0."""

    rounds: Count = 6
    points: Count = 12
    pause: Seconds = 0.0
    target: PositiveFloat = 10.0
    fault: Literal["none", "design", "bug", "nan", "exit", "interrupt"] = "none"
    seed: NonNegativeInt = 0
    name: str = "toy"


def search(spec: Toy, log: Callable[[str], None]) -> Method:
    """The lowest point found."""
    draw = np.random.default_rng(spec.seed)
    best: tuple[float, list[int]] | None = None
    for number in range(spec.rounds):
        center = [8, 8] if best is None else best[1]
        places = (np.array(center) + draw.integers(-8, 9, (spec.points, 2))).tolist()
        records = yield [Task("search_toy:evaluate", {"at": place, "pause": spec.pause, "fault": spec.fault}) for place in places]
        heights = [(record["height"], place) for record, place in zip(records, places, strict=True) if "error" not in record]
        best = min([*heights, *([best] if best else [])])
        log(f"round {number + 1}: lowest {best[0]:g} at {best[1]}")
    assert best is not None
    return {"status": "found" if best[0] <= spec.target else "none", "height": best[0], "at": best[1]}


def evaluate(spec: dict[str, Any]) -> dict[str, Any]:
    """The height at a point, after a pause of 0.5 to 1.5 times `pause`. Appends the point to the file named by TOY_SEEN."""
    x, y = spec["at"]
    if seen := os.environ.get("TOY_SEEN"):
        with open(seen, "a", encoding="utf-8") as file:
            file.write(f"{x},{y}\n")
    if x == 0:
        fault(spec["fault"])
    print("noise that belongs to nobody")
    time.sleep(spec["pause"] * (0.5 + (7 * x + 3 * y) % 11 / 10))
    return {"height": (x - 3) ** 2 / 7 + (y + 5) ** 2 / 3, "parts": {"x": x, "y": [y, y]}, "slope": None}


def fault(kind: str) -> None:
    """Go wrong."""
    if kind == "design":
        raise SpecError("x must not be 0", ("at",))
    if kind == "bug":
        raise ZeroDivisionError("a bug,\nin two lines")
    if kind == "exit":
        os._exit(3)
    if kind == "interrupt":
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            pass  # as a simulation does, which then gives what it has so far


def print_result(document: dict[str, Any], console: Any) -> None:
    """One line."""
    console.print(f"{document['name']}: lowest {document['height']:g}")


def write_files(document: dict[str, Any], folder: Path) -> None:
    """A file of the method's own."""
    (folder / "toy.txt").write_text(f"{document['height']}\n", encoding="utf-8")
