#include "schedule.h"

#include <stdlib.h>
#include <string.h>

#define TRY(call)                              \
    do {                                       \
        const hda_status_t status_ = (call);   \
        if (status_ != HDA_OK) return status_; \
    } while (0)

void hda_schedule_free(hda_schedule_t *schedule) {
    free(schedule->messages);
    free(schedule->deps);
    *schedule = (hda_schedule_t){0};
}

static int grow(void **items, int64_t *room, int64_t needed, size_t size) {
    if (needed <= *room) return 0;
    const int64_t more = hda_max64(needed, 2 * *room + 64);
    void *moved = realloc(*items, (size_t)more * size);
    if (moved == NULL) return 1;
    *items = moved;
    *room = more;
    return 0;
}

hda_status_t hda_schedule_message(hda_schedule_t *schedule, int64_t source, int64_t target,
                                  int64_t size, int64_t delay, const int64_t *deps,
                                  int64_t dep_count) {
    if (grow((void **)&schedule->messages, &schedule->room, schedule->count + 1,
             sizeof *schedule->messages) ||
        grow((void **)&schedule->deps, &schedule->dep_room, schedule->dep_count + dep_count,
             sizeof *schedule->deps))
        return HDA_E_MEMORY;
    schedule->messages[schedule->count++] =
        (hda_message_t){source, target, size, delay, schedule->dep_count, dep_count};
    if (dep_count > 0)
        memcpy(schedule->deps + schedule->dep_count, deps, (size_t)dep_count * sizeof *deps);
    schedule->dep_count += dep_count;
    return HDA_OK;
}

enum { MOST_STEPS = 128 }; /* twice the bits of a number of members */

/* A collective under construction. `gate[i]` is the message (or join) for which member i waits before it sends, -1 at the start;
 * received[] are all messages of the phase in order, with `owner[]` who received them. Algorithms of few steps keep in heard[i * MOST_STEPS ..]
 * the heard_count[i] messages that member i has received. */
typedef struct {
    hda_schedule_t *out;
    const hda_group_t *group;
    int64_t *gate, *next_gate;
    int64_t *received, *owner, received_count, received_room;
    int64_t *heard, *heard_count;
} build_t;

static hda_status_t emit_after(build_t *b, int64_t source, int64_t target, int64_t size,
                               const int64_t *after, int64_t count, int64_t *id) {
    *id = b->out->count;
    const int64_t *members = b->group->members;
    TRY(hda_schedule_message(b->out, members[source], members[target], size, 0, after, count));
    int64_t room = b->received_room;
    if (grow((void **)&b->received, &room, b->received_count + 1, sizeof *b->received) ||
        grow((void **)&b->owner, &b->received_room, b->received_count + 1, sizeof *b->owner))
        return HDA_E_MEMORY;
    b->received[b->received_count] = *id;
    b->owner[b->received_count++] = target;
    return HDA_OK;
}

static hda_status_t emit(build_t *b, int64_t source, int64_t target, int64_t size, int64_t after,
                         int64_t *id) {
    return emit_after(b, source, target, size, &after, after >= 0, id);
}

/* End a phase: every member waits for all that it has received in it. */
static hda_status_t end_phase(build_t *b) {
    const int64_t n = b->group->size, count = b->received_count;
    int64_t *start = calloc((size_t)(n + 1 + count), sizeof *start);
    if (start == NULL) return HDA_E_MEMORY;
    int64_t *sorted = start + n + 1;
    for (int64_t i = 0; i < count; i++) start[b->owner[i] + 1]++;
    for (int64_t i = 0; i < n; i++) start[i + 1] += start[i];
    for (int64_t i = count - 1; i >= 0; i--) sorted[--start[b->owner[i] + 1]] = b->received[i];
    hda_status_t status = HDA_OK; /* start[i + 1] is now the first of member i */
    for (int64_t i = 0; i < n && status == HDA_OK; i++) {
        const int64_t first = start[i + 1], end = i + 1 < n ? start[i + 2] : count;
        if (end == first) continue;
        b->gate[i] = end - first == 1 ? sorted[first] : b->out->count;
        if (end - first == 1) continue;
        const int64_t member = b->group->members[i];
        status = hda_schedule_message(b->out, member, member, 0, 0, sorted + first, end - first);
    }
    free(start);
    b->received_count = 0;
    return status;
}

/* Members i of a ring: positions first + i * stride, in direction +1 or -1. */
typedef struct {
    int64_t first, stride, size;
} line_t;

static int64_t at(line_t line, int64_t i) {
    return line.first + (i % line.size + line.size) % line.size * line.stride;
}

/* To what the first `sums` steps bring a member adds its own part, for which it waits too. */
static hda_status_t ring(build_t *b, line_t line, int64_t direction, int64_t steps, int64_t sums,
                         int64_t size) {
    if (size == 0) return HDA_OK;
    for (int64_t i = 0; i < line.size; i++) b->next_gate[at(line, i)] = b->gate[at(line, i)];
    int64_t *previous = malloc((size_t)line.size * sizeof *previous);
    if (previous == NULL) return HDA_E_MEMORY;
    hda_status_t status = HDA_OK;
    for (int64_t step = 0; step < steps; step++) {
        for (int64_t i = 0; i < line.size; i++) previous[i] = b->next_gate[at(line, i)];
        for (int64_t i = 0; i < line.size && status == HDA_OK; i++) {
            const int64_t source = at(line, i), target = at(line, i + direction);
            const int64_t after[2] = {previous[i], b->gate[source]};
            const int adds = step > 0 && step <= sums && b->gate[source] >= 0;
            status = emit_after(b, source, target, size, after, previous[i] >= 0 ? 1 + adds : 0,
                                &b->next_gate[target]);
        }
    }
    free(previous);
    return status;
}

/* Rings over lines of members: size - 1 steps for a gather or a scatter, twice that for both. */
static hda_status_t rings(build_t *b, line_t line, int both, hda_collective_t kind, int64_t size) {
    if (line.size < 2) return HDA_OK;
    const int64_t steps = (kind == HDA_ALL_REDUCE ? 2 : 1) * (line.size - 1);
    const int64_t sums = kind == HDA_ALL_GATHER ? 0 : line.size - 1;
    if (!both) return ring(b, line, 1, steps, sums, size);
    TRY(ring(b, line, 1, steps, sums, hda_ceil_div(size, 2)));
    return ring(b, line, -1, steps, sums, size / 2);
}

static hda_status_t ring_phase(build_t *b, int both, hda_collective_t kind, int64_t size) {
    return rings(b, (line_t){0, 1, b->group->size}, both, kind, size);
}

/* Rings along all rows, or all columns, of the grid. */
static hda_status_t grid_phase(build_t *b, int columns, int both, hda_collective_t kind,
                               int64_t size) {
    const int64_t kx = b->group->columns, ky = b->group->size / kx;
    for (int64_t i = 0; i < (columns ? kx : ky); i++)
        TRY(rings(b, columns ? (line_t){i, kx, ky} : (line_t){i * kx, 1, kx}, both, kind, size));
    return end_phase(b);
}

static hda_status_t two_d(build_t *b, hda_collective_t kind, int both, int64_t chunk) {
    const int64_t kx = b->group->columns;
    if (kx < 1 || b->group->size % kx != 0) return HDA_E_RANGE;
    const int64_t ky = b->group->size / kx;
    if (kind == HDA_ALL_GATHER) {
        TRY(grid_phase(b, 0, both, kind, chunk));
        return grid_phase(b, 1, both, kind, kx * chunk);
    }
    if (kind != HDA_ALL_REDUCE && kind != HDA_REDUCE_SCATTER) return HDA_E_RANGE;
    TRY(grid_phase(b, 0, both, HDA_REDUCE_SCATTER, ky * chunk));
    TRY(grid_phase(b, 1, both, kind, chunk));
    return kind == HDA_ALL_REDUCE ? grid_phase(b, 0, both, HDA_ALL_GATHER, ky * chunk) : HDA_OK;
}

/* Each to each, in rotated order so that nobody receives from two at once. */
static hda_status_t exchange(build_t *b, int64_t size) {
    const int64_t n = b->group->size;
    int64_t id;
    for (int64_t round = 1; round < n; round++)
        for (int64_t i = 0; i < n; i++) TRY(emit(b, i, (i + round) % n, size, b->gate[i], &id));
    return HDA_OK;
}

/* One message, which waits for all that its sender has received before. */
static hda_status_t pass_on(build_t *b, int64_t source, int64_t target, int64_t size, int64_t *id) {
    return emit_after(b, source, target, size, b->heard + source * MOST_STEPS,
                      b->heard_count[source], id);
}

static void hear(build_t *b, int64_t member, int64_t id) {
    b->heard[member * MOST_STEPS + b->heard_count[member]++] = id;
}

/* Everyone sends `size`, which waits for the steps before this one: to the member whose number differs in the bits of `flip`, or to the one
 * `back` places before it. */
static hda_status_t step(build_t *b, int64_t flip, int64_t back, int64_t size) {
    const int64_t n = b->group->size, first = b->out->count;
    int64_t id;
    for (int64_t i = 0; i < n; i++)
        TRY(pass_on(b, i, flip ? i ^ flip : (i - back + n) % n, size, &id));
    for (int64_t i = 0; i < n; i++) hear(b, flip ? i ^ flip : (i - back + n) % n, first + i);
    return HDA_OK;
}

static hda_status_t recursive(build_t *b, hda_collective_t kind, int64_t chunk) {
    const int64_t n = b->group->size;
    if ((n & (n - 1)) != 0 || kind > HDA_ALL_REDUCE) return HDA_E_RANGE;
    if (kind != HDA_ALL_GATHER)
        for (int64_t k = n / 2; k >= 1; k /= 2) TRY(step(b, k, 0, k * chunk));
    if (kind != HDA_REDUCE_SCATTER)
        for (int64_t k = 1; k < n; k *= 2) TRY(step(b, k, 0, k * chunk));
    return HDA_OK;
}

/* Bruck's all-gather: at distance k everyone passes on the k chunks that it has, as far as they are missing. */
static hda_status_t bruck(build_t *b, int64_t chunk) {
    const int64_t n = b->group->size;
    for (int64_t k = 1; k < n; k *= 2) TRY(step(b, 0, k, hda_min64(k, n - k) * chunk));
    return HDA_OK;
}

static int64_t power_below(int64_t n) {
    int64_t k = 1;
    while (2 * k < n) k *= 2;
    return k;
}

/* Binomial broadcast of `size` from member 0: every holder sends to the member at a halving distance. */
static hda_status_t binomial(build_t *b, int64_t size) {
    const int64_t n = b->group->size;
    int64_t id;
    for (int64_t k = power_below(n); k >= 1; k /= 2)
        for (int64_t i = 0; i + k < n; i += 2 * k) {
            TRY(pass_on(b, i, i + k, size, &id));
            b->heard_count[i + k] = 0; /* only the whole counts now */
            hear(b, i + k, id);
        }
    return HDA_OK;
}

/* The same backwards: member 0 ends with the sum. */
static hda_status_t binomial_reduce(build_t *b, int64_t size) {
    const int64_t n = b->group->size;
    int64_t id;
    for (int64_t k = 1; k < n; k *= 2)
        for (int64_t i = 0; i + k < n; i += 2 * k) {
            TRY(pass_on(b, i + k, i, size, &id));
            hear(b, i, id);
        }
    return HDA_OK;
}

static int64_t piece(int64_t size, int64_t pieces, int64_t index) {
    return hda_share(size, pieces, index);
}

/* Broadcast in pieces along one line: each piece is forwarded when it is there. */
static hda_status_t chain(build_t *b, line_t line, int64_t size) {
    const int64_t pieces = hda_min64(b->group->pieces, size);
    for (int64_t p = 0; p < pieces; p++) {
        int64_t after = b->gate[at(line, 0)];
        for (int64_t i = 0; i + 1 < line.size; i++)
            TRY(emit(b, at(line, i), at(line, i + 1), piece(size, pieces, p), after, &after));
    }
    return HDA_OK;
}

static hda_status_t row_column(build_t *b, int64_t size) {
    const int64_t kx = b->group->columns, pieces = hda_min64(b->group->pieces, size);
    if (kx < 1 || b->group->size % kx != 0) return HDA_E_RANGE;
    const int64_t first = b->out->count, ky = b->group->size / kx;
    TRY(chain(b, (line_t){0, 1, kx}, size));
    for (int64_t x = 0; x < kx; x++) {
        for (int64_t p = 0; p < pieces; p++) {
            int64_t after = x == 0 ? -1 : first + p * (kx - 1) + x - 1;
            for (int64_t y = 0; y + 1 < ky; y++)
                TRY(emit(b, y * kx + x, (y + 1) * kx + x, piece(size, pieces, p), after, &after));
        }
    }
    return HDA_OK;
}

static hda_status_t root(build_t *b, hda_collective_t kind, int64_t chunk) {
    int64_t id;
    for (int64_t i = 1; i < b->group->size; i++)
        TRY(emit(b, kind == HDA_GATHER ? i : 0, kind == HDA_GATHER ? 0 : i, chunk, -1, &id));
    return HDA_OK;
}

static hda_status_t all_to_each(build_t *b, hda_collective_t kind, hda_algorithm_t algorithm,
                                int64_t chunk) {
    const int both = algorithm == HDA_BIDIRECTIONAL;
    const int64_t n = b->group->size;
    switch (algorithm) {
        case HDA_RING:
        case HDA_BIDIRECTIONAL: return ring_phase(b, both, kind, chunk);
        case HDA_DIRECT:
            TRY(exchange(b, chunk));
            if (kind != HDA_ALL_REDUCE) return HDA_OK;
            TRY(end_phase(b));
            return exchange(b, chunk);
        case HDA_ONE_SHOT: return kind == HDA_ALL_REDUCE ? exchange(b, n * chunk) : HDA_E_RANGE;
        case HDA_RECURSIVE: return recursive(b, kind, chunk);
        case HDA_TWO_D:
        case HDA_TWO_D_BIDIRECTIONAL:
            return two_d(b, kind, algorithm == HDA_TWO_D_BIDIRECTIONAL, chunk);
        case HDA_TREE:
            if (kind == HDA_ALL_GATHER) return bruck(b, chunk);
            if (kind != HDA_ALL_REDUCE) return HDA_E_RANGE;
            TRY(binomial_reduce(b, n * chunk));
            return binomial(b, n * chunk);
        default: return HDA_E_RANGE;
    }
}

static hda_status_t build(build_t *b, hda_collective_t kind, hda_algorithm_t algorithm,
                          int64_t chunk) {
    int64_t id;
    switch (kind) {
        case HDA_ALL_GATHER:
        case HDA_REDUCE_SCATTER:
        case HDA_ALL_REDUCE: return all_to_each(b, kind, algorithm, chunk);
        case HDA_ALL_TO_ALL: return algorithm == HDA_DIRECT ? exchange(b, chunk) : HDA_E_RANGE;
        case HDA_BROADCAST:
            if (algorithm == HDA_TREE) return binomial(b, chunk);
            if (algorithm == HDA_CHAIN) return chain(b, (line_t){0, 1, b->group->size}, chunk);
            if (algorithm == HDA_ROW_COLUMN) return row_column(b, chunk);
            return algorithm == HDA_DIRECT ? root(b, kind, chunk) : HDA_E_RANGE;
        case HDA_GATHER: return algorithm == HDA_DIRECT ? root(b, kind, chunk) : HDA_E_RANGE;
        case HDA_SEND: return emit(b, 0, 1, chunk, -1, &id);
        default: return HDA_E_RANGE;
    }
}

static int compare(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static hda_status_t check_members(const hda_group_t *group) {
    const size_t size = (size_t)group->size;
    int64_t *sorted = malloc(size * sizeof *sorted);
    if (sorted == NULL) return HDA_E_MEMORY;
    memcpy(sorted, group->members, size * sizeof *sorted);
    qsort(sorted, size, sizeof *sorted, compare);
    int twice = 0;
    for (size_t i = 1; i < size; i++) twice |= sorted[i] == sorted[i - 1];
    free(sorted);
    return twice ? HDA_E_RANGE : HDA_OK;
}

hda_status_t hda_schedule_collective(hda_schedule_t *schedule, const hda_group_t *group,
                                     hda_collective_t kind, hda_algorithm_t algorithm,
                                     int64_t chunk) {
    if (group->size < 1 || group->pieces < 1 || chunk < 1 ||
        chunk > ((int64_t)1 << 40) / group->size)
        return HDA_E_RANGE;
    if (group->size == 1) return HDA_OK;
    TRY(check_members(group));
    const size_t n = (size_t)group->size;
    const int in_few_steps = algorithm == HDA_TREE || algorithm == HDA_RECURSIVE;
    build_t b = {.out = schedule, .group = group};
    b.gate = malloc((in_few_steps ? 3 + MOST_STEPS : 3) * n * sizeof *b.gate);
    if (b.gate == NULL) return HDA_E_MEMORY;
    b.next_gate = b.gate + n;
    b.heard_count = b.next_gate + n;
    b.heard = b.heard_count + n;
    for (size_t i = 0; i < 2 * n; i++) b.gate[i] = -1;
    memset(b.heard_count, 0, n * sizeof *b.heard_count);
    const hda_status_t status = build(&b, kind, algorithm, chunk);
    free(b.gate);
    free(b.received);
    free(b.owner);
    return status;
}
