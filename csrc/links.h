/* Network between devices: messages over links with bandwidth and latency, one after the other on each link. */
#ifndef HDA_LINKS_H
#define HDA_LINKS_H

#include "noc.h"

/* Nodes 0 .. device_count - 1 are devices, the others switches. All arrays belong to the caller. */
typedef struct {
    int64_t device_count, node_count, link_count;
    const int64_t *link_to;   /* link -> node at its far end */
    const int64_t *next_link; /* [a * node_count + b]: link on which a forwards towards b, or -1 */
    const double *bandwidth;  /* bytes/s of each link */
    const int64_t *latency;   /* picoseconds of each link */
    int32_t
        store_and_forward; /* a node forwards a message when all of it has arrived; else as it arrives */
} hda_links_t;

hda_status_t hda_links_check(const hda_links_t *links);

/* Run a schedule whose `flits` are bytes and whose times are picoseconds. A link carries messages in the order in which they reach it (then of
 * the list), each for bytes / bandwidth, and delivers the first byte `latency` after it was sent. With store_and_forward this is the
 * congestion-aware network of ASTRA-sim's analytical backend (Won et al. 2023).
 * Errors as hda_noc_run; HDA_E_OVERFLOW beyond 2^61 ps. */
hda_status_t hda_links_run(const hda_links_t *links, const hda_message_t *messages,
                           int64_t message_count, const int64_t *deps, int64_t dep_count,
                           int64_t *done, int64_t *makespan);

#endif
