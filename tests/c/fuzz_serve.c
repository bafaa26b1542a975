/* Requests over random clusters: whatever hda_serve accepts ends, with every request finished or rejected and sane numbers. */
#include "fuzz.h"
#include "serve_run.h"
#include "tiny.h"

enum { INSTANCES = 4, RECORDS = 8, GAPS = RUN_REQUESTS + 4 };

static hda_program_t *make_program(void) {
    static tiny_t tiny;
    hda_program_t *program = NULL;
    tiny_init(&tiny);
    SANE(tiny_create(&tiny, &program) == HDA_OK);
    return program;
}

static int32_t narrow(int64_t value) { return (int32_t)(uint32_t)((uint64_t)value & 0xffffffffU); }

static hda_instance_t make_instance(bytes_t *in, hda_program_t *const *programs, int32_t role) {
    hda_instance_t s = {.programs = programs, .rank_count = 1, .role = role};
    s.program_count = byte(in) % 2 ? 1 : 1 + byte(in) % 5; /* even numbers are refused */
    s.config = (hda_serve_config_t){
        .max_num_seqs = integer(in, 1, RUN_REQUESTS),
        .max_num_batched_tokens = integer(in, 1, TINY_ROWS),
        .block_size = byte(in) % 4 ? TINY_PAGE : integer(in, 1, 16),
        .block_count = integer(in, 0, 40),
        .chunked_prefill = byte(in) % 4 != 0,
        .prefix_caching = byte(in) % 2,
        .async_scheduling = byte(in) % 2,
        .reserve_full_prompt = byte(in) % 2,
        .policy = narrow(byte(in) % 2 ? HDA_POLICY_VLLM : small(in, 0, HDA_POLICY_VLLM_V0)),
        .host_overhead = byte(in) % 2 ? 0 : number(in, 1e-7, 1e-3)};
    if (s.config.policy == HDA_POLICY_CUSTOM) s.config.policy = 0; /* there is none */
    s.kv_bytes = number(in, 1, 1e6);
    s.kv_bandwidth = byte(in) % 2 ? INFINITY : number(in, 1e6, 1e12);
    s.kv_latency = byte(in) % 2 ? 0 : number(in, 1e-9, 1e-3);
    s.kv_overlap = byte(in) % 2 ? 0 : number(in, 0.1, 1);
    return s;
}

static hda_requests_t *make_requests(bytes_t *in, run_t *run) {
    const int64_t count = 1 + byte(in) % RUN_REQUESTS;
    const int children = byte(in) % 3 == 0, hashes = byte(in) % 2;
    double now = 0;
    for (int64_t i = 0; i < count; i++) {
        now += byte(in) % 3 == 0 ? number(in, 1e-6, 1e-2) : 0;
        run->parent[i] = children && i > 0 && byte(in) % 2 ? small(in, 0, i - 1) : -1;
        run->arrival[i] = run->parent[i] < 0 ? now : number(in, 1e-6, 1e-2);
        run->input_len[i] = integer(in, 1, 60);
        run->output_len[i] = integer(in, 1, 20);
        /* a run that would not end in time shows nothing */
        if (run->output_len[i] > 1000) run->output_len[i] = 1000;
        if (run->input_len[i] > 1000) run->input_len[i] = 1000;
        const int64_t ids = byte(in) % 8;
        run->hash_offsets[i + 1] = run->hash_offsets[i] + ids;
        for (int64_t j = 0; j < ids; j++)
            run->hash_ids[run->hash_offsets[i] + j] = 8 * j + byte(in) % 2;
    }
    hda_requests_t *requests = run_requests(run, count);
    if (children) requests->parent = run->parent;
    if (hashes) {
        requests->hash_ids = run->hash_ids;
        requests->hash_offsets = run->hash_offsets;
        requests->hash_block = small(in, 1, 16);
        requests->hash_outputs = byte(in) % 2;
    }
    return requests;
}

static int64_t check_steps(const hda_step_record_t *steps, int64_t count,
                           const hda_instance_t *instances, int64_t instance_count) {
    int64_t preemptions = 0;
    for (int64_t i = 0; i < count; i++) {
        const hda_step_record_t *r = &steps[i];
        SANE(r->instance >= 0 && r->instance < instance_count);
        const hda_serve_config_t *config = &instances[r->instance].config;
        SANE(isfinite(r->start) && r->start >= 0 && isfinite(r->time) && r->time >= 0);
        SANE(r->kv_blocks >= 1 && r->kv_blocks <= config->block_count);
        SANE(r->running >= 1 && r->running <= config->max_num_seqs && r->waiting >= 0);
        SANE(r->prefill_tokens >= 0 && r->decode_tokens >= 0);
        SANE(r->prefill_tokens + r->decode_tokens >= 1);
        SANE(r->prefill_tokens + r->decode_tokens <= config->max_num_batched_tokens);
        preemptions += r->preemptions;
    }
    return preemptions;
}

static void check_requests(const run_t *run, int64_t gaps, int64_t preemptions) {
    for (int64_t i = 0; i < run->requests.count; i++) {
        const hda_request_t *r = &run->out[i];
        SANE(r->state == HDA_REQUEST_FINISHED || r->state == HDA_REQUEST_REJECTED);
        SANE(r->arrival >= 0);
        if (r->state == HDA_REQUEST_REJECTED) {
            SANE(r->generated == 0 && r->scheduled < 0);
            continue;
        }
        SANE(r->generated == run->output_len[i] && r->scheduled >= r->arrival);
        SANE(r->first_token >= r->scheduled && r->last_token >= r->first_token);
        SANE(r->cached >= 0 && r->cached < run->input_len[i]);
        gaps -= r->generated - 1;
        preemptions -= r->preemptions;
    }
    SANE(gaps == 0 && preemptions == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static hda_program_t *program = NULL;
    if (program == NULL) program = make_program();
    hda_program_t *const programs[5] = {program, program, program, program, program};
    bytes_t in = {data, size, 0};
    in.tame = byte(&in) % 4 != 0;
    static run_t run;
    memset(&run, 0, sizeof run);
    hda_requests_t *requests = make_requests(&in, &run);
    const int32_t router = narrow(small(&in, 0, HDA_ROUTE_SPLITWISE));
    hda_instance_t instances[INSTANCES];
    const int64_t count = 1 + byte(&in) % INSTANCES;
    const int pools = byte(&in) % 2 || router == HDA_ROUTE_SPLITWISE;
    for (int64_t i = 0; i < count; i++)
        instances[i] = make_instance(&in, programs, pools ? narrow((i + 1) % 3) : HDA_ROLE_BOTH);
    hda_serve_t *serve;
    if (hda_serve_create(instances, count, router, requests, NULL, NULL, &serve) != HDA_OK)
        return 0;
    hda_step_record_t records[RECORDS];
    hda_gap_t gaps[GAPS];
    int64_t step_count, gap_count, gap_total = 0, preemptions = 0, finished;
    double now, busy[5];
    do {
        const hda_status_t status = hda_serve_run(
            serve, 1 + byte(&in) % RECORDS, records, &step_count,
            hda_min64(GAPS, hda_serve_most_gaps(serve) + byte(&in) % 4), gaps, &gap_count);
        SANE(status == HDA_OK || status == HDA_E_STEP || status == HDA_E_RANGE ||
             status == HDA_E_OVERFLOW);
        if (status != HDA_OK) goto out; /* a step beyond the program's limits */
        preemptions += check_steps(records, step_count, instances, count);
        for (int64_t i = 0; i < gap_count; i++) {
            SANE(gaps[i].count >= 1 && gaps[i].seconds >= 0);
            gap_total += gaps[i].count;
        }
    } while (step_count > 0);
    hda_serve_progress(serve, &finished, &now);
    SANE(finished == requests->count && isfinite(now));
    check_requests(&run, gap_total, preemptions);
    for (int64_t i = 0; i < count; i++) {
        hda_serve_busy(serve, i, busy);
        for (int64_t j = 0; j < instances[i].program_count; j++)
            SANE(busy[j] >= 0 && busy[j] <= now * (1 + 1e-6));
    }
out:
    hda_serve_destroy(serve);
    return 0;
}
