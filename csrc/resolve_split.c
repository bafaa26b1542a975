/* Row-split GEMMs: each core of a row group owns K / cols weight rows and the matching slice of the input, which is where the operator before left
 * it. Nothing is gathered; each core has partial sums of all columns, which the group reduce-scatters in fp32 while the next tile of columns is
 * computed, so that every core ends with its slice of the result.
 */
#include <math.h>

#include "gemm.h"
#include "vector.h"

/* Input slice, and accumulators of two tiles of columns: one computed, one sent. */
static double split_bytes(const hda_device_t *device, const hda_op_t *op, int64_t rows,
                          grid_t grid) {
    const double m = (double)hda_ceil_div(rows, grid.rows);
    const double k = (double)hda_ceil_div(op->k, grid.cols);
    const double columns = (double)(device->array.cols * device->array.lanes);
    return m * k * device->activation_bytes +
           2 * m * hda_fmin(columns, (double)op->n) * ACCUMULATOR_BYTES;
}

int resolve_can_split(const hda_device_t *device, const hda_op_t *op, int64_t rows, grid_t grid) {
    return !device->shared && op->kind == HDA_OP_LINEAR && grid.cols > 1 && op->k >= grid.cols &&
           split_bytes(device, op, rows, grid) <= gemm_activation_room(device, op);
}

hda_status_t resolve_split(hda_program_t *program, const hda_op_t *op, int64_t rows, grid_t grid,
                           int64_t core, int estimate, work_t *work) {
    const hda_device_t *device = &program->device;
    const int idle = core >= grid.rows * grid.cols;
    const int64_t m0 = hda_ceil_div(rows, grid.rows), k0 = hda_ceil_div(op->k, grid.cols);
    const int64_t m = idle ? 0 : hda_share(rows, grid.rows, core / grid.cols);
    const int64_t k = idle ? 0 : hda_share(op->k, grid.cols, core % grid.cols);
    int64_t sa_columns = 0, cycles[2] = {0, 0};
    if (k > 0) TRY(gemm_split_columns(device, m, k, op->n, 1, m, &sa_columns, cycles));
    gemm_set_times(device, m, cycles, work);
    double vector_cycles; /* every core adds the partial sums that it receives */
    TRY(hda_vu_cycles(device->vector_width, (double)m * (double)op->n, idle ? 0.0 : 1.0,
                      &vector_cycles));
    work->unit[ENGINE_VU] = vector_cycles / device->frequency;

    const double core_weights = (double)k0 * (double)op->n * op->weight_bytes;
    work->unique_bytes = work->dram_bytes = (double)op->k * (double)op->n * op->weight_bytes;
    double feed;
    TRY(resolve_broadcast(program, grid, grid.rows > 1 ? core_weights : 0, estimate, &feed));
    resolve_feed_time(work, feed, 0);
    for (int unit = 0; unit < 2; unit++) resolve_feed(work, unit, feed, 0);
    const double left = device->local_memory - split_bytes(device, op, rows, grid);
    const double ahead = hda_fmax(left, 2 * gemm_tile_bytes(device, op)) / 2;
    work->ahead = hda_fmin(1.0, ahead / core_weights);
    work->first = hda_fmin(1.0, gemm_tile_bytes(device, op) / core_weights);

    const double chunk = (double)m0 * (double)op->n * ACCUMULATOR_BYTES / (double)grid.cols;
    TRY(engine_set_exchange(program, HDA_REDUCE_SCATTER, grid.rows, grid.cols, chunk, estimate,
                            &work->merge));
    work->useful_macs = (double)rows * (double)op->k * (double)op->n;
    const double array_share = (double)sa_columns / (double)op->n;
    work->macs[0] = work->useful_macs * array_share;
    work->macs[1] = work->useful_macs - work->macs[0];
    const double loaded = work->dram_bytes * array_share * (double)grid.rows;
    work->uses = (uses_t){.vector_ops = (double)rows * (double)op->n * (double)(grid.cols - 1),
                          .operand_bytes = resolve_operand_bytes(device, work->macs, loaded),
                          .noc_bytes = work->dram_bytes * (double)(grid.rows - 1)};
    const int64_t step = gemm_output_step(device, sa_columns);
    work->output_tiles = (double)hda_ceil_div(op->n, step);
    return resolve_sync(program, op, rows, estimate, work);
}

void resolve_split_mapping(const hda_device_t *device, const hda_op_t *op, int64_t rows,
                           grid_t grid, int64_t core, hda_mapping_t *mapping) {
    int64_t columns = 0, cycles[2];
    if (core >= grid.rows * grid.cols) return;
    mapping->m = hda_share(rows, grid.rows, core / grid.cols);
    const int64_t k = hda_share(op->k, grid.cols, core % grid.cols);
    if (gemm_split_columns(device, mapping->m, k, op->n, 1, mapping->m, &columns, cycles) != HDA_OK)
        return;
    mapping->sa_columns = columns;
    mapping->mt_columns = op->n - columns;
    mapping->row_tiles = mapping->column_tiles = 1;
    mapping->local_bytes = split_bytes(device, op, rows, grid);
    const double left = device->local_memory - mapping->local_bytes;
    mapping->prefetch_bytes = hda_fmax(left, 2 * gemm_tile_bytes(device, op)) / 2;
}
