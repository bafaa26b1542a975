/* Attention: tiles of queries and blocks of keys spread evenly over cores; sequences cut between cores are merged. */
#include <math.h>

#include "attention.h"
#include "resolve.h"
#include "vector.h"

static double kv_bytes(const hda_device_t *device, const hda_op_t *op, double tokens) {
    return tokens * (double)op->kv_elements * device->kv_bytes;
}

/* Deal queries to the cores that hold their tiles: every core receives 1 / cores of them, from all cores. On the ring that is an
 * all-gather whose chunks are 1 / cores^2 of all queries. */
static hda_status_t deal_queries(hda_program_t *program, const hda_op_t *op, double rows,
                                 int64_t cores, int estimate, work_t *work) {
    const hda_device_t *device = &program->device;
    if (!op->gather || device->shared) return HDA_OK;
    const double queries =
        rows * (double)(op->kv_heads * op->group * op->key_dim) * device->activation_bytes;
    return engine_set_exchange(program, HDA_ALL_GATHER, 1, cores,
                               queries / ((double)cores * (double)cores), estimate, &work->gather);
}

/* What all prefilling sequences of a step need: score tiles (of `tile` tokens) to compute, coarser ones (of 4 `tile` tokens) whose keys are
 * read once each, exact pairs, tokens. */
typedef struct {
    int64_t tile, longest;
    double tiles, reads, pairs, past, tokens;
} prefill_t;

static prefill_t count_prefill(const hda_device_t *device, const hda_op_t *op, const rows_t *rows) {
    const hda_array_t *array = &device->array;
    prefill_t p = {.tile = hda_ceil_div(array->rows, op->group)}; /* queries fill a fold's rows */
    for (int64_t i = 0; i < rows->batch->sequence_count; i++) {
        const int64_t t = rows->batch->q_len[i], past = rows->batch->past[i];
        if (t == 1 && past > 0) continue;
        p.tiles += (double)hda_prefill_tiles(t, past, op->window, p.tile, array->cols);
        p.reads += (double)hda_prefill_tiles(t, past, op->window, 4 * p.tile, array->cols);
        p.pairs += hda_prefill_pairs(t, past, op->window);
        p.past += (double)(op->window > 0 ? hda_min64(past, op->window - 1) : past);
        p.tokens += (double)t;
        p.longest = hda_max64(p.longest, t);
    }
    return p;
}

static hda_status_t prefill_on(hda_program_t *program, const hda_op_t *op, const void *demand,
                               int64_t cores, int64_t core, int estimate, work_t *work) {
    const hda_device_t *device = &program->device;
    const hda_array_t *array = &device->array;
    const prefill_t *p = demand;
    const double heads = (double)op->kv_heads;
    const int64_t m = hda_min64(p->tile, p->longest) * op->group;
    const int64_t folds =
        hda_ceil_div(op->key_dim, array->rows) +
        hda_ceil_div(array->cols, array->rows) * hda_ceil_div(op->value_dim, array->cols);
    const int64_t own = core < cores ? hda_share((int64_t)(p->tiles * heads), cores, core) : 0;
    int64_t cycles;
    double vector_cycles;
    TRY(hda_sa_folds_cycles(array, m, own * folds, &cycles));
    TRY(hda_vu_cycles(device->vector_width, (double)own * (double)(m * array->cols), op->vector_ops,
                      &vector_cycles));
    work->unit[ENGINE_SA] = (double)cycles / device->frequency;
    work->unit[ENGINE_VU] = vector_cycles / device->frequency;
    work->compute = hda_fmax(hda_fmax(work->unit[0], work->unit[1]), work->unit[2]);

    const double past_bytes = kv_bytes(device, op, p->past);
    const double bytes = past_bytes + kv_bytes(device, op, p->tokens);
    work->unique_bytes = work->dram_bytes = past_bytes;
    if (bytes > device->global_memory) /* each wave of query tiles reads keys and values again */
        work->dram_bytes =
            bytes * ceil((double)hda_ceil_div(p->longest, 4 * p->tile) * heads / (double)cores);
    const double block = (double)(array->cols * (op->key_dim + op->value_dim)) * device->kv_bytes;
    const double read_bytes = p->reads * heads * block;
    resolve_feed(work, ENGINE_SA,
                 read_bytes / (double)cores / (device->link_width * device->frequency),
                 read_bytes / device->global_bandwidth);
    work->ahead = hda_fmin(1.0, device->global_memory / hda_fmax(work->dram_bytes, 1.0));
    work->useful_macs = p->pairs * heads * (double)(op->group * (op->key_dim + op->value_dim));
    work->macs[0] = work->useful_macs;
    work->uses = (uses_t){.vector_ops = p->pairs * heads * (double)op->group * op->vector_ops,
                          .global_bytes = read_bytes + bytes,
                          .operand_bytes = resolve_operand_bytes(device, work->macs, read_bytes)};
    return deal_queries(program, op, p->tokens, cores, estimate, work);
}

hda_status_t resolve_prefill(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                             int64_t core, int estimate, work_t *work) {
    const prefill_t p = count_prefill(&program->device, op, rows);
    if (p.longest == 0) return HDA_OK;
    TRY(resolve_on_best_cores(program, op, &p, core, estimate, prefill_on, work));
    work->output_tiles = ceil(p.tokens / (double)p.tile);
    TRY(resolve_sync(program, op, (int64_t)p.tokens, estimate, work));
    return engine_pipeline_results(program, work);
}

/* What all decoding sequences of a step need. */
typedef struct {
    int64_t sequences, context, pages;
} decode_t;

/* Partial results of sequences cut between cores: (value_dim + 2) fp32 for each query head, sent to the core that merges. */
static hda_status_t merge(hda_program_t *program, const hda_op_t *op, int64_t items, int64_t cores,
                          int estimate, work_t *work) {
    const hda_device_t *device = &program->device;
    const int64_t parts = hda_max64(2, hda_ceil_div(cores, items)), groups = cores / parts;
    const double partial = (double)(op->group * (op->value_dim + 2)) * ACCUMULATOR_BYTES;
    if (groups < 1) return HDA_OK;
    if (device->shared) { /* every core writes one and reads one */
        work->merge =
            (exchange_t){.tiles = 1,
                         .tile_time = 2 * partial / (device->link_width * device->frequency),
                         .bytes = 2 * partial,
                         .kind = -1};
        return HDA_OK;
    }
    return engine_set_exchange(program, HDA_GATHER, groups, parts, partial, estimate, &work->merge);
}

static hda_status_t decode_on(hda_program_t *program, const hda_op_t *op, const void *demand,
                              int64_t cores, int64_t core, int estimate, work_t *work) {
    const hda_device_t *device = &program->device;
    const decode_t *d = demand;
    const int64_t pages = d->pages * op->kv_heads;
    const int64_t own = core < cores ? hda_share(pages, cores, core) * program->page : 0;
    const int64_t folds =
        hda_ceil_div(op->key_dim, device->array.rows) * hda_ceil_div(own, device->array.cols) +
        hda_ceil_div(own, device->array.rows) * hda_ceil_div(op->value_dim, device->array.cols);
    int64_t cycles, mt_cycles = INT64_MAX;
    TRY(hda_sa_folds_cycles(&device->array, op->group, folds, &cycles));
    if (device->tree.lanes)
        TRY(hda_mt_attention_cycles(&device->tree, op->group, op->key_dim, op->value_dim, own,
                                    &mt_cycles));
    const int unit = mt_cycles <= cycles ? ENGINE_MT : ENGINE_SA;
    double vector_cycles;
    TRY(hda_vu_cycles(device->vector_width, (double)own * (double)op->group, op->vector_ops,
                      &vector_cycles));
    work->unit[ENGINE_SA] = work->unit[ENGINE_MT] = 0;
    work->unit[unit] = (double)hda_min64(cycles, mt_cycles) / device->frequency;
    work->unit[ENGINE_VU] = vector_cycles / device->frequency;
    work->compute = hda_fmax(hda_fmax(work->unit[0], work->unit[1]), work->unit[2]);
    work->unique_bytes = work->dram_bytes = kv_bytes(device, op, (double)d->context);
    const double core_bytes = work->dram_bytes / (double)cores;
    work->ahead = hda_fmin(1.0, device->local_memory / 4 / hda_fmax(core_bytes, 1.0));
    if (device->shared)
        resolve_feed_time(work, core_bytes / (device->link_width * device->frequency),
                          work->dram_bytes / device->global_bandwidth);
    work->useful_macs = (double)(d->context + d->sequences) * (double)(op->kv_heads * op->group) *
                        (double)(op->key_dim + op->value_dim);
    work->macs[0] = work->macs[1] = 0;
    work->macs[unit == ENGINE_MT] = work->useful_macs;
    const double scores = (double)(d->context + d->sequences) * (double)(op->kv_heads * op->group);
    const double loaded = unit == ENGINE_SA ? work->dram_bytes : 0;
    work->uses = (uses_t){.vector_ops = scores * op->vector_ops,
                          .global_bytes = device->shared ? work->dram_bytes : 0,
                          .operand_bytes = resolve_operand_bytes(device, work->macs, loaded)};
    TRY(deal_queries(program, op, (double)d->sequences, cores, estimate, work));
    return merge(program, op, d->sequences * op->kv_heads, cores, estimate, work);
}

hda_status_t resolve_decode(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                            int64_t core, int estimate, work_t *work) {
    if (rows->decode == 0) return HDA_OK;
    const int64_t index = op - program->ops;
    const decode_t d = {rows->decode, rows->context_tokens[index], rows->context_pages[index]};
    TRY(resolve_on_best_cores(program, op, &d, core, estimate, decode_on, work));
    work->output_tiles = (double)(rows->decode * op->kv_heads);
    TRY(resolve_sync(program, op, rows->decode, estimate, work));
    return engine_pipeline_results(program, work);
}
