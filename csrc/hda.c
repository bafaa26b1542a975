#include "hda.h"

const char *hda_status_str(int status) {
    switch (status) {
        case HDA_OK: return "ok";
        case HDA_E_RANGE: return "an argument is out of range";
        case HDA_E_OVERFLOW: return "a count does not fit in 63 bits";
        case HDA_E_MEMORY: return "out of memory";
        case HDA_E_ROUTE: return "a message has no route";
        case HDA_E_DEADLOCK: return "a message waits for one that never completes";
        case HDA_E_STEP: return "the step holds more than the program was created for";
        case HDA_E_STOPPED: return "stopped";
        case HDA_E_LONG: return "more work than allowed";
        case HDA_E_UNDEFINED: return "the reference divides by zero here";
        case HDA_E_GRID: return "the step lies outside the operator tables";
        default: return "unknown status";
    }
}
