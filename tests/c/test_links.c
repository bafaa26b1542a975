/* Links between devices: times by hand, queues, both ways of forwarding, and every refusal. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "links.h"

/* Three devices at switch 3: link 2 i leads up from i (100 ps), link 2 i + 1 down to i (50 ps); a byte takes 1 ps. */
enum { DEVICES = 3, NODES = 4, LINKS = 6 };
static int64_t link_to[LINKS], next_link[NODES * NODES], latency[LINKS], done[8];
static double bandwidth[LINKS];

static hda_links_t star(int store_and_forward) {
    for (int64_t a = 0; a < NODES; a++)
        for (int64_t b = 0; b < NODES; b++)
            next_link[a * NODES + b] = a == b ? -1 : a == DEVICES ? 2 * b + 1 : 2 * a;
    for (int64_t i = 0; i < LINKS; i++) {
        link_to[i] = i % 2 ? i / 2 : DEVICES;
        latency[i] = i % 2 ? 50 : 100;
        bandwidth[i] = 1e12;
    }
    return (hda_links_t){DEVICES,   NODES,     LINKS,   link_to,
                         next_link, bandwidth, latency, store_and_forward};
}

static const int64_t deps[3] = {0, 1, 2};

static hda_status_t run(const hda_links_t *links, const hda_message_t *messages, int64_t count) {
    int64_t makespan = -1, last = 0;
    memset(done, -1, sizeof done);
    const hda_status_t status = hda_links_run(links, messages, count, deps, 3, done, &makespan);
    if (status != HDA_OK) return status;
    for (int64_t i = 0; i < count; i++) last = hda_max64(last, done[i]);
    CHECK_INT(makespan, last);
    return status;
}

static void expect(const hda_links_t *links, const hda_message_t *messages, int64_t count,
                   const int64_t *times) {
    CHECK_INT(run(links, messages, count), HDA_OK);
    for (int64_t i = 0; i < count; i++) CHECK_INT(done[i], times[i]);
}

static void one_message(void) {
    const hda_message_t far = {0, 1, 1000, 0, 0, 0}, later = {0, 1, 1000, 30, 0, 0};
    hda_links_t links = star(1);
    expect(&links, NULL, 0, NULL);
    /* all of it is at the switch after 1000 + 100, and at device 1 after 1000 + 50 more */
    expect(&links, &far, 1, (int64_t[]){2150});
    expect(&links, &later, 1, (int64_t[]){2180});
    links = star(0); /* its first byte leaves the switch as it arrives, at 100 */
    expect(&links, &far, 1, (int64_t[]){1150});
    expect(&links, &later, 1, (int64_t[]){1180});
    bandwidth[3] = 0.5e12; /* the slower link sets the pace: 100 + 2000 + 50 */
    expect(&links, &far, 1, (int64_t[]){2150});
    bandwidth[3] =
        2e12; /* the faster one cannot be ahead of its input: the last byte leaves the switch at 1100 */
    expect(&links, &far, 1, (int64_t[]){1150});
    links = star(1);
    bandwidth[3] = 2e12; /* 1100 + 500 + 50 */
    expect(&links, &far, 1, (int64_t[]){1650});
    bandwidth[3] = 3e12; /* 1100 + 333.3 + 50, of which no part of a picosecond is lost */
    expect(&links, &far, 1, (int64_t[]){1484});
}

/* What reaches a link first is carried first, then what stands first in the list. */
static void shared_links(void) {
    const hda_message_t own[2] = {{0, 1, 1000, 0, 0, 0}, {0, 2, 300, 0, 0, 0}};
    const hda_message_t two[2] = {{0, 2, 1000, 0, 0, 0}, {1, 2, 500, 10, 0, 0}};
    const hda_message_t swapped[2] = {{0, 2, 1000, 10, 0, 0}, {1, 2, 500, 0, 0, 0}};
    const hda_message_t tie[2] = {{0, 2, 1000, 0, 0, 0}, {1, 2, 500, 0, 0, 0}};
    const hda_message_t apart[2] = {{0, 1, 1000, 0, 0, 0}, {1, 0, 1000, 0, 0, 0}};
    hda_links_t links = star(0);
    /* the second waits 1000 at its first link: 1000 + 300 + 150 */
    expect(&links, own, 2, (int64_t[]){1150, 1450});
    /* the link down is busy from 100 to 1100, then with the 500 bytes that came at 110 */
    expect(&links, two, 2, (int64_t[]){1150, 1650});
    expect(&links, swapped, 2, (int64_t[]){1650, 650});
    expect(&links, tie, 2, (int64_t[]){1150, 1650});
    expect(&links, apart, 2, (int64_t[]){1150, 1150});
    links = star(1);
    expect(&links, own, 2, (int64_t[]){2150, 1300 + 100 + 300 + 50}); /* down another link */
    /* the shorter is at the switch at 610 and down at 1110, the longer, there at 1100, follows it */
    expect(&links, two, 2, (int64_t[]){2160, 1160});
}

static void dependencies(void) {
    hda_links_t links = star(0);
    /* ready a picosecond after receipt, or as many as its delay says; each takes 1150 */
    const hda_message_t chain[3] = {
        {0, 1, 1000, 0, 0, 0}, {1, 2, 1000, 0, 0, 1}, {2, 0, 1000, 7, 1, 1}};
    expect(&links, chain, 3, (int64_t[]){1150, 2301, 2301 + 7 + 1150});
    /* a join is done with the last of its two */
    const hda_message_t join[4] = {
        {0, 1, 1000, 0, 0, 0}, {2, 1, 10, 5000, 0, 0}, {1, 1, 0, 0, 0, 2}, {1, 0, 1, 0, 2, 1}};
    expect(&links, join, 4, (int64_t[]){1150, 5160, 5160, 5161 + 151});
    const hda_message_t self = {0, 1, 1, 0, 0, 1};
    CHECK_INT(run(&links, &self, 1), HDA_E_DEADLOCK);
    const hda_message_t circle[2] = {{0, 1, 1, 0, 1, 1}, {1, 0, 1, 0, 0, 1}};
    CHECK_INT(run(&links, circle, 2), HDA_E_DEADLOCK);
}

/* Devices forward too: a ring of three, one way. */
static void ring(void) {
    int64_t to[3] = {1, 2, 0}, next[9], slow[3] = {10, 20, 40};
    double rate[3] = {1e12, 1e12, 1e12};
    for (int64_t i = 0; i < 9; i++) next[i] = i / 3 == i % 3 ? -1 : i / 3;
    hda_links_t links = {3, 3, 3, to, next, rate, slow, 0};
    const hda_message_t two[2] = {{0, 2, 100, 0, 0, 0}, {1, 2, 100, 0, 0, 0}};
    /* link 1 is busy with the second until 100; the first has been there since 10 */
    expect(&links, two, 2, (int64_t[]){100 + 100 + 20, 120});
    links.store_and_forward = 1; /* now it is not there before 110 */
    expect(&links, two, 2, (int64_t[]){110 + 100 + 20, 120});
}

static void refused_messages(void) {
    hda_links_t links = star(0);
    const int64_t most = (int64_t)1 << 40;
    const hda_message_t bad[] = {
        {0, 0, 1, 0, 0, 0},        {0, 1, 0, 0, 0, 0},         {0, 1, -1, 0, 0, 0},
        {0, 1, 1, -1, 0, 0},       {0, DEVICES, 1, 0, 0, 0},   {DEVICES, 0, 1, 0, 0, 0},
        {-1, 0, 1, 0, 0, 0},       {0, -1, 1, 0, 0, 0},        {0, 1, 1, 0, -1, 1},
        {0, 1, 1, 0, 0, -1},       {0, 1, 1, 0, 3, 1},         {0, 1, 1, 0, 0, 4},
        {0, 1, 1, 0, 2, 1},        {0, 1, most + 1, 0, 0, 0},  {0, 1, 1, most + 1, 0, 0},
        {0, 0, 0, 0, 0, 0},        {INT64_MAX, 0, 1, 0, 0, 0}, {0, 1, INT64_MAX, 0, 0, 0},
        {0, 1, 1, 0, INT64_MAX, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(run(&links, &bad[i], 1), HDA_E_RANGE);
    CHECK_INT(run(&links, bad, -1), HDA_E_RANGE);
    const hda_message_t far = {0, 1, most, most, 0, 0};
    expect(&links, &far, 1, (int64_t[]){2 * most + 150});
    bandwidth[3] = 1e5; /* 2^40 bytes x 10^7 ps */
    CHECK_INT(run(&links, &far, 1), HDA_E_OVERFLOW);
    bandwidth[3] = 5e-324;
    CHECK_INT(run(&links, &far, 1), HDA_E_OVERFLOW);
    links = star(0);
    next_link[0 * NODES + 1] = -1; /* the route ends */
    CHECK_INT(run(&links, &far, 1), HDA_E_ROUTE);
    links = star(0);
    next_link[DEVICES * NODES + 1] = 1; /* and goes back to where it came from */
    CHECK_INT(run(&links, &far, 1), HDA_E_ROUTE);
}

static void refused_links(void) {
#define REFUSE(change)                                   \
    do {                                                 \
        hda_links_t links = star(0);                     \
        const hda_message_t far = {0, 1, 1, 0, 0, 0};    \
        CHECK_INT(hda_links_check(&links), HDA_OK);      \
        change;                                          \
        CHECK_INT(hda_links_check(&links), HDA_E_RANGE); \
        CHECK_INT(run(&links, &far, 1), HDA_E_RANGE);    \
    } while (0)
    REFUSE(links.device_count = 0);
    REFUSE(links.device_count = NODES + 1);
    REFUSE(links.node_count = 2);
    REFUSE(links.link_count = -1);
    REFUSE(links.link_count = 5); /* a route leads over the sixth */
    REFUSE(link_to[2] = -1);
    REFUSE(link_to[2] = NODES);
    REFUSE(next_link[3] = -2);
    REFUSE(next_link[3] = LINKS);
    REFUSE(bandwidth[5] = 0);
    REFUSE(bandwidth[5] = -1);
    REFUSE(bandwidth[5] = NAN);
    REFUSE(bandwidth[5] = INFINITY);
    REFUSE(latency[0] = -1);
    REFUSE(latency[0] = ((int64_t)1 << 50) + 1);
}

int main(void) {
    one_message();
    shared_links();
    dependencies();
    ring();
    refused_messages();
    refused_links();
    return failures != 0;
}
