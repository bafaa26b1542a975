/* What prefill and decode share. */
#ifndef HDA_GPU_ATTENTION_H
#define HDA_GPU_ATTENTION_H

#include "gpu.h"

/* The same on all generations: rounded from a fit of A100 and H100 together, errors are flat around
 * them. */
#define HDA_ATTENTION_SMALL_PROLOGUE 0.6 /* of a tile of 64 rows, relative to one of 128 */
#define HDA_ATTENTION_MERGE_SPLIT 45e-9  /* seconds per part of a split KV cache */
/* Seconds that an SM takes for a CTA that finds no rows: in attention.csv of the recorded vLLM run on an RTX PRO 6000
 * (vllm_runs), one of 15 or 31 of them beside each of 128 decoding sequences adds 1.9 ns to the kernel, on 188 SMs. */
#define HDA_ATTENTION_EMPTY 0.35e-6
#define HDA_ATTENTION_L2_READ 0.6 /* share of the L2's bandwidth that streaming sustains: assumed */
/* fp32 operations per score beside its exponential, counted: scale, mask, maximum, shift, sum,
 * conversion */
#define HDA_ATTENTION_SOFTMAX_OPS 6.0

#define HDA_ATTENTION_TILE 128                /* query rows of a large tile; a small one has half */
#define HDA_ATTENTION_SPLITS 128.0            /* most parts of a KV cache (FlashAttention) */
#define HDA_ATTENTION_MOST ((int64_t)1 << 40) /* no number of tokens is above it */

static inline int hda_attention_size(int64_t size) {
    return size >= 1 && size <= HDA_ATTENTION_MOST;
}

/* Elements of the KV cache per token. */
static inline double hda_attention_elements(const hda_heads_t *heads) {
    if (heads->kv_elements > 0) return heads->kv_elements;
    return (double)(heads->kv_heads * (heads->key_dim + heads->value_dim));
}

/* Elements of a token's queries and outputs, and its multiply-accumulates per key. */
static inline double hda_attention_q_dims(const hda_heads_t *heads) {
    return (double)(heads->q_heads * (heads->key_dim + heads->value_dim));
}

/* HDA_E_RANGE where heads are out of range, HDA_E_UNDEFINED where the GPU has no bf16 rate. */
hda_status_t hda_attention_check(const hda_gpu_t *gpu, const hda_heads_t *heads);

/* Keys per step of the main loop: the generation's, or as many multiples of 16 as fit in shared
 * memory twice (two stages) beside the tile's queries. */
int64_t hda_attention_key_block(const hda_gpu_t *gpu, const hda_heads_t *heads, int64_t tile_m);

/* Seconds of an SM for tile_m query rows and tile_n keys, both matrix products and the softmax;
 * `factor` on the products. */
double hda_attention_block(const hda_gpu_t *gpu, const hda_heads_t *heads, int64_t tile_m,
                           double tile_n, double factor);

/* Sets bound and cause, and time where the model falls below the bound. `latency` are the seconds
 * of fixed times beside the launch. */
void hda_attention_bound(const hda_gpu_t *gpu, const hda_heads_t *heads, double latency,
                         hda_kernel_t *kernel);

#endif
