/* Status codes and small helpers shared by every kernel. The core keeps no globals and does no I/O. */
#ifndef HDA_H
#define HDA_H

#include <stdint.h>

typedef enum {
    HDA_OK = 0,
    HDA_E_RANGE = 1,     /* an argument is outside its documented range */
    HDA_E_OVERFLOW = 2,  /* a count does not fit in 63 bits */
    HDA_E_MEMORY = 3,    /* an allocation failed */
    HDA_E_ROUTE = 4,     /* a message has no route */
    HDA_E_DEADLOCK = 5,  /* a message waits for one that never completes */
    HDA_E_STEP = 6,      /* the step holds more than the program was created for */
    HDA_E_STOPPED = 7,   /* the caller asked to stop */
    HDA_E_LONG = 8,      /* more work than the caller allowed */
    HDA_E_UNDEFINED = 9, /* the reference divides by zero here */
    HDA_E_GRID = 10,     /* the step lies outside the operator tables */
} hda_status_t;

/* A sentence that describes a status code; never NULL. */
const char *hda_status_str(int status);

/* Ceiling division for a >= 0, b > 0. */
static inline int64_t hda_ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }

static inline int64_t hda_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t hda_max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline double hda_fmin(double a, double b) { return a < b ? a : b; }
static inline double hda_fmax(double a, double b) { return a > b ? a : b; }

/* Share of `total` items that part `index` of `parts` receives; larger shares come first. */
static inline int64_t hda_share(int64_t total, int64_t parts, int64_t index) {
    return total / parts + (index < total % parts);
}

#endif
