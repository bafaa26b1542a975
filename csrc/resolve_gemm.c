/* GEMMs: how they are cut over cores and tiles.
 *
 * - Row-split GEMMs, where cores own weight rows, are in resolve_split.c.
 * - A grid of row groups x column groups of cores holds a GEMM: a core computes ceil(rows / grid rows) rows of ceil(n / grid cols)
 *   columns. One row group is ADOR's latency mode (cores own weight columns, each reads its own DRAM channel, inputs are all-gathered),
 *   one column group its throughput mode (weights broadcast, activations split by rows).
 * - The input stays in local memory as slices if the slice, the fp32 accumulators of one column tile and two weight tiles fit; what
 *   is left of local memory takes weights ahead of time (half of it for the current operator, half for the next). Otherwise inputs come from
 *   global memory, or from DRAM when they exceed half of it, in row x column tiles whose accumulators fill half of local memory.
 */
#include <math.h>

#include "gemm.h"

/* A GEMM cut over cores and tiles; `m0`, `n0` belong to the busiest core, `m`, `n` to the asked one. */
typedef struct {
    int64_t m0, n0, m, n, row_tiles, column_tiles, tile_rows;
    int32_t home;
    double local_bytes, prefetch_bytes, weight_share;
} cut_t;

static void cut_tiles(const hda_device_t *device, const hda_op_t *op, double room, int64_t rows,
                      grid_t grid, int local, cut_t *cut) {
    const double b = device->activation_bytes, m = (double)cut->m0;
    const double slice =
        op->gather ? m * (double)op->k * b * cut->weight_share : m * (double)op->k * b;
    const double narrow = (double)hda_min64(cut->n0, device->array.cols * device->array.lanes);
    cut->row_tiles = cut->column_tiles = 1;
    cut->tile_rows = cut->m0;
    if (local && !device->shared && slice + m * narrow * ACCUMULATOR_BYTES <= room) {
        const double columns = floor((room - slice) / (ACCUMULATOR_BYTES * m));
        const int64_t tile = columns < (double)cut->n0 ? hda_max64((int64_t)columns, 1) : cut->n0;
        cut->column_tiles = hda_ceil_div(cut->n0, tile);
        cut->home = 0;
        cut->local_bytes = slice + m * (double)tile * ACCUMULATOR_BYTES;
        return;
    }
    const double sums = hda_fmax(room / 2 / ACCUMULATOR_BYTES, 1.0);
    const int64_t side = hda_max64((int64_t)sqrt(sums), 1);
    cut->tile_rows = hda_min64(cut->m0, hda_max64(side, 1));
    int64_t tile_cols = hda_min64(cut->n0, hda_max64((int64_t)(sums / (double)cut->tile_rows), 1));
    /* the weights of one column tile of all cores wait in half of global memory for the next row tile */
    const double column = 2 * (double)op->k * op->weight_bytes * (double)grid.cols;
    const int64_t panel = (int64_t)hda_fmin(device->global_memory / column, (double)cut->n0);
    if (cut->tile_rows < cut->m0 && panel >= device->array.cols)
        tile_cols = hda_min64(tile_cols, panel);
    cut->row_tiles = hda_ceil_div(cut->m0, cut->tile_rows);
    cut->column_tiles = hda_ceil_div(cut->n0, tile_cols);
    cut->home = 2.0 * (double)rows * (double)op->k * b <= device->global_memory ? 1 : 2;
    cut->local_bytes = (double)(cut->tile_rows * tile_cols) * ACCUMULATOR_BYTES;
}

static void cut_gemm(const hda_device_t *device, const hda_op_t *op, int64_t rows, grid_t grid,
                     int64_t core, int local, cut_t *cut) {
    const double room = gemm_activation_room(device, op);
    cut->m0 = hda_ceil_div(rows, grid.rows);
    cut->n0 = hda_ceil_div(op->n, grid.cols);
    const int idle = core >= grid.rows * grid.cols;
    cut->m = idle ? 0 : hda_share(rows, grid.rows, core / grid.cols);
    cut->n = idle ? 0 : hda_share(op->n, grid.cols, core % grid.cols);
    cut->weight_share = (double)hda_ceil_div(op->k, grid.cols) / (double)op->k;
    cut_tiles(device, op, room, rows, grid, local, cut);
    const double left = device->local_memory - cut->local_bytes;
    cut->prefetch_bytes = hda_fmax(left, 2 * gemm_tile_bytes(device, op)) / 2;
}

static hda_status_t resolve_cut(hda_program_t *program, const hda_op_t *op, int64_t rows,
                                grid_t grid, cut_t cut, int estimate, work_t *work) {
    const hda_device_t *device = &program->device;
    int64_t sa_columns, cycles[2];
    TRY(gemm_split_columns(device, cut.m, op->k, cut.n, cut.row_tiles, cut.tile_rows, &sa_columns,
                           cycles));
    gemm_set_times(device, hda_min64(cut.m, cut.tile_rows), cycles, work);

    const double k = (double)op->k, weights = k * (double)op->n * op->weight_bytes;
    const double b = device->activation_bytes, all_rows = (double)rows;
    const double core_weights = k * (double)cut.n0 * op->weight_bytes;
    const int64_t passes = cut.home == 0 ? cut.column_tiles - !!op->gather : cut.column_tiles;
    const double core_input =
        (double)cut.m0 * k * b * (double)(device->shared ? cut.column_tiles : passes);
    const int own_channel =
        grid.rows == 1 && !device->shared; /* weights straight from the nearest channel */
    const double core_feed = own_channel ? 0 : core_weights * (double)cut.row_tiles;
    const double port = device->link_width * device->frequency;

    double global = cut.home == 0 ? 0 : all_rows * k * b * (double)cut.column_tiles;
    double global_weights = 0;
    if (device->shared) {
        global = all_rows * k * b * (double)(cut.column_tiles * grid.cols);
        global_weights = weights * (double)(grid.rows * cut.row_tiles);
    }
    const double panel = 2 * k * op->weight_bytes * (double)hda_ceil_div(cut.n0, cut.column_tiles) *
                         (double)grid.cols;
    work->unique_bytes = weights;
    work->dram_bytes = weights * (panel <= device->global_memory ? 1.0 : (double)cut.row_tiles);
    if (cut.home == 2)
        work->dram_bytes += all_rows * (k * (double)cut.column_tiles + (double)op->n) * b;
    double feed; /* weights reach the cores of a column group by a chain of messages */
    TRY(resolve_broadcast(program, grid, core_feed, estimate, &feed));
    resolve_feed_time(work, feed, global_weights / device->global_bandwidth);
    for (int unit = 0; unit < 2; unit++)
        resolve_feed(work, unit, hda_fmax(feed, (core_input + core_feed) / port),
                     (global + global_weights) / device->global_bandwidth);
    work->ahead = hda_fmin(1.0, cut.prefetch_bytes / core_weights);
    work->first = hda_fmin(1.0, gemm_tile_bytes(device, op) / core_weights);
    const double slice = (double)cut.m0 * k * b * cut.weight_share;
    if (op->gather && cut.home == 0)
        TRY(engine_set_exchange(program, HDA_ALL_GATHER, grid.rows, grid.cols, slice, estimate,
                                &work->gather));
    else if (op->gather) /* every core first writes its slice to global memory */
        work->gather = (exchange_t){
            .tiles = 1,
            .tile_time = hda_fmax(slice / port, all_rows * k * b / device->global_bandwidth),
            .bytes = slice,
            .kind = -1};
    work->useful_macs = all_rows * k * (double)op->n;
    const double array_share = cut.n ? (double)sa_columns / (double)cut.n : 1.0;
    work->macs[0] = work->useful_macs * array_share;
    work->macs[1] = work->useful_macs - work->macs[0];
    const double copies = (double)(grid.rows * cut.row_tiles); /* of the weights, over all cores */
    work->uses = (uses_t){
        .global_bytes = global + global_weights,
        .operand_bytes = resolve_operand_bytes(device, work->macs, weights * array_share * copies),
        .noc_bytes = own_channel || device->shared
                         ? 0
                         : weights * (double)((grid.rows - 1) * cut.row_tiles)};
    const int64_t step = gemm_output_step(device, sa_columns);
    work->output_tiles = (double)(cut.row_tiles * hda_ceil_div(cut.n0, step));
    return resolve_sync(program, op, rows, estimate, work);
}

/* Cut for one core. Where slices in local memory leave room for a part of the columns only, so that inputs are gathered several times, global
 * memory is the home if that ends sooner and costs no DRAM traffic; the busiest core decides for all. */
static hda_status_t choose_cut(hda_program_t *program, const hda_op_t *op, int64_t rows,
                               grid_t grid, int64_t core, cut_t *cut) {
    cut_gemm(&program->device, op, rows, grid, core, 1, cut);
    if (cut->home != 0 || cut->column_tiles == 1) return HDA_OK;
    double time[2], bytes[2];
    for (int local = 0; local < 2; local++) {
        cut_t busiest;
        work_t work = {0};
        cut_gemm(&program->device, op, rows, grid, 0, local, &busiest);
        TRY(resolve_cut(program, op, rows, grid, busiest, 1, &work));
        time[local] =
            exchange_time(&work.gather) + hda_fmax(work.unit[ENGINE_SA], work.unit[ENGINE_MT]);
        bytes[local] = work.dram_bytes;
    }
    const int local = time[1] <= time[0] || bytes[1] < bytes[0];
    cut_gemm(&program->device, op, rows, grid, core, local, cut);
    return HDA_OK;
}

hda_status_t resolve_linear(hda_program_t *program, const hda_op_t *op, int64_t rows, grid_t grid,
                            int64_t core, int estimate, work_t *work) {
    if (grid.flow == HDA_FLOW_ROW_SPLIT && resolve_can_split(&program->device, op, rows, grid))
        return resolve_split(program, op, rows, grid, core, estimate, work);
    cut_t cut;
    TRY(choose_cut(program, op, rows, grid, core, &cut));
    return resolve_cut(program, op, rows, grid, cut, estimate, work);
}

/* Expected number of distinct experts of this device that `tokens` tokens hit under uniform routing, which gives each of all E experts a
 * token with probability k / E: experts (1 - (1 - k/E)^T) (papers.md 3.1). Where several devices hold experts, the busiest holds no less
 * than one of those hit. */
static double experts_hit(const hda_op_t *op, int64_t tokens) {
    const double own = (double)op->experts, e = own * (double)hda_max64(op->group, 1);
    if ((double)op->top_k >= e) return own;
    const double hit = own * -expm1((double)tokens * log1p(-(double)op->top_k / e));
    return op->group > 1 ? hda_fmax(hit, 1.0) : hit;
}

/* Grouped GEMM: column folds of all experts hit are dealt over `cores` cores; each streams its expert's tokens. */
static hda_status_t resolve_grouped(hda_program_t *program, const hda_op_t *op, const void *demand,
                                    int64_t cores, int64_t core, int estimate, work_t *work) {
    const hda_device_t *device = &program->device;
    const int64_t rows = *(const int64_t *)demand;
    const double hit = experts_hit(op, rows), k = (double)op->k, n = (double)op->n;
    const double assigned =
        (double)hda_ceil_div(rows * op->top_k, hda_max64(op->group, 1)); /* the busiest device */
    const double b = device->activation_bytes, port = device->link_width * device->frequency;
    const int64_t m = (int64_t)ceil(assigned / hit), columns = (int64_t)ceil(hit * n);
    const int64_t own = core < cores ? hda_share(columns, cores, core) : 0;
    const int64_t most = hda_ceil_div(columns, cores);
    int64_t sa_columns, cycles[2];
    TRY(gemm_split_columns(device, m, op->k, own, 1, m, &sa_columns, cycles));
    gemm_set_times(device, m, cycles, work);

    const double weights = hit * k * n * op->weight_bytes, core_weights = weights / (double)cores;
    work->unique_bytes = work->dram_bytes = weights;
    const double slice = assigned * k * b / (double)cores;
    const double room = gemm_activation_room(device, op);
    const double tile =
        hda_fmax(room / 2 / ACCUMULATOR_BYTES / (double)m, (double)device->array.cols);
    const double core_input = (double)m * k * b * ceil((double)most / tile);
    const int local = !device->shared && slice <= room / 2;
    double global = local ? 0 : assigned * k * b;
    if (device->shared) global = core_input * (double)cores;
    if (!local && assigned * k * b * 2 > device->global_memory)
        work->dram_bytes += assigned * (k + n) * b;
    const double core_feed = device->shared ? core_weights : 0;
    const double global_weights = device->shared ? weights : 0;
    resolve_feed_time(work, core_feed / port, global_weights / device->global_bandwidth);
    for (int unit = 0; unit < 2; unit++)
        resolve_feed(work, unit, (core_input + core_feed) / port,
                     (global + global_weights) / device->global_bandwidth);
    work->ahead = hda_fmin(1.0, hda_fmax(room - slice, 0) / 2 / core_weights);
    work->first = hda_fmin(1.0, gemm_tile_bytes(device, op) / core_weights);
    if (op->gather && local)
        TRY(engine_set_exchange(program, HDA_ALL_GATHER, 1, cores, slice, estimate, &work->gather));
    work->useful_macs = assigned * k * n;
    const double array_share = own ? (double)sa_columns / (double)own : 1.0;
    work->macs[0] = work->useful_macs * array_share;
    work->macs[1] = work->useful_macs - work->macs[0];
    work->uses =
        (uses_t){.global_bytes = global + global_weights,
                 .operand_bytes = resolve_operand_bytes(device, work->macs, weights * array_share)};
    return HDA_OK;
}

hda_status_t resolve_experts(hda_program_t *program, const hda_op_t *op, int64_t rows, int64_t core,
                             int estimate, work_t *work) {
    return resolve_on_best_cores(program, op, &rows, core, estimate, resolve_grouped, work);
}

void engine_mapping(hda_program_t *program, const hda_op_t *op, int64_t rows, grid_t grid,
                    int64_t core, hda_mapping_t *mapping) {
    cut_t cut = {0};
    *mapping = (hda_mapping_t){.grid_rows = grid.rows, .grid_cols = grid.cols};
    if (rows == 0 || op->kind != HDA_OP_LINEAR) return;
    mapping->dataflow = grid.flow == HDA_FLOW_ROW_SPLIT   ? HDA_FLOW_ROW_SPLIT
                        : grid.rows > 1 && grid.cols == 1 ? HDA_FLOW_THROUGHPUT
                                                          : HDA_FLOW_LATENCY;
    if (grid.flow == HDA_FLOW_ROW_SPLIT) {
        resolve_split_mapping(&program->device, op, rows, grid, core, mapping);
        return;
    }
    int64_t cycles[2], columns = 0;
    if (choose_cut(program, op, rows, grid, core, &cut) != HDA_OK ||
        gemm_split_columns(&program->device, cut.m, op->k, cut.n, cut.row_tiles, cut.tile_rows,
                           &columns, cycles) != HDA_OK)
        return;
    mapping->m = cut.m;
    mapping->sa_columns = columns;
    mapping->mt_columns = cut.n - columns;
    mapping->row_tiles = cut.row_tiles;
    mapping->column_tiles = cut.column_tiles;
    mapping->home = cut.home;
    mapping->local_bytes = cut.local_bytes;
    mapping->prefetch_bytes = cut.prefetch_bytes;
}
