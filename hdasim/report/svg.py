"""Charts as SVG text and pages that hold them, without scripts, fonts or files from elsewhere.

`chart` draws lines, steps and points over linear or logarithmic axes; `page` puts charts and tables under one heading. Colours
follow the reader's light or dark theme; those of the series are Okabe and Ito's, which the colour-blind can tell apart (Color
Universal Design, 2008), darkened or lightened for contrast. The same data give the same text.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = Sequence[float] | npt.NDArray[np.generic]

_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 18, 34, 48
_LEGEND_ROW, _LETTER = 18, 6.6  # pixels: height of a row, width of a letter at 12 px
_LIGHT = ("#0072b2", "#d55e00", "#007a5a", "#b0478a", "#8a6d00", "#3a3a3a", "#2a8fc7", "#a03c00")
_DARK = ("#56b4e9", "#ff8c42", "#2fc99a", "#e39ac6", "#f0e442", "#d0d0d0", "#8fd0ff", "#ffb380")
#: A cumulative distribution is drawn through at most this many of its points.
_CDF_POINTS = 1001


@dataclass(frozen=True, eq=False)
class Series:
    """Points to draw under a name: joined by a line, as steps (y holds until the next x), or each a dot.

    Points with a coordinate that is not finite, or that a logarithmic axis does not have, leave a gap.
    """

    name: str
    x: Numbers
    y: Numbers
    kind: Literal["line", "step", "points"] = "line"
    dashed: bool = False


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
    """
    data = [_points(s, log_x, log_y) for s in series]
    rows, legend = _legend(series, width)
    top = _TOP + rows * _LEGEND_ROW
    x_axis = _Axis(log_x, _ends([x for x, _ in data], x_range, log_x, zero=False), _LEFT, width - _RIGHT)
    y_axis = _Axis(log_y, _ends([y for _, y in data], y_range, log_y, zero=not log_y), height - _BOTTOM, top)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{_text(title)}">',
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="{_LEFT}" y="20">{_text(title)}</text>',
        *legend,
        *_grid(x_axis, y_axis),
        f'<text class="label" x="{(_LEFT + width - _RIGHT) / 2:.0f}" y="{height - 10}">{_text(x_label)}</text>',
        f'<text class="label" transform="translate(14 {(top + height - _BOTTOM) / 2:.0f}) rotate(-90)">{_text(y_label)}</text>',
    ]
    parts += [_drawn(s, x, y, i, x_axis, y_axis) for i, (s, (x, y)) in enumerate(zip(series, data, strict=True))]
    if not any(np.isfinite(x).any() for x, _ in data):
        parts.append(f'<text class="label" x="{width / 2:.0f}" y="{height / 2:.0f}">no data</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def page(title: str, charts: Sequence[str], tables: Sequence[Table] = (), note: str = "") -> str:
    """Return one HTML document with tables, then charts side by side; `note` is a paragraph below the heading."""
    body = [f"<h1>{_text(title)}</h1>"]
    body += [f"<p>{_text(note)}</p>"] if note else []
    body += [_table(table) for table in tables]
    body += ['<div class="charts">', *charts, "</div>"]
    head = f"<title>{_text(title)}</title>\n<style>{_PAGE_STYLE}</style>"
    return "\n".join([_HTML, head, "</head>", "<body>", *body, "</body>", "</html>"]) + "\n"


@dataclass(frozen=True)
class _Axis:
    """Data from ends[0] to ends[1] over pixels from `first` to `last`."""

    log: bool
    ends: tuple[float, float]
    first: float
    last: float

    def pixels(self, values: Floats) -> Floats:
        low, high = (math.log10(end) for end in self.ends) if self.log else self.ends
        scaled = np.log10(values) if self.log else values
        result: Floats = self.first + (scaled - low) / (high - low) * (self.last - self.first)
        return result

    def ticks(self) -> list[float]:
        low, high = self.ends
        return _log_ticks(low, high) if self.log else _ticks(low, high)


def _points(series: Series, log_x: bool, log_y: bool) -> tuple[Floats, Floats]:
    """Coordinates as float64; both NaN where either cannot be drawn."""
    x, y = np.array(series.x, np.float64), np.array(series.y, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"series {series.name!r}: x and y must be lists of one length, got {x.shape} and {y.shape}")
    bad = ~(np.isfinite(x) & np.isfinite(y))
    bad |= (log_x & (x <= 0)) | (log_y & (y <= 0))
    x[bad] = y[bad] = np.nan
    return x, y


def _ends(data: list[Floats], given: tuple[float, float] | None, log: bool, *, zero: bool) -> tuple[float, float]:
    """The ends of an axis; never two equal ones."""
    finite = np.concatenate([d[np.isfinite(d)] for d in data] or [np.zeros(0)])
    low, high = given or ((float(finite.min()), float(finite.max())) if finite.size else (1.0, 10.0) if log else (0.0, 1.0))
    if zero and given is None and low >= 0:
        low = 0.0
    if low < high:
        return low, high
    if log:
        return low / 2, low * 2
    room = abs(low) / 2 or 0.5
    return (low, high + room) if zero and low == 0 else (low - room, high + room)


def _ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within the ends, at most `most` of them or one more."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, every n-th where they are many; with 2 and 5 times them where they are few; else as on a linear axis."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    span = last - first
    factors = (1, 2, 5) if span <= 3 else (1,)
    every = -(-span // 8)
    ticks = [m * 10.0**p for p in range(first, last + 1, every) for m in factors]
    inside = [t for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
    return inside if len(inside) >= 2 else _ticks(low, high, 4)


def _grid(x_axis: _Axis, y_axis: _Axis) -> list[str]:
    """Frame, grid lines and the numbers beside them."""
    left, right, bottom, top = x_axis.first, x_axis.last, y_axis.first, y_axis.last
    parts = []
    for tick in x_axis.ticks():
        at = float(x_axis.pixels(np.array([tick]))[0])
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{_tick(tick)}</text>')
    for tick in y_axis.ticks():
        at = float(y_axis.pixels(np.array([tick]))[0])
        parts.append(f'<line class="grid" x1="{left}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{_tick(tick)}</text>')
    parts.append(f'<path class="frame" d="M{left} {top}V{bottom}H{right}"/>')
    return parts


def _legend(series: Sequence[Series], width: int) -> tuple[int, list[str]]:
    """(rows, parts); names flow into rows. A single series needs no legend unless it has a name."""
    named = [(i, s) for i, s in enumerate(series) if s.name]
    x, row, parts = float(_LEFT), 0, []
    for i, s in named:
        need = 26 + _LETTER * len(s.name) + 14
        if x > _LEFT and x + need > width - _RIGHT:
            x, row = float(_LEFT), row + 1
        y = _TOP + row * _LEGEND_ROW
        mark = (
            f'<circle class="dot s{i % len(_LIGHT)}" cx="{x + 10:.1f}" cy="{y - 4}" r="3"/>' if s.kind == "points"
            else f'<path class="line s{i % len(_LIGHT)}{_dash(s)}" d="M{x:.1f} {y - 4}h20"/>'
        )  # fmt: skip
        parts.append(f'{mark}<text class="tick" x="{x + 26:.1f}" y="{y}">{_text(s.name)}</text>')
        x += need
    return (row + 1 if named else 0), parts


def _drawn(series: Series, x: Floats, y: Floats, index: int, x_axis: _Axis, y_axis: _Axis) -> str:
    """One series as a path, or as dots. What leaves given axes is cut off at their ends."""
    keep = np.isfinite(x)
    px, py = np.full(x.size, np.nan), np.full(x.size, np.nan)
    px[keep], py[keep] = x_axis.pixels(x[keep]), y_axis.pixels(y[keep])
    colour, name = f"s{index % len(_LIGHT)}", _text(series.name)
    if series.kind == "points":
        inside = keep & (px >= x_axis.first) & (px <= x_axis.last) & (py <= y_axis.first) & (py >= y_axis.last)
        dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in zip(px[inside], py[inside], strict=True))
        return f'<g class="dot {colour}"><title>{name}</title>{dots}</g>'
    px, py = np.clip(px, x_axis.first, x_axis.last), np.clip(py, y_axis.last, y_axis.first)
    steps: list[str] = []
    for part in _runs(px):
        places = _thinned(px[part], py[part]) + part.start
        xs, ys = [f"{v:.1f}" for v in px[places]], [f"{v:.1f}" for v in py[places]]
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
    head = "".join(f"<th>{_text(name)}</th>" for name in table.header)
    rows = ["<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in table.rows]
    return f"<h2>{_text(table.title)}</h2>\n<table>\n<tr>{head}</tr>\n" + "\n".join(rows) + "\n</table>"


def _cell(value: object) -> str:
    if value is None:
        return '<td class="number">-</td>'
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return f'<td class="number">{_number(float(value), 4)}</td>'
    return f"<td>{_text(str(value))}</td>"


def _number(value: float, digits: int = 6) -> str:
    """At most `digits` digits; whole thousands with commas."""
    if not math.isfinite(value):
        return str(value)
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def _tick(value: float) -> str:
    """A number beside an axis, which has room for six digits."""
    return f"{value:g}" if abs(value) >= 1e6 else _number(value)


def _dash(series: Series) -> str:
    return " dashed" if series.dashed else ""


def _text(text: str) -> str:
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
    ".chart .dot{stroke:none}"
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
