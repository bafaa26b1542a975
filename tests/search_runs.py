"""`hdasim search` as a process: started, watched, killed, and what it leaves. For tests of toy and real searches."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).parent
#: What has to be the same, byte for byte, however a search ran.
SAME = ("result.json", "evaluations.csv", "log.txt", "spec.yaml")
#: What makes a part of a shipped search of ADOR's method, about 100 evaluations, as overrides.
ADOR = ("space.sides=[32, 64, 96]", "space.core_counts=[16, 32]", "space.local_memories=[512 KiB, 1 MiB]", "max_iterations=2",
        "workload.num_prompts=200", "conditions.batch_size=32", "targets.request_throughput=7")  # fmt: skip
_MARK = "HDASIM_TEST_MARK"


@dataclass
class Run:
    """One search process in a session of its own; `mark` is in the environment of all processes that it starts."""

    folder: Path
    process: "subprocess.Popen[str]"
    mark: str

    def kill(self) -> None:
        """SIGKILL, to the search alone: its workers have to notice."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):  # a worker that did not notice would hold them open
            assert pipe is not None
            pipe.close()

    def interrupt(self) -> None:
        """Ctrl-C, which all processes get."""
        os.killpg(self.process.pid, signal.SIGINT)

    def left(self) -> list[str]:
        """Command lines of processes that it started and that still run."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"{_MARK}={self.mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # it has ended, or belongs to somebody else
        return found

    def all_gone(self, seconds: float = 20.0, but: str = "\0") -> bool:
        """Whether all its processes, `but` those with this in their command line, end within so many seconds."""
        end = time.monotonic() + seconds
        while any(but not in command for command in self.left()):
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True


@dataclass
class Searches:
    """Runs of one search file in a working directory. `seen` collects what evaluators append there (TOY_SEEN)."""

    directory: Path
    file: str
    options: tuple[str, ...] = ()
    runs: list[Run] = field(default_factory=list)

    @property
    def seen(self) -> Path:
        return self.directory / "seen.txt"

    def start(self, folder: str, *options: str) -> Run:
        mark = uuid.uuid4().hex
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, "PYTHONPATH": path, "TOY_SEEN": str(self.seen), _MARK: mark}
        command = [sys.executable, "-m", "hdasim", "search", self.file, "--output-dir", folder, *self.options, *options]
        process = subprocess.Popen(command, cwd=self.directory, env=environment, text=True, start_new_session=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        self.runs.append(Run(self.directory / folder, process, mark))
        return self.runs[-1]

    def whole(self, folder: str, *options: str, code: int = 0) -> tuple[str, str]:
        """(stdout, stderr) of a run to its end."""
        run = self.start(folder, *options)
        out, err = run.process.communicate(timeout=600)
        assert run.process.returncode == code, err
        return out, err

    def contents(self, folder: str) -> dict[str, bytes]:
        return {name: (self.directory / folder / name).read_bytes() for name in SAME}


def recorded(folder: Path) -> dict[str, tuple[str, int]]:
    """The store's (spec, run) by key; nothing if there is no store yet."""
    path = folder / "search.sqlite"
    if not path.exists():
        return {}
    reader = sqlite3.connect(path, timeout=30)
    try:
        return {key: (spec, run) for key, spec, run in reader.execute("SELECT key, spec, run FROM evaluations")}
    except sqlite3.OperationalError:  # killed before its tables were there
        return {}
    finally:
        reader.close()


def per_run(folder: Path) -> Counter[int]:
    """How many of the records each run made."""
    return Counter(run for _, run in recorded(folder).values())
