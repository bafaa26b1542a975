#include "links.h"

#include <math.h>
#include <stdlib.h>

#include "messages.h"

hda_status_t hda_links_check(const hda_links_t *links) {
    const int64_t nodes = links->node_count;
    if (links->device_count < 1 || nodes < links->device_count || links->link_count < 0)
        return HDA_E_RANGE;
    for (int64_t l = 0; l < links->link_count; l++)
        if (links->link_to[l] < 0 || links->link_to[l] >= nodes || !(links->bandwidth[l] > 0) ||
            !(links->bandwidth[l] <= 1e30) || links->latency[l] < 0 ||
            links->latency[l] > (int64_t)1 << 50)
            return HDA_E_RANGE;
    for (int64_t i = 0; i < nodes * nodes; i++)
        if (links->next_link[i] < -1 || links->next_link[i] >= links->link_count)
            return HDA_E_RANGE;
    return HDA_OK;
}

/* Where a message is: the node that its first byte has reached, when its last one does. */
typedef struct {
    int64_t node, tail;
} place_t;

/* Routes exist; no time exceeds the sum of everything. */
static hda_status_t check(const hda_links_t *links, const dag_t *dag) {
    double most = 0;
    for (int64_t i = 0; i < dag->count; i++) {
        const hda_message_t *m = &dag->messages[i];
        int64_t node = m->source, hops = 0;
        most += (double)m->delay + 1;
        for (; node != m->target; hops++) {
            const int64_t l = links->next_link[node * links->node_count + m->target];
            if (l < 0 || hops >= links->node_count) return HDA_E_ROUTE;
            most += (double)m->flits * 1e12 / links->bandwidth[l] + (double)links->latency[l] + 1;
            node = links->link_to[l];
        }
    }
    return most < 2305843009213693952.0 ? HDA_OK : HDA_E_OVERFLOW;
}

static void run(const hda_links_t *links, dag_t *dag, queue_t *moving, place_t *place,
                int64_t *free_at) {
    for (int64_t i = 0; i < dag->count; i++) place[i] = (place_t){.node = dag->messages[i].source};
    while (dag->ready.count > 0 || moving->count > 0) {
        queue_t *queue = &dag->ready;
        if (queue->count == 0 ||
            (moving->count > 0 && (moving->items[0].time < queue->items[0].time ||
                                   (moving->items[0].time == queue->items[0].time &&
                                    moving->items[0].index < queue->items[0].index))))
            queue = moving;
        const ready_t now = queue_pop(queue);
        const hda_message_t *m = &dag->messages[now.index];
        place_t *p = &place[now.index];
        if (p->node == m->target) {
            dag_finish(dag, now.index, now.time);
            continue;
        }
        const int64_t l = links->next_link[p->node * links->node_count + m->target];
        const int64_t takes = (int64_t)ceil((double)m->flits * 1e12 / links->bandwidth[l]);
        int64_t start = hda_max64(now.time, free_at[l]);
        if (!links->store_and_forward) start = hda_max64(start, p->tail - takes);
        free_at[l] = start + takes;
        p->tail = start + takes + links->latency[l];
        p->node = links->link_to[l];
        const int whole = links->store_and_forward || p->node == m->target;
        queue_push(moving, (ready_t){whole ? p->tail : start + links->latency[l], now.index});
    }
}

hda_status_t hda_links_run(const hda_links_t *links, const hda_message_t *messages,
                           int64_t message_count, const int64_t *deps, int64_t dep_count,
                           int64_t *done, int64_t *makespan) {
    *makespan = 0;
    hda_status_t status = hda_links_check(links);
    if (status != HDA_OK) return status;
    dag_t dag;
    queue_t moving = {0};
    place_t *place = NULL;
    int64_t *free_at = NULL;
    status = dag_create(&dag, messages, message_count, deps, dep_count, links->device_count, done);
    if (status == HDA_OK) status = check(links, &dag);
    if (status == HDA_OK) {
        moving.items = malloc(((size_t)message_count + 1) * sizeof *moving.items);
        place = malloc(((size_t)message_count + 1) * sizeof *place);
        free_at = calloc((size_t)links->link_count + 1, sizeof *free_at);
        if (!moving.items || !place || !free_at) status = HDA_E_MEMORY;
    }
    if (status == HDA_OK) {
        run(links, &dag, &moving, place, free_at);
        *makespan = dag.makespan;
        if (dag.finished != message_count) status = HDA_E_DEADLOCK;
    }
    free(moving.items);
    free(place);
    free(free_at);
    dag_free(&dag);
    return status;
}
