/* Operator tables and steps; whatever the core accepts must give sane numbers, and nothing may trip the sanitizers. */
#include "fuzz.h"
#include "profile.h"

enum { POINTS = 4, ENTRIES = 12, SEQUENCES = 6 };

typedef struct {
    double axes[4 * POINTS], values[POINTS * POINTS * POINTS * POINTS];
    uint8_t known[POINTS * POINTS * POINTS * POINTS];
} grid_t;

/* Axes that rise, mostly, and times. */
static hda_grid_t make_grid(bytes_t *in, grid_t *grid) {
    hda_grid_t made = {.axes = grid->axes, .values = grid->values, .known = grid->known};
    double *axis = grid->axes;
    int64_t points = 1;
    for (int d = 0; d < 4; d++) {
        made.counts[d] = 1 + byte(in) % POINTS;
        points *= made.counts[d];
        double at = byte(in) % 20;
        for (int64_t i = 0; i < made.counts[d]; i++) {
            *axis++ = at;
            at += 1 + byte(in) % 100;
            if (byte(in) > 253 && !in->tame) at = -at;
        }
    }
    for (int64_t i = 0; i < points; i++) {
        grid->values[i] = byte(in) * 1e-6;
        grid->known[i] = byte(in) < 250;
    }
    return made;
}

static void make_line(bytes_t *in, double *line) {
    for (int i = 0; i < ENTRIES; i++)
        line[i] = byte(in) > 253 && !in->tame ? (byte(in) % 2 ? INFINITY : NAN) : byte(in) * 1e-6;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bytes_t in = {data, size, 0};
    in.tame = byte(&in) % 4 != 0;
    grid_t decode, mixed;
    double lines[7][ENTRIES];
    for (int i = 0; i < 7; i++) make_line(&in, lines[i]);
    hda_outside_t outside = {0};
    hda_profile_t profile = {
        .rank_count = 1 + byte(&in) % 3,
        .token_count = 2 + byte(&in) % (ENTRIES - 1),
        .sequence_count = 2 + byte(&in) % (ENTRIES - 1),
        .group_count = byte(&in) % 2 ? 1 + byte(&in) % ENTRIES : 0,
        .alpha_count = 1 + byte(&in) % ENTRIES,
        .tokens = lines[0],
        .exchange = lines[1],
        .sequences = lines[2],
        .gather = lines[3],
        .group = lines[4],
        .alpha = {lines[5], lines[6]},
        .separate = byte(&in) % 2,
        .extrapolate = byte(&in) % 2,
        .outside = &outside,
    };
    profile.decode = make_grid(&in, &decode);
    profile.mixed = make_grid(&in, &mixed);
    if (hda_profile_check(&profile) != HDA_OK) return 0;
    for (int step = 0; step < 8; step++) {
        int64_t q_len[SEQUENCES], past[SEQUENCES];
        hda_batch_t batch = {
            .sequence_count = byte(&in) % (SEQUENCES + 1), .q_len = q_len, .past = past};
        for (int64_t i = 0; i < batch.sequence_count; i++) {
            q_len[i] = byte(&in) % 2 ? 1 : integer(&in, 1, 40);
            past[i] = integer(&in, 0, 300);
        }
        batch.emit_count = integer(&in, 0, batch.sequence_count);
        batch.group_tokens = byte(&in) % 2 ? 0 : integer(&in, 1, 100);
        hda_step_t done;
        const int64_t before = outside.steps;
        const hda_status_t status = hda_profile_step(&profile, &batch, &done);
        SANE(outside.steps - before <= 1);
        SANE(status != HDA_E_GRID || (!profile.extrapolate && outside.steps > before));
        if (status != HDA_OK) continue;
        SANE(outside.steps == before || profile.extrapolate);
        SANE(isfinite(done.time) && done.time >= 0.0);
        double sum = 0.0;
        for (int i = 0; i < HDA_BY_COUNT; i++) sum += done.limited[i];
        SANE(fabs(sum - done.time) <= 1e-9 * done.time);
        SANE(done.communication[1] >= 0.0 && done.communication[1] <= done.time);
    }
    return 0;
}
