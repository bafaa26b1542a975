/* Execution of resolved operators: units in order, explicit dependencies, one DRAM shared by all cores.
 *
 * An operator runs in phases. Its transfer may start before its inputs exist (if the device prefetches): weights and cached keys flow into half of the free local memory
 * while the operator before it still uses the other half; what does not fit follows as the operator consumes it. Its units start when
 * inputs are there, the unit is free and the first tile has arrived; they end no earlier than one tile after the transfer. Results
 * appear evenly from the first start to the last end. Exchanges between cores and between devices, which all cores enter together, take them
 * tile by tile: a tile leaves when it is computed and the network is free, so that all but the last travel while others are computed; what
 * follows waits for the last. The step ends with its last completion.
 *
 * Equal cores move together, so one core (the busiest: every larger share belongs to core 0) stands for all unless `exact`. A segment of
 * equal layers is executed until one more repetition moves every clock by the same amount; the rest is then added at once.
 */
#include <math.h>
#include <string.h>

#include "engine.h"

/* One core and all cores are two versions of the same code: with one, its loops are none. */
#define INLINED static inline __attribute__((always_inline))

typedef struct {
    int64_t cores;
    double front, dma_free;
    double guard[2]; /* ends of the operators that last used each half of the weight buffer */
    double *unit;    /* cores x 5: SA, MT, VU, NOC, P2P busy until */
    double *input;   /* cores: end of the previous block */
    double *done;    /* operators x cores */
    double *begin;   /* operators: when results began to appear */
    double *exposed_communication;
    double layer_overhead, launch;
    int prefetch;
} state_t;

enum { LANES = 5, NOC_LANE = 3, P2P_LANE = 4 };

/* Where time goes: to the whole step and, if asked, to the operator. */
typedef struct {
    double *limited, *exposed_communication;
    hda_op_step_t *op;
} account_t;

INLINED void advance(state_t *state, account_t *account, double end, int cause) {
    if (end <= state->front) return;
    const double pushed = end - state->front;
    state->front = end;
    account->limited[cause] += pushed;
    if (account->op != NULL) {
        account->op->exposed += pushed;
        account->op->limited[cause] += pushed;
    }
}

/* Like advance, but the first `overhead` seconds of the push count as launch overhead. */
INLINED void advance_after(state_t *state, account_t *account, double overhead, double end,
                           int cause) {
    if (overhead > 0 && end > state->front)
        advance(state, account, hda_fmin(state->front + overhead, end), HDA_BY_OVERHEAD);
    advance(state, account, end, cause);
}

INLINED double latest(const double *values, int64_t count) {
    double last = values[0];
    for (int64_t i = 1; i < count; i++) last = hda_fmax(last, values[i]);
    return last;
}

/* Exchange results that appear evenly from `begin` until `ready` of the last core; returns from when on they appear, as
 * evenly, on the other side. */
INLINED double run_tiles(state_t *state, account_t *account, double *ready, double begin,
                         const exchange_t *exchange, int lane, int cause) {
    const double tiles = exchange->tiles, tile = exchange->tile_time;
    const double end = latest(ready, state->cores);
    const double span = begin < 0 ? 0 : hda_fmax(end - begin, 0);
    double free_at = 0;
    for (int64_t k = 0; k < state->cores; k++)
        free_at = hda_fmax(free_at, state->unit[k * LANES + lane]);
    const double first = hda_fmax(end - span + span / tiles, free_at);
    const double done = hda_fmax(hda_fmax(end, free_at) + tile, first + tiles * tile);
    for (int64_t k = 0; k < state->cores; k++) ready[k] = state->unit[k * LANES + lane] = done;
    const double front = state->front;
    advance(state, account, done, cause);
    account->exposed_communication[lane - NOC_LANE] += state->front - front;
    if (account->op) account->op->exposed_communication[lane - NOC_LANE] += state->front - front;
    return done - tiles * hda_fmax(tile, span / tiles); /* tiles arrive evenly, the last now */
}

INLINED double run_exchange(state_t *state, account_t *account, double *ready, double begin,
                            const exchange_t *exchange, int lane, int cause) {
    if (!(exchange->tile_time > 0)) return begin;
    return run_tiles(state, account, ready, begin, exchange, lane, cause);
}

typedef struct {
    double start, time, end;
    int cause;
} transfer_t;

/* The transfer of an operator, as far as it may run before the operator starts. */
INLINED transfer_t begin_transfer(const state_t *state, const work_t *work, double seconds_per_byte,
                                  int half, const double *ready) {
    const double dram = work->dram_bytes * seconds_per_byte;
    transfer_t transfer = {.time = hda_fmax(dram, work->feed_time),
                           .cause = dram >= work->feed_time ? HDA_BY_DRAM : work->feed_cause};
    transfer.start = hda_fmax(state->dma_free, state->guard[half]);
    if (!state->prefetch)
        transfer.start = hda_fmax(transfer.start, latest(ready, state->cores) + state->launch);
    transfer.end = transfer.start + transfer.time;
    return transfer;
}

/* Start all units of core k; returns the latest start of those that consume the transfer, the array and the tree (or the vector unit where it
 * works alone), so that the rest of the transfer can follow it. */
INLINED double start_units(const state_t *state, const work_t *work, int64_t k, double ready,
                           double first, double starts[ENGINE_UNITS]) {
    double consumer = 0;
    for (int u = 0; u < ENGINE_UNITS; u++) {
        if (!(work->unit[u] > 0)) continue;
        starts[u] = hda_fmax(hda_fmax(state->unit[k * LANES + u], ready), first);
        if (u != ENGINE_VU || consumer == 0) consumer = hda_fmax(consumer, starts[u]);
    }
    return consumer;
}

/* Returns when the first results begin to appear. */
INLINED double run_units(state_t *state, account_t *account, const work_t *work, int64_t op_count,
                         transfer_t *transfer, double *ready) {
    const double launch = state->launch;
    const int streams = transfer->time > 0;
    const double first = streams ? transfer->start + work->first * transfer->time : 0;
    double starts[ENGINE_UNITS], last = 0, begin = 0;
    for (int64_t k = 0; k < state->cores; k++)
        last = hda_fmax(
            last, start_units(state, work + k * op_count, k, ready[k] + launch, first, starts));
    begin = last > 0 ? last : latest(ready, state->cores);
    if (streams && last > 0)
        transfer->end = hda_fmax(transfer->end, last + (1 - work->ahead) * transfer->time);
    for (int64_t k = 0; k < state->cores; k++) {
        const work_t *own = work + k * op_count;
        start_units(state, own, k, ready[k] + launch, first, starts);
        double end = ready[k];
        for (int u = 0; u < ENGINE_UNITS; u++) {
            if (!(own->unit[u] > 0)) continue;
            double stop = starts[u] + own->unit[u];
            int cause = own->unit_cause[u];
            if (streams && transfer->end + own->tail[u] > stop) {
                stop = transfer->end + own->tail[u];
                cause = transfer->cause;
            }
            state->unit[k * LANES + u] =
                starts[u] + own->unit[u]; /* gaps in a stream serve others */
            end = hda_fmax(end, stop);
            advance_after(state, account, launch, stop, cause);
        }
        if (streams) end = hda_fmax(end, transfer->end);
        ready[k] = end;
    }
    return begin;
}

/* An elementwise operator works on each part of its inputs as it appears, from `begin` on; its results appear as long as they do, or as it
 * takes if that is longer. */
INLINED double run_elementwise(state_t *state, account_t *account, const work_t *work,
                               int64_t op_count, double begin, double *ready) {
    const double tiles = work->input_tiles;
    double results = 0;
    for (int64_t k = 0; k < state->cores; k++) {
        const double time = (work + k * op_count)->unit[ENGINE_VU];
        double *unit = &state->unit[k * LANES + ENGINE_VU];
        const double span = begin < 0 ? 0 : hda_fmax(ready[k] - begin, 0);
        const double start = hda_fmax(*unit, ready[k] - span + span / tiles);
        if (time > 0) ready[k] = *unit = hda_fmax(start + time, ready[k] + time / tiles);
        advance(state, account, ready[k], HDA_BY_VU);
        results = hda_fmax(results, ready[k] - hda_fmax(span, time));
    }
    return results;
}

INLINED void run_op(state_t *state, account_t *account, const hda_op_t *op, const work_t *work,
                    int64_t op_count, double seconds_per_byte, int *half, double *ready,
                    double *begin) {
    const int store = op->kind == HDA_OP_STORE;
    if (store) { /* does not hold up what follows; only the end of the step waits for it */
        if (!(work->dram_bytes > 0)) return;
        state->dma_free = hda_fmax(state->dma_free, latest(ready, state->cores)) +
                          work->dram_bytes * seconds_per_byte;
        return;
    }
    transfer_t transfer = {0};
    const int moves = work->dram_bytes > 0 || work->feed_time > 0;
    if (moves) transfer = begin_transfer(state, work, seconds_per_byte, *half, ready);
    run_exchange(state, account, ready, *begin, &work->gather, NOC_LANE, HDA_BY_NOC);
    *begin = work->input_tiles > 0 ? run_elementwise(state, account, work, op_count, *begin, ready)
                                   : run_units(state, account, work, op_count, &transfer, ready);
    if (moves) {
        state->dma_free = transfer.end;
        state->guard[*half] = latest(ready, state->cores);
        *half ^= 1;
        advance(state, account, transfer.end, transfer.cause);
    }
    *begin = run_exchange(state, account, ready, *begin, &work->merge, NOC_LANE, HDA_BY_NOC);
    *begin = run_exchange(state, account, ready, *begin, &work->sync, P2P_LANE, HDA_BY_P2P);
}

/* When the inputs of an operator that are complete last began to appear. */
INLINED void find_inputs(const state_t *state, const hda_op_t *op, double *begin) {
    double last = 0;
    for (int d = 0; d < 2; d++) {
        const int32_t before = op->after[d];
        if (before < -1) continue;
        const double end =
            latest(before < 0 ? state->input : state->done + before * state->cores, state->cores);
        if (end < last) continue;
        last = end;
        *begin = before < 0 ? end : state->begin[before];
    }
}

INLINED void run_block(hda_program_t *program, state_t *state, const hda_block_t *block,
                       const work_t *const *work, double seconds_per_byte, double *limited,
                       hda_op_step_t *per_op, int *half) {
    const int64_t cores = state->cores;
    for (int32_t i = 0; i < block->count; i++) {
        const int64_t index = block->first + i;
        const hda_op_t *op = &program->ops[index];
        double *ready = state->done + (int64_t)i * cores;
        state->begin[i] = -1;
        if (work[index]->gather.tiles > 1 || work[index]->input_tiles > 0)
            find_inputs(state, op, &state->begin[i]);
        for (int64_t k = 0; k < cores; k++) {
            ready[k] = 0;
            for (int d = 0; d < 2; d++) {
                if (op->after[d] == -1) ready[k] = hda_fmax(ready[k], state->input[k]);
                if (op->after[d] >= 0)
                    ready[k] = hda_fmax(ready[k], state->done[op->after[d] * cores + k]);
            }
        }
        if (work[index]->idle) continue;
        account_t account = {limited, state->exposed_communication, per_op ? per_op + index : NULL};
        run_op(state, &account, op, work[index], program->op_count, seconds_per_byte, half, ready,
               &state->begin[i]);
    }
    memcpy(state->input, state->done + (int64_t)(block->count - 1) * cores,
           (size_t)cores * sizeof(double));
}

/* Clocks relative to the front, for the steady-state test. */
INLINED int64_t snapshot(const state_t *state, double *out) {
    int64_t n = 0;
    out[n++] = state->dma_free - state->front;
    out[n++] = state->guard[0] - state->front;
    out[n++] = state->guard[1] - state->front;
    for (int u = 0; u < LANES; u++) out[n++] = state->unit[u] - state->front;
    out[n++] = state->input[0] - state->front;
    return n;
}

/* Whether every clock goes on with the front, or stands still behind it because the segment does not use it. */
static int steady(const double *earlier, const double *later, int64_t count, double period) {
    for (int64_t i = 0; i < count; i++) {
        const double gain = later[i] - earlier[i];
        const int still = earlier[i] <= 0 && fabs(gain + period) <= 1e-9 * period;
        if (!still && fabs(gain) > 1e-9 * period) return 0;
    }
    return 1;
}

/* Repeat `times` times what moved each clock from `earlier` to `later`, while the front moved by `period`. */
INLINED void shift(state_t *state, const double *earlier, const double *later, double period,
                   double times) {
    int64_t n = 0;
    state->front += times * period;
    state->dma_free += times * (period + later[n] - earlier[n]), n++;
    for (int half = 0; half < 2; half++, n++)
        state->guard[half] += times * (period + later[n] - earlier[n]);
    for (int u = 0; u < LANES; u++, n++) state->unit[u] += times * (period + later[n] - earlier[n]);
    state->input[0] += times * (period + later[n] - earlier[n]);
}

/* One pass over the blocks of a segment. */
INLINED void run_pass(hda_program_t *program, state_t *state, const hda_segment_t *segment,
                      const work_t *const *work, double seconds_per_byte, double *limited,
                      hda_op_step_t *per_op, int *half) {
    for (int32_t b = 0; b < segment->count; b++)
        run_block(program, state, &program->blocks[segment->first + b], work, seconds_per_byte,
                  limited, per_op, half);
    if (state->layer_overhead > 0 && segment->layers > 0) {
        const double end = state->front + state->layer_overhead * segment->layers;
        account_t account = {limited, state->exposed_communication, NULL};
        advance(state, &account, end, HDA_BY_OVERHEAD);
        state->dma_free = hda_fmax(state->dma_free, end);
        for (int64_t k = 0; k < state->cores; k++) state->input[k] = end;
    }
}

static void scale_ops(const hda_program_t *program, const hda_op_step_t *before,
                      hda_op_step_t *per_op, double times) {
    for (int64_t i = 0; i < program->op_count; i++) {
        per_op[i].exposed += times * (per_op[i].exposed - before[i].exposed);
        for (int c = 0; c < HDA_BY_COUNT; c++)
            per_op[i].limited[c] += times * (per_op[i].limited[c] - before[i].limited[c]);
        for (int c = 0; c < 2; c++)
            per_op[i].exposed_communication[c] +=
                times * (per_op[i].exposed_communication[c] - before[i].exposed_communication[c]);
    }
}

/* The state after a pass, kept for each half of the weight buffer that comes next: where a layer has an odd number of transfers, only every
 * second one starts alike. */
typedef struct {
    double clocks[LANES + 4], front, limited[HDA_BY_COUNT], exposed_communication[2];
    hda_op_step_t *per_op;
    int32_t done; /* passes until then; 0 = none yet */
} mark_t;

INLINED void set_mark(const hda_program_t *program, mark_t *mark, const state_t *state,
                      const double *limited, const hda_op_step_t *per_op, int32_t done) {
    snapshot(state, mark->clocks);
    mark->front = state->front;
    memcpy(mark->limited, limited, sizeof mark->limited);
    memcpy(mark->exposed_communication, state->exposed_communication,
           sizeof mark->exposed_communication);
    if (per_op) memcpy(mark->per_op, per_op, (size_t)program->op_count * sizeof *per_op);
    mark->done = done;
}

/* Execute a segment; without `exact`, as soon as a pass ends as an earlier one did, add the passes between them as often as they fit.
 * `saved` holds 2 x op_count entries. */
INLINED void run_segment(hda_program_t *program, state_t *state, const hda_segment_t *segment,
                         const work_t *const *work, double seconds_per_byte, double *limited,
                         hda_op_step_t *per_op, hda_op_step_t *saved, int exact, int *half) {
    mark_t marks[2] = {{.per_op = saved}, {.per_op = saved + program->op_count}};
    for (int32_t done = 1; done <= segment->repeat; done++) {
        run_pass(program, state, segment, work, seconds_per_byte, limited, per_op, half);
        if (exact) continue;
        mark_t *mark = &marks[*half];
        const double period = state->front - mark->front;
        double clocks[LANES + 4];
        const int64_t count = snapshot(state, clocks);
        if (mark->done > 0 && steady(mark->clocks, clocks, count, period)) {
            const int32_t passes = done - mark->done, times = (segment->repeat - done) / passes;
            shift(state, mark->clocks, clocks, period, times);
            for (int c = 0; c < HDA_BY_COUNT; c++)
                limited[c] += times * (limited[c] - mark->limited[c]);
            for (int c = 0; c < 2; c++)
                state->exposed_communication[c] +=
                    times * (state->exposed_communication[c] - mark->exposed_communication[c]);
            if (per_op) scale_ops(program, mark->per_op, per_op, times);
            done += times * passes;
            exact = 1; /* what is left is less than one period */
            continue;
        }
        set_mark(program, mark, state, limited, per_op, done);
    }
}

size_t engine_state_size(const hda_program_t *program) {
    const size_t cores = (size_t)program->device.core_count, ops = (size_t)program->op_count;
    return (cores * (LANES + 1 + ops) + ops) * sizeof(double) + 2 * ops * sizeof(hda_op_step_t);
}

INLINED void execute(hda_program_t *program, const work_t *const *work, int64_t cores,
                     double utilization, int exact, hda_step_t *step, hda_op_step_t *per_op) {
    const hda_dram_t *dram = &program->device.dram;
    state_t state = {.cores = cores, .unit = program->state};
    state.begin = program->state + program->device.core_count * (LANES + 1 + program->op_count);
    hda_op_step_t *saved = (hda_op_step_t *)(state.begin + program->op_count);
    state.exposed_communication = step->exposed_communication;
    state.input = state.unit + cores * LANES;
    state.done = state.input + cores;
    state.launch = program->device.launch_overhead;
    state.prefetch = program->device.prefetch;
    state.layer_overhead = dram->kind == HDA_DRAM_OVERHEAD ? dram->layer_time : 0;
    memset(state.unit, 0, (size_t)(cores * (LANES + 1)) * sizeof(double));
    const double seconds_per_byte = 1.0 / (dram->bandwidth * utilization);
    int half = 0;
    for (int64_t s = 0; s < program->segment_count; s++)
        run_segment(program, &state, &program->segments[s], work, seconds_per_byte, step->limited,
                    per_op, saved, exact, &half);
    account_t account = {step->limited, step->exposed_communication, NULL};
    advance(&state, &account, state.dma_free, HDA_BY_DRAM);
    step->time = state.front;
}

void engine_execute(hda_program_t *program, const work_t *const *work, int64_t cores,
                    double utilization, int exact, hda_step_t *step, hda_op_step_t *per_op) {
    if (cores == 1)
        execute(program, work, 1, utilization, exact, step, per_op);
    else
        execute(program, work, cores, utilization, exact, step, per_op);
}
