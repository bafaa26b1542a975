#include "noc.h"

/* Scratch layout: per link, per injection port and per ejection port the cycle until which it is busy; then the ready queue. */
typedef struct {
    int64_t time, index;
} event_t;

size_t hda_noc_scratch_size(const hda_noc_t *noc, int64_t message_count) {
    const int64_t words = noc->link_count + 2 * noc->node_count + 3 * message_count;
    return (size_t)words * sizeof(int64_t) + (size_t)message_count * sizeof(event_t);
}

static int before(event_t a, event_t b) {
    return a.time < b.time || (a.time == b.time && a.index < b.index);
}

static void heap_push(event_t *heap, int64_t *count, event_t event) {
    int64_t i = (*count)++;
    while (i > 0 && before(event, heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = event;
}

static event_t heap_pop(event_t *heap, int64_t *count) {
    const event_t top = heap[0], last = heap[--(*count)];
    int64_t i = 0;
    for (int64_t child = 1; child < *count; child = 2 * i + 1) {
        if (child + 1 < *count && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], last)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Move one message through its route, from `ready`; returns the cycle at which its tail has been ejected, or -1 without a route. */
static int64_t deliver(const hda_noc_t *noc, const hda_message_t *message, int64_t ready,
                       int64_t *link_free, int64_t *inject_free, int64_t *eject_free) {
    int64_t head = hda_max64(ready, inject_free[message->source]);
    inject_free[message->source] = head + message->flits;
    int64_t router = noc->router_of[message->source];
    const int64_t last = noc->router_of[message->target];
    for (int64_t hops = 0; router != last; hops++) {
        const int64_t link = noc->next_link[router * noc->router_count + last];
        if (link < 0 || link >= noc->link_count || hops >= noc->router_count) return -1;
        head = hda_max64(head + noc->router_delay, link_free[link]);
        link_free[link] = head + message->flits;
        head += noc->link_delay;
        router = noc->link_to[link];
    }
    head = hda_max64(head + noc->router_delay, eject_free[message->target]);
    eject_free[message->target] = head + message->flits;
    return head + noc->port_delay + message->flits - 1;
}

/* The counts, delays and indices of a network; routes are checked as they are followed. */
static int bad_network(const hda_noc_t *noc) {
    if (noc->node_count < 0 || noc->router_count < 0 || noc->link_count < 0 ||
        noc->router_delay < 0 || noc->link_delay < 0 || noc->port_delay < 0)
        return 1;
    for (int64_t i = 0; i < noc->node_count; i++)
        if (noc->router_of[i] < 0 || noc->router_of[i] >= noc->router_count) return 1;
    for (int64_t i = 0; i < noc->link_count; i++)
        if (noc->link_to[i] < 0 || noc->link_to[i] >= noc->router_count) return 1;
    return 0;
}

hda_status_t hda_noc_check(const hda_noc_t *noc) {
    const int64_t slowest = (int64_t)1 << 20;
    if (bad_network(noc) || noc->node_count < 1 || noc->router_delay > slowest ||
        noc->link_delay > slowest || noc->port_delay > slowest)
        return HDA_E_RANGE;
    for (int64_t i = 0; i < noc->node_count; i++)
        if (noc->order[i] < 0 || noc->order[i] >= noc->node_count) return HDA_E_RANGE;
    for (int64_t i = 0; i < noc->router_count * noc->router_count; i++)
        if (noc->next_link[i] < -1 || noc->next_link[i] >= noc->link_count) return HDA_E_RANGE;
    return HDA_OK;
}

/* Upper bound of the cycles that any message adds to a schedule beside its flits; 1 if that overflows. */
static int longest_route(const hda_noc_t *noc, int64_t *cycles) {
    return __builtin_add_overflow(noc->router_delay, noc->link_delay, cycles) ||
           __builtin_mul_overflow(*cycles, noc->router_count + 1, cycles) ||
           __builtin_add_overflow(*cycles, noc->port_delay, cycles) ||
           __builtin_add_overflow(*cycles, 1, cycles);
}

hda_status_t hda_noc_run(const hda_noc_t *noc, const hda_message_t *messages, int64_t message_count,
                         void *scratch, int64_t *done, int64_t *makespan) {
    int64_t route;
    *makespan = 0;
    if (bad_network(noc) || message_count < 0) return HDA_E_RANGE;
    if (longest_route(noc, &route)) return HDA_E_OVERFLOW;
    int64_t *link_free = scratch, *inject_free = link_free + noc->link_count;
    int64_t *eject_free = inject_free + noc->node_count, *first = eject_free + noc->node_count;
    int64_t *sibling = first + message_count, *pending = sibling + message_count;
    event_t *heap = (event_t *)(pending + message_count);
    for (int64_t i = 0; i < noc->link_count + 2 * noc->node_count; i++) link_free[i] = 0;
    for (int64_t i = 0; i < message_count; i++) first[i] = sibling[i] = -1;
    int64_t queued = 0, finished = 0, total = 0;
    for (int64_t i = message_count - 1; i >= 0; i--) { /* children of a message in list order */
        const hda_message_t *m = &messages[i];
        if (m->flits < 1 || m->source == m->target || m->source < 0 || m->target < 0 ||
            m->source >= noc->node_count || m->target >= noc->node_count || m->after < -1 ||
            m->after >= message_count)
            return HDA_E_RANGE;
        int64_t most; /* even a route in circles waits for itself once at each router at most */
        if (__builtin_mul_overflow(m->flits, noc->router_count + 1, &most) ||
            __builtin_add_overflow(most, route, &most) ||
            __builtin_add_overflow(total, most, &total))
            return HDA_E_OVERFLOW; /* no cycle of the schedule exceeds this total */
        if (m->after < 0) continue;
        sibling[i] = first[m->after];
        first[m->after] = i;
    }
    for (int64_t i = 0; i < message_count; i++)
        if (messages[i].after < 0) heap_push(heap, &queued, (event_t){0, i});
    while (queued > 0) {
        const event_t event = heap_pop(heap, &queued);
        const int64_t end =
            deliver(noc, &messages[event.index], event.time, link_free, inject_free, eject_free);
        if (end < 0) return HDA_E_ROUTE;
        done[event.index] = end;
        *makespan = hda_max64(*makespan, end);
        finished++;
        for (int64_t next = first[event.index]; next >= 0; next = sibling[next])
            heap_push(heap, &queued, (event_t){end + 1, next});
    }
    return finished == message_count ? HDA_OK : HDA_E_DEADLOCK;
}

static int reduces(hda_collective_t kind) {
    return kind == HDA_COLL_ALL_REDUCE || kind == HDA_COLL_FOLDED_ALL_REDUCE;
}

static int folded(hda_collective_t kind) {
    return kind == HDA_COLL_FOLDED_ALL_GATHER || kind == HDA_COLL_FOLDED_ALL_REDUCE;
}

int64_t hda_collective_messages(hda_collective_t kind, int64_t groups, int64_t size) {
    int64_t count;
    if (groups < 1 || size < 2 || __builtin_mul_overflow(groups, size - 1, &count)) return 0;
    if (kind == HDA_COLL_INCAST) return count;
    if (__builtin_mul_overflow(count, reduces(kind) ? 2 : 1, &count) ||
        __builtin_mul_overflow(count, size, &count))
        return 0;
    return count;
}

/* Place on the line of the i-th member of a ring: 0 2 4 .. 5 3 1 if folded. */
static int64_t member(hda_collective_t kind, int64_t size, int64_t i) {
    if (!folded(kind)) return i;
    return 2 * i < size ? 2 * i : 2 * (size - i) - 1;
}

hda_status_t hda_collective_schedule(const hda_noc_t *noc, hda_collective_t kind, int64_t groups,
                                     int64_t size, int64_t flits, hda_message_t *messages) {
    if (groups < 1 || size < 1 || groups > noc->node_count / size || flits < 1) return HDA_E_RANGE;
    hda_message_t *out = messages;
    const int64_t steps = (size - 1) * (reduces(kind) ? 2 : 1);
    if (kind == HDA_COLL_INCAST) {
        for (int64_t g = 0; g < groups; g++)
            for (int64_t i = 1; i < size; i++)
                *out++ = (hda_message_t){noc->order[g * size + i], noc->order[g * size], flits, -1};
        return HDA_OK;
    }
    for (int64_t step = 0; step < steps;
         step++) { /* forward what the step before brought from the left */
        for (int64_t g = 0; g < groups; g++) {
            const int64_t *line = noc->order + g * size;
            for (int64_t i = 0; i < size; i++) {
                const int64_t left = (i + size - 1) % size;
                const int64_t after = step == 0 ? -1 : ((step - 1) * groups + g) * size + left;
                *out++ = (hda_message_t){line[member(kind, size, i)],
                                         line[member(kind, size, (i + 1) % size)], flits, after};
            }
        }
    }
    return HDA_OK;
}

int64_t hda_collective_zero_load(const hda_noc_t *noc, hda_collective_t kind, int64_t size,
                                 int64_t flits) {
    if (size < 2) return 0;
    const int linked = noc->router_count > 1;
    const int64_t hop = linked ? noc->router_delay + noc->link_delay : 0;
    const int64_t fixed = noc->router_delay + hop + noc->port_delay;
    if (kind == HDA_COLL_INCAST) return (size - 1) * flits + fixed - 1;
    const int64_t steps = (size - 1) * (reduces(kind) ? 2 : 1);
    int64_t far = 0; /* steps over two links in the longest chain */
    if (folded(kind)) far = reduces(kind) ? 2 * (size - 2) - (size > 3) : size - 2;
    return steps * (flits + fixed) - 1 + far * hop;
}
