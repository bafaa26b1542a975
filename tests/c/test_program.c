/* Programs: create by hand, step, map, destroy; every documented refusal. */
#include <stddef.h>
#include <stdlib.h>

#include "check.h"
#include "tiny.h"

static hda_program_t *create(void) {
    static tiny_t tiny; /* the program borrows its network */
    tiny_init(&tiny);
    hda_program_t *program = NULL;
    CHECK_INT(tiny_create(&tiny, &program), HDA_OK);
    CHECK(program != NULL);
    return program;
}

static double total(const double *values, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) sum += values[i];
    return sum;
}

static void steps(void) {
    hda_program_t *program = create();
    const int64_t q_len[3] = {1, 1, 20}, past[3] = {5, 40, 8};
    hda_batch_t batch = {3, q_len, past, 2, 0};
    hda_step_t step, again, exact;
    hda_op_step_t per_op[TINY_OPS];
    CHECK_INT(hda_program_step(program, &batch, 0, &step, per_op), HDA_OK);
    CHECK(step.time > 0 && isfinite(step.time));
    CHECK_NEAR(total(step.limited, HDA_BY_COUNT), step.time, 1e-9 * step.time);
    CHECK(step.bound > 0 && step.bound <= step.time);
    double bytes = 0;
    for (int i = 0; i < TINY_OPS; i++) bytes += per_op[i].dram_bytes;
    CHECK_NEAR(bytes, step.dram_bytes, 1e-6 * bytes);
    CHECK_NEAR(per_op[0].dram_bytes, 22 * 128, 0);     /* one row of the table for each token */
    CHECK_NEAR(per_op[5].dram_bytes, 2 * 22 * 128, 0); /* keys and values of two layers */
    CHECK_INT(hda_program_step(program, &batch, 0, &again, NULL), HDA_OK);
    CHECK(memcmp(&step, &again, sizeof step) == 0);
    CHECK_INT(hda_program_step(program, &batch, HDA_EXACT, &exact, NULL), HDA_OK);
    CHECK_NEAR(exact.dram_bytes, step.dram_bytes, 0);
    CHECK_NEAR(exact.time, step.time, 1e-9 * step.time);
    for (int i = 0; i < 2; i++) {
        double communication = 0, exposed = 0;
        for (int op = 0; op < TINY_OPS; op++) {
            CHECK(per_op[op].exposed_communication[i] <= per_op[op].communication[i] * (1 + 1e-12));
            communication += per_op[op].communication[i];
            exposed += per_op[op].exposed_communication[i];
        }
        CHECK(step.communication[i] > 0);
        CHECK_NEAR(communication, step.communication[i], 1e-12 * communication);
        CHECK_NEAR(exposed, step.exposed_communication[i], 1e-12 * exposed);
        CHECK_NEAR(exact.exposed_communication[i], exposed, 1e-9 * step.time);
    }
    batch.emit_count = 0;
    CHECK_INT(hda_program_step(program, &batch, HDA_EXACT, &again, per_op), HDA_OK);
    CHECK_NEAR(per_op[9].dram_bytes, 0, 0);
    CHECK_NEAR(per_op[9].exposed, 0, 0);
    hda_program_destroy(program);
    hda_program_destroy(NULL);
}

static void refused_steps(void) {
    hda_program_t *program = create();
    hda_step_t step;
    const struct {
        int64_t count, q_len, past, emit;
        hda_status_t status;
    } cases[] = {
        {0, 1, 0, 0, HDA_E_RANGE},           {-1, 1, 0, 0, HDA_E_RANGE},
        {1, 1, 0, 2, HDA_E_RANGE},           {1, 1, 0, -1, HDA_E_RANGE},
        {1, 0, 0, 1, HDA_E_RANGE},           {1, -1, 0, 1, HDA_E_RANGE},
        {1, 1, -1, 1, HDA_E_RANGE},          {1, 1, ((int64_t)1 << 36) + 1, 1, HDA_E_RANGE},
        {1, 1, INT64_MAX, 1, HDA_E_RANGE},   {1, TINY_ROWS + 1, 0, 1, HDA_E_STEP},
        {1, INT64_MAX, 0, 1, HDA_E_STEP},    {1, TINY_ROWS, 0, 1, HDA_OK},
        {1, 1, (int64_t)1 << 36, 1, HDA_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const hda_batch_t batch = {cases[i].count, &cases[i].q_len, &cases[i].past, cases[i].emit,
                                   0};
        CHECK_INT(hda_program_step(program, &batch, 0, &step, NULL), cases[i].status);
    }
    hda_program_destroy(program);

    tiny_t tiny; /* 2^20 heads x 2 (2^20 + 2^20) dimensions x 2^36 cached tokens */
    tiny_init(&tiny);
    tiny.ops[4].kv_heads = tiny.ops[4].key_dim = tiny.ops[4].value_dim = (int64_t)1 << 20;
    tiny.ops[4].group = 1;
    tiny.ops[4].window = 0;
    CHECK_INT(tiny_create(&tiny, &program), HDA_OK);
    const int64_t one = 1, long_past = (int64_t)1 << 36;
    const hda_batch_t batch = {1, &one, &long_past, 1, 0};
    CHECK_INT(hda_program_step(program, &batch, 0, &step, NULL), HDA_E_OVERFLOW);
    hda_program_destroy(program);
}

/* Two ranks of one device share experts: operators 6 and 7 stay where they are, but op 7 sees the tokens of both. */
static void ranks(void) {
    tiny_t tiny;
    hda_program_t *program;
    tiny_init(&tiny);
    tiny.device.device_count = 1;
    tiny.device.rank_count = 2;
    tiny.device.expert_links = tiny.device.links;
    tiny.ops[7].rows = HDA_ROWS_GROUP;
    tiny.ops[7].sync = HDA_SYNC_ALL_TO_ALL;
    tiny.ops[7].experts = 4;
    tiny.ops[7].group = 2;
    CHECK_INT(tiny_create(&tiny, &program), HDA_OK);
    const int64_t q_len[2] = {1, 3}, past[2] = {5, 0};
    hda_batch_t batch = {2, q_len, past, 2, 0};
    hda_step_t step, same;
    hda_op_step_t ops[TINY_OPS];
    CHECK_INT(hda_program_step(program, &batch, 0, &step, NULL), HDA_OK);
    batch.group_tokens = 8; /* 2 ranks x 4 tokens, which is the default */
    CHECK_INT(hda_program_step(program, &batch, 0, &same, ops), HDA_OK);
    CHECK(memcmp(&step, &same, sizeof step) == 0);
    /* twice: 8 tokens x 2 experts / 2 devices rows of 64 x 96; 8 x 128 bytes, of which a device has half and sends half */
    CHECK_NEAR(ops[7].useful_macs, 2 * 8 * 64 * 96, 0);
    CHECK_NEAR(ops[7].p2p_bytes, 2 * 8 * 128 / 4, 0);
    CHECK_NEAR(ops[6].useful_macs, 2 * 4 * 64 * 64, 0);
    CHECK_NEAR(ops[6].p2p_bytes, 0, 0); /* alone in its rank */
    batch.group_tokens = 5; /* the other rank has one: this one sends as if both had 4 */
    CHECK_INT(hda_program_step(program, &batch, 0, &step, ops), HDA_OK);
    CHECK_NEAR(ops[7].useful_macs, 2 * 5 * 64 * 96, 0);
    CHECK_NEAR(ops[7].p2p_bytes, 2 * 8 * 128 / 4, 0);
    CHECK_INT(hda_program_step(program, &batch, HDA_EXACT, &same, NULL), HDA_OK);
    CHECK_NEAR(same.time, step.time, 1e-9 * step.time);
    hda_batch_t empty = {0, q_len, past, 0, 5}; /* no sequences: the experts alone */
    CHECK_INT(hda_program_step(program, &empty, 0, &step, ops), HDA_OK);
    for (int i = 0; i < TINY_OPS; i++)
        CHECK((ops[i].dram_bytes > 0 || ops[i].p2p_bytes > 0 || ops[i].exposed > 0) == (i == 7));
    CHECK_NEAR(ops[7].useful_macs, 2 * 5 * 64 * 96, 0);
    CHECK_NEAR(ops[7].p2p_bytes, 2 * 5 * 128 / 4, 0);
    CHECK(step.time > 0 && step.bound <= step.time);
    CHECK_INT(hda_program_step(program, &empty, HDA_EXACT, &same, NULL), HDA_OK);
    CHECK_NEAR(same.time, step.time, 1e-9 * step.time);
    const struct {
        int64_t count, group;
        hda_status_t status;
    } cases[] = {
        {2, 3, HDA_E_RANGE},    {2, -1, HDA_E_RANGE},           {0, 0, HDA_E_RANGE},
        {2, 4, HDA_OK},         {2, 4 + TINY_ROWS, HDA_OK},     {2, 5 + TINY_ROWS, HDA_E_STEP},
        {0, TINY_ROWS, HDA_OK}, {0, TINY_ROWS + 1, HDA_E_STEP}, {0, INT64_MAX, HDA_E_STEP}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const hda_batch_t b = {cases[i].count, q_len, past, 0, cases[i].group};
        CHECK_INT(hda_program_step(program, &b, 0, &step, NULL), cases[i].status);
    }
    hda_program_destroy(program);
    program = create(); /* shares nothing: there are no others' tokens */
    batch.group_tokens = 4;
    CHECK_INT(hda_program_step(program, &batch, 0, &step, NULL), HDA_OK);
    batch.group_tokens = 5;
    CHECK_INT(hda_program_step(program, &batch, 0, &step, NULL), HDA_E_RANGE);
    CHECK_INT(hda_program_step(program, &empty, 0, &step, NULL), HDA_E_RANGE);
    hda_program_destroy(program);
}

static void mapping(void) {
    hda_program_t *program = create();
    hda_mapping_t mapped;
    for (int64_t op = 0; op < TINY_OPS; op++)
        for (int64_t core = 0; core < TINY_CORES; core++)
            CHECK_INT(hda_program_mapping(program, op, 16, core, &mapped), HDA_OK);
    CHECK_INT(hda_program_mapping(program, 2, 16, 0, &mapped), HDA_OK);
    CHECK(mapped.grid_rows >= 1 && mapped.grid_rows * mapped.grid_cols <= TINY_CORES);
    CHECK_INT(mapped.sa_columns + mapped.mt_columns,
              mapped.dataflow == HDA_FLOW_ROW_SPLIT ? 128 : hda_ceil_div(128, mapped.grid_cols));
    const int64_t bad[][3] = {{-1, 1, 0}, {TINY_OPS, 1, 0},  {0, 0, 0}, {0, TINY_ROWS + 1, 0},
                              {0, 1, -1}, {0, 1, TINY_CORES}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(hda_program_mapping(program, bad[i][0], bad[i][1], bad[i][2], &mapped),
                  HDA_E_RANGE);
    hda_program_destroy(program);
}

/* Change one field, expect a refusal. */
#define REFUSE(field, ...)                                                 \
    do {                                                                   \
        const double values_[] = {__VA_ARGS__};                            \
        for (size_t v_ = 0; v_ < sizeof values_ / sizeof *values_; v_++) { \
            tiny_init(&tiny);                                              \
            tiny.field = (__typeof__(tiny.field))values_[v_];              \
            CHECK_INT(tiny_create(&tiny, &program), HDA_E_RANGE);          \
            CHECK(program == NULL);                                        \
        }                                                                  \
    } while (0)

static void refused_programs(void) {
    tiny_t tiny;
    hda_program_t *program;
    const double above = (1 << 20) + 1;
    REFUSE(device.frequency, 0, -1, NAN, INFINITY, 1e-31, 1e31);
    REFUSE(device.core_count, 0, -1, 5, 4e18);
    REFUSE(device.array.rows, 0, -1, above);
    REFUSE(device.array.cols, 0, -1, above);
    REFUSE(device.array.lanes, 0, -1, above);
    REFUSE(device.tree.lanes, -1, above);
    REFUSE(device.tree.width, 0, -1, above);
    REFUSE(device.vector_width, 0, -1);
    REFUSE(device.local_memory, 0, -1, NAN, 1e19);
    REFUSE(device.global_memory, -1, NAN, INFINITY);
    REFUSE(device.global_bandwidth, 0, -1, NAN, INFINITY);
    REFUSE(device.dram.kind, -1, 3);
    REFUSE(device.dram.bandwidth, 0, -1, NAN, INFINITY);
    REFUSE(device.dram.maximum, 0, -1, NAN, 1.01);
    REFUSE(device.dram.slope, -1, NAN);
    REFUSE(device.dram.intercept, NAN, INFINITY);
    REFUSE(device.dram.minimum, -1, NAN);
    REFUSE(device.noc.node_count, 0, -1, 3);
    REFUSE(device.noc.router_count, -1, 0);
    REFUSE(device.noc.link_count, -1);
    REFUSE(device.noc.router_delay, -1, 0, 257, above);
    REFUSE(device.link_width, 0, -1, NAN, INFINITY);
    REFUSE(device.device_count, 0, -1, above);
    REFUSE(device.noc.link_delay, -1, 257);
    REFUSE(device.noc.port_delay, -1, 257);
    REFUSE(device.noc.virtual_channels, -1, 0, HDA_NOC_CHANNELS + 1);
    REFUSE(device.noc.buffer_flits, -1, 0, HDA_NOC_BUFFER + 1);
    REFUSE(device.noc.packet_flits, -1, 0);
    REFUSE(device.noc.columns, -1);
    REFUSE(device.p2p_algorithm, -1, HDA_P2P_COUNT, 1000);
    REFUSE(device.dataflow, -1, 4);
    REFUSE(device.p2p_bandwidth, 0, NAN);
    REFUSE(device.device_count, 3); /* the links are those of two */
    REFUSE(device.links.device_count, 0, 1, 3);
    REFUSE(device.rank_count, -1, 2, above); /* the ranks have no links */
    REFUSE(device.links.node_count, 0, 1);
    REFUSE(device.links.link_count, -1, 0, 1);
    REFUSE(device_to[1], -1, TINY_DEVICES);
    REFUSE(device_bandwidth[1], 0, -1, NAN, INFINITY);
    REFUSE(device_latency[1], -1, 2e15);
    REFUSE(next_device[1], -2, TINY_DEVICES);
    REFUSE(device.launch_overhead, -1, NAN);
    REFUSE(device.activation_bytes, 0, -2, NAN);
    REFUSE(device.kv_bytes, 0, -2, NAN);
    REFUSE(order[0], -1, TINY_CORES);
    REFUSE(router_of[3], -1, 1);
    REFUSE(next_link[0], -2, 0);

    REFUSE(ops[2].kind, -1, 7);
    REFUSE(ops[2].rows, -1, 4, 5); /* 4, of all ranks, are those of experts and vector operators */
    REFUSE(ops[7].rows, -1, 5);
    REFUSE(ops[2].sync, -1, 6);
    REFUSE(ops[2].sync_bytes, -1, NAN, INFINITY);
    REFUSE(ops[5].sync, 1, 2, 3, 4); /* a store */
    REFUSE(ops[2].after[0], -3, 1, 2,
           1000); /* op 2 is the second of its block: it may wait for 0 */
    REFUSE(ops[2].after[1], -3, 1);
    REFUSE(ops[2].k, 0, -1, 4e18, 4294967296.0); /* 2^32 x 128 > 2^38 */
    REFUSE(ops[2].n, 0, -1, 4e18);
    REFUSE(ops[2].weight_bytes, 0, -1, NAN);
    REFUSE(ops[1].n, -1, 4e18);
    REFUSE(ops[1].vector_ops, -1, NAN);
    REFUSE(ops[1].reduce_bytes, -1, NAN);
    REFUSE(ops[3].kv_heads, 0, -1, above);
    REFUSE(ops[3].group, 0, -1, above);
    REFUSE(ops[4].key_dim, 0, -1, above);
    REFUSE(ops[4].value_dim, 0, -1, above);
    REFUSE(ops[4].window, -1);
    REFUSE(ops[4].kv_elements, 0, -1);
    REFUSE(ops[7].experts, 0, -1, 1, above);
    REFUSE(ops[7].top_k, 0, -1, 9);
    REFUSE(ops[7].group, -1, above);
    REFUSE(blocks[1].first, -1, 3, INT32_MAX);
    REFUSE(blocks[1].count, 0, -1, 10, INT32_MAX);
    REFUSE(segments[1].first, -1, 3, INT32_MAX);
    REFUSE(segments[1].count, 0, -1, 3, INT32_MAX);
    REFUSE(segments[1].repeat, 0, -1, above);
    REFUSE(segments[1].layers, -1, above);

    tiny_init(&tiny);
    tiny.blocks[1].count = 3; /* operators outside all blocks are checked too */
    tiny.ops[6].weight_bytes = 0;
    CHECK_INT(tiny_create(&tiny, &program), HDA_E_RANGE);
    tiny_init(&tiny);
    const struct {
        int64_t ops, blocks, segments, rows, page;
    } counts[] = {{0, 3, 3, 1, 1},
                  {TINY_OPS, 0, 3, 1, 1},
                  {TINY_OPS, 3, 0, 1, 1},
                  {TINY_OPS, 3, 3, 0, 1},
                  {TINY_OPS, 3, 3, 1, 0},
                  {TINY_OPS, 3, 3, 1 << 25, 1},
                  {TINY_OPS, 3, 3, 1, 1 << 21},
                  {-1, 3, 3, 1, 1}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        CHECK_INT(hda_program_create(&tiny.device, tiny.ops, counts[i].ops, tiny.blocks,
                                     counts[i].blocks, tiny.segments, counts[i].segments,
                                     counts[i].rows, counts[i].page, &program),
                  HDA_E_RANGE);
    tiny.device.shared = 1; /* then the network is not looked at */
    tiny.device.noc = (hda_noc_t){0};
    CHECK_INT(tiny_create(&tiny, &program), HDA_OK);
    hda_program_destroy(program);
    tiny_init(&tiny);
    tiny.device.device_count = 1; /* nor are the links of one device, unless it sends */
    tiny.device.links = (hda_links_t){0};
    tiny.device.p2p_bandwidth = 0;
    CHECK_INT(tiny_create(&tiny, &program), HDA_OK);
    hda_program_destroy(program);
    tiny.ops[6].sync = HDA_SYNC_SEND;
    CHECK_INT(tiny_create(&tiny, &program), HDA_E_RANGE);
}

/* Every dataflow: the mapping follows the name, and the best is no slower than any. */
static void dataflows(void) {
    const int64_t q_len[3] = {1, 1, 20}, past[3] = {5, 40, 8};
    const hda_batch_t batch = {3, q_len, past, 2, 0};
    for (int32_t flow = HDA_FLOW_AUTO; flow <= HDA_FLOW_ROW_SPLIT; flow++)
        for (int32_t shared = 0; shared < 2; shared++) {
            tiny_t tiny;
            tiny_init(&tiny);
            tiny.device.dataflow = flow;
            tiny.device.shared = shared;
            hda_program_t *program;
            CHECK_INT(tiny_create(&tiny, &program), HDA_OK);
            hda_step_t step, exact;
            CHECK_INT(hda_program_step(program, &batch, 0, &step, NULL), HDA_OK);
            CHECK_INT(hda_program_step(program, &batch, HDA_EXACT, &exact, NULL), HDA_OK);
            CHECK(step.time > 0 && step.bound <= step.time);
            CHECK_NEAR(exact.time, step.time, 1e-9 * step.time);
            hda_mapping_t mapped;
            double columns = 0;
            for (int64_t core = 0; core < TINY_CORES; core++) {
                CHECK_INT(hda_program_mapping(program, 2, 22, core, &mapped), HDA_OK);
                columns += (double)(mapped.m * (mapped.sa_columns + mapped.mt_columns));
            }
            if (flow == HDA_FLOW_THROUGHPUT) CHECK_INT(mapped.grid_cols, 1);
            if (flow == HDA_FLOW_LATENCY || flow == HDA_FLOW_ROW_SPLIT)
                CHECK_INT(mapped.grid_rows, 1);
            if (flow == HDA_FLOW_LATENCY) CHECK_INT(mapped.dataflow, HDA_FLOW_LATENCY);
            if (flow ==
                HDA_FLOW_ROW_SPLIT) /* cores that share a memory have no partial sums to exchange */
                CHECK_INT(mapped.dataflow, shared ? HDA_FLOW_LATENCY : HDA_FLOW_ROW_SPLIT);
            /* all columns, or a part of each of them on every core */
            const int split = mapped.dataflow == HDA_FLOW_ROW_SPLIT;
            CHECK_NEAR(columns, 22 * 128 * (split ? (double)mapped.grid_cols : 1), 0);
            hda_program_destroy(program);
        }
}

/* One exchange of 100 kB in all between two devices: a link takes 1 us, and 1 us for 50 kB. */
static void exchanges(void) {
    const double us = 1e-6;
    const struct {
        int32_t sync, algorithm;
        double time, bytes, least;
    } cases[] = {
        {HDA_SYNC_ALL_GATHER, HDA_P2P_AUTO, 2 * us, 50e3, 1 * us},
        {HDA_SYNC_ALL_GATHER, HDA_P2P_RING, 2 * us, 50e3, 1 * us},
        {HDA_SYNC_ALL_GATHER, HDA_P2P_TREE, 2 * us, 50e3, 1 * us},
        {HDA_SYNC_ALL_REDUCE, HDA_P2P_DIRECT, 3 * us, 100e3, 2 * us}, /* all at once */
        {HDA_SYNC_ALL_REDUCE, HDA_P2P_TWO_SHOT, 4 * us, 100e3, 2 * us},
        {HDA_SYNC_ALL_REDUCE, HDA_P2P_RING, 4 * us, 100e3, 2 * us},
        {HDA_SYNC_ALL_REDUCE, HDA_P2P_RECURSIVE, 4 * us, 100e3, 2 * us},
        {HDA_SYNC_ALL_REDUCE, HDA_P2P_TREE, 6 * us, 100e3, 2 * us}, /* there and back */
        {HDA_SYNC_ALL_REDUCE, HDA_P2P_AUTO, 3 * us, 100e3, 2 * us}, /* the fastest of them */
        {HDA_SYNC_ALL_TO_ALL, HDA_P2P_AUTO, 1.5 * us, 25e3, 0.5 * us},
        {HDA_SYNC_ALL_TO_ALL, HDA_P2P_RING, 1.5 * us, 25e3, 0.5 * us}, /* there is one way */
        {HDA_SYNC_SEND, HDA_P2P_AUTO, 3 * us, 100e3, 2 * us},
        {HDA_SYNC_SEND, HDA_P2P_TREE, 3 * us, 100e3, 2 * us},
        {HDA_SYNC_NONE, HDA_P2P_AUTO, 0, 0, 0},
    };
    const int64_t q_len = 10, past = 0;
    const hda_batch_t batch = {1, &q_len, &past, 0, 0};
    const hda_segment_t twice = {0, 1, 2, 1};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny_t tiny;
        tiny_init(&tiny);
        tiny.ops[0] = (hda_op_t){
            .kind = HDA_OP_VECTOR, .after = {-1, -2}, .sync = cases[i].sync, .sync_bytes = 10e3};
        tiny.device.p2p_algorithm = cases[i].algorithm;
        hda_program_t *program;
        CHECK_INT(hda_program_create(&tiny.device, tiny.ops, 1, tiny.blocks, 1, &twice, 1,
                                     TINY_ROWS, TINY_PAGE, &program),
                  HDA_OK);
        for (int flags = 0; flags <= HDA_EXACT; flags++) {
            hda_step_t step;
            hda_op_step_t per_op;
            CHECK_INT(hda_program_step(program, &batch, flags, &step, &per_op), HDA_OK);
            CHECK_NEAR(step.time, 2 * cases[i].time, 5e-12);
            CHECK_NEAR(step.communication[1], 2 * cases[i].time, 5e-12);
            CHECK_NEAR(step.exposed_communication[1], 2 * cases[i].time, 5e-12);
            CHECK_NEAR(step.limited[HDA_BY_P2P], 2 * cases[i].time, 5e-12);
            CHECK_NEAR(step.busy[HDA_UNIT_P2P], 2 * cases[i].time, 5e-12);
            CHECK_NEAR(step.p2p_bytes, 2 * cases[i].bytes, 0);
            CHECK_NEAR(per_op.p2p_bytes, 2 * cases[i].bytes, 0);
            CHECK_NEAR(step.bound, 2 * cases[i].least, 1e-15);
            CHECK_NEAR(step.communication[0], 0, 0);
        }
        hda_program_destroy(program);
    }
}

/* Tokens shared between devices: 22 of them are 11 for each of two, 21 too. */
static void shares(void) {
    for (int64_t tokens = 21; tokens <= 22; tokens++) {
        tiny_t tiny;
        tiny_init(&tiny);
        tiny.ops[0].rows = HDA_ROWS_SHARE;
        hda_program_t *program;
        CHECK_INT(tiny_create(&tiny, &program), HDA_OK);
        const int64_t past = 0;
        const hda_batch_t batch = {1, &tokens, &past, 1, 0};
        hda_step_t step;
        hda_op_step_t per_op[TINY_OPS];
        CHECK_INT(hda_program_step(program, &batch, 0, &step, per_op), HDA_OK);
        CHECK_NEAR(per_op[0].dram_bytes, 11 * 128, 0);
        hda_program_destroy(program);
    }
}

int main(void) {
    steps();
    refused_steps();
    ranks();
    mapping();
    refused_programs();
    dataflows();
    exchanges();
    shares();
    return failures != 0;
}
