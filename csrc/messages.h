/* Dependencies between messages: who waits for whom, and the queue of those that are ready. Shared by the networks of cores and of
 * devices. */
#ifndef HDA_MESSAGES_H
#define HDA_MESSAGES_H

#include "noc.h"

typedef struct {
    int64_t time, index;
} ready_t;

/* A heap ordered by time, then by place in the list. */
typedef struct {
    ready_t *items;
    int64_t count;
} queue_t;

void queue_push(queue_t *queue, ready_t item);
ready_t queue_pop(queue_t *queue);

typedef struct {
    const hda_message_t *messages;
    int64_t count, finished;
    int64_t *first_user, *users; /* CSR: messages that wait for message i */
    int64_t *pending;            /* dependencies not yet received */
    int64_t *latest;             /* the last of those received */
    int64_t *stack;              /* joins on their way to completion */
    int64_t *done;               /* of the caller */
    int64_t makespan;
    queue_t ready;
} dag_t;

/* Check messages and dependencies against `node_count` nodes and queue those that wait for nothing. Release with dag_free, also after an
 * error. */
hda_status_t dag_create(dag_t *dag, const hda_message_t *messages, int64_t count,
                        const int64_t *deps, int64_t dep_count, int64_t node_count, int64_t *done);
void dag_free(dag_t *dag);

/* Message `index` has been received at `time`: queue what waited for it. */
void dag_finish(dag_t *dag, int64_t index, int64_t time);

#endif
