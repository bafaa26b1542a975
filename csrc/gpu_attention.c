/* Fused attention on GPUs: what prefill and decode share. */
#include "gpu_attention.h"

hda_status_t hda_attention_check(const hda_gpu_t *gpu, const hda_heads_t *heads) {
    const int64_t most =
        1 << 20; /* heads and dimensions: products of two with a number of tokens stay in 63 bits */
    if (heads->q_heads < 1 || heads->q_heads > most || heads->kv_heads < 1 ||
        heads->kv_heads > heads->q_heads)
        return HDA_E_RANGE;
    if (heads->key_dim < 1 || heads->key_dim > most || heads->value_dim < 1 ||
        heads->value_dim > most)
        return HDA_E_RANGE;
    if (heads->window < 0 || heads->window > HDA_ATTENTION_MOST || !(heads->kv_bytes > 0) ||
        !(heads->kv_elements >= 0))
        return HDA_E_RANGE;
    if (heads->q_heads % heads->kv_heads || !(heads->warm >= 0 && heads->warm <= 1))
        return HDA_E_RANGE;
    return gpu->macs[HDA_TYPE_BF16] > 0 ? HDA_OK : HDA_E_UNDEFINED;
}

int64_t hda_attention_key_block(const hda_gpu_t *gpu, const hda_heads_t *heads, int64_t tile_m) {
    double room = gpu->shared_memory - 2 * (double)tile_m * (double)heads->key_dim;
    double per_key = 2 * 2 * hda_attention_elements(heads) / (double)heads->kv_heads;
    double fit = hda_fmax(hda_fmin(gpu->attention.key_block, room / per_key), 16);
    return (int64_t)(fit / 16) * 16;
}

void hda_attention_bound(const hda_gpu_t *gpu, const hda_heads_t *heads, double bytes,
                         hda_kernel_t *kernel) {
    double products = kernel->macs / (gpu->sm_count * gpu->clock * gpu->macs[HDA_TYPE_BF16]);
    double cold = hda_fmax(bytes - heads->warm * gpu->l2_size, 0) / gpu->dram_bandwidth;
    kernel->bound = hda_fmax(hda_fmax(products, cold), bytes / gpu->l2_bandwidth);
    kernel->time = hda_fmax(kernel->time, kernel->bound);
    double part[HDA_KERNEL_CAUSES] = {kernel->compute, kernel->dram, kernel->l2, kernel->launch};
    for (int64_t i = 0; i < HDA_KERNEL_CAUSES; i++)
        if (part[i] > part[kernel->cause]) kernel->cause = i;
}
