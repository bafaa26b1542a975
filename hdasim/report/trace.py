"""A page about a trace: its statistics, arrivals over time, and the distributions of lengths and gaps."""

import numpy as np

from ..serving.requests import Floats, Requests, known
from .svg import Series, Table, cdf, chart, page

#: Widths of bins in seconds; the first that gives no more bins than this is taken.
_WIDTHS, _MOST_BINS = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0), 1000


def trace_page(name: str, requests: Requests, statistics: dict[str, float | None]) -> str:
    """The page as HTML text.

    Parameters
    ----------
    statistics
        Those of `hdasim.serving.requests.describe`.
    """
    arrival = requests.arrival_s[requests.is_root()]
    charts = [
        _arrivals(arrival),
        chart([cdf("input", requests.input_len), cdf("output", requests.output_len)],
              title="Lengths", x_label="tokens", y_label="share of requests at or below", log_x=True),
        _gaps(arrival),
    ]  # fmt: skip
    if requests.parent is not None:
        think = requests.arrival_s[requests.parent >= 0]
        charts.append(chart([cdf("", think)], title="Think times", x_label="s", y_label="share of later turns at or below"))
    if requests.hash_ids is not None:
        charts.append(_reuse(requests))
    table = Table("Statistics", ["", "value"], [[key.replace("_", " "), value] for key, value in known(statistics).items()])
    return page(f"Trace {name}", charts, [table])


def bin_width(span: float) -> float:
    """Width in seconds of the bins for arrivals over `span` seconds: 10 s, unless those are too many or fewer than twenty."""
    widths = [width for width in _WIDTHS if span / width <= _MOST_BINS] or [_WIDTHS[-1]]
    return max([width for width in widths if width <= 10 and span / width >= 20] or widths[:1])


def _arrivals(arrival: Floats) -> str:
    width = bin_width(float(arrival[-1]))
    place = np.floor(arrival / width).astype(np.int64)
    filled, counts = np.unique(place, return_counts=True)
    # zeros only where they stand beside a filled bin: enough for steps, however long the gaps are
    edges = np.unique(np.concatenate([filled, filled + 1, filled[filled > 0] - 1]))
    values = np.zeros(edges.size)
    values[np.searchsorted(edges, filled)] = counts
    steps = Series("", edges * width, values, "step")
    return chart([steps], title=f"Arrivals in bins of {width:g} s", x_label="s", y_label="requests", height=300)


def _gaps(arrival: Floats) -> str:
    """The gaps, beside exponential ones of the same mean; on a logarithmic axis unless many are 0, which that does not have."""
    gaps = np.diff(arrival)
    log = bool(np.mean(gaps == 0) < 0.1) if gaps.size else False
    series = [cdf("this trace", gaps)]
    if gaps.size and gaps.mean() > 0:
        share = np.linspace(0.001, 0.999, 200)
        series.append(Series("Poisson arrivals", -gaps.mean() * np.log1p(-share), share, dashed=True))
    return chart(series, title="Gaps between arrivals", x_label="s", y_label="share of gaps at or below", log_x=log)


def _reuse(requests: Requests) -> str:
    """The share of blocks seen before, after so many requests."""
    ids, offsets = requests.hash_ids, requests.hash_offsets
    assert ids is not None
    assert offsets is not None
    new = np.zeros(ids.size)
    new[np.unique(ids, return_index=True)[1]] = 1
    computed = np.concatenate([[0.0], np.cumsum(new)])[offsets[1:]]
    total = offsets[1:]
    share = np.divide(total - computed, total, out=np.full(len(requests), np.nan), where=total > 0)
    series = [Series("", np.arange(1, len(requests) + 1), share)]
    return chart(series, title="Prompt blocks seen before", x_label="requests so far", y_label="share of blocks", height=300)
