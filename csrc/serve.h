/* Serving: requests over a cluster of instances, each a pipeline of compiled programs under a scheduler of its own.
 *
 * A pipeline of P stages is 2 P - 1 programs: stages, and between each two the link that carries a batch from one to the next. Each serves
 * one batch at a time, in the order in which batches were scheduled; a batch enters the next when it has left the one before and the next
 * is free. So stages work on different batches at the same time, and stand idle (bubbles) where no batch has come yet.
 *
 * Batches in flight are as vLLM's engine core has them (vllm/v1/engine/core.py, `step_with_batch_queue`): up to P of them, or two with
 * async scheduling; while there is room for one more and something to schedule, one is scheduled at once; else the engine waits for the
 * result of the oldest, and looks at new requests only then. The host prepares one batch after the other, for `host_overhead` seconds each; then
 * the batch starts, or when the first stage is free, if that is later.
 *
 * An instance of several ranks (data-parallel attention with shared experts) schedules all of them at the same time and executes them in
 * lockstep: a step takes as long as its slowest rank; ranks without sequences take part in the experts' exchanges.
 *
 * A router gives each request to a rank when it arrives. Where prefill and decode have instances of their own, a request generates its first
 * token where it is prefilled. Then its keys and values are sent on, as soon as the decode rank has KV blocks for them: over the link of
 * either instance, which carry one such message at a time.
 */
#ifndef HDA_SERVE_H
#define HDA_SERVE_H

#include "policy.h"
#include "profile.h"
#include "program.h"

typedef enum {
    HDA_ROUTE_VLLM =
        0, /* least 4 x waiting + running, as vLLM's data-parallel client, whose counts are up to 100 ms old */
    HDA_ROUTE_ROUND_ROBIN = 1,
    HDA_ROUTE_LEAST_OUTSTANDING = 2,
    HDA_ROUTE_LEAST_KV = 3, /* KV blocks in use and tokens that wait */
    HDA_ROUTE_PREFIX =
        4, /* where most of the prompt is cached, unless that is busier than others */
    HDA_ROUTE_SPLITWISE = 5,
} hda_router_t;

typedef enum { HDA_ROLE_BOTH = 0, HDA_ROLE_PREFILL = 1, HDA_ROLE_DECODE = 2 } hda_role_t;

/* One instance. `programs` are borrowed, an odd number of them (stage, link, stage, ..), and may repeat. With a `profile`, borrowed too, its
 * tables take the place of the programs, and program_count is 1. */
typedef struct {
    hda_program_t *const *programs;
    const hda_profile_t *profile;
    int64_t program_count, rank_count;
    int64_t device_count; /* of a tensor-parallel group, whose energy counts; 0: one */
    hda_serve_config_t config;
    int32_t role;
    double kv_bytes; /* keys and values of a token, at most 1e18 */
    double
        kv_bandwidth;  /* bytes/s in and out, for keys and values that are sent on; 1 to infinity */
    double kv_latency; /* seconds for each request */
    double kv_overlap; /* share of the transfer that prefill hides, 0 to 1 */
} hda_instance_t;

/* One executed step: `time` is from `start`, of its execution, to its tokens, waiting between stages included. The rest are sums over the
 * stages, links and ranks, but `limited` is that of the slowest rank. */
typedef struct {
    double start, time, bound;
    int64_t prefill_tokens, decode_tokens, running, waiting, kv_blocks, preemptions, instance;
    double dram_bytes, p2p_bytes, macs[2], busy[HDA_UNIT_COUNT], limited[HDA_BY_COUNT];
    double
        exposed_noc; /* of exchanges between cores: what nothing hides; between devices that is all of limited[HDA_BY_P2P] */
    double energy[HDA_ENERGY_COUNT], phase_energy[2]; /* joules of all devices */
    double power; /* watts of a device while it executes this step: of stages the highest */
} hda_step_record_t;

/* The steps of an instance, added up. */
typedef struct {
    int64_t steps, preemptions, max_running, max_waiting, max_kv_blocks;
    double time, occupied;              /* of steps, and in which at least one runs */
    double end;                         /* of the last one */
    double running, waiting, kv_blocks; /* times the time of their steps */
    double bound, dram_bytes, p2p_bytes, macs[2], busy[HDA_UNIT_COUNT], limited[HDA_BY_COUNT];
    double exposed_noc;
    double sent_bytes, sent_time; /* keys and values that left for another instance */
    double energy[HDA_ENERGY_COUNT], phase_energy[2]; /* joules of all devices */
    double max_power, over_limit; /* watts; seconds of steps whose power exceeds the limit */
} hda_instance_totals_t;

/* A policy of the caller's: fills an empty batch. Not HDA_OK: the run ends with that. */
typedef hda_status_t (*hda_custom_policy_t)(void *context, hda_rank_t *rank,
                                            hda_rank_batch_t *batch, double now);

typedef struct hda_serve hda_serve_t;

/* Requests without a parent arrive at arrival[i] (seconds, finite, not falling), others arrival[i] seconds after their parent, which comes before
 * them, has ended. 1 to 2^35 tokens each way, at most 2^31 - 2 requests. `requests` and its arrays are borrowed.
 * Requests that fit nowhere (more KV blocks than a rank has, or, without chunked prefill, more tokens than the budget) are rejected. */
hda_status_t hda_serve_create(const hda_instance_t *instances, int64_t instance_count,
                              int32_t router, hda_requests_t *requests, hda_custom_policy_t custom,
                              void *context, hda_serve_t **serve);
void hda_serve_destroy(hda_serve_t *serve);

/* Gaps that a single step can bring forth. */
int64_t hda_serve_most_gaps(const hda_serve_t *serve);

/* Execute up to `step_capacity` >= 1 steps, or fewer if gaps might overflow (gap_capacity >= hda_serve_most_gaps, else HDA_E_RANGE).
 * *step_count == 0: all is done, or a custom policy schedules nothing although requests wait.
 * `steps` may be NULL. Steps are returned when they end, with their gaps. */
hda_status_t hda_serve_run(hda_serve_t *serve, int64_t step_capacity, hda_step_record_t *steps,
                           int64_t *step_count, int64_t gap_capacity, hda_gap_t *gaps,
                           int64_t *gap_count);

/* Bring `requests->out` up to date for requests that are still running. */
void hda_serve_snapshot(hda_serve_t *serve);
/* `finished` counts requests finished or rejected, `now` is the clock. */
void hda_serve_progress(const hda_serve_t *serve, int64_t *finished, double *now);
void hda_serve_totals(const hda_serve_t *serve, hda_instance_totals_t *totals);
/* Seconds for which each of an instance's programs ran in the steps returned so far. */
void hda_serve_busy(const hda_serve_t *serve, int64_t instance, double *busy);

#endif
