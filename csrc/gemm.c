#include "gemm.h"

double gemm_tile_bytes(const hda_device_t *device, const hda_op_t *op) {
    return (double)(device->array.rows * device->array.cols * device->array.lanes) *
           op->weight_bytes;
}

double gemm_activation_room(const hda_device_t *device, const hda_op_t *op) {
    return hda_fmax(device->local_memory - 2 * gemm_tile_bytes(device, op),
                    device->local_memory / 2);
}

/* Array cycles of `columns` columns, with rows in tiles. */
static hda_status_t array_cycles(const hda_device_t *device, int64_t m, int64_t k, int64_t columns,
                                 int64_t row_tiles, int64_t tile_rows, int64_t *cycles) {
    const int64_t folds =
        hda_ceil_div(k, device->array.rows) * hda_ceil_div(columns, device->array.cols) * row_tiles;
    return hda_sa_folds_cycles(&device->array, hda_min64(m, tile_rows), folds, cycles);
}

hda_status_t gemm_split_columns(const hda_device_t *device, int64_t m, int64_t k, int64_t n,
                                int64_t row_tiles, int64_t tile_rows, int64_t *sa_columns,
                                int64_t cycles[2]) {
    const int64_t width = device->array.cols, folds = hda_ceil_div(n, width);
    *sa_columns = n;
    cycles[1] = 0;
    if (device->tree.lanes == 0 || n == 0 || m == 0)
        return array_cycles(device, m, k, n, row_tiles, tile_rows, &cycles[0]);
    int64_t low = 0,
            high = folds; /* smallest number of folds at which the array is the later one */
    int64_t sa, mt;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        TRY(array_cycles(device, m, k, hda_min64(n, middle * width), row_tiles, tile_rows, &sa));
        TRY(hda_mt_gemm_cycles(&device->tree, m, k, n - hda_min64(n, middle * width), &mt));
        if (sa >= mt)
            high = middle;
        else
            low = middle + 1;
    }
    int64_t best = INT64_MAX;
    for (int64_t f = hda_max64(low - 1, 0); f <= low; f++) {
        const int64_t columns = hda_min64(n, f * width);
        TRY(array_cycles(device, m, k, columns, row_tiles, tile_rows, &sa));
        TRY(hda_mt_gemm_cycles(&device->tree, m, k, n - columns, &mt));
        if (hda_max64(sa, mt) < best) {
            best = hda_max64(sa, mt);
            *sa_columns = columns;
            cycles[0] = sa;
            cycles[1] = mt;
        }
    }
    return HDA_OK;
}

int64_t gemm_output_step(const hda_device_t *device, int64_t sa_columns) {
    if (sa_columns == 0 && device->tree.lanes > 0) return device->tree.lanes;
    return device->array.cols * device->array.lanes;
}

void gemm_set_times(const hda_device_t *device, int64_t m, const int64_t cycles[2], work_t *work) {
    work->unit[ENGINE_SA] = (double)cycles[0] / device->frequency;
    work->unit[ENGINE_MT] = (double)cycles[1] / device->frequency;
    work->compute = hda_fmax(work->unit[ENGINE_SA], work->unit[ENGINE_MT]);
    const int64_t fold = hda_max64(m, device->array.rows) + device->array.rows + device->array.cols;
    work->tail[ENGINE_SA] = hda_fmin((double)fold / device->frequency, work->unit[ENGINE_SA]);
    work->tail[ENGINE_MT] =
        device->tree.lanes ? (double)hda_mt_depth(&device->tree) / device->frequency : 0;
}
