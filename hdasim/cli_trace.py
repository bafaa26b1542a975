"""The commands `trace describe`, `trace convert` and `trace generate`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from .cli_parts import EXIT_OK, Parser, add, out, whole
from .errors import TraceError

_FORMS = ("vidur", "mooncake", "azure", "splitwise")  # serving.trace_write.FORMS


def trace_parser(commands: Any) -> None:
    """Add `trace` and its actions to `commands`."""
    parser = commands.add_parser(
        "trace", help="look at, convert and make request traces", description="Look at, convert and make request traces.",
        allow_abbrev=False, epilog="example:\n  hdasim trace describe traces/azure-conv-like.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    _describe_parser(actions)
    _convert_parser(actions)
    _generate_parser(actions)


def _describe_parser(actions: Any) -> None:
    parser = add(actions, "describe", _describe, "statistics of a trace",
                 "hdasim trace describe traces/azure-conv-like.csv --plot trace.html")  # fmt: skip
    parser.description += (
        "\n\nForms: Azure 2023 and 2024, Vidur, Splitwise and vLLM-run CSV, Mooncake and LLMServingSim JSONL, told by their\n"
        "columns. block_reuse is the share of prompt blocks that a cache without limit would hit."
    )
    parser.add_argument("file", metavar="TRACE")
    parser.add_argument(
        "--plot", metavar="OUT.html", help="a page with arrivals over time and the distributions of lengths and gaps"
    )


def _convert_parser(actions: Any) -> None:
    parser = add(actions, "convert", _convert, "write a trace in another form",
                 "hdasim trace convert conversation.jsonl conversation.csv")  # fmt: skip
    parser.add_argument("file", metavar="IN")
    parser.add_argument("output", metavar="OUT")
    parser.add_argument("--form", choices=_FORMS, help=(
        "vidur keeps everything, with more columns for prompt blocks and sessions "
        "(mooncake if OUT ends in .jsonl, else vidur)"))  # fmt: skip


def _generate_parser(actions: Any) -> None:
    parser = add(actions, "generate", _generate, "generate a trace from a workload file, or like another trace",
                 "hdasim trace generate traces/azure-conv-like.yaml --output out.csv\n"
                 "hdasim trace generate --like trace.csv --num-prompts 100000 --output out.csv")  # fmt: skip
    parser.add_argument("file", metavar="WORKLOAD", nargs="?", help="a file with workload: and seed:")
    parser.add_argument("--like", metavar="TRACE", help=(
        "fit arrivals (gamma gaps of its rate and CV) and lengths (quantiles and rank correlation) to this trace"))  # fmt: skip
    parser.add_argument(
        "--profile", type=whole(10**9), metavar="S", help="with --like: follow its rate in bins of S seconds, e.g. 60"
    )
    parser.add_argument("--num-prompts", type=whole(10**7), metavar="N", help="with --like: requests (as many as it has)")
    parser.add_argument("--workload", metavar="OUT.yaml", help="with --like: write the fitted workload file too")
    parser.add_argument("--output", required=True, metavar="FILE")
    parser.add_argument("--seed", type=whole(2**53 - 1, least=0), metavar="N", help="instead of the file's seed (--like: 0)")
    parser.set_defaults(complain=parser.error)


def _describe(args: argparse.Namespace) -> int:
    from .report.files import to_json
    from .serving.requests import describe, known
    from .serving.traces import read
    from .text import check_writable, write_whole

    if args.plot is not None:
        check_writable(Path(args.plot))
    requests = read(args.file)
    statistics = describe(requests)
    if args.plot is not None:
        from .report.trace import trace_page

        write_whole(Path(args.plot), trace_page(Path(args.file).name, requests, statistics))
        sys.stderr.write(f"plots written to {args.plot}\n")
    if args.json:
        out(to_json(statistics))
    else:
        for key, value in known(statistics).items():
            out(f"{key:16} {_shown(value)}\n")
    return EXIT_OK


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _convert(args: argparse.Namespace) -> int:
    from .report.files import to_json
    from .serving.requests import describe
    from .serving.trace_write import write
    from .serving.traces import read
    from .text import check_writable

    check_writable(Path(args.output))
    requests = read(args.file)
    form = args.form or ("mooncake" if Path(args.output).suffix.lower() in (".jsonl", ".ndjson") else "vidur")
    lost = write(args.output, requests, form)
    if args.json:
        out(to_json(describe(requests)))
    sys.stderr.write("".join(f"{line}\n" for line in lost))
    sys.stderr.write(f"{len(requests):,} requests written to {args.output} in the form {form}\n")
    return EXIT_OK


def _generate(args: argparse.Namespace) -> int:
    from .text import check_writable

    if (args.file is None) == (args.like is None):
        args.complain("give either WORKLOAD or --like TRACE")
    if args.like is None:
        for option in ("profile", "num_prompts", "workload"):
            if getattr(args, option) is not None:
                args.complain(f"--{option.replace('_', '-')} needs --like TRACE")
    for path in (args.output, args.workload):
        if path is not None:
            check_writable(Path(path))
    return _generate_from_file(args) if args.like is None else _generate_like(args)


def _generate_from_file(args: argparse.Namespace) -> int:
    from .report.files import to_json
    from .serving.arrivals import generate
    from .serving.requests import describe
    from .spec.load import load_workload

    workload, seed = load_workload(args.file)
    requests = generate(workload, seed if args.seed is None else args.seed, args.output)
    if args.json:
        out(to_json(describe(requests)))
    sys.stderr.write(f"{len(requests):,} requests written to {args.output}\n")
    return EXIT_OK


def _generate_like(args: argparse.Namespace) -> int:
    from .report.files import to_json
    from .serving.arrivals import generate
    from .serving.fit import fit, plain
    from .serving.requests import describe, known
    from .serving.traces import read
    from .text import write_whole

    trace, seed = read(args.like), args.seed or 0
    try:
        fitted = fit(trace, num_prompts=args.num_prompts, profile=args.profile)
    except TraceError as error:
        error.place = args.like
        raise
    requests = generate(fitted.workload, seed, args.output)
    if args.workload is not None:
        write_whole(Path(args.workload), fitted.text(seed))
    original, generated = describe(trace), describe(requests)
    if args.json:
        document = {"original": original, "generated": generated, "notes": fitted.notes, "workload": plain(fitted.workload)}
        out(to_json(document))
    else:
        out(f"{'':16} {'original':>12} {'generated':>12}\n")
        for key, value in known(original).items():
            out(f"{key:16} {_shown(value):>12} {_shown(generated[key]):>12}\n")
    sys.stderr.write("".join(f"{note}\n" for note in fitted.notes))
    sys.stderr.write(f"{len(requests):,} requests written to {args.output}\n")
    return EXIT_OK
