"""What an experiment returns, and how it is saved: rows that compare with the publication, points to plot, tables, figures."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from rich.table import Table

from hdasim.report.files import make_folder, to_json
from hdasim.spec.base import Spec
from hdasim.spec.convert import convert
from hdasim.spec.document import Document
from hdasim.spec.load import locate

SpecT = TypeVar("SpecT", bound=Spec)
#: What became of a published statement: ours agrees, agrees under some of the conditions, disagrees, or there is no number to compare.
Verdict = Literal["holds", "partly", "does not hold", "no figure"]


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


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the summary: what is published, what came out, the ratio of the two, and why they differ."""

    what: str
    published: str
    ours: str
    verdict: Verdict
    ratio: str = ""
    why: str = ""


def within(ratio: float | None, tolerance: float) -> Verdict:
    """"holds" if ours / published is within `tolerance` of 1."""
    return "no figure" if ratio is None else "holds" if abs(ratio - 1) <= tolerance else "does not hold"


def together(verdicts: list[Verdict]) -> Verdict:
    """One verdict for several conditions: that of all, else "partly"."""
    return verdicts[0] if len(set(verdicts)) == 1 else "partly"


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A published advantage as a product: `factors` are (name, value), of which the first is ours, the last what remains."""

    label: str
    published: float
    factors: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Figure:
    """Charts (SVG text) that belong together, their common legend (another), and a sentence below them."""

    title: str
    charts: list[str]
    legend: str = ""
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """`points` are everything that was evaluated, one flat dictionary each. `claims`, `splits` and `notes` (paragraphs: why ours
    differs, what was assumed) are for the page.
    """

    rows: list[Row]
    points: list[dict[str, Any]]
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(file: Path, kind: type[SpecT]) -> tuple[SpecT, Document]:
    """The experiment file as `kind`, and the document for `locate`; `SpecError` says file, line, key and what would be right."""
    document = Document.read(file)
    with locate(document):
        return convert(document.data, kind), document


def save(outcome: Outcome, name: str, folder: Path) -> str:
    """Write NAME.csv (points) and NAME.json (rows and points); what to tell the user."""
    make_folder(folder)
    text = io.StringIO()
    keys = list(dict.fromkeys(key for point in outcome.points for key in point))
    writer = csv.DictWriter(text, keys, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(outcome.points)
    (folder / f"{name}.csv").write_text(text.getvalue(), encoding="utf-8")
    (folder / f"{name}.json").write_text(to_json({"rows": outcome.rows, "points": outcome.points}), encoding="utf-8")
    return f"{name}.csv, {name}.json written to {folder}"
