"""Heat maps of the share of peak: as text, shaded on a terminal, and as drawings."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from hdasim.report.svg import drawing, text_of

from .outcome import Figure

Point = dict[str, Any]
#: The share of peak at and below which a cell is darkest; at the peak it is lightest.
LEAST = 0.5
#: Pixels: width and height of a cell, room for what stands beside the map.
_CELL, _LEFT, _TOP = (41, 24), 66, 32
#: Which coordinates an axis may show, and what it is then called.
AXES = {"rows": "array rows (K)", "cols": "array columns (N)", "tokens": "tokens of the prompt", "side": "rows = columns"}


def _grid(points: Sequence[Point], y: str, x: str) -> tuple[list[int], list[int], dict[tuple[int, int], Point]]:
    at = {(p[y], p[x]): p for p in points}
    return sorted({k[0] for k in at}), sorted({k[1] for k in at}), at


def _best(points: Sequence[Point]) -> Point:
    return min(points, key=lambda p: p["gemm_ms"])


def _bests(points: Sequence[Point], y: str) -> list[Point]:
    """The optimum of the map, or of each line where lines differ in tokens."""
    if y != "tokens":
        return [_best(points)]
    return [_best([p for p in points if p["tokens"] == t]) for t in sorted({p["tokens"] for p in points})]


def heat_table(title: str, points: Sequence[Point], y: str, x: str, chosen: tuple[int, int]) -> Table:
    """Percent of peak with y down and x across; the optimum is marked *, `chosen` (rows, columns) is in brackets."""
    ys, xs, at = _grid(points, y, x)
    best = _bests(points, y)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(f"{AXES[y]} \\ {AXES['side' if y == 'tokens' else x]}", justify="right", no_wrap=True)
    for value in xs:
        table.add_column(str(value), justify="right", no_wrap=True)
    for row in ys:
        cells = [Text(f"{row:,}")]
        for column in xs:
            p = at.get((row, column))
            if p is None:
                cells.append(Text("."))
                continue
            text = f"{100 * p['of_budget']:.1f}"
            text = f"[{text}]" if (p["rows"], p["cols"]) == chosen else text
            cells.append(Text(text + ("*" if p in best else " "), style=_shade(p["of_budget"])))
        table.add_row(*cells)
    table.caption = "* optimum   [ ] published choice   . exceeds the MACs"
    table.caption_justify = "left"
    return table


def _share(share: float) -> float:
    """0 at `LEAST` of the peak and below, 1 at the peak."""
    return min(max((share - LEAST) / (1 - LEAST), 0.0), 1.0)


def _colour(share: float) -> tuple[int, int, int]:
    """Dark blue at `LEAST` of the peak to yellow at the peak."""
    s, low, high = _share(share), (40, 40, 110), (250, 220, 70)
    red, green, blue = (round(a + s * (b - a)) for a, b in zip(low, high, strict=True))
    return red, green, blue


def _ink(share: float) -> str:
    return "black" if _share(share) > 0.5 else "white"


def _shade(share: float) -> str:
    red, green, blue = _colour(share)
    return f"{_ink(share)} on rgb({red},{green},{blue})"


def figure(points: Sequence[Point], reference_tokens: int, chosen: tuple[int, int], title: str) -> Figure:
    """Maps of every judgement: rows x columns at `reference_tokens`, then tokens x square arrays."""
    charts = []
    for judged in dict.fromkeys(p["judged_by"] for p in points):
        mine = [p for p in points if p["judged_by"] == judged]
        size_map = [p for p in mine if p["tokens"] == reference_tokens]
        charts.append(_map(f"{judged}: {reference_tokens:,} tokens", size_map, "rows", "cols", chosen))
        charts.append(_map(f"{judged}: square arrays", [p for p in mine if p["rows"] == p["cols"]], "tokens", "rows", chosen))
    note = (
        f"GEMM rate in percent of the MAC budget's peak; \u2605 optimum (of each line where lines are tokens), framed: "
        f"{chosen[0]} x {chosen[1]} as published; empty: exceeds the MACs."
    )
    return Figure(title, charts, note=note)


def _map(title: str, points: Sequence[Point], y: str, x: str, chosen: tuple[int, int]) -> str:
    """One map; values in the cells, a star beside the optimum, a frame around `chosen`."""
    ys, xs, at = _grid(points, y, x)
    best = _bests(points, y)
    high = len(ys) * _CELL[1]
    width = _LEFT + 12 + max(len(xs) * _CELL[0], 9 * len(title))  # a letter of the title takes less than 9 pixels
    tall = max(high, 8 * len(AXES[y]))  # room for what stands upright beside it
    height = _TOP + tall + 44
    parts = [f'<text class="title" x="{_LEFT}" y="20">{text_of(title)}</text>']
    for j, row in enumerate(reversed(ys)):
        top = _TOP + j * _CELL[1]
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{top + 16}" text-anchor="end">{row:,}</text>')
        for i, column in enumerate(xs):
            p = at.get((row, column))
            if p is not None:
                parts.append(_cell(p, _LEFT + i * _CELL[0], top, p in best, (p["rows"], p["cols"]) == chosen))
    for i, column in enumerate(xs):
        at_x = _LEFT + (i + 0.5) * _CELL[0]
        parts.append(f'<text class="tick" x="{at_x:g}" y="{_TOP + high + 16}" text-anchor="middle">{column}</text>')
    middle = _LEFT + len(xs) * _CELL[0] / 2
    parts.append(f'<text class="label" x="{middle:g}" y="{height - 8}">{AXES["side" if y == "tokens" else x]}</text>')
    parts.append(f'<text class="label" transform="translate(14 {_TOP + tall / 2:g}) rotate(-90)">{AXES[y]}</text>')
    return drawing(title, parts, width, height)


def _cell(point: Point, left: float, top: float, best: bool, chosen: bool) -> str:
    share = point["of_budget"]
    red, green, blue = _colour(share)
    box = f'<path d="M{left + 1} {top + 1}h{_CELL[0] - 2}v{_CELL[1] - 2}h{2 - _CELL[0]}z" fill="rgb({red},{green},{blue})"'
    frame = ' stroke="#d62728" stroke-width="2.5"' if chosen else ""
    text = f"{100 * share:.1f}{chr(0x2605) if best else ''}"
    style = f'style="fill:{_ink(share)}" text-anchor="middle" font-size="11"'
    return f'{box}{frame}/><text {style} x="{left + _CELL[0] / 2}" y="{top + 16}">{text}</text>'
