/* Networks on chip: latency, contention, dependencies, loads, and every refusal. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "noc.h"

/* A line of four routers, 0 - 1 - 2 - 3; link 2 i leads up from i, link 2 i + 1 down to i. As a ring, link 6 leads from 3 to 0. */
enum { NODES = 4, LINKS = 7 };
static int64_t router_of[NODES], link_from[LINKS], link_to[LINKS], dimension[LINKS], wraps[LINKS];
static int64_t next_link[NODES * NODES], order[NODES], done[16];

static hda_noc_t line(void) {
    memset(dimension, 0, sizeof dimension);
    memset(wraps, 0, sizeof wraps);
    for (int64_t a = 0; a < NODES; a++) {
        router_of[a] = order[a] = a;
        for (int64_t b = 0; b < NODES; b++)
            next_link[a * NODES + b] = a == b ? -1 : a < b ? 2 * a : 2 * (a - 1) + 1;
    }
    for (int64_t i = 0; i < LINKS; i++) {
        link_from[i] = i / 2 + i % 2;
        link_to[i] = i / 2 + (i % 2 == 0);
    }
    return (hda_noc_t){.node_count = NODES,
                       .router_count = NODES,
                       .link_count = 6,
                       .router_of = router_of,
                       .link_from = link_from,
                       .link_to = link_to,
                       .link_dimension = dimension,
                       .link_wraps = wraps,
                       .next_link = next_link,
                       .order = order,
                       .router_delay = 3,
                       .link_delay = 1,
                       .port_delay = 3,
                       .virtual_channels = 8,
                       .buffer_flits = 8,
                       .packet_flits = 16};
}

/* The same with all routes upwards, and around. */
static hda_noc_t ring(int closes) {
    hda_noc_t noc = line();
    noc.link_count = LINKS;
    link_from[6] = 3;
    link_to[6] = 0;
    wraps[6] = closes;
    for (int64_t a = 0; a < NODES; a++)
        for (int64_t b = 0; b < NODES; b++) next_link[a * NODES + b] = a == b ? -1 : 2 * a;
    return noc;
}

static const int64_t deps[4] = {0, 1, 2, 3};

/* Also checks that the load of a schedule never exceeds what it takes. */
static hda_status_t run(const hda_noc_t *noc, const hda_message_t *messages, int64_t count,
                        int flags) {
    int64_t makespan = -1, last = 0;
    hda_noc_load_t load;
    memset(done, -1, sizeof done);
    const hda_status_t status = hda_noc_run(noc, messages, count, deps, 4, flags, done, &makespan);
    const hda_status_t loaded = hda_noc_load(noc, messages, count, deps, 4, &load);
    if (status != HDA_OK) {
        CHECK_INT(loaded, status);
        return status;
    }
    CHECK_INT(loaded, HDA_OK);
    for (int64_t i = 0; i < count; i++) last = hda_max64(last, done[i]);
    CHECK_INT(makespan, last);
    CHECK(load.cycles <= makespan);
    return status;
}

enum { ALL_MODES = 3 };
static const int modes[ALL_MODES] = {0, HDA_NOC_ROUTER, HDA_NOC_LINK};

/* In the first `some` modes. */
static void expect(const hda_noc_t *noc, int some, const hda_message_t *messages, int64_t count,
                   const int64_t *times) {
    for (int mode = 0; mode < some; mode++) {
        CHECK_INT(run(noc, messages, count, modes[mode]), HDA_OK);
        for (int64_t i = 0; i < count; i++) CHECK_INT(done[i], times[i]);
    }
}

#define TIMES(...) \
    (const int64_t[]) { __VA_ARGS__ }

static void latency(void) {
    hda_noc_t noc = line();
    expect(&noc, 3, NULL, 0, NULL);
    /* 4 x 3 links + 3 + 3, and the last of 16 flits 15 later */
    const hda_message_t far = {0, 3, 16, 0, 0, 0}, back = {3, 0, 1, 100, 0, 0};
    expect(&noc, 3, &far, 1, TIMES(12 + 6 + 15));
    expect(&noc, 3, &back, 1, TIMES(100 + 12 + 6));
    const hda_message_t packets = {1, 2, 1000, 0, 0, 0}; /* 62 of them and one of 8 flits */
    expect(&noc, 3, &packets, 1, TIMES(4 + 6 + 999));
    const hda_message_t all_ways[3] = {
        {0, 1, 16, 0, 0, 0}, {1, 2, 16, 0, 0, 0}, {2, 1, 5, 40, 0, 0}};
    expect(&noc, 3, all_ways, 3, TIMES(25, 25, 40 + 10 + 4));
    for (int64_t router = 1; router <= 6; router++)
        for (int64_t link = 1; link <= 3; link++)
            for (int64_t port = 0; port <= 5; port++) {
                noc.router_delay = router;
                noc.link_delay = link;
                noc.port_delay = port;
                noc.buffer_flits = 32;
                const int64_t fixed = router + port + 16 - 1;
                const hda_message_t two[2] = {{0, 2, 16, 0, 0, 0}, {3, 2, 16, 64, 0, 0}};
                expect(&noc, 3, two, 2,
                       TIMES(2 * (router + link) + fixed, 64 + router + link + fixed));
            }
    /* two nodes of one router: no link at all */
    noc = line();
    router_of[1] = 0;
    const hda_message_t near = {0, 1, 16, 0, 0, 0};
    expect(&noc, 3, &near, 1, TIMES(6 + 15));
}

static void contention(void) {
    hda_noc_t noc = line();
    /* one node injects one message after the other */
    const hda_message_t same[3] = {{0, 1, 16, 0, 0, 0}, {0, 2, 16, 0, 0, 0}, {0, 1, 16, 0, 0, 0}};
    expect(&noc, 3, same, 3, TIMES(25, 16 + 29, 32 + 25));
    /* 1>3 has the link 2>3 from cycle 7 on. By links it is done with it at 23, when 0>3, there at 11, follows: 33 + 12 */
    const hda_message_t shared[2] = {{0, 3, 16, 0, 0, 0}, {1, 3, 16, 0, 0, 0}};
    CHECK_INT(run(&noc, shared, 2, HDA_NOC_LINK), HDA_OK);
    const int64_t by_links = hda_max64(done[0], done[1]);
    CHECK(by_links > 33);
    for (int mode = 0; mode < 2; mode++) {
        CHECK_INT(run(&noc, shared, 2, modes[mode]), HDA_OK);
        /* 32 flits over the link, the first of which can reach it at 3 */
        const int64_t last = hda_max64(done[0], done[1]);
        CHECK(last >= 32 + 9 && last <= by_links);
        CHECK(done[0] >= 33 && done[1] >= 29);
    }
    /* everyone to one node: 3 x 40 flits leave its port one by one */
    const hda_message_t incast[3] = {{1, 0, 40, 0, 0, 0}, {2, 0, 40, 0, 0, 0}, {3, 0, 40, 0, 0, 0}};
    for (int mode = 0; mode < 3; mode++) {
        CHECK_INT(run(&noc, incast, 3, modes[mode]), HDA_OK);
        CHECK(hda_max64(done[0], hda_max64(done[1], done[2])) >= 120 + 9);
    }
    /* small buffers stall even a single stream, unless links are all that counts */
    noc.virtual_channels = 1;
    noc.buffer_flits = 2;
    const hda_message_t stream = {0, 3, 256, 0, 0, 0};
    for (int mode = 0; mode < 2; mode++) {
        CHECK_INT(run(&noc, &stream, 1, modes[mode]), HDA_OK);
        CHECK(done[0] > 2 * 256);
    }
    CHECK_INT(run(&noc, &stream, 1, HDA_NOC_LINK), HDA_OK);
    CHECK_INT(done[0], 12 + 6 + 255);
}

static void dependencies(void) {
    const hda_noc_t noc = line();
    /* received at 25, ready a cycle later, or as many as its delay says; messages may stand in any order */
    const hda_message_t chain[3] = {{1, 2, 16, 0, 1, 1}, {0, 1, 16, 0, 0, 0}, {2, 3, 1, 9, 0, 1}};
    expect(&noc, 3, chain, 3, TIMES(26 + 25, 25, 51 + 9 + 10));
    /* a join is done with the last that it waits for, a join of joins too */
    const hda_message_t joins[5] = {{0, 1, 16, 0, 0, 0},
                                    {2, 1, 1, 100, 0, 0},
                                    {1, 1, 0, 0, 0, 2},
                                    {1, 1, 0, 50, 1, 2},
                                    {1, 0, 1, 0, 3, 1}};
    expect(&noc, 3, joins, 5, TIMES(25, 110, 110, 110, 121));
    /* the port goes to what is ready first */
    const hda_message_t queue[2] = {{0, 1, 16, 5, 0, 0}, {0, 3, 16, 0, 0, 0}};
    expect(&noc, 3, queue, 2, TIMES(16 + 25, 33));
    const hda_message_t self = {0, 1, 1, 0, 0, 1};
    const hda_message_t circle[3] = {{0, 1, 1, 0, 1, 1}, {1, 2, 1, 0, 0, 1}, {2, 3, 1, 0, 0, 0}};
    for (int mode = 0; mode < 3; mode++) {
        CHECK_INT(run(&noc, &self, 1, modes[mode]), HDA_E_DEADLOCK);
        CHECK_INT(run(&noc, circle, 3, modes[mode]), HDA_E_DEADLOCK);
    }
}

/* Packets that wait for each other around a ring; where it closes they change channels. */
static void rings(void) {
    const hda_message_t around[4] = {
        {0, 3, 64, 0, 0, 0}, {1, 0, 64, 0, 0, 0}, {2, 1, 64, 0, 0, 0}, {3, 2, 64, 0, 0, 0}};
    int64_t makespan;
    for (int closes = 0; closes < 2; closes++) {
        hda_noc_t noc = ring(closes);
        noc.buffer_flits = 2;
        noc.packet_flits = 64;
        noc.virtual_channels = closes ? 2 : 1;
        CHECK_INT(hda_noc_run(&noc, around, 4, deps, 4, 0, done, &makespan),
                  closes ? HDA_OK : HDA_E_DEADLOCK);
        /* 64 flits from each, over three links each: 192 over every link */
        if (closes) CHECK(makespan >= 192 + 9);
        CHECK_INT(hda_noc_run(&noc, around, 4, deps, 4, HDA_NOC_LINK, done, &makespan), HDA_OK);
    }
}

static void loads(void) {
    const hda_noc_t noc = line();
    hda_noc_load_t load;
    const hda_message_t messages[4] = {
        {0, 3, 20, 0, 0, 0}, {1, 3, 8, 0, 0, 0}, {0, 1, 12, 0, 0, 0}, {1, 1, 0, 0, 2, 1}};
    CHECK_INT(hda_noc_load(&noc, messages, 4, deps, 4, &load), HDA_OK);
    CHECK_INT(load.inject, 32);
    CHECK_INT(load.eject, 28);
    CHECK_INT(load.link, 32); /* 0>1 */
    CHECK_INT(load.flit_hops, 20 * 3 + 8 * 2 + 12);
    CHECK_INT(load.packet_hops, 2 * 3 + 2 + 1);
    CHECK_INT(load.cycles, 32 + 9); /* the port; the longest message alone takes 37 */
    CHECK_INT(hda_noc_load(&noc, messages, 1, deps, 4, &load), HDA_OK);
    CHECK_INT(load.cycles, 12 + 6 + 19);
    CHECK_INT(hda_noc_load(&noc, NULL, 0, deps, 4, &load), HDA_OK);
    CHECK_INT(load.cycles, 0);
}

static void refused_messages(void) {
    hda_noc_t noc = line();
    const int64_t most = (int64_t)1 << 40;
    const hda_message_t bad[] = {
        {0, 0, 1, 0, 0, 0},         {0, 1, 0, 0, 0, 0},         {0, 1, -3, 0, 0, 0},
        {-1, 1, 1, 0, 0, 0},        {0, NODES, 1, 0, 0, 0},     {NODES, 0, 1, 0, 0, 0},
        {0, -1, 1, 0, 0, 0},        {0, 1, 1, -1, 0, 0},        {0, 1, 1, 0, -1, 1},
        {0, 1, 1, 0, 0, -1},        {0, 1, 1, 0, 4, 1},         {0, 1, 1, 0, 0, 5},
        {0, 1, 1, 0, 1, 1},         {0, 1, most + 1, 0, 0, 0},  {0, 1, 1, most + 1, 0, 0},
        {0, 0, 0, 0, 0, 0},         {INT64_MAX, 0, 1, 0, 0, 0}, {0, INT64_MIN, 1, 0, 0, 0},
        {0, 1, INT64_MAX, 0, 0, 0}, {0, 1, 1, INT64_MAX, 0, 0}, {0, 1, 1, 0, INT64_MAX, 1},
        {0, 1, 1, 0, 1, INT64_MAX}, {2, 2, 0, 0, 0, -1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int mode = 0; mode < 3; mode++)
            CHECK_INT(run(&noc, &bad[i], 1, modes[mode]), HDA_E_RANGE);
    CHECK_INT(run(&noc, bad, -1, 0), HDA_E_RANGE);
    int64_t makespan;
    const hda_message_t good = {0, 1, 1, 0, 0, 0};
    CHECK_INT(hda_noc_run(&noc, &good, 1, deps, -1, 0, done, &makespan), HDA_E_RANGE);

    const hda_message_t far = {0, 3, most, most, 0, 0};
    CHECK_INT(run(&noc, &far, 1, HDA_NOC_LINK), HDA_OK);
    CHECK_INT(done[0], 2 * most + 12 + 6 - 1);
    const int64_t many = (int64_t)1 << 18;
    hda_message_t *huge = malloc((size_t)many * sizeof *huge);
    int64_t *times = malloc((size_t)many * sizeof *times);
    CHECK(huge != NULL && times != NULL);
    for (int64_t i = 0; huge && i < many; i++) huge[i] = (hda_message_t){0, 3, most, 0, 0, 0};
    for (int mode = 0; huge && times && mode < 3; mode++)
        CHECK_INT(hda_noc_run(&noc, huge, many, deps, 4, modes[mode], times, &makespan),
                  HDA_E_OVERFLOW);
    free(huge);
    free(times);

    const hda_message_t one = {0, 3, 1, 0, 0, 0};
    for (int mode = 0; mode < 3; mode++) {
        noc = line();
        next_link[0 * NODES + 3] = -1; /* the route ends */
        CHECK_INT(run(&noc, &one, 1, modes[mode]), HDA_E_ROUTE);
        CHECK_INT(hda_noc_check(&noc), HDA_OK);
        noc = line();
        next_link[1 * NODES + 3] = 1; /* 1 sends it back to 0 */
        CHECK_INT(run(&noc, &one, 1, modes[mode]), HDA_E_ROUTE);
    }
}

static void refused_networks(void) {
#define REFUSE(change)                                 \
    do {                                               \
        hda_noc_t noc = line();                        \
        const hda_message_t one = {0, 1, 1, 0, 0, 0};  \
        change;                                        \
        CHECK_INT(hda_noc_check(&noc), HDA_E_RANGE);   \
        CHECK_INT(run(&noc, &one, 1, 0), HDA_E_RANGE); \
    } while (0)
#define REFUSE_DELAYS(field)           \
    do {                               \
        REFUSE(noc.field = -1);        \
        REFUSE(noc.field = 257);       \
        REFUSE(noc.field = INT64_MAX); \
        REFUSE(noc.field = INT64_MIN); \
    } while (0)
    REFUSE_DELAYS(router_delay);
    REFUSE_DELAYS(link_delay);
    REFUSE_DELAYS(port_delay);
    REFUSE((noc.router_delay = 1, noc.link_delay = 0)); /* a hop takes two cycles at least */
    REFUSE(noc.router_delay = 0);
    REFUSE(noc.node_count = 0);
    REFUSE(noc.router_count = 0);
    REFUSE(noc.link_count = -1);
    REFUSE(noc.link_count = 5); /* a route leads over the sixth */
    REFUSE(noc.columns = -1);
    REFUSE(noc.virtual_channels = 0);
    REFUSE(noc.virtual_channels = HDA_NOC_CHANNELS + 1);
    REFUSE(noc.buffer_flits = 0);
    REFUSE(noc.buffer_flits = HDA_NOC_BUFFER + 1);
    REFUSE(noc.packet_flits = 0);
    REFUSE(noc.packet_flits = HDA_NOC_PACKET + 1);
    REFUSE((wraps[2] = 1, noc.virtual_channels = 1)); /* two classes */
    REFUSE(router_of[3] = -1);
    REFUSE(router_of[3] = NODES);
    REFUSE(order[0] = NODES);
    REFUSE(order[0] = -1);
    REFUSE(link_to[2] = NODES);
    REFUSE(link_to[2] = -1);
    REFUSE(link_from[2] = NODES);
    REFUSE(link_from[2] = link_to[2]);
    REFUSE(next_link[3] = 6);
    REFUSE(next_link[3] = -2);
    REFUSE(next_link[3] = 2); /* it leads from 1, not from 0 */
    const hda_noc_t noc = line();
    CHECK_INT(hda_noc_check(&noc), HDA_OK);
}

int main(void) {
    latency();
    contention();
    dependencies();
    rings();
    loads();
    refused_messages();
    refused_networks();
    return failures != 0;
}
