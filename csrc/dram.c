#include "dram.h"

#include <math.h>

double hda_dram_utilization(const hda_dram_t *dram, double bytes) {
    if (dram->kind != HDA_DRAM_LOG) return dram->maximum;
    const double floor = hda_fmax(dram->minimum, dram->slope);
    if (!(bytes > 0)) return hda_fmin(floor, dram->maximum);
    const double fit = dram->slope * log(bytes * 1e-9) + dram->intercept;
    return hda_fmin(hda_fmax(fit, floor), dram->maximum);
}
