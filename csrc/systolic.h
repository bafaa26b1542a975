/* Weight-stationary systolic array: the engine's timing, with double-buffered weights. */
#ifndef HDA_SYSTOLIC_H
#define HDA_SYSTOLIC_H

#include "hda.h"

/* `lanes` identical arrays of `rows` x `cols` multiply-accumulate cells in one core. */
typedef struct {
    int64_t rows, cols, lanes;
} hda_array_t;

/* Cycles of `folds` weight tiles through one core, each streaming m rows.
 *
 * A fold holds `rows` (of K) x `cols` (of N) weights. Weights of the next fold load while the current one streams, one array row
 * per cycle, so a fold occupies max(m, rows) cycles. The first load (rows) and the last drain, rows + cols - 2 cycles of skew,
 * are not hidden. With F folds for each lane:
 *
 *     cycles = rows + (F - 1) * max(m, rows) + m + rows + cols - 2,      F = ceil(folds / lanes)
 *
 * F = 1 is SCALE-Sim's weight-stationary fold, 2 rows + cols + m - 2 (SCALE-Sim v2/v3, `2R + C + T - 2`); without double buffering
 * every fold would cost that. Zero rows or folds take zero cycles.
 */
hda_status_t hda_sa_folds_cycles(const hda_array_t *array, int64_t m, int64_t folds,
                                 int64_t *cycles);

/* The same for an m x k x n GEMM: folds = ceil(k / rows) * ceil(n / cols). */
hda_status_t hda_sa_gemm_cycles(const hda_array_t *array, int64_t m, int64_t k, int64_t n,
                                int64_t *cycles);

#endif
