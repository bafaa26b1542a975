#include "program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static void *copy(const void *source, int64_t count, size_t size) {
    void *target = malloc((size_t)count * size);
    if (target != NULL) memcpy(target, source, (size_t)count * size);
    return target;
}

static const double LARGEST = 1e30;             /* of rates and times */
static const int64_t WIDEST = (int64_t)1 << 20; /* of a count of units, heads, experts, .. */

static int positive(double x) { return x >= 1 / LARGEST && x <= LARGEST; }
static int natural(double x) { return x >= 0 && x <= LARGEST; }
static int within(int64_t x, int64_t least) { return x >= least && x <= WIDEST; }

static int bad_op(const hda_op_t *op) {
    const int64_t limit = (int64_t)1 << 38;
    if (op->kind < HDA_OP_LINEAR || op->kind > HDA_OP_STORE || op->rows < HDA_ROWS_TOKENS ||
        op->rows > HDA_ROWS_GROUP || op->sync < HDA_SYNC_NONE || op->sync > HDA_SYNC_REDUCE_SCATTER)
        return 1;
    if (op->rows == HDA_ROWS_GROUP && op->kind != HDA_OP_EXPERTS && op->kind != HDA_OP_VECTOR)
        return 1;
    if (op->kind == HDA_OP_STORE && op->sync != HDA_SYNC_NONE) return 1; /* nothing waits for it */
    if (op->k < 0 || op->n < 0 || op->k > limit || op->n > limit || !natural(op->sync_bytes) ||
        !natural(op->vector_ops) || !natural(op->reduce_bytes))
        return 1;
    if (op->kind == HDA_OP_PREFILL_ATTENTION || op->kind == HDA_OP_DECODE_ATTENTION)
        return !within(op->kv_heads, 1) || !within(op->group, 1) || !within(op->key_dim, 1) ||
               !within(op->value_dim, 1) || op->kv_elements < 1 || op->window < 0;
    if (!natural(op->read_bytes) || !natural(op->write_bytes) || op->inter < 0 ||
        op->inter > WIDEST || op->type < 0 || op->type >= HDA_TYPE_COUNT)
        return 1;
    if (op->kind != HDA_OP_LINEAR && op->kind != HDA_OP_EXPERTS) return 0;
    if (op->k < 1 || op->n < 1 || op->n > limit / op->k || !positive(op->weight_bytes)) return 1;
    return op->kind == HDA_OP_EXPERTS &&
           (!within(op->experts, 1) || !within(op->group, 0) || op->top_k < 1 ||
            op->top_k > op->experts * hda_max64(op->group, 1));
}

static int bad_program(const hda_op_t *ops, int64_t op_count, const hda_block_t *blocks,
                       int64_t block_count, const hda_segment_t *segments, int64_t segment_count) {
    if (!within(op_count, 1) || !within(block_count, 1) || !within(segment_count, 1)) return 1;
    for (int64_t i = 0; i < op_count; i++)
        if (bad_op(&ops[i])) return 1;
    for (int64_t b = 0; b < block_count; b++) {
        if (blocks[b].first < 0 || blocks[b].count < 1 ||
            blocks[b].count > op_count - blocks[b].first)
            return 1;
        for (int32_t i = 0; i < blocks[b].count; i++)
            for (int d = 0; d < 2; d++)
                if (ops[blocks[b].first + i].after[d] < -2 ||
                    ops[blocks[b].first + i].after[d] >= i)
                    return 1;
    }
    for (int64_t s = 0; s < segment_count; s++)
        if (segments[s].first < 0 || segments[s].count < 1 || !within(segments[s].repeat, 1) ||
            !within(segments[s].layers, 0) || segments[s].count > block_count - segments[s].first)
            return 1;
    return 0;
}

static int bad_dram(const hda_dram_t *dram) {
    if (!positive(dram->bandwidth) || !positive(dram->maximum) || dram->maximum > 1) return 1;
    if (dram->kind == HDA_DRAM_LOG)
        return !natural(dram->slope) || !natural(fabs(dram->intercept)) ||
               !natural(dram->minimum) || !positive(hda_fmax(dram->minimum, dram->slope));
    if (dram->kind == HDA_DRAM_OVERHEAD) return !natural(dram->layer_time);
    return dram->kind != HDA_DRAM_CONSTANT;
}

static int bad_core(const hda_device_t *d) {
    const hda_array_t *array = &d->array;
    const hda_tree_t *tree = &d->tree;
    return !within(array->rows, 1) || !within(array->cols, 1) || !within(array->lanes, 1) ||
           array->rows * array->cols > ((int64_t)1 << 40) / array->lanes ||
           !within(tree->lanes, 0) || (tree->lanes > 0 && !within(tree->width, 1)) ||
           d->vector_width < 1 || !(d->local_memory > 0) || !(d->local_memory <= 1e18);
}

static int bad_network(const hda_device_t *d, const hda_links_t *links, const double *measured,
                       int64_t devices) {
    for (int i = 0; measured != NULL && i < HDA_MEASURED_KINDS * HDA_MEASURED_SIZES; i++)
        if (!positive(measured[i])) return 1;
    return !positive(d->p2p_bandwidth) || hda_links_check(links) != HDA_OK ||
           links->device_count < hda_max64(devices, 2);
}

static int bad_links(const hda_device_t *d) {
    return bad_network(d, &d->links, d->measured, d->device_count);
}

static int bad_energy(const hda_energy_t *energy) {
    const double *each = (const double *)energy;
    for (size_t i = 0; i < sizeof *energy / sizeof *each; i++)
        if (!natural(each[i])) return 1;
    return 0;
}

static int is_powered(const hda_energy_t *energy) {
    const double *each = (const double *)energy;
    for (size_t i = 0; i < sizeof *energy / sizeof *each; i++)
        if (each[i] > 0) return 1;
    return 0;
}

static int bad_device(const hda_device_t *d) {
    if (bad_core(d) || bad_dram(&d->dram) || !positive(d->frequency) || !within(d->core_count, 1) ||
        !natural(d->global_memory) || !positive(d->global_bandwidth) || !positive(d->link_width) ||
        !positive(d->activation_bytes) || !positive(d->kv_bytes) || !natural(d->launch_overhead))
        return 1;
    if (!within(d->device_count, 1) || d->p2p_algorithm < HDA_P2P_AUTO ||
        d->p2p_algorithm >= HDA_P2P_COUNT || d->dataflow < HDA_FLOW_AUTO ||
        d->dataflow > HDA_FLOW_ROW_SPLIT)
        return 1;
    if (d->device_count > 1 && bad_links(d)) return 1;
    if (!within(d->rank_count, 0) ||
        (d->rank_count > 1 &&
         bad_network(d, &d->expert_links, d->expert_measured, d->rank_count * d->device_count)))
        return 1;
    if (d->gpu.sm_count > 0 && hda_gpu_check(&d->gpu) != HDA_OK) return 1;
    if (bad_energy(&d->energy)) return 1;
    return !d->shared && (hda_noc_check(&d->noc) != HDA_OK || d->noc.node_count < d->core_count);
}

/* A transfer to the next stage needs a link, whatever the number of devices in the group. */
static int bad_sends(const hda_device_t *d, const hda_op_t *ops, int64_t op_count) {
    for (int64_t i = 0; i < op_count; i++)
        if (ops[i].sync == HDA_SYNC_SEND && bad_links(d)) return 1;
    return 0;
}

static void count_repeats(hda_program_t *program) {
    for (int64_t s = 0; s < program->segment_count; s++) {
        const hda_segment_t *segment = &program->segments[s];
        for (int32_t b = segment->first; b < segment->first + segment->count; b++) {
            const hda_block_t *block = &program->blocks[b];
            for (int32_t i = block->first; i < block->first + block->count; i++)
                program->repeat[i] += segment->repeat;
        }
    }
}

hda_status_t hda_program_create(const hda_device_t *device, const hda_op_t *ops, int64_t op_count,
                                const hda_block_t *blocks, int64_t block_count,
                                const hda_segment_t *segments, int64_t segment_count,
                                int64_t max_rows, int64_t block_size, hda_program_t **out) {
    *out = NULL;
    if (bad_device(device) || max_rows < 1 || max_rows > (int64_t)1 << 24 ||
        !within(block_size, 1) ||
        bad_program(ops, op_count, blocks, block_count, segments, segment_count) ||
        bad_sends(device, ops, op_count))
        return HDA_E_RANGE;
    hda_program_t *program = calloc(1, sizeof *program);
    if (program == NULL) return HDA_E_MEMORY;
    program->device = *device;
    program->op_count = op_count;
    program->block_count = block_count;
    program->segment_count = segment_count;
    program->max_rows = max_rows;
    program->page = block_size;
    program->ops = copy(ops, op_count, sizeof *ops);
    program->blocks = copy(blocks, block_count, sizeof *blocks);
    program->segments = copy(segments, segment_count, sizeof *segments);
    program->device.rank_count = hda_max64(device->rank_count, 1);
    const int64_t table = HDA_MEASURED_KINDS * HDA_MEASURED_SIZES;
    if (device->measured) program->measured = copy(device->measured, table, sizeof(double));
    if (device->expert_measured)
        program->expert_measured = copy(device->expert_measured, table, sizeof(double));
    program->device.measured = program->measured;
    program->device.expert_measured = program->expert_measured;
    program->repeat = calloc((size_t)op_count, sizeof *program->repeat);
    for (int kind = 0; kind < 2; kind++)
        program->plans[kind] = calloc((size_t)max_rows + 1, sizeof **program->plans);
    program->trial = calloc((size_t)op_count, sizeof *program->trial);
    program->fresh = calloc((size_t)op_count, sizeof *program->fresh);
    program->work = calloc((size_t)op_count, sizeof *program->work);
    program->context_tokens = calloc((size_t)op_count, sizeof(int64_t));
    program->context_pages = calloc((size_t)op_count, sizeof(int64_t));
    program->state = malloc(engine_state_size(program));
    if (!program->ops || !program->blocks || !program->segments || !program->repeat ||
        (device->measured && !program->measured) ||
        (device->expert_measured && !program->expert_measured) || !program->plans[0] ||
        !program->plans[1] || !program->trial || !program->fresh || !program->work ||
        !program->context_tokens || !program->context_pages || !program->state) {
        hda_program_destroy(program);
        return HDA_E_MEMORY;
    }
    count_repeats(program);
    program->powered = is_powered(&device->energy);
    for (int64_t i = 0; i < op_count; i++) program->grouped |= ops[i].rows == HDA_ROWS_GROUP;
    *out = program;
    return HDA_OK;
}

void hda_program_destroy(hda_program_t *program) {
    if (program == NULL) return;
    for (int kind = 0; kind < 2; kind++)
        for (int64_t i = 0; program->plans[kind] != NULL && i <= program->max_rows; i++)
            free(program->plans[kind][i].work), free(program->plans[kind][i].flow);
    void *owned[] = {program->ops,           program->blocks,
                     program->segments,      program->repeat,
                     program->plans[0],      program->plans[1],
                     program->trial,         program->work,
                     program->fresh,         program->context_tokens,
                     program->context_pages, program->exact,
                     program->state,         program->collectives.table,
                     program->measured,      program->expert_measured,
                     program->prompts};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    free(program);
}
