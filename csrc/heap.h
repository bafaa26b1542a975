/* A binary heap of events: the earliest first, of equal times the smallest id. */
#ifndef HDA_HEAP_H
#define HDA_HEAP_H

#include "hda.h"

typedef struct {
    double time; /* seconds */
    int64_t id;
} hda_event_t;

typedef struct {
    hda_event_t *events;
    int64_t count, capacity;
} hda_heap_t;

hda_status_t hda_heap_push(hda_heap_t *heap, double time, int64_t id);
/* Remove the first event; the heap is not empty. */
hda_event_t hda_heap_pop(hda_heap_t *heap);
void hda_heap_free(hda_heap_t *heap);

#endif
