/* Input-queued routers with virtual channels, cycle by cycle.
 *
 * With router_delay r, link_delay l, port_delay p, in cycles:
 *
 *     t           a head arrives at a router; a virtual channel is allocated to it at t + route, route = max(r - 3, 0), and the switch
 *                 one cycle later at the earliest; body flits may win the switch on arrival
 *     s           a flit wins the switch and leaves its buffer
 *     s + hop     it arrives at the next router, hop = r - 1 - route + l; or it is received, after s + r - 1 - route + p - min(p, 2)
 *     s + 3 + l   the sender of the flit can use the place that it left
 *
 * BookSim 2's `iq` router with r = 3 or 4, l = 1, p = 3. A virtual channel is free for another packet once the tail has left the sender,
 * and is allocated regardless of the places left in it. What could happen in a cycle is kept as bit masks per router, so that an idle
 * router costs nothing and a busy one little more than its flits.
 */
#include "router.h"

#include <stdlib.h>
#include <string.h>

enum { IDLE = 0, WAITING = 1, ACTIVE = 2 }; /* of the packet at the front of a virtual channel */
enum { NODE = -1, OPEN = -2 };              /* what a port has instead of a link */
enum { MOST_PORTS = 64 };
#define NONE UINT32_MAX

/* A virtual channel: a buffer of an input port, or the places of an ejection port. */
typedef struct {
    uint32_t next;   /* channel downstream that the front packet holds */
    uint32_t holder; /* channel upstream whose front packet holds this one */
    uint32_t left;   /* flits of the front packet that have not left */
    uint32_t router;
    uint16_t count;   /* flits in the buffer */
    uint16_t credits; /* places that the sender knows to be free */
    uint16_t grant;   /* as an output: round robin over the input channels of the router */
    uint16_t accept;  /* as an input: round robin over the output channels of the router */
    uint8_t index, state, port,
        out;               /* in its port; its port and the front packet's output, at the router */
    uint8_t first, queued; /* ring of packets */
} channel_t;

typedef struct {
    uint32_t message, flits;
} packet_t;

/* Input and output port of the same rank at a router. */
typedef struct {
    uint64_t wants;    /* inputs with flits that could leave through this output */
    uint32_t from, to; /* first channel of the input, first channel downstream of the output */
    int32_t in_link, out_link;
    uint32_t free;             /* channels downstream that no packet holds */
    uint32_t waiters, waiting; /* the channels of packets that wait for one */
    uint8_t grant, accept,
        offset; /* round robin over inputs, over outputs, over the input's channels */
} port_t;

typedef struct {
    uint64_t outputs;    /* those with wants */
    uint64_t allocating; /* those with waiting packets */
    uint32_t port, ports, ready;
} router_t;

/* Messages that are ready at a node, chained; `sent` flits of the first, on `channel` of the node's port. */
typedef struct {
    int64_t head, tail, sent;
    uint32_t from, channel, last;
} node_t;

/* Items due a fixed number of cycles later. */
typedef struct {
    uint32_t *items, *count, room;
} wheel_t;

typedef struct {
    const hda_noc_t *noc;
    dag_t *dag;
    int64_t t, slots, inject, route, hop, credit, eject;
    int64_t pending;  /* items in wheels */
    uint32_t v, ring; /* channels of a port; packets that a channel can hold */
    int moved, classes;
    channel_t *channel;
    packet_t *packet; /* `ring` per channel */
    port_t *port;
    router_t *router;
    node_t *node;
    uint32_t *ready;    /* [router][input][output]: channels whose front flit could leave */
    uint32_t *waiters;  /* [port][input channel] */
    uint32_t *link_out; /* link -> output of its router */
    uint32_t *node_out;
    uint8_t *injects;      /* per node: 1 if it has messages */
    int64_t *chain, *rest; /* per message: the next in its node's queue; packets not yet received */
    wheel_t arrivals, credits, heads, received;
} sim_t;

static inline void later(sim_t *s, wheel_t *wheel, int64_t delay, uint32_t item) {
    const uint32_t slot = (uint32_t)((s->t + delay) & (s->slots - 1));
    wheel->items[slot * wheel->room + wheel->count[slot]++] = item;
    s->pending++;
}

/* The items due now; the slot is empty afterwards. */
static inline uint32_t *due(sim_t *s, wheel_t *wheel, uint32_t *count) {
    const uint32_t slot = (uint32_t)(s->t & (s->slots - 1));
    *count = wheel->count[slot];
    wheel->count[slot] = 0;
    s->pending -= *count;
    return wheel->items + slot * wheel->room;
}

/* First of `mask` at or after `from`, in a circle. */
static inline uint32_t round_robin(uint64_t mask, uint32_t from) {
    const uint64_t upper = mask >> from;
    return (uint32_t)(upper ? __builtin_ctzll(upper) + (int)from : __builtin_ctzll(mask));
}

static inline void set_ready(sim_t *s, const channel_t *c) {
    router_t *r = &s->router[c->router];
    s->ready[r->ready + c->port * r->ports + c->out] |= 1u << c->index;
    s->port[r->port + c->out].wants |= 1ull << c->port;
    r->outputs |= 1ull << c->out;
}

static inline void clear_ready(sim_t *s, router_t *r, const channel_t *c) {
    if (s->ready[r->ready + c->port * r->ports + c->out] &= ~(1u << c->index)) return;
    if (s->port[r->port + c->out].wants &= ~(1ull << c->port)) return;
    r->outputs &= ~(1ull << c->out);
}

/* ---- virtual channels ---- */

static inline void queue_packet(sim_t *s, uint32_t channel, uint32_t message, uint32_t flits) {
    channel_t *c = &s->channel[channel];
    s->packet[channel * s->ring + ((c->first + c->queued++) & (s->ring - 1))] =
        (packet_t){message, flits};
}

/* The head at the front of a channel asks for a channel downstream. */
static void ask(sim_t *s, uint32_t channel) {
    channel_t *c = &s->channel[channel];
    router_t *r = &s->router[c->router];
    const packet_t *packet = &s->packet[channel * s->ring + c->first];
    const hda_noc_t *noc = s->noc;
    const int64_t target = s->dag->messages[packet->message].target, to = noc->router_of[target];
    const int64_t here = c->router;
    c->out = (uint8_t)(here == to ? s->node_out[target]
                                  : s->link_out[noc->next_link[here * noc->router_count + to]]);
    c->left = packet->flits;
    port_t *port = &s->port[r->port + c->out];
    s->waiters[port->waiters + port->waiting++] = channel;
    r->allocating |= 1ull << c->out;
}

/* Channels of an output that the packet of an input channel may take. Where links wrap, the upper half is for packets that have crossed
 * such a link of the dimension, so that no cycle of packets waits for itself (Dally and Seitz 1987). */
static inline uint32_t allowed(const sim_t *s, const router_t *r, const channel_t *c) {
    const uint32_t all = (uint32_t)((1ull << s->v) - 1), lower = (1u << (s->v / 2)) - 1;
    const int32_t out = s->port[r->port + c->out].out_link;
    if (!s->classes || out < 0) return all;
    const int32_t in = s->port[r->port + c->port].in_link;
    const hda_noc_t *noc = s->noc;
    if (in < 0 || noc->link_dimension[in] != noc->link_dimension[out]) return lower;
    return noc->link_wraps[in] || c->index >= s->v / 2 ? all & ~lower : lower;
}

static inline void hold(sim_t *s, port_t *port, uint32_t channel, uint32_t next) {
    channel_t *c = &s->channel[channel], *n = &s->channel[next];
    port->free &= ~(1u << n->index);
    c->next = next;
    c->state = ACTIVE;
    n->holder = channel;
    if (port->out_link >= 0) {
        const packet_t packet = s->packet[channel * s->ring + c->first];
        queue_packet(s, next, packet.message, packet.flits);
    }
    if (n->credits > 0) set_ready(s, c); /* its head is here */
    s->moved = 1;
}

typedef struct {
    uint32_t channel, next;
    port_t *port;
} pair_t;

/* One packet waits: all free channels would grant to it. */
static int match_one(sim_t *s, const router_t *r, port_t *port, pair_t *pair) {
    const uint32_t channel = s->waiters[port->waiters];
    channel_t *c = &s->channel[channel];
    const uint32_t open = port->free & allowed(s, r, c);
    if (open == 0) return 0;
    const uint32_t base = c->out * s->v;
    const uint32_t from = c->accept >= base && c->accept < base + s->v ? c->accept - base : 0;
    const uint32_t pick = round_robin(open, from);
    *pair = (pair_t){channel, port->to + pick, port};
    s->channel[pair->next].grant = (uint16_t)(c->port * s->v + c->index + 1);
    c->accept = (uint16_t)(base + pick + 1);
    port->waiting = 0;
    return 1;
}

/* iSLIP, two iterations; pointers move in the first only. */
static int match_many(sim_t *s, const router_t *r, port_t *port, pair_t *pairs) {
    const uint32_t inputs = r->ports * s->v, base = (uint32_t)(port - &s->port[r->port]) * s->v;
    uint32_t *waiters = s->waiters + port->waiters, open = port->free;
    int count = 0;
    for (int iteration = 0; iteration < 2 && port->waiting > 0 && open; iteration++) {
        uint32_t granted[HDA_NOC_CHANNELS]; /* per channel: place of a waiter */
        for (uint32_t left = open; left; left &= left - 1) {
            const uint32_t n = (uint32_t)__builtin_ctz(left);
            uint32_t best = NONE, distance = NONE;
            for (uint32_t i = 0; i < port->waiting; i++) {
                const channel_t *c = &s->channel[waiters[i]];
                const uint32_t id = c->port * s->v + c->index;
                const uint32_t grant = s->channel[port->to + n].grant;
                const uint32_t away = id >= grant ? id - grant : id + inputs - grant;
                if (away >= distance || !(allowed(s, r, c) >> n & 1)) continue;
                distance = away;
                best = i;
            }
            granted[n] = best;
        }
        uint32_t kept = 0;
        for (uint32_t i = 0; i < port->waiting; i++) {
            const uint32_t channel = waiters[i];
            channel_t *c = &s->channel[channel];
            uint32_t offers = 0;
            for (uint32_t left = open; left; left &= left - 1) {
                const uint32_t n = (uint32_t)__builtin_ctz(left);
                if (granted[n] == i) offers |= 1u << n;
            }
            if (offers == 0) {
                waiters[kept++] = channel;
                continue;
            }
            const uint32_t from =
                c->accept >= base && c->accept < base + s->v ? c->accept - base : 0;
            const uint32_t pick = round_robin(offers, from);
            pairs[count++] = (pair_t){channel, port->to + pick, port};
            open &= ~(1u << pick);
            if (iteration > 0) continue;
            s->channel[port->to + pick].grant = (uint16_t)(c->port * s->v + c->index + 1);
            c->accept = (uint16_t)(base + pick + 1);
        }
        port->waiting = kept;
    }
    return count;
}

/* Match waiting packets of a router with free channels; they are held from the end of the cycle. */
static int allocate_channels(sim_t *s, router_t *r, pair_t *pairs) {
    int count = 0;
    for (uint64_t left = r->allocating; left; left &= left - 1) {
        const int out = __builtin_ctzll(left);
        port_t *port = &s->port[r->port + (uint32_t)out];
        if (port->free == 0) continue;
        count += port->waiting == 1 ? match_one(s, r, port, pairs + count)
                                    : match_many(s, r, port, pairs + count);
        if (port->waiting == 0) r->allocating &= ~(1ull << out);
    }
    return count;
}

/* ---- switch ---- */

static void receive_packet(sim_t *s, uint32_t message) {
    if (--s->rest[message] > 0) return;
    if (s->eject == 0)
        dag_finish(s->dag, message, s->t);
    else
        later(s, &s->received, s->eject, message);
}

/* The tail has left: the channel downstream is free, and the next packet here asks in the next cycle. */
static void finish_packet(sim_t *s, const router_t *r, uint32_t channel, port_t *port) {
    channel_t *c = &s->channel[channel], *n = &s->channel[c->next];
    clear_ready(s, (router_t *)r, c);
    n->holder = NONE;
    port->free |= 1u << n->index;
    c->state = IDLE;
    if (port->out_link < 0) receive_packet(s, s->packet[channel * s->ring + c->first].message);
    c->first = (uint8_t)((c->first + 1) & (s->ring - 1));
    c->queued--;
    if (c->count == 0) return;
    c->state = WAITING;
    later(s, &s->heads, 1 + s->route, channel);
}

/* Send one flit from an input to an output. */
static inline void send(sim_t *s, router_t *r, uint32_t in, uint32_t out) {
    port_t *source = &s->port[r->port + in], *port = &s->port[r->port + out];
    const uint32_t pick = round_robin(s->ready[r->ready + in * r->ports + out], source->offset);
    source->offset = (uint8_t)(pick + 1 == s->v ? 0 : pick + 1);
    const uint32_t channel = source->from + pick;
    channel_t *c = &s->channel[channel], *n = &s->channel[c->next];
    c->count--;
    n->credits--;
    if (port->out_link >= 0)
        later(s, &s->arrivals, s->hop, c->next);
    else
        later(s, &s->credits, s->eject + s->credit, c->next);
    later(s, &s->credits, source->in_link >= 0 ? s->credit : 2, channel);
    if (--c->left == 0)
        finish_packet(s, r, channel, port);
    else if (c->count == 0 || n->credits == 0)
        clear_ready(s, r, c);
}

/* iSLIP, two iterations; pointers move in the first only. */
static void allocate_switch(sim_t *s, router_t *r) {
    port_t *ports = &s->port[r->port];
    uint64_t outputs = r->outputs, offered = 0;
    if ((outputs & (outputs - 1)) == 0) { /* one output */
        const uint32_t out = (uint32_t)__builtin_ctzll(outputs);
        const uint32_t in = round_robin(ports[out].wants, ports[out].grant);
        ports[out].grant = (uint8_t)(in + 1 == r->ports ? 0 : in + 1);
        ports[in].accept = (uint8_t)(out + 1 == r->ports ? 0 : out + 1);
        send(s, r, in, out);
        return;
    }
    uint64_t offers[MOST_PORTS]; /* per input */
    uint8_t in_of[MOST_PORTS], out_of[MOST_PORTS];
    uint32_t count = 0;
    for (uint64_t left = outputs; left; left &= left - 1) {
        const uint32_t out = (uint32_t)__builtin_ctzll(left);
        const uint32_t in = round_robin(ports[out].wants, ports[out].grant);
        offers[in] = (offered >> in & 1 ? offers[in] : 0) | 1ull << out;
        offered |= 1ull << in;
    }
    for (uint64_t left = offered; left; left &= left - 1) {
        const uint32_t in = (uint32_t)__builtin_ctzll(left);
        const uint32_t out = round_robin(offers[in], ports[in].accept);
        ports[out].grant = (uint8_t)(in + 1 == r->ports ? 0 : in + 1);
        ports[in].accept = (uint8_t)(out + 1 == r->ports ? 0 : out + 1);
        outputs &= ~(1ull << out);
        in_of[count] = (uint8_t)in;
        out_of[count++] = (uint8_t)out;
    }
    const uint64_t matched = offered;
    offered = 0;
    for (uint64_t left = outputs; left; left &= left - 1) {
        const uint32_t out = (uint32_t)__builtin_ctzll(left);
        const uint64_t wants = ports[out].wants & ~matched;
        if (wants == 0) continue;
        const uint32_t in = round_robin(wants, ports[out].grant);
        offers[in] = (offered >> in & 1 ? offers[in] : 0) | 1ull << out;
        offered |= 1ull << in;
    }
    for (uint64_t left = offered; left; left &= left - 1) {
        const uint32_t in = (uint32_t)__builtin_ctzll(left);
        in_of[count] = (uint8_t)in;
        out_of[count++] = (uint8_t)round_robin(offers[in], ports[in].accept);
    }
    for (uint32_t i = 0; i < count; i++) send(s, r, in_of[i], out_of[i]);
}

static void run_routers(sim_t *s) {
    pair_t pairs[MOST_PORTS * HDA_NOC_CHANNELS];
    for (int64_t i = 0; i < s->noc->router_count; i++) {
        router_t *r = &s->router[i];
        if (!(r->outputs | r->allocating)) continue;
        const int count = r->allocating ? allocate_channels(s, r, pairs) : 0;
        if (r->outputs) {
            allocate_switch(s, r);
            s->moved = 1;
        }
        for (int p = 0; p < count; p++) hold(s, pairs[p].port, pairs[p].channel, pairs[p].next);
    }
}

/* ---- one cycle ---- */

static void take_credits(sim_t *s) {
    uint32_t count;
    const uint32_t *items = due(s, &s->credits, &count);
    for (uint32_t i = 0; i < count; i++) {
        channel_t *n = &s->channel[items[i]];
        if (n->credits++ > 0 || n->holder == NONE) continue;
        const channel_t *c = &s->channel[n->holder];
        if (c->count > 0) set_ready(s, c);
    }
}

static void take_flits(sim_t *s) {
    uint32_t count;
    const uint32_t *items = due(s, &s->arrivals, &count);
    for (uint32_t i = 0; i < count; i++) {
        channel_t *c = &s->channel[items[i]];
        if (c->count++ > 0) continue;
        if (c->state == ACTIVE) {
            if (s->channel[c->next].credits > 0) set_ready(s, c);
        } else if (c->state == IDLE) {
            c->state = WAITING;
            if (s->route == 0)
                ask(s, items[i]);
            else
                later(s, &s->heads, s->route, items[i]);
        }
    }
}

static void take_heads(sim_t *s) {
    uint32_t count;
    const uint32_t *items = due(s, &s->heads, &count);
    for (uint32_t i = 0; i < count; i++) ask(s, items[i]);
}

/* Messages received now, and those that become ready. */
static void take_messages(sim_t *s) {
    uint32_t count;
    const uint32_t *items = due(s, &s->received, &count);
    for (uint32_t i = 0; i < count; i++) dag_finish(s->dag, items[i], s->t);
    queue_t *ready = &s->dag->ready;
    while (ready->count > 0 && ready->items[0].time <= s->t) {
        const int64_t message = queue_pop(ready).index, source = s->dag->messages[message].source;
        node_t *node = &s->node[source];
        s->chain[message] = -1;
        if (node->head < 0)
            node->head = message;
        else
            s->chain[node->tail] = message;
        node->tail = message;
        s->injects[source] = 1;
    }
}

/* The next flit of a node's first message; every packet takes the next channel that has a place. */
static void inject_flit(sim_t *s, node_t *node, uint8_t *injects) {
    const int64_t flits = s->dag->messages[node->head].flits, size = s->noc->packet_flits;
    if (node->channel == NONE) {
        for (uint32_t i = 1; i <= s->v; i++) {
            const uint32_t pick = (node->last + i) % s->v;
            if (s->channel[node->from + pick].credits == 0) continue;
            node->channel = node->from + pick;
            node->last = pick;
            queue_packet(s, node->channel, (uint32_t)node->head,
                         (uint32_t)hda_min64(size, flits - node->sent));
            break;
        }
        if (node->channel == NONE) return;
    }
    channel_t *c = &s->channel[node->channel];
    if (c->credits == 0) return;
    c->credits--;
    later(s, &s->arrivals, s->inject, node->channel);
    node->sent++;
    s->moved = 1;
    if (node->sent % size != 0 && node->sent != flits) return;
    node->channel = NONE;
    if (node->sent != flits) return;
    node->sent = 0;
    node->head = s->chain[node->head];
    *injects = node->head >= 0;
}

static void inject_flits(sim_t *s) {
    for (int64_t i = 0; i < s->noc->node_count; i++)
        if (s->injects[i]) inject_flit(s, &s->node[i], &s->injects[i]);
}

static hda_status_t run(sim_t *s) {
    while (s->dag->finished < s->dag->count) {
        s->moved = 0;
        take_messages(s);
        take_credits(s);
        inject_flits(s);
        take_flits(s);
        take_heads(s);
        run_routers(s);
        s->t++;
        if (s->moved || s->pending > 0) continue;
        if (s->dag->ready.count == 0)
            return s->dag->finished < s->dag->count ? HDA_E_DEADLOCK : HDA_OK;
        s->t = hda_max64(s->t, s->dag->ready.items[0].time);
    }
    return HDA_OK;
}

/* ---- set-up ---- */

/* Count the ports of each router; HDA_E_RANGE if one has too many. */
static hda_status_t count_ports(sim_t *s, uint32_t *port_total, uint32_t *ready_total,
                                uint32_t *waiter_total) {
    const hda_noc_t *noc = s->noc;
    int64_t *ports = calloc((size_t)(3 * noc->router_count), sizeof *ports);
    if (ports == NULL) return HDA_E_MEMORY;
    int64_t *in = ports + noc->router_count, *out = in + noc->router_count;
    for (int64_t l = 0; l < noc->link_count; l++) {
        s->link_out[l] = (uint32_t)out[noc->link_from[l]]++;
        in[noc->link_to[l]]++;
    }
    for (int64_t r = 0; r < noc->router_count; r++) ports[r] = hda_max64(in[r], out[r]);
    for (int64_t n = 0; n < noc->node_count; n++)
        s->node_out[n] = (uint32_t)ports[noc->router_of[n]]++;
    hda_status_t status = HDA_OK;
    *port_total = *ready_total = *waiter_total = 0;
    for (int64_t r = 0; r < noc->router_count; r++) {
        if (ports[r] > MOST_PORTS) status = HDA_E_RANGE;
        const uint32_t p = (uint32_t)hda_min64(ports[r], MOST_PORTS);
        s->router[r] = (router_t){.port = *port_total, .ports = p, .ready = *ready_total};
        *port_total += p;
        *ready_total += p * p;
        *waiter_total += p * p * s->v;
    }
    free(ports);
    return status;
}

/* The input port of every link: the rank of the output back to where it comes from, else the first that is left. */
static hda_status_t place_links(sim_t *s) {
    const hda_noc_t *noc = s->noc;
    char *placed = calloc((size_t)noc->link_count + 1, 1);
    if (placed == NULL) return HDA_E_MEMORY;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t l = 0; l < noc->link_count; l++) {
            const router_t *r = &s->router[noc->link_to[l]];
            for (uint32_t p = 0; p < r->ports && !placed[l]; p++) {
                port_t *port = &s->port[r->port + p];
                const int32_t back = port->out_link;
                if (port->in_link != OPEN) continue;
                if (pass == 0 && (back < 0 || noc->link_to[back] != noc->link_from[l])) continue;
                port->in_link = (int32_t)l;
                placed[l] = 1;
            }
        }
    }
    free(placed);
    return HDA_OK;
}

static hda_status_t set_up_ports(sim_t *s) {
    const hda_noc_t *noc = s->noc;
    uint32_t waiters = 0, channel = 0;
    for (int64_t i = 0; i < noc->router_count; i++) {
        const router_t *r = &s->router[i];
        for (uint32_t p = 0; p < r->ports; p++, waiters += r->ports * s->v)
            s->port[r->port + p] = (port_t){.in_link = OPEN,
                                            .out_link = OPEN,
                                            .waiters = waiters,
                                            .free = (uint32_t)((1ull << s->v) - 1)};
    }
    for (int64_t n = 0; n < noc->node_count; n++) {
        port_t *port = &s->port[s->router[noc->router_of[n]].port + s->node_out[n]];
        port->in_link = port->out_link = NODE;
    }
    for (int64_t l = 0; l < noc->link_count; l++)
        s->port[s->router[noc->link_from[l]].port + s->link_out[l]].out_link = (int32_t)l;
    const hda_status_t status = place_links(s);
    if (status != HDA_OK) return status;
    for (int64_t i = 0; i < noc->router_count; i++) {
        const router_t *r = &s->router[i];
        for (uint32_t p = 0; p < r->ports; p++) {
            port_t *port = &s->port[r->port + p];
            for (uint32_t side = 0; side < 2;
                 side++) { /* input channels, then places of an ejection port */
                if (side == 1 && port->out_link != NODE) continue;
                *(side ? &port->to : &port->from) = channel;
                for (uint32_t v = 0; v < s->v; v++)
                    s->channel[channel++] = (channel_t){.holder = NONE,
                                                        .router = (uint32_t)i,
                                                        .credits = (uint16_t)noc->buffer_flits,
                                                        .index = (uint8_t)v,
                                                        .port = (uint8_t)p};
            }
        }
    }
    for (int64_t i = 0; i < noc->router_count; i++) {
        const router_t *r = &s->router[i];
        for (uint32_t p = 0; p < r->ports; p++) {
            const int32_t link = s->port[r->port + p].in_link;
            if (link < 0) continue;
            s->port[s->router[noc->link_from[link]].port + s->link_out[link]].to =
                s->port[r->port + p].from;
        }
    }
    for (int64_t n = 0; n < noc->node_count; n++) {
        const port_t *port = &s->port[s->router[noc->router_of[n]].port + s->node_out[n]];
        s->node[n] = (node_t){.head = -1, .from = port->from, .channel = NONE, .last = s->v - 1};
    }
    return HDA_OK;
}

static int make_wheel(wheel_t *wheel, int64_t slots, int64_t room) {
    wheel->room = (uint32_t)room;
    wheel->items = malloc((size_t)(slots * room) * sizeof *wheel->items);
    wheel->count = calloc((size_t)slots, sizeof *wheel->count);
    return wheel->items == NULL || wheel->count == NULL;
}

static void *zeros(int64_t count, size_t size) { return calloc((size_t)count + 1, size); }

static hda_status_t set_up(sim_t *s) {
    const hda_noc_t *noc = s->noc;
    const int64_t nodes = noc->node_count, links = noc->link_count, most = links + nodes;
    uint32_t ports, ready, waiters;
    s->router = zeros(noc->router_count, sizeof *s->router);
    s->node = zeros(nodes, sizeof *s->node);
    s->link_out = zeros(links, sizeof *s->link_out);
    s->node_out = zeros(nodes, sizeof *s->node_out);
    s->injects = zeros(nodes, sizeof *s->injects);
    s->chain = zeros(2 * s->dag->count, sizeof *s->chain);
    if (!s->router || !s->node || !s->link_out || !s->node_out || !s->injects || !s->chain)
        return HDA_E_MEMORY;
    const hda_status_t status = count_ports(s, &ports, &ready, &waiters);
    if (status != HDA_OK) return status;
    const int64_t channels = ((int64_t)ports + nodes) * s->v;
    s->port = zeros(ports, sizeof *s->port);
    s->channel = zeros(channels, sizeof *s->channel);
    s->packet = zeros(channels * s->ring, sizeof *s->packet);
    s->ready = zeros(ready, sizeof *s->ready);
    s->waiters = zeros(waiters, sizeof *s->waiters);
    if (!s->port || !s->channel || !s->packet || !s->ready || !s->waiters) return HDA_E_MEMORY;
    if (make_wheel(&s->arrivals, s->slots, most) ||
        make_wheel(&s->credits, s->slots, most + 2 * nodes) ||
        make_wheel(&s->heads, s->slots, 2 * most) || make_wheel(&s->received, s->slots, nodes))
        return HDA_E_MEMORY;
    const hda_status_t placed = set_up_ports(s);
    if (placed != HDA_OK) return placed;
    s->rest = s->chain + s->dag->count;
    for (int64_t i = 0; i < s->dag->count; i++)
        s->rest[i] = hda_ceil_div(s->dag->messages[i].flits, noc->packet_flits);
    return HDA_OK;
}

hda_status_t router_run(const hda_noc_t *noc, dag_t *dag) {
    if (noc->link_count + noc->node_count > (1 << 20) || dag->count >= (int64_t)NONE ||
        noc->packet_flits >= (int64_t)NONE)
        return HDA_E_RANGE;
    sim_t s = {.noc = noc, .dag = dag, .v = (uint32_t)noc->virtual_channels, .slots = 2, .ring = 2};
    s.route = hda_max64(noc->router_delay - 3, 0);
    s.inject = hda_min64(noc->port_delay, 2);
    s.hop = noc->router_delay - 1 - s.route + noc->link_delay;
    s.eject = noc->router_delay - 1 - s.route + noc->port_delay - s.inject;
    s.credit = 3 + noc->link_delay;
    while (s.slots <= s.eject + s.credit + s.route + s.hop) s.slots *= 2;
    while (s.ring < noc->buffer_flits + 2) s.ring *= 2;
    for (int64_t i = 0; i < noc->link_count; i++) s.classes |= noc->link_wraps[i] != 0;
    hda_status_t status = set_up(&s);
    if (status == HDA_OK) status = run(&s);
    void *owned[] = {s.router,         s.node,           s.link_out,      s.node_out,
                     s.injects,        s.chain,          s.port,          s.channel,
                     s.packet,         s.ready,          s.waiters,       s.arrivals.items,
                     s.arrivals.count, s.credits.items,  s.credits.count, s.heads.items,
                     s.heads.count,    s.received.items, s.received.count};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    return status;
}
