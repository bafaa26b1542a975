"""Horizontal bars as text of SVG: stacked from parts, or one below the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .axis import Axis, number, tick, ticks
from .svg import drawing, text_of

_TOP, _ROW, _BAR, _BOTTOM, _RIGHT, _LETTER, _LEGEND_ROW = 34, 26, 18, 44, 90, 6.6, 18
#: Pixels for each tick of the axis.
_TICK = 60


@dataclass(frozen=True)
class Bar:
    """A bar of parts (name, size), with `note` behind it; None in place of its parts where it is unknown."""

    label: str
    parts: Sequence[tuple[str, float]] | None
    note: str = ""


def bars(title: str, rows: Sequence[Bar], x_label: str = "", width: int = 640, colours: Sequence[str] = ()) -> str:
    """An SVG element with a bar for each row, from 0; a part has the colour of its name.

    `colours` lists names in the order of the eight colours, by default that of their first use.
    """
    names = list(dict.fromkeys([*colours, *(name for row in rows for name, _ in row.parts or ())]))
    used = [name for name in names if name and any(name == part for row in rows for part, _ in row.parts or ())]
    left = min(30 + _LETTER * max((len(row.label) for row in rows), default=0), width / 2)
    legend, top = _legend(used, names, width)
    bottom = top + _ROW * len(rows) + 4
    longest = max((sum(size for _, size in row.parts) for row in rows if row.parts), default=0.0)
    axis = Axis(False, (0.0, longest or 1.0), left, width - _RIGHT)
    drawn = [f'<text class="title" x="12" y="20">{text_of(title)}</text>', *legend]
    for value in ticks(*axis.ends, min(7, max(int((width - _RIGHT - left) / _TICK), 1))):
        at = float(axis.pixels(np.array([value]))[0])
        drawn.append(f'<line class="grid" x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{bottom}"/>')
        drawn.append(f'<text class="tick" x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{tick(value)}</text>')
    for i, row in enumerate(rows):
        drawn += _drawn(row, names, axis, top + i * _ROW + (_ROW - _BAR) / 2)
    drawn.append(f'<text class="label" x="{(left + width - _RIGHT) / 2:.0f}" y="{bottom + 36}">{text_of(x_label)}</text>')
    return drawing(title, drawn, width, bottom + _BOTTOM)


def _drawn(row: Bar, names: Sequence[str], axis: Axis, y: float) -> list[str]:
    drawn = [f'<text class="tick" x="{axis.first - 8:.1f}" y="{y + 13:.1f}" text-anchor="end">{text_of(row.label)}</text>']
    total = 0.0
    for name, size in row.parts or ():
        start, end = axis.pixels(np.array([total, total + size])).tolist()
        total += size
        what = text_of(f"{row.label}{f', {name}' if name else ''}: {number(size, 4)}")
        drawn.append(
            f'<rect class="s{names.index(name) % 8}" x="{start:.1f}" y="{y:.1f}" width="{max(end - start, 0.0):.1f}" '
            f'height="{_BAR}" style="stroke:Canvas"><title>{what}</title></rect>'
        )
    end = float(axis.pixels(np.array([total]))[0])
    words = (row.note or "unknown") if row.parts is None else f"{number(total, 4)} {row.note}".strip()
    drawn.append(f'<text class="tick" x="{end + 6:.1f}" y="{y + 13:.1f}">{text_of(words)}</text>')
    return drawn


def _legend(used: Sequence[str], names: Sequence[str], width: float) -> tuple[list[str], float]:
    """(parts, where the bars begin); names flow into rows."""
    drawn, x, row = [], 12.0, 0
    for name in used if len(used) > 1 else ():
        need = 20 + _LETTER * len(name) + 14
        if x > 12 and x + need > width - 12:
            x, row = 12.0, row + 1
        y = _TOP + row * _LEGEND_ROW
        drawn.append(f'<rect class="s{names.index(name) % 8}" x="{x:.1f}" y="{y}" width="12" height="12"/>')
        drawn.append(f'<text class="tick" x="{x + 18:.1f}" y="{y + 11}">{text_of(name)}</text>')
        x += need
    return drawn, _TOP + (row + 1) * _LEGEND_ROW + 6 if drawn else _TOP
