"""Generated conversations and shared prefixes: who waits for whom, how prompts grow, and which blocks of them are the same."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hdasim.errors import SpecError
from hdasim.serving.requests import Floats, Ints, Requests
from hdasim.spec.workload import MAX_TOKENS, Sessions, Workload

#: Tokens of a block with an id, as in vLLM.
HASH_BLOCK = 16
#: Ids of one run; at 8 bytes each they take 1 GiB, and twice that while they are made.
MAX_HASH_IDS = 1 << 27


@dataclass(frozen=True)
class Streams:
    """The streams of random numbers for sessions."""

    turns: np.random.Generator
    think: np.random.Generator
    groups: np.random.Generator


def conversations(
    workload: Workload, new_tokens: Ints, output_len: Ints, arrivals: Callable[[int], Floats], streams: Streams
) -> Requests:
    """The requests of `workload`, session after session, as many as there are lengths; the last session may be cut short.

    Parameters
    ----------
    new_tokens, output_len
        Of each request; its prompt is the shared prefix, then the new tokens and outputs of earlier turns, then its new tokens.
    arrivals
        Gives the arrival times (s) of a number of sessions.

    Raises
    ------
    SpecError
        If a prompt or the number of blocks grows too large.
    """
    count = len(new_tokens)
    turns = _turns(workload.sessions, count, streams.turns)
    first = np.cumsum(turns) - turns
    session = np.repeat(np.arange(len(turns)), turns)
    arrival = _think(workload.sessions, count, streams.think)
    arrival[first] = arrivals(len(turns))
    prefix = 0 if workload.shared_prefix is None else workload.shared_prefix.tokens
    said = np.cumsum(new_tokens + output_len) - new_tokens - output_len
    prompt = prefix + said - said[first][session] + new_tokens
    if prompt.max() > MAX_TOKENS:
        longest = f"a prompt grows to {prompt.max():,} tokens, more than {MAX_TOKENS:,}"
        raise SpecError(f"{longest}; use shorter lengths or fewer turns", ("workload",))
    groups = 1 if workload.shared_prefix is None else workload.shared_prefix.groups
    group = streams.groups.integers(groups, size=len(turns))
    ids, offsets = _hash_ids(prompt, session, first + turns - 1, prefix // HASH_BLOCK, group, groups)
    parent = None
    if workload.sessions is not None:
        parent = np.arange(-1, count - 1)
        parent[first] = -1
    return Requests(arrival, prompt, output_len, ids, offsets, HASH_BLOCK, parent)


def _turns(sessions: Sessions | None, count: int, rng: np.random.Generator) -> Ints:
    """Turns of each session, `count` in all. Geometric: another turn follows with probability 1 - 1 / mean."""
    if sessions is None:
        return np.ones(count, np.int64)
    if sessions.turn_distribution == "fixed":
        turns = np.full(-(-count // int(sessions.turns)), int(sessions.turns), np.int64)
    else:
        turns = rng.geometric(1 / sessions.turns, count)
    ends = np.cumsum(turns)
    kept = int(np.searchsorted(ends, count)) + 1
    turns = turns[:kept]
    turns[-1] -= ends[kept - 1] - count
    return turns


def _think(sessions: Sessions | None, count: int, rng: np.random.Generator) -> Floats:
    """Seconds before each turn; that of a first turn counts for nothing."""
    if sessions is None or sessions.think_distribution == "fixed":
        return np.full(count, 0.0 if sessions is None else sessions.think_time)
    return rng.exponential(sessions.think_time, count)


def _hash_ids(prompt: Ints, session: Ints, last: Ints, shared: int, group: Ints, groups: int) -> tuple[Ints, Ints]:
    """(ids, offsets) of the full blocks of each prompt.

    All turns of a session begin alike, so that block j of it has one id whichever the turn: one of its group for the first
    `shared` blocks, then its own. `last` is the last turn of each session.
    """
    counts = prompt // HASH_BLOCK
    offsets = np.concatenate([[0], np.cumsum(counts)])
    total = int(offsets[-1])
    if total > MAX_HASH_IDS:
        raise SpecError(
            f"prompts of {total:,} blocks, more than {MAX_HASH_IDS:,}; use fewer num_prompts", ("workload", "num_prompts")
        )
    own = np.maximum(counts[last] - shared, 0)
    start = groups * shared + np.cumsum(own) - own
    ids = np.arange(total)
    ids += np.repeat(start[session] - shared - offsets[:-1], counts)
    heads = np.minimum(counts, shared)
    row = np.repeat(np.arange(len(counts)), heads)
    block = np.arange(len(row)) - (np.cumsum(heads) - heads)[row]
    ids[offsets[row] + block] = group[session[row]] * shared + block
    return ids, offsets
