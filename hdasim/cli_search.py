"""`hdasim search`: a design-space search that can be interrupted at any moment and goes on where it was."""

import argparse
import importlib
import re
import shlex
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from . import __version__
from .cli_parts import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_OK, add, whole
from .errors import SpecError

NO_DESIGN = 3


def search_parser(commands: Any, console: Any) -> None:
    """The command `search`; `console` makes the console that results are printed on."""
    parser = add(commands, "search", lambda args: run(args, console), "search for a design, by the method that the file names",
                 "hdasim search search.yaml --output-dir out\n"
                 "hdasim search search.yaml --output-dir out --resume --runner ray")  # fmt: skip
    parser.description += (
        "\n\nDecisions go to stderr as they are made, the result to stdout. DIR gets search.sqlite (each evaluation as soon as\n"
        "it is there), result.json, evaluations.csv, log.txt, spec.yaml. The results do not depend on --workers and --runner.\n"
        "Exit status 3: no design meets the targets."
    )
    option = parser.add_argument
    option("file", metavar="FILE", help="search file (YAML with a key method) or the name of a shipped search")
    option("--set", action="append", default=[], metavar="KEY=VALUE", help=(
        "override a key, e.g. constraints.area=400; may be given often"))  # fmt: skip
    option("--output-dir", metavar="DIR", help="where the files go (results/NAME)")
    option("--resume", action="store_true", help="go on with the search in DIR, if there is one; nothing is evaluated twice")
    option("--workers", type=whole(1024), metavar="N", help="processes (one per processor, of a Ray cluster: of its processors)")
    option("--runner", default="local", metavar="R", help=(
        "local (default), ray (started here), ray:auto, ray:HOST:PORT (one that runs), ray://HOST:PORT (Client)"))  # fmt: skip


def run(args: argparse.Namespace, console: Any) -> int:
    """Search, print, write the files; the exit code."""
    from .spec.load import locate
    from .spec.search import document_of, expanded_search, file_digests, load_search

    method, spec, document = load_search(args.file, args.set)

    from .report.files import make_folder, to_json
    from .search.loop import EvaluationFailed
    from .search.runners import check_runner
    from .search.store import Store
    from .search.work import Broken
    from .text import write_whole

    started = time.perf_counter()
    check_runner(args.runner)
    name = str(getattr(spec, "name", None) or Path(args.file).stem)
    folder = Path(args.output_dir if args.output_dir is not None else Path("results") / _folder_name(name))
    make_folder(folder)
    with locate(document):
        module = _module(method)
        made_from = {"hdasim_version": __version__, "method": method, "spec": document_of(method, spec)}
        made_from["files"] = file_digests(spec)
    with Store(folder, made_from, args.resume, args.runner, args.workers) as store:
        write_whole(folder / "spec.yaml", expanded_search(method, spec))
        try:
            with locate(document):
                found, count = _search(args, module, spec, store, folder)
        except KeyboardInterrupt:
            sys.stderr.write(f"interrupted; {_saved(args, folder, len(store))}\n")
            return EXIT_INTERRUPTED
        except (Broken, EvaluationFailed) as error:
            if args.debug:
                sys.stderr.write(getattr(error, "trace", ""))
                raise
            sys.stderr.write(f"{error}; {_saved(args, folder, len(store))}\n")
            return EXIT_INTERNAL
        meta = {"hdasim_version": __version__, "method": method, "seed": getattr(spec, "seed", None), "evaluations": count}
        result = {"name": name, **found, "meta": meta, "spec": made_from["spec"]}
        write_whole(folder / "result.json", to_json(result))
        if hasattr(module, "write_files"):
            module.write_files(result, folder)
        store.finish()
    if args.json:
        sys.stdout.write(to_json(result))
    else:
        module.print_result(result, console())
    spent, new = time.perf_counter() - started, store.added
    counts = f"{count:,} evaluations ({new:,} now, {count - new:,} known before)"
    sys.stderr.write(f"done: {counts} in {spent:.1f} s, files in {folder}\n")
    return NO_DESIGN if found.get("status") == "none" else EXIT_OK


def _search(args: argparse.Namespace, module: ModuleType, spec: Any, store: Any, folder: Path) -> tuple[dict[str, Any], int]:
    """(the method's document, number of evaluations that it asked for); writes evaluations.csv and log.txt."""
    from .report.progress import Reporter
    from .search.loop import Job, search
    from .search.output import Log, evaluations_csv
    from .search.runners import runner
    from .text import write_whole

    asked: dict[str, Job] = {}
    with Reporter() as reporter, Log(folder / "log.txt", reporter.say) as log, runner(args.runner, args.workers) as where:

        def progress(done: int, expected: int) -> None:
            reporter.show(done, expected, "evaluations")

        found = search(module.search(spec, log), store, where, progress, asked)
    write_whole(folder / "evaluations.csv", evaluations_csv(asked.values(), store.records(asked)))
    return found, len(asked)


def _saved(args: argparse.Namespace, folder: Path, count: int) -> str:
    overrides = "".join(f" --set {shlex.quote(override)}" for override in args.set)
    command = f"hdasim search {shlex.quote(args.file)}{overrides} --output-dir {shlex.quote(str(folder))} --resume"
    return f"{count:,} evaluations are saved, go on with: {command}"


def _module(method: str) -> ModuleType:
    from .search.loop import METHODS

    module = importlib.import_module(METHODS.get(method, method.partition(":")[0]))
    for name in ("search", "print_result"):
        if not callable(getattr(module, name, None)):
            raise SpecError(f"{module.__name__} has no function {name}; see hdasim.search.loop", ("method",))
    return module


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "search"
