#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static uint64_t mix(const int64_t key[4]) {
    uint64_t hash = 1469598103934665603ULL;
    for (int i = 0; i < 4; i++) {
        hash ^= (uint64_t)key[i];
        hash *= 0x9E3779B97F4A7C15ULL;
        hash ^= hash >> 29;
    }
    return hash;
}

static noc_entry_t *find(noc_entry_t *table, int64_t capacity, const int64_t key[4]) {
    for (uint64_t i = mix(key);; i++) {
        noc_entry_t *entry = &table[i & (uint64_t)(capacity - 1)];
        if (entry->key[2] == 0 || memcmp(entry->key, key, sizeof entry->key) == 0) return entry;
    }
}

static hda_status_t grow(hda_program_t *program) {
    const int64_t capacity = program->noc_capacity ? 2 * program->noc_capacity : 256;
    noc_entry_t *table = calloc((size_t)capacity, sizeof *table);
    if (table == NULL) return HDA_E_MEMORY;
    for (int64_t i = 0; i < program->noc_capacity; i++)
        if (program->noc_memo[i].key[2] != 0)
            *find(table, capacity, program->noc_memo[i].key) = program->noc_memo[i];
    free(program->noc_memo);
    program->noc_memo = table;
    program->noc_capacity = capacity;
    return HDA_OK;
}

static hda_status_t simulate(hda_program_t *program, const int64_t key[4], int64_t *cycles) {
    const hda_noc_t *noc = &program->device.noc;
    const hda_collective_t kind = (hda_collective_t)key[0];
    const int64_t count = hda_collective_messages(kind, key[1], key[2]);
    if (count > program->noc_scratch_messages) {
        free(program->noc_scratch);
        const size_t size = (size_t)count * (sizeof(hda_message_t) + sizeof(int64_t)) +
                            hda_noc_scratch_size(noc, count);
        program->noc_scratch = malloc(size);
        program->noc_scratch_messages = program->noc_scratch == NULL ? 0 : count;
        if (program->noc_scratch == NULL) return HDA_E_MEMORY;
    }
    hda_message_t *messages = program->noc_scratch;
    int64_t *done = (int64_t *)(messages + count);
    hda_status_t status = hda_collective_schedule(noc, kind, key[1], key[2], key[3], messages);
    if (status != HDA_OK) return status;
    return hda_noc_run(noc, messages, count, done + count, done, cycles);
}

hda_status_t engine_collective(hda_program_t *program, hda_collective_t kind, int64_t groups,
                               int64_t size, double bytes, int estimate, double *seconds) {
    *seconds = 0;
    if (size < 2 || !(bytes > 0)) return HDA_OK;
    const hda_device_t *device = &program->device;
    if (bytes / device->link_width > 1e12) return HDA_E_OVERFLOW;
    const int64_t flits = (int64_t)ceil(bytes / device->link_width);
    if (estimate) {
        *seconds =
            (double)hda_collective_zero_load(&device->noc, kind, size, flits) / device->frequency;
        return HDA_OK;
    }
    if (2 * program->noc_used >= program->noc_capacity) {
        hda_status_t status = grow(program);
        if (status != HDA_OK) return status;
    }
    const int64_t key[4] = {(int64_t)kind, groups, size, flits};
    noc_entry_t *entry = find(program->noc_memo, program->noc_capacity, key);
    if (entry->key[2] == 0) { /* no such size: empty */
        int64_t cycles;
        hda_status_t status = simulate(program, key, &cycles);
        if (status != HDA_OK) return status;
        memcpy(entry->key, key, sizeof key);
        entry->cycles = cycles;
        program->noc_used++;
    }
    *seconds = (double)entry->cycles / device->frequency;
    return HDA_OK;
}
