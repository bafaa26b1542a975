#include "heap.h"

#include <stdlib.h>

static int before(hda_event_t a, hda_event_t b) {
    return a.time < b.time || (a.time <= b.time && a.id < b.id);
}

hda_status_t hda_heap_push(hda_heap_t *heap, double time, int64_t id) {
    if (heap->count == heap->capacity) {
        const int64_t capacity = hda_max64(16, 2 * heap->capacity);
        hda_event_t *events = realloc(heap->events, (size_t)capacity * sizeof *events);
        if (events == NULL) return HDA_E_MEMORY;
        heap->events = events;
        heap->capacity = capacity;
    }
    const hda_event_t event = {time, id};
    int64_t at = heap->count++;
    for (; at > 0 && before(event, heap->events[(at - 1) / 2]); at = (at - 1) / 2)
        heap->events[at] = heap->events[(at - 1) / 2];
    heap->events[at] = event;
    return HDA_OK;
}

hda_event_t hda_heap_pop(hda_heap_t *heap) {
    const hda_event_t first = heap->events[0], last = heap->events[--heap->count];
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && before(heap->events[child + 1], heap->events[child]))
            child++;
        if (!before(heap->events[child], last)) break;
        heap->events[at] = heap->events[child];
    }
    heap->events[at] = last;
    return first;
}

void hda_heap_free(hda_heap_t *heap) {
    free(heap->events);
    *heap = (hda_heap_t){0};
}
