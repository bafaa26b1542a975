#include <math.h>

#include "gpu.h"

/* Tile: rows of tokens, columns of weights; fine ones where the tensor cores take any multiple of 8 tokens. */
typedef struct {
    double m, n;
    int fine;
} tile_t;

static const tile_t tiles[] = {
    {16, 32, 0},   {32, 32, 0},  {64, 32, 0},   {16, 64, 0},   {32, 64, 0},   {64, 64, 0},
    {128, 64, 0},  {256, 64, 0}, {16, 128, 0},  {32, 128, 0},  {64, 128, 0},  {128, 128, 0},
    {256, 128, 0}, {64, 256, 1}, {128, 256, 0}, {192, 128, 1}, {192, 192, 1},
};

typedef struct {
    const hda_gpu_t *gpu;
    double m, n, k, a, b, c; /* elements and bytes per element */
    double macs;             /* per SM and second */
    double k_step;           /* elements */
    double latency, sm_read; /* seconds; bytes per second */
    double read_dram, l2_bw, dram_bw;
    double unique, write_dram, fits;
} work_t;

typedef struct {
    double time, compute, dram, l2, tile_m, tile_n, split, waves;
} plan_t;

static double clamp(double x, double low, double high) { return fmin(fmax(x, low), high); }

static double join(double a, double b, double c) {
    a *= a;
    b *= b;
    c *= c;
    return sqrt(sqrt(a * a + b * b + c * c));
}

static plan_t plan(const work_t *w, const tile_t *t0, double split, double resident_limit) {
    const hda_gpu_t *g = w->gpu;
    const hda_gpu_gemm_t *q = &g->gemm;
    double sms = g->sm_count;
    tile_t tt = *t0;
    double rows = ceil(w->m / tt.m), cols = ceil(w->n / tt.n);
    if (q->fine > 0) tt.m = fmax(8 * ceil(w->m / rows / 8), 16);
    const tile_t *t = &tt;
    double blocks = rows * cols * split;
    double per_sm = ceil(blocks / sms);
    double resident = fmin(resident_limit, per_sm);
    double step_bytes = (t->m * w->a + t->n * w->b) * w->k_step;
    double stages = clamp(floor(g->shared_memory / (resident * step_bytes)), 1, q->stages);
    double steps = ceil(w->k / split / w->k_step);
    double product = t->m * t->n * w->k_step / (w->macs * q->efficiency);
    double feed = q->feed * (t->m + t->n) / g->clock;
    double read = step_bytes / w->sm_read;
    double work = fmax(product + feed, read) + q->step / g->clock / resident;
    double wait = w->latency / stages;
    double rounds = floor(per_sm / resident), rest = per_sm - rounds * resident;
    double loop = rounds * fmax(resident * work, wait);
    if (rest > 0) loop += fmax(rest * work, wait);
    double turns = rest > 0 ? rounds + 1 : rounds;
    plan_t p;
    double tile_out = t->m * t->n * (split > 1 ? 4 : w->c) / w->sm_read;
    double ends = w->latency - g->l2_latency + resident * tile_out;
    double between = (turns - 1) * (w->latency + resident * tile_out) * q->turn;
    p.compute = loop * steps + between;
    /* L2: every block reads its strips */
    double outputs = w->m * w->n;
    double split_bytes = split > 1 ? 2 * split * 4 * outputs : 0;
    p.l2 = w->unique / w->l2_bw;
    /* DRAM: strips of a wave, near square */
    double reads = w->read_dram;
    if (!(w->fits > 0)) {
        double wave = fmin(sms * resident, rows * cols);
        double high = clamp(sqrt(wave * t->n / t->m), 1, rows);
        double wide = fmin(wave / high, cols);
        high = fmin(wave / wide, rows);
        double waves = fmax(rows * cols / wave, 1);
        double strips = waves * (high * t->m * w->a + wide * t->n * w->b) * w->k;
        reads = fmax(reads, strips);
    }
    p.dram = (reads + w->write_dram) / w->dram_bw;
    p.time = join(p.compute, p.l2, p.dram) + ends;
    if (split > 1) p.time += q->split + split_bytes / w->l2_bw;
    p.tile_m = t->m;
    p.tile_n = t->n;
    p.split = split;
    p.waves = blocks / (sms * resident);
    return p;
}

hda_status_t hda_gpu_gemm(const hda_gpu_t *gpu, const hda_gemm_case_t *gemm, hda_kernel_t *kernel) {
    const hda_gpu_gemm_t *q = &gpu->gemm;
    work_t w = {.gpu = gpu};
    w.m = (double)gemm->m;
    w.n = (double)gemm->n;
    w.k = (double)gemm->k;
    w.a = gemm->a_bytes;
    w.b = gemm->b_bytes;
    w.c = gemm->c_bytes;
    w.macs = gpu->macs[gemm->type] * gpu->clock;
    w.k_step = 128 / fmax(w.a, w.b);
    w.sm_read = q->sm_bytes * gpu->clock;
    w.l2_bw = gpu->l2_bandwidth * q->l2_share;
    w.dram_bw = gpu->dram_bandwidth * q->dram_share;
    double a = w.m * w.k * w.a, b = w.n * w.k * w.b, c = w.m * w.n * w.c;
    double held = gpu->l2_size * q->l2_held;
    double own = a + b + c;
    double b_hit = clamp((1.15 * held - (gemm->copies > 0 ? own + (gemm->copies - 1) * b : INFINITY)) / (0.15 * held), 0, 1);
    double ac_hit = clamp((1.15 * held - own) / (0.15 * held), 0, 1);
    w.unique = own;
    w.read_dram = a * (1 - ac_hit) + b * (1 - b_hit);
    w.write_dram = c;
    w.fits = a + b < 0.7 * gpu->l2_size ? 1 : 0;
    w.latency = gpu->l2_latency + (gpu->dram_latency - gpu->l2_latency) * (w.read_dram / (a + b));
    plan_t best = {.time = INFINITY};
    for (unsigned i = 0; i < sizeof tiles / sizeof *tiles; i++) {
        const tile_t *t = &tiles[i];
        if (t->fine && q->fine == 0) continue;
        if (t->m >= 2 * w.m + 16 || t->n >= 2 * w.n) continue;
        double registers = t->m * t->n * 4 + 32768 * (t->m * t->n > 8192 ? 2 : 1);
        double resident = clamp(floor(gpu->registers / registers), 1, 4);
        double base = ceil(w.m / t->m) * ceil(w.n / t->n);
        if (base * t->m * t->n * w.k / (gpu->sm_count * w.macs * q->efficiency) > best.time)
            continue;
        plan_t p = plan(&w, t, 1, resident);
        if (p.time < best.time) best = p;
        double steps = ceil(w.k / w.k_step);
        double fill = fmin(fmin(floor(gpu->sm_count / base), floor(steps / 2)), 32);
        double splits[5] = {fill, floor(fill / 2), 2, 3, 4};
        for (int j = 0; j < 5; j++) {
            if (splits[j] < 2 || (j == 1 && splits[j] < 2) ||
                (j >= 2 && (splits[j] <= fill || steps < 32 * splits[j])))
                continue;
            p = plan(&w, t, splits[j], resident);
            if (p.time < best.time) best = p;
        }
    }
    if (gemm->m == 1) { /* without tensor cores */
        plan_t p = {.tile_m = w.m, .tile_n = 1, .split = 1, .waves = 1};
        p.compute = w.m * w.n * w.k / (gpu->sm_count * gpu->lanes * gpu->clock * 0.25);
        p.l2 = own / fmin(w.l2_bw, w.sm_read * gpu->sm_count);
        p.dram = (w.read_dram + w.write_dram) / w.dram_bw;
        p.time = w.latency - gpu->l2_latency + join(p.compute, p.l2, p.dram);
        if (p.time < best.time) best = p;
    }
    double before = 0;
    kernel->launch = gpu->launch;
    kernel->time = gpu->launch + best.time + before;
    kernel->compute = best.compute;
    kernel->dram = best.dram;
    kernel->l2 = best.l2;
    kernel->tile_m = best.tile_m;
    kernel->tile_n = best.tile_n;
    kernel->split = best.split;
    kernel->waves = best.waves;
    kernel->macs = w.m * w.n * w.k;
    kernel->dram_bytes = own;
    kernel->bound = fmax(kernel->macs / (w.macs * gpu->sm_count), (w.read_dram + w.write_dram) / gpu->dram_bandwidth);
    kernel->cause = HDA_KERNEL_COMPUTE;
    return HDA_OK;
}
