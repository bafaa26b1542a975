/* A GEMM on a GPU, as a library runs it: of a list of tiles and of splits of k the fastest is taken.
 *
 * time = launch + norm(blocks, dram, l2) + ends + split (+ conversion of A)
 *   blocks: an SM runs ceil(tiles x split / SMs) of them, as many at once as registers hold. A step of 128 bytes of k takes all
 *     resident blocks' products and operand feed, or what they load at the SM's rate, or, if that is longer, one block's chain of
 *     dependent work: a load's latency over the stages that shared memory holds, and `step` cycles. Each round of blocks after the
 *     first fills and drains again, which takes two load latencies and two stores of its tile.
 *   dram: A and B as far as L2 does not hold them, and C if L2 does not; once each while A and B fit in L2, else the strips of each wave of blocks,
 *     which a rasterised order keeps nearly square.
 *   l2: the same bytes at the rate at which streams leave L2.
 *   norm: of exponent 4, as the three overlap but not perfectly.
 *   ends: what the first load takes longer from DRAM than from L2 (the launch floor holds a kernel's first load), and the last round's
 *     stores, which all blocks make at once.
 *   split: a second kernel that adds the parts: 0.9 launches and its traffic.
 *   conversion: a kernel before, whose traffic nothing hides. Libraries that take scaled operands have few tiles on tensor cores that
 *     work on fine ones: 64 or 128 rows, and no split; others cost `convert_split` launches more.
 * bound: products at the peak rate, and what must come from DRAM if L2 kept all that it can: of matrices used in turn each its share.
 * One row of tokens may run without tensor cores: a stream of B, four lane operations for each weight, 1024 elements of k per load.
 *
 * The list, the norm and the factors above are the same for all generations; hda_gpu_gemm_t holds what differs. */
#include <math.h>
#include <stddef.h>

#include "gpu.h"

enum { MOST_SPLIT = 32, MOST_STAGES = 16, MOST_RESIDENT = 4 };

typedef struct {
    double m, n; /* rows of tokens, columns of weights */
    int fine;    /* only on tensor cores that take fine tiles */
} tile_t;

static const tile_t tiles[] = {
    {128, 128, 0}, {256, 128, 0}, {128, 256, 0}, {128, 64, 0},  {256, 64, 0}, {64, 128, 0},
    {64, 64, 0},   {64, 32, 0},   {32, 128, 0},  {32, 64, 0},   {32, 32, 0},  {16, 128, 0},
    {16, 64, 0},   {16, 32, 0},   {192, 128, 1}, {192, 192, 1}, {64, 256, 1},
};

typedef struct {
    const hda_gpu_t *gpu;
    double m, n, k, a, b, c;   /* elements; bytes of one */
    double k_step, macs, load; /* elements; of an SM per second: products, bytes */
    double latency, slow; /* seconds of a load; how much longer the main loop takes in this type */
    double reads, writes, moved; /* bytes: from DRAM, to DRAM, of all operands */
    double dram_rate, l2_rate,
        other;        /* bytes per second; seconds that any but a direct kernel costs */
    double burst;     /* bytes of C */
    int fits, scaled; /* L2 holds A and B; a library for scaled operands */
} work_t;

typedef struct {
    double time, compute, dram, l2, latency, tile_m, tile_n, split, waves;
} plan_t;

static double bounded(double x, double low, double high) {
    return hda_fmin(hda_fmax(x, low), high);
}

static double norm(double a, double b, double c) {
    a *= a, b *= b, c *= c;
    return sqrt(sqrt(a * a + b * b + c * c));
}

/* Share of what `bytes` of other data leave of an operand in the part of L2 that keeps it: all of it, or none if they exceed it by 15 %. */
static double hit(double bytes, double held) {
    return held > 0 ? bounded((1.15 * held - bytes) / (0.15 * held), 0, 1) : 0;
}

/* The tile that a library for scaled operands takes. */
static int is_direct(const work_t *w, const tile_t *tile) {
    return tile->m == (w->m > 128 ? 128 : 64) && tile->n == (w->m > 64 ? 128 : 64);
}

/* Bytes read if the blocks of one wave share strips of A and B and no two waves do. */
static double strips(const work_t *w, double tile_m, double tile_n, double rows, double cols,
                     double wave) {
    double high = bounded(sqrt(wave * tile_n / tile_m), 1, rows);
    const double wide = hda_fmin(wave / high, cols);
    high = hda_fmin(wave / wide, rows);
    const double waves = hda_fmax(rows * cols / wave, 1);
    return waves * (high * tile_m * w->a + wide * tile_n * w->b) * w->k;
}

/* Seconds of the kernel that adds the parts of a split k. */
static double adding(const work_t *w, double split) {
    return split > 1 ? 0.9 * w->gpu->launch + 2 * split * 4 * w->m * w->n / w->l2_rate : 0;
}

static plan_t plan(const work_t *w, const tile_t *tile, double split, double most_resident) {
    const hda_gpu_t *gpu = w->gpu;
    const hda_gpu_gemm_t *constants = &gpu->gemm;
    const int direct = split == 1 && (!w->scaled || is_direct(w, tile));
    const double rows = ceil(w->m / tile->m), cols = ceil(w->n / tile->n);
    const int shrinks = constants->fine > 0 && !(w->scaled && direct);
    const double tile_m = shrinks ? hda_fmax(8 * ceil(w->m / rows / 8), 16) : tile->m;
    const double tile_n = tile->n;
    const double blocks = rows * cols * split;
    const double per_sm = ceil(blocks / gpu->sm_count);
    const double resident = hda_fmin(most_resident, per_sm);

    const double step_bytes = (tile_m * w->a + tile_n * w->b) * w->k_step;
    const double stages =
        bounded(floor(gpu->shared_memory / (resident * step_bytes)), 1, MOST_STAGES);
    const double product = tile_m * tile_n * w->k_step / (w->macs * constants->efficiency);
    const double feed = constants->feed * (tile_m + tile_n) / gpu->clock;
    const double work = hda_fmax(product + feed, step_bytes / w->load) * w->slow;
    const double chain = w->latency / stages + constants->step / gpu->clock;
    const double rounds = floor(per_sm / resident), rest = per_sm - rounds * resident;
    double loop = rounds * hda_fmax(resident * work, chain);
    if (rest > 0) loop += hda_fmax(rest * work, chain);
    const double turns = rest > 0 ? rounds : rounds - 1;
    const double store = resident * tile_m * tile_n * (split > 1 ? 4 : w->c) / w->load;

    plan_t p = {.tile_m = tile_m, .tile_n = tile_n, .split = split};
    p.waves = blocks / (gpu->sm_count * resident);
    p.compute = loop * ceil(w->k / split / w->k_step) + turns * 2 * (w->latency + store);
    p.l2 = w->moved / w->l2_rate;
    double reads = w->reads;
    if (!w->fits) {
        const double wave = hda_fmin(gpu->sm_count * resident, rows * cols);
        reads = hda_fmax(reads, strips(w, tile_m, tile_n, rows, cols, wave));
    }
    p.dram = (reads + w->writes) / w->dram_rate;
    p.latency = w->latency - gpu->l2_latency + store + w->burst / (turns + 1) / gpu->l2_bandwidth;
    p.latency += adding(w, split);
    if (!direct) p.latency += w->other;
    p.time = norm(p.compute, p.l2, p.dram) + p.latency;
    return p;
}

/* `lowest`: what the tile takes at least, see least(). */
static void try(const work_t *w, const tile_t *tile, double split, double resident, double lowest,
                plan_t *best) {
    if (lowest + adding(w, split) > best->time) return;
    const plan_t p = plan(w, tile, split, resident);
    if (p.time < best->time) *best = p;
}

/* No plan with the tile takes less: its products and operand feed on all SMs, beside the least traffic. */
static double least(const work_t *w, const tile_t *tile) {
    const hda_gpu_t *gpu = w->gpu;
    const hda_gpu_gemm_t *constants = &gpu->gemm;
    const double rows = ceil(w->m / tile->m), cols = ceil(w->n / tile->n);
    const double tile_m = constants->fine > 0 ? w->m / rows : tile->m;
    const double product = tile_m * tile->n * w->k_step / (w->macs * constants->efficiency);
    const double feed = constants->feed * (tile_m + tile->n) / gpu->clock;
    const double steps = rows * cols * w->k / (w->k_step * gpu->sm_count);
    const double dram = (w->reads + w->writes) / w->dram_rate;
    const double time = norm(steps * (product + feed) * w->slow, w->moved / w->l2_rate, dram);
    return (1 - 1e-9) * time;
}

/* Splits that fill the SMs once or half, and for a long k those that leave a smaller last wave. */
static void try_tile(const work_t *w, const tile_t *tile, plan_t *best) {
    const hda_gpu_t *gpu = w->gpu;
    const double rows = ceil(w->m / tile->m), cols = ceil(w->n / tile->n);
    const double lowest = least(w, tile);
    if (lowest > best->time) return;
    /* accumulators, and 64 registers of 128 threads, of 256 in large tiles */
    const double area = tile->m * tile->n;
    const double registers = 4 * area + 32768 * (area > 8192 ? 2 : 1);
    const double resident = bounded(floor(gpu->registers / registers), 1, MOST_RESIDENT);
    try(w, tile, 1, resident, lowest, best);
    const double steps = ceil(w->k / w->k_step);
    const double fill =
        hda_fmin(hda_fmin(floor(gpu->sm_count / (rows * cols)), floor(steps / 2)), MOST_SPLIT);
    if (fill >= 2) try(w, tile, fill, resident, lowest, best);
    if (fill >= 4) try(w, tile, floor(fill / 2), resident, lowest, best);
    for (double split = hda_fmax(fill + 1, 2); split <= 4 && steps >= 32 * split; split++)
        try(w, tile, split, resident, lowest, best);
}

static plan_t without_tensor_cores(const work_t *w) {
    const hda_gpu_t *gpu = w->gpu;
    plan_t p = {.tile_m = 1, .tile_n = 1, .split = 1, .waves = 1, .latency = w->latency};
    p.compute = hda_fmax(4 * w->n * w->k / (gpu->sm_count * gpu->lanes * gpu->clock),
                         w->latency * w->k / 1024);
    p.l2 = w->moved / hda_fmin(w->l2_rate, w->load * gpu->sm_count);
    p.dram = (w->reads + w->writes) / w->dram_rate;
    p.time = norm(p.compute, p.l2, p.dram) + p.latency;
    return p;
}

static int valid(const hda_gemm_case_t *gemm) {
    const int64_t most = (int64_t)1 << 40;
    const double bytes[] = {gemm->a_bytes, gemm->b_bytes, gemm->c_bytes};
    for (int i = 0; i < 3; i++)
        if (!(bytes[i] > 0 && bytes[i] <= 16)) return 0;
    if (!(gemm->source_bytes >= 0 && gemm->source_bytes <= 16 && gemm->copies >= 0)) return 0;
    return gemm->m >= 1 && gemm->m <= most && gemm->n >= 1 && gemm->n <= most && gemm->k >= 1 &&
           gemm->k <= most && gemm->type >= 0 && gemm->type < HDA_TYPE_COUNT;
}

static int64_t cause(const plan_t *p, double overhead) {
    const double most = hda_fmax(p->compute, hda_fmax(p->l2, p->dram));
    if (overhead + p->latency > most) return HDA_KERNEL_LATENCY;
    if (p->compute == most) return HDA_KERNEL_COMPUTE;
    return p->dram == most ? HDA_KERNEL_DRAM : HDA_KERNEL_L2;
}

hda_status_t hda_gpu_gemm(const hda_gpu_t *gpu, const hda_gemm_case_t *gemm, hda_kernel_t *kernel) {
    if (!valid(gemm)) return HDA_E_RANGE;
    const int64_t type = hda_gpu_type(gpu, gemm->type);
    if (!(gpu->macs[type] > 0)) return HDA_E_UNDEFINED;
    const hda_gpu_gemm_t *constants = &gpu->gemm;
    work_t w = {.gpu = gpu, .m = (double)gemm->m, .n = (double)gemm->n, .k = (double)gemm->k};
    w.a = gemm->a_bytes, w.b = gemm->b_bytes, w.c = gemm->c_bytes;
    w.k_step = 128 / hda_fmax(w.a, w.b);
    w.macs = gpu->macs[type] * gpu->clock;
    w.load = constants->load * gpu->macs[HDA_TYPE_BF16] / 1024 * gpu->clock;
    w.slow = type == HDA_TYPE_BF16 ? 1 : constants->narrow;
    w.l2_rate = gpu->l2_bandwidth * constants->l2_share;
    w.dram_rate = gpu->dram_bandwidth * constants->dram_share;
    const double a = w.m * w.k * w.a, b = w.n * w.k * w.b, c = w.m * w.n * w.c;
    const double held = gpu->l2_size * constants->l2_held;
    w.moved = a + b + c;
    w.reads = a * (1 - hit(w.moved, held));
    w.reads += gemm->copies > 0 ? b * (1 - hit(a + c + gemm->copies * b, held)) : b;
    w.writes = c * (1 - hit(w.moved, held));
    w.burst = c;
    w.fits = a + b < 0.7 * gpu->l2_size;
    w.latency = gpu->l2_latency + (gpu->dram_latency - gpu->l2_latency) * w.reads / (a + b);

    double before = 0;
    if (gemm->source_bytes > 0) {
        const double converted = w.m * w.k * (gemm->source_bytes + w.a);
        const double dram = converted * (1 - hit(w.moved + converted, held)) / w.dram_rate;
        before = constants->convert * gpu->launch + hypot(converted / w.l2_rate, dram);
        w.other = constants->convert_split * gpu->launch;
        w.scaled = constants->fine > 0;
    }
    plan_t best = {.time = INFINITY};
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        const tile_t *tile = &tiles[i];
        if (tile->fine && constants->fine == 0) continue;
        const int large = tile->m >= 2 * w.m + 16 || tile->n >= hda_fmax(2 * w.n, 33);
        if (large && !(w.scaled && is_direct(&w, tile))) continue;
        try_tile(&w, tile, &best);
    }
    if (gemm->m == 1 && !w.scaled) {
        const plan_t p = without_tensor_cores(&w);
        if (p.time < best.time) best = p;
    }
    *kernel = (hda_kernel_t){.launch = gpu->launch, .macs = w.m * w.n * w.k};
    kernel->dram_bytes = w.reads + w.writes;
    /* every block reads its strips; the parts of a split k are written and read in fp32 */
    kernel->l2_bytes = a * ceil(w.n / best.tile_n) + b * ceil(w.m / best.tile_m) + c +
                       (best.split > 1 ? 2 * 4 * best.split * w.m * w.n : 0) +
                       w.m * w.k * (gemm->source_bytes > 0 ? gemm->source_bytes + w.a : 0);
    if (best.tile_n == 1) kernel->l2_bytes = w.moved;
    const double kept = gemm->copies > 0 ? gpu->l2_size / gemm->copies : 0;
    const double cold = hda_fmax(b - kept, hda_fmax(a + b + c - gpu->l2_size, 0));
    kernel->bound = hda_fmax(kernel->macs / (w.macs * gpu->sm_count), cold / gpu->dram_bandwidth);
    kernel->time = hda_fmax(gpu->launch + before + best.time, kernel->bound);
    kernel->compute = best.compute, kernel->dram = best.dram, kernel->l2 = best.l2;
    kernel->tile_m = best.tile_m, kernel->tile_n = best.tile_n;
    kernel->split = best.split, kernel->waves = best.waves;
    kernel->cause = cause(&best, gpu->launch + before);
    return HDA_OK;
}
