/* What prefill and decode share. */
#ifndef HDA_GPU_ATTENTION_H
#define HDA_GPU_ATTENTION_H

#include "gpu.h"

#define HDA_ATTENTION_TILE 128                /* query rows of a large tile */
#define HDA_ATTENTION_MOST ((int64_t)1 << 40) /* no size is above it */

static inline int hda_attention_size(int64_t size) {
    return size >= 1 && size <= HDA_ATTENTION_MOST;
}

/* Elements of the KV cache per token. */
static inline double hda_attention_elements(const hda_heads_t *heads) {
    return heads->kv_elements > 0 ? heads->kv_elements
                                  : (double)(heads->kv_heads * (heads->key_dim + heads->value_dim));
}

/* HDA_E_RANGE where heads are out of range, HDA_E_UNDEFINED where the GPU has no bf16 tensor cores. */
hda_status_t hda_attention_check(const hda_gpu_t *gpu, const hda_heads_t *heads);

/* Keys per step of the main loop: the generation's, or as many multiples of 16 as fit in shared memory beside the tile's queries, twice (two stages). */
int64_t hda_attention_key_block(const hda_gpu_t *gpu, const hda_heads_t *heads, int64_t tile_m);

/* Sets bound, cause and, where the model falls below the bound, time. `bytes` are the unique ones that the kernel reads and writes. */
void hda_attention_bound(const hda_gpu_t *gpu, const hda_heads_t *heads, double bytes,
                         hda_kernel_t *kernel);

#endif
