/* SCALE-Sim cases: invariants of every result, and two ways to the same number. A GEMM written as a convolution can be read word by
 * word; that must agree with the closed forms of CALC and the ranks of USER. */
#include "fuzz.h"
#include "scalesim.h"
#include "scalesim_conv.h"

static const int32_t go = 0;

static hda_scalesim_case_t make_case(bytes_t *in) {
    hda_scalesim_case_t c = {.dataflow = byte(in) % 3, .user = byte(in) % 2};
    const uint8_t odd = byte(in);
    c.rows = small(in, 1, odd & 1 ? 3 : 24);
    c.cols = small(in, 1, odd & 2 ? 3 : 24);
    for (int i = 0; i < HDA_OPERANDS; i++) {
        c.buffer[i] = byte(in) % 4 ? integer(in, 100, 1500) : 1024;
        c.bandwidth[i] = small(in, 1, 80);
    }
    if (odd % 3 == 0) {
        c.ifmap_h = small(in, 1, 20);
        c.ifmap_w = small(in, 1, 20);
        c.filter_h = 1 + byte(in) % (c.ifmap_h > 0 && c.ifmap_h < 21 ? c.ifmap_h : 4);
        c.filter_w = 1 + byte(in) % (c.ifmap_w > 0 && c.ifmap_w < 21 ? c.ifmap_w : 4);
        c.channels = small(in, 1, 6);
        c.stride = small(in, 1, 5);
        c.n = small(in, 1, 40);
        c.m = integer(in, 1, 400);
        c.k = integer(in, 1, 100);
        const bool fits = c.ifmap_h < 21 && c.ifmap_w < 21 && c.channels > 0 && c.channels < 7 &&
                          c.stride > 0 && c.stride < 6;
        if (fits && c.filter_h <= c.ifmap_h && c.filter_w <= c.ifmap_w) {
            c.m = hda_ceil_div(c.ifmap_h - c.filter_h + c.stride, c.stride) *
                  hda_ceil_div(c.ifmap_w - c.filter_w + c.stride, c.stride);
            c.k = c.filter_h * c.filter_w * c.channels;
        }
    } else {
        c.m = integer(in, 1, odd & 4 ? 200 : 40);
        c.n = integer(in, 1, odd & 8 ? 200 : 40);
        c.k = integer(in, 1, odd & 16 ? 200 : 40);
    }
    return c;
}

static void check_result(const hda_scalesim_case_t *c, const hda_scalesim_result_t *r) {
    hda_scalesim_compute_t closed;
    SANE(hda_scalesim_compute(c, &closed) == HDA_OK);
    SANE(r->stall_cycles >= 0 && r->total_cycles >= closed.cycles);
    SANE(r->total_cycles <= closed.cycles + r->stall_cycles);
    SANE(c->user || r->total_cycles == closed.cycles + r->stall_cycles);
    SANE(fabs(r->mapping - closed.mapping) < 1e-9 &&
         fabs(r->utilization - closed.utilization) < 1e-9);
    SANE(r->mapping > 0 && r->mapping < 1 + 1e-9 && r->utilization > 0 &&
         r->utilization <= r->mapping + 1e-9);
    /* no fewer cycles than the multiply-accumulates need; SCALE-Sim counts from 0 */
    SANE((double)(r->total_cycles + 1) * (double)c->rows * (double)c->cols >=
         (double)c->m * (double)c->n * (double)c->k);
    for (int i = 0; i < HDA_OPERANDS; i++) {
        SANE(r->sram_count[i] == closed.sram_count[i]);
        SANE(r->dram_start[i] <= r->dram_stop[i] && r->dram_count[i] >= 1);
        /* in USER a negative wait can date a read before an earlier one */
        SANE(r->sram_start[i] <= r->sram_stop[i] || (c->user && i != HDA_OFMAP));
    }
    const int64_t outputs = c->dataflow == HDA_OS ? c->m * c->n : r->sram_count[HDA_OFMAP];
    SANE(r->dram_count[HDA_OFMAP] >= outputs); /* partly filled rows may count as full */
    if (!c->user && !c->channels)
        SANE(r->dram_count[HDA_IFMAP] >= c->m * c->k && r->dram_count[HDA_FILTER] >= c->k * c->n);
    if (!c->user) SANE(r->dram_count[HDA_IFMAP] <= r->sram_count[HDA_IFMAP]);
}

/* The ifmap of a GEMM by closed form and word by word. */
static void check_two_ways(const hda_scalesim_case_t *gemm, hda_folds_t *f) {
    hda_scalesim_case_t layer = *gemm;
    layer.ifmap_h = layer.m;
    layer.ifmap_w = layer.filter_w = layer.k;
    layer.filter_h = layer.channels = layer.stride = 1;
    hda_conv_t conv = {0};
    SANE(!hda_conv_shares(&layer));
    SANE(hda_conv_prepare(&conv, &layer, &go) == HDA_OK);
    const hda_operand_t operand = hda_operand(f, HDA_IFMAP);
    if (!gemm->user) {
        const int64_t capacity = gemm->buffer[HDA_IFMAP] / 100 * 50;
        hda_epochs_t by_word;
        const hda_epochs_t closed = hda_epochs(f, &operand, capacity, &go);
        SANE(hda_epochs_conv(f, &operand, &conv, capacity, &go, &by_word) == HDA_OK);
        SANE(closed.reads == by_word.reads && closed.close_line == by_word.close_line);
        SANE(closed.first_line == by_word.first_line && closed.last_line == by_word.last_line);
    } else {
        hda_reader_t by_rank, by_word;
        memset(&by_rank, 0, sizeof by_rank);
        by_rank.operand = operand;
        by_rank.slots = hda_ceil_div(operand.extent, operand.width) * operand.width * operand.depth;
        by_rank.words = operand.extent * operand.depth;
        by_word = by_rank;
        SANE(hda_conv_sets(&conv, &by_word, gemm->buffer[HDA_IFMAP], &go) == HDA_OK);
        SANE(by_word.words == by_rank.words);
        hda_reader_start(&by_rank, gemm->buffer[HDA_IFMAP], gemm->bandwidth[HDA_IFMAP]);
        hda_reader_start(&by_word, gemm->buffer[HDA_IFMAP], gemm->bandwidth[HDA_IFMAP]);
        int64_t stalls = 0;
        for (int64_t fold = 0; fold < f->folds; fold++) {
            for (int64_t line = 0; line < f->lines; line++) {
                const hda_span_t span =
                    hda_span(f, &operand, fold / f->row_folds, fold % f->row_folds, line);
                int64_t a = 1, b = 1;
                bool present;
                SANE(hda_reader_line(&by_rank, &span, fold * f->lines + line + stalls, &a,
                                     &present) == HDA_OK);
                SANE(hda_reader_line(&by_word, &span, fold * f->lines + line + stalls, &b,
                                     &present) == HDA_OK);
                SANE(a == b && by_rank.reads == by_word.reads && by_rank.last == by_word.last);
                stalls += hda_max64(0, a - 1);
            }
        }
    }
    hda_conv_free(&conv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bytes_t in = {data, size, 0};
    in.tame = byte(&in) % 4 != 0;
    hda_scalesim_t *scratch = hda_scalesim_create();
    SANE(scratch != NULL);
    for (int i = 0; i < 3; i++) { /* the scratch is used again */
        const hda_scalesim_case_t layer = make_case(&in);
        hda_scalesim_result_t result;
        const hda_status_t status = hda_scalesim_run(scratch, &layer, 1 << 16, &go, &result);
        SANE(status == result.status);
        if (status != HDA_OK) {
            SANE(!in.tame || status == HDA_E_LONG || status == HDA_E_UNDEFINED);
            continue;
        }
        check_result(&layer, &result);
        if (layer.channels || layer.m > 1000 || layer.k > 1000) continue;
        hda_folds_t folds;
        SANE(hda_folds(&layer, &folds) == HDA_OK);
        check_two_ways(&layer, &folds);
    }
    hda_scalesim_destroy(scratch);
    return 0;
}
