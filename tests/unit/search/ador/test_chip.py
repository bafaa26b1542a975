"""Chips of the template: the published one is in the space, and areas are those of the area model."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdasim.cost.area import die_area
from hdasim.errors import CapacityError, SpecError
from hdasim.search.ador.chip import GLOBAL_UNIT, Chip, area, columns, device, most, reference, rest
from hdasim.search.ador.fit import refuse_misfit
from hdasim.search.ador.sizing import reuse, tree_lanes
from hdasim.search.ador.space import Needs, all_chips, fitting, global_sizes, refuse_too_small
from hdasim.spec.load import load_device
from hdasim.spec.search_ador import AdorSearch

from .conftest import load

PUBLISHED = Chip(side=64, core_count=32, width=16, lanes=16, local_memory=2 << 20, global_memory=16 << 20, link_width=128,
                 p2p_bandwidth=32e9)  # fmt: skip


@pytest.fixture(scope="module")
def spec() -> AdorSearch:
    return load()


@pytest.fixture(scope="module")
def needs(spec: AdorSearch) -> Needs:
    ops, _ = refuse_misfit(spec)
    return Needs(spec, ops, reuse(ops, spec.conditions.latency_batch))


def test_columns_make_the_squarest_mesh() -> None:
    assert {n: columns(n) for n in (1, 2, 4, 12, 16, 24, 32, 48, 64, 7)} == {
        1: 1, 2: 2, 4: 2, 12: 4, 16: 4, 24: 6, 32: 8, 48: 8, 64: 8, 7: 7}  # fmt: skip


def test_the_published_chip_is_the_preset(spec: AdorSearch) -> None:
    """But for its name, what its area is made of in words, and the area's option."""
    ours, preset = device(spec, PUBLISHED), load_device("ador")
    plain = {"name": "", "area": None}
    assert msgspec.structs.replace(ours, **plain) == msgspec.structs.replace(preset, **plain)
    assert area(spec, PUBLISHED) == die_area(preset, "ador").total == die_area(reference(spec)).total


def test_the_papers_own_choices_lead_to_the_published_chip(spec: AdorSearch, needs: Needs) -> None:
    lanes = tree_lanes(needs.reuse, spec.space.lane_min)
    assert (needs.width(32), lanes) == (16, 16)
    assert needs.local_sizes(32)[-1] == 2 << 20  # the least size that holds all activations, 1,034 KiB
    assert 64 in spec.space.sides
    grid = all_chips(needs, lanes, 128)
    chip = next(c for c in grid if (c.side, c.core_count, c.local_memory) == (64, 32, 2 << 20))
    # ADOR gives the rest of 516 mm2 to global memory: 16 MiB
    assert msgspec.structs.replace(chip, global_memory=rest(spec, chip)) == PUBLISHED
    assert global_sizes(spec, chip)[-1] == PUBLISHED


def test_all_that_fits_is_in_and_nothing_else(spec: AdorSearch, needs: Needs) -> None:
    every = all_chips(needs, 16, spec.constraints.max_link_width)
    kept = set(fitting(needs, 16))
    assert 0 < len(kept) < len(every)
    assert all((area(spec, c) <= 516) == (c in kept) for c in every)


def test_local_memory_starts_at_one_tokens_activations(spec: AdorSearch, needs: Needs) -> None:
    small = msgspec.structs.replace(spec.space, local_memories=(1024.0, 8192.0, 16384.0, 4e6))
    tight = Needs(msgspec.structs.replace(spec, space=small), needs.ops, 4)
    assert tight.least_local(32) == 132_352 * 2 / 32  # 8,272 B: lm_head
    assert tight.local_sizes(32) == [16384, 4_000_000]


@given(limit=st.integers(0, 10**9))
def test_most_finds_the_largest(limit: int) -> None:
    assert most(lambda n: n <= limit) == limit
    assert most(lambda _: False) == -1


@given(units=st.integers(0, 400))
def test_rest_fills_the_area_to_less_than_a_unit(spec: AdorSearch, units: int) -> None:
    bare = msgspec.structs.replace(PUBLISHED, global_memory=0)
    limit = area(spec, bare) + 1.2 * units
    tight = msgspec.structs.replace(spec, constraints=msgspec.structs.replace(spec.constraints, area=limit))
    size = rest(tight, bare)
    assert area(tight, msgspec.structs.replace(bare, global_memory=size)) <= limit
    assert area(tight, msgspec.structs.replace(bare, global_memory=size + GLOBAL_UNIT)) > limit


def test_nothing_is_left_of_too_small_an_area() -> None:
    spec = load("constraints.area=300")
    assert rest(spec, PUBLISHED) == -1
    assert global_sizes(spec, PUBLISHED) == []


def test_an_area_that_holds_no_core_is_refused() -> None:
    spec = load("constraints.area=100")
    ops, _ = refuse_misfit(spec)
    with pytest.raises(SpecError, match=r"100 mm2 hold no chip .*6 x HBM2e, 16 x PCIe4\) and one core take 1\d\d\.\d mm2"):
        refuse_too_small(Needs(spec, ops, 4))


def test_a_local_memory_below_one_token_is_refused() -> None:
    spec = load("space.local_memories=[1 KiB]")
    ops, _ = refuse_misfit(spec)
    with pytest.raises(SpecError, match=r"one token's activations take 3 KiB of a core, more than the largest local memory of 1"):
        refuse_too_small(Needs(spec, ops, 4))


def test_a_model_that_does_not_fit_the_dram_is_refused_with_what_would_hold_it() -> None:
    with pytest.raises(CapacityError, match=r"llama3-70b needs 141.*device_count to 4.*dram.capacity above 157 GB"):
        refuse_misfit(load("model={preset: llama3-70b}"))


def test_conditions_beyond_the_kv_cache_are_refused() -> None:
    with pytest.raises(SpecError, match=r"4000 sequences of 1024 tokens need 4,\d+,\d+ tokens of KV cache, the devices"):
        refuse_misfit(load("conditions.batch_size=4000"))


@pytest.mark.parametrize("tokens", [10**6, 2**21])
def test_a_prompt_too_long_for_a_step_is_refused(tokens: int) -> None:
    with pytest.raises(SpecError, match=r"conditions.input_len: a prompt of [\d,]+ tokens in one step is too long"):
        refuse_misfit(load(f"conditions.input_len={tokens}"))


def test_what_the_area_model_does_not_know_is_refused_under_the_files_own_key() -> None:
    with pytest.raises(SpecError, match=r"constraints.die.sram_cell: LLMCompass has no SRAM cell at 14nm"):
        refuse_misfit(load("constraints.die.process_node=14nm"))
    with pytest.raises(SpecError, match=r"reference.area.unknown: the area of b200 is unknown"):
        refuse_misfit(load("reference.preset=b200"))


def test_a_file_that_contradicts_itself_is_refused() -> None:
    for override, words in (
        ("constraints.die.cores=64", "cores follows from the chip"),
        ("constraints.noc={topology: shared}", "does not follow the core count"),
        ("serving.device_count=2", "add p2p"),
        ("space.sides=[64, 32]", "must ascend"),
        ("reference={preset: ador, area: null}", "has no area section"),
    ):
        extra = ("constraints.p2p=null",) if "device_count" in override else ()
        with pytest.raises(SpecError, match=words):
            load(override, *extra)
