"""Reading and writing text files, and the numbers and words in them; what is wrong becomes one line."""

import functools
import os
import re
import tempfile
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
    """Write a file, whole or not at all; a symbolic link stays one."""
    try:
        path = path.resolve()
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with open(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            os.chmod(part, mode)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
    except (OSError, ValueError, RuntimeError) as error:
        raise _unwritable(path, error) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(path: Path) -> None:
    """Find out that a file cannot be written before the work begins."""
    try:
        target = path.resolve()
        if target.is_dir():
            raise IsADirectoryError(0, "this is a directory")
        devices = any(name.is_relative_to(root) for name in (path.absolute(), target) for root in ("/dev", "/proc"))
        if devices or (path.exists() and not path.is_file()):
            raise OSError("this is no file")
        if not target.parent.is_dir():
            raise FileNotFoundError(0, "no such folder")
        if not os.access(target.parent, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
            raise PermissionError(0, "permission denied")
        if len(os.fsencode(target.name)) > 255:
            raise OSError(0, "file name too long")
    except (OSError, ValueError, RuntimeError) as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: Exception) -> SpecError:
    reason = getattr(error, "strerror", None) or error
    return SpecError(f"cannot be written ({reason}); give a file name in a folder that exists", place=str(path))


@functools.lru_cache(maxsize=1 << 16)
def whole(text: str, name: str, least: int = 1, most: int = MOST) -> int:
    """A whole number from `least` to `most`, also one written as 128.0; `SpecError` says what else `text` is."""
    text = text.strip()
    expected = f"expected a whole number from {least} to {most}"
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
    elif value > most:
        fault = "which is too large"
    elif value != int(value):
        fault = "which is not whole"
    elif value < least:
        fault = "which is zero"
    else:
        return int(value)
    raise SpecError(f"got {text[:SHOWN]!r}, {fault}; {expected}", (name,))


def number(text: str, name: str, least: float, most: float) -> float:
    """A number from `least` to `most`; `SpecError` says what else `text` is."""
    text = text.strip()
    value = float(text) if NUMBER.fullmatch(text) else float("nan")
    if not least <= value <= most:
        got = f"got {text[:SHOWN]!r}" if text else "no value"
        raise SpecError(f"{got}; expected a number from {least:g} to {most:g}", (name,))
    return value


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
