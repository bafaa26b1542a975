/* An element-wise kernel or a norm. Times in seconds.
 *
 *   time   = launch + max(body, rows)
 *   body   = max(memory, work), or memory + work where a row is reduced: all of it is read before anything is written, so that the two
 *            do not overlap (a block barrier between passes, and few blocks on an SM to fill the gap)
 *   memory = max((bytes - kept x L2) / (efficiency x DRAM), bytes / (l2 x L2 bandwidth)): L2 keeps some of what was read last and
 *            written last, whose way to DRAM falls into the next kernel's time
 *   work   = operations / (issue x SMs x clock) + exponentials
 *   rows   = ceil(width / 1024) steps of a block of width threads, 64 to 1024, each a load, what is done with it and a store, one
 *            after the other, in as many waves as 2048 threads an SM make of all blocks
 */
#include <math.h>

#include "gpu.h"

#define FEWEST 64.0
#define MOST 1024.0
#define RESIDENT 2048.0
#define LARGEST 1152921504606846976.0 /* 2^60 */

static int in_range(const hda_vector_case_t *v) {
    const double sizes[] = {v->read_bytes, v->write_bytes, v->ops, v->exps, v->rows, v->width};
    for (int i = 0; i < 6; i++) {
        if (!(sizes[i] >= 0 && sizes[i] <= LARGEST)) {
            return 0;
        }
    }
    return v->read_bytes + v->write_bytes >= 1;
}

hda_status_t hda_gpu_vector(const hda_gpu_t *gpu, const hda_vector_case_t *vector,
                            hda_kernel_t *kernel) {
    if (!in_range(vector)) {
        return HDA_E_RANGE;
    }
    const hda_gpu_vector_t *constants = &gpu->vector;
    const double bytes = vector->read_bytes + vector->write_bytes;
    const double cycles = gpu->sm_count * gpu->clock;
    const double exponentials = vector->exps / (gpu->exps * cycles);
    *kernel = (hda_kernel_t){.launch = gpu->launch, .split = 1, .l2_bytes = bytes};
    kernel->dram_bytes = hda_fmax(0, bytes - constants->kept * gpu->l2_size);
    kernel->dram = kernel->dram_bytes / (gpu->dram_bandwidth * constants->efficiency);
    kernel->l2 = bytes / (gpu->l2_bandwidth * constants->l2);
    kernel->compute = vector->ops / (constants->issue * cycles) + exponentials;
    kernel->waves = 1;
    double rows = constants->step;
    if (vector->rows > 0 && vector->width > 0) {
        kernel->tile_m = 1;
        kernel->tile_n = vector->width;
        const double threads = hda_fmin(MOST, hda_fmax(FEWEST, vector->width));
        kernel->waves = ceil(vector->rows * threads / (RESIDENT * gpu->sm_count));
        rows *= ceil(vector->width / MOST) * kernel->waves;
    }
    const double memory = hda_fmax(kernel->dram, kernel->l2);
    const double body =
        vector->reduced > 0 ? memory + kernel->compute : hda_fmax(memory, kernel->compute);
    kernel->bound = hda_fmax(hda_fmax(0, bytes - gpu->l2_size) / gpu->dram_bandwidth, exponentials);
    kernel->time = hda_fmax(kernel->bound, kernel->launch + hda_fmax(body, rows));
    kernel->cause = hda_fmax(rows, kernel->launch) > body ? HDA_KERNEL_LATENCY
                    : kernel->compute >= memory           ? HDA_KERNEL_COMPUTE
                    : kernel->dram >= kernel->l2          ? HDA_KERNEL_DRAM
                                                          : HDA_KERNEL_L2;
    return HDA_OK;
}
