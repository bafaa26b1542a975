#include "mactree.h"

int64_t hda_mt_depth(const hda_tree_t *tree) {
    int64_t depth = 1;
    for (int64_t rest = tree->width - 1; rest > 0; rest /= 2) depth++;
    return depth;
}

hda_status_t hda_mt_gemm_cycles(const hda_tree_t *tree, int64_t m, int64_t k, int64_t n,
                                int64_t *cycles) {
    if (tree->width < 1 || tree->lanes < 1 || m < 0 || k < 0 || n < 0) return HDA_E_RANGE;
    *cycles = 0;
    if (m == 0 || k == 0 || n == 0) return HDA_OK;
    int64_t best = INT64_MAX;
    const int64_t deep = hda_ceil_div(k, tree->width);
    for (int64_t reuse = tree->lanes_split ? 1 : tree->lanes;; reuse *= 2) {
        const int64_t columns = tree->lanes_split ? tree->lanes / reuse : 1;
        int64_t passes;
        if (!__builtin_mul_overflow(hda_ceil_div(n, columns), hda_ceil_div(m, reuse), &passes) &&
            !__builtin_mul_overflow(passes, deep, &passes) && passes < best)
            best = passes;
        if (reuse >= m || reuse > tree->lanes / 2) break;
    }
    if (best > INT64_MAX - 64) return HDA_E_OVERFLOW;
    *cycles = best + hda_mt_depth(tree);
    return HDA_OK;
}

hda_status_t hda_mt_attention_cycles(const hda_tree_t *tree, int64_t group, int64_t key_dim,
                                     int64_t value_dim, int64_t tokens, int64_t *cycles) {
    int64_t scores, values;
    hda_status_t status = hda_mt_gemm_cycles(tree, group, key_dim, tokens, &scores);
    if (status == HDA_OK) status = hda_mt_gemm_cycles(tree, group, tokens, value_dim, &values);
    if (status != HDA_OK) return status;
    if (__builtin_add_overflow(scores, values, cycles)) return HDA_E_OVERFLOW;
    return HDA_OK;
}
