"""Traces as files: the Vidur form, which loses nothing, and the forms that other tools read."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hdasim.errors import TraceError
from hdasim.serving.requests import Requests
from hdasim.text import write_whole

#: Forms that can be written, and where Azure's times begin.
FORMS = ("vidur", "mooncake", "azure", "splitwise")
_AZURE_START = np.datetime64("2000-01-01T00:00:00", "ns")
_MOONCAKE_BLOCK = 512


def write(path: str | Path, requests: Requests, form: str = "vidur") -> list[str]:
    """Write `requests`, whole or not at all, and return what the form could not keep, a line each.

    Parameters
    ----------
    form
        "vidur": ``arrived_at`` (s), ``num_prefill_tokens``, ``num_decode_tokens``, and where they are known ``hash_ids``
        (separated by spaces), ``hash_block`` and ``parent``; reading it back gives the same numbers, to the last bit.
        "mooncake": JSONL in ms with ids of 512-token blocks. "azure": times from 2000-01-01 on, rounded to 100 ns.
        "splitwise": seconds.

    Raises
    ------
    SpecError
        If the file cannot be written.
    TraceError
        If the form has no sessions, or has other blocks than `requests`.
    """
    if form != "vidur" and requests.parent is not None:
        raise TraceError(f"{path}: the form {form} has no sessions, where a request waits for another; use the form vidur")
    if form == "mooncake" and requests.hash_ids is not None and requests.hash_block != _MOONCAKE_BLOCK:
        have = f"Mooncake's prompt blocks have {_MOONCAKE_BLOCK} tokens, those of this trace {requests.hash_block}"
        raise TraceError(f"{path}: {have}; use the form vidur")
    lines, lost = _WRITERS[form](requests)
    write_whole(Path(path), "".join(lines))
    return [f"{what} left out: the form {form} has no place for them" for what in lost]


def _vidur(requests: Requests) -> tuple[Iterator[str], list[str]]:
    names = "arrived_at,num_prefill_tokens,num_decode_tokens"
    columns: list[Iterator[str]] = [map(repr, requests.arrival_s.tolist())]
    columns += [map(str, values.tolist()) for values in (requests.input_len, requests.output_len)]
    if requests.hash_ids is not None:
        names += ",hash_ids,hash_block"
        columns += [map(" ".join, _ids(requests)), itertools.repeat(str(requests.hash_block), len(requests))]
    if requests.parent is not None:
        names += ",parent"
        columns.append(map(str, requests.parent.tolist()))
    rows = (",".join(row) + "\n" for row in zip(*columns, strict=True))
    return itertools.chain([names + "\n"], rows), []


def _mooncake(requests: Requests) -> tuple[Iterator[str], list[str]]:
    ids = [f', "hash_ids": [{", ".join(own)}]' for own in _ids(requests)] if requests.hash_ids is not None else []
    milliseconds = (int(ms) if ms == int(ms) else ms for ms in (requests.arrival_s * 1e3).tolist())
    lengths = requests.input_len.tolist(), requests.output_len.tolist()
    rows = itertools.zip_longest(milliseconds, *lengths, ids, fillvalue="")
    return (f'{{"timestamp": {t}, "input_length": {i}, "output_length": {o}{h}}}\n' for t, i, o, h in rows), []


def _azure(requests: Requests) -> tuple[Iterator[str], list[str]]:
    ticks = np.rint(requests.arrival_s * 1e7).astype(np.int64)
    stamps = np.datetime_as_string(_AZURE_START + ticks * np.timedelta64(100, "ns"), unit="ns").tolist()
    lengths = requests.input_len.tolist(), requests.output_len.tolist()
    rows = (f"{t[:10]} {t[11:27]},{i},{o}\n" for t, i, o in zip(stamps, *lengths, strict=True))
    return itertools.chain(["TIMESTAMP,ContextTokens,GeneratedTokens\n"], rows), _hashes(requests)


def _splitwise(requests: Requests) -> tuple[Iterator[str], list[str]]:
    columns = requests.arrival_s.tolist(), requests.input_len.tolist(), requests.output_len.tolist()
    rows = (f"{t!r},{i},{o}\n" for t, i, o in zip(*columns, strict=True))
    return itertools.chain(["arrival_timestamp,prompt_size,token_size\n"], rows), _hashes(requests)


def _hashes(requests: Requests) -> list[str]:
    return ["ids of prompt blocks"] if requests.hash_ids is not None else []


def _ids(requests: Requests) -> Iterator[list[str]]:
    """The ids of each request, as texts."""
    if requests.hash_ids is None or requests.hash_offsets is None:
        return
    for start, end in itertools.pairwise(requests.hash_offsets.tolist()):
        yield list(map(str, requests.hash_ids[start:end].tolist()))


_WRITERS = {"vidur": _vidur, "mooncake": _mooncake, "azure": _azure, "splitwise": _splitwise}
