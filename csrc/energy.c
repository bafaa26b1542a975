/* The energy of an operator: what it uses x joules for each. Exchanges between cores go from neighbour to neighbour, as on the rings and chains
 * of collective.c, so that a byte received is a byte moved by one hop; direct schedules take more. Where cores share a global memory
 * a byte is written there and read; that DRAM fills it next to its own port does not count. Only useful multiply-accumulates count: cells that wait are taken as gated. */
#include "resolve.h"

/* Bytes that all members of an exchange between cores receive. */
static double received(const exchange_t *exchange) {
    const double members = exchange->kind == HDA_GATHER ? 1 : (double)exchange->size;
    return (double)exchange->groups * members * exchange_bytes(exchange);
}

static void exchanged(const hda_device_t *device, const exchange_t *exchange, uses_t *uses) {
    if (!(exchange->tiles > 0)) return;
    if (exchange->kind < 0)
        uses->global_bytes += exchange->bytes * (double)device->core_count;
    else
        uses->noc_bytes += received(exchange);
}

void engine_energy(const hda_device_t *device, const hda_op_t *op, work_t *work) {
    const hda_energy_t *each = &device->energy;
    const int gpu = device->gpu.sm_count > 0;
    uses_t *uses = &work->uses;
    double dram = work->dram_bytes;
    if (gpu) { /* what leaves L2 is written to shared memory or L1; what tensor cores read there is theirs */
        dram = hda_fmax(dram, uses->kernel_bytes);
        uses->local_bytes += uses->global_bytes;
    } else {
        uses->local_bytes += dram;
        exchanged(device, &work->gather, uses);
        exchanged(device, &work->merge, uses);
    }
    const int64_t type = gpu ? hda_gpu_type(&device->gpu, op->type) : HDA_TYPE_BF16;
    const int attention =
        op->kind == HDA_OP_PREFILL_ATTENTION || op->kind == HDA_OP_DECODE_ATTENTION;
    work->energy[HDA_ENERGY_ARRAY] = work->macs[0] * each->array[attention ? HDA_TYPE_BF16 : type];
    work->energy[HDA_ENERGY_TREE] = work->macs[1] * each->tree;
    work->energy[HDA_ENERGY_VECTOR] = uses->vector_ops * each->vector;
    work->energy[HDA_ENERGY_DRAM] = dram * each->dram;
    work->energy[HDA_ENERGY_MEMORY] = uses->global_bytes * each->global_memory +
                                      uses->local_bytes * each->local_memory +
                                      uses->operand_bytes * each->operand;
    work->energy[HDA_ENERGY_NOC] = uses->noc_bytes * each->noc;
    work->energy[HDA_ENERGY_LINKS] = work->p2p_bytes * each->links;
}

const hda_energy_t *hda_program_energy(const hda_program_t *program) {
    return &program->device.energy;
}
