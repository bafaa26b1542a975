#include "router_dense.h"

#include <stdlib.h>
#include <string.h>

/* Vectors of 16 bytes, which SSE2 and NEON have, and of 32 where the processor turns out to have AVX2. */
#define LANES 16
#define NAME(x) x##_16
#define TARGET
#include "router_lanes.h"
#undef LANES
#undef NAME
#undef TARGET
#if defined(__x86_64__)
#define LANES 32
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2")))
#include "router_lanes.h"
#endif

#define NONE UINT32_MAX

enum { INPUTS = PORTS * CHANNELS }; /* input channels of a router: input * CHANNELS + channel */

/* Items due a fixed number of cycles later: rows for every cycle until then. */
typedef struct {
    uint8_t *rows;
    int64_t slots; /* power of two */
} line_t;

/* What is rare, per router. */
typedef struct {
    uint64_t waiters[PORTS][2]; /* output: input channels that wait for one below `upper`, above */
    uint8_t upper[PORTS];       /* output: first channel of the second class; see network_class */
    uint8_t port[PORTS];        /* column of a port -> its number in the network */
    uint32_t beyond[PORTS];     /* output: router * PORTS + input that it leads to, or NONE */
    uint8_t grant[PORTS][CHANNELS]; /* output channel: round robin over input channels */
    uint8_t accept[INPUTS];         /* round robin over output * CHANNELS + channel */
    uint8_t put[INPUTS];            /* packets that have come to an input channel, modulo 256, */
    uint8_t got[INPUTS];            /* and to its front */
} router_t;

/* A packet, with its target for routing. */
typedef struct {
    uint32_t message;
    uint16_t flits, target;
} parcel_t;

/* An injection port. */
typedef struct {
    uint32_t router, port, last;
} node_t;

/* A packet gets a channel at the end of the cycle. */
typedef struct {
    uint32_t router;
    uint8_t input, output, channel; /* the first with its channel */
} pair_t;

/* `count` links side by side: from outputs at places `out` to inputs at places `in` of the rows. */
typedef struct {
    size_t out, in, count;
} run_t;

typedef struct {
    network_t *net;
    dense_t d;
    kernels_t kernel;
    int64_t t;
    uint32_t v, ring; /* channels of a port; packets that a channel can hold */
    line_t arrivals, places, inject_places, heads;
    router_t *router;
    parcel_t *packet;   /* `ring` per input channel */
    uint32_t *leaving;  /* [place in the rows][channel] of nodes: message that holds it */
    uint8_t *waiting;   /* router -> outputs with waiters */
    uint8_t *output_of; /* [router][node]: output for packets to it */
    node_t *node;
    uint32_t *node_at; /* place in the rows -> node */
    uint32_t *word;    /* found by find_words */
    pair_t *pair;
    uint32_t pairs;
    run_t *run;
    size_t runs;
    void *rows;
} sim_t;

static inline uint64_t load(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Offsets of the words in `rows & mask` that are not zero, without a branch for each, which would be hard to predict. */
static inline uint32_t find_words(sim_t *s, const uint8_t *rows, const uint8_t *mask, size_t size) {
    uint32_t count = 0;
    for (size_t i = 0; i < size; i += 8) {
        s->word[count] = (uint32_t)i;
        count += (load(rows + i) & load(mask + i)) != 0;
    }
    return count;
}

static inline uint8_t *slot(const sim_t *s, const line_t *line, int64_t delay) {
    return line->rows + (size_t)((s->t + delay) & (line->slots - 1)) * s->d.ports * s->d.width;
}

/* First of `mask` at or after `from`, in a circle. */
static inline uint32_t round_robin(uint64_t mask, uint32_t from) {
    const uint64_t upper = mask >> from << from;
    return (uint32_t)__builtin_ctzll(upper ? upper : mask);
}

static inline parcel_t *packets(const sim_t *s, size_t router, uint32_t input) {
    return s->packet + (router * INPUTS + input) * s->ring;
}

static inline void queue_packet(sim_t *s, size_t router, uint32_t input, parcel_t packet) {
    packets(s, router, input)[s->router[router].put[input]++ & (s->ring - 1)] = packet;
}

/* ---- injection ---- */

static void take_messages(sim_t *s) {
    for (int64_t i; (i = network_collect(s->net, s->t)) >= 0;) {
        const node_t *node = &s->node[i];
        s->d.blocks[node->router / BLOCK].queued[node->port][node->router % BLOCK] = 0xff;
    }
}

static inline void set_counter(row_t *counter, uint32_t bits, size_t lane, uint32_t channel,
                               uint32_t value) {
    for (uint32_t i = 0; i < bits; i++) counter[i][lane] |= (uint8_t)((value >> i & 1) << channel);
}

/* A node cuts its next packet, for the next of the channels `open`. */
static void begin_packet(sim_t *s, size_t place, uint32_t open) {
    const uint32_t index = s->node_at[place];
    node_t *node = &s->node[index];
    block_t *b = &s->d.blocks[node->router / BLOCK];
    const size_t lane = node->router % BLOCK;
    const packet_t cut = network_cut(s->net, index);
    const int64_t target = s->net->dag->messages[cut.message].target;
    const parcel_t packet = {cut.message, (uint16_t)cut.flits, (uint16_t)target};
    node->last = round_robin(open, node->last + 1);
    queue_packet(s, node->router, node->port * CHANNELS + node->last, packet);
    b->injecting[node->port][lane] = (uint8_t)(1u << node->last);
    set_counter(b->inject_left[node->port], s->d.left_bits, lane, node->last, packet.flits);
    if (s->net->outbox[index].head < 0) b->queued[node->port][lane] = 0;
}

static void begin_packets(sim_t *s) {
    const dense_t *d = &s->d;
    const size_t first = d->first_node * d->width;
    const uint32_t words =
        find_words(s, d->begin + first, d->begin + first, d->ports * d->width - first);
    for (uint32_t i = 0; i < words; i++) {
        const size_t place = first + s->word[i];
        for (uint64_t word = load(d->begin + place); word;) {
            const uint32_t byte = (uint32_t)__builtin_ctzll(word) / 8;
            begin_packet(s, place + byte, word >> byte * 8 & 0xff);
            word &= ~(0xffull << byte * 8);
        }
    }
}

/* ---- virtual channels ---- */

/* The head at the front of a channel asks for a channel downstream. */
static void ask(sim_t *s, size_t router, uint32_t in, uint32_t channel) {
    router_t *r = &s->router[router];
    const uint32_t input = in * CHANNELS + channel;
    const parcel_t packet = packets(s, router, input)[r->got[input]++ & (s->ring - 1)];
    const network_t *net = s->net;
    const uint32_t out = s->output_of[router * (size_t)net->noc->node_count + packet.target];
    set_counter(s->d.blocks[router / BLOCK].left[in], s->d.left_bits, router % BLOCK, channel,
                packet.flits);
    const uint32_t first = net->first_port[router];
    const int upper = net->wraps && network_class(net, first + r->port[in], first + r->port[out],
                                                  channel) == UPPER;
    r->waiters[out][upper] |= 1ull << input;
    s->waiting[router] |= (uint8_t)(1u << out);
}

static void ask_all(sim_t *s) {
    const dense_t *d = &s->d;
    uint8_t *heads = slot(s, &s->heads, 0);
    const uint32_t words = find_words(s, heads, heads, d->ports * d->width);
    for (uint32_t i = 0; i < words; i++) {
        const uint32_t place = s->word[i], in = place / (uint32_t)d->width;
        uint64_t word = load(heads + place);
        memset(heads + place, 0, sizeof word);
        for (; word; word &= word - 1) {
            const uint32_t bit = (uint32_t)__builtin_ctzll(word);
            ask(s, place - in * d->width + bit / 8, in, bit % 8);
        }
    }
}

static inline void match(sim_t *s, size_t router, uint32_t input, uint32_t out, uint32_t channel) {
    s->pair[s->pairs++] =
        (pair_t){(uint32_t)router, (uint8_t)input, (uint8_t)out, (uint8_t)channel};
}

/* Where an input channel's round robin over those of an output begins. */
static inline uint32_t accept_from(const router_t *r, uint32_t input, uint32_t out) {
    const uint32_t from = r->accept[input] - out * CHANNELS;
    return from < CHANNELS ? from : 0;
}

static inline void move_pointers(router_t *r, uint32_t input, uint32_t out, uint32_t channel) {
    r->grant[out][channel] = (uint8_t)((input + 1) % INPUTS);
    r->accept[input] = (uint8_t)(out * CHANNELS + channel + 1);
}

/* One packet waits: all free channels would grant to it. */
static void match_one(sim_t *s, size_t router, uint32_t out, uint32_t input, uint32_t open) {
    router_t *r = &s->router[router];
    const uint32_t lower = (1u << r->upper[out]) - 1;
    open &= r->waiters[out][1] ? ~lower : lower;
    if (open == 0) return;
    const uint32_t channel = round_robin(open, accept_from(r, input, out));
    match(s, router, input, out, channel);
    move_pointers(r, input, out, channel);
    r->waiters[out][0] = r->waiters[out][1] = 0;
}

/* iSLIP, two iterations; pointers move in the first only. */
static void match_many(sim_t *s, size_t router, uint32_t out, uint32_t open) {
    router_t *r = &s->router[router];
    uint64_t *waiters = r->waiters[out];
    for (int iteration = 0; iteration < 2; iteration++) {
        uint64_t granted = 0;
        uint32_t offers[INPUTS];
        for (uint32_t left = open; left; left &= left - 1) {
            const uint32_t channel = (uint32_t)__builtin_ctz(left);
            const uint64_t candidates = waiters[channel >= r->upper[out]];
            if (candidates == 0) continue;
            const uint32_t input = round_robin(candidates, r->grant[out][channel]);
            offers[input] = (granted >> input & 1 ? offers[input] : 0) | 1u << channel;
            granted |= 1ull << input;
        }
        for (uint64_t left = granted; left; left &= left - 1) {
            const uint32_t input = (uint32_t)__builtin_ctzll(left);
            const uint32_t channel = round_robin(offers[input], accept_from(r, input, out));
            match(s, router, input, out, channel);
            if (iteration == 0) move_pointers(r, input, out, channel);
            open &= ~(1u << channel);
        }
        waiters[0] &= ~granted;
        waiters[1] &= ~granted;
    }
}

/* Match packets that wait for an output with its free channels; they are held from the end of the cycle. */
static void allocate_output(sim_t *s, size_t router, uint32_t out) {
    const uint64_t *waiters = s->router[router].waiters[out], all = waiters[0] | waiters[1];
    const uint32_t open = s->d.blocks[router / BLOCK].free[out][router % BLOCK];
    if ((all & (all - 1)) == 0)
        match_one(s, router, out, (uint32_t)__builtin_ctzll(all), open);
    else
        match_many(s, router, out, open);
    if ((waiters[0] | waiters[1]) == 0) s->waiting[router] &= (uint8_t)~(1u << out);
}

static void allocate_channels(sim_t *s) {
    const dense_t *d = &s->d;
    s->pairs = 0;
    const uint32_t words = find_words(s, s->waiting, d->open, d->width);
    for (uint32_t i = 0; i < words; i++) {
        const size_t base = s->word[i];
        for (uint64_t word = load(s->waiting + base) & load(d->open + base); word;
             word &= word - 1) {
            const uint32_t bit = (uint32_t)__builtin_ctzll(word);
            allocate_output(s, base + bit / 8, bit % 8);
        }
    }
}

static inline void set_number(row_t *bits, size_t lane, uint8_t member, uint32_t number) {
    for (uint32_t i = 0; i < 3; i++)
        bits[i][lane] = (uint8_t)((bits[i][lane] & ~member) | (number >> i & 1 ? member : 0));
}

static void hold(sim_t *s, pair_t pair) {
    dense_t *d = &s->d;
    router_t *r = &s->router[pair.router];
    block_t *b = &d->blocks[pair.router / BLOCK];
    const size_t lane = pair.router % BLOCK;
    const uint32_t in = pair.input / CHANNELS, channel = pair.input % CHANNELS, out = pair.output;
    const uint8_t from = (uint8_t)(1u << channel), to = (uint8_t)(1u << pair.channel);
    b->free[out][lane] &= (uint8_t)~to;
    if (b->free[out][lane] == 0) d->open[pair.router] &= (uint8_t)~(1u << out);
    set_number(b->holder[out], lane, to, channel);
    set_number(b->holder_input[out], lane, to, in);
    set_number(b->next[in], lane, from, pair.channel);
    b->want[in][out][lane] |= from;
    b->funded[in][lane] =
        (uint8_t)((b->funded[in][lane] & ~from) | (b->place[out][lane] & to ? from : 0));
    d->outputs[in] |= (uint8_t)(1u << out);
    d->inputs[out] |= (uint8_t)(1u << in);
    const parcel_t packet =
        packets(s, pair.router, pair.input)[(r->got[pair.input] - 1u) & (s->ring - 1)];
    const uint32_t beyond = r->beyond[out];
    if (beyond == NONE)
        s->leaving[(out * d->width + pair.router) * CHANNELS + pair.channel] = packet.message;
    else
        queue_packet(s, beyond / PORTS, beyond % PORTS * CHANNELS + pair.channel, packet);
}

/* ---- cycles ---- */

static void eject(sim_t *s) {
    const dense_t *d = &s->d;
    const size_t first = d->first_node * d->width;
    const uint32_t words =
        find_words(s, d->ejected + first, d->ejected + first, d->ports * d->width - first);
    for (uint32_t i = 0; i < words; i++) {
        const size_t place = first + s->word[i];
        for (uint64_t word = load(d->ejected + place); word; word &= word - 1) {
            const uint32_t bit = (uint32_t)__builtin_ctzll(word);
            network_eject(s->net, s->leaving[(place + bit / 8) * CHANNELS + bit % 8], s->t);
        }
    }
}

/* Flits and places cross links. */
static void cross_links(sim_t *s) {
    uint8_t *arrivals = slot(s, &s->arrivals, s->net->hop);
    uint8_t *places = slot(s, &s->places, s->net->credit);
    for (size_t i = 0; i < s->runs; i++) {
        const run_t *run = &s->run[i];
        memcpy(arrivals + run->in, s->d.sent + run->out, run->count);
        memcpy(places + run->out, s->d.taken + run->in, run->count);
    }
}

static int run_cycle(sim_t *s) {
    const network_t *net = s->net;
    take_messages(s);
    s->kernel.take_places(&s->d, slot(s, &s->places, 0), slot(s, &s->inject_places, 0));
    begin_packets(s);
    int moved =
        s->kernel.take_flits(&s->d, slot(s, &s->arrivals, 0), slot(s, &s->arrivals, net->inject),
                             slot(s, &s->heads, net->route));
    ask_all(s);
    allocate_channels(s);
    moved |= s->kernel.send_flits(&s->d, slot(s, &s->heads, 1 + net->route),
                                  slot(s, &s->places, net->eject + net->credit),
                                  slot(s, &s->inject_places, 2));
    cross_links(s);
    eject(s);
    for (uint32_t i = 0; i < s->pairs; i++) hold(s, s->pair[i]);
    return moved || s->pairs > 0;
}

/* Once nothing has moved for as long as items can be on their way, nothing will until the next message is ready. */
static hda_status_t run(sim_t *s) {
    const dag_t *dag = s->net->dag;
    for (int64_t quiet = 0; dag->finished < dag->count;) {
        quiet = run_cycle(s) ? 0 : quiet + 1;
        s->t++;
        if (quiet <= s->net->slots) continue;
        if (dag->ready.count == 0) return HDA_E_DEADLOCK;
        s->t = hda_max64(s->t, dag->ready.items[0].time);
    }
    return HDA_OK;
}

/* ---- set-up ---- */

/* Flits of a block that take router.c about as long as a cycle takes here, which is the same for few and for many. */
enum { WORTHWHILE = 12 };

int dense_fits(const network_t *net) {
    const hda_noc_t *noc = net->noc;
    if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__) return 0; /* words of rows */
    if (net->most_ports > PORTS || noc->virtual_channels > CHANNELS ||
        noc->buffer_flits >> COUNT_BITS != 0 || net->longest_packet >> LEFT_BITS != 0)
        return 0;
    if (net->slots > 64 || noc->router_count > 4096 || noc->node_count > UINT16_MAX) return 0;
    return net->traffic > (double)(WORTHWHILE * hda_ceil_div(noc->router_count, BLOCK));
}

static uint32_t bits_of(int64_t value) {
    uint32_t bits = 0;
    for (; value > 0; value >>= 1) bits++;
    return bits;
}

/* How far a port's link leads, for ports alike in all routers of a regular network. */
static int64_t reach(const network_t *net, uint32_t port) {
    const int32_t link = net->out_link[port];
    return link < 0 ? link
                    : net->noc->link_to[link] - net->noc->link_from[link] + ((int64_t)1 << 32);
}

/* Columns of a router's ports. They keep their order, on which round robin depends, but may leave columns empty, so that links of a regular
 * network run side by side in the rows: a port takes the column where the first router with all ports has one that leads as far. */
static void place_ports(sim_t *s, uint8_t *column) {
    const network_t *net = s->net;
    uint32_t model = 0;
    while (net->first_port[model + 1] - net->first_port[model] < net->most_ports) model++;
    for (int64_t i = 0; i < net->noc->router_count; i++) {
        const uint32_t first = net->first_port[i], ports = net->first_port[i + 1] - first;
        uint32_t next = 0;
        for (uint32_t p = 0; p < ports; p++) {
            const uint32_t last = net->most_ports - (ports - p); /* column */
            uint32_t c = next;
            while (c <= last && reach(net, net->first_port[model] + c) != reach(net, first + p))
                c++;
            if (c > last) c = next;
            column[first + p] = (uint8_t)c;
            s->router[i].port[c] = (uint8_t)p;
            next = c + 1;
        }
    }
}

/* Links of which a run may consist: those one after the other in the rows at both ends, where ports that do not exist send nothing. */
static void find_runs(sim_t *s, const uint8_t *column, uint32_t *in_of, uint8_t *used_in) {
    const network_t *net = s->net;
    const hda_noc_t *noc = net->noc;
    const size_t places = s->d.ports * s->d.width;
    for (size_t i = 0; i < places; i++) in_of[i] = NONE;
    for (int64_t n = 0; n < noc->node_count; n++) {
        const int64_t router = noc->router_of[n];
        const size_t place =
            column[net->first_port[router] + net->node_port[n]] * s->d.width + (size_t)router;
        in_of[place] = NONE - 1;
        used_in[place] = 1;
    }
    for (int64_t l = 0; l < noc->link_count; l++) {
        const int64_t a = noc->link_from[l], b = noc->link_to[l];
        const uint32_t out = column[net->first_port[a] + net->link_out[l]];
        const uint32_t in = column[net->first_port[b] + net->link_in[l]];
        in_of[out * s->d.width + (size_t)a] = (uint32_t)(in * s->d.width + (size_t)b);
        used_in[in * s->d.width + (size_t)b] = 1;
        s->router[a].beyond[out] = (uint32_t)b * PORTS + in;
    }
    run_t *run = NULL;
    for (size_t out = 0; out < places; out++) {
        const uint32_t in = in_of[out];
        if (in >= NONE - 1) {
            if (in == NONE - 1) run = NULL;
            continue;
        }
        int joins = run != NULL && in - run->in == out - run->out;
        for (size_t k = joins ? run->count : 0; joins && k < out - run->out; k++)
            joins = !used_in[run->in + k];
        if (!joins) {
            run = &s->run[s->runs++];
            *run = (run_t){out, in, 0};
        }
        run->count = out - run->out + 1;
    }
}

static int64_t power_above(int64_t delay) {
    int64_t slots = 1;
    while (slots <= delay) slots *= 2;
    return slots;
}

static hda_status_t allocate_rows(sim_t *s) {
    dense_t *d = &s->d;
    const network_t *net = s->net;
    const size_t blocks = d->width / BLOCK * sizeof(block_t);
    s->arrivals.slots = power_above(hda_max64(net->hop, net->inject));
    s->places.slots = power_above(net->eject + net->credit);
    s->inject_places.slots = power_above(2);
    s->heads.slots = power_above(net->route + 1);
    struct {
        uint8_t **rows;
        int64_t count;
    } all[] = {{&s->arrivals.rows, s->arrivals.slots * d->ports},
               {&s->places.rows, s->places.slots * d->ports},
               {&s->inject_places.rows, s->inject_places.slots * d->ports},
               {&s->heads.rows, s->heads.slots * d->ports},
               {&d->begin, d->ports},
               {&d->sent, d->ports},
               {&d->taken, d->ports},
               {&d->ejected, d->ports},
               {&d->open, 1},
               {&s->waiting, 1}};
    const size_t count = sizeof all / sizeof *all;
    size_t size = blocks;
    for (size_t i = 0; i < count; i++) size += (size_t)all[i].count * d->width;
    s->rows = aligned_alloc(BLOCK, size);
    if (s->rows == NULL) return HDA_E_MEMORY;
    memset(s->rows, 0, size);
    d->blocks = s->rows;
    uint8_t *next = (uint8_t *)s->rows + blocks;
    for (size_t i = 0; i < count; i++) {
        *all[i].rows = next;
        next += (size_t)all[i].count * d->width;
    }
    return HDA_OK;
}

static void set_up_rows(sim_t *s) {
    dense_t *d = &s->d;
    const int64_t buffer = s->net->noc->buffer_flits;
    const int channels = (1 << s->v) - 1;
    memset(d->open, 0xff, d->width);
    for (size_t i = 0; i < d->width / BLOCK; i++) {
        block_t *b = &d->blocks[i];
        memset(b->idle, 0xff, sizeof b->idle);
        memset(b->turn_channel, 0xff, sizeof b->turn_channel);
        memset(b->turn_output, 0xff, sizeof b->turn_output);
        memset(b->turn_input, 0xff, sizeof b->turn_input);
        memset(b->free, channels, sizeof b->free);
        memset(b->place, channels, sizeof b->place);
        memset(b->inject_place, channels, sizeof b->inject_place);
        for (uint32_t p = 0; p < PORTS; p++)
            for (uint32_t bit = 0; bit < COUNT_BITS; bit++) {
                memset(b->places[p][bit], buffer >> bit & 1 ? channels : 0, BLOCK);
                memset(b->inject_places[p][bit], buffer >> bit & 1 ? channels : 0, BLOCK);
            }
    }
    for (uint32_t p = 0; p < PORTS; p++) memset(d->bit[p], 1 << p, BLOCK);
}

static void set_up_routers(sim_t *s, const uint8_t *column) {
    const network_t *net = s->net;
    const hda_noc_t *noc = net->noc;
    const int64_t routers = noc->router_count, nodes = noc->node_count;
    s->d.first_node = s->d.ports;
    for (int64_t n = 0; n < nodes; n++) {
        const uint32_t router = (uint32_t)noc->router_of[n];
        const uint32_t port = column[net->first_port[router] + net->node_port[n]];
        s->node[n] = (node_t){.router = router, .port = port, .last = s->v - 1};
        s->node_at[port * s->d.width + router] = (uint32_t)n;
        s->d.blocks[router / BLOCK].node[port][router % BLOCK] = 0xff;
        if (port < s->d.first_node) s->d.first_node = port;
    }
    for (int64_t r = 0; r < routers; r++) {
        const uint8_t *columns = column + net->first_port[r];
        memset(s->router[r].upper, CHANNELS, sizeof s->router[r].upper);
        for (int64_t n = 0; n < nodes; n++) {
            const int64_t to = noc->router_of[n];
            if (r == to || noc->next_link[r * routers + to] >= 0)
                s->output_of[r * nodes + n] = columns[network_port(net, r, n)];
        }
        for (int p = 0; p < PORTS; p++) s->router[r].beyond[p] = NONE;
    }
    for (int64_t l = 0; net->wraps && l < noc->link_count; l++) {
        const int64_t r = noc->link_from[l];
        s->router[r].upper[column[net->first_port[r] + net->link_out[l]]] = (uint8_t)(s->v / 2);
    }
}

static void *zeros(size_t count, size_t size) { return calloc(count + 1, size); }

static hda_status_t set_up(sim_t *s) {
    const network_t *net = s->net;
    const hda_noc_t *noc = net->noc;
    dense_t *d = &s->d;
    const size_t routers = (size_t)noc->router_count, nodes = (size_t)noc->node_count;
    d->ports = net->most_ports;
    d->width = (routers + BLOCK - 1) / BLOCK * BLOCK;
    d->count_bits = bits_of(noc->buffer_flits);
    d->left_bits = bits_of(net->longest_packet);
    const size_t places = d->ports * d->width;
    s->router = zeros(routers, sizeof *s->router);
    s->packet = zeros(routers * INPUTS * s->ring, sizeof *s->packet);
    s->word = zeros(places / 8, sizeof *s->word);
    s->leaving = zeros(places * CHANNELS, sizeof *s->leaving);
    s->output_of = zeros(routers * nodes, 1);
    s->node = zeros(nodes, sizeof *s->node);
    s->node_at = zeros(places, sizeof *s->node_at);
    s->pair = zeros(routers * INPUTS, sizeof *s->pair);
    s->run = zeros((size_t)noc->link_count, sizeof *s->run);
    uint8_t *column = zeros(net->first_port[routers], 1), *used_in = zeros(places, 1);
    uint32_t *in_of = zeros(places, sizeof *in_of);
    hda_status_t status = HDA_E_MEMORY;
    if (s->router && s->packet && s->leaving && s->word && s->output_of && s->node && s->node_at &&
        s->pair && s->run && column && used_in && in_of)
        status = allocate_rows(s);
    if (status == HDA_OK) {
        set_up_rows(s);
        place_ports(s, column);
        set_up_routers(s, column);
        find_runs(s, column, in_of, used_in);
    }
    free(column);
    free(used_in);
    free(in_of);
    return status;
}

hda_status_t dense_run(network_t *net) {
    sim_t s = {.net = net,
               .v = (uint32_t)net->noc->virtual_channels,
               .ring = net->packets,
               .kernel = kernels_16};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) s.kernel = kernels_avx2;
#endif
    hda_status_t status = set_up(&s);
    if (status == HDA_OK) status = run(&s);
    void *owned[] = {s.router, s.packet,  s.leaving, s.word, s.output_of,
                     s.node,   s.node_at, s.pair,    s.run,  s.rows};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    return status;
}
