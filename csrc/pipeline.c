/* Communication hidden under compute: the n-th tile of a result travels while the next one is computed.
 *
 * A result that appears evenly over C seconds and is exchanged in n tiles of m seconds each is there after
 *
 *     max(C + m, C / n + n m)
 *
 * which is the recursion "a tile leaves when it is computed and the one before it has left" (papers.md 3.8); execute.c runs the same recursion
 * with clocks that other operators move, this file chooses n. Many tiles hide more, but each pays the exchange's fixed costs. m is not n
 * times less than the whole: it comes from the simulated collective of a tile's size.
 */
#include "engine.h"
#include "resolve.h"

static hda_status_t tile_time(hda_program_t *program, const exchange_t *exchange, double bytes,
                              int estimate, double *seconds) {
    double received;
    if (exchange->groups == 0)
        return engine_exchange(program, exchange->network, (hda_collective_t)exchange->kind, bytes,
                               seconds, &received);
    return engine_collective(program, (hda_collective_t)exchange->kind, exchange->groups,
                             exchange->size, bytes, estimate, seconds);
}

hda_status_t engine_set_exchange(hda_program_t *program, hda_collective_t kind, int64_t groups,
                                 int64_t size, double bytes, int estimate, exchange_t *exchange) {
    *exchange = (exchange_t){
        .bytes = bytes, .kind = (int32_t)kind, .groups = groups, .size = size, .tiles = 1};
    return tile_time(program, exchange, bytes, estimate, &exchange->tile_time);
}

/* Without knowing C, tiles may cost a tenth more than the exchange in one piece. */
static const double UNKNOWN_ALLOWANCE = 1.1;

hda_status_t engine_pipeline(hda_program_t *program, double compute, double most,
                             exchange_t *exchange) {
    const double whole = exchange_time(exchange);
    if (!(whole > 0)) return HDA_OK;
    if (exchange->groups == 0 && !program->device.prefetch)
        return HDA_OK; /* kernels wait for whole results */
    double best = compute + whole;
    for (double n = 2; n <= most && n <= 64; n *= 2) {
        double tile = whole / n;
        if (exchange->kind >= 0) TRY(tile_time(program, exchange, exchange->bytes / n, 0, &tile));
        if (compute < 0 ? n * tile > UNKNOWN_ALLOWANCE * whole
                        : hda_fmax(compute + tile, compute / n + n * tile) >= best)
            break;
        best = hda_fmax(compute + tile, compute / n + n * tile);
        exchange->tiles = n;
        exchange->tile_time = tile;
    }
    return HDA_OK;
}

/* How long the operator takes whose results `op` uses, and in how many tiles they appear. What comes from another block, or has been
 * exchanged between devices, is there at once; compute is -1 where it is not known before the step. */
static void producer(const hda_program_t *program, const hda_block_t *block, const hda_op_t *op,
                     const work_t *work, double *compute, double *tiles) {
    *compute = 0;
    *tiles = 1;
    for (int d = 0; d < 2; d++) {
        if (op->after[d] < 0) continue;
        const int64_t index = block->first + op->after[d];
        const hda_op_t *before = &program->ops[index];
        const int32_t network = engine_network(&program->device, before);
        if (before->sync != HDA_SYNC_NONE && engine_devices(&program->device, network) > 1) return;
        const int fresh = before->kind == HDA_OP_PREFILL_ATTENTION ||
                          before->kind == HDA_OP_DECODE_ATTENTION ||
                          before->rows == HDA_ROWS_LATENT || before->rows == HDA_ROWS_SHARE ||
                          (before->rows == HDA_ROWS_GROUP) != (op->rows == HDA_ROWS_GROUP);
        *compute = fresh ? -1 : engine_duration(&program->device, &work[index]);
        *tiles = fresh ? 16 : work[index].output_tiles;
    }
}

/* An array whose columns suffice for all of a core's has its results at the end only. Where DRAM is slower than it by a factor, its columns may
 * be worked off in as many parts without any loss. */
static void narrow_tiles(work_t *work, double tiles) {
    work->narrow = hda_fmax(1, tiles / work->output_tiles);
    work->unit[ENGINE_SA] *= work->narrow;
}

static double slack(const hda_program_t *program, const work_t *work) {
    if (!(work->unit[ENGINE_SA] > 0) || work->unit[ENGINE_MT] > 0) return 1;
    const double parts = engine_duration(&program->device, work) / work->unit[ENGINE_SA];
    return hda_fmax(1, hda_fmin(parts, (double)program->device.array.cols / 8));
}

/* Results that are exchanged between cores and then between devices pass both networks in the same tiles. */
static hda_status_t tile_alike(hda_program_t *program, work_t *work) {
    exchange_t *merge = &work->merge;
    if (!(merge->tiles > 0) || !(work->sync.tiles > merge->tiles)) return HDA_OK;
    const double n = work->sync.tiles;
    double tile = exchange_time(merge) / n;
    if (merge->kind >= 0) TRY(tile_time(program, merge, merge->bytes / n, 0, &tile));
    merge->tiles = n;
    merge->tile_time = tile;
    return HDA_OK;
}

hda_status_t engine_pipeline_results(hda_program_t *program, work_t *work) {
    const double duration = engine_duration(&program->device, work);
    TRY(engine_pipeline(program, duration, work->output_tiles, &work->sync));
    return tile_alike(program, work);
}

/* How far an exchange ends after what it follows. */
static double exposed(const exchange_t *exchange, double compute) {
    const double tile = exchange->tile_time, n = exchange->tiles;
    if (!(n * tile > 0)) return 0;
    return hda_fmax(tile, hda_fmax(compute, 0) / n + n * tile - hda_fmax(compute, 0));
}

/* Tile the exchanges of one operator, in *own; *time is what it adds to a chain of operators. */
static hda_status_t pipeline_op(hda_program_t *program, const hda_block_t *block,
                                const hda_op_t *op, const work_t *work, work_t *own, double *time) {
    const hda_device_t *device = &program->device;
    double compute, tiles;
    producer(program, block, op, work, &compute, &tiles);
    TRY(engine_pipeline(program, compute, tiles, &own->gather));
    *time = exposed(&own->gather, compute);
    double duration = engine_duration(device, own), body = engine_occupancy(device, own);
    body -= exchange_time(&own->gather) + exchange_time(&own->merge);
    if (op->elementwise && tiles > 1 && device->launch_overhead == 0) {
        own->input_tiles = own->output_tiles = tiles;
        body /= tiles;
        duration = hda_fmax(duration, compute);
    }
    if (op->kind ==
        HDA_OP_VECTOR) { /* statistics of a norm scale its results: they are exchanged whole */
        TRY(engine_pipeline(program, duration, own->output_tiles, &own->sync));
        *time += body + exchange_time(&own->merge) + exposed(&own->sync, duration);
        return HDA_OK;
    }
    const double most = own->output_tiles * slack(program, own);
    TRY(engine_pipeline(program, duration, most, &own->merge));
    TRY(engine_pipeline(program, duration, most, &own->sync));
    TRY(tile_alike(program, own));
    const double used = hda_fmax(own->merge.tiles, own->sync.tiles);
    if (used > own->output_tiles) narrow_tiles(own, used);
    *time += body + exposed(own->sync.tiles > 0 ? &own->sync : &own->merge, duration);
    return HDA_OK;
}

/* Resolve a GEMM cut by weight rows, and take it if that is asked for or ends earlier. */
static hda_status_t try_split(hda_program_t *program, const hda_block_t *block, int64_t rows,
                              grid_t grid, const work_t *work, int64_t index, double time,
                              work_t *best, int32_t *flow, double *best_time) {
    const hda_op_t *op = &program->ops[index];
    const rows_t none = {.tokens = rows, .emit = rows};
    const int32_t named = program->device.dataflow;
    if ((named != HDA_FLOW_AUTO && named != HDA_FLOW_ROW_SPLIT) ||
        !resolve_can_split(&program->device, op, rows, grid))
        return HDA_OK;
    grid.flow = HDA_FLOW_ROW_SPLIT;
    work_t candidate;
    double candidate_time;
    TRY(engine_resolve(program, op, &none, rows, grid, 0, 0, &candidate));
    TRY(pipeline_op(program, block, op, work, &candidate, &candidate_time));
    if (named == HDA_FLOW_AUTO && candidate_time >= time) return HDA_OK;
    *best = candidate;
    *best_time = candidate_time;
    *flow = HDA_FLOW_ROW_SPLIT;
    return HDA_OK;
}

hda_status_t engine_pipeline_plan(hda_program_t *program, int32_t kind, int64_t rows,
                                  plan_t *plan) {
    const double rate = program->device.dram.bandwidth * program->device.dram.maximum;
    double chain = 0, transfer = 0;
    for (int64_t b = 0; b < program->block_count; b++) {
        const hda_block_t *block = &program->blocks[b];
        for (int64_t i = block->first; i < block->first + block->count; i++) {
            const hda_op_t *op = &program->ops[i];
            if (op->rows != kind || op->kind == HDA_OP_PREFILL_ATTENTION ||
                op->kind == HDA_OP_DECODE_ATTENTION)
                continue;
            double time;
            work_t best = plan->work[i];
            TRY(pipeline_op(program, block, op, plan->work, &best, &time));
            TRY(try_split(program, block, rows, plan->grid, plan->work, i, time, &best,
                          &plan->flow[i], &time));
            plan->work[i] = best;
            chain += program->repeat[i] * time;
            transfer += program->repeat[i] * hda_fmax(best.dram_bytes / rate, best.feed_time);
        }
    }
    plan->time =
        hda_fmax(chain, transfer) + 1e-3 * chain; /* of equals, the one with less to hide */
    return HDA_OK;
}

hda_status_t engine_pipeline_group(hda_program_t *program) {
    for (int64_t b = 0; b < program->block_count; b++) {
        const hda_block_t *block = &program->blocks[b];
        for (int64_t i = block->first; i < block->first + block->count; i++) {
            if (program->ops[i].rows != HDA_ROWS_GROUP) continue;
            double time;
            work_t own = program->fresh[i];
            TRY(pipeline_op(program, block, &program->ops[i], program->fresh, &own, &time));
            program->fresh[i] = own;
        }
    }
    return HDA_OK;
}
