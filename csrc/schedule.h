/* Collectives as schedules of messages with dependencies, for networks of cores (units: flits) and of devices (units: bytes).
 *
 * Names and steps as in Thakur, Rabenseifner and Gropp, Optimization of Collective Communication Operations in MPICH (2005); pieces are
 * counted in `chunk`, what one of n members contributes to an all-gather: an all-gather ends with n chunks at every member, an all-reduce or
 * reduce-scatter starts from n chunks at every member, an all-to-all sends a chunk from each to each, a broadcast or gather
 * moves one chunk from or to the first member, a send one chunk from the first to the second.
 */
#ifndef HDA_SCHEDULE_H
#define HDA_SCHEDULE_H

#include "noc.h"

typedef enum {
    HDA_ALL_GATHER = 0,
    HDA_REDUCE_SCATTER = 1,
    HDA_ALL_REDUCE = 2,
    HDA_ALL_TO_ALL = 3,
    HDA_BROADCAST = 4,
    HDA_GATHER = 5,
    HDA_SEND = 6,
    HDA_COLLECTIVE_COUNT = 7,
} hda_collective_t;

typedef enum {
    HDA_RING =
        0, /* each forwards to the next what the step before brought; members in the order given */
    HDA_BIDIRECTIONAL = 1, /* two rings in opposite directions, each with half of a chunk */
    HDA_DIRECT =
        2, /* each to each, rotated; an all-reduce scatters and then gathers; broadcast and gather one by one */
    HDA_ONE_SHOT = 3,  /* all-reduce: each sends its whole vector to each */
    HDA_TREE = 4,      /* binomial: reduce, then broadcast; all-gather by Bruck's steps */
    HDA_RECURSIVE = 5, /* doubling and halving of distances; a power of two members */
    HDA_TWO_D = 6,     /* rings along the rows, then the columns, of a grid of members */
    HDA_TWO_D_BIDIRECTIONAL = 7,
    HDA_CHAIN = 8,      /* broadcast in `pieces`, each forwarded along the line */
    HDA_ROW_COLUMN = 9, /* broadcast in `pieces` along the first row, then down every column */
    HDA_ALGORITHM_COUNT = 10,
} hda_algorithm_t;

/* A growing list of messages; release with hda_schedule_free. Zero-initialise. */
typedef struct {
    hda_message_t *messages;
    int64_t *deps;
    int64_t count, dep_count, room, dep_room;
} hda_schedule_t;

void hda_schedule_free(hda_schedule_t *schedule);

/* The members of a collective, in order; a grid has rows of `columns` members, 0 = no grid. `pieces` >= 1 divides what is pipelined. */
typedef struct {
    const int64_t *members;
    int64_t size, columns, pieces;
} hda_group_t;

/* Append a collective; nothing for a group of one. HDA_E_RANGE if it has no such algorithm, or the group does not fit it (a grid, a power of
 * two), if a size is not positive or a member is there twice. */
hda_status_t hda_schedule_collective(hda_schedule_t *schedule, const hda_group_t *group,
                                     hda_collective_t kind, hda_algorithm_t algorithm,
                                     int64_t chunk);

/* Append one message, with its dependencies. */
hda_status_t hda_schedule_message(hda_schedule_t *schedule, int64_t source, int64_t target,
                                  int64_t size, int64_t delay, const int64_t *deps,
                                  int64_t dep_count);

#endif
