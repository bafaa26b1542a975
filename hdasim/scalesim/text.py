"""Reading and writing text files, and the numbers and words in them; what is wrong becomes one line."""

import functools
import os
import re
from collections.abc import Iterable
from pathlib import Path

from hdasim.errors import SpecError
from hdasim.spec.convert import meant

#: No size may be larger: sums of products of two stay far below what the kernel counts with.
MOST = 2**40
SHOWN = 40
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def read_text(path: Path, what: str) -> str:
    """The text of a file, without a byte order mark; `SpecError` asks for `what` if there is none."""
    try:
        if path.is_char_device() or path.is_block_device():
            raise OSError("this is a device")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"cannot be read ({reason}); give the path of {what}", place=str(path)) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SpecError(f"not UTF-8 text; save {what} as UTF-8", place=f"{path}:{line}") from None
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise SpecError(f"holds a NUL byte; give {what} as plain text", place=f"{path}:{line}")
    if not text.strip():
        raise SpecError(f"file is empty; expected {what}", place=f"{path}:1")
    return text


def write_whole(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        os.replace(part, path)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from None


def check_writable(path: Path) -> None:
    """Find out that a file cannot be written before the work begins."""
    part = path.with_name(path.name + ".part") if path.name else path
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "this is a directory")
        if path.exists() and not path.is_file():
            raise OSError("this is no file")
        part.touch()
        part.unlink()
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: Exception) -> SpecError:
    reason = getattr(error, "strerror", None) or error
    return SpecError(f"cannot be written ({reason}); give a file name in a folder that exists", place=str(path))


@functools.lru_cache(maxsize=1 << 16)
def whole(text: str, name: str, least: int = 1) -> int:
    """A whole number from `least` to `MOST`, also one written as 128.0; `SpecError` says what else `text` is."""
    text = text.strip()
    expected = f"expected a whole number from {least} to {MOST}"
    if not text:
        raise SpecError(f"no value; {expected}", (name,))
    bare = text.lstrip("+-").lower()
    value = float(text) if NUMBER.fullmatch(text) else float("nan")
    if bare == "nan":
        fault = "which stands for no number"
    elif bare in ("inf", "infinity"):
        fault = "which is not finite"
    elif value != value:
        fault = "which is not a number"
    elif value < 0:
        fault = "which is negative"
    elif value > MOST:
        fault = "which is too large"
    elif value != int(value):
        fault = "which is not whole"
    elif value < least:
        fault = "which is zero"
    else:
        return int(value)
    raise SpecError(f"got {text[:SHOWN]!r}, {fault}; {expected}", (name,))


def choice(text: str, name: str, known: Iterable[str]) -> str:
    """One of the words `known`, in exactly that case."""
    words = list(known)
    text = text.strip()
    if text in words:
        return text
    same_case = text.upper() if words[0].isupper() else text.lower()
    hint = f" (did you mean {same_case!r}?)" if same_case in words else meant(same_case, words)
    got = f"unknown {text[:SHOWN]!r}{hint}" if text else "no value"
    raise SpecError(f"{got}; use {', '.join(words[:-1])} or {words[-1]}", (name,))
