/* SCALE-Sim's three memories: the window of USER reads, the epochs of CALC reads, and the drains of writes. Internal. */
#ifndef HDA_SCALESIM_MEMORY_H
#define HDA_SCALESIM_MEMORY_H

#include <stdbool.h>

#include "scalesim.h"

/* ---- the layer as folds ---- */
typedef struct {
    int64_t rows, cols, sr, sc, t, row_folds, col_folds, folds, lines;
    int64_t
        lead; /* first line on which streamed operands enter: rows for ws and is (after the load), 0 for os */
    int64_t out_lead; /* first line on which column 0 writes */
    int32_t dataflow;
} hda_folds_t;

/* Maps a layer to folds; refuses sizes below 1 and counts of lines past 63 bits. */
hda_status_t hda_folds(const hda_scalesim_case_t *layer, hda_folds_t *folds);

/* How one operand enters. Streamed: block `b` is T rows x `width` lanes, skewed by one line a lane. Loaded (the stationary operand):
 * a block's rows enter bottom first, one a line, before the streams. */
typedef struct {
    bool loaded, by_column; /* by_column: the column fold selects the block, else the row fold */
    int64_t width, extent;  /* lanes of a line, and of all blocks together */
    int64_t depth;          /* rows of a block: T when streamed, Sr when loaded */
} hda_operand_t;

/* Words of one line: lanes [low, low + count) of one block; when streamed, lane `low + i` carries row `row - i`. */
typedef struct {
    int64_t block, row, low, count;
} hda_span_t;

hda_operand_t hda_operand(const hda_folds_t *folds, int operand);
hda_span_t hda_span(const hda_folds_t *folds, const hda_operand_t *operand, int64_t col_fold,
                    int64_t row_fold, int64_t line);

/* ---- convolution: addresses of the ifmap's words ---- */
typedef struct {
    int64_t *window;                  /* first word of window m */
    int32_t *window_row, *window_col; /* its place */
    int64_t *offset;                  /* of element k in a window */
    int32_t *element_row, *element_col;
    int64_t height, width, words; /* of the ifmap */
    int32_t dataflow;
    /* USER: sets that hold address a are set_of[first_set[a]] ... set_of[first_set[a + 1] - 1], ascending */
    int64_t *first_set;
    int32_t *set_of;
    uint32_t *epoch; /* CALC: epoch in which a word was fetched last */
} hda_conv_t;

/* Address of lane `lane` of row `row` of a block, or -1 where the window hangs over the edge. */
int64_t hda_conv_address(const hda_conv_t *conv, const hda_operand_t *operand, int64_t block,
                         int64_t row, int64_t lane);

/* ---- USER reads ---- */
typedef struct {
    hda_operand_t operand;
    const hda_conv_t *conv; /* NULL: every slot is one word, and rank gives the set */
    int64_t slots, words;   /* of the stacked fetch matrix; words are the slots in use */
    int64_t set_size, sets, active, step,
        window; /* the window covers sets [window, window + active) of a ring of `sets` */
    int64_t low, high, wrapped; /* the same in ranks: [low, high) and [0, wrapped) */
    int64_t bandwidth, burst, last, reads,
        fill; /* burst, fill: request rows of a prefetch and of the initial fill */
} hda_reader_t;

/* Fills the window from a buffer of so many words; operand, conv, slots and words are set before. */
void hda_reader_start(hda_reader_t *reader, int64_t buffer, int64_t bandwidth);

/* Reads one line at `cycle`; *offset is the cycle of its data less `cycle`, 1 on a hit. *present: whether any slot holds a word. */
hda_status_t hda_reader_line(hda_reader_t *reader, const hda_span_t *span, int64_t cycle,
                             int64_t *offset, bool *present);

/* ---- CALC reads ---- */
typedef struct {
    int64_t reads, distinct;
    int64_t first_line, last_line, close_line; /* close_line -1: no epoch closed */
} hda_epochs_t;

/* Closed form for operands whose slots are all different words; capacity is the words of one epoch. Meaningless once *stop is set. */
hda_epochs_t hda_epochs(const hda_folds_t *folds, const hda_operand_t *operand, int64_t capacity,
                        const volatile int32_t *stop);

/* Word by word, for a convolution's ifmap. */
hda_status_t hda_epochs_conv(const hda_folds_t *folds, const hda_operand_t *operand,
                             hda_conv_t *conv, int64_t capacity, const volatile int32_t *stop,
                             hda_epochs_t *out);

/* ---- writes ---- */
typedef struct {
    int64_t row, words;
} hda_partial_t;

typedef struct {
    int64_t bandwidth, burst, keep; /* keep: words that stay when a drain begins, the active half */
    int64_t free, drain_end;        /* free words; cycle at which the running drain ends */
    int64_t closed, drained, fill;  /* rows complete, rows drained, words in the row being filled */
    int64_t writes, start, stop;
    hda_partial_t *
        partial; /* rows closed before they were full, oldest first: [partial_first, partial_last) */
    int64_t partial_first, partial_last, partial_room;
} hda_writer_t;

void hda_writer_start(hda_writer_t *writer, int64_t buffer, int64_t bandwidth);

/* Writes `words` words at `*cycle`, which moves when the buffer is full. */
hda_status_t hda_writer_line(hda_writer_t *writer, int64_t words, int64_t *cycle);

/* Writes `words` words on each of up to `lines` lines from `cycle` on; returns how many lines pass without anything happening. */
int64_t hda_writer_quiet(hda_writer_t *writer, int64_t words, int64_t lines, int64_t cycle);

hda_status_t hda_writer_finish(hda_writer_t *writer, int64_t cycle);

/* Slots (row, column) of a height x width matrix with row + column < d; exact if the result fits. */
int64_t hda_diagonals(int64_t height, int64_t width, int64_t d);

#endif
