#include "serve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    hda_request_t out;
    double last_emit;
    int64_t input_len, output_len;
    int64_t
        computed; /* tokens whose keys and values are cached, those of a batch in flight included */
    int64_t pages;
    int64_t in_flight; /* in a batch whose result has not come yet */
} sequence_t;

/* A scheduled batch, from then until its result comes. */
typedef struct {
    int64_t *ids, *q_len, *past;
    int64_t count, emit_count;
    double finish;
    double *times; /* seconds on each program */
    hda_step_record_t record;
} flight_t;

struct hda_serve {
    hda_program_t **programs; /* stages, with links between them */
    int64_t *first;           /* per program: the first one that is the same */
    int64_t program_count;
    double *free_at, *busy; /* per program: when it can take a batch, and how long it has run */
    hda_step_t *results;    /* per program, of the batch being executed */
    flight_t *flights;      /* ring of `stages` slots */
    int64_t stages, oldest, flying;
    hda_serve_config_t config;
    sequence_t *sequences;
    double *arrival; /* per sequence */
    int64_t count, arrived, finished;
    int64_t *running, running_count;
    int64_t *waiting, waiting_head,
        waiting_count; /* ring of `count` slots; preempted ones return to its head */
    int64_t free_pages;
    int64_t preemptions; /* since the last scheduled batch */
    double now;
};

static int64_t tokens_of(const sequence_t *s) { return s->input_len + s->out.generated; }

static int allocate_sequences(hda_serve_t *serve) {
    const size_t n = (size_t)serve->count;
    const size_t seqs = (size_t)hda_min64(serve->config.max_num_seqs, serve->count);
    serve->sequences = calloc(n, sizeof *serve->sequences);
    serve->arrival = malloc(n * sizeof(double));
    serve->waiting = malloc(n * sizeof(int64_t));
    serve->running = malloc(seqs * sizeof(int64_t));
    return serve->sequences && serve->arrival && serve->waiting && serve->running;
}

static int allocate_pipeline(hda_serve_t *serve) {
    const size_t programs = (size_t)serve->program_count, stages = (size_t)serve->stages;
    const size_t seqs = (size_t)hda_min64(serve->config.max_num_seqs, serve->count);
    serve->programs = malloc(programs * sizeof *serve->programs);
    serve->first = malloc(programs * sizeof(int64_t));
    serve->free_at = calloc(programs, sizeof(double));
    serve->busy = calloc(programs, sizeof(double));
    serve->results = malloc(programs * sizeof *serve->results);
    serve->flights = calloc(stages, sizeof *serve->flights);
    if (!serve->programs || !serve->first || !serve->free_at || !serve->busy || !serve->results ||
        !serve->flights)
        return 0;
    for (size_t i = 0; i < stages; i++) {
        flight_t *flight = &serve->flights[i];
        flight->ids = malloc(3 * seqs * sizeof(int64_t));
        flight->times = malloc(programs * sizeof(double));
        if (!flight->ids || !flight->times) return 0;
        flight->q_len = flight->ids + seqs;
        flight->past = flight->q_len + seqs;
    }
    return 1;
}

static void set_programs(hda_serve_t *serve, hda_program_t *const *programs) {
    for (int64_t i = 0; i < serve->program_count; i++) {
        serve->programs[i] = programs[i];
        serve->first[i] = 0;
        while (programs[serve->first[i]] != programs[i]) serve->first[i]++;
    }
}

hda_status_t hda_serve_create(hda_program_t *const *programs, int64_t program_count,
                              const hda_serve_config_t *config, int64_t count,
                              const double *arrival, const int64_t *input_len,
                              const int64_t *output_len, hda_serve_t **out) {
    *out = NULL;
    const int64_t limit = (int64_t)1 << 35;
    if (count < 1 || config->max_num_seqs < 1 || config->max_num_batched_tokens < 1 ||
        config->block_size < 1 || config->block_count < 0 || program_count < 1 ||
        program_count % 2 == 0 || program_count > (int64_t)1 << 20)
        return HDA_E_RANGE;
    for (int64_t i = 0; i < count; i++)
        if (!(arrival[i] >= 0) || isinf(arrival[i]) || (i > 0 && arrival[i] < arrival[i - 1]) ||
            input_len[i] < 1 || output_len[i] < 1 || input_len[i] > limit || output_len[i] > limit)
            return HDA_E_RANGE;
    hda_serve_t *serve = calloc(1, sizeof *serve);
    if (serve == NULL) return HDA_E_MEMORY;
    serve->config = *config;
    serve->count = count;
    serve->program_count = program_count;
    serve->stages = (program_count + 1) / 2;
    serve->free_pages = config->block_count;
    if (!allocate_sequences(serve) || !allocate_pipeline(serve)) {
        hda_serve_destroy(serve);
        return HDA_E_MEMORY;
    }
    set_programs(serve, programs);
    memcpy(serve->arrival, arrival, (size_t)count * sizeof *arrival);
    for (int64_t i = 0; i < count; i++)
        serve->sequences[i] = (sequence_t){.out = {-1, -1, -1, 0, 0, HDA_REQUEST_WAITING},
                                           .input_len = input_len[i],
                                           .output_len = output_len[i]};
    *out = serve;
    return HDA_OK;
}

void hda_serve_destroy(hda_serve_t *serve) {
    if (serve == NULL) return;
    for (int64_t i = 0; serve->flights != NULL && i < serve->stages; i++) {
        free(serve->flights[i].ids);
        free(serve->flights[i].times);
    }
    void *owned[] = {serve->sequences, serve->arrival, serve->waiting, serve->running,
                     serve->programs,  serve->first,   serve->free_at, serve->busy,
                     serve->results,   serve->flights};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    free(serve);
}

static int fits_at_all(const hda_serve_t *serve, const sequence_t *s) {
    const int64_t cached = s->input_len + s->output_len - 1; /* the last token is never cached */
    if (hda_ceil_div(cached, serve->config.block_size) > serve->config.block_count) return 0;
    return serve->config.chunked_prefill || cached <= serve->config.max_num_batched_tokens;
}

static void admit_arrivals(hda_serve_t *serve) {
    while (serve->arrived < serve->count && serve->arrival[serve->arrived] <= serve->now) {
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

/* The newest running sequence returns to the head of the queue; the tokens of its batch in flight, if any, are computed again. */
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
    serve->preemptions++;
}

/* Put `tokens` of a sequence into the batch; it will hold `pages`. */
static void schedule(hda_serve_t *serve, flight_t *flight, int64_t id, int64_t tokens,
                     int64_t pages) {
    sequence_t *s = &serve->sequences[id];
    const int64_t past = s->computed, i = flight->count++;
    serve->free_pages -= pages - s->pages;
    s->pages = pages;
    s->computed = past + tokens;
    s->in_flight = 1;
    flight->ids[i] = id;
    flight->q_len[i] = tokens;
    flight->past[i] = past;
    flight->emit_count += past + tokens == tokens_of(s);
    if (tokens == 1 && past > 0)
        flight->record.decode_tokens++;
    else
        flight->record.prefill_tokens += tokens;
}

/* Running sequences that are in no batch, oldest first; returns the tokens left in the budget. */
static int64_t schedule_running(hda_serve_t *serve, flight_t *flight) {
    int64_t budget = serve->config.max_num_batched_tokens;
    for (int64_t i = 0; i < serve->running_count && budget > 0; i++) {
        const int64_t id = serve->running[i];
        const sequence_t *s = &serve->sequences[id];
        if (s->in_flight) continue;
        const int64_t tokens = hda_min64(tokens_of(s) - s->computed, budget);
        const int64_t pages = hda_ceil_div(s->computed + tokens, serve->config.block_size);
        const int64_t more = pages - s->pages;
        while (more > serve->free_pages && serve->running_count > i) preempt_newest(serve);
        if (serve->running_count <= i) break; /* it was itself the newest */
        schedule(serve, flight, id, tokens, pages);
        budget -= tokens;
    }
    return budget;
}

static void schedule_waiting(hda_serve_t *serve, flight_t *flight, int64_t budget) {
    while (serve->waiting_count > 0 && budget > 0 &&
           serve->running_count < serve->config.max_num_seqs) {
        const int64_t id = serve->waiting[serve->waiting_head];
        sequence_t *s = &serve->sequences[id];
        if (s->in_flight) break;
        if (!serve->config.chunked_prefill && tokens_of(s) > budget) break;
        if (hda_ceil_div(tokens_of(s), serve->config.block_size) > serve->free_pages) break;
        const int64_t tokens = hda_min64(tokens_of(s), budget);
        schedule(serve, flight, id, tokens, hda_ceil_div(tokens, serve->config.block_size));
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

/* Take out a sequence that ended after it was preempted; it is near the head, where preempted ones return to. */
static void leave_queue(hda_serve_t *serve, int64_t id) {
    int64_t *ring = serve->waiting, at = serve->waiting_head;
    while (ring[at] != id) at = (at + 1) % serve->count;
    for (; at != serve->waiting_head; at = (at + serve->count - 1) % serve->count)
        ring[at] = ring[(at + serve->count - 1) % serve->count];
    serve->waiting_head = (serve->waiting_head + 1) % serve->count;
    serve->waiting_count--;
}

static void leave_running(hda_serve_t *serve) {
    int64_t kept = 0;
    for (int64_t i = 0; i < serve->running_count; i++)
        if (serve->sequences[serve->running[i]].out.state == HDA_REQUEST_RUNNING)
            serve->running[kept++] = serve->running[i];
    serve->running_count = kept;
}

/* Tokens of a batch appear, finished sequences leave. */
static void complete(hda_serve_t *serve, const flight_t *flight, hda_gap_t *gaps,
                     int64_t *gap_count) {
    const int64_t first_gap = *gap_count;
    int finished = 0;
    for (int64_t i = 0; i < flight->count; i++) {
        sequence_t *s = &serve->sequences[flight->ids[i]];
        s->in_flight = 0;
        if (flight->past[i] + flight->q_len[i] < tokens_of(s)) continue;
        if (s->out.generated++ == 0)
            s->out.first_token = serve->now;
        else
            record_gap(gaps, first_gap, gap_count, serve->now - s->last_emit);
        s->last_emit = serve->now;
        if (s->out.generated < s->output_len) continue;
        if (s->out.state == HDA_REQUEST_WAITING)
            leave_queue(serve, flight->ids[i]);
        else
            finished = 1;
        s->out.last_token = serve->now;
        s->out.state = HDA_REQUEST_FINISHED;
        release(serve, s);
        serve->finished++;
    }
    if (finished) leave_running(serve);
}

static void add(hda_step_record_t *record, const hda_step_t *step) {
    record->bound += step->bound;
    record->dram_bytes += step->dram_bytes;
    record->p2p_bytes += step->p2p_bytes;
    for (int i = 0; i < 2; i++) record->macs[i] += step->macs[i];
    record->exposed_noc += step->exposed_communication[0];
    for (int i = 0; i < HDA_UNIT_COUNT; i++) record->busy[i] += step->busy[i];
    for (int i = 0; i < HDA_BY_COUNT; i++) record->limited[i] += step->limited[i];
}

/* Through all stages and links, each of which takes the batch when it is there and the one before has left. */
static hda_status_t execute(hda_serve_t *serve, flight_t *flight) {
    hda_step_record_t *record = &flight->record;
    const hda_batch_t batch = {flight->count, flight->q_len, flight->past, flight->emit_count, 0};
    double clock = serve->now;
    for (int64_t i = 0; i < serve->program_count; i++) {
        hda_step_t *step = &serve->results[serve->first[i]];
        if (serve->first[i] == i) {
            const hda_status_t status = hda_program_step(serve->programs[i], &batch, 0, step, NULL);
            if (status != HDA_OK) return status;
        }
        add(record, step);
        flight->times[i] = step->time;
        clock = serve->free_at[i] = hda_fmax(clock, serve->free_at[i]) + step->time;
    }
    flight->finish = clock;
    record->time = serve->program_count == 1 ? flight->times[0] : clock - serve->now;
    return HDA_OK;
}

/* Schedule a batch and send it off. *sent == 0: there was nothing to schedule. */
static hda_status_t send(hda_serve_t *serve, int *sent) {
    int64_t slot = serve->oldest + serve->flying;
    if (slot >= serve->stages) slot -= serve->stages;
    flight_t *flight = &serve->flights[slot];
    flight->count = flight->emit_count = 0;
    flight->record = (hda_step_record_t){.start = serve->now};
    const int64_t before = serve->preemptions;
    const int64_t budget = schedule_running(serve, flight);
    if (serve->preemptions == before) schedule_waiting(serve, flight, budget);
    *sent = flight->count > 0;
    if (!*sent) return HDA_OK;
    flight->record.running = serve->running_count;
    flight->record.waiting = serve->waiting_count;
    flight->record.kv_blocks = serve->config.block_count - serve->free_pages;
    flight->record.preemptions = serve->preemptions;
    serve->preemptions = 0;
    const hda_status_t status = execute(serve, flight);
    if (status == HDA_OK) serve->flying++;
    return status;
}

/* Take the result of the oldest batch. */
static void receive(hda_serve_t *serve, hda_step_record_t *record, hda_gap_t *gaps,
                    int64_t *gap_count) {
    const flight_t *flight = &serve->flights[serve->oldest];
    complete(serve, flight, gaps, gap_count);
    *record = flight->record;
    for (int64_t i = 0; i < serve->program_count; i++) serve->busy[i] += flight->times[i];
    if (++serve->oldest == serve->stages) serve->oldest = 0;
    serve->flying--;
}

static int can_send(const hda_serve_t *serve) {
    return serve->flying < serve->stages && serve->free_at[0] <= serve->now;
}

/* The next moment at which something may happen: a result, a free first stage, or an arrival that need not wait for either; infinite if none. */
static double next_event(const hda_serve_t *serve) {
    double next = INFINITY;
    if (serve->flying > 0) next = serve->flights[serve->oldest].finish;
    if (serve->flying == serve->stages) return next;
    if (serve->free_at[0] > serve->now) return hda_fmin(next, serve->free_at[0]);
    if (serve->arrived < serve->count) next = hda_fmin(next, serve->arrival[serve->arrived]);
    return next;
}

hda_status_t hda_serve_run(hda_serve_t *serve, int64_t step_capacity, hda_step_record_t *steps,
                           int64_t *step_count, int64_t gap_capacity, hda_gap_t *gaps,
                           int64_t *gap_count) {
    *step_count = *gap_count = 0;
    const int64_t most = hda_min64(serve->config.max_num_seqs, serve->count);
    if (step_capacity < 1 || gap_capacity < most) return HDA_E_RANGE;
    while (*step_count < step_capacity && gap_capacity - *gap_count >= most) {
        if (serve->flying > 0 && serve->flights[serve->oldest].finish <= serve->now) {
            receive(serve, &steps[*step_count], gaps, gap_count);
            ++*step_count;
            continue;
        }
        admit_arrivals(serve);
        if (can_send(serve) && serve->running_count + serve->waiting_count > 0) {
            const int64_t before = serve->preemptions;
            int sent;
            const hda_status_t status = send(serve, &sent);
            if (status != HDA_OK) return status;
            if (!sent && serve->preemptions > before)
                continue; /* the only one preempted itself: it may be readmitted */
        }
        const double next = next_event(serve);
        if (isinf(next)) break;
        serve->now = next;
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

void hda_serve_busy(const hda_serve_t *serve, double *busy) {
    memcpy(busy, serve->busy, (size_t)serve->program_count * sizeof *busy);
}
