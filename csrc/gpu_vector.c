#include "gpu.h"

hda_status_t hda_gpu_vector(const hda_gpu_t *gpu, const hda_vector_case_t *vector,
                            hda_kernel_t *kernel) {
    *kernel = (hda_kernel_t){.launch = gpu->launch};
    kernel->dram_bytes = vector->read_bytes + vector->write_bytes;
    kernel->compute = vector->ops / (gpu->lanes * gpu->sm_count * gpu->clock) +
                      vector->exps / (gpu->exps * gpu->sm_count * gpu->clock);
    kernel->dram = kernel->dram_bytes / (gpu->dram_bandwidth * gpu->vector.efficiency);
    kernel->time = gpu->launch + hda_fmax(kernel->compute, kernel->dram);
    kernel->bound = hda_fmax(kernel->compute, kernel->dram * gpu->vector.efficiency);
    kernel->cause = kernel->compute > kernel->dram ? HDA_KERNEL_COMPUTE : HDA_KERNEL_DRAM;
    return HDA_OK;
}
