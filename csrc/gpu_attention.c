/* Fused attention on GPUs: what prefill and decode share. */
#include "gpu_attention.h"

hda_status_t hda_attention_check(const hda_gpu_t *gpu, const hda_heads_t *heads) {
    /* heads and dimensions: a product of two and of a number of tokens stays in 63 bits */
    const int64_t most = 1 << 20;
    const int64_t sizes[] = {heads->q_heads, heads->kv_heads, heads->key_dim, heads->value_dim};
    for (int i = 0; i < 4; i++)
        if (sizes[i] < 1 || sizes[i] > most) return HDA_E_RANGE;
    if (heads->q_heads % heads->kv_heads) return HDA_E_RANGE;
    if (heads->window < 0 || heads->window > HDA_ATTENTION_MOST) return HDA_E_RANGE;
    if (!(heads->kv_bytes > 0) || !(heads->kv_elements >= 0)) return HDA_E_RANGE;
    if (!(heads->warm >= 0 && heads->warm <= 1)) return HDA_E_RANGE;
    return gpu->macs[HDA_TYPE_BF16] > 0 ? HDA_OK : HDA_E_UNDEFINED;
}

int64_t hda_attention_key_block(const hda_gpu_t *gpu, const hda_heads_t *heads, int64_t tile_m) {
    const double queries = 2 * (double)tile_m * (double)heads->key_dim;
    const double key = 2 * hda_attention_elements(heads) / (double)heads->kv_heads;
    const double room = (gpu->shared_memory - queries) / (2 * key);
    const double keys = hda_fmax(hda_fmin(gpu->attention.key_block, room), 16);
    return (int64_t)(keys / 16) * 16;
}

double hda_attention_block(const hda_gpu_t *gpu, const hda_heads_t *heads, int64_t tile_m,
                           double tile_n, double factor) {
    const double scores = (double)tile_m * tile_n;
    const double rate = gpu->macs[HDA_TYPE_BF16] * gpu->attention.efficiency;
    const double dims = (double)(heads->key_dim + heads->value_dim);
    const double products = factor * scores * dims / rate;
    const double softmax = scores * (1 / gpu->exps + HDA_ATTENTION_SOFTMAX_OPS / gpu->lanes);
    const double hidden = gpu->attention.serial * hda_fmin(products, softmax);
    return (hda_fmax(products, softmax) + hidden) / gpu->clock;
}

void hda_attention_bound(const hda_gpu_t *gpu, const hda_heads_t *heads, double latency,
                         hda_kernel_t *kernel) {
    const double peak = gpu->sm_count * gpu->clock * gpu->macs[HDA_TYPE_BF16];
    const double cold = hda_fmax(kernel->dram_bytes - heads->warm * gpu->l2_size, 0);
    const double l2 = kernel->dram_bytes / gpu->l2_bandwidth;
    kernel->bound = hda_fmax(hda_fmax(kernel->macs / peak, cold / gpu->dram_bandwidth), l2);
    kernel->time = hda_fmax(kernel->time, kernel->bound);
    const double parts[HDA_KERNEL_CAUSES] = {
        [HDA_KERNEL_COMPUTE] = kernel->compute,
        [HDA_KERNEL_DRAM] = kernel->dram,
        [HDA_KERNEL_L2] = kernel->l2,
        [HDA_KERNEL_LATENCY] = kernel->launch + latency,
    };
    for (int64_t i = 0; i < HDA_KERNEL_CAUSES; i++)
        if (parts[i] > parts[kernel->cause]) kernel->cause = i;
}
