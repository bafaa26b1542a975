/* A run of hda_serve with arrays of a fixed size. */
#ifndef HDA_SERVE_RUN_H
#define HDA_SERVE_RUN_H

#include "serve.h"

enum { RUN_REQUESTS = 16, RUN_IDS = 256 };

typedef struct {
    double arrival[RUN_REQUESTS];
    int64_t input_len[RUN_REQUESTS], output_len[RUN_REQUESTS], parent[RUN_REQUESTS];
    int64_t hash_offsets[RUN_REQUESTS + 1], hash_ids[RUN_IDS];
    hda_request_t out[RUN_REQUESTS];
    int32_t next[RUN_REQUESTS], slot[RUN_REQUESTS];
    hda_requests_t requests;
} run_t;

/* Points `run->requests` to the arrays; parents and hashes are left out. */
static hda_requests_t *run_requests(run_t *run, int64_t count) {
    run->requests = (hda_requests_t){.count = count,
                                     .arrival = run->arrival,
                                     .input_len = run->input_len,
                                     .output_len = run->output_len,
                                     .out = run->out,
                                     .next = run->next,
                                     .slot = run->slot};
    return &run->requests;
}

#endif
