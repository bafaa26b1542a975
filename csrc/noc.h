/* Network on chip: schedules of messages over routers with virtual channels, credits and separable allocators.
 *
 * The router is the input-queued virtual-channel router of Dally and Towles, Principles and Practices of Interconnection Networks
 * (2004), ch. 16-19: routing, allocation of a virtual channel, allocation of the switch, traversal, with iSLIP allocators (McKeown 1999) of
 * two iterations. Stages and credit loop are those of BookSim 2's `iq` router, against which it is validated.
 */
#ifndef HDA_NOC_H
#define HDA_NOC_H

#include "hda.h"

/* Routers, directed links between them, routes, and the nodes attached to routers (one each in a mesh, all to one in a crossbar).
 *
 * A router's output ports are its links in order of their index, then the ejection ports of its nodes; its input ports are, in the same
 * order, the links from those neighbours, then its nodes. All arrays belong to the caller. */
typedef struct {
    int64_t node_count, router_count, link_count;
    const int64_t *router_of;           /* node -> its router */
    const int64_t *link_from, *link_to; /* link -> routers at its ends */
    const int64_t *link_dimension;      /* link -> dimension; matters where links wrap */
    const int64_t *link_wraps;          /* link -> 1 if it closes a ring of its dimension */
    const int64_t
        *next_link;       /* [a * router_count + b]: link on which a forwards towards b, or -1 */
    const int64_t *order; /* node_count: a line along which collectives place their rings */
    int64_t columns;      /* width of a grid with node = y * columns + x; 0 = no grid */
    int64_t router_delay, link_delay;       /* cycles; together at least 2 */
    int64_t port_delay;                     /* cycles of injection and ejection together */
    int64_t virtual_channels, buffer_flits; /* of each input port; flits of each virtual channel */
    int64_t packet_flits;                   /* longer messages are cut into packets of this size */
} hda_noc_t;

/* A unicast message of `flits` flits. It becomes ready max(1, delay) cycles after the last of the messages deps[first ..
 * first + count - 1] has been received, or at `delay` if count is 0. With flits 0 and source == target it is a join, done with the
 * last of its dependencies. */
typedef struct {
    int64_t source, target, flits, delay, first, count;
} hda_message_t;

/* Loads and the physical bound of a schedule. */
typedef struct {
    int64_t inject, eject, link; /* flits over the busiest injection port, ejection port and link */
    int64_t flit_hops, packet_hops; /* flits and packets times links */
    int64_t
        cycles; /* no schedule ends earlier: ports, links, and the longest chain of dependent messages without contention */
} hda_noc_load_t;

/* Most cycles of each delay, most virtual channels, most flits of a buffer and of a packet. */
enum {
    HDA_NOC_DELAY = 256,
    HDA_NOC_CHANNELS = 32,
    HDA_NOC_BUFFER = 126,
    HDA_NOC_PACKET = 1 << 30,
};

/* HDA_E_RANGE if there is no node, a size or delay is out of range, or an index in the arrays has no meaning. Whether routes lead
 * anywhere shows when they are followed. */
hda_status_t hda_noc_check(const hda_noc_t *noc);

enum { HDA_NOC_ROUTER = 1, HDA_NOC_LINK = 2 }; /* flags of hda_noc_run */

/* Run a schedule: `done[i]` receives the cycle at which the last flit of message i has left its ejection port; `*makespan` the last.
 *
 * A node injects one message at a time, in order of readiness (then of the list), one flit per cycle. Without contention a message over
 * h links takes
 *
 *     (h + 1) * router_delay + h * link_delay + port_delay + flits - 1
 *
 * which is BookSim 2's zero-load latency (router 3 or 4, link 1, ports 3). A schedule in which no message ever waits for another one's flits, and whose
 * buffers cover the credit loop, is worked out message by message; any other flit by flit. Both give the same cycles; HDA_NOC_ROUTER asks for
 * the second always. HDA_NOC_LINK is the first even with contention: links are busy until the tail has passed, buffers unlimited.
 *
 * A message to oneself, negative sizes, indices beyond the arrays are HDA_E_RANGE; a route that ends or returns to itself is HDA_E_ROUTE, a
 * cycle of dependencies or of waiting packets HDA_E_DEADLOCK; HDA_E_OVERFLOW if cycles could exceed 62 bits.
 */
hda_status_t hda_noc_run(const hda_noc_t *noc, const hda_message_t *messages, int64_t message_count,
                         const int64_t *deps, int64_t dep_count, int flags, int64_t *done,
                         int64_t *makespan);

/* Static loads of a schedule; same errors. */
hda_status_t hda_noc_load(const hda_noc_t *noc, const hda_message_t *messages,
                          int64_t message_count, const int64_t *deps, int64_t dep_count,
                          hda_noc_load_t *load);

#endif
