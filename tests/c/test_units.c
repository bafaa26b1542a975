/* Systolic array, MAC tree, vector unit, DRAM, attention counts, status texts: values, edges, refusals. */
#include <string.h>

#include "attention.h"
#include "check.h"
#include "dram.h"
#include "mactree.h"
#include "systolic.h"
#include "vector.h"

static void systolic(void) {
    const hda_array_t array = {64, 32, 2};
    int64_t cycles = -1;
    /* ceil(100 / 64) * ceil(96 / 32) = 6 folds, 3 for each lane: 64 + 2 * max(10, 64) + 10 + 64 + 32 - 2 = 296 */
    CHECK_INT(hda_sa_gemm_cycles(&array, 10, 100, 96, &cycles), HDA_OK);
    CHECK_INT(cycles, 296);
    CHECK_INT(hda_sa_folds_cycles(&array, 1000, 1, &cycles), HDA_OK);
    CHECK_INT(cycles, 2 * 64 + 32 + 1000 - 2);
    const int64_t zeros[3][3] = {{0, 5, 5}, {5, 0, 5}, {5, 5, 0}};
    for (int i = 0; i < 3; i++) {
        cycles = -1;
        CHECK_INT(hda_sa_gemm_cycles(&array, zeros[i][0], zeros[i][1], zeros[i][2], &cycles),
                  HDA_OK);
        CHECK_INT(cycles, 0);
    }
    const hda_array_t bad[] = {{0, 1, 1}, {1, 0, 1}, {1, 1, 0}, {-4, 1, 1}, {INT64_MIN, 1, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(hda_sa_gemm_cycles(&bad[i], 1, 1, 1, &cycles), HDA_E_RANGE);
    CHECK_INT(hda_sa_gemm_cycles(&array, -1, 1, 1, &cycles), HDA_E_RANGE);
    CHECK_INT(hda_sa_gemm_cycles(&array, 1, -1, 1, &cycles), HDA_E_RANGE);
    CHECK_INT(hda_sa_gemm_cycles(&array, 1, 1, -1, &cycles), HDA_E_RANGE);
    CHECK_INT(hda_sa_folds_cycles(&array, 1, -1, &cycles), HDA_E_RANGE);
    const hda_array_t cell = {1, 1, 1};
    CHECK_INT(hda_sa_gemm_cycles(&cell, INT64_MAX, 1, 1, &cycles), HDA_E_OVERFLOW);
    CHECK_INT(hda_sa_gemm_cycles(&cell, 1, INT64_MAX, INT64_MAX, &cycles), HDA_E_OVERFLOW);
    CHECK_INT(hda_sa_gemm_cycles(&cell, INT64_MAX - 1, 1, 1, &cycles),
              HDA_OK); /* 1 + m + 1 + 1 - 2 */
    CHECK_INT(cycles, INT64_MAX);
    const hda_array_t vast = {INT64_MAX, INT64_MAX, 1};
    CHECK_INT(hda_sa_gemm_cycles(&vast, 1, 1, 1, &cycles), HDA_E_OVERFLOW);
}

static void mac_tree(void) {
    int64_t cycles = -1;
    const hda_tree_t split = {16, 16, 1}, shared = {16, 16, 0};
    /* m = 1: 16 columns at once: ceil(4096 / 16) * ceil(1000 / 16) + 5 = 256 * 63 + 5 */
    CHECK_INT(hda_mt_gemm_cycles(&split, 1, 4096, 1000, &cycles), HDA_OK);
    CHECK_INT(cycles, 16133);
    /* one column for 16 rows, of which one is there: 256 * 1000 + 5 */
    CHECK_INT(hda_mt_gemm_cycles(&shared, 1, 4096, 1000, &cycles), HDA_OK);
    CHECK_INT(cycles, 256005);
    CHECK_INT(hda_mt_gemm_cycles(&shared, 17, 4096, 1000, &cycles), HDA_OK);
    CHECK_INT(cycles, 2 * 256000 + 5);
    for (int64_t width = 1, depth = 1; depth <= 63; depth++) {
        const hda_tree_t tree = {width, 1, 1}, above = {width + (width < INT64_MAX), 1, 1};
        CHECK_INT(hda_mt_depth(&tree), depth); /* ceil(log2(2^(depth - 1))) + 1 */
        CHECK_INT(hda_mt_depth(&above), depth + 1);
        width = depth < 63 ? 2 * width : width;
        if (depth == 62) break;
    }
    const hda_tree_t widest = {INT64_MAX, INT64_MAX, 1};
    CHECK_INT(hda_mt_depth(&widest), 64);
    CHECK_INT(hda_mt_gemm_cycles(&widest, INT64_MAX, 1, 1, &cycles), HDA_OK);
    CHECK(cycles >= 64 + 1);
    CHECK_INT(hda_mt_gemm_cycles(&split, 0, 1, 1, &cycles), HDA_OK);
    CHECK_INT(cycles, 0);
    CHECK_INT(hda_mt_gemm_cycles(&split, 1, -1, 1, &cycles), HDA_E_RANGE);
    const hda_tree_t bad[] = {{0, 1, 1}, {1, 0, 1}, {-1, 1, 0}, {1, -1, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(hda_mt_gemm_cycles(&bad[i], 1, 1, 1, &cycles), HDA_E_RANGE);
    const hda_tree_t one = {1, 1, 1};
    CHECK_INT(hda_mt_gemm_cycles(&one, INT64_MAX, INT64_MAX, 1, &cycles), HDA_E_OVERFLOW);
    CHECK_INT(hda_mt_gemm_cycles(&one, INT64_MAX, 1, 1, &cycles), HDA_E_OVERFLOW);
    /* group 4, key 128, value 128, 1000 tokens on 16 x 16, r = 4: scores 8 * 250 + 5, values 63 * 32 + 5 */
    CHECK_INT(hda_mt_attention_cycles(&split, 4, 128, 128, 1000, &cycles), HDA_OK);
    CHECK_INT(cycles, 8 * 250 + 5 + 63 * 32 + 5);
    CHECK_INT(hda_mt_attention_cycles(&split, 4, 128, 128, 0, &cycles), HDA_OK);
    CHECK_INT(cycles, 0);
    CHECK_INT(hda_mt_attention_cycles(&split, -4, 128, 128, 1, &cycles), HDA_E_RANGE);
    CHECK_INT(hda_mt_attention_cycles(&one, INT64_MAX / 2, 1, 1, 1, &cycles),
              HDA_E_OVERFLOW); /* the sum */
}

static void vector_unit(void) {
    double cycles = -1;
    CHECK_INT(hda_vu_cycles(64, 1000, 8, &cycles), HDA_OK); /* ceil(8000 / 64) = 125 */
    CHECK_NEAR(cycles, 125, 0);
    CHECK_INT(hda_vu_cycles(64, 1001, 8, &cycles), HDA_OK);
    CHECK_NEAR(cycles, 126, 0);
    CHECK_INT(hda_vu_cycles(64, 0, 8, &cycles), HDA_OK);
    CHECK_NEAR(cycles, 0, 0);
    const double bad[] = {-1, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(hda_vu_cycles(64, bad[i], 1, &cycles), HDA_E_RANGE);
        CHECK_INT(hda_vu_cycles(64, 1, bad[i], &cycles), HDA_E_RANGE);
    }
    CHECK_INT(hda_vu_cycles(0, 1, 1, &cycles), HDA_E_RANGE);
    CHECK_INT(hda_vu_cycles(1, 1e300, 1e300, &cycles), HDA_E_OVERFLOW);
}

static void dram(void) {
    const hda_dram_t fit = {HDA_DRAM_LOG, 2e12, 0.0825, 0.5625, 0.05, 0.90, 0};
    CHECK_NEAR(hda_dram_utilization(&fit, 2.623e9), 0.642056,
               1e-6); /* 0.0825 * 0.964319 + 0.5625 */
    CHECK_NEAR(hda_dram_utilization(&fit, 59.92e9), 0.90, 1e-3);
    CHECK_NEAR(hda_dram_utilization(&fit, 1e12), 0.90, 0);
    CHECK_NEAR(hda_dram_utilization(&fit, 1), 0.0825, 0); /* held at the slope */
    CHECK_NEAR(hda_dram_utilization(&fit, 0), 0.0825, 0);
    CHECK_NEAR(hda_dram_utilization(&fit, NAN), 0.0825, 0);
    hda_dram_t other = fit;
    other.minimum = 0.3;
    CHECK_NEAR(hda_dram_utilization(&other, 1e6), 0.3, 0);
    other.kind = HDA_DRAM_CONSTANT;
    CHECK_NEAR(hda_dram_utilization(&other, 1e6), 0.9, 0);
    other.kind = HDA_DRAM_OVERHEAD;
    CHECK_NEAR(hda_dram_utilization(&other, 1e6), 0.9, 0);
}

static void attention(void) {
    CHECK_INT(hda_floor_sum(0, 1, 1, 1), 0);
    CHECK_INT(hda_floor_sum(4, 10, 6, 3), 3); /* 0 + 0 + 1 + 2: known answer of AtCoder's library */
    /* 256 tokens in tiles of 64, blocks of 64, nothing cached: 1 + 2 + 3 + 4 */
    CHECK_INT(hda_prefill_tiles(256, 0, 0, 64, 64), 10);
    CHECK_INT(hda_prefill_tiles(256, 64, 0, 64, 64), 14);
    CHECK_INT(hda_prefill_tiles(256, 0, 64, 64, 64),
              1 + 3 * 2); /* 64 + 64 - 1 keys touch 2 blocks */
    CHECK_INT(hda_prefill_tiles(0, 100, 0, 64, 64), 0);
    CHECK_INT(hda_prefill_tiles(-5, 100, 0, 64, 64), 0);
    CHECK_INT(hda_prefill_tiles(256, 0, INT64_MAX, 64, 64), 10); /* a window that cuts nothing */
    CHECK_NEAR(hda_prefill_pairs(4, 0, 0), 10, 0);
    CHECK_NEAR(hda_prefill_pairs(4, 2, 0), 3 + 4 + 5 + 6, 0);
    CHECK_NEAR(hda_prefill_pairs(4, 2, 4), 3 + 4 + 4 + 4, 0);
    CHECK_NEAR(hda_prefill_pairs(4, 100, 4), 16, 0);
    CHECK_NEAR(hda_prefill_pairs(0, 100, 4), 0, 0);
}

int main(void) {
    systolic();
    mac_tree();
    vector_unit();
    dram();
    attention();
    for (int status = -1; status <= HDA_E_STEP + 1; status++)
        CHECK(hda_status_str(status) != NULL && strlen(hda_status_str(status)) > 1);
    return failures != 0;
}
