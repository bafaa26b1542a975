"""Tiny machines, random serving cases, and a slow twin of vLLM V1's engine core, for the tests of serving."""

import heapq
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hdasim.core import layout
from hdasim.core._core import Links, Network, Program, Serve

PAGE = 4
MAX_ROWS = 64


def network() -> Network:
    return Network([0, 0], [], [], [-1], [0, 1])


NETWORK = network()


def links(speed: int = 1) -> Links:
    return Links(2, [1, 0], [-1, 0, 1, -1], [1e9 * speed, 1e9 * speed], [100_000 // speed, 100_000 // speed])


LINKS = links()


def tiny_program(layers: int = 3, send: float = 0.0, speed: int = 1) -> Program:
    """A GEMM and decode and prefill attention on two cores: steps take a time that depends on everything in the batch.

    With `send` it is a link instead, over which each token sends that many bytes. All of it is `speed` times as fast.
    """
    device: dict[str, Any] = {
        "frequency": 1e9 * speed, "core_count": 2, "array": (8, 8, 1), "tree": (8, 8, True), "vector_width": 8,
        "local_memory": 65536.0, "global_memory": 1e6, "global_bandwidth": 64e9 * speed,
        "dram": (1, 20e9 * speed, 0.0825, 0.5625, 0.05, 0.9, 0.0), "link_width": 32.0, "shared": False, "prefetch": True,
        "p2p_algorithm": 0, "device_count": 1, "p2p_bandwidth": 1e9 * speed, "dataflow": 0, "measured": None,
        "launch_overhead": 2e-6 / speed, "activation_bytes": 2.0, "kv_bytes": 2.0,
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
    return Program(device, NETWORK, LINKS if speed == 1 else links(speed), ops, blocks, segments, MAX_ROWS, PAGE)


@cache
def pipelines(speed: int = 1) -> dict[str, tuple[Program, ...]]:
    """One stage; equal stages; a bottleneck in front, behind, and between them."""
    program, link = tiny_program(speed=speed), tiny_program(send=128.0, speed=speed)
    short, long = tiny_program(1, speed=speed), tiny_program(5, speed=speed)
    slow_link = tiny_program(send=20e3, speed=speed)
    return {
        "one": (program,),
        "equal": (program, link, program, link, program),
        "front": (long, link, short),
        "back": (short, link, short, link, short, link, long),
        "link": (program, slow_link, program),
    }


PIPELINES = pipelines()
PROGRAM = PIPELINES["one"][0]


@dataclass(frozen=True)
class Case:
    """A trace and the limits under which it is served."""

    arrival: list[float]
    input_len: list[int]
    output_len: list[int]
    max_num_seqs: int
    max_num_batched_tokens: int
    block_count: int
    chunked: bool
    pipeline: str = "one"
    policy: str = "vllm"
    caching: bool = False
    asynchronous: bool = False
    reserve: bool = True
    overhead: float = 0.0
    parent: list[int] | None = None
    hash_ids: list[list[int]] | None = None
    hash_block: int = PAGE
    hash_outputs: bool = False
    speed: int = 1

    @property
    def programs(self) -> tuple[Program, ...]:
        return (PIPELINES if self.speed == 1 else pipelines(self.speed))[self.pipeline]

    def instance(self, **changes: Any) -> dict[str, Any]:
        """In the form of `core.Serve`."""
        return {
            "programs": list(self.programs), "rank_count": 1, "role": 0, "policy": layout.POLICIES[self.policy],
            "max_num_seqs": self.max_num_seqs, "max_num_batched_tokens": self.max_num_batched_tokens, "block_size": PAGE,
            "block_count": self.block_count, "chunked_prefill": self.chunked, "prefix_caching": self.caching,
            "async_scheduling": self.asynchronous, "reserve_full_prompt": self.reserve, "host_overhead": self.overhead,
            "kv_bytes": 0.0, "kv_bandwidth": float("inf"), "kv_latency": 0.0, "kv_overlap": 0.0, **changes,
        }  # fmt: skip

    def trace(self) -> list[Any]:
        """Arrays in the order of `core.Serve`."""
        hashed: list[Any] = [None, None]
        if self.hash_ids is not None:
            flat = [i for ids in self.hash_ids for i in ids]
            hashed = [np.array(flat, np.int64), np.cumsum([0, *map(len, self.hash_ids)])]
        parent = None if self.parent is None else np.array(self.parent)
        return [np.array(self.arrival), np.array(self.input_len), np.array(self.output_len), parent, *hashed, self.hash_block,
                self.hash_outputs]  # fmt: skip

    def serve(self, custom: Any = None) -> Serve:
        """The C loop; with `custom` under that policy."""
        changes = {} if custom is None else {"policy": layout.POLICIES["custom"], "custom": [custom]}
        return Serve([self.instance(**changes)], 0, *self.trace())


@dataclass(frozen=True)
class Outcome:
    steps: np.ndarray
    gaps: list[np.ndarray]
    requests: np.ndarray
    now: float

    @property
    def bytes(self) -> tuple[bytes, bytes, bytes]:
        return self.steps.tobytes(), b"".join(part.tobytes() for part in self.gaps), self.requests.tobytes()


def run(loop: Serve, capacity: int = 100) -> Outcome:
    """The loop run to its end."""
    steps, gaps = [], []
    while True:
        count, some, waits = loop.run(capacity)
        if not count:
            break
        assert some is not None
        steps.append(some.copy())
        gaps.append(waits.copy())
    finished, now = loop.progress()
    assert finished == len(loop.outcomes)
    return Outcome(np.concatenate(steps) if steps else np.zeros(0, layout.STEP_RECORD), gaps, loop.requests(), now)


def serve(case: Case, capacity: int = 100) -> Outcome:
    return run(case.serve(), capacity)


# ---- the twin ----


@dataclass(eq=False)
class Request:
    index: int
    prompt: int
    output: int
    arrival: float = -1.0
    generated: int = 0
    placeholders: int = 0  # tokens that batches in flight will bring, where scheduling does not wait for them
    computed: int = 0  # tokens with keys and values, counted when they are scheduled
    blocks: list[int] = field(default_factory=list)
    preemptions: int = 0
    state: str = "waiting"
    flying: int = 0
    scheduled: float = -1.0
    cached: int = 0
    emitted: list[float] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return self.prompt + self.generated


class BlockPool:
    """vllm/v1/core/block_pool.py in lists and dictionaries: a list of free blocks, taken from its head, returned to its tail."""

    def __init__(self, count: int, caching: bool):
        self.caching = caching
        self.free = list(range(count))
        self.uses: Counter[int] = Counter()
        self.key_of: dict[int, Any] = {}
        self.blocks_of: dict[Any, list[int]] = {}  # by key, in the order in which they got it

    def take(self) -> int:
        block = self.free.pop(0)
        if block in self.key_of:
            self.blocks_of[self.key_of.pop(block)].remove(block)
        self.uses[block] = 1
        return block

    def find(self, key: Any) -> int | None:
        return next(iter(self.blocks_of.get(key, [])), None)

    def touch(self, block: int) -> None:
        if self.uses[block] == 0:
            self.free.remove(block)
        self.uses[block] += 1

    def publish(self, block: int, key: Any) -> None:
        if self.caching and block not in self.key_of:
            self.key_of[block] = key
            self.blocks_of.setdefault(key, []).append(block)

    def release(self, blocks: list[int]) -> None:
        """The last block first, so that of a prefix the tail is lost before the head."""
        for block in reversed(blocks):
            self.uses[block] -= 1
            if self.uses[block] == 0:
                self.free.append(block)


def pages(tokens: int) -> int:
    return -(-tokens // PAGE)


@dataclass
class Flight:
    end: float
    plan: list[tuple[Request, bool]]  # with whether it brings a token
    record: tuple[Any, ...]


class Twin:
    """vLLM V1's scheduler (scheduler.py, async_scheduler.py) and engine core (core.py, step_with_batch_queue) with lists.

    Two rules are hdasim's own: requests that can never fit are rejected, and one that was preempted while its batch was in
    flight is admitted again when that has come back.
    """

    def __init__(self, case: Case):
        self.case = case
        self.requests = [Request(i, *row) for i, row in enumerate(zip(case.input_len, case.output_len, strict=True))]
        parents = case.parent or [-1] * len(self.requests)
        self.future = [r for r, parent in zip(self.requests, parents, strict=True) if parent < 0]
        self.children = {i: [c for c, p in enumerate(parents) if p == i] for i in range(len(parents))}
        self.dependents: list[tuple[float, int]] = []
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.pool = BlockPool(case.block_count, case.caching)
        self.now = 0.0
        self.steps: list[tuple[Any, ...]] = []
        self.gaps: list[float] = []
        self.free_at, self.host_free_at = [0.0] * len(case.programs), 0.0
        self.flying: list[Flight] = []
        self.preempted = 0  # since the last batch
        self.recomputed = 0

    # -- blocks --

    def key(self, request: Request, block: int) -> Any:
        """What a full block holds: known to others by the ids that cover it, else only to the request itself."""
        case, end = self.case, (block + 1) * PAGE
        if case.hash_ids is not None:
            ids = case.hash_ids[request.index]
            covering = pages_of(end, case.hash_block)
            whole_ids = case.hash_block <= PAGE  # then the last id ends where the block ends
            if covering <= len(ids) and (end <= request.prompt or case.hash_outputs):
                return ("shared", tuple(ids[:covering]), 0 if whole_ids else block)
        return ("own", request.index, block)

    def hits(self, request: Request) -> list[int]:
        found: list[int] = []
        while self.case.caching and len(found) < (request.tokens - 1) // PAGE:
            block = self.pool.find(self.key(request, len(found)))
            if block is None:
                break
            found.append(block)
        return found

    def allocate(self, request: Request, new: int) -> bool:
        missing = pages(request.computed + new) - len(request.blocks)
        if missing > len(self.pool.free):
            return False
        request.blocks += [self.pool.take() for _ in range(missing)]
        self.cache(request, min(request.computed + new, request.tokens))
        return True

    def cache(self, request: Request, tokens: int) -> None:
        for block in range(tokens // PAGE):
            self.pool.publish(request.blocks[block], self.key(request, block))

    # -- scheduler --

    def arrive(self, request: Request, time: float) -> None:
        request.arrival = time
        cached = request.prompt + request.output - 1  # the last token is not fed back
        too_long = not self.case.chunked and cached > self.case.max_num_batched_tokens
        if pages(cached) > self.case.block_count or too_long:
            self.leave(request, "rejected")
        else:
            self.waiting.append(request)

    def leave(self, request: Request, state: str) -> None:
        request.state = state
        for child in self.children[request.index]:
            heapq.heappush(self.dependents, (self.now + self.case.arrival[child], child))

    def arrivals(self) -> None:
        while self.future and self.case.arrival[self.future[0].index] <= self.now:
            request = self.future.pop(0)
            self.arrive(request, self.case.arrival[request.index])
        while self.dependents and self.dependents[0][0] <= self.now:
            time, index = heapq.heappop(self.dependents)
            self.arrive(self.requests[index], time)

    def preempt(self, request: Request) -> None:
        self.pool.release(request.blocks)
        self.recomputed += request.computed
        request.blocks, request.computed, request.state = [], 0, "waiting"
        request.preemptions += 1
        self.preempted += 1
        self.waiting.insert(0, request)

    def schedule(self) -> tuple[list[tuple[Request, int]], bool]:
        """Requests with their new tokens, and whether any was preempted."""
        budget, plan, preempted = self.case.max_num_batched_tokens, [], False
        index = 0
        while index < len(self.running) and budget > 0:
            request = self.running[index]
            index += 1
            if request.generated + request.placeholders >= request.output:
                continue
            new = min(request.tokens + request.placeholders - request.computed, budget)
            if new == 0:
                continue
            while not (fits := self.allocate(request, new)):
                newest = self.running.pop()
                self.preempt(newest)
                preempted = True
                if newest is request:
                    break
            if not fits:
                break
            plan.append((request, new))
            budget -= new
        while not preempted and self.waiting and budget and len(self.running) < self.case.max_num_seqs:
            request = self.waiting[0]
            if request.flying:
                break
            hits = self.hits(request)
            computed = len(hits) * PAGE
            if not self.case.chunked and request.tokens - computed > budget:
                break
            new = min(request.tokens - computed, budget)
            idle = sum(self.pool.uses[block] == 0 for block in hits)
            full = request.tokens if self.case.reserve else computed + new
            if pages(full) - len(hits) + idle > len(self.pool.free):
                break
            for block in hits:
                self.pool.touch(block)
            request.blocks, request.computed, request.state = list(hits), computed, "running"
            assert self.allocate(request, new)
            if request.preemptions == 0:
                request.scheduled, request.cached = self.now, computed
            else:
                self.recomputed -= computed
            self.running.append(self.waiting.pop(0))
            plan.append((request, new))
            budget -= new
        return plan, preempted

    # -- engine core --

    def send(self) -> tuple[bool, bool]:
        """Schedule a batch and send it through the pipeline: whether there was one, whether anybody was preempted."""
        plan, preempted = self.schedule()
        if not plan:
            return False, preempted
        q_len, past = [new for _, new in plan], [request.computed for request, _ in plan]
        emits = [request.computed + new == request.tokens + request.placeholders for request, new in plan]
        self.host_free_at = max(self.now, self.host_free_at) + self.case.overhead
        start = clock = max(self.host_free_at, self.free_at[0])
        for i, program in enumerate(self.case.programs):
            time = float(program.step(np.array(q_len), np.array(past), sum(emits))[0]["time"])
            clock = self.free_at[i] = max(clock, self.free_at[i]) + time
        latency = time if len(self.case.programs) == 1 else clock - start
        decode = sum(q for q, p in zip(q_len, past, strict=True) if q == 1 and p)
        held = self.case.block_count - len(self.pool.free)
        record = (start, latency, sum(q_len) - decode, decode, len(self.running), len(self.waiting), held, self.preempted)
        self.preempted = 0
        self.flying.append(Flight(clock, [(r, e) for (r, _), e in zip(plan, emits, strict=True)], record))
        for (request, new), emit in zip(plan, emits, strict=True):
            request.computed += new
            request.flying += 1
            if self.case.asynchronous:
                request.placeholders += emit
        return True, preempted

    def receive(self) -> None:
        flight = self.flying.pop(0)
        self.steps.append(flight.record)
        for request, emits in flight.plan:
            request.flying -= 1
            if not emits:
                continue
            request.generated += 1
            request.placeholders -= self.case.asynchronous
            if request.emitted:
                self.gaps.append(self.now - request.emitted[-1])
            request.emitted.append(self.now)
            if request.state == "running":
                self.cache(request, request.computed - request.placeholders)
        for request, emits in flight.plan:
            if not emits or request.generated < request.output:
                continue
            if request.state == "waiting":
                self.waiting.remove(request)
                self.recomputed -= request.prompt + request.output - 1
            else:
                self.running.remove(request)
                self.pool.release(request.blocks)
            request.blocks = []
            self.leave(request, "finished")

    def fill(self) -> None:
        stages = (len(self.case.programs) + 1) // 2
        most, tried = max(stages, 2 if self.case.asynchronous else 1), False
        while len(self.flying) < most:
            sent, preempted = self.send()
            if not sent and (self.flying or tried or not preempted):
                return
            tried |= not sent

    def run(self) -> "Twin":
        while True:
            looks = not self.flying  # at new requests: else when a result comes
            if self.flying and self.flying[0].end <= self.now:
                self.receive()
                looks = True
            self.arrivals()
            if looks:
                self.fill()
            moments = [self.flying[0].end] if self.flying else []
            moments += [self.case.arrival[request.index] for request in self.future[:1]]
            moments += [time for time, _ in self.dependents[:1]]
            if not moments:
                return self
            self.now = min(moments)


def pages_of(tokens: int, size: int) -> int:
    return -(-tokens // size)


# ---- random cases ----

POLICIES = ("vllm", "static", "orca", "sarathi", "vllm_v0")


@st.composite
def hashes(draw: st.DrawFn, count: int, longest: int, size: int) -> list[list[int]]:
    """Ids of blocks of `size` tokens that stand for all before them: paths in a small tree."""
    seen: dict[tuple[int, ...], int] = {}
    result = []
    for _ in range(count):
        path = draw(st.lists(st.integers(0, 1), max_size=longest // size + 1))
        result.append([seen.setdefault(tuple(path[: i + 1]), len(seen)) for i in range(len(path))])
    return result


@st.composite
def cases(draw: st.DrawFn, policies: tuple[str, ...] = ("vllm",), parents: bool = True) -> Case:
    """Few pages, so that sequences are preempted and some fit never; many arrivals at once; shared prefixes."""
    count = draw(st.integers(1, 12))
    pauses = draw(st.lists(st.sampled_from([0.0, 0.0, 0.0, 1e-6, 7e-6, 1e-4, 1.0]), min_size=count, max_size=count))
    longest = draw(st.sampled_from([6, 20, 40]))
    lengths = st.lists(st.integers(1, longest), min_size=count, max_size=count)
    case = Case(
        np.cumsum(pauses).tolist(), draw(lengths), draw(lengths), draw(st.integers(1, 8)), draw(st.integers(1, MAX_ROWS)),
        draw(st.integers(0, 16)), draw(st.booleans()), draw(st.sampled_from(["one", *sorted(PIPELINES)])),
        draw(st.sampled_from(policies)), draw(st.booleans()), draw(st.booleans()), draw(st.booleans()),
        draw(st.sampled_from([0.0, 0.0, 3e-6, 1e-4])),
    )  # fmt: skip
    if case.policy == "vllm_v0":
        case = replace(case, chunked=False)
    if draw(st.booleans()):
        size = draw(st.sampled_from([2, 4, 8]))
        ids = draw(hashes(count, 2 * longest, size))
        case = replace(case, hash_ids=ids, hash_block=size, hash_outputs=draw(st.booleans()))
    if parents and draw(st.booleans()):
        parent = [draw(st.integers(-1, i - 1)) for i in range(count)]
        gaps = [pause if p >= 0 else time for pause, p, time in zip(pauses, parent, case.arrival, strict=True)]
        case = replace(case, parent=parent, arrival=gaps)
    return case
