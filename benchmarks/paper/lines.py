"""Line charts of a sweep: panels side by side, one line for each curve, a star on its knee."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hdasim.report.svg import Series, chart, legend_of

from .outcome import Figure

#: Width and height of a panel, pixels: of one in a row, of two, of more.
_SIZES = ((760, 380), (470, 320), (330, 260))


@dataclass(frozen=True)
class Curve:
    """`mark` is the x of the knee, `dashed` draws a reference. Curves with the same label share a colour and a legend entry."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    mark: float | None = None
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Panel:
    """`upright` and `level` (value, name) draw a line each; `least` is where y starts if it is not logarithmic."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    upright: tuple[float, str] | None = None
    level: tuple[float, str] | None = None
    logarithmic: bool = True
    least: float = 0.0
    ticks: Sequence[float] = ()
    log_x: bool = True
    points: Sequence[Curve] = ()


def figure(title: str, rows: Sequence[Sequence[Panel]], star: str = "knee", note: str = "") -> Figure:
    """All panels with one legend; labels have the same colour in each."""
    labels = dict.fromkeys(c.label for row in rows for panel in row for c in (*panel.curves, *panel.points))
    colours = {label: i for i, label in enumerate(labels)}
    width, height = _SIZES[min(max(map(len, rows)), len(_SIZES)) - 1]
    charts, entries = [], {}
    for panel in (panel for row in rows for panel in row):
        series = _series(panel, colours, star)
        low, high = _y_range(panel)
        charts.append(chart(series, title=panel.title, x_label=panel.x, y_label=panel.y, log_x=panel.log_x,
                            log_y=panel.logarithmic, y_range=(low, high), x_ticks=panel.ticks, width=width, height=height,
                            legend=False))  # fmt: skip
        for s in series:
            place = -1 if s.kind == "stars" else s.colour
            entries.setdefault(s.name, Series(s.name, [], [], s.kind, s.dashed, place))
    return Figure(title, charts, legend_of(list(entries.values()), 960), note)


def _heights(panel: Panel) -> list[float]:
    found = [y for curve in (*panel.curves, *panel.points) for y in curve.ys if np.isfinite(y) and (y > 0 or not panel.logarithmic)]
    return found + ([panel.level[0]] if panel.level else [])


def _y_range(panel: Panel) -> tuple[float, float]:
    """Room above and, on a logarithmic axis, below the data."""
    heights = _heights(panel) or [1.0]
    low, high = min(heights), max(heights)
    if panel.logarithmic:
        return low / 1.15, high * 1.15
    return panel.least, max(1.08 * high, panel.least + 1e-9)


def _series(panel: Panel, colours: dict[str, int], star: str) -> list[Series]:
    low, high = _y_range(panel)
    xs = [x for curve in (*panel.curves, *panel.points) for x in curve.xs] or [1.0]
    found = []
    if panel.upright is not None:
        found.append(Series(panel.upright[1], [panel.upright[0]] * 2, [low, high], dashed=True, colour=-1))
    if panel.level is not None:
        found.append(Series(panel.level[1], [min(xs), max(xs)], [panel.level[0]] * 2, colour=-1))
    for curve in panel.curves:
        found.append(Series(curve.label, curve.xs, curve.ys, dashed=curve.dashed, colour=colours[curve.label]))
    found += [Series(c.label, c.xs, c.ys, "points", colour=colours[c.label]) for c in panel.points]
    marked = [(curve, curve.mark) for curve in panel.curves if curve.mark is not None]
    for curve, mark in marked:
        found.append(Series(star, [mark], [_at(curve, mark)], "stars", colour=colours[curve.label]))
    return found


def _at(curve: Curve, x: float) -> float:
    """Height of the curve at x, straight between its points on logarithmic axes."""
    return float(np.exp(np.interp(np.log(x), np.log(curve.xs), np.log(np.maximum(curve.ys, 1e-300)))))
