"""JSONL traces: Mooncake's, and those of LLMServingSim 2.0, flat or in sessions.

Mooncake (kvcache-ai/Mooncake, FAST25-release): `timestamp` in ms, `input_length`, `output_length`, `hash_ids`, one for each 512
tokens of the prompt. LLMServingSim (casys-kaist/LLMServingSim, workloads/README.md): `arrival_time_ns`, `input_toks`,
`output_toks`, `input_tok_ids`; or `arrival_time_ns` and `sub_requests`, each of which arrives `tool_duration_ns` of the one
before after the end of that.
"""

import dataclasses
import itertools
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from hdasim.errors import TraceError
from hdasim.serving.requests import MAX_HASH_ID, Requests
from hdasim.serving.trace_rows import CHUNK, MAX_SECONDS, Names, Rows, Table, check
from hdasim.spec.workload import MAX_TOKENS

JSON_FORMS = (
    "Mooncake JSONL (timestamp,input_length,output_length); "
    "LLMServingSim JSONL (arrival_time_ns,input_toks,output_toks or sub_requests)"
)
_MOONCAKE = Names("timestamp", "input_length", "output_length", "hash_ids", "", 1e3)
_SERVING_SIM = Names("arrival_time_ns", "input_toks", "output_toks", "input_tok_ids", "sub_requests", 1e9)
_MOONCAKE_BLOCK, _TOKEN_BLOCK = 512, 16

_HashIds = list[Annotated[int, msgspec.Meta(ge=0, lt=MAX_HASH_ID)]]
_TokenIds = list[Annotated[int, msgspec.Meta(ge=0, lt=2**31)]]


class _Mooncake(msgspec.Struct, gc=False):
    timestamp: float
    input_length: float
    output_length: float
    hash_ids: _HashIds | None = None


class _Call(msgspec.Struct):
    input_toks: float
    output_toks: float
    tool_duration_ns: float = 0.0
    input_tok_ids: _TokenIds | None = None


class _Flat(msgspec.Struct):
    arrival_time_ns: float
    input_toks: float
    output_toks: float
    input_tok_ids: _TokenIds | None = None


class _Session(msgspec.Struct):
    arrival_time_ns: float
    sub_requests: Annotated[list[_Call], msgspec.Meta(min_length=1)]


def read_json(path: Path, lines: Iterator[str], most: int | None) -> Requests:
    """The requests of a JSONL trace; its first object tells the form. `TraceError` as for `traces.read`.

    Not all need be read if only the first `most` are wanted, but where the file may be in any order.
    """
    rows = ((number, line) for number, line in enumerate(lines, start=1) if not line.isspace())
    first = next(rows)
    numbered = itertools.chain([first], rows)
    if any(key in first[1] for key in ('"arrival_time_ns"', '"input_toks"', '"sub_requests"')):
        return _read_serving_sim(path, numbered)
    return _read_mooncake(path, numbered, most)


def _read_mooncake(path: Path, numbered: Iterator[tuple[int, str]], most: int | None) -> Requests:
    expected = '{"timestamp": 0, "input_length": 512, "output_length": 64} (timestamp in ms)'
    decode = msgspec.json.Decoder(_Mooncake).decode
    rows = Rows(_MOONCAKE, _MOONCAKE_BLOCK)
    while not rows.enough(most) and (chunk := list(itertools.islice(numbered, CHUNK >> 4))):  # rows with ids are long
        decoded = [_decoded(path, number, line, decode, expected) for number, line in chunk]
        table = Table(path, [number for number, _ in chunk])
        columns = [[row.timestamp for row in decoded], [r.input_length for r in decoded], [r.output_length for r in decoded]]
        arrivals, inputs, outputs = (np.array(column, np.float64) for column in columns)
        check(table, _MOONCAKE.arrival, arrivals, 0, MAX_SECONDS * 1e3)
        check(table, _MOONCAKE.input, inputs, 1, MAX_TOKENS, whole=True)
        for row in decoded:
            rows.add_ids(row.hash_ids or ())
        known = np.array([row.hash_ids is not None for row in decoded])
        blocks = np.where(known, -(-inputs // _MOONCAKE_BLOCK), 0)
        rows.add(table, arrivals, inputs, outputs, None, blocks.astype(np.int64))
    return _bare(rows.requests())


def _read_serving_sim(path: Path, numbered: Iterator[tuple[int, str]]) -> Requests:
    expected = '{"arrival_time_ns": 0, "input_toks": 512, "output_toks": 64}, or one with "sub_requests"'
    flat, session = msgspec.json.Decoder(_Flat).decode, msgspec.json.Decoder(_Session).decode
    rows, prefixes = Rows(_SERVING_SIM, _TOKEN_BLOCK, ordered=False), Prefixes(_TOKEN_BLOCK)
    count = 0
    while chunk := list(itertools.islice(numbered, CHUNK >> 4)):
        found: list[tuple[float, float, float, int]] = []
        ids: list[list[int] | None] = []
        table = Table(path, [])
        for number, line in chunk:
            arrival, calls = _calls(path, number, line, session if '"sub_requests"' in line else flat, expected)
            parent = -1
            for call in calls:
                found.append((arrival, call.input_toks, call.output_toks, parent))
                ids.append(call.input_tok_ids)
                table.lines.append(number)
                parent, count = count, count + 1
                arrival = call.tool_duration_ns if isinstance(call, _Call) else 0.0
        arrivals, inputs, outputs, parents = np.array(found, np.float64).T
        check(table, _SERVING_SIM.arrival, arrivals, 0, MAX_SECONDS * 1e9)
        check(table, _SERVING_SIM.input, inputs, 1, MAX_TOKENS, whole=True)
        for row, tokens in enumerate(ids):
            if tokens is not None and len(tokens) > inputs[row]:
                raise table.error(row, "input_tok_ids", f"{len(tokens)} ids; expected at most input_toks, {inputs[row]:g}")
            rows.add_ids(prefixes.ids(tokens or []))
        rows.add(table, arrivals, inputs, outputs, parents)
    return _bare(_sorted(rows.requests()))


def _sorted(requests: Requests) -> Requests:
    """In order of arrival, each session as one, as LLMServingSim itself sorts what it reads; its own files are not in order."""
    root = requests.is_root()
    session = np.cumsum(root) - 1
    order = np.argsort(requests.arrival_s[root][session], kind="stable")
    parent, ids, offsets = requests.parent, requests.hash_ids, requests.hash_offsets
    if parent is None or ids is None or offsets is None:
        raise ValueError("rows of this form have parents and ids")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    counts = np.diff(offsets)[order]
    ends = np.concatenate([[0], np.cumsum(counts)])
    moved = np.arange(ids.size) + np.repeat(offsets[order] - ends[:-1], counts)
    return Requests(
        requests.arrival_s[order], requests.input_len[order], requests.output_len[order], ids[moved], ends, requests.hash_block,
        np.where(parent < 0, -1, place[parent])[order],
    )  # fmt: skip


def _bare(requests: Requests) -> Requests:
    """Without ids if no row has one, and without parents likewise."""
    if requests.hash_ids is not None and not requests.hash_ids.size:
        requests = dataclasses.replace(requests, hash_ids=None, hash_offsets=None, hash_block=0)
    return dataclasses.replace(requests, parent=None) if requests.is_root().all() else requests


class Prefixes:
    """Ids of prompt prefixes, numbered by first appearance: a block's id stands for it and all before it."""

    def __init__(self, block: int):
        self.block = block
        self._known: dict[tuple[int, bytes], int] = {}

    def ids(self, tokens: list[int]) -> list[int]:
        """The ids of the full blocks of a prompt."""
        raw, size = array("i", tokens).tobytes(), 4 * self.block
        result: list[int] = []
        before = -1
        for start in range(0, len(raw) - size + 1, size):
            before = self._known.setdefault((before, raw[start : start + size]), len(self._known))
            result.append(before)
        return result


def _calls(path: Path, number: int, line: str, decode: Any, expected: str) -> tuple[float, list[_Call] | list[_Flat]]:
    row = _decoded(path, number, line, decode, expected)
    return row.arrival_time_ns, row.sub_requests if isinstance(row, _Session) else [row]


def _decoded(path: Path, number: int, line: str, decode: Any, expected: str) -> Any:
    try:
        return decode(line)
    except msgspec.DecodeError as error:
        raise TraceError(f"{path}:{number}: JSON: {error}; expected an object such as {expected}") from None
