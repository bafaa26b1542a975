#include "serve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    hda_request_t out;
    double arrival, last_emit;
    int64_t input_len, output_len;
    int64_t computed; /* tokens whose keys and values are cached */
    int64_t pages;
} sequence_t;

struct hda_serve {
    hda_program_t *program;
    hda_serve_config_t config;
    sequence_t *sequences;
    int64_t count, arrived, finished;
    int64_t *running, running_count;
    int64_t *waiting, waiting_head,
        waiting_count; /* ring of `count` slots; preempted ones return to its head */
    int64_t free_pages;
    double now;
    int64_t *scheduled, *q_len, *past; /* of the step being built */
    int64_t scheduled_count;
};

static int64_t tokens_of(const sequence_t *s) { return s->input_len + s->out.generated; }

hda_status_t hda_serve_create(hda_program_t *program, const hda_serve_config_t *config,
                              int64_t count, const double *arrival, const int64_t *input_len,
                              const int64_t *output_len, hda_serve_t **out) {
    *out = NULL;
    const int64_t limit = (int64_t)1 << 35;
    if (count < 1 || config->max_num_seqs < 1 || config->max_num_batched_tokens < 1 ||
        config->block_size < 1 || config->block_count < 0)
        return HDA_E_RANGE;
    for (int64_t i = 0; i < count; i++)
        if (!(arrival[i] >= 0) || isinf(arrival[i]) || (i > 0 && arrival[i] < arrival[i - 1]) ||
            input_len[i] < 1 || output_len[i] < 1 || input_len[i] > limit || output_len[i] > limit)
            return HDA_E_RANGE;
    hda_serve_t *serve = calloc(1, sizeof *serve);
    if (serve == NULL) return HDA_E_MEMORY;
    const size_t n = (size_t)count, seqs = (size_t)hda_min64(config->max_num_seqs, count);
    serve->program = program;
    serve->config = *config;
    serve->count = count;
    serve->free_pages = config->block_count;
    serve->sequences = calloc(n, sizeof *serve->sequences);
    serve->waiting = malloc(n * sizeof(int64_t));
    serve->running = malloc(seqs * sizeof(int64_t));
    serve->scheduled = malloc(seqs * sizeof(int64_t));
    serve->q_len = malloc(seqs * sizeof(int64_t));
    serve->past = malloc(seqs * sizeof(int64_t));
    if (!serve->sequences || !serve->waiting || !serve->running || !serve->scheduled ||
        !serve->q_len || !serve->past) {
        hda_serve_destroy(serve);
        return HDA_E_MEMORY;
    }
    for (int64_t i = 0; i < count; i++)
        serve->sequences[i] = (sequence_t){.out = {-1, -1, -1, 0, 0, HDA_REQUEST_WAITING},
                                           .arrival = arrival[i],
                                           .input_len = input_len[i],
                                           .output_len = output_len[i]};
    *out = serve;
    return HDA_OK;
}

void hda_serve_destroy(hda_serve_t *serve) {
    if (serve == NULL) return;
    void *owned[] = {serve->sequences, serve->waiting, serve->running,
                     serve->scheduled, serve->q_len,   serve->past};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    free(serve);
}

static int fits_at_all(const hda_serve_t *serve, const sequence_t *s) {
    const int64_t cached = s->input_len + s->output_len - 1; /* the last token is never cached */
    if (hda_ceil_div(cached, serve->config.block_size) > serve->config.block_count) return 0;
    return serve->config.chunked_prefill || cached <= serve->config.max_num_batched_tokens;
}

static void admit_arrivals(hda_serve_t *serve) {
    while (serve->arrived < serve->count &&
           serve->sequences[serve->arrived].arrival <= serve->now) {
        sequence_t *s = &serve->sequences[serve->arrived];
        if (fits_at_all(serve, s)) {
            serve->waiting[(serve->waiting_head + serve->waiting_count++) % serve->count] =
                serve->arrived;
        } else {
            s->out.state = HDA_REQUEST_REJECTED;
            serve->finished++;
        }
        serve->arrived++;
    }
}

static void release(hda_serve_t *serve, sequence_t *s) {
    serve->free_pages += s->pages;
    s->pages = 0;
}

static void preempt_newest(hda_serve_t *serve) {
    const int64_t id = serve->running[--serve->running_count];
    sequence_t *s = &serve->sequences[id];
    release(serve, s);
    s->computed = 0;
    s->out.preemptions++;
    s->out.state = HDA_REQUEST_WAITING;
    serve->waiting_head = (serve->waiting_head + serve->count - 1) % serve->count;
    serve->waiting[serve->waiting_head] = id;
    serve->waiting_count++;
}

static void schedule(hda_serve_t *serve, int64_t id, int64_t tokens) {
    sequence_t *s = &serve->sequences[id];
    const int64_t pages = hda_ceil_div(s->computed + tokens, serve->config.block_size);
    serve->free_pages -= pages - s->pages;
    s->pages = pages;
    serve->scheduled[serve->scheduled_count] = id;
    serve->q_len[serve->scheduled_count] = tokens;
    serve->past[serve->scheduled_count++] = s->computed;
}

/* Running sequences, oldest first; returns the tokens left in the budget. */
static int64_t schedule_running(hda_serve_t *serve, int64_t *preemptions) {
    int64_t budget = serve->config.max_num_batched_tokens;
    for (int64_t i = 0; i < serve->running_count && budget > 0; i++) {
        const int64_t id = serve->running[i];
        const sequence_t *s = &serve->sequences[id];
        const int64_t tokens = hda_min64(tokens_of(s) - s->computed, budget);
        const int64_t pages =
            hda_ceil_div(s->computed + tokens, serve->config.block_size) - s->pages;
        while (pages > serve->free_pages && serve->running_count > i) {
            preempt_newest(serve);
            ++*preemptions;
        }
        if (serve->running_count <= i) break; /* it was itself the newest */
        schedule(serve, id, tokens);
        budget -= tokens;
    }
    return budget;
}

static void schedule_waiting(hda_serve_t *serve, int64_t budget) {
    while (serve->waiting_count > 0 && budget > 0 &&
           serve->running_count < serve->config.max_num_seqs) {
        const int64_t id = serve->waiting[serve->waiting_head];
        sequence_t *s = &serve->sequences[id];
        if (!serve->config.chunked_prefill && tokens_of(s) > budget) break;
        if (hda_ceil_div(tokens_of(s), serve->config.block_size) > serve->free_pages) break;
        const int64_t tokens = hda_min64(tokens_of(s), budget);
        schedule(serve, id, tokens);
        serve->waiting_head = (serve->waiting_head + 1) % serve->count;
        serve->waiting_count--;
        serve->running[serve->running_count++] = id;
        s->out.state = HDA_REQUEST_RUNNING;
        if (s->out.scheduled < 0) s->out.scheduled = serve->now;
        budget -= tokens;
    }
}

static void record_gap(hda_gap_t *gaps, int64_t start, int64_t *count, double seconds) {
    if (*count > start && gaps[*count - 1].seconds == seconds) {
        gaps[*count - 1].count++;
        return;
    }
    gaps[(*count)++] = (hda_gap_t){seconds, 1};
}

/* Tokens appear, finished sequences leave. */
static void complete(hda_serve_t *serve, hda_gap_t *gaps, int64_t *gap_count) {
    const int64_t first_gap = *gap_count;
    int finished = 0;
    for (int64_t i = 0; i < serve->scheduled_count; i++) {
        sequence_t *s = &serve->sequences[serve->scheduled[i]];
        s->computed += serve->q_len[i];
        if (s->computed < tokens_of(s)) continue;
        if (s->out.generated++ == 0)
            s->out.first_token = serve->now;
        else
            record_gap(gaps, first_gap, gap_count, serve->now - s->last_emit);
        s->last_emit = serve->now;
        if (s->out.generated < s->output_len) continue;
        s->out.last_token = serve->now;
        s->out.state = HDA_REQUEST_FINISHED;
        release(serve, s);
        serve->finished++;
        finished = 1;
    }
    if (!finished) return;
    int64_t kept = 0;
    for (int64_t i = 0; i < serve->running_count; i++)
        if (serve->sequences[serve->running[i]].out.state == HDA_REQUEST_RUNNING)
            serve->running[kept++] = serve->running[i];
    serve->running_count = kept;
}

static hda_status_t execute(hda_serve_t *serve, hda_step_record_t *record) {
    hda_batch_t batch = {serve->scheduled_count, serve->q_len, serve->past, 0};
    for (int64_t i = 0; i < serve->scheduled_count; i++) {
        const sequence_t *s = &serve->sequences[serve->scheduled[i]];
        batch.emit_count += serve->past[i] + serve->q_len[i] == tokens_of(s);
        const int decodes = serve->q_len[i] == 1 && serve->past[i] > 0;
        *(decodes ? &record->decode_tokens : &record->prefill_tokens) += serve->q_len[i];
    }
    hda_step_t step;
    const hda_status_t status = hda_program_step(serve->program, &batch, 0, &step, NULL);
    if (status != HDA_OK) return status;
    record->time = step.time;
    record->bound = step.bound;
    record->dram_bytes = step.dram_bytes;
    record->p2p_bytes = step.p2p_bytes;
    memcpy(record->macs, step.macs, sizeof record->macs);
    memcpy(record->busy, step.busy, sizeof record->busy);
    memcpy(record->limited, step.limited, sizeof record->limited);
    return HDA_OK;
}

hda_status_t hda_serve_run(hda_serve_t *serve, int64_t step_capacity, hda_step_record_t *steps,
                           int64_t *step_count, int64_t gap_capacity, hda_gap_t *gaps,
                           int64_t *gap_count) {
    *step_count = *gap_count = 0;
    const int64_t most = hda_min64(serve->config.max_num_seqs, serve->count);
    if (step_capacity < 1 || gap_capacity < most) return HDA_E_RANGE;
    while (*step_count < step_capacity && gap_capacity - *gap_count >= most) {
        admit_arrivals(serve);
        if (serve->running_count == 0 && serve->waiting_count == 0) {
            if (serve->arrived == serve->count) break;
            serve->now = serve->sequences[serve->arrived].arrival;
            continue;
        }
        hda_step_record_t *record = &steps[*step_count];
        *record = (hda_step_record_t){.start = serve->now};
        serve->scheduled_count = 0;
        const int64_t budget = schedule_running(serve, &record->preemptions);
        if (record->preemptions == 0) schedule_waiting(serve, budget);
        if (serve->scheduled_count == 0)
            continue; /* the only sequence preempted itself: it is readmitted next round */
        record->running = serve->running_count;
        record->waiting = serve->waiting_count;
        record->kv_blocks = serve->config.block_count - serve->free_pages;
        const hda_status_t status = execute(serve, record);
        if (status != HDA_OK) return status;
        serve->now += record->time;
        complete(serve, gaps, gap_count);
        ++*step_count;
    }
    return HDA_OK;
}

void hda_serve_requests(const hda_serve_t *serve, hda_request_t *requests) {
    for (int64_t i = 0; i < serve->count; i++) requests[i] = serve->sequences[i].out;
}

void hda_serve_progress(const hda_serve_t *serve, int64_t *finished, double *now) {
    *finished = serve->finished;
    *now = serve->now;
}
