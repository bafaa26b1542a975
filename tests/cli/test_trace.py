"""The trace commands: what is printed, what is written, and mistakes in one line."""

import json
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hdasim import cli_trace
from hdasim.cli import main
from hdasim.report.trace import bin_width
from hdasim.serving.trace_write import FORMS
from hdasim.serving.traces import read

VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
OWN = VIDUR.replace("\n", ",hash_ids,hash_block,parent\n")
PLAIN = VIDUR + "".join(f"{i * i / 100},{i + 20},{i % 7 + 1}\n" for i in range(60))
CHAT = OWN + "0,17,1,4 5,16,-1\n3,40,2,4 6 7,16,0\n9,16,1,8,16,-1\n"
MOONCAKE = '{"timestamp": 0, "input_length": 600, "output_length": 3, "hash_ids": [5, 6]}\n'
MOONCAKE += '{"timestamp": 2500, "input_length": 700, "output_length": 4, "hash_ids": [5, 7]}\n'
REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "traces"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("t.csv", PLAIN), ("chat.csv", CHAT), ("m.jsonl", MOONCAKE)):
        Path(name).write_text(text, encoding="utf-8")
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    assert main(["trace", *arguments]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(printed(capsys, *arguments, "--json")[0])


def test_describe_shows_prompts_and_sessions_where_they_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    plain, blocks, chat = (printed(capsys, "describe", name)[0] for name in ("t.csv", "m.jsonl", "chat.csv"))
    assert "block_reuse" not in plain
    assert "sessions" not in plain
    lines = dict(line.split() for line in blocks.splitlines())
    assert (lines["hash_block"], lines["blocks"], lines["unique_blocks"], lines["block_reuse"]) == ("512", "4", "3", "0.25")
    lines = dict(line.split() for line in chat.splitlines())
    assert (lines["rows"], lines["sessions"], lines["turns_mean"], lines["think_mean_s"]) == ("3", "2", "1.5", "3")
    assert document(capsys, "describe", "t.csv")["block_reuse"] is None


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="shared/reference/traces is not beside this checkout")
def test_mooncake_shows_the_published_reuse(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "describe", str(REFERENCE / "mooncake_fast25_conversation_first2500.jsonl"))
    assert f"{found['block_reuse']:.1%}" == "30.1%"
    found = document(capsys, "describe", str(REFERENCE / "mooncake_fast25_synthetic_first2500.jsonl"))
    assert f"{found['block_reuse']:.1%}" == "40.4%"


class Page(HTMLParser):
    """Tags, and whatever would be loaded from elsewhere or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href") or name.startswith("on")]


@pytest.mark.parametrize(("name", "charts"), [("t.csv", 3), ("m.jsonl", 4), ("chat.csv", 5)])
def test_a_plot_is_one_page_that_loads_nothing(name: str, charts: int, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = printed(capsys, "describe", name, "--plot", "p.html")
    assert out == printed(capsys, "describe", name)[0]
    assert err == "plots written to p.html\n"
    text = Path("p.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.tags.count("svg") == charts
    assert "script" not in page.tags
    assert page.loads == ["data:,"]
    assert "nan" not in text
    for part in text.split("<svg")[1:]:
        ET.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>")
    printed(capsys, "describe", name, "--plot", "q.html")
    assert Path("q.html").read_bytes() == Path("p.html").read_bytes()


@pytest.mark.parametrize("content", [VIDUR + "5,1,1\n", VIDUR + "5,1,1\n5,1,1\n", VIDUR + "0,1,1\n9e9,2147483648,1\n"])
def test_plots_of_odd_traces(content: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("odd.csv").write_text(content, encoding="utf-8")
    printed(capsys, "describe", "odd.csv", "--plot", "p.html")
    assert Path("p.html").read_text(encoding="utf-8").count("<svg") == 3


def test_bins_of_arrivals() -> None:
    # 10 s for as long as that gives twenty bins and at most a thousand
    assert [bin_width(span) for span in (0, 5, 150, 300, 9000, 20_000, 86_400, 7 * 86_400, 1e9)] == [
        0.1, 0.1, 1, 10, 10, 60, 600, 3600, 86_400]  # fmt: skip


def test_convert_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert "in the form vidur" in printed(capsys, "convert", "m.jsonl", "a.csv")[1]
    assert "in the form mooncake" in printed(capsys, "convert", "a.csv", "b.jsonl")[1]
    assert Path("b.jsonl").read_text(encoding="utf-8") == MOONCAKE
    before = document(capsys, "describe", "m.jsonl")
    assert document(capsys, "convert", "m.jsonl", "c.csv") == before
    _, err = printed(capsys, "convert", "m.jsonl", "d.csv", "--form", "azure")
    assert err.startswith("ids of prompt blocks left out: the form azure has no place for them\n")
    assert Path("d.csv").read_text(encoding="utf-8").splitlines()[2] == "2000-01-01 00:00:02.5000000,700,4"
    printed(capsys, "convert", "chat.csv", "e.csv")
    assert read("e.csv").first(2).arrival_s.tolist() == [0.0, 3.0]
    assert cli_trace._FORMS == FORMS


def test_generate_like_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    like = ("generate", "--like", "t.csv", "--num-prompts", "500")
    out, err = printed(capsys, *like, "--output", "a.csv", "--workload", "w.yaml", "--seed", "3")
    assert out.splitlines()[0].split() == ["original", "generated"]
    assert out.splitlines()[1].split() == ["rows", "60", "500"]
    assert err.endswith("500 requests written to a.csv\n")
    printed(capsys, "generate", "w.yaml", "--output", "b.csv")
    assert Path("b.csv").read_bytes() == Path("a.csv").read_bytes()
    found = document(capsys, *like, "--output", "a.csv", "--profile", "5")
    assert set(found) == {"original", "generated", "notes", "workload"}
    assert found["original"] == document(capsys, "describe", "t.csv")
    assert found["generated"] == document(capsys, "describe", "a.csv")
    assert found["workload"]["arrival"]["kind"] == "ramp"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "no.csv"], "no.csv: cannot be read (No such file or directory); give the path of a CSV or JSONL"),
        (["describe", "t.csv", "--plot", "no/p.html"], "no/p.html: cannot be written (no such folder); give a file name in a"),
        (["convert", "t.csv", "no/t.csv"], "no/t.csv: cannot be written (no such folder)"),
        (["convert", "t.csv", "."], ".: cannot be written (this is a directory)"),
        (["convert", "no.csv", "o.csv"], "no.csv: cannot be read"),
        (["convert", "chat.csv", "o.csv", "--form", "azure"], "o.csv: the form azure has no sessions, where a request waits for"),
        (["convert", "chat.csv", "o.jsonl"], "o.jsonl: the form mooncake has no sessions"),
        (
            ["generate", "--like", "chat.csv", "--output", "o.csv"],
            "chat.csv: the trace has sessions, which are not fitted; give",
        ),
        (["generate", "--like", "t.csv", "--output", "o.csv", "--workload", "no/w.yaml"], "no/w.yaml: cannot be written"),
        (["generate", "--like", "no.csv", "--output", "o.csv"], "no.csv: cannot be read"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", *arguments]) == 2
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
    assert message in captured.err
    assert not Path("o.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--output", "o.csv"], "give either WORKLOAD or --like TRACE; see hdasim trace generate --help"),
        (["generate", "w.yaml", "--like", "t.csv", "--output", "o.csv"], "give either WORKLOAD or --like TRACE"),
        (["generate", "w.yaml", "--profile", "60", "--output", "o.csv"], "--profile needs --like TRACE"),
        (["generate", "w.yaml", "--num-prompts", "6", "--output", "o.csv"], "--num-prompts needs --like TRACE"),
        (["generate", "--like", "t.csv", "--profile", "0", "--output", "o.csv"], "--profile: expected a whole number from 1 to"),
        (["generate", "--like", "t.csv"], "the following arguments are required: --output"),
        (
            ["convert", "t.csv", "o.csv", "--form", "parquet"],
            "--form: invalid choice: 'parquet' (choose from 'vidur', 'mooncake'",
        ),
        (["convert", "t.csv"], "the following arguments are required: OUT"),
    ],
)
def test_wrong_options(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["trace", *arguments])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert (captured.out, len(captured.err.splitlines())) == ("", 1)
    assert message in captured.err
