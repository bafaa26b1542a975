/* Fused causal attention over new tokens, as FlashAttention-2 and -3 compute it [Dao 2023, arXiv 2307.08691; Shah et al. 2024, arXiv 2407.08608].
 *
 * The query heads of one KV head are packed: their rows, one per head and token, are cut in tiles of tile_m rows, and one CTA goes through the keys that its
 * tile sees in blocks of tile_n. Blocks above the diagonal, and blocks before the window, are skipped; a block that the diagonal cuts counts in full. With
 *     products = tile_m tile_n (key_dim + value_dim) / (MACs per second of an SM x efficiency)
 *     softmax  = tile_m tile_n (1 / exponentials + softmax_ops / lanes) / clock
 * a block takes max(products, softmax) + serial x min(products, softmax): Ampere's kernels do one after the other, Hopper's overlap two warp groups.
 * A CTA takes prologue + blocks x block. An SM's throughput on several CTAs is that of one after the other, so the kernel takes
 *     all CTAs' time / SMs, in whole CTAs of the shortest kind, + tail x (longest - shortest)
 * and never less than the longest. Queries, keys, values and outputs pass once through DRAM meanwhile. Before it the new keys and values are written to the
 * cache by a kernel of its own. Tiles of 128 and 64 rows are tried and the faster taken, as libraries do. */
#include <math.h>

#include "gpu.h"
#include "gpu_attention.h"

/* Sum over i in [0, n) of floor((a i + b) / m), by Euclid's algorithm: O(log). a, b >= 0, m > 0. */
static double floor_sum(int64_t n, int64_t m, int64_t a, int64_t b) {
    double sum = 0;
    for (;;) {
        sum += (double)(a / m) * (double)n * (double)(n - 1) / 2 + (double)(b / m) * (double)n;
        a %= m;
        b %= m;
        int64_t top = a * n + b;
        if (top < m) return sum;
        /* what is left lies under a line of slope below 1: count it along the other axis */
        n = top / m;
        b = top % m;
        int64_t old = m;
        m = a;
        a = old;
    }
}

/* What one prompt is in tiles of `tile_m` packed rows: CTAs per KV head, their key blocks in all, and those of the longest and shortest CTA. */
typedef struct {
    double tiles, blocks, longest, shortest;
} tiling_t;

static tiling_t tile_prompt(const hda_prompt_t *prompt, int64_t group, int64_t window,
                            int64_t tile_m, int64_t tile_n) {
    int64_t rows = prompt->q_len * group, tiles = hda_ceil_div(rows, tile_m), unit = group * tile_n;
    int64_t keys = prompt->past + prompt->q_len, before = prompt->past * group;
    int64_t last = hda_ceil_div(keys, tile_n);
    /* all tiles but the last end on a whole tile: ceil((before + (i + 1) tile_m) / unit) blocks */
    double blocks = floor_sum(tiles - 1, unit, tile_m, before + tile_m + unit - 1) + (double)last;
    int64_t first = tiles > 1 ? hda_ceil_div(before + tile_m, unit) : last;
    double longest = (double)last;
    if (window > 0 && window < keys) {
        /* tile i starts at key past + floor(i tile_m / group) + 1 - window: skip floor of that by tile_n, where it is above 0 */
        int64_t shift = before + (1 - window) * group;
        int64_t from = shift >= 0 ? 0 : hda_ceil_div(-shift, tile_m);
        if (from < tiles) blocks -= floor_sum(tiles - from, unit, tile_m, shift + from * tile_m);
        longest = hda_fmin(longest,
                           (double)hda_ceil_div(window + hda_ceil_div(tile_m, group), tile_n) + 1);
        first = hda_min64(first, (int64_t)longest);
    }
    return (tiling_t){(double)tiles, blocks, longest, (double)first};
}

/* Seconds of the attention kernel alone with tiles of `tile_m` rows; sets the tile's part of `kernel`. */
static double tiled(const hda_gpu_t *gpu, const hda_heads_t *heads, const hda_prompt_t *prompts,
                    int64_t prompt_count, int64_t tile_m, hda_kernel_t *kernel) {
    const hda_gpu_attention_t *fit = &gpu->attention;
    int64_t tile_n = hda_attention_key_block(gpu, heads, tile_m),
            group = heads->q_heads / heads->kv_heads;
    double scores = (double)tile_m * (double)tile_n, rate = gpu->clock * gpu->macs[HDA_TYPE_BF16];
    double products =
        scores * (double)(heads->key_dim + heads->value_dim) / (rate * fit->efficiency);
    double softmax = scores * (1 / gpu->exps + fit->softmax_ops / gpu->lanes) / gpu->clock,
           prologue = fit->prologue;
    if (tile_m < HDA_ATTENTION_TILE) products *= fit->small_tile, prologue *= fit->small_prologue;
    double block = hda_fmax(products, softmax) + fit->serial * hda_fmin(products, softmax);
    double work = 0, ctas = 0, longest = 0, shortest = INFINITY;
    for (int64_t i = 0; i < prompt_count; i++) {
        tiling_t tiling = tile_prompt(&prompts[i], group, heads->window, tile_m, tile_n);
        double copies = (double)prompts[i].count * (double)heads->kv_heads;
        ctas += copies * tiling.tiles;
        work += copies * (tiling.tiles * prologue + tiling.blocks * block);
        longest = hda_fmax(longest, prologue + tiling.longest * block);
        shortest = hda_fmin(shortest, prologue + tiling.shortest * block);
    }
    double waves = ceil(work / gpu->sm_count / shortest - 1e-9);
    double spread =
        ctas > gpu->sm_count ? waves * shortest + fit->tail * (longest - shortest) : longest;
    kernel->tile_m = (double)tile_m;
    kernel->tile_n = (double)tile_n;
    kernel->waves = ctas / gpu->sm_count;
    return hda_fmax(spread, longest);
}

hda_status_t hda_gpu_prefill(const hda_gpu_t *gpu, const hda_heads_t *heads,
                             const hda_prompt_t *prompts, int64_t prompt_count,
                             hda_kernel_t *kernel) {
    hda_status_t status = hda_attention_check(gpu, heads);
    if (status != HDA_OK) return status;
    if (prompt_count < 1) return HDA_E_RANGE;
    double fresh = 0, seen = 0,
           pairs = 0; /* new tokens, tokens read, pairs of a query and a key that it sees */
    for (int64_t i = 0; i < prompt_count; i++) {
        const hda_prompt_t *prompt = &prompts[i];
        if (!hda_attention_size(prompt->count) || !hda_attention_size(prompt->q_len) ||
            prompt->past < 0 || prompt->past > HDA_ATTENTION_MOST)
            return HDA_E_RANGE;
        double count = (double)prompt->count, new = (double)prompt->q_len,
               keys = new + (double)prompt->past;
        double width = heads->window > 0 ? hda_fmin((double)heads->window, keys) : keys;
        double ramp = hda_fmin(hda_fmax(width - (double)prompt->past, 0),
                               new); /* queries that see no more than the window */
        fresh += count * new;
        seen += count * hda_fmin(keys, width + new);
        pairs += count *
                 (ramp * (double)(prompt->past + 1) + ramp * (ramp - 1) / 2 + (new - ramp) * width);
    }
    double q_dims = (double)(heads->q_heads * (heads->key_dim + heads->value_dim)),
           elements = hda_attention_elements(heads);
    double io = fresh * q_dims * 2 + seen * elements * heads->kv_bytes,
           append = fresh * elements * (2 + heads->kv_bytes);
    *kernel = (hda_kernel_t){.macs = pairs * q_dims,
                             .split = 1,
                             .dram_bytes = io,
                             .launch = gpu->attention.launches * gpu->launch};
    hda_kernel_t small = *kernel;
    double spread = tiled(gpu, heads, prompts, prompt_count, HDA_ATTENTION_TILE, kernel);
    double other = tiled(gpu, heads, prompts, prompt_count, HDA_ATTENTION_TILE / 2, &small);
    if (other < spread) *kernel = small, spread = other;
    double copy = gpu->attention.copy * gpu->dram_bandwidth;
    kernel->compute = spread;
    kernel->dram = io / copy;
    kernel->l2 = io / gpu->l2_bandwidth;
    kernel->time = kernel->launch + append / copy + hda_fmax(spread, kernel->dram);
    hda_attention_bound(gpu, heads, io, kernel);
    return HDA_OK;
}
