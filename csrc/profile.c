#include "profile.h"

#include <math.h>
#include <stddef.h>

enum { MOST_TOKENS = 1 << 30 };
static const int64_t MOST_PAST = (int64_t)1 << 36;

/* The first place in which a step leaves the tables; -1: none. */
typedef struct {
    int64_t place;
    double value, most;
} leave_t;

static void leaves(leave_t *leave, int64_t place, double value, double most) {
    if (leave->place >= 0) return;
    leave->place = place;
    leave->value = value;
    leave->most = most;
}

/* ---- look up ---- */

/* table[x], or its last two entries' line beyond them. */
static double line_at(const double *table, int64_t count, int64_t x) {
    if (x < count) return table[x];
    const double last = table[count - 1];
    const double slope = count > 1 ? last - table[count - 2] : 0.0;
    return last + slope * (double)(x - count + 1);
}

/* The cell of an axis in which x lies, and how far: 0 at its lower point, 1 at the upper, more past the last. */
static int64_t cell(const double *axis, int64_t count, double x, double *share) {
    *share = 0.0;
    if (count == 1 || x <= axis[0]) return 0;
    int64_t low = 0, high = count - 1; /* axis[low] <= x; high is past x, or the last */
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        if (axis[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    *share = (x - axis[low]) / (axis[low + 1] - axis[low]);
    return low;
}

static double grid_at(const hda_grid_t *grid, const double at[4], int64_t place, leave_t *leave) {
    int64_t step[4], first = 0;
    double share[4];
    const double *axis = grid->axes;
    for (int d = 0; d < 4; d++) {
        const int64_t count = grid->counts[d];
        const int64_t low = cell(axis, count, at[d], &share[d]);
        if (at[d] > axis[count - 1]) leaves(leave, place + d, at[d], axis[count - 1]);
        first = first * count + low;
        axis += count;
    }
    step[3] = 1;
    for (int d = 2; d >= 0; d--) step[d] = step[d + 1] * grid->counts[d + 1];
    double sum = 0.0;
    for (int corner = 0; corner < 16; corner++) {
        double weight = 1.0;
        int64_t index = first;
        for (int d = 0; d < 4; d++) {
            const int upper = corner >> d & 1;
            weight *= upper ? share[d] : 1.0 - share[d];
            if (upper && share[d] > 0.0) index += step[d];
        }
        if (weight == 0.0) continue;
        if (!grid->known[index]) leaves(leave, place, at[0], 0.0);
        sum += weight * grid->values[index];
    }
    return sum;
}

/* ---- a step ---- */

/* What a batch comes to. */
typedef struct {
    int64_t tokens, fresh, cached, decodes; /* `fresh` and `cached` are the prompts' */
    double contexts, longest;               /* of the decoding sequences */
} batch_sum_t;

static hda_status_t sum_batch(const hda_batch_t *batch, batch_sum_t *sum) {
    *sum = (batch_sum_t){0};
    const int64_t count = batch->sequence_count;
    if (count < (batch->group_tokens > 0 ? 0 : 1) || batch->emit_count < 0 ||
        batch->emit_count > count || batch->group_tokens < 0 || batch->group_tokens > MOST_TOKENS)
        return HDA_E_RANGE;
    int64_t contexts = 0, longest = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t q = batch->q_len[i], past = batch->past[i];
        if (q < 1 || q > MOST_TOKENS || past < 0 || past > MOST_PAST) return HDA_E_RANGE;
        if (q == 1 && past > 0) {
            sum->decodes++;
            contexts += past + 1;
            longest = hda_max64(longest, past + 1);
        } else {
            sum->fresh += q;
            sum->cached += past;
        }
        if (contexts > INT64_MAX / 4 || sum->cached > INT64_MAX / 4) return HDA_E_OVERFLOW;
    }
    sum->tokens = sum->decodes + sum->fresh;
    if (sum->tokens > MOST_TOKENS) return HDA_E_RANGE;
    sum->contexts = (double)contexts;
    sum->longest = (double)longest;
    return HDA_OK;
}

/* A grid at the mean context, and alpha of the way to the longest. */
static double uneven(const hda_grid_t *grid, double alpha, double at[4], double longest,
                     int64_t place, leave_t *leave) {
    const double mean = at[3], even = grid_at(grid, at, place, leave);
    if (alpha == 0.0 || longest <= mean) return even;
    at[3] = longest;
    return even + alpha * (grid_at(grid, at, place, leave) - even);
}

static double attention(const hda_profile_t *profile, const batch_sum_t *sum, leave_t *leave) {
    const int64_t n = sum->decodes, entry = hda_min64(n, profile->alpha_count - 1);
    const double mean = n > 0 ? sum->contexts / (double)n : 0.0;
    double at[4] = {(double)sum->fresh, (double)sum->cached, (double)n, mean}, time = 0.0;
    if (sum->fresh > 0 && !profile->separate)
        return uneven(&profile->mixed, profile->alpha[1][entry], at, sum->longest,
                      HDA_OUTSIDE_MIXED, leave);
    if (sum->fresh > 0) {
        at[2] = at[3] = 0.0;
        time = grid_at(&profile->mixed, at, HDA_OUTSIDE_MIXED, leave);
    }
    if (n == 0) return time;
    double alone[4] = {0.0, 0.0, (double)n, mean};
    return time + uneven(&profile->decode, profile->alpha[0][entry], alone, sum->longest,
                         HDA_OUTSIDE_DECODE, leave);
}

hda_status_t hda_profile_step(const hda_profile_t *profile, const hda_batch_t *batch,
                              hda_step_t *step) {
    batch_sum_t sum;
    const hda_status_t status = sum_batch(batch, &sum);
    if (status != HDA_OK) return status;
    leave_t leave = {.place = -1};
    const int64_t tokens = hda_max64(sum.tokens, 1), emit = batch->emit_count;
    const int64_t group =
        batch->group_tokens > 0 ? batch->group_tokens : profile->rank_count * tokens;
    if (tokens >= profile->token_count)
        leaves(&leave, HDA_OUTSIDE_TOKENS, (double)tokens, (double)(profile->token_count - 1));
    if (emit >= profile->sequence_count)
        leaves(&leave, HDA_OUTSIDE_SEQUENCES, (double)emit, (double)(profile->sequence_count - 1));
    if (profile->group_count > 0 && group >= profile->group_count)
        leaves(&leave, HDA_OUTSIDE_GROUP, (double)group, (double)(profile->group_count - 1));
    double time = batch->sequence_count > 0 ? attention(profile, &sum, &leave) : 0.0;
    time += line_at(profile->tokens, profile->token_count, tokens);
    time += line_at(profile->sequences, profile->sequence_count, emit);
    if (profile->group_count > 0) time += line_at(profile->group, profile->group_count, group);
    const double links = hda_fmax(0.0, line_at(profile->exchange, profile->token_count, tokens) +
                                           line_at(profile->gather, profile->sequence_count, emit));
    if (leave.place >= 0) {
        hda_outside_t *outside = profile->outside;
        if (outside->steps++ == 0) {
            outside->place = leave.place;
            outside->value = leave.value;
            outside->most = leave.most;
        }
        if (!profile->extrapolate) return HDA_E_GRID;
    }
    time = hda_fmax(0.0, time); /* a falling line, or alpha below 0 */
    *step = (hda_step_t){.time = time + links};
    step->limited[HDA_BY_OVERHEAD] = time;
    step->limited[HDA_BY_P2P] = links;
    step->communication[1] = step->exposed_communication[1] = links;
    step->busy[HDA_UNIT_P2P] = links;
    return HDA_OK;
}

/* ---- check ---- */

static int bad_values(const double *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i]) || fabs(values[i]) > 1e9) return 1;
    return 0;
}

static int bad_grid(const hda_grid_t *grid) {
    int64_t points = 1;
    const double *axis = grid->axes;
    for (int d = 0; d < 4; d++) {
        const int64_t count = grid->counts[d];
        if (count < 1 || count > MOST_TOKENS / points) return 1;
        points *= count;
        for (int64_t i = 0; i < count; i++)
            if (!isfinite(axis[i]) || axis[i] < 0.0 || (i > 0 && !(axis[i] > axis[i - 1])))
                return 1;
        axis += count;
    }
    return bad_values(grid->values, points);
}

hda_status_t hda_profile_check(const hda_profile_t *p) {
    if (p->rank_count < 1 || p->rank_count > 1 << 20 || p->token_count < 2 ||
        p->sequence_count < 2 || p->alpha_count < 1 || p->group_count < 0 || p->outside == NULL)
        return HDA_E_RANGE;
    if (bad_values(p->tokens, p->token_count) || bad_values(p->exchange, p->token_count) ||
        bad_values(p->sequences, p->sequence_count) || bad_values(p->gather, p->sequence_count) ||
        bad_values(p->group, p->group_count) || bad_values(p->alpha[0], p->alpha_count) ||
        bad_values(p->alpha[1], p->alpha_count) || bad_grid(&p->decode) || bad_grid(&p->mixed))
        return HDA_E_RANGE;
    return HDA_OK;
}
