"""Progress of long runs on stderr: a bar on a terminal, a line every few seconds elsewhere, nothing for short runs.

rich is imported when the bar is first shown: most runs are over before, and errors should not wait for it.
"""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress

_QUIET, _EVERY = 1.0, 5.0


class Reporter:
    """Callable with (finished requests, all requests, simulated seconds, steps), or `show` for what else runs long.

    Use as a context manager.
    """

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.last = -_EVERY  # the first line comes as soon as the run counts as long
        self.bar: Progress | None = None
        self.task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, finished: int, total: int, simulated: float, steps: int) -> None:
        self.show(finished, total, f"requests, {simulated:,.0f} s simulated, {steps:,} steps")

    def show(self, finished: int, total: int, what: str = "cases") -> None:
        """Say that `finished` of `total` are done; `what` names them."""
        now = time.perf_counter()
        if now - self.started < _QUIET:
            return
        if not sys.stderr.isatty():
            if now - self.last >= _EVERY:
                self.last = now
                sys.stderr.write(f"{finished:,} of {total:,} {what}\n")
            return
        if self.bar is None:
            self.bar = _bar()
            self.task = self.bar.add_task("", total=total)
            self.bar.start()
        self.bar.update(self.task, completed=finished, description=what)

    def say(self, text: str) -> None:
        """Write a line to stderr, above the bar if there is one."""
        if self.bar is None:
            sys.stderr.write(f"{text}\n")
        else:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    text = TextColumn("{task.completed:,} of {task.total:,} {task.description}")
    return Progress(BarColumn(), text, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True)
