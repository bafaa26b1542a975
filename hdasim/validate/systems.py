"""Times of whole systems and of a layer against ours, as groups like those of operators.

A row with several times, such as TTFT and TPOT, counts in a group for each.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hdasim.errors import CapacityError, SpecError
from hdasim.predict.operator import Prediction
from hdasim.sheet import Sheet
from hdasim.spec.load import load_device
from hdasim.text import NUMBER
from hdasim.validate import endtoend, layer
from hdasim.validate.endtoend import Cells
from hdasim.validate.silicon_groups import Group
from hdasim.validate.silicon_tables import SYSTEMS, preset

#: What holds text, and times; other columns hold counts.
_TEXTS = {"model", "hardware", "system", "backend", "model_path", "precision", "mode", "measured", "device", "phase", "operator"}
_TIMES = {"prompt_time", "token_time", "silicon_ttft_ms", "silicon_tpot_ms", "latency_us"}
#: No column may be empty but these, and counts among them may be 0: no such split.
_EMPTY = {"precision", "measured", "tp_size", "pp_size", "moe_ep_size", "silicon_ttft_ms", "silicon_tpot_ms", "concurrency"}
_MOST_TIME, _MOST_COUNT = 1e15, 1e6


@dataclass(frozen=True)
class Time:
    """One time of a row, in microseconds; `group` and `size` name its quantity and the class within."""

    gpu: str
    group: str
    size: str
    title: str
    measured: float
    predicted: float


def compare(op: str, sheet: Sheet, skipped: Counter[str], progress: Callable[[], None]) -> list[Group]:
    """Groups of a table; `skipped` counts the rows that are refused, by their reason."""
    if sheet.ragged:
        row = min(sheet.ragged)
        raise SpecError(sheet.ragged[row], ("row",), f"{sheet.path}:{sheet.lines[row]}")
    rows = [dict(zip(sheet.names, (text.strip() for text in cells), strict=True)) for cells in sheet.rows]
    for cells, line in zip(rows, sheet.lines, strict=True):
        _check(op, cells, f"{sheet.path}:{line}")
    times: list[Time] = []
    known: dict[Any, Any] = {}
    for cells in rows:
        try:
            times += _ROWS[op](cells, known)
        except (SpecError, CapacityError) as error:
            skipped[str(error)] += 1
        progress()
    return list(_groups(op, times))


def _check(op: str, cells: Cells, place: str) -> None:
    for name in SYSTEMS[op]:
        text = cells[name]
        if not text and name not in _EMPTY:
            raise SpecError("is empty", (name,), place)
        if not text or name in _TEXTS:
            continue
        least, most = (1e-9, _MOST_TIME) if name in _TIMES else (float(name not in _EMPTY), _MOST_COUNT)
        value = float(text) if NUMBER.fullmatch(text) else -1.0
        if not least <= value <= most:
            raise SpecError(f"got {text[:40]!r}; expected a number from {least:g} to {most:g}", (name,), place)


def _batch(cells: Cells, known: dict[Any, Any]) -> Iterator[Time]:
    gpu, size = cells["hardware"].partition("-")[0], f"{cells['model']} tp {_whole(cells, 'tensor_parallel')}"
    title = _title(size, cells, ("prompt_size", "batch_size", "token_size"))
    return _times(endtoend.batch(cells, known), gpu, size, title)


def _serving(cells: Cells, known: dict[Any, Any]) -> Iterator[Time]:
    if not cells["concurrency"] or not float(cells["concurrency"]):
        raise SpecError("no concurrency")
    gpu, model = preset(cells["system"]), cells["model_path"].rpartition("/")[2]
    if not gpu:
        raise SpecError(f"no preset for {cells['system']!r}")
    size = " ".join(filter(None, (cells["backend"], model, cells["precision"])))
    title = _title(size, cells, ("tp_size", "isl", "osl", "concurrency"))
    return _times(endtoend.server(cells), gpu, size, title)


def _times(done: endtoend.Outcome, gpu: str, size: str, title: str) -> Iterator[Time]:
    if done.refused:
        raise SpecError(done.refused)
    return (Time(gpu, name, size, title, measured * 1e3, predicted * 1e3) for name, measured, predicted in done.times)


def _layer(cells: Cells, known: dict[Any, Any]) -> Iterator[Time]:
    if "GPT-3" not in cells["model"]:
        raise SpecError(f"no layer of {cells['model']}")
    gpu, name = preset(cells["device"]), cells["operator"]
    if not gpu:
        raise SpecError(f"no preset for {cells['device']!r}")
    sizes = [_whole(cells, column) for column in ("tensor_parallel", "batch", "query_tokens", "kv_tokens")]
    case = gpu, *sizes
    if case not in known:
        known[case] = layer.operators(load_device(gpu), *sizes)
    seconds: Mapping[str, float] = known[case]
    if name not in seconds:
        raise SpecError(f"no operator {name} in the layer")
    size = "whole layer" if name == "layer_total" else "operators"
    yield Time(gpu, cells["phase"], size, _title(name, cells, ("batch", "query_tokens", "kv_tokens")),
               float(cells["latency_us"]), seconds[name] * 1e6)  # fmt: skip


_ROWS: dict[str, Callable[[Cells, dict[Any, Any]], Iterator[Time]]] = {"batch": _batch, "serving": _serving, "layer": _layer}


def _whole(cells: Cells, name: str) -> int:
    return int(float(cells[name]))


def _title(first: str, cells: Cells, names: Iterable[str]) -> str:
    return " ".join([first, *(f"{name}={cells[name]}" for name in names)])


def _groups(op: str, times: list[Time]) -> Iterator[Group]:
    """Groups of quantity and GPU, with the rest as their classes, in the order of their names."""
    for gpu, quantity in sorted({(time.gpu, time.group) for time in times}):
        mine = [time for time in times if (time.gpu, time.group) == (gpu, quantity)]
        names = sorted({time.size for time in mine})
        which = np.array([names.index(time.size) for time in mine], np.int64)
        measured, predicted = (np.array([getattr(time, name) for time in mine]) for name in ("measured", "predicted"))
        none, zeros = np.zeros(0), np.zeros(len(mine))
        done = Prediction(predicted * 1e-6, zeros, zeros.astype(np.int64), ("",), zeros)
        titles = [time.title for time in mine]
        yield Group(
            op, gpu, "", "", np.zeros(len(mine), [("row", np.int64)]), titles.__getitem__, measured, none, none.astype(np.int64),
            predicted, done, tuple(names), which, quantity,
        )  # fmt: skip
