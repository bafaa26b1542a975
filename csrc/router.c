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
 * and is allocated regardless of the places left in it.
 *
 * There are two simulators of this, which give the same cycles. The one here takes any network; what could happen in a cycle is kept as bit
 * masks per router, so that an idle router costs nothing and a busy one little more than its flits. That of router_dense.c steps all routers
 * at once and is five times faster where most of them are busy.
 */
#include "router.h"

#include <stdlib.h>
#include <string.h>

#include "router_dense.h"
#include "router_network.h"

enum { IDLE = 0, WAITING = 1, ACTIVE = 2 }; /* of the packet at the front of a virtual channel */
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

/* An injection port: the packet that it sends, on `channel`, has `left` flits to go. */
typedef struct {
    uint32_t from, channel, last, left;
} node_t;

/* Items due a fixed number of cycles later. */
typedef struct {
    uint32_t *items, *count, room;
} wheel_t;

typedef struct {
    network_t *net;
    int64_t t;
    int64_t pending;  /* items in wheels */
    uint32_t v, ring; /* channels of a port; packets that a channel can hold */
    int moved;
    channel_t *channel;
    packet_t *packet; /* `ring` per channel */
    port_t *port;
    router_t *router;
    node_t *node;
    uint32_t *ready;   /* [router][input][output]: channels whose front flit could leave */
    uint32_t *waiters; /* [port][input channel] */
    uint8_t *injects;  /* per node: 1 if it has messages */
    wheel_t arrivals, credits, heads;
} sim_t;

static inline void later(sim_t *s, wheel_t *wheel, int64_t delay, uint32_t item) {
    const uint32_t slot = (uint32_t)((s->t + delay) & (s->net->slots - 1));
    wheel->items[slot * wheel->room + wheel->count[slot]++] = item;
    s->pending++;
}

/* The items due now; the slot is empty afterwards. */
static inline uint32_t *due(sim_t *s, wheel_t *wheel, uint32_t *count) {
    const uint32_t slot = (uint32_t)(s->t & (s->net->slots - 1));
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

static inline void queue_packet(sim_t *s, uint32_t channel, packet_t packet) {
    channel_t *c = &s->channel[channel];
    s->packet[channel * s->ring + ((c->first + c->queued++) & (s->ring - 1))] = packet;
}

/* The head at the front of a channel asks for a channel downstream. */
static void ask(sim_t *s, uint32_t channel) {
    channel_t *c = &s->channel[channel];
    router_t *r = &s->router[c->router];
    const packet_t *packet = &s->packet[channel * s->ring + c->first];
    c->out =
        (uint8_t)network_port(s->net, c->router, s->net->dag->messages[packet->message].target);
    c->left = packet->flits;
    port_t *port = &s->port[r->port + c->out];
    s->waiters[port->waiters + port->waiting++] = channel;
    r->allocating |= 1ull << c->out;
}

/* Channels of an output that the packet of an input channel may take. */
static inline uint32_t allowed(const sim_t *s, const router_t *r, const channel_t *c) {
    const uint32_t all = (uint32_t)((1ull << s->v) - 1), lower = (1u << (s->v / 2)) - 1;
    switch (network_class(s->net, r->port + c->port, r->port + c->out, c->index)) {
        case LOWER: return lower;
        case UPPER: return all & ~lower;
        default: return all;
    }
}

static inline void hold(sim_t *s, port_t *port, uint32_t channel, uint32_t next) {
    channel_t *c = &s->channel[channel], *n = &s->channel[next];
    port->free &= ~(1u << n->index);
    c->next = next;
    c->state = ACTIVE;
    n->holder = channel;
    if (port->out_link >= 0) queue_packet(s, next, s->packet[channel * s->ring + c->first]);
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

/* The tail has left: the channel downstream is free, and the next packet here asks in the next cycle. */
static void finish_packet(sim_t *s, const router_t *r, uint32_t channel, port_t *port) {
    channel_t *c = &s->channel[channel], *n = &s->channel[c->next];
    clear_ready(s, (router_t *)r, c);
    n->holder = NONE;
    port->free |= 1u << n->index;
    c->state = IDLE;
    if (port->out_link < 0)
        network_eject(s->net, s->packet[channel * s->ring + c->first].message, s->t);
    c->first = (uint8_t)((c->first + 1) & (s->ring - 1));
    c->queued--;
    if (c->count == 0) return;
    c->state = WAITING;
    later(s, &s->heads, 1 + s->net->route, channel);
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
        later(s, &s->arrivals, s->net->hop, c->next);
    else
        later(s, &s->credits, s->net->eject + s->net->credit, c->next);
    later(s, &s->credits, source->in_link >= 0 ? s->net->credit : 2, channel);
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
    for (int64_t i = 0; i < s->net->noc->router_count; i++) {
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
            if (s->net->route == 0)
                ask(s, items[i]);
            else
                later(s, &s->heads, s->net->route, items[i]);
        }
    }
}

static void take_heads(sim_t *s) {
    uint32_t count;
    const uint32_t *items = due(s, &s->heads, &count);
    for (uint32_t i = 0; i < count; i++) ask(s, items[i]);
}

static void take_messages(sim_t *s) {
    for (int64_t node; (node = network_collect(s->net, s->t)) >= 0;) s->injects[node] = 1;
}

/* The next flit of a node's packets, each of which takes the next channel that has a place. */
static void inject_flit(sim_t *s, int64_t index) {
    node_t *node = &s->node[index];
    if (node->channel == NONE) {
        for (uint32_t i = 1; i <= s->v; i++) {
            const uint32_t pick = (node->last + i) % s->v;
            if (s->channel[node->from + pick].credits == 0) continue;
            const packet_t packet = network_cut(s->net, index);
            node->channel = node->from + pick;
            node->last = pick;
            node->left = packet.flits;
            queue_packet(s, node->channel, packet);
            break;
        }
        if (node->channel == NONE) return;
    }
    channel_t *c = &s->channel[node->channel];
    if (c->credits == 0) return;
    c->credits--;
    later(s, &s->arrivals, s->net->inject, node->channel);
    s->moved = 1;
    if (--node->left > 0) return;
    node->channel = NONE;
    s->injects[index] = s->net->outbox[index].head >= 0;
}

static void inject_flits(sim_t *s) {
    for (int64_t i = 0; i < s->net->noc->node_count; i++)
        if (s->injects[i]) inject_flit(s, i);
}

static hda_status_t run(sim_t *s) {
    const dag_t *dag = s->net->dag;
    while (dag->finished < dag->count) {
        s->moved = 0;
        take_messages(s);
        take_credits(s);
        inject_flits(s);
        take_flits(s);
        take_heads(s);
        run_routers(s);
        s->t++;
        if (s->moved || s->pending > 0) continue;
        if (dag->ready.count == 0) return dag->finished < dag->count ? HDA_E_DEADLOCK : HDA_OK;
        s->t = hda_max64(s->t, dag->ready.items[0].time);
    }
    return HDA_OK;
}

/* ---- set-up ---- */

static void set_up_ports(sim_t *s) {
    const network_t *net = s->net;
    const hda_noc_t *noc = net->noc;
    uint32_t ready = 0, waiters = 0, channel = 0;
    for (uint32_t i = 0; i < noc->router_count; i++) {
        const uint32_t first = net->first_port[i], ports = net->first_port[i + 1] - first;
        s->router[i] = (router_t){.port = first, .ports = ports, .ready = ready};
        ready += ports * ports;
        for (uint32_t p = 0; p < ports; p++, waiters += ports * s->v) {
            s->port[first + p] = (port_t){.in_link = net->in_link[first + p],
                                          .out_link = net->out_link[first + p],
                                          .waiters = waiters,
                                          .free = (uint32_t)((1ull << s->v) - 1),
                                          .from = channel,
                                          .to = channel + s->v};
            const uint32_t end = channel + (net->out_link[first + p] == PORT_NODE ? 2 : 1) * s->v;
            for (uint32_t v = 0; channel < end; channel++, v = v + 1 == s->v ? 0 : v + 1)
                s->channel[channel] = (channel_t){.holder = NONE,
                                                  .router = i,
                                                  .credits = (uint16_t)noc->buffer_flits,
                                                  .index = (uint8_t)v,
                                                  .port = (uint8_t)p};
        }
    }
    for (int64_t l = 0; l < noc->link_count; l++) {
        const uint32_t out = net->first_port[noc->link_from[l]] + net->link_out[l];
        s->port[out].to = s->port[net->first_port[noc->link_to[l]] + net->link_in[l]].from;
    }
    for (int64_t n = 0; n < noc->node_count; n++) {
        const port_t *port = &s->port[net->first_port[noc->router_of[n]] + net->node_port[n]];
        s->node[n] = (node_t){.from = port->from, .channel = NONE, .last = s->v - 1};
    }
}

static int make_wheel(wheel_t *wheel, int64_t slots, int64_t room) {
    wheel->room = (uint32_t)room;
    wheel->items = malloc((size_t)(slots * room) * sizeof *wheel->items);
    wheel->count = calloc((size_t)slots, sizeof *wheel->count);
    return wheel->items == NULL || wheel->count == NULL;
}

static void *zeros(int64_t count, size_t size) { return calloc((size_t)count + 1, size); }

static hda_status_t set_up(sim_t *s) {
    const network_t *net = s->net;
    const hda_noc_t *noc = net->noc;
    const int64_t nodes = noc->node_count, most = noc->link_count + nodes;
    const int64_t ports = net->first_port[noc->router_count], channels = (ports + nodes) * s->v;
    int64_t pairs = 0; /* of an input and an output */
    for (int64_t r = 0; r < noc->router_count; r++) {
        const int64_t p = net->first_port[r + 1] - net->first_port[r];
        pairs += p * p;
    }
    s->router = zeros(noc->router_count, sizeof *s->router);
    s->node = zeros(nodes, sizeof *s->node);
    s->injects = zeros(nodes, sizeof *s->injects);
    s->port = zeros(ports, sizeof *s->port);
    s->channel = zeros(channels, sizeof *s->channel);
    s->packet = zeros(channels * s->ring, sizeof *s->packet);
    s->ready = zeros(pairs, sizeof *s->ready);
    s->waiters = zeros(pairs * s->v, sizeof *s->waiters);
    if (!s->router || !s->node || !s->injects || !s->port || !s->channel || !s->packet ||
        !s->ready || !s->waiters || make_wheel(&s->arrivals, net->slots, most) ||
        make_wheel(&s->credits, net->slots, most + 2 * nodes) ||
        make_wheel(&s->heads, net->slots, 2 * most))
        return HDA_E_MEMORY;
    set_up_ports(s);
    return HDA_OK;
}

static hda_status_t run_sparse(network_t *net) {
    sim_t s = {.net = net, .v = (uint32_t)net->noc->virtual_channels, .ring = net->packets};
    hda_status_t status = set_up(&s);
    if (status == HDA_OK) status = run(&s);
    void *owned[] = {s.router,         s.node,           s.injects,       s.port,
                     s.channel,        s.packet,         s.ready,         s.waiters,
                     s.arrivals.items, s.arrivals.count, s.credits.items, s.credits.count,
                     s.heads.items,    s.heads.count};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    return status;
}

hda_status_t router_run(const hda_noc_t *noc, dag_t *dag) {
    if (noc->link_count + noc->node_count > (1 << 20) || dag->count >= (int64_t)NONE ||
        noc->packet_flits >= (int64_t)NONE)
        return HDA_E_RANGE;
    network_t net;
    hda_status_t status = network_create(&net, noc, dag);
    if (status == HDA_OK && net.most_ports > MOST_PORTS) status = HDA_E_RANGE;
    if (status == HDA_OK) status = dense_fits(&net) ? dense_run(&net) : run_sparse(&net);
    network_free(&net);
    return status;
}
