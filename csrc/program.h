/* A compiled program: one decoder step on one device of a tensor-parallel group, executed for any batch. */
#ifndef HDA_PROGRAM_H
#define HDA_PROGRAM_H

#include "dram.h"
#include "gpu.h"
#include "hda.h"
#include "links.h"
#include "mactree.h"
#include "noc.h"
#include "systolic.h"

/* Hardware units, in the order in which an operator uses them. */
typedef enum {
    HDA_UNIT_DMA = 0, /* DRAM to local memory, prefetching */
    HDA_UNIT_SA = 1,
    HDA_UNIT_MT = 2,
    HDA_UNIT_VU = 3,
    HDA_UNIT_NOC = 4,
    HDA_UNIT_P2P = 5,
    HDA_UNIT_COUNT = 6,
} hda_unit_t;

/* What limited a stretch of time. */
typedef enum {
    HDA_BY_SA = 0,
    HDA_BY_MT = 1,
    HDA_BY_VU = 2,
    HDA_BY_DRAM = 3,
    HDA_BY_GLOBAL_MEMORY = 4,
    HDA_BY_NOC = 5,
    HDA_BY_P2P = 6,
    HDA_BY_OVERHEAD = 7,
    HDA_BY_COUNT = 8,
} hda_cause_t;

/* Collectives between devices: the fastest for each size, or the one named. Direct: an all-reduce sends every partial sum to everyone,
 * where two_shot scatters and gathers. */
typedef enum {
    HDA_P2P_AUTO = 0,
    HDA_P2P_DIRECT = 1,
    HDA_P2P_RING = 2,
    HDA_P2P_TREE = 3,
    HDA_P2P_TWO_SHOT = 4,
    HDA_P2P_RECURSIVE = 5,
    HDA_P2P_COUNT = 6,
} hda_p2p_t;

/* How a GEMM is cut over cores: the best, or one for all. */
typedef enum {
    HDA_FLOW_AUTO = 0,
    HDA_FLOW_LATENCY = 1,    /* cores own weight columns, inputs are gathered */
    HDA_FLOW_THROUGHPUT = 2, /* cores own rows of the input, weights are broadcast */
    HDA_FLOW_ROW_SPLIT = 3,  /* cores own weight rows, partial results are reduced */
} hda_flow_t;

/* Where a device's energy goes. */
typedef enum {
    HDA_ENERGY_ARRAY = 0,
    HDA_ENERGY_TREE = 1,
    HDA_ENERGY_VECTOR = 2,
    HDA_ENERGY_DRAM = 3,
    HDA_ENERGY_MEMORY = 4, /* on the chip: local and global */
    HDA_ENERGY_NOC = 5,
    HDA_ENERGY_LINKS = 6,
    HDA_ENERGY_STATIC = 7, /* what is drawn whatever runs: leakage, clock tree, .. */
    HDA_ENERGY_COUNT = 8,
} hda_energy_part_t;

/* Joules of one device for each operation and byte, and watts. All zero where they are not known. */
typedef struct {
    double
        array[HDA_TYPE_COUNT]; /* per multiply-accumulate of the arrays, by type; theirs is bf16 */
    double tree;               /* per multiply-accumulate of the MAC trees */
    double vector;             /* per vector operation */
    double dram, global_memory, local_memory; /* per byte */
    double
        operand; /* per byte that arrays and trees read of local memory, where `array` and `tree` do not contain it */
    double noc;  /* per byte from a core to its neighbour */
    double links;       /* per byte that a device receives from others */
    double standing;    /* watts while a step runs */
    double power_limit; /* watts; 0: none known */
} hda_energy_t;

/* One device. Sizes in bytes, rates in bytes/s, frequency in Hz, latencies in seconds. */
typedef struct {
    double frequency;
    int64_t core_count;
    hda_array_t array;
    hda_tree_t tree; /* lanes == 0: no MAC tree */
    int64_t vector_width;
    double local_memory, global_memory, global_bandwidth;
    hda_dram_t dram;
    hda_noc_t noc;
    double link_width; /* bytes per cycle of a core's NoC port and of a NoC link */
    int32_t
        shared; /* cores exchange data through global memory; there are no core-to-core messages or multicasts */
    int32_t prefetch; /* transfers may start before their operator */
    int32_t p2p_algorithm, dataflow;
    int64_t device_count;
    hda_links_t links;    /* between devices; used if there are several */
    double p2p_bandwidth; /* of a device, per direction: the bound */
    /* seconds of all-reduce, all-gather, all-to-all, send and reduce-scatter of 2^(i / 4) bytes, where they are known as a whole (NCCL); else NULL,
     * and they are simulated. Bytes are those of the tensor on one device. */
    const double *measured;
    int64_t
        rank_count; /* data-parallel ranks of device_count devices each over which experts are spread; 0 or 1: none but this */
    hda_links_t expert_links; /* between all devices of those ranks; used if there are several */
    const double *expert_measured; /* like `measured`, between all devices of those ranks */
    double launch_overhead;        /* seconds before each operator */
    double activation_bytes;       /* bytes per activation element */
    double kv_bytes;               /* bytes per element of the KV cache */
    hda_gpu_t
        gpu; /* sm_count > 0: operators are kernels of this GPU, and what is said of cores above is not used */
    hda_energy_t energy;
} hda_device_t;

typedef enum {
    HDA_OP_LINEAR = 0,
    HDA_OP_EXPERTS = 1,
    HDA_OP_PREFILL_ATTENTION = 2,
    HDA_OP_DECODE_ATTENTION = 3,
    HDA_OP_VECTOR = 4,
    HDA_OP_LOAD = 5,  /* read n bytes per row */
    HDA_OP_STORE = 6, /* write n bytes per row; nothing waits for it, so it has no sync */
} hda_op_kind_t;

/* What a row of an operator is; filled by the step. */
typedef enum {
    HDA_ROWS_TOKENS = 0, /* all tokens of the step */
    HDA_ROWS_EMIT = 1,   /* sequences that emit a token */
    HDA_ROWS_LATENT = 2, /* MLA: decode tokens plus all prefill context that is up-projected */
    HDA_ROWS_SHARE =
        3, /* the most of the step's tokens that one device owns, where they are divided: ceil(tokens / device_count) */
    HDA_ROWS_GROUP =
        4, /* tokens of all ranks that share experts; of EXPERTS and VECTOR, whose exchanges are between all devices of those ranks */
} hda_rows_t;

/* What follows an operator on the links between devices, where S = rows * sync_bytes. */
typedef enum {
    HDA_SYNC_NONE = 0,
    HDA_SYNC_ALL_REDUCE = 1, /* S: the tensor of which every device has a summand */
    HDA_SYNC_ALL_GATHER = 2, /* S: the tensor of which every device has a part */
    HDA_SYNC_ALL_TO_ALL =
        3, /* S: what all devices hold together before (and after), S / d^2 from each to each */
    HDA_SYNC_SEND = 4, /* S from this device to one other, of the next pipeline stage */
    HDA_SYNC_REDUCE_SCATTER =
        5, /* S: the tensor of which every device has a summand, and gets a part of the sum */
} hda_sync_t;

/* One operator of a block, for one device. Unused fields are zero. */
typedef struct {
    int32_t kind, rows;
    int32_t after[2]; /* operators of the block it waits for; -1 = the previous block, -2 = none */
    int32_t sync;     /* collective between devices after it */
    int32_t gather;   /* its input is all-gathered between cores first */
    int32_t elementwise; /* vector: results follow from the parts of the input that are there */
    int32_t type;        /* hda_type_t in which a GPU's tensor cores compute a GEMM */
    double sync_bytes;   /* bytes per row of the whole synchronised tensor */
    int64_t k, n;        /* GEMM sizes; vector: n elements per row; load/store: n bytes per row */
    double weight_bytes; /* bytes per weight */
    int64_t experts, top_k; /* EXPERTS: on this device, and chosen by each token among all */
    double vector_ops;      /* operations per element (vector), per score (attention) */
    double
        reduce_bytes; /* bytes per row all-reduced between the cores of a row group (norm statistics) */
    int64_t kv_heads,
        group; /* attention: kv heads on this device and query heads per kv head; EXPERTS: group devices hold `experts` whole experts each (0: one) */
    int64_t key_dim, value_dim;
    int64_t window;      /* 0: full attention */
    int64_t kv_elements; /* cached elements read per token */
    int64_t
        inter; /* EXPERTS on a GPU, which fuses their layer: the intermediate size of an expert on this device; n counts all its matrices */
    double read_bytes, write_bytes; /* vector on a GPU: bytes per row that the kernel moves */
} hda_op_t;

/* Operators first .. first + count - 1 run in order; blocks follow each other. */
typedef struct {
    int32_t first, count;
} hda_block_t;

/* Blocks first .. first + count - 1, run `repeat` times. `layers` of them are decoder layers (for per-layer overheads). */
typedef struct {
    int32_t first, count, repeat, layers;
} hda_segment_t;

enum { HDA_MEASURED_KINDS = 5, HDA_MEASURED_SIZES = 164 };

typedef struct hda_program hda_program_t;

/* Copy the description into a new program. `max_rows` <= 2^24 bounds the tokens of a step; `block_size` is the KV page in tokens.
 * Arrays inside `device->noc` are borrowed and must outlive the program.
 *
 * HDA_E_RANGE if anything refers outside its array, if a rate, size or width is not positive or above 1e30 (local memory: 1e18 bytes), if
 * counts of units, cores, devices, operators, repetitions, experts, heads or their dimensions exceed 2^20, multipliers of an array 2^40,
 * or k, n, k * n 2^38. */
hda_status_t hda_program_create(const hda_device_t *device, const hda_op_t *ops, int64_t op_count,
                                const hda_block_t *blocks, int64_t block_count,
                                const hda_segment_t *segments, int64_t segment_count,
                                int64_t max_rows, int64_t block_size, hda_program_t **program);
void hda_program_destroy(hda_program_t *program);

/* The batch of one step: sequence i processes q_len[i] >= 1 new tokens after past[i] >= 0 cached ones. A sequence with one new token and
 * a past decodes; all others prefill. `emit_count` sequences produce a token.
 * past[i] <= 2^36. HDA_E_STEP: more tokens than `max_rows`, or than that in each rank; HDA_E_OVERFLOW: an operator's counts could exceed
 * 62 bits.
 *
 * Ranks that share experts step together, each with a batch of its own. One without sequences still computes its experts for the others:
 * with `group_tokens` a batch may be empty, and only operators of HDA_ROWS_GROUP run. (vLLM runs one dummy token through all operators
 * there.) An all-to-all between ranks lasts as long as its busiest device: it receives what `group_tokens` send it, and a device of the
 * rank with the most tokens sends as much as if all ranks had as many. Each rank's step counts its own, the latest is the group's. */
typedef struct {
    int64_t sequence_count;
    const int64_t *q_len, *past;
    int64_t emit_count;
    int64_t
        group_tokens; /* of all data-parallel ranks that share experts with this one, its own included; 0: all have as many as this one */
} hda_batch_t;

typedef struct {
    double time; /* seconds */
    double
        bound; /* seconds: max of operations / peak, unique DRAM bytes / peak, link bytes / peak */
    double bound_by[3];           /* its three terms: compute, DRAM, links */
    double dram_bytes, p2p_bytes; /* bytes moved, per device */
    double macs[2]; /* multiply-accumulates on the arrays and on the MAC trees, per device */
    double busy[HDA_UNIT_COUNT];     /* seconds for which the busiest core's unit is occupied */
    double limited[HDA_BY_COUNT];    /* seconds by cause; they add up to time */
    double communication[2];         /* seconds of exchanges between cores and between devices */
    double exposed_communication[2]; /* seconds of them that nothing hides */
    double energy[HDA_ENERGY_COUNT]; /* joules of one device, by part */
    double phase_energy[2]; /* the same joules, of prefill and of decode; see hda_program_step */
} hda_step_t;

/* Per operator (index as in `ops`), summed over its repetitions. */
typedef struct {
    double exposed;                   /* seconds by which it pushed the end of the step */
    double unit_time[HDA_UNIT_COUNT]; /* seconds on each unit of the busiest core */
    double dram_bytes, p2p_bytes;
    double macs[2], useful_macs;
    double limited[HDA_BY_COUNT];
    double noc_bytes;                /* exchanged between cores, received by the busiest */
    double communication[2];         /* seconds of exchanges: between cores, between devices */
    double exposed_communication[2]; /* the part by which they pushed the end of the step */
    double energy;                   /* joules of one device, without what stands whatever runs */
} hda_op_step_t;

enum { HDA_EXACT = 1 }; /* execute every core and every layer, without the steady-state shortcuts */

/* Execute one step. `per_op` may be NULL, else holds op_count entries.
 *
 * Energy is counts x joules of hda_energy_t, and its standing watts x time. The attention of prompts is prefill's, that of decoding
 * sequences decode's, and of all else prefill has the share of its tokens in the step's (decode all, if it has none). */
hda_status_t hda_program_step(hda_program_t *program, const hda_batch_t *batch, int flags,
                              hda_step_t *step, hda_op_step_t *per_op);

/* The joules and watts of its device. */
const hda_energy_t *hda_program_energy(const hda_program_t *program);

/* How the compiler maps an operator when its step has `rows` rows. */
typedef struct {
    int64_t grid_rows, grid_cols;      /* cores: row groups x column groups */
    int64_t m, sa_columns, mt_columns; /* of the core; zero on idle cores */
    int64_t row_tiles, column_tiles;
    int32_t home;     /* where its input lives: 0 local memory, 1 global memory, 2 DRAM */
    int32_t dataflow; /* hda_flow_t of the operator: LATENCY also for grids of both, or ROW_SPLIT */
    double local_bytes;    /* activations held in local memory */
    double prefetch_bytes; /* weights that may be loaded ahead */
} hda_mapping_t;

hda_status_t hda_program_mapping(hda_program_t *program, int64_t op, int64_t rows, int64_t core,
                                 hda_mapping_t *mapping);

#endif
