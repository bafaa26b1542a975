/* MAC tree: dot products that consume weights or keys as fast as DRAM delivers them. */
#ifndef HDA_MACTREE_H
#define HDA_MACTREE_H

#include "hda.h"

/* `lanes` trees of `width` multipliers each. With `lanes_split`, lanes that find no reuse work on other outputs; without, all lanes
 * hold the same weight and serve different rows (papers.md 3.3: the published 90 % needs the split). */
typedef struct {
    int64_t width, lanes;
    int32_t lanes_split;
} hda_tree_t;

/* Cycles of an m x k x n product, weights k x n streamed once for each pass over r rows.
 *
 * r lanes share a weight and serve r rows, lanes / r lanes serve different output columns:
 *
 *     cycles = min over r in 1, 2, 4, .. <= lanes of ceil(k / width) * ceil(n / (lanes / r)) * ceil(m / r)  +  depth
 *
 * depth = ceil(log2(width)) + 1 fills the adder tree. Zero sizes take zero cycles.
 */
hda_status_t hda_mt_gemm_cycles(const hda_tree_t *tree, int64_t m, int64_t k, int64_t n,
                                int64_t *cycles);

/* Cycles of decode attention of `tokens` cached tokens for one kv head shared by `group` query heads.
 *
 * Scores: tokens outputs, each a dot product over `key_dim`. Values: `value_dim` outputs, each a dot product over the tokens:
 *     hda_mt_gemm_cycles(group, key_dim, tokens) + hda_mt_gemm_cycles(group, tokens, value_dim)
 */
hda_status_t hda_mt_attention_cycles(const hda_tree_t *tree, int64_t group, int64_t key_dim,
                                     int64_t value_dim, int64_t tokens, int64_t *cycles);

/* Stages of the adder tree plus the multiplier: ceil(log2(width)) + 1. */
int64_t hda_mt_depth(const hda_tree_t *tree);

#endif
