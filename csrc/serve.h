/* Serving: continuous batching over a compiled program, as vLLM V1 schedules it. */
#ifndef HDA_SERVE_H
#define HDA_SERVE_H

#include "program.h"

typedef struct {
    int64_t max_num_seqs;           /* sequences that run at once */
    int64_t max_num_batched_tokens; /* token budget of a step */
    int64_t block_size;             /* tokens of a KV page */
    int64_t block_count;            /* KV pages of the device */
    int32_t chunked_prefill;        /* 0: a prompt runs whole or waits */
} hda_serve_config_t;

typedef enum {
    HDA_REQUEST_WAITING = 0,
    HDA_REQUEST_RUNNING = 1,
    HDA_REQUEST_FINISHED = 2,
    HDA_REQUEST_REJECTED = 3
} hda_request_state_t;

/* What became of a request; times in seconds on the simulation's clock, -1 where it did not come to that. */
typedef struct {
    double scheduled, first_token, last_token;
    int64_t generated, preemptions, state;
} hda_request_t;

/* One executed step. */
typedef struct {
    double start, time, bound;
    int64_t prefill_tokens, decode_tokens, running, waiting, kv_blocks, preemptions;
    double dram_bytes, p2p_bytes, macs[2], busy[HDA_UNIT_COUNT], limited[HDA_BY_COUNT];
} hda_step_record_t;

/* `count` inter-token latencies of `seconds` each. */
typedef struct {
    double seconds;
    int64_t count;
} hda_gap_t;

typedef struct hda_serve hda_serve_t;

/* Requests arrive at arrival[i] (seconds, finite, not falling) with input_len[i] and output_len[i] tokens, 1 to 2^35. The arrays are copied; the
 * program is borrowed. A request whose tokens need more pages than there are (or, without chunked prefill, more tokens than the
 * budget) is rejected when it arrives. */
hda_status_t hda_serve_create(hda_program_t *program, const hda_serve_config_t *config,
                              int64_t count, const double *arrival, const int64_t *input_len,
                              const int64_t *output_len, hda_serve_t **serve);
void hda_serve_destroy(hda_serve_t *serve);

/* Execute up to `step_capacity` >= 1 steps, or fewer if gaps might overflow (gap_capacity >= min(max_num_seqs, requests), else HDA_E_RANGE).
 * *step_count == 0: all is done.
 *
 * Order of a step, as in vLLM V1: running sequences first, in the order of their admission, each with its next token or next chunk of
 * prompt; one that finds no page preempts the newest running sequence, which restarts with its generated tokens as prompt. If nobody was
 * preempted, waiting sequences are admitted in arrival order within the token budget, max_num_seqs and free pages for their whole
 * prompt. Tokens appear at the end of the step.
 */
hda_status_t hda_serve_run(hda_serve_t *serve, int64_t step_capacity, hda_step_record_t *steps,
                           int64_t *step_count, int64_t gap_capacity, hda_gap_t *gaps,
                           int64_t *gap_count);

/* Copy the state of all requests; `finished` counts those finished or rejected, `now` is the clock. */
void hda_serve_requests(const hda_serve_t *serve, hda_request_t *requests);
void hda_serve_progress(const hda_serve_t *serve, int64_t *finished, double *now);

#endif
