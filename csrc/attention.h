/* Attention: how many tiles of scores a step holds. Timing belongs to the units; counting belongs here. */
#ifndef HDA_ATTENTION_H
#define HDA_ATTENTION_H

#include "hda.h"

/* Sum over i = 0 .. n - 1 of floor((a * i + b) / m) for n, a, b >= 0 and m >= 1, in O(log) steps (Euclid-like reduction). */
int64_t hda_floor_sum(int64_t n, int64_t m, int64_t a, int64_t b);

/* Tiles of scores of one kv head in a causal prefill of `tokens` new tokens after `past` cached ones.
 *
 * Queries come in tiles of `tile_tokens`, keys in blocks of `block`; a tile meets every block that holds a key its last query may see,
 * and, with `window` > 0, that its first query may still see. Blocks wholly above the diagonal are skipped:
 *
 *     sum over tiles of ceil(min(end_i, window + tile_tokens - 1) / block),    end_i = past + min((i + 1) * tile_tokens, tokens)
 *
 * For past, window >= 0 and tile_tokens, block >= 1; tokens x (past + tokens) must stay below 2^62. No tokens, no tiles.
 */
int64_t hda_prefill_tiles(int64_t tokens, int64_t past, int64_t window, int64_t tile_tokens,
                          int64_t block);

/* Query-key pairs that a causal prefill must compute: sum over j = 1 .. tokens of min(past + j, window or infinity). */
double hda_prefill_pairs(int64_t tokens, int64_t past, int64_t window);

#endif
