#include <string.h>

#include "scalesim_memory.h"

hda_operand_t hda_operand(const hda_folds_t *folds, int operand) {
    const bool rows = folds->dataflow == HDA_OS
                          ? operand == HDA_IFMAP
                          : (operand == HDA_IFMAP) == (folds->dataflow == HDA_WS);
    hda_operand_t op = {.width = rows ? folds->rows : folds->cols,
                        .extent = rows ? folds->sr : folds->sc,
                        .depth = folds->t,
                        .by_column = !rows};
    if (!rows && folds->dataflow != HDA_OS) {
        op.loaded = true;
        op.depth = folds->sr;
    }
    return op;
}

hda_span_t hda_span(const hda_folds_t *folds, const hda_operand_t *op, int64_t col_fold,
                    int64_t row_fold, int64_t line) {
    hda_span_t span = {.block = op->by_column ? col_fold : row_fold};
    const int64_t used = hda_min64(op->width, op->extent - span.block * op->width);
    if (op->loaded) {
        const int64_t row = folds->rows - 1 - line;
        if (row < 0 || row >= folds->sr - row_fold * folds->rows) return span;
        span.row = row_fold * folds->rows + row;
        span.count = used;
        return span;
    }
    const int64_t diagonal = line - folds->lead;
    span.low = hda_max64(0, diagonal - op->depth + 1);
    span.row = diagonal - span.low;
    span.count = hda_max64(0, hda_min64(used - 1, diagonal) - span.low + 1);
    return span;
}

/* Slots of an unbounded quarter plane before diagonal x, modulo 2^64: the differences below are exact if they fit. */
static uint64_t triangle(int64_t x) {
    if (x <= 0) return 0;
    const uint64_t u = (uint64_t)x;
    return u % 2 ? u * (u / 2 + 1) : u / 2 * (u + 1);
}

int64_t hda_diagonals(int64_t height, int64_t width, int64_t d) {
    return (int64_t)(triangle(d) - triangle(d - height) - triangle(d - width) +
                     triangle(d - height - width));
}

/* ---- USER ----
 *
 * SCALE-Sim fetches an operand in a fixed order: blocks stacked below each other, a loaded operand row by row, a streamed one by the
 * anti-diagonals of the whole stack, each from its lowest row upwards. The rank of a word is its place among the words in that
 * order; slots beside the last, narrower block are empty and have no rank. A line's words have consecutive ranks. */

static int64_t rank_of(const hda_operand_t *op, const hda_span_t *span) {
    if (op->loaded) return span->block * op->depth * op->width + span->row * span->count;
    const int64_t last_block = (op->extent - 1) / op->width;
    const int64_t height = (last_block + 1) * op->depth, edge_row = last_block * op->depth;
    const int64_t edge =
        op->extent - last_block * op->width; /* first empty lane of the last block */
    const int64_t d = span->block * op->depth + span->row + span->low;
    int64_t rank = hda_diagonals(height, op->width, d) -
                   hda_diagonals(op->depth, op->width - edge, d - edge_row - edge);
    rank += span->low - hda_max64(0, d - height + 1);
    const int64_t empty_from = hda_max64(edge, d - height + 1),
                  empty_to = hda_min64(span->low - 1, d - edge_row);
    return rank - hda_max64(0, empty_to - empty_from + 1);
}

static void place_window(hda_reader_t *r) {
    const int64_t end = r->window + r->active;
    r->low = r->window * r->set_size;
    r->high = hda_min64(end, r->sets) * r->set_size;
    r->wrapped = hda_max64(0, end - r->sets) * r->set_size;
}

void hda_reader_start(hda_reader_t *r, int64_t buffer, int64_t bandwidth) {
    const int64_t half = hda_ceil_div(buffer, 2), other = buffer - half;
    r->set_size = hda_ceil_div(buffer, 100);
    r->sets = r->words / r->set_size + 1;
    r->active = hda_min64(hda_ceil_div(half, r->set_size), r->sets);
    r->step = hda_min64(hda_ceil_div(other, r->set_size), r->sets - r->active);
    r->window = 0;
    r->bandwidth = bandwidth;
    r->burst = hda_ceil_div(other, bandwidth);
    r->fill = hda_min64(hda_ceil_div(half, bandwidth), hda_ceil_div(r->slots, bandwidth));
    r->reads = r->fill * bandwidth;
    r->last = -1;
    place_window(r);
}

/* Prefetches end before this cycle, so that a wait counted twice, and a cycle with its offset, stay below 2^63. */
#define LATEST (INT64_MAX / 4)

/* One prefetch. SCALE-Sim adds a positive wait twice and lets a negative one shorten what follows. */
static hda_status_t prefetch(hda_reader_t *r, int64_t cycle, int64_t *offset) {
    if (__builtin_add_overflow(r->last, r->burst + 1, &r->last) ||
        __builtin_add_overflow(r->reads, r->burst * r->bandwidth, &r->reads) || r->last > LATEST)
        return HDA_E_OVERFLOW;
    const int64_t wait = r->last - (cycle + *offset);
    *offset += wait > 0 ? 2 * wait : wait;
    return HDA_OK;
}

/* Prefetches, one after the other, until the window covers the set `ahead` places further round the ring.
 *
 * Let slack = last - cycle - offset. With b = burst + 1, a prefetch makes it 0 if slack + b <= 0, else -(slack + b). After two it lies in
 * [-b, 0], where the second case always holds (0 = -0), and from then on it alternates between two values. */
static hda_status_t advance(hda_reader_t *r, int64_t ahead, int64_t cycle, int64_t *offset) {
    const int64_t steps = hda_ceil_div(ahead - r->active + 1, r->step);
    r->window += steps * r->step;
    if (r->window >= r->sets) r->window -= r->sets;
    for (int64_t i = 0; i < hda_min64(steps, 2); i++) {
        const hda_status_t status = prefetch(r, cycle, offset);
        if (status) return status;
    }
    if (steps > 2) {
        const int64_t b = r->burst + 1, slack = r->last - cycle - *offset;
        int64_t cycles, words;
        if (__builtin_mul_overflow(steps - 2, b, &cycles) ||
            __builtin_add_overflow(r->last, cycles, &r->last) ||
            __builtin_mul_overflow(steps - 2, r->burst * r->bandwidth, &words) ||
            __builtin_add_overflow(r->reads, words, &r->reads) || r->last > LATEST)
            return HDA_E_OVERFLOW;
        *offset = r->last - cycle - (steps % 2 ? -(slack + b) : slack);
    }
    place_window(r);
    return HDA_OK;
}

static int64_t places_ahead(const hda_reader_t *r, int64_t set) {
    return set < r->window ? set - r->window + r->sets : set - r->window;
}

static hda_status_t read_ranks(hda_reader_t *r, int64_t rank, int64_t count, int64_t cycle,
                               int64_t *offset) {
    if ((rank >= r->low && rank + count <= r->high) || rank + count <= r->wrapped) return HDA_OK;
    const int64_t last = (rank + count - 1) / r->set_size;
    for (int64_t set = rank / r->set_size; set <= last; set++) {
        const int64_t ahead = places_ahead(r, set);
        const hda_status_t status = ahead < r->active ? HDA_OK : advance(r, ahead, cycle, offset);
        if (status) return status;
    }
    return HDA_OK;
}

/* Places from the window's start to the next set that holds `address`. */
static int64_t word_ahead(const hda_reader_t *r, int64_t address) {
    const hda_conv_t *conv = r->conv;
    const int64_t first = conv->first_set[address], end = conv->first_set[address + 1];
    int64_t low = first, high = end;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (conv->set_of[middle] < r->window)
            low = middle + 1;
        else
            high = middle;
    }
    return places_ahead(r, conv->set_of[low < end ? low : first]);
}

static hda_status_t read_words(hda_reader_t *r, const hda_span_t *span, int64_t cycle,
                               int64_t *offset, bool *present) {
    *present = false;
    for (int64_t i = 0; i < span->count; i++) {
        const int64_t row = r->operand.loaded ? span->row : span->row - i;
        const int64_t address =
            hda_conv_address(r->conv, &r->operand, span->block, row, span->low + i);
        if (address < 0) continue;
        *present = true;
        const int64_t ahead = word_ahead(r, address);
        const hda_status_t status = ahead < r->active ? HDA_OK : advance(r, ahead, cycle, offset);
        if (status) return status;
    }
    return HDA_OK;
}

hda_status_t hda_reader_line(hda_reader_t *r, const hda_span_t *span, int64_t cycle,
                             int64_t *offset, bool *present) {
    *offset = 1;
    *present = span->count > 0;
    if (span->count == 0) return HDA_OK;
    if (r->conv) return read_words(r, span, cycle, offset, present);
    return read_ranks(r, rank_of(&r->operand, span), span->count, cycle, offset);
}

/* ---- CALC ----
 *
 * A buffer keeps what was fetched since its epoch began; the epoch ends, and all is forgotten, with the `capacity`-th word. A sweep
 * over at least `capacity` different words therefore hits nothing, and a smaller one is fetched once. */

/* Line within a fold on which word `index` (0-based, in order of access) of a streamed block of `used` lanes enters. */
static int64_t stream_line(const hda_folds_t *folds, const hda_operand_t *op, int64_t used,
                           int64_t index) {
    int64_t low = 0, high = op->depth + used - 2;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (hda_diagonals(op->depth, used, middle + 1) > index)
            high = middle;
        else
            low = middle + 1;
    }
    return folds->lead + low;
}

/* Line, over all folds, of access `index` (0-based). */
static int64_t line_of(const hda_folds_t *folds, const hda_operand_t *op, int64_t index) {
    const int64_t widest = hda_min64(op->width, op->extent), sweep = op->depth * op->extent;
    if (op->loaded) {
        const int64_t col_fold = index / (op->depth * widest);
        index -= col_fold * op->depth * widest;
        const int64_t used = hda_min64(op->width, op->extent - col_fold * op->width);
        const int64_t row = index / used,
                      row_fold = row / folds->rows; /* counted from the bottom of each fold */
        const int64_t rows = hda_min64(folds->rows, folds->sr - row_fold * folds->rows);
        return (col_fold * folds->row_folds + row_fold) * folds->lines + folds->rows - rows +
               row % folds->rows;
    }
    int64_t fold, used;
    if (op->by_column) {
        const int64_t repeated = op->depth * widest * folds->row_folds, block = index / repeated;
        used = hda_min64(op->width, op->extent - block * op->width);
        index -= block * repeated;
        fold = block * folds->row_folds + index / (op->depth * used);
        index %= op->depth * used;
    } else {
        const int64_t pass = index / sweep, block = index % sweep / (op->depth * widest);
        used = hda_min64(op->width, op->extent - block * op->width);
        index = index % sweep - block * op->depth * widest;
        fold = pass * folds->row_folds + block;
    }
    return fold * folds->lines + stream_line(folds, op, used, index);
}

/* os filter: each block is swept once for every row fold before the next block begins. */
static int64_t sweep_blocks(const hda_folds_t *folds, const hda_operand_t *op, int64_t capacity,
                            const volatile int32_t *stop, int64_t *reads) {
    int64_t fetched = 0, before = 0,
            close =
                -1; /* words in the epoch; accesses before the block; last access that closed one */
    for (int64_t block = 0; block < folds->col_folds && !*stop; block++) {
        const int64_t words = op->depth * hda_min64(op->width, op->extent - block * op->width);
        const int64_t accesses = words * folds->row_folds;
        if (words >= capacity) { /* nothing is ever hit */
            *reads += accesses;
            const bool closes = fetched + accesses >= capacity;
            fetched = (fetched + accesses) % capacity;
            if (closes) close = before + accesses - fetched - 1;
        } else if (fetched + words < capacity) { /* fetched once, kept for the other sweeps */
            *reads += words;
            fetched += words;
        } else { /* the epoch closes during the first sweep; what was before is fetched again in the second */
            const int64_t lost = capacity - fetched;
            close = before + lost - 1;
            *reads += words;
            fetched = words - lost;
            if (folds->row_folds > 1) {
                *reads += lost;
                fetched = words;
            }
        }
        before += accesses;
    }
    return close;
}

hda_epochs_t hda_epochs(const hda_folds_t *folds, const hda_operand_t *op, int64_t capacity,
                        const volatile int32_t *stop) {
    const int64_t words = op->depth * op->extent, base = (folds->folds - 1) * folds->lines;
    hda_epochs_t out = {.distinct = words, .reads = words, .close_line = -1};
    const int64_t last_used = op->extent - (op->extent - 1) / op->width * op->width;
    out.first_line = op->loaded ? folds->rows - hda_min64(folds->rows, folds->sr) : folds->lead;
    out.last_line = base + (op->loaded ? folds->rows - 1 : folds->lead + op->depth + last_used - 2);
    int64_t close = -1;
    if (op->by_column && !op->loaded) {
        out.reads = 0;
        close = sweep_blocks(folds, op, capacity, stop, &out.reads);
    } else if (words >= capacity) {
        out.reads = words * (op->loaded ? 1 : folds->col_folds);
        close = out.reads / capacity * capacity - 1;
    }
    if (close >= 0) out.close_line = line_of(folds, op, close);
    return out;
}

hda_status_t hda_epochs_conv(const hda_folds_t *folds, const hda_operand_t *op, hda_conv_t *conv,
                             int64_t capacity, const volatile int32_t *stop, hda_epochs_t *out) {
    memset(conv->epoch, 0, (size_t)conv->words * sizeof *conv->epoch);
    *out = (hda_epochs_t){.first_line = -1, .close_line = -1};
    uint32_t epoch = 1;
    int64_t fetched = 0, base = 0;
    for (int64_t col_fold = 0; col_fold < folds->col_folds; col_fold++) {
        for (int64_t row_fold = 0; row_fold < folds->row_folds; row_fold++, base += folds->lines) {
            for (int64_t line = 0; line < folds->lines; line++) {
                if (line % 4096 == 0 && *stop) return HDA_E_STOPPED;
                const hda_span_t span = hda_span(folds, op, col_fold, row_fold, line);
                for (int64_t i = 0; i < span.count; i++) {
                    const int64_t row = op->loaded ? span.row : span.row - i;
                    const int64_t address =
                        hda_conv_address(conv, op, span.block, row, span.low + i);
                    if (address < 0) continue;
                    out->last_line = base + line;
                    if (out->first_line < 0) out->first_line = base + line;
                    if (conv->epoch[address] == epoch) continue;
                    conv->epoch[address] = epoch;
                    out->reads++;
                    if (++fetched < capacity) continue;
                    out->close_line = base + line;
                    fetched = 0;
                    if (++epoch == 0) { /* after 2^32 epochs the marks are used again */
                        memset(conv->epoch, 0, (size_t)conv->words * sizeof *conv->epoch);
                        epoch = 1;
                    }
                }
            }
        }
    }
    out->distinct = out->reads; /* used only if no epoch closed */
    return HDA_OK;
}
