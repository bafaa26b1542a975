/* Setting up and taking down what the event loop works on. */
#include "cluster.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static hda_status_t check(const hda_instance_t *instances, int64_t instance_count, int32_t router,
                          const hda_requests_t *r) {
    const int64_t limit = (int64_t)1 << 35;
    if (r->count < 1 || r->count > INT32_MAX - 1 || instance_count < 1 ||
        instance_count > (int64_t)1 << 20 || router < 0 || router > HDA_ROUTE_SPLITWISE)
        return HDA_E_RANGE;
    for (int64_t i = 0; i < instance_count; i++) {
        const hda_instance_t *s = &instances[i];
        const hda_serve_config_t *c = &s->config;
        if (c->max_num_seqs < 1 || c->max_num_batched_tokens < 1 || c->block_size < 1 ||
            c->block_count < 0 || c->block_count > INT32_MAX - 1 || !(c->host_overhead >= 0) ||
            isinf(c->host_overhead) || c->policy < 0 || c->policy > HDA_POLICY_CUSTOM ||
            s->program_count < 1 || (s->profile != NULL && s->program_count != 1) ||
            s->program_count % 2 == 0 || s->program_count > (int64_t)1 << 20 || s->rank_count < 1 ||
            s->rank_count > (int64_t)1 << 20 || s->device_count < 0 ||
            s->device_count > (int64_t)1 << 20 || s->role < 0 || s->role > HDA_ROLE_DECODE ||
            !(s->kv_bytes >= 0) || !(s->kv_bytes <= 1e18) || !(s->kv_bandwidth >= 1) ||
            !(s->kv_latency >= 0) || isinf(s->kv_latency) || !(s->kv_overlap >= 0) ||
            !(s->kv_overlap <= 1))
            return HDA_E_RANGE;
        if (r->hash_offsets != NULL && c->prefix_caching &&
            (r->hash_block < 1 ||
             (r->hash_block % c->block_size != 0 && c->block_size % r->hash_block != 0)))
            return HDA_E_RANGE;
    }
    double last = 0;
    for (int64_t i = 0; i < r->count; i++) {
        const int64_t parent = r->parent == NULL ? -1 : r->parent[i];
        if (!(r->arrival[i] >= 0) || isinf(r->arrival[i]) || parent >= i || parent < -1 ||
            (parent < 0 && r->arrival[i] < last) || r->input_len[i] < 1 || r->output_len[i] < 1 ||
            r->input_len[i] > limit || r->output_len[i] > limit)
            return HDA_E_RANGE;
        if (parent < 0) last = r->arrival[i];
    }
    return HDA_OK;
}

static hda_status_t create_batch(hda_rank_batch_t *batch, size_t seqs) {
    batch->q_len = malloc(seqs * (2 * sizeof(int64_t) + sizeof(int32_t) + 1));
    if (batch->q_len == NULL) return HDA_E_MEMORY;
    batch->past = batch->q_len + seqs;
    batch->slots = (int32_t *)(batch->past + seqs);
    batch->emits = (uint8_t *)(batch->slots + seqs);
    return HDA_OK;
}

static hda_status_t create_instance(hda_serve_t *serve, instance_t *instance,
                                    const hda_instance_t *spec) {
    const size_t programs = (size_t)spec->program_count;
    instance->spec = *spec;
    instance->most_flying =
        hda_max64((spec->program_count + 1) / 2, spec->config.async_scheduling ? 2 : 1);
    instance->programs = malloc(programs * sizeof *instance->programs);
    instance->first = malloc(programs * sizeof *instance->first);
    instance->free_at = calloc(programs, sizeof(double));
    instance->ran = calloc(programs, sizeof(double));
    instance->results = malloc(programs * sizeof *instance->results);
    instance->flights = calloc((size_t)instance->most_flying, sizeof *instance->flights);
    if (!instance->programs || !instance->first || !instance->free_at || !instance->ran ||
        !instance->results || !instance->flights)
        return HDA_E_MEMORY;
    for (int64_t i = 0; i < spec->program_count; i++) {
        instance->first[i] = 0;
        instance->programs[i] = spec->profile ? NULL : spec->programs[i];
        while (instance->programs[instance->first[i]] != instance->programs[i])
            instance->first[i]++;
    }
    if (spec->profile == NULL)
        instance->power_limit = hda_program_energy(spec->programs[0])->power_limit;
    const int64_t seqs = hda_min64(spec->config.max_num_seqs, serve->requests->count);
    for (int64_t i = 0; i < instance->most_flying; i++) {
        flight_t *flight = &instance->flights[i];
        flight->times = malloc(programs * sizeof(double));
        flight->batches = calloc((size_t)spec->rank_count, sizeof *flight->batches);
        if (!flight->times || !flight->batches) return HDA_E_MEMORY;
        for (int64_t r = 0; r < spec->rank_count; r++)
            if (create_batch(&flight->batches[r], (size_t)seqs) != HDA_OK) return HDA_E_MEMORY;
    }
    return HDA_OK;
}

static hda_status_t create_ranks(hda_serve_t *serve) {
    const size_t count = (size_t)serve->rank_count;
    int64_t most = 0;
    serve->ranks = calloc(count, sizeof *serve->ranks);
    serve->instance_of = malloc(count * sizeof(int32_t));
    serve->role = malloc(count * sizeof(int32_t));
    serve->pending = calloc(count, sizeof(double));
    serve->memory = calloc(count, sizeof(double));
    if (!serve->ranks || !serve->instance_of || !serve->role || !serve->pending || !serve->memory)
        return HDA_E_MEMORY;
    int32_t at = 0;
    for (int64_t i = 0; i < serve->instance_count; i++) {
        instance_t *instance = &serve->instances[i];
        instance->ranks = &serve->ranks[at];
        for (int64_t r = 0; r < instance->spec.rank_count; r++, at++) {
            serve->instance_of[at] = (int32_t)i;
            serve->role[at] = instance->spec.role;
            hda_rank_t *rank = &serve->ranks[at];
            if (hda_rank_init(rank, serve->requests, &instance->spec.config, at) != HDA_OK)
                return HDA_E_MEMORY;
            rank->prefill_only =
                serve->router != HDA_ROUTE_SPLITWISE && instance->spec.role == HDA_ROLE_PREFILL;
            most = hda_max64(most, rank->running_capacity);
            serve->most_gaps =
                hda_max64(serve->most_gaps, rank->running_capacity * instance->spec.rank_count);
        }
    }
    serve->ended = malloc((size_t)most * sizeof(int32_t));
    return serve->ended ? HDA_OK : HDA_E_MEMORY;
}

static hda_status_t create_children(hda_serve_t *serve) {
    const hda_requests_t *r = serve->requests;
    if (r->parent == NULL) return HDA_OK;
    const size_t bytes = (size_t)r->count * sizeof(int32_t);
    serve->first_child = malloc(bytes);
    serve->sibling = malloc(bytes);
    if (!serve->first_child || !serve->sibling) return HDA_E_MEMORY;
    memset(serve->first_child, -1, bytes);
    for (int64_t i = r->count - 1; i >= 0; i--) {
        if (r->parent[i] < 0) continue;
        serve->sibling[i] = serve->first_child[r->parent[i]];
        serve->first_child[r->parent[i]] = (int32_t)i;
    }
    return HDA_OK;
}

static hda_status_t create(hda_serve_t *serve, const hda_instance_t *instances) {
    serve->instances = calloc((size_t)serve->instance_count, sizeof *serve->instances);
    serve->woken = malloc((size_t)serve->instance_count * sizeof(int32_t));
    if (!serve->instances || !serve->woken) return HDA_E_MEMORY;
    for (int64_t i = 0; i < serve->instance_count; i++) {
        serve->rank_count += instances[i].rank_count;
        const hda_status_t status = create_instance(serve, &serve->instances[i], &instances[i]);
        if (status != HDA_OK) return status;
    }
    if (serve->router == HDA_ROUTE_SPLITWISE) {
        serve->decoder = calloc((size_t)serve->requests->count, sizeof(int32_t));
        if (serve->decoder == NULL) return HDA_E_MEMORY;
    }
    serve->requests->decoder = serve->decoder;
    const hda_status_t status = create_ranks(serve);
    return status == HDA_OK ? create_children(serve) : status;
}

hda_status_t hda_serve_create(const hda_instance_t *instances, int64_t instance_count,
                              int32_t router, hda_requests_t *requests, hda_custom_policy_t custom,
                              void *context, hda_serve_t **out) {
    *out = NULL;
    hda_status_t status = check(instances, instance_count, router, requests);
    if (status != HDA_OK) return status;
    hda_serve_t *serve = calloc(1, sizeof *serve);
    if (serve == NULL) return HDA_E_MEMORY;
    serve->requests = requests;
    serve->instance_count = instance_count;
    serve->router = router;
    serve->custom = custom;
    serve->context = context;
    status = create(serve, instances);
    if (status != HDA_OK) {
        hda_serve_destroy(serve);
        return status;
    }
    for (int64_t i = 0; i < requests->count; i++) {
        requests->out[i] = (hda_request_t){.arrival = -1,
                                           .queued = -1,
                                           .scheduled = -1,
                                           .first_token = -1,
                                           .last_token = -1,
                                           .state = HDA_REQUEST_WAITING,
                                           .rank = -1,
                                           .decode_rank = -1};
        requests->slot[i] = requests->next[i] = -1;
    }
    *out = serve;
    return HDA_OK;
}

static void destroy_instance(instance_t *instance) {
    for (int64_t i = 0; instance->flights != NULL && i < instance->most_flying; i++) {
        flight_t *flight = &instance->flights[i];
        for (int64_t r = 0; flight->batches != NULL && r < instance->spec.rank_count; r++)
            free(flight->batches[r].q_len);
        free(flight->batches);
        free(flight->times);
    }
    void *owned[] = {instance->programs, instance->first,   instance->free_at,
                     instance->ran,      instance->results, instance->flights};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

void hda_serve_destroy(hda_serve_t *serve) {
    if (serve == NULL) return;
    for (int64_t i = 0; serve->instances != NULL && i < serve->instance_count; i++)
        destroy_instance(&serve->instances[i]);
    for (int64_t i = 0; serve->ranks != NULL && i < serve->rank_count; i++)
        hda_rank_free(&serve->ranks[i]);
    hda_heap_free(&serve->events);
    hda_heap_free(&serve->dependents);
    hda_heap_free(&serve->sending);
    void *owned[] = {serve->instances,       serve->ranks,  serve->instance_of, serve->role,
                     serve->pending,         serve->memory, serve->decoder,     serve->transfers,
                     serve->ended,           serve->woken,  serve->first_child, serve->sibling,
                     serve->unused_transfers};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    free(serve);
}
