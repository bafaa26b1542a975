/* Fused causal attention over new tokens, as FlashAttention-2 and -3 compute it [Dao 2023,
 * arXiv 2307.08691; Shah et al. 2024, arXiv 2407.08608], and the write of their keys and values.
 *
 * The query heads of one KV head are packed: their rows, one per head and token, are cut in tiles
 * of tile_m rows, and one CTA goes through the keys that its tile sees in blocks of tile_n. Blocks
 * above the diagonal, and before the window, are skipped; one that the diagonal cuts counts in
 * full. With
 *     products = tile_m tile_n (key_dim + value_dim) / (MACs per second of an SM x efficiency)
 *     softmax  = tile_m tile_n (1 / exponentials + 6 operations / lanes) / clock
 * a block takes max(products, softmax) + serial x min(products, softmax): Ampere's kernels do much
 * of it one after the other, Hopper's overlap two warp groups. A CTA takes prologue + blocks x
 * block. CTAs on one SM share its rate, as if one came after the other, so the kernel takes
 *     all CTAs' time / SMs, in whole CTAs of the shortest kind, + tail x (longest - shortest)
 * and never less than the longest. Where CTAs leave SMs idle the keys are split as in decode
 * (gpu_decode.c), if that is faster. Queries, keys, values and outputs pass through DRAM meanwhile,
 * at `copy` of its peak; before, a kernel of its own writes the new keys and values to the cache.
 * Tiles of 128 and of 64 rows are tried and the faster taken, as libraries do.
 *
 * With `varlen`, heads are not packed and keys not split: FlashAttention-2 does either only where
 * every sequence has one query (csrc/flash_attn/flash_api.cpp, mha_varlen_fwd), so that a short
 * chunk after a long cache, or a decoding sequence beside a prompt, takes one CTA per head through
 * all its keys. All sequences have CTAs for as many tiles as the longest; those without rows take
 * an SM for a moment. Heads follow each other, so that those that share a KV head read it again
 * from DRAM if they are not on the SMs at the same time and one head's keys and values of all
 * sequences exceed the L2. */
#include <math.h>

#include "gpu.h"
#include "gpu_attention.h"

/* Sum over i in [0, n) of floor((a i + b) / m), by Euclid's algorithm; a, b >= 0, m > 0. */
static double floor_sum(int64_t n, int64_t m, int64_t a, int64_t b) {
    double sum = 0;
    for (;;) {
        sum += (double)(a / m) * (double)n * (double)(n - 1) / 2 + (double)(b / m) * (double)n;
        a %= m;
        b %= m;
        const int64_t top = a * n + b;
        if (top < m) return sum;
        /* what is left lies under a line of slope below 1: count it along the other axis */
        n = top / m;
        b = top % m;
        const int64_t old = m;
        m = a;
        a = old;
    }
}

/* A prompt in tiles: CTAs per KV head, their key blocks in all, of the longest and the shortest. */
typedef struct {
    double tiles, blocks, longest, shortest;
} tiling_t;

static tiling_t tile_prompt(const hda_prompt_t *prompt, int64_t group, int64_t window,
                            int64_t tile_m, int64_t tile_n) {
    const int64_t unit = group * tile_n, before = prompt->past * group;
    const int64_t keys = prompt->past + prompt->q_len, last = hda_ceil_div(keys, tile_n);
    const int64_t tiles = hda_ceil_div(prompt->q_len * group, tile_m);
    const int64_t first = tiles > 1 ? hda_ceil_div(before + tile_m, unit) : last;
    /* all tiles but the last are whole: tile i ends at key (before + (i + 1) tile_m) / group */
    const double ends = floor_sum(tiles - 1, unit, tile_m, before + tile_m + unit - 1);
    tiling_t tiling = {(double)tiles, ends + (double)last, (double)last, (double)first};
    if (window == 0 || window >= keys) return tiling;
    /* tile i starts at key past + floor(i tile_m / group) + 1 - window, where that is above 0 */
    const int64_t shift = before + (1 - window) * group;
    const int64_t from = shift >= 0 ? 0 : hda_ceil_div(-shift, tile_m);
    if (from < tiles) tiling.blocks -= floor_sum(tiles - from, unit, tile_m, shift + from * tile_m);
    const int64_t widest = hda_ceil_div(window + hda_ceil_div(tile_m, group), tile_n) + 1;
    tiling.longest = tiles > 1 ? hda_fmin(tiling.longest, (double)widest) : tiling.blocks;
    tiling.shortest = hda_fmin(tiling.shortest, tiling.blocks / (double)tiles);
    return tiling;
}

/* Work of all prompts in tiles of one size. */
typedef struct {
    double ctas, work, blocks, shortest; /* seconds but for ctas and blocks (of the longest CTA) */
} load_t;

/* CTAs without rows, as every sequence has as many tiles as the longest; 0 unless varlen. */
static double empty_ctas(const hda_heads_t *heads, const hda_prompt_t *prompts,
                         int64_t prompt_count, int64_t tile_m) {
    double tiles = 0, sequences = 0;
    int64_t most = 0;
    for (int64_t i = 0; i < prompt_count && heads->varlen > 0; i++) {
        const int64_t own = hda_ceil_div(prompts[i].q_len, tile_m);
        most = hda_max64(most, own);
        tiles += (double)prompts[i].count * (double)own;
        sequences += (double)prompts[i].count;
    }
    return (double)heads->q_heads * (sequences * (double)most - tiles);
}

/* How often keys and values are read from DRAM; `seen` tokens of them by CTAs of `tile_m` rows. */
static double readings(const hda_gpu_t *gpu, const hda_heads_t *heads, const hda_prompt_t *prompts,
                       int64_t prompt_count, int64_t tile_m, double seen) {
    const double group = (double)(heads->q_heads / heads->kv_heads);
    if (heads->varlen <= 0 || group <= 1) return 1;
    double ctas = 0; /* of one head */
    for (int64_t i = 0; i < prompt_count; i++)
        ctas += (double)prompts[i].count * (double)hda_ceil_div(prompts[i].q_len, tile_m);
    const double together = hda_fmin(hda_fmax(gpu->sm_count / ctas, 1), group);
    const double head =
        seen * hda_attention_elements(heads) / (double)heads->kv_heads * heads->kv_bytes;
    const double lost = hda_fmin(hda_fmax(head / gpu->l2_size - 1, 0), 1);
    return 1 + lost * (group / together - 1);
}

static load_t load_of(const hda_heads_t *heads, const hda_prompt_t *prompts, int64_t prompt_count,
                      int64_t tile_m, int64_t tile_n, double prologue, double block) {
    const int64_t packed = heads->varlen > 0 ? heads->q_heads : heads->kv_heads;
    const int64_t group = heads->q_heads / packed;
    load_t load = {.shortest = INFINITY};
    for (int64_t i = 0; i < prompt_count; i++) {
        const tiling_t tiling = tile_prompt(&prompts[i], group, heads->window, tile_m, tile_n);
        const double copies = (double)prompts[i].count * (double)packed;
        load.ctas += copies * tiling.tiles;
        load.work += copies * (tiling.tiles * prologue + tiling.blocks * block);
        load.blocks = hda_fmax(load.blocks, tiling.longest);
        load.shortest = hda_fmin(load.shortest, prologue + tiling.shortest * block);
    }
    return load;
}

/* The attention kernel alone with tiles of `tile_m` rows, if it is faster than the one before. */
static void tiled(const hda_gpu_t *gpu, const hda_heads_t *heads, const hda_prompt_t *prompts,
                  int64_t prompt_count, int64_t tile_m, hda_kernel_t *kernel) {
    const hda_gpu_attention_t *fit = &gpu->attention;
    const int small = tile_m < HDA_ATTENTION_TILE;
    const int64_t tile_n = hda_attention_key_block(gpu, heads, tile_m);
    const double block =
        hda_attention_block(gpu, heads, tile_m, (double)tile_n, small ? fit->small_tile : 1);
    const double prologue = fit->prologue * (small ? HDA_ATTENTION_SMALL_PROLOGUE : 1);
    load_t load = load_of(heads, prompts, prompt_count, tile_m, tile_n, prologue, block);
    load.work += HDA_ATTENTION_EMPTY * empty_ctas(heads, prompts, prompt_count, tile_m);
    const double longest = prologue + load.blocks * block, per_sm = load.work / gpu->sm_count;
    double time = longest, split = 1;
    if (load.ctas > gpu->sm_count) {
        time = ceil(per_sm / load.shortest - 1e-9) * load.shortest;
        time = hda_fmax(time + fit->tail * (longest - load.shortest), longest);
    }
    const double room = hda_fmin(floor(gpu->sm_count / load.ctas), HDA_ATTENTION_SPLITS);
    if (heads->varlen <= 0 && room >= 2 && load.blocks >= 2) {
        const double parts = hda_fmin(room, load.blocks);
        const double merge = fit->merge + parts * HDA_ATTENTION_MERGE_SPLIT;
        const double parted = prologue + ceil(load.blocks / parts) * block + merge;
        if (parted < time) time = parted, split = parts;
    }
    if (kernel->time > 0 && time >= kernel->time) return;
    kernel->time = time;
    kernel->compute = per_sm - load.ctas * prologue / gpu->sm_count;
    kernel->tile_m = (double)tile_m;
    kernel->tile_n = (double)tile_n;
    kernel->split = split;
    kernel->waves = load.ctas * split / gpu->sm_count;
}

hda_status_t hda_gpu_prefill(const hda_gpu_t *gpu, const hda_heads_t *heads,
                             const hda_prompt_t *prompts, int64_t prompt_count,
                             hda_kernel_t *kernel) {
    const hda_status_t status = hda_attention_check(gpu, heads);
    if (status != HDA_OK) return status;
    if (prompt_count < 1) return HDA_E_RANGE;
    double fresh = 0, seen = 0,
           pairs = 0; /* new tokens, tokens read, queries x keys that they see */
    for (int64_t i = 0; i < prompt_count; i++) {
        const hda_prompt_t *prompt = &prompts[i];
        if (!hda_attention_size(prompt->count) || !hda_attention_size(prompt->q_len) ||
            prompt->past < 0 || prompt->past > HDA_ATTENTION_MOST)
            return HDA_E_RANGE;
        const double count = (double)prompt->count, past = (double)prompt->past;
        const double queries = (double)prompt->q_len, keys = queries + past;
        const double width = heads->window > 0 ? hda_fmin((double)heads->window, keys) : keys;
        const double ramp = hda_fmin(hda_fmax(width - past, 0), queries); /* see past + 1, ... */
        fresh += count * queries;
        seen += count * hda_fmin(keys, width + queries - 1);
        pairs += count * (ramp * (past + (ramp + 1) / 2) + (queries - ramp) * width);
    }
    const double q_dims = hda_attention_q_dims(heads), elements = hda_attention_elements(heads);
    const double io = fresh * q_dims * 2 + seen * elements * heads->kv_bytes;
    const double append = fresh * elements * (2 + heads->kv_bytes);
    *kernel = (hda_kernel_t){.launch = gpu->attention.launches * gpu->launch,
                             .l2 = io / gpu->l2_bandwidth,
                             .dram_bytes = io,
                             .macs = pairs * q_dims};
    tiled(gpu, heads, prompts, prompt_count, HDA_ATTENTION_TILE, kernel);
    tiled(gpu, heads, prompts, prompt_count, HDA_ATTENTION_TILE / 2, kernel);
    /* every tile of queries reads the keys and values that it sees */
    kernel->l2_bytes = io + append + kernel->macs * heads->kv_bytes / kernel->tile_m;
    const double latency = hda_fmax(kernel->time - kernel->compute, 0);
    const double copy = gpu->attention.copy * gpu->dram_bandwidth;
    const double keys = seen * elements * heads->kv_bytes;
    const double times = readings(gpu, heads, prompts, prompt_count, (int64_t)kernel->tile_m, seen);
    const double again = (times - 1) * keys / (gpu->attention.stream * gpu->dram_bandwidth);
    kernel->dram = (io + append) / copy + again;
    kernel->time = kernel->launch + append / copy + hda_fmax(kernel->time, io / copy + again);
    hda_attention_bound(gpu, heads, latency, kernel);
    return HDA_OK;
}
