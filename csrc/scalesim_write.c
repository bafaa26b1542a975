#include <stdlib.h>
#include <string.h>

#include "scalesim_memory.h"

/* Words gather in request rows of `bandwidth` words. Once more than half of the buffer is in use, and no drain runs, the row being
 * filled is closed, full or not, and half a buffer of rows begins to drain, one a cycle; their words are free at once. A word that
 * finds no free place waits for the end of the running drain. SCALE-Sim counts a row that was closed early as full unless it is
 * the last of its drain: `free` may pass the size of the buffer, and the writes those that were asked for. */

void hda_writer_start(hda_writer_t *w, int64_t buffer, int64_t bandwidth) {
    const int64_t drain = buffer - hda_ceil_div(buffer, 2);
    w->bandwidth = bandwidth;
    w->burst = hda_ceil_div(drain, bandwidth);
    w->keep = buffer - drain;
    w->free = buffer;
    w->drain_end = 0;
    w->closed = w->drained = w->fill = 0;
    w->writes = 0;
    w->start = INT64_MAX;
    w->stop = INT64_MIN;
    w->partial_first = w->partial_last = 0;
}

static void store(hda_writer_t *w, int64_t words) {
    w->free -= words;
    w->fill += words;
    if (w->fill >= w->bandwidth) {
        w->closed += w->fill / w->bandwidth;
        w->fill %= w->bandwidth;
    }
}

static hda_status_t close_row(hda_writer_t *w) {
    if (w->fill == 0) return HDA_OK;
    if (w->partial_last == w->partial_room) {
        const int64_t count = w->partial_last - w->partial_first;
        if (count * 2 <= w->partial_room && count) {
            memmove(w->partial, w->partial + w->partial_first, (size_t)count * sizeof *w->partial);
        } else {
            const int64_t room = hda_max64(64, 2 * w->partial_room);
            hda_partial_t *grown = malloc((size_t)room * sizeof *grown);
            if (!grown) return HDA_E_MEMORY;
            if (count) memcpy(grown, w->partial + w->partial_first, (size_t)count * sizeof *grown);
            free(w->partial);
            w->partial = grown;
            w->partial_room = room;
        }
        w->partial_first = 0;
        w->partial_last = count;
    }
    w->partial[w->partial_last++] = (hda_partial_t){.row = w->closed++, .words = w->fill};
    w->fill = 0;
    return HDA_OK;
}

static hda_status_t drain(hda_writer_t *w, int64_t cycle) {
    const int64_t rows = hda_min64(w->burst, w->closed - w->drained), last = w->drained + rows - 1;
    int64_t words = rows * w->bandwidth;
    while (w->partial_first < w->partial_last && w->partial[w->partial_first].row <= last) {
        if (w->partial[w->partial_first].row == last)
            words -= w->bandwidth - w->partial[w->partial_first].words;
        w->partial_first++;
    }
    if (w->partial_first == w->partial_last) w->partial_first = w->partial_last = 0;
    w->drained += rows;
    if (__builtin_add_overflow(cycle, rows - 1, &w->drain_end) ||
        __builtin_add_overflow(w->writes, words, &w->writes) ||
        __builtin_add_overflow(w->free, words, &w->free))
        return HDA_E_OVERFLOW;
    w->start = hda_min64(w->start, cycle);
    w->stop = hda_max64(w->stop, w->drain_end);
    return HDA_OK;
}

hda_status_t hda_writer_line(hda_writer_t *w, int64_t words, int64_t *cycle) {
    while (words > 0) {
        if (*cycle < w->drain_end) {
            const int64_t now = hda_min64(words, hda_max64(1, w->free));
            store(w, now);
            words -= now;
            if (w->free <= 0) *cycle = w->drain_end;
            continue;
        }
        const int64_t now = hda_min64(words, hda_max64(1, w->free - w->keep + 1));
        store(w, now);
        words -= now;
        if (w->free < w->keep) {
            hda_status_t status = close_row(w);
            if (!status) status = drain(w, *cycle);
            if (status) return status;
        }
    }
    return HDA_OK;
}

int64_t hda_writer_quiet(hda_writer_t *w, int64_t words, int64_t lines, int64_t cycle) {
    if (cycle < w->drain_end)
        lines =
            hda_min64(lines, hda_min64(w->drain_end - cycle, hda_max64(0, w->free - 1) / words));
    else
        lines = hda_min64(lines, hda_max64(0, w->free - w->keep) / words);
    if (lines > 0) store(w, lines * words);
    return lines;
}

hda_status_t hda_writer_finish(hda_writer_t *w, int64_t cycle) {
    hda_status_t status = close_row(w);
    while (!status && w->drained < w->closed) {
        status = drain(w, cycle);
        cycle = w->drain_end + 1;
    }
    return status;
}
