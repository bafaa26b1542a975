/* The part of a GEMM that one core does: columns between array and MAC tree, tiles of weights, room for activations. */
#ifndef HDA_GEMM_H
#define HDA_GEMM_H

#include "resolve.h"

/* Bytes of the weights that the arrays of a core hold. */
double gemm_tile_bytes(const hda_device_t *device, const hda_op_t *op);

/* Local memory for activations: what two weight tiles leave, but at least half. */
double gemm_activation_room(const hda_device_t *device, const hda_op_t *op);

/* Split n columns of an m x k by k x n product between array (in whole folds) and MAC tree so that the later of the two ends first: papers.md
 * 3.5's split by throughput, found by bisection because array time rises and tree time falls with the array's folds. Rows pass the
 * array in `row_tiles` tiles of up to `tile_rows`. `cycles` are those of array and tree. */
hda_status_t gemm_split_columns(const hda_device_t *device, int64_t m, int64_t k, int64_t n,
                                int64_t row_tiles, int64_t tile_rows, int64_t *sa_columns,
                                int64_t cycles[2]);

/* Columns whose results appear together: a fold of the array's, or one of each lane of the tree where it does all. */
int64_t gemm_output_step(const hda_device_t *device, int64_t sa_columns);

/* Times of both units, and of their tails: what follows the arrival of the last weights; m rows pass the array at once. */
void gemm_set_times(const hda_device_t *device, int64_t m, const int64_t cycles[2], work_t *work);

#endif
