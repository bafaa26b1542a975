"""Errors that a user can act on: one line that says where, which key, what is wrong, what would be right.

The command line prints any `HdasimError` as that one line and exits with 2; anything else is a bug in hdasim and exits with 1.
"""


class HdasimError(Exception):
    """Base of all errors caused by what the user gave.

    Parameters
    ----------
    message
        What is wrong and what would be right, in one line.
    path
        Keys from the root of the specification to the offending one, e.g. ``("device", "core_count")``.
    place
        Where that stands, e.g. ``"model.yaml:14"``; `hdasim.spec.load.locate` fills it in.
    """

    def __init__(self, message: str, path: tuple[str | int, ...] = (), place: str = ""):
        super().__init__(message)
        self.message, self.path, self.place = message, path, place

    def __str__(self) -> str:
        parts = (self.place, ".".join(map(str, self.path)), self.message)
        return ": ".join(part for part in parts if part)


class SpecError(HdasimError):
    """A specification is wrong."""


class CapacityError(HdasimError):
    """The model does not fit on the devices; the message says how many would hold it."""


class TraceError(HdasimError):
    """A request trace is malformed; the message names file, line and column."""


class CoreError(HdasimError):
    """The C core refused its input; the message carries the core's status text."""


class MissingExtra(HdasimError):
    """An optional package is not installed; the message says what to install."""
