"""A2 and A3: what share of a step's reads or operations attention has, over the context; counted by the engine.

The closed forms stand beside it. Of a decode step of B sequences with S cached tokens each DRAM gives the weights once, W
bytes, and B S k bytes of keys and values: share = B S k / (W + B S k) = 1 / (1 + W / (B S k)), which reaches s at S = s / (1 -
s) x W / (B k). Of a token's multiply-accumulates attention has L nq (dk + dv) S in decode, and half of it for the mean token of
a causal prompt.
"""

from typing import Annotated, Any

import numpy as np
from msgspec import Meta

import hdasim
from hdasim.spec.base import Fraction, PositiveBytes, Spec
from hdasim.spec.experiment import Experiment
from hdasim.spec.model import Model

from .inputs import Count, Loader, blame, check_ascending
from .lines import Curve

Point = dict[str, Any]
Names = Annotated[tuple[str, ...], Meta(min_length=1, max_length=16)]
Contexts = Annotated[tuple[Count, ...], Meta(min_length=2, max_length=32)]


class Shares(Spec):
    """What both experiment files have."""

    contexts: Contexts
    models: Names
    published: Fraction
    device: str = "ador"
    dram_capacity: PositiveBytes | None = None

    def __post_init__(self) -> None:
        check_ascending(contexts=self.contexts)


def experiments(sweep: Shares) -> list[Experiment]:
    """Each model on one device, with a budget of tokens that takes the longest prompt."""
    settings: dict[str, Any] = {} if sweep.dram_capacity is None else {"device.dram.capacity": sweep.dram_capacity}
    found = []
    for i, model in enumerate(sweep.models):
        with blame("models", i):
            found.append(Loader(model, sweep.device, {"model": ("models", i)}).with_(settings))
    return found


def count(experiment: Experiment, phase: str, batch: int, input_len: int) -> tuple[float, float]:
    """(share of DRAM reads, share of multiply-accumulates) that attention has in the step as executed."""
    machine, record, ops = hdasim.step(experiment, phase, batch, input_len)
    mine = np.array([op.kind in ("decode_attention", "prefill_attention") for op in machine.compiled.ops])
    return (
        float(ops["dram_bytes"][mine].sum() / record["dram_bytes"]),
        float(ops["useful_macs"][mine].sum() / ops["useful_macs"].sum()),
    )


def read_share(model: Model, batch: int, context: int) -> float:
    """Closed form of keys and values in a decode step's reads; the LM head counts, the embedding is looked up."""
    cache = model.kv_bytes_per_token * batch * context
    return cache / (cache + model.read_parameter_count * model.weight_bytes)


def read_context(model: Model, batch: int, share: float) -> float | None:
    """The context from which keys and values have `share` of the reads; None if a sliding window ends before."""
    context = share / (1 - share) * model.read_parameter_count * model.weight_bytes / (batch * model.kv_bytes_per_token)
    return None if any(0 < layer.window < context for layer in model.layers) else context


def decode_macs_share(model: Model, context: int) -> float:
    """Closed form of attention in a decoding token's multiply-accumulates."""
    attention = model.num_hidden_layers * model.num_attention_heads * (model.head_dim + model.v_head_dim) * context
    return attention / (attention + model.read_parameter_count)


def crossing(xs: tuple[int, ...], ys: list[float], level: float) -> float | None:
    """Where the ascending curve reaches `level`, straight between its points in log x; None if it does not within them."""
    if not ys[0] <= level <= ys[-1]:
        return None
    return float(np.exp(np.interp(level, ys, np.log(xs))))


def curves(points: list[Point], key: str, **where: Any) -> list[Curve]:
    """One for each model, in percent."""
    mine = [p for p in points if all(p[k] == v for k, v in where.items())]
    names = list(dict.fromkeys(p["model"] for p in mine))
    return [
        Curve(n, [p["context"] for p in mine if p["model"] == n], [100 * p[key] for p in mine if p["model"] == n]) for n in names
    ]
