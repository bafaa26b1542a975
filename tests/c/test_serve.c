/* Serving: by hand on one instance, a pipeline and a pair of pools; every documented refusal. */
#include "check.h"
#include "serve_run.h"
#include "tiny.h"

static const hda_serve_config_t CONFIG = {.max_num_seqs = 8,
                                          .max_num_batched_tokens = 16,
                                          .block_size = TINY_PAGE,
                                          .block_count = 7,
                                          .chunked_prefill = 1,
                                          .reserve_full_prompt = 1};

static hda_program_t *create_program(void) {
    static tiny_t tiny;
    hda_program_t *program = NULL;
    tiny_init(&tiny);
    CHECK_INT(tiny_create(&tiny, &program), HDA_OK);
    return program;
}

static hda_instance_t instance_of(hda_program_t *const *programs, int64_t count) {
    return (hda_instance_t){.programs = programs,
                            .program_count = count,
                            .rank_count = 1,
                            .config = CONFIG,
                            .kv_bandwidth = INFINITY};
}

static hda_serve_t *start(const hda_instance_t *instances, int64_t count, hda_requests_t *r) {
    hda_serve_t *serve = NULL;
    CHECK_INT(hda_serve_create(instances, count, HDA_ROUTE_VLLM, r, NULL, NULL, &serve), HDA_OK);
    return serve;
}

static void serving(void) {
    hda_program_t *program = create_program();
    /* 10 + 6 - 1 = 15 tokens need 4 blocks of 4; 7 blocks hold one of them and a bit; the fourth needs 9 blocks */
    static run_t run = {
        .arrival = {0, 0, 1e-3, 1e-3}, .input_len = {10, 10, 1, 30}, .output_len = {6, 6, 1, 7}};
    const hda_instance_t instance = instance_of(&program, 1);
    hda_serve_t *serve = start(&instance, 1, run_requests(&run, 4));
    hda_step_record_t records[4];
    hda_gap_t gaps[8];
    int64_t step_count, gap_count, all_gaps = 0, preemptions = 0, steps = 0, finished = 0;
    double now = 0, end = 0;
    CHECK_INT(hda_serve_most_gaps(serve), 4);
    CHECK_INT(hda_serve_run(serve, 0, records, &step_count, 8, gaps, &gap_count), HDA_E_RANGE);
    CHECK_INT(hda_serve_run(serve, 4, records, &step_count, 3, gaps, &gap_count), HDA_E_RANGE);
    do {
        CHECK_INT(hda_serve_run(serve, 4, records, &step_count, 8, gaps, &gap_count), HDA_OK);
        for (int64_t i = 0; i < step_count; i++, steps++) {
            CHECK(records[i].start >= end);
            end = records[i].start + records[i].time;
            CHECK(records[i].kv_blocks >= 1 && records[i].kv_blocks <= 7);
            preemptions += records[i].preemptions;
        }
        for (int64_t i = 0; i < gap_count; i++) all_gaps += gaps[i].count;
    } while (step_count > 0);
    CHECK_INT(all_gaps, 5 + 5);
    for (int i = 0; i < 3; i++) {
        const hda_request_t *out = &run.out[i];
        CHECK_INT(out->state, HDA_REQUEST_FINISHED);
        CHECK_INT(out->generated, run.output_len[i]);
        CHECK(out->scheduled >= run.arrival[i] && out->first_token > out->scheduled);
        CHECK(out->last_token >= out->first_token);
        preemptions -= out->preemptions;
    }
    CHECK_INT(preemptions, 0);
    CHECK(run.out[1].preemptions > 0);
    CHECK_INT(run.out[3].state, HDA_REQUEST_REJECTED);
    CHECK_NEAR(run.out[3].first_token, -1, 0);
    hda_instance_totals_t totals;
    hda_serve_totals(serve, &totals);
    CHECK_INT(totals.steps, steps);
    CHECK_NEAR(totals.end, end, 0);
    hda_serve_progress(serve, &finished, &now);
    CHECK_INT(finished, 4);
    hda_serve_destroy(serve);
    hda_serve_destroy(NULL);
    hda_program_destroy(program);
}

/* One request alone passes through stage, link and stage one after the other; two requests overlap. */
static void pipeline(void) {
    static tiny_t tiny;
    hda_program_t *stage = create_program(), *link = NULL;
    tiny_init(&tiny);
    tiny.ops[0] = (hda_op_t){
        .kind = HDA_OP_VECTOR, .after = {-1, -2}, .sync = HDA_SYNC_SEND, .sync_bytes = 50e3};
    const hda_segment_t once = {0, 1, 1, 0};
    tiny.device.device_count = 1;
    CHECK_INT(hda_program_create(&tiny.device, tiny.ops, 1, tiny.blocks, 1, &once, 1, TINY_ROWS,
                                 TINY_PAGE, &link),
              HDA_OK);
    hda_program_t *const programs[3] = {stage, link, stage};
    static run_t run = {.arrival = {0, 0}, .input_len = {10, 10}, .output_len = {5, 5}};
    hda_instance_t instance = instance_of(programs, 3);
    instance.config.block_count = 40;
    instance.config.max_num_batched_tokens = 10;
    double alone = 0, busy[3];
    for (int64_t count = 1; count <= 2; count++) {
        hda_serve_t *serve = start(&instance, 1, run_requests(&run, count));
        hda_step_record_t records[16];
        hda_gap_t gaps[80];
        int64_t step_count, gap_count;
        CHECK_INT(hda_serve_run(serve, 16, records, &step_count, 80, gaps, &gap_count), HDA_OK);
        CHECK_INT(step_count, 5 * count);
        CHECK_INT(gap_count, 4 * count);
        const double end = records[step_count - 1].start + records[step_count - 1].time;
        hda_serve_busy(serve, 0, busy);
        CHECK_NEAR(busy[0], busy[2], 1e-12);
        /* 10 tokens, then 4 x 1: 14 x 50 kB at 50 GB/s is 14 us, and five times the latency of 1 us */
        CHECK_NEAR(busy[1], (double)count * 19e-6, 1e-12);
        if (count == 1) {
            alone = end;
            CHECK_NEAR(end, busy[0] + busy[1] + busy[2], 1e-12);
        } else {
            CHECK(end < 2 * alone - 1e-6 && end > alone);
            CHECK(records[1].start >= records[0].start &&
                  records[1].start < records[0].start + records[0].time);
        }
        hda_serve_destroy(serve);
    }
    tiny.device.p2p_bandwidth = 0;
    hda_program_t *none = NULL;
    CHECK_INT(hda_program_create(&tiny.device, tiny.ops, 1, tiny.blocks, 1, &once, 1, TINY_ROWS,
                                 TINY_PAGE, &none),
              HDA_E_RANGE);
    hda_program_destroy(link);
    hda_program_destroy(stage);
}

/* Two prompts at once, one after the other over the link: 10 tokens of 1 kB at 1 GB/s take 10 us. */
static void pools(void) {
    hda_program_t *program = create_program();
    static run_t run = {.arrival = {0, 0}, .input_len = {10, 10}, .output_len = {2, 2}};
    hda_instance_t pair[2] = {instance_of(&program, 1), instance_of(&program, 1)};
    for (int i = 0; i < 2; i++) {
        pair[i].role = i == 0 ? HDA_ROLE_PREFILL : HDA_ROLE_DECODE;
        pair[i].kv_bytes = 1000;
        pair[i].kv_bandwidth = i == 0 ? 1e9 : 2e9; /* the slower end sets the pace */
        pair[i].config.max_num_batched_tokens = 32;
    }
    hda_serve_t *serve = start(pair, 2, run_requests(&run, 2));
    hda_step_record_t records[4];
    hda_gap_t gaps[16];
    int64_t step_count, gap_count;
    CHECK_INT(hda_serve_run(serve, 4, records, &step_count, 16, gaps, &gap_count), HDA_OK);
    CHECK_INT(step_count, 3); /* both prompts; then each token in a step of its own */
    CHECK_INT(records[0].prefill_tokens, 20);
    CHECK_NEAR(records[1].start, records[0].time + 10e-6, 1e-15);
    CHECK_NEAR(records[2].start,
               hda_fmax(records[0].time + 20e-6, records[1].start + records[1].time), 1e-15);
    hda_instance_totals_t totals[2];
    hda_serve_totals(serve, totals);
    CHECK_NEAR(totals[0].sent_bytes, 20e3, 0);
    CHECK_NEAR(totals[0].sent_time, 20e-6, 1e-15);
    CHECK_NEAR(totals[1].sent_bytes, 0, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(run.out[i].rank, 0);
        CHECK_INT(run.out[i].decode_rank, 1);
        CHECK_INT(run.out[i].state, HDA_REQUEST_FINISHED);
    }
    hda_serve_destroy(serve);
    hda_program_destroy(program);
}

static void refuse(const hda_instance_t *instance, hda_requests_t *requests, int line) {
    hda_serve_t *serve = NULL;
    if (hda_serve_create(instance, 1, HDA_ROUTE_VLLM, requests, NULL, NULL, &serve) !=
            HDA_E_RANGE ||
        serve != NULL) {
        fprintf(stderr, "line %d: not refused\n", line);
        failures++;
        hda_serve_destroy(serve);
    }
}

#define REFUSE(field, value)                           \
    do {                                               \
        hda_instance_t bad = good;                     \
        bad.field = value;                             \
        refuse(&bad, run_requests(&run, 1), __LINE__); \
    } while (0)

static void refusals(void) {
    hda_program_t *program = create_program();
    hda_program_t *const programs[2] = {program, program};
    const hda_instance_t good = instance_of(&program, 1);
    static run_t run = {.arrival = {0, 1}, .input_len = {1, 1}, .output_len = {1, 1}};
    REFUSE(config.max_num_seqs, 0);
    REFUSE(config.max_num_batched_tokens, 0);
    REFUSE(config.block_size, 0);
    REFUSE(config.block_count, -1);
    REFUSE(config.block_count, (int64_t)INT32_MAX);
    REFUSE(config.host_overhead, -1);
    REFUSE(config.host_overhead, NAN);
    REFUSE(config.host_overhead, INFINITY);
    REFUSE(config.policy, -1);
    REFUSE(config.policy, HDA_POLICY_CUSTOM + 1);
    REFUSE(program_count, 0);
    REFUSE(rank_count, 0);
    REFUSE(role, 3);
    REFUSE(kv_bytes, -1);
    REFUSE(kv_bytes, INFINITY);
    REFUSE(kv_bandwidth, 0);
    REFUSE(kv_bandwidth, 5e-324); /* a message would never arrive */
    REFUSE(kv_bandwidth, NAN);
    REFUSE(kv_latency, INFINITY);
    REFUSE(kv_overlap, 1.5);
    hda_instance_t even = instance_of(programs, 2);
    refuse(&even, run_requests(&run, 1), __LINE__);
    refuse(&good, run_requests(&run, 0), __LINE__);
    const double wrong[] = {-1, NAN, INFINITY, 2};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) { /* the last: before the first */
        run.arrival[0] = wrong[i];
        refuse(&good, run_requests(&run, 2), __LINE__);
    }
    run.arrival[0] = 0;
    const int64_t lengths[] = {0, -1, ((int64_t)1 << 35) + 1, INT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        run.input_len[1] = lengths[i];
        refuse(&good, run_requests(&run, 2), __LINE__);
        run.input_len[1] = 1;
        run.output_len[1] = lengths[i];
        refuse(&good, run_requests(&run, 2), __LINE__);
        run.output_len[1] = 1;
    }
    const int64_t parents[] = {1, -2};
    for (size_t i = 0; i < 2; i++) {
        run_requests(&run, 2)->parent = run.parent;
        run.parent[0] = -1;
        run.parent[1] = parents[i];
        refuse(&good, &run.requests, __LINE__);
    }
    hda_instance_t caching = good;
    caching.config.prefix_caching = 1;
    for (int64_t size = 0; size <= 6;
         size += 3) { /* blocks of 4: 0, 3 and 6 neither divide nor are divided */
        run_requests(&run, 2)->hash_offsets = run.hash_offsets;
        run.requests.hash_ids = run.hash_ids;
        run.requests.hash_block = size;
        refuse(&caching, &run.requests, __LINE__);
    }
    hda_serve_t *serve = NULL;
    CHECK_INT(hda_serve_create(&good, 0, 0, run_requests(&run, 1), NULL, NULL, &serve),
              HDA_E_RANGE);
    CHECK_INT(hda_serve_create(&good, 1, 6, &run.requests, NULL, NULL, &serve), HDA_E_RANGE);
    hda_program_destroy(program);
}

static void ends(void) {
    hda_program_t *program = create_program();
    static run_t run = {.arrival = {0}, .input_len = {1}, .output_len = {1}};
    hda_instance_t instance = instance_of(&program, 1);
    hda_step_record_t record;
    hda_gap_t gap;
    int64_t step_count, gap_count, finished;
    double now;
    /* no blocks at all: everything is rejected, no step is taken */
    instance.config.block_count = 0;
    hda_serve_t *serve = start(&instance, 1, run_requests(&run, 1));
    CHECK_INT(hda_serve_run(serve, 1, &record, &step_count, 1, &gap, &gap_count), HDA_OK);
    CHECK_INT(step_count, 0);
    hda_serve_progress(serve, &finished, &now);
    CHECK_INT(finished, 1);
    hda_serve_destroy(serve);
    /* a budget beyond the program's rows shows when a step needs them */
    instance.config.max_num_batched_tokens = run.input_len[0] = TINY_ROWS + 1;
    instance.config.block_count = 1000;
    serve = start(&instance, 1, run_requests(&run, 1));
    CHECK_INT(hda_serve_run(serve, 1, &record, &step_count, 1, &gap, &gap_count), HDA_E_STEP);
    CHECK_INT(step_count, 0);
    hda_serve_destroy(serve);
    hda_program_destroy(program);
}

int main(void) {
    serving();
    pipeline();
    pools();
    refusals();
    ends();
    return failures != 0;
}
