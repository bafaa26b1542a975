/* From an operator and its rows to service demands. Formulas of units are theirs (systolic, mactree, vector, dram, noc); here stands how an
 * operator is cut over cores and tiles:
 *
 * - A grid of row groups x column groups of cores holds a GEMM: a core computes ceil(rows / grid rows) rows of ceil(n / grid cols)
 *   columns. One row group is ADOR's latency mode (cores own weight columns, each reads its own DRAM channel, inputs are all-gathered),
 *   one column group its throughput mode (weights broadcast, activations split by rows).
 * - The input stays in local memory as slices if the slice, the fp32 accumulators of one column tile and two weight tiles fit; what
 *   is left of local memory takes weights ahead of time (half of it for the current operator, half for the next). Otherwise inputs come from
 *   global memory, or from DRAM when they exceed half of it, in row x column tiles whose accumulators fill half of local memory.
 * - Attention is cut in tiles of queries and blocks of keys spread evenly over all cores; a sequence cut between cores is merged.
 */
#include <math.h>

#include "attention.h"
#include "engine.h"
#include "vector.h"

#define ACCUMULATOR_BYTES 4.0 /* partial sums are fp32 */
#define TRY(call)                              \
    do {                                       \
        const hda_status_t status_ = (call);   \
        if (status_ != HDA_OK) return status_; \
    } while (0)

/* A GEMM cut over cores and tiles; `m0`, `n0` belong to the busiest core, `m`, `n` to the asked one. */
typedef struct {
    int64_t m0, n0, m, n, row_tiles, column_tiles, tile_rows;
    int32_t home;
    double local_bytes, prefetch_bytes, weight_share;
} cut_t;

static double weight_tile_bytes(const hda_device_t* device, const hda_op_t* op) {
    return (double)(device->array.rows * device->array.cols * device->array.lanes) *
           op->weight_bytes;
}

static void cut_tiles(const hda_device_t* device, const hda_op_t* op, double room, int64_t rows,
                      cut_t* cut) {
    const double b = device->activation_bytes, m = (double)cut->m0;
    const double slice =
        op->gather ? m * (double)op->k * b * cut->weight_share : m * (double)op->k * b;
    const double narrow = (double)hda_min64(cut->n0, device->array.cols * device->array.lanes);
    cut->row_tiles = cut->column_tiles = 1;
    cut->tile_rows = cut->m0;
    if (!device->shared && slice + m * narrow * ACCUMULATOR_BYTES <= room) {
        const double columns = floor((room - slice) / (ACCUMULATOR_BYTES * m));
        const int64_t tile = columns < (double)cut->n0 ? (int64_t)columns : cut->n0;
        cut->column_tiles = hda_ceil_div(cut->n0, tile);
        cut->home = 0;
        cut->local_bytes = slice + m * (double)tile * ACCUMULATOR_BYTES;
        return;
    }
    const double sums = hda_fmax(room / 2 / ACCUMULATOR_BYTES, 1.0);
    const int64_t side = hda_max64((int64_t)sqrt(sums), 1);
    cut->tile_rows = hda_min64(cut->m0, hda_max64(side, 1));
    const int64_t tile_cols =
        hda_min64(cut->n0, hda_max64((int64_t)(sums / (double)cut->tile_rows), 1));
    cut->row_tiles = hda_ceil_div(cut->m0, cut->tile_rows);
    cut->column_tiles = hda_ceil_div(cut->n0, tile_cols);
    cut->home = 2.0 * (double)rows * (double)op->k * b <= device->global_memory ? 1 : 2;
    cut->local_bytes = (double)(cut->tile_rows * tile_cols) * ACCUMULATOR_BYTES;
}

static void cut_gemm(const hda_device_t* device, const hda_op_t* op, int64_t rows, grid_t grid,
                     int64_t core, cut_t* cut) {
    const double room = hda_fmax(device->local_memory - 2 * weight_tile_bytes(device, op), 0.0);
    cut->m0 = hda_ceil_div(rows, grid.rows);
    cut->n0 = hda_ceil_div(op->n, grid.cols);
    const int idle = core >= grid.rows * grid.cols;
    cut->m = idle ? 0 : hda_share(rows, grid.rows, core / grid.cols);
    cut->n = idle ? 0 : hda_share(op->n, grid.cols, core % grid.cols);
    cut->weight_share = (double)hda_ceil_div(op->k, grid.cols) / (double)op->k;
    cut_tiles(device, op, room, rows, cut);
    const double left = device->local_memory - cut->local_bytes;
    cut->prefetch_bytes = hda_fmax(left, 2 * weight_tile_bytes(device, op)) / 2;
}

/* Array cycles of `columns` columns of the cut. */
static hda_status_t array_cycles(const hda_device_t* device, int64_t m, int64_t k, int64_t columns,
                                 const cut_t* cut, int64_t* cycles) {
    const int64_t folds = hda_ceil_div(k, device->array.rows) *
                          hda_ceil_div(columns, device->array.cols) * cut->row_tiles;
    return hda_sa_folds_cycles(&device->array, hda_min64(m, cut->tile_rows), folds, cycles);
}

/* Split n columns between array (in whole folds) and MAC tree so that the later of the two ends first: papers.md 3.5's split by
 * throughput, found by bisection because array time rises and tree time falls with the array's folds. */
static hda_status_t split_columns(const hda_device_t* device, int64_t m, int64_t k, int64_t n,
                                  const cut_t* cut, int64_t* sa_columns, int64_t cycles[2]) {
    const int64_t width = device->array.cols, folds = hda_ceil_div(n, width);
    *sa_columns = n;
    cycles[1] = 0;
    if (device->tree.lanes == 0 || n == 0 || m == 0)
        return array_cycles(device, m, k, n, cut, &cycles[0]);
    int64_t low = 0,
            high = folds; /* smallest number of folds at which the array is the later one */
    int64_t sa, mt;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        TRY(array_cycles(device, m, k, hda_min64(n, middle * width), cut, &sa));
        TRY(hda_mt_gemm_cycles(&device->tree, m, k, n - hda_min64(n, middle * width), &mt));
        if (sa >= mt)
            high = middle;
        else
            low = middle + 1;
    }
    int64_t best = INT64_MAX;
    for (int64_t f = hda_max64(low - 1, 0); f <= low; f++) {
        const int64_t columns = hda_min64(n, f * width);
        TRY(array_cycles(device, m, k, columns, cut, &sa));
        TRY(hda_mt_gemm_cycles(&device->tree, m, k, n - columns, &mt));
        if (hda_max64(sa, mt) < best) {
            best = hda_max64(sa, mt);
            *sa_columns = columns;
            cycles[0] = sa;
            cycles[1] = mt;
        }
    }
    return HDA_OK;
}

/* Raise a unit's time to what the NoC port or global memory needs to feed it. */
static void feed(work_t* work, int unit, double port, double global) {
    if (!(work->unit[unit] > 0)) return;
    if (port > work->unit[unit] && port >= global) {
        work->unit[unit] = port;
        work->unit_cause[unit] = HDA_BY_NOC;
    } else if (global > work->unit[unit]) {
        work->unit[unit] = global;
        work->unit_cause[unit] = HDA_BY_GLOBAL_MEMORY;
    }
}

static void set_feed_time(work_t* work, double port, double global) {
    work->feed_time = hda_fmax(port, global);
    work->feed_cause = port >= global ? HDA_BY_NOC : HDA_BY_GLOBAL_MEMORY;
}

static void set_gemm_times(const hda_device_t* device, int64_t m, const int64_t cycles[2],
                           work_t* work) {
    work->unit[ENGINE_SA] = (double)cycles[0] / device->frequency;
    work->unit[ENGINE_MT] = (double)cycles[1] / device->frequency;
    const int64_t fold = hda_max64(m, device->array.rows) + device->array.rows + device->array.cols;
    work->tail[ENGINE_SA] = hda_fmin((double)fold / device->frequency, work->unit[ENGINE_SA]);
    work->tail[ENGINE_MT] =
        device->tree.lanes ? (double)hda_mt_depth(&device->tree) / device->frequency : 0;
}

static void resolve_sync(const hda_device_t* device, const hda_op_t* op, int64_t rows,
                         work_t* work) {
    const double d = (double)device->device_count, size = (double)rows * op->sync_bytes;
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
    work->p2p_least = (reduce && d > 2 ? 2 * ring : ring) / device->p2p_bandwidth;
}

static hda_status_t resolve_linear(hda_program_t* program, const hda_op_t* op, int64_t rows,
                                   grid_t grid, int64_t core, int estimate, work_t* work) {
    const hda_device_t* device = &program->device;
    cut_t cut;
    cut_gemm(device, op, rows, grid, core, &cut);
    int64_t sa_columns, cycles[2];
    TRY(split_columns(device, cut.m, op->k, cut.n, &cut, &sa_columns, cycles));
    set_gemm_times(device, hda_min64(cut.m, cut.tile_rows), cycles, work);

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
    set_feed_time(work, core_feed / port, global_weights / device->global_bandwidth);
    for (int unit = 0; unit < 2; unit++)
        feed(work, unit, (core_input + core_feed) / port,
             (global + global_weights) / device->global_bandwidth);
    work->ahead = hda_fmin(1.0, cut.prefetch_bytes / core_weights);
    work->first = hda_fmin(1.0, weight_tile_bytes(device, op) / core_weights);
    if (op->gather && cut.home == 0)
        TRY(engine_collective(program, HDA_COLL_ALL_GATHER, grid.rows, grid.cols,
                              (double)cut.m0 * k * b * cut.weight_share, estimate, &work->noc_in));
    work->useful_macs = all_rows * k * (double)op->n;
    const double array_share = cut.n ? (double)sa_columns / (double)cut.n : 1.0;
    work->macs[0] = work->useful_macs * array_share;
    work->macs[1] = work->useful_macs - work->macs[0];
    resolve_sync(device, op, rows, work);
    return HDA_OK;
}

/* Expected number of distinct experts that `tokens` tokens hit under uniform routing: E (1 - (1 - k/E)^T) (papers.md 3.1). */
static double experts_hit(const hda_op_t* op, int64_t tokens) {
    const double e = (double)op->experts;
    return e * -expm1((double)tokens * log1p(-(double)op->top_k / e));
}

/* Grouped GEMM: column folds of all experts hit are dealt over all cores; each streams its expert's tokens. */
static hda_status_t resolve_experts(hda_program_t* program, const hda_op_t* op, int64_t rows,
                                    int64_t core, int estimate, work_t* work) {
    const hda_device_t* device = &program->device;
    const double hit = op->top_k >= op->experts ? (double)op->experts : experts_hit(op, rows);
    const double assigned = (double)(rows * op->top_k), k = (double)op->k, n = (double)op->n;
    const double b = device->activation_bytes, port = device->link_width * device->frequency;
    const int64_t m = (int64_t)ceil(assigned / hit);
    const int64_t columns = (int64_t)ceil(hit * n);
    const cut_t cut = {.row_tiles = 1, .tile_rows = m};
    int64_t sa_columns, cycles[2];
    const int64_t own = hda_share(columns, device->core_count, core);
    TRY(split_columns(device, m, op->k, own, &cut, &sa_columns, cycles));
    set_gemm_times(device, m, cycles, work);

    const double cores = (double)device->core_count, weights = hit * k * n * op->weight_bytes;
    work->unique_bytes = work->dram_bytes = weights;
    const double slice = assigned * k * b / cores;
    const double room = device->local_memory - 2 * weight_tile_bytes(device, op);
    const double sums =
        hda_fmax(room / 2 / ACCUMULATOR_BYTES / (double)m, (double)device->array.cols);
    const double passes = ceil((double)own / sums);
    const double core_input = (double)m * k * b * passes;
    const int local = !device->shared && slice <= room / 2;
    double global = local ? 0 : assigned * k * b;
    if (device->shared) global = core_input * cores;
    if (!local && assigned * k * b * 2 > device->global_memory)
        work->dram_bytes += assigned * (k + n) * b;
    const double core_feed = device->shared ? weights / cores : 0;
    set_feed_time(work, core_feed / port, device->shared ? weights / device->global_bandwidth : 0);
    for (int unit = 0; unit < 2; unit++)
        feed(work, unit, (core_input + core_feed) / port,
             (global + (device->shared ? weights : 0)) / device->global_bandwidth);
    work->ahead = hda_fmin(1.0, hda_fmax(room - slice, 0) / 2 / (weights / cores));
    work->first = hda_fmin(1.0, weight_tile_bytes(device, op) / (weights / cores));
    if (op->gather && local)
        TRY(engine_collective(program, HDA_COLL_ALL_GATHER, 1, device->core_count, slice, estimate,
                              &work->noc_in));
    work->useful_macs = assigned * k * n;
    const double array_share = own ? (double)sa_columns / (double)own : 1.0;
    work->macs[0] = work->useful_macs * array_share;
    work->macs[1] = work->useful_macs - work->macs[0];
    resolve_sync(device, op, rows, work);
    return HDA_OK;
}

static hda_status_t resolve_vector(hda_program_t* program, const hda_op_t* op, int64_t rows,
                                   grid_t grid, int64_t core, int estimate, work_t* work) {
    const hda_device_t* device = &program->device;
    if (core < grid.rows * grid.cols) {
        const double elements = (double)hda_share(rows, grid.rows, core / grid.cols) *
                                (double)hda_share(op->n, grid.cols, core % grid.cols);
        double cycles;
        TRY(hda_vu_cycles(device->vector_width, elements, op->vector_ops, &cycles));
        work->unit[ENGINE_VU] = cycles / device->frequency;
    }
    if (op->reduce_bytes > 0 && !device->shared) {
        const double chunk =
            (double)hda_ceil_div(rows, grid.rows) * op->reduce_bytes / (double)grid.cols;
        TRY(engine_collective(program, HDA_COLL_ALL_REDUCE, grid.rows, grid.cols, chunk, estimate,
                              &work->noc_out));
    }
    resolve_sync(device, op, rows, work);
    return HDA_OK;
}

static double kv_bytes(const hda_device_t* device, const hda_op_t* op, double tokens) {
    return tokens * (double)op->kv_elements * device->kv_bytes;
}

/* Deal queries to the cores that hold their tiles: every core receives 1 / cores of them, from all cores. On the ring that is an
 * all-gather whose chunks are 1 / cores^2 of all queries. */
static hda_status_t deal_queries(hda_program_t* program, const hda_op_t* op, double rows,
                                 int estimate, work_t* work) {
    const hda_device_t* device = &program->device;
    if (!op->gather || device->shared) return HDA_OK;
    const double cores = (double)device->core_count;
    const double queries =
        rows * (double)(op->kv_heads * op->group * op->key_dim) * device->activation_bytes;
    return engine_collective(program, HDA_COLL_ALL_GATHER, 1, device->core_count,
                             queries / (cores * cores), estimate, &work->noc_in);
}

static hda_status_t resolve_prefill(hda_program_t* program, const hda_op_t* op, const rows_t* rows,
                                    int64_t core, int estimate, work_t* work) {
    const hda_device_t* device = &program->device;
    const hda_array_t* array = &device->array;
    const int64_t tile =
        hda_ceil_div(array->rows, op->group); /* tokens whose queries fill the rows of a fold */
    double tiles = 0, reads = 0, pairs = 0, past_bytes = 0, tokens = 0;
    int64_t longest = 0;
    for (int64_t i = 0; i < rows->batch->sequence_count; i++) {
        const int64_t t = rows->batch->q_len[i], past = rows->batch->past[i];
        if (t == 1 && past > 0) continue;
        tiles += (double)hda_prefill_tiles(t, past, op->window, tile, array->cols);
        reads += (double)hda_prefill_tiles(t, past, op->window, 4 * tile, array->cols);
        pairs += hda_prefill_pairs(t, past, op->window);
        past_bytes += (double)(op->window > 0 ? hda_min64(past, op->window) : past);
        tokens += (double)t;
        longest = hda_max64(longest, t);
    }
    if (longest == 0) return HDA_OK;
    const double heads = (double)op->kv_heads, cores = (double)device->core_count;
    const int64_t m = hda_min64(tile, longest) * op->group;
    const int64_t folds =
        hda_ceil_div(op->key_dim, array->rows) +
        hda_ceil_div(array->cols, array->rows) * hda_ceil_div(op->value_dim, array->cols);
    const int64_t own = hda_share((int64_t)(tiles * heads), device->core_count, core);
    int64_t cycles;
    TRY(hda_sa_folds_cycles(array, m, own * folds, &cycles));
    work->unit[ENGINE_SA] = (double)cycles / device->frequency;
    double vector_cycles;
    TRY(hda_vu_cycles(device->vector_width, (double)own * (double)(m * array->cols), op->vector_ops,
                      &vector_cycles));
    work->unit[ENGINE_VU] = vector_cycles / device->frequency;
    work->tail[ENGINE_SA] = work->tail[ENGINE_VU] = 0;

    past_bytes = kv_bytes(device, op, past_bytes);
    const double fresh_bytes = kv_bytes(device, op, tokens);
    const int resident = past_bytes + fresh_bytes <= device->global_memory;
    const double key_block =
        (double)(array->cols * (op->key_dim + op->value_dim)) * device->kv_bytes;
    const double read_bytes = reads * heads * key_block;
    work->unique_bytes = past_bytes;
    work->dram_bytes = past_bytes;
    if (!resident) { /* each wave of query tiles reads the keys and values again */
        const double waves = ceil((double)hda_ceil_div(longest, 4 * tile) * heads / cores);
        work->dram_bytes = (past_bytes + fresh_bytes) * waves;
    }
    feed(work, ENGINE_SA, read_bytes / cores / (device->link_width * device->frequency),
         read_bytes / device->global_bandwidth);
    work->ahead = hda_fmin(1.0, device->global_memory / hda_fmax(work->dram_bytes, 1.0));
    TRY(deal_queries(program, op, tokens, estimate, work));
    work->useful_macs = pairs * heads * (double)(op->group * (op->key_dim + op->value_dim));
    work->macs[0] = work->useful_macs;
    resolve_sync(device, op, (int64_t)tokens, work);
    return HDA_OK;
}

/* Partial results of sequences cut between cores: (value_dim + 2) fp32 for each query head, sent to the core that merges. */
static hda_status_t resolve_merge(hda_program_t* program, const hda_op_t* op, int64_t items,
                                  int estimate, work_t* work) {
    const hda_device_t* device = &program->device;
    const int64_t parts = hda_max64(2, hda_ceil_div(device->core_count, items));
    const double partial = (double)(op->group * (op->value_dim + 2)) * ACCUMULATOR_BYTES;
    const int64_t groups = device->core_count / parts;
    if (groups < 1) return HDA_OK;
    if (device->shared) {
        work->noc_out = 2 * partial * (double)device->core_count / device->global_bandwidth;
        return HDA_OK;
    }
    TRY(engine_collective(program, HDA_COLL_INCAST, groups, parts, partial, estimate,
                          &work->noc_out));
    return HDA_OK;
}

static hda_status_t resolve_decode(hda_program_t* program, const hda_op_t* op, int64_t index,
                                   const rows_t* rows, int64_t core, int estimate, work_t* work) {
    if (rows->decode == 0) return HDA_OK;
    const hda_device_t* device = &program->device;
    const int64_t context = rows->context_tokens[index], items = rows->decode * op->kv_heads;
    const int64_t pages = rows->context_pages[index] * op->kv_heads;
    const int64_t own = hda_share(pages, device->core_count, core) * program->page;
    int64_t cycles, folds, mt_cycles = INT64_MAX;
    folds = hda_ceil_div(op->key_dim, device->array.rows) * hda_ceil_div(own, device->array.cols) +
            hda_ceil_div(own, device->array.rows) * hda_ceil_div(op->value_dim, device->array.cols);
    TRY(hda_sa_folds_cycles(&device->array, op->group, folds, &cycles));
    if (device->tree.lanes)
        TRY(hda_mt_attention_cycles(&device->tree, op->group, op->key_dim, op->value_dim, own,
                                    &mt_cycles));
    const int unit = mt_cycles <= cycles ? ENGINE_MT : ENGINE_SA;
    work->unit[unit] = (double)hda_min64(cycles, mt_cycles) / device->frequency;
    work->tail[unit] = 0;
    double vector_cycles;
    TRY(hda_vu_cycles(device->vector_width, (double)own * (double)op->group, op->vector_ops,
                      &vector_cycles));
    work->unit[ENGINE_VU] = vector_cycles / device->frequency;
    work->unique_bytes = work->dram_bytes = kv_bytes(device, op, (double)context);
    const double core_bytes = work->dram_bytes / (double)device->core_count;
    work->ahead = hda_fmin(1.0, device->local_memory / 4 / hda_fmax(core_bytes, 1.0));
    if (device->shared)
        set_feed_time(work, core_bytes / (device->link_width * device->frequency),
                      work->dram_bytes / device->global_bandwidth);
    TRY(deal_queries(program, op, (double)rows->decode, estimate, work));
    TRY(resolve_merge(program, op, items, estimate, work));
    work->useful_macs = (double)(context + rows->decode) * (double)(op->kv_heads * op->group) *
                        (double)(op->key_dim + op->value_dim);
    work->macs[unit == ENGINE_MT] = work->useful_macs;
    resolve_sync(device, op, rows->decode, work);
    return HDA_OK;
}

hda_status_t engine_resolve(hda_program_t* program, const hda_op_t* op, const rows_t* rows,
                            int64_t op_rows, grid_t grid, int64_t core, int estimate,
                            work_t* work) {
    *work = (work_t){.unit_cause = {HDA_BY_SA, HDA_BY_MT, HDA_BY_VU}, .feed_cause = HDA_BY_DRAM};
    if (op->kind == HDA_OP_PREFILL_ATTENTION)
        return resolve_prefill(program, op, rows, core, estimate, work);
    if (op->kind == HDA_OP_DECODE_ATTENTION)
        return resolve_decode(program, op, op - program->ops, rows, core, estimate, work);
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

void engine_mapping(const hda_program_t* program, const hda_op_t* op, int64_t rows, grid_t grid,
                    int64_t core, hda_mapping_t* mapping) {
    cut_t cut = {0};
    *mapping = (hda_mapping_t){.grid_rows = grid.rows, .grid_cols = grid.cols};
    if (rows == 0 || op->kind != HDA_OP_LINEAR) return;
    cut_gemm(&program->device, op, rows, grid, core, &cut);
    int64_t cycles[2], columns = 0;
    if (split_columns(&program->device, cut.m, op->k, cut.n, &cut, &columns, cycles) != HDA_OK)
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
