/* Which rank prefills a request, and which decodes it. */
#include <math.h>

#include "cluster.h"

/* SGLang's cache-aware router (sgl-router, its RouterArgs' defaults; before they were 0.5, 32 and 1.0001): the best match if it covers this share
 * of the prompt, while loads are balanced: the largest is at most this much above the smallest, or at most this many times it. SGLang keeps a
 * tree of the texts that it has sent; we look into the caches themselves, and give what nobody has to the least loaded. */
static const double LEAST_MATCH = 0.3, MOST_TIMES = 1.5;
enum { MOST_ABOVE = 64 };
/* splitwise-sim: prompt tokens that may wait at an instance which has others waiting. */
static const double MOST_PENDING = 8192;

static double outstanding(const hda_rank_t *rank) {
    return (double)(rank->waiting_count + rank->running_count + rank->sent_for +
                    rank->incoming_count);
}

static double kv_tokens(const hda_rank_t *rank) {
    const int64_t used = rank->kv.block_count - rank->kv.free_count;
    return (double)(used * rank->config.block_size + rank->waiting_tokens);
}

static double score(const hda_serve_t *serve, const hda_rank_t *rank) {
    switch (serve->router) {
        case HDA_ROUTE_LEAST_KV: return kv_tokens(rank);
        case HDA_ROUTE_LEAST_OUTSTANDING:
        case HDA_ROUTE_PREFIX: return outstanding(rank);
        default:
            return 4 * (double)(rank->waiting_count + rank->incoming_count) +
                   (double)(rank->running_count + rank->sent_for);
    }
}

/* Whether a rank serves the phase of a request, or all of it, and has room for it. */
static int serves(const hda_serve_t *serve, const hda_rank_t *rank, int64_t request, int32_t role) {
    const int32_t own = serve->role[rank->index];
    const int64_t generated = role == HDA_ROLE_PREFILL ? hda_rank_stop(rank, request)
                                                       : serve->requests->output_len[request];
    return (own == HDA_ROLE_BOTH || own == role) &&
           hda_rank_fits(rank, serve->requests->input_len[request], generated);
}

/* The rank with the most of the prompt in its cache; NULL if that is little, or loads are out of balance. */
static hda_rank_t *best_match(hda_serve_t *serve, int64_t request, int32_t role) {
    hda_rank_t *best = NULL;
    double least = INFINITY, most = 0;
    int64_t cached = 0;
    for (int64_t i = 0; i < serve->rank_count; i++) {
        hda_rank_t *rank = &serve->ranks[i];
        if (!serves(serve, rank, request, role)) continue;
        least = hda_fmin(least, outstanding(rank));
        most = hda_fmax(most, outstanding(rank));
        const int64_t own = hda_rank_cached(rank, request);
        if (own > cached) {
            cached = own;
            best = rank;
        }
    }
    if (most > least + MOST_ABOVE && most > least * MOST_TIMES) return NULL;
    return (double)cached < LEAST_MATCH * (double)serve->requests->input_len[request] ? NULL : best;
}

/* The rank with the least score, or the next in turn; NULL if the request fits nowhere. */
static hda_rank_t *choose(hda_serve_t *serve, int64_t request, int32_t role) {
    if (serve->router == HDA_ROUTE_PREFIX && role == HDA_ROLE_PREFILL) {
        hda_rank_t *best = best_match(serve, request, role);
        if (best != NULL) return best;
    }
    hda_rank_t *best = NULL;
    double least = INFINITY;
    for (int64_t i = 0; i < serve->rank_count; i++) {
        int64_t at = i;
        if (serve->router == HDA_ROUTE_ROUND_ROBIN)
            at = (serve->turn[role] + i) % serve->rank_count;
        hda_rank_t *rank = &serve->ranks[at];
        if (!serves(serve, rank, request, role)) continue;
        if (serve->router == HDA_ROUTE_ROUND_ROBIN) {
            serve->turn[role] = at + 1;
            return rank;
        }
        if (score(serve, rank) < least) {
            least = score(serve, rank);
            best = rank;
        }
    }
    return best;
}

/* ---- Splitwise (Patel et al., ISCA 2024, section 4; its simulator's mixed-pool scheduler) ---- */

static double request_tokens(const hda_serve_t *serve, int64_t request) {
    return (double)(serve->requests->input_len[request] + serve->requests->output_len[request]);
}

/* Tokens that it books at a rank: the prompt where that is computed alone, all of it where it is decoded (max_memory of its tasks). */
static double booked(const hda_serve_t *serve, int64_t request, int32_t rank) {
    const hda_requests_t *r = serve->requests;
    const int64_t outputs = serve->decoder[request] == rank ? r->output_len[request] : 0;
    return (double)(r->input_len[request] + outputs);
}

/* The rank of a pool with the least of `load` in which the request fits; role -1: of any pool. */
static hda_rank_t *least_loaded(hda_serve_t *serve, int64_t request, int32_t role,
                                const double *load) {
    hda_rank_t *best = NULL;
    const hda_requests_t *r = serve->requests;
    for (int64_t i = 0; i < serve->rank_count; i++) {
        hda_rank_t *rank = &serve->ranks[i];
        if (role >= 0 && serve->role[i] != role) continue;
        if (!hda_rank_fits(rank, r->input_len[request], r->output_len[request])) continue;
        if (best == NULL || load[i] < load[best->index]) best = rank;
    }
    return best;
}

static hda_rank_t *short_queue(const hda_serve_t *serve, int64_t request, hda_rank_t *rank) {
    if (rank == NULL || rank->waiting_count == 0) return rank;
    const double tokens = (double)serve->requests->input_len[request];
    return serve->pending[rank->index] + tokens > MOST_PENDING ? NULL : rank;
}

static hda_rank_t *with_memory(const hda_serve_t *serve, int64_t request, hda_rank_t *rank) {
    if (rank == NULL) return rank;
    const double room = (double)(rank->config.block_count * rank->config.block_size);
    return serve->memory[rank->index] + request_tokens(serve, request) < room ? rank : NULL;
}

static hda_rank_t *to_mixed(hda_serve_t *serve, hda_rank_t *rank) {
    if (rank != NULL) serve->role[rank->index] = HDA_ROLE_BOTH;
    return rank;
}

static hda_rank_t *splitwise(hda_serve_t *serve, int64_t request) {
    const double *pending = serve->pending, *memory = serve->memory;
    const int32_t prefill = HDA_ROLE_PREFILL, decode = HDA_ROLE_DECODE, both = HDA_ROLE_BOTH;
    hda_rank_t *first = short_queue(serve, request, least_loaded(serve, request, prefill, pending));
    if (first == NULL)
        first = short_queue(serve, request, least_loaded(serve, request, both, pending));
    const int decodes = serve->requests->output_len[request] > 1; /* else prefill brings all */
    hda_rank_t *second = NULL;
    if (decodes) second = with_memory(serve, request, least_loaded(serve, request, decode, memory));
    if (decodes && second == NULL)
        second = with_memory(serve, request, least_loaded(serve, request, both, memory));
    if (first == NULL) first = to_mixed(serve, least_loaded(serve, request, decode, pending));
    if (!decodes) second = first;
    if (second == NULL) second = to_mixed(serve, least_loaded(serve, request, prefill, memory));
    if (first == NULL || second == NULL) first = second = least_loaded(serve, request, -1, pending);
    if (first == NULL) return NULL;
    serve->decoder[request] = second->index;
    serve->pending[first->index] += (double)serve->requests->input_len[request];
    serve->pending[second->index] += 1;
    serve->memory[first->index] += booked(serve, request, first->index);
    if (first != second) serve->memory[second->index] += booked(serve, request, second->index);
    return first;
}

void route_prefilled(hda_serve_t *serve, const hda_rank_t *rank, const hda_rank_batch_t *batch) {
    if (serve->router != HDA_ROUTE_SPLITWISE) return;
    for (int64_t i = 0; i < batch->count; i++) {
        const hda_sequence_t *s = &rank->sequences[batch->slots[i]];
        if (batch->emits[i] && s->generated == 1)
            serve->pending[rank->index] -= (double)s->input_len;
    }
}

void route_left(hda_serve_t *serve, int64_t request, const hda_rank_t *rank) {
    if (serve->router != HDA_ROUTE_SPLITWISE) return;
    const int32_t i = rank->index;
    serve->memory[i] -= booked(serve, request, i);
    if (serve->decoder[request] == i) serve->pending[i] -= 1;
    if (serve->memory[i] <= 0) serve->role[i] = instance_of(serve, rank)->spec.role;
}

void route_kept(hda_serve_t *serve, int64_t request, const hda_rank_t *from, const hda_rank_t *to) {
    if (serve->router != HDA_ROUTE_SPLITWISE) return;
    route_left(serve, request, to);
    serve->decoder[request] = from->index;
    serve->pending[from->index] += 1;
    serve->memory[from->index] += (double)serve->requests->output_len[request];
}

/* ---- both ---- */

hda_rank_t *route_prefill(hda_serve_t *serve, int64_t request) {
    if (serve->router == HDA_ROUTE_SPLITWISE) return splitwise(serve, request);
    hda_rank_t *rank = choose(serve, request, HDA_ROLE_PREFILL);
    if (rank == NULL || hda_rank_stop(rank, request) == serve->requests->output_len[request])
        return rank;
    for (int64_t i = 0; i < serve->rank_count; i++)
        if (serves(serve, &serve->ranks[i], request, HDA_ROLE_DECODE)) return rank;
    return NULL;
}

hda_rank_t *route_decode(hda_serve_t *serve, int64_t request) {
    if (serve->router == HDA_ROUTE_SPLITWISE) return &serve->ranks[serve->decoder[request]];
    return choose(serve, request, HDA_ROLE_DECODE); /* there is one, or it had been rejected */
}
