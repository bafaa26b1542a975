"""Operator tables, a model and its parallel plan -> what the C core interpolates in (csrc/profile.h).

A step of one rank takes

    dense(T) x layers + attention x layers + per_sequence(e) + experts(G, hit) x layers + gap x kernels + exchanges

with T its tokens, e the sequences that emit, G the tokens of all ranks that share experts.

- Kernels: the tables add up kernels' own times. In a CUDA graph each one starts late by what it takes to start it: the device's
  `launch_overhead`, measured as the floor of one kernel inside a graph. An expert layer is `EXPERT_KERNELS` of them. In the two
  recorded runs of vllm_runs decode steps are longer than the tables by 0.4 to 0.7 ms (292 kernels; 8 to 30 sequences) and by
  1.5 to 1.9 ms (724 kernels; 20 to 120 sequences); this gives 0.5 and 1.3.
- Contexts that differ: t(mean) + alpha (t(max) - t(mean)), alpha the median of the profile's own skew.csv, without and with
  prompts, at each number of sequences, between those linear in its logarithm. On skew.csv of both runs (8 or more sequences, at
  most a quarter of them long, at most 1,024 cached tokens) the time of the mixed batch is met with a mean error of 4.3 %; one
  median for each regime gives 11 %, 0.05 for all 10 %. The new tokens and the share of long sequences added nothing.
- Experts: each rank holds E / R of the E experts. G tokens hit E / R (1 - (1 - k / E)^G) of them when routing is uniform
  (papers.md 3.1), and a rank runs its experts on the gathered tokens of all ranks, as vLLM does (all2all backend
  allgather_reducescatter). Times between points are linear in G, along this curve.
- Exchanges: tensor parallel two all-reduces a layer and one for the embedding (`allreduce`), and an all-gather of the logits;
  data-parallel ranks with shared experts an all-gather of the tokens before and a reduce-scatter after each expert layer. Both
  in NCCL's time (hdasim.device.collectives). vLLM pads the ranks to the largest, so a rank counts R times its own
  tokens, and the slowest rank, which sets the step, has most.
"""

from collections.abc import Sequence

import numpy as np

from ..core._core import Profile
from ..device.allreduce import all_reduce_seconds
from ..device.collectives import collective_seconds
from ..errors import SpecError
from ..spec.hardware import Device
from ..spec.model import Model
from ..spec.serving import Serving
from .grid import Grid, fill
from .tables import Floats, Operator, Points, Skew, Tables

#: Kernels of an expert layer: router, top-k, alignment (two), two grouped GEMMs, activation, sum (vLLM, fused_experts in
#: vllm/model_executor/layers/fused_moe/fused_moe.py).
EXPERT_KERNELS = 8
#: Points of the attention table with 0 on the first of a pair hold for every value of the second.
_SPREAD = ((0, 1), (2, 3))


def build(tables: Tables, model: Model, serving: Serving, device: Device, *, extrapolate: bool = False) -> Profile:
    """The C profile of one rank.

    Raises
    ------
    SpecError
        If the tables lack what the model needs, or the device has no links although several work together.
    """
    layers, sparse = model.num_hidden_layers, sum(layer.mlp == "moe" for layer in model.layers)
    if sparse and tables.experts is None:
        raise SpecError(f"no moe.csv, and {model.name} has {sparse} layers of experts", place=str(tables.source))
    if sparse < layers and not tables.mlp:
        raise SpecError(f"no times of an MLP, and {model.name} has {layers - sparse} dense layers", place=str(tables.source))
    by_tokens = [(op, layers) for op in tables.layer] + [(op, layers - sparse) for op in tables.mlp if sparse < layers]
    by_tokens += [(op, 1) for op in tables.once]
    kernels = sum(op.count * op.kernels * times for op, times in by_tokens) + layers  # attention
    kernels += EXPERT_KERNELS * sparse + sum(op.count * op.kernels for op in tables.per_sequence)
    tokens, sequences = _line(by_tokens), _line([(op, 1) for op in tables.per_sequence], tokens_if_none=by_tokens)
    exchange, gather = _exchanges(model, serving, device, sparse, tokens.size, sequences.size)
    decode, mixed, separate = _attention(tables, layers)
    return Profile(
        {
            "rank_count": serving.data_parallel_size if serving.enable_expert_parallel else 1,
            "tokens": tokens + kernels * device.launch_overhead,
            "exchange": exchange,
            "sequences": sequences,
            "gather": gather,
            "group": _experts(tables.experts, model, ranks(serving), sparse) if sparse else np.zeros(0),
            "alpha": _alpha(tables.skew),
            "decode": decode.plain(),
            "mixed": mixed.plain(),
            "separate": separate,
        },
        extrapolate,
    )


def ranks(serving: Serving) -> int:
    """Ranks that divide the experts among them."""
    return serving.data_parallel_size * serving.device_count if serving.enable_expert_parallel else 1


def _line(parts: Sequence[tuple[Operator, int]], tokens_if_none: Sequence[tuple[Operator, int]] = ()) -> Floats:
    """Seconds at 0, 1, .. rows, up to the last that all operators have; nothing at all without operators."""
    most = int(min(op.rows[-1] for op, _ in parts or tokens_if_none))
    rows = np.arange(most + 1, dtype=np.float64)
    total = np.zeros(most + 1)
    for op, times in parts:
        total += times * op.at(rows)
    return total


def _exchanges(
    model: Model, serving: Serving, device: Device, sparse: int, tokens: int, sequences: int
) -> tuple[Floats, Floats]:  # fmt: skip
    """Seconds on the links by tokens of the step, and by sequences that emit."""
    group, together = serving.device_count, serving.data_parallel_size if serving.enable_expert_parallel and sparse else 1
    by_tokens, by_sequences = np.zeros(tokens), np.zeros(sequences)
    if group == together == 1:
        return by_tokens, by_sequences
    if device.p2p is None:
        raise SpecError(f"{device.name} has no links to other devices; give p2p: {{bandwidth: ..., latency: ...}}", ("device",))
    size = np.arange(tokens) * model.hidden_size * model.activation_bytes
    if group > 1:
        times = 2 * model.num_hidden_layers + 1
        by_tokens[1:] += times * all_reduce_seconds(device.p2p, group, size[1:])
        logits = np.arange(1, sequences) * model.vocab_size * model.activation_bytes
        by_sequences[1:] += collective_seconds(device.p2p, "all_gather", group, logits)
    if together > 1:
        for op in ("all_gather", "reduce_scatter"):
            by_tokens[1:] += sparse * collective_seconds(device.p2p, op, together, together * size[1:])
    return by_tokens, by_sequences


def _attention(tables: Tables, layers: int) -> tuple[Grid, Grid, bool]:
    """Grids without and with prompts, and whether the two were only measured apart."""
    points = Points(tables.attention.at, layers * tables.attention.seconds)
    prompts, decodes = points.at[:, 0] > 0, points.at[:, 2] > 0
    both = prompts & decodes
    for there, what in ((prompts, "prompts"), (decodes & ~prompts, "decoding sequences alone")):
        if not there.any():
            raise SpecError(f"no times of attention for {what}", place=str(tables.source / "attention.csv"))
    grids = [fill(Points(points.at[rows], points.seconds[rows]), _SPREAD) for rows in (decodes & ~prompts, prompts)]
    for grid in grids:
        if np.isnan(grid.values).any():
            raise SpecError(
                "too few points to interpolate; expected two or more on every axis", place=str(tables.source / "attention.csv")
            )
    return grids[0], grids[1], not both.any()


def _experts(points: Points | None, model: Model, share: int, sparse: int) -> Floats:
    """Seconds of all expert layers on one rank, by tokens of all ranks."""
    assert points is not None
    rows = np.unique(points.at[:, 0])
    own, chance = model.num_experts / share, model.num_experts_per_tok / model.num_experts
    seconds = []
    for tokens in rows:
        there = points.at[:, 0] == tokens
        seconds.append(np.interp(own * (1 - (1 - chance) ** tokens), points.at[there, 1], points.seconds[there]))
    result: Floats = sparse * np.interp(np.arange(int(rows[-1]) + 1, dtype=np.float64), rows, np.array(seconds))
    return result


def _alpha(skew: Skew | None) -> Floats:
    """Alpha by decoding sequences (0, 1, ..), a row without and one with prompts; 0 without measurements."""
    if skew is None or not skew.alpha.size:
        return np.zeros((2, 1))
    counts = np.arange(int(skew.sequences.max()) + 1, dtype=np.float64)
    result = np.zeros((2, counts.size))
    for mixed in (False, True):
        there = skew.mixed == mixed
        there = there if there.any() else np.ones_like(there)
        at = np.unique(skew.sequences[there])
        medians = [np.median(skew.alpha[there & (skew.sequences == n)]) for n in at]
        result[int(mixed)] = np.interp(np.log(np.maximum(counts, 1)), np.log(np.maximum(at, 1)), medians)
    return result
