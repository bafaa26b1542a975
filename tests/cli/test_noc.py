"""`hdasim noc` and `hdasim validate booksim`: tables in and out, and one line for everything that is wrong."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hdasim.cli import main
from hdasim.noc import cases, table

SHARED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "noc"
needs_reference = pytest.mark.skipif(
    not (SHARED / "booksim_collectives.csv").is_file(), reason="../shared/reference/noc is not beside this checkout"
)

HEADER = "topology,router_cfg,packet_flits,chunk_flits,collective"
GOOD = "mesh8x8,R1,16,16,ring_ag_ham"  # 63 (16 + 10) - 1 = 1637
LISTED = "topology,router_cfg,packet_flits,messages"
MESSAGE = "mesh8x8,R1,16,0>63:16"  # 56 + 6 + 15 = 77
ASTRA = "topology,npus,bandwidth_GiBps,latency_ns,chunk_bytes,schedule"
RING = "Ring,16,50,500,1048576,ring_ag"  # 15 (500 + 19531.25)
LOADS = ["max_inject_flits", "max_eject_flits", "max_link_flits", "flit_hops"]

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(*rows: str, header: str = HEADER, name: str = "cases.csv") -> None:
    Path(name).write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8", newline="")


def rows_of(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(name).read_text(encoding="utf-8").splitlines()))


def tabulate(*arguments: str, source: str | Path = "cases.csv", code: int = 0) -> list[dict[str, str]]:
    """Run a table and return the rows of out.csv."""
    assert main(["noc", str(source), "--output", "out.csv", *arguments]) == code
    return rows_of("out.csv")


# ---- tables ----


def test_collectives(capsys: Capture) -> None:
    save("a," + GOOD + ",x", "b,ring8,R2,16,4,incast,y", header=f"id,{HEADER},note")
    first, second = tabulate()
    assert capsys.readouterr().out == "cases: 2, errors: 0, output: out.csv\n"
    assert list(first) == ["id", *HEADER.split(","), "note", "cycles", "bound_cycles", *LOADS]
    assert list(first.values())[-6:] == ["1637", "1637", "1008", "1008", "1008", "64512"]
    assert (first["id"], first["note"], second["note"]) == ("a", "x", "y")
    assert second["cycles"] == str(7 * 16 + 11)  # R2: 5 + 7 - 1


def test_messages_and_their_options() -> None:
    save("mesh8x8,R1,1,1,8,0>7:1024@0", "mesh8x8,R1,1,,,0>7:1024@0", "mesh8x8,R1,16,8,8,0>1:64@0;1>2:64@0|0",
         header="topology,router_cfg,packet_flits,num_vcs,vc_buf_flits,messages")  # fmt: skip
    assert [row["cycles"] for row in tabulate()] == ["2080", "1057", "147"]


def test_columns_in_any_order_with_spaces_and_loads_kept() -> None:
    save(
        "ring_ag_ham, mesh8x8 ,16.0,R1,+16,mine", header="collective,topology,packet_flits,router_cfg,chunk_flits,max_link_flits"
    )
    (row,) = tabulate()
    assert (row["cycles"], row["max_link_flits"], row["max_inject_flits"]) == ("1637", "mine", "1008")
    assert list(row)[-5:] == ["cycles", "bound_cycles", *[name for name in LOADS if name != "max_link_flits"]]


def test_a_table_may_have_both_columns() -> None:
    """As booksim_collectives.csv, whose messages are a count; a row without a collective has messages."""
    save(GOOD + ",4032", "mesh8x8,R1,16,,,0>63:16", header=HEADER + ",messages")
    assert [row["cycles"] for row in tabulate()] == ["1637", "77"]


def test_edges_and_cmesh() -> None:
    save('"edges:0-1,1-2,2-3",R1,16,0>3:1', "edges:0-1;1-2,R1,16,0>2:1", "cmesh4x4c4,R1,16,0>1:1", header=LISTED)
    assert [row["cycles"] for row in tabulate()] == ["18", "14", "6"]


def test_device_links() -> None:
    save(RING, "FullyConnected,4,50,500,1048576,direct", "Switch,16,50.0,500.0,1048576.0,ring_ag", header=ASTRA)
    first, second, third = tabulate()
    assert list(first)[-2:] == ["time_ns", "bound_ns"]
    assert float(first["time_ns"]) == pytest.approx(15 * (500 + 19531.25), abs=1)
    assert float(second["time_ns"]) == pytest.approx(20031.25, abs=1)
    assert float(third["time_ns"]) == pytest.approx(15 * 2 * (500 + 19531.25), abs=1)  # two links, the whole message at each
    assert float(third["bound_ns"]) == pytest.approx(15 * (2 * 500 + 19531.25), abs=1)


def test_equal_rows_are_simulated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def count(case: cases.Case, max_work: int) -> cases.Result:
        calls.append(case)
        return simulate(case, max_work)

    simulate = cases.simulate
    monkeypatch.setattr(table.cases, "simulate", count)
    save(*[GOOD] * 50, *["mesh8x8,R1,16.0,16,ring_ag_ham "] * 50, "mesh8x8,R2,16,16,ring_ag_ham")
    assert len({row["cycles"] for row in tabulate()}) == 2
    assert len(calls) == 2


def test_the_number_of_workers_does_not_matter() -> None:
    save(*(f"mesh4x4,R1,16,{chunk},direct_ag" for chunk in range(1, 20)))
    assert tabulate("--workers", "1") == tabulate("--workers", "5")


def test_json_is_one_document(capsys: Capture) -> None:
    save("7," + GOOD, "8," + GOOD.replace("R1", "R3"), header="id," + HEADER)
    tabulate("--json", code=2)
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    (error,) = document["errors"]
    assert (error["row"], error["column"]) == (3, "router_cfg")
    assert error["message"].startswith("unknown 'R3'")
    good, bad = document["rows"]
    assert (good["id"], good["topology"], good["chunk_flits"], good["cycles"]) == (7, "mesh8x8", 16, 1637)
    assert bad["cycles"] is None and bad["error"].startswith("router_cfg: unknown 'R3'")


def test_resume_takes_over_what_is_done(capsys: Capture) -> None:
    save(GOOD, GOOD.replace("R1", "R9"))
    tabulate(code=2)
    text = Path("out.csv").read_text(encoding="utf-8").replace("1637,1637", "12345,1637")  # to see that it is not computed again
    Path("out.csv").write_text(text, encoding="utf-8")
    save(GOOD.replace("R1", "R2"), GOOD)
    capsys.readouterr()
    assert [row["cycles"] for row in tabulate("--resume")] == ["1763", "12345"]
    assert capsys.readouterr().out == "cases: 2 (1 taken over), errors: 0, output: out.csv\n"
    assert [row["cycles"] for row in tabulate()] == ["1763", "1637"]


def test_the_output_can_be_fed_back() -> None:
    save(GOOD)
    rows = tabulate()
    assert tabulate(source="out.csv") == rows


def test_an_interrupt_saves_what_is_done() -> None:
    """Two flows of 40 million flits into one port take some seconds, and cannot be stopped; nobody waits for them."""
    save(MESSAGE, *(f"mesh8x8,R1,16,0>2:4000000{i};1>2:40000000" for i in range(4)), header=LISTED)
    # a parent that ignores interrupts would pass that on, so the handler is set in the process itself
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hdasim.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "noc", "cases.csv", "--output", "out.csv", "--workers", "1", "--max-work", "500000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, first) == (130, "1 of 5 cases\n"), errors
    assert errors == "interrupted; what was done is saved, --resume does the rest\n"
    assert output == "cases: 5, errors: 4, output: out.csv\n"
    assert [row["cycles"] for row in rows_of("out.csv")] == ["77", "", "", "", ""]
    assert {row["error"] for row in rows_of("out.csv")} == {"", "interrupted"}


# ---- bad input ----

CELLS = {
    "unknown-topology": ("mseh8x8,R1,16,16,direct_ag", "topology: unknown 'mseh8x8' (did you mean 'mesh'?); use mesh8x8, torus4x4"),
    "no-topology": (",R1,16,16,direct_ag", "topology: no value; use mesh8x8"),
    "zero-size": ("mesh0x8,R1,16,16,direct_ag", "topology: got 'mesh0x8' with a size of zero; expected sizes of at least 1"),
    "huge-topology": ("mesh4000x4000,R1,16,16,direct_ag", "topology: 16000000 nodes on 16000000 routers are too many; use at most"),
    "self-loop": ('"edges:0-1,1-1",R1,16,16,direct_ag', "topology: edge 1-1 joins a node to itself; remove it"),
    "unconnected": ('"edges:0-1,2-3",R1,16,16,direct_ag', "topology: the nodes are not connected: no path from node 0 to node 2"),
    "deadlock": ('"edges:0-1,1-2,2-3,3-4,4-0",R1,16,16,direct_ag', "topology: the edges form a cycle whose links can wait"),
    "router": ("mesh8x8,r1,16,16,direct_ag", "router_cfg: unknown 'r1' (did you mean 'R1'?); use R1 or R2"),
    "zero-packet": ("mesh8x8,R1,0,16,direct_ag", "packet_flits: got '0', which is zero; expected a whole number from 1 to 1048576"),
    "text-packet": ("mesh8x8,R1,x,16,direct_ag", "packet_flits: got 'x', which is not a number"),
    "zero-chunk": ("mesh8x8,R1,16,0,direct_ag", "chunk_flits: got '0', which is zero; expected"),
    "negative-chunk": ("mesh8x8,R1,16,-4,direct_ag", "chunk_flits: got '-4', which is negative; expected"),
    "no-chunk": ("mesh8x8,R1,16,,direct_ag", "chunk_flits: no value; expected a whole number from 1"),
    "huge-chunk": ("mesh8x8,R1,16,9e15,direct_ag", "chunk_flits: got '9e15', which is too large; expected"),
    "long-run": ("mesh8x8,R1,16,100000000,direct_ag", "collective: flits cross 2,553,600,000,000 links and ports; use smaller sizes"),
    "collective": ("mesh8x8,R1,16,16,ring_ag", "collective: unknown 'ring_ag' (did you mean 'ring_ag_ham'?); use ring_ag_rowmajor"),
    "no-collective": ("mesh8x8,R1,16,16,", "collective: no value; use ring_ag_rowmajor, "),
    "odd-rows": ("mesh4x3,R1,16,16,ring_ag_ham", "collective: ring_ag_ham needs an even number of rows, got 3 of mesh4x3; use ring_ag_row"),
    "power-of-two": ("mesh3x3,R1,16,16,halvdoub_ar", "collective: halvdoub_ar needs a number of nodes that is a power of two, got 9 of"),
    "no-rows": ("xbar8,R1,16,16,twod_ag", "collective: twod_ag needs rows and columns, which xbar8 has not; use a mesh"),
    "not-square": ("mesh8x4,R1,16,16,perm_transpose", "collective: perm_transpose needs as many rows as columns, got 8 x 4 of mesh8x4"),
    "ham-of-edges": ("edges:0-1,R1,16,16,ring_ar_ham_bidir", "collective: ring_ar_ham_bidir needs a cycle of neighbours, which edges do"),
    "skew-of-odd": ("mesh4x3,R1,16,16,skew_ring_ag_ham", "collective: skew_ring_ag_ham needs an even number of rows, got 3 of mesh4x3; "),
    "random-zero": ("mesh4x4,R1,16,16,random_k0_f4", "collective: got 'random_k0_f4'; expected random_kK_fF with K of at least 1"),
    "random-huge": ("mesh4x4,R1,16,16,random_k999999999_f4", "collective: random_k999999999_f4 of 16 nodes has up to 15,999,999,984"),
    "random-flits": ("mesh4x4,R1,16,16,random_k1_f9999999999999", "collective: got 'random_k1_f9999999999999'; expected random_kK_fF"),
    "many-messages": ("xbar4096,R1,16,16,direct_ag", "collective: direct_ag of 4096 nodes has up to 16,777,216 messages, but 4,194,304"),
    "ports": ("xbar65,R1,16,16,incast", "topology: a router has 65 ports; where messages wait for each other at most 64 can be simulated"),
}  # fmt: skip
MESSAGES = {
    "cycle": ("0>1:4@0|1;1>2:4@0|0", "messages: messages wait for each other (0 > 1 > 0); remove one of these dependencies"),
    "to-itself": ("0>1:4;2>2:4", "messages: message 1 goes from node 2 to itself; give another target or leave it out"),
    "node": ("0>64:4", "messages: message 0 names node 64, but nodes are 0 to 63"),
    "dependency": ("0>1:4@0|1", "messages: message 0 depends on message 1, but messages are 0 to 0"),
    "flits": ("0>1:0", "messages: message 0 has 0 flits; expected from 1"),
    "text": ("all to all", "messages: message 0: got 'all to all'; expected source>target:flits@delay|number+number"),
    "blank": ("", "messages: no value; expected messages such as 0>1:64"),
    "long": (
        "0>1:1000000000000",
        "messages: flits cross 2,000,000,000,000 links and ports; use smaller sizes, or raise --max-work",
    ),
}
LINKS = {
    "topology": (
        "ring,4,50,500,1024,direct",
        "topology: unknown 'ring' (did you mean 'Ring'?); use Ring, Switch or FullyConnected",
    ),
    "zero-npus": ("Ring,0,50,500,1024,direct", "npus: got '0', which is zero; expected a whole number from 2 to 1024"),
    "one-npu": ("Ring,1,50,500,1024,direct", "npus: got '1', which is "),
    "huge-npus": (
        "Ring,100000,50,500,1024,direct",
        "npus: got '100000', which is too large; expected a whole number from 2 to 1024",
    ),
    "zero-width": ("Ring,4,0,500,1024,direct", "bandwidth_GiBps: got '0'; expected a number from 1e-06 to 1e+09"),
    "nan-width": ("Ring,4,nan,500,1024,direct", "bandwidth_GiBps: got 'nan'; expected a number"),
    "latency": ("Ring,4,50,-1,1024,direct", "latency_ns: got '-1'; expected a number from 0 to 1e+12"),
    "no-latency": ("Ring,4,50,,1024,direct", "latency_ns: no value; expected a number"),
    "bytes": ("Ring,4,50,500,0,direct", "chunk_bytes: got '0', which is zero"),
    "schedule": (
        "Ring,4,50,500,1024,driect",
        "schedule: unknown 'driect' (did you mean 'direct'?); use direct, direct_rot, ring_ag or",
    ),
}
BAD = [
    *((HEADER, GOOD, row, message) for row, message in CELLS.values()),
    *((LISTED, MESSAGE, f"mesh8x8,R1,16,{text}", message) for text, message in MESSAGES.values()),
    *((ASTRA, RING, row, message) for row, message in LINKS.values()),
]


@pytest.mark.parametrize(
    ("header", "good", "row", "message"), BAD,
    ids=[*CELLS, *(f"messages-{key}" for key in MESSAGES), *(f"links-{key}" for key in LINKS)],
)  # fmt: skip
def test_a_bad_row_does_not_stop_the_others(header: str, good: str, row: str, message: str, capsys: Capture) -> None:
    save(good, row, good, header=header)
    rows = tabulate(code=2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"cases.csv:3: {message}")
    assert lines[0] == f"cases.csv:3: {rows[1]['error']}"
    outputs = ("time_ns", "bound_ns") if header == ASTRA else ("cycles", "bound_cycles", *LOADS)
    assert {rows[1][name] for name in outputs} == {""}
    assert rows[0] == rows[2]
    assert rows[0][outputs[0]] and not rows[0]["error"]


@pytest.mark.parametrize(
    ("options", "row", "message"),
    [
        ("num_vcs", "mesh8x8,R1,16,0>1:4,0", "num_vcs: got '0', which is zero; expected a whole number from 1 to 32"),
        ("num_vcs", "mesh8x8,R1,16,0>1:4,33", "num_vcs: got '33', which is too large"),
        ("num_vcs", "ring8,R1,16,0>1:4,1", "num_vcs: got 1; a ring needs at least 2, one on either side of its dateline"),
        (
            "vc_buf_flits",
            "mesh8x8,R1,16,0>1:4,127",
            "vc_buf_flits: got '127', which is too large; expected a whole number from 1 to 126",
        ),
    ],
)
def test_bad_buffers(options: str, row: str, message: str, capsys: Capture) -> None:
    save(row, header=f"{LISTED},{options}")
    tabulate(code=2)
    assert capsys.readouterr().err.startswith(f"cases.csv:2: {message}")


TABLES: dict[str, tuple[str, str]] = {
    "empty": ("", "cases.csv:1: file is empty; expected a table of cases"),
    "header-only": (HEADER + "\n", "cases.csv:1: header without rows; expected one row per case below it"),
    "no-schedule": (
        "topology,router_cfg,packet_flits\nx\n",
        "cases.csv:1: column is missing: collective or messages; expected the col",
    ),
    "missing": (
        HEADER.replace("topology", "topolgy") + "\nx\n",
        "cases.csv:1: column is missing: topology (did you mean 'topolgy'?)",
    ),
    "missing-chunk": (
        "topology,router_cfg,packet_flits,collective\nx\n",
        "cases.csv:1: column is missing: chunk_flits; expected the",
    ),
    "missing-links": (
        "topology,npus,schedule\nx\n",
        "cases.csv:1: columns are missing: bandwidth_GiBps, latency_ns, chunk_bytes; ",
    ),
    "other": ("a,b\n1,2\n", "cases.csv:1: columns are missing: topology, router_cfg, packet_flits"),
    "duplicate": (f"{HEADER},topology\n{GOOD},x\n", "cases.csv:1: topology: column appears 2 times; expected it once"),
    "quote": (f'{HEADER}\n{GOOD}\n"a\n', "cases.csv:3: row: unexpected end of data; expected comma-separated values"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_bad_table(name: str, capsys: Capture) -> None:
    content, message = TABLES[name]
    Path("cases.csv").write_text(content, encoding="utf-8")
    assert main(["noc", "cases.csv", "--output", "out.csv"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert (len(captured.err.splitlines()), captured.out) == (1, "")
    assert not Path("out.csv").exists()


def test_a_ragged_row(capsys: Capture) -> None:
    save(GOOD, "mesh8x8,R1", "edges:0-1,1-2,R1,16,16,direct_ag")
    tabulate(code=2)
    assert capsys.readouterr().err.splitlines() == [
        "cases.csv:3: row: 2 fields; expected 5 as in the header", "cases.csv:4: row: 6 fields; expected 5 as in the header",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["noc"], "the following arguments are required: CASES.csv, --output"),
        (["noc", "none.csv", "--output", "out.csv"], "none.csv: cannot be read (No such file or directory)"),
        (["noc", "cases.csv", "--output", "no/out.csv"], "no/out.csv: cannot be written"),
        (
            ["noc", "cases.csv", "--output", "out.csv", "--workers", "0"],
            "--workers: expected a whole number from 1 to 1024, got '0'",
        ),
        (["noc", "cases.csv", "--output", "out.csv", "--max-work", "x"], "--max-work: expected a whole number"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, capsys: Capture) -> None:
    save(GOOD)
    try:
        code: object = main(arguments)
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1


def test_max_work_can_be_raised() -> None:
    save("mesh2x1,R1,16,1>0:1000", header=LISTED)
    assert tabulate("--max-work", "1999", code=2)[0]["error"].startswith("messages: flits cross 2,000 links and ports")
    assert tabulate("--max-work", "2000")[0]["cycles"] == "1009"


# ---- validate booksim ----


def compare(*arguments: str, code: int = 0) -> None:
    assert main(["validate", "booksim", *arguments]) == code


def test_exact_tables_hold(capsys: Capture) -> None:
    save(GOOD + ",1637,1637.0,1637.0", header=HEADER + ",booksim_cycles,proto_vct_packet_cycles,proto_flow_maxmin_cycles")
    compare("--data", "cases.csv", "--json")
    captured = capsys.readouterr()
    name = "mesh8x8 R1 16 16 ring_ag_ham: cycles"
    assert json.loads(captured.out) == [{"name": name, "reference": 1637, "predicted": 1637, "error": 0.0}]
    assert captured.err == "contention-free: 1 of 1 exact, mean error 0.00%, worst 0.00%\n"


@pytest.mark.parametrize(
    ("header", "row", "word", "code"),
    [
        (HEADER + ",booksim_cycles,proto_vct_packet_cycles", GOOD + ",1638,1638", "contention-free", 1),
        (HEADER + ",booksim_cycles,proto_vct_packet_cycles", GOOD + ",1638,1600", "contended, mesh", 0),
        (HEADER + ",booksim_cycles", GOOD + ",1500", "contended, mesh", 1),  # 9 % on average
        (HEADER + ",booksim_cycles,route_tie", GOOD.replace("mesh", "torus") + ",100,1", "ties (BookSim at random)", 0),
        (ASTRA + ",completion_ns", RING + ",300468", "device links (ASTRA-sim)", 0),
        (ASTRA + ",completion_ns", RING + ",310000", "device links (ASTRA-sim)", 1),
        (LISTED + ",booksim_makespan", MESSAGE + ",77", "contended, mesh", 0),
    ],
)
def test_limits_of_each_class(header: str, row: str, word: str, code: int, capsys: Capture) -> None:
    save(row, header=header)
    compare("--data", "cases.csv", code=code)
    out = capsys.readouterr().out
    assert word in out
    assert ("exceeded" in out) == (code == 1)


def test_messages_are_compared_one_by_one(capsys: Capture) -> None:
    save("mesh8x8,R1,16,0>1:16;1>2:1@5|0,40,25;41", header=f"{LISTED},booksim_makespan,per_message_completion")
    compare("--data", "cases.csv")
    assert "single messages" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "message", "code"),
    [
        ({}, "data: holds none of booksim_micro.csv, booksim_collectives.csv, astra_congestion_aware.csv", 2),
        ({"booksim_micro.csv": f"{HEADER}\n{GOOD}\n"}, "column is missing: booksim_makespan, booksim_cycles or completion_ns", 2),
        ({"booksim_micro.csv": f"{LISTED},booksim_makespan\n{MESSAGE},x\n"}, "booksim_makespan: got 'x'; expected a number", 1),
        ({"booksim_micro.csv": f"{LISTED},booksim_makespan\nmesh0x1,R1,16,0>1:1,9\n"}, "topology: got 'mesh0x1' with a size", 1),
        (
            {"booksim_micro.csv": f"{LISTED},booksim_makespan,per_message_completion\n{MESSAGE},77,77;78\n"},
            "per_message_completion: 2 numbers for 1 messages", 1,
        ),
        ({"booksim_micro.csv": ""}, "file is empty", 2),
    ],
)  # fmt: skip
def test_malformed_references(files: dict[str, str], message: str, code: int, capsys: Capture) -> None:
    Path("data").mkdir()
    for name, text in files.items():
        Path("data", name).write_text(text, encoding="utf-8")
    compare("--data", "data", code=code)
    captured = capsys.readouterr()
    assert message in captured.err + captured.out


def test_a_reference_that_is_not_there(capsys: Capture) -> None:
    compare("--data", "nowhere", code=2)
    assert capsys.readouterr().err == "nowhere: does not exist; give a folder with BookSim's tables, or one of them\n"


# ---- the reference itself ----


@needs_reference
def test_the_reference_holds(capsys: Capture) -> None:
    compare("--data", str(SHARED), "--json")
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert len(rows) >= 48 + 142
    assert "over its limit" not in captured.err
    assert captured.err.startswith("contention-free: 112 of 112 exact")


@needs_reference
def test_loads_are_the_references() -> None:
    """Port and link loads as BookSim's table has them, ties aside, which it counts in one direction."""
    save(*(",".join(row[name] for name in HEADER.split(",")) for row in rows_of(str(SHARED / "booksim_collectives.csv"))))
    for ours, theirs in zip(tabulate(), rows_of(str(SHARED / "booksim_collectives.csv")), strict=True):
        for name in LOADS:
            if name != "max_link_flits" or theirs["route_tie"] == "0":
                assert ours[name] == theirs[name], (theirs["topology"], theirs["collective"], name)
        assert int(ours["bound_cycles"]) <= int(ours["cycles"])


@needs_reference
@pytest.mark.parametrize("name", ["booksim_micro.csv", "booksim_collectives.csv", "astra_congestion_aware.csv"])
def test_the_references_columns_are_kept(name: str) -> None:
    ours, theirs = tabulate(source=SHARED / name), rows_of(str(SHARED / name))
    assert [{column: row[column] for column in theirs[0]} for row in ours] == theirs
    assert list(ours[0])[: len(theirs[0])] == list(theirs[0])
