"""`hdasim compare`: experiments and finished runs side by side."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .cli_parts import EXIT_OK, add, out, warn_of_borrowed
from .errors import HdasimError, SpecError

EXAMPLE = (
    "hdasim compare a100.yaml ador.yaml --output-dir out\n"
    "hdasim compare results/first results/second --json"
)  # fmt: skip


def compare_parser(commands: Any, console: Callable[[], Any]) -> None:
    """Add the command."""
    parser = add(commands, "compare", lambda args: run(args, console), "runs side by side, each against the first", EXAMPLE)
    parser.description += (
        "\n\nExperiments are simulated; of a folder with a result.json, as hdasim run writes it, the results are taken.\n"
        "Area efficiency is ADOR's: the ratio of 1 / TTFT (or 1 / TBT) to that of the first, times the ratio of areas.\n"
        "The area is that of all dies, so a group of 8 devices has 8 times the area of one."
    )
    parser.add_argument("files", metavar="FILE", nargs="+",
                        help="experiment file or shipped name, or a finished run: its folder or result.json")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="override a key in all experiments, e.g. workload.num_prompts=500; may be given often")  # fmt: skip
    parser.add_argument("--mac-tree-area", choices=("synthesis", "ador"), help="how MAC trees are counted")
    parser.add_argument("--output-dir", metavar="DIR", help="where compare.json and compare.html go")
    parser.set_defaults(complain=parser.error)


def run(args: argparse.Namespace, console: Callable[[], Any]) -> int:
    """Run what has not run yet, print the table; the exit code."""
    if len(args.files) < 2:
        args.complain("expected two files or more to compare")
    from .report.files import make_folder, to_json

    loaded = [_load(source, args.set) for source in args.files]  # all mistakes in files come before the first run
    if args.output_dir is not None:
        make_folder(Path(args.output_dir))

    from .report import compare
    from .text import write_whole

    labels = _labels([experiment.name for experiment, _, _ in loaded], args.files)
    runs = []
    for label, source, (experiment, document, summary) in zip(labels, args.files, loaded, strict=True):
        summary = _simulated(label, experiment, document) if summary is None else summary
        runs.append(compare.Run(label, source, summary, *_costs(experiment, args.mac_tree_area)))
    result = compare.compare(runs)
    if args.output_dir is not None:
        folder = Path(args.output_dir)
        write_whole(folder / "compare.json", to_json(result))
        write_whole(folder / "compare.html", compare.comparison_page(result, runs))
        sys.stderr.write(f"done: files in {folder}\n")
    if args.json:
        out(to_json(result))
    else:
        compare.print_comparison(result, runs, console())
    return EXIT_OK


def _load(source: str, overrides: list[str]) -> tuple[Any, Any, Mapping[str, Any] | None]:
    """(experiment, its document, None), or (experiment, None, summary) of a finished run."""
    from .spec.load import open_experiment

    given = Path(source)
    folder = given.parent if given.name == "result.json" and given.is_file() else given
    if not folder.is_dir():
        return *open_experiment(source, overrides), None
    if overrides:
        raise SpecError("is a finished run, which --set cannot change; give the experiment's file", place=source)

    import msgspec

    from .spec.convert import convert
    from .spec.experiment import Experiment
    from .text import read_text

    path = folder / "result.json"
    text = read_text(path, "a folder with a result.json, as hdasim run writes it")
    try:
        data = msgspec.json.decode(text)
        experiment = convert(data["spec"], Experiment)
        _check(data)
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError, HdasimError) as error:
        reason = str(error) if isinstance(error, HdasimError) else "it is not one that this version of hdasim run wrote"
        raise SpecError(f"cannot be compared: {reason}; run the experiment again", place=str(path)) from None
    return experiment, None, data


def _check(data: Any) -> None:
    """`KeyError` or `TypeError` unless `data` holds what a comparison needs."""
    from .report.compare import Run, compare

    compare([Run("", "", data, None)])


def _simulated(label: str, experiment: Any, document: Any) -> Mapping[str, Any]:
    from .report.progress import Reporter
    from .simulate import simulate
    from .spec.load import locate

    sys.stderr.write(f"running {label}\n")
    with Reporter() as reporter, locate(document):
        result = simulate(experiment, reporter, keep_steps=False)
    warn_of_borrowed(experiment)
    if result.served.interrupted:
        raise KeyboardInterrupt
    return result.summary


def _costs(experiment: Any, option: str | None) -> tuple[dict[str, Any] | None, list[str]]:
    """What all devices cost; why it is unknown where it is, and how MAC trees were counted."""
    from .cost.experiment import experiment_cost

    try:
        groups, total = experiment_cost(experiment, option)
    except SpecError as error:  # the area section contradicts the device, which does not concern its speed
        return None, [f"area and cost unknown: {error}"]
    notes: dict[str, None] = {}
    for costs in (group.costs for group in groups):
        if costs["unknown"]:
            notes[f"area and cost of {costs['name']} unknown: {costs['unknown']}"] = None
        if costs["mac_tree_area"]:
            notes[f"MAC trees of {costs['name']} counted as mac_tree_area: {costs['mac_tree_area']}"] = None
    return total, list(notes)


def _labels(names: list[str], sources: list[str]) -> list[str]:
    """Names of the experiments; where two are equal, with their sources, or numbers if those are equal too."""
    labels = [name if names.count(name) == 1 else f"{name} ({source})" for name, source in zip(names, sources, strict=True)]
    return [label if labels.count(label) == 1 else f"{label} {i}" for i, label in enumerate(labels, 1)]
