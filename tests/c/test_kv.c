/* KV blocks and the heap of events: by hand, and against arrays that are searched from end to end. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "heap.h"
#include "kv.h"

static void counts_alone(void) {
    hda_kv_t kv;
    hda_kv_table_t table = {0};
    hda_kv_init(&kv, 5, 0);
    CHECK_INT(hda_kv_take(&kv, &table, 3), HDA_OK);
    CHECK_INT(kv.free_count, 2);
    CHECK_INT(hda_kv_find(&kv, 7), -1);
    hda_kv_release(&kv, &table, 3);
    CHECK_INT(kv.free_count, 5);
    CHECK(table.blocks == NULL); /* without caching blocks have no identity */
    hda_kv_free(&kv);
}

/* Four blocks: which is found, shared, kept, and taken first. */
static void order(void) {
    hda_kv_t kv;
    hda_kv_table_t a = {0}, b = {0}, c = {0};
    hda_kv_init(&kv, 4, 1);
    CHECK_INT(hda_kv_take(&kv, &a, 3), HDA_OK); /* 0 1 2 */
    for (int64_t i = 0; i < 2; i++) hda_kv_publish(&kv, &a, i, 10 + i);
    CHECK_INT(hda_kv_find(&kv, 10), 0);
    CHECK_INT(hda_kv_find(&kv, 11), 1);
    CHECK_INT(hda_kv_find(&kv, 12), -1);
    CHECK_INT(hda_kv_share(&kv, &b, hda_kv_find(&kv, 10)), HDA_OK);
    CHECK_INT(kv.free_count, 1);
    hda_kv_release(&kv, &a, 3); /* queue: 2 1; block 0 is b's */
    CHECK_INT(kv.free_count, 3);
    CHECK_INT(kv.blocks[0].uses, 1);
    CHECK_INT(hda_kv_find(&kv, 11), 1); /* still there */
    CHECK_INT(hda_kv_take(&kv, &b, 2), HDA_OK);
    CHECK_INT(b.blocks[1], 3); /* never used before */
    CHECK_INT(b.blocks[2], 2); /* the tail of a */
    CHECK_INT(hda_kv_find(&kv, 11), 1);
    CHECK_INT(hda_kv_take(&kv, &c, 1), HDA_OK);
    CHECK_INT(c.blocks[0], 1);
    CHECK_INT(hda_kv_find(&kv, 11), -1);
    CHECK_INT(kv.free_count, 0);
    hda_kv_publish(&kv, &c, 0, -5); /* of use to one sequence only */
    CHECK_INT(hda_kv_find(&kv, -5), -1);
    hda_kv_release(&kv, &b, 3);
    hda_kv_release(&kv, &c, 1);
    CHECK_INT(kv.free_count, 4);
    CHECK_INT(kv.blocks[1].key, -5); /* found where it was left */
    free(a.blocks);
    free(b.blocks);
    free(c.blocks);
    hda_kv_free(&kv);
}

/* Of equal blocks the one that was published first, then the next; also when the table grows in between. */
static void equal_blocks(void) {
    hda_kv_t kv;
    hda_kv_table_t first = {0}, second = {0}, many = {0}, all = {0};
    hda_kv_init(&kv, 5000, 1);
    CHECK_INT(hda_kv_take(&kv, &first, 1), HDA_OK);
    CHECK_INT(hda_kv_take(&kv, &second, 1), HDA_OK);
    hda_kv_publish(&kv, &second, 0, 42);
    hda_kv_publish(&kv, &first, 0, 42);
    CHECK_INT(hda_kv_find(&kv, 42), 1);
    CHECK_INT(hda_kv_take(&kv, &many, 4998), HDA_OK);
    for (int64_t i = 0; i < 4998; i++) hda_kv_publish(&kv, &many, i, 1000 + i);
    for (int64_t i = 0; i < 4998; i++) CHECK_INT(hda_kv_find(&kv, 1000 + i), 2 + i);
    CHECK_INT(hda_kv_find(&kv, 42), 1);
    hda_kv_release(&kv, &second, 1);
    CHECK_INT(hda_kv_take(&kv, &all, 1), HDA_OK);
    CHECK_INT(all.blocks[0], 1);
    CHECK_INT(hda_kv_find(&kv, 42), 0);
    free(first.blocks);
    free(second.blocks);
    free(many.blocks);
    free(all.blocks);
    hda_kv_free(&kv);
}

static void heap(void) {
    enum { COUNT = 500 };
    hda_heap_t events = {0};
    uint64_t state = 1;
    for (int64_t i = 0; i < COUNT; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        CHECK_INT(hda_heap_push(&events, (double)(state >> 60), (int64_t)(state >> 33) % COUNT),
                  HDA_OK);
        if (i % 3 == 2) hda_heap_pop(&events);
    }
    CHECK_INT(events.count, COUNT - COUNT / 3);
    hda_event_t last = {-1, -1};
    while (events.count > 0) {
        const hda_event_t event = hda_heap_pop(&events);
        CHECK(event.time > last.time || (event.time >= last.time && event.id >= last.id));
        last = event;
    }
    hda_heap_free(&events);
    CHECK(events.events == NULL);
}

int main(void) {
    counts_alone();
    order();
    equal_blocks();
    heap();
    return failures != 0;
}
