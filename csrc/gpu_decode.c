/* Fused attention of one query token per sequence over a paged KV cache, as flash-decoding computes
 * it [Dao et al. 2023, crfm.stanford.edu/2023/10/12/flashdecoding.html], and the write of that
 * token's key and value.
 *
 * One CTA takes the query heads of one KV head of one sequence, packed in a tile of 64 rows,
 * through the cache in blocks of tile_n keys. It takes group_cta and one block's computing (as in
 * gpu_prefill.c) before and after its loop, and for every further block what the SM reads by itself
 * (64 bytes per cycle x sm_read) or computes. The cache may be split into as many parts as fill the
 * SMs once to four times, of at least a block, which a second kernel merges: merge + 45 ns x parts. Besides, a kernel on the vector units gives each query head a CTA of its own,
 * head_cta long beside its reading, which for a group of heads comes from the L2. The fastest of
 * these is taken, as libraries choose.
 *
 * The first CTA's fixed time is exposed, as nothing streams yet; later ones overlap with the
 * streaming of other SMs: both join as the root of the sum of squares. DRAM gives `stream` of its
 * peak. Of a cache that an L2 may still hold from the call before (`warm`), the L2 serves all below
 * 0.85 l2_hold of its size, none above 1.15, in between in proportion, at 0.6 of its bandwidth.
 * Pages cost nothing extra: kernels read no further than a sequence's last token. */
#include <math.h>

#include "gpu.h"
#include "gpu_attention.h"

/* What all kernels for a batch have in common: bytes, seconds of streaming, tokens per sequence. */
typedef struct {
    double cache, io, dram, l2, mean, longest, token_bytes, sm_rate;
} batch_t;

/* CTAs: how many one after the other on an SM, seconds outside the loop, and in it on average and
 * at most. */
typedef struct {
    double waves, fixed, mean, longest;
} ctas_t;

#define HEADROOM 1.4 /* A100 1.42, H100 1.72 by the fitted sm_read and stream */

static batch_t batch_of(const hda_gpu_t *gpu, const hda_heads_t *heads,
                        const hda_decode_t *decode) {
    const hda_gpu_attention_t *fit = &gpu->attention;
    const double window = heads->window > 0 ? (double)heads->window : (double)HDA_ATTENTION_MOST;
    const double sequences = (double)decode->sequences, elements = hda_attention_elements(heads);
    batch_t batch = {.longest = hda_fmin(decode->longest, window)};
    batch.mean = hda_fmin(decode->tokens / sequences, batch.longest);
    batch.cache = batch.mean * sequences * elements * heads->kv_bytes;
    batch.io = sequences * (2 * hda_attention_q_dims(heads) + elements * (2 + heads->kv_bytes));
    const double room = fit->l2_hold * gpu->l2_size;
    const double held = hda_fmin(hda_fmax((1.15 * room - batch.cache) / (0.3 * room), 0), 1);
    const double from_l2 = heads->warm * held * batch.cache;
    batch.dram = (batch.cache - from_l2 + batch.io) / (fit->stream * gpu->dram_bandwidth);
    batch.l2 = from_l2 / (HDA_ATTENTION_L2_READ * gpu->l2_bandwidth);
    batch.token_bytes = elements / (double)heads->kv_heads * heads->kv_bytes;
    /* no GPU's SMs together read less than its DRAM gives */
    batch.sm_rate = hda_fmax(64 * gpu->clock * fit->sm_read,
                             HEADROOM * fit->stream * gpu->dram_bandwidth / gpu->sm_count);
    return batch;
}

/* Seconds of a kernel of such CTAs that together stream for `stream`. */
static double spread(ctas_t ctas, double stream) {
    const double serial = (ctas.waves - 1) * ctas.fixed;
    const double joined = ctas.fixed + sqrt(serial * serial + stream * stream);
    const double busy = ctas.waves * (ctas.fixed + ctas.mean), last = ctas.fixed + ctas.longest;
    return hda_fmax(joined, hda_fmax(busy, last));
}

/* Takes a kernel if it is faster than the fastest before. */
static void offer(hda_kernel_t *kernel, ctas_t ctas, double time, double tile_m, double split,
                  double *latency) {
    if (kernel->time > 0 && time >= kernel->time) return;
    kernel->time = time;
    kernel->tile_m = tile_m;
    kernel->split = split;
    kernel->waves = ctas.waves;
    *latency = ctas.waves * ctas.fixed;
}

enum { ROUNDS = 4 }; /* of CTAs on an SM, at most, when the cache is split */

/* Tensor cores, one CTA per KV head, the cache whole or split. */
static void grouped(const hda_gpu_t *gpu, const hda_heads_t *heads, const batch_t *batch,
                    double sequences, hda_kernel_t *kernel, double *latency) {
    const hda_gpu_attention_t *fit = &gpu->attention;
    const int64_t tile_m = HDA_ATTENTION_TILE / 2;
    const double tile_n = kernel->tile_n, group = (double)(heads->q_heads / heads->kv_heads);
    const double compute = hda_attention_block(gpu, heads, tile_m, tile_n, 1);
    const double block = hda_fmax(compute, tile_n * batch->token_bytes / batch->sm_rate);
    const double mean = ceil(batch->mean / tile_n), most = ceil(batch->longest / tile_n);
    const double tiles = ceil(group / (double)tile_m);
    const double ctas = sequences * (double)heads->kv_heads * tiles;
    const double fixed = fit->group_cta + compute, stream = batch->dram + batch->l2;
    const double waves = ceil(ctas / gpu->sm_count - 1e-9);
    const ctas_t whole = {waves, fixed, (mean - 1) * block, (most - 1) * block};
    kernel->compute = mean * compute * ctas / gpu->sm_count;
    offer(kernel, whole, spread(whole, stream), (double)tile_m, 1, latency);
    for (int rounds = 1; rounds <= ROUNDS; rounds++) {
        const double room = hda_fmin(floor(rounds * gpu->sm_count / ctas), HDA_ATTENTION_SPLITS);
        const double split = hda_fmin(room, most), part = ceil(most / split);
        if (split < 2) continue;
        const ctas_t parts = {ceil(ctas * split / gpu->sm_count - 1e-9), fixed,
                              (hda_fmin(mean, part) - 1) * block, (part - 1) * block};
        const double merge = fit->merge + split * HDA_ATTENTION_MERGE_SPLIT;
        offer(kernel, parts, spread(parts, stream) + merge, (double)tile_m, split, latency);
    }
}

/* Vector units, one CTA per query head. */
static void single(const hda_gpu_t *gpu, const hda_heads_t *heads, const batch_t *batch,
                   double sequences, hda_kernel_t *kernel, double *latency) {
    const double group = (double)(heads->q_heads / heads->kv_heads);
    const double again = group * batch->cache / (HDA_ATTENTION_L2_READ * gpu->l2_bandwidth);
    const double token = batch->token_bytes / batch->sm_rate;
    const double waves = hda_fmax(sequences * (double)heads->q_heads / gpu->sm_count, 1);
    const ctas_t ctas = {waves, gpu->attention.head_cta, batch->mean * token,
                         batch->longest * token};
    const double time = spread(ctas, hda_fmax(batch->dram + batch->l2, again));
    offer(kernel, ctas, time, 1, 1, latency);
}

hda_status_t hda_gpu_decode(const hda_gpu_t *gpu, const hda_heads_t *heads,
                            const hda_decode_t *decode, hda_kernel_t *kernel) {
    const hda_status_t status = hda_attention_check(gpu, heads);
    if (status != HDA_OK) return status;
    const double sequences = (double)decode->sequences, most = (double)HDA_ATTENTION_MOST;
    if (!hda_attention_size(decode->sequences)) return HDA_E_RANGE;
    if (!(decode->tokens >= sequences && decode->tokens <= most * sequences)) return HDA_E_RANGE;
    if (!(decode->longest >= 1 && decode->longest <= most)) return HDA_E_RANGE;
    const batch_t batch = batch_of(gpu, heads, decode);
    const int64_t tile_n = hda_attention_key_block(gpu, heads, HDA_ATTENTION_TILE / 2);
    *kernel = (hda_kernel_t){.tile_n = (double)tile_n,
                             .launch = gpu->attention.launches * gpu->launch,
                             .dram = batch.dram,
                             .l2 = batch.l2,
                             .dram_bytes = batch.cache + batch.io,
                             .macs = batch.mean * sequences * hda_attention_q_dims(heads)};
    double latency = 0;
    grouped(gpu, heads, &batch, sequences, kernel, &latency);
    single(gpu, heads, &batch, sequences, kernel, &latency);
    /* on vector units every query head reads the cache of its group */
    const double readings = kernel->tile_m > 1 ? 1 : (double)(heads->q_heads / heads->kv_heads);
    kernel->l2_bytes = readings * batch.cache + batch.io;
    kernel->time += kernel->launch;
    hda_attention_bound(gpu, heads, latency, kernel);
    return HDA_OK;
}
