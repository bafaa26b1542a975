"""Trace files: every form is read, every mistake is one line that names its place, and writing loses nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdasim.errors import TraceError
from hdasim.serving.traces import Requests, describe, read, write

SHARED = Path(__file__).resolve().parents[4] / "shared" / "reference" / "traces"
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
SPLITWISE = "arrival_timestamp,prompt_size,token_size\n"

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save_(content: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return save_


AZURE_2023 = AZURE + "2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109\r\n"
AZURE_2024 = AZURE + "2024-05-10 00:00:00+00:00,374,44\r\n2024-05-10 00:00:04.314579+00:00,396,109\r\n"
MOONCAKE = (
    '{"timestamp": 27482, "input_length": 374, "output_length": 44, "hash_ids": [46, 47]}\n'
    '{"timestamp": 31796.579, "input_length": 396, "output_length": 109, "hash_ids": []}\n'
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
]

ROW = '{"timestamp": 5, "input_length": 1, "output_length": 1}\n'
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
    with pytest.raises(TraceError, match="cannot be written"):
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


@settings(max_examples=200)
@given(content=st.one_of(st.binary(max_size=200), st.text(alphabet='0123456789.,-e+"\n{}:[] \x00', max_size=60).map(str.encode)))
@pytest.mark.parametrize("start", [b"", VIDUR.encode(), AZURE.encode(), b'{"timestamp": 0, '])
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
        assert (np.diff(requests.arrival_s) >= 0).all()
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


# rows, span, req/s, CV, IoD10, peak10, input mean/p50/p90/p99/max, output the same: as published beside the excerpts
PUBLISHED = {
    "azure2023_conv_first2500.csv": "2500 527 4.74 1.11 2.4 1.48 1122 1037 2002 4100 7930 265 362 434 622 1000",
    "azure2023_code_first2500.csv": "2500 875 2.86 14.5 108 11.5 2012 1385 4990 7436 7437 28.6 13 55 253 1899",
    "mooncake_fast25_conversation_first2500.jsonl": "2500 822 3.04 2.85 2.1 1.76 13620 8139 29462 94994 123192 "
    "352 362 604 1157 2000",
    "mooncake_fast25_synthetic_first2500.jsonl": "2500 656 3.81 1.01 1.3 1.45 12884 5525 36643 57137 191374 186 141 438 776 842",
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/reference/traces is not beside this checkout")
@pytest.mark.parametrize("name", PUBLISHED)
def test_describe_gives_the_published_statistics(name: str) -> None:
    for (key, value), text in zip(describe(read(SHARED / name)).items(), PUBLISHED[name].split(), strict=True):
        decimals = len(text.partition(".")[2])
        assert value is not None
        # half a unit of the last printed digit, and a little more: 2011.496 stands there as 2012, 1.0048 as 1.01 (rounded twice)
        assert abs(value - float(text)) <= 0.55 * 10**-decimals, key
