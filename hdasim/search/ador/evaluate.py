"""The evaluations of the search as pure functions of plain data: times of single steps, and a serving simulation."""

from typing import Any

import msgspec

from ...core.layout import CAUSES
from ...device.latency import Machine, build
from ...errors import CapacityError, CoreError, SpecError
from ...simulate import simulate
from ...spec.convert import convert
from ...spec.experiment import Experiment

STEPS, SERVE = (f"hdasim.search.ador.evaluate:{name}" for name in ("steps", "serve"))
_KEPT = ("duration", "completed", "rejected", "request_throughput", "request_goodput", "output_throughput", "steps",
         "preemptions", "saturated")  # fmt: skip
#: Blocks of a summary that records keep whole.
_BLOCKS = ("slo", "device", "bottleneck", "communication", "occupancy", "power")


class Shape(msgspec.Struct, frozen=True):
    """A step: a chunk of `prompt` tokens (0: none) beside `decode` sequences with `context` cached tokens each."""

    prompt: int
    decode: int
    context: int

    @property
    def tokens(self) -> int:
        return self.prompt + self.decode


def plain(experiment: Experiment) -> dict[str, Any]:
    """The experiment as data that JSON can hold; an infinite rate as text."""
    data: dict[str, Any] = msgspec.to_builtins(experiment)
    arrival = data["workload"]["arrival"]
    if arrival.get("request_rate") == float("inf"):
        arrival["request_rate"] = "inf"
    return data


def experiment_of(data: dict[str, Any]) -> Experiment:
    """What `plain` was made of."""
    return convert(data, Experiment)


def steps(spec: dict[str, Any]) -> dict[str, Any]:
    """Times of the steps ``spec["shapes"]`` (name -> [prompt, decode, context]) of ``spec["experiment"]``.

    Returns
    -------
    dict
        ``seconds`` and ``limits`` (share of the time that each cause limits) by name; ``gemm``: seconds of the GEMMs of the
        step named ``prefill``. ``error`` instead, if the chip cannot run the model.
    """
    try:
        experiment = experiment_of(spec["experiment"])
        shapes = {name: Shape(*values) for name, values in spec["shapes"].items()}
        most = max(shape.tokens for shape in shapes.values())
        serving = experiment.serving
        room = msgspec.structs.replace(serving, max_num_batched_tokens=max(serving.max_num_batched_tokens, most))
        machine = build(msgspec.structs.replace(experiment, serving=room))
        return _measured(machine, shapes)
    except (SpecError, CapacityError, CoreError) as error:
        return {"error": str(error)}


def _measured(machine: Machine, shapes: dict[str, Shape]) -> dict[str, Any]:
    record: dict[str, Any] = {"seconds": {}, "limits": {}, "gemm": None}
    for name, shape in shapes.items():
        chunk = [shape.prompt] if shape.prompt else []
        step, ops = machine.step([1] * shape.decode + chunk, [shape.context] * shape.decode + [0] * len(chunk),
                                 shape.decode + len(chunk))  # fmt: skip
        total = float(step["limited"].sum())
        record["seconds"][name] = float(step["time"])
        record["limits"][name] = {cause: float(t) / total for cause, t in zip(CAUSES, step["limited"], strict=True) if t > 0}
        if name == "prefill":
            gemms = [op.op.kind in ("linear", "experts") for op in machine.operators()]
            record["gemm"] = float(ops["exposed"][gemms].sum())
    return record


def serve(spec: dict[str, Any]) -> dict[str, Any]:
    """The summary of a serving simulation of ``spec["experiment"]``, or ``error``."""
    try:
        result = simulate(experiment_of(spec["experiment"]), keep_steps=False)
    except (SpecError, CapacityError, CoreError) as error:
        return {"error": str(error)}
    summary = result.summary
    kept = {key: value for key, value in summary.items() if key in _KEPT or key.endswith("_ms") or key in _BLOCKS}
    array, tree = result.machine.device.peak_macs_per_second
    used = summary.get("device") or {}
    shares = [(array, used.get("systolic_array")), (tree, used.get("mac_tree"))]
    known = [(peak, share) for peak, share in shares if peak and share is not None]
    kept["compute_utilization"] = sum(p * s for p, s in known) / (array + tree) if known else None
    kept["dram_utilization"] = used.get("dram")
    return kept
