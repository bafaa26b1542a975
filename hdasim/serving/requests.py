"""The requests of a run as arrays, and their statistics."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Ids of prompt blocks are less than this.
MAX_HASH_ID = 2**40


@dataclass(frozen=True, eq=False)
class Requests:
    """The requests of a run, one row each, in order of arrival; later turns of a session stand anywhere after the turn before.

    Attributes
    ----------
    arrival_s
        Arrival times in seconds, float64 of shape (n,); where `parent` is -1 they do not fall, and the first is 0.0. Of a later
        turn it is the think time: seconds from the last token of its parent to its own arrival.
    input_len
        Prompt tokens, int64 of shape (n,), each at least 1.
    output_len
        Generated tokens, int64 of shape (n,), each at least 1.
    hash_ids
        Ids of prompt blocks, int64, from 0 to less than 2^40, or None if nothing is known of prompts. An id names the prompt up
        to and including its block: equal ids are equal prefixes. A last block that is not full may have an id.
    hash_offsets
        int64 of shape (n + 1,): the ids of request i, in the order of its blocks, are
        ``hash_ids[hash_offsets[i]:hash_offsets[i + 1]]``.
    hash_block
        Tokens of a block with an id; 0 without ids.
    parent
        int64 of shape (n,): the request that must have finished before this one arrives (the turn before it), always an earlier
        row; -1 if there is none. None if it is -1 everywhere.
    """

    arrival_s: Floats
    input_len: Ints
    output_len: Ints
    hash_ids: Ints | None = None
    hash_offsets: Ints | None = None
    hash_block: int = 0
    parent: Ints | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)

    def first(self, count: int | None) -> "Requests":
        """The first `count` requests (all of them if None or more than there are), as views of the same arrays."""
        own = slice(count)
        ids, offsets, parent = self.hash_ids, self.hash_offsets, self.parent
        if offsets is not None and ids is not None:
            offsets = offsets[: None if count is None else count + 1]
            ids = ids[: offsets[-1]]
        parent = None if parent is None else parent[own]
        return Requests(self.arrival_s[own], self.input_len[own], self.output_len[own], ids, offsets, self.hash_block, parent)

    def is_root(self) -> Flags:
        """Bool of shape (n,): the request waits for no other, so that its arrival is a time."""
        return np.ones(len(self), np.bool_) if self.parent is None else self.parent < 0


def covering_outputs(requests: Requests) -> tuple[Ints, Ints]:
    """(hash_ids, hash_offsets) that name generated blocks too, where a later turn of the session tells their ids.

    The prompt of a later turn begins with prompt and output of its parent; ids are equal where prefixes are, so the parent's full
    blocks have the ids of the same blocks of the later turn, if those of its own prompt agree. All ids are of full blocks.
    """
    ids, offsets, parent, size = requests.hash_ids, requests.hash_offsets, requests.parent, requests.hash_block
    if ids is None or offsets is None:
        raise ValueError("no ids")
    own = np.minimum(np.diff(offsets), requests.input_len // size)
    source, count = np.arange(len(requests)), own.copy()
    child = np.zeros(0, np.int64) if parent is None else np.flatnonzero(parent >= 0)
    if child.size and parent is not None:
        above = parent[child]
        last = own[above] - 1  # the parent's last full block of prompt
        agrees = (last >= 0) & (last < own[child])
        child, above, last = child[agrees], above[agrees], last[agrees]
        same = ids[offsets[above] + last] == ids[offsets[child] + last]
        child, above = child[same], above[same]
        source[above] = child
        count[above] = np.minimum(own[child], (requests.input_len[above] + requests.output_len[above]) // size)
    starts = np.concatenate([[0], np.cumsum(count)])
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], count)
    return ids[np.repeat(offsets[source], count) + within], starts


def describe(requests: Requests) -> dict[str, float | None]:
    """Return the statistics by which traces are compared.

    Returns
    -------
    dict
        ``rows``, ``span_s`` (first to last arrival), ``request_rate`` (rows / span, 1/s), ``cv`` (std / mean of the gaps),
        ``iod10`` and ``peak10`` (variance / mean and max / mean of the counts in 10 s bins from the first arrival on), and
        ``{input,output}_{mean,p50,p90,p99,max}`` in tokens. Percentiles are linear (numpy). Where all requests come at one time,
        ``request_rate`` and ``cv`` are None.

        Of sessions: ``sessions`` (their number; all figures of arrivals are then those of first turns only, as others have no
        time yet), ``turns_mean`` and ``think_mean_s``. Of prompts: ``hash_block`` (tokens), ``blocks``, ``unique_blocks`` and
        ``block_reuse``, the share of prompt blocks that a cache without limit would hit. All None where they are not known.

    Raises
    ------
    ValueError
        If there are no requests.
    """
    if len(requests) == 0:
        raise ValueError("no requests to describe")
    root = requests.is_root()
    arrival = requests.arrival_s[root] - requests.arrival_s[0]
    span = float(arrival[-1])
    gaps = np.diff(arrival)
    counts = _counts(arrival, 10.0)
    result: dict[str, float | None] = {
        "rows": len(requests),
        "span_s": span,
        "request_rate": len(arrival) / span if span > 0 else None,
        "cv": float(gaps.std() / gaps.mean()) if span > 0 else None,
        "iod10": counts[1] / counts[0],
        "peak10": counts[2] / counts[0],
    }
    for side, tokens in (("input", requests.input_len), ("output", requests.output_len)):
        result[f"{side}_mean"] = float(tokens.mean())
        for percent in (50, 90, 99):
            result[f"{side}_p{percent}"] = float(np.percentile(tokens, percent))
        result[f"{side}_max"] = int(tokens.max())
    return result | _sessions(requests, root) | _blocks(requests)


def known(statistics: dict[str, float | None]) -> dict[str, float | None]:
    """The statistics to show: without those of sessions and of prompts where the trace has none."""
    return {key: value for key, value in statistics.items() if value is not None or key not in (*_OF_SESSIONS, *_OF_PROMPTS)}


_OF_SESSIONS = ("sessions", "turns_mean", "think_mean_s")
_OF_PROMPTS = ("hash_block", "blocks", "unique_blocks", "block_reuse")


def _sessions(requests: Requests, root: Flags) -> dict[str, float | None]:
    if requests.parent is None:
        return dict.fromkeys(_OF_SESSIONS)
    count = int(root.sum())
    think = requests.arrival_s[~root]
    mean = float(think.mean()) if think.size else None
    return {"sessions": count, "turns_mean": len(requests) / count, "think_mean_s": mean}


def _blocks(requests: Requests) -> dict[str, float | None]:
    """A block hits if an earlier request had the same prefix; within a prompt no two blocks do, so each id misses just once."""
    if requests.hash_ids is None:
        return dict.fromkeys(_OF_PROMPTS)
    total, unique = requests.hash_ids.size, np.unique(requests.hash_ids).size
    reuse = 1 - unique / total if total else None
    return {"hash_block": requests.hash_block, "blocks": total, "unique_blocks": unique, "block_reuse": reuse}


def _counts(arrival_s: Floats, width_s: float) -> tuple[float, float, float]:
    """Return mean, variance and maximum of the arrivals per bin of `width_s` seconds; empty bins count, without storing them."""
    filled = np.unique(np.floor(arrival_s / width_s), return_counts=True)[1].astype(np.float64)
    bins = np.floor(arrival_s[-1] / width_s) + 1
    mean = len(arrival_s) / bins
    variance = (np.sum((filled - mean) ** 2) + (bins - len(filled)) * mean**2) / bins
    return float(mean), float(variance), float(filled.max())
