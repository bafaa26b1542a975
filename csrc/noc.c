#include "noc.h"

#include <stdlib.h>

#include "messages.h"
#include "router.h"

static int bad_delay(int64_t cycles) { return cycles < 0 || cycles > HDA_NOC_DELAY; }

hda_status_t hda_noc_check(const hda_noc_t *noc) {
    if (noc->node_count < 1 || noc->router_count < 1 || noc->link_count < 0 || noc->columns < 0)
        return HDA_E_RANGE;
    if (bad_delay(noc->router_delay) || bad_delay(noc->link_delay) || bad_delay(noc->port_delay) ||
        noc->router_delay < 1 || noc->router_delay + noc->link_delay < 2)
        return HDA_E_RANGE;
    if (noc->virtual_channels < 1 || noc->virtual_channels > HDA_NOC_CHANNELS ||
        noc->buffer_flits < 1 || noc->buffer_flits > HDA_NOC_BUFFER || noc->packet_flits < 1 ||
        noc->packet_flits > HDA_NOC_PACKET)
        return HDA_E_RANGE;
    int wraps = 0;
    for (int64_t i = 0; i < noc->node_count; i++)
        if (noc->router_of[i] < 0 || noc->router_of[i] >= noc->router_count || noc->order[i] < 0 ||
            noc->order[i] >= noc->node_count)
            return HDA_E_RANGE;
    for (int64_t i = 0; i < noc->link_count; i++) {
        if (noc->link_from[i] < 0 || noc->link_from[i] >= noc->router_count ||
            noc->link_to[i] < 0 || noc->link_to[i] >= noc->router_count ||
            noc->link_from[i] == noc->link_to[i])
            return HDA_E_RANGE;
        wraps |= noc->link_wraps[i] != 0;
    }
    if (wraps && noc->virtual_channels < 2) return HDA_E_RANGE; /* two classes */
    for (int64_t i = 0; i < noc->router_count * noc->router_count; i++)
        if (noc->next_link[i] < -1 || noc->next_link[i] >= noc->link_count ||
            (noc->next_link[i] >= 0 && noc->link_from[noc->next_link[i]] != i / noc->router_count))
            return HDA_E_RANGE;
    return HDA_OK;
}

/* Links that a message crosses, or -1 without a route. `visit` sees each of them. */
typedef void (*visit_t)(void *state, int64_t link, int64_t flits);

static int64_t follow(const hda_noc_t *noc, const hda_message_t *message, visit_t visit,
                      void *state) {
    int64_t router = noc->router_of[message->source], hops = 0;
    const int64_t last = noc->router_of[message->target];
    for (; router != last; hops++) {
        const int64_t link = noc->next_link[router * noc->router_count + last];
        if (link < 0 || hops >= noc->router_count) return -1;
        if (visit != NULL) visit(state, link, message->flits);
        router = noc->link_to[link];
    }
    return hops;
}

/* Cycles of a message alone, beside its flits. */
static int64_t fixed_cycles(const hda_noc_t *noc, int64_t hops) {
    return (hops + 1) * noc->router_delay + hops * noc->link_delay + noc->port_delay - 1;
}

/* Routes exist, and cycles stay countable: none exceeds the sum over messages of all flits at every router. */
static hda_status_t check_routes(const hda_noc_t *noc, const hda_message_t *messages,
                                 int64_t count) {
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t hops = follow(noc, &messages[i], NULL, NULL);
        if (hops < 0) return HDA_E_ROUTE;
        most += (double)messages[i].delay + 1 +
                ((double)messages[i].flits + (double)fixed_cycles(noc, hops)) * (double)(hops + 2);
    }
    return most > 1e18 ? HDA_E_OVERFLOW : HDA_OK;
}

/* Whether packets stream at one flit per cycle, whatever their sizes: a place is free again router_delay + 2 link_delay + 3 cycles after its flit
 * was sent, heads do not wait for a route, and there are channels to spare for the packets that follow. */
static int streams(const hda_noc_t *noc) {
    int wraps = 0;
    for (int64_t i = 0; i < noc->link_count; i++) wraps |= noc->link_wraps[i] != 0;
    const int64_t loop = hda_max64(hda_max64(noc->router_delay, 3) + 2 * noc->link_delay + 3,
                                   noc->port_delay + noc->link_delay + 4); /* at an ejection port */
    const int64_t channels = noc->virtual_channels / (wraps ? 2 : 1);
    return noc->router_delay <= 3 && channels >= 4 && noc->buffer_flits >= loop;
}

/* Move one message through its route: a link is busy until the tail has passed. Returns 1 if it had to wait for another message. */
static int deliver(const hda_noc_t *noc, const hda_message_t *message, int64_t ready,
                   int64_t *link_free, int64_t *inject_free, int64_t *eject_free, int64_t *end) {
    int64_t head = hda_max64(ready, inject_free[message->source]);
    inject_free[message->source] = head + message->flits;
    int64_t router = noc->router_of[message->source];
    const int64_t last = noc->router_of[message->target];
    int waited = 0;
    while (router != last) {
        const int64_t link = noc->next_link[router * noc->router_count + last];
        head += noc->router_delay;
        waited |= link_free[link] > head;
        head = hda_max64(head, link_free[link]);
        link_free[link] = head + message->flits;
        head += noc->link_delay;
        router = noc->link_to[link];
    }
    head += noc->router_delay;
    waited |= eject_free[message->target] > head;
    head = hda_max64(head, eject_free[message->target]);
    eject_free[message->target] = head + message->flits;
    *end = head + noc->port_delay + message->flits - 1;
    return waited;
}

/* Message by message; *waited tells whether one waited for another, when the result is exact only for unlimited buffers. */
static hda_status_t run_links(const hda_noc_t *noc, dag_t *dag, int stop, int *waited) {
    int64_t *link_free = calloc((size_t)(noc->link_count + 2 * noc->node_count), sizeof *link_free);
    if (link_free == NULL) return HDA_E_MEMORY;
    int64_t *inject_free = link_free + noc->link_count, *eject_free = inject_free + noc->node_count;
    *waited = 0;
    while (dag->ready.count > 0 && !(*waited && stop)) {
        const ready_t next = queue_pop(&dag->ready);
        int64_t end;
        *waited |= deliver(noc, &dag->messages[next.index], next.time, link_free, inject_free,
                           eject_free, &end);
        dag_finish(dag, next.index, end);
    }
    free(link_free);
    return HDA_OK;
}

hda_status_t hda_noc_run(const hda_noc_t *noc, const hda_message_t *messages, int64_t message_count,
                         const int64_t *deps, int64_t dep_count, int flags, int64_t *done,
                         int64_t *makespan) {
    *makespan = 0;
    dag_t dag = {0};
    hda_status_t status = hda_noc_check(noc);
    if (status != HDA_OK) return status;
    const int links = (flags & HDA_NOC_LINK) || (!(flags & HDA_NOC_ROUTER) && streams(noc));
    int waited = 1;
    if (status == HDA_OK && links) {
        status = dag_create(&dag, messages, message_count, deps, dep_count, noc->node_count, done);
        if (status == HDA_OK) status = check_routes(noc, messages, message_count);
        if (status == HDA_OK) status = run_links(noc, &dag, !(flags & HDA_NOC_LINK), &waited);
        if (flags & HDA_NOC_LINK) waited = 0;
        if (status != HDA_OK || waited) dag_free(&dag);
    }
    if (status == HDA_OK && waited) {
        status = dag_create(&dag, messages, message_count, deps, dep_count, noc->node_count, done);
        if (status == HDA_OK) status = check_routes(noc, messages, message_count);
        if (status == HDA_OK) status = router_run(noc, &dag);
        if (status != HDA_OK) dag_free(&dag);
    }
    if (status != HDA_OK) return status;
    *makespan = dag.makespan;
    status = dag.finished == message_count ? HDA_OK : HDA_E_DEADLOCK;
    dag_free(&dag);
    return status;
}

static void count_flits(void *state, int64_t link, int64_t flits) {
    ((int64_t *)state)[link] += flits;
}

hda_status_t hda_noc_load(const hda_noc_t *noc, const hda_message_t *messages,
                          int64_t message_count, const int64_t *deps, int64_t dep_count,
                          hda_noc_load_t *load) {
    *load = (hda_noc_load_t){0};
    dag_t dag = {0};
    hda_status_t status = hda_noc_check(noc);
    if (status != HDA_OK) return status;
    const int64_t nodes = noc->node_count;
    int64_t *flits =
        calloc((size_t)(noc->link_count + 2 * nodes + message_count + 1), sizeof *flits);
    if (flits == NULL) return HDA_E_MEMORY;
    int64_t *inject = flits + noc->link_count, *eject = inject + nodes, *done = eject + nodes;
    status = dag_create(&dag, messages, message_count, deps, dep_count, nodes, done);
    if (status == HDA_OK) status = check_routes(noc, messages, message_count);
    if (status != HDA_OK) message_count = 0;
    int64_t least = -1;
    for (int64_t i = 0; i < message_count; i++) {
        const hda_message_t *m = &messages[i];
        if (m->flits == 0) continue;
        const int64_t hops = follow(noc, m, count_flits, flits);
        inject[m->source] += m->flits;
        eject[m->target] += m->flits;
        load->flit_hops += hops * m->flits;
        load->packet_hops += hops * hda_ceil_div(m->flits, noc->packet_flits);
        if (least < 0 || hops < least) least = hops;
    }
    while (dag.ready.count > 0) { /* without contention */
        const ready_t next = queue_pop(&dag.ready);
        const hda_message_t *m = &messages[next.index];
        dag_finish(&dag, next.index,
                   next.time + m->flits + fixed_cycles(noc, follow(noc, m, NULL, NULL)));
    }
    for (int64_t i = 0; i < noc->link_count; i++) load->link = hda_max64(load->link, flits[i]);
    for (int64_t i = 0; i < nodes; i++) {
        load->inject = hda_max64(load->inject, inject[i]);
        load->eject = hda_max64(load->eject, eject[i]);
    }
    /* A port's messages all cross `least` links or more before or after it; of a link's, the first may start at its near end and
     * the last end at its far end. */
    const int64_t ports = hda_max64(load->inject, load->eject);
    load->cycles = dag.makespan;
    if (ports > 0) load->cycles = hda_max64(load->cycles, ports + fixed_cycles(noc, least));
    if (load->link > 0) load->cycles = hda_max64(load->cycles, load->link + fixed_cycles(noc, 1));
    if (status == HDA_OK && dag.finished != message_count) status = HDA_E_DEADLOCK;
    dag_free(&dag);
    free(flits);
    return status;
}
