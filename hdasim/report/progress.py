"""Progress of long runs on stderr: a bar on a terminal, a line every few seconds elsewhere, nothing for short runs."""

import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_QUIET, _EVERY = 1.0, 5.0


class Reporter:
    """Callable with (finished requests, all requests, simulated seconds, steps); use as a context manager."""

    def __init__(self) -> None:
        self.started = self.last = time.perf_counter()
        self.bar: Progress | None = None
        self.task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, finished: int, total: int, simulated: float, steps: int) -> None:
        now = time.perf_counter()
        if now - self.started < _QUIET:
            return
        if not sys.stderr.isatty():
            if now - self.last >= _EVERY:
                self.last = now
                sys.stderr.write(f"{finished:,} of {total:,} requests, {simulated:,.0f} s simulated, {steps:,} steps\n")
            return
        if self.bar is None:
            columns = (BarColumn(), TextColumn("{task.completed:,} of {task.total:,} requests, {task.description}"), TimeElapsedColumn())
            self.bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task("", total=total)
            self.bar.start()
        self.bar.update(self.task, completed=finished, description=f"{simulated:,.0f} s simulated, {steps:,} steps")
