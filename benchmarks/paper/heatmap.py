"""Heat maps of the share of peak: as text, shaded on a terminal, and as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

Point = dict[str, Any]
#: The share of peak at and below which a cell is darkest; at the peak it is lightest.
LEAST = 0.5
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


def _shade(share: float) -> str:
    """Dark blue at `LEAST` of the peak to yellow at the peak."""
    s = min(max((share - LEAST) / (1 - LEAST), 0.0), 1.0)
    low, high = (40, 40, 110), (250, 220, 70)
    red, green, blue = (round(a + s * (b - a)) for a, b in zip(low, high, strict=True))
    return f"{'black' if s > 0.5 else 'white'} on rgb({red},{green},{blue})"


def draw(points: Sequence[Point], reference_tokens: int, chosen: tuple[int, int], title: str, path: Path) -> None:
    """Maps of every judgement side by side: rows x columns at `reference_tokens` above, tokens x square arrays below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    judgements = list(dict.fromkeys(p["judged_by"] for p in points))
    figure, axes = plt.subplots(
        2, len(judgements), figsize=(5.4 * len(judgements), 9.2), squeeze=False, layout="constrained",
        gridspec_kw={"height_ratios": [1.5, 1]},
    )  # fmt: skip
    for column, judged in enumerate(judgements):
        mine = [p for p in points if p["judged_by"] == judged]
        size_map = [p for p in mine if p["tokens"] == reference_tokens]
        image = _panel(axes[0][column], size_map, "rows", "cols", chosen)
        axes[0][column].set_title(f"{judged}\n{reference_tokens:,} tokens", fontsize=11)
        _panel(axes[1][column], [p for p in mine if p["rows"] == p["cols"]], "tokens", "rows", chosen)
        axes[1][column].set_title("square arrays", fontsize=11)
    figure.colorbar(image, ax=axes, label="GEMM rate, % of the MAC budget's peak", shrink=0.6, extend="min")
    figure.suptitle(title, fontsize=13)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, handletextpad=0.4)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(axis: Any, points: Sequence[Point], y: str, x: str, chosen: tuple[int, int]) -> Any:
    """One map; values in the cells, a star on the optimum, a frame around `chosen`."""
    import numpy as np

    ys, xs, at = _grid(points, y, x)
    shares = np.array([[100 * at[r, c]["of_budget"] if (r, c) in at else np.nan for c in xs] for r in ys])
    image = axis.imshow(shares, origin="lower", aspect="auto", cmap="cividis", vmin=100 * LEAST, vmax=100)
    axis.set_xticks(range(len(xs)), xs, fontsize=8)
    axis.set_yticks(range(len(ys)), [f"{v:,}" for v in ys], fontsize=8)
    axis.set_xlabel(AXES["side" if y == "tokens" else x])
    axis.set_ylabel(AXES[y])
    axis.set_facecolor("0.92")
    axis.tick_params(length=0)
    axis.set_xticks(np.arange(0.5, len(xs) - 1), minor=True)
    axis.set_yticks(np.arange(0.5, len(ys) - 1), minor=True)
    axis.grid(which="minor", color="white", linewidth=0.6)
    for i, j in np.ndindex(shares.shape):
        if not np.isnan(shares[i, j]):
            light = shares[i, j] > 75
            axis.text(j, i, f"{shares[i, j]:.1f}", ha="center", va="center", fontsize=7, color="black" if light else "white")
    _marks(axis, points, ys, xs, y, x, chosen)
    return image


def _marks(axis: Any, points: Sequence[Point], ys: list[int], xs: list[int], y: str, x: str, chosen: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    best = _bests(points, y)
    axis.plot(
        [xs.index(p[x]) - 0.36 for p in best], [ys.index(p[y]) + 0.33 for p in best], "*", color="#d62728", markersize=10,
        markeredgecolor="white", markeredgewidth=0.6, linestyle="none", label="optimum", clip_on=False, zorder=4,
    )  # fmt: skip
    label = f"{chosen[0]} x {chosen[1]}, as published"
    for p in points:
        if (p["rows"], p["cols"]) == chosen:
            corner = xs.index(p[x]) - 0.5, ys.index(p[y]) - 0.5
            axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#d62728", linewidth=1.8, zorder=3, label=label))
            label = "_"  # one entry in the legend
