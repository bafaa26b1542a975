/* One step: count its rows, look up or work out what each operator demands, execute, add up. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static const double LONGEST_STEP = 1e30;               /* seconds */
static const double COUNTABLE = 4611686018427387904.0; /* 2^62 */

/* Whether the counts of some operator may exceed 62 bits in a step of `pairs` prefilled tokens x their contexts and `cached` decoded ones. */
static int uncountable(const hda_program_t *program, const rows_t *rows, double pairs,
                       double cached) {
    for (int64_t i = 0; i < program->op_count; i++) {
        const hda_op_t *op = &program->ops[i];
        const double size = hda_fmax((double)op->k * (double)op->n, (double)op->top_k);
        const double dims = (double)op->kv_heads * ((double)op->key_dim + (double)op->value_dim);
        double most = 0;
        if (op->kind == HDA_OP_PREFILL_ATTENTION)
            most = 2 * pairs * (dims + (double)op->kv_heads * (double)program->device.array.cols);
        else if (op->kind == HDA_OP_DECODE_ATTENTION)
            most = cached * dims;
        else if (op->rows == HDA_ROWS_LATENT && op->kind != HDA_OP_VECTOR)
            most = (double)rows->latent * size;
        else if (op->rows == HDA_ROWS_GROUP)
            most = (double)rows->group * hda_fmax(size, (double)op->n);
        if (most > COUNTABLE) return 1;
    }
    return 0;
}

/* Count rows, and the context that each decode attention reads (operators with equal windows share the count). */
static hda_status_t count_rows(hda_program_t *program, const hda_batch_t *batch, rows_t *rows) {
    *rows = (rows_t){.emit = batch->emit_count,
                     .batch = batch,
                     .context_tokens = program->context_tokens,
                     .context_pages = program->context_pages};
    if (batch->sequence_count < (batch->group_tokens > 0 ? 0 : 1) || batch->emit_count < 0 ||
        batch->emit_count > batch->sequence_count || batch->group_tokens < 0)
        return HDA_E_RANGE;
    int64_t prefill_context = 0, tokens = 0, pages = 0;
    double pairs = 0;
    for (int64_t i = 0; i < batch->sequence_count; i++) {
        const int64_t q = batch->q_len[i], past = batch->past[i];
        if (q < 1 || past < 0 || past > (int64_t)1 << 36) return HDA_E_RANGE;
        if (q > program->max_rows - rows->tokens) return HDA_E_STEP;
        rows->tokens += q;
        if (q == 1 && past > 0) {
            rows->decode++;
            tokens += past;
            rows->longest = hda_max64(rows->longest, past);
            pages += past / program->page + 1;
        } else {
            prefill_context += past + q;
            pairs += (double)q * (double)(past + q);
        }
    }
    rows->latent = rows->decode + prefill_context;
    const int64_t ranks = program->device.rank_count;
    rows->group = batch->group_tokens > 0 ? batch->group_tokens : ranks * rows->tokens;
    if (rows->group < rows->tokens) return HDA_E_RANGE;
    if (rows->group - rows->tokens > (ranks - 1) * program->max_rows)
        return ranks > 1 ? HDA_E_STEP : HDA_E_RANGE;
    rows->exchanged = hda_max64(rows->group, ranks * rows->tokens);
    if (uncountable(program, rows, pairs, (double)pages * (double)program->page))
        return HDA_E_OVERFLOW;
    for (int64_t o = 0; o < program->op_count; o++) {
        if (program->ops[o].kind != HDA_OP_DECODE_ATTENTION) continue;
        const int64_t window = program->ops[o].window;
        program->context_tokens[o] = tokens;
        program->context_pages[o] = pages;
        if (window == 0) continue;
        int64_t cut_tokens = 0, cut_pages = 0;
        for (int64_t i = 0; i < batch->sequence_count; i++) {
            if (batch->q_len[i] != 1 || batch->past[i] == 0) continue;
            const int64_t seen = hda_min64(batch->past[i], window - 1);
            cut_tokens += seen;
            cut_pages += seen / program->page + 1;
        }
        program->context_tokens[o] = cut_tokens;
        program->context_pages[o] = cut_pages;
    }
    return HDA_OK;
}

static int64_t rows_of(const hda_op_t *op, const rows_t *rows, int64_t devices) {
    if (op->rows == HDA_ROWS_EMIT) return rows->emit;
    if (op->rows == HDA_ROWS_SHARE) return hda_ceil_div(rows->tokens, devices);
    if (op->rows == HDA_ROWS_GROUP) return rows->group;
    return op->rows == HDA_ROWS_LATENT ? rows->latent : rows->tokens;
}

/* The plans of a step's row counts; NULL where there are no rows. */
static hda_status_t find_plans(hda_program_t *program, const rows_t *rows, plan_t **plan,
                               plan_t **emit) {
    hda_status_t status = HDA_OK;
    *plan = *emit = NULL;
    if (rows->tokens > 0) status = engine_plan(program, HDA_ROWS_TOKENS, rows->tokens, plan);
    if (status == HDA_OK && rows->emit > 0)
        status = engine_plan(program, HDA_ROWS_EMIT, rows->emit, emit);
    return status;
}

/* Cores of the vector operators of all ranks' tokens: each has columns, as of the experts; where there are few of those, rows. */
static grid_t group_grid(const hda_program_t *program, const hda_op_t *op, int64_t rows) {
    const int64_t cores = program->device.core_count;
    const int64_t row_groups = op->n >= cores ? 1 : hda_min64(rows, cores);
    return (grid_t){.rows = row_groups, .cols = cores / row_groups};
}

/* Operators of all ranks' tokens; kept until there are other numbers of them. */
static hda_status_t resolve_group(hda_program_t *program, const rows_t *rows) {
    if (!program->grouped ||
        (program->group == rows->group && program->exchanged == rows->exchanged))
        return HDA_OK;
    hda_status_t status = HDA_OK;
    program->group = 0;
    for (int64_t i = 0; i < program->op_count && status == HDA_OK; i++) {
        const hda_op_t *op = &program->ops[i];
        if (op->rows != HDA_ROWS_GROUP) continue;
        status = engine_resolve(program, op, rows, rows->group,
                                group_grid(program, op, rows->group), 0, 0, &program->fresh[i]);
    }
    if (status == HDA_OK) status = engine_pipeline_group(program);
    if (status != HDA_OK) return status;
    program->group = rows->group;
    program->exchanged = rows->exchanged;
    return HDA_OK;
}

/* Service demands of all operators for this step: from the plans of its row counts, or computed where they depend on contexts. */
static hda_status_t resolve_all(hda_program_t *program, const rows_t *rows) {
    const int64_t devices = program->device.device_count;
    plan_t *plan, *emit;
    hda_status_t status = find_plans(program, rows, &plan, &emit);
    if (status == HDA_OK) status = resolve_group(program, rows);
    for (int64_t i = 0; i < program->op_count && status == HDA_OK; i++) {
        const hda_op_t *op = &program->ops[i];
        const int fresh = op->rows == HDA_ROWS_LATENT || op->rows == HDA_ROWS_SHARE ||
                          op->kind == HDA_OP_PREFILL_ATTENTION ||
                          op->kind == HDA_OP_DECODE_ATTENTION;
        program->work[i] = &program->fresh[i];
        if (op->rows == HDA_ROWS_GROUP) continue;
        if (fresh && plan)
            status = engine_resolve(program, op, rows, rows_of(op, rows, devices), plan->grid, 0, 0,
                                    &program->fresh[i]);
        else if (op->rows != HDA_ROWS_EMIT && plan)
            program->work[i] = &plan->work[i];
        else if (emit)
            program->work[i] = &emit->work[i];
        else
            program->fresh[i] = (work_t){.idle = 1};
    }
    return status;
}

/* The same for every core, core-major. */
static hda_status_t resolve_exact(hda_program_t *program, const rows_t *rows) {
    const int64_t cores = program->device.core_count, devices = program->device.device_count;
    if (program->exact == NULL)
        program->exact = malloc((size_t)(cores * program->op_count) * sizeof(work_t));
    if (program->exact == NULL) return HDA_E_MEMORY;
    plan_t *plan, *emit;
    hda_status_t status = find_plans(program, rows, &plan, &emit);
    for (int64_t core = 0; core < cores; core++) {
        for (int64_t i = 0; i < program->op_count && status == HDA_OK; i++) {
            const hda_op_t *op = &program->ops[i];
            const plan_t *own = op->rows == HDA_ROWS_EMIT && emit ? emit : plan;
            grid_t grid = {0};
            if (op->rows == HDA_ROWS_GROUP)
                grid = group_grid(program, op, rows->group);
            else if (own)
                grid = own->grid;
            if (own && (op->rows == HDA_ROWS_TOKENS || op->rows == HDA_ROWS_EMIT))
                grid.flow = own->flow[i];
            status = engine_resolve(program, op, rows, rows_of(op, rows, devices), grid, core, 0,
                                    &program->exact[core * program->op_count + i]);
        }
    }
    for (int64_t i = 0; i < program->op_count && status == HDA_OK;
         i++) { /* exchanges are the same for all */
        program->exact[i].gather = program->work[i]->gather;
        program->exact[i].merge = program->work[i]->merge;
        program->exact[i].sync = program->work[i]->sync;
        program->exact[i].input_tiles = program->work[i]->input_tiles;
        const double narrow = program->work[i]->narrow;
        for (int64_t core = 0; core < cores && narrow > 0; core++)
            program->exact[core * program->op_count + i].unit[ENGINE_SA] *= narrow;
        program->work[i] = &program->exact[i];
    }
    return status;
}

/* Joules by part and by phase: attention to its own, all else by the share of prompts' tokens in the step's. */
static void total_energy(const hda_program_t *program, const rows_t *rows, hda_step_t *step,
                         hda_op_step_t *per_op) {
    double joules[3][HDA_ENERGY_STATIC] = {
        {0}}; /* of the prompts' attention, of decode's, of all else */
    for (int64_t i = 0; i < program->op_count; i++) {
        const double *energy = program->work[i]->energy, times = program->repeat[i];
        const int64_t kind = program->ops[i].kind;
        double *sum = joules[kind == HDA_OP_PREFILL_ATTENTION  ? 0
                             : kind == HDA_OP_DECODE_ATTENTION ? 1
                                                               : 2];
        for (int part = 0; part < HDA_ENERGY_STATIC; part++) sum[part] += times * energy[part];
        if (per_op == NULL) continue;
        per_op[i].energy = 0;
        for (int part = 0; part < HDA_ENERGY_STATIC; part++)
            per_op[i].energy += times * energy[part];
    }
    double shared = 0;
    for (int part = 0; part < HDA_ENERGY_STATIC; part++) {
        step->energy[part] = joules[0][part] + joules[1][part] + joules[2][part];
        step->phase_energy[0] += joules[0][part];
        step->phase_energy[1] += joules[1][part];
        shared += joules[2][part];
    }
    step->energy[HDA_ENERGY_STATIC] = program->device.energy.standing * step->time;
    shared += step->energy[HDA_ENERGY_STATIC];
    const double prompts =
        rows->tokens > 0 ? (double)(rows->tokens - rows->decode) / (double)rows->tokens : 0;
    step->phase_energy[0] += prompts * shared;
    step->phase_energy[1] += (1 - prompts) * shared;
}

static void total(const hda_program_t *program, double utilization, hda_step_t *step,
                  hda_op_step_t *per_op) {
    const hda_device_t *device = &program->device;
    double unique = 0, useful = 0, least = 0, links = 0;
    for (int64_t i = 0; i < program->op_count; i++) {
        const work_t *work = program->work[i];
        const double times = program->repeat[i];
        const double unit[HDA_UNIT_COUNT] = {
            work->dram_bytes / (device->dram.bandwidth * utilization),
            work->unit[ENGINE_SA],
            work->unit[ENGINE_MT],
            work->unit[ENGINE_VU],
            exchange_time(&work->gather) + exchange_time(&work->merge),
            exchange_time(&work->sync)};
        for (int u = 0; u < HDA_UNIT_COUNT; u++) step->busy[u] += times * unit[u];
        const double noc = unit[HDA_UNIT_NOC], p2p = unit[HDA_UNIT_P2P];
        step->communication[0] += times * noc;
        step->communication[1] += times * p2p;
        step->macs[0] += times * work->macs[0];
        step->macs[1] += times * work->macs[1];
        step->p2p_bytes += times * work->p2p_bytes;
        unique += times * work->unique_bytes;
        useful += times * work->useful_macs;
        least += times * work->compute_least;
        links += times * work->p2p_least;
        if (per_op == NULL) continue;
        for (int u = 0; u < HDA_UNIT_COUNT; u++) per_op[i].unit_time[u] = times * unit[u];
        per_op[i].communication[0] = times * noc;
        per_op[i].communication[1] = times * p2p;
        per_op[i].noc_bytes =
            times * (exchange_bytes(&work->gather) + exchange_bytes(&work->merge));
        per_op[i].dram_bytes = times * work->dram_bytes;
        per_op[i].p2p_bytes = times * work->p2p_bytes;
        per_op[i].macs[0] = times * work->macs[0];
        per_op[i].macs[1] = times * work->macs[1];
        per_op[i].useful_macs = times * work->useful_macs;
    }
    const int64_t per_core = device->array.rows * device->array.cols * device->array.lanes +
                             (device->tree.lanes ? device->tree.width * device->tree.lanes : 0);
    const double peak = (double)(per_core * device->core_count) * device->frequency;
    step->bound_by[0] = device->gpu.sm_count > 0 ? least : useful / peak;
    step->bound_by[1] = unique / device->dram.bandwidth;
    step->bound_by[2] = links;
    step->bound = hda_fmax(hda_fmax(step->bound_by[0], step->bound_by[1]), step->bound_by[2]);
}

hda_status_t hda_program_step(hda_program_t *program, const hda_batch_t *batch, int flags,
                              hda_step_t *step, hda_op_step_t *per_op) {
    rows_t rows;
    hda_status_t status = count_rows(program, batch, &rows);
    if (status == HDA_OK) status = resolve_all(program, &rows);
    const int exact = (flags & HDA_EXACT) != 0;
    if (status == HDA_OK && exact) status = resolve_exact(program, &rows);
    if (status != HDA_OK) return status;
    *step = (hda_step_t){0};
    if (per_op != NULL) memset(per_op, 0, (size_t)program->op_count * sizeof *per_op);
    for (int64_t i = 0; i < program->op_count; i++)
        step->dram_bytes += program->repeat[i] * program->work[i]->dram_bytes;
    const double utilization = hda_dram_utilization(&program->device.dram, step->dram_bytes);
    engine_execute(program, program->work, exact ? program->device.core_count : 1, utilization,
                   exact, step, per_op);
    total(program, utilization, step, per_op);
    if (program->powered) total_energy(program, &rows, step, per_op);
    return step->time < LONGEST_STEP ? HDA_OK : HDA_E_OVERFLOW; /* also for what is not a number */
}
