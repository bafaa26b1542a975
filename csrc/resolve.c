/* From an operator and its rows to service demands: common parts, vector operators, dispatch. Formulas of units are theirs (systolic,
 * mactree, vector, dram, noc); how operators are cut over cores stands in resolve_gemm.c and resolve_attention.c. */
#include "resolve.h"

#include <math.h>

#include "vector.h"

void resolve_feed(work_t *work, int unit, double port, double global) {
    if (!(work->unit[unit] > 0)) return;
    if (port > work->unit[unit] && port >= global) {
        work->unit[unit] = port;
        work->unit_cause[unit] = HDA_BY_NOC;
    } else if (global > work->unit[unit]) {
        work->unit[unit] = global;
        work->unit_cause[unit] = HDA_BY_GLOBAL_MEMORY;
    }
}

hda_status_t resolve_broadcast(hda_program_t *program, grid_t grid, double bytes, int estimate,
                               double *seconds) {
    if (!program->device.shared && grid.rows > 1)
        return engine_collective(program, HDA_BROADCAST, grid.cols, grid.rows, bytes, estimate,
                                 seconds);
    *seconds = bytes / (program->device.link_width * program->device.frequency);
    return HDA_OK;
}

void resolve_feed_time(work_t *work, double port, double global) {
    work->feed_time = hda_fmax(port, global);
    work->feed_cause = port >= global ? HDA_BY_NOC : HDA_BY_GLOBAL_MEMORY;
}

/* Share of the tensor that must reach every device, whatever the algorithm: noc README 10, Patarasuk and Yuan 2009. */
static double least_share(const hda_device_t *device, const hda_op_t *op, double d) {
    if (op->sync == HDA_SYNC_ALL_REDUCE && device->measured != NULL)
        return hda_fmin(
            2 * (d - 1) / d,
            1 + 1 / d); /* a switch may add: each sends its vector, and the sum of its part back */
    if (op->sync == HDA_SYNC_SEND) return 1;
    if (op->sync == HDA_SYNC_ALL_TO_ALL) return (d - 1) / (d * d);
    return (op->sync == HDA_SYNC_ALL_REDUCE ? 2 : 1) * (d - 1) / d;
}

hda_status_t resolve_sync(hda_program_t *program, const hda_op_t *op, int64_t rows, int estimate,
                          work_t *work) {
    static const hda_collective_t kinds[] = {[HDA_SYNC_ALL_REDUCE] = HDA_ALL_REDUCE,
                                             [HDA_SYNC_ALL_GATHER] = HDA_ALL_GATHER,
                                             [HDA_SYNC_ALL_TO_ALL] = HDA_ALL_TO_ALL,
                                             [HDA_SYNC_SEND] = HDA_SEND,
                                             [HDA_SYNC_REDUCE_SCATTER] = HDA_REDUCE_SCATTER};
    const hda_device_t *device = &program->device;
    const int32_t network = engine_network(device, op);
    const double d = (double)engine_devices(device, network);
    const double size = (double)rows * op->sync_bytes;
    if (op->sync == HDA_SYNC_NONE || rows == 0 || (d < 2 && op->sync != HDA_SYNC_SEND))
        return HDA_OK;
    work->p2p_least = least_share(device, op, d) * size / device->p2p_bandwidth;
    if (estimate) return HDA_OK; /* the same for every mapping */
    work->sync = (exchange_t){
        .bytes = size, .kind = (int32_t)kinds[op->sync], .network = network, .tiles = 1};
    return engine_exchange(program, network, kinds[op->sync], size, &work->sync.tile_time,
                           &work->p2p_bytes);
}

/* Core counts with at most three significant bits: 1 .. 8, 10, 12, 14, 16, 20, .. A chip with more cores has all of those of a chip with
 * fewer, so that more cores never make the best choice worse. */
int64_t engine_round_below(int64_t n) {
    int64_t step = 1;
    while (n >= 8 * step) step *= 2;
    return n / step * step;
}

double engine_duration(const hda_device_t *device, const work_t *work) {
    const double dram = work->dram_bytes / (device->dram.bandwidth * device->dram.maximum);
    const double units = hda_fmax(hda_fmax(work->unit[0], work->unit[1]), work->unit[2]);
    return hda_fmax(units, hda_fmax(dram, work->feed_time));
}

double engine_occupancy(const hda_device_t *device, const work_t *work) {
    const double dram = work->dram_bytes / (device->dram.bandwidth * device->dram.maximum);
    const double transfer = hda_fmax(dram, work->feed_time);
    const double units = hda_fmax(hda_fmax(work->unit[0], work->unit[1]), work->unit[2]);
    const double body =
        exchange_time(&work->gather) + hda_fmax(units, (1 - work->ahead) * transfer);
    return (device->prefetch ? body : hda_fmax(body, transfer)) + exchange_time(&work->merge);
}

/* What counts in the choice of cores: where transfers run ahead, only what the cores themselves take. */
static double cores_time(const hda_device_t *device, const work_t *work) {
    if (!device->prefetch) return engine_occupancy(device, work);
    return exchange_time(&work->gather) +
           hda_fmax(hda_fmax(work->unit[0], work->unit[1]), work->unit[2]) +
           exchange_time(&work->merge);
}

hda_status_t resolve_on_best_cores(hda_program_t *program, const hda_op_t *op, const void *demand,
                                   int64_t core, int estimate, resolver_t resolver, work_t *work) {
    const hda_device_t *device = &program->device;
    const int64_t most =
        device->shared ? device->core_count : engine_round_below(device->core_count);
    int64_t choice = 1;
    double best = -1;
    for (int64_t c = most; c >= 1; c = engine_round_below(c - 1)) {
        work_t candidate = *work;
        TRY(resolver(program, op, demand, c, 0, 1, &candidate));
        const double time = cores_time(device, &candidate);
        if (best < 0 || time < best) {
            best = time;
            choice = c;
        }
        if (candidate.compute >= best || c == 1) break;
    }
    return resolver(program, op, demand, choice, core, estimate, work);
}

static hda_status_t resolve_vector(hda_program_t *program, const hda_op_t *op, int64_t rows,
                                   grid_t grid, int64_t core, int estimate, work_t *work) {
    const hda_device_t *device = &program->device;
    work->uses.vector_ops = (double)rows * (double)op->n * op->vector_ops;
    if (core < grid.rows * grid.cols) {
        const double elements = (double)hda_share(rows, grid.rows, core / grid.cols) *
                                (double)hda_share(op->n, grid.cols, core % grid.cols);
        double cycles;
        TRY(hda_vu_cycles(device->vector_width, elements, op->vector_ops, &cycles));
        work->compute = work->unit[ENGINE_VU] = cycles / device->frequency;
    }
    if (op->reduce_bytes > 0 && !device->shared) {
        const double chunk =
            (double)hda_ceil_div(rows, grid.rows) * op->reduce_bytes / (double)grid.cols;
        TRY(engine_set_exchange(program, HDA_ALL_REDUCE, grid.rows, grid.cols, chunk, estimate,
                                &work->merge));
    }
    work->output_tiles = (double)hda_ceil_div(rows, grid.rows);
    return HDA_OK;
}

/* Rows whose results the exchange between devices after an operator carries. */
static int64_t exchanged_rows(const hda_op_t *op, const rows_t *rows, int64_t op_rows) {
    if (op->kind == HDA_OP_PREFILL_ATTENTION) return rows->tokens - rows->decode;
    if (op->kind == HDA_OP_DECODE_ATTENTION) return rows->decode;
    const int between_ranks = op->rows == HDA_ROWS_GROUP && op->sync == HDA_SYNC_ALL_TO_ALL;
    return between_ranks ? rows->exchanged : op_rows;
}

static hda_status_t resolve(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                            int64_t op_rows, grid_t grid, int64_t core, int estimate,
                            work_t *work) {
    *work = (work_t){.unit_cause = {HDA_BY_SA, HDA_BY_MT, HDA_BY_VU},
                     .feed_cause = HDA_BY_DRAM,
                     .output_tiles = 1};
    if (program->device.gpu.sm_count > 0) {
        TRY(resolve_kernel(program, op, rows, op_rows, work));
        return resolve_sync(program, op, exchanged_rows(op, rows, op_rows), estimate, work);
    }
    if (op->kind == HDA_OP_PREFILL_ATTENTION)
        return resolve_prefill(program, op, rows, core, estimate, work);
    if (op->kind == HDA_OP_DECODE_ATTENTION)
        return resolve_decode(program, op, rows, core, estimate, work);
    if (op_rows == 0) return HDA_OK;
    if (op->kind == HDA_OP_LINEAR)
        return resolve_linear(program, op, op_rows, grid, core, estimate, work);
    if (op->kind == HDA_OP_EXPERTS)
        TRY(resolve_experts(program, op, op_rows, core, estimate, work));
    else if (op->kind == HDA_OP_VECTOR)
        TRY(resolve_vector(program, op, op_rows, grid, core, estimate, work));
    else
        work->unique_bytes = work->dram_bytes = (double)op_rows * (double)op->n;
    return resolve_sync(program, op, exchanged_rows(op, rows, op_rows), estimate, work);
}

hda_status_t engine_resolve(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                            int64_t op_rows, grid_t grid, int64_t core, int estimate,
                            work_t *work) {
    TRY(resolve(program, op, rows, op_rows, grid, core, estimate, work));
    work->idle = !(work->dram_bytes > 0) && !(work->feed_time > 0) && !(work->unit[0] > 0) &&
                 !(work->unit[1] > 0) && !(work->unit[2] > 0) && !(work->sync.tiles > 0) &&
                 !(work->gather.tiles > 0) && !(work->merge.tiles > 0);
    if (!estimate) engine_energy(&program->device, op, work);
    return HDA_OK;
}
