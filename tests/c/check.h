/* Checks for the C tests: a failure prints file, line and expression; `failures` counts them. */
#ifndef HDA_CHECK_H
#define HDA_CHECK_H

#include <math.h>
#include <stdio.h>

static int failures = 0;

#define CHECK(expression)                                                            \
    do {                                                                             \
        if (!(expression)) {                                                         \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #expression); \
            failures++;                                                              \
        }                                                                            \
    } while (0)

#define CHECK_INT(actual, expected)                                                                \
    do {                                                                                           \
        const long long a_ = (long long)(actual), e_ = (long long)(expected);                      \
        if (a_ != e_) {                                                                            \
            fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #actual, a_, e_); \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

#define CHECK_NEAR(actual, expected, tolerance)                                                 \
    do {                                                                                        \
        const double a_ = (actual), e_ = (expected);                                            \
        if (!(fabs(a_ - e_) <= (tolerance))) {                                                  \
            fprintf(stderr, "%s:%d: %s is %.12g, not %.12g\n", __FILE__, __LINE__, #actual, a_, \
                    e_);                                                                        \
            failures++;                                                                         \
        }                                                                                       \
    } while (0)

#endif
