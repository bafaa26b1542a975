/* A fused layer of experts as libraries run it (CUTLASS in TensorRT-LLM, Triton in vLLM and SGLang): route and permute the tokens,
 * grouped GEMM gate and up, activation, grouped GEMM down, weighted sum. Times in seconds.
 *
 *   time = kernels x launch + (permutation, activation and sum: their bytes) / (vector x DRAM) + up + down
 *
 * A grouped GEMM [rows, k] x [k, n] takes one expert after the other, each at the slower of two paces:
 *   its tiles:  ceil(rows / tile_m) ceil(n / tile_n) max(tile_m tile_n k / (efficiency MACs), k (tile_m + tile_n) / port) / SMs,
 *               stretched to whole waves over all experts; port is what one SM reads from L2
 *   its bytes:  weights, rows in and rows out, / (bandwidth x DRAM)
 * and the tile of a short list that is fastest. Weights count as cold: the layers between two calls push them out of L2. */
#include <math.h>

#include "gpu.h"

#define CLASSES 16
#define TILES 8
#define LARGEST 1099511627776
/* bytes per cycle, microbenchmarks of Volta and A100 (Jia et al. 2018; Abdelkhalik et al. 2022) */
#define PORT 64.0

static const double TILE_M[TILES] = {16, 16, 32, 64, 64, 128, 128, 256};
static const double TILE_N[TILES] = {64, 128, 128, 128, 256, 128, 256, 128};

/* The experts of this device with a token, in classes of alike load: `count` experts of `rows` tokens each. */
typedef struct {
    double count[CLASSES], rows[CLASSES];
    double hit, total; /* experts, rows in all */
    int64_t classes;
    int spread; /* rows are means over draws, not counts */
} load_t;

static void add_class(load_t *load, double count, double rows) {
    load->count[load->classes] = count;
    load->rows[load->classes] = rows;
    load->classes++;
    load->hit += count;
    load->total += count * rows;
}

/* Spread evenly, as the "balanced" of benchmarks: as many experts as there are selections, each with the same share. */
static void balance(const hda_experts_case_t *c, load_t *load) {
    const double rows = (double)c->tokens * (double)c->top_k * (double)c->own / (double)c->experts;
    const double hit = hda_fmin((double)c->own, ceil(rows));
    add_class(load, hit, hda_fmax(1.0, rows / hit));
}

/* Every token picks top_k experts at random; an expert is missed with (1 - top_k / experts)^tokens. */
static void scatter(const hda_experts_case_t *c, load_t *load) {
    const double chance = (double)c->top_k / (double)c->experts;
    const double hit = chance < 1 ? -expm1((double)c->tokens * log1p(-chance)) : 1.0;
    add_class(load, (double)c->own * hit, (double)c->tokens * chance / hit);
    load->spread = chance < 1;
}

/* Loads from the density x^-skew between two bounds: `at` gives the load that a share u of all is below. */
typedef struct {
    double from, span, power; /* power 0: x^-1, from and span are logarithms */
} density_t;

static density_t density(double skew, double low, double high) {
    if (fabs(1 - skew) < 1e-6) {
        return (density_t){log(low), log(high / low), 0};
    }
    const double from = pow(low, 1 - skew);
    return (density_t){from, pow(high, 1 - skew) - from, 1 / (1 - skew)};
}

static double at(const density_t *d, double u) {
    const double y = d->from + d->span * u;
    return d->power != 0 ? pow(y, d->power) : exp(y);
}

/* Tokens by a power law, as aiconfigurator draws it (collector/helper.py): a load x for every expert from the density x^-skew between 1
 * and 0.8 tokens, or 0.01 and 2 where there are no more selections than experts; scaled to all selections and rounded; no expert
 * above `tokens`, the excess goes evenly to the rest; this device is the busiest of experts / own.
 * Without drawing: midpoints of equal shares of the distribution F for samples; an expert with fewer than one token is hit that often;
 * the busiest of d devices with g experts each has F^theta with theta = d^(g^-0.4). That is exact for g = 1, the largest of d
 * draws; with more, the excess of the largest sum falls about as g^-1/2. 0.4 meets 200 draws of that procedure within 5 % in the mean
 * (8 and 128 experts, 2 to 16 devices, 16 to 16,384 tokens; 24 % too much at worst, with 16 devices). */
static void skew_load(const hda_experts_case_t *c, load_t *load) {
    const double tokens = (double)c->tokens, own = (double)c->own, experts = (double)c->experts;
    const double selections = tokens * (double)c->top_k;
    const int few = selections <= experts;
    const density_t loads =
        few ? density(c->skew, 0.01, 2) : density(c->skew, 1, hda_fmax(1, 0.8 * tokens));
    const int64_t mine = hda_min64(c->own, CLASSES), all = hda_min64(c->experts, CLASSES);
    const double share = own / (double)mine;
    const double tilt = c->own < c->experts ? pow(experts / own, -pow(own, -0.4)) : 1.0;
    double x[CLASSES], sum = 0, excess = 0, spare = 0;
    for (int64_t i = 0; i < mine; i++) {
        const double u = ((double)i + 0.5) / (double)mine;
        x[i] = at(&loads, tilt < 1 ? pow(u, tilt) : u);
        sum += x[i] * share;
    }
    if (c->own < c->experts) {
        double whole = 0;
        for (int64_t i = 0; i < all; i++) {
            whole += at(&loads, ((double)i + 0.5) / (double)all);
        }
        sum = hda_fmax(sum, whole * experts / (double)all);
    }
    for (int64_t i = 0; i < mine; i++) {
        x[i] *= selections / sum;
        excess += share * hda_fmax(0, x[i] - tokens) * own / experts;
        spare += share * hda_fmax(0, tokens - x[i]);
    }
    const double fill = spare > 0 ? hda_fmin(1.0, excess / spare) : 0.0;
    for (int64_t i = 0; i < mine; i++) {
        const double rows = x[i] + (tokens - x[i]) * (x[i] > tokens ? 1.0 : fill);
        add_class(load, share * hda_fmin(1.0, rows), hda_fmax(1.0, rows));
    }
    load->spread = 1;
}

typedef struct {
    double time, compute, dram, l2, tile_m, tile_n, waves;
} grouped_t;

static grouped_t grouped_gemm(const hda_gpu_t *gpu, const hda_experts_case_t *c, const load_t *load,
                              double rate, double k, double n) {
    const double port = PORT * gpu->clock;
    const double bandwidth = gpu->dram_bandwidth * gpu->experts.bandwidth;
    const double weights = k * n * c->b_bytes / bandwidth;
    const double row = (k + n) * c->a_bytes / bandwidth;
    grouped_t best = {.time = INFINITY};
    for (int i = 0; i < TILES; i++) {
        const double tile_m = TILE_M[i], tile_n = TILE_N[i];
        double blocks[CLASSES], sum = 0;
        for (int64_t j = 0; j < load->classes; j++) {
            const double tiles = load->rows[j] / tile_m;
            /* half a tile is empty on average over draws */
            blocks[j] = load->spread && tiles > 1 ? tiles + 0.5 : ceil(tiles - 1e-9);
            sum += load->count[j] * blocks[j];
        }
        sum *= ceil(n / tile_n);
        const double waves = ceil(sum / gpu->sm_count - 1e-9);
        const double compute = tile_m * tile_n * k / rate;
        const double l2 = k * (tile_m * c->a_bytes + tile_n * c->b_bytes) / port;
        const double pace = hda_fmax(compute, l2) * waves / sum * ceil(n / tile_n);
        double time = 0;
        for (int64_t j = 0; j < load->classes; j++) {
            time += load->count[j] * hda_fmax(blocks[j] * pace, weights + load->rows[j] * row);
        }
        if (time < best.time) {
            best = (grouped_t){.time = time,
                               .compute = waves * compute,
                               .dram = load->hit * weights + load->total * row,
                               .l2 = waves * l2,
                               .tile_m = tile_m,
                               .tile_n = tile_n,
                               .waves = waves};
        }
    }
    return best;
}

static int in_range(const hda_experts_case_t *c) {
    const int64_t sizes[] = {c->tokens, c->hidden, c->inter, c->top_k, c->experts, c->own};
    for (int i = 0; i < 6; i++) {
        if (sizes[i] < 1 || sizes[i] > LARGEST) {
            return 0;
        }
    }
    return c->own <= c->experts && c->top_k <= c->experts && isfinite(c->skew) && c->type >= 0 &&
           c->type < HDA_TYPE_COUNT;
}

hda_status_t hda_gpu_experts(const hda_gpu_t *gpu, const hda_experts_case_t *c,
                             hda_kernel_t *kernel) {
    if (!in_range(c)) {
        return HDA_E_RANGE;
    }
    const double peak = gpu->macs[hda_gpu_type(gpu, c->type)] * gpu->clock;
    if (peak <= 0) {
        return HDA_E_UNDEFINED;
    }
    load_t load = {.classes = 0};
    if (c->skew > 0) {
        skew_load(c, &load);
    } else if (c->skew < 0) {
        balance(c, &load);
    } else {
        scatter(c, &load);
    }
    const double tokens = (double)c->tokens, hidden = (double)c->hidden, inter = (double)c->inter;
    const hda_gpu_experts_t *constants = &gpu->experts;
    const double rate = peak * constants->efficiency;
    const grouped_t up = grouped_gemm(gpu, c, &load, rate, hidden, 2 * inter);
    const grouped_t down = grouped_gemm(gpu, c, &load, rate, inter, hidden);
    /* permutation and sum: tokens and rows once each; activation: gate and up in, product out */
    const double moved = (2 * (tokens + load.total) * hidden + 3 * load.total * inter) * c->a_bytes;
    const double side = moved / (gpu->dram_bandwidth * constants->vector);
    const double touched = hda_fmin(tokens, load.total);
    *kernel = (hda_kernel_t){.launch = constants->kernels * gpu->launch,
                             .compute = up.compute + down.compute,
                             .dram = up.dram + down.dram + side,
                             .l2 = up.l2 + down.l2,
                             .macs = 3 * load.total * hidden * inter,
                             .tile_m = up.tile_m,
                             .tile_n = up.tile_n,
                             .split = 1,
                             .waves = up.waves};
    kernel->dram_bytes =
        3 * load.hit * hidden * inter * c->b_bytes + 2 * touched * hidden * c->a_bytes;
    /* blocks read their strips, and weights at least once */
    const double weights = 3 * load.hit * hidden * inter * c->b_bytes;
    kernel->l2_bytes = moved + kernel->macs * c->a_bytes / up.tile_n +
                       hda_fmax(kernel->macs * c->b_bytes / up.tile_m, weights);
    kernel->bound =
        hda_fmax(kernel->macs / (peak * gpu->sm_count), kernel->dram_bytes / gpu->dram_bandwidth);
    kernel->time = hda_fmax(kernel->bound, kernel->launch + side + up.time + down.time);
    const double most = hda_fmax(kernel->compute, hda_fmax(kernel->l2, kernel->dram));
    kernel->cause = kernel->launch > most           ? HDA_KERNEL_LATENCY
                    : kernel->dram >= most          ? HDA_KERNEL_DRAM
                    : kernel->compute >= kernel->l2 ? HDA_KERNEL_COMPUTE
                                                    : HDA_KERNEL_L2;
    return HDA_OK;
}
