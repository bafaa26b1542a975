"""Formulas of step 1 and 2, each with a number worked out by hand."""

import pytest

from hdasim.compiler.ops import Op
from hdasim.search.ador.chip import device
from hdasim.search.ador.fit import refuse_misfit
from hdasim.search.ador.sizing import global_bytes, local_bytes, noc_rules, reuse, sustained, tree_lanes, tree_width
from hdasim.search.ador.space import Needs, all_chips
from hdasim.spec.search_ador import AdorSearch

from .conftest import load


def operators(spec: AdorSearch) -> list[Op]:
    return refuse_misfit(spec)[0]


@pytest.fixture(scope="module")
def llama() -> AdorSearch:
    return load()


@pytest.mark.parametrize(
    ("cores", "rounding", "width"),
    [
        (32, "power_of_two", 16),  # 2e12 / (1.5e9 x 2 x 32) = 20.83, log2 = 4.38
        (32, "none", 21),
        (16, "power_of_two", 32),  # 41.7, log2 = 5.38
        (24, "power_of_two", 32),  # 27.8, log2 = 4.80
        (667, "power_of_two", 1),  # 0.9995
        (4096, "power_of_two", 1),  # 0.16 elements a cycle
        (4096, "none", 1),
    ],
)
def test_width_follows_bandwidth_per_core(cores: int, rounding: str, width: int) -> None:
    assert tree_width(2e12, 1.5e9, 2.0, cores, rounding) == width


@pytest.mark.parametrize(("used", "least", "lanes"), [(4, 16, 16), (4, 1, 4), (5, 1, 8), (71, 16, 128), (1, 1, 1), (16, 16, 16)])
def test_lanes_are_the_next_power_of_two_of_the_reuse(used: int, least: int, lanes: int) -> None:
    assert tree_lanes(used, least) == lanes


def test_reuse_is_that_of_keys_or_of_experts(llama: AdorSearch) -> None:
    assert reuse(operators(llama), 16) == 4  # 32 / 8 heads
    assert reuse(operators(load(name="ador-llama3-70b-x8")), 16) == 8  # 64 / 8, on each of eight devices
    mixtral = operators(load(name="ador-mixtral-8x7b"))
    assert reuse(mixtral, 16) == 4  # 16 x 2 / 8 tokens for each expert, as many as queries per key
    assert reuse(mixtral, 17) == 5  # ceil(34 / 8)
    assert reuse(mixtral, 64) == 16


def test_local_memory_of_the_most_demanding_operator(llama: AdorSearch) -> None:
    ops = operators(llama)
    # lm_head of 128 sequences: 128 x (4096 + 128256) x 2 / 32; gate and up of 512 tokens need 1,048,576
    assert local_bytes(ops, 32, 512, 128, 256, 2.0) == (128 * 132_352 * 2 / 32, "lm_head")
    assert local_bytes(ops, 32, 512, 16, 256, 2.0) == (512 * (4096 + 28_672) * 2 / 32, "gate_up_proj")
    # one token: lm_head
    assert local_bytes(ops, 32, 1, 1, 256, 2.0) == (132_352 * 2 / 32, "lm_head")
    # scores count with large tiles: 32 heads x 512 tokens x (128 + 8192 + 2) x 2 / 32
    assert local_bytes(ops, 32, 512, 1, 8192, 2.0) == (512 * 8322 * 2.0, "prefill_attention")


def test_local_memory_of_an_expert_is_that_of_its_tokens() -> None:
    ops = [op for op in operators(load(name="ador-mixtral-8x7b")) if op.kind == "experts"]
    size, _ = local_bytes(ops, 1, 512, 1, 256, 2.0)
    assert size == max(128 * (op.k + op.n) * 2 for op in ops)  # 512 x 2 / 8 tokens


def test_global_memory_holds_the_keys_and_values_of_a_chunk(llama: AdorSearch) -> None:
    assert global_bytes(operators(llama), 512, 2.0) == 2 << 20
    assert global_bytes(operators(load(name="ador-llama3-70b-x8")), 512, 2.0) == 512 * 2 * 128 * 2  # one of 8 heads


def test_noc_rules(llama: AdorSearch) -> None:
    needs = Needs(llama, operators(llama), 4)
    chip = next(c for c in all_chips(needs, 16, 128) if (c.core_count, c.side) == (32, 64))
    built = device(llama, chip)
    assert sustained(built) == 0.9 * 2e12
    latency, throughput = noc_rules(built, needs.ops, 128, 2.0)
    assert throughput == 128.0  # 64 x 64 x 2 / 64 B/cycle: 192 GB/s at 1.5 GHz (papers.md 3.7)
    assert latency == pytest.approx(31 / 32 * 128 * 1.8e12 / 4096 / 1.5e9)
