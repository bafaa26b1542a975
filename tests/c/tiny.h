/* A small device and a small program: two layers of norm, GEMM, attention, experts, store and GEMM, with an embedding before and logits after. */
#ifndef HDA_TINY_H
#define HDA_TINY_H

#include <string.h>

#include "program.h"

enum { TINY_CORES = 4, TINY_DEVICES = 2, TINY_OPS = 10, TINY_ROWS = 64, TINY_PAGE = 4 };

typedef struct {
    int64_t router_of[TINY_CORES], order[TINY_CORES], next_link[1], no_link[1];
    int64_t next_device[TINY_DEVICES * TINY_DEVICES], device_to[TINY_DEVICES];
    int64_t device_latency[TINY_DEVICES];
    double device_bandwidth[TINY_DEVICES];
    hda_device_t device;
    hda_op_t ops[TINY_OPS];
    hda_block_t blocks[3];
    hda_segment_t segments[3];
} tiny_t;

/* Four cores on a crossbar, and two devices with a link of 50 GB/s and 1 us each way; the arrays of the networks live in `tiny`. */
static void tiny_init(tiny_t *tiny) {
    memset(tiny, 0, sizeof *tiny);
    for (int64_t i = 0; i < TINY_CORES; i++) tiny->order[i] = i;
    tiny->next_link[0] = -1;
    for (int64_t i = 0; i < TINY_DEVICES; i++) {
        tiny->device_to[i] = 1 - i;
        tiny->device_bandwidth[i] = 50e9;
        tiny->device_latency[i] = 1000000;
        for (int64_t j = 0; j < TINY_DEVICES; j++)
            tiny->next_device[i * TINY_DEVICES + j] = i == j ? -1 : i;
    }
    tiny->device = (hda_device_t){
        .frequency = 1e9,
        .core_count = TINY_CORES,
        .array = {16, 16, 1},
        .tree = {8, 8, 1},
        .vector_width = 16,
        .local_memory = 64e3,
        .global_memory = 1e6,
        .global_bandwidth = 256e9,
        .dram = {HDA_DRAM_LOG, 100e9, 0.0825, 0.5625, 0.05, 0.9, 0},
        .noc = {.node_count = TINY_CORES,
                .router_count = 1,
                .router_of = tiny->router_of,
                .link_from = tiny->no_link,
                .link_to = tiny->no_link,
                .link_dimension = tiny->no_link,
                .link_wraps = tiny->no_link,
                .next_link = tiny->next_link,
                .order = tiny->order,
                .router_delay = 3,
                .link_delay = 1,
                .port_delay = 3,
                .virtual_channels = 8,
                .buffer_flits = 8,
                .packet_flits = 16},
        .link_width = 64,
        .prefetch = 1,
        .device_count = TINY_DEVICES,
        .links = {TINY_DEVICES, TINY_DEVICES, TINY_DEVICES, tiny->device_to, tiny->next_device,
                  tiny->device_bandwidth, tiny->device_latency, 0},
        .p2p_bandwidth = 50e9,
        .activation_bytes = 2,
        .kv_bytes = 2,
    };
    const hda_op_t ops[TINY_OPS] = {
        {.kind = HDA_OP_LOAD, .after = {-1, -2}, .n = 128},
        {.kind = HDA_OP_VECTOR, .after = {-1, -2}, .n = 64, .vector_ops = 4, .reduce_bytes = 4},
        {.kind = HDA_OP_LINEAR,
         .after = {0, -2},
         .gather = 1,
         .k = 64,
         .n = 128,
         .weight_bytes = 2},
        {.kind = HDA_OP_PREFILL_ATTENTION,
         .after = {1, -2},
         .gather = 1,
         .vector_ops = 8,
         .kv_heads = 2,
         .group = 2,
         .key_dim = 16,
         .value_dim = 16,
         .kv_elements = 64},
        {.kind = HDA_OP_DECODE_ATTENTION,
         .after = {1, -2},
         .gather = 1,
         .vector_ops = 8,
         .kv_heads = 2,
         .group = 2,
         .key_dim = 16,
         .value_dim = 16,
         .window = 32,
         .kv_elements = 64},
        {.kind = HDA_OP_STORE, .after = {1, -2}, .n = 128},
        {.kind = HDA_OP_LINEAR,
         .after = {2, 3},
         .sync = HDA_SYNC_ALL_REDUCE,
         .gather = 1,
         .sync_bytes = 128,
         .k = 64,
         .n = 64,
         .weight_bytes = 2},
        {.kind = HDA_OP_EXPERTS,
         .after = {5, -2},
         .sync = HDA_SYNC_ALL_REDUCE,
         .gather = 1,
         .sync_bytes = 128,
         .k = 64,
         .n = 96,
         .weight_bytes = 1,
         .experts = 8,
         .top_k = 2},
        {.kind = HDA_OP_LINEAR,
         .rows = HDA_ROWS_LATENT,
         .after = {6, -2},
         .gather = 1,
         .k = 32,
         .n = 64,
         .weight_bytes = 2},
        {.kind = HDA_OP_LINEAR,
         .rows = HDA_ROWS_EMIT,
         .after = {-1, -2},
         .sync = HDA_SYNC_ALL_GATHER,
         .gather = 1,
         .sync_bytes = 2000,
         .k = 64,
         .n = 1000,
         .weight_bytes = 2},
    };
    memcpy(tiny->ops, ops, sizeof ops);
    const hda_block_t blocks[3] = {{0, 1}, {1, 8}, {9, 1}};
    memcpy(tiny->blocks, blocks, sizeof blocks);
    const hda_segment_t segments[3] = {{0, 1, 1, 0}, {1, 1, 2, 1}, {2, 1, 1, 0}};
    memcpy(tiny->segments, segments, sizeof segments);
}

static hda_status_t tiny_create(const tiny_t *tiny, hda_program_t **program) {
    return hda_program_create(&tiny->device, tiny->ops, TINY_OPS, tiny->blocks, 3, tiny->segments,
                              3, TINY_ROWS, TINY_PAGE, program);
}

#endif
