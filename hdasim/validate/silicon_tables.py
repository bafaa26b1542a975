"""Tables of measured operator times: what they are, told by their columns and their names."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from hdasim.errors import SpecError
from hdasim.predict.kernel import operands
from hdasim.predict.operators import OPERATORS
from hdasim.predict.table import column_places, same_hardware
from hdasim.sheet import Sheet, read_sheet
from hdasim.spec.load import presets

GPU = ("gpu", "system", "node", "device", "hardware")
#: Times in microseconds: one column, or one for each framework, of which some may be empty.
SINGLE, FRAMEWORKS = ("latency_us", "median_us"), ("trtllm_us", "vllm_us", "sglang_us")
_TIMES = "latency_us, median_us, or trtllm_us, vllm_us or sglang_us"
#: Sources by a word in a file's name, and what is special about them.
SOURCES = {
    "vidur": "eager, launch included",
    "llmcompass": "eager; LLMCompass's published launch overheads in place of a launch in a graph",
    "llmcompass+": "CUDA graphs; the fastest setting of each shape",
}
#: LLMCompass's launch overheads, us: GPU, then operator (github.com/PrincetonUniversity/LLMCompass, ISCA 2024).
OVERHEADS = {
    "a100": {"matmul": 21.0, "softmax": 12.0, "layernorm": 45.0, "gelu": 45.0},
    "mi210": {"matmul": 34.0, "softmax": 22.0, "layernorm": 28.0, "gelu": 21.0},
}
#: Tables that are not of single operators, by the columns that they have.
SYSTEMS = {
    "batch": ("model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size", "prompt_time", "token_time"),
    "serving": (
        "system", "backend", "model_path", "precision", "mode", "isl", "osl", "concurrency", "tp_size", "pp_size", "moe_ep_size",
        "silicon_ttft_ms", "silicon_tpot_ms", "measured",
    ),
    "layer": (
        "device", "tensor_parallel", "model", "phase", "batch", "query_tokens", "kv_tokens", "operator", "latency_us",
    ),
}  # fmt: skip
Column = list[str]


@dataclass
class Table:
    """Measurements of one operator: columns in the names of hdasim predict.

    Parameters
    ----------
    times
        Columns of times.
    gpus, types
        Texts of each row; types are "" where the operator has none.
    source
        Key of `SOURCES`, or "".
    overheads
        Operators of `OVERHEADS`, a text for each row, where launches are LLMCompass's.
    merged
        Rows with the same case are the same kernel in other frameworks or settings: the fastest counts.
    """

    op: str
    path: Path
    lines: list[int]
    texts: dict[str, Column]
    times: dict[str, Column]
    gpus: Column
    types: Column
    source: str = ""
    overheads: Column | None = None
    merged: bool = False


@dataclass
class Folder:
    """Tables found, of operators and, with the key of `SYSTEMS`, of others, and why other files were left out."""

    tables: list[Table] = field(default_factory=list)
    systems: list[tuple[str, Sheet]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@lru_cache(maxsize=4096)
def preset(text: str) -> str:
    """The hardware preset that a GPU's name, or that of a file with one, means; "" if there is none."""
    names = presets("hardware")
    words = text.split("_")
    for start in range(len(words)):
        part = "_".join(words[start:])
        known = [name for name in names if same_hardware(part, name)]
        if known:
            return max(known, key=len)
    return ""


def find(path: Path, op: str) -> Folder:
    """The tables of `op`, or of all if "", in a folder or file; `SpecError` if a single file is none or is broken."""
    folder = Folder()
    for file in sorted(path.glob("*.csv")) if path.is_dir() else [path]:
        try:
            sheet = read_sheet(file, _nothing if path.is_dir() else lambda sheet: _recognised(sheet, op))
            kind = _system(sheet)
            tables = [] if kind else list(_tables(sheet))
        except SpecError as error:
            if not path.is_dir():
                raise
            folder.skipped.append(f"left out {file.name}: {error}")
            continue
        if kind:
            folder.systems += [(kind, sheet)] if op in ("", kind) else []
        elif not tables:
            folder.skipped.append(f"left out {file.name}: its columns are those of no operator with measured times")
        folder.tables += [table for table in tables if op in ("", table.op)]
    return folder


def _nothing(sheet: Sheet) -> None:
    return None


def _recognised(sheet: Sheet, op: str) -> None:
    """`SpecError` if the header is of no table of the operator."""
    if op in SYSTEMS:
        sheet.find(SYSTEMS[op])
    if _system(sheet) or _adapter(sheet) is not None:
        return
    for name in [op] if op else OPERATORS:
        try:
            column_places(sheet, OPERATORS[name])
            break
        except SpecError:
            if op and op != "collective":
                raise
    else:
        if op != "collective":
            raise SpecError(f"columns of no operator; known: {', '.join([*OPERATORS, *SYSTEMS])}", place=f"{sheet.path}:1")
        expected = "the columns gpu or system, op, num_gpus or n_gpus, message_bytes or bytes, latency_us"
        wanted = (GPU[:2], ("op",), ("num_gpus", "n_gpus", "num_workers"), ("message_bytes", "bytes"))
        missing = next((names for names in wanted if not set(names) & set(sheet.names)), ("op",))
        raise SpecError(f"column is missing: {' or '.join(missing)}; expected {expected}", place=f"{sheet.path}:1")
    if not set(sheet.names) & {*SINGLE, *FRAMEWORKS}:
        raise SpecError(f"no column of measured times; expected {_TIMES}", place=f"{sheet.path}:1")


def _tables(sheet: Sheet) -> Iterator[Table]:
    if sheet.ragged:
        row = min(sheet.ragged)
        raise SpecError(sheet.ragged[row], ("row",), f"{sheet.path}:{sheet.lines[row]}")
    columns = dict(zip(sheet.names, sheet.columns(range(len(sheet.names))), strict=True))
    times = {name: columns[name] for name in (*SINGLE, *FRAMEWORKS) if name in columns}
    if not times:
        return
    times = dict([next(iter(times.items()))]) if next(iter(times)) in SINGLE else times
    adapter = _adapter(sheet)
    if adapter is not None:
        yield from adapter(sheet, columns, times)
        return
    for op, kind in OPERATORS.items():
        try:
            places = column_places(sheet, kind)
        except SpecError:
            continue
        texts = {name: columns[sheet.names[at]] for name, at in places.items() if at is not None}
        merged = "framework" in columns
        yield _table(sheet, op, texts, times, columns, merged=merged)
        return


def _table(
    sheet: Sheet, op: str, texts: dict[str, Column], times: dict[str, Column], columns: dict[str, Column],
    overheads: Column | None = None, merged: bool = False,
) -> Table:  # fmt: skip
    count, stem = len(sheet.lines), sheet.path.stem
    gpus = next((columns[name] for name in GPU if name in columns), [stem] * count)
    column, types = OPERATORS[op].type_column, [""] * count
    if column:
        default = _type_in(stem)
        texts[column] = types = [text if text.strip() else default for text in texts.get(column, types)]
    return Table(op, sheet.path, sheet.lines, texts, times, gpus, types, _source(stem), overheads, merged)


def _type_in(stem: str) -> str:
    for word in reversed(stem.split("_")):
        try:
            return operands(word, "dtype")
        except SpecError:
            continue
    return "bf16"


def _source(stem: str) -> str:
    """The key of `SOURCES` that a file's name has, of element-wise kernels with the kernel behind it."""
    words = stem.split("_")
    if words[0] == "llmcompass":
        source = "llmcompass+" if words[1:2] == ["plus"] else "llmcompass"
        return f"{source} {words[-1]}" if words[-1] in _SINGLE_KERNELS else source
    return "vidur" if "vidur" in words else ""


_SINGLE_KERNELS = ("softmax", "layernorm", "gelu", "rmsnorm")


def _system(sheet: Sheet) -> str:
    """The key of `SYSTEMS` whose columns a table has; "" for none."""
    return next((name for name, columns in SYSTEMS.items() if set(columns) <= set(sheet.names)), "")


Adapter = Callable[[Sheet, dict[str, Column], dict[str, Column]], Iterator[Table]]


def _adapter(sheet: Sheet) -> Adapter | None:
    """What reads LLMCompass's tables, told by the columns operator and device or devices."""
    names = set(sheet.names)
    if "operator" not in names or "latency_us" not in names:
        return None
    if {"system", "devices", "bytes_per_device"} <= names:
        return _all_reduces
    if {"device", "q_tokens", "kv_tokens", "causal", "batch", "q_heads", "kv_heads", "head_dim"} <= names:
        return _flash_attention
    if {"device", "m", "n", "k"} <= names:
        return _matmuls
    return _elementwise if {"device", "m", "n"} <= names or {"device", "elements"} <= names else None


def _matmuls(sheet: Sheet, columns: dict[str, Column], times: dict[str, Column]) -> Iterator[Table]:
    texts = {name: columns[name] for name in ("m", "n", "k")}
    texts["dtype"] = columns.get("dtype", columns.get("input_dtype", [""] * len(sheet.lines)))
    if "output_dtype" in columns:
        texts["output_dtype"] = columns["output_dtype"]
    plus = _source(sheet.path.stem).startswith("llmcompass+")
    if plus:  # kernels alone on cold weights, whose operands are narrow already
        texts["copies"] = [str(2**20)] * len(sheet.lines)
        texts["source_dtype"] = ["" if text.strip().startswith("w") else text for text in texts["dtype"]]
    yield _table(sheet, "gemm", texts, times, columns, None if plus else ["matmul"] * len(sheet.lines), merged=plus)


_ELEMENTWISE = {"gelu_tanh": "gelu", "rmsnorm+residual (fused)": "rmsnorm_residual"}


def _elementwise(sheet: Sheet, columns: dict[str, Column], times: dict[str, Column]) -> Iterator[Table]:
    ops = [_ELEMENTWISE.get(text.strip(), text) for text in columns["operator"]]
    texts = {"op": ops, "num_tokens": columns.get("m", columns.get("elements", []))}
    texts["hidden"] = columns.get("n", ["1"] * len(ops))
    plus = _source(sheet.path.stem).startswith("llmcompass+")
    yield _table(sheet, "elementwise", texts, times, columns, None if plus else ops)


def _flash_attention(sheet: Sheet, columns: dict[str, Column], times: dict[str, Column]) -> Iterator[Table]:
    """Queries that see all keys have as many pairs as causal ones after keys - (queries + 1) / 2 cached tokens."""
    texts = {name: columns[name] for name in ("batch", "q_heads", "kv_heads", "head_dim")}
    texts["seq_len"] = columns["q_tokens"]
    past = []
    for q, kv, causal in zip(columns["q_tokens"], columns["kv_tokens"], columns["causal"], strict=True):
        if not (q.isdecimal() and kv.isdecimal()):
            past.append("")
        else:
            past.append(str(max(int(kv) - (int(q) if causal.strip() == "True" else (int(q) + 1) // 2), 0)))
    texts["past"] = past
    yield _table(sheet, "attention_context", texts, times, columns, merged=True)


def _all_reduces(sheet: Sheet, columns: dict[str, Column], times: dict[str, Column]) -> Iterator[Table]:
    texts = {
        "op": ["all_reduce" if text.strip() == "allreduce" else text for text in columns["operator"]],
        "num_gpus": columns["devices"], "message_bytes": columns["bytes_per_device"],
    }  # fmt: skip
    bare = [re.sub(r"^[0-9]+x ", "", text) for text in columns["system"]]
    yield _table(sheet, "collective", texts, times, {**columns, "gpu": bare})
