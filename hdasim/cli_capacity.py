"""`hdasim capacity`: the highest request rate that meets the service levels."""

import argparse
import hashlib
import math
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

from . import __version__
from .cli_parts import warn_of_borrowed
from .errors import SpecError
from .units import parse

EXAMPLE = (
    "hdasim capacity ador-llama3-8b-chat-strict\n"
    "hdasim capacity model.yaml --seeds 5 --curve --plot curve.html"
)  # fmt: skip
NO_CAPACITY = 3
_MOST_SEEDS = 100
#: Seconds between two writes of the runs done so far.
_EVERY = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options beside FILE, --set and --json."""
    parser.description = (
        f"{parser.description}\n\nEach seed's highest rate is bracketed and bisected; a rate passes if all goals of slo are\n"
        "met and the queue does not grow. The capacity is the mean over seeds. Exit status 3: no rate meets the goals."
    )
    add = parser.add_argument
    add("--seeds", type=int, default=3, metavar="N", help="how many, from the experiment's seed on (3)")
    add("--min-rate", metavar="R", help="lowest rate tried, requests/s (1/256 of the throughput)")
    add("--max-rate", metavar="R", help="highest rate tried, requests/s (16 times the throughput)")
    add("--tolerance", default="0.02", metavar="X", help="stop when lowest failing / highest passing rate <= 1 + X (0.02)")
    add("--num-prompts", type=int, metavar="N", help=(
        "requests of a run (8192, or the file's number if that is more; a trace: all)"))  # fmt: skip
    add("--goals-only", action="store_true", help="as Sarathi-Serve: a rate passes though the queue grows, if the goals are met")
    add("--curve", action="store_true", help="latency at 13 rates, from a tenth to 1.5 times the capacity")
    add("--plot", metavar="OUT.html", help="draw the curve (implies --curve)")
    add("--output-dir", metavar="DIR", help="where capacity.json goes (results/NAME)")
    add("--resume", action="store_true", help="keep the runs in DIR/capacity.json, if they are of the same experiment")
    add("--workers", type=int, metavar="N", help="threads (one per processor); the results do not depend on it")


def run(args: argparse.Namespace, console: Any) -> int:
    """Search, print, and write capacity.json; the exit code."""
    from .spec.load import locate, open_experiment

    experiment, document = open_experiment(args.file, args.set)

    from .report.capacity import answer, print_capacity
    from .report.files import make_folder, to_json
    from .report.progress import Reporter
    from .search import capacity

    with locate(document):
        settings = _settings(args, experiment)
        stop = threading.Event()
        evaluate = capacity.simulator(experiment, args.goals_only, stop)
        folder = Path(args.output_dir if args.output_dir is not None else Path("results") / _folder_name(experiment.name))
        make_folder(folder)
        key = _key(experiment, args.goals_only)
        known = _known(folder, key) if args.resume else []
        path = folder / "capacity.json"
        if args.plot is not None:
            make_folder(Path(args.plot).resolve().parent)
        expected = len(settings.seeds) * (9 + (len(capacity.CURVE) if settings.curve else 0))
        saved = -_EVERY
        with Reporter() as reporter:

            def report(point: capacity.Point, done: list[capacity.Point]) -> None:
                nonlocal saved
                if time.monotonic() - saved >= _EVERY:
                    _write(path, to_json({"status": "interrupted", "made_from": key, "points": done}))
                    saved = time.monotonic()
                rate = "all at once" if math.isinf(point.rate) else f"{point.rate:.4g} req/s"
                reporter.show(len(done), max(expected, len(done)), f"runs, {rate} {'passes' if point.passed else 'fails'}")

            runs = capacity.Runs(evaluate, known, report, stop)
            found = capacity.document(capacity.search(runs, settings))
    whole = {"name": experiment.name, **found, "made_from": key}
    _write(path, to_json(whole))
    if args.plot is not None:
        from .report.capacity import curve_page

        _write(Path(args.plot), curve_page(experiment.name, found))
    if args.json:
        sys.stdout.write(to_json(whole))
    else:
        print_capacity(experiment.name, found, console())
    warn_of_borrowed(experiment)
    if found["interrupted"]:
        sys.stderr.write(f"interrupted; {len(found['points'])} runs are saved in {path}, --resume does the rest\n")
        return 130
    sys.stderr.write(f"{answer(found)}; {len(found['points'])} runs in {path}\n" if args.json else f"all runs in {path}\n")
    return NO_CAPACITY if found["status"] == "none" else 0


def _settings(args: argparse.Namespace, experiment: Any) -> Any:
    from .search.capacity import NUM_PROMPTS, Settings
    from .spec.base import MAX_REQUESTS
    from .spec.workload import TraceArrival

    for name, most in (("seeds", _MOST_SEEDS), ("num_prompts", MAX_REQUESTS // 2), ("workers", 1024)):
        value = getattr(args, name)
        if value is not None and not 1 <= value <= most:
            raise SpecError(f"expected a whole number from 1 to {most}, got {value}", place=f"--{name.replace('_', '-')}")
    rates = {name: _rate(f"--{name}-rate", getattr(args, f"{name}_rate")) for name in ("min", "max")}
    if rates["min"] and rates["max"] and rates["min"] > rates["max"]:
        raise SpecError(f"must not be above --max-rate {args.max_rate}, got {args.min_rate}", place="--min-rate")
    tolerance = _number("--tolerance", args.tolerance)
    if not 1e-4 <= tolerance <= 0.5:
        raise SpecError(f"expected a share from 0.0001 to 0.5, such as 0.02, got {args.tolerance}", place="--tolerance")
    workload, seeds = experiment.workload, args.seeds
    traced = isinstance(workload.arrival, TraceArrival)
    count = args.num_prompts or (workload.num_prompts if traced else max(NUM_PROMPTS, workload.num_prompts or 0))
    if traced:
        from .serving.traces import read

        requests = read(workload.arrival.path)
        count = min(count or len(requests), len(requests))
        seeds = 1 if workload.lengths is None else seeds  # nothing is drawn
    return Settings(
        seeds=tuple(range(experiment.seed, experiment.seed + seeds)), num_prompts=count, tolerance=tolerance, least=rates["min"],
        most=rates["max"], curve=args.curve or args.plot is not None, longer=not traced,
        workers=args.workers or min(os.cpu_count() or 1, seeds),
    )  # fmt: skip


def _rate(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        rate = parse(text, "1/s")
    except ValueError as error:
        raise SpecError(str(error), place=option) from None
    if not 0 < rate < math.inf:
        raise SpecError(f"expected a rate above 0, such as 10, got {text}", place=option)
    return rate


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SpecError(f"expected a number, got {text[:40]!r}", place=option) from None


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "experiment"


def _key(experiment: Any, goals_only: bool) -> dict[str, Any]:
    """What the points of capacity.json depend on."""
    import msgspec

    from .spec.workload import TraceArrival

    spec = msgspec.to_builtins(experiment)
    arrival = experiment.workload.arrival
    digest = None
    if isinstance(arrival, TraceArrival):
        digest = hashlib.sha256(Path(arrival.path).read_bytes()).hexdigest()
    key = {"hdasim_version": __version__, "goals_only": goals_only, "trace_sha256": digest, "spec": spec}
    if experiment.profile is not None:
        tables = sorted(Path(experiment.profile.path).rglob("*.csv"))
        key["profile_sha256"] = hashlib.sha256(b"".join(hashlib.sha256(t.read_bytes()).digest() for t in tables)).hexdigest()
    return key


def _known(folder: Path, key: dict[str, Any]) -> list[Any]:
    """Points of an earlier search of the same experiment; `SpecError` if it was another, or cannot be read."""
    import msgspec

    from .report.files import to_json
    from .search.capacity import Point

    path = folder / "capacity.json"
    place = f"--resume {path}"
    try:
        saved = msgspec.json.decode(path.read_bytes())
        points = [msgspec.convert({**p, "rate": math.inf if p["rate"] is None else p["rate"]}, Point) for p in saved["points"]]
        made_from = saved["made_from"]
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "not a file that hdasim capacity wrote"
        raise SpecError(f"{reason}; leave out --resume to begin anew", place=place) from None
    if msgspec.json.decode(to_json(made_from)) != msgspec.json.decode(to_json(key)):
        remedy = "leave out --resume, or choose another --output-dir"
        raise SpecError(f"holds runs of another experiment or version; {remedy}", place=place)
    return points


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        os.replace(part, path)
    except OSError as error:
        raise SpecError(f"cannot write: {error.strerror}; choose another place", place=str(path)) from None
