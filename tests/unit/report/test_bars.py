"""Bars and treemaps: sizes in proportion, everything drawn, nothing outside, text escaped."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdasim.report.bars import Bar, bars
from hdasim.report.treemap import squarify, treemap

SVG = "{http://www.w3.org/2000/svg}"


def rectangles(svg: str) -> list[tuple[float, float, float, float]]:
    names = ("x", "y", "width", "height")
    return [tuple(float(rect.get(name, "nan")) for name in names) for rect in ET.fromstring(svg).iter(f"{SVG}rect")]  # type: ignore[misc]


def words(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


# ---- treemap ----


def test_the_example_of_the_paper() -> None:
    # Bruls et al., figure 3: areas 6, 6, 4, 3, 2, 2, 1 in a rectangle of 6 x 4
    found = squarify([6, 6, 4, 3, 2, 2, 1], 0, 0, 6, 4)
    assert found[:2] == [(0, 0, 3, 2), (0, 2, 3, 2)]
    assert found[2] == pytest.approx((3, 0, 12 / 7, 7 / 3))
    assert found[3] == pytest.approx((3 + 12 / 7, 0, 9 / 7, 7 / 3))


@given(sizes=st.lists(st.floats(0.01, 1000), min_size=1, max_size=30), width=st.floats(10, 900), height=st.floats(10, 900))
def test_rectangles_fill_the_whole_in_proportion(sizes: list[float], width: float, height: float) -> None:
    sizes.sort(reverse=True)
    found = squarify(sizes, 5, 7, width, height)
    scale = width * height / sum(sizes)
    assert [w * h for _, _, w, h in found] == pytest.approx([size * scale for size in sizes])
    for x, y, w, h in found:
        assert x >= 5 - 1e-6 and y >= 7 - 1e-6 and x + w <= 5 + width + 1e-6 and y + h <= 7 + height + 1e-6
    for i, (x, y, w, h) in enumerate(found):
        for u, v, s, t in found[i + 1 :]:
            assert min(x + w, u + s) - max(x, u) < 1e-6 or min(y + h, v + t) - max(y, v) < 1e-6


def test_a_treemap_names_its_parts_and_leaves_out_what_is_none() -> None:
    svg = treemap("die <a>", [("memory & links", 75, 0), ("array", 25, 1), ("host", 0, 2), ("dust", 1e-9, 3)], "mm2")
    assert len(rectangles(svg)) == 2
    assert words(svg) == ["die <a>", "memory & links75 mm2, 75.0 %", "array25 mm2, 25.0 %"]
    first, second = rectangles(svg)
    assert first[2] * first[3] == pytest.approx(3 * second[2] * second[3], rel=0.01)


def test_a_treemap_of_nothing_says_so() -> None:
    assert words(treemap("none", [])) == ["none", "no data"]


# ---- bars ----


def test_bars_are_in_proportion_and_stacked() -> None:
    svg = bars("dies", [Bar("a", [("x", 10), ("y", 30)], "mm2"), Bar("b", [("y", 20)]), Bar("c", None)], "mm2")
    legend, drawn = rectangles(svg)[:2], rectangles(svg)[2:]
    assert len(legend) == 2 and len(drawn) == 3
    (x0, _, w0, _), (x1, _, w1, _), (x2, _, w2, _) = drawn
    assert x1 == pytest.approx(x0 + w0) and x2 == x0
    assert (w1, w2) == (pytest.approx(3 * w0, abs=0.2), pytest.approx(2 * w0, abs=0.2))
    assert {"40 mm2", "20", "unknown", "x", "y", "mm2"} <= set(words(svg))


def test_colours_follow_names() -> None:
    svg = bars("t", [Bar("a", [("x", 1)]), Bar("b", [("y", 1), ("x", 1)])])
    assert re.findall(r'<rect class="(s\d)"', svg) == ["s0", "s1", "s0", "s1", "s0"]  # two in the legend


@pytest.mark.parametrize("rows", [[], [Bar("a", None)], [Bar("a", [("", 0.0)])], [Bar("a" * 500, [("", 1e-300)])]])
def test_bars_of_nothing_are_drawn(rows: list[Bar]) -> None:
    svg = bars("nothing", rows)
    assert ET.fromstring(svg) is not None
    assert "nan" not in svg and "inf" not in svg


def test_ticks_leave_room_for_each_other_beside_long_labels() -> None:
    svg = bars("t", [Bar("x" * 100, [("", 35000.0)]), Bar("y", [("", 1.0)])])
    ticks = re.findall(r'<text class="tick" x="([\d.]+)" y="\d+" text-anchor="middle">([^<]+)<', svg)
    places = [(float(at), 6.6 * len(text) / 2) for at, text in ticks]
    assert len(places) >= 2
    assert all(b - a > left + right for (a, left), (b, right) in pairwise(places))
