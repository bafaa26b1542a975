#include "scalesim.h"

#include <stdlib.h>
#include <string.h>

#include "scalesim_conv.h"

struct hda_scalesim {
    hda_conv_t conv;
    hda_writer_t writer; /* its list of partial rows is kept */
};

hda_scalesim_t *hda_scalesim_create(void) { return calloc(1, sizeof(hda_scalesim_t)); }

void hda_scalesim_destroy(hda_scalesim_t *scratch) {
    if (!scratch) return;
    hda_conv_free(&scratch->conv);
    free(scratch->writer.partial);
    free(scratch);
}

/* ---- closed forms ---- */

hda_status_t hda_folds(const hda_scalesim_case_t *layer, hda_folds_t *f) {
    if (layer->rows < 1 || layer->cols < 1 || layer->m < 1 || layer->n < 1 || layer->k < 1)
        return HDA_E_RANGE;
    const bool os = layer->dataflow == HDA_OS;
    if (layer->dataflow < HDA_WS || layer->dataflow > HDA_IS) return HDA_E_RANGE;
    f->dataflow = layer->dataflow;
    f->rows = layer->rows;
    f->cols = layer->cols;
    f->sr = os ? layer->m : layer->k;
    f->sc = layer->dataflow == HDA_IS ? layer->m : layer->n;
    f->t = os ? layer->k : layer->dataflow == HDA_WS ? layer->m : layer->n;
    f->row_folds = hda_ceil_div(f->sr, f->rows);
    f->col_folds = hda_ceil_div(f->sc, f->cols);
    int64_t edges, total;
    if (__builtin_mul_overflow(f->rows, os ? 1 : 2, &edges) ||
        __builtin_add_overflow(edges, f->cols, &edges) ||
        __builtin_add_overflow(edges - 2, f->t, &f->lines) ||
        __builtin_mul_overflow(f->row_folds, f->col_folds, &f->folds) ||
        __builtin_mul_overflow(f->folds, f->lines, &total))
        return HDA_E_OVERFLOW;
    f->lead = os ? 0 : f->rows;
    f->out_lead = os ? f->t - 1 : 2 * f->rows - 1;
    return HDA_OK;
}

static hda_status_t count_sram(const hda_folds_t *f, const hda_scalesim_case_t *layer,
                               int64_t *count) {
    const int64_t repeats[] = {f->dataflow == HDA_IS ? 1 : f->col_folds,
                               f->dataflow == HDA_WS   ? 1
                               : f->dataflow == HDA_IS ? f->col_folds
                                                       : f->row_folds,
                               f->dataflow == HDA_OS ? 1 : f->row_folds};
    int64_t quirk = 0; /* os: SCALE-Sim also counts rows + cols for each fold */
    if (__builtin_mul_overflow(layer->m, layer->k, &count[HDA_IFMAP]) ||
        __builtin_mul_overflow(layer->k, layer->n, &count[HDA_FILTER]) ||
        __builtin_mul_overflow(layer->m, layer->n, &count[HDA_OFMAP]) ||
        (f->dataflow == HDA_OS && __builtin_mul_overflow(f->folds, f->rows + f->cols, &quirk)))
        return HDA_E_OVERFLOW;
    for (int i = 0; i < HDA_OPERANDS; i++)
        if (__builtin_mul_overflow(count[i], repeats[i], &count[i])) return HDA_E_OVERFLOW;
    return __builtin_add_overflow(count[HDA_OFMAP], quirk, &count[HDA_OFMAP]) ? HDA_E_OVERFLOW
                                                                              : HDA_OK;
}

/* Cycles by which SCALE-Sim divides a fold's work: for ws and is cols - 1 more than the fold has lines. */
static double fold_cycles(const hda_folds_t *f) {
    return (double)f->lines + (f->dataflow == HDA_OS ? 0 : (double)f->cols - 1);
}

hda_status_t hda_scalesim_compute(const hda_scalesim_case_t *layer, hda_scalesim_compute_t *out) {
    hda_folds_t f;
    const hda_status_t status = hda_folds(layer, &f);
    if (status) return status;
    out->cycles = f.folds * f.lines - 1;
    out->folds = f.folds;
    const double cells = (double)f.folds * (double)f.rows * (double)f.cols;
    out->mapping = (double)f.sr * (double)f.sc / cells;
    out->utilization = out->mapping * (double)f.t / fold_cycles(&f);
    return count_sram(&f, layer, out->sram_count);
}

/* The same two means added up fold by fold, as SCALE-Sim does: equal to the last digit. */
static hda_status_t mean_over_folds(const hda_folds_t *f, const volatile int32_t *stop,
                                    hda_scalesim_result_t *out) {
    const double cells = (double)f->rows * (double)f->cols, cycles = cells * fold_cycles(f);
    double mapping = 0, utilization = 0;
    for (int64_t col_fold = 0; col_fold < f->col_folds; col_fold++) {
        const double used_cols = (double)hda_min64(f->cols, f->sc - col_fold * f->cols);
        for (int64_t row_fold = 0; row_fold < f->row_folds; row_fold++) {
            if (row_fold % 4096 == 0 && *stop) return HDA_E_STOPPED;
            const double used = used_cols * (double)hda_min64(f->rows, f->sr - row_fold * f->rows);
            mapping += used / cells;
            utilization += used * (double)f->t / cycles;
        }
    }
    out->mapping = mapping / (double)f->folds;
    out->utilization = utilization / (double)f->folds;
    return HDA_OK;
}

/* ---- line by line ---- */

/* Lines of a fold on which words leave, and how many: a block of `depth` rows and `used` columns, skewed. */
typedef struct {
    int64_t first, lines, depth, used;
} leaving_t;

static leaving_t leaving(const hda_folds_t *f, int64_t col_fold, int64_t row_fold) {
    leaving_t out = {.first = f->out_lead,
                     .depth = f->t,
                     .used = hda_min64(f->cols, f->sc - col_fold * f->cols)};
    if (f->dataflow ==
        HDA_OS) { /* results leave bottom row first, after the rows that this fold does not use */
        out.depth = hda_min64(f->rows, f->sr - row_fold * f->rows);
        out.first += f->rows - out.depth;
    }
    out.lines = out.depth + out.used - 1;
    return out;
}

static int64_t leaving_words(const leaving_t *out, int64_t line) {
    const int64_t diagonal = line - out->first;
    return hda_max64(
        0, hda_min64(out->used - 1, diagonal) - hda_max64(0, diagonal - out->depth + 1) + 1);
}

typedef struct {
    const hda_folds_t *folds;
    const volatile int32_t *stop;
    hda_writer_t *writer;
    hda_scalesim_result_t *out;
    int64_t line, stalls; /* lines of earlier folds; stall cycles so far */
} run_t;

static hda_status_t add_stall(run_t *run, int64_t stall) {
    run->stalls += stall;
    /* far below 2^63, so that sums of a cycle and a line stay exact; no run of that length ends */
    return run->stalls > INT64_MAX / 4 ? HDA_E_OVERFLOW : HDA_OK;
}

static hda_status_t write_line(run_t *run, int64_t words, int64_t cycle, int64_t *served) {
    *served = cycle;
    if (words == 0) return HDA_OK;
    const hda_status_t status = hda_writer_line(run->writer, words, served);
    if (run->out->sram_start[HDA_OFMAP] < 0) run->out->sram_start[HDA_OFMAP] = *served;
    run->out->sram_stop[HDA_OFMAP] = *served;
    return status;
}

/* USER: both reads and the write of a line see the same cycle, the longest wait delays all later lines. */
static hda_status_t run_user(run_t *run, hda_reader_t *readers) {
    const hda_folds_t *f = run->folds;
    hda_scalesim_result_t *out = run->out;
    int64_t served = 0;
    for (int64_t fold = 0; fold < f->folds; fold++, run->line += f->lines) {
        const int64_t col_fold = fold / f->row_folds, row_fold = fold % f->row_folds;
        const leaving_t leave = leaving(f, col_fold, row_fold);
        for (int64_t line = 0; line < f->lines; line++) {
            if (*run->stop) return HDA_E_STOPPED;
            const int64_t cycle = run->line + line + run->stalls;
            int64_t stall = 0;
            hda_status_t status;
            for (int i = HDA_IFMAP; i <= HDA_FILTER; i++) {
                const hda_span_t span = hda_span(f, &readers[i].operand, col_fold, row_fold, line);
                if (span.count == 0) continue;
                int64_t offset;
                bool present;
                if ((status = hda_reader_line(&readers[i], &span, cycle, &offset, &present)))
                    return status;
                stall = hda_max64(stall, offset - 1);
                if (!present) continue;
                if (out->sram_start[i] < 0) out->sram_start[i] = cycle + offset;
                out->sram_stop[i] = cycle + offset;
            }
            if ((status = write_line(run, leaving_words(&leave, line), cycle, &served)))
                return status;
            if ((status = add_stall(run, hda_max64(stall, served - cycle)))) return status;
        }
    }
    out->total_cycles = served;
    return HDA_OK;
}

/* A line whose cycle is wanted. */
typedef struct {
    int64_t line, *cycle;
} probe_t;

/* CALC: reads never wait, so only lines that write matter, and among them only those at which a drain begins or a word waits. */
static hda_status_t run_calc(run_t *run, probe_t *probes, int count) {
    const hda_folds_t *f = run->folds;
    int next = 0;
    for (int64_t fold = 0; fold < f->folds; fold++, run->line += f->lines) {
        const leaving_t leave = leaving(f, fold / f->row_folds, fold % f->row_folds);
        const int64_t widest = hda_min64(leave.used, leave.depth),
                      level = leave.depth + leave.used - widest;
        for (int64_t line = leave.first; line < leave.first + leave.lines;) {
            if (*run->stop) return HDA_E_STOPPED;
            const int64_t cycle = run->line + line + run->stalls;
            for (; next < count && probes[next].line <= run->line + line; next++)
                *probes[next].cycle = probes[next].line + run->stalls;
            const int64_t words = leaving_words(&leave, line);
            if (words == widest) {
                const int64_t quiet =
                    hda_writer_quiet(run->writer, words, leave.first + level - line, cycle);
                if (quiet > 0) {
                    if (run->out->sram_start[HDA_OFMAP] < 0)
                        run->out->sram_start[HDA_OFMAP] = cycle;
                    run->out->sram_stop[HDA_OFMAP] = cycle + quiet - 1;
                    line += quiet;
                    continue;
                }
            }
            int64_t served;
            hda_status_t status = write_line(run, words, cycle, &served);
            if (!status) status = add_stall(run, served - cycle);
            if (status) return status;
            line++;
        }
    }
    for (; next < count; next++) *probes[next].cycle = probes[next].line + run->stalls;
    run->out->total_cycles = f->folds * f->lines - 1 + run->stalls;
    return HDA_OK;
}

static void sort_probes(probe_t *probes, int count) {
    for (int i = 1; i < count; i++) {
        const probe_t probe = probes[i];
        int j = i;
        for (; j > 0 && probes[j - 1].line > probe.line; j--) probes[j] = probes[j - 1];
        probes[j] = probe;
    }
}

static hda_status_t simulate_calc(run_t *run, hda_conv_t *conv, const hda_scalesim_case_t *layer) {
    hda_scalesim_result_t *out = run->out;
    hda_epochs_t epochs[2];
    probe_t probes[6];
    int64_t first[2], last[2], close[2] = {0, 0};
    int count = 0;
    for (int i = HDA_IFMAP; i <= HDA_FILTER; i++) {
        const hda_operand_t operand = hda_operand(run->folds, i);
        const int64_t capacity = layer->buffer[i] / 100 * 50;
        if (i == HDA_IFMAP && conv) {
            const hda_status_t status =
                hda_epochs_conv(run->folds, &operand, conv, capacity, run->stop, &epochs[i]);
            if (status) return status;
        } else {
            epochs[i] = hda_epochs(run->folds, &operand, capacity, run->stop);
        }
        probes[count++] = (probe_t){epochs[i].first_line, &first[i]};
        probes[count++] = (probe_t){epochs[i].last_line, &last[i]};
        if (epochs[i].close_line >= 0) probes[count++] = (probe_t){epochs[i].close_line, &close[i]};
    }
    sort_probes(probes, count);
    const hda_status_t status = run_calc(run, probes, count);
    if (status) return status;
    for (int i = HDA_IFMAP; i <= HDA_FILTER; i++) {
        const int64_t set = layer->buffer[i] / 100;
        out->sram_start[i] = first[i] + 1;
        out->sram_stop[i] = last[i] + 1;
        out->dram_count[i] = epochs[i].reads;
        /* ten words a cycle, SCALE-Sim's constant */
        if (epochs[i].close_line >= 0) {
            out->dram_start[i] = first[i] - hda_ceil_div(50 * set, 10);
            out->dram_stop[i] = close[i] + 1;
        } else {
            out->dram_start[i] = -hda_ceil_div(hda_ceil_div(epochs[i].distinct, set) * set, 10);
            out->dram_stop[i] = -1;
        }
    }
    return HDA_OK;
}

static hda_status_t simulate_user(run_t *run, hda_conv_t *conv, const hda_scalesim_case_t *layer) {
    hda_scalesim_result_t *out = run->out;
    hda_reader_t readers[2];
    hda_status_t status;
    for (int i = HDA_IFMAP; i <= HDA_FILTER; i++) {
        hda_reader_t *r = &readers[i];
        memset(r, 0, sizeof *r);
        r->operand = hda_operand(run->folds, i);
        const hda_operand_t *op = &r->operand;
        const int64_t blocks = hda_ceil_div(op->extent, op->width);
        int64_t lanes;
        if (layer->bandwidth[i] < 1) return HDA_E_RANGE;
        if (__builtin_mul_overflow(blocks, op->width, &lanes) ||
            __builtin_mul_overflow(lanes, op->depth, &r->slots))
            return HDA_E_OVERFLOW;
        r->words = op->depth * op->extent;
        if (i == HDA_IFMAP && conv &&
            (status = hda_conv_sets(conv, r, layer->buffer[i], run->stop)))
            return status;
        hda_reader_start(r, layer->buffer[i], layer->bandwidth[i]);
    }
    if ((status = run_user(run, readers))) return status;
    for (int i = HDA_IFMAP; i <= HDA_FILTER; i++) {
        out->dram_count[i] = readers[i].reads;
        out->dram_start[i] = -readers[i].fill;
        out->dram_stop[i] = readers[i].last;
    }
    return HDA_OK;
}

static hda_status_t check_convolution(const hda_scalesim_case_t *l) {
    int64_t down, across, window;
    if (l->ifmap_h < 1 || l->ifmap_w < 1 || l->filter_h < 1 || l->filter_w < 1 || l->channels < 1 ||
        l->stride < 1 || l->filter_h > l->ifmap_h || l->filter_w > l->ifmap_w)
        return HDA_E_RANGE;
    if (__builtin_add_overflow(l->ifmap_h, l->stride, &down) ||
        __builtin_add_overflow(l->ifmap_w, l->stride, &across))
        return HDA_E_OVERFLOW;
    down = hda_ceil_div(down - l->filter_h, l->stride);
    across = hda_ceil_div(across - l->filter_w, l->stride);
    if (__builtin_mul_overflow(down, across, &down) ||
        __builtin_mul_overflow(l->filter_h, l->filter_w, &window) ||
        __builtin_mul_overflow(window, l->channels, &window))
        return HDA_E_OVERFLOW;
    return down == l->m && window == l->k ? HDA_OK : HDA_E_RANGE;
}

static hda_status_t simulate(hda_scalesim_t *scratch, const hda_scalesim_case_t *layer,
                             int64_t max_lines, const volatile int32_t *stop,
                             hda_scalesim_result_t *out) {
    hda_folds_t folds;
    hda_status_t status = hda_folds(layer, &folds);
    if (!status) status = count_sram(&folds, layer, out->sram_count);
    if (!status && layer->channels) status = check_convolution(layer);
    if (status) return status;
    for (int i = 0; i < HDA_OPERANDS; i++)
        if (layer->buffer[i] < 100) return HDA_E_RANGE; /* a set has no word */
    if (layer->user && layer->bandwidth[HDA_OFMAP] < 1) return HDA_E_RANGE;
    if (folds.lines > max_lines / folds.folds) return HDA_E_LONG;
    if (folds.folds * folds.lines == 1) return HDA_E_UNDEFINED;

    hda_conv_t *conv = layer->channels && hda_conv_shares(layer) ? &scratch->conv : NULL;
    if (conv && (status = hda_conv_prepare(conv, layer, stop))) return status;
    if ((status = mean_over_folds(&folds, stop, out))) return status;
    for (int i = 0; i < HDA_OPERANDS; i++) out->sram_start[i] = -1;
    run_t run = {.folds = &folds, .stop = stop, .writer = &scratch->writer, .out = out};
    hda_writer_start(run.writer, layer->buffer[HDA_OFMAP],
                     layer->user ? layer->bandwidth[HDA_OFMAP] : layer->cols);
    status = layer->user ? simulate_user(&run, conv, layer) : simulate_calc(&run, conv, layer);
    if (!status) status = hda_writer_finish(run.writer, out->total_cycles);
    if (status) return status;
    out->stall_cycles = run.stalls;
    out->dram_count[HDA_OFMAP] = run.writer->writes;
    out->dram_start[HDA_OFMAP] = run.writer->start;
    out->dram_stop[HDA_OFMAP] = run.writer->stop;
    return HDA_OK;
}

hda_status_t hda_scalesim_run(hda_scalesim_t *scratch, const hda_scalesim_case_t *layer,
                              int64_t max_lines, const volatile int32_t *stop,
                              hda_scalesim_result_t *out) {
    memset(out, 0, sizeof *out);
    const hda_status_t status = simulate(scratch, layer, max_lines, stop, out);
    out->status = status;
    return status;
}
