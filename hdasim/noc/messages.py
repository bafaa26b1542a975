"""Schedules of messages in the notation of the reference, ``src>dst:flits@extra_delay|dep+dep; ...`` (noc README 2)."""

import re

import numpy as np

from hdasim.core import layout
from hdasim.errors import SpecError
from hdasim.noc.topology import Ints
from hdasim.text import MOST, SHOWN

_MESSAGE = re.compile(r"\s*(\d{1,9})\s*>\s*(\d{1,9})\s*:\s*(\d{1,16})\s*(?:@\s*(\d{1,16}))?\s*(?:\|\s*(\d[\d+\s]*))?", re.ASCII)
_PLACE = ("messages",)
#: Messages and dependencies of one case: some 500 MB.
MOST_MESSAGES = 2**22


def parse(text: str, nodes: int) -> tuple[np.ndarray, Ints]:
    """Messages (array of `layout.MESSAGE`) and their dependencies, which messages name by place.

    Parameters
    ----------
    text
        Messages between semicolons, numbered from 0: ``0>1:64; 1>2:64@5|0`` sends 64 flits from node 0 to 1, then, 5 cycles after
        their arrival, from 1 to 2. ``@5`` and ``|0`` may be left out.
    nodes
        Number of nodes.

    Raises
    ------
    SpecError
        With the path ``("messages",)``: what is wrong with which message.
    """
    parts = text.strip().rstrip(";").split(";")
    if parts == [""]:
        raise SpecError("no value; expected messages such as 0>1:64;1>2:64@0|0", _PLACE)
    if len(parts) > MOST_MESSAGES:
        raise SpecError(f"{len(parts)} messages are too many; use at most {MOST_MESSAGES}", _PLACE)
    messages = np.zeros(len(parts), layout.MESSAGE)
    deps: list[int] = []
    for number, part in enumerate(parts):
        if not (match := _MESSAGE.fullmatch(part)):
            got = repr(part.strip()[:SHOWN])
            raise SpecError(f"message {number}: got {got}; expected source>target:flits@delay|number+number", _PLACE)
        source, target, flits, delay = int(match[1]), int(match[2]), int(match[3]), int(match[4] or 0)
        waits = _numbers(match[5], number, len(parts))
        _check(number, source, target, flits, delay, nodes)
        messages[number] = (source, target, flits, delay, len(deps), len(waits))
        deps += waits
        if len(deps) > MOST_MESSAGES:
            raise SpecError(f"more than {MOST_MESSAGES} dependencies; use fewer", _PLACE)
    dependencies = np.array(deps, np.int64)
    _refuse_cycle(messages, dependencies)
    return messages, dependencies


def _numbers(text: str | None, number: int, count: int) -> list[int]:
    """The dependencies of message `number`."""
    found = []
    for part in (text or "").split("+") if text else []:
        if not re.fullmatch(r"[0-9]{1,9}", part.strip()):
            raise SpecError(f"message {number}: got the dependency {part[:SHOWN]!r}; expected a number such as 0", _PLACE)
        other = int(part)
        if other >= count:
            raise SpecError(f"message {number} depends on message {other}, but messages are 0 to {count - 1}", _PLACE)
        if other == number:
            raise SpecError(f"message {number} depends on itself; name an earlier one", _PLACE)
        found.append(other)
    return found


def _check(number: int, source: int, target: int, flits: int, delay: int, nodes: int) -> None:
    if max(source, target) >= nodes:
        raise SpecError(f"message {number} names node {max(source, target)}, but nodes are 0 to {nodes - 1}", _PLACE)
    if source == target:
        raise SpecError(f"message {number} goes from node {source} to itself; give another target or leave it out", _PLACE)
    if not 1 <= flits <= MOST:
        raise SpecError(f"message {number} has {flits} flits; expected from 1 to {MOST}", _PLACE)
    if delay > MOST:
        raise SpecError(f"message {number} has a delay of {delay} cycles; expected at most {MOST}", _PLACE)


def _refuse_cycle(messages: np.ndarray, deps: Ints) -> None:
    waiting = np.repeat(np.arange(messages.size), messages["count"])
    if not (deps > waiting).any():  # all depend on earlier ones
        return
    followers: list[list[int]] = [[] for _ in range(messages.size)]
    for message, other in zip(waiting.tolist(), deps.tolist(), strict=True):
        followers[other].append(message)
    left = messages["count"].tolist()
    ready = [i for i, count in enumerate(left) if count == 0]
    for i in ready:
        for message in followers[i]:
            left[message] -= 1
            if left[message] == 0:
                ready.append(message)
    if len(ready) == messages.size:
        return
    at = next(i for i, count in enumerate(left) if count)
    path = [at]
    while path.count(path[-1]) < 2:  # each that is left waits for another that is left
        first, count = int(messages["first"][path[-1]]), int(messages["count"][path[-1]])
        path.append(next(int(other) for other in deps[first : first + count] if left[int(other)]))
    circle = " > ".join(map(str, path[path.index(path[-1]) :]))
    raise SpecError(f"messages wait for each other ({circle}); remove one of these dependencies", _PLACE)
