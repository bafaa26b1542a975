/* Fused attention of one query token per sequence over a paged KV cache, as flash-decoding computes it [Dao et al. 2023, crfm.stanford.edu/2023/10/12/
 * flashdecoding.html].
 *
 * One CTA takes the query heads of one KV head of one sequence, packed in a tile of 64 rows, through a part of the cache. Where there are fewer CTAs than
 * SMs the cache is split into as many parts as fill them, of at least one block of keys, and a second kernel merges the parts: merge + parts x merge_split. A
 * CTA takes group_cta outside its loop, and in it what one SM reads alone (64 bytes per cycle x sm_read) or computes. Besides, a kernel of the vector units
 * takes one CTA per query head, head_cta each, and reads the cache once per head through the L2. Whichever way is the fastest is taken, as libraries choose.
 *
 * Fixed times of an SM's CTAs and the streaming of the cache join with the exponent `overlap`: other CTAs' loads hide part of them. DRAM gives `stream` of its
 * peak. A cache that the L2 still holds from the call before (`warm`) streams at l2_read of the L2's bandwidth: all of it below 0.85 l2_hold of the L2's
 * size, none above 1.15, in between in proportion. Pages do not cost extra: kernels read them token by token. */
#include <math.h>

#include "gpu.h"
#include "gpu_attention.h"

#define TILE 64           /* query rows: what the tensor cores take at least, in four warps */
#define MOST_SPLITS 128.0 /* of FlashAttention */

/* One step's streaming, in seconds at DRAM and L2. */
typedef struct {
    double dram, l2;
} stream_t;

/* Share of a cache of `bytes` that the L2 kept from the call before. */
static double held(const hda_gpu_t *gpu, const hda_heads_t *heads, double bytes) {
    double room = gpu->attention.l2_hold * gpu->l2_size;
    return heads->warm * hda_fmin(hda_fmax((1.15 * room - bytes) / (0.3 * room), 0), 1);
}

/* One kind of CTA: seconds outside its loop, and in it for a mean and for the longest part of a cache. */
typedef struct {
    double count, fixed, mean, longest;
} ctas_t;

/* Seconds of a kernel of such CTAs that together stream for `stream`. */
static double spread(const hda_gpu_t *gpu, ctas_t ctas, double waves, double stream) {
    double overlap = gpu->attention.overlap, serial = hda_fmax(waves - 1, 0) * ctas.fixed;
    double large = hda_fmax(serial, stream), small = hda_fmin(serial, stream);
    double joined = ctas.fixed + large * pow(1 + pow(small / large, overlap), 1 / overlap);
    return hda_fmax(hda_fmax(joined, waves * (ctas.fixed + ctas.mean)), ctas.fixed + ctas.longest);
}

hda_status_t hda_gpu_decode(const hda_gpu_t *gpu, const hda_heads_t *heads,
                            const hda_decode_t *decode, hda_kernel_t *kernel) {
    hda_status_t status = hda_attention_check(gpu, heads);
    if (status != HDA_OK) return status;
    double sequences = (double)decode->sequences, most = (double)HDA_ATTENTION_MOST;
    if (!hda_attention_size(decode->sequences) ||
        !(decode->tokens >= sequences && decode->tokens <= most * sequences))
        return HDA_E_RANGE;
    if (!(decode->longest >= 1 && decode->longest <= most)) return HDA_E_RANGE;
    const hda_gpu_attention_t *fit = &gpu->attention;
    double window = heads->window > 0 ? (double)heads->window : most;
    double longest = hda_fmin(decode->longest, window),
           mean = hda_fmin(decode->tokens / sequences, longest), tokens = mean * sequences;

    double kv_heads = (double)heads->kv_heads, group = (double)heads->q_heads / kv_heads,
           elements = hda_attention_elements(heads);
    double q_dims = (double)(heads->q_heads * (heads->key_dim + heads->value_dim));
    double cache = tokens * elements * heads->kv_bytes,
           io = sequences * (q_dims * 2 + elements * (2 + heads->kv_bytes));
    double hit = held(gpu, heads, cache);
    double dram = (cache * (1 - hit) + io) / (fit->stream * gpu->dram_bandwidth),
           l2 = cache * hit / (fit->l2_read * gpu->l2_bandwidth);
    double token_bytes = elements / kv_heads * heads->kv_bytes,
           sm_rate = 64 * gpu->clock * fit->sm_read;

    /* a block of keys in one CTA: what an SM reads alone, or computes for a whole tile of rows */
    double tile_n = (double)hda_attention_key_block(gpu, heads, TILE), scores = TILE * tile_n;
    double products = scores * (double)(heads->key_dim + heads->value_dim) / (gpu->clock * gpu->macs[HDA_TYPE_BF16] * fit->efficiency);
    double softmax = scores * (1 / gpu->exps + fit->softmax_ops / gpu->lanes) / gpu->clock;
    double compute = hda_fmax(products, softmax) + fit->serial * hda_fmin(products, softmax);
    double block = hda_fmax(compute, tile_n * token_bytes / sm_rate);
    double blocks = ceil(mean / tile_n), most_blocks = ceil(longest / tile_n);
    double ctas = sequences * kv_heads * ceil(group / TILE);
    double split = hda_fmin(hda_fmin(floor(gpu->sm_count / ctas), most_blocks), MOST_SPLITS);

    ctas_t whole = {ctas, fit->group_cta + compute, (blocks - 1) * block, (most_blocks - 1) * block};
    double time = spread(gpu, whole, ceil(ctas / gpu->sm_count - 1e-9), dram + l2);
    *kernel = (hda_kernel_t){.macs = tokens * q_dims, .dram_bytes = cache * (1 - hit) + io, .tile_m = TILE, .tile_n = tile_n, .split = 1};
    kernel->compute = blocks * compute * ctas / gpu->sm_count;
    kernel->waves = ctas / gpu->sm_count;
    if (split > 1) {
        double part = ceil(most_blocks / split);
        ctas_t parts = {ctas * split, whole.fixed, (hda_fmin(blocks, part) - 1) * block, (part - 1) * block};
        double parted = spread(gpu, parts, 1, dram + l2) + fit->merge + split * fit->merge_split;
        if (parted < time) time = parted, kernel->split = split, kernel->waves = parts.count / gpu->sm_count;
    }
    double token = token_bytes / sm_rate, again = hda_fmax(dram + l2, group * cache / (fit->l2_read * gpu->l2_bandwidth));
    ctas_t single = {sequences * (double)heads->q_heads, fit->head_cta, mean * token, longest * token};
    double waves = hda_fmax(single.count / gpu->sm_count, 1), alone = spread(gpu, single, waves, again);
    if (alone < time) time = alone, kernel->split = 1, kernel->tile_m = 1, kernel->waves = waves;

    kernel->launch = fit->launches * gpu->launch;
    kernel->dram = dram;
    kernel->l2 = l2;
    kernel->time = kernel->launch + time;
    hda_attention_bound(gpu, heads, cache + io, kernel);
    return HDA_OK;
}
