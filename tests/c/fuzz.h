/* Driver of the fuzz programs: bytes -> numbers, in and out of range. Each program defines LLVMFuzzerTestOneInput.
 *
 *     fuzz FILE ...                                 run these inputs
 *     fuzz [--seed N] [--first N] [--count N] [--seconds S] [--loud 1]     run generated inputs, printing how many
 *
 * Built with a fuzzing engine (-DHDA_FUZZER -fsanitize=fuzzer) only the entry point remains.
 */
#ifndef HDA_FUZZ_H
#define HDA_FUZZ_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t seed = 1, current; /* of the generated input that runs */
static int loud;                   /* name every input before it runs */

static void report(void) {
    fprintf(stderr, "fuzz: input %llu of seed %llu\n", (unsigned long long)current,
            (unsigned long long)seed);
}

#define SANE(expression)                                                             \
    do {                                                                             \
        if (!(expression)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #expression); \
            report();                                                                \
            abort();                                                                 \
        }                                                                            \
    } while (0)

typedef struct {
    const uint8_t *data;
    size_t left;
    int tame; /* no odd values */
} bytes_t;

static inline uint8_t byte(bytes_t *in) {
    if (in->left == 0) return 0;
    in->left--;
    return *in->data++;
}

/* Mostly within low .. high, now and then anything. */
static inline int64_t integer(bytes_t *in, int64_t low, int64_t high) {
    static const int64_t odd[] = {0,
                                  -1,
                                  1,
                                  2,
                                  INT64_MAX,
                                  INT64_MIN,
                                  INT32_MAX,
                                  INT64_MAX / 2 + 1,
                                  (int64_t)1 << 20,
                                  ((int64_t)1 << 20) + 1,
                                  (int64_t)1 << 36,
                                  ((int64_t)1 << 38) - 1,
                                  (int64_t)1 << 40,
                                  1000003};
    const uint8_t choice = byte(in);
    if (choice > 250 && !in->tame) return odd[byte(in) % (sizeof odd / sizeof *odd)];
    const int64_t value = (int64_t)(choice & 1 ? byte(in) << 8 : 0) + byte(in);
    return low + value % (high - low + 1);
}

/* The same where large values would only take time. */
static inline int64_t small(bytes_t *in, int64_t low, int64_t high) {
    static const int64_t odd[] = {0, -1, INT64_MAX, INT64_MIN, ((int64_t)1 << 20) + 1};
    const uint8_t choice = byte(in);
    if (choice > 252 && !in->tame) return odd[byte(in) % (sizeof odd / sizeof *odd)];
    return low + byte(in) % (high - low + 1);
}

/* Mostly within low .. high (evenly in the exponent), now and then anything. */
static inline double number(bytes_t *in, double low, double high) {
    static const double odd[] = {0,      -1,   NAN,  INFINITY, -INFINITY, 1e-30, 1e30,
                                 5e-324, 1e31, 1e18, 1e-12,    0.3,       1,     1e300};
    const uint8_t choice = byte(in);
    if (choice > 250 && !in->tame) return odd[byte(in) % (sizeof odd / sizeof *odd)];
    return low * pow(high / low, (double)byte(in) / 255.0);
}

#ifndef HDA_FUZZER

static uint64_t next(uint64_t *state) { /* splitmix64 */
    uint64_t z = (*state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static void run_generated(uint64_t index) {
    static uint8_t data[4096];
    uint64_t state = seed * 0x2545F4914F6CDD1DULL + index;
    next(&state);
    const uint64_t mask =
        next(&state) % 4; /* of all bytes, none, one or three in four are below 128 */
    for (size_t i = 0; i < sizeof data; i++) {
        const uint64_t r = next(&state);
        data[i] = (uint8_t)(r % 4 < mask ? r >> 8 & 127 : r >> 8);
    }
    data[0] = (uint8_t)next(&state);
    current = index;
    if (loud) report();
    LLVMFuzzerTestOneInput(data, sizeof data);
}

extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static int run_file(const char *name) {
    FILE *file = fopen(name, "rb");
    if (file == NULL) {
        perror(name);
        return 1;
    }
    static uint8_t data[1 << 16];
    LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof data, file));
    fclose(file);
    return 0;
}

int main(int count, char **arguments) {
    uint64_t least = 0, first = 0;
    double seconds = 0;
    int i = 1;
    for (; i + 1 < count && strncmp(arguments[i], "--", 2) == 0; i += 2) {
        if (strcmp(arguments[i], "--seed") == 0) seed = strtoull(arguments[i + 1], NULL, 10);
        if (strcmp(arguments[i], "--count") == 0) least = strtoull(arguments[i + 1], NULL, 10);
        if (strcmp(arguments[i], "--first") == 0) first = strtoull(arguments[i + 1], NULL, 10);
        if (strcmp(arguments[i], "--loud") == 0) loud = atoi(arguments[i + 1]);
        if (strcmp(arguments[i], "--seconds") == 0) seconds = strtod(arguments[i + 1], NULL);
    }
    if (i < count) {
        for (; i < count; i++)
            if (run_file(arguments[i])) return 1;
        return 0;
    }
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(report);
    const time_t start = time(NULL);
    uint64_t done = 0;
    while (done < least || difftime(time(NULL), start) < seconds) run_generated(first + done++);
    printf("%llu inputs\n", (unsigned long long)done);
    return 0;
}

#endif

#endif
