/* Shared by the files that turn operators into service demands. */
#ifndef HDA_RESOLVE_H
#define HDA_RESOLVE_H

#include "engine.h"

#define ACCUMULATOR_BYTES 4.0 /* partial sums are fp32 */
#define TRY(call)                              \
    do {                                       \
        const hda_status_t status_ = (call);   \
        if (status_ != HDA_OK) return status_; \
    } while (0)

/* Raise a unit's time to what the NoC port or global memory needs to feed it. */
void resolve_feed(work_t *work, int unit, double port, double global);

/* Bytes of local memory for multiply-accumulates of the arrays and of the MAC trees: an activation read feeds the columns of an array, and a
 * partial sum, in fp32, is read and written once for its rows. A tree reads one operand for each, and the other once for all lanes. Weights
 * that the arrays load, `loaded` bytes, are read once. */
static inline double resolve_operand_bytes(const hda_device_t *device, const double macs[2],
                                           double loaded) {
    const double b = device->activation_bytes, lanes = (double)hda_max64(device->tree.lanes, 1);
    return loaded +
           macs[0] * (b / (double)device->array.cols +
                      2 * ACCUMULATOR_BYTES / (double)device->array.rows) +
           macs[1] * b * (1 + 1 / lanes);
}

/* The least time of a transfer: through NoC ports and through global memory. */
void resolve_feed_time(work_t *work, double port, double global);

/* The collective between devices that follows an operator over `rows` rows. */
hda_status_t resolve_sync(hda_program_t *program, const hda_op_t *op, int64_t rows, int estimate,
                          work_t *work);

/* Resolve an operator on the given number of cores. `demand` is what the operator's own file needs to know. */
typedef hda_status_t (*resolver_t)(hda_program_t *program, const hda_op_t *op, const void *demand,
                                   int64_t cores, int64_t core, int estimate, work_t *work);

/* Resolve on the number of cores, of those with at most three significant bits (and all of them if they share a global memory), for which the
 * later of the units plus the exchange between cores is least: more cores compute less each but talk longer. */
hda_status_t resolve_on_best_cores(hda_program_t *program, const hda_op_t *op, const void *demand,
                                   int64_t core, int estimate, resolver_t resolver, work_t *work);

/* Time to bring `bytes` of weights to every core of a column group, which share them, in a pipelined chain of messages. */
hda_status_t resolve_broadcast(hda_program_t *program, grid_t grid, double bytes, int estimate,
                               double *seconds);

/* resolve_split.c: whether the input slice and accumulators fit, the demands, and the mapping of a row-split GEMM */
int resolve_can_split(const hda_device_t *device, const hda_op_t *op, int64_t rows, grid_t grid);
hda_status_t resolve_split(hda_program_t *program, const hda_op_t *op, int64_t rows, grid_t grid,
                           int64_t core, int estimate, work_t *work);
void resolve_split_mapping(const hda_device_t *device, const hda_op_t *op, int64_t rows,
                           grid_t grid, int64_t core, hda_mapping_t *mapping);

/* resolve_gemm.c and resolve_attention.c */
hda_status_t resolve_linear(hda_program_t *program, const hda_op_t *op, int64_t rows, grid_t grid,
                            int64_t core, int estimate, work_t *work);
hda_status_t resolve_experts(hda_program_t *program, const hda_op_t *op, int64_t rows, int64_t core,
                             int estimate, work_t *work);
hda_status_t resolve_prefill(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                             int64_t core, int estimate, work_t *work);
hda_status_t resolve_decode(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                            int64_t core, int estimate, work_t *work);

/* resolve_gpu.c: an operator as a GPU's kernel */
hda_status_t resolve_kernel(hda_program_t *program, const hda_op_t *op, const rows_t *rows,
                            int64_t op_rows, work_t *work);

#endif
