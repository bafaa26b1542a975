"""Charts and pages: well-formed, self-contained, points where the axes say, gaps and thinning that lose nothing one can see."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from hdasim.report.axis import log_ticks, ticks
from hdasim.report.svg import Series, Table, _thinned, cdf, chart, legend_of, page

SVG = "{http://www.w3.org/2000/svg}"


def paths(svg: str) -> list[str]:
    """The `d` of the drawn series."""
    return [p.get("d", "") for p in ET.fromstring(svg).findall(f"{SVG}path") if p.find(f"{SVG}title") is not None]


def test_a_line_by_hand() -> None:
    # x from 0 to 10 over pixels 66 to 622; y from 0 to 5 over 312 up to 52 (34 and one row of the legend, 18)
    assert paths(chart([Series("a", [0, 5, 10], [0, 5, 2.5])], title="t")) == ["M66.0 312.0L344.0 52.0L622.0 182.0"]


def test_steps_hold_until_the_next_x() -> None:
    assert paths(chart([Series("a", [0, 10], [5, 0], "step")], title="t")) == ["M66.0 52.0H622.0V312.0"]


def test_a_logarithmic_axis_by_hand() -> None:
    # decades 1 to 100: 10 is in the middle; what is not above 0 is left out
    assert paths(chart([Series("a", [0, 1, 10, 100], [9, 0, 0, 1])], title="t", log_x=True))[0].startswith(
        "M66.0 312.0L344.0 312.0"
    )


def test_gaps_and_single_points() -> None:
    svg = chart([Series("a", [0, 1, 2, 3, 4], [1, 1, np.nan, 1, np.inf])], title="t")
    assert paths(svg) == ["M66.0 52.0L251.3 52.0M622.0 52.0h0.1"]  # the ends of the axis are those of what can be drawn: 0, 3


def test_stars_colours_and_ticks() -> None:
    limit = Series("limit", [4, 4], [0, 3], colour=-1)
    series = [Series("a", [1, 2, 4], [1, 2, 3]), Series("best", [2], [2], "stars", colour=0), limit]
    svg = chart(series, title="t", log_x=True, x_ticks=(1, 2, 4, 8), legend=False)
    root = ET.fromstring(svg)
    star = next(g for g in root.findall(f"{SVG}g") if g.get("class") == "dot s0")
    assert len(star) == 2  # its title and one star
    assert [t.text for t in root.iter(f"{SVG}text") if t.get("text-anchor") == "middle"] == ["1", "2", "4"]  # 8 is beyond the end
    assert "best" not in [t.text for t in root.iter(f"{SVG}text")]
    legend = ET.fromstring(legend_of(series, 300))
    assert [t.text for t in legend.iter(f"{SVG}text")] == ["a", "best", "limit"]
    assert "line ink" in svg


def test_numbers_below_an_axis_never_touch() -> None:
    svg = chart([Series("a", [1000, 1010], [0, 1])], title="t", width=200, x_ticks=range(1000, 1011))
    places = [float(t.get("x", "")) for t in ET.fromstring(svg).iter(f"{SVG}text") if t.get("text-anchor") == "middle"]
    assert len(places) > 1
    assert all(b - a >= 5 * 6.6 for a, b in pairwise(places))


def test_what_leaves_given_ends_is_cut_off() -> None:
    svg = chart([Series("a", [0, 10], [0, 100])], title="t", x_range=(0, 10), y_range=(0, 50))
    assert paths(svg) == ["M66.0 312.0L622.0 52.0"]
    dots = chart([Series("a", [0, 10], [0, 100], "points")], title="t", x_range=(0, 10), y_range=(0, 50))
    assert dots.count('r="2.5"') == 1


@pytest.mark.parametrize("series", [[], [Series("", [], [])], [Series("a", [np.nan], [1])], [Series("a", [-1], [1])]])
@pytest.mark.parametrize("log", [False, True])
def test_charts_without_data_are_charts(series: list[Series], log: bool) -> None:
    svg = chart(series, title="t", log_x=log, log_y=log)
    assert ET.fromstring(svg).tag == f"{SVG}svg"
    assert "nan" not in svg
    assert "no data" in svg or not log


def test_ticks_by_hand() -> None:
    assert ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert ticks(0, 0.7) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert ticks(-3, 3) == [-3, -2, -1, 0, 1, 2, 3]
    assert log_ticks(1, 100) == [1, 2, 5, 10, 20, 50, 100]
    assert log_ticks(1, 1e8) == [10.0**p for p in range(9)]
    assert log_ticks(3, 4) == [3.0, 3.5, 4.0]  # a quarter of 1 rounds up to 0.5


def test_cdf_by_hand() -> None:
    got = cdf("a", [3, 1, 2, np.nan, 2])
    assert np.asarray(got.x).tolist() == [1, 1, 2, 2, 3]
    assert np.asarray(got.y).tolist() == [0, 0.25, 0.5, 0.75, 1]
    many = cdf("a", np.arange(10_000))
    assert (np.asarray(many.x)[-1], np.asarray(many.y)[-1], len(many.x)) == (9999, 1.0, 1002)


def test_thinning_keeps_the_extremes_of_every_column() -> None:
    rng = np.random.default_rng(0)
    px, py = np.sort(rng.uniform(0, 300, 50_000)), rng.normal(size=50_000)
    kept = _thinned(px, py)
    assert kept.size < 4 * 601
    for column in (0, 17, 599):
        inside = np.flatnonzero(np.floor(px * 2) == column)
        assert {inside[0], inside[-1], inside[py[inside].argmin()], inside[py[inside].argmax()]} <= set(kept.tolist())
    assert _thinned(px[:10], py[:10]).tolist() == list(range(10))


def test_a_page_is_whole_safe_and_the_same_every_time() -> None:
    def make() -> str:
        charts = [chart([Series("<b>&\x00", [1, 2], [3, 4], dashed=True)], title='"<script>', x_label="s & t")]
        return page("a <b>", charts, [Table("t", ["k", "v"], [["<i>", 1234567.0], ["x", None], ["y", 0.123456]])], "note <u>")

    html = make()
    assert html == make()
    assert "<script" not in html
    assert "\x00" not in html
    assert re.findall(r"https?://[^\"]*", html) == ["http://www.w3.org/2000/svg"]  # nothing is fetched
    assert "1,234,567" in html
    assert ">0.1235<" in html
    assert "prefers-color-scheme:dark" in html
    ET.fromstring(re.search(r"<svg.*?</svg>", html, re.S).group())  # type: ignore[union-attr]


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="must be lists of one length"):
        chart([Series("a", [1], [1, 2])], title="t")
