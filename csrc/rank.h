/* One scheduler's state: its requests that wait and run, and their KV blocks. A replica has one, data-parallel attention one for each rank.
 *
 * Scheduling policies (policy.h) move requests by the functions below; the event loop (serve.h) tells it what batches have brought forth.
 */
#ifndef HDA_RANK_H
#define HDA_RANK_H

#include <stddef.h>

#include "kv.h"

typedef enum {
    HDA_REQUEST_WAITING = 0,
    HDA_REQUEST_RUNNING = 1,
    HDA_REQUEST_FINISHED = 2,
    HDA_REQUEST_REJECTED = 3
} hda_request_state_t;

/* What became of a request; times in seconds on the simulation's clock, -1 where it did not come to that. */
typedef struct {
    double arrival;
    double queued; /* when its engine took it in: it looks between steps only */
    double scheduled, first_token, last_token;
    int64_t generated;
    int64_t cached; /* prompt tokens whose keys and values it found when it was first scheduled */
    int32_t preemptions, state;
    int32_t rank, decode_rank; /* where it was prefilled and where its other tokens came from */
} hda_request_t;

/* The requests of a run. All arrays are borrowed; `out`, `next` and `slot` are written. */
typedef struct {
    int64_t count;
    const double *arrival; /* seconds, or after `parent` */
    const int64_t *input_len, *output_len;
    const int64_t *parent; /* NULL, or per request: the one that ends before it comes, -1: none */
    const int64_t *hash_ids, *hash_offsets; /* NULL, or ids of request i: hash_offsets[i] .. */
    int64_t hash_block;                     /* tokens per id */
    int32_t hash_outputs;                   /* ids cover the generated tokens too */
    hda_request_t *out;
    int32_t *next;          /* in a queue, -1 at its end */
    int32_t *slot;          /* of a request that has started, in its rank; -1 */
    const int32_t *decoder; /* NULL, or per request: the rank that decodes it, chosen on arrival */
} hda_requests_t;

typedef enum {
    HDA_POLICY_VLLM = 0,
    HDA_POLICY_STATIC = 1,
    HDA_POLICY_ORCA = 2,
    HDA_POLICY_SARATHI = 3,
    HDA_POLICY_VLLM_V0 = 4,
    HDA_POLICY_CUSTOM = 5,
} hda_policy_t;

typedef struct {
    int64_t max_num_seqs;           /* sequences that run at once */
    int64_t max_num_batched_tokens; /* token budget of a step */
    int64_t block_size;             /* tokens of a KV block */
    int64_t block_count;            /* KV blocks of a rank */
    int32_t chunked_prefill;        /* 0: a prompt runs whole or waits */
    int32_t prefix_caching;
    int32_t
        async_scheduling; /* a step is scheduled before the tokens of the one before are there */
    int32_t reserve_full_prompt; /* admit only where the whole prompt has room */
    int32_t policy;              /* hda_policy_t */
    double host_overhead;        /* seconds between scheduling a step and its start */
} hda_serve_config_t;

typedef enum { HDA_ENDED = 0, HDA_ACTIVE = 1, HDA_PREEMPTED = 2, HDA_AWAY = 3 } hda_phase_t;

/* A request that has started. What every step touches fills one line of the cache. */
typedef struct {
    int64_t generated;
    int32_t pending;   /* tokens that batches in flight will bring */
    int16_t in_flight; /* batches */
    int16_t phase;     /* hda_phase_t; HDA_AWAY: its KV blocks wait to be sent on */
    int64_t computed;  /* tokens whose keys and values are there when what is in flight has ended */
    int64_t input_len;
    int64_t stop;      /* tokens that it generates here: all, or one where others decode */
    int64_t pages;     /* KV blocks held */
    int64_t published; /* blocks whose content is known by a key */
    double last_emit;
    int64_t request, output_len;
    hda_kv_table_t table;
    int64_t reserved[3];
} hda_sequence_t;

typedef struct {
    int32_t *slots;
    uint8_t *emits;
    int64_t *q_len, *past;
    int64_t count, emit_count, prefill_tokens, decode_tokens;
} hda_rank_batch_t;

/* A request that had no room for so many KV blocks, and kv.gains then. */
typedef struct {
    int64_t request, blocks, gains;
} hda_refusal_t;

typedef struct {
    hda_requests_t *requests;
    hda_serve_config_t config;
    hda_kv_t kv;
    hda_sequence_t *sequences;
    int32_t *unused; /* slots */
    int64_t slot_count, slot_capacity, unused_count;
    int32_t *running; /* slots, in order of admission */
    int64_t running_count, running_capacity;
    int32_t waiting_first, waiting_last; /* requests in the order in which they will be admitted */
    int32_t arrived; /* the first one that the engine has not taken in yet, -1: none */
    int64_t waiting_count;
    int64_t waiting_tokens;         /* of the prompts that wait */
    hda_refusal_t refused;          /* the last one, see hda_rank_admits */
    int64_t preemptions, preempted; /* since the last batch; while this one is being scheduled */
    int32_t incoming_first,
        incoming_last; /* requests prefilled elsewhere that wait for KV blocks */
    int64_t incoming_count;
    int64_t sent_for;            /* sequences whose keys and values are on their way here */
    int32_t prefill_only, index; /* number of the rank */
    hda_status_t status;         /* HDA_E_MEMORY sticks */
} hda_rank_t;

hda_status_t hda_rank_init(hda_rank_t *rank, hda_requests_t *requests,
                           const hda_serve_config_t *config, int32_t index);
void hda_rank_free(hda_rank_t *rank);

/* Whether a request can ever generate so many tokens here. */
int hda_rank_fits(const hda_rank_t *rank, int64_t input_len, int64_t generated);

/* Tokens that a request generates here: all, or one where another rank decodes it. */
static inline int64_t hda_rank_stop(const hda_rank_t *rank, int64_t request) {
    const int32_t *decoder = rank->requests->decoder;
    const int elsewhere =
        rank->prefill_only || (decoder != NULL && decoder[request] != rank->index);
    return elsewhere ? 1 : rank->requests->output_len[request];
}

/* A request joins the queue at its end. */
void hda_rank_enqueue(hda_rank_t *rank, int64_t request);

/* The engine takes in what has arrived. */
void hda_rank_take_in(hda_rank_t *rank, double now);

/* ---- for policies ---- */

/* New tokens that a running sequence could compute now. */
static inline int64_t hda_rank_ready(const hda_rank_t *rank, const hda_sequence_t *s) {
    const int64_t pending = rank->config.async_scheduling ? s->pending : 0;
    if (s->generated + s->pending >= s->stop) return 0;
    return s->input_len + s->generated + pending - s->computed;
}

/* Tokens that a request in the queue has to compute, and those of them that the cache holds (whole blocks, never the last token). */
int64_t hda_rank_length(const hda_rank_t *rank, int64_t request);
int64_t hda_rank_cached(const hda_rank_t *rank, int64_t request);

/* Whether a request in the queue may be admitted: it is in no batch, there is room for one more sequence and for KV blocks of `tokens`.
 * Who had no room has none until a block becomes free or can be found, so the cache is not searched again before. */
int hda_rank_admits(hda_rank_t *rank, int64_t request, int64_t tokens);

/* Let a request run, from anywhere in the queue, and give it KV blocks for `tokens` (0: later, as it computes). Returns its slot. */
int32_t hda_rank_admit(hda_rank_t *rank, int64_t request, int64_t tokens, double now);

/* Put the next `tokens` of a running sequence into the batch; 0 if there are not enough KV blocks, and nothing has changed. */
int hda_rank_run(hda_rank_t *rank, hda_rank_batch_t *batch, int32_t slot, int64_t tokens);

/* The running sequence at this place returns to the head of the queue; the tokens of its batches in flight count, the rest is computed again. */
void hda_rank_preempt(hda_rank_t *rank, int64_t place);

/* ---- for the event loop ---- */

/* `count` inter-token latencies of `seconds` each. */
typedef struct {
    double seconds;
    int64_t count;
} hda_gap_t;

/* Take in what the batch has brought forth at time `now`. Slots of sequences that have generated what they had to are written to `ended`
 * (room for all of the batch); those in phase HDA_AWAY are to be sent on. */
void hda_rank_complete(hda_rank_t *rank, const hda_rank_batch_t *batch, double now, hda_gap_t *gaps,
                       int64_t *gap_count, int32_t *ended, int64_t *ended_count);

/* A sequence that was prefilled elsewhere: reserve its KV blocks (1), or do nothing (0) if there is no room. */
int hda_rank_reserve(hda_rank_t *rank, const hda_sequence_t *from, int32_t *slot);
/* Its keys and values are there. */
void hda_rank_join(hda_rank_t *rank, int32_t slot);
/* They are no longer needed where it was prefilled. */
void hda_rank_forget(hda_rank_t *rank, int32_t slot);

/* A sequence in phase HDA_AWAY goes on here after all. */
void hda_rank_keep(hda_rank_t *rank, int32_t slot);

/* Write down how many tokens the sequences here have generated so far. */
void hda_rank_snapshot(const hda_rank_t *rank);

#endif
