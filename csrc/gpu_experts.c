#include <math.h>

#include "gpu.h"

hda_status_t hda_gpu_experts(const hda_gpu_t *gpu, const hda_experts_case_t *experts,
                             hda_kernel_t *kernel) {
    const double share = (double)experts->top_k / (double)experts->experts;
    const double hit =
        (double)experts->own * -expm1((double)experts->tokens * log1p(-hda_fmin(share, 0.999999)));
    const double weights = 3 * (double)experts->hidden * (double)experts->inter;
    *kernel = (hda_kernel_t){.launch = gpu->launch, .dram_bytes = hit * weights * experts->b_bytes};
    kernel->macs = (double)experts->tokens * share * (double)experts->own * weights;
    kernel->compute =
        kernel->macs / (gpu->macs[0] * gpu->sm_count * gpu->clock * gpu->experts.efficiency);
    kernel->dram = kernel->dram_bytes / gpu->dram_bandwidth;
    kernel->time = gpu->launch + hda_fmax(kernel->compute, kernel->dram);
    kernel->bound = hda_fmax(kernel->compute * gpu->experts.efficiency, kernel->dram);
    kernel->cause = kernel->compute > kernel->dram ? HDA_KERNEL_COMPUTE : HDA_KERNEL_DRAM;
    return HDA_OK;
}
