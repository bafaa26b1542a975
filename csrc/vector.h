/* Vector unit: norms, softmax, rotary, activations, residuals, sampling. */
#ifndef HDA_VECTOR_H
#define HDA_VECTOR_H

#include "hda.h"

/* Cycles to apply `ops` operations to each of `elements` elements on `width` lanes, one operation per lane and cycle:
 * ceil(elements * ops / width), and zero for no elements. Operation counts per element are data of the compiler, with derivations.
 */
hda_status_t hda_vu_cycles(int64_t width, double elements, double ops, double *cycles);

#endif
