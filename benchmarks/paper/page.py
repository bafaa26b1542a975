"""One HTML page of experiments: summary first, then figures, tables and conditions of each; without scripts or other files."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from hdasim.errors import SpecError
from hdasim.report.svg import text_of

from .bars import waterfall
from .outcome import Claim, Figure, Outcome, Split, Verdict

#: How the page looks.
_STYLE = Path(__file__).parent / "page.css"
#: Tables with more lines than this are folded away.
_LONG = 14
_MARKS: dict[Verdict, tuple[str, str]] = {
    "holds": ("yes", "\u25cf"),
    "partly": ("partly", "\u25d0"),
    "does not hold": ("no", "\u25cb"),
    "no figure": ("none", "\u2013"),
}


@dataclass(frozen=True)
class Section:
    """An experiment: `text` says what it shows, `file` is the experiment file, `method` its module's words."""

    name: str
    text: str
    outcome: Outcome
    claims: list[Claim]
    file: str
    method: str = ""


def write(sections: list[Section], path: Path) -> None:
    """Write the page of `sections` to `path`."""
    try:
        path.write_text(render(sections), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: cannot be written ({error.strerror})") from None


def render(sections: list[Section]) -> str:
    """The page as text; the same sections give the same text."""
    several = len(sections) > 1
    title = "ADOR's evaluation, run again" if several else f"{sections[0].name}: {sections[0].text}"
    body = [f"<h1>{text_of(title)}</h1>"]
    if several:
        body += [_lead(sections), _picture(sections), *_summary(sections), _contents(sections)]
    body += [_section(s, several) for s in sections]
    style = _STYLE.read_text(encoding="utf-8")
    head = f"<title>{text_of(title)}</title>\n<style>{style}</style>"
    return "\n".join([_HTML, head, "</head>", "<body><main>", *body, "</main></body>", "</html>"]) + "\n"


def _lead(sections: list[Section]) -> str:
    claims = [c for s in sections for c in s.claims]
    counts = {verdict: sum(c.verdict == verdict for c in claims) for verdict in _MARKS}
    text = (
        "Every experiment of the paper's evaluation, executed by hdasim from the files in benchmarks/paper. Of "
        f"{len(claims)} published statements {counts['holds']} come out, {counts['partly']} come out under some of the "
        f"conditions that the paper leaves open, {counts['does not hold']} do not, and {counts['no figure']} have no number to "
        "compare with. No constant of ADOR or A100 was fitted to a published ratio."
    )
    return f'<p class="lead">{text_of(text)}</p>'


def _picture(sections: list[Section]) -> str:
    splits = [split for s in sections for split in s.outcome.splits]
    headlines = [s.outcome.headline for s in sections if s.outcome.headline]
    if not splits:
        return ""
    text = (
        "Each published ratio over A100 as a product. Architecture is what hdasim finds between the two chips: ADOR against the "
        "A100 as calibrated on measured kernels (a100), or as the paper states it, with 60 % of its peak bandwidth (a100-ador). "
        "What remains up to the published ratio is the software of the paper's baseline: above 1 its A100 was slower than ours, "
        "below 1 faster. Links is what ADOR loses to exchanges between devices that its links do not hide; the paper takes them "
        "as hidden."
    )
    chart = waterfall("The published advantage over A100, taken apart", splits)
    head = f'<h2 id="picture">How much is architecture?</h2>\n<figure>{chart}</figure>'
    return f"{head}\n<p>{text_of(text)}</p>\n{_sentences(splits, headlines)}"


def _sentences(splits: list[Split], headlines: list[str]) -> str:
    """The same in words: each quantity against each baseline, and what the experiments add."""
    groups: dict[tuple[str, str], list[Split]] = {}
    for split in splits:
        groups.setdefault((split.label.partition(", input")[0], split.label.rpartition(", ")[2]), []).append(split)
    items = []
    for (quantity, against), mine in groups.items():
        parts = []
        for kind in dict.fromkeys(k for s in mine for k, _ in s.factors):
            values = [f"{v:.2f}" for s in mine for k, v in s.factors if k == kind]
            low, high = min(values, key=float), max(values, key=float)
            parts.append(f"{kind} {low if low == high else f'{low} to {high}'}")
        whole = all(abs(math.prod(v for _, v in s.factors) / s.published - 1) < 1e-9 for s in mine)
        text = f"{against}: {mine[0].published:.3g} published {'=' if whole else 'against'} {' x '.join(parts)}."
        items.append(f"<li><b>{text_of(quantity)}</b> {text_of(text)}</li>")
    items += [f"<li>{text_of(line)}</li>" for line in headlines]
    return f"<ul>{''.join(items)}</ul>"


def _summary(sections: list[Section]) -> list[str]:
    head = "".join(f"<th>{h}</th>" for h in ("", "what", "published", "ours", "ours / published", "", "why"))
    rows = []
    for s in sections:
        for i, c in enumerate(s.claims):
            link = f'<a href="#{s.name}">{s.name}</a>' if i == 0 else ""
            first = ' class="first"' if i == 0 else ""
            cells = "".join(f"<td>{text_of(v)}</td>" for v in (c.what, c.published, c.ours, c.ratio))
            rows.append(f"<tr{first}><td>{link}</td>{cells}<td>{_badge(c.verdict)}</td><td>{text_of(c.why)}</td></tr>")
    table = f'<div class="wide"><table class="summary"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    return ['<h2 id="summary">Every published number</h2>', table]


def _badge(verdict: Verdict) -> str:
    kind, mark = _MARKS[verdict]
    return f'<span class="verdict {kind}">{mark}&nbsp;{verdict.replace(" ", "&nbsp;")}</span>'


def _contents(sections: list[Section]) -> str:
    links = " ".join(f'<a href="#{s.name}" title="{text_of(s.text)}">{s.name}</a>' for s in sections)
    return f"<nav>{links}</nav>"


def _section(section: Section, several: bool) -> str:
    outcome, parts = section.outcome, []
    if several:
        parts.append(f'<h2>{section.name}</h2>\n<p class="what">{text_of(_sentence(section.text))}</p>')
    for claim in section.claims:
        why = f' <span class="why">{text_of(claim.why)}</span>' if claim.why else ""
        ratio = f", ratio {text_of(claim.ratio)}" if claim.ratio else ""
        parts.append(
            f'<p class="claim">{_badge(claim.verdict)} {text_of(claim.what)}: published <b>{text_of(claim.published)}</b>, '
            f"ours <b>{text_of(claim.ours)}</b>{ratio}.{why}</p>"
        )
    parts += [_figure(figure) for figure in outcome.figures]
    parts += [f"<p>{text_of(note)}</p>" for note in outcome.notes]
    parts += [_table(table) for table in outcome.tables]
    if section.method:
        parts.append(f"<details><summary>Method</summary>{_prose(section.method)}</details>")
    parts.append(f"<details><summary>Conditions: the experiment file</summary><pre>{text_of(section.file)}</pre></details>")
    return f'<section id="{section.name}">\n' + "\n".join(parts) + "\n</section>"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _figure(figure: Figure) -> str:
    caption = f"{figure.title}. {figure.note}" if figure.note else figure.title
    charts = "\n".join(figure.charts)
    return f'<figure>{figure.legend}<div class="charts">{charts}</div><figcaption>{text_of(caption)}</figcaption></figure>'


def _table(table: Table) -> str:
    """A table of the terminal as one of the page; long ones are folded away."""
    columns = table.columns
    head = "".join(f"<th{_side(c.justify)}>{_plain(c.header)}</th>" for c in columns)
    lines = zip(*(list(c.cells) for c in columns), strict=True)
    body = ["<tr>" + "".join(_cell(v, c.justify) for v, c in zip(line, columns, strict=True)) + "</tr>" for line in lines]
    inner = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    note = f'<p class="note">{_plain(table.caption).replace(chr(10), "<br>")}</p>' if table.caption else ""
    title = _plain(table.title or "")
    shaded = any(isinstance(value, Text) for c in columns for value in c.cells)  # a heat map again, in numbers
    if len(body) > _LONG or shaded:
        return f"<details><summary>{title} ({len(body)} lines)</summary>{inner}{note}</details>"
    return f"<h3>{title}</h3>{inner}{note}"


def _side(justify: str) -> str:
    return ' class="number"' if justify == "right" else ""


def _cell(value: object, justify: str) -> str:
    """A cell; the colours of a heat map are kept."""
    colour = re.search(r"(black|white) on (rgb\([\d,]+\))", str(value.style)) if isinstance(value, Text) else None
    style = f' style="color:{colour[1]};background:{colour[2]}"' if colour else ""
    return f"<td{_side(justify)}{style}>{_plain(value)}</td>"


def _plain(value: object) -> str:
    return text_of(value.plain if isinstance(value, Text) else Text.from_markup(str(value)).plain)


def _prose(text: str) -> str:
    paragraphs = (" ".join(part.split()) for part in text.strip().split("\n\n"))
    return "".join("<p>" + re.sub(r"`+([^`]+)`+", r"<code>\1</code>", text_of(p)) + "</p>" for p in paragraphs)


_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">"""
