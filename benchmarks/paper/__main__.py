"""`python -m benchmarks.paper ID [--json] [--file FILE] [--output-dir DIR]`: run one published experiment, or all of them."""

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console

from hdasim.errors import HdasimError, SpecError
from hdasim.report.files import make_folder, to_json
from hdasim.spec.convert import meant

from .outcome import Outcome, save

#: Experiment -> (module, what it shows). A module has `run(file: Path) -> Outcome`; its default file stands beside it.
EXPERIMENTS = {
    "A5": ("a5", "size of the systolic array at equal MACs on a model's GEMMs: ADOR chose 64 x 64"),
    "A6": ("a6", "lanes of the MAC tree on decode attention, multi-head to multi-query: ADOR chose 16"),
    "A7": ("a7", "local memory by operator, decode and prefill: which operators dominate"),
    "A8": ("a8", "tensor parallelism on 1 to 16 devices: Megatron better on 2, all-gather from 4"),
    "A9": ("a9", "smallest bandwidth between devices that hides communication: about 32 GB/s"),
    "A9b": ("a9b", "smallest NoC bandwidth that hides exchange between cores"),
    "A13": ("a13", "highest request rate of chat under Sarathi-Serve's SLO: ADOR states 23.3 requests/s for LLaMA3-8B"),
    "timing": ("timing", "cycles of a model's layers on one array: SCALE-Sim, and arrays with double-buffered weights"),
}


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name:8} {text}" for name, (_, text) in EXPERIMENTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description="Run published experiments again and compare.",
        epilog=f"experiments:\n{listing}\n  all      every one of them\n\nexample:\n  python -m benchmarks.paper A5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="experiment to run, or all; without it, list them")
    parser.add_argument("--file", metavar="FILE", help="an experiment file other than the shipped benchmarks/paper/<id>.yaml")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON document")
    parser.add_argument("--output-dir", metavar="DIR", default="results/paper", help="folder of the files (default %(default)s)")
    return parser


def _selected(name: str) -> list[str]:
    if name == "all":
        return list(EXPERIMENTS)
    known = {key.lower(): key for key in EXPERIMENTS}
    if name.lower() not in known:
        raise SpecError(f"unknown experiment {name[:40]!r}{meant(name, EXPERIMENTS)}; known: {', '.join(EXPERIMENTS)}, all")
    return [known[name.lower()]]


def run(name: str, file: Path | None = None) -> Outcome:
    """Run the experiment `name` of `EXPERIMENTS`, as `file` (default: the shipped one) describes it."""
    module = importlib.import_module(f".{EXPERIMENTS[name][0]}", __package__)
    outcome: Outcome = module.run(file or Path(__file__).parent / f"{EXPERIMENTS[name][0]}.yaml")
    return outcome


def _console() -> Console:
    if sys.stdout.isatty():
        return Console(width=max(160, Console().width), soft_wrap=True, highlight=False)
    return Console(force_terminal=False, no_color=True, width=160, soft_wrap=True, highlight=False)


def main(argv: list[str] | None = None) -> int:
    """Returns 0 done, 2 something to correct in the input (one line on stderr), 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        if args.id is None:
            for name, (_, text) in EXPERIMENTS.items():
                sys.stdout.write(f"{name:8} {text}\n")
            return 0
        names = _selected(args.id)
        if args.file and len(names) > 1:
            raise SpecError("give --file with one experiment, not with all")
        folder = Path(args.output_dir)
        make_folder(folder)  # before the work begins
        rows = []
        for name in names:
            outcome = run(name, Path(args.file) if args.file else None)
            rows += outcome.rows
            if not args.json:
                console = _console()
                for table in outcome.tables:
                    console.print(table)
                    console.print()
            for line in save(outcome, name, folder):
                sys.stderr.write(f"{line}\n")
        if args.json:
            sys.stdout.write(to_json(rows))
        return 0
    except HdasimError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
