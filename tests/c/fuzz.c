/* Networks, message schedules, devices, programs and steps; whatever the core accepts must give sane numbers, and
 * nothing may trip the sanitizers. */
#include "fuzz.h"

#include "attention.h"
#include "mactree.h"
#include "program.h"
#include "schedule.h"
#include "systolic.h"
#include "vector.h"

enum {
    NODES = 12,
    ROUTERS = 9,
    LINKS = 36,
    MESSAGES = 48,
    DEVICES = 8,
    PLACES = DEVICES + 1, /* devices and a switch */
    OPS = 8,
    BLOCKS = 4,
    SEGMENTS = 3,
    SEQUENCES = 6,
    ROWS = 48,
};

/* ---- networks ---- */

typedef struct {
    int64_t router_of[NODES], order[NODES], link_from[LINKS], link_to[LINKS];
    int64_t link_dimension[LINKS], link_wraps[LINKS], next_link[ROUTERS * ROUTERS];
    hda_noc_t noc;
} network_t;

/* One link from a router to another; returns its index. */
static int64_t join_routers(network_t *net, int64_t from, int64_t to, int64_t dimension,
                            int64_t closes) {
    const int64_t link = net->noc.link_count++;
    net->link_from[link] = from;
    net->link_to[link] = to;
    net->link_dimension[link] = dimension;
    net->link_wraps[link] = closes;
    return link;
}

/* A mesh or torus, routed along x, then y, the shorter way round. */
static void make_grid(network_t *net, int64_t kx, int64_t ky, int torus) {
    const int64_t routers = kx * ky;
    int64_t links[ROUTERS][4]; /* right, left, down, up */
    for (int64_t r = 0; r < routers; r++)
        for (int64_t way = 0; way < 4; way++) {
            const int64_t size = way < 2 ? kx : ky, at = way < 2 ? r % kx : r / kx;
            const int64_t to = at + (way % 2 ? -1 : 1);
            const int wraps = to < 0 || to >= size;
            links[r][way] = -1;
            if (wraps && (!torus || size < 3)) continue;
            const int64_t step = (to + size) % size - at;
            links[r][way] = join_routers(net, r, r + (way < 2 ? step : step * kx), way / 2, wraps);
        }
    for (int64_t a = 0; a < routers; a++)
        for (int64_t b = 0; b < routers; b++) {
            const int x = a % kx != b % kx;
            const int64_t size = x ? kx : ky, from = x ? a % kx : a / kx, to = x ? b % kx : b / kx;
            int64_t way = to > from ? 0 : 1;
            if (torus && size > 2) way = 2 * ((to - from + size) % size) <= size ? 0 : 1;
            net->next_link[a * routers + b] = a == b ? -1 : links[a][way + (x ? 0 : 2)];
        }
    net->noc.columns = net->noc.node_count == routers ? kx : 0;
}

/* Links anywhere, routes that may end or circle. */
static void make_graph(bytes_t *in, network_t *net) {
    const int64_t nodes = net->noc.node_count, routers = net->noc.router_count;
    const int64_t links = byte(in) % (LINKS + 1);
    for (int64_t i = 0; i < links; i++)
        join_routers(net, integer(in, 0, routers - 1), integer(in, 0, routers - 1), 0,
                     byte(in) % 8 == 0);
    for (int64_t i = 0; i < routers * routers; i++) {
        net->next_link[i] = -1;
        for (int64_t l = byte(in) % (links + 1); l < links; l++) /* of the router's own */
            if (net->link_from[l] == i / routers) net->next_link[i] = l;
        if (byte(in) > 252 && !in->tame) net->next_link[i] = integer(in, -1, LINKS);
    }
    for (int64_t i = 0; i < nodes; i++) {
        net->router_of[i] = integer(in, 0, routers - 1);
        net->order[i] = integer(in, 0, nodes - 1);
    }
}

/* The routers that are validated against BookSim: delays of 3 or 4, 1 and 3, and 8 channels of 8 flits. */
static void set_default(bytes_t *in, hda_noc_t *noc) {
    static const int64_t packets[] = {1, 4, 16, 64};
    noc->router_delay = 3 + byte(in) % 2;
    noc->link_delay = 1;
    noc->port_delay = 3;
    noc->virtual_channels = noc->buffer_flits = 8;
    noc->packet_flits = packets[byte(in) % 4];
}

/* Those whose buffers cover the credit loop, which is 8 cycles. */
static int covers_loop(const hda_noc_t *noc) {
    for (int64_t i = 0; i < noc->link_count; i++)
        if (noc->link_wraps[i]) return 0; /* which leave half of the channels */
    return noc->router_delay == 3 && noc->link_delay == 1 && noc->port_delay == 3 &&
           noc->virtual_channels == 8 && noc->buffer_flits == 8;
}

/* A crossbar, a line, a mesh, a torus with links that wrap, or a random graph. */
static void make_network(bytes_t *in, network_t *net) {
    static const int64_t shapes[][2] = {{2, 2}, {3, 2}, {2, 4}, {3, 3}, {4, 2}, {1, 9}, {5, 1}};
    const uint8_t kind = byte(in) % 5;
    const int64_t *shape = shapes[byte(in) % (sizeof shapes / sizeof *shapes)];
    int64_t routers = kind == 0               ? 1
                      : kind < 2 || kind == 4 ? 1 + byte(in) % 8
                                              : shape[0] * shape[1];
    const int64_t nodes = byte(in) % 2 && routers <= NODES ? routers : 1 + byte(in) % NODES;
    memset(net, 0, sizeof *net);
    net->noc = (hda_noc_t){.node_count = nodes,
                           .router_count = routers,
                           .router_of = net->router_of,
                           .link_from = net->link_from,
                           .link_to = net->link_to,
                           .link_dimension = net->link_dimension,
                           .link_wraps = net->link_wraps,
                           .next_link = net->next_link,
                           .order = net->order,
                           .router_delay = integer(in, 1, 5),
                           .link_delay = integer(in, 1, 3),
                           .port_delay = integer(in, 0, 5),
                           .virtual_channels = integer(in, 2, 8),
                           .buffer_flits = integer(in, 1, 16),
                           .packet_flits = integer(in, 1, 32)};
    if (byte(in) % 2) set_default(in, &net->noc);
    for (int64_t i = 0; i < nodes; i++) {
        net->order[i] = i;
        net->router_of[i] = i % routers;
    }
    if (kind == 4)
        make_graph(in, net);
    else
        make_grid(net, kind < 2 ? routers : shape[0], kind < 2 ? 1 : shape[1], kind == 3);
}

static void check_done(const hda_message_t *messages, int64_t count, const int64_t *deps,
                       const int64_t *done, int64_t makespan) {
    int64_t last = 0;
    for (int64_t i = 0; i < count; i++) {
        const hda_message_t *m = &messages[i];
        SANE(done[i] >= (m->flits > 0 ? m->flits - 1 + m->delay : 0) || m->count > 0);
        for (int64_t d = 0; d < m->count; d++)
            SANE(done[i] >= done[deps[m->first + d]] + (m->flits > 0 ? hda_max64(1, m->delay) : 0));
        last = hda_max64(last, done[i]);
    }
    SANE(last == makespan);
}

/* All modes: no faster than the bound; the same cycles, for the validated routers, message by message and flit by flit. */
static void run_schedule(const hda_noc_t *noc, const hda_message_t *messages, int64_t count,
                         const int64_t *deps, int64_t dep_count) {
    static const int modes[3] = {HDA_NOC_LINK, 0, HDA_NOC_ROUTER};
    const size_t room = ((size_t)hda_max64(count, 0) + 1) * sizeof(int64_t);
    int64_t *done[3], makespan[3] = {-1, -1, -1};
    hda_status_t status[3];
    hda_noc_load_t load;
    const hda_status_t loaded = hda_noc_load(noc, messages, count, deps, dep_count, &load);
    for (int mode = 0; mode < 3; mode++) {
        done[mode] = malloc(room);
        SANE(done[mode] != NULL);
        memset(done[mode], -1, room);
        /* what would take for ever flit by flit is tried with links only */
        if (mode > 0 && (status[0] != HDA_OK || makespan[0] > 200000))
            status[mode] = HDA_E_LONG;
        else
            status[mode] = hda_noc_run(noc, messages, count, deps, dep_count, modes[mode],
                                       done[mode], &makespan[mode]);
        if (status[mode] != HDA_OK) continue;
        check_done(messages, count, deps, done[mode], makespan[mode]);
        SANE(loaded == HDA_OK && load.cycles <= makespan[mode]);
    }
    SANE(loaded == status[0]);
    if (status[1] == HDA_OK || status[2] == HDA_OK) {
        SANE(status[1] == status[2]);
        const int same = makespan[1] == makespan[2] && memcmp(done[1], done[2], room) == 0;
        SANE(same || !covers_loop(noc));
    }
    for (int mode = 0; mode < 3; mode++) free(done[mode]);
}

static void make_messages(bytes_t *in, int64_t nodes, hda_message_t *messages, int64_t *deps,
                          int64_t *count, int64_t *dep_count) {
    *count = byte(in) % (MESSAGES + 1);
    *dep_count = 0;
    for (int64_t i = 0; i < *count; i++) {
        hda_message_t *m = &messages[i];
        *m = (hda_message_t){.source = integer(in, 0, nodes - 1),
                             .target = integer(in, 0, nodes - 1),
                             .flits = integer(in, 1, 100),
                             .delay = byte(in) % 3 ? 0 : integer(in, 0, 300),
                             .first = *dep_count,
                             .count = byte(in) % 4};
        if (in->tame && m->source == m->target) m->flits = 0;
        if (in->tame && m->flits == 0 && m->count == 0 && i > 0) m->count = 1;
        if (in->tame && i == 0) m->count = 0;
        for (int64_t d = 0; d < m->count; d++) /* mostly on earlier ones */
            deps[(*dep_count)++] =
                byte(in) > 252 ? integer(in, 0, *count - 1) : byte(in) % hda_max64(i, 1);
        if (byte(in) > 253 && !in->tame) m->first = integer(in, 0, *dep_count);
        if (byte(in) > 253 && !in->tame) m->count = integer(in, 0, 3);
    }
}

/* A group of some of the nodes, in any order, now and then with one twice. */
static hda_group_t make_group(bytes_t *in, int64_t nodes, int64_t *members) {
    const int64_t most = hda_min64(nodes, NODES), start = byte(in) % most;
    const int64_t size = 1 + byte(in) % most;
    for (int64_t i = 0; i < size; i++) members[i] = (start + i) % most;
    for (int64_t i = size - 1; i > 0; i--) {
        const int64_t j = byte(in) % (i + 1), other = members[j];
        members[j] = members[i];
        members[i] = other;
    }
    if (byte(in) > 252) members[0] = members[size - 1];
    return (hda_group_t){members, byte(in) > 252 ? small(in, 0, 1) : size, byte(in) % 5,
                         integer(in, 1, 9)};
}

static int make_collective(bytes_t *in, int64_t nodes, hda_schedule_t *schedule) {
    int64_t members[NODES];
    const hda_group_t group = make_group(in, nodes, members);
    const int64_t kind = byte(in) % (HDA_COLLECTIVE_COUNT + 1),
                  how = byte(in) % (HDA_ALGORITHM_COUNT + 1);
    if (group.size > NODES) return 0;
    return hda_schedule_collective(schedule, &group, (hda_collective_t)kind, (hda_algorithm_t)how,
                                   integer(in, 1, 64)) == HDA_OK;
}

static void fuzz_noc(bytes_t *in) {
    network_t net;
    make_network(in, &net);
    hda_message_t messages[MESSAGES];
    int64_t deps[3 * MESSAGES + 1], count, dep_count;
    make_messages(in, net.noc.node_count, messages, deps, &count, &dep_count);
    run_schedule(&net.noc, messages, count, deps, dep_count);
    hda_schedule_t schedule = {0};
    int fits = 1;
    for (int groups = 1 + byte(in) % 2; groups > 0; groups--)
        fits &= make_collective(in, net.noc.node_count, &schedule);
    if (fits)
        run_schedule(&net.noc, schedule.messages, schedule.count, schedule.deps,
                     schedule.dep_count);
    hda_schedule_free(&schedule);
}

/* ---- links between devices ---- */

typedef struct {
    int64_t link_to[PLACES * PLACES], next_link[PLACES * PLACES], latency[PLACES * PLACES];
    double bandwidth[PLACES * PLACES];
    hda_links_t links;
} links_t;

/* A switch, links from each to each, a ring one way, or a random graph. */
static void make_links(bytes_t *in, int64_t devices, links_t *made) {
    const uint8_t kind = byte(in) % 4;
    const int64_t nodes = devices + (kind == 0);
    int64_t count = 0;
    for (int64_t i = 0; i < nodes * nodes; i++) made->next_link[i] = -1;
    for (int64_t a = 0; a < nodes; a++)
        for (int64_t b = 0; b < nodes; b++) {
            const int linked = kind == 0   ? a == devices || b == devices
                               : kind == 1 ? 1
                               : kind == 2 ? b == (a + 1) % nodes
                                           : byte(in) % 2;
            if (a == b || !linked) continue;
            made->link_to[count] = b;
            made->bandwidth[count] = number(in, 1e9, 1e12);
            made->latency[count] = integer(in, 0, 65000);
            made->next_link[a * nodes + b] = count++;
        }
    for (int64_t a = 0; a < nodes; a++)
        for (int64_t b = 0; b < nodes && a < nodes; b++) {
            if (a == b || made->next_link[a * nodes + b] >= 0) continue;
            const int64_t via = kind == 0   ? devices
                                : kind == 2 ? (a + 1) % nodes
                                            : byte(in) % nodes;
            made->next_link[a * nodes + b] = made->next_link[a * nodes + via];
        }
    made->links = (hda_links_t){.device_count = devices,
                                .node_count = nodes,
                                .link_count = count,
                                .link_to = made->link_to,
                                .next_link = made->next_link,
                                .bandwidth = made->bandwidth,
                                .latency = made->latency,
                                .store_and_forward = byte(in) % 2};
}

/* No message is faster than its slowest link, and forwarding whole messages is never faster for one alone. */
static void run_links(hda_links_t *links, const hda_message_t *messages, int64_t count,
                      const int64_t *deps, int64_t dep_count) {
    int64_t *done = malloc(((size_t)hda_max64(count, 0) + 1) * sizeof *done), makespan = -1,
            alone[2];
    SANE(done != NULL);
    if (hda_links_run(links, messages, count, deps, dep_count, done, &makespan) == HDA_OK) {
        for (int64_t i = 0; i < count; i++) {
            const hda_message_t *m = &messages[i];
            for (int64_t d = 0; d < m->count; d++)
                SANE(done[i] >=
                     done[deps[m->first + d]] + (m->flits > 0 ? hda_max64(1, m->delay) : 0));
            if (m->flits == 0) continue;
            hda_message_t one = *m;
            one.count = one.delay = 0;
            const int32_t mode = links->store_and_forward;
            for (int32_t whole = 0; whole < 2; whole++) {
                int64_t end;
                links->store_and_forward = whole;
                SANE(hda_links_run(links, &one, 1, deps, dep_count, &end, &alone[whole]) == HDA_OK);
            }
            links->store_and_forward = mode;
            SANE(alone[0] <= alone[1] && alone[mode ? 1 : 0] + m->delay <= done[i]);
        }
    }
    free(done);
}

static void fuzz_links(bytes_t *in) {
    links_t made;
    const int64_t devices = 1 + byte(in) % DEVICES;
    make_links(in, devices, &made);
    if (byte(in) > 252 && !in->tame) made.bandwidth[0] = number(in, 1e9, 1e12);
    hda_message_t messages[MESSAGES];
    int64_t deps[3 * MESSAGES + 1], count, dep_count;
    make_messages(in, devices, messages, deps, &count, &dep_count);
    run_links(&made.links, messages, count, deps, dep_count);
    hda_schedule_t schedule = {0};
    if (make_collective(in, devices, &schedule))
        run_links(&made.links, schedule.messages, schedule.count, schedule.deps,
                  schedule.dep_count);
    hda_schedule_free(&schedule);
}

/* ---- kernels ---- */

static void fuzz_kernels(bytes_t *in) {
    const hda_array_t array = {integer(in, 1, 128), integer(in, 1, 128), integer(in, 1, 4)};
    const hda_tree_t tree = {integer(in, 1, 64), integer(in, 1, 64), byte(in) % 2};
    const int64_t m = integer(in, 0, 4096), k = integer(in, 0, 4096), n = integer(in, 0, 4096);
    int64_t cycles;
    double vector_cycles;
    if (hda_sa_gemm_cycles(&array, m, k, n, &cycles) == HDA_OK)
        SANE(cycles >= 0 && (cycles > 0) == (m > 0 && k > 0 && n > 0));
    if (hda_sa_folds_cycles(&array, m, k, &cycles) == HDA_OK) SANE(cycles >= 0);
    if (hda_mt_gemm_cycles(&tree, m, k, n, &cycles) == HDA_OK)
        SANE(cycles >= 0 && (cycles > 0) == (m > 0 && k > 0 && n > 0));
    if (hda_mt_attention_cycles(&tree, m, k, n, integer(in, 0, 4096), &cycles) == HDA_OK)
        SANE(cycles >= 0);
    if (hda_vu_cycles(integer(in, 1, 256), number(in, 1, 1e9), number(in, 1, 64), &vector_cycles) ==
        HDA_OK)
        SANE(vector_cycles >= 0 && isfinite(vector_cycles));
    const int64_t tokens = integer(in, 0, 4096), past = integer(in, 0, 65535);
    const int64_t window = integer(in, 0, 4096), tile = 1 + byte(in), block = 1 + byte(in);
    if (tokens < 0 || tokens > (int64_t)1 << 24 || past < 0 || past > (int64_t)1 << 36 ||
        window < 0)
        return;
    const int64_t tiles = hda_prefill_tiles(tokens, past, window, tile, block);
    const double pairs = hda_prefill_pairs(tokens, past, window);
    SANE(tiles >= (tokens + tile - 1) / tile && pairs >= 0);
    SANE((double)tiles * (double)tile * (double)block >= pairs);
}

/* ---- programs ---- */

typedef struct {
    network_t net;
    links_t links;
    hda_device_t device;
    hda_op_t ops[OPS];
    hda_block_t blocks[BLOCKS];
    hda_segment_t segments[SEGMENTS];
    int64_t op_count, block_count, segment_count;
} machine_t;

static void make_device(bytes_t *in, machine_t *machine) {
    make_network(in, &machine->net);
    make_links(in, 2 + byte(in) % (DEVICES - 1), &machine->links);
    hda_device_t *d = &machine->device;
    *d = (hda_device_t){
        .frequency = number(in, 1e6, 3e9),
        .core_count =
            byte(in) < 250 ? 1 + byte(in) % machine->net.noc.node_count : small(in, 1, NODES),
        .array = {integer(in, 1, 64), integer(in, 1, 64), integer(in, 1, 4)},
        .tree = {integer(in, 1, 32), integer(in, 0, 32), byte(in) % 2},
        .vector_width = integer(in, 1, 128),
        .local_memory = number(in, 100, 1e7),
        .global_memory = number(in, 100, 1e8),
        .global_bandwidth = number(in, 1e9, 1e13),
        .dram = {in->tame || byte(in) < 250 ? byte(in) % 3 : byte(in) - 128, number(in, 1e9, 1e13),
                 number(in, 0.01, 0.2), number(in, 0.1, 1), number(in, 0.01, 0.5),
                 number(in, 0.1, 1), number(in, 1e-7, 1e-4)},
        .noc = machine->net.noc,
        .link_width = number(in, 1, 1024),
        .shared = byte(in) % 4 == 0,
        .prefetch = byte(in) % 2,
        .p2p_algorithm = in->tame || byte(in) < 250 ? byte(in) % HDA_P2P_COUNT : byte(in) - 128,
        .dataflow = in->tame || byte(in) < 250 ? byte(in) % 4 : byte(in) - 128,
        .device_count = byte(in) % 3 == 0 ? 1 : integer(in, 1, machine->links.links.device_count),
        .links = machine->links.links,
        .expert_links = machine->links.links,
        .launch_overhead = byte(in) % 2 ? 0 : number(in, 1e-9, 1e-5),
        .activation_bytes = number(in, 0.5, 4),
        .kv_bytes = number(in, 0.5, 4),
    };
    const int64_t ranks = d->device_count > 0 ? d->links.device_count / d->device_count : 1;
    d->rank_count = in->tame || byte(in) < 250 ? byte(in) % (ranks + 1) : byte(in) - 128;
    /* the bound is that of a device's fastest links together */
    for (int64_t i = 0; i < d->links.link_count; i++) d->p2p_bandwidth += d->links.bandwidth[i];
}

static void make_op(bytes_t *in, int64_t place, hda_op_t *op) {
    *op = (hda_op_t){
        .kind = byte(in) % 7, .rows = byte(in) % 5, .sync = byte(in) % 6, .gather = byte(in) % 2};
    if (in->tame && op->kind != HDA_OP_EXPERTS && op->kind != HDA_OP_VECTOR)
        op->rows %= HDA_ROWS_GROUP;
    if (in->tame && op->kind == HDA_OP_STORE) op->sync = HDA_SYNC_NONE;
    op->elementwise = op->kind == HDA_OP_VECTOR && byte(in) % 2;
    if (byte(in) > 252 && !in->tame) op->kind = byte(in) - 128;
    if (byte(in) > 252 && !in->tame) op->sync = byte(in) - 128;
    for (int d = 0; d < 2; d++) op->after[d] = (int32_t)(byte(in) % (place + 2)) - 2;
    if (byte(in) > 252 && !in->tame) op->after[0] = byte(in) - 128;
    op->sync_bytes = number(in, 1, 1e5);
    op->k = integer(in, 1, 1024);
    op->n = integer(in, 1, 1024);
    op->weight_bytes = number(in, 0.25, 4);
    op->experts = integer(in, 1, 64);
    op->top_k = in->tame ? 1 + byte(in) % op->experts : integer(in, 1, 8);
    op->vector_ops = number(in, 1, 32);
    op->reduce_bytes = byte(in) % 2 ? 0 : number(in, 1, 16);
    op->kv_heads = integer(in, 1, 8);
    op->group = integer(in, 1, 8);
    op->key_dim = integer(in, 1, 192);
    op->value_dim = integer(in, 1, 128);
    op->window = byte(in) % 2 ? 0 : integer(in, 0, 100);
    op->kv_elements = integer(in, 1, 1024);
}

static int32_t narrow(int64_t value) { return (int32_t)(uint32_t)((uint64_t)value & 0xffffffffU); }

static void make_machine(bytes_t *in, machine_t *machine) {
    make_device(in, machine);
    machine->op_count = 1 + byte(in) % OPS;
    machine->block_count = 1 + byte(in) % BLOCKS;
    machine->segment_count = 1 + byte(in) % SEGMENTS;
    if (in->tame) machine->block_count = hda_min64(machine->block_count, machine->op_count);
    for (int64_t b = 0, next = 0; b < machine->block_count;
         b++) { /* cut in turn if tame, else anywhere */
        const int64_t share = hda_share(machine->op_count, machine->block_count, b);
        const int64_t first = in->tame ? next : small(in, 0, machine->op_count - 1);
        machine->blocks[b] =
            (hda_block_t){narrow(first), narrow(in->tame ? share : small(in, 1, share + 1))};
        for (int64_t i = next; i < next + share; i++) make_op(in, i - next, &machine->ops[i]);
        next += share;
    }
    for (int64_t s = 0; s < machine->segment_count; s++) {
        const int64_t first = small(in, 0, machine->block_count - 1);
        const int64_t room =
            first >= 0 && first < machine->block_count ? machine->block_count - first : 1;
        machine->segments[s] = (hda_segment_t){narrow(first), narrow(small(in, 1, room)),
                                               narrow(small(in, 1, 9)), narrow(small(in, 0, 3))};
    }
}

static void check_step(const hda_step_t *step, const hda_op_step_t *per_op,
                       const machine_t *machine) {
    double limited = 0, exposed = 0;
    const double least = 1e-12 * step->time; /* clocks count from the start of the step */
    SANE(isfinite(step->time) && step->time >= 0);
    SANE(isfinite(step->bound) && step->bound >= 0);
    SANE(step->bound <= step->time * (1 + 1e-6));
    SANE(isfinite(step->dram_bytes) && step->dram_bytes >= 0 && isfinite(step->p2p_bytes) &&
         step->p2p_bytes >= 0);
    for (int i = 0; i < 2; i++) SANE(isfinite(step->macs[i]) && step->macs[i] >= 0);
    for (int i = 0; i < HDA_UNIT_COUNT; i++) SANE(isfinite(step->busy[i]) && step->busy[i] >= 0);
    for (int i = 0; i < HDA_BY_COUNT; i++) {
        SANE(isfinite(step->limited[i]) && step->limited[i] >= 0);
        limited += step->limited[i];
    }
    SANE(fabs(limited - step->time) <= 1e-6 * step->time);
    for (int64_t i = 0; i < machine->op_count; i++) {
        SANE(isfinite(per_op[i].exposed) && per_op[i].exposed >= 0);
        exposed += per_op[i].exposed;
    }
    SANE(exposed <= step->time * (1 + 1e-6));
    for (int c = 0; c < 2; c++) {
        double all = 0, shown = 0;
        for (int64_t i = 0; i < machine->op_count; i++) {
            SANE(isfinite(per_op[i].communication[c]));
            SANE(per_op[i].exposed_communication[c] <= per_op[i].communication[c] + least);
            SANE(per_op[i].exposed_communication[c] <= per_op[i].exposed + least);
            all += per_op[i].communication[c];
            shown += per_op[i].exposed_communication[c];
        }
        SANE(fabs(all - step->communication[c]) <= 1e-9 * all);
        SANE(fabs(shown - step->exposed_communication[c]) <= 1e-9 * step->time);
    }
}

static void run_steps(bytes_t *in, hda_program_t *program, const machine_t *machine) {
    int64_t q_len[SEQUENCES], past[SEQUENCES];
    hda_op_step_t per_op[OPS];
    hda_step_t step;
    for (int turns = 1 + byte(in) % 3; turns > 0; turns--) {
        hda_batch_t batch = {small(in, 1, SEQUENCES), q_len, past, small(in, 0, SEQUENCES),
                             byte(in) % 2 ? 0 : small(in, 0, 200)};
        if (batch.sequence_count > SEQUENCES)
            batch.sequence_count = SEQUENCES; /* the arrays end there */
        for (int64_t i = 0; i < SEQUENCES; i++) {
            q_len[i] = byte(in) % 2 ? 1 : integer(in, 1, ROWS / 2);
            past[i] = integer(in, 0, 300);
        }
        if (byte(in) < 250 && batch.sequence_count > 0)
            batch.emit_count = byte(in) % (batch.sequence_count + 1);
        const int exact = byte(in) % 2 ? HDA_EXACT : 0;
        if (hda_program_step(program, &batch, exact, &step, per_op) != HDA_OK) continue;
        check_step(&step, per_op, machine);
        if (machine->device.core_count > 1) continue; /* idle cores leave room for shortcuts */
        hda_step_t other;
        SANE(hda_program_step(program, &batch, exact ^ HDA_EXACT, &other, NULL) == HDA_OK);
        SANE(fabs(other.time - step.time) <= 1e-9 * step.time);
    }
    hda_mapping_t mapping;
    if (hda_program_mapping(program, integer(in, 0, machine->op_count - 1), integer(in, 1, ROWS),
                            integer(in, 0, machine->device.core_count - 1), &mapping) == HDA_OK) {
        SANE(mapping.grid_rows >= 1 && mapping.grid_cols >= 1);
        SANE(mapping.grid_rows <= machine->device.core_count / mapping.grid_cols);
        SANE(mapping.m >= 0 && mapping.sa_columns >= 0 && mapping.mt_columns >= 0);
        SANE(isfinite(mapping.local_bytes) && isfinite(mapping.prefetch_bytes));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bytes_t in = {data, size, 0};
    const uint8_t what = byte(&in);
    in.tame = byte(&in) % 4 != 0;
    if (what < 50) {
        fuzz_noc(&in);
        return 0;
    }
    if (what >= 230) {
        fuzz_links(&in);
        return 0;
    }
    if (what < 80) {
        fuzz_kernels(&in);
        return 0;
    }
    static machine_t machine;
    memset(&machine, 0, sizeof machine);
    make_machine(&in, &machine);
    hda_program_t *program;
    const int64_t rows = byte(&in) < 250 ? ROWS : small(&in, 1, ROWS);
    if (hda_program_create(&machine.device, machine.ops, machine.op_count, machine.blocks,
                           machine.block_count, machine.segments, machine.segment_count, rows,
                           integer(&in, 1, 16), &program) != HDA_OK)
        return 0;
    run_steps(&in, program, &machine);
    hda_program_destroy(program);
    return 0;
}
