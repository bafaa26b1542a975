"""Documents: plain data with the line of every key, and limits on what a file may hold."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hdasim.errors import SpecError
from hdasim.spec.document import Document, parse

TEXT = """# a comment
device:
  core: {rows: 64,
         cols: 32}

  edges:
    - [0, 1]
    - [1,
       2]
model: {preset: x}
"""


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Document:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(TEXT, encoding="utf-8")
    return Document.read(Path("m.yaml"))


def read(text: str) -> Any:
    return parse(text, lambda line: f"m.yaml:{line}")[0]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("device",), 2),
        (("device", "core"), 3),
        (("device", "core", "rows"), 3),
        (("device", "core", "cols"), 4),
        (("device", "edges"), 6),
        (("device", "edges", 0), 7),
        (("device", "edges", 1), 8),
        (("device", "edges", 1, 1), 9),
        (("model", "preset"), 10),
        (("device", "core", "absent", "deeper"), 3),
        (("absent",), 2),
    ],
)
def test_places(document: Document, path: tuple[str | int, ...], line: int) -> None:
    assert document.place(path) == f"m.yaml:{line}"


def test_data(document: Document) -> None:
    assert document.data == yaml.safe_load(TEXT)


def test_a_part_keeps_its_places(document: Document) -> None:
    part = document.sub("device", "core")
    assert part.data == {"rows": 64, "cols": 32}
    assert (part.place(("cols",)), part.place(())) == ("m.yaml:4", "m.yaml:3")


def test_merging_keeps_what_is_there(document: Document) -> None:
    base = Document({"core": {"rows": 1, "lanes": 2}, "edges": [], "name": "b"}, {("core", "lanes"): "b.yaml:7"}, "b.yaml")
    document.put(("device",), base)
    assert document.data["device"] == {"core": {"rows": 64, "cols": 32, "lanes": 2}, "edges": [[0, 1], [1, 2]], "name": "b"}
    assert document.place(("device", "core", "lanes")) == "b.yaml:7"
    assert document.place(("device", "core", "rows")) == "m.yaml:3"


def test_another_kind_is_not_merged() -> None:
    document = Document({"u": {"kind": "log"}}, {}, "m.yaml")
    document.put((), Document({"u": {"kind": "constant", "value": 1}}, {}, "b.yaml"))
    assert document.data == {"u": {"kind": "log"}}


def test_setting_replaces_value_and_places(document: Document) -> None:
    document.set(("device", "core"), {"rows": 0}, "--set x")
    document.set(("device", "edges", "1"), [1, 3], "--set y")  # an entry of a list
    document.set(("device", "core", "rows", "deep"), 1, "--set z")  # a value on the way gives way to a mapping
    assert document.data["device"] == {"core": {"rows": {"deep": 1}}, "edges": [[0, 1], [1, 3]]}
    assert document.place(("device", "edges", 1)) == document.place(("device", "edges", 1, 1)) == "--set y"
    for index in ("2", "a", "-1"):
        with pytest.raises(SpecError, match="expected an index from 0 to 1"):
            document.set(("device", "edges", index), 1, "--set z")
    assert document.place(("device", "core", "rows")) == "--set x"
    assert document.place(("device", "core", "rows", "deep")) == "--set z"
    document.clear(("device",))
    document.clear(("absent", "deeper"))
    assert document.data["device"] == {}


@pytest.mark.parametrize("index", ["a", "2", "-1"])
def test_setting_a_list_needs_an_index(document: Document, index: str) -> None:
    with pytest.raises(SpecError, match=f"--set y: device.edges: expected an index from 0 to 1, got '{index}'"):
        document.set(("device", "edges", index), 1, "--set y")


def test_scalars() -> None:
    text = "[1, 1.5, 1e9, .inf, yes, ~, 0x10, 1_000, 1:30, 2024-01-01, '12', !!str 12, !!int '12', '']"
    assert read(text) == [1, 1.5, "1e9", float("inf"), True, None, 16, 1000, 90, "2024-01-01", "12", "12", 12, ""]


def test_json_is_yaml() -> None:
    assert read('{"a": [1, 2.5, null, true, "x"], "b": {"c": "\\u00e9"}}') == {"a": [1, 2.5, None, True, "x"], "b": {"c": "é"}}


def test_keys_stay_text() -> None:
    assert read("{1: a, no: b, ~: c}") == {"1": "a", "no": "b", "~": "c"}


def test_aliases_are_copies() -> None:
    data = read("a: &x {k: [1]}\nb: *x\nc: *x\n")
    assert data == {"a": {"k": [1]}, "b": {"k": [1]}, "c": {"k": [1]}}
    assert data["b"] is not data["c"]
    assert data["b"]["k"] is not data["a"]["k"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "m.yaml:3: a: this key appears twice"),
        ("a: {b: 1,\n b: 2}\n", "m.yaml:2: a.b: this key appears twice"),
        ("a: *x\n", "m.yaml:1: not valid YAML: found undefined alias|m.yaml:1: alias"),
        ("a:\n\tb: 1\n", "m.yaml:2: not valid YAML: .*spaces"),
        ("a: [1\n", "m.yaml:2: not valid YAML"),
        ("a: 'x\n", "not valid YAML"),
        ("? [1]\n: 2\n", "m.yaml:1: a key must be plain text"),
        ("a: 1\n---\nb: 2\n", "m.yaml:2: a second YAML document"),
        ("a: !x 1\n", "m.yaml:1: a: tag !x is not understood"),
        ("a: !!python/name:os.system {}\n", "is not understood"),
        ("a: !!int x\n", "m.yaml:1: a: 'x' is not a number"),
        ("a: !!bool x\n", "m.yaml:1: a: 'x' is not a number"),
        ("a: " + "9" * 5000, "m.yaml:1: a: '9{20}' is not a number"),
        ("a: \x01", "m.yaml:1: not valid YAML"),
        ("- " * 100_000, "m.yaml:1: nested more than 40 levels"),
        ("{a: " * 41 + "1" + "}" * 41, "m.yaml:1: nested more than 40 levels"),
        ("a: &a {b: *a}", "m.yaml:1: alias"),
        ("a: &a [" + "1, " * 1000 + "]\nb: [" + "*a, " * 60 + "]\n", "m.yaml:2: more than 50,000 values"),
        ("[" + "1, " * 60_000 + "]\n", "m.yaml:1: more than 50,000 values"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        read(text)
    assert len(str(caught.value).splitlines()) == 1


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="ab:-[]{},&*!#'\"\n\t 01.|>?%@`", max_size=60))
def test_any_text_is_data_or_one_line(text: str) -> None:
    try:
        read(text)
    except SpecError as error:
        assert str(error).startswith("m.yaml:")
        assert len(str(error).splitlines()) == 1


LEAVES = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=8)
TREES = st.recursive(
    LEAVES, lambda t: st.lists(t, max_size=4) | st.dictionaries(st.text("abc", min_size=1), t, max_size=4), max_leaves=20
)


@settings(deadline=None)
@given(data=TREES)
def test_what_yaml_writes_is_read_back(data: Any) -> None:
    assert read(yaml.safe_dump(data)) == data
