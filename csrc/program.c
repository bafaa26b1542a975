#include "program.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"

static void* copy(const void* source, int64_t count, size_t size) {
    void* target = malloc((size_t)count * size);
    if (target != NULL) memcpy(target, source, (size_t)count * size);
    return target;
}

static int bad_op(const hda_op_t* op, int64_t position) {
    const int64_t limit = (int64_t)1 << 40;
    if (op->kind < HDA_OP_LINEAR || op->kind > HDA_OP_STORE) return 1;
    if (op->rows < HDA_ROWS_TOKENS || op->rows > HDA_ROWS_LATENT) return 1;
    for (int d = 0; d < 2; d++)
        if (op->after[d] < -2 || op->after[d] >= position) return 1;
    if (op->k < 0 || op->n < 0 || op->k > limit || op->n > limit) return 1;
    const int attends = op->kind == HDA_OP_PREFILL_ATTENTION || op->kind == HDA_OP_DECODE_ATTENTION;
    if (attends && (op->kv_heads < 1 || op->group < 1 || op->key_dim < 1 || op->value_dim < 1 ||
                    op->kv_elements < 1 || op->window < 0))
        return 1;
    if ((op->kind == HDA_OP_LINEAR || op->kind == HDA_OP_EXPERTS) && (op->k < 1 || op->n < 1))
        return 1;
    return op->kind == HDA_OP_EXPERTS &&
           (op->experts < 1 || op->top_k < 1 || op->top_k > op->experts);
}

static int bad_program(const hda_op_t* ops, int64_t op_count, const hda_block_t* blocks,
                       int64_t block_count, const hda_segment_t* segments, int64_t segment_count) {
    for (int64_t b = 0; b < block_count; b++) {
        if (blocks[b].first < 0 || blocks[b].count < 1 ||
            blocks[b].first + blocks[b].count > op_count)
            return 1;
        for (int32_t i = 0; i < blocks[b].count; i++)
            if (bad_op(&ops[blocks[b].first + i], i)) return 1;
    }
    for (int64_t s = 0; s < segment_count; s++)
        if (segments[s].first < 0 || segments[s].count < 1 || segments[s].repeat < 1 ||
            segments[s].first + segments[s].count > block_count)
            return 1;
    return op_count < 1 || block_count < 1 || segment_count < 1;
}

static int bad_device(const hda_device_t* d) {
    return !(d->frequency > 0) || d->core_count < 1 || d->array.rows < 1 || d->array.cols < 1 ||
           d->array.lanes < 1 || d->tree.lanes < 0 || (d->tree.lanes > 0 && d->tree.width < 1) ||
           d->vector_width < 1 || !(d->local_memory > 0) || !(d->global_memory >= 0) ||
           !(d->global_bandwidth > 0) || !(d->dram.bandwidth > 0) || !(d->dram.maximum > 0) ||
           !(d->link_width > 0) || d->device_count < 1 || !(d->activation_bytes > 0) ||
           (d->device_count > 1 && !(d->p2p_bandwidth > 0)) || !(d->kv_bytes > 0) ||
           (!d->shared && d->noc.node_count < d->core_count);
}

static void count_repeats(hda_program_t* program) {
    for (int64_t s = 0; s < program->segment_count; s++) {
        const hda_segment_t* segment = &program->segments[s];
        for (int32_t b = segment->first; b < segment->first + segment->count; b++) {
            const hda_block_t* block = &program->blocks[b];
            for (int32_t i = block->first; i < block->first + block->count; i++)
                program->repeat[i] += segment->repeat;
        }
    }
}

hda_status_t hda_program_create(const hda_device_t* device, const hda_op_t* ops, int64_t op_count,
                                const hda_block_t* blocks, int64_t block_count,
                                const hda_segment_t* segments, int64_t segment_count,
                                int64_t max_rows, int64_t block_size, hda_program_t** out) {
    *out = NULL;
    if (bad_device(device) || max_rows < 1 || max_rows > (int64_t)1 << 24 || block_size < 1 ||
        bad_program(ops, op_count, blocks, block_count, segments, segment_count))
        return HDA_E_RANGE;
    hda_program_t* program = calloc(1, sizeof *program);
    if (program == NULL) return HDA_E_MEMORY;
    program->device = *device;
    program->op_count = op_count;
    program->block_count = block_count;
    program->segment_count = segment_count;
    program->max_rows = max_rows;
    program->page = block_size;
    program->ops = copy(ops, op_count, sizeof *ops);
    program->blocks = copy(blocks, block_count, sizeof *blocks);
    program->segments = copy(segments, segment_count, sizeof *segments);
    program->repeat = calloc((size_t)op_count, sizeof *program->repeat);
    program->plans = calloc((size_t)max_rows + 1, sizeof *program->plans);
    program->work = calloc((size_t)op_count, sizeof *program->work);
    program->context_tokens = calloc((size_t)op_count, sizeof(int64_t));
    program->context_pages = calloc((size_t)op_count, sizeof(int64_t));
    program->state = malloc(engine_state_size(program));
    if (!program->ops || !program->blocks || !program->segments || !program->repeat ||
        !program->plans || !program->work || !program->context_tokens || !program->context_pages ||
        !program->state) {
        hda_program_destroy(program);
        return HDA_E_MEMORY;
    }
    count_repeats(program);
    *out = program;
    return HDA_OK;
}

void hda_program_destroy(hda_program_t* program) {
    if (program == NULL) return;
    for (int64_t i = 0; program->plans != NULL && i <= program->max_rows; i++)
        free(program->plans[i].work);
    void* owned[] = {
        program->ops,   program->blocks, program->segments,       program->repeat,
        program->plans, program->work,   program->context_tokens, program->context_pages,
        program->exact, program->state,  program->noc_memo,       program->noc_scratch};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    free(program);
}

/* Count rows, and the context that each decode attention reads (operators with equal windows share the count). */
static hda_status_t count_rows(hda_program_t* program, const hda_batch_t* batch, rows_t* rows) {
    *rows = (rows_t){.emit = batch->emit_count,
                     .batch = batch,
                     .context_tokens = program->context_tokens,
                     .context_pages = program->context_pages};
    if (batch->sequence_count < 1 || batch->emit_count < 0 ||
        batch->emit_count > batch->sequence_count)
        return HDA_E_RANGE;
    int64_t prefill_context = 0, tokens = 0, pages = 0;
    for (int64_t i = 0; i < batch->sequence_count; i++) {
        const int64_t q = batch->q_len[i], past = batch->past[i];
        if (q < 1 || past < 0 || past > (int64_t)1 << 40) return HDA_E_RANGE;
        rows->tokens += q;
        if (rows->tokens > program->max_rows) return HDA_E_STEP;
        if (q == 1 && past > 0) {
            rows->decode++;
            tokens += past;
            pages += past / program->page + 1;
        } else {
            prefill_context += past + q;
        }
    }
    rows->latent = rows->decode + prefill_context;
    for (int64_t o = 0; o < program->op_count; o++) {
        if (program->ops[o].kind != HDA_OP_DECODE_ATTENTION) continue;
        const int64_t window = program->ops[o].window;
        program->context_tokens[o] = tokens;
        program->context_pages[o] = pages;
        if (window == 0) continue;
        int64_t cut_tokens = 0, cut_pages = 0;
        for (int64_t i = 0; i < batch->sequence_count; i++) {
            if (batch->q_len[i] != 1 || batch->past[i] == 0) continue;
            const int64_t seen = hda_min64(batch->past[i], window);
            cut_tokens += seen;
            cut_pages += seen / program->page + 1;
        }
        program->context_tokens[o] = cut_tokens;
        program->context_pages[o] = cut_pages;
    }
    return HDA_OK;
}

static int64_t rows_of(const hda_op_t* op, const rows_t* rows) {
    if (op->rows == HDA_ROWS_EMIT) return rows->emit;
    return op->rows == HDA_ROWS_LATENT ? rows->latent : rows->tokens;
}

/* Service demands of all operators for this step: from the plans of its row counts, or computed where they depend on contexts. */
static hda_status_t resolve_all(hda_program_t* program, const rows_t* rows) {
    plan_t *plan, *emit = NULL;
    hda_status_t status = engine_plan(program, rows->tokens, &plan);
    if (status == HDA_OK && rows->emit > 0) status = engine_plan(program, rows->emit, &emit);
    for (int64_t i = 0; i < program->op_count && status == HDA_OK; i++) {
        const hda_op_t* op = &program->ops[i];
        const int fresh = op->rows == HDA_ROWS_LATENT || op->kind == HDA_OP_PREFILL_ATTENTION ||
                          op->kind == HDA_OP_DECODE_ATTENTION;
        if (fresh)
            status = engine_resolve(program, op, rows, rows_of(op, rows), plan->grid, 0, 0,
                                    &program->work[i]);
        else if (op->rows == HDA_ROWS_EMIT)
            program->work[i] = emit ? emit->work[i] : (work_t){0};
        else
            program->work[i] = plan->work[i];
    }
    return status;
}

/* The same for every core, core-major. */
static hda_status_t resolve_exact(hda_program_t* program, const rows_t* rows) {
    const int64_t cores = program->device.core_count;
    if (program->exact == NULL)
        program->exact = malloc((size_t)(cores * program->op_count) * sizeof(work_t));
    if (program->exact == NULL) return HDA_E_MEMORY;
    plan_t *plan, *emit = NULL;
    hda_status_t status = engine_plan(program, rows->tokens, &plan);
    if (status == HDA_OK && rows->emit > 0) status = engine_plan(program, rows->emit, &emit);
    for (int64_t core = 0; core < cores; core++) {
        for (int64_t i = 0; i < program->op_count && status == HDA_OK; i++) {
            const hda_op_t* op = &program->ops[i];
            const grid_t grid = op->rows == HDA_ROWS_EMIT && emit ? emit->grid : plan->grid;
            status = engine_resolve(program, op, rows, rows_of(op, rows), grid, core, 0,
                                    &program->exact[core * program->op_count + i]);
        }
    }
    return status;
}

static void total(const hda_program_t* program, double utilization, hda_step_t* step,
                  hda_op_step_t* per_op) {
    const hda_device_t* device = &program->device;
    double unique = 0, useful = 0, links = 0;
    for (int64_t i = 0; i < program->op_count; i++) {
        const work_t* work = &program->work[i];
        const double times = program->repeat[i];
        const double unit[HDA_UNIT_COUNT] = {
            work->dram_bytes / (device->dram.bandwidth * utilization),
            work->unit[ENGINE_SA],
            work->unit[ENGINE_MT],
            work->unit[ENGINE_VU],
            work->noc_in + work->noc_out,
            work->p2p};
        for (int u = 0; u < HDA_UNIT_COUNT; u++) step->busy[u] += times * unit[u];
        step->macs[0] += times * work->macs[0];
        step->macs[1] += times * work->macs[1];
        step->p2p_bytes += times * work->p2p_bytes;
        unique += times * work->unique_bytes;
        useful += times * work->useful_macs;
        links += times * work->p2p_least;
        if (per_op == NULL) continue;
        for (int u = 0; u < HDA_UNIT_COUNT; u++) per_op[i].unit_time[u] = times * unit[u];
        per_op[i].dram_bytes = times * work->dram_bytes;
        per_op[i].p2p_bytes = times * work->p2p_bytes;
        per_op[i].macs[0] = times * work->macs[0];
        per_op[i].macs[1] = times * work->macs[1];
        per_op[i].useful_macs = times * work->useful_macs;
    }
    const int64_t per_core = device->array.rows * device->array.cols * device->array.lanes +
                             (device->tree.lanes ? device->tree.width * device->tree.lanes : 0);
    step->bound_by[0] = useful / ((double)(per_core * device->core_count) * device->frequency);
    step->bound_by[1] = unique / device->dram.bandwidth;
    step->bound_by[2] = links;
    step->bound = hda_fmax(hda_fmax(step->bound_by[0], step->bound_by[1]), step->bound_by[2]);
}

hda_status_t hda_program_step(hda_program_t* program, const hda_batch_t* batch, int flags,
                              hda_step_t* step, hda_op_step_t* per_op) {
    rows_t rows;
    hda_status_t status = count_rows(program, batch, &rows);
    if (status == HDA_OK) status = resolve_all(program, &rows);
    const int exact = (flags & HDA_EXACT) != 0;
    if (status == HDA_OK && exact) status = resolve_exact(program, &rows);
    if (status != HDA_OK) return status;
    *step = (hda_step_t){0};
    if (per_op != NULL) memset(per_op, 0, (size_t)program->op_count * sizeof *per_op);
    for (int64_t i = 0; i < program->op_count; i++)
        step->dram_bytes += program->repeat[i] * program->work[i].dram_bytes;
    const double utilization = hda_dram_utilization(&program->device.dram, step->dram_bytes);
    engine_execute(program, exact ? program->exact : program->work,
                   exact ? program->device.core_count : 1, utilization, exact, step, per_op);
    total(program, utilization, step, per_op);
    return HDA_OK;
}
