/* Paged KV blocks of one rank, as vLLM V1's block pool keeps them.
 *
 * Without caching only their number matters. With it each block has an identity: full blocks stay findable by their key after their
 * sequence has left, until they are needed for something else. Blocks that nobody uses stand in a queue; the one that has stood longest is
 * taken first, and a sequence that leaves puts its last block in first, so that of a prefix the tail is lost before the head. Blocks that
 * were never used are taken before any that were.
 *
 * Several blocks may have the same content (a prompt's last token is always computed again, in a block of its own): the one that has had it
 * longest is found, and when that is needed for something else the next.
 *
 * A key is positive (content that other sequences may share), or negative (content of one sequence, of use only to itself after a
 * preemption: found where it was left, not in the table).
 */
#ifndef HDA_KV_H
#define HDA_KV_H

#include "hda.h"

/* In the table: as the first with its key, or in the ring behind that. */
typedef enum { HDA_KV_LOST = 0, HDA_KV_FIRST = 1, HDA_KV_COPY = 2 } hda_findable_t;

typedef struct {
    int32_t uses; /* sequences that hold it */
    int32_t prev,
        next; /* in the queue of unused blocks, -1 at its end; the first one's prev is not kept */
    int32_t chain;         /* next block in its bucket of the table */
    int32_t findable;      /* hda_findable_t */
    int32_t before, after; /* in the ring of those with the same key */
    int64_t key;
} hda_kv_block_t;

typedef struct {
    int64_t block_count, free_count; /* free: used by nobody */
    int64_t gains; /* with caching: how often a block became free, or could be found */
    int32_t caching;
    int64_t fresh;       /* blocks used at least once: 0 .. fresh - 1 */
    int64_t capacity;    /* of `blocks` */
    int32_t first, last; /* of the queue */
    hda_kv_block_t *blocks;
    int32_t *buckets; /* by hash: first block, -1 if none */
    int64_t bucket_count;
} hda_kv_t;

/* Blocks that one sequence holds, or has left behind. */
typedef struct {
    int32_t *blocks;
    int64_t count, capacity;
} hda_kv_table_t;

/* block_count 0 to 2^31 - 2. */
void hda_kv_init(hda_kv_t *kv, int64_t block_count, int caching);
void hda_kv_free(hda_kv_t *kv);

/* Append `count` blocks to what a sequence holds; the caller has checked that so many are free. */
hda_status_t hda_kv_take(hda_kv_t *kv, hda_kv_table_t *table, int64_t count);

/* The sequence's next block, shared with others: it was found by hda_kv_find. */
hda_status_t hda_kv_share(hda_kv_t *kv, hda_kv_table_t *table, int32_t block);

/* The block that has had a positive key longest, -1 if there is none. */
int32_t hda_kv_find(const hda_kv_t *kv, int64_t key);

/* Block `index` of the sequence is full: its content has this key from now on. */
void hda_kv_publish(hda_kv_t *kv, const hda_kv_table_t *table, int64_t index, int64_t key);

/* The sequence leaves its blocks. `table` still names them. */
void hda_kv_release(hda_kv_t *kv, hda_kv_table_t *table, int64_t held);

#endif
