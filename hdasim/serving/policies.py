"""Scheduling policies in Python: the ones of csrc/policy.c to read, and how to write one's own.

A policy is a class with a method ``schedule(self, scheduler)``. hdasim makes one object of it for each rank (each scheduler of a
cluster) without arguments, and calls `schedule` whenever a batch may be formed: when the machine is idle and a request is there,
when the result of a batch has come, and, in a pipeline or with async scheduling, while batches are in flight. It decides what the
next batch computes and returns nothing. The object lives as long as the run, so a policy may remember things; the scheduler is
another one with each call. The shortest prompt first, for example::

    class ShortestFirst:
        def schedule(self, scheduler):
            for request in scheduler.running():
                if scheduler.ready(request) and scheduler.budget:
                    scheduler.run(request, min(scheduler.ready(request), scheduler.budget))
            for request in sorted(scheduler.waiting(), key=scheduler.input_len):
                everything = scheduler.input_len(request) + scheduler.output_len(request) - 1
                if not scheduler.budget or not scheduler.admit(request, everything):
                    break
                scheduler.run(request, min(scheduler.ready(request), scheduler.budget))

In ``my_policies.py`` beside the experiment's working directory it is named as ``serving: {scheduler:
my_policies.ShortestFirst}``; any class that can be imported will do.

What may be called when (`hdasim.core._core.Scheduler` has all of it):

- `run` puts the next tokens of a request in `running` into the batch: one to `ready` of them, at most `budget`, once a batch.
  It is False where there are no KV blocks for them. A request whose prompt is computed has one token ready, or none while a
  batch of its own is in flight (with async scheduling it has one as soon as that batch is scheduled).
- `admit` moves a request from `waiting`, from any place in it, to the end of `running`, with KV blocks for so many of its
  tokens: 0 reserves none, and they come as it runs. What the prefix cache holds of it (`cached`) counts as computed. It is
  False where `admits` is: max_num_seqs run already, blocks are missing, or a batch that it was in before its preemption is in
  flight.
- `preempt` takes a request that is not in the batch from `running` to the head of `waiting`. Its blocks are free at once. What it
  generated stays, keys and values are computed again when it is admitted (but for those that the prefix cache still holds).
- A request that ends, or is sent on to another instance, leaves by itself.

Whatever is admitted must be able to end: a policy that admits with too few blocks and preempts nobody may leave all of them
waiting for each other. A policy that schedules nothing while the machine is idle ends the run with an error, as does one that
raises. `max_num_batched_tokens` and `max_num_seqs` cannot be exceeded. Requests that fit nowhere are rejected before a policy
sees them: with ``enable_chunked_prefill: false``, or a class attribute ``chunked_prefill = False``, those with more tokens than
the budget, too. `async_scheduling` that is left out of the experiment is on, unless the class says ``async_scheduling = False``.

Python costs about a hundred times what C does for each step; the policies below are the reference of those in C, which give the
same schedules.
"""

from collections.abc import Callable

from ..core._core import Scheduler


def run_in_turn(scheduler: Scheduler, requests: list[int]) -> set[int]:
    """Let each of these running requests compute what it has ready, preempting the newest while there are no KV blocks for it.

    It ends at the token budget, or at a request that was the newest itself. Returns those preempted.
    """
    preempted: set[int] = set()
    for request in requests:
        if request in preempted:
            break  # so are all after it
        tokens = min(scheduler.ready(request), scheduler.budget)
        if tokens <= 0:
            continue
        while not scheduler.run(request, tokens):
            newest = scheduler.running()[-1]
            scheduler.preempt(newest)
            preempted.add(newest)
            if newest == request:
                return preempted
    return preempted


def run_prompts(scheduler: Scheduler) -> None:
    """Prompts of running requests that fit into the budget, whole ones unless prefill is chunked."""
    for request in scheduler.running():
        ready = scheduler.ready(request)
        if ready <= 0 or not prefilling(scheduler, request):
            continue
        if scheduler.budget == 0 or (ready > scheduler.budget and not scheduler.chunked_prefill):
            break
        scheduler.run(request, min(ready, scheduler.budget))


def prefilling(scheduler: Scheduler, request: int) -> bool:
    """Whether part of the prompt of a running request is left to compute."""
    return scheduler.computed(request) < scheduler.input_len(request)


def whole(scheduler: Scheduler, request: int) -> int:
    """All tokens whose keys and values a request will ever need; the last token's are not."""
    return scheduler.input_len(request) + scheduler.output_len(request) - 1


class Vllm:
    """vLLM V1 (vllm/v1/core/sched/scheduler.py, `schedule`), the same as ``scheduler: vllm``.

    Running requests first, in the order of their admission, each with its next token or the next chunk of its prompt; one that
    finds no KV block preempts the newest. If nobody was preempted, waiting requests are admitted in order within the token
    budget, max_num_seqs and the free blocks: of the whole prompt (scheduler_reserve_full_isl), or of its first chunk.
    """

    def schedule(self, scheduler: Scheduler) -> None:
        """Fill the batch."""
        if run_in_turn(scheduler, scheduler.running()):
            return
        for request in scheduler.waiting():
            length, cached = scheduler.length(request), scheduler.cached(request)
            tokens = min(length - cached, scheduler.budget)
            if tokens == 0 or (tokens < length - cached and not scheduler.chunked_prefill):
                break
            if not scheduler.admits(request, length if scheduler.reserve_full_prompt else cached + tokens):
                break
            scheduler.admit(request)
            scheduler.run(request, tokens)


class Static:
    """Request-level batching, the baseline of Orca (Yu et al., OSDI 2022, section 3), the same as ``scheduler: static``.

    A batch is formed when none runs; its prompts are computed, then its tokens are generated; nobody joins before all have ended.
    KV blocks for all that a request can generate are reserved when it is admitted.
    """

    async_scheduling = False

    def schedule(self, scheduler: Scheduler) -> None:
        """Fill the batch."""
        if not scheduler.running():
            for request in scheduler.waiting():
                if not scheduler.admit(request, whole(scheduler, request)):
                    break
        budget = scheduler.budget
        run_prompts(scheduler)
        if scheduler.budget == budget and not any(prefilling(scheduler, request) for request in scheduler.running()):
            run_in_turn(scheduler, scheduler.running())


class Orca:
    """Iteration-level scheduling with selective batching (Orca, OSDI 2022, algorithm 1), the same as ``scheduler: orca``.

    First come, first served; each running request computes its next token and new ones their whole prompt in the same step. KV
    blocks for all that a request can generate are reserved when it is admitted.
    """

    async_scheduling = False

    def schedule(self, scheduler: Scheduler) -> None:
        """Fill the batch."""
        run_in_turn(scheduler, scheduler.running())
        admit_prompts(scheduler, whole)


class Sarathi:
    """Stall-free batching (Agrawal et al., Sarathi-Serve, OSDI 2024, algorithm 3), the same as ``scheduler: sarathi``.

    All decodes first, then prompts that have begun, then new ones, in chunks within the token budget. KV blocks of a prompt are
    reserved when it is admitted.
    """

    async_scheduling = False

    def schedule(self, scheduler: Scheduler) -> None:
        """Fill the batch."""
        decodes = [request for request in scheduler.running() if not prefilling(scheduler, request)]
        preempted = run_in_turn(scheduler, decodes)
        run_prompts(scheduler)
        if not preempted:
            admit_prompts(scheduler, Scheduler.length)


class VllmV0:
    """vLLM V0 (vllm/core/scheduler.py, `_schedule_default`; Kwon et al., SOSP 2023), the same as ``scheduler: vllm_v0``.

    A step computes whole prompts if any can be admitted, with 1 % of the blocks kept free (its watermark), else one token of each
    running request; one that finds no block preempts the newest.
    """

    async_scheduling = False
    chunked_prefill = False

    def schedule(self, scheduler: Scheduler) -> None:
        """Fill the batch."""
        budget, watermark = scheduler.budget, scheduler.block_count // 100 * scheduler.block_size
        for request in scheduler.waiting():
            length = scheduler.length(request)
            tokens = length - scheduler.cached(request)
            kept_free = watermark if scheduler.running_count() else 0
            if scheduler.budget == 0 or tokens > scheduler.budget or not scheduler.admits(request, length + kept_free):
                break
            scheduler.admit(request, length)
            scheduler.run(request, tokens)
        if scheduler.budget == budget:
            run_in_turn(scheduler, scheduler.running())


def admit_prompts(scheduler: Scheduler, reserve: Callable[[Scheduler, int], int]) -> None:
    """Admit waiting requests in order with KV blocks for `reserve` of their tokens, and compute what fits of their prompts."""
    for request in scheduler.waiting():
        tokens = scheduler.length(request) - scheduler.cached(request)
        if scheduler.budget == 0 or (tokens > scheduler.budget and not scheduler.chunked_prefill):
            break
        if not scheduler.admit(request, reserve(scheduler, request)):
            break
        scheduler.run(request, min(tokens, scheduler.budget))
