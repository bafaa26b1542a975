"""Exposed communication against the tile pipeline of papers.md 3.8."""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given

import hdasim
from hdasim.device.latency import build
from hdasim.spec.load import load

LARGE = ["model.preset=llama3-70b", "serving.device_count=8"]
METHODS = ("all_gather", "megatron")
LATENCY = 1e-6


def exposed(compute: float, tiles: int, tile: float) -> float:
    """T - T_c of papers.md 3.8: T = tc + (n - 1) max(tc, tm) + tm, with tc = T_c / n and tm the time of one tile."""
    share = compute / tiles
    return share + (tiles - 1) * max(share, tile) + tile - compute


@given(st.floats(1e-6, 1e-3), st.integers(1, 64), st.floats(1e-8, 1e-4))
def test_the_recursion_is_the_formula(compute: float, tiles: int, tile: float) -> None:
    """A tile leaves when it is computed and the one before has left; csrc/execute.c writes that as a maximum."""
    sent = 0.0
    for i in range(tiles):
        sent = max(sent, compute * (i + 1) / tiles) + tile
    assert sent - compute == pytest.approx(exposed(compute, tiles, tile), rel=1e-9, abs=1e-15)
    assert sent == pytest.approx(max(compute + tile, compute / tiles + tiles * tile), rel=1e-9)


def exchange_time(sync: str, algorithm: str, size: float, rate: float, devices: int = 8) -> float:
    """Seconds of one collective over a tensor of `size` bytes: papers.md 3.8's volumes at `rate`, one latency for each step."""
    steps = (1 if algorithm == "direct" else devices - 1) * (2 if sync == "all_reduce" and algorithm == "ring" else 1)
    volume = {
        ("all_gather", "direct"): (devices - 1) / devices, ("all_gather", "ring"): (devices - 1) / devices,
        ("all_reduce", "direct"): devices - 1, ("all_reduce", "ring"): 2 * (devices - 1) / devices,
    }[sync, algorithm]  # fmt: skip
    return volume * size / rate + steps * LATENCY


def both(method: str, algorithm: str, rate: float, phase: str, batch: int) -> tuple[float, float]:
    """Exposed communication between devices of one step: the engine's, and the rule's summed over the layers' synchronisations.

    T_c is what the engine shows the operator (and the GEMM whose results an elementwise one passes on) to take in the step beside
    exchanges, so without what runs ahead of it; n is the number of tiles whose exchanges add up to the engine's.
    """
    sets = [f"serving.tp_method={method}", f"serving.tp_algorithm={algorithm}", f"device.p2p.bandwidth={rate / 1e9:g} GB/s"]
    machine, _, records = hdasim.step(load("ador-llama3-8b", [*LARGE, *sets]), phase, 1 if phase == "prefill" else batch, 1024)
    (stage,) = machine.stages
    engine, rule, before = 0.0, 0.0, 0.0
    for op, times, r in zip(stage.compiled.ops, stage.compiled.repeats(), records, strict=True):
        compute = float(r["exposed"] - r["exposed_communication"].sum()) / times
        whole = float(r["communication"][1]) / times
        if op.sync and times > 1 and whole:
            size, window = op.sync_bytes * (1024 if phase == "prefill" else batch), compute + (before if op.elementwise else 0)
            tile = {n: exchange_time(op.sync, algorithm, size / n, rate) for n in (1, 2, 4, 8, 16, 32, 64)}
            n = min(tile, key=lambda count: abs(count * tile[count] - whole))
            assert whole == pytest.approx(n * tile[n], rel=1e-3)
            rule += times * exposed(window, n, tile[n])
            engine += float(r["exposed_communication"][1])
        elif r["exposed"] > 0:
            before = compute
    return engine, rule


@pytest.mark.parametrize(("phase", "batch"), [("decode", 1), ("decode", 16), ("decode", 45), ("decode", 150), ("prefill", 1)])
@pytest.mark.parametrize("rate", [32e9, 64e9, 128e9])
@pytest.mark.parametrize("algorithm", ["direct", "ring"])
@pytest.mark.parametrize("method", METHODS)
def test_exposed_communication_agrees_with_the_overlap_rule(
    method: str, algorithm: str, rate: float, phase: str, batch: int
) -> None:
    """LLaMA3-70B on 8 ador, every method, algorithm and speed: the same to 1 %."""
    engine, rule = both(method, algorithm, rate, phase, batch)
    assert rule > 0
    assert engine == pytest.approx(rule, rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_exposed_communication_falls_with_bandwidth_and_never_exceeds_it(method: str) -> None:
    totals = []
    for rate in (4, 16, 64, 256, 1024):
        experiment = load("ador-llama3-8b", [*LARGE, f"serving.tp_method={method}", f"device.p2p.bandwidth={rate} GB/s"])
        _, step, ops = hdasim.step(experiment, "decode", 45, 1024)
        assert (ops["exposed_communication"] <= ops["communication"] * (1 + 1e-9)).all()
        assert step["exposed_communication"].sum() <= step["communication"].sum() * (1 + 1e-9)
        assert step["exposed_communication"][1] == pytest.approx(ops["exposed_communication"][:, 1].sum(), rel=1e-6)
        totals.append(float(step["time"]))
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in itertools.pairwise(totals))


def test_one_device_exchanges_nothing_over_links() -> None:
    machine = build(load("ador-llama3-8b"))
    _, ops = machine.step([1] * 8, [1024] * 8, 8)
    assert not ops["communication"][:, 1].any()
    assert not ops["p2p_bytes"].any()
