/* What collectives cost: schedules simulated on the networks, once for every size, and the best algorithm for it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "resolve.h"

/* ---- memo: open addressing; `size` 0 marks an empty entry ---- */

static uint64_t mix(const collective_key_t *key) {
    const int64_t words[5] = {key->network, key->kind, key->groups, key->size, key->units};
    uint64_t hash = 1469598103934665603ULL;
    for (int i = 0; i < 5; i++) {
        hash ^= (uint64_t)words[i];
        hash *= 0x9E3779B97F4A7C15ULL;
        hash ^= hash >> 29;
    }
    return hash;
}

static int same(const collective_key_t *a, const collective_key_t *b) {
    return a->network == b->network && a->kind == b->kind && a->groups == b->groups &&
           a->size == b->size && a->units == b->units;
}

static collective_t *find(collective_t *table, int64_t capacity, const collective_key_t *key) {
    for (uint64_t i = mix(key);; i++) {
        collective_t *entry = &table[i & (uint64_t)(capacity - 1)];
        if (entry->key.size == 0 || same(&entry->key, key)) return entry;
    }
}

static hda_status_t reserve(collective_memo_t *memo) {
    if (2 * memo->used < memo->capacity) return HDA_OK;
    const int64_t capacity = memo->capacity ? 2 * memo->capacity : 256;
    collective_t *table = calloc((size_t)capacity, sizeof *table);
    if (table == NULL) return HDA_E_MEMORY;
    for (int64_t i = 0; i < memo->capacity; i++)
        if (memo->table[i].key.size != 0)
            *find(table, capacity, &memo->table[i].key) = memo->table[i];
    free(memo->table);
    memo->table = table;
    memo->capacity = capacity;
    return HDA_OK;
}

/* ---- between cores ---- */

/* Members of group g in the order that suits the algorithm. One ring is folded onto the line, 0 2 4 .. 5 3 1: no member sends further than
 * two places, and where neighbours on the line are one link apart no two messages ever want the same link. Two rings keep the line, which
 * suits lines that close. Grids need whole rows. */
static int place_members(const hda_noc_t *noc, const collective_key_t *key, hda_algorithm_t how,
                         int64_t g, int64_t *members) {
    const int64_t n = key->size, *line = noc->order + g * n;
    if (key->kind ==
        HDA_BROADCAST) { /* group g takes every groups-th core, from g on; rows turn as the line does */
        for (int64_t i = 0; i < n; i++) {
            const int64_t column = how == HDA_CHAIN || i % 2 == 0 ? g : key->groups - 1 - g;
            members[i] = noc->order[i * key->groups + column];
        }
        return 1;
    }
    if (how == HDA_TWO_D) {
        const int64_t columns = noc->columns;
        if (columns < 1 || n % columns != 0 || noc->node_count % columns != 0) return 0;
        int64_t least = line[0];
        for (int64_t i = 0; i < n; i++) least = hda_min64(least, line[i]);
        for (int64_t i = 0; i < n; i++) {
            if (line[i] - least >= n) return 0;
            members[i] = least + i;
        }
        return least % columns == 0;
    }
    const int folded = how == HDA_RING;
    for (int64_t i = 0; i < n; i++)
        members[i] = line[!folded ? i : 2 * i < n ? 2 * i : 2 * (n - i) - 1];
    return 1;
}

/* Algorithms of which every message waits for one chain of others, all chains alike: long or short, they are simulated by links. */
static int in_step(hda_algorithm_t how) {
    return how == HDA_RING || how == HDA_BIDIRECTIONAL || how == HDA_TWO_D;
}

/* Others are worth a try as long as they are short, when latency counts and all routers can be simulated in a moment. */
enum { SHORT_FLITS = 4, SHORT_MEMBERS = 64 };

static int worthwhile(const hda_noc_t *noc, const collective_key_t *key, hda_algorithm_t how) {
    if (key->kind == HDA_BROADCAST)
        return how == HDA_CHAIN || (how == HDA_ROW_COLUMN && key->groups > 1);
    if (key->kind == HDA_GATHER || key->kind == HDA_ALL_TO_ALL) return how == HDA_DIRECT;
    if (in_step(how)) return 1;
    if (how == HDA_RECURSIVE && (key->size & (key->size - 1)) != 0) return 0;
    return (how == HDA_DIRECT || how == HDA_RECURSIVE) && key->units <= SHORT_FLITS &&
           key->size <= SHORT_MEMBERS && noc->router_count > 1;
}

/* The schedule of `groups` concurrent collectives by one algorithm; *fits is 0 if the groups do not. Release it in any case. */
static hda_status_t build_groups(const hda_noc_t *noc, const collective_key_t *key,
                                 hda_algorithm_t how, hda_schedule_t *schedule, int *fits) {
    int64_t *members = malloc((size_t)key->size * sizeof *members);
    if (members == NULL) return HDA_E_MEMORY;
    const int64_t pieces = hda_ceil_div(key->units, noc->packet_flits); /* broadcast by packets */
    const hda_group_t group = {members, key->size, noc->columns, pieces};
    /* the reflected chain of place_members is a chain too */
    const hda_algorithm_t algorithm = how == HDA_ROW_COLUMN ? HDA_CHAIN : how;
    hda_status_t status = HDA_OK;
    *fits = 1;
    for (int64_t g = 0; g < key->groups && status == HDA_OK && *fits; g++) {
        *fits = place_members(noc, key, how, g, members);
        if (*fits)
            status = hda_schedule_collective(schedule, &group, (hda_collective_t)key->kind,
                                             algorithm, key->units);
    }
    free(members);
    return status;
}

/* Cycles of those; -1 if it does not fit or cannot take less than `limit` (if that is not negative). */
static hda_status_t core_cycles(const hda_noc_t *noc, const collective_key_t *key,
                                hda_algorithm_t how, double limit, int64_t *cycles) {
    hda_schedule_t schedule = {0};
    int fits;
    hda_status_t status = build_groups(noc, key, how, &schedule, &fits);
    int64_t *done = malloc((size_t)(schedule.count + 1) * sizeof *done);
    if (done == NULL) status = HDA_E_MEMORY;
    /* links that are busy until the tail has passed tell the truth where nothing waits, else too little: the limit first, then the routers;
     * chains of a broadcast meet where columns of cores are not columns of the network */
    const int meets = key->kind == HDA_BROADCAST ||
                      (key->kind != HDA_GATHER && !in_step(how) && key->units <= SHORT_FLITS);
    for (int router = 0; router <= meets && status == HDA_OK && fits; router++) {
        const int flags = router ? 0 : HDA_NOC_LINK;
        status = hda_noc_run(noc, schedule.messages, schedule.count, schedule.deps,
                             schedule.dep_count, flags, done, cycles);
        if (status == HDA_E_RANGE && router && noc->router_count == 1)
            status = HDA_OK; /* more ports than a simulated router has: links alone */
        fits = limit < 0 || (double)*cycles < limit;
    }
    if (!fits) *cycles = -1;
    free(done);
    hda_schedule_free(&schedule);
    return status;
}

/* Where messages wait only for their own chain, cycles rise linearly with the chunk; three sizes tell whether they do. Kept in the memo with
 * `units` 0: seconds = cycles of an empty chunk, bytes = cycles of each unit, algorithm = 1 if linear, else the algorithm does not fit the
 * group, or its messages meet on links. Then it is not used, but for the one ring that every group has, which is simulated for every size. */
static hda_status_t chain_line(hda_program_t *program, const collective_key_t *key,
                               hda_algorithm_t how, collective_t *line) {
    const collective_key_t own = {LINES + how, key->kind, key->groups, key->size, 0};
    collective_memo_t *memo = &program->collectives;
    TRY(reserve(memo));
    *line = *find(memo->table, memo->capacity, &own);
    if (line->key.size != 0) return HDA_OK;
    *line = (collective_t){.key = own};
    int64_t cycles[3];
    for (int i = 0; i < 3; i++) {
        collective_key_t sample = *key;
        sample.units = (int64_t)64 << i;
        TRY(core_cycles(&program->device.noc, &sample, how, -1, &cycles[i]));
    }
    line->bytes = (double)(cycles[1] - cycles[0]) / 64.0;
    line->seconds = (double)cycles[0] - 64.0 * line->bytes;
    line->algorithm = cycles[0] >= 0 && cycles[2] - cycles[1] == 2 * (cycles[1] - cycles[0]);
    *find(memo->table, memo->capacity, &own) = *line;
    memo->used++;
    return HDA_OK;
}

static hda_status_t cycles_by(hda_program_t *program, const collective_key_t *key,
                              hda_algorithm_t how, double limit, double *cycles) {
    if (in_step(how)) {
        collective_t line;
        TRY(chain_line(program, key, how, &line));
        const int64_t units = how == HDA_BIDIRECTIONAL ? key->units + key->units % 2 : key->units;
        *cycles = line.algorithm ? line.seconds + line.bytes * (double)units : -1;
        if (line.algorithm || how != HDA_RING || line.seconds < 0) return HDA_OK;
    }
    int64_t simulated;
    TRY(core_cycles(&program->device.noc, key, how, limit, &simulated));
    *cycles = (double)simulated;
    return HDA_OK;
}

static hda_status_t best_on_cores(hda_program_t *program, collective_t *entry) {
    double best = -1;
    static const hda_algorithm_t cheap_first[] = {HDA_RING,  HDA_BIDIRECTIONAL, HDA_TWO_D,
                                                  HDA_CHAIN, HDA_ROW_COLUMN,    HDA_RECURSIVE,
                                                  HDA_DIRECT};
    for (size_t i = 0; i < sizeof cheap_first / sizeof *cheap_first; i++) {
        const hda_algorithm_t how = cheap_first[i];
        if (!worthwhile(&program->device.noc, &entry->key, how)) continue;
        double cycles;
        TRY(cycles_by(program, &entry->key, how, best, &cycles));
        if (cycles < 0 || (best >= 0 && cycles >= best)) continue;
        best = cycles;
        entry->algorithm = how;
    }
    entry->seconds = best / program->device.frequency;
    return best >= 0 ? HDA_OK : HDA_E_RANGE;
}

/* ---- between devices ---- */

static const hda_algorithm_t DEVICE_ALGORITHMS[] = {
    [HDA_P2P_DIRECT] = HDA_DIRECT,   [HDA_P2P_RING] = HDA_RING,           [HDA_P2P_TREE] = HDA_TREE,
    [HDA_P2P_TWO_SHOT] = HDA_DIRECT, [HDA_P2P_RECURSIVE] = HDA_RECURSIVE,
};

static hda_algorithm_t device_algorithm(int64_t kind, int32_t choice) {
    if (kind == HDA_ALL_TO_ALL || kind == HDA_SEND) return HDA_DIRECT;
    if (kind == HDA_ALL_REDUCE && choice == HDA_P2P_DIRECT) return HDA_ONE_SHOT;
    if (kind == HDA_REDUCE_SCATTER && choice == HDA_P2P_TREE) return HDA_DIRECT; /* has no tree */
    return DEVICE_ALGORITHMS[choice];
}

/* Links of a network of devices; those of the ranks that share experts are their own. */
static const hda_links_t *links_of(const hda_program_t *program, int64_t network) {
    return network == ON_EXPERTS ? &program->device.expert_links : &program->device.links;
}

static hda_status_t on_devices(const hda_program_t *program, collective_t *entry, int32_t choice,
                               double *seconds, double *bytes) {
    const collective_key_t *key = &entry->key;
    hda_schedule_t schedule = {0};
    int64_t *members = malloc(2 * (size_t)key->size * sizeof *members);
    if (members == NULL) return HDA_E_MEMORY;
    int64_t *received = members + key->size, picoseconds = 0;
    for (int64_t i = 0; i < key->size; i++) members[i] = i, received[i] = 0;
    const hda_group_t group = {members, key->size, 0, 1};
    hda_status_t status = hda_schedule_collective(&schedule, &group, (hda_collective_t)key->kind,
                                                  device_algorithm(key->kind, choice), key->units);
    int64_t *done = malloc((size_t)(schedule.count + 1) * sizeof *done);
    if (done == NULL) status = HDA_E_MEMORY;
    if (status == HDA_OK)
        status = hda_links_run(links_of(program, key->network), schedule.messages, schedule.count,
                               schedule.deps, schedule.dep_count, done, &picoseconds);
    int64_t most = 0;
    for (int64_t i = 0; i < schedule.count && status == HDA_OK; i++) {
        const hda_message_t *m = &schedule.messages[i];
        received[m->target] += m->flits;
        most = hda_max64(most, received[m->target]);
    }
    *seconds = (double)picoseconds * 1e-12;
    *bytes = (double)most;
    free(done);
    free(members);
    hda_schedule_free(&schedule);
    return status;
}

static hda_status_t look_up(hda_program_t *program, const collective_key_t *key,
                            collective_t *found);

/* All algorithms are tried at powers of two; in between, those that are best at either end. */
static hda_status_t best_on_devices(hda_program_t *program, collective_t *entry) {
    const int32_t named = program->device.p2p_algorithm;
    const collective_key_t *key = &entry->key;
    int64_t lower = 1;
    while (2 * lower <= key->units) lower *= 2;
    int64_t ends[2] = {named, named};
    for (int i = 0; i < 2 && named == HDA_P2P_AUTO && lower != key->units; i++) {
        collective_key_t end = *key;
        end.units = lower << i;
        collective_t found;
        TRY(look_up(program, &end, &found));
        ends[i] = found.algorithm;
    }
    double best = -1;
    for (int32_t choice = HDA_P2P_DIRECT; choice < HDA_P2P_COUNT; choice++) {
        if (ends[0] != HDA_P2P_AUTO && choice != ends[0] && choice != ends[1]) continue;
        if (choice == HDA_P2P_RECURSIVE && (key->size & (key->size - 1)) != 0) continue;
        double seconds, bytes;
        TRY(on_devices(program, entry, choice, &seconds, &bytes));
        if (best >= 0 && seconds >= best) continue;
        best = entry->seconds = seconds;
        entry->bytes = bytes;
        entry->algorithm = choice;
    }
    return best >= 0 ? HDA_OK : HDA_E_RANGE;
}

/* ---- what operators ask for ---- */

static hda_status_t look_up(hda_program_t *program, const collective_key_t *key,
                            collective_t *found) {
    collective_memo_t *memo = &program->collectives;
    TRY(reserve(memo));
    *found = *find(memo->table, memo->capacity, key);
    if (found->key.size != 0) return HDA_OK;
    *found = (collective_t){.key = *key};
    TRY(key->network == ON_CORES ? best_on_cores(program, found) : best_on_devices(program, found));
    TRY(reserve(memo)); /* others may have been kept meanwhile */
    *find(memo->table, memo->capacity, key) = *found;
    memo->used++;
    return HDA_OK;
}

/* Least cycles of a broadcast, to rank mappings by: the latency of one flit along a chain, and the busiest port or link of all chains for every
 * flit. Kept in the memo like a chain_line. */
static hda_status_t rank_broadcast(hda_program_t *program, const collective_key_t *key,
                                   double *cycles) {
    const hda_noc_t *noc = &program->device.noc;
    const collective_key_t own = {LINES + HDA_CHAIN, key->kind, key->groups, key->size, 0};
    collective_memo_t *memo = &program->collectives;
    TRY(reserve(memo));
    collective_t *line = find(memo->table, memo->capacity, &own);
    for (int how = HDA_CHAIN; how <= HDA_ROW_COLUMN && line->key.size == 0; how++) {
        if (!worthwhile(noc, key, (hda_algorithm_t)how)) continue;
        hda_schedule_t schedule = {0};
        hda_noc_load_t load = {0};
        collective_key_t flit = *key;
        flit.units = 1;
        int fits;
        hda_status_t status = build_groups(noc, &flit, (hda_algorithm_t)how, &schedule, &fits);
        if (status == HDA_OK)
            status = hda_noc_load(noc, schedule.messages, schedule.count, schedule.deps,
                                  schedule.dep_count, &load);
        hda_schedule_free(&schedule);
        if (status != HDA_OK) return status;
        const double rate = (double)hda_max64(load.link, hda_max64(load.inject, load.eject));
        if (line->bytes > 0 && rate >= line->bytes) continue;
        line->bytes = rate;
        line->seconds = (double)load.cycles;
    }
    memo->used += line->key.size == 0;
    line->key = own;
    *cycles = line->seconds + line->bytes * (double)key->units;
    return HDA_OK;
}

/* Least cycles of a ring (or of a gather) over neighbours one link apart, to rank mappings by before anything is simulated: n - 1
 * steps of one chunk each for an all-gather or a reduce-scatter, twice that for an all-reduce, and one message's fixed
 * cost for each step. */
static double ranking_cycles(const hda_noc_t *noc, const collective_key_t *key) {
    const double n = (double)key->size, chunk = (double)key->units;
    const double hop = noc->router_count > 1 ? (double)(noc->router_delay + noc->link_delay) : 0.0;
    const double fixed = (double)(noc->router_delay + noc->port_delay) + hop;
    if (key->kind == HDA_GATHER) return (n - 1) * chunk + fixed;
    return (key->kind == HDA_ALL_REDUCE ? 2 : 1) * (n - 1) * (chunk + fixed + hop);
}

/* Weights are broadcast packet by packet, so many that only the rate counts: once the chains are filled, cycles rise linearly with flits. Two lengths
 * give the line, and mappings can be ranked by it. */
enum { LONG_BROADCAST = 512 };

static hda_status_t long_broadcast(hda_program_t *program, collective_key_t key, double *seconds) {
    const double units = (double)key.units;
    double time[2];
    for (int i = 0; i < 2; i++) {
        collective_t found;
        key.units = i ? LONG_BROADCAST : LONG_BROADCAST / 2;
        const hda_status_t status = look_up(program, &key, &found);
        if (status != HDA_OK) return status;
        time[i] = found.seconds;
    }
    *seconds = time[1] + (time[1] - time[0]) * (units / (LONG_BROADCAST / 2) - 2);
    return HDA_OK;
}

hda_status_t engine_collective(hda_program_t *program, hda_collective_t kind, int64_t groups,
                               int64_t size, double bytes, int estimate, double *seconds) {
    *seconds = 0;
    if (size < 2 || !(bytes > 0)) return HDA_OK;
    const hda_device_t *device = &program->device;
    if (bytes / device->link_width > 1e12) return HDA_E_OVERFLOW;
    const collective_key_t key = {ON_CORES, kind, groups, size,
                                  (int64_t)ceil(bytes / device->link_width)};
    if (estimate) {
        double cycles = ranking_cycles(&device->noc, &key);
        if (kind == HDA_BROADCAST) TRY(rank_broadcast(program, &key, &cycles));
        *seconds = cycles / device->frequency;
        return HDA_OK;
    }
    if (kind == HDA_BROADCAST && key.units > LONG_BROADCAST)
        return long_broadcast(program, key, seconds);
    collective_t found;
    const hda_status_t status = look_up(program, &key, &found);
    if (status == HDA_OK) *seconds = found.seconds;
    return status;
}

/* Between the two sizes of the table that enclose it. */
static double measured_seconds(const double *table, hda_collective_t kind, double bytes) {
    static const int row[] = {[HDA_ALL_REDUCE] = 0,
                              [HDA_ALL_GATHER] = 1,
                              [HDA_ALL_TO_ALL] = 2,
                              [HDA_SEND] = 3,
                              [HDA_REDUCE_SCATTER] = 4};
    const double *seconds = table + row[kind] * HDA_MEASURED_SIZES;
    const double place = 4 * log2(hda_fmax(bytes, 1));
    const int lower = (int)hda_fmin(place, HDA_MEASURED_SIZES - 2);
    return seconds[lower] + (seconds[lower + 1] - seconds[lower]) * (place - lower);
}

hda_status_t engine_exchange(hda_program_t *program, int32_t network, hda_collective_t kind,
                             double bytes, double *seconds, double *received) {
    const int64_t n = engine_devices(&program->device, network);
    const double *table =
        network == ON_EXPERTS ? program->device.expert_measured : program->device.measured;
    *seconds = *received = 0;
    if ((n < 2 && kind != HDA_SEND) || !(bytes > 0)) return HDA_OK;
    if (bytes > 1e12) return HDA_E_OVERFLOW;
    const double d = (double)n;
    if (table != NULL) {
        const double own = kind == HDA_ALL_TO_ALL ? bytes / d : bytes;
        *seconds = measured_seconds(table, kind, own);
        *received = kind == HDA_SEND ? bytes : (kind == HDA_ALL_REDUCE ? 2 : 1) * (d - 1) / d * own;
        return HDA_OK;
    }
    double chunk = bytes;
    if (kind != HDA_ALL_TO_ALL && kind != HDA_SEND) chunk /= d;
    if (kind == HDA_ALL_TO_ALL) chunk /= d * d;
    const collective_key_t key = {network, kind, 1, kind == HDA_SEND ? 2 : n, (int64_t)ceil(chunk)};
    collective_t found;
    const hda_status_t status = look_up(program, &key, &found);
    if (status != HDA_OK) return status;
    *seconds = found.seconds;
    *received = found.bytes;
    return HDA_OK;
}
