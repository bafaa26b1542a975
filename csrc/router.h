/* Schedules flit by flit; see noc.h. */
#ifndef HDA_ROUTER_H
#define HDA_ROUTER_H

#include "messages.h"

/* `noc` and the routes of all messages have been checked. */
hda_status_t router_run(const hda_noc_t *noc, dag_t *dag);

#endif
