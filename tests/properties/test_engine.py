"""The engine over random chips, models and batches: never below its bound, shortcuts exact, monotone in resources."""

import itertools
import random

import msgspec
import pytest

from hdasim.device.latency import build
from hdasim.spec.experiment import Experiment
from hdasim.spec.hardware import (
    P2P,
    ConstantUtilization,
    Core,
    Device,
    Dram,
    LogUtilization,
    MacTree,
    Noc,
    OverheadUtilization,
    SystolicArray,
    VectorUnit,
)
from hdasim.spec.load import load, load_device
from hdasim.spec.model import Layer, Model
from hdasim.spec.serving import Serving
from hdasim.spec.workload import FixedLengths, PoissonArrival, Workload

WORKLOAD = Workload(arrival=PoissonArrival(request_rate=1.0), lengths=FixedLengths(input_len=1, output_len=1), num_prompts=1)
Batch = tuple[list[int], list[int]]


def random_device(r: random.Random) -> Device:
    return Device(
        frequency=r.choice([0.5, 1, 1.5, 2]) * 1e9,
        core_count=r.choice([1, 2, 3, 5, 8, 12, 16, 31, 32, 33, 48, 64]),
        core=Core(
            systolic_array=SystolicArray(
                rows=r.choice([8, 32, 64, 128]), cols=r.choice([8, 32, 64, 128]), lanes=r.choice([1, 2, 4])
            ),
            mac_tree=r.choice(
                [None, MacTree(width=r.choice([4, 16, 32]), lanes=r.choice([1, 4, 16]), lanes_split=r.random() < 0.8)]
            ),
            vector_unit=VectorUnit(width=r.choice([8, 32, 128])),
            local_memory=r.choice([64, 192, 512, 2048]) * 1024,
        ),
        global_memory=r.choice([1, 8, 16, 48]) * 2**20,
        global_memory_bandwidth=r.choice([None, 5e11, 3e12]),
        dram=Dram(
            capacity=200e9,
            bandwidth=r.choice([1e11, 1e12, 2e12, 8e12]),
            utilization=r.choice([LogUtilization(), ConstantUtilization(value=0.9), OverheadUtilization()]),
        ),
        noc=Noc(
            topology=r.choice(["mesh", "mesh", "ring", "crossbar", "shared"]),
            columns=r.choice([4, 8]),
            link_width=r.choice([16, 32, 128]),
        ),
        p2p=P2P(bandwidth=r.choice([8e9, 3e10, 3e11]), latency=1e-6),
        launch_overhead=r.choice([0, 0, 2e-6]),
        prefetch=r.random() < 0.7,
    )


def random_model(r: random.Random) -> Model:
    kv, group, sparse = r.choice([1, 2, 4, 8]), r.choice([1, 2, 4, 8]), r.random() < 0.3
    layers = tuple(
        Layer(mlp="moe" if sparse and i else "dense", window=r.choice([0, 0, 256])) for i in range(r.choice([2, 4, 8]))
    )
    if r.random() < 0.5:
        layers = (layers[-1],) * len(layers)
    head_dim = r.choice([64, 128])
    return Model(
        name="random",
        hidden_size=r.choice([512, 1024, 2048, 4096]),
        num_attention_heads=kv * group,
        num_key_value_heads=kv,
        head_dim=head_dim,
        vocab_size=r.choice([1000, 32000]),
        intermediate_size=r.choice([1024, 4096, 14336]),
        norm=r.choice(["rmsnorm", "layernorm"]),
        parallel_attention=not sparse and r.random() < 0.2,
        tie_word_embeddings=False,
        rotary_dim=head_dim,
        layers=layers,
        num_experts=16 if sparse else 0,
        num_experts_per_tok=2 if sparse else 0,
        moe_intermediate_size=512 if sparse else 0,
    )


def random_batch(r: random.Random) -> Batch:
    decode, prefill = r.choice([0, 1, 4, 32, 100]), r.choice([0, 0, 1, 2])
    if decode + prefill == 0:
        return [r.randint(1, 2000)], [0]
    q_len = [1] * decode + [r.randint(1, 900) for _ in range(prefill)]
    return q_len, [r.randint(1, 4000) for _ in range(decode)] + [r.choice([0, 0, 512]) for _ in range(prefill)]


def step(device: Device, model: Model, batch: Batch, *, exact: bool = False, **serving: object) -> msgspec.Raw:
    experiment = Experiment(
        device=device, model=model, workload=WORKLOAD, serving=Serving(scheduler="ador", max_num_batched_tokens=4096, **serving)
    )
    return build(experiment).step(*batch, len(batch[0]), exact=exact)[0]


def drawn(seed: int) -> tuple[random.Random, Device, Model, Batch]:
    r = random.Random(seed)
    return r, random_device(r), random_model(r), random_batch(r)


@pytest.mark.parametrize("seed", range(120))
def test_at_or_above_the_bound_and_accounted_for(seed: int) -> None:
    _, device, model, batch = drawn(seed)
    s = step(device, model, batch)
    assert s["time"] >= s["bound"] * (1 - 1e-12)
    assert s["limited"].sum() == pytest.approx(s["time"], rel=1e-9)
    array, tree = device.peak_macs_per_second
    assert s["macs"][0] <= array * s["time"] * (1 + 1e-12)
    assert s["macs"][1] <= tree * s["time"] * (1 + 1e-12)
    assert s["dram_bytes"] <= device.dram.bandwidth * s["time"] * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(120))
def test_shortcuts_equal_executing_every_core_and_layer(seed: int) -> None:
    _, device, model, batch = drawn(seed)
    fast, exact = step(device, model, batch), step(device, model, batch, exact=True)
    assert fast["time"] == pytest.approx(exact["time"], rel=1e-9)  # design: 1e-3
    assert fast["limited"] == pytest.approx(exact["limited"], rel=1e-6, abs=1e-6 * exact["time"])


def rises(resource: str, draws: range) -> list[float]:
    """By how much latency rises, over the draws in which it does, when one resource grows alone."""
    found = []
    for seed in draws:
        r, device, model, batch = drawn(seed)
        replace, k, extra = msgspec.structs.replace, r.choice([1.01, 1.3, 2, 4]), r.choice([1, 2, 5, device.core_count])
        better = {
            "bandwidth": replace(device, dram=replace(device.dram, bandwidth=device.dram.bandwidth * k)),
            "frequency": replace(device, frequency=device.frequency * k),
            "cores": replace(device, core_count=device.core_count + extra),
        }[resource]
        rise = step(better, model, batch)["time"] / step(device, model, batch)["time"] - 1
        if rise > 1e-9:
            found.append(float(rise))
    return found


def test_latency_never_rises_with_bandwidth() -> None:
    assert rises("bandwidth", range(300)) == []


@pytest.mark.parametrize(("resource", "often", "worst"), [("frequency", 0.01, 0.06), ("cores", 0.06, 0.03)])
def test_latency_hardly_ever_rises_with_frequency_or_cores(resource: str, often: float, worst: float) -> None:
    """A step's mapping is the best of a few by what their operators take one after the other (csrc/mapping.c), not by executing
    every candidate; and more cores exchange more messages.

    So a faster clock or one more core can tip the choice to a mapping that the engine finds slower. Over 1,200 draws latency
    rises by more than 0.1 % in 0.3 % (frequency, worst 10 %) and 4 % (cores, 1.1 % of draws by more than 1 %, worst 33 % on a
    crossbar without prefetch, whose best grid is ranked too low); this test keeps both from growing.
    """
    draws = range(400)
    found = [rise for rise in rises(resource, draws) if rise > 1e-3]
    assert len(found) <= often * len(draws), found
    assert max(found, default=0.0) <= worst


@pytest.mark.parametrize("resource", ["bandwidth", "frequency", "cores"])
@pytest.mark.parametrize("batch", [([1], [1024]), ([1] * 64, [1024] * 64), ([1024], [0]), ([512] + [1] * 32, [0] + [900] * 32)])
def test_ador_never_slower_with_more(resource: str, batch: Batch) -> None:
    """LLaMA3-8B on the ador preset: doubling and redoubling one resource, from a quarter to eight times.

    From 128 cores on, what they exchange outweighs what they compute: 0.3 % more from 128 to 256.
    """
    slack = 4e-3 if resource == "cores" else 1e-9
    base, model, replace = load_device("ador"), load("ador-llama3-8b").model, msgspec.structs.replace
    times = []
    for k in (0.25, 0.5, 1, 2, 4, 8):
        device = {
            "bandwidth": replace(base, dram=replace(base.dram, bandwidth=base.dram.bandwidth * k)),
            "frequency": replace(base, frequency=base.frequency * k),
            "cores": replace(base, core_count=int(base.core_count * k)),
        }[resource]
        times.append(step(device, model, batch)["time"])
    assert all(later <= earlier * (1 + slack) for earlier, later in itertools.pairwise(times)), times


@pytest.mark.parametrize("seed", range(60))
def test_more_work_takes_longer(seed: int) -> None:
    _, device, model, (q_len, past) = drawn(seed)
    more = (q_len, [p + 512 if q == 1 and p else p for q, p in zip(q_len, past, strict=True)])
    if more[1] != past:
        assert step(device, model, more)["time"] >= step(device, model, (q_len, past))["time"] * (1 - 1e-3)
