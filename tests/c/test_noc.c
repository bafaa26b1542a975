/* Network on chip: latency, contention, dependencies, collectives, and every refusal. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "noc.h"

/* A line of four routers, 0 - 1 - 2 - 3; link 2 i leads up from i, link 2 i + 1 down to i. BookSim's R1 delays. */
enum { NODES = 4, LINKS = 6 };
static int64_t router_of[NODES], link_to[LINKS], next_link[NODES * NODES], order[NODES];
static int64_t done[64];

static hda_noc_t line(void) {
    for (int64_t a = 0; a < NODES; a++) {
        router_of[a] = order[a] = a;
        for (int64_t b = 0; b < NODES; b++)
            next_link[a * NODES + b] = a == b ? -1 : a < b ? 2 * a : 2 * (a - 1) + 1;
    }
    for (int64_t i = 0; i < LINKS; i++) link_to[i] = i / 2 + (i % 2 == 0);
    return (hda_noc_t){NODES, NODES, LINKS, router_of, link_to, next_link, order, 3, 1, 3};
}

static hda_status_t run(const hda_noc_t *noc, const hda_message_t *messages, int64_t count,
                        int64_t *makespan) {
    void *scratch = malloc(hda_noc_scratch_size(noc, count) + 1);
    const hda_status_t status = hda_noc_run(noc, messages, count, scratch, done, makespan);
    free(scratch);
    return status;
}

static void latency(void) {
    const hda_noc_t noc = line();
    int64_t makespan = -1;
    CHECK_INT(run(&noc, NULL, 0, &makespan), HDA_OK);
    CHECK_INT(makespan, 0);
    const hda_message_t far = {0, 3, 16, -1};
    CHECK_INT(run(&noc, &far, 1, &makespan), HDA_OK);
    CHECK_INT(makespan, 4 * 3 + 6 + 15);
    /* the second waits for the link 0 > 1 until flit 16 has passed; both share it, so it ends 16 later than alone */
    const hda_message_t same[2] = {{0, 1, 16, -1}, {0, 1, 16, -1}};
    CHECK_INT(run(&noc, same, 2, &makespan), HDA_OK);
    CHECK_INT(done[0], 4 + 6 + 15);
    CHECK_INT(done[1], 4 + 6 + 15 + 16);
    /* 0 > 2 has the link 1 > 2 from cycle 7 to 23; 1 > 3, which wanted it at 3, waits 20 cycles */
    const hda_message_t shared[2] = {{0, 2, 16, -1}, {1, 3, 16, -1}};
    CHECK_INT(run(&noc, shared, 2, &makespan), HDA_OK);
    CHECK_INT(done[0], 4 * 2 + 6 + 15);
    CHECK_INT(done[1], 4 * 2 + 6 + 15 + 20);
    /* received at 25, ready at 26: 26 + 25 */
    const hda_message_t chain[2] = {{1, 2, 16, 1}, {0, 1, 16, -1}};
    CHECK_INT(run(&noc, chain, 2, &makespan), HDA_OK);
    CHECK_INT(done[1], 25);
    CHECK_INT(done[0], 26 + 25);
}

static void refusals(void) {
    hda_noc_t noc = line();
    int64_t makespan;
    const hda_message_t bad[] = {{0, 0, 1, -1},  {0, 1, 0, -1},         {0, 1, -3, -1},
                                 {-1, 1, 1, -1}, {0, NODES, 1, -1},     {NODES, 0, 1, -1},
                                 {0, -1, 1, -1}, {0, 1, 1, -2},         {0, 1, 1, 1},
                                 {0, 1, 1, 99},  {INT64_MAX, 0, 1, -1}, {0, INT64_MIN, 1, -1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(run(&noc, &bad[i], 1, &makespan), HDA_E_RANGE);
    const hda_message_t self = {0, 1, 1, 0};
    CHECK_INT(run(&noc, &self, 1, &makespan), HDA_E_DEADLOCK);
    const hda_message_t cycle[3] = {{0, 1, 1, 1}, {1, 2, 1, 0}, {2, 3, 1, -1}};
    CHECK_INT(run(&noc, cycle, 3, &makespan), HDA_E_DEADLOCK);
    const hda_message_t huge[2] = {{0, 1, INT64_MAX - 10, -1}, {1, 2, 1, -1}};
    CHECK_INT(run(&noc, huge, 1, &makespan), HDA_E_OVERFLOW);
    const hda_message_t large[2] = {{0, 1, INT64_MAX / 8, -1}, {0, 1, INT64_MAX / 8, -1}};
    CHECK_INT(run(&noc, large, 2, &makespan), HDA_E_OVERFLOW);
    CHECK_INT(run(&noc, large, 1, &makespan), HDA_OK);

    const hda_message_t far = {0, 3, 1, -1};
    noc.router_delay = INT64_MAX;
    CHECK_INT(run(&noc, &far, 1, &makespan), HDA_E_OVERFLOW);
    noc.router_delay = -1;
    CHECK_INT(run(&noc, &far, 1, &makespan), HDA_E_RANGE);
    noc = line();
    next_link[0 * NODES + 3] = -1; /* the route ends */
    CHECK_INT(run(&noc, &far, 1, &makespan), HDA_E_ROUTE);
    CHECK_INT(hda_noc_check(&noc), HDA_OK);
    noc = line();
    next_link[1 * NODES + 3] = 1; /* 1 sends it back to 0 */
    CHECK_INT(run(&noc, &far, 1, &makespan), HDA_E_ROUTE);
    noc = line();
    CHECK_INT(hda_noc_check(&noc), HDA_OK);
    next_link[0 * NODES + 3] = LINKS;
    CHECK_INT(run(&noc, &far, 1, &makespan), HDA_E_ROUTE);
    CHECK_INT(hda_noc_check(&noc), HDA_E_RANGE);
    noc = line();
    link_to[2] = NODES;
    CHECK_INT(run(&noc, &far, 1, &makespan), HDA_E_RANGE);
    CHECK_INT(hda_noc_check(&noc), HDA_E_RANGE);
    noc = line();
    router_of[3] = -1;
    CHECK_INT(run(&noc, &far, 1, &makespan), HDA_E_RANGE);
    noc = line();
    order[0] = NODES;
    CHECK_INT(hda_noc_check(&noc), HDA_E_RANGE);
    noc = line();
    noc.port_delay = INT64_MAX;
    CHECK_INT(hda_noc_check(&noc), HDA_E_RANGE);
}

static void collectives(void) {
    const hda_noc_t noc = line();
    hda_message_t messages[64];
    int64_t makespan;
    CHECK_INT(hda_collective_messages(HDA_COLL_ALL_GATHER, 2, 3), 2 * 3 * 2);
    CHECK_INT(hda_collective_messages(HDA_COLL_ALL_REDUCE, 2, 3), 2 * 3 * 4);
    CHECK_INT(hda_collective_messages(HDA_COLL_INCAST, 2, 3), 2 * 2);
    CHECK_INT(hda_collective_messages(HDA_COLL_ALL_GATHER, 3, 1), 0);
    CHECK_INT(hda_collective_messages(HDA_COLL_ALL_GATHER, 0, 4), 0);
    CHECK_INT(hda_collective_messages(HDA_COLL_ALL_REDUCE, INT64_MAX, INT64_MAX), 0);
    const int64_t refused[][3] = {{0, 4, 1}, {1, 0, 1},         {1, 4, 0},        {1, 5, 1},
                                  {2, 3, 1}, {INT64_MAX, 4, 1}, {1, INT64_MAX, 1}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        CHECK_INT(hda_collective_schedule(&noc, HDA_COLL_ALL_GATHER, refused[i][0], refused[i][1],
                                          refused[i][2], messages),
                  HDA_E_RANGE);
    /* two nodes: one step of c + 10 cycles less one, all-reduce two of them */
    CHECK_INT(hda_collective_schedule(&noc, HDA_COLL_ALL_GATHER, 2, 2, 16, messages), HDA_OK);
    CHECK_INT(run(&noc, messages, 4, &makespan), HDA_OK);
    CHECK_INT(makespan, 25);
    CHECK_INT(hda_collective_zero_load(&noc, HDA_COLL_ALL_GATHER, 2, 16), 25);
    CHECK_INT(hda_collective_schedule(&noc, HDA_COLL_ALL_REDUCE, 1, 2, 16, messages), HDA_OK);
    CHECK_INT(run(&noc, messages, 4, &makespan), HDA_OK);
    CHECK_INT(makespan, 2 * 26 - 1);
    CHECK_INT(hda_collective_zero_load(&noc, HDA_COLL_ALL_REDUCE, 2, 16), 2 * 26 - 1);
    /* the port of node 0 takes 3 * 16 flits; the neighbour's comes first: (4 - 1) * 16 + 9 */
    CHECK_INT(hda_collective_schedule(&noc, HDA_COLL_INCAST, 1, 4, 16, messages), HDA_OK);
    CHECK_INT(run(&noc, messages, 3, &makespan), HDA_OK);
    CHECK_INT(makespan, 57);
    CHECK_INT(hda_collective_zero_load(&noc, HDA_COLL_INCAST, 4, 16), 57);
    CHECK_INT(hda_collective_zero_load(&noc, HDA_COLL_INCAST, 1, 16), 0);
}

int main(void) {
    latency();
    refusals();
    collectives();
    return failures != 0;
}
