"""Clusters: pools that prefill and decode, their links and routers. Nothing is lost, nothing waits for ever."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_twin import MAX_ROWS, PAGE, PIPELINES, POLICIES, Case, Outcome, cases, pages, pipelines, run

from hdasim.core import layout
from hdasim.core._core import Serve

FINISHED = layout.REQUEST_STATES.index("finished")
KV_BYTES = 1000.0
BOTH, PREFILL, DECODE = (layout.ROLES[name] for name in ("both", "prefill", "decode"))


@dataclass(frozen=True)
class Cluster:
    trace: Case
    instances: list[dict[str, Any]]
    router: str

    def loop(self, late: int = 0) -> Serve:
        """With so many requests of two tokens long after all others, one by one."""
        arrival, inputs, outputs, parent, ids, offsets, *rest = self.trace.trace()
        times = 1e6 * np.arange(1, late + 1)
        arrays = [np.append(arrival, times), np.append(inputs, np.full(late, 1)), np.append(outputs, np.full(late, 2))]
        if parent is not None:
            parent = np.append(parent, np.full(late, -1))
        if ids is not None:
            offsets = np.append(offsets, np.full(late, offsets[-1]))
        return Serve(self.instances, layout.ROUTERS[self.router], *arrays, parent, ids, offsets, *rest)

    def fits(self, instance: dict[str, Any], tokens: int) -> bool:
        whole = not instance["chunked_prefill"] and tokens > instance["max_num_batched_tokens"]
        return pages(tokens) <= instance["block_count"] and not whole


@st.composite
def clusters(draw: st.DrawFn, routers: tuple[str, ...] = tuple(layout.ROUTERS)) -> Cluster:
    trace = draw(cases())
    router = draw(st.sampled_from(routers))
    pooled = router == "splitwise" or draw(st.booleans())
    roles = [PREFILL, DECODE] if pooled else [BOTH]
    roles += draw(st.lists(st.sampled_from([BOTH, PREFILL, DECODE] if pooled else [BOTH]), max_size=3))
    instances = []
    for role in draw(st.permutations(roles)):
        policy = draw(st.sampled_from(["vllm", "vllm", *POLICIES]))
        instances.append(
            trace.instance(
                role=role, policy=layout.POLICIES[policy], max_num_seqs=draw(st.integers(1, 8)),
                max_num_batched_tokens=draw(st.integers(1, MAX_ROWS)), block_count=draw(st.integers(1, 16)),
                chunked_prefill=policy != "vllm_v0" and draw(st.booleans()), prefix_caching=draw(st.booleans()),
                async_scheduling=draw(st.booleans()), programs=list(PIPELINES[draw(st.sampled_from(["one", *PIPELINES]))]),
                kv_bytes=KV_BYTES, kv_bandwidth=draw(st.sampled_from([1e6, 1e8, 1e8, 1e10, float("inf")])),
                kv_latency=draw(st.sampled_from([0.0, 1e-5])), kv_overlap=draw(st.sampled_from([0.0, 0.9, 1.0])),
            )
        )  # fmt: skip
    return Cluster(trace, instances, router)


def link_time(source: dict[str, Any], target: dict[str, Any], tokens: int) -> float:
    """Seconds for which the keys and values of `tokens` occupy the links of both instances."""
    return float(tokens * KV_BYTES * (1 - source["kv_overlap"]) / min(source["kv_bandwidth"], target["kv_bandwidth"]))


def sent(cluster: Cluster, done: Outcome) -> list[tuple[int, int, int]]:
    """(request, from, to) of requests that were decoded elsewhere."""
    out = done.requests
    moved = np.flatnonzero((out["state"] == FINISHED) & (out["rank"] != out["decode_rank"]))
    return [(int(i), int(out["rank"][i]), int(out["decode_rank"][i])) for i in moved]


@settings(max_examples=1000)
@given(clusters())
def test_nothing_is_lost(cluster: Cluster) -> None:
    loop, trace = cluster.loop(), cluster.trace
    done = run(loop)  # fails where requests are left
    out, roles = done.requests, np.array([instance["role"] for instance in cluster.instances])
    for i, request in enumerate(out):
        cached = trace.input_len[i] + trace.output_len[i] - 1
        whole = [cluster.fits(instance, cached) for instance in cluster.instances]
        if request["state"] == FINISHED:
            assert request["generated"] == trace.output_len[i]
            assert whole[request["decode_rank"]]
            if cluster.router != "splitwise":
                assert roles[request["rank"]] != DECODE
                assert trace.output_len[i] == 1 or roles[request["decode_rank"]] != PREFILL
                assert request["rank"] == request["decode_rank"] or (
                    roles[request["rank"]] == PREFILL and roles[request["decode_rank"]] != PREFILL
                )
        else:
            assert layout.REQUEST_STATES[request["state"]] == "rejected"
            assert (request["rank"], request["decode_rank"], request["generated"]) == (-1, -1, 0)
            if cluster.router == "splitwise":
                assert not any(whole)
            else:
                starts = [
                    cluster.fits(own, trace.input_len[i])
                    for own, role in zip(cluster.instances, roles, strict=True)
                    if role == PREFILL
                ]
                later = [fit for fit, role in zip(whole, roles, strict=True) if role != PREFILL]
                both = [fit for fit, role in zip(whole, roles, strict=True) if role == BOTH]
                assert not any(both) and not (any(starts) and any(later)) and not (any(starts) and trace.output_len[i] == 1)

    for i, instance in enumerate(cluster.instances):
        own = done.steps[done.steps["instance"] == i]
        assert (own["kv_blocks"] >= 1).all() and (own["kv_blocks"] <= instance["block_count"]).all()
        assert (own["running"] <= instance["max_num_seqs"]).all() and (own["running"] >= 1).all()
        assert (own["prefill_tokens"] + own["decode_tokens"] <= instance["max_num_batched_tokens"]).all()
    generated = out["generated"].sum() - (out["state"] == FINISHED).sum()
    assert sum(gap["count"] for part in done.gaps for gap in part) == generated
    assert out["preemptions"].sum() == done.steps["preemptions"].sum()


@settings(max_examples=500)
@given(clusters())
def test_tokens_are_computed_where_the_request_says(cluster: Cluster) -> None:
    loop, trace = cluster.loop(), cluster.trace
    done = run(loop)
    out = done.requests
    if out["preemptions"].any():
        return
    expected, bytes_, seconds = (np.zeros(len(cluster.instances)) for _ in range(3))
    for i in np.flatnonzero(out["state"] == FINISHED):
        expected[out["rank"][i]] += trace.input_len[i] - out["cached"][i]
        expected[out["decode_rank"][i]] += trace.output_len[i] - 1
    for i, source, target in sent(cluster, done):
        bytes_[source] += trace.input_len[i] * KV_BYTES
        seconds[source] += link_time(cluster.instances[source], cluster.instances[target], trace.input_len[i])
    totals = loop.totals()
    for j in range(len(cluster.instances)):
        own = done.steps[done.steps["instance"] == j]
        assert (own["prefill_tokens"] + own["decode_tokens"]).sum() == expected[j]
    assert totals["sent_bytes"] == pytest.approx(bytes_)
    assert totals["sent_time"] == pytest.approx(seconds)


@settings(max_examples=500)
@given(clusters())
def test_a_link_carries_one_message_at_a_time(cluster: Cluster) -> None:
    """Whatever travels between two moments takes no longer than the time between them."""
    done = run(cluster.loop())
    out = done.requests
    if out["preemptions"].any():
        return
    messages: list[list[tuple[float, float, float]]] = [[] for _ in cluster.instances]
    for i, source, target in sent(cluster, done):
        tokens, latency = cluster.trace.input_len[i], cluster.instances[source]["kv_latency"]
        busy = link_time(cluster.instances[source], cluster.instances[target], tokens)
        start, end = float(out["first_token"][i]), float(out["last_token"][i]) - latency
        assert end - start >= busy * (1 - 1e-9)
        messages[source].append((start, end, busy))
        messages[target].append((start, end, busy))
    for link in messages:
        for start, _, _ in link:
            for _, end, _ in link:
                inside = sum(busy for first, last, busy in link if first >= start and last <= end)
                assert inside <= max(end - start, 0.0) * (1 + 1e-9) + 1e-15


@settings(max_examples=500)
@given(clusters())
def test_all_blocks_and_roles_come_back(cluster: Cluster) -> None:
    """Long after all others two lone requests find an empty machine, with every server in its own role."""
    done = run(cluster.loop(late=2))
    late = done.requests[-2:]
    if (late["state"] != FINISHED).any():  # a budget of one token without chunks
        assert not all(cluster.fits(instance, 2) for instance in cluster.instances)
        return
    steps = done.steps[done.steps["start"] >= 1e6]
    assert (steps["kv_blocks"] == 1).all() and (steps["running"] <= 1).all() and (steps["waiting"] == 0).all()
    roles = [instance["role"] for instance in cluster.instances]
    if all(cluster.fits(instance, 2) for instance in cluster.instances):
        assert all(roles[i] != DECODE for i in late["rank"])
        assert all(roles[i] != PREFILL for i in late["decode_rank"])


@settings(max_examples=200)
@given(clusters())
def test_slices_change_nothing(cluster: Cluster) -> None:
    assert run(cluster.loop(), 3).bytes == run(cluster.loop()).bytes


@settings(max_examples=200)
@given(clusters())
def test_twice_as_fast_takes_half_the_time(cluster: Cluster) -> None:
    """Devices and links of twice the speed, delays and pauses of half the length: the same schedule in half the time, exactly."""
    instances = []
    for own in cluster.instances:
        name = next(name for name, programs in PIPELINES.items() if own["programs"] == list(programs))
        fast = {"programs": list(pipelines(2)[name]), "kv_bandwidth": 2 * own["kv_bandwidth"]}
        instances.append(own | fast | {key: own[key] / 2 for key in ("kv_latency", "host_overhead")})
    trace = replace(cluster.trace, arrival=[time / 2 for time in cluster.trace.arrival])
    slow, fast_ = run(cluster.loop()), run(Cluster(trace, instances, cluster.router).loop())
    for name in ("arrival", "scheduled", "first_token", "last_token"):
        known = slow.requests[name] >= 0
        assert (fast_.requests[name][known] == slow.requests[name][known] / 2).all()
    for name in ("generated", "cached", "preemptions", "state", "rank", "decode_rank"):
        assert (fast_.requests[name] == slow.requests[name]).all()
    for name in ("instance", "prefill_tokens", "decode_tokens", "running", "waiting", "kv_blocks", "preemptions"):
        assert (fast_.steps[name] == slow.steps[name]).all()
    assert (fast_.steps["start"] == slow.steps["start"] / 2).all()


def test_one_instance_is_what_it_is_alone() -> None:
    case = Case([0.0] * 6, [20, 3, 9, 14, 30, 1], [8, 3, 9, 14, 3, 9], 4, 32, 16, True)
    alone = run(case.serve())
    for router in layout.ROUTERS:
        if router != "splitwise":
            assert run(Cluster(case, [case.instance()], router).loop()).bytes == alone.bytes


# ---- routers, by hand ----


def served(router: str, arrival: list[float], inputs: list[int], outputs: list[int], count: int = 3, **changes: Any) -> list[int]:
    """Ranks that get these requests among `count` equal instances."""
    case = Case(arrival, inputs, outputs, 2, 64, 64, True, **changes)
    return [int(rank) for rank in run(Cluster(case, [case.instance()] * count, router).loop()).requests["rank"]]


def test_round_robin_goes_round() -> None:
    assert served("round_robin", [0.0] * 7, [4] * 7, [2] * 7) == [0, 1, 2, 0, 1, 2, 0]


def test_the_least_loaded_gets_the_next() -> None:
    # all at once: 4 x waiting, so they spread; of equals the first
    assert served("vllm", [0.0] * 7, [4] * 7, [2] * 7) == [0, 1, 2, 0, 1, 2, 0]
    assert served("least_outstanding", [0.0] * 4, [4] * 4, [2] * 4) == [0, 1, 2, 0]
    # tokens that wait: 40, 4, 4, then 8 at the second beats 40 and equals the third's 4 + 4 only later
    assert served("least_kv", [0.0] * 5, [40, 4, 5, 4, 4], [2] * 5) == [0, 1, 2, 1, 2]


def test_a_running_request_weighs_a_quarter_of_a_waiting_one() -> None:
    """Two run at rank 0 (2); at rank 1 one runs and, beyond its two seats, none waits: 1. The fifth goes where 1 < 2."""
    # 0 and 2 go to rank 0, 1 to rank 1; long outputs keep them running when 3 comes
    assert served("vllm", [0.0, 0.0, 0.0, 1e-4], [4] * 4, [50] * 4, count=2) == [0, 1, 0, 1]


def test_a_prefix_goes_where_it_is_cached_unless_that_is_short() -> None:
    ids = [[0, 1, 2, 3], [5, 6, 7, 8], [0, 1, 2, 4], [5, 9, 10, 11]]
    ranks = served("prefix_aware", [0.0, 0.0, 1.0, 1.0], [16] * 4, [1] * 4, caching=True, hash_ids=ids, hash_block=PAGE)
    # 2 shares 12 of 16 tokens with 0; 3 shares 4 of 16, less than 30 %: to the least loaded, 1 (0 is busy with request 2)
    assert ranks == [0, 1, 0, 1]


def test_splitwise_by_hand() -> None:
    """One server for prompts, one for tokens; a prompt is on its way for 4000 B / 1e8 B/s = 40 us + 10 us of latency."""
    case = Case([0.0], [4], [3], 4, 64, 64, True)
    link = {"kv_bytes": KV_BYTES, "kv_bandwidth": 1e8, "kv_latency": 1e-5}
    instances = [case.instance(role=PREFILL, **link), case.instance(role=DECODE, **link)]
    for router in ("splitwise", "vllm"):
        done = run(Cluster(case, instances, router).loop())
        assert done.requests[["rank", "decode_rank"]][0].tolist() == (0, 1)
        assert done.steps["instance"].tolist() == [0, 1, 1]
        prefill, second, third = done.steps["time"]
        assert done.requests["first_token"][0] == prefill
        assert done.steps["start"][1] == pytest.approx(prefill + 4e-5 + 1e-5)
        assert done.requests["last_token"][0] == pytest.approx(prefill + 5e-5 + second + third)


def test_splitwise_books_outputs_where_they_are_decoded() -> None:
    """Two servers for prompts, one for tokens, each with 300 blocks, 1,200 tokens; splitwise-sim's books in tokens.

    Request 0 (10 + 1,000 tokens) goes to server 0 and books 10 there, request 1 (100 + 2) to server 1 and books 100; server 2
    holds 1,010 + 102 of 1,200. Request 2 (50 + 100) is one too many for it: 1,262. So the server for prompts with the least
    booked decodes it: 0, which also has the fewest tokens to compute.
    """
    case = Case([0.0] * 3, [10, 100, 50], [1000, 2, 100], 4, MAX_ROWS, 300, True)
    link = {"kv_bytes": KV_BYTES, "kv_bandwidth": 1e9}
    instances = [case.instance(role=role, **link) for role in (PREFILL, PREFILL, DECODE)]
    done = run(Cluster(case, instances, "splitwise").loop())
    assert done.requests[["rank", "decode_rank"]].tolist() == [(0, 2), (1, 2), (0, 0)]


def test_servers_that_wait_for_each_others_blocks_do_not_wait_for_ever() -> None:
    """Splitwise with two servers of 2,250 blocks (9,000 tokens), and prompts of 5,000 tokens (1,250 blocks) with answers of two.

    Request 0 goes from server 0 to server 1. Request 1 finds 5,000 tokens waiting at server 0, more than 8,192 with its own,
    and 5,002 of the 9,000 tokens of server 1 booked, so it goes the other way. Both prompts end with 1,000 blocks free at the
    other server: each waits for the other to leave. Then request 1, which waits for server 0, stays where it is, and request 0
    follows when it has ended. Long after, request 2 finds the books closed: it goes from server 0 to server 1.
    """
    case = Case([0.0, 0.0, 1e6], [5000] * 3, [2] * 3, 4, MAX_ROWS, 2250, True)
    link = {"kv_bytes": KV_BYTES, "kv_bandwidth": 1e9}
    instances = [case.instance(role=PREFILL, **link), case.instance(role=DECODE, **link)]
    loop = Cluster(case, instances, "splitwise").loop()
    done = run(loop)
    assert (done.requests["state"] == FINISHED).all()
    assert done.requests[["rank", "decode_rank"]].tolist() == [(0, 1), (1, 1), (0, 1)]
    assert (done.requests["last_token"] - done.requests["arrival"] < 1).all()
    assert loop.totals()["sent_bytes"].sum() == 2 * 5000 * KV_BYTES
    assert done.steps["kv_blocks"].max() <= 2250
