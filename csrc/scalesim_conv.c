#include "scalesim_conv.h"

#include <stdlib.h>
#include <string.h>

/* Output rows or columns of a window over `size`; the last one may hang over the edge. */
static int64_t windows(int64_t size, int64_t filter, int64_t stride) {
    return hda_ceil_div(size - filter + stride, stride);
}

static bool shares(int64_t size, int64_t filter, int64_t stride) {
    const int64_t count = windows(size, filter, stride);
    return count > 1 && (stride < filter || (count - 1) * stride + filter > size);
}

bool hda_conv_shares(const hda_scalesim_case_t *layer) {
    return shares(layer->ifmap_h, layer->filter_h, layer->stride) ||
           shares(layer->ifmap_w, layer->filter_w, layer->stride);
}

int64_t hda_conv_address(const hda_conv_t *conv, const hda_operand_t *op, int64_t block,
                         int64_t row, int64_t lane) {
    int64_t m, k; /* the windows lie along the rows of a ws block, along the lanes of os and is */
    if (conv->dataflow == HDA_WS) {
        m = row;
        k = block * op->width + lane;
    } else {
        m = block * op->width + lane;
        k = row;
    }
    if (conv->window_row[m] + conv->element_row[k] >= conv->height ||
        conv->window_col[m] + conv->element_col[k] >= conv->width)
        return -1;
    return conv->window[m] + conv->offset[k];
}

static bool reserve(void *pointer, int64_t count, size_t size) {
    void **array = pointer;
    void *grown = realloc(*array, (size_t)hda_max64(count, 1) * size);
    if (grown) *array = grown;
    return grown != NULL;
}

hda_status_t hda_conv_prepare(hda_conv_t *conv, const hda_scalesim_case_t *layer,
                              const volatile int32_t *stop) {
    int64_t words, reads;
    if (__builtin_mul_overflow(layer->ifmap_h, layer->ifmap_w, &words) ||
        __builtin_mul_overflow(words, layer->channels, &words) ||
        __builtin_mul_overflow(layer->m, layer->k, &reads) || words > HDA_CONV_MOST ||
        reads > HDA_CONV_MOST)
        return HDA_E_MEMORY;
    conv->words = words;
    conv->height = layer->ifmap_h;
    conv->width = layer->ifmap_w;
    conv->dataflow = layer->dataflow;
    if (!reserve(&conv->window, layer->m, sizeof *conv->window) ||
        !reserve(&conv->window_row, layer->m, sizeof *conv->window_row) ||
        !reserve(&conv->window_col, layer->m, sizeof *conv->window_col) ||
        !reserve(&conv->offset, layer->k, sizeof *conv->offset) ||
        !reserve(&conv->element_row, layer->k, sizeof *conv->element_row) ||
        !reserve(&conv->element_col, layer->k, sizeof *conv->element_col) ||
        (!layer->user && !reserve(&conv->epoch, words, sizeof *conv->epoch)))
        return HDA_E_MEMORY;
    const int64_t across = windows(layer->ifmap_w, layer->filter_w, layer->stride);
    for (int64_t m = 0; m < layer->m; m++) {
        if (m % 4096 == 0 && *stop) return HDA_E_STOPPED;
        /* a stride beyond the edge leaves a window quite outside */
        const int64_t row = hda_min64(m / across * layer->stride, layer->ifmap_h);
        const int64_t col = hda_min64(m % across * layer->stride, layer->ifmap_w);
        conv->window_row[m] = (int32_t)row;
        conv->window_col[m] = (int32_t)col;
        conv->window[m] = (row * layer->ifmap_w + col) * layer->channels;
    }
    for (int64_t k = 0; k < layer->k; k++) {
        if (k % 4096 == 0 && *stop) return HDA_E_STOPPED;
        const int64_t pixel = k / layer->channels, row = pixel / layer->filter_w,
                      col = pixel % layer->filter_w;
        conv->element_row[k] = (int32_t)row;
        conv->element_col[k] = (int32_t)col;
        conv->offset[k] = (row * layer->ifmap_w + col) * layer->channels + k % layer->channels;
    }
    return HDA_OK;
}

/* One walk over the fetch matrix. */
typedef struct {
    hda_conv_t *conv;
    int64_t set_size, rank;
    bool store; /* first pass: count the sets of each word; second: write them */
    int32_t *newest;
} visit_t;

static void visit(visit_t *v, int64_t address) {
    if (address < 0) return;
    const int32_t set = (int32_t)(v->rank++ / v->set_size);
    if (v->newest[address] == set) return; /* a word twice in one set is one element of it */
    v->newest[address] = set;
    if (v->store)
        v->conv->set_of[v->conv->first_set[address]++] = set;
    else
        v->conv->first_set[address + 1]++;
}

static hda_status_t visit_all(visit_t *v, const hda_operand_t *op, const volatile int32_t *stop) {
    const int64_t blocks = hda_ceil_div(op->extent, op->width), height = blocks * op->depth;
    v->rank = 0;
    memset(v->newest, 0xff, (size_t)v->conv->words * sizeof *v->newest); /* -1 */
    if (op->loaded) {
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t used = hda_min64(op->width, op->extent - block * op->width);
            for (int64_t row = 0; row < op->depth; row++) {
                if (*stop) return HDA_E_STOPPED;
                for (int64_t lane = 0; lane < used; lane++)
                    visit(v, hda_conv_address(v->conv, op, block, row, lane));
            }
        }
        return HDA_OK;
    }
    for (int64_t d = 0; d < height + op->width - 1; d++) {
        if (*stop) return HDA_E_STOPPED;
        const int64_t end = hda_min64(op->width - 1, d);
        for (int64_t lane = hda_max64(0, d - height + 1); lane <= end; lane++) {
            const int64_t block = (d - lane) / op->depth;
            if (block * op->width + lane >= op->extent) continue; /* beside the last block */
            visit(v, hda_conv_address(v->conv, op, block, (d - lane) % op->depth, lane));
        }
    }
    return HDA_OK;
}

hda_status_t hda_conv_sets(hda_conv_t *conv, hda_reader_t *reader, int64_t buffer,
                           const volatile int32_t *stop) {
    visit_t v = {.conv = conv, .set_size = hda_ceil_div(buffer, 100)};
    if (!reserve(&conv->first_set, conv->words + 1, sizeof *conv->first_set) ||
        !(v.newest = malloc((size_t)hda_max64(conv->words, 1) * sizeof *v.newest)))
        return HDA_E_MEMORY;
    memset(conv->first_set, 0, (size_t)(conv->words + 1) * sizeof *conv->first_set);
    hda_status_t status = visit_all(&v, &reader->operand, stop);
    if (!status) {
        for (int64_t a = 0; a < conv->words; a++) conv->first_set[a + 1] += conv->first_set[a];
        if (!reserve(&conv->set_of, conv->first_set[conv->words], sizeof *conv->set_of))
            status = HDA_E_MEMORY;
    }
    v.store = true;
    if (!status) status = visit_all(&v, &reader->operand, stop);
    if (!status) { /* the second pass left each start at its end */
        memmove(conv->first_set + 1, conv->first_set,
                (size_t)conv->words * sizeof *conv->first_set);
        conv->first_set[0] = 0;
    }
    free(v.newest);
    reader->words = v.rank;
    reader->conv = conv;
    return status;
}

void hda_conv_free(hda_conv_t *conv) {
    free(conv->window);
    free(conv->window_row);
    free(conv->window_col);
    free(conv->offset);
    free(conv->element_row);
    free(conv->element_col);
    free(conv->first_set);
    free(conv->set_of);
    free(conv->epoch);
    memset(conv, 0, sizeof *conv);
}
