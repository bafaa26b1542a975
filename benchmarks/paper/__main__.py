"""`python -m benchmarks.paper ID [--json] [--file FILE] [--output-dir DIR]`: run one published experiment, or all on one page."""

import argparse
import importlib
import os
import sys
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from pathlib import Path

from rich.console import Console

from hdasim.errors import HdasimError, SpecError
from hdasim.report.files import make_folder, to_json
from hdasim.spec.convert import meant

from .claims import claims_of
from .outcome import Outcome, save
from .page import Section, write

#: Experiment -> (module, what it shows). A module has `run(file: Path) -> Outcome`; its default file stands beside it.
EXPERIMENTS = {
    "A1": ("a1", "peak rates and dies of the four designs: ADOR prints 516 mm2 and 417 TFLOPS"),
    "A2": ("a2", "share of keys and values in what decode reads: over 90 % at batch 128"),
    "A3": ("a3", "share of attention in all operations: about 25 %"),
    "A4": ("a4", "bandwidth that the MAC tree sustains over the workload: logarithmic, at most 90 %"),
    "A5": ("a5", "size of the systolic array at equal MACs on a model's GEMMs: ADOR chose 64 x 64"),
    "A6": ("a6", "lanes of the MAC tree on decode attention, multi-head to multi-query: ADOR chose 16"),
    "A7": ("a7", "local memory by operator, decode and prefill: which operators dominate"),
    "A8": ("a8", "tensor parallelism on 1 to 16 devices: Megatron better on 2, all-gather from 4"),
    "A9": ("a9", "smallest bandwidth between devices that hides communication: about 32 GB/s"),
    "A9b": ("a9b", "smallest NoC bandwidth that hides exchange between cores"),
    "A10": ("a10", "LLaMA3-8B at batch 150 against A100: TBT 2.36 times better, area efficiency 1.93 (TTFT) and 3.78 (TBT)"),
    "A11": ("a11", "LLaMA3-70B on 8 devices against A100: TBT 2.51 times better, area efficiency 4.01"),
    "A12": ("a12", "LLaMA3-8B at batch 16: ADOR about equal to A100"),
    "A13": ("a13", "highest request rate of chat under Sarathi-Serve's SLO: ADOR states 23.3 requests/s for LLaMA3-8B"),
    "A14": ("a14", "growth of TBT and TTFT from 1 to 1024 output tokens: 3.87 and 3.85, 2.21 times better than the GPU"),
    "timing": ("timing", "cycles of a model's layers on one array: SCALE-Sim, and arrays with double-buffered weights"),
}
#: Experiments that compare with measured kernels; their `run` takes the folder of those.
MEASURED = ("A10", "A11", "A12")
#: Experiments that take long. `all` starts the first of them, then the quick ones, so that mistakes in their files show soon.
_LONG = ("A13", "A14", "A9", "A6", "A5", "A8")


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name:8} {text}" for name, (_, text) in EXPERIMENTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description="Run published experiments again and compare.",
        epilog=f"experiments:\n{listing}\n  all      every one of them, on one page\n\nexample:\n  python -m benchmarks.paper A5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="experiment to run, or all; without it, list them")
    parser.add_argument("--file", metavar="FILE", help="an experiment file other than the shipped benchmarks/paper/<id>.yaml; "
                        "with all, a folder of such files")  # fmt: skip
    parser.add_argument("--data", metavar="DIR", help=f"folder of measured attention kernels for {', '.join(MEASURED)}")
    parser.add_argument("--workers", metavar="N", type=int, help="processes for all (default: one for each CPU)")
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


def file_of(name: str, given: Path | None = None) -> Path:
    """The experiment file: `given`, the one in that folder if it is a folder that has it, else the shipped one."""
    own = f"{EXPERIMENTS[name][0]}.yaml"
    if given is not None and (not given.is_dir() or (given / own).is_file()):
        return given / own if given.is_dir() else given
    return Path(__file__).parent / own


def run(name: str, file: Path | None = None, data: Path | None = None) -> Outcome:
    """Run the experiment `name` of `EXPERIMENTS`, as `file` (see `file_of`) describes it."""
    module = importlib.import_module(f".{EXPERIMENTS[name][0]}", __package__)
    more = (data,) if name in MEASURED else ()
    outcome: Outcome = module.run(file_of(name, file), *more)
    return outcome


def run_all(names: list[str], file: Path | None, data: Path | None, workers: int) -> list[Outcome]:
    """Every experiment, in `workers` processes; the outcomes in the order of `names`, whoever ends first."""
    if workers < 2 or len(names) < 2:
        return [run(name, file, data) for name in names]
    first, *late = _LONG
    order = sorted(names, key=lambda name: -1 if name == first else 1 + late.index(name) if name in late else 0)
    with ProcessPoolExecutor(workers) as pool:
        futures = {name: pool.submit(run, name, file, data) for name in order}
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            for future in futures.values():
                if future.done():
                    future.result()  # raises what went wrong before the others end
            return [futures[name].result() for name in names]
        except BaseException:
            for future in futures.values():
                future.cancel()
            raise


def _method(name: str) -> str:
    """What the experiment's module says about itself; several experiments share one."""
    module = importlib.import_module(f".{EXPERIMENTS[name][0]}", __package__)
    return getattr(module, "METHOD", module).__doc__ or ""


def _console() -> Console:
    if sys.stdout.isatty():
        return Console(width=max(160, Console().width), soft_wrap=True, highlight=False)
    return Console(force_terminal=False, no_color=True, width=160, soft_wrap=True, highlight=False)


def _check(args: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """`--file` and `--data` as paths."""
    file, data = (Path(given) if given else None for given in (args.file, args.data))
    if file and file.is_dir() != (args.id == "all"):
        raise SpecError(
            f"--file {args.file}: " + ("give a folder with all" if args.id == "all" else "give a file with one experiment")
        )
    if data and not data.is_dir():
        raise SpecError(f"--data {args.data}: no such folder")
    if args.workers is not None and not 1 <= args.workers <= 256:
        raise SpecError(f"--workers: must be from 1 to 256, got {args.workers}")
    return file, data


def main(argv: list[str] | None = None) -> int:
    """Returns 0 done, 2 something to correct in the input (one line on stderr), 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        if args.id is None:
            for name, (_, text) in EXPERIMENTS.items():
                sys.stdout.write(f"{name:8} {text}\n")
            return 0
        names = _selected(args.id)
        file, data = _check(args)
        folder = Path(args.output_dir)
        make_folder(folder)  # before the work begins
        outcomes = run_all(names, file, data, args.workers or os.cpu_count() or 1)
        sections = []
        for name, outcome in zip(names, outcomes, strict=True):
            if not args.json:
                console = _console()
                for table in outcome.tables:
                    console.print(table)
                    console.print()
            sys.stderr.write(f"{save(outcome, name, folder)}\n")
            text = file_of(name, file).read_text(encoding="utf-8")
            sections.append(Section(name, EXPERIMENTS[name][1], outcome, claims_of(name, outcome), text, _method(name)))
        page = folder / ("index.html" if len(names) > 1 else f"{names[0]}.html")
        write(sections, page)
        sys.stderr.write(f"page: {page}\n")
        if args.json:
            sys.stdout.write(to_json([row for outcome in outcomes for row in outcome.rows]))
        return 0
    except HdasimError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
