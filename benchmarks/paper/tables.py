"""Text tables alike in all experiments."""

from collections.abc import Iterable

from rich.table import Table


def plain(title: str, columns: Iterable[str], left: int = 1, caption: str | None = None) -> Table:
    """A table without rules whose first `left` columns are text, the others numbers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0), caption=caption)
    table.caption_justify = "left"
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < left else "right", no_wrap=True)
    return table


def percent(share: float) -> str:
    """Percents: a decimal below 10 %, none from there on."""
    return f"{100 * share:.{0 if share >= 0.1 else 1}f}"
