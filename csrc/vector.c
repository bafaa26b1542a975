#include "vector.h"

#include <math.h>

hda_status_t hda_vu_cycles(int64_t width, double elements, double ops, double *cycles) {
    if (width < 1 || !(elements >= 0) || !(ops >= 0) || isinf(elements) || isinf(ops))
        return HDA_E_RANGE;
    *cycles = ceil(elements * ops / (double)width);
    return isinf(*cycles) ? HDA_E_OVERFLOW : HDA_OK;
}
