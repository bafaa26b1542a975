/* Tables of a convolution's ifmap addresses, kept between cases. Internal. */
#ifndef HDA_SCALESIM_CONV_H
#define HDA_SCALESIM_CONV_H

#include "scalesim_memory.h"

/* Words of the largest convolution: more would need over 10 GiB of tables. */
#define HDA_CONV_MOST ((int64_t)1 << 30)

/* Whether windows share words or hang over the edge; if not, the convolution is read like the GEMM of its size. */
bool hda_conv_shares(const hda_scalesim_case_t *layer);

/* Fills the address tables; `conv` must be zeroed before its first use, and freed after its last. */
hda_status_t hda_conv_prepare(hda_conv_t *conv, const hda_scalesim_case_t *layer,
                              const volatile int32_t *stop);

/* For USER: the sets of each word; gives the reader its words, which hda_reader_start needs, and `conv`. */
hda_status_t hda_conv_sets(hda_conv_t *conv, hda_reader_t *reader, int64_t buffer,
                           const volatile int32_t *stop);

void hda_conv_free(hda_conv_t *conv);

#endif
