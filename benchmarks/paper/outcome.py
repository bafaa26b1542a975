"""What an experiment returns, and how it is saved: rows that compare with the publication, points to plot, tables, a figure."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from rich.table import Table

from hdasim.report.files import make_folder, to_json
from hdasim.spec.base import Spec
from hdasim.spec.convert import convert
from hdasim.spec.document import Document
from hdasim.spec.load import locate

SpecT = TypeVar("SpecT", bound=Spec)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One published number and ours; None where one does not apply. `ratio` is ours / published."""

    experiment: str
    name: str
    baseline: str | None = None
    input_len: int | None = None
    published: float | None = None
    ours: float | None = None
    ratio: float | None = None
    conditions: str = ""


def row(experiment: str, name: str, ours: float, published: float | None = None, **more: Any) -> Row:
    """A `Row` with its ratio."""
    ratio = ours / published if published else None
    return Row(experiment=experiment, name=name, published=published, ours=ours, ratio=ratio, **more)


@dataclass(frozen=True)
class Outcome:
    """`points` are everything that was evaluated, one flat dictionary each; `figure` draws them into a file."""

    rows: list[Row]
    points: list[dict[str, Any]]
    tables: list[Table] = field(default_factory=list)
    figure: Callable[[Path], None] | None = None


def read(file: Path, kind: type[SpecT]) -> tuple[SpecT, Document]:
    """The experiment file as `kind`, and the document for `locate`; `SpecError` says file, line, key and what would be right."""
    document = Document.read(file)
    with locate(document):
        return convert(document.data, kind), document


def save(outcome: Outcome, name: str, folder: Path) -> list[str]:
    """Write NAME.csv (points), NAME.json (rows and points) and NAME.png; what to tell the user."""
    make_folder(folder)
    text = io.StringIO()
    keys = list(dict.fromkeys(key for point in outcome.points for key in point))
    writer = csv.DictWriter(text, keys, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(outcome.points)
    (folder / f"{name}.csv").write_text(text.getvalue(), encoding="utf-8")
    (folder / f"{name}.json").write_text(to_json({"rows": outcome.rows, "points": outcome.points}), encoding="utf-8")
    written = [f"{name}.csv", f"{name}.json"]
    notes = []
    if outcome.figure:
        try:
            outcome.figure(folder / f"{name}.png")
            written.append(f"{name}.png")
        except ModuleNotFoundError as error:
            if error.name != "matplotlib":
                raise
            notes.append(f"no {name}.png: matplotlib is missing; install it with: pip install 'matplotlib>=3.8'")
    return [*notes, f"{', '.join(written)} written to {folder}"]
