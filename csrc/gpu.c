#include "gpu.h"

#include <math.h>
#include <stddef.h>

static int positive(double x) { return x >= 1e-30 && x <= 1e30; }
static int natural(double x) { return x >= 0.0 && x <= 1e30; }

hda_status_t hda_gpu_check(const hda_gpu_t *gpu) {
    const double needed[] = {gpu->sm_count,       gpu->clock,    gpu->macs[HDA_TYPE_BF16],
                             gpu->lanes,          gpu->exps,     gpu->registers,
                             gpu->shared_memory,  gpu->l2_size,  gpu->l2_bandwidth,
                             gpu->dram_bandwidth, gpu->sustained};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!positive(needed[i])) return HDA_E_RANGE;
    for (int type = 0; type < HDA_TYPE_COUNT; type++)
        if (!natural(gpu->macs[type])) return HDA_E_RANGE;
    const double *constants = (const double *)&gpu->gemm;
    const size_t count = (sizeof *gpu - offsetof(hda_gpu_t, gemm)) / sizeof(double);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(constants[i])) return HDA_E_RANGE;
    return natural(gpu->l2_latency) && natural(gpu->dram_latency) && natural(gpu->launch)
               ? HDA_OK
               : HDA_E_RANGE;
}
