"""Jobs on Ray: a local Ray that starts and ends with the search, or a cluster that runs already.

Every node needs the same Python and hdasim; a worker with another version of hdasim is refused. An evaluation whose worker or
node dies is tried again on another, as Ray does by default: an evaluator has no side effects.
"""

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .. import __version__
from ..errors import MissingExtra, SpecError
from .loop import Evaluated, Job
from .runners import AHEAD, in_window
from .work import Broken, Done, work

#: Bytes of shared memory for objects, of which records need next to nothing. Ray's least is 75 MiB.
OBJECT_STORE = 80 << 20
#: Seconds within which a cluster has to accept a connection, and then to let us in.
ANSWER, JOIN = 10.0, 60.0
#: Ray as quiet as it goes: no usage report, no warning about accelerators.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
#: A Ray of our own: its processes end within seconds, not a minute, after ours was killed.
_OWN = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}


class RayRunner:
    """`name` as for `hdasim.search.runners.runner`; `workers` None: one per processor of the cluster.

    Ray starts with the context and ends with it. In between the standard output is standard error: Ray reports on the former.
    """

    def __init__(self, name: str, workers: int | None):
        for key, value in (_QUIET | (_OWN if name == "ray" else {})).items():
            os.environ.setdefault(key, value)
        try:
            import ray
        except ImportError as error:
            missing = "ray is not installed" if isinstance(error, ModuleNotFoundError) else f"ray cannot be imported ({error})"
            raise MissingExtra(f"{missing}; pip install 'hdasim[ray]'", place=f"--runner {name}") from None
        self.ray: Any = ray
        self.name, self.workers = name, workers or os.cpu_count() or 1
        self._given = workers is not None
        self._stdout = redirect_stdout(sys.stderr)

    def __enter__(self) -> Self:
        self._stdout.__enter__()
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self) -> None:
        rest = self.name.partition(":")[2]
        address = "local" if not rest else self.name if rest.startswith("//") else rest
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if address == "local":
            options |= {"num_cpus": self.workers, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
        try:
            with nullcontext() if address == "local" else _in_time(self.name, address):
                self.ray.init(address=address, **options)
        except (Exception, SystemExit) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            hint = "" if address == "local" else "; a cluster with token authentication needs RAY_AUTH_MODE=token here"
            raise SpecError(f"Ray cannot be reached or started: {reason}{hint}", place=f"--runner {self.name}") from None
        if not self._given:
            self.workers = max(1, int(self.ray.cluster_resources().get("CPU", 1)))
        self._work = self.ray.remote(num_cpus=1)(work)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.ray.shutdown()
        finally:
            self._stdout.__exit__(None, None, None)

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Evaluated]]:
        """See `Runner`. A worker that dies again and again ends the search (`Broken`)."""
        return in_window(jobs, AHEAD * self.workers, self._submit, self._ended, self._result, self._at_hand)

    def _submit(self, job: Job) -> Any:
        return self._work.remote(job.evaluator, job.spec, __version__)

    def _ended(self, handles: list[Any]) -> list[Any]:
        done: list[Any] = self.ray.wait(handles, num_returns=1)[0]
        return done

    def _at_hand(self, handles: list[Any]) -> list[Any]:
        done: list[Any] = self.ray.wait(handles, num_returns=len(handles), timeout=0)[0]
        return done

    def _result(self, handle: Any) -> Done:
        try:
            done: Done = self.ray.get(handle)
            return done
        except self.ray.exceptions.RayError as error:
            raise Broken(f"Ray lost an evaluation: {' '.join(str(error).split())[:200]}") from None


@contextmanager
def _in_time(name: str, address: str) -> Iterator[None]:
    """Reach a cluster, or say that it cannot be reached: Ray itself waits for ever then, and no interrupt ends that.

    So the interrupt of the keyboard ends this process at once for that time, as does a wait of `JOIN` seconds. Nothing is lost.
    """
    noted = Path(os.environ.get("RAY_TMPDIR") or "/tmp", "ray", "ray_current_cluster")
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or (noted.read_text(encoding="utf-8").strip() if noted.is_file() else "")
    if match := re.search(r"([^/:]+):([0-9]+)$", address):
        try:
            socket.create_connection((match[1], int(match[2])), timeout=ANSWER).close()
        except OSError as error:
            raise ConnectionError(f"no answer from {match[0]} ({error.strerror or error})") from None
    watch = threading.Timer(JOIN, _give_up, (name,))
    watch.daemon = True
    watch.start()
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_DFL) if here else None
    try:
        yield
    finally:
        watch.cancel()
        if here:
            signal.signal(signal.SIGINT, before)


def _give_up(name: str) -> None:
    reason = "what answers there is no Ray cluster that lets us in"
    os.write(2, f"--runner {name}: Ray cannot be reached or started: {reason}\n".encode())
    os._exit(2)
