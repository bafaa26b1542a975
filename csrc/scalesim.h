/* SCALE-Sim 3.0.0, exactly: cycles, SRAM and DRAM accesses of one layer on one systolic array.
 *
 * No folds overlap here and SCALE-Sim's artefacts are kept on purpose; the engine's own timing is in systolic.h. The numbers are
 * those of running the package (PyPI scalesim 3.0.0), so that its reports can be compared column for column.
 *
 * A layer is a GEMM of ifmap m x k with filter k x n, mapped to a spatial extent Sr x Sc and a temporal one T:
 *
 *     dataflow  Sr  Sc  T   stationary   lines of a fold L
 *     ws        k   n   m   filter       2 rows + cols + T - 2
 *     is        k   m   n   ifmap        2 rows + cols + T - 2
 *     os        m   n   k   ofmap        rows + cols + T - 2
 *
 * in F = ceil(Sr / rows) ceil(Sc / cols) folds, column folds outermost. A line is what enters and leaves the array in one cycle
 * without stall: `rows` words of the operand that enters at the rows, `cols` words of the others.
 */
#ifndef HDA_SCALESIM_H
#define HDA_SCALESIM_H

#include "hda.h"

enum { HDA_WS, HDA_OS, HDA_IS };
enum { HDA_IFMAP, HDA_FILTER, HDA_OFMAP, HDA_OPERANDS };

/* One layer on one array. Words are SCALE-Sim's unit of data, cycles its unit of time. */
typedef struct {
    int32_t dataflow;   /* HDA_WS, HDA_OS or HDA_IS */
    int32_t user;       /* bandwidths are given (USER); else reads never stall (CALC) */
    int64_t rows, cols; /* of the array */
    int64_t m, n, k;
    int64_t buffer[HDA_OPERANDS];    /* words in each double buffer, at least 100 */
    int64_t bandwidth[HDA_OPERANDS]; /* DRAM words per cycle, used when `user` */
    /* A convolution, whose ifmap is read by overlapping windows; channels is 0 for a GEMM. Its m is the number of windows,
     * ceil((size - filter + stride) / stride) in each direction, n the filters, k = filter_h filter_w channels. */
    int64_t ifmap_h, ifmap_w, filter_h, filter_w, channels, stride;
} hda_scalesim_case_t;

typedef struct {
    int64_t status; /* hda_status_t of this case; nothing else is valid unless it is HDA_OK */
    int64_t total_cycles,
        stall_cycles;            /* as SCALE-Sim counts: total is the index of the last cycle */
    double mapping, utilization; /* means over folds, in SCALE-Sim's order of summation */
    int64_t sram_count[HDA_OPERANDS], sram_start[HDA_OPERANDS], sram_stop[HDA_OPERANDS];
    int64_t dram_count[HDA_OPERANDS], dram_start[HDA_OPERANDS], dram_stop[HDA_OPERANDS];
} hda_scalesim_result_t;

/* The closed forms alone: stall-free cycles F L - 1, folds, and what does not depend on the memories. */
typedef struct {
    int64_t cycles, folds;
    double mapping,
        utilization; /* Sr Sc / (F rows cols) and Sr Sc T / (F rows cols D), D = L, for ws and is L + cols - 1 */
    int64_t sram_count[HDA_OPERANDS];
} hda_scalesim_compute_t;

/* HDA_E_RANGE: a size below 1; HDA_E_OVERFLOW: a count that does not fit in 63 bits. */
hda_status_t hda_scalesim_compute(const hda_scalesim_case_t *layer, hda_scalesim_compute_t *out);

/* Scratch of one thread; grows with the largest convolution run in it, constant for GEMMs. NULL if out of memory. */
typedef struct hda_scalesim hda_scalesim_t;
hda_scalesim_t *hda_scalesim_create(void);
void hda_scalesim_destroy(hda_scalesim_t *scratch);

/* Everything SCALE-Sim reports. Time: a GEMM in CALC O(folds min(rows, cols) + drains), in USER O(lines + sets that its lines touch), a set
 * being a hundredth of a buffer; a convolution whose windows share words, or hang over the edge, O(words read) as well. A case of more than `max_lines` lines is refused (HDA_E_LONG); a nonzero *stop
 * ends the run with HDA_E_STOPPED. HDA_E_UNDEFINED: SCALE-Sim divides by zero (os, 1 x 1 x 1, on 1 x 1). */
hda_status_t hda_scalesim_run(hda_scalesim_t *scratch, const hda_scalesim_case_t *layer,
                              int64_t max_lines, const volatile int32_t *stop,
                              hda_scalesim_result_t *out);

#endif
