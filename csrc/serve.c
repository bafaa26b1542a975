#include "serve.h"

#include <math.h>
#include <string.h>

#include "cluster.h"

/* ---- arrivals ---- */

void serve_wake(hda_serve_t *serve, instance_t *instance) {
    if (instance->woken || instance->flying > 0) return; /* else it looks when a result comes */
    instance->woken = 1;
    serve->woken[serve->woken_count++] = (int32_t)(instance - serve->instances);
}

/* A request has ended: its children come after their time. */
static void leave(hda_serve_t *serve, int64_t request) {
    serve->finished++;
    if (serve->first_child == NULL) return;
    for (int32_t c = serve->first_child[request]; c >= 0; c = serve->sibling[c])
        if (hda_heap_push(&serve->dependents, serve->now + serve->requests->arrival[c], c) !=
            HDA_OK)
            serve->status = HDA_E_MEMORY;
}

static void arrive(hda_serve_t *serve, int64_t request, double time) {
    hda_request_t *out = &serve->requests->out[request];
    out->arrival = time;
    hda_rank_t *rank = route_prefill(serve, request);
    if (rank == NULL) {
        out->state = HDA_REQUEST_REJECTED;
        leave(serve, request);
        return;
    }
    out->rank = out->decode_rank = rank->index;
    hda_rank_enqueue(rank, request);
    serve_wake(serve, instance_of(serve, rank));
}

/* The next request that waits for no other, if any. */
static int next_arrival(hda_serve_t *serve, double *time) {
    const hda_requests_t *r = serve->requests;
    while (serve->arrived < r->count && r->parent != NULL && r->parent[serve->arrived] >= 0)
        serve->arrived++;
    if (serve->arrived == r->count) return 0;
    *time = r->arrival[serve->arrived];
    return 1;
}

static void admit_arrivals(hda_serve_t *serve) {
    double time;
    while (next_arrival(serve, &time) && time <= serve->now) arrive(serve, serve->arrived++, time);
    while (serve->dependents.count > 0 && serve->dependents.events[0].time <= serve->now) {
        const hda_event_t event = hda_heap_pop(&serve->dependents);
        arrive(serve, event.id, event.time);
    }
}

/* ---- steps ---- */

static void add(hda_step_t *sum, const hda_step_t *step) {
    sum->bound = hda_fmax(sum->bound, step->bound);
    sum->dram_bytes += step->dram_bytes;
    sum->p2p_bytes += step->p2p_bytes;
    for (int i = 0; i < 2; i++) sum->macs[i] += step->macs[i];
    for (int i = 0; i < 2; i++) sum->exposed_communication[i] += step->exposed_communication[i];
    for (int i = 0; i < HDA_UNIT_COUNT; i++) sum->busy[i] += step->busy[i];
    for (int i = 0; i < HDA_ENERGY_COUNT; i++) sum->energy[i] += step->energy[i];
    for (int i = 0; i < 2; i++) sum->phase_energy[i] += step->phase_energy[i];
}

/* What stands whatever runs draws power in ranks that wait for the slowest, too. */
static void wait_for_slowest(const hda_program_t *program, int64_t ranks, double prompts,
                             hda_step_t *step) {
    const double standing = hda_program_energy(program)->standing;
    const double more = standing * (double)ranks * step->time - step->energy[HDA_ENERGY_STATIC];
    step->energy[HDA_ENERGY_STATIC] += more;
    step->phase_energy[0] += prompts * more;
    step->phase_energy[1] += (1 - prompts) * more;
}

/* One program with the batches of all ranks: sums, but time and what limits it are those of the slowest. */
static hda_status_t execute_ranks(const instance_t *instance, hda_program_t *program,
                                  const flight_t *flight, hda_step_t *step) {
    const int64_t ranks = instance->spec.rank_count;
    int64_t tokens = 0, prompts = 0;
    for (int64_t r = 0; ranks > 1 && r < ranks; r++) {
        tokens += flight->batches[r].prefill_tokens + flight->batches[r].decode_tokens;
        prompts += flight->batches[r].prefill_tokens;
    }
    for (int64_t r = 0; r < ranks; r++) {
        const hda_rank_batch_t *b = &flight->batches[r];
        const hda_batch_t batch = {b->count, b->q_len, b->past, b->emit_count, tokens};
        hda_step_t own = {0};
        hda_step_t *result = r == 0 ? step : &own;
        hda_status_t status = HDA_OK;
        if (instance->spec.profile == NULL)
            status = hda_program_step(program, &batch, 0, result, NULL);
        else if (b->count > 0)
            status = hda_profile_step(instance->spec.profile, &batch, result);
        else
            *result = own; /* no slower than the others, which have tokens */
        if (status != HDA_OK) return status;
        if (r == 0) continue;
        add(step, &own);
        if (own.time <= step->time) continue;
        step->time = own.time;
        memcpy(step->limited, own.limited, sizeof own.limited);
    }
    if (ranks > 1 && program != NULL)
        wait_for_slowest(program, ranks, (double)prompts / (double)tokens, step);
    return HDA_OK;
}

static double watts(const hda_step_t *step, int64_t devices) {
    double joules = 0;
    for (int i = 0; i < HDA_ENERGY_COUNT; i++) joules += step->energy[i];
    return step->time > 0 ? joules / (step->time * (double)devices) : 0;
}

static void record(hda_step_record_t *record, const hda_step_t *step, const hda_instance_t *spec) {
    const double devices = (double)hda_max64(spec->device_count, 1);
    record->bound += step->bound;
    record->dram_bytes += step->dram_bytes;
    record->p2p_bytes += step->p2p_bytes;
    for (int i = 0; i < 2; i++) record->macs[i] += step->macs[i];
    record->exposed_noc += step->exposed_communication[0];
    for (int i = 0; i < HDA_UNIT_COUNT; i++) record->busy[i] += step->busy[i];
    for (int i = 0; i < HDA_BY_COUNT; i++) record->limited[i] += step->limited[i];
    for (int i = 0; i < HDA_ENERGY_COUNT; i++) record->energy[i] += devices * step->energy[i];
    for (int i = 0; i < 2; i++) record->phase_energy[i] += devices * step->phase_energy[i];
    record->power = hda_fmax(record->power, watts(step, spec->rank_count));
}

/* Through all stages and links, each of which takes the batch when it is there and the one before has left. */
static hda_status_t execute(hda_serve_t *serve, instance_t *instance, flight_t *flight) {
    const double ready =
        hda_fmax(serve->now, instance->host_free_at) + instance->spec.config.host_overhead;
    instance->host_free_at = ready;
    const double start = hda_fmax(ready, instance->free_at[0]);
    double clock = start;
    for (int64_t i = 0; i < instance->spec.program_count; i++) {
        hda_step_t *step = &instance->results[instance->first[i]];
        if (instance->first[i] == i) {
            const hda_status_t status =
                execute_ranks(instance, instance->programs[i], flight, step);
            if (status != HDA_OK) return status;
        }
        record(&flight->record, step, &instance->spec);
        flight->times[i] = step->time;
        clock = instance->free_at[i] = hda_fmax(clock, instance->free_at[i]) + step->time;
    }
    flight->finish = clock;
    flight->record.start = start;
    flight->record.time = instance->spec.program_count == 1 ? flight->times[0] : clock - start;
    return HDA_OK;
}

static hda_status_t schedule(hda_serve_t *serve, hda_rank_t *rank, hda_rank_batch_t *batch) {
    batch->count = batch->emit_count = batch->prefill_tokens = batch->decode_tokens = 0;
    hda_rank_take_in(rank, serve->now);
    if (rank->config.policy != HDA_POLICY_CUSTOM)
        return hda_policy_schedule(rank, batch, serve->now);
    rank->preempted = 0;
    const hda_status_t status = serve->custom(serve->context, rank, batch, serve->now);
    return status == HDA_OK ? rank->status : status;
}

/* Schedule a batch and send it off. *sent == 0: there was nothing to schedule; *again: because the only sequence preempted itself. */
static hda_status_t send(hda_serve_t *serve, instance_t *instance, int *sent, int *again) {
    int64_t slot = instance->oldest + instance->flying;
    if (slot >= instance->most_flying) slot -= instance->most_flying;
    flight_t *flight = &instance->flights[slot];
    hda_step_record_t *own = &flight->record;
    *own = (hda_step_record_t){.instance = instance - serve->instances};
    *sent = *again = 0;
    for (int64_t r = 0; r < instance->spec.rank_count; r++) {
        const hda_status_t status = schedule(serve, &instance->ranks[r], &flight->batches[r]);
        if (status != HDA_OK) return status;
        *sent |= flight->batches[r].count > 0;
        *again |= instance->ranks[r].preempted > 0;
    }
    if (!*sent) return HDA_OK;
    for (int64_t r = 0; r < instance->spec.rank_count; r++) {
        hda_rank_t *rank = &instance->ranks[r];
        own->prefill_tokens += flight->batches[r].prefill_tokens;
        own->decode_tokens += flight->batches[r].decode_tokens;
        own->running += rank->running_count;
        own->waiting += rank->waiting_count + rank->incoming_count;
        own->kv_blocks += rank->config.block_count - rank->kv.free_count;
        own->preemptions += rank->preemptions;
        rank->preemptions = 0;
    }
    const hda_status_t status = execute(serve, instance, flight);
    if (status != HDA_OK) return status;
    if (instance->flying++ > 0) return HDA_OK;
    return hda_heap_push(&serve->events, flight->finish, instance - serve->instances);
}

static hda_status_t send_all(hda_serve_t *serve, instance_t *instance) {
    int tried = 0;
    while (instance->flying < instance->most_flying) {
        int sent, again;
        const hda_status_t status = send(serve, instance, &sent, &again);
        if (status != HDA_OK) return status;
        if (sent) continue;
        if (!again || instance->flying > 0 || tried++) break;
    }
    return HDA_OK;
}

static void total(instance_t *instance, const hda_step_record_t *r, double finish) {
    hda_instance_totals_t *t = &instance->totals;
    t->steps++;
    t->preemptions += r->preemptions;
    t->max_running = hda_max64(t->max_running, r->running);
    t->max_waiting = hda_max64(t->max_waiting, r->waiting);
    t->max_kv_blocks = hda_max64(t->max_kv_blocks, r->kv_blocks);
    t->time += r->time;
    t->occupied += t->end <= r->start ? r->time : finish - t->end;
    t->end = finish;
    t->running += (double)r->running * r->time;
    t->waiting += (double)r->waiting * r->time;
    t->kv_blocks += (double)r->kv_blocks * r->time;
    t->bound += r->bound;
    t->dram_bytes += r->dram_bytes;
    t->p2p_bytes += r->p2p_bytes;
    t->exposed_noc += r->exposed_noc;
    for (int i = 0; i < 2; i++) t->macs[i] += r->macs[i];
    for (int i = 0; i < HDA_UNIT_COUNT; i++) t->busy[i] += r->busy[i];
    for (int i = 0; i < HDA_BY_COUNT; i++) t->limited[i] += r->limited[i];
    for (int i = 0; i < HDA_ENERGY_COUNT; i++) t->energy[i] += r->energy[i];
    for (int i = 0; i < 2; i++) t->phase_energy[i] += r->phase_energy[i];
    t->max_power = hda_fmax(t->max_power, r->power);
    if (instance->power_limit > 0 && r->power > instance->power_limit) t->over_limit += r->time;
}

/* What its sequences that have generated all that they had to leave behind. */
static void dismiss(hda_serve_t *serve, hda_rank_t *rank, int64_t ended) {
    for (int64_t i = 0; i < ended; i++) {
        const hda_sequence_t *s = &rank->sequences[serve->ended[i]];
        if (s->phase == HDA_AWAY) {
            transfer_start(serve, rank, serve->ended[i]);
        } else if (s->phase == HDA_ENDED) {
            route_left(serve, s->request, rank);
            leave(serve, s->request);
        }
    }
}

/* Take the result of the oldest batch of the instance that is next. */
static hda_status_t receive(hda_serve_t *serve, hda_step_record_t *steps, hda_gap_t *gaps,
                            int64_t *gap_count) {
    instance_t *instance = &serve->instances[hda_heap_pop(&serve->events).id];
    const flight_t *flight = &instance->flights[instance->oldest];
    if (++instance->oldest == instance->most_flying) instance->oldest = 0;
    instance->flying--;
    for (int64_t r = 0; r < instance->spec.rank_count; r++) {
        int64_t ended;
        hda_rank_complete(&instance->ranks[r], &flight->batches[r], serve->now, gaps, gap_count,
                          serve->ended, &ended);
        route_prefilled(serve, &instance->ranks[r], &flight->batches[r]);
        if (ended > 0) dismiss(serve, &instance->ranks[r], ended);
        if (instance->ranks[r].incoming_count > 0) transfer_pull(serve, &instance->ranks[r]);
    }
    if (steps != NULL) *steps = flight->record;
    total(instance, &flight->record, flight->finish);
    for (int64_t i = 0; i < instance->spec.program_count; i++) instance->ran[i] += flight->times[i];
    if (!instance->woken) {
        instance->woken = 1;
        serve->woken[serve->woken_count++] = (int32_t)(instance - serve->instances);
    }
    if (instance->flying == 0) return HDA_OK;
    return hda_heap_push(&serve->events, instance->flights[instance->oldest].finish,
                         instance - serve->instances);
}

/* The next moment at which something may happen; infinite if none. */
static double next_event(hda_serve_t *serve) {
    double next = INFINITY, time;
    if (next_arrival(serve, &time)) next = time;
    const hda_heap_t *heaps[] = {&serve->events, &serve->dependents, &serve->sending};
    for (int i = 0; i < 3; i++)
        if (heaps[i]->count > 0) next = hda_fmin(next, heaps[i]->events[0].time);
    return next;
}

static hda_status_t send_woken(hda_serve_t *serve) {
    for (int64_t i = 0; i < serve->woken_count; i++) {
        instance_t *instance = &serve->instances[serve->woken[i]];
        instance->woken = 0;
        const hda_status_t status = send_all(serve, instance);
        if (status != HDA_OK) return status;
    }
    serve->woken_count = 0;
    return HDA_OK;
}

hda_status_t hda_serve_run(hda_serve_t *serve, int64_t step_capacity, hda_step_record_t *steps,
                           int64_t *step_count, int64_t gap_capacity, hda_gap_t *gaps,
                           int64_t *gap_count) {
    *step_count = *gap_count = 0;
    if (step_capacity < 1 || gap_capacity < serve->most_gaps) return HDA_E_RANGE;
    while (*step_count < step_capacity && gap_capacity - *gap_count >= serve->most_gaps) {
        if (serve->events.count > 0 && serve->events.events[0].time <= serve->now) {
            const hda_status_t status =
                receive(serve, steps ? &steps[*step_count] : NULL, gaps, gap_count);
            if (status != HDA_OK) return status;
            ++*step_count;
            continue;
        }
        while (serve->sending.count > 0 && serve->sending.events[0].time <= serve->now)
            transfer_end(serve, hda_heap_pop(&serve->sending).id);
        admit_arrivals(serve);
        const hda_status_t status = send_woken(serve);
        if (status != HDA_OK) return status;
        if (serve->status != HDA_OK) return serve->status;
        const int idle = serve->events.count == 0 && serve->sending.count == 0;
        if (idle && transfer_unstick(serve)) continue;
        const double next = next_event(serve);
        if (isinf(next)) break;
        serve->now = next;
    }
    return HDA_OK;
}

/* ---- results ---- */

int64_t hda_serve_most_gaps(const hda_serve_t *serve) { return serve->most_gaps; }

void hda_serve_snapshot(hda_serve_t *serve) {
    for (int64_t i = 0; i < serve->rank_count; i++) hda_rank_snapshot(&serve->ranks[i]);
}

void hda_serve_progress(const hda_serve_t *serve, int64_t *finished, double *now) {
    *finished = serve->finished;
    *now = serve->now;
}

void hda_serve_totals(const hda_serve_t *serve, hda_instance_totals_t *totals) {
    for (int64_t i = 0; i < serve->instance_count; i++) totals[i] = serve->instances[i].totals;
}

void hda_serve_busy(const hda_serve_t *serve, int64_t instance, double *busy) {
    const instance_t *own = &serve->instances[instance];
    memcpy(busy, own->ran, (size_t)own->spec.program_count * sizeof *busy);
}
