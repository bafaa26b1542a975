"""Horizontal bars: parts of a sum one after the other, and factors of a product as steps on a logarithmic axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hdasim.report.axis import Axis, tick, ticks
from hdasim.report.svg import drawing, text_of

from .outcome import Split

#: Pixels: width of the drawing, room for notes at its right, height of a bar and of its row, room above and below.
_WIDTH, _RIGHT, _BAR, _ROW, _TOP, _BOTTOM = 1000, 190, 18, 28, 58, 44
_LETTER, _KEY_ROW = 6.6, 18
#: Colours that a chart has (`hdasim.report.svg`).
COLOURS = 8
#: Factors of a `Split`, in the order of the colours.
KINDS = ("architecture", "links", "baseline's software")


@dataclass(frozen=True)
class Bar:
    """`parts` are (name, length), drawn one after the other; parts of the same name have the same colour in all bars."""

    label: str
    parts: Sequence[tuple[str, float]]
    note: str = ""


def stacked(title: str, bars: Sequence[Bar], x: str, lines: Sequence[tuple[float, str]] = (), legend: bool = True) -> str:
    """An SVG element; `lines` (value, name) stand upright across all bars."""
    names = list(dict.fromkeys(name for bar in bars for name, _ in bar.parts)) if legend else []
    colours = {name: i % COLOURS for i, name in enumerate(dict.fromkeys(name for bar in bars for name, _ in bar.parts))}
    longest = max([sum(v for _, v in bar.parts) for bar in bars] + [v for v, _ in lines] + [1e-300])
    axis = Axis(False, (0.0, 1.04 * longest), _left([bar.label for bar in bars]), _WIDTH - _RIGHT)
    top = float(_TOP if names or lines else _TOP - 22)
    key, rows = _key([(f"s{colours[n]}", n) for n in names] + [("ink", n) for _, n in lines])
    top += rows * _KEY_ROW
    bottom = top + _ROW * len(bars)
    parts = [_title(title), *key]
    parts += _scale(axis, ticks(*axis.ends), top, bottom, x)
    for i, bar in enumerate(bars):
        y, start = top + i * _ROW + (_ROW - _BAR) / 2, 0.0
        parts.append(_label(axis, bar.label, y))
        for name, value in bar.parts:
            parts.append(_box(axis, start, start + value, y, _BAR, f"s{colours[name]}", f"{name}: {value:.4g}"))
            start += value
        parts.append(f'<text class="tick" x="{_at(axis, start) + 6:.1f}" y="{y + 13}">{text_of(bar.note)}</text>')
    for value, _ in lines:
        parts.append(f'<path class="line ink dashed" d="M{_at(axis, value):.1f} {top}V{bottom}"/>')
    return drawing(title, parts, _WIDTH, bottom + _BOTTOM)


def waterfall(title: str, splits: Sequence[Split]) -> str:
    """Each ratio as factors that follow one another from 1, on a logarithmic axis.

    A factor below 1 goes back. The upright mark in each row is the published ratio.
    """
    kinds = [k for k in KINDS if any(k == kind for s in splits for kind, _ in s.factors)]
    reach = [1.0]
    for split in splits:
        reach += [*np.cumprod([f for _, f in split.factors]).tolist(), split.published]
    axis = Axis(True, (min(reach) / 1.08, max(reach) * 1.2), _left([s.label for s in splits]), _WIDTH - _RIGHT)
    thin = 14
    heights = [thin * len(s.factors) + 16 for s in splits]
    bottom = _TOP + sum(heights)
    round_ones = [t / 100 for t in (20, 30, 50, 70, 100, 150, 200, 250, 300, 400, 500, 700, 1000)]
    parts = [_title(title), *_key([(f"s{KINDS.index(k)}", k) for k in kinds] + [("ink", "published")])[0]]
    parts += _scale(axis, [t for t in round_ones if axis.ends[0] <= t <= axis.ends[1]], _TOP, bottom, "times, logarithmic")
    top = float(_TOP)
    for split, height in zip(splits, heights, strict=True):
        parts.append(_label(axis, split.label, top + height / 2 - 9))
        mark = _at(axis, split.published)
        at, y = 1.0, top + 8
        for kind, factor in split.factors:
            parts.append(_box(axis, at, at * factor, y, thin - 2, f"s{KINDS.index(kind)}", f"{kind}: x {factor:.3g}"))
            right = max(_at(axis, at), _at(axis, at * factor)) + 6
            if right - 8 < mark < right + 46:  # beside the mark, not on it
                right = mark + 6
            parts.append(f'<text class="tick" x="{right:.1f}" y="{y + 10}">&#215; {factor:.2f}</text>')
            at, y = at * factor, y + thin
        parts.append(f'<path class="line ink" d="M{mark:.1f} {top + 4:.1f}V{top + height - 4:.1f}"/>')
        note = f"{split.published:.3g} published"
        parts.append(f'<text class="tick" x="{_WIDTH - _RIGHT + 12}" y="{top + height / 2 + 4:.1f}">{note}</text>')
        top += height
    one = _at(axis, 1.0)
    parts.append(f'<path class="frame" d="M{one:.1f} {_TOP}V{bottom}"/>')
    return drawing(title, parts, _WIDTH, bottom + _BOTTOM)


def _at(axis: Axis, value: float) -> float:
    return float(axis.pixels(np.array([value]))[0])


def _title(title: str) -> str:
    return f'<text class="title" x="8" y="20">{text_of(title)}</text>'


def _left(labels: Sequence[str]) -> float:
    """Room for the longest label."""
    return 24 + _LETTER * max(map(len, labels), default=0)


def _label(axis: Axis, text: str, y: float) -> str:
    return f'<text class="tick" x="{axis.first - 10:.1f}" y="{y + 13}" text-anchor="end">{text_of(text)}</text>'


def _box(axis: Axis, start: float, end: float, y: float, height: float, colour: str, name: str) -> str:
    low, high = sorted((_at(axis, start), _at(axis, end)))
    box = f"M{low:.1f} {y:.1f}H{high:.1f}v{height}H{low:.1f}z"
    return f'<path class="dot {colour}" d="{box}"><title>{text_of(name)}</title></path>'


def _key(entries: Sequence[tuple[str, str]]) -> tuple[list[str], int]:
    """The legend below the title, and how many lines it takes beyond the first; `ink` entries are lines."""
    parts, x, row = [], 8.0, 0
    for colour, name in entries:
        need = 40 + _LETTER * len(name)
        if x > 8 and x + need > _WIDTH:
            x, row = 8.0, row + 1
        y = row * _KEY_ROW
        mark = f'd="M{x + 7:.1f} {32 + y}v14"' if colour == "ink" else f'd="M{x:.1f} {34 + y}h14v10h-14z"'
        kind = "line ink" if colour == "ink" else f"dot {colour}"
        parts.append(f'<path class="{kind}" {mark}/><text class="tick" x="{x + 20:.1f}" y="{43 + y}">{text_of(name)}</text>')
        x += need
    return parts, row


def _scale(axis: Axis, values: Sequence[float], top: float, bottom: float, label: str) -> list[str]:
    parts = []
    for value in values:
        at = _at(axis, value)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{tick(value)}</text>')
    middle = (axis.first + axis.last) / 2
    parts.append(f'<text class="label" x="{middle:.0f}" y="{bottom + 36}">{text_of(label)}</text>')
    return parts
