"""The C tests and the fuzzer, compiled with sanitizers and every warning an error; and the core as it ships, likewise."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = sorted((ROOT / "csrc").glob("*.c"))
PROGRAMS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", f"-I{ROOT / 'csrc'}"]
SANITIZERS = ["-g", "-O1", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
COMPILER = os.environ.get("CC", "cc").split()

#: Without what a sanitized interpreter needs: preloaded runtimes and leaks that are not ours.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS")}

pytestmark = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason=f"no C compiler {COMPILER[0]!r}; install one or set CC")


def run(command: list[str]) -> str:
    """Standard output; fails with everything that the command said."""
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}\nexit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def objects(sources: list[Path], folder: Path, flags: list[str]) -> list[str]:
    targets = [str(folder / f"{source.stem}.o") for source in sources]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        commands = [[*COMPILER, *WARNINGS, *flags, "-c", str(s), "-o", t] for s, t in zip(sources, targets, strict=True)]
        list(pool.map(run, commands))
    return targets


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder for executables and the objects of the core, with sanitizers."""
    folder = tmp_path_factory.mktemp("c")
    return folder, objects(SOURCES, folder, SANITIZERS)


def executable(source: Path, sanitized: tuple[Path, list[str]], *flags: str) -> str:
    folder, core = sanitized
    target = str(folder / source.stem)
    run([*COMPILER, *WARNINGS, *SANITIZERS, *flags, str(source), *core, "-lm", "-o", target])
    return target


def test_there_are_programs() -> None:
    assert {p.stem for p in PROGRAMS} == {
        "test_units", "test_noc", "test_schedule", "test_links", "test_program", "test_serve", "test_kv", "test_rank",
    }  # fmt: skip


@pytest.mark.parametrize("source", PROGRAMS, ids=lambda path: path.stem)
def test_program(source: Path, sanitized: tuple[Path, list[str]]) -> None:
    run([executable(source, sanitized, "-O0")])


@pytest.mark.parametrize(
    ("name", "count"), [("fuzz", 10_000), ("fuzz_profile", 10_000), ("fuzz_scalesim", 1_000), ("fuzz_serve", 5_000)]
)
def test_fuzz(name: str, count: int, sanitized: tuple[Path, list[str]], tmp_path: Path) -> None:
    fuzz = executable(ROOT / "tests" / "c" / f"{name}.c", sanitized)
    assert run([fuzz, "--seed", "1", "--count", str(count)]) == f"{count} inputs\n"
    for i, data in enumerate((b"", b"\0", b"\xff" * 300, bytes(range(256)) * 4)):
        path = tmp_path / str(i)
        path.write_bytes(data)
        run([fuzz, str(path)])


def test_core_compiles_without_warnings_as_it_ships(tmp_path: Path) -> None:
    objects(SOURCES, tmp_path, ["-O2", "-ffp-contract=off"])
