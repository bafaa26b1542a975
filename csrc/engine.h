/* Inside of the engine: what an operator costs for a given number of rows, and how blocks of operators are executed. */
#ifndef HDA_ENGINE_H
#define HDA_ENGINE_H

#include "program.h"

enum { ENGINE_SA = 0, ENGINE_MT = 1, ENGINE_VU = 2, ENGINE_UNITS = 3 };

/* The service demands of one operator; times in seconds, of one core. */
typedef struct {
    double dram_bytes,
        unique_bytes; /* moved by DRAM for the device; the part that no mapping can avoid */
    double feed_time; /* least time to bring weights through NoC ports or global memory */
    double ahead; /* share of the transfer that fits in local memory before the operator starts */
    double first; /* share of the transfer after which the first tile is there */
    double unit[ENGINE_UNITS], tail[ENGINE_UNITS];
    double compute; /* the latest unit if nothing had to be fed */
    double noc_in, noc_out, p2p;
    double macs[2], useful_macs, p2p_bytes, p2p_least;
    int32_t unit_cause[ENGINE_UNITS], feed_cause;
} work_t;

typedef struct {
    int64_t rows, cols; /* row groups x column groups of cores */
} grid_t;

/* The rows of this step, by what they stand for. */
typedef struct {
    int64_t tokens, emit, decode, latent;
    const hda_batch_t *batch;
    const int64_t *
        context_tokens; /* per op: past tokens read by decoding sequences, cut to the op's window */
    const int64_t *context_pages; /* per op: their KV pages */
} rows_t;

typedef struct {
    int64_t key[4], cycles;
} noc_entry_t;

typedef struct {
    grid_t grid;
    work_t *work; /* per op; zero for those whose rows are something else */
} plan_t;

struct hda_program {
    hda_device_t device;
    hda_op_t *ops;
    hda_block_t *blocks;
    hda_segment_t *segments;
    int64_t op_count, block_count, segment_count, max_rows, page;
    double *repeat;       /* per op: executions in a step */
    plan_t *plans[2];     /* for TOKENS and for EMIT: by number of rows, filled on first use */
    work_t *trial;        /* per op: of a grid under consideration */
    work_t *work, *exact; /* per op of this step; per op and core when exact */
    int64_t *context_tokens, *context_pages;
    noc_entry_t *noc_memo; /* open addressing */
    int64_t noc_capacity, noc_used;
    void *noc_scratch;
    int64_t noc_scratch_messages;
    double *state; /* execution state of execute.c */
};

/* resolve.c */
hda_status_t engine_resolve(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                            int64_t op_rows, grid_t grid, int64_t core, int estimate, work_t *work);
void engine_mapping(hda_program_t *program, const hda_op_t *op, int64_t rows, grid_t grid,
                    int64_t core, hda_mapping_t *mapping);
/* The largest n' <= n with at most three significant bits. */
int64_t engine_round_below(int64_t n);
/* Time that an operator holds up what follows, whatever ran before: its exchanges, and between them the later of its units and the
 * part of its transfer that cannot run ahead. Mappings are compared by it. */
double engine_occupancy(const hda_device_t *device, const work_t *work);
/* collective.c: seconds of `groups` concurrent collectives of `size` cores, `bytes` from each member */
hda_status_t engine_collective(hda_program_t *program, hda_collective_t kind, int64_t groups,
                               int64_t size, double bytes, int estimate, double *seconds);
/* mapping.c */
hda_status_t engine_plan(hda_program_t *program, int32_t kind, int64_t rows, plan_t **plan);
/* execute.c */
size_t engine_state_size(const hda_program_t *program);
void engine_execute(hda_program_t *program, const work_t *work, int64_t cores, double utilization,
                    int exact, hda_step_t *step, hda_op_step_t *per_op);

#endif
