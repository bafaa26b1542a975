"""Trace files: every form is read, every mistake is one line that names its place, and writing loses nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdasim.errors import SpecError, TraceError
from hdasim.serving import trace_json, traces
from hdasim.serving.trace_json import Prefixes
from hdasim.serving.trace_write import FORMS
from hdasim.serving.traces import Requests, describe, read, write

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
SHARED, RUNS = REFERENCE / "traces", REFERENCE / "vllm_runs"
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
SPLITWISE = "arrival_timestamp,prompt_size,token_size\n"

OWN = VIDUR.replace("\n", ",hash_ids,hash_block,parent\n")
VLLM = "request_id,arrival_s,input_tokens,output_tokens,prefix_hash_ids\n"

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save_(content: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return save_


# rows, span, req/s, CV, IoD10, peak10, input mean/p50/p90/p99/max, output the same, block reuse: as published beside the excerpts
PUBLISHED = {
    "azure2023_conv_first2500.csv": "2500 527 4.74 1.11 2.4 1.48 1122 1037 2002 4100 7930 265 362 434 622 1000 -",
    "azure2023_code_first2500.csv": "2500 875 2.86 14.5 108 11.5 2012 1385 4990 7436 7437 28.6 13 55 253 1899 -",
    "mooncake_fast25_conversation_first2500.jsonl": "2500 822 3.04 2.85 2.1 1.76 13620 8139 29462 94994 123192 "
    "352 362 604 1157 2000 30.1",
    "mooncake_fast25_synthetic_first2500.jsonl": "2500 656 3.81 1.01 1.3 1.45 12884 5525 36643 57137 191374 186 141 438 776 842 "
    "40.4",
}

AZURE_2023 = AZURE + "2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109\r\n"
AZURE_2024 = AZURE + "2024-05-10 00:00:00+00:00,374,44\r\n2024-05-10 00:00:04.314579+00:00,396,109\r\n"
MOONCAKE = (
    '{"timestamp": 27482, "input_length": 374, "output_length": 44, "hash_ids": [46]}\n'
    '{"timestamp": 31796.579, "input_length": 396, "output_length": 109, "hash_ids": [47]}\n'
)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (AZURE_2023, "azure.csv"),
        (AZURE_2024, "azure.csv"),
        (AZURE_2023.replace("\r", "").replace("00,374", "00Z,374"), "azure.csv"),
        (MOONCAKE, "mooncake.jsonl"),
        (MOONCAKE.replace("\n", "\r\n\r\n"), "mooncake.txt"),
        (VIDUR + "0.0,374,44\n4.314579,396,109\n", "vidur.csv"),
        ("num_decode_tokens,pd_ratio,num_prefill_tokens,arrived_at\n44,8.5,374.0,10\n109,3.6,396,14.314579", "vidur.csv"),
        (SPLITWISE + "1.7e9,374,44\n1700000004.314579,396,109\n", "splitwise.csv"),
        ("\ufeff" + VIDUR + "\n0.0,374,44\n\n4.314579,396,109\n\n", "bom_and_blank_lines.csv"),
        ('"arrived_at","num_prefill_tokens","num_decode_tokens"\n"0","374","44"\n"4.314579","396","109"\n', "quoted.csv"),
    ],
)
def test_forms_are_normalised(save: Save, content: str, name: str) -> None:
    requests = read(save(content, name))
    # the gap by hand: 18:15:50.9951690 - 18:15:46.6805900 = 4.314579 s; the first arrival is 0
    assert requests.arrival_s[0] == 0.0
    assert requests.arrival_s[1] == pytest.approx(4.314579, abs=3e-7)  # float64 seconds since 1970 resolve 0.24 us
    assert requests.input_len.tolist() == [374, 396]
    assert requests.output_len.tolist() == [44, 109]
    assert [a.dtype for a in (requests.arrival_s, requests.input_len, requests.output_len)] == [np.float64, np.int64, np.int64]
    assert len(requests) == 2


def test_all_seven_digits_of_azure_times_count(save: Save) -> None:
    content = AZURE + "2023-12-31 23:59:59.9999999,1,1\r\n2024-01-01 00:00:00.0000001,1,1\r\n"
    assert read(save(content)).arrival_s.tolist() == [0.0, 2e-7]


def test_mooncake_blocks(save: Save) -> None:
    rows = [(600, [7, 8]), (512, [7]), (513, [7, 9])]  # ceil(600 / 512) = 2, 1, 2
    text = "".join(f'{{"timestamp": 0, "input_length": {n}, "output_length": 1, "hash_ids": {ids}}}\n' for n, ids in rows)
    got = read(save(text, "m.jsonl"))
    assert got.hash_ids is not None
    assert got.hash_offsets is not None
    assert (got.hash_ids.tolist(), got.hash_offsets.tolist(), got.hash_block) == ([7, 8, 7, 7, 9], [0, 2, 3, 5], 512)
    assert (got.hash_ids.dtype, got.hash_offsets.dtype, got.parent) == (np.int64, np.int64, None)
    # 5 blocks, of which 7, 8 and 9 are computed once: 2 of 5 hit
    found = describe(got)
    assert [found[k] for k in ("hash_block", "blocks", "unique_blocks", "block_reuse")] == [512, 5, 3, 0.4]


def test_rows_without_ids_have_unknown_prompts(save: Save) -> None:
    got = read(save(ROW + ROW[:-2] + ', "hash_ids": [1]}\n' + ROW, "m.jsonl"))
    assert got.hash_offsets is not None
    assert got.hash_offsets.tolist() == [0, 0, 1, 1]
    none = read(save(ROW + ROW, "m.jsonl"))
    assert (none.hash_ids, none.hash_offsets, none.hash_block) == (None, None, 0)


def test_vllm_runs(save: Save) -> None:
    got = read(save(VLLM + "a,0,33,5,0 1\nb,0.5,15,6,\nc,0.5,16,7,0\n"))
    assert got.hash_ids is not None
    assert got.hash_offsets is not None
    assert (got.hash_ids.tolist(), got.hash_offsets.tolist(), got.hash_block) == ([0, 1, 0], [0, 2, 2, 3], 16)
    assert (got.arrival_s.tolist(), got.output_len.tolist()) == ([0.0, 0.5, 0.5], [5, 6, 7])


def test_serving_sim_calls_and_sessions(save: Save) -> None:
    same, other = list(range(32)), [*range(16), *range(90, 110)]
    text = (
        f'{{"arrival_time_ns": 1000, "input_toks": 32, "output_toks": 4, "input_tok_ids": {same}}}\n'
        '{"session_id": "s", "arrival_time_ns": 2000, "sub_requests": ['
        f'{{"input_toks": 36, "output_toks": 5, "tool_duration_ns": 3000000000, "input_tok_ids": {other}}},'
        f'{{"input_toks": 50, "output_toks": 6, "tool_duration_ns": 0}}]}}\n'
        f'{{"arrival_time_ns": 5000, "input_toks": 33, "output_toks": 7, "input_tok_ids": {[*same, 1]}}}\n'
    )
    got = read(save(text, "s.jsonl"))
    assert got.parent is not None
    assert got.hash_ids is not None
    assert got.hash_offsets is not None
    assert got.parent.tolist() == [-1, -1, 1, -1]
    assert got.arrival_s.tolist() == pytest.approx([0.0, 1e-6, 3.0, 4e-6])  # a later turn: the time of the tool before it
    assert got.output_len.tolist() == [4, 5, 6, 7]
    # blocks of 16: (0..15), (16..31); (0..15) again, then another second one; nothing known; both of the first again
    assert got.hash_ids.tolist() == [0, 1, 0, 2, 0, 1]
    assert got.hash_offsets.tolist() == [0, 2, 4, 4, 6]
    found = describe(got)
    assert (found["sessions"], found["turns_mean"], found["think_mean_s"]) == (3, 4 / 3, 3.0)
    assert found["span_s"] == pytest.approx(4e-6)


def test_serving_sim_files_need_not_be_in_order(save: Save) -> None:
    def call(ns: int, tokens: list[int]) -> str:
        return f'{{"arrival_time_ns": {ns}, "input_toks": 40, "output_toks": {ns % 10}, "input_tok_ids": {tokens}}}\n'

    chain = (
        '{"arrival_time_ns": 5000000002, "sub_requests": [{"input_toks": 1, "output_toks": 8, "tool_duration_ns": 250000000}, '
    )
    chain += '{"input_toks": 2, "output_toks": 9}]}\n'
    text = call(9_000_000_001, [7] * 32) + chain + call(3_000_000_003, [7] * 16) + call(5_000_000_004, [8] * 16)
    got = read(save(text, "s.jsonl"))
    assert got.parent is not None
    assert got.hash_ids is not None
    assert got.hash_offsets is not None
    assert got.output_len.tolist() == [3, 8, 9, 4, 1]
    assert got.arrival_s.tolist() == pytest.approx([0, 2, 0.25, 2, 6], abs=1e-8)
    assert got.parent.tolist() == [-1, -1, 1, -1, -1]
    # ids were given in the order of the file: 0 and 1 to the first line, so 0 to the third too
    assert (got.hash_ids.tolist(), got.hash_offsets.tolist()) == ([0, 2, 0, 1], [0, 1, 1, 1, 2, 4])


def test_serving_sim_calls_alone_have_no_sessions(save: Save) -> None:
    got = read(save('{"input_toks": 3, "output_toks": 4, "arrival_time_ns": 5}\n', "s.jsonl"))
    assert (got.parent, got.hash_ids, got.input_len.tolist()) == (None, None, [3])


def test_the_same_block_after_another_is_another_prefix() -> None:
    prefixes = Prefixes(2)
    assert prefixes.ids([1, 2, 1, 2, 5]) == [0, 1]
    assert prefixes.ids([1, 2, 3, 4]) == [0, 2]
    assert prefixes.ids([3, 4]) == [3]
    assert prefixes.ids([1]) == []


def test_first_keeps_the_ids_of_what_it_keeps(save: Save) -> None:
    got = read(save(OWN + "0,17,1,4 5,16,-1\n3,40,2,4 6 7,16,0\n9,16,1,8,16,-1\n")).first(2)
    assert got.hash_ids is not None
    assert got.hash_offsets is not None
    assert got.parent is not None
    assert (got.arrival_s.tolist(), got.parent.tolist(), got.hash_block) == ([0.0, 3.0], [-1, 0], 16)
    assert (got.hash_ids.tolist(), got.hash_offsets.tolist()) == ([4, 5, 4, 6, 7], [0, 2, 5])
    assert len(got.first(None)) == len(got.first(9)) == 2


def test_chunks_do_not_show(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    text = OWN + "".join(f"{i // 3},{i + 1},1,{i} {i + 1},1,{i - 2 if i % 3 else -1}\n" for i in range(1, 300))
    text = text.replace("\n0,2,", "\n\n0,2,")
    mooncake = "".join(f'{{"timestamp": {i}, "input_length": {i}, "output_length": 1}}\n' for i in range(1, 300))
    files = [save(text), save(mooncake, "m.jsonl"), save(AZURE_2024, "a.csv")]
    whole = [read(file) for file in files]
    for module in (traces, trace_json):
        monkeypatch.setattr(module, "CHUNK", 32)
    for before, file in zip(whole, files, strict=True):
        assert same(before, read(file))
    bad = save(text.replace("\n99,", "\n1,"), "bad.csv")
    with pytest.raises(TraceError, match=r"bad\.csv:\d+: arrived_at: 97 s before the row above it"):
        read(bad)


def test_the_first_requests_cost_no_more(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (traces, trace_json):
        monkeypatch.setattr(module, "CHUNK", 64)
    plain, mooncake = "".join(f"{i},5,6\n" for i in range(64)), ROW * 4
    files = [save(VIDUR + plain + "oops\n"), save(mooncake + "oops\n", "m.jsonl")]
    for file in files:
        assert len(read(file, 3)) == 3
        with pytest.raises(TraceError):
            read(file, 100)
    late = CALL.replace("0,", "9,", 1) + CALL.replace('"input_toks": 2', '"input_toks": 1')
    assert read(save(late, "s.jsonl"), 1).input_len.tolist() == [1]  # the file need not be in order
    assert len(read(save(VIDUR + plain), 1000)) == 64


def test_one_row_and_equal_times_are_fine(save: Save) -> None:
    assert read(save(VIDUR + "5,1,1\n")).arrival_s.tolist() == [0.0]
    assert read(save(MOONCAKE.splitlines()[0], "m.jsonl")).arrival_s.tolist() == [0.0]
    assert read(save(VIDUR + "5,1,1\n5,2,2\n")).arrival_s.tolist() == [0.0, 0.0]


BAD_CSV = [
    ("", ":1: file is empty; expected one of Azure CSV"),
    (" \r\n\n", ":1: file is empty"),
    (VIDUR, ":1: header without rows"),
    ("time,in,out\n1,2,3\n", ":1: header: unknown columns 'time,in,out'; expected one of Azure CSV (TIMESTAMP,"),
    ("1.0,2,3\n", ":1: header: unknown columns"),
    ("arrived_at,num_prefill_tokens\n0,1\n", ":1: num_decode_tokens: column is missing; the Vidur form needs arrived_at,"),
    ("TIMESTAMP,GeneratedTokens\n0,1\n", ":1: ContextTokens: column is missing"),
    ("\narrived_at," + VIDUR + "0,0,1,1\n", ":2: arrived_at: column appears 2 times"),
    (VIDUR + "0,1,1\n\n1,2\n", ":4: row: 2 fields; expected 3"),
    (VIDUR + "0,1,1,1\n", ":2: row: 4 fields; expected 3"),
    (VIDUR + '0,1,1\n1,"2,3\n2,1,1\n', ":3: row: unexpected end of data"),
    (VIDUR + "0,1,1\nsoon,2,3\n", ":3: arrived_at: got 'soon'; expected a finite number"),
    (VIDUR + "0,1,1\n1,ten,3\n", ":3: num_prefill_tokens: got 'ten'; expected a finite number"),
    (VIDUR + "0,1,1\n1,2,\n", ":3: num_decode_tokens: got ''; expected a finite number"),
    (VIDUR + "0,1,1\n1,1_000,3\n", ":3: num_prefill_tokens: got '1_000'; expected a finite number"),
    (VIDUR + "nan,1,1\n", ":2: arrived_at: got 'nan'; expected a finite number"),
    (VIDUR + "0,1,1\ninf,1,1\n", ":3: arrived_at: got 'inf'; expected a finite number"),
    (VIDUR + "0,1,1\n1e999,1,1\n", ":3: arrived_at: got inf; expected a number from 0 to 10000000000"),
    (VIDUR + "0,NaN,1\n", ":2: num_prefill_tokens: got 'NaN'; expected a finite number"),
    (VIDUR + "-1,1,1\n", ":2: arrived_at: got -1; expected a number from 0"),
    (VIDUR + "1700000000000,1,1\n", ":2: arrived_at: got 1700000000000; expected a number from 0 to 10000000000"),
    (VIDUR + "0,1,1\n1,-5,1\n", ":3: num_prefill_tokens: got -5; expected a whole number from 1"),
    (VIDUR + "0,0,1\n", ":2: num_prefill_tokens: got 0; expected a whole number from 1"),
    (VIDUR + "0,1,0\n", ":2: num_decode_tokens: got 0; expected a whole number from 1"),
    (VIDUR + "0,1.5,1\n", ":2: num_prefill_tokens: got 1.5; expected a whole number"),
    (VIDUR + "0,1,2147483649\n", ":2: num_decode_tokens: got 2147483649; expected a whole number from 1 to 2147483648"),
    (VIDUR + "0,1,1\n2,1,1\n1.5,1,1\n", ":4: arrived_at: 0.5 s before the row above it; sort the rows by arrived_at"),
    (AZURE + "2023-11-16 18:15:46,1,1\r\n2023-11-16 18:15:45,1,1\r\n", ":3: TIMESTAMP: 1 s before the row above it; sort"),
    (AZURE + "1.5,1,1\r\n", ":2: TIMESTAMP: got '1.5'; expected a UTC time such as"),
    (AZURE + "2023-11-16 18:15:46+02:00,1,1\r\n", ":2: TIMESTAMP: got '2023-11-16 18:15:46+02:00'; expected a UTC time"),
    (AZURE + "2023-02-28 00:00:00,1,1\r\n2023-02-30 00:00:00,1,1\r\n", ":3: TIMESTAMP: got '2023-02-30 00:00:00', no such date"),
    (SPLITWISE + "0,1,1\n1,x,1\n", ":3: prompt_size: got 'x'"),
    (VIDUR.encode() + b"0,1,1\n1,\xff,1\n", ":3: not UTF-8 text"),
    (OWN + "0,17,1,3 x,16,-1\n", ":2: hash_ids: got '3 x'; expected whole numbers, separated by spaces"),
    (OWN + "0,17,1,1_0,16,-1\n", ":2: hash_ids: got '1_0'; expected whole numbers"),
    (OWN + "0,17,1,1e3,16,-1\n", ":2: hash_ids: got '1e3'; expected whole numbers"),
    (OWN + "0,17,1,99999999999999999999,16,-1\n", ":2: hash_ids: got '99999999999999999999'; expected whole numbers"),
    (
        OWN + "0,17,1,3,16,-1\n0,17,1,3 1099511627776,16,-1\n",
        ":3: hash_ids: got 1099511627776; expected whole numbers from 0 to 10995",
    ),
    (OWN + "0,17,1,3 -4,16,-1\n", ":2: hash_ids: got -4; expected whole numbers from 0 to 1099511627775"),
    (OWN + "0,17,1,1 2 3,16,-1\n", ":2: hash_ids: 3 ids; expected at most 2, one for each 16 tokens of the prompt"),
    (OWN + "0,17,1,1,0,-1\n", ":2: hash_block: got 0; expected a whole number from 1"),
    (OWN + "0,17,1,1,16,-1\n0,17,1,1,32,-1\n", ":3: hash_block: got 32 after 16; expected the same in every row"),
    (OWN.replace(",hash_block", "") + "0,17,1,1,-1\n", ":2: hash_block: column is missing; hash_ids needs it"),
    (OWN + "0,17,1,,16,0\n", ":2: parent: got 0; expected -1 in the first row"),
    (OWN + "0,17,1,,16,-1\n0,17,1,,16,1\n", ":3: parent: got 1; expected the number of an earlier request, 0 to 0, or -1"),
    (OWN + "0,17,1,,16,-1\n0,17,1,,16,-2\n", ":3: parent: got -2; expected the number of an earlier request"),
    (OWN + "0,17,1,,16,-1\n0,17,1,,16,0.5\n", ":3: parent: got 0.5; expected the number of an earlier request"),
    (OWN + "9,17,1,,16,-1\n1,17,1,,16,0\n8,17,1,,16,-1\n", ":4: arrived_at: 1 s before the row above it; sort the rows"),
    (VLLM + "a,0,33,1,1 2 3\n", ":2: prefix_hash_ids: 3 ids; expected 2, one for each 16 tokens of the prompt"),
    (VLLM + "a,0,33,1,1\n", ":2: prefix_hash_ids: 1 ids; expected 2, one for each 16 tokens of the prompt"),
    (
        VLLM.replace("input_tokens", "input") + "a,0,33,1,1\n",
        ":1: input_tokens: column is missing; the vLLM-run form needs arrival_s,",
    ),
]

ROW = '{"timestamp": 5, "input_length": 1, "output_length": 1}\n'
CALL = '{"arrival_time_ns": 0, "input_toks": 2, "output_toks": 1}\n'
BAD_JSONL = [
    ("\n", ":1: file is empty"),
    (ROW + "{oops\n", ":2: JSON: JSON is malformed"),
    (ROW + '{"timestamp": 5,', ":2: JSON: Input data was truncated; expected an object such as"),
    ("[1, 2]\n", ":1: JSON: Expected `object`, got `array`"),
    (ROW + "\n" + '{"timestamp": 5, "input_length": 1}\n', ":3: JSON: Object missing required field `output_length`"),
    (ROW.replace("5", '"5"'), ":1: JSON: Expected `float`, got `str` - at `$.timestamp`"),
    (ROW.replace("5", "NaN"), ":1: JSON: JSON is malformed"),
    (ROW.replace("5", "1e999"), ":1: JSON: Number out of range - at `$.timestamp`"),
    (ROW.replace("5", "-1"), ":1: timestamp: got -1; expected a number from 0"),
    (ROW + ROW.replace("5", "3"), ":2: timestamp: 0.002 s before the row above it; sort the rows by timestamp"),
    (ROW + ROW.replace('input_length": 1', 'input_length": 0'), ":2: input_length: got 0; expected a whole number from 1"),
    (ROW.replace('output_length": 1', 'output_length": 1.5'), ":1: output_length: got 1.5; expected a whole number"),
    (ROW.replace('output_length": 1', 'output_length": 1e18'), ":1: output_length: got 1e+18; expected a whole number"),
    (ROW.encode() + b'{"x": "\xe9"}\n', ":2: not UTF-8 text"),
    (ROW[:-2] + ', "hash_ids": [1, 2]}\n', ":1: hash_ids: 2 ids; expected 1, one for each 512 tokens of the prompt"),
    (ROW[:-2] + ', "hash_ids": []}\n', ":1: hash_ids: 0 ids; expected 1, one for each 512 tokens of the prompt"),
    (ROW[:-2] + ', "hash_ids": [-1]}\n', ":1: JSON: Expected `int` >= 0 - at `$.hash_ids["),
    (ROW[:-2] + ', "hash_ids": [1.5]}\n', ":1: JSON: Expected `int`, got `float` - at `$.hash_ids["),
    (CALL + CALL.replace("0,", "-1,", 1), ":2: arrival_time_ns: got -1; expected a number from 0"),
    (CALL.replace('"input_toks": 2', '"input_toks": 0'), ":1: input_toks: got 0; expected a whole number from 1"),
    (CALL[:-2] + ', "input_tok_ids": [1, 2, 3]}\n', ":1: input_tok_ids: 3 ids; expected at most input_toks, 2"),
    (CALL[:-2] + ', "input_tok_ids": ["a"]}\n', ":1: JSON: Expected `int`, got `str` - at `$.input_tok_ids["),
    (CALL.replace('"output_toks"', '"out"'), ":1: JSON: Object missing required field `output_toks`; expected an object such as"),
    ('{"arrival_time_ns": 0, "sub_requests": []}\n', ":1: JSON: Expected `array` of length >= 1 - at `$.sub_requests`"),
]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [(content, "bad.csv", message) for content, message in BAD_CSV]
    + [(content, "bad.jsonl", message) for content, message in BAD_JSONL],
)
def test_mistakes_name_file_and_line(save: Save, content: str | bytes, name: str, message: str) -> None:
    path = save(content, name)
    with pytest.raises(TraceError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_long_values_are_cut(save: Save) -> None:
    with pytest.raises(TraceError) as caught:
        read(save(VIDUR + "0," + "x" * 1000 + ",1\n"))
    assert len(str(caught.value)) < 300
    with pytest.raises(TraceError, match="field larger than field limit"):
        read(save(VIDUR + "0," + "x" * 200_000 + ",1\n"))


def test_what_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none\.csv: cannot be read \(No such file or directory\); give the path of a CSV"):
        read(tmp_path / "none.csv")
    with pytest.raises(TraceError, match=r"cannot be read \(Is a directory\)"):
        read(tmp_path)
    with pytest.raises(TraceError, match="cannot be read"):
        read("a\0b.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(save: Save) -> None:
    path = save(VIDUR + "0,1,1\n")
    path.chmod(0)
    with pytest.raises(TraceError, match="Permission denied"):
        read(path)


def test_write_needs_a_folder(tmp_path: Path) -> None:
    one = Requests(np.zeros(1), np.ones(1, dtype=np.int64), np.ones(1, dtype=np.int64))
    with pytest.raises(SpecError, match="cannot be written"):
        write(tmp_path / "none" / "t.csv", one)


TOKENS = st.integers(1, 2**31)
ROWS = st.lists(st.tuples(st.floats(0, 1e9, allow_subnormal=False), TOKENS, TOKENS), min_size=1, max_size=50)


@settings(max_examples=50)
@given(rows=ROWS)
def test_write_then_read_is_exact(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, int, int]]) -> None:
    arrivals, inputs, outputs = zip(*rows, strict=True)
    arrival = np.sort(np.array(arrivals))
    requests = Requests(arrival - arrival[0], np.array(inputs, dtype=np.int64), np.array(outputs, dtype=np.int64))
    path = tmp_path_factory.mktemp("trace") / "t.csv"
    write(path, requests)
    again = read(path)
    assert again.arrival_s.tobytes() == requests.arrival_s.tobytes()
    assert again.input_len.tolist() == list(inputs)
    assert again.output_len.tolist() == list(outputs)


def same(a: Requests, b: Requests) -> bool:
    """Equal to the last bit, ids and parents too."""
    names = ("arrival_s", "input_len", "output_len", "hash_ids", "hash_offsets", "parent")
    pairs = [(getattr(a, name), getattr(b, name)) for name in names]
    return a.hash_block == b.hash_block and all(
        x is None if y is None else x is not None and x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs
    )


@settings(max_examples=50)
@given(data=st.data(), count=st.integers(1, 20), block=st.integers(1, 600))
def test_ids_and_parents_survive_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int, block: int
) -> None:
    inputs = np.array(data.draw(st.lists(st.integers(1, 3000), min_size=count, max_size=count)))
    counts = [data.draw(st.integers(0, min(5, -(-int(n) // block)))) for n in inputs]
    ids = np.array(data.draw(st.lists(st.integers(0, 2**40 - 1), min_size=sum(counts), max_size=sum(counts))), np.int64)
    parent = np.array([data.draw(st.integers(-1, i - 1)) for i in range(count)])
    times = np.array(data.draw(st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=count, max_size=count)))
    times[parent < 0] = np.sort(times[parent < 0]) - times[parent < 0].min()
    offsets = np.concatenate([[0], np.cumsum(counts)])
    requests = Requests(times, inputs, np.ones(count, np.int64), ids, offsets, block, parent)
    path = tmp_path_factory.mktemp("trace") / "t.csv"
    assert write(path, requests) == []
    assert same(read(path), requests)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [*PUBLISHED])
@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/reference/traces is not beside this checkout")
def test_reference_traces_survive_conversion(tmp_path: Path, form: str, name: str) -> None:
    before = read(SHARED / name)
    lost = write(tmp_path / f"t.{'jsonl' if form == 'mooncake' else 'csv'}", before, form)
    after = read(next(tmp_path.iterdir()))
    assert np.abs(after.arrival_s - before.arrival_s).max() <= 1e-7
    assert np.array_equal(after.input_len, before.input_len)
    assert np.array_equal(after.output_len, before.output_len)
    kept = form in ("vidur", "mooncake") or before.hash_ids is None
    assert bool(lost) != kept
    assert not kept or describe(after)["block_reuse"] == describe(before)["block_reuse"]
    assert form != "vidur" or same(after, before)


def test_forms_that_cannot_hold_a_trace_say_so(tmp_path: Path) -> None:
    one = np.ones(1, np.int64)
    blocks = Requests(np.zeros(1), one * 16, one, one, np.array([0, 1]), 16)
    with pytest.raises(
        TraceError, match=r"t\.jsonl: Mooncake's prompt blocks have 512 tokens, those of this trace 16; use the form vidur"
    ):
        write(tmp_path / "t.jsonl", blocks, "mooncake")
    with pytest.raises(TraceError, match="the form azure has no sessions"):
        write(tmp_path / "t.csv", Requests(np.zeros(1), one, one, parent=-one), "azure")
    assert write(tmp_path / "t.csv", blocks, "splitwise") == [
        "ids of prompt blocks left out: the form splitwise has no place for them"
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("run", sorted(RUNS.glob("*/requests.csv")), ids=lambda path: path.parent.name)
def test_reference_runs_are_read(run: Path) -> None:
    got = read(run)
    assert (len(got), got.hash_block, got.arrival_s[0]) == (300, 16, 0.0)
    assert got.hash_offsets is not None
    assert np.array_equal(np.diff(got.hash_offsets), got.input_len // 16)
    reuse = describe(got)["block_reuse"]
    assert reuse is not None
    assert 0 < reuse < 1


STARTS = [text.encode() for text in ("", VIDUR, AZURE, OWN, OWN + "0,9,9,", VLLM)]
STARTS += [b'{"timestamp": 0, ', b'{"arrival_time_ns": 0, ']


@settings(max_examples=200)
@given(content=st.one_of(st.binary(max_size=200), st.text(alphabet='0123456789.,-e+"\n{}:[] \x00', max_size=60).map(str.encode)))
@pytest.mark.parametrize("start", STARTS)
def test_any_bytes_give_requests_or_one_line(tmp_path_factory: pytest.TempPathFactory, start: bytes, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    path.write_bytes(start + content)
    try:
        requests = read(path)
    except TraceError as error:
        lines = str(error).splitlines()
    else:
        lines = ["fine"]
        assert requests.arrival_s[0] == 0
        assert (np.diff(requests.arrival_s[requests.is_root()]) >= 0).all()
        assert min(requests.input_len.min(), requests.output_len.min()) >= 1
    assert len(lines) == 1


def test_describe_by_hand() -> None:
    requests = Requests(np.array([0.0, 1.0, 3.0, 25.0]), np.array([1, 2, 3, 4]), np.array([10, 10, 10, 30]))
    got = describe(requests)
    # gaps 1, 2, 22: mean 25/3, variance (1 + 4 + 484)/3 - (25/3)^2 = 93.556, CV = 9.6724 / 8.3333
    # bins of 10 s: 3, 0, 1 requests: mean 4/3, variance (9 + 0 + 1)/3 - 16/9 = 14/9
    assert got["rows"] == 4
    assert got["span_s"] == 25.0
    assert got["request_rate"] == pytest.approx(4 / 25)
    assert got["cv"] == pytest.approx(1.16069, rel=1e-5)
    assert got["iod10"] == pytest.approx(14 / 9 / (4 / 3))
    assert got["peak10"] == pytest.approx(3 / (4 / 3))
    assert (got["input_mean"], got["input_p50"], got["input_max"]) == (2.5, 2.5, 4)
    assert [got["output_p50"], got["output_p90"], got["output_max"]] == pytest.approx([10.0, 24.0, 30.0])


def test_describe_without_a_span() -> None:
    ones = np.ones(3, dtype=np.int64)
    got = describe(Requests(np.zeros(3), ones, ones))
    assert (got["request_rate"], got["cv"], got["iod10"], got["peak10"]) == (None, None, 0.0, 1.0)
    with pytest.raises(ValueError, match="no requests"):
        describe(Requests(np.zeros(0), ones[:0], ones[:0]))


STATISTICS = ["rows", "span_s", "request_rate", "cv", "iod10", "peak10"]
STATISTICS += [f"{side}_{what}" for side in ("input", "output") for what in ("mean", "p50", "p90", "p99", "max")] + [
    "block_reuse"
]


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/reference/traces is not beside this checkout")
@pytest.mark.parametrize("name", PUBLISHED)
def test_describe_gives_the_published_statistics(name: str) -> None:
    got = describe(read(SHARED / name))
    if got["block_reuse"] is not None:
        got["block_reuse"] *= 100
    for (key, value), text in zip(((k, got[k]) for k in STATISTICS), PUBLISHED[name].split(), strict=True):
        decimals = len(text.partition(".")[2])
        if text == "-":
            assert value is None
            continue
        assert value is not None
        # half a unit of the last printed digit, and a little more: 2011.496 stands there as 2012, 1.0048 as 1.01 (rounded twice)
        assert abs(value - float(text)) <= 0.55 * 10**-decimals, key
