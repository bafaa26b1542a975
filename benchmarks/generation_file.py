"""Rewrites constants in a file of hdasim/presets/generations; comments, units, order and other keys stay as they are."""

import re
from pathlib import Path

import hdasim

FOLDER = Path(hdasim.__file__).parent / "presets" / "generations"
_NUMBER = r"[-+]?[0-9.]+(?:e[-+]?[0-9]+)?"
_MICRO = 1e6

Changes = dict[str, dict[str, float]]


def rewrite(text: str, changes: Changes) -> str:
    """The file's text with new values, in SI units, of the keys of sections; those of the section "" are at the top.

    Sections are blocks, or one line with braces, as the files have them.

    Raises
    ------
    KeyError
        If the file lacks one of the keys.
    """
    left = {(section, key) for section, keys in changes.items() for key in keys}
    lines, section = [], ""
    for line in text.split("\n"):
        top = re.match(r"(\w+):", line)
        if top:
            section = top[1] if top[1] in changes or not line.partition("#")[0].partition(":")[2].strip() else ""
        for key, value in changes.get(section, {}).items():
            line, count = _replaced(line, key, value)
            left -= {(section, key)} if count else set()
        lines.append(line)
    if left:
        raise KeyError(", ".join(" ".join(names).strip() for names in sorted(left)))
    return "\n".join(lines)


def _replaced(line: str, key: str, value: float) -> tuple[str, int]:
    """The line with a new number of a key, and whether it has it; a comment is none of the line's keys."""
    code, mark, comment = line.partition("#")

    def written(match: re.Match[str]) -> str:
        unit = match[3] or ""
        return f"{match[1]}{value * _MICRO if unit else value:.4g}{unit}"

    code, count = re.subn(rf"(\b{key}: )({_NUMBER})( us)?(?=[\s,}}]|$)", written, code)
    return code + mark + comment, count
