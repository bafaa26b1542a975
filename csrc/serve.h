/* Serving: continuous batching over compiled programs, as vLLM V1 schedules it.
 *
 * A pipeline of P stages is 2 P - 1 programs: stages, and between each two the link that carries a batch from one to the next. Each serves
 * one batch at a time, in the order in which batches were scheduled; a batch enters the next when it has left the one before and the next
 * is free. So stages work on different batches at the same time, and stand idle (bubbles) where no batch has come yet.
 *
 * As in vLLM's batch queue up to P batches are in flight, and results are taken oldest first. A new batch is scheduled as soon as the first
 * stage is free, from the sequences that are in no batch. (vLLM also sends the next chunk of a prompt after the one still in flight; here a
 * sequence is in one batch at a time, see `schedule_running`.)
 */
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

/* One executed step: `time` is from `start` to its tokens, waiting between stages included; the rest are sums over the stages and links. */
typedef struct {
    double start, time, bound;
    int64_t prefill_tokens, decode_tokens, running, waiting, kv_blocks, preemptions;
    double dram_bytes, p2p_bytes, macs[2], busy[HDA_UNIT_COUNT], limited[HDA_BY_COUNT];
    double
        exposed_noc; /* of exchanges between cores: what nothing hides; between devices that is all of limited[HDA_BY_P2P] */
} hda_step_record_t;

/* `count` inter-token latencies of `seconds` each. */
typedef struct {
    double seconds;
    int64_t count;
} hda_gap_t;

typedef struct hda_serve hda_serve_t;

/* Requests arrive at arrival[i] (seconds, finite, not falling) with input_len[i] and output_len[i] tokens, 1 to 2^35. The arrays are copied; the
 * programs are borrowed, an odd number of them (stage, link, stage, ..), and may repeat. A request whose tokens need more pages than there are (or, without chunked prefill, more tokens than the
 * budget) is rejected when it arrives. */
hda_status_t hda_serve_create(hda_program_t *const *programs, int64_t program_count,
                              const hda_serve_config_t *config, int64_t count,
                              const double *arrival, const int64_t *input_len,
                              const int64_t *output_len, hda_serve_t **serve);
void hda_serve_destroy(hda_serve_t *serve);

/* Execute up to `step_capacity` >= 1 steps, or fewer if gaps might overflow (gap_capacity >= min(max_num_seqs, requests), else HDA_E_RANGE).
 * *step_count == 0: all is done.
 *
 * Order of a step, as in vLLM V1: running sequences first, in the order of their admission, each with its next token or next chunk of
 * prompt; one that finds no page preempts the newest running sequence, which restarts with its generated tokens as prompt. If nobody was
 * preempted, waiting sequences are admitted in arrival order within the token budget, max_num_seqs and free pages for their whole
 * prompt. Tokens appear at the end of the step.
 * A sequence may be preempted while its batch is in flight: its pages are free at once (every stage runs batches in order), the token that
 * comes still counts, and it is not admitted again before.
 * Steps are returned when they end, with their gaps.
 */
hda_status_t hda_serve_run(hda_serve_t *serve, int64_t step_capacity, hda_step_record_t *steps,
                           int64_t *step_count, int64_t gap_capacity, hda_gap_t *gaps,
                           int64_t *gap_count);

/* Copy the state of all requests; `finished` counts those finished or rejected, `now` is the clock. */
void hda_serve_requests(const hda_serve_t *serve, hda_request_t *requests);
void hda_serve_progress(const hda_serve_t *serve, int64_t *finished, double *now);

/* Seconds for which each of the programs ran in the steps returned so far; `busy` holds program_count entries. */
void hda_serve_busy(const hda_serve_t *serve, double *busy);

#endif
