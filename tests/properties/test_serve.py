"""The serving loop equals a slow twin of vLLM V1's engine core, and loses no request and no token, whatever the policy."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_twin import PIPELINES, POLICIES, Case, Twin, cases, run, serve

from hdasim.core import layout
from hdasim.core._core import Program
from hdasim.serving import policies

FIELDS = ("start", "time", "prefill_tokens", "decode_tokens", "running", "waiting", "kv_blocks", "preemptions")
FINISHED, REJECTED = (layout.REQUEST_STATES.index(name) for name in ("finished", "rejected"))
TWINS = {
    "vllm": policies.Vllm,
    "static": policies.Static,
    "orca": policies.Orca,
    "sarathi": policies.Sarathi,
    "vllm_v0": policies.VllmV0,
}


def check_twin(case: Case) -> Twin:
    done = serve(case)
    twin = Twin(case).run()
    assert [tuple(step[name] for name in FIELDS) for step in done.steps] == twin.steps
    for outcome, request in zip(done.requests, twin.requests, strict=True):
        assert layout.REQUEST_STATES[outcome["state"]] == request.state
        assert outcome["arrival"] == request.arrival
        assert outcome["generated"] == request.generated
        assert outcome["preemptions"] == request.preemptions
        assert outcome["scheduled"] == request.scheduled
        assert outcome["cached"] == request.cached
        first, last = (request.emitted[0], request.emitted[-1]) if request.emitted else (-1.0, -1.0)
        assert (outcome["first_token"], outcome["last_token"]) == (first, last)
    listed = [gap["seconds"] for part in done.gaps for gap in part for _ in range(gap["count"])]
    assert listed == twin.gaps
    assert len(twin.pool.free) == case.block_count
    return twin


@settings(max_examples=600)
@given(cases())
def test_equals_its_twin(case: Case) -> None:
    twin = check_twin(case)
    ended = [request for request in twin.requests if request.state == "finished"]
    tokens = sum(step[2] + step[3] for step in twin.steps)
    assert tokens == sum(r.prompt + r.output - 1 - r.cached for r in ended) + twin.recomputed


@settings(max_examples=300)
@given(cases(policies=POLICIES))
def test_a_policy_in_python_equals_its_twin_in_c(case: Case) -> None:
    assert serve(case).bytes == run(case.serve(TWINS[case.policy]())).bytes


def test_cases_preempt_chunk_and_reject() -> None:
    """The random cases above reach what they are for: here is one of each, equal to the twin as well."""
    preempting = Case([0.0] * 4, [8, 8, 8, 8], [12, 12, 12, 12], 4, 64, 10, True)
    done = serve(preempting)
    assert done.requests["preemptions"].sum() == done.steps["preemptions"].sum() > 0
    assert (done.requests["generated"] == 12).all()
    chunking = Case([0.0], [50], [2], 4, 16, 20, True)
    assert serve(chunking).steps["prefill_tokens"].tolist() == [16, 16, 16, 2, 0]
    whole = Case([0.0, 0.0], [10, 10], [1, 1], 4, 16, 20, False)
    assert serve(whole).steps["prefill_tokens"].tolist() == [10, 10]
    rejecting = Case([0.0, 0.0, 0.0], [10, 10, 1], [1, 40, 40], 4, 64, 10, True)
    assert serve(rejecting).requests["state"].tolist() == [2, 3, 2]
    for case in (preempting, chunking, whole, rejecting):
        check_twin(case)


def test_cases_preempt_batches_in_flight() -> None:
    """A sequence loses its pages while its batch is on the way; ends with that batch though it waits; is preempted in vain."""
    away = Case([0.0] * 2, [18, 8], [14, 6], 4, 8, 8, True, "front")
    ended = Case([0.0] * 2, [16, 2], [18, 13], 4, 16, 11, True, "equal")
    vain = Case([0.0] * 2, [9, 12], [10, 19], 4, 4, 10, True, "back")
    for case in (away, ended, vain):
        done = serve(case)
        assert done.requests["preemptions"].sum() == done.steps["preemptions"].sum() > 0
        assert (done.requests["generated"] == case.output_len).all()
        check_twin(case)
        check_twin(replace(case, asynchronous=True))


def test_a_shared_prefix_is_computed_once() -> None:
    """Three prompts of 12 tokens (3 blocks): the second shares two blocks, the third all three, but its last one is computed."""
    ids = [[0, 1, 2], [0, 1, 3], [0, 1, 2]]
    case = Case([0.0, 1.0, 2.0], [12, 12, 12], [1, 1, 1], 4, 64, 16, True, caching=True, hash_ids=ids)
    assert serve(case).requests["cached"].tolist() == [0, 8, 8]
    assert serve(case).steps["prefill_tokens"].tolist() == [12, 4, 4]
    together = replace(case, arrival=[0.0, 0.0, 0.0])  # blocks are found as soon as they are scheduled
    assert serve(together).steps["prefill_tokens"].tolist() == [20]
    # 3 + 1 + 1 blocks: the third's last block is one of its own
    assert serve(together).steps["kv_blocks"].tolist() == [5]
    for each in (case, together):
        check_twin(each)


def test_of_equal_blocks_the_next_is_found_when_the_first_is_gone() -> None:
    """Two requests hold a last block with the same content; one of the two is taken for something else, and the other is found.

    Eight blocks. Request 0 takes blocks 0 1 2 for its prompt of 12 tokens; request 1 shares 0 and 1, takes 3 for the third (2
    and 3 are equal), and 4 for its next token. Unused are then, in this order, 5 6 7 (never used), 2 (of request 0; 0 and 1
    were still in use), 4 3 1 0. Request 2 takes five of them, 5 6 7 2 4. Request 3, of three blocks and one token, finds 0, 1
    and 3.
    """
    ids = [[0, 1, 2], [0, 1, 2], [7], [0, 1, 2, 9]]
    case = Case([0.0, 0.0, 1.0, 2.0], [12, 12, 20, 13], [1, 2, 1, 1], 4, 64, 8, True, caching=True, hash_ids=ids)
    assert serve(case).requests["cached"].tolist() == [0, 8, 0, 12]
    check_twin(case)


def test_a_preempted_sequence_finds_its_own_blocks() -> None:
    """Without hashes its blocks are of use to nobody else, but what is left of them is not computed again.

    Two prompts of 8 tokens (16 in the first step), eight blocks: when both have four, 16 tokens, the first needs a fifth and
    the second goes, with 17 tokens known. Its last block is taken; three are left when it comes back: 17 - 12 = 5 tokens
    instead of 17.
    """
    case = Case([0.0] * 2, [8, 8], [12, 12], 4, 64, 8, True)
    for caching, tokens in ((False, 16 + 17), (True, 16 + 5)):
        done = serve(replace(case, caching=caching))
        assert done.requests["preemptions"].tolist() == [0, 1]
        assert done.requests["cached"].tolist() == [0, 0]  # of their first visits
        assert done.steps["prefill_tokens"].sum() == tokens


# ---- pipelines ----


def times(program: Program, tokens: int, past: int, emits: int) -> float:
    return float(program.step(np.array([tokens]), np.array([past]), emits)[0]["time"])


@pytest.mark.parametrize("name", PIPELINES)
def test_latency_alone_is_the_sum_of_the_stages(name: str) -> None:
    programs = PIPELINES[name]
    done = serve(Case([0.0], [20], [4], 8, 16, 10, True, name))
    # chunks of 16 and 4 tokens, then a token at a time after 20, 21 and 22
    parts = [[times(p, *batch) for p in programs] for batch in ((16, 0, 0), (4, 16, 1), (1, 20, 1), (1, 21, 1), (1, 22, 1))]
    expected = [sum(batch) for batch in parts]
    if len(programs) == 1:
        first = sum(expected[:2])
    else:  # the second chunk follows the first at once, and waits where that has not left
        clock, free = 0.0, np.cumsum(parts[0])
        for time, there in zip(parts[1], free, strict=True):
            clock = max(clock, there) + time
        first, expected[1] = clock, clock - parts[0][0]
    assert done.steps["time"].tolist() == pytest.approx(expected)
    assert done.requests["first_token"][0] == pytest.approx(first)
    assert done.now == pytest.approx(first + sum(expected[2:]))


@pytest.mark.parametrize("name", ["equal", "front", "back", "link"])
def test_throughput_is_that_of_the_slowest_part(name: str) -> None:
    """As many batches as stages, each of one sequence of one token of prompt that emits 400: the pipeline stays full."""
    programs = PIPELINES[name]
    stages = (len(programs) + 1) // 2
    case = Case([0.0] * stages, [2] * stages, [400] * stages, 16, 2, 10_000, True, name)
    loop = case.serve()
    _, steps, _ = loop.run(10_000)
    assert steps is not None
    busy, duration = loop.busy(), loop.progress()[1]
    # All start as prompts of two tokens, the budget of a batch; from then on each is in a batch of its own.
    assert (steps["running"][stages:] == stages).sum() >= 399 * stages - stages
    slowest = max(times(p, 1, 200, 1) for p in programs)
    latency = sum(times(p, 1, 200, 1) for p in programs)
    assert steps.size / duration <= 1 / min(max(times(p, 1, past, 1) for p in programs) for past in (2, 400))
    assert duration == pytest.approx(400 * max(slowest * stages, latency), rel=0.05)
    assert busy.max() <= duration
    if name == "equal":
        assert busy[::2] == pytest.approx(busy[0])
        assert busy[0] / duration > 0.9


@given(cases(policies=POLICIES))
def test_no_part_of_a_pipeline_runs_twice_at_once(case: Case) -> None:
    loop = case.serve()
    steps = run(loop).steps
    busy = loop.busy()
    most = max((len(case.programs) + 1) // 2, 2 if case.asynchronous else 1)
    ends = steps["start"] + steps["time"]
    for i in range(most, steps.size):  # one more is scheduled when a result comes
        assert steps["start"][i] >= (ends[i - most] + case.overhead) * (1 - 1e-12)
    if len(case.programs) == 1:
        assert (steps["start"][1:] >= ends[:-1] * (1 - 1e-12)).all()
    flight = (ends - np.maximum(steps["start"], np.concatenate([[0.0], ends[:-1]])[: steps.size])).sum()
    assert (busy <= flight * (1 + 1e-9)).all()
    assert busy.sum() == pytest.approx(steps["limited"].sum())
    assert steps["time"].sum() >= busy.sum() * (1 - 1e-9)


def test_async_scheduling_hides_the_host() -> None:
    """One sequence, 100 tokens: a step starts 5 us after the one before has ended, or at once where it was scheduled before."""
    case = Case([0.0], [8], [100], 4, 64, 64, True, overhead=5e-6)
    plain, hidden = serve(case), serve(replace(case, asynchronous=True))
    ends = plain.steps["start"] + plain.steps["time"]
    assert plain.steps["start"][0] == 5e-6
    assert np.diff(plain.steps["start"]) - plain.steps["time"][:-1] == pytest.approx(5e-6)
    assert plain.now == ends[-1] == pytest.approx(plain.steps["time"].sum() + 100 * 5e-6)
    assert plain.steps["time"].tolist() == hidden.steps["time"].tolist() and (hidden.steps["time"] > 5e-6).all()
    assert hidden.now == pytest.approx(hidden.steps["time"].sum() + 5e-6)  # of the first


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_host_prepares_one_step_after_the_other(asynchronous: bool) -> None:
    """One sequence, 100 tokens, and a host that takes 1 s for each step, far longer than the step: one token a second at best."""
    case = Case([0.0], [8], [100], 4, 64, 64, True, overhead=1.0, asynchronous=asynchronous)
    done = serve(case)
    assert (done.steps["time"] < 0.01).all() and (np.diff(done.steps["start"]) >= 1.0 - 1e-12).all()
    # hidden: the host works without a pause, and the last step runs after its 100 s
    wanted = 100.0 + (done.steps["time"][-1] if asynchronous else done.steps["time"].sum())
    assert done.now == pytest.approx(wanted, rel=1e-12)


# ---- properties of the loop alone ----


@settings(max_examples=300)
@given(cases(policies=POLICIES))
def test_nothing_is_lost(case: Case) -> None:
    done = serve(case)
    steps, requests = done.steps, done.requests
    ended, rejected = requests["state"] == FINISHED, requests["state"] == REJECTED
    assert (ended ^ rejected).all()
    prompts, outputs = np.array(case.input_len), np.array(case.output_len)
    assert (requests["generated"] == np.where(ended, outputs, 0)).all()
    assert (requests["first_token"] >= 0).tolist() == ended.tolist()
    assert (requests["cached"] < prompts).all()

    # Every prompt token and every generated token but the last of each request passes through a step at least once.
    passed = (steps["prefill_tokens"] + steps["decode_tokens"]).sum()
    once = (prompts + outputs - 1 - requests["cached"])[ended].sum()
    if case.caching and requests["preemptions"].sum():
        assert passed >= once - requests["preemptions"].sum() * 80
    else:
        assert passed == once if requests["preemptions"].sum() == 0 else passed >= once
    assert requests["preemptions"].sum() == steps["preemptions"].sum()
    gaps = [gap for part in done.gaps for gap in part]
    assert sum(gap["count"] for gap in gaps) == (requests["generated"] - 1)[ended].sum()
    assert sum(gap["count"] * gap["seconds"] for gap in gaps) == pytest.approx(
        (requests["last_token"] - requests["first_token"])[ended].sum()
    )

    assert (steps["kv_blocks"] >= 1).all() and (steps["kv_blocks"] <= case.block_count).all()
    assert (steps["running"] <= case.max_num_seqs).all()
    assert (steps["prefill_tokens"] + steps["decode_tokens"] <= case.max_num_batched_tokens).all()
    ends = steps["start"] + steps["time"]
    assert (np.diff(steps["start"]) >= 0).all() and (np.diff(ends) >= -1e-15).all()
    if case.policy in ("static", "orca"):  # they reserve all that a request needs
        assert requests["preemptions"].sum() == 0


@given(cases(policies=POLICIES, parents=False))
def test_admission_is_first_come_first_served(case: Case) -> None:
    requests = serve(case).requests
    scheduled = requests["scheduled"][requests["scheduled"] >= 0]
    assert all(a <= b for a, b in pairwise(scheduled))
    assert (requests["scheduled"] >= np.where(requests["scheduled"] >= 0, case.arrival, -1.0)).all()
    done = requests["state"] == FINISHED
    assert (requests["first_token"] > requests["scheduled"])[done].all()


@given(cases(policies=POLICIES))
def test_children_come_after_their_parents(case: Case) -> None:
    requests = serve(case).requests
    for i, parent in enumerate(case.parent or []):
        if parent < 0:
            assert requests["arrival"][i] == case.arrival[i]
            continue
        end = requests["last_token"][parent] if requests["state"][parent] == FINISHED else requests["arrival"][parent]
        assert requests["arrival"][i] == end + case.arrival[i]


@given(cases(policies=POLICIES, parents=False))
def test_all_pages_come_back(case: Case) -> None:
    """A request long after all others finds nobody and nothing: its pages are the only ones."""
    later = replace(
        case, arrival=[*case.arrival, 1e6], input_len=[*case.input_len, 1], output_len=[*case.output_len, 1],
        block_count=max(case.block_count, 1), hash_ids=None if case.hash_ids is None else [*case.hash_ids, []],
    )  # fmt: skip
    last = serve(later).steps[-1]
    assert (last["start"], last["running"], last["waiting"], last["kv_blocks"]) == (1e6 + case.overhead, 1, 0, 1)


@given(cases(policies=POLICIES), st.integers(1, 7))
def test_slices_change_nothing(case: Case, capacity: int) -> None:
    assert serve(case).bytes == serve(case, capacity).bytes


@given(cases(policies=POLICIES))
def test_room_for_all_preempts_nobody(case: Case) -> None:
    assert serve(replace(case, block_count=10_000)).requests["preemptions"].sum() == 0


@given(cases())
def test_more_cache_saves_work(case: Case) -> None:
    """With room for all, every block that a request shares with one that came before it is found, and only those."""
    ids = case.hash_ids or [[] for _ in case.arrival]
    roomy = replace(case, block_count=10_000, caching=True, parent=None, arrival=[float(i) for i in range(len(ids))],
                    hash_outputs=False, hash_block=case.hash_block, hash_ids=ids)  # fmt: skip
    requests = serve(roomy).requests
    seen: set[tuple[int, ...]] = set()
    for i, row in enumerate(ids):
        known = [tuple(row[: -(-end // roomy.hash_block)]) for end in range(4, roomy.input_len[i] + 1, 4)]
        known = [
            path
            for end, path in zip(range(4, roomy.input_len[i] + 1, 4), known, strict=True)
            if len(path) * roomy.hash_block >= end
        ]
        found = 0
        while found < min(len(known), (roomy.input_len[i] - 1) // 4) and (found, known[found]) in seen:
            found += 1
        if requests["state"][i] == FINISHED:
            assert requests["cached"][i] == 4 * found
            seen |= set(enumerate(known))


@settings(max_examples=150)
@given(cases(policies=POLICIES))
def test_twice_as_fast_takes_half_the_time(case: Case) -> None:
    """All rates and speeds doubled, all delays halved: the same schedule at half of every time, exactly (a power of two)."""
    slow, fast = serve(case), serve(replace(case, speed=2, arrival=[t / 2 for t in case.arrival], overhead=case.overhead / 2))
    for name in ("arrival", "scheduled", "first_token", "last_token"):
        known = slow.requests[name] >= 0
        assert (fast.requests[name][known] == slow.requests[name][known] / 2).all()
    for name in ("generated", "cached", "preemptions", "state", "rank"):
        assert (fast.requests[name] == slow.requests[name]).all()
    for name in ("start", "time", "bound", "limited", "busy"):
        assert (fast.steps[name] == slow.steps[name] / 2).all()
    for name in ("prefill_tokens", "decode_tokens", "running", "waiting", "kv_blocks", "preemptions", "dram_bytes", "macs"):
        assert (fast.steps[name] == slow.steps[name]).all()
