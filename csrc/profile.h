/* A device as operator tables: the time of a step by interpolation between measured points. */
#ifndef HDA_PROFILE_H
#define HDA_PROFILE_H

#include "hda.h"
#include "program.h"

/* Points at every combination of four axes, each of which rises. */
typedef struct {
    int64_t counts[4];    /* points of each axis, at least 1 */
    const double *axes;   /* one axis after the other */
    const double *values; /* seconds, the last axis fastest */
    const uint8_t *known; /* 0: that value is extrapolated, as nothing was measured there */
} hda_grid_t;

/* Lines and axes in which a step can lie outside its table. */
typedef enum {
    HDA_OUTSIDE_TOKENS = 0,    /* tokens of the step */
    HDA_OUTSIDE_SEQUENCES = 1, /* sequences that emit a token */
    HDA_OUTSIDE_GROUP = 2,     /* tokens of all data-parallel ranks */
    HDA_OUTSIDE_DECODE = 3,    /* + axis of the decode grid */
    HDA_OUTSIDE_MIXED = 7,     /* + axis of the mixed grid */
} hda_outside_place_t;

/* Steps that lay outside, and the first of them: where (hda_outside_place_t), what it had, and what the table ends with. */
typedef struct {
    int64_t steps;
    int64_t place;
    double value, most;
} hda_outside_t;

/* All arrays are borrowed. Tables of one axis have an entry for each whole number from 0; seconds of all layers together. */
typedef struct {
    int64_t rank_count; /* data-parallel ranks that share experts; 1: none do */
    int64_t token_count, sequence_count, group_count, alpha_count;
    const double *tokens;    /* operators by tokens of the step */
    const double *exchange;  /* links between devices, by tokens of the step */
    const double *sequences; /* operators by sequences that emit */
    const double *gather;    /* links between devices, by sequences that emit */
    const double *group;     /* experts, by tokens of all ranks; group_count 0: there are none */
    const double *alpha[2];  /* by decoding sequences, without and with prompts beside them */
    hda_grid_t decode;       /* attention without prompts: axes 0, 0, sequences, context */
    hda_grid_t mixed;        /* with: new tokens, cached tokens, sequences, context */
    int32_t separate; /* prompts and decodes run one after the other: `mixed` holds prompts alone */
    int32_t extrapolate;
    hda_outside_t *outside; /* counts what was extrapolated, and tells what an error was about */
} hda_profile_t;

/* HDA_E_RANGE if a table is empty (but for the group's), an axis does not rise, or a value is not finite. */
hda_status_t hda_profile_check(const hda_profile_t *profile);

/* The time of a step of one rank:
 *
 *     time = tokens(T) + exchange(T) + sequences(e) + gather(e) + group(G) + attention
 *     attention = t(mean) + alpha (t(max) - t(mean)),   t(c) = grid(new, cached, n, c)
 *               or, `separate`, that without prompts + grid(new, cached, 0, 0)
 *
 * T tokens of the step, e sequences that emit, G tokens of all ranks (group_tokens), n decoding sequences with contexts of c tokens (the
 * one computed now included), `new` and `cached` tokens of the prompts. t is linear between neighbouring points along every axis;
 * alpha is what unequal contexts cost, measured (LLMServingSim 2.0, skew.csv). Below the first point of an axis counts the first
 * point. Past the last, or where nothing is known: HDA_E_GRID, or with `extrapolate` the line through the last two, and `outside` counts the step.
 *
 * With group_tokens 0 all ranks have as many tokens as this one. With them the batch may be empty: vLLM then runs one dummy token.
 *
 * HDA_E_RANGE: no sequence, or sizes out of range (see hda_batch_t).
 *
 * Of `step` only time, its causes and the exchanges between devices are known; all but these are put down to overhead. */
hda_status_t hda_profile_step(const hda_profile_t *profile, const hda_batch_t *batch,
                              hda_step_t *step);

#endif
