/* Inside of the engine: what an operator costs for a given number of rows, and how blocks of operators are executed. */
#ifndef HDA_ENGINE_H
#define HDA_ENGINE_H

#include <stddef.h>

#include "program.h"
#include "schedule.h"

enum { ENGINE_SA = 0, ENGINE_MT = 1, ENGINE_VU = 2, ENGINE_UNITS = 3 };

/* An exchange of data between cores or devices. It is cut into `tiles` equal ones, each `tile_time` seconds; a tile travels while the
 * next is computed. `kind` is -1 where cores pass data through global memory. */
typedef struct {
    double tiles, tile_time;
    double bytes; /* that each member contributes */
    int32_t kind;
    int32_t network; /* between devices (groups 0): which */
    int64_t groups, size;
} exchange_t;

static inline double exchange_time(const exchange_t *exchange) {
    return exchange->tiles * exchange->tile_time;
}

/* Bytes that the busiest member of an exchange between cores receives. */
static inline double exchange_bytes(const exchange_t *exchange) {
    if (exchange->kind < 0 || exchange->tiles == 0) return exchange->bytes;
    return exchange->bytes * (double)(exchange->size - 1) *
           (exchange->kind == HDA_ALL_REDUCE ? 2 : 1);
}

/* What an operator uses of a device beside multiply-accumulates, DRAM and links: operations, bytes. */
typedef struct {
    double vector_ops;
    double global_bytes, local_bytes; /* read and written */
    double operand_bytes;             /* that arrays and trees read and write of local memory */
    double noc_bytes;                 /* moved from a core to its neighbour */
    double kernel_bytes;              /* of DRAM, activations included; GPUs */
} uses_t;

/* The service demands of one operator; times in seconds, of one core. What execution reads comes first. */
typedef struct {
    double dram_bytes; /* moved by DRAM for the device */
    double feed_time;  /* least time to bring weights through NoC ports or global memory */
    double ahead; /* share of the transfer that fits in local memory before the operator starts */
    double first; /* share of the transfer after which the first tile is there */
    double unit[ENGINE_UNITS], tail[ENGINE_UNITS];
    int32_t unit_cause[ENGINE_UNITS], feed_cause;
    int32_t idle;       /* nothing to do */
    double input_tiles; /* parts of its inputs with which it can start; 0: it needs all */
    exchange_t gather;  /* of its inputs, while they are computed */
    exchange_t merge;   /* of its results between cores */
    exchange_t sync;    /* of its results between devices */

    double unique_bytes; /* the part of dram_bytes that no mapping can avoid */
    double compute;      /* the latest unit if nothing had to be fed */
    double output_tiles; /* parts in which its results appear, at most; 0: all at the end */
    double narrow;       /* parts in which the array works off each fold of columns; 0: one */
    double macs[2], useful_macs, p2p_bytes, p2p_least;
    double compute_least; /* seconds that the useful operations take at the peak rate */
    uses_t uses;
    double energy[HDA_ENERGY_STATIC]; /* joules of one device */
} work_t;

typedef struct {
    int64_t rows, cols; /* row groups x column groups of cores */
    int32_t flow;       /* HDA_FLOW_ROW_SPLIT: GEMMs that fit are cut by weight rows */
} grid_t;

/* The rows of this step, by what they stand for. */
typedef struct {
    int64_t tokens, emit, decode, latent, group;
    int64_t longest; /* past tokens of the decoding sequence that has the most */
    int64_t
        exchanged; /* of all-to-alls between ranks: `group`, or if that is more, this one's tokens for each rank */
    const hda_batch_t *batch;
    const int64_t *
        context_tokens; /* per op: past tokens read by decoding sequences, cut to the op's window */
    const int64_t *context_pages; /* per op: their KV pages */
} rows_t;

/* Networks; ON_EXPERTS: between the devices of all ranks that share experts. */
enum { ON_CORES = 0, ON_DEVICES = 1, ON_EXPERTS = 2, LINES = 3 };

/* Between which devices an operator's exchange is. */
static inline int32_t engine_network(const hda_device_t *device, const hda_op_t *op) {
    return op->rows == HDA_ROWS_GROUP && device->rank_count > 1 ? ON_EXPERTS : ON_DEVICES;
}

static inline int64_t engine_devices(const hda_device_t *device, int32_t network) {
    return device->device_count * (network == ON_EXPERTS ? device->rank_count : 1);
}

/* `groups` concurrent collectives of `size` members with chunks of `units` flits or bytes; see schedule.h. */
typedef struct {
    int64_t network, kind, groups, size, units;
} collective_key_t;

/* What one takes with its best algorithm; `bytes` received by the busiest device. */
typedef struct {
    collective_key_t key;
    int64_t algorithm;
    double seconds, bytes;
} collective_t;

typedef struct {
    collective_t *table; /* open addressing */
    int64_t capacity, used;
} collective_memo_t;

typedef struct {
    grid_t grid;
    work_t *work;  /* per op; zero for those whose rows are something else */
    int32_t *flow; /* per op: grid.flow with which it is resolved */
    double time;   /* by which plans are compared */
} plan_t;

struct hda_program {
    hda_device_t device;
    double *measured, *expert_measured; /* those of the device are these copies */
    hda_op_t *ops;
    hda_block_t *blocks;
    hda_segment_t *segments;
    int64_t op_count, block_count, segment_count, max_rows, page;
    double *repeat;           /* per op: executions in a step */
    plan_t *plans[2];         /* for TOKENS and for EMIT: by number of rows, filled on first use */
    work_t *trial;            /* per op: of a grid under consideration */
    work_t *fresh, *exact;    /* per op: worked out for this step; per op and core when exact */
    const work_t **work;      /* per op of this step: in a plan, in `fresh`, or in `exact` */
    int32_t powered;          /* whether the device's energy is known */
    int32_t grouped;          /* whether there are operators of HDA_ROWS_GROUP */
    int64_t group, exchanged; /* rows for which `fresh` has them */
    int64_t *context_tokens, *context_pages;
    collective_memo_t collectives;
    hda_prompt_t *prompts; /* of this step, for a GPU */
    int64_t prompt_room;
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
/* Time in which an operator brings forth its results: the later of its units and its transfer. */
double engine_duration(const hda_device_t *device, const work_t *work);
/* energy.c: the joules of a resolved operator. */
void engine_energy(const hda_device_t *device, const hda_op_t *op, work_t *work);
/* collective.c: seconds of `groups` concurrent collectives of `size` cores with chunks of `bytes`; a lower bound if `estimate` */
hda_status_t engine_collective(hda_program_t *program, hda_collective_t kind, int64_t groups,
                               int64_t size, double bytes, int estimate, double *seconds);
/* Seconds of a collective over a tensor of `bytes` on all devices of a network, and the bytes that the busiest one receives. */
hda_status_t engine_exchange(hda_program_t *program, int32_t network, hda_collective_t kind,
                             double bytes, double *seconds, double *received);
/* pipeline.c: set up an exchange between cores in one tile */
hda_status_t engine_set_exchange(hda_program_t *program, hda_collective_t kind, int64_t groups,
                                 int64_t size, double bytes, int estimate, exchange_t *exchange);
/* Cut an exchange into the number of tiles, up to `most`, with which what it follows, `compute` seconds long, and the exchange end
 * first; compute < 0 if that is not known. */
hda_status_t engine_pipeline(hda_program_t *program, double compute, double most,
                             exchange_t *exchange);
/* The same for the exchanges of an operator's own results. */
hda_status_t engine_pipeline_results(hda_program_t *program, work_t *work);
/* The same for the exchanges of the operators of a plan with these rows, and whether each GEMM is better cut by weight rows. */
hda_status_t engine_pipeline_plan(hda_program_t *program, int32_t kind, int64_t rows, plan_t *plan);
/* The same for those of the operators of HDA_ROWS_GROUP, in `fresh`. */
hda_status_t engine_pipeline_group(hda_program_t *program);
/* mapping.c */
hda_status_t engine_plan(hda_program_t *program, int32_t kind, int64_t rows, plan_t **plan);
/* execute.c */
size_t engine_state_size(const hda_program_t *program);
/* work[i] is that of core 0; that of core k follows k * op_count later. */
void engine_execute(hda_program_t *program, const work_t *const *work, int64_t cores,
                    double utilization, int exact, hda_step_t *step, hda_op_step_t *per_op);

#endif
