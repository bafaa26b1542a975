"""Line charts of a sweep: panels side by side, one line for each curve, a star on its knee."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Okabe and Ito's colours, which readers with any colour vision tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933", "#882255")


@dataclass(frozen=True)
class Curve:
    """`mark` is the x of the knee, `dashed` draws a reference. Curves with the same label share a colour and a legend entry."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    mark: float | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """Logarithmic in x; `upright` and `level` (value, name) draw a line each; `least` is where y
    starts if it is not logarithmic.
    """

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    upright: tuple[float, str] | None = None
    level: tuple[float, str] | None = None
    logarithmic: bool = True
    least: float = 0.0
    ticks: Sequence[float] = ()


def draw(title: str, rows: Sequence[Sequence[Panel]], path: Path, star: str = "knee") -> None:
    """Draw `rows` of panels into `path`; the kind of file follows its suffix."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = max(map(len, rows))
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(4.6 * columns + 0.4, 3.5 * len(rows) + 1.2), squeeze=False, layout="constrained"
    )
    labels = dict.fromkeys(curve.label for row in rows for panel in row for curve in panel.curves)
    colour = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)}
    handles: dict[str, object] = {}
    for axis_row, row in zip(axes, rows, strict=True):
        for axis in axis_row[len(row) :]:
            axis.set_visible(False)
        for axis, panel in zip(axis_row, row, strict=False):
            _panel(axis, panel, colour, star)
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
    figure.suptitle(title, fontsize=12)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=min(len(handles), 5), frameon=False, fontsize=9
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(axis: Any, panel: Panel, colour: dict[str, str], star: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if panel.upright is not None:
        axis.axvline(panel.upright[0], color="0.5", linewidth=1, linestyle=":", label=panel.upright[1], zorder=1)
    if panel.level is not None:
        axis.axhline(panel.level[0], color="#d62728", linewidth=1, label=panel.level[1], zorder=1)
    for curve in panel.curves:
        axis.plot(
            curve.xs, curve.ys, color=colour[curve.label], linestyle="--" if curve.dashed else "-", linewidth=1.4,
            marker=None if curve.dashed else "o", markersize=3, label=curve.label,
        )  # fmt: skip
        if curve.mark is not None:
            axis.plot(
                curve.mark, _at(curve, curve.mark), "*", color=colour[curve.label], markersize=11, markeredgecolor="white",
                markeredgewidth=0.6, zorder=4,
            )  # fmt: skip
    if any(curve.mark is not None for curve in panel.curves):
        axis.plot([], [], "*", color="0.4", markersize=9, linestyle="none", label=star)
    axis.set_xscale("log", base=2)
    if panel.logarithmic:
        axis.set_yscale("log")
        heights = [y for curve in panel.curves for y in curve.ys]
        narrow = max(heights) / min(heights) < 30
        axis.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: f"{y:,g}") if narrow else NullFormatter())
        axis.tick_params(which="minor", labelsize=8)
    else:
        axis.set_ylim(panel.least, 1.08 * max(y for curve in panel.curves for y in curve.ys))
    if panel.ticks:
        axis.set_xticks(list(panel.ticks), [f"{t:,g}" for t in panel.ticks], rotation=40 if max(panel.ticks) > 999 else 0)
    axis.set_title(panel.title, fontsize=10)
    axis.set_xlabel(panel.x, fontsize=9)
    axis.set_ylabel(panel.y, fontsize=9)
    axis.grid(visible=True, color="0.92", linewidth=0.6)
    axis.tick_params(labelsize=8)


def _at(curve: Curve, x: float) -> float:
    """Height of the curve at x, straight between its points."""
    import numpy as np

    return float(np.exp(np.interp(np.log(x), np.log(curve.xs), np.log(np.maximum(curve.ys, 1e-300)))))
