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
    const int64_t *router_of; /* node -> its router */
    const int64_t *link_to;   /* link -> router at its far end */
    const int64_t *next_link; /* router_count x router_count */
    const int64_t *order;     /* node_count */
    int64_t router_delay, link_delay,
        port_delay; /* cycles; port_delay covers injection and ejection together */
} hda_noc_t;

/* A unicast message of `flits` flits. It becomes ready when message `after` has been received (plus one cycle), or at 0 if -1. */
typedef struct {
    int64_t source, target, flits, after;
} hda_message_t;

/* HDA_E_RANGE if there is no node, a delay is negative or above 2^20, or an index in the arrays has no meaning. Whether routes lead anywhere shows when they are
 * followed. */
hda_status_t hda_noc_check(const hda_noc_t *noc);

/* Bytes of scratch that hda_noc_run needs. */
size_t hda_noc_scratch_size(const hda_noc_t *noc, int64_t message_count);

/* Run a schedule: `done[i]` receives the cycle at which the last flit of message i has left its ejection port; `*makespan` the last.
 *
 * A node injects one message at a time, in order of readiness (then of the list), one flit per cycle. A message holds each link, and the
 * ejection port, for `flits` cycles. Without contention a message over h links takes
 *
 *     (h + 1) * router_delay + h * link_delay + port_delay + flits - 1
 *
 * which is BookSim 2's zero-load latency (router 3 or 4, link 1, ports 3). Buffers are unlimited: contention on links is counted,
 * back-pressure into upstream links is not.
 * `messages` of zero flits or to oneself, negative delays and indices beyond the arrays are HDA_E_RANGE; a route that ends or returns to
 * itself is HDA_E_ROUTE, a cycle of `after` HDA_E_DEADLOCK; HDA_E_OVERFLOW if cycles could exceed 63 bits.
 */
hda_status_t hda_noc_run(const hda_noc_t *noc, const hda_message_t *messages, int64_t message_count,
                         void *scratch, int64_t *done, int64_t *makespan);

typedef enum {
    HDA_COLL_ALL_GATHER = 0, /* ring: size - 1 steps of one chunk */
    HDA_COLL_ALL_REDUCE = 1, /* ring: reduce-scatter then all-gather, 2 (size - 1) steps */
    HDA_COLL_INCAST = 2,     /* every other member sends one chunk to the first */
    /* The same rings folded onto the line, 0 2 4 .. 5 3 1: no member sends further than two places, and where neighbours on the line
     * are one link apart no two messages ever want the same link, whatever the groups beside do. The engine uses these. */
    HDA_COLL_FOLDED_ALL_GATHER = 3,
    HDA_COLL_FOLDED_ALL_REDUCE = 4,
} hda_collective_t;

/* Number of messages of `groups` concurrent collectives over `size` members each; 0 if it exceeds 63 bits. */
int64_t hda_collective_messages(hda_collective_t kind, int64_t groups, int64_t size);

/* Write those messages. Group g holds nodes order[g * size .. g * size + size - 1]; each chunk has `flits` flits. */
hda_status_t hda_collective_schedule(const hda_noc_t *noc, hda_collective_t kind, int64_t groups,
                                     int64_t size, int64_t flits, hda_message_t *messages);

/* Cycles of a collective without contention, for tests and the search for mappings; flits <= 2^40, size <= 2^20. With n members, chunks of c flits, a = the fixed cost of
 * a one-link message plus one cycle, h = router + link delay of one more link:
 *
 *     all-gather (n - 1)(c + a) - 1;   all-reduce 2 (n - 1)(c + a) - 1;   incast (n - 1) c + a - 1;   ring neighbours one link apart
 *     folded: + (n - 2) h for the all-gather (all steps but one cross two links), + (2 (n - 2) - [n > 3]) h for the all-reduce
 *
 * On a crossbar no message crosses a link: a = router + port delays, h = 0.
 */
int64_t hda_collective_zero_load(const hda_noc_t *noc, hda_collective_t kind, int64_t size,
                                 int64_t flits);

#endif
