/* Operators on a GPU: one kernel after the other, each with all SMs (gpu.h). What the tensor cores are busy for goes to the array, what the vector unit
 * is to that; the rest of a kernel is a stretch in which it is fed, by what sets its time. */
#include <math.h>
#include <stdlib.h>

#include "resolve.h"

static double operand_bytes(const hda_device_t *device, int64_t type) {
    return type == HDA_TYPE_BF16 ? device->activation_bytes : type == HDA_TYPE_FP4 ? 0.5 : 1.0;
}

static void charge(const hda_device_t *device, const hda_kernel_t *kernel, int unit, int64_t type,
                   work_t *work) {
    static const int32_t causes[] = {[HDA_KERNEL_COMPUTE] = HDA_BY_SA,
                                     [HDA_KERNEL_DRAM] = HDA_BY_DRAM,
                                     [HDA_KERNEL_L2] = HDA_BY_GLOBAL_MEMORY,
                                     [HDA_KERNEL_LATENCY] = HDA_BY_OVERHEAD};
    const hda_gpu_t *gpu = &device->gpu;
    work->feed_time = hda_fmax(kernel->time - gpu->launch, 0);
    work->feed_cause = causes[kernel->cause];
    if (kernel->cause == HDA_KERNEL_COMPUTE && unit == ENGINE_VU) work->feed_cause = HDA_BY_VU;
    work->unit[unit] = hda_fmin(kernel->compute, work->feed_time);
    work->compute = work->feed_time;
    work->useful_macs = kernel->macs;
    work->macs[0] = kernel->macs;
    work->compute_least = kernel->macs / (gpu->macs[type] * gpu->sm_count * gpu->clock);
    work->uses.global_bytes = kernel->l2_bytes;
    work->uses.kernel_bytes = kernel->dram_bytes;
}

static hda_status_t linear(const hda_device_t *device, const hda_op_t *op, int64_t rows,
                           work_t *work) {
    const int64_t type = hda_gpu_type(&device->gpu, op->type);
    const hda_gemm_case_t gemm = {
        .m = rows,
        .n = op->n,
        .k = op->k,
        .a_bytes = operand_bytes(device, type),
        .b_bytes = op->weight_bytes,
        .c_bytes = device->activation_bytes,
        .source_bytes = type == HDA_TYPE_BF16 ? 0 : device->activation_bytes,
        .type = type};
    hda_gpu_t gpu = device->gpu;
    gpu.macs[HDA_TYPE_BF16] *= gpu.sustained;
    hda_kernel_t kernel;
    TRY(hda_gpu_gemm(&gpu, &gemm, &kernel));
    charge(device, &kernel, ENGINE_SA, type, work);
    work->uses.kernel_bytes = kernel.dram * gpu.dram_bandwidth * gpu.gemm.dram_share;
    work->unique_bytes = work->dram_bytes = (double)op->k * (double)op->n * op->weight_bytes;
    return HDA_OK;
}

static hda_status_t experts(const hda_device_t *device, const hda_op_t *op, int64_t rows,
                            work_t *work) {
    const int64_t type = hda_gpu_type(&device->gpu, op->type);
    const hda_experts_case_t layer = {.tokens = rows,
                                      .hidden = op->k,
                                      .inter = op->inter,
                                      .top_k = op->top_k,
                                      .experts = op->experts * hda_max64(op->group, 1),
                                      .own = op->experts,
                                      .a_bytes = operand_bytes(device, type),
                                      .b_bytes = op->weight_bytes,
                                      .type = type};
    hda_kernel_t kernel;
    TRY(hda_gpu_experts(&device->gpu, &layer, &kernel));
    charge(device, &kernel, ENGINE_SA, type, work);
    work->unique_bytes = work->dram_bytes = kernel.dram_bytes;
    return HDA_OK;
}

/* Elements that a thread of a vectorised kernel loads at once: 16 bytes of bf16. */
#define VECTOR 8

static hda_status_t vector(const hda_device_t *device, const hda_op_t *op, int64_t rows,
                           work_t *work) {
    const double r = (double)rows, n = (double)op->n;
    const int load = op->kind == HDA_OP_LOAD;
    const hda_vector_case_t kernel_case = {.read_bytes = r * (load ? n : op->read_bytes),
                                           .write_bytes = r * (load ? n : op->write_bytes),
                                           .ops = load ? 0 : r * n * op->vector_ops,
                                           .rows = op->reduce_bytes > 0 ? r : 0,
                                           .width = op->reduce_bytes > 0 ? ceil(n / VECTOR) : 0,
                                           .reduced = op->reduce_bytes > 0};
    if (!(kernel_case.read_bytes + kernel_case.write_bytes > 0))
        return HDA_OK; /* only an exchange */
    hda_kernel_t kernel;
    TRY(hda_gpu_vector(&device->gpu, &kernel_case, &kernel));
    charge(device, &kernel, ENGINE_VU, HDA_TYPE_BF16, work);
    work->macs[0] = work->useful_macs = work->compute_least = 0;
    work->uses.vector_ops = kernel_case.ops;
    if (load) work->unique_bytes = work->dram_bytes = kernel_case.read_bytes;
    return HDA_OK;
}

/* Vector operations of the softmax: of each score, of which there is one for key_dim + value_dim multiply-accumulates. */
static double softmax_ops(const hda_op_t *op, const hda_kernel_t *kernel) {
    return kernel->macs / (double)(op->key_dim + op->value_dim) * op->vector_ops;
}

static hda_heads_t heads_of(const hda_device_t *device, const hda_op_t *op) {
    return (hda_heads_t){.q_heads = op->kv_heads * op->group,
                         .kv_heads = op->kv_heads,
                         .key_dim = op->key_dim,
                         .value_dim = op->value_dim,
                         .window = op->window,
                         .kv_bytes = device->kv_bytes,
                         .kv_elements = (double)op->kv_elements,
                         .varlen = device->gpu.attention.varlen};
}

/* Prompts and decoding sequences of a step go through one kernel; latent attention has different ones for the two. */
static int together(const hda_device_t *device, const hda_op_t *op, const rows_t *rows) {
    const int latent = op->kv_elements != op->kv_heads * (op->key_dim + op->value_dim);
    return device->gpu.attention.varlen > 0 && rows->tokens > rows->decode && !latent;
}

static hda_status_t prefill(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                            work_t *work) {
    const hda_batch_t *batch = rows->batch;
    if (rows->tokens == rows->decode) return HDA_OK;
    if (program->prompt_room < batch->sequence_count) {
        const int64_t room = hda_max64(batch->sequence_count, 2 * program->prompt_room);
        hda_prompt_t *more = realloc(program->prompts, (size_t)room * sizeof *more);
        if (more == NULL) return HDA_E_MEMORY;
        program->prompts = more;
        program->prompt_room = room;
    }
    int64_t count = 0;
    double past = 0;
    for (int64_t i = 0; i < batch->sequence_count; i++) {
        const int64_t q = batch->q_len[i], cached = batch->past[i];
        if (q == 1 && cached > 0 && !together(&program->device, op, rows)) continue;
        program->prompts[count++] = (hda_prompt_t){1, q, cached};
        past += (double)(op->window > 0 ? hda_min64(cached, op->window - 1) : cached);
    }
    const hda_device_t *device = &program->device;
    const hda_heads_t heads = heads_of(device, op);
    hda_kernel_t kernel;
    TRY(hda_gpu_prefill(&device->gpu, &heads, program->prompts, count, &kernel));
    charge(device, &kernel, ENGINE_SA, HDA_TYPE_BF16, work);
    work->uses.vector_ops = softmax_ops(op, &kernel);
    work->unique_bytes = work->dram_bytes = past * (double)op->kv_elements * device->kv_bytes;
    return HDA_OK;
}

static hda_status_t decode(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                           work_t *work) {
    const hda_device_t *device = &program->device;
    if (rows->decode == 0 || together(device, op, rows)) return HDA_OK;
    const double past = (double)rows->context_tokens[op - program->ops];
    const int64_t longest =
        op->window > 0 ? hda_min64(rows->longest, op->window - 1) : rows->longest;
    const hda_heads_t heads = heads_of(device, op);
    const hda_decode_t sequences = {.sequences = rows->decode,
                                    .tokens = past + (double)rows->decode,
                                    .longest = (double)longest + 1};
    hda_kernel_t kernel;
    TRY(hda_gpu_decode(&device->gpu, &heads, &sequences, &kernel));
    kernel.time += (device->gpu.attention.library - 1) * hda_fmax(kernel.time - kernel.launch, 0);
    charge(device, &kernel, ENGINE_SA, HDA_TYPE_BF16, work);
    work->uses.vector_ops = softmax_ops(op, &kernel);
    work->unique_bytes = work->dram_bytes = past * (double)op->kv_elements * device->kv_bytes;
    return HDA_OK;
}

hda_status_t resolve_kernel(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                            int64_t op_rows, work_t *work) {
    if (op->kind == HDA_OP_PREFILL_ATTENTION) return prefill(program, op, rows, work);
    if (op->kind == HDA_OP_DECODE_ATTENTION) return decode(program, op, rows, work);
    if (op_rows == 0) return HDA_OK;
    if (op->kind == HDA_OP_LINEAR) return linear(&program->device, op, op_rows, work);
    if (op->kind == HDA_OP_EXPERTS) return experts(&program->device, op, op_rows, work);
    return vector(&program->device, op, op_rows, work);
}
