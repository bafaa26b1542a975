#include "policy.h"

/* Let the sequence at `place` compute, preempting from the end of the running list while there are no KV blocks.
 * 0: it was itself the newest. */
static int run_or_preempt(hda_rank_t *rank, hda_rank_batch_t *batch, int64_t place,
                          int64_t tokens) {
    while (!hda_rank_run(rank, batch, rank->running[place], tokens)) {
        hda_rank_preempt(rank, rank->running_count - 1);
        if (rank->running_count <= place) return 0;
    }
    return 1;
}

/* A request waits, and one more may run: else there is no need to search the cache for its prompt. */
static int can_admit(const hda_rank_t *rank) {
    return rank->waiting_count > 0 && rank->running_count + rank->sent_for < rank->running_capacity;
}

/* vLLM V1 (vllm/v1/core/sched/scheduler.py, `schedule`): running sequences first, in the order of their admission, each with its next token
 * or next chunk of prompt; one that finds no block preempts the newest. If nobody was preempted, waiting requests are admitted in order
 * within the token budget, max_num_seqs and the free blocks: of the whole prompt (scheduler_reserve_full_isl), or of the first chunk. */
static void schedule_vllm(hda_rank_t *rank, hda_rank_batch_t *batch, double now) {
    int64_t budget = rank->config.max_num_batched_tokens;
    for (int64_t i = 0; i < rank->running_count && budget > 0; i++) {
        const int64_t ready = hda_rank_ready(rank, &rank->sequences[rank->running[i]]);
        if (ready <= 0) continue;
        const int64_t tokens = hda_min64(ready, budget);
        if (!run_or_preempt(rank, batch, i, tokens)) break;
        budget -= tokens;
    }
    while (rank->preempted == 0 && can_admit(rank) && budget > 0) {
        const int64_t request = rank->waiting_first, length = hda_rank_length(rank, request);
        if (rank->config.reserve_full_prompt && !hda_rank_admits(rank, request, length)) break;
        const int64_t cached = hda_rank_cached(rank, request);
        const int64_t tokens = hda_min64(length - cached, budget);
        if (!rank->config.chunked_prefill && tokens < length - cached) break;
        if (!hda_rank_admits(rank, request, cached + tokens)) break;
        const int32_t slot = hda_rank_admit(rank, request, 0, now);
        if (slot < 0) return;
        hda_rank_run(rank, batch, slot, tokens);
        budget -= tokens;
    }
}

/* All that it will ever cache, so that nothing is preempted but what came here from another rank, with blocks for its prompt only. */
static int64_t whole(const hda_rank_t *rank, int64_t request) {
    return rank->requests->input_len[request] + hda_rank_stop(rank, request) - 1;
}

static int prefilling(const hda_sequence_t *s) { return s->computed < s->input_len; }

/* Prompts of running sequences that fit into the budget, whole ones unless chunked_prefill; returns what is left of it. */
static int64_t run_prompts(hda_rank_t *rank, hda_rank_batch_t *batch, int64_t budget) {
    for (int64_t i = 0; i < rank->running_count && budget > 0; i++) {
        const hda_sequence_t *s = &rank->sequences[rank->running[i]];
        const int64_t ready = hda_rank_ready(rank, s);
        if (ready <= 0 || !prefilling(s)) continue;
        if (ready > budget && !rank->config.chunked_prefill) break;
        const int64_t tokens = hda_min64(ready, budget);
        hda_rank_run(rank, batch, rank->running[i], tokens);
        budget -= tokens;
    }
    return budget;
}

/* Request-level batching, the baseline of Orca (Yu et al., OSDI 2022, section 3): a batch is formed when none runs, its prompts are
 * computed, then its tokens are generated; nobody joins before all have ended. */
static void schedule_static(hda_rank_t *rank, hda_rank_batch_t *batch, double now) {
    int64_t budget = rank->config.max_num_batched_tokens;
    if (rank->running_count == 0)
        while (can_admit(rank)) {
            const int64_t request = rank->waiting_first;
            if (!hda_rank_admits(rank, request, whole(rank, request))) break;
            if (hda_rank_admit(rank, request, whole(rank, request), now) < 0) return;
        }
    if (run_prompts(rank, batch, budget) < budget) return;
    for (int64_t i = 0; i < rank->running_count; i++) /* all prompts before the first token */
        if (prefilling(&rank->sequences[rank->running[i]])) return;
    for (int64_t i = 0; i < rank->running_count && budget > 0; i++) {
        const int64_t ready = hda_rank_ready(rank, &rank->sequences[rank->running[i]]);
        if (ready <= 0) continue;
        if (!run_or_preempt(rank, batch, i, hda_min64(ready, budget))) break;
        budget -= hda_min64(ready, budget);
    }
}

/* Iteration-level scheduling with selective batching (Orca, OSDI 2022, algorithm 1): first come, first served; each running sequence computes
 * its next token and new ones their whole prompt in the same step; KV blocks for all that a request can generate are reserved when it
 * is admitted. */
static void schedule_orca(hda_rank_t *rank, hda_rank_batch_t *batch, double now) {
    int64_t budget = rank->config.max_num_batched_tokens;
    for (int64_t i = 0; i < rank->running_count && budget > 0; i++) {
        const hda_sequence_t *s = &rank->sequences[rank->running[i]];
        const int64_t tokens = hda_min64(hda_rank_ready(rank, s), budget);
        if (tokens <= 0) continue;
        if (!run_or_preempt(rank, batch, i, tokens)) break;
        budget -= tokens;
    }
    while (can_admit(rank) && budget > 0) {
        const int64_t request = rank->waiting_first;
        if (!hda_rank_admits(rank, request, whole(rank, request))) break;
        const int64_t need = hda_rank_length(rank, request) - hda_rank_cached(rank, request);
        if (need > budget && !rank->config.chunked_prefill) break;
        const int32_t slot = hda_rank_admit(rank, request, whole(rank, request), now);
        if (slot < 0) return;
        hda_rank_run(rank, batch, slot, hda_min64(need, budget));
        budget -= hda_min64(need, budget);
    }
}

/* Stall-free batching (Agrawal et al., Sarathi-Serve, OSDI 2024, algorithm 3): all decodes first, then prompts that have begun, then new ones,
 * in chunks within the token budget. KV blocks of a prompt are reserved when it is admitted. */
static void schedule_sarathi(hda_rank_t *rank, hda_rank_batch_t *batch, double now) {
    int64_t budget = rank->config.max_num_batched_tokens;
    for (int64_t i = 0; i < rank->running_count && budget > 0; i++) {
        const hda_sequence_t *s = &rank->sequences[rank->running[i]];
        if (prefilling(s) || hda_rank_ready(rank, s) <= 0) continue;
        const int64_t tokens = hda_min64(hda_rank_ready(rank, s), budget);
        if (!run_or_preempt(rank, batch, i, tokens)) break;
        budget -= tokens;
    }
    budget = run_prompts(rank, batch, budget);
    while (rank->preempted == 0 && can_admit(rank) && budget > 0) {
        const int64_t request = rank->waiting_first, length = hda_rank_length(rank, request);
        if (!hda_rank_admits(rank, request, length)) break;
        const int64_t need = length - hda_rank_cached(rank, request);
        if (need > budget && !rank->config.chunked_prefill) break;
        const int32_t slot = hda_rank_admit(rank, request, length, now);
        if (slot < 0) return;
        hda_rank_run(rank, batch, slot, hda_min64(need, budget));
        budget -= hda_min64(need, budget);
    }
}

/* vLLM V0 (vllm/core/scheduler.py, `_schedule_default`; Kwon et al., SOSP 2023): a step computes whole prompts if any can be admitted, with
 * 1 % of the blocks kept free (its watermark), else one token of each running sequence; one that finds no block preempts the newest. */
static void schedule_vllm_v0(hda_rank_t *rank, hda_rank_batch_t *batch, double now) {
    int64_t budget = rank->config.max_num_batched_tokens;
    const int64_t reserve = rank->config.block_count / 100 * rank->config.block_size;
    while (can_admit(rank) && budget > 0) {
        const int64_t request = rank->waiting_first, length = hda_rank_length(rank, request);
        const int alone = rank->running_count == 0;
        if (!hda_rank_admits(rank, request, alone ? length : length + reserve)) break;
        const int64_t need = length - hda_rank_cached(rank, request);
        if (need > budget) break;
        const int32_t slot = hda_rank_admit(rank, request, length, now);
        if (slot < 0) return;
        hda_rank_run(rank, batch, slot, need);
        budget -= need;
    }
    if (batch->count > 0) return;
    for (int64_t i = 0; i < rank->running_count && budget > 0; i++) {
        const int64_t tokens =
            hda_min64(hda_rank_ready(rank, &rank->sequences[rank->running[i]]), budget);
        if (tokens <= 0) continue;
        if (!run_or_preempt(rank, batch, i, tokens)) break;
        budget -= tokens;
    }
}

hda_status_t hda_policy_schedule(hda_rank_t *rank, hda_rank_batch_t *batch, double now) {
    rank->preempted = 0;
    switch (rank->config.policy) {
        case HDA_POLICY_VLLM: schedule_vllm(rank, batch, now); break;
        case HDA_POLICY_STATIC: schedule_static(rank, batch, now); break;
        case HDA_POLICY_ORCA: schedule_orca(rank, batch, now); break;
        case HDA_POLICY_SARATHI: schedule_sarathi(rank, batch, now); break;
        case HDA_POLICY_VLLM_V0: schedule_vllm_v0(rank, batch, now); break;
        default: return HDA_E_RANGE;
    }
    return rank->status;
}
