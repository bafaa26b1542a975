/* What both ways of simulating routers share: delays between stages, numbers of ports, and the messages that wait at nodes. */
#ifndef HDA_ROUTER_NETWORK_H
#define HDA_ROUTER_NETWORK_H

#include "messages.h"

enum { PORT_NODE = -1, PORT_OPEN = -2 }; /* what a port has instead of a link */

/* Flits of a message that travel together. */
typedef struct {
    uint32_t message, flits;
} packet_t;

/* Messages that are ready at a node, chained; `sent` flits of the first have been cut into packets. */
typedef struct {
    int64_t head, tail, sent;
} outbox_t;

typedef struct {
    const hda_noc_t *noc;
    dag_t *dag;
    int64_t route, hop, inject, eject, credit; /* cycles; see router.c */
    int64_t slots;                             /* power of two above the sum of these */
    uint32_t packets;       /* that a virtual channel can hold, rounded up to a power of two */
    int64_t longest_packet; /* in flits */
    double traffic;       /* flits that win a switch per cycle while the busiest port never rests */
    int wraps;            /* 1 if a link closes a ring */
    uint32_t most_ports;  /* of any router */
    uint32_t *first_port; /* router -> its first place in the lists of ports; router_count + 1 */
    int32_t *in_link, *out_link;  /* port -> link, PORT_NODE or PORT_OPEN */
    uint32_t *link_in, *link_out; /* link -> port of its second router, of its first */
    uint32_t *node_port;          /* node -> port of its router */
    outbox_t *outbox;             /* per node */
    int64_t *chain;               /* message -> the next in its outbox */
    int64_t *rest;                /* message -> packets that have not left the routers */
} network_t;

/* Release with network_free, also after an error. */
hda_status_t network_create(network_t *net, const hda_noc_t *noc, dag_t *dag);
void network_free(network_t *net);

/* Put the first message that is ready at `time` into its outbox; returns its source, or -1 if none is. */
int64_t network_collect(network_t *net, int64_t time);

/* Cut a packet from an outbox that is not empty. */
packet_t network_cut(network_t *net, int64_t node);

/* Output of a router for packets to a node. */
static inline uint32_t network_port(const network_t *net, int64_t router, int64_t target) {
    const int64_t to = net->noc->router_of[target];
    if (router == to) return net->node_port[target];
    return net->link_out[net->noc->next_link[router * net->noc->router_count + to]];
}

/* Channels of an output that a packet may take, by the input and the channel on which it came. Where links wrap, the upper half is for
 * packets that have crossed such a link of the dimension, so that no cycle of packets waits for itself (Dally and Seitz 1987). */
typedef enum { ALL, LOWER, UPPER } channels_t;

static inline channels_t network_class(const network_t *net, uint32_t in_port, uint32_t out_port,
                                       uint32_t channel) {
    const hda_noc_t *noc = net->noc;
    const int32_t in = net->in_link[in_port], out = net->out_link[out_port];
    if (!net->wraps || out < 0) return ALL;
    if (in < 0 || noc->link_dimension[in] != noc->link_dimension[out]) return LOWER;
    return noc->link_wraps[in] || channel >= noc->virtual_channels / 2 ? UPPER : LOWER;
}

/* The tail of a packet won the switch to an ejection port at `time`. */
static inline void network_eject(network_t *net, uint32_t message, int64_t time) {
    if (--net->rest[message] == 0) dag_finish(net->dag, message, time + net->eject);
}

#endif
