/* Which grid of cores runs the GEMMs of a step with a given number of rows.
 *
 * Candidates are all grids rows x cols <= core_count whose row count has at most three significant bits; a chip with one core more has all
 * of them too, so more cores never make the choice worse. The choice minimises max(chain, transfers): the sum over operators of the later
 * of their units plus core-to-core collectives (zero-load form), against the sum of the transfers that must stream beside them.
 */
#include <stdlib.h>

#include "engine.h"

/* Time below which no grid of this shape can go; the loop over columns stops when it exceeds the best. */
typedef struct {
    double chain, units, transfer;
} cost_t;

static int counts(const hda_op_t* op) {
    return op->rows == HDA_ROWS_TOKENS &&
           (op->kind == HDA_OP_LINEAR || op->kind == HDA_OP_EXPERTS || op->kind == HDA_OP_VECTOR);
}

static hda_status_t grid_cost(hda_program_t* program, const rows_t* rows, grid_t grid, double rate,
                              cost_t* cost) {
    *cost = (cost_t){0};
    for (int64_t i = 0; i < program->op_count; i++) {
        const hda_op_t* op = &program->ops[i];
        if (!counts(op)) continue;
        work_t work;
        const hda_status_t status =
            engine_resolve(program, op, rows, rows->tokens, grid, 0, 1, &work);
        if (status != HDA_OK) return status;
        double unit = 0;
        for (int u = 0; u < ENGINE_UNITS; u++) unit = hda_fmax(unit, work.unit[u]);
        cost->units += program->repeat[i] * unit;
        cost->chain += program->repeat[i] * (unit + work.noc_in + work.noc_out);
        cost->transfer += program->repeat[i] * hda_fmax(work.dram_bytes / rate, work.feed_time);
    }
    return HDA_OK;
}

/* The next integer above n with at most three significant bits: 1 .. 8, 10, 12, 14, 16, 20, .. */
static int64_t next_round(int64_t n) {
    int64_t step = 1;
    while (n >= 8 * step) step *= 2;
    return n + step;
}

static hda_status_t choose_grid(hda_program_t* program, int64_t count, grid_t* grid) {
    const hda_batch_t none = {0};
    const rows_t rows = {.tokens = count, .emit = count, .batch = &none};
    const int64_t cores = program->device.core_count;
    double streamed = 0, best = -1;
    for (int64_t i = 0; i < program->op_count; i++)
        if (counts(&program->ops[i]) && program->ops[i].kind == HDA_OP_LINEAR)
            streamed += program->repeat[i] * (double)(program->ops[i].k * program->ops[i].n) *
                        program->ops[i].weight_bytes;
    const double rate =
        program->device.dram.bandwidth * hda_dram_utilization(&program->device.dram, streamed);
    *grid = (grid_t){1, cores};
    for (int64_t r = 1; r <= hda_min64(cores, count); r = next_round(r)) {
        for (int64_t c = cores / r; c >= 1; c--) {
            cost_t cost;
            const hda_status_t status = grid_cost(program, &rows, (grid_t){r, c}, rate, &cost);
            if (status != HDA_OK) return status;
            const double time = hda_fmax(cost.chain, cost.transfer) + 1e-6 * cost.chain;
            if (best < 0 || time < best) {
                best = time;
                *grid = (grid_t){r, c};
            }
            if (cost.units >= best) break;
        }
    }
    return HDA_OK;
}

hda_status_t engine_plan(hda_program_t* program, int64_t rows, plan_t** plan) {
    *plan = &program->plans[rows];
    if ((*plan)->work != NULL) return HDA_OK;
    grid_t grid;
    hda_status_t status = choose_grid(program, rows, &grid);
    if (status != HDA_OK) return status;
    work_t* work = calloc((size_t)program->op_count, sizeof *work);
    if (work == NULL) return HDA_E_MEMORY;
    const hda_batch_t none = {0};
    const rows_t here = {.tokens = rows, .emit = rows, .batch = &none};
    for (int64_t i = 0; i < program->op_count && status == HDA_OK; i++) {
        const hda_op_t* op = &program->ops[i];
        if (op->rows == HDA_ROWS_LATENT || op->kind == HDA_OP_PREFILL_ATTENTION ||
            op->kind == HDA_OP_DECODE_ATTENTION)
            continue;
        status = engine_resolve(program, op, &here, rows, grid, 0, 0, &work[i]);
    }
    if (status != HDA_OK) {
        free(work);
        return status;
    }
    (*plan)->grid = grid;
    (*plan)->work = work;
    return HDA_OK;
}

hda_status_t hda_program_mapping(hda_program_t* program, int64_t op, int64_t rows, int64_t core,
                                 hda_mapping_t* mapping) {
    if (op < 0 || op >= program->op_count || rows < 1 || rows > program->max_rows || core < 0 ||
        core >= program->device.core_count)
        return HDA_E_RANGE;
    plan_t* plan;
    const hda_status_t status = engine_plan(program, rows, &plan);
    if (status != HDA_OK) return status;
    engine_mapping(program, &program->ops[op], rows, plan->grid, core, mapping);
    return HDA_OK;
}
