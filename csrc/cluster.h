/* Inside of serving: what the event loop (serve.c), the router (route.c) and the transfers (transfer.c) share. */
#ifndef HDA_CLUSTER_H
#define HDA_CLUSTER_H

#include "heap.h"
#include "serve.h"

/* A scheduled batch of an instance, from then until its result comes. */
typedef struct {
    hda_rank_batch_t *batches; /* per rank */
    double finish;
    double *times; /* seconds on each program */
    hda_step_record_t record;
} flight_t;

typedef struct {
    hda_instance_t spec;
    hda_program_t **programs;
    int64_t *first;        /* per program: the first one that is the same */
    double *free_at, *ran; /* per program: when it can take a batch, and how long it has run */
    hda_step_t *results;   /* per program, of the batch being executed */
    flight_t *flights;     /* ring */
    int64_t oldest, flying, most_flying;
    hda_rank_t *ranks;   /* those of all instances are one array */
    double link_free;    /* when the link for keys and values is */
    double host_free_at; /* when it has prepared the batch scheduled last */
    int32_t woken;       /* in the list of instances that may schedule */
    double power_limit;  /* watts of a device; 0: none known */
    hda_instance_totals_t totals;
} instance_t;

/* Keys and values on their way. */
typedef struct {
    int32_t from_rank, from_slot, to_rank, to_slot;
} transfer_t;

struct hda_serve {
    hda_requests_t *requests;
    instance_t *instances;
    hda_rank_t *ranks;
    int32_t *instance_of; /* per rank */
    int64_t instance_count, rank_count;
    int32_t router;
    int64_t turn[3];          /* of round robin, per phase */
    int32_t *role;            /* per rank: now; Splitwise moves them */
    double *pending, *memory; /* per rank, Splitwise's: tokens to compute, tokens reserved */
    int32_t *decoder;         /* per request: the rank chosen on arrival; Splitwise only */
    hda_custom_policy_t custom;
    void *context;
    hda_heap_t events;     /* instances, by the time of their next result */
    hda_heap_t dependents; /* requests whose parent has ended */
    hda_heap_t sending;    /* transfers */
    transfer_t *transfers;
    int32_t *unused_transfers;
    int64_t transfer_count, transfer_capacity, unused_transfer_count;
    int64_t incoming;               /* sequences that wait for KV blocks elsewhere */
    int32_t *first_child, *sibling; /* per request, if any has a parent */
    int32_t *woken;
    int64_t woken_count;
    int32_t *ended; /* scratch */
    int64_t arrived, finished, most_gaps;
    double now;
    hda_status_t status; /* what goes wrong in a helper */
};

static inline instance_t *instance_of(const hda_serve_t *serve, const hda_rank_t *rank) {
    return &serve->instances[serve->instance_of[rank->index]];
}

void serve_wake(hda_serve_t *serve, instance_t *instance);

/* route.c: the rank that prefills a request, NULL if it fits nowhere; then the one that decodes it, NULL for the same. */
hda_rank_t *route_prefill(hda_serve_t *serve, int64_t request);
hda_rank_t *route_decode(hda_serve_t *serve, int64_t request);
/* Splitwise's books: a batch has brought first tokens; a request has left a rank; it is decoded where it was prefilled after all. */
void route_prefilled(hda_serve_t *serve, const hda_rank_t *rank, const hda_rank_batch_t *batch);
void route_left(hda_serve_t *serve, int64_t request, const hda_rank_t *rank);
void route_kept(hda_serve_t *serve, int64_t request, const hda_rank_t *from, const hda_rank_t *to);

/* transfer.c: sequences in phase HDA_AWAY leave `rank`; those that wait for KV blocks of `rank` get them; a transfer has ended. */
void transfer_start(hda_serve_t *serve, hda_rank_t *rank, int32_t slot);
void transfer_pull(hda_serve_t *serve, hda_rank_t *rank);
void transfer_end(hda_serve_t *serve, int64_t transfer);
/* Nothing runs and nothing is on its way: instances that prefill and decode wait for each other's KV blocks. Then one sequence goes on where
 * it was prefilled; 0: none waits. */
int transfer_unstick(hda_serve_t *serve);

#endif
