#include "messages.h"

#include <stdlib.h>

static int before(ready_t a, ready_t b) {
    return a.time < b.time || (a.time == b.time && a.index < b.index);
}

void queue_push(queue_t *queue, ready_t item) {
    int64_t i = queue->count++;
    for (; i > 0 && before(item, queue->items[(i - 1) / 2]); i = (i - 1) / 2)
        queue->items[i] = queue->items[(i - 1) / 2];
    queue->items[i] = item;
}

ready_t queue_pop(queue_t *queue) {
    ready_t *heap = queue->items;
    const int64_t count = --queue->count;
    const ready_t top = heap[0], last = heap[count];
    int64_t i = 0;
    for (int64_t child = 1; child < count; child = 2 * i + 1) {
        if (child + 1 < count && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], last)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

static int is_join(const hda_message_t *m) { return m->flits == 0; }

static int bad_message(const hda_message_t *m, int64_t dep_count, int64_t node_count) {
    const int64_t longest = (int64_t)1 << 40;
    if (m->source < 0 || m->target < 0 || m->source >= node_count || m->target >= node_count ||
        m->flits < 0 || m->flits > longest || m->delay < 0 || m->delay > longest)
        return 1;
    if ((m->source == m->target) != is_join(m)) return 1;
    return m->first < 0 || m->count < 0 || m->first > dep_count || m->count > dep_count - m->first;
}

hda_status_t dag_create(dag_t *dag, const hda_message_t *messages, int64_t count,
                        const int64_t *deps, int64_t dep_count, int64_t node_count, int64_t *done) {
    *dag = (dag_t){.messages = messages, .count = count, .done = done};
    if (count < 0 || dep_count < 0) return HDA_E_RANGE;
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        if (bad_message(&messages[i], dep_count, node_count)) return HDA_E_RANGE;
        total += messages[i].count;
        for (int64_t d = 0; d < messages[i].count; d++)
            if (deps[messages[i].first + d] < 0 || deps[messages[i].first + d] >= count)
                return HDA_E_RANGE;
    }
    const size_t n = (size_t)count;
    dag->first_user = calloc(4 * n + 1 + (size_t)total, sizeof(int64_t));
    dag->ready.items = malloc((n + 1) * sizeof(ready_t));
    if (dag->first_user == NULL || dag->ready.items == NULL) return HDA_E_MEMORY;
    dag->pending = dag->first_user + n + 1;
    dag->latest = dag->pending + n;
    dag->stack = dag->latest + n;
    dag->users = dag->stack + n;
    for (int64_t i = 0; i < count; i++)
        for (int64_t d = 0; d < messages[i].count; d++)
            dag->first_user[deps[messages[i].first + d]]++;
    for (int64_t i = 0, sum = 0; i <= count; i++) { /* ends of the lists, walked backwards below */
        sum += i < count ? dag->first_user[i] : 0;
        dag->first_user[i] = sum;
    }
    for (int64_t i = count - 1; i >= 0; i--) {
        dag->pending[i] = messages[i].count;
        for (int64_t d = 0; d < messages[i].count; d++)
            dag->users[--dag->first_user[deps[messages[i].first + d]]] = i;
    }
    for (int64_t i = 0; i < count; i++) {
        if (messages[i].count > 0) continue;
        if (is_join(&messages[i])) return HDA_E_RANGE;
        queue_push(&dag->ready, (ready_t){messages[i].delay, i});
    }
    return HDA_OK;
}

void dag_free(dag_t *dag) {
    free(dag->first_user);
    free(dag->ready.items);
}

void dag_finish(dag_t *dag, int64_t index, int64_t time) {
    int64_t depth = 0;
    dag->stack[depth++] = index;
    dag->latest[index] = time;
    while (depth > 0) { /* a join is done at once, and so may be others behind it */
        const int64_t i = dag->stack[--depth];
        const int64_t end = dag->latest[i];
        dag->done[i] = end;
        dag->makespan = hda_max64(dag->makespan, end);
        dag->finished++;
        for (int64_t u = dag->first_user[i]; u < dag->first_user[i + 1]; u++) {
            const int64_t user = dag->users[u];
            dag->latest[user] = hda_max64(dag->latest[user], end);
            if (--dag->pending[user] > 0) continue;
            const hda_message_t *m = &dag->messages[user];
            if (is_join(m))
                dag->stack[depth++] = user;
            else
                queue_push(&dag->ready,
                           (ready_t){dag->latest[user] + hda_max64(1, m->delay), user});
        }
    }
}
