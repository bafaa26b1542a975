/* DRAM: sustained bandwidth as a share of the peak. */
#ifndef HDA_DRAM_H
#define HDA_DRAM_H

#include "hda.h"

typedef enum {
    HDA_DRAM_CONSTANT = 0, /* u = maximum */
    HDA_DRAM_LOG =
        1, /* u = clamp(slope * ln(x) + intercept, minimum, maximum), x = GB streamed by the step */
    HDA_DRAM_OVERHEAD = 2, /* u = maximum, and every layer adds `layer_time` seconds */
} hda_dram_kind_t;

typedef struct {
    int32_t kind;
    double bandwidth; /* bytes/s, peak */
    double slope, intercept, minimum, maximum;
    double layer_time; /* seconds */
} hda_dram_t;

/* Sustained share of the peak bandwidth in a step that streams `bytes`.
 *
 * The logarithmic form is ADOR's measured MAC-tree utilisation (papers.md 3.4: u(x) = 0.0825 ln(x) + 0.5625, cap 0.90, x in GB).
 * bytes / u(bytes) never falls when bytes rise as long as u > slope. Below that the share is held at `slope` (for 0.0825: under 3 MB).
 */
double hda_dram_utilization(const hda_dram_t *dram, double bytes);

#endif
