"""What the modules of the command line share: parsers whose errors are one line, common options, output, exit codes."""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable
from typing import Any

EXIT_OK, EXIT_INTERNAL, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """Usage errors in one line, like all others."""

    def error(self, message: str) -> Any:
        sys.stderr.write(f"{self.prog}: {message}; see {self.prog} --help\n")
        raise SystemExit(EXIT_USER)


def add(commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str, example: str) -> Any:
    """A command with the options that all have."""
    parser = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False,
        epilog="example:\n" + textwrap.indent(example, "  "), formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(function=function)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def whole(most: int, least: int = 1) -> Callable[[str], int]:
    """Converter of an option's text to an integer in a range."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,16}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, got {text[:40]!r}")
        return int(text)

    return convert


def warn_of_borrowed(experiment: Any) -> None:
    """A line on stderr for each GPU of an experiment whose constants come from another generation; a profile needs none."""
    from .device.gpu import borrowed

    pools = experiment.cluster.pools if experiment.cluster is not None else ()
    devices = [pool.device or experiment.device for pool in pools] or [experiment.device]
    lines = dict.fromkeys(map(borrowed, devices)) if experiment.profile is None else {}
    sys.stderr.write("".join(f"warning: {line}\n" for line in lines if line))


def out(text: str) -> None:
    """Write to stdout, which is the result."""
    sys.stdout.write(text)
