#include "gpu.h"

static hda_status_t stream(const hda_gpu_t *gpu, double bytes, double macs, hda_kernel_t *kernel) {
    *kernel = (hda_kernel_t){.launch = gpu->launch, .macs = macs, .dram_bytes = bytes};
    kernel->compute =
        macs / (gpu->macs[0] * gpu->sm_count * gpu->clock * gpu->attention.efficiency);
    kernel->dram = bytes / gpu->dram_bandwidth;
    kernel->time = gpu->launch + hda_fmax(kernel->compute, kernel->dram);
    kernel->bound = hda_fmax(kernel->compute * gpu->attention.efficiency, kernel->dram);
    kernel->cause = kernel->compute > kernel->dram ? HDA_KERNEL_COMPUTE : HDA_KERNEL_DRAM;
    return HDA_OK;
}

hda_status_t hda_gpu_prefill(const hda_gpu_t *gpu, const hda_heads_t *heads,
                             const hda_prompt_t *prompts, int64_t prompt_count,
                             hda_kernel_t *kernel) {
    const double dims = (double)(heads->key_dim + heads->value_dim);
    double pairs = 0, past = 0;
    for (int64_t i = 0; i < prompt_count; i++) {
        const double q = (double)prompts[i].q_len, p = (double)prompts[i].past;
        pairs += (double)prompts[i].count * q * (p + (q + 1) / 2);
        past += (double)prompts[i].count * p;
    }
    return stream(gpu, past * (double)heads->kv_heads * dims * heads->kv_bytes,
                  pairs * (double)heads->q_heads * dims, kernel);
}

hda_status_t hda_gpu_decode(const hda_gpu_t *gpu, const hda_heads_t *heads,
                            const hda_decode_t *decode, hda_kernel_t *kernel) {
    const double dims = (double)(heads->key_dim + heads->value_dim);
    return stream(gpu, decode->tokens * (double)heads->kv_heads * dims * heads->kv_bytes,
                  decode->tokens * (double)heads->q_heads * dims, kernel);
}
