/* Which grid of cores runs the GEMMs of a step with a given number of rows.
 *
 * Candidates are all grids rows x cols <= core_count whose row count has at most three significant bits; a chip with one core more has all
 * of them too, so more cores hardly make the choice worse. A device whose dataflow is named has one row or one column. A first look takes the
 * few with the least sum of engine_occupancy over the operators with these rows, but no less than the sum of their transfers, where exchanges
 * count with lower bounds; a second one compares what pipeline.c makes of them.
 */
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static int planned(const hda_op_t *op, int32_t kind) {
    return op->rows == kind && op->kind != HDA_OP_PREFILL_ATTENTION &&
           op->kind != HDA_OP_DECODE_ATTENTION;
}

/* Resolve all operators with these rows on a grid. */
static hda_status_t resolve_grid(hda_program_t *program, int32_t kind, int64_t count, grid_t grid,
                                 int estimate, work_t *work) {
    const hda_batch_t none = {0};
    const rows_t rows = {.tokens = count, .emit = count, .batch = &none};
    hda_status_t status = HDA_OK;
    for (int64_t i = 0; i < program->op_count && status == HDA_OK; i++)
        if (planned(&program->ops[i], kind))
            status = engine_resolve(program, &program->ops[i], &rows, count, grid, 0, estimate,
                                    &work[i]);
    return status;
}

enum { FINALISTS = 3 };

typedef struct {
    grid_t grid;
    double time;
} finalist_t;

/* Keep the best, in order. */
static void enter(finalist_t *finalists, int *count, finalist_t entry) {
    int place = *count;
    while (place > 0 && finalists[place - 1].time > entry.time) place--;
    if (place == FINALISTS) return;
    if (*count < FINALISTS) (*count)++;
    for (int i = *count - 1; i > place; i--) finalists[i] = finalists[i - 1];
    finalists[place] = entry;
}

static hda_status_t rank_grids(hda_program_t *program, int32_t kind, int64_t count,
                               finalist_t *finalists, int *finalist_count) {
    if (program->device.gpu.sm_count > 0) { /* a kernel has all SMs, and a grid of its own */
        enter(finalists, finalist_count, (finalist_t){.grid = {.rows = 1, .cols = 1}});
        return HDA_OK;
    }
    const int64_t cores = program->device.core_count;
    const int coarse = program->device.shared || cores > 256; /* fewer candidates */
    const double rate = program->device.dram.bandwidth * program->device.dram.maximum;
    memset(program->trial, 0, (size_t)program->op_count * sizeof *program->trial);
    const int32_t flow = program->device.dataflow;
    const int one_row = flow == HDA_FLOW_LATENCY || flow == HDA_FLOW_ROW_SPLIT;
    for (int64_t r = one_row ? 1 : engine_round_below(hda_min64(cores, count)); r >= 1;
         r = engine_round_below(r - 1)) {
        for (int64_t c = flow == HDA_FLOW_THROUGHPUT ? 1 : cores / r; c >= 1;
             c = coarse ? engine_round_below(c - 1) : c - 1) {
            const grid_t grid = {.rows = r, .cols = c};
            const hda_status_t status = resolve_grid(program, kind, count, grid, 1, program->trial);
            if (status != HDA_OK) return status;
            double time = 0, compute = 0, transfer = 0;
            for (int64_t i = 0; i < program->op_count; i++) {
                const work_t *work = &program->trial[i];
                time += program->repeat[i] * engine_occupancy(&program->device, work);
                compute += program->repeat[i] * work->compute;
                transfer += program->repeat[i] * hda_fmax(work->dram_bytes / rate, work->feed_time);
            }
            time = hda_fmax(time, transfer) + 1e-3 * time;
            enter(finalists, finalist_count, (finalist_t){grid, time});
            if (compute >= finalists[*finalist_count - 1].time)
                break; /* fewer columns only compute longer */
        }
        if (r == 1) break;
    }
    return HDA_OK;
}

static void free_plan(plan_t *plan) {
    free(plan->work);
    free(plan->flow);
    *plan = (plan_t){0};
}

static hda_status_t make_plan(hda_program_t *program, int32_t kind, int64_t rows, grid_t grid,
                              plan_t *plan) {
    const size_t ops = (size_t)program->op_count;
    *plan = (plan_t){.grid = grid,
                     .work = calloc(ops, sizeof *plan->work),
                     .flow = calloc(ops, sizeof *plan->flow)};
    hda_status_t status = plan->work == NULL || plan->flow == NULL
                              ? HDA_E_MEMORY
                              : resolve_grid(program, kind, rows, grid, 0, plan->work);
    if (status == HDA_OK) status = engine_pipeline_plan(program, kind, rows, plan);
    if (status != HDA_OK) free_plan(plan);
    return status;
}

hda_status_t engine_plan(hda_program_t *program, int32_t kind, int64_t rows, plan_t **plan) {
    *plan = &program->plans[kind][rows];
    if ((*plan)->work != NULL) return HDA_OK;
    finalist_t finalists[FINALISTS];
    int count = 0;
    hda_status_t status = rank_grids(program, kind, rows, finalists, &count);
    for (int i = 0; i < count && status == HDA_OK; i++) {
        plan_t candidate;
        if (i > 0 && finalists[i].time > (*plan)->time) break; /* ranked by a lower bound */
        status = make_plan(program, kind, rows, finalists[i].grid, &candidate);
        if (status != HDA_OK) break;
        if ((*plan)->work == NULL || candidate.time < (*plan)->time) {
            free_plan(*plan);
            **plan = candidate;
        } else {
            free_plan(&candidate);
        }
    }
    if (status != HDA_OK) free_plan(*plan);
    return status;
}

hda_status_t hda_program_mapping(hda_program_t *program, int64_t op, int64_t rows, int64_t core,
                                 hda_mapping_t *mapping) {
    if (op < 0 || op >= program->op_count || rows < 1 || rows > program->max_rows || core < 0 ||
        core >= program->device.core_count)
        return HDA_E_RANGE;
    plan_t *plan;
    const int32_t kind = program->ops[op].rows == HDA_ROWS_EMIT ? HDA_ROWS_EMIT : HDA_ROWS_TOKENS;
    const hda_status_t status = engine_plan(program, kind, rows, &plan);
    if (status != HDA_OK) return status;
    grid_t grid = plan->grid;
    grid.flow = plan->flow[op];
    engine_mapping(program, &program->ops[op], rows, grid, core, mapping);
    return HDA_OK;
}
