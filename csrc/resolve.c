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

void resolve_feed_time(work_t *work, double port, double global) {
    work->feed_time = hda_fmax(port, global);
    work->feed_cause = port >= global ? HDA_BY_NOC : HDA_BY_GLOBAL_MEMORY;
}

void resolve_sync(const hda_device_t *device, const hda_op_t *op, int64_t rows, work_t *work) {
    const double d = (double)device->device_count, size = (double)rows * op->sync_bytes;
    if (op->sync == HDA_SYNC_SEND || (op->sync == HDA_SYNC_ALL_TO_ALL && d > 1)) {
        const double moved = op->sync == HDA_SYNC_SEND ? size : (d - 1) * size / (d * d);
        if (rows == 0) return;
        work->p2p_bytes = moved;
        work->p2p_least = moved / device->p2p_bandwidth;
        work->p2p = work->p2p_least + device->p2p_latency;
        return;
    }
    if (op->sync == HDA_SYNC_NONE || device->device_count < 2 || rows == 0) return;
    const double rounds = ceil(log2(d)), beta = size / device->p2p_bandwidth,
                 alpha = device->p2p_latency;
    const int reduce = op->sync == HDA_SYNC_ALL_REDUCE;
    const double time[3] = {
        reduce ? (d - 1) * beta + alpha : (d - 1) / d * beta + alpha,
        reduce ? 2 * (d - 1) * (beta / d + alpha) : (d - 1) * (beta / d + alpha),
        reduce ? 2 * rounds * (beta + alpha) : (d - 1) / d * beta + rounds * alpha,
    };
    const double ring = (d - 1) / d * size;
    const double bytes[3] = {reduce ? (d - 1) * size : ring, reduce ? 2 * ring : ring,
                             reduce ? 2 * size : ring};
    int choice = device->p2p_algorithm - 1;
    if (choice < 0) {
        choice = 0;
        for (int i = 1; i < 3; i++)
            if (time[i] < time[choice]) choice = i;
    }
    work->p2p = time[choice];
    work->p2p_bytes = bytes[choice];
    work->p2p_least = (reduce ? 2 * ring : ring) / device->p2p_bandwidth;
}

/* Core counts with at most three significant bits: 1 .. 8, 10, 12, 14, 16, 20, .. A chip with more cores has all of those of a chip with
 * fewer, so that more cores never make the best choice worse. */
int64_t engine_round_below(int64_t n) {
    int64_t step = 1;
    while (n >= 8 * step) step *= 2;
    return n / step * step;
}

double engine_occupancy(const hda_device_t *device, const work_t *work) {
    const double dram = work->dram_bytes / (device->dram.bandwidth * device->dram.maximum);
    const double transfer = hda_fmax(dram, work->feed_time);
    const double units = hda_fmax(hda_fmax(work->unit[0], work->unit[1]), work->unit[2]);
    const double body = work->noc_in + hda_fmax(units, (1 - work->ahead) * transfer);
    return (device->prefetch ? body : hda_fmax(body, transfer)) + work->noc_out;
}

/* What counts in the choice of cores: where transfers run ahead, only what the cores themselves take. */
static double cores_time(const hda_device_t *device, const work_t *work) {
    if (!device->prefetch) return engine_occupancy(device, work);
    return work->noc_in + hda_fmax(hda_fmax(work->unit[0], work->unit[1]), work->unit[2]) +
           work->noc_out;
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
        TRY(engine_collective(program, HDA_COLL_FOLDED_ALL_REDUCE, grid.rows, grid.cols, chunk,
                              estimate, &work->noc_out));
    }
    resolve_sync(device, op, rows, work);
    return HDA_OK;
}

hda_status_t engine_resolve(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                            int64_t op_rows, grid_t grid, int64_t core, int estimate,
                            work_t *work) {
    *work = (work_t){.unit_cause = {HDA_BY_SA, HDA_BY_MT, HDA_BY_VU}, .feed_cause = HDA_BY_DRAM};
    if (op->kind == HDA_OP_PREFILL_ATTENTION)
        return resolve_prefill(program, op, rows, core, estimate, work);
    if (op->kind == HDA_OP_DECODE_ATTENTION)
        return resolve_decode(program, op, rows, core, estimate, work);
    if (op_rows == 0) return HDA_OK;
    if (op->kind == HDA_OP_LINEAR)
        return resolve_linear(program, op, op_rows, grid, core, estimate, work);
    if (op->kind == HDA_OP_EXPERTS)
        return resolve_experts(program, op, op_rows, core, estimate, work);
    if (op->kind == HDA_OP_VECTOR)
        return resolve_vector(program, op, op_rows, grid, core, estimate, work);
    work->unique_bytes = work->dram_bytes = (double)op_rows * (double)op->n;
    return HDA_OK;
}
