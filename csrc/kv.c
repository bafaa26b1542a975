#include "kv.h"

#include <stdlib.h>
#include <string.h>

void hda_kv_init(hda_kv_t *kv, int64_t block_count, int caching) {
    *kv = (hda_kv_t){.block_count = block_count,
                     .free_count = block_count,
                     .caching = caching,
                     .first = -1,
                     .last = -1};
}

void hda_kv_free(hda_kv_t *kv) {
    free(kv->blocks);
    free(kv->buckets);
    kv->blocks = NULL;
    kv->buckets = NULL;
}

enum { AHEAD = 8 }; /* blocks whose memory is asked for before they are needed */

static int64_t bucket_of(const hda_kv_t *kv, int64_t key) {
    uint64_t x = (uint64_t)key * 0x9E3779B97F4A7C15u; /* Fibonacci hashing */
    return (int64_t)((x ^ x >> 32) & (uint64_t)(kv->bucket_count - 1));
}

/* At the end of the ring of its key: of blocks with the same content the first that was entered is found. */
static void enter(hda_kv_t *kv, int32_t block) {
    hda_kv_block_t *b = &kv->blocks[block];
    kv->gains++;
    const int32_t first = hda_kv_find(kv, b->key);
    if (first >= 0) {
        b->findable = HDA_KV_COPY;
        b->after = first;
        b->before = kv->blocks[first].before;
        kv->blocks[b->before].after = kv->blocks[first].before = block;
        return;
    }
    int32_t *bucket = &kv->buckets[bucket_of(kv, b->key)];
    b->findable = HDA_KV_FIRST;
    b->before = b->after = block;
    b->chain = *bucket;
    *bucket = block;
}

static void forget(hda_kv_t *kv, int32_t block) {
    hda_kv_block_t *b = &kv->blocks[block];
    if (b->findable == HDA_KV_FIRST) { /* the next copy takes its place */
        int32_t *link = &kv->buckets[bucket_of(kv, b->key)];
        while (*link != block) link = &kv->blocks[*link].chain;
        *link = b->chain;
        if (b->after != block) {
            *link = b->after;
            kv->blocks[b->after].chain = b->chain;
            kv->blocks[b->after].findable = HDA_KV_FIRST;
        }
    }
    kv->blocks[b->before].after = b->after;
    kv->blocks[b->after].before = b->before;
    b->findable = HDA_KV_LOST;
}

/* Room for one more fresh block; the table grows with the blocks, so its chains stay short. */
static hda_status_t grow(hda_kv_t *kv) {
    if (kv->fresh < kv->capacity) return HDA_OK;
    const int64_t capacity = hda_max64(1024, 2 * kv->capacity);
    hda_kv_block_t *blocks = realloc(kv->blocks, (size_t)capacity * sizeof *blocks);
    if (blocks == NULL) return HDA_E_MEMORY;
    kv->blocks = blocks;
    int32_t *const old = kv->buckets, *const buckets = malloc((size_t)capacity * sizeof *buckets);
    if (buckets == NULL) return HDA_E_MEMORY;
    const int64_t old_count = kv->bucket_count;
    kv->buckets = buckets;
    kv->capacity = kv->bucket_count = capacity;
    memset(buckets, -1, (size_t)capacity * sizeof *buckets);
    for (int64_t i = 0; i < old_count; i++)
        for (int32_t b = old[i], next; b >= 0; b = next) {
            next = blocks[b].chain;
            int32_t *bucket = &buckets[bucket_of(kv, blocks[b].key)];
            blocks[b].chain = *bucket;
            *bucket = b;
        }
    free(old);
    return HDA_OK;
}

static void unqueue(hda_kv_t *kv, int32_t block) {
    const hda_kv_block_t *b = &kv->blocks[block];
    const int32_t prev = kv->first == block ? -1 : b->prev;
    if (prev < 0)
        kv->first = b->next;
    else
        kv->blocks[prev].next = b->next;
    if (b->next < 0)
        kv->last = prev;
    else
        kv->blocks[b->next].prev = prev;
}

static void enqueue(hda_kv_t *kv, int32_t block) {
    hda_kv_block_t *b = &kv->blocks[block];
    b->prev = kv->last;
    b->next = -1;
    if (kv->last < 0)
        kv->first = block;
    else
        kv->blocks[kv->last].next = block;
    kv->last = block;
}

static hda_status_t append(hda_kv_table_t *table, int32_t block) {
    if (table->count == table->capacity) {
        const int64_t capacity = hda_max64(16, 2 * table->capacity);
        int32_t *blocks = realloc(table->blocks, (size_t)capacity * sizeof *blocks);
        if (blocks == NULL) return HDA_E_MEMORY;
        table->blocks = blocks;
        table->capacity = capacity;
    }
    table->blocks[table->count++] = block;
    return HDA_OK;
}

hda_status_t hda_kv_take(hda_kv_t *kv, hda_kv_table_t *table, int64_t count) {
    kv->free_count -= count;
    if (!kv->caching) return HDA_OK;
    for (; count > 0; count--) {
        int32_t block;
        if (kv->fresh < kv->block_count) {
            if (grow(kv) != HDA_OK) return HDA_E_MEMORY;
            block = (int32_t)kv->fresh++;
            kv->blocks[block].findable = 0;
        } else {
            block =
                kv->first; /* as unqueue, but without a look at the next one, which is far away in memory */
            kv->first = kv->blocks[block].next;
            if (kv->first < 0)
                kv->last = -1;
            else
                __builtin_prefetch(&kv->blocks[kv->first]);
            if (kv->blocks[block].findable) forget(kv, block);
        }
        kv->blocks[block].key = 0;
        kv->blocks[block].uses = 1;
        if (append(table, block) != HDA_OK) return HDA_E_MEMORY;
    }
    return HDA_OK;
}

hda_status_t hda_kv_share(hda_kv_t *kv, hda_kv_table_t *table, int32_t block) {
    if (kv->blocks[block].uses++ == 0) {
        unqueue(kv, block);
        kv->free_count--;
    }
    return append(table, block);
}

int32_t hda_kv_find(const hda_kv_t *kv, int64_t key) {
    if (kv->bucket_count == 0) return -1;
    int32_t block = kv->buckets[bucket_of(kv, key)];
    while (block >= 0 && kv->blocks[block].key != key) block = kv->blocks[block].chain;
    return block;
}

void hda_kv_publish(hda_kv_t *kv, const hda_kv_table_t *table, int64_t index, int64_t key) {
    const int32_t block = table->blocks[index];
    kv->blocks[block].key = key;
    if (key <= 0) return;
    enter(kv, block);
}

void hda_kv_release(hda_kv_t *kv, hda_kv_table_t *table, int64_t held) {
    if (!kv->caching) {
        kv->free_count += held;
        return;
    }
    for (int64_t i = table->count - 1; i >= 0; i--) {
        const int32_t block = table->blocks[i];
        if (i >= AHEAD) __builtin_prefetch(&kv->blocks[table->blocks[i - AHEAD]]);
        if (--kv->blocks[block].uses > 0) continue;
        enqueue(kv, block);
        kv->free_count++;
        kv->gains++;
    }
}
