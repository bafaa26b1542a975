/* Networks, message schedules, devices, programs, steps and served requests; whatever the core accepts must give sane numbers, and
 * nothing may trip the sanitizers. */
#include "fuzz.h"

#include "attention.h"
#include "mactree.h"
#include "serve.h"
#include "systolic.h"
#include "vector.h"

enum {
    NODES = 12,
    ROUTERS = 8,
    LINKS = 24,
    MESSAGES = 48,
    OPS = 8,
    BLOCKS = 4,
    SEGMENTS = 3,
    SEQUENCES = 6,
    REQUESTS = 10,
    ROWS = 48,
    RECORDS = 8,
};

/* ---- networks ---- */

typedef struct {
    int64_t router_of[NODES], order[NODES], link_to[LINKS], next_link[ROUTERS * ROUTERS];
    hda_noc_t noc;
} network_t;

/* A crossbar, a line with its routes, or a random graph whose routes may end or circle. */
static void make_network(bytes_t *in, network_t *net) {
    const uint8_t kind = byte(in) % 3;
    const int64_t nodes = 1 + byte(in) % NODES;
    const int64_t routers = kind == 0 ? 1 : 1 + byte(in) % ROUTERS;
    int64_t links = kind == 0 ? 0 : 2 * (routers - 1);
    for (int64_t i = 0; i < nodes; i++) {
        net->order[i] = i;
        net->router_of[i] = i % routers;
    }
    for (int64_t a = 0; a < routers; a++)
        for (int64_t b = 0; b < routers; b++)
            net->next_link[a * routers + b] = a == b ? -1 : a < b ? 2 * a : 2 * (a - 1) + 1;
    for (int64_t i = 0; i < links; i++) net->link_to[i] = i / 2 + (i % 2 == 0);
    if (kind == 2) {
        links = byte(in) % (LINKS + 1);
        for (int64_t i = 0; i < links; i++) net->link_to[i] = integer(in, 0, routers - 1);
        for (int64_t i = 0; i < routers * routers; i++)
            net->next_link[i] = integer(in, -1, links > 0 ? links - 1 : 0);
        for (int64_t i = 0; i < nodes; i++) net->router_of[i] = integer(in, 0, routers - 1);
        for (int64_t i = 0; i < nodes; i++) net->order[i] = integer(in, 0, nodes - 1);
    }
    net->noc = (hda_noc_t){nodes,
                           routers,
                           links,
                           net->router_of,
                           net->link_to,
                           net->next_link,
                           net->order,
                           integer(in, 1, 4),
                           integer(in, 0, 2),
                           integer(in, 0, 4)};
}

static void run_schedule(const hda_noc_t *noc, const hda_message_t *messages, int64_t count) {
    int64_t *scratch = malloc(hda_noc_scratch_size(noc, count));
    int64_t *done = malloc(((size_t)count + 1) * sizeof *done), makespan = -1;
    SANE(done != NULL && (scratch != NULL || hda_noc_scratch_size(noc, count) == 0));
    for (int64_t i = 0; i < count; i++) done[i] = -1;
    if (hda_noc_run(noc, messages, count, scratch, done, &makespan) == HDA_OK) {
        int64_t last = 0;
        for (int64_t i = 0; i < count; i++) {
            SANE(done[i] >= messages[i].flits - 1);
            SANE(messages[i].after < 0 || done[i] > done[messages[i].after]);
            last = hda_max64(last, done[i]);
        }
        SANE(last == makespan);
    }
    free(scratch);
    free(done);
}

static void fuzz_noc(bytes_t *in) {
    network_t net;
    make_network(in, &net);
    hda_message_t messages[MESSAGES];
    const int64_t count = byte(in) % (MESSAGES + 1), nodes = net.noc.node_count;
    for (int64_t i = 0; i < count; i++) {
        messages[i].source = integer(in, 0, nodes - 1);
        messages[i].target = integer(in, 0, nodes - 1);
        messages[i].flits = integer(in, 1, 300);
        messages[i].after = byte(in) % 2 ? -1 : integer(in, -1, count - 1);
    }
    run_schedule(&net.noc, messages, count);
    const hda_collective_t kind = (hda_collective_t)(byte(in) % 5);
    const int64_t groups = integer(in, 1, 3), size = integer(in, 1, nodes),
                  flits = integer(in, 1, 64);
    const int64_t planned = hda_collective_messages(kind, groups, size);
    SANE(planned >= 0);
    hda_message_t *schedule = malloc((size_t)(NODES * NODES * 2) * sizeof *schedule);
    SANE(schedule != NULL);
    if (hda_collective_schedule(&net.noc, kind, groups, size, flits, schedule) == HDA_OK) {
        SANE(planned <= NODES * NODES * 2);
        run_schedule(&net.noc, schedule, planned);
        if (hda_noc_check(&net.noc) == HDA_OK && flits <= (int64_t)1 << 40)
            SANE(hda_collective_zero_load(&net.noc, kind, size, flits) >= 0 || size < 2);
    }
    free(schedule);
}

/* ---- kernels ---- */

static void fuzz_kernels(bytes_t *in) {
    const hda_array_t array = {integer(in, 1, 128), integer(in, 1, 128), integer(in, 1, 4)};
    const hda_tree_t tree = {integer(in, 1, 64), integer(in, 1, 64), byte(in) % 2};
    const int64_t m = integer(in, 0, 4096), k = integer(in, 0, 4096), n = integer(in, 0, 4096);
    int64_t cycles;
    double vector_cycles;
    if (hda_sa_gemm_cycles(&array, m, k, n, &cycles) == HDA_OK)
        SANE(cycles >= 0 && (cycles > 0) == (m > 0 && k > 0 && n > 0));
    if (hda_sa_folds_cycles(&array, m, k, &cycles) == HDA_OK) SANE(cycles >= 0);
    if (hda_mt_gemm_cycles(&tree, m, k, n, &cycles) == HDA_OK)
        SANE(cycles >= 0 && (cycles > 0) == (m > 0 && k > 0 && n > 0));
    if (hda_mt_attention_cycles(&tree, m, k, n, integer(in, 0, 4096), &cycles) == HDA_OK)
        SANE(cycles >= 0);
    if (hda_vu_cycles(integer(in, 1, 256), number(in, 1, 1e9), number(in, 1, 64), &vector_cycles) ==
        HDA_OK)
        SANE(vector_cycles >= 0 && isfinite(vector_cycles));
    const int64_t tokens = integer(in, 0, 4096), past = integer(in, 0, 65535);
    const int64_t window = integer(in, 0, 4096), tile = 1 + byte(in), block = 1 + byte(in);
    if (tokens < 0 || tokens > (int64_t)1 << 24 || past < 0 || past > (int64_t)1 << 36 ||
        window < 0)
        return;
    const int64_t tiles = hda_prefill_tiles(tokens, past, window, tile, block);
    const double pairs = hda_prefill_pairs(tokens, past, window);
    SANE(tiles >= (tokens + tile - 1) / tile && pairs >= 0);
    SANE((double)tiles * (double)tile * (double)block >= pairs);
}

/* ---- programs ---- */

typedef struct {
    network_t net;
    hda_device_t device;
    hda_op_t ops[OPS];
    hda_block_t blocks[BLOCKS];
    hda_segment_t segments[SEGMENTS];
    int64_t op_count, block_count, segment_count;
} machine_t;

static void make_device(bytes_t *in, machine_t *machine) {
    make_network(in, &machine->net);
    hda_device_t *d = &machine->device;
    *d = (hda_device_t){
        .frequency = number(in, 1e6, 3e9),
        .core_count =
            byte(in) < 250 ? 1 + byte(in) % machine->net.noc.node_count : small(in, 1, NODES),
        .array = {integer(in, 1, 64), integer(in, 1, 64), integer(in, 1, 4)},
        .tree = {integer(in, 1, 32), integer(in, 0, 32), byte(in) % 2},
        .vector_width = integer(in, 1, 128),
        .local_memory = number(in, 100, 1e7),
        .global_memory = number(in, 100, 1e8),
        .global_bandwidth = number(in, 1e9, 1e13),
        .dram = {in->tame || byte(in) < 250 ? byte(in) % 3 : byte(in) - 128, number(in, 1e9, 1e13),
                 number(in, 0.01, 0.2), number(in, 0.1, 1), number(in, 0.01, 0.5),
                 number(in, 0.1, 1), number(in, 1e-7, 1e-4)},
        .noc = machine->net.noc,
        .link_width = number(in, 1, 1024),
        .shared = byte(in) % 4 == 0,
        .prefetch = byte(in) % 2,
        .p2p_algorithm = in->tame || byte(in) < 250 ? byte(in) % 4 : byte(in) - 128,
        .device_count = byte(in) % 2 ? 1 : integer(in, 1, 16),
        .p2p_bandwidth = number(in, 1e9, 1e12),
        .p2p_latency = number(in, 1e-9, 1e-5),
        .launch_overhead = byte(in) % 2 ? 0 : number(in, 1e-9, 1e-5),
        .activation_bytes = number(in, 0.5, 4),
        .kv_bytes = number(in, 0.5, 4),
    };
}

static void make_op(bytes_t *in, int64_t place, hda_op_t *op) {
    *op = (hda_op_t){
        .kind = byte(in) % 7, .rows = byte(in) % 4, .sync = byte(in) % 5, .gather = byte(in) % 2};
    if (byte(in) > 252 && !in->tame) op->kind = byte(in) - 128;
    if (byte(in) > 252 && !in->tame) op->sync = byte(in) - 128;
    for (int d = 0; d < 2; d++) op->after[d] = (int32_t)(byte(in) % (place + 2)) - 2;
    if (byte(in) > 252 && !in->tame) op->after[0] = byte(in) - 128;
    op->sync_bytes = number(in, 1, 1e5);
    op->k = integer(in, 1, 1024);
    op->n = integer(in, 1, 1024);
    op->weight_bytes = number(in, 0.25, 4);
    op->experts = integer(in, 1, 64);
    op->top_k = in->tame ? 1 + byte(in) % op->experts : integer(in, 1, 8);
    op->vector_ops = number(in, 1, 32);
    op->reduce_bytes = byte(in) % 2 ? 0 : number(in, 1, 16);
    op->kv_heads = integer(in, 1, 8);
    op->group = integer(in, 1, 8);
    op->key_dim = integer(in, 1, 192);
    op->value_dim = integer(in, 1, 128);
    op->window = byte(in) % 2 ? 0 : integer(in, 0, 100);
    op->kv_elements = integer(in, 1, 1024);
}

static int32_t narrow(int64_t value) { return (int32_t)(uint32_t)((uint64_t)value & 0xffffffffU); }

static void make_machine(bytes_t *in, machine_t *machine) {
    make_device(in, machine);
    machine->op_count = 1 + byte(in) % OPS;
    machine->block_count = 1 + byte(in) % BLOCKS;
    machine->segment_count = 1 + byte(in) % SEGMENTS;
    if (in->tame) machine->block_count = hda_min64(machine->block_count, machine->op_count);
    for (int64_t b = 0, next = 0; b < machine->block_count;
         b++) { /* cut in turn if tame, else anywhere */
        const int64_t share = hda_share(machine->op_count, machine->block_count, b);
        const int64_t first = in->tame ? next : small(in, 0, machine->op_count - 1);
        machine->blocks[b] =
            (hda_block_t){narrow(first), narrow(in->tame ? share : small(in, 1, share + 1))};
        for (int64_t i = next; i < next + share; i++) make_op(in, i - next, &machine->ops[i]);
        next += share;
    }
    for (int64_t s = 0; s < machine->segment_count; s++) {
        const int64_t first = small(in, 0, machine->block_count - 1);
        const int64_t room =
            first >= 0 && first < machine->block_count ? machine->block_count - first : 1;
        machine->segments[s] = (hda_segment_t){narrow(first), narrow(small(in, 1, room)),
                                               narrow(small(in, 1, 9)), narrow(small(in, 0, 3))};
    }
}

static void check_step(const hda_step_t *step, const hda_op_step_t *per_op,
                       const machine_t *machine) {
    double limited = 0, exposed = 0;
    SANE(isfinite(step->time) && step->time >= 0);
    SANE(isfinite(step->bound) && step->bound >= 0);
    SANE(step->bound <= step->time * (1 + 1e-6));
    SANE(isfinite(step->dram_bytes) && step->dram_bytes >= 0 && isfinite(step->p2p_bytes) &&
         step->p2p_bytes >= 0);
    for (int i = 0; i < 2; i++) SANE(isfinite(step->macs[i]) && step->macs[i] >= 0);
    for (int i = 0; i < HDA_UNIT_COUNT; i++) SANE(isfinite(step->busy[i]) && step->busy[i] >= 0);
    for (int i = 0; i < HDA_BY_COUNT; i++) {
        SANE(isfinite(step->limited[i]) && step->limited[i] >= 0);
        limited += step->limited[i];
    }
    SANE(fabs(limited - step->time) <= 1e-6 * step->time);
    for (int64_t i = 0; i < machine->op_count; i++) {
        SANE(isfinite(per_op[i].exposed) && per_op[i].exposed >= 0);
        exposed += per_op[i].exposed;
    }
    SANE(exposed <= step->time * (1 + 1e-6));
}

static void run_steps(bytes_t *in, hda_program_t *program, const machine_t *machine) {
    int64_t q_len[SEQUENCES], past[SEQUENCES];
    hda_op_step_t per_op[OPS];
    hda_step_t step;
    for (int turns = 1 + byte(in) % 3; turns > 0; turns--) {
        hda_batch_t batch = {small(in, 1, SEQUENCES), q_len, past, small(in, 0, SEQUENCES)};
        if (batch.sequence_count > SEQUENCES)
            batch.sequence_count = SEQUENCES; /* the arrays end there */
        for (int64_t i = 0; i < SEQUENCES; i++) {
            q_len[i] = byte(in) % 2 ? 1 : integer(in, 1, ROWS / 2);
            past[i] = integer(in, 0, 300);
        }
        if (byte(in) < 250 && batch.sequence_count > 0)
            batch.emit_count = byte(in) % (batch.sequence_count + 1);
        const int exact = byte(in) % 2 ? HDA_EXACT : 0;
        if (hda_program_step(program, &batch, exact, &step, per_op) != HDA_OK) continue;
        check_step(&step, per_op, machine);
        if (machine->device.core_count > 1) continue; /* idle cores leave room for shortcuts */
        hda_step_t other;
        SANE(hda_program_step(program, &batch, exact ^ HDA_EXACT, &other, NULL) == HDA_OK);
        SANE(fabs(other.time - step.time) <= 1e-6 * step.time);
    }
    hda_mapping_t mapping;
    if (hda_program_mapping(program, integer(in, 0, machine->op_count - 1), integer(in, 1, ROWS),
                            integer(in, 0, machine->device.core_count - 1), &mapping) == HDA_OK) {
        SANE(mapping.grid_rows >= 1 && mapping.grid_cols >= 1);
        SANE(mapping.grid_rows <= machine->device.core_count / mapping.grid_cols);
        SANE(mapping.m >= 0 && mapping.sa_columns >= 0 && mapping.mt_columns >= 0);
        SANE(isfinite(mapping.local_bytes) && isfinite(mapping.prefetch_bytes));
    }
}

/* ---- serving ---- */

static void run_serve(bytes_t *in, hda_program_t *program) {
    double arrival[REQUESTS], now = 0, then = 0;
    int64_t input_len[REQUESTS], output_len[REQUESTS];
    const int64_t count = 1 + byte(in) % REQUESTS;
    for (int64_t i = 0; i < count; i++) {
        now += byte(in) % 3 == 0 ? number(in, 1e-6, 1e-2) : 0;
        arrival[i] = now;
        input_len[i] = integer(in, 1, 60);
        output_len[i] = integer(in, 1, 20);
    }
    const hda_serve_config_t config = {integer(in, 1, REQUESTS), integer(in, 1, ROWS),
                                       integer(in, 1, 16), integer(in, 0, 40), byte(in) % 2};
    hda_program_t *const programs[] = {program, program, program, program, program};
    const int64_t parts = byte(in) % 2 ? 1 : hda_min64(small(in, 1, 5), 5);
    hda_serve_t *serve;
    if (hda_serve_create(programs, parts, &config, count, arrival, input_len, output_len, &serve) !=
        HDA_OK)
        return;
    hda_step_record_t records[RECORDS];
    hda_gap_t gaps[REQUESTS + 4];
    hda_request_t requests[REQUESTS];
    int64_t step_count = 0, gap_count = 0, finished = 0, gap_total = 0, done = 0;
    double started = 0, busy[5] = {0};
    for (int turn = 0; turn < 12; turn++) {
        const hda_status_t status =
            hda_serve_run(serve, small(in, 1, RECORDS) % (RECORDS + 1), records, &step_count,
                          small(in, 1, REQUESTS + 4) % (REQUESTS + 5), gaps, &gap_count);
        SANE(step_count <= RECORDS && gap_count <= REQUESTS + 4);
        if (status == HDA_E_RANGE && step_count == 0) continue; /* capacities */
        if (status != HDA_OK) goto out;
        for (int64_t i = 0; i < step_count; i++) {
            const double end = records[i].start + records[i].time;
            SANE(records[i].start >= (parts > 1 ? started : then) && records[i].time >= 0);
            SANE(end >= then * (1 - 1e-12));
            SANE(records[i].kv_blocks >= 0 && records[i].kv_blocks <= config.block_count);
            SANE(records[i].running >= 1 && records[i].running <= config.max_num_seqs);
            SANE(records[i].prefill_tokens + records[i].decode_tokens <=
                 config.max_num_batched_tokens);
            SANE(records[i].prefill_tokens + records[i].decode_tokens >= 1);
            started = records[i].start;
            then = end;
        }
        for (int64_t i = 0; i < gap_count; i++) gap_total += gaps[i].count;
        if (step_count == 0) break;
    }
    hda_serve_progress(serve, &finished, &now);
    hda_serve_requests(serve, requests);
    for (int64_t i = 0; i < count; i++) {
        const hda_request_t *r = &requests[i];
        SANE(r->generated >= 0 && r->generated <= output_len[i]);
        SANE((r->state == HDA_REQUEST_FINISHED) == (r->generated == output_len[i]));
        done += r->state == HDA_REQUEST_FINISHED || r->state == HDA_REQUEST_REJECTED;
        gap_total -= hda_max64(r->generated - 1, 0);
    }
    SANE(done == finished && gap_total == 0 && now >= then * (1 - 1e-12));
    hda_serve_busy(serve, busy);
    for (int64_t i = 0; i < parts; i++) SANE(busy[i] >= 0 && busy[i] <= now * (1 + 1e-6));
out:
    hda_serve_destroy(serve);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bytes_t in = {data, size, 0};
    const uint8_t what = byte(&in);
    in.tame = byte(&in) % 4 != 0;
    if (what < 50) {
        fuzz_noc(&in);
        return 0;
    }
    if (what < 80) {
        fuzz_kernels(&in);
        return 0;
    }
    static machine_t machine;
    memset(&machine, 0, sizeof machine);
    make_machine(&in, &machine);
    hda_program_t *program;
    const int64_t rows = byte(&in) < 250 ? ROWS : small(&in, 1, ROWS);
    if (hda_program_create(&machine.device, machine.ops, machine.op_count, machine.blocks,
                           machine.block_count, machine.segments, machine.segment_count, rows,
                           integer(&in, 1, 16), &program) != HDA_OK)
        return 0;
    run_steps(&in, program, &machine);
    run_serve(&in, program);
    hda_program_destroy(program);
    return 0;
}
