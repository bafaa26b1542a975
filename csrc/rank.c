#include "rank.h"

#include <stdlib.h>
#include <string.h>

hda_status_t hda_rank_init(hda_rank_t *rank, hda_requests_t *requests,
                           const hda_serve_config_t *config, int32_t index) {
    *rank = (hda_rank_t){.requests = requests,
                         .config = *config,
                         .waiting_first = -1,
                         .waiting_last = -1,
                         .arrived = -1,
                         .incoming_first = -1,
                         .incoming_last = -1,
                         .refused = {.request = -1},
                         .index = index};
    if (config->policy == HDA_POLICY_VLLM_V0) rank->config.chunked_prefill = 0;
    hda_kv_init(&rank->kv, config->block_count, config->prefix_caching);
    rank->running_capacity = hda_min64(config->max_num_seqs, requests->count);
    rank->running = malloc((size_t)rank->running_capacity * sizeof *rank->running);
    return rank->running ? HDA_OK : HDA_E_MEMORY;
}

void hda_rank_free(hda_rank_t *rank) {
    for (int64_t i = 0; i < rank->slot_count; i++) free(rank->sequences[i].table.blocks);
    hda_kv_free(&rank->kv);
    free(rank->sequences);
    free(rank->unused);
    free(rank->running);
}

static int64_t blocks_of(const hda_rank_t *rank, int64_t tokens) {
    return hda_ceil_div(tokens, rank->config.block_size);
}

int hda_rank_fits(const hda_rank_t *rank, int64_t input_len, int64_t generated) {
    const int64_t cached = input_len + generated - 1; /* the last token is never cached */
    if (blocks_of(rank, cached) > rank->config.block_count) return 0;
    return rank->config.chunked_prefill || cached <= rank->config.max_num_batched_tokens;
}

/* ---- the queue ---- */

void hda_rank_enqueue(hda_rank_t *rank, int64_t request) {
    int32_t *next = rank->requests->next;
    const int32_t id = (int32_t)request;
    next[id] = -1;
    if (rank->waiting_last < 0)
        rank->waiting_first = id;
    else
        next[rank->waiting_last] = id;
    rank->waiting_last = id;
    if (rank->arrived < 0) rank->arrived = id;
    rank->waiting_count++;
    rank->waiting_tokens += rank->requests->input_len[request];
}

void hda_rank_take_in(hda_rank_t *rank, double now) {
    for (int32_t i = rank->arrived; i >= 0; i = rank->requests->next[i])
        rank->requests->out[i].queued = now;
    rank->arrived = -1;
}

static void enqueue_first(hda_rank_t *rank, int64_t request) {
    rank->requests->next[request] = rank->waiting_first;
    rank->waiting_first = (int32_t)request;
    if (rank->waiting_last < 0) rank->waiting_last = (int32_t)request;
    rank->waiting_count++;
    rank->waiting_tokens += rank->requests->input_len[request];
}

static void dequeue(hda_rank_t *rank, int64_t request) {
    int32_t *next = rank->requests->next, before = -1, at = rank->waiting_first;
    while (at != request) {
        before = at;
        at = next[at];
    }
    if (before < 0)
        rank->waiting_first = next[at];
    else
        next[before] = next[at];
    if (rank->waiting_last == at) rank->waiting_last = before;
    rank->waiting_count--;
    rank->waiting_tokens -= rank->requests->input_len[request];
}

/* ---- slots ---- */

static hda_status_t grow_slots(hda_rank_t *rank) {
    const int64_t capacity = hda_max64(64, 2 * rank->slot_capacity);
    hda_sequence_t *sequences = aligned_alloc(64, (size_t)capacity * sizeof *sequences);
    if (sequences == NULL) return HDA_E_MEMORY;
    if (rank->slot_count > 0)
        memcpy(sequences, rank->sequences, (size_t)rank->slot_count * sizeof *sequences);
    free(rank->sequences);
    rank->sequences = sequences;
    int32_t *unused = realloc(rank->unused, (size_t)capacity * sizeof *unused);
    if (unused == NULL) return HDA_E_MEMORY;
    rank->unused = unused;
    rank->slot_capacity = capacity;
    return HDA_OK;
}

static int32_t new_slot(hda_rank_t *rank, int64_t request) {
    int32_t slot;
    if (rank->unused_count > 0) {
        slot = rank->unused[--rank->unused_count];
    } else {
        if (rank->slot_count == rank->slot_capacity && grow_slots(rank) != HDA_OK) {
            rank->status = HDA_E_MEMORY;
            return -1;
        }
        slot = (int32_t)rank->slot_count++;
        rank->sequences[slot].table = (hda_kv_table_t){0};
    }
    hda_sequence_t *s = &rank->sequences[slot];
    const hda_kv_table_t table = {s->table.blocks, 0, s->table.capacity};
    *s = (hda_sequence_t){.request = request,
                          .input_len = rank->requests->input_len[request],
                          .output_len = rank->requests->output_len[request],
                          .table = table};
    s->stop = hda_rank_stop(rank, request);
    return slot;
}

static void free_slot(hda_rank_t *rank, int32_t slot) {
    rank->sequences[slot].phase = HDA_ENDED;
    rank->unused[rank->unused_count++] = slot;
}

static void release(hda_rank_t *rank, hda_sequence_t *s) {
    hda_kv_release(&rank->kv, &s->table, s->pages);
    s->pages = 0;
}

/* ---- prefix cache ---- */

/* What block `index` of a request holds once it is full; see kv.h. */
static int64_t key_of(const hda_rank_t *rank, int64_t request, int64_t index) {
    const hda_requests_t *r = rank->requests;
    if (r->hash_offsets != NULL) {
        const int64_t size = rank->config.block_size, end = (index + 1) * size;
        const int64_t per = size < r->hash_block ? r->hash_block / size : 1;
        const int64_t at = size < r->hash_block ? index / per : end / r->hash_block - 1;
        const int64_t first = r->hash_offsets[request];
        if (at < r->hash_offsets[request + 1] - first &&
            (end <= r->input_len[request] || r->hash_outputs))
            return r->hash_ids[first + at] * per + index % per + 1;
    }
    return -(request << 31) - index - 1;
}

/* The block that holds the content of block `index` of a request, -1 if there is none. */
static int32_t find(const hda_rank_t *rank, int64_t request, int64_t index) {
    const int64_t key = key_of(rank, request, index);
    if (key > 0) return hda_kv_find(&rank->kv, key);
    const int32_t slot = rank->requests->slot[request];
    if (slot < 0) return -1;
    const hda_sequence_t *s = &rank->sequences[slot];
    if (index >= s->published) return -1;
    const int32_t block = s->table.blocks[index];
    return rank->kv.blocks[block].key == key ? block : -1;
}

int64_t hda_rank_length(const hda_rank_t *rank, int64_t request) {
    const int32_t slot = rank->requests->slot[request];
    return rank->requests->input_len[request] + (slot < 0 ? 0 : rank->sequences[slot].generated);
}

/* Blocks found, and how many of them nobody uses. */
static int64_t match(const hda_rank_t *rank, int64_t request, int64_t *idle) {
    *idle = 0;
    if (!rank->config.prefix_caching) return 0;
    const int64_t most = (hda_rank_length(rank, request) - 1) / rank->config.block_size;
    int64_t found = 0;
    for (; found < most; found++) {
        const int32_t block = find(rank, request, found);
        if (block < 0) break;
        *idle += rank->kv.blocks[block].uses == 0;
    }
    return found;
}

int64_t hda_rank_cached(const hda_rank_t *rank, int64_t request) {
    int64_t idle;
    return match(rank, request, &idle) * rank->config.block_size;
}

static void publish_next(hda_rank_t *rank, hda_sequence_t *s) {
    hda_kv_publish(&rank->kv, &s->table, s->published, key_of(rank, s->request, s->published));
    s->published++;
}

/* Full blocks of the first `known` tokens. With async scheduling those that batches in flight will bring are not known: a block is found
 * when its last token has come (vLLM: allocate_slots caps at num_tokens, async_scheduler.py leaves out placeholders). */
static inline void publish(hda_rank_t *rank, hda_sequence_t *s, int64_t known) {
    while ((s->published + 1) * rank->config.block_size <= known) publish_next(rank, s);
}

/* ---- for policies ---- */

static int in_flight(const hda_rank_t *rank, int64_t request) {
    const int32_t slot = rank->requests->slot[request];
    return slot >= 0 && rank->sequences[slot].in_flight > 0;
}

int hda_rank_admits(hda_rank_t *rank, int64_t request, int64_t tokens) {
    if (rank->running_count + rank->sent_for >= rank->running_capacity || in_flight(rank, request))
        return 0;
    const int64_t blocks = blocks_of(rank, tokens);
    if (blocks <= rank->kv.free_count) return 1; /* more found means fewer needed */
    if (!rank->config.prefix_caching) return 0;
    const hda_refusal_t *no = &rank->refused;
    if (no->request == request && no->gains == rank->kv.gains && blocks >= no->blocks) return 0;
    int64_t idle;
    const int64_t found = match(rank, request, &idle);
    if (blocks - found + idle <= rank->kv.free_count) return 1;
    rank->refused = (hda_refusal_t){request, blocks, rank->kv.gains};
    return 0;
}

int32_t hda_rank_admit(hda_rank_t *rank, int64_t request, int64_t tokens, double now) {
    int64_t idle;
    const int64_t found = match(rank, request, &idle);
    dequeue(rank, request);
    int32_t slot = rank->requests->slot[request];
    const int first = slot < 0;
    if (first) slot = new_slot(rank, request);
    if (slot < 0) return slot;
    rank->requests->slot[request] = slot;
    hda_sequence_t *s = &rank->sequences[slot];
    s->table.count = 0;
    for (int64_t i = 0; i < found; i++) /* find() reads what lies beyond table.count */
        if (hda_kv_share(&rank->kv, &s->table, find(rank, request, i)) != HDA_OK)
            rank->status = HDA_E_MEMORY;
    s->computed = found * rank->config.block_size;
    s->published = s->pages = found;
    s->phase = HDA_ACTIVE;
    const int64_t more = blocks_of(rank, tokens) - s->pages;
    if (more > 0) {
        if (hda_kv_take(&rank->kv, &s->table, more) != HDA_OK) rank->status = HDA_E_MEMORY;
        s->pages += more;
    }
    rank->running[rank->running_count++] = slot;
    hda_request_t *out = &rank->requests->out[request];
    out->state = HDA_REQUEST_RUNNING;
    if (out->scheduled < 0) {
        out->scheduled = now;
        out->cached = s->computed;
    }
    return slot;
}

int hda_rank_run(hda_rank_t *rank, hda_rank_batch_t *batch, int32_t slot, int64_t tokens) {
    hda_sequence_t *s = &rank->sequences[slot];
    const int64_t past = s->computed, end = past + tokens;
    if (end > s->pages * rank->config.block_size) {
        const int64_t more = blocks_of(rank, end) - s->pages;
        if (more > rank->kv.free_count) return 0;
        if (hda_kv_take(&rank->kv, &s->table, more) != HDA_OK) rank->status = HDA_E_MEMORY;
        s->pages += more;
    }
    const int64_t i = batch->count++;
    s->computed = end;
    if (rank->config.prefix_caching) publish(rank, s, hda_min64(end, s->input_len + s->generated));
    s->in_flight++;
    const int emits = end == s->input_len + s->generated + s->pending;
    s->pending += emits;
    batch->slots[i] = slot;
    batch->emits[i] = (uint8_t)emits;
    batch->q_len[i] = tokens;
    batch->past[i] = past;
    batch->emit_count += emits;
    if (tokens == 1 && past > 0)
        batch->decode_tokens++;
    else
        batch->prefill_tokens += tokens;
    return 1;
}

void hda_rank_preempt(hda_rank_t *rank, int64_t place) {
    hda_sequence_t *s = &rank->sequences[rank->running[place]];
    for (int64_t i = place + 1; i < rank->running_count; i++)
        rank->running[i - 1] = rank->running[i];
    rank->running_count--;
    release(rank, s);
    s->computed = 0;
    s->phase = HDA_PREEMPTED;
    hda_request_t *out = &rank->requests->out[s->request];
    out->preemptions++;
    out->state = HDA_REQUEST_WAITING;
    enqueue_first(rank, s->request);
    rank->preemptions++;
    rank->preempted++;
}

/* ---- for the event loop ---- */

static void record_gap(hda_gap_t *gaps, int64_t start, int64_t *count, double seconds) {
    if (*count > start && gaps[*count - 1].seconds == seconds) {
        gaps[*count - 1].count++;
        return;
    }
    gaps[(*count)++] = (hda_gap_t){seconds, 1};
}

static void leave_running(hda_rank_t *rank) {
    int64_t kept = 0;
    for (int64_t i = 0; i < rank->running_count; i++)
        if (rank->sequences[rank->running[i]].phase == HDA_ACTIVE)
            rank->running[kept++] = rank->running[i];
    rank->running_count = kept;
}

/* A sequence has generated what it has to here. */
static void end(hda_rank_t *rank, int32_t slot, double now) {
    hda_sequence_t *s = &rank->sequences[slot];
    hda_request_t *out = &rank->requests->out[s->request];
    if (s->generated < s->output_len) {
        if (s->phase == HDA_ACTIVE)
            s->phase = HDA_AWAY;
        else
            s->stop++; /* its keys and values are gone: it is computed again, and brings one more token */
        return;
    }
    if (s->phase == HDA_PREEMPTED) dequeue(rank, s->request);
    out->generated = s->generated;
    out->last_token = now;
    out->state = HDA_REQUEST_FINISHED;
    if (s->phase == HDA_ACTIVE) release(rank, s);
    rank->requests->slot[s->request] = -1;
    free_slot(rank, slot);
}

void hda_rank_complete(hda_rank_t *rank, const hda_rank_batch_t *batch, double now, hda_gap_t *gaps,
                       int64_t *gap_count, int32_t *ended, int64_t *ended_count) {
    const int64_t first_gap = *gap_count;
    *ended_count = 0;
    for (int64_t i = 0; i < batch->count; i++) {
        hda_sequence_t *s = &rank->sequences[batch->slots[i]];
        s->in_flight--;
        if (!batch->emits[i]) continue;
        s->pending--;
        if (s->generated++ == 0)
            rank->requests->out[s->request].first_token = now;
        else
            record_gap(gaps, first_gap, gap_count, now - s->last_emit);
        s->last_emit = now;
        if (rank->config.prefix_caching && s->phase == HDA_ACTIVE)
            publish(rank, s, s->computed - s->pending);
        if (s->generated >= s->stop) ended[(*ended_count)++] = batch->slots[i];
    }
    for (int64_t i = 0; i < *ended_count; i++) end(rank, ended[i], now);
    if (*ended_count > 0) leave_running(rank);
}

/* ---- sequences that are prefilled in one place and decoded in another ---- */

int hda_rank_reserve(hda_rank_t *rank, const hda_sequence_t *from, int32_t *slot) {
    const int64_t blocks = blocks_of(rank, from->computed);
    if (rank->running_count + rank->sent_for >= rank->running_capacity ||
        blocks > rank->kv.free_count)
        return 0;
    *slot = new_slot(rank, from->request);
    if (*slot < 0) return 0;
    hda_sequence_t *s = &rank->sequences[*slot];
    s->generated = from->generated;
    s->computed = from->computed;
    s->last_emit = from->last_emit;
    s->stop = s->output_len;
    s->phase = HDA_AWAY;
    if (hda_kv_take(&rank->kv, &s->table, blocks) != HDA_OK) rank->status = HDA_E_MEMORY;
    s->pages = blocks;
    rank->sent_for++;
    return 1;
}

void hda_rank_join(hda_rank_t *rank, int32_t slot) {
    hda_sequence_t *s = &rank->sequences[slot];
    rank->sent_for--;
    rank->requests->slot[s->request] = slot;
    rank->requests->out[s->request].decode_rank = rank->index;
    if (rank->config.prefix_caching) publish(rank, s, s->computed);
    s->phase = HDA_ACTIVE;
    rank->running[rank->running_count++] = slot;
}

void hda_rank_forget(hda_rank_t *rank, int32_t slot) {
    release(rank, &rank->sequences[slot]);
    free_slot(rank, slot);
}

void hda_rank_keep(hda_rank_t *rank, int32_t slot) {
    hda_sequence_t *s = &rank->sequences[slot];
    s->stop = s->output_len;
    if (rank->running_count == rank->running_capacity)
        hda_rank_preempt(rank, rank->running_count - 1);
    s->phase = HDA_ACTIVE;
    rank->running[rank->running_count++] = slot;
}

void hda_rank_snapshot(const hda_rank_t *rank) {
    for (int64_t i = 0; i < rank->slot_count; i++)
        if (rank->sequences[i].phase != HDA_ENDED)
            rank->requests->out[rank->sequences[i].request].generated =
                rank->sequences[i].generated;
}
