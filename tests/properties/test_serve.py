"""The serving loop equals a slow twin of vLLM V1's scheduler, written from csrc/serve.h, and loses no request and no token."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdasim.core import layout
from hdasim.core._core import Links, Network, Program, Serve

PAGE = 4
MAX_ROWS = 64


NETWORK = Network([0, 0], [], [], [-1], [0, 1])
LINKS = Links(2, [1, 0], [-1, 0, 1, -1], [1e9, 1e9], [100_000, 100_000])


def tiny_program(layers: int = 3, send: float = 0.0) -> Program:
    """A GEMM and decode and prefill attention on two cores: steps take a time that depends on everything in the batch.

    With `send` it is a link instead, over which each token sends that many bytes.
    """
    device: dict[str, Any] = {
        "frequency": 1e9, "core_count": 2, "array": (8, 8, 1), "tree": (8, 8, True), "vector_width": 8, "local_memory": 65536.0,
        "global_memory": 1e6, "global_bandwidth": 64e9, "dram": (1, 20e9, 0.0825, 0.5625, 0.05, 0.9, 0.0), "link_width": 32.0,
        "shared": False, "prefetch": True, "p2p_algorithm": 0, "device_count": 1, "p2p_bandwidth": 1e9, "dataflow": 0,
        "measured": None,
        "launch_overhead": 0.0, "activation_bytes": 2.0, "kv_bytes": 2.0,
    }  # fmt: skip
    ops = np.zeros(4, layout.OP)
    ops["kind"] = [layout.OP_KINDS[k] for k in ("linear", "prefill_attention", "decode_attention", "linear")]
    ops["after"] = [(-1, -2), (0, -2), (0, -2), (1, 2)]
    ops["rows"][3] = layout.ROWS["emit"]
    ops["k"], ops["n"], ops["weight_bytes"], ops["gather"] = 64, 96, 2.0, 1
    for name, value in (
        ("kv_heads", 2),
        ("group", 2),
        ("key_dim", 16),
        ("value_dim", 16),
        ("kv_elements", 64),
        ("vector_ops", 8.0),
    ):
        ops[name][1:3] = value
    blocks, segments = np.zeros(1, layout.BLOCK), np.zeros(1, layout.SEGMENT)
    blocks["count"], segments["count"], segments["repeat"], segments["layers"] = 4, 1, layers, 1
    if send:
        ops = np.zeros(1, layout.OP)
        ops["kind"], ops["after"], ops["sync"] = layout.OP_KINDS["vector"], (-1, -2), layout.SYNCS["send"]
        ops["sync_bytes"] = send
        blocks["count"], segments["repeat"], segments["layers"] = 1, 1, 0
    return Program(device, NETWORK, LINKS, ops, blocks, segments, MAX_ROWS, PAGE)


PROGRAM, LINK = tiny_program(), tiny_program(send=128.0)
SHORT, LONG, SLOW_LINK = tiny_program(1), tiny_program(5), tiny_program(send=20e3)
#: One stage; equal stages; a bottleneck in front, behind, and between them.
PIPELINES = {
    "one": (PROGRAM,),
    "equal": (PROGRAM, LINK, PROGRAM, LINK, PROGRAM),
    "front": (LONG, LINK, SHORT),
    "back": (SHORT, LINK, SHORT, LINK, SHORT, LINK, LONG),
    "link": (PROGRAM, SLOW_LINK, PROGRAM),
}


@dataclass(frozen=True)
class Case:
    arrival: list[float]
    input_len: list[int]
    output_len: list[int]
    max_num_seqs: int
    max_num_batched_tokens: int
    block_count: int
    chunked: bool
    programs: tuple[Program, ...] = (PROGRAM,)

    def serve(self) -> Serve:
        return Serve(
            self.programs, np.array(self.arrival), np.array(self.input_len), np.array(self.output_len), self.max_num_seqs,
            self.max_num_batched_tokens, PAGE, self.block_count, self.chunked,
        )  # fmt: skip


def serve(case: Case, capacity: int = 100) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, float]:
    """(steps, gaps of each slice, requests, clock) of the C loop, run to its end."""
    loop = case.serve()
    steps, gaps = [], []
    while True:
        some, waits = loop.run(capacity)
        if not some.size:
            break
        steps.append(some)
        gaps.append(waits)
    finished, now = loop.progress()
    assert finished == len(case.arrival)
    return np.concatenate(steps) if steps else np.zeros(0, layout.STEP_RECORD), gaps, loop.requests(), now


# ---- the twin ----


@dataclass(eq=False)
class Request:
    arrival: float
    prompt: int
    output: int
    generated: int = 0
    computed: int = 0  # tokens whose keys and values are cached
    preemptions: int = 0
    state: str = "waiting"
    in_flight: bool = False
    scheduled: float = -1.0
    emitted: list[float] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return self.prompt + self.generated


def pages(tokens: int) -> int:
    return -(-tokens // PAGE)


class Twin:
    """Lists and sums instead of counters: pages held are recounted from the sequences whenever they matter.

    Tokens count as computed when their batch returns, a sequence preempted meanwhile has computed none.
    """

    def __init__(self, case: Case):
        self.case = case
        self.requests = [Request(*row) for row in zip(case.arrival, case.input_len, case.output_len, strict=True)]
        self.future = list(self.requests)
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.held: dict[Request, int] = {}
        self.now = 0.0
        self.steps: list[tuple[Any, ...]] = []
        self.gaps: list[float] = []
        self.admissions: list[Request] = []
        self.free_at = [0.0] * len(case.programs)
        self.flying: list[tuple[float, list[tuple[Request, int, int]], tuple[Any, ...]]] = []  # end, plan, record
        self.preempted = 0  # since the last batch

    def free(self) -> int:
        return self.case.block_count - sum(self.held.values())

    def arrive(self) -> None:
        while self.future and self.future[0].arrival <= self.now:
            request = self.future.pop(0)
            cached = request.prompt + request.output - 1  # the last token is not fed back
            too_long = not self.case.chunked and cached > self.case.max_num_batched_tokens
            if pages(cached) > self.case.block_count or too_long:
                request.state = "rejected"
            else:
                self.waiting.append(request)

    def schedule(self) -> tuple[list[tuple[Request, int]], int]:
        """(sequences with their new tokens, preemptions) of the next step."""
        budget, plan, preempted = self.case.max_num_batched_tokens, [], 0
        for request in list(self.running):
            if budget == 0 or request not in self.running or request.in_flight:  # preempted by one before it
                continue
            new = min(request.tokens - request.computed, budget)
            while request in self.running and pages(request.computed + new) - self.held[request] > self.free():
                newest = self.running.pop()
                self.held[newest] = 0
                newest.computed, newest.state = 0, "waiting"
                newest.preemptions += 1
                preempted += 1
                self.waiting.insert(0, newest)
            if request in self.running:
                plan.append((request, new))
                self.held[request] = pages(request.computed + new)
                budget -= new
        while not preempted and self.waiting and budget and len(self.running) < self.case.max_num_seqs:
            request = self.waiting[0]
            if request.in_flight:
                break
            if pages(request.tokens) > self.free() or (not self.case.chunked and request.tokens > budget):
                break
            self.running.append(self.waiting.pop(0))
            self.admissions.append(request)
            request.state = "running"
            if request.scheduled < 0:
                request.scheduled = self.now
            new = min(request.tokens, budget)
            plan.append((request, new))
            self.held[request] = pages(new)
            budget -= new
        return plan, preempted

    def send(self) -> bool:
        """Schedule a batch and send it through the pipeline; whether anybody was scheduled or preempted."""
        plan, preempted = self.schedule()
        self.preempted += preempted
        if not plan:
            return preempted > 0
        q_len, past = [new for _, new in plan], [request.computed for request, _ in plan]
        emitting = sum(request.computed + new == request.tokens for request, new in plan)
        clock = self.now
        for i, program in enumerate(self.case.programs):
            time = float(program.step(np.array(q_len), np.array(past), emitting)[0]["time"])
            clock = self.free_at[i] = max(clock, self.free_at[i]) + time
        latency = time if len(self.case.programs) == 1 else clock - self.now
        decode = sum(q for q, p in zip(q_len, past, strict=True) if q == 1 and p)
        record = (self.now, latency, sum(q_len) - decode, decode, len(self.running), len(self.waiting), sum(self.held.values()),
                  self.preempted)  # fmt: skip
        self.preempted = 0
        self.flying.append((clock, [(r, new, r.computed) for r, new in plan], record))
        for request, _ in plan:
            request.in_flight = True
        return True

    def receive(self) -> None:
        _, plan, record = self.flying.pop(0)
        self.steps.append(record)
        for request, new, past in plan:
            request.in_flight = False
            if request.state == "running":
                request.computed = past + new
            if past + new < request.tokens:
                continue
            request.generated += 1
            if request.emitted:
                self.gaps.append(self.now - request.emitted[-1])
            request.emitted.append(self.now)
            if request.generated == request.output:
                if request.state == "waiting":
                    self.waiting.remove(request)
                request.state = "finished"
                self.held[request] = 0
        self.running = [request for request in self.running if request.state == "running"]

    def run(self) -> "Twin":
        stages = (len(self.case.programs) + 1) // 2
        while True:
            if self.flying and self.flying[0][0] <= self.now:
                self.receive()
                continue
            self.arrive()
            before = len(self.flying)
            if before < stages and self.free_at[0] <= self.now and self.send() and len(self.flying) == before:
                continue  # somebody was preempted in vain
            moments = [self.flying[0][0]] if self.flying else []
            if len(self.flying) < stages:
                moments += [self.free_at[0]] + [request.arrival for request in self.future[:1]]
                if self.free_at[0] > self.now:
                    moments = [moment for moment in moments if moment <= self.free_at[0]]  # arrivals wait for it
            moments = [moment for moment in moments if moment > self.now]
            if not moments:
                return self
            self.now = min(moments)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few pages, so that sequences are preempted and some fit never; many arrivals at once."""
    count = draw(st.integers(1, 12))
    pauses = draw(st.lists(st.sampled_from([0.0, 0.0, 0.0, 1e-6, 7e-6, 1e-4, 1.0]), min_size=count, max_size=count))
    longest = draw(st.sampled_from([6, 20, 40]))
    lengths = st.lists(st.integers(1, longest), min_size=count, max_size=count)
    return Case(
        np.cumsum(pauses).tolist(), draw(lengths), draw(lengths), draw(st.integers(1, 8)), draw(st.integers(1, MAX_ROWS)),
        draw(st.integers(0, 16)), draw(st.booleans()), PIPELINES[draw(st.sampled_from(sorted(PIPELINES)))],
    )  # fmt: skip


FIELDS = ("start", "time", "prefill_tokens", "decode_tokens", "running", "waiting", "kv_blocks", "preemptions")


@settings(max_examples=400)
@given(cases())
def test_equals_its_twin(case: Case) -> None:
    steps, gaps, requests, now = serve(case)
    twin = Twin(case).run()
    assert [tuple(step[name] for name in FIELDS) for step in steps] == twin.steps
    assert now == twin.now
    for outcome, request in zip(requests, twin.requests, strict=True):
        assert layout.REQUEST_STATES[outcome["state"]] == request.state
        assert outcome["generated"] == request.generated
        assert outcome["preemptions"] == request.preemptions
        assert outcome["scheduled"] == request.scheduled
        first, last = (request.emitted[0], request.emitted[-1]) if request.emitted else (-1.0, -1.0)
        assert (outcome["first_token"], outcome["last_token"]) == (first, last)
    listed = [gap["seconds"] for part in gaps for gap in part for _ in range(gap["count"])]
    assert listed == twin.gaps


def test_cases_preempt_chunk_and_reject() -> None:
    """The random cases above reach what they are for: here is one of each, equal to the twin as well."""
    preempting = Case([0.0] * 4, [8, 8, 8, 8], [12, 12, 12, 12], 4, 64, 10, True)
    steps, _, requests, _ = serve(preempting)
    assert requests["preemptions"].sum() == steps["preemptions"].sum() > 0
    assert (requests["generated"] == 12).all()
    chunking = Case([0.0], [50], [2], 4, 16, 20, True)
    assert serve(chunking)[0]["prefill_tokens"].tolist() == [16, 16, 16, 2, 0]
    whole = Case([0.0, 0.0], [10, 10], [1, 1], 4, 16, 20, False)
    assert serve(whole)[0]["prefill_tokens"].tolist() == [10, 10]
    rejecting = Case([0.0, 0.0, 0.0], [10, 10, 1], [1, 40, 40], 4, 64, 10, True)
    assert serve(rejecting)[2]["state"].tolist() == [2, 3, 2]
    for case in (preempting, chunking, whole, rejecting):
        test_equals_its_twin.hypothesis.inner_test(case)  # type: ignore[attr-defined]


def test_cases_preempt_batches_in_flight() -> None:
    """A sequence loses its pages while its batch is on the way; ends with that batch though it waits; is preempted in vain."""
    away = Case([0.0] * 2, [18, 8], [14, 6], 4, 8, 8, True, PIPELINES["front"])
    ended = Case([0.0] * 2, [16, 2], [18, 13], 4, 16, 11, True, PIPELINES["equal"])
    vain = Case([0.0] * 2, [9, 12], [10, 19], 4, 4, 10, True, PIPELINES["back"])
    for case in (away, ended, vain):
        steps, _, requests, _ = serve(case)
        assert requests["preemptions"].sum() == steps["preemptions"].sum() > 0
        assert (requests["generated"] == case.output_len).all()
        test_equals_its_twin.hypothesis.inner_test(case)  # type: ignore[attr-defined]
    twin = Twin(ended).run()
    last = max(twin.requests, key=lambda request: request.emitted[-1])
    assert [request.preemptions for request in twin.requests if request is not last] == [1]


# ---- pipelines ----


def times(program: Program, tokens: int, past: int, emits: int) -> float:
    return float(program.step(np.array([tokens]), np.array([past]), emits)[0]["time"])


@pytest.mark.parametrize("name", PIPELINES)
def test_latency_alone_is_the_sum_of_the_stages(name: str) -> None:
    programs = PIPELINES[name]
    steps, _, requests, now = serve(Case([0.0], [20], [4], 8, 16, 10, True, programs))
    # chunks of 16 and 4 tokens, then a token at a time after 20, 21 and 22
    expected = [sum(times(p, *batch) for p in programs) for batch in ((16, 0, 0), (4, 16, 1), (1, 20, 1), (1, 21, 1), (1, 22, 1))]
    assert steps["time"].tolist() == pytest.approx(expected)
    assert now == pytest.approx(sum(expected))
    assert requests["first_token"][0] == pytest.approx(sum(expected[:2]))


@pytest.mark.parametrize("name", ["equal", "front", "back", "link"])
def test_throughput_is_that_of_the_slowest_part(name: str) -> None:
    """As many batches as stages, each of one sequence of one token of prompt that emits 400: the pipeline stays full."""
    programs = PIPELINES[name]
    stages = (len(programs) + 1) // 2
    case = Case([0.0] * stages, [2] * stages, [400] * stages, 16, 2, 10_000, True, programs)
    loop = case.serve()
    steps, _ = loop.run(10_000)
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


@given(cases())
def test_no_part_of_a_pipeline_runs_twice_at_once(case: Case) -> None:
    loop = case.serve()
    parts = []
    while (some := loop.run(50)[0]).size:
        parts.append(some)
    steps = np.concatenate(parts) if parts else np.zeros(0, layout.STEP_RECORD)
    busy = loop.busy()
    stages = (len(case.programs) + 1) // 2
    ends = steps["start"] + steps["time"]
    for i in range(stages, steps.size):  # no more than one batch a stage
        assert steps["start"][i] >= ends[i - stages] * (1 - 1e-12)
    flight = (ends - np.maximum(steps["start"], np.concatenate([[0.0], ends[:-1]])[: steps.size])).sum()
    assert (busy <= flight * (1 + 1e-9)).all()
    assert busy.sum() == pytest.approx(steps["limited"].sum())
    assert steps["time"].sum() >= busy.sum() * (1 - 1e-9)


# ---- properties of the loop alone ----


@given(cases())
def test_nothing_is_lost(case: Case) -> None:
    steps, gaps, requests, now = serve(case)
    done = requests["state"] == layout.REQUEST_STATES.index("finished")
    rejected = requests["state"] == layout.REQUEST_STATES.index("rejected")
    assert (done ^ rejected).all()
    prompts, outputs = np.array(case.input_len), np.array(case.output_len)
    assert (requests["generated"] == np.where(done, outputs, 0)).all()
    assert (requests["first_token"] >= 0).tolist() == done.tolist()

    # Every prompt token and every generated token but the last of each request passes through a step at least once.
    passed = (steps["prefill_tokens"] + steps["decode_tokens"]).sum()
    assert passed >= (prompts + outputs - 1)[done].sum()
    if requests["preemptions"].sum() == 0:
        assert passed == (prompts + outputs - 1)[done].sum()
    assert sum(part["count"].sum() for part in gaps) == (requests["generated"] - 1)[done].sum()
    assert sum((part["count"] * part["seconds"]).sum() for part in gaps) == pytest.approx(
        (requests["last_token"] - requests["first_token"])[done].sum()
    )

    assert (steps["kv_blocks"] >= 1).all() and (steps["kv_blocks"] <= case.block_count).all()
    assert (steps["running"] <= case.max_num_seqs).all()
    assert (steps["prefill_tokens"] + steps["decode_tokens"] <= case.max_num_batched_tokens).all()
    ends = steps["start"] + steps["time"]
    if len(case.programs) == 1:
        assert all(end <= start for end, start in zip(ends, steps["start"][1:], strict=False))
    assert (np.diff(steps["start"]) >= 0).all() and (np.diff(ends) >= -1e-15).all()
    assert not steps.size or now == pytest.approx(max(ends[-1], case.arrival[-1] if rejected[-1] else 0.0), rel=1e-12)


@given(cases())
def test_admission_is_first_come_first_served(case: Case) -> None:
    requests = serve(case)[2]
    scheduled = requests["scheduled"][requests["scheduled"] >= 0]
    assert all(a <= b for a, b in pairwise(scheduled))
    assert (requests["scheduled"] >= np.where(requests["scheduled"] >= 0, case.arrival, -1.0)).all()
    done = requests["state"] == layout.REQUEST_STATES.index("finished")
    assert (requests["first_token"] > requests["scheduled"])[done].all()


@given(cases())
def test_all_pages_come_back(case: Case) -> None:
    """A request long after all others finds nobody and nothing: its pages are the only ones."""
    later = Case(
        [*case.arrival, 1e6], [*case.input_len, 1], [*case.output_len, 1], case.max_num_seqs, case.max_num_batched_tokens,
        max(case.block_count, 1), case.chunked, case.programs,
    )  # fmt: skip
    last = serve(later)[0][-1]
    assert (last["start"], last["running"], last["waiting"], last["kv_blocks"]) == (1e6, 1, 0, 1)


@given(cases(), st.integers(1, 7))
def test_slices_change_nothing(case: Case, capacity: int) -> None:
    steps, gaps, requests, _ = serve(case)
    sliced_steps, sliced_gaps, sliced_requests, _ = serve(case, capacity)
    assert steps.tobytes() == sliced_steps.tobytes()
    assert requests.tobytes() == sliced_requests.tobytes()
    assert b"".join(part.tobytes() for part in gaps) == b"".join(part.tobytes() for part in sliced_gaps)


@given(cases())
def test_room_for_all_preempts_nobody(case: Case) -> None:
    roomy = Case(
        case.arrival, case.input_len, case.output_len, case.max_num_seqs, case.max_num_batched_tokens, 10_000, case.chunked,
        case.programs,
    )  # fmt: skip
    assert serve(roomy)[2]["preemptions"].sum() == 0
