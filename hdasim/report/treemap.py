"""Areas as text of SVG: a squarified treemap (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000)."""

from collections.abc import Sequence

from .axis import number
from .svg import drawing, text_of

Rectangle = tuple[float, float, float, float]
#: A part: its name, its size, and the place of its colour among the eight.
Part = tuple[str, float, int]
_TITLE, _LETTER, _LINE, _EDGE = 32, 6.6, 15, 10


def treemap(title: str, parts: Sequence[Part], unit: str = "", width: int = 640, height: int = 420) -> str:
    """An SVG element with a rectangle for each part, its area in proportion; parts under a millionth are left out."""
    least = 1e-6 * sum(size for _, size, _ in parts)
    shown = sorted((part for part in parts if part[1] > least), key=lambda part: -part[1])
    total = sum(size for _, size, _ in shown)
    places = squarify([size for _, size, _ in shown], _EDGE, _TITLE, width - 2 * _EDGE, height - _TITLE - _EDGE)
    drawn = [f'<text class="title" x="{_EDGE}" y="20">{text_of(title)}</text>']
    for (name, size, colour), (x, y, w, h) in zip(shown, places, strict=True):
        words = f"{number(size, 4)} {unit}, {size / total:.1%}".replace(" ,", ",").replace("%", " %")
        drawn.append(
            f'<g><title>{text_of(f"{name}: {words}")}</title><rect class="s{colour % 8}" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" '
            f'height="{h:.1f}" style="stroke:Canvas;fill-opacity:.45"/>{_label([name, words], x, y, w, h)}</g>'
        )
    if not shown:
        drawn.append(f'<text class="label" x="{width / 2:.0f}" y="{height / 2:.0f}">no data</text>')
    return drawing(title, drawn, width, height)


def _label(lines: Sequence[str], x: float, y: float, w: float, h: float) -> str:
    """As many of the lines as fit into a rectangle, or along it where it stands upright."""
    upright = w < _LETTER * len(lines[0]) + 8 and h > w
    along, across = (h, w) if upright else (w, h)
    fitting = [line for line in lines if _LETTER * len(line) + 8 <= along][: int((across - 4) // _LINE)]
    if not fitting or fitting[0] != lines[0]:
        return ""
    turn = f"translate({x + 16:.1f} {y + h - 5:.1f}) rotate(-90)" if upright else f"translate({x + 5:.1f} {y + 16:.1f})"
    rows = "".join(f'<tspan x="0" dy="{_LINE if i else 0}">{text_of(line)}</tspan>' for i, line in enumerate(fitting))
    return f'<text class="tick" transform="{turn}">{rows}</text>'


def squarify(sizes: Sequence[float], x: float, y: float, width: float, height: float) -> list[Rectangle]:
    """(x, y, width, height) for each of `sizes`, which are positive and fall; together they fill the rectangle.

    Rows are laid along the shorter side; each takes sizes as long as its worst ratio of sides does not grow.
    """
    scale = width * height / sum(sizes) if sizes else 0.0
    areas, done, at = [size * scale for size in sizes], [], 0
    while at < len(areas):
        side, end = min(width, height), at + 1
        while end < len(areas) and _worst(areas[at : end + 1], side) <= _worst(areas[at:end], side):
            end += 1
        row, depth, offset = areas[at:end], sum(areas[at:end]) / side, 0.0
        for area in row:
            length = area / depth
            done.append((x, y + offset, depth, length) if height <= width else (x + offset, y, length, depth))
            offset += length
        if height <= width:
            x, width = x + depth, width - depth
        else:
            y, height = y + depth, height - depth
        at = end
    return done


def _worst(row: Sequence[float], side: float) -> float:
    """The largest ratio of sides in a row along `side`."""
    square = (sum(row) / side) ** 2
    return max(max(row) / square, square / min(row))
