#include "gpu.h"

hda_status_t hda_gpu_gemm(const hda_gpu_t *gpu, const hda_gemm_case_t *gemm, hda_kernel_t *kernel) {
    const double macs = (double)gemm->m * (double)gemm->n * (double)gemm->k;
    *kernel = (hda_kernel_t){.launch = gpu->launch, .macs = macs};
    kernel->dram_bytes = (double)gemm->m * (double)gemm->k * gemm->a_bytes +
                         (double)gemm->n * (double)gemm->k * gemm->b_bytes +
                         (double)gemm->m * (double)gemm->n * gemm->c_bytes;
    kernel->compute = macs / (gpu->macs[0] * gpu->sm_count * gpu->clock * gpu->gemm.efficiency);
    kernel->dram = kernel->dram_bytes / gpu->dram_bandwidth;
    kernel->time = gpu->launch + hda_fmax(kernel->compute, kernel->dram);
    kernel->bound = hda_fmax(kernel->compute * gpu->gemm.efficiency, kernel->dram);
    kernel->cause = kernel->compute > kernel->dram ? HDA_KERNEL_COMPUTE : HDA_KERNEL_DRAM;
    return HDA_OK;
}
