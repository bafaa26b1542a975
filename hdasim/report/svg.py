"""Charts as SVG text and pages that hold them, without scripts, fonts or files from elsewhere.

`chart` draws lines, steps and points over linear or logarithmic axes; `page` puts charts and tables under one heading. Colours
follow the reader's light or dark theme; those of the series are Okabe and Ito's, which the colour-blind can tell apart (Color
Universal Design, 2008), darkened or lightened for contrast. The same data give the same text.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .axis import Axis, Floats, ends_of, number, tick

Numbers = Sequence[float] | npt.NDArray[np.generic]

_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 18, 34, 48
_LEGEND_ROW, _LETTER = 18, 6.6  # pixels: height of a row, width of a letter at 12 px
_STAR = "M0 -6L1.8 -2L6 -1.9L2.8 1L4 5.4L0 2.9L-4 5.4L-2.8 1L-6 -1.9L-1.8 -2Z"
_LIGHT = ("#0072b2", "#d55e00", "#007a5a", "#b0478a", "#8a6d00", "#3a3a3a", "#2a8fc7", "#a03c00")
_DARK = ("#56b4e9", "#ff8c42", "#2fc99a", "#e39ac6", "#f0e442", "#d0d0d0", "#8fd0ff", "#ffb380")
#: A cumulative distribution is drawn through at most this many of its points.
_CDF_POINTS = 1001


@dataclass(frozen=True, eq=False)
class Series:
    """Points to draw under a name: joined by a line, as steps (y holds until the next x), or each a dot.

    Points with a coordinate that is not finite, or that a logarithmic axis does not have, leave a gap. `colour` is the place
    among the eight colours, by default that of the series; -1 is the colour of text.
    """

    name: str
    x: Numbers
    y: Numbers
    kind: Literal["line", "step", "points", "stars"] = "line"
    dashed: bool = False
    colour: int | None = None


@dataclass(frozen=True)
class Table:
    """Rows of text or numbers under a heading; numbers are shown with four digits and stand to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]


def cdf(name: str, values: Numbers, *, dashed: bool = False) -> Series:
    """The share of `values` (NaN left out) at or below x, as steps; of many values 1001 even ranks are kept, ends included."""
    ordered = np.sort(np.asarray(values, np.float64))
    ordered = ordered[~np.isnan(ordered)]
    count = ordered.size
    ranks = np.arange(count)
    if count > _CDF_POINTS:
        ranks = np.unique(np.rint(np.linspace(0, count - 1, _CDF_POINTS)).astype(np.int64))
    x = ordered[ranks]
    y = (ranks + 1) / max(count, 1)
    if count:  # rise from 0 at the least value
        x, y = np.concatenate([x[:1], x]), np.concatenate([[0.0], y])
    return Series(name, x, y, "step", dashed)


def chart(
    series: Sequence[Series], *, title: str, x_label: str = "", y_label: str = "", log_x: bool = False, log_y: bool = False,
    x_range: tuple[float, float] | None = None, y_range: tuple[float, float] | None = None, width: int = 640, height: int = 360,
    x_ticks: Sequence[float] = (), legend: bool = True,
) -> str:  # fmt: skip
    """Return the chart of `series` as one SVG element that stands alone or in a page.

    Parameters
    ----------
    series
        In the order of the legend; eight colours, then they repeat.
    log_x, log_y
        Logarithmic axes; points at 0 or below are left out.
    x_range, y_range
        Ends of the axes; by default those of the data, a linear y axis from 0 where no value is negative.
    width, height
        In pixels; in a page the chart shrinks with the window.
    x_ticks
        Where the x axis has its ticks, instead of at round numbers.
    legend
        Whether the chart has its own legend (see `legend_of`).
    """
    data = [_points(s, log_x, log_y) for s in series]
    rows, names = _legend(series, width, _TOP) if legend else (0, [])
    top = _TOP + rows * _LEGEND_ROW
    x_axis = Axis(log_x, ends_of([x for x, _ in data], x_range, log_x, zero=False), _LEFT, width - _RIGHT, x_ticks)
    y_axis = Axis(log_y, ends_of([y for _, y in data], y_range, log_y, zero=not log_y), height - _BOTTOM, top)
    parts = [
        f'<text class="title" x="{_LEFT}" y="20">{text_of(title)}</text>',
        *names,
        *_grid(x_axis, y_axis),
        f'<text class="label" x="{(_LEFT + width - _RIGHT) / 2:.0f}" y="{height - 10}">{text_of(x_label)}</text>',
        f'<text class="label" transform="translate(14 {(top + height - _BOTTOM) / 2:.0f}) rotate(-90)">{text_of(y_label)}</text>',
    ]
    parts += [_drawn(s, x, y, i, x_axis, y_axis) for i, (s, (x, y)) in enumerate(zip(series, data, strict=True))]
    if not any(np.isfinite(x).any() for x, _ in data):
        parts.append(f'<text class="label" x="{width / 2:.0f}" y="{height / 2:.0f}">no data</text>')
    return drawing(title, parts, width, height)


def drawing(title: str, parts: Sequence[str], width: float, height: float) -> str:
    """An SVG element of `parts`; classes: title, label, tick, grid, frame, line, dot ink, and the colours s0 to s7."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img" aria-label="{text_of(title)}">'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>"]) + "\n"


def legend_of(series: Sequence[Series], width: int) -> str:
    """The legend of `series` as an SVG element of its own, for several charts that share it."""
    rows, parts = _legend(series, width, 14)
    return drawing(", ".join(s.name for s in series), parts, width, rows * _LEGEND_ROW + 4)


def page(title: str, charts: Sequence[str], tables: Sequence[Table] = (), note: str = "") -> str:
    """Return one HTML document with tables, then charts side by side; `note` is a paragraph below the heading."""
    body = [f"<h1>{text_of(title)}</h1>"]
    body += [f"<p>{text_of(note)}</p>"] if note else []
    body += [_table(table) for table in tables]
    body += ['<div class="charts">', *charts, "</div>"]
    head = f"<title>{text_of(title)}</title>\n<style>{_PAGE_STYLE}</style>"
    return "\n".join([_HTML, head, "</head>", "<body>", *body, "</body>", "</html>"]) + "\n"


def _points(series: Series, log_x: bool, log_y: bool) -> tuple[Floats, Floats]:
    """Coordinates as float64; both NaN where either cannot be drawn."""
    x, y = np.array(series.x, np.float64), np.array(series.y, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"series {series.name!r}: x and y must be lists of one length, got {x.shape} and {y.shape}")
    bad = ~(np.isfinite(x) & np.isfinite(y))
    bad |= (log_x & (x <= 0)) | (log_y & (y <= 0))
    x[bad] = y[bad] = np.nan
    return x, y


def _grid(x_axis: Axis, y_axis: Axis) -> list[str]:
    """Frame, grid lines and the numbers beside them; a number that would touch the one before is left out."""
    left, right, bottom, top = x_axis.first, x_axis.last, y_axis.first, y_axis.last
    parts, free = [], -np.inf
    for value in x_axis.ticks():
        at, name = float(x_axis.pixels(np.array([value]))[0]), tick(value)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{bottom}"/>')
        half = _LETTER * len(name) / 2
        if at - half >= free:
            parts.append(f'<text class="tick" x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{name}</text>')
            free = at + half + 4
    for value in y_axis.ticks():
        at = float(y_axis.pixels(np.array([value]))[0])
        parts.append(f'<line class="grid" x1="{left}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{tick(value)}</text>')
    parts.append(f'<path class="frame" d="M{left} {top}V{bottom}H{right}"/>')
    return parts


def _legend(series: Sequence[Series], width: int, top: int) -> tuple[int, list[str]]:
    """(rows, parts); names flow into rows from `top` down. A single series needs no legend unless it has a name."""
    named = [(i, s) for i, s in enumerate(series) if s.name]
    x, row, parts = float(_LEFT), 0, []
    for i, s in named:
        need = 26 + _LETTER * len(s.name) + 14
        if x > _LEFT and x + need > width - _RIGHT:
            x, row = float(_LEFT), row + 1
        y = top + row * _LEGEND_ROW
        colour = _colour(s, i)
        if s.kind == "points":
            mark = f'<circle class="dot {colour}" cx="{x + 10:.1f}" cy="{y - 4}" r="3"/>'
        elif s.kind == "stars":
            mark = f'<path class="dot {colour}" transform="translate({x + 10:.1f} {y - 4})" d="{_STAR}"/>'
        else:
            mark = f'<path class="line {colour}{_dash(s)}" d="M{x:.1f} {y - 4}h20"/>'
        parts.append(f'{mark}<text class="tick" x="{x + 26:.1f}" y="{y}">{text_of(s.name)}</text>')
        x += need
    return (row + 1 if named else 0), parts


def _colour(series: Series, index: int) -> str:
    place = index if series.colour is None else series.colour
    return f"s{place % len(_LIGHT)}" if place >= 0 else "ink"


def _drawn(series: Series, x: Floats, y: Floats, index: int, x_axis: Axis, y_axis: Axis) -> str:
    """One series as a path, or as dots. What leaves given axes is cut off at their ends."""
    keep = np.isfinite(x)
    px, py = np.full(x.size, np.nan), np.full(x.size, np.nan)
    px[keep], py[keep] = x_axis.pixels(x[keep]), y_axis.pixels(y[keep])
    colour, name = _colour(series, index), text_of(series.name)
    if series.kind in ("points", "stars"):
        inside = keep & (px >= x_axis.first) & (px <= x_axis.last) & (py <= y_axis.first) & (py >= y_axis.last)
        places = list(zip(px[inside], py[inside], strict=True))
        dots = "".join(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' if series.kind == "points"
            else f'<path transform="translate({a:.1f} {b:.1f})" d="{_STAR}"/>' for a, b in places
        )  # fmt: skip
        return f'<g class="dot {colour}"><title>{name}</title>{dots}</g>'
    px, py = np.clip(px, x_axis.first, x_axis.last), np.clip(py, y_axis.last, y_axis.first)
    steps: list[str] = []
    for part in _runs(px):
        places_ = _thinned(px[part], py[part]) + part.start
        xs, ys = [f"{v:.1f}" for v in px[places_]], [f"{v:.1f}" for v in py[places_]]
        steps.append(f"M{xs[0]} {ys[0]}")
        if len(xs) == 1:  # a dot: no line is so short
            steps.append("h0.1")
        for a, b in zip(xs[1:], ys[1:], strict=True):
            steps.append(f"H{a}V{b}" if series.kind == "step" else f"L{a} {b}")
    return f'<path class="line {colour}{_dash(series)}" d="{"".join(steps)}"><title>{name}</title></path>'


def _runs(values: Floats) -> list[slice]:
    """The stretches without NaN."""
    finite = np.concatenate([[False], np.isfinite(values), [False]])
    edges = np.flatnonzero(finite[1:] != finite[:-1])
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _thinned(px: Floats, py: Floats) -> npt.NDArray[np.int64]:
    """Places to keep: of each half pixel the first, last, lowest and highest point. All of them where x is not in order."""
    count = px.size
    if count <= 2000 or (np.diff(px) < 0).any():
        return np.arange(count)
    column = np.floor(px * 2)
    starts = np.flatnonzero(np.concatenate([[True], column[1:] != column[:-1]]))
    order = np.lexsort((py, column))
    ends = np.concatenate([starts[1:], [count]]) - 1
    return np.unique(np.concatenate([starts, ends, order[starts], order[ends]]))


def _table(table: Table) -> str:
    head = "".join(f"<th>{text_of(name)}</th>" for name in table.header)
    rows = ["<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in table.rows]
    return f"<h2>{text_of(table.title)}</h2>\n<table>\n<tr>{head}</tr>\n" + "\n".join(rows) + "\n</table>"


def _cell(value: object) -> str:
    if value is None:
        return '<td class="number">-</td>'
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return f'<td class="number">{number(float(value), 4)}</td>'
    return f"<td>{text_of(str(value))}</td>"


def _dash(series: Series) -> str:
    return " dashed" if series.dashed else ""


def text_of(text: str) -> str:
    """Text for SVG and HTML; characters that XML forbids are left out."""
    return html.escape("".join(c for c in text if c >= " " or c in "\t\n"), quote=True)


def _colours(colours: Sequence[str]) -> str:
    return "".join(f"--s{i}:{colour};" for i, colour in enumerate(colours))


_SERIES_STYLE = "".join(f".chart .s{i}{{stroke:var(--s{i});fill:var(--s{i})}}" for i in range(len(_LIGHT)))
_STYLE = (
    f".chart{{--ink:#222;--grid:#ddd;{_colours(_LIGHT)}max-width:100%;height:auto;font:12px system-ui,sans-serif}}"
    f"@media (prefers-color-scheme:dark){{.chart{{--ink:#ddd;--grid:#444;{_colours(_DARK)}}}}}"
    f"{_SERIES_STYLE}"
    ".chart text{fill:var(--ink)}.chart .title{font-size:14px;font-weight:600}.chart .label{text-anchor:middle}"
    ".chart .grid{stroke:var(--grid)}.chart .frame{stroke:var(--ink);fill:none}"
    ".chart .line{fill:none;stroke-width:1.6;stroke-linejoin:round}.chart .dashed{stroke-dasharray:6 4}"
    ".chart .dot{stroke:none}.chart .ink{stroke:var(--ink);fill:var(--ink)}.chart .line.ink{fill:none}"
)
_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">"""
_PAGE_STYLE = (
    ":root{color-scheme:light dark}body{font:14px system-ui,sans-serif;margin:1.5rem;max-width:1340px;background:Canvas;"
    "color:CanvasText}h1{font-size:1.4rem}h2{font-size:1.1rem}table{border-collapse:collapse;margin-bottom:1rem}"
    "th,td{padding:.2rem .7rem;border-bottom:1px solid #8886;text-align:left}.number{text-align:right;"
    "font-variant-numeric:tabular-nums}.charts{display:flex;flex-wrap:wrap;gap:1rem}"
)
