#include "systolic.h"

hda_status_t hda_sa_folds_cycles(const hda_array_t *array, int64_t m, int64_t folds,
                                 int64_t *cycles) {
    if (array->rows < 1 || array->cols < 1 || array->lanes < 1 || m < 0 || folds < 0)
        return HDA_E_RANGE;
    *cycles = 0;
    if (m == 0 || folds == 0) return HDA_OK;
    const int64_t per_lane = hda_ceil_div(folds, array->lanes);
    int64_t body, edge;
    if (__builtin_mul_overflow(per_lane - 1, hda_max64(m, array->rows), &body) ||
        __builtin_mul_overflow(2, array->rows - 1, &edge) ||
        __builtin_add_overflow(edge, array->cols, &edge) ||
        __builtin_add_overflow(edge, m, &edge) || __builtin_add_overflow(body, edge, cycles))
        return HDA_E_OVERFLOW;
    return HDA_OK;
}

hda_status_t hda_sa_gemm_cycles(const hda_array_t *array, int64_t m, int64_t k, int64_t n,
                                int64_t *cycles) {
    if (array->rows < 1 || array->cols < 1 || k < 0 || n < 0) return HDA_E_RANGE;
    int64_t folds;
    if (__builtin_mul_overflow(hda_ceil_div(k, array->rows), hda_ceil_div(n, array->cols), &folds))
        return HDA_E_OVERFLOW;
    return hda_sa_folds_cycles(array, m, folds, cycles);
}
