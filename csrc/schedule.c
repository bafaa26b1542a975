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

/* A collective under construction. `gate[i]` is the message (or join) for which member i waits before it sends, -1 at the start;
 * `last[i]` the one that it received last, and received[] all of the phase in order, with `owner[]` who received them. */
typedef struct {
    hda_schedule_t *out;
    const hda_group_t *group;
    int64_t *gate, *next_gate;
    int64_t *received, *owner, received_count, received_room;
} build_t;

static hda_status_t emit(build_t *b, int64_t source, int64_t target, int64_t size, int64_t after,
                         int64_t *id) {
    *id = b->out->count;
    const int64_t *members = b->group->members;
    TRY(hda_schedule_message(b->out, members[source], members[target], size, 0, &after,
                             after >= 0));
    int64_t room = b->received_room;
    if (grow((void **)&b->received, &room, b->received_count + 1, sizeof *b->received) ||
        grow((void **)&b->owner, &b->received_room, b->received_count + 1, sizeof *b->owner))
        return HDA_E_MEMORY;
    b->received[b->received_count] = *id;
    b->owner[b->received_count++] = target;
    return HDA_OK;
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

static hda_status_t ring(build_t *b, line_t line, int64_t direction, int64_t steps, int64_t size) {
    if (size == 0) return HDA_OK;
    for (int64_t i = 0; i < line.size; i++) b->next_gate[at(line, i)] = b->gate[at(line, i)];
    int64_t *previous = malloc((size_t)line.size * sizeof *previous);
    if (previous == NULL) return HDA_E_MEMORY;
    hda_status_t status = HDA_OK;
    for (int64_t step = 0; step < steps; step++) {
        for (int64_t i = 0; i < line.size; i++) previous[i] = b->next_gate[at(line, i)];
        for (int64_t i = 0; i < line.size && status == HDA_OK; i++)
            status = emit(b, at(line, i), at(line, i + direction), size, previous[i],
                          &b->next_gate[at(line, i + direction)]);
    }
    free(previous);
    return status;
}

/* Rings over lines of members: `turns` times (size - 1) steps. */
static hda_status_t rings(build_t *b, line_t line, int both, int64_t turns, int64_t size) {
    if (line.size < 2) return HDA_OK;
    const int64_t steps = turns * (line.size - 1);
    if (!both) return ring(b, line, 1, steps, size);
    TRY(ring(b, line, 1, steps, hda_ceil_div(size, 2)));
    return ring(b, line, -1, steps, size / 2);
}

static hda_status_t ring_phase(build_t *b, int both, int64_t turns, int64_t size) {
    return rings(b, (line_t){0, 1, b->group->size}, both, turns, size);
}

/* Rings along all rows, or all columns, of the grid. */
static hda_status_t grid_phase(build_t *b, int columns, int both, int64_t turns, int64_t size) {
    const int64_t kx = b->group->columns, ky = b->group->size / kx;
    for (int64_t i = 0; i < (columns ? kx : ky); i++)
        TRY(rings(b, columns ? (line_t){i, kx, ky} : (line_t){i * kx, 1, kx}, both, turns, size));
    return end_phase(b);
}

static hda_status_t two_d(build_t *b, hda_collective_t kind, int both, int64_t chunk) {
    const int64_t kx = b->group->columns;
    if (kx < 1 || b->group->size % kx != 0) return HDA_E_RANGE;
    const int64_t ky = b->group->size / kx;
    if (kind == HDA_ALL_GATHER) {
        TRY(grid_phase(b, 0, both, 1, chunk));
        return grid_phase(b, 1, both, 1, kx * chunk);
    }
    if (kind != HDA_ALL_REDUCE && kind != HDA_REDUCE_SCATTER) return HDA_E_RANGE;
    TRY(grid_phase(b, 0, both, 1, ky * chunk));
    TRY(grid_phase(b, 1, both, kind == HDA_ALL_REDUCE ? 2 : 1, chunk));
    return kind == HDA_ALL_REDUCE ? grid_phase(b, 0, both, 1, ky * chunk) : HDA_OK;
}

/* Each to each, in rotated order so that nobody receives from two at once. */
static hda_status_t exchange(build_t *b, int64_t size) {
    const int64_t n = b->group->size;
    int64_t id;
    for (int64_t round = 1; round < n; round++)
        for (int64_t i = 0; i < n; i++) TRY(emit(b, i, (i + round) % n, size, b->gate[i], &id));
    return HDA_OK;
}

/* Everyone exchanges `size` with the member at a distance, in a hypercube. */
static hda_status_t swap(build_t *b, int64_t distance, int64_t size) {
    const int64_t n = b->group->size;
    for (int64_t i = 0; i < n; i++)
        TRY(emit(b, i, i ^ distance, size, b->gate[i], &b->next_gate[i ^ distance]));
    memcpy(b->gate, b->next_gate, (size_t)n * sizeof *b->gate);
    return HDA_OK;
}

static hda_status_t recursive(build_t *b, hda_collective_t kind, int64_t chunk) {
    const int64_t n = b->group->size;
    if ((n & (n - 1)) != 0 || kind > HDA_ALL_REDUCE) return HDA_E_RANGE;
    if (kind != HDA_ALL_GATHER)
        for (int64_t k = n / 2; k >= 1; k /= 2) TRY(swap(b, k, k * chunk));
    if (kind != HDA_REDUCE_SCATTER)
        for (int64_t k = 1; k < n; k *= 2) TRY(swap(b, k, k * chunk));
    return HDA_OK;
}

/* Bruck's all-gather: at distance k everyone passes on the k chunks that it has, as far as they are missing. */
static hda_status_t bruck(build_t *b, int64_t chunk) {
    const int64_t n = b->group->size;
    for (int64_t k = 1; k < n; k *= 2) {
        for (int64_t i = 0; i < n; i++) {
            const int64_t target = (i - k % n + n) % n;
            TRY(emit(b, i, target, hda_min64(k, n - k) * chunk, b->gate[i], &b->next_gate[target]));
        }
        memcpy(b->gate, b->next_gate, (size_t)n * sizeof *b->gate);
    }
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
    for (int64_t k = power_below(n); k >= 1; k /= 2)
        for (int64_t i = 0; i + k < n; i += 2 * k)
            TRY(emit(b, i, i + k, size, b->gate[i], &b->gate[i + k]));
    return HDA_OK;
}

/* The same backwards: member 0 ends with the sum. */
static hda_status_t binomial_reduce(build_t *b, int64_t size) {
    const int64_t n = b->group->size;
    int64_t id;
    for (int64_t k = 1; k < n; k *= 2) {
        for (int64_t i = 0; i + k < n; i += 2 * k)
            TRY(emit(b, i + k, i, size, b->gate[i + k], &id));
        TRY(end_phase(b)); /* before it sends on, a member waits for all that it adds */
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
        case HDA_BIDIRECTIONAL: return ring_phase(b, both, kind == HDA_ALL_REDUCE ? 2 : 1, chunk);
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

hda_status_t hda_schedule_collective(hda_schedule_t *schedule, const hda_group_t *group,
                                     hda_collective_t kind, hda_algorithm_t algorithm,
                                     int64_t chunk) {
    if (group->size < 1 || group->pieces < 1 || chunk < 1 ||
        chunk > ((int64_t)1 << 40) / group->size)
        return HDA_E_RANGE;
    if (group->size == 1) return HDA_OK;
    build_t b = {.out = schedule, .group = group};
    b.gate = malloc(2 * (size_t)group->size * sizeof *b.gate);
    if (b.gate == NULL) return HDA_E_MEMORY;
    b.next_gate = b.gate + group->size;
    for (int64_t i = 0; i < 2 * group->size; i++) b.gate[i] = -1;
    const hda_status_t status = build(&b, kind, algorithm, chunk);
    free(b.gate);
    free(b.received);
    free(b.owner);
    return status;
}
