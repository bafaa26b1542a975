/* Network on chip: messages over a routed graph, virtual cut-through with links that are busy until the tail has passed. */
#ifndef HDA_NOC_H
#define HDA_NOC_H

#include <stddef.h>

#include "hda.h"

/* Routers, links between them, routes, and the nodes attached to routers (one each in a mesh, all to one in a crossbar).
 * `next_link[a * router_count + b]` is the link on which router a forwards towards router b, or -1. `order` lists the nodes along a
 * line on which collectives place their ring. All arrays belong to the caller. */
typedef struct {
    int64_t node_count, router_count, link_count;
    const int64_t* router_of; /* node -> its router */
    const int64_t* link_to;   /* link -> router at its far end */
    const int64_t* next_link; /* router_count x router_count */
    const int64_t* order;     /* node_count */
    int64_t router_delay, link_delay,
        port_delay; /* cycles; port_delay covers injection and ejection together */
} hda_noc_t;

/* A unicast message of `flits` flits. It becomes ready when message `after` has been received (plus one cycle), or at 0 if -1. */
typedef struct {
    int64_t source, target, flits, after;
} hda_message_t;

/* Bytes of scratch that hda_noc_run needs. */
size_t hda_noc_scratch_size(const hda_noc_t* noc, int64_t message_count);

/* Run a schedule: `done[i]` receives the cycle at which the last flit of message i has left its ejection port; `*makespan` the last.
 *
 * A node injects one message at a time, in order of readiness (then of the list), one flit per cycle. A message holds each link, and the
 * ejection port, for `flits` cycles. Without contention a message over h links takes
 *
 *     (h + 1) * router_delay + h * link_delay + port_delay + flits - 1
 *
 * which is BookSim 2's zero-load latency (router 3 or 4, link 1, ports 3). Buffers are unlimited: contention on links is counted,
 * back-pressure into upstream links is not.
 * `messages` of zero flits or to oneself are HDA_E_RANGE. A cycle of `after` is HDA_E_DEADLOCK.
 */
hda_status_t hda_noc_run(const hda_noc_t* noc, const hda_message_t* messages, int64_t message_count,
                         void* scratch, int64_t* done, int64_t* makespan);

typedef enum {
    HDA_COLL_ALL_GATHER = 0, /* ring: size - 1 steps of one chunk */
    HDA_COLL_ALL_REDUCE = 1, /* ring: reduce-scatter then all-gather, 2 (size - 1) steps */
    HDA_COLL_INCAST = 2,     /* every other member sends one chunk to the first */
} hda_collective_t;

/* Number of messages of `groups` concurrent collectives over `size` members each. */
int64_t hda_collective_messages(hda_collective_t kind, int64_t groups, int64_t size);

/* Write those messages. Group g holds nodes order[g * size .. g * size + size - 1]; each chunk has `flits` flits. */
hda_status_t hda_collective_schedule(const hda_noc_t* noc, hda_collective_t kind, int64_t groups,
                                     int64_t size, int64_t flits, hda_message_t* messages);

/* Cycles of the collective without contention and with all ring neighbours one link apart (tests and mapping search only):
 * all-gather (n - 1)(c + a) - 1, all-reduce twice the steps, incast (n - 1) c + a - 1, with a = the fixed cost of a one-link message + 1.
 */
int64_t hda_collective_zero_load(const hda_noc_t* noc, hda_collective_t kind, int64_t size,
                                 int64_t flits);

#endif
