/* Routers as columns of bytes, so that one vector instruction works on all of them.
 *
 * With at most 8 ports and 8 virtual channels per router, a set of ports or of channels is a byte. A row holds such a byte for every
 * router, and one cycle is a fixed sequence of logic operations on rows:
 *
 *     round robin     the lowest member of `set & turn`, or else of `set`; `turn` has the members at or after the pointer
 *     counters        one per channel, transposed: row i holds bit i of the counters of eight channels; they step by carry or borrow
 *     one-hot         sets that a port can have one member of, such as the channel of the flit on a link
 *
 * Heads are rare, one flit in packet_flits: what concerns them (routing, the allocation of virtual channels) is done router by router in
 * router_dense.c. The rest, for every flit, is in router_lanes.h. */
#ifndef HDA_ROUTER_DENSE_H
#define HDA_ROUTER_DENSE_H

#include <stddef.h>

#include "router_network.h"

enum { PORTS = 8, CHANNELS = 8, COUNT_BITS = 7, LEFT_BITS = 16, BLOCK = 32 };

typedef uint8_t row_t[BLOCK];

/* State of BLOCK routers. Sets are of channels of the port, unless said otherwise. */
typedef struct {
    /* inputs */
    row_t want[PORTS][PORTS];        /* by output: whose first packet holds a channel of that */
    row_t have[PORTS];               /* with flits */
    row_t stored[PORTS][COUNT_BITS]; /* counters: flits */
    row_t idle[PORTS];               /* without packets */
    row_t left[PORTS][LEFT_BITS];    /* counters: flits of the first packet that have not left */
    row_t funded[PORTS];             /* whose first packet holds a channel that has a place, */
    row_t next[PORTS][3];            /* the number of that channel, bit by bit */
    row_t turn_channel[PORTS], turn_output[PORTS]; /* round robin; the second over outputs */
    /* outputs; channels are those downstream */
    row_t free[PORTS];               /* that no packet holds */
    row_t place[PORTS];              /* with a place, as far as is known here */
    row_t places[PORTS][COUNT_BITS]; /* counters: such places */
    row_t holder[PORTS][3];          /* channel whose packet holds them, bit by bit, */
    row_t holder_input[PORTS][3];    /* and its input */
    row_t turn_input[PORTS];         /* round robin over inputs */
    /* nodes */
    row_t node[PORTS];         /* all ones if a node is attached to the port */
    row_t queued[PORTS];       /* all ones if its outbox is not empty */
    row_t injecting[PORTS];    /* one-hot: channel of the packet that it injects */
    row_t inject_place[PORTS]; /* with a place at the input, as far as the node knows */
    row_t inject_places[PORTS][COUNT_BITS]; /* counters: such places */
    row_t inject_left[PORTS][LEFT_BITS];    /* counters: flits of the packet yet to leave */
} block_t;

/* Rows over all blocks, [port][router] with `width` routers, are what routers exchange; each is a set of channels of the port. */
typedef struct {
    block_t *blocks;
    size_t width;                          /* routers, in whole blocks */
    uint32_t ports, first_node;            /* nodes are at no port below the latter */
    uint32_t count_bits, left_bits;        /* that counters use */
    uint8_t inputs[PORTS], outputs[PORTS]; /* of packets so far: output -> inputs and back */
    _Alignas(BLOCK) row_t bit[PORTS];      /* 1 << port */
    uint8_t *begin;   /* nodes that may begin a packet: channels with a place */
    uint8_t *sent;    /* one-hot by output: channel downstream to which a flit went */
    uint8_t *taken;   /* one-hot by input: channel from which a flit went */
    uint8_t *ejected; /* one-hot by output: channel of a node to which a tail went */
    uint8_t *open;    /* [router], a set of outputs: those with free channels */
} dense_t;

/* A cycle is take_places, take_flits, send_flits, with what is rare between them. */
typedef struct {
    /* Places that were left: `places` by output, `inject_places` by input of a node. */
    void (*take_places)(dense_t *d, const uint8_t *places, const uint8_t *inject_places);
    /* Inject flits, into the row `injected`, and take those that arrive. `heads` gathers the channels with a new head. Returns whether a
     * flit was injected. */
    int (*take_flits)(dense_t *d, const uint8_t *arrivals, uint8_t *injected, uint8_t *heads);
    /* Allocate the switch and send flits. Places for nodes go to the two rows. Returns whether a flit was sent. */
    int (*send_flits)(dense_t *d, uint8_t *heads, uint8_t *places, uint8_t *inject_places);
} kernels_t;

/* Whether a network can be simulated so, and has enough to do. */
int dense_fits(const network_t *net);
hda_status_t dense_run(network_t *net);

#endif
