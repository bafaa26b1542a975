/* Keys and values on their way from the rank that prefilled a request to the one that decodes it. */
#include <math.h>
#include <stdlib.h>

#include "cluster.h"

static int32_t new_transfer(hda_serve_t *serve) {
    if (serve->unused_transfer_count > 0)
        return serve->unused_transfers[--serve->unused_transfer_count];
    if (serve->transfer_count == serve->transfer_capacity) {
        const int64_t capacity = hda_max64(64, 2 * serve->transfer_capacity);
        transfer_t *all = realloc(serve->transfers, (size_t)capacity * sizeof *all);
        if (all != NULL) serve->transfers = all;
        int32_t *unused = realloc(serve->unused_transfers, (size_t)capacity * sizeof *unused);
        if (unused != NULL) serve->unused_transfers = unused;
        if (all == NULL || unused == NULL) {
            serve->status = HDA_E_MEMORY;
            return -1;
        }
        serve->transfer_capacity = capacity;
    }
    return (int32_t)serve->transfer_count++;
}

/* When keys and values of `tokens` that leave now are there: one message at a time on the links of both instances. */
static double send(hda_serve_t *serve, instance_t *source, instance_t *target, int64_t tokens) {
    const double bytes = (double)tokens * source->spec.kv_bytes;
    const double rate = hda_fmin(source->spec.kv_bandwidth, target->spec.kv_bandwidth);
    const double busy = isinf(rate) ? 0 : bytes * (1 - source->spec.kv_overlap) / rate;
    const double start = hda_fmax(serve->now, hda_fmax(source->link_free, target->link_free));
    source->link_free = target->link_free = start + busy;
    source->totals.sent_bytes += bytes;
    source->totals.sent_time += busy;
    return start + busy + source->spec.kv_latency;
}

static void take_first(hda_serve_t *serve, hda_rank_t *rank) {
    rank->incoming_first = serve->requests->next[rank->incoming_first];
    if (rank->incoming_first < 0) rank->incoming_last = -1;
    rank->incoming_count--;
    serve->incoming--;
}

/* A rank that has room takes what waits for it, in order; what a decoding rank preempted comes before. */
void transfer_pull(hda_serve_t *serve, hda_rank_t *rank) {
    while (rank->incoming_count > 0 &&
           (rank->waiting_count == 0 || serve->role[rank->index] != HDA_ROLE_DECODE)) {
        const int32_t request = rank->incoming_first;
        hda_rank_t *from = &serve->ranks[serve->requests->out[request].rank];
        const int32_t from_slot = serve->requests->slot[request];
        int32_t slot;
        if (!hda_rank_reserve(rank, &from->sequences[from_slot], &slot)) return;
        take_first(serve, rank);
        const int32_t id = new_transfer(serve);
        if (id < 0) return;
        serve->transfers[id] = (transfer_t){from->index, from_slot, rank->index, slot};
        const double end = send(serve, instance_of(serve, from), instance_of(serve, rank),
                                from->sequences[from_slot].computed);
        if (hda_heap_push(&serve->sending, end, id) != HDA_OK) serve->status = HDA_E_MEMORY;
    }
}

int transfer_unstick(hda_serve_t *serve) {
    for (int64_t i = 0; serve->incoming > 0 && i < serve->rank_count; i++) {
        hda_rank_t *rank = &serve->ranks[i];
        if (rank->incoming_count == 0) continue;
        const int32_t request = rank->incoming_first;
        hda_rank_t *from = &serve->ranks[serve->requests->out[request].rank];
        take_first(serve, rank);
        route_kept(serve, request, from, rank);
        hda_rank_keep(from, serve->requests->slot[request]);
        serve_wake(serve, instance_of(serve, from));
        return 1;
    }
    return 0;
}

void transfer_start(hda_serve_t *serve, hda_rank_t *rank, int32_t slot) {
    const int32_t request = (int32_t)rank->sequences[slot].request;
    hda_rank_t *to = route_decode(serve, request);
    if (to->incoming_last < 0)
        to->incoming_first = request;
    else
        serve->requests->next[to->incoming_last] = request;
    to->incoming_last = request;
    serve->requests->next[request] = -1;
    to->incoming_count++;
    serve->incoming++;
    transfer_pull(serve, to);
}

void transfer_end(hda_serve_t *serve, int64_t transfer) {
    const transfer_t t = serve->transfers[transfer];
    hda_rank_t *from = &serve->ranks[t.from_rank], *to = &serve->ranks[t.to_rank];
    serve->unused_transfers[serve->unused_transfer_count++] = (int32_t)transfer;
    const int64_t request = from->sequences[t.from_slot].request;
    hda_rank_forget(from, t.from_slot);
    route_left(serve, request, from);
    hda_rank_join(to, t.to_slot);
    transfer_pull(serve, from); /* where an instance both prefills and decodes */
    serve_wake(serve, instance_of(serve, from));
    serve_wake(serve, instance_of(serve, to));
}
