"""Where jobs are evaluated: in this process, in worker processes on this machine, or on Ray. The records are the same.

Worker processes are started afresh (spawn), as forking a process with threads is a known source of hangs. They leave the
interrupt of the keyboard to this process, and end as soon as it does, even if it is killed: each watches a pipe whose other end
only this process holds.
"""

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection
from types import FrameType, TracebackType
from typing import Any, Protocol, Self, TypeVar

from .. import __version__
from ..errors import SpecError
from .loop import Evaluated, Job, Runner
from .work import Broken, Done, evaluated, work

Handle = TypeVar("Handle")
#: Jobs handed out for each worker: the next one waits beside it, and an interrupt has little to wait for.
AHEAD = 2


class Managed(Runner, Protocol):
    """A runner with workers that end with the context."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def runner(name: str, workers: int | None) -> Managed:
    """The runner that ``--runner`` names: local, ray, ray:ADDRESS or ray://HOST:PORT. `workers` None: one per processor."""
    if name == "local":
        count = workers or os.cpu_count() or 1
        return InProcess() if count == 1 else Processes(count)
    from .ray_runner import RayRunner

    return RayRunner(name, workers)


def check_runner(name: str) -> None:
    """`SpecError` if ``--runner`` names none."""
    if not re.fullmatch(r"local|ray(:auto|:(//)?[^/:\s]+:[0-9]{1,5})?", name):
        expected = "expected local, ray (started here), ray:auto, ray:HOST:PORT (one that runs) or ray://HOST:PORT (Ray Client)"
        raise SpecError(f"{expected}, got {name[:40]!r}", place="--runner")


def in_window(
    jobs: Sequence[Job], window: int, submit: Callable[[Job], Handle], ended: Callable[[list[Handle]], list[Handle]],
    result: Callable[[Handle], Done], at_hand: Callable[[list[Handle]], list[Handle]],
) -> Iterator[tuple[int, Evaluated]]:
    """Hand out jobs, at most `window` at a time, and yield what became of them as they end.

    `ended` waits until at least one of the handles has ended; `at_hand` says which have, without waiting: an interrupt still
    yields those.
    """
    waiting = iter(enumerate(jobs))
    pending: dict[Handle, int] = {}
    while True:
        pending.update((submit(job), index) for index, job in islice(waiting, window - len(pending)))
        if not pending:
            return
        interrupted = False
        try:
            done = ended(list(pending))
        except KeyboardInterrupt:
            interrupted, done = True, at_hand(list(pending))
        results = [(pending.pop(handle), result(handle)) for handle in done]
        for index, what in sorted(results, key=lambda pair: bool(pair[1].failed)):
            yield index, evaluated(jobs[index], what)
        if interrupted:
            raise KeyboardInterrupt


class InProcess:
    """One job after the other, in this process."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Evaluated]]:
        """See `Runner`."""
        for index, job in enumerate(jobs):
            with _interrupts_last():
                done = work(job.evaluator, job.spec, __version__)
            yield index, evaluated(job, done)


@contextmanager
def _interrupts_last() -> Iterator[None]:
    """An interrupt that what runs inside took as its own end (a simulation then gives what it has so far) is raised again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts:
        raise KeyboardInterrupt


class Processes:
    """Worker processes on this machine."""

    def __init__(self, workers: int):
        self.workers = workers
        context = multiprocessing.get_context("spawn")
        self._watched, self._held = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(self._watched,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        self._held.close()
        self._watched.close()

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Evaluated]]:
        """See `Runner`. A worker that dies ends the search (`Broken`)."""
        return in_window(jobs, AHEAD * self.workers, self._submit, self._ended, self._result, self._at_hand)

    def _submit(self, job: Job) -> "Future[Done]":
        # A submission may start a worker; blocked signals stay blocked in it, so that it is not interrupted while it starts.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._pool.submit(work, job.evaluator, job.spec, __version__)
        except BrokenProcessPool:
            raise _died() from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @staticmethod
    def _ended(futures: "list[Future[Done]]") -> "list[Future[Done]]":
        return list(wait(futures, return_when=FIRST_COMPLETED).done)

    @staticmethod
    def _at_hand(futures: "list[Future[Done]]") -> "list[Future[Done]]":
        return [future for future in futures if future.done()]

    @staticmethod
    def _result(future: "Future[Done]") -> Done:
        try:
            return future.result()
        except BrokenProcessPool:
            raise _died() from None


def _died() -> Broken:
    return Broken("a worker process has died (killed, or out of memory); use fewer --workers if memory is short")


def _begin(pipe: Connection) -> None:
    """Prepare a worker: no interrupts, and a thread that ends it with the search's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()


def _end_with(pipe: Connection) -> Any:
    try:
        pipe.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
