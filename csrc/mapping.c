/* Which grid of cores runs the GEMMs of a step with a given number of rows.
 *
 * Candidates are all grids rows x cols <= core_count whose row count has at most three significant bits; a chip with one core more has all
 * of them too, so more cores never make the choice worse. A device whose dataflow is named has one row or one column. The choice has the least sum of engine_occupancy over the operators with these
 * rows, but no less than the sum of their transfers; collectives count with their zero-load time.
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

static hda_status_t choose_grid(hda_program_t *program, int32_t kind, int64_t count, grid_t *grid) {
    const int64_t cores = program->device.core_count;
    const int shared = program->device.shared;
    const double rate = program->device.dram.bandwidth * program->device.dram.maximum;
    double best = -1;
    memset(program->trial, 0, (size_t)program->op_count * sizeof *program->trial);
    const int32_t flow = program->device.dataflow;
    const int one_row = flow == HDA_FLOW_LATENCY || flow == HDA_FLOW_ROW_SPLIT;
    for (int64_t r = one_row ? 1 : engine_round_below(hda_min64(cores, count)); r >= 1;
         r = engine_round_below(r - 1)) {
        for (int64_t c = flow == HDA_FLOW_THROUGHPUT ? 1 : cores / r; c >= 1;
             c = shared ? engine_round_below(c - 1) : c - 1) {
            const hda_status_t status = resolve_grid(
                program, kind, count, (grid_t){.rows = r, .cols = c}, 1, program->trial);
            if (status != HDA_OK) return status;
            double time = 0, compute = 0, transfer = 0;
            for (int64_t i = 0; i < program->op_count; i++) {
                const work_t *work = &program->trial[i];
                time += program->repeat[i] * engine_occupancy(&program->device, work);
                compute += program->repeat[i] * work->compute;
                transfer += program->repeat[i] * hda_fmax(work->dram_bytes / rate, work->feed_time);
            }
            time =
                hda_fmax(time, transfer) + 1e-3 * time; /* of equals, the one with less to hide */
            if (best < 0 || time < best) {
                best = time;
                *grid = (grid_t){.rows = r, .cols = c};
            }
            if (compute >= best) break; /* fewer columns only compute longer */
        }
        if (r == 1) break;
    }
    return HDA_OK;
}

hda_status_t engine_plan(hda_program_t *program, int32_t kind, int64_t rows, plan_t **plan) {
    *plan = &program->plans[kind][rows];
    if ((*plan)->work != NULL) return HDA_OK;
    grid_t grid;
    hda_status_t status = choose_grid(program, kind, rows, &grid);
    if (status != HDA_OK) return status;
    work_t *work = calloc((size_t)program->op_count, sizeof *work);
    if (work == NULL) return HDA_E_MEMORY;
    plan_t made = {grid, work, calloc((size_t)program->op_count, sizeof *made.flow)};
    status = made.flow == NULL ? HDA_E_MEMORY : resolve_grid(program, kind, rows, grid, 0, work);
    if (status == HDA_OK) status = engine_pipeline_plan(program, kind, rows, &made);
    if (status != HDA_OK) {
        free(work);
        free(made.flow);
        return status;
    }
    **plan = made;
    return HDA_OK;
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
