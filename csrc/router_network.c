#include "router_network.h"

#include <stdlib.h>

static void set_delays(network_t *net) {
    const hda_noc_t *noc = net->noc;
    net->route = hda_max64(noc->router_delay - 3, 0);
    net->inject = hda_min64(noc->port_delay, 2);
    net->hop = noc->router_delay - 1 - net->route + noc->link_delay;
    net->eject = noc->router_delay - 1 - net->route + noc->port_delay - net->inject;
    net->credit = 3 + noc->link_delay;
    for (net->slots = 2; net->slots <= net->route + net->hop + net->eject + net->credit;)
        net->slots *= 2;
}

/* The flits of a channel's packets, of which the first may be down to its tail and the last yet to send its head, fit into its buffer. */
static void set_packets(network_t *net) {
    const int64_t size = net->noc->packet_flits;
    int64_t shortest = size;
    for (int64_t i = 0; i < net->dag->count; i++) {
        const int64_t flits = net->dag->messages[i].flits;
        if (flits == 0) continue;
        net->longest_packet = hda_max64(net->longest_packet, hda_min64(flits, size));
        shortest = hda_min64(shortest, flits % size ? flits % size : size);
    }
    for (net->packets = 2; net->packets < (net->noc->buffer_flits - 1) / shortest + 2;)
        net->packets *= 2;
}

static hda_status_t measure_traffic(network_t *net) {
    const hda_noc_t *noc = net->noc;
    int64_t *load = calloc((size_t)(noc->link_count + 2 * noc->node_count), sizeof *load);
    if (load == NULL) return HDA_E_MEMORY;
    int64_t *injected = load + noc->link_count, *ejected = injected + noc->node_count;
    int64_t total = 0, most = 1;
    for (int64_t i = 0; i < net->dag->count; i++) {
        const hda_message_t *m = &net->dag->messages[i];
        const int64_t last = noc->router_of[m->target];
        total += m->flits;
        most = hda_max64(most, injected[m->source] += m->flits);
        most = hda_max64(most, ejected[m->target] += m->flits);
        for (int64_t r = noc->router_of[m->source], l; r != last; r = noc->link_to[l]) {
            l = noc->next_link[r * noc->router_count + last];
            total += m->flits;
            most = hda_max64(most, load[l] += m->flits);
        }
    }
    net->traffic = (double)total / (double)most;
    free(load);
    return HDA_OK;
}

/* Number the links out of every router, in order of their index, then its nodes. */
static hda_status_t number_ports(network_t *net) {
    const hda_noc_t *noc = net->noc;
    const size_t routers = (size_t)noc->router_count;
    uint32_t *out = calloc(2 * routers, sizeof *out), *in = out + routers;
    if (out == NULL) return HDA_E_MEMORY;
    for (int64_t l = 0; l < noc->link_count; l++) {
        net->link_out[l] = out[noc->link_from[l]]++;
        in[noc->link_to[l]]++;
    }
    for (size_t r = 0; r < routers; r++) out[r] = out[r] > in[r] ? out[r] : in[r];
    for (int64_t n = 0; n < noc->node_count; n++) net->node_port[n] = out[noc->router_of[n]]++;
    for (size_t r = 0; r < routers; r++) {
        net->first_port[r + 1] = net->first_port[r] + out[r];
        if (out[r] > net->most_ports) net->most_ports = out[r];
    }
    free(out);
    return HDA_OK;
}

/* The input of every link: the rank of the output back to where it comes from, else the first that is left. */
static void place_links(network_t *net) {
    const hda_noc_t *noc = net->noc;
    for (uint32_t p = 0; p < net->first_port[noc->router_count]; p++)
        net->in_link[p] = net->out_link[p] = PORT_OPEN;
    for (int64_t n = 0; n < noc->node_count; n++) {
        const uint32_t p = net->first_port[noc->router_of[n]] + net->node_port[n];
        net->in_link[p] = net->out_link[p] = PORT_NODE;
    }
    for (int64_t l = 0; l < noc->link_count; l++) {
        net->out_link[net->first_port[noc->link_from[l]] + net->link_out[l]] = (int32_t)l;
        net->link_in[l] = UINT32_MAX;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t l = 0; l < noc->link_count; l++) {
            const uint32_t *first = &net->first_port[noc->link_to[l]];
            for (uint32_t p = first[0]; p < first[1] && net->link_in[l] == UINT32_MAX; p++) {
                const int32_t back = net->out_link[p];
                if (net->in_link[p] != PORT_OPEN) continue;
                if (pass == 0 && (back < 0 || noc->link_to[back] != noc->link_from[l])) continue;
                net->in_link[p] = (int32_t)l;
                net->link_in[l] = p - first[0];
            }
        }
    }
}

static void *zeros(int64_t count, size_t size) { return calloc((size_t)count + 1, size); }

hda_status_t network_create(network_t *net, const hda_noc_t *noc, dag_t *dag) {
    *net = (network_t){.noc = noc, .dag = dag};
    const int64_t ports = 2 * noc->link_count + noc->node_count;
    set_delays(net);
    set_packets(net);
    for (int64_t l = 0; l < noc->link_count; l++) net->wraps |= noc->link_wraps[l] != 0;
    net->first_port = zeros(noc->router_count, sizeof *net->first_port);
    net->in_link = zeros(ports, sizeof *net->in_link);
    net->out_link = zeros(ports, sizeof *net->out_link);
    net->link_in = zeros(noc->link_count, sizeof *net->link_in);
    net->link_out = zeros(noc->link_count, sizeof *net->link_out);
    net->node_port = zeros(noc->node_count, sizeof *net->node_port);
    net->outbox = zeros(noc->node_count, sizeof *net->outbox);
    net->chain = zeros(dag->count, sizeof *net->chain);
    net->rest = zeros(dag->count, sizeof *net->rest);
    if (!net->first_port || !net->in_link || !net->out_link || !net->link_in || !net->link_out ||
        !net->node_port || !net->outbox || !net->chain || !net->rest)
        return HDA_E_MEMORY;
    for (int64_t n = 0; n < noc->node_count; n++) net->outbox[n].head = -1;
    for (int64_t i = 0; i < dag->count; i++)
        net->rest[i] = hda_ceil_div(dag->messages[i].flits, noc->packet_flits);
    hda_status_t status = measure_traffic(net);
    if (status == HDA_OK) status = number_ports(net);
    if (status == HDA_OK) place_links(net);
    return status;
}

void network_free(network_t *net) {
    void *owned[] = {net->first_port, net->in_link, net->out_link, net->link_in, net->link_out,
                     net->node_port,  net->outbox,  net->chain,    net->rest};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

int64_t network_collect(network_t *net, int64_t time) {
    queue_t *ready = &net->dag->ready;
    if (ready->count == 0 || ready->items[0].time > time) return -1;
    const int64_t message = queue_pop(ready).index, source = net->dag->messages[message].source;
    outbox_t *box = &net->outbox[source];
    net->chain[message] = -1;
    if (box->head < 0)
        box->head = message;
    else
        net->chain[box->tail] = message;
    box->tail = message;
    return source;
}

packet_t network_cut(network_t *net, int64_t node) {
    outbox_t *box = &net->outbox[node];
    const int64_t total = net->dag->messages[box->head].flits;
    const int64_t flits = hda_min64(net->noc->packet_flits, total - box->sent);
    const packet_t packet = {(uint32_t)box->head, (uint32_t)flits};
    box->sent += flits;
    if (box->sent == total) {
        box->head = net->chain[box->head];
        box->sent = 0;
    }
    return packet;
}
