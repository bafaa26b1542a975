/* Collectives: how many messages of how many bytes, and that everyone ends with everything, whatever the network delays. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "schedule.h"

enum { MOST = 16, CHUNK = 12 };

/* What every member certainly has when a message leaves, as bits: what the messages have brought for which it waits, and those for which
 * they do. Nothing else is known to have arrived. */
typedef struct {
    hda_schedule_t schedule;
    hda_group_t group;
    int64_t members[MOST];
    uint8_t *before; /* [i * count + j]: message i waits for j, maybe through others */
    uint32_t *holds; /* what the sender of i has, as far as that is certain */
    int64_t messages, joins;
} case_t;

static int64_t place(const case_t *c, int64_t node) {
    for (int64_t i = 0; i < c->group.size; i++)
        if (c->members[i] == node) return i;
    CHECK(!"a member");
    return 0;
}

static hda_status_t build(case_t *c, hda_collective_t kind, hda_algorithm_t how, int64_t size,
                          int64_t columns, int64_t pieces) {
    memset(c, 0, sizeof *c);
    for (int64_t i = 0; i < size; i++)
        c->members[i] = (7 * i + 3) % 17; /* any order of any nodes */
    c->group = (hda_group_t){c->members, size, columns, pieces};
    const hda_status_t status = hda_schedule_collective(&c->schedule, &c->group, kind, how, CHUNK);
    if (status != HDA_OK) return status;
    const int64_t count = c->schedule.count;
    c->before = calloc((size_t)(count * count + 1), 1);
    c->holds = calloc((size_t)count + 1, sizeof *c->holds);
    for (int64_t i = 0; i < count; i++) {
        const hda_message_t *m = &c->schedule.messages[i];
        uint8_t *own = c->before + i * count;
        for (int64_t d = 0; d < m->count; d++) {
            const int64_t j = c->schedule.deps[m->first + d];
            CHECK(j >= 0 && j < i); /* messages follow those for which they wait, .. */
            CHECK_INT(c->schedule.messages[j].target,
                      m->source); /* .. which their sender received */
            own[j] = 1;
            for (int64_t k = 0; k < j; k++) own[k] |= c->before[j * count + k];
        }
        c->holds[i] = 1u << place(c, m->source);
        for (int64_t j = 0; j < i; j++)
            if (own[j] && c->schedule.messages[j].target == m->source) c->holds[i] |= c->holds[j];
        if (m->flits == 0)
            c->joins++;
        else
            c->messages++;
        CHECK((m->flits == 0) == (m->source == m->target) && m->delay == 0);
    }
    return HDA_OK;
}

static void release(case_t *c) {
    hda_schedule_free(&c->schedule);
    free(c->before);
    free(c->holds);
}

static uint32_t ends_with(const case_t *c, int64_t member) {
    uint32_t held = 1u << member;
    for (int64_t i = 0; i < c->schedule.count; i++)
        if (c->schedule.messages[i].target == c->members[member]) held |= c->holds[i];
    return held;
}

/* Bytes that a member sends and receives. */
static int64_t moved(const case_t *c, int64_t member, int sends) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < c->schedule.count; i++) {
        const hda_message_t *m = &c->schedule.messages[i];
        if ((sends ? m->source : m->target) == c->members[member]) bytes += m->flits;
    }
    return bytes;
}

static void balanced(const case_t *c, int64_t bytes) {
    for (int64_t i = 0; i < c->group.size; i++) {
        CHECK_INT(moved(c, i, 0), bytes);
        CHECK_INT(moved(c, i, 1), bytes);
    }
}

static int64_t bits(int64_t n) { /* ceil(log2 n) */
    int64_t k = 0;
    while ((int64_t)1 << k < n) k++;
    return k;
}

/* Messages and bytes of those in which all have the same part. */
static void check_each(hda_collective_t kind, hda_algorithm_t how, int64_t n, int64_t columns,
                       int64_t messages, int64_t chunks) {
    case_t c;
    CHECK_INT(build(&c, kind, how, n, columns, 1), HDA_OK);
    CHECK_INT(c.messages, messages);
    balanced(&c, chunks * CHUNK);
    for (int64_t i = 0; i < n; i++) CHECK_INT(ends_with(&c, i), (1u << n) - 1);
    release(&c);
}

static void all_to_all_members(void) {
    for (int64_t n = 2; n <= 9; n++) {
        for (int both = 0; both < 2; both++) {
            const hda_algorithm_t how = both ? HDA_BIDIRECTIONAL : HDA_RING;
            const int64_t messages = n * (n - 1) * (both ? 2 : 1);
            check_each(HDA_ALL_GATHER, how, n, 0, messages, n - 1);
            check_each(HDA_REDUCE_SCATTER, how, n, 0, messages, n - 1);
            check_each(HDA_ALL_REDUCE, how, n, 0, 2 * messages, 2 * (n - 1));
        }
        check_each(HDA_ALL_GATHER, HDA_DIRECT, n, 0, n * (n - 1), n - 1);
        check_each(HDA_REDUCE_SCATTER, HDA_DIRECT, n, 0, n * (n - 1), n - 1);
        check_each(HDA_ALL_REDUCE, HDA_DIRECT, n, 0, 2 * n * (n - 1), 2 * (n - 1));
        check_each(HDA_ALL_TO_ALL, HDA_DIRECT, n, 0, n * (n - 1), n - 1);
        check_each(HDA_ALL_REDUCE, HDA_ONE_SHOT, n, 0, n * (n - 1), n * (n - 1));
        check_each(HDA_ALL_GATHER, HDA_TREE, n, 0, n * bits(n), n - 1);
    }
    for (int64_t n = 2; n <= MOST; n *= 2) {
        check_each(HDA_ALL_GATHER, HDA_RECURSIVE, n, 0, n * bits(n), n - 1);
        check_each(HDA_REDUCE_SCATTER, HDA_RECURSIVE, n, 0, n * bits(n), n - 1);
        check_each(HDA_ALL_REDUCE, HDA_RECURSIVE, n, 0, 2 * n * bits(n), 2 * (n - 1));
    }
}

/* A member that adds what it received to its own sum has that sum: all of the phase before. */
static void check_sums(const case_t *c, int64_t scattered, int64_t summed) {
    const int64_t count = c->schedule.count;
    int64_t seen = 0;
    for (int64_t i = 0; i < count; i++) {
        const hda_message_t *m = &c->schedule.messages[i];
        if (m->flits == 0) continue;
        const int64_t order = seen++;
        if (order < scattered || order >= scattered + summed) continue;
        int64_t earlier = 0;
        for (int64_t j = 0; j < i; j++, earlier += c->schedule.messages[j - 1].flits > 0)
            if (earlier < scattered && c->schedule.messages[j].flits > 0 &&
                c->schedule.messages[j].target == m->source)
                CHECK(c->before[i * count + j]);
    }
}

static void grids(void) {
    static const int64_t sides[][2] = {{2, 2}, {3, 2}, {2, 4}, {4, 4}, {5, 3}, {1, 4}, {4, 1}};
    for (size_t s = 0; s < sizeof sides / sizeof *sides; s++)
        for (int both = 0; both < 2; both++) {
            const int64_t kx = sides[s][0], ky = sides[s][1], n = kx * ky;
            const hda_algorithm_t how = both ? HDA_TWO_D_BIDIRECTIONAL : HDA_TWO_D;
            const int64_t x = n * (kx - 1) * (both ? 2 : 1), y = n * (ky - 1) * (both ? 2 : 1);
            /* rows carry one chunk, columns those of a row; a scatter the other way round */
            check_each(HDA_ALL_GATHER, how, n, kx, x + y, n - 1);
            check_each(HDA_REDUCE_SCATTER, how, n, kx, x + y, n - 1);
            check_each(HDA_ALL_REDUCE, how, n, kx, 2 * (x + y), 2 * (n - 1));
            case_t c;
            CHECK_INT(build(&c, HDA_ALL_REDUCE, how, n, kx, 1), HDA_OK);
            if (!both) check_sums(&c, x, y);
            release(&c);
            CHECK_INT(build(&c, HDA_REDUCE_SCATTER, how, n, kx, 1), HDA_OK);
            if (!both) check_sums(&c, x, y);
            release(&c);
        }
}

/* Those that start or end at the first member. */
static void roots(void) {
    for (int64_t n = 2; n <= 9; n++) {
        const uint32_t all = (1u << n) - 1;
        case_t c;
        CHECK_INT(build(&c, HDA_ALL_REDUCE, HDA_TREE, n, 0, 1), HDA_OK);
        CHECK_INT(c.messages, 2 * (n - 1)); /* the whole vector up and down every edge */
        for (int64_t i = 0; i < n; i++) CHECK_INT(ends_with(&c, i), all);
        for (int64_t i = 0; i < c.schedule.count; i++)
            if (c.schedule.messages[i].flits > 0)
                CHECK_INT(c.schedule.messages[i].flits, n * CHUNK);
        release(&c);

        for (int tree = 0; tree < 2; tree++) {
            CHECK_INT(build(&c, HDA_BROADCAST, tree ? HDA_TREE : HDA_DIRECT, n, 0, 1), HDA_OK);
            CHECK_INT(c.messages, n - 1);
            CHECK_INT(moved(&c, 0, 1), (tree ? bits(n) : n - 1) * CHUNK);
            for (int64_t i = 1; i < n; i++) {
                CHECK_INT(moved(&c, i, 0), CHUNK);
                CHECK(ends_with(&c, i) & 1);
            }
            release(&c);
        }
        CHECK_INT(build(&c, HDA_GATHER, HDA_DIRECT, n, 0, 1), HDA_OK);
        CHECK_INT(c.messages, n - 1);
        CHECK_INT(ends_with(&c, 0), all);
        CHECK_INT(moved(&c, 0, 0), (n - 1) * CHUNK);
        release(&c);
        CHECK_INT(build(&c, HDA_SEND, HDA_DIRECT, n, 0, 1), HDA_OK);
        CHECK_INT(c.messages, 1);
        CHECK_INT(moved(&c, 0, 1), CHUNK);
        CHECK_INT(moved(&c, 1, 0), CHUNK);
        release(&c);
    }
}

/* Broadcasts in pieces: everyone receives every one of them, and passes it on once it has it. */
static void pipelines(void) {
    for (int64_t pieces = 1; pieces <= CHUNK + 3; pieces += 2) {
        const int64_t used = pieces < CHUNK ? pieces : CHUNK;
        for (int grid = 0; grid < 2; grid++) {
            case_t c;
            CHECK_INT(
                build(&c, HDA_BROADCAST, grid ? HDA_ROW_COLUMN : HDA_CHAIN, 6, 3 * grid, pieces),
                HDA_OK);
            CHECK_INT(c.messages, 5 * used);
            CHECK_INT(c.joins, 0);
            for (int64_t i = 1; i < 6; i++) {
                CHECK_INT(moved(&c, i, 0), CHUNK);
                CHECK(ends_with(&c, i) & 1);
            }
            for (int64_t i = 0; i < c.schedule.count; i++) {
                const hda_message_t *m = &c.schedule.messages[i];
                CHECK_INT(m->count, m->source != c.members[0]);
                CHECK(m->flits == CHUNK / used || m->flits == CHUNK / used + 1);
                if (m->count > 0) /* the piece that came is the one that goes */
                    CHECK_INT(c.schedule.messages[c.schedule.deps[m->first]].flits, m->flits);
            }
            if (grid) /* the corner sends along its row and down its column, the others down */
                for (int64_t i = 0; i < 6; i++)
                    CHECK_INT(moved(&c, i, 1), (i == 0 ? 2 : i == 1 ? 2 : i == 2) * CHUNK);
            release(&c);
        }
    }
}

static void refusals(void) {
    static const int fits[HDA_COLLECTIVE_COUNT][HDA_ALGORITHM_COUNT] = {
        /* ring, bidirectional, direct, one shot, tree, recursive, 2-D, 2-D bidirectional, chain, row column */
        [HDA_ALL_GATHER] = {1, 1, 1, 0, 1, 1, 1, 1, 0, 0},
        [HDA_REDUCE_SCATTER] = {1, 1, 1, 0, 0, 1, 1, 1, 0, 0},
        [HDA_ALL_REDUCE] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 0},
        [HDA_ALL_TO_ALL] = {0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
        [HDA_BROADCAST] = {0, 0, 1, 0, 1, 0, 0, 0, 1, 1},
        [HDA_GATHER] = {0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
        [HDA_SEND] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, /* there is one way */
    };
    case_t c;
    for (int kind = -1; kind <= HDA_COLLECTIVE_COUNT; kind++)
        for (int how = -1; how <= HDA_ALGORITHM_COUNT; how++) {
            const int known =
                kind >= 0 && kind < HDA_COLLECTIVE_COUNT && how >= 0 && how < HDA_ALGORITHM_COUNT;
            if (kind == HDA_SEND && !known) continue;
            CHECK_INT(build(&c, (hda_collective_t)kind, (hda_algorithm_t)how, 4, 2, 1),
                      known && fits[kind][how] ? HDA_OK : HDA_E_RANGE);
            release(&c);
        }
    static const hda_algorithm_t on_grids[] = {HDA_TWO_D, HDA_TWO_D_BIDIRECTIONAL};
    for (int i = 0; i < 2; i++)
        for (int64_t columns = -1; columns <= 7; columns++) {
            const int whole = columns > 0 && 6 % columns == 0;
            CHECK_INT(build(&c, HDA_ALL_GATHER, on_grids[i], 6, columns, 1),
                      whole ? HDA_OK : HDA_E_RANGE);
            release(&c);
        }
    CHECK_INT(build(&c, HDA_BROADCAST, HDA_ROW_COLUMN, 6, 4, 1), HDA_E_RANGE);
    release(&c);
    for (int64_t n = 3; n <= 7; n++) {
        CHECK_INT(build(&c, HDA_ALL_REDUCE, HDA_RECURSIVE, n, 0, 1), n == 4 ? HDA_OK : HDA_E_RANGE);
        release(&c);
    }

    const int64_t members[4] = {5, 2, 9, 2};
    const struct {
        int64_t size, pieces, chunk;
        hda_status_t status;
    } cases[] = {{3, 1, 1, HDA_OK},
                 {4, 1, 1, HDA_E_RANGE}, /* 2 is there twice */
                 {0, 1, 1, HDA_E_RANGE},
                 {-1, 1, 1, HDA_E_RANGE},
                 {3, 0, 1, HDA_E_RANGE},
                 {3, 1, 0, HDA_E_RANGE},
                 {3, 1, -1, HDA_E_RANGE},
                 {3, 1, INT64_MAX, HDA_E_RANGE},
                 {2, 1, (int64_t)1 << 39, HDA_OK},
                 {2, 1, ((int64_t)1 << 39) + 1, HDA_E_RANGE},
                 {INT64_MAX, 1, 1, HDA_E_RANGE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int kind = 0; kind < HDA_SEND; kind++) {
            hda_schedule_t schedule = {0};
            const hda_group_t group = {members, cases[i].size, 0, cases[i].pieces};
            CHECK_INT(hda_schedule_collective(&schedule, &group, (hda_collective_t)kind, HDA_DIRECT,
                                              cases[i].chunk),
                      cases[i].status);
            hda_schedule_free(&schedule);
        }
}

/* Collectives are appended; one member has nothing to do. */
static void lists(void) {
    hda_schedule_t schedule = {0};
    const int64_t members[3] = {0, 1, 2}, deps[2] = {0, 1};
    hda_group_t group = {members, 1, 0, 1};
    for (int how = 0; how < HDA_ALGORITHM_COUNT; how++)
        CHECK_INT(
            hda_schedule_collective(&schedule, &group, HDA_ALL_REDUCE, (hda_algorithm_t)how, 5),
            HDA_OK);
    CHECK_INT(schedule.count, 0);
    CHECK_INT(hda_schedule_message(&schedule, 4, 5, 6, 7, NULL, 0), HDA_OK);
    CHECK_INT(hda_schedule_message(&schedule, 3, 5, 1, 0, NULL, 0), HDA_OK);
    CHECK_INT(hda_schedule_message(&schedule, 5, 5, 0, 0, deps, 2), HDA_OK);
    group.size = 3;
    CHECK_INT(hda_schedule_collective(&schedule, &group, HDA_ALL_GATHER, HDA_RING, 5), HDA_OK);
    CHECK_INT(schedule.count, 3 + 6);
    CHECK_INT(schedule.dep_count, 2 + 3);
    const hda_message_t *first = &schedule.messages[0], *join = &schedule.messages[2];
    CHECK(first->source == 4 && first->target == 5 && first->flits == 6 && first->delay == 7);
    CHECK(first->count == 0 && join->first == 0 && join->count == 2 && join->flits == 0);
    for (int64_t i = 6; i < 9; i++) { /* the second step waits for the first, past what was there */
        CHECK_INT(schedule.messages[i].count, 1);
        const int64_t before = schedule.deps[schedule.messages[i].first];
        CHECK(before >= 3 && before < 6);
    }
    hda_schedule_free(&schedule);
    CHECK(schedule.messages == NULL && schedule.deps == NULL && schedule.room == 0);
    hda_schedule_free(&schedule);
}

int main(void) {
    all_to_all_members();
    grids();
    roots();
    pipelines();
    refusals();
    lists();
    return failures != 0;
}
