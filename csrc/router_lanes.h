/* The part of a cycle that is the same for all routers; see router_dense.h. Included once per instruction set, with
 *
 *     LANES     routers per vector
 *     NAME(x)   name of x for this instruction set
 *     TARGET    attribute of its functions
 */
#define lanes_t NAME(lanes)
#define FN TARGET static inline
#define EACH(i, set)                                                                            \
    for (uint32_t set_##i = (set), i = 0; set_##i && (i = (uint32_t)__builtin_ctz(set_##i), 1); \
         set_##i &= set_##i - 1)
/* Vectors of rows: of the block `b`, and of all routers. */
#define AT(row) (*(lanes_t *)((row) + at))
#define OF(rows, port) (*(lanes_t *)((rows) + (port) * d->width + base))

typedef uint8_t lanes_t __attribute__((vector_size(LANES), may_alias));

/* All ones where x is zero. */
FN lanes_t NAME(is_zero)(lanes_t x) { return (lanes_t)(x == (lanes_t){0}); }

FN int NAME(any)(lanes_t x) {
    uint64_t words[LANES / 8], all = 0;
    __builtin_memcpy(words, &x, sizeof words);
    for (size_t i = 0; i < LANES / 8; i++) all |= words[i];
    return all != 0;
}

/* The first member at or after the pointer, in a circle. */
FN lanes_t NAME(first)(lanes_t set, lanes_t turn) {
    const lanes_t upper = set & turn, some = upper | (set & NAME(is_zero)(upper));
    return some & -some;
}

/* The pointer moves behind the member picked, if any. */
FN lanes_t NAME(turn)(lanes_t turn, lanes_t pick) {
    return (turn & NAME(is_zero)(pick)) | (-pick ^ pick);
}

/* One-hot form of the number whose bits are those of `member` in `bits`. */
FN lanes_t NAME(one_hot)(row_t *bits, size_t at, lanes_t member) {
    return (NAME(is_zero)(member & AT(bits[0])) ^ ((lanes_t){0} + 0xaa)) &
           (NAME(is_zero)(member & AT(bits[1])) ^ ((lanes_t){0} + 0xcc)) &
           (NAME(is_zero)(member & AT(bits[2])) ^ ((lanes_t){0} + 0xf0));
}

FN void NAME(count_up)(row_t *counter, uint32_t bits, size_t at, lanes_t members) {
    for (uint32_t i = 0; i < bits; i++) {
        const lanes_t old = AT(counter[i]);
        AT(counter[i]) = old ^ members;
        members &= old;
    }
}

/* Returns the members whose counter is not zero afterwards. */
FN lanes_t NAME(count_down)(row_t *counter, uint32_t bits, size_t at, lanes_t members) {
    lanes_t some = {0};
    for (uint32_t i = 0; i < bits; i++) {
        const lanes_t new = AT(counter[i]) ^ members;
        AT(counter[i]) = new;
        members &= new;
        some |= new;
    }
    return some;
}

TARGET static void NAME(take_places)(dense_t *d, const uint8_t *places,
                                     const uint8_t *inject_places) {
    for (size_t base = 0; base < d->width; base += LANES) {
        block_t *b = &d->blocks[base / BLOCK];
        const size_t at = base % BLOCK;
        for (uint32_t out = 0; out < d->ports; out++) {
            const lanes_t more = OF(places, out), place = AT(b->place[out]);
            const lanes_t first = more & ~place & ~AT(b->free[out]);
            AT(b->place[out]) = place | more;
            NAME(count_up)(b->places[out], d->count_bits, at, more);
            const lanes_t channel =
                NAME(one_hot)(b->holder[out], at, first) & ~NAME(is_zero)(first);
            const lanes_t input = NAME(one_hot)(b->holder_input[out], at, first);
            EACH(in, d->inputs[out]) {
                AT(b->funded[in]) |= channel & ~NAME(is_zero)(input & AT(d->bit[in]));
            }
        }
        for (uint32_t port = d->first_node; port < d->ports; port++) {
            const lanes_t more = OF(inject_places, port);
            const lanes_t place = AT(b->inject_place[port]) | more;
            AT(b->inject_place[port]) = place;
            NAME(count_up)(b->inject_places[port], d->count_bits, at, more);
            OF(d->begin, port) =
                place & AT(b->queued[port]) & NAME(is_zero)(AT(b->injecting[port]));
        }
    }
}

TARGET static int NAME(take_flits)(dense_t *d, const uint8_t *arrivals, uint8_t *injected,
                                   uint8_t *heads) {
    lanes_t moved = {0};
    for (size_t base = 0; base < d->width; base += LANES) {
        block_t *b = &d->blocks[base / BLOCK];
        const size_t at = base % BLOCK;
        for (uint32_t port = d->first_node; port < d->ports; port++) {
            const lanes_t flit = AT(b->injecting[port]) & AT(b->inject_place[port]);
            moved |= flit;
            OF(injected, port) = (OF(injected, port) & ~AT(b->node[port])) | flit;
            AT(b->inject_place[port]) =
                NAME(count_down)(b->inject_places[port], d->count_bits, at, flit);
            const lanes_t left = NAME(count_down)(b->inject_left[port], d->left_bits, at, flit);
            AT(b->injecting[port]) &= left | ~flit;
        }
        for (uint32_t in = 0; in < d->ports; in++) {
            const lanes_t flit = OF(arrivals, in), idle = AT(b->idle[in]);
            OF(heads, in) |= flit & idle;
            AT(b->idle[in]) = idle & ~flit;
            AT(b->have[in]) |= flit;
            NAME(count_up)(b->stored[in], d->count_bits, at, flit);
        }
    }
    return NAME(any)(moved);
}

/* back[i]: those j of pairs[i] whose sets[j] has i. */
FN void NAME(transpose)(dense_t *d, const uint8_t *pairs, size_t at, const lanes_t *sets,
                        lanes_t *back) {
    for (uint32_t i = 0; i < d->ports; i++) {
        lanes_t all = {0};
        EACH(j, pairs[i]) { all |= AT(d->bit[j]) & ~NAME(is_zero)(sets[j] & AT(d->bit[i])); }
        back[i] = all;
    }
}

/* An iteration of iSLIP: outputs grant to one input each, which accept one of them. */
FN void NAME(iterate)(dense_t *d, block_t *b, size_t at, const lanes_t *request, lanes_t *accept) {
    lanes_t grant[PORTS], offer[PORTS];
    for (uint32_t out = 0; out < d->ports; out++)
        grant[out] = NAME(first)(request[out], AT(b->turn_input[out]));
    NAME(transpose)(d, d->outputs, at, grant, offer);
    for (uint32_t in = 0; in < d->ports; in++)
        accept[in] = NAME(first)(offer[in], AT(b->turn_output[in]));
}

/* Two iterations; pointers move in the first only. match[input]: the output that it may send to. */
FN void NAME(allocate)(dense_t *d, block_t *b, size_t at, lanes_t *match) {
    lanes_t busy = {0}, request[PORTS], from[PORTS], second[PORTS];
    for (uint32_t out = 0; out < d->ports; out++) request[out] = (lanes_t){0};
    for (uint32_t in = 0; in < d->ports; in++) {
        const lanes_t ready = AT(b->have[in]) & AT(b->funded[in]);
        EACH(out, d->outputs[in]) {
            request[out] |= AT(d->bit[in]) & ~NAME(is_zero)(AT(b->want[in][out]) & ready);
        }
    }
    NAME(iterate)(d, b, at, request, match);
    NAME(transpose)(d, d->inputs, at, match, from);
    for (uint32_t in = 0; in < d->ports; in++) {
        AT(b->turn_output[in]) = NAME(turn)(AT(b->turn_output[in]), match[in]);
        busy |= AT(d->bit[in]) & ~NAME(is_zero)(match[in]);
    }
    for (uint32_t out = 0; out < d->ports; out++) {
        AT(b->turn_input[out]) = NAME(turn)(AT(b->turn_input[out]), from[out]);
        request[out] &= ~busy & NAME(is_zero)(from[out]);
    }
    NAME(iterate)(d, b, at, request, second);
    for (uint32_t in = 0; in < d->ports; in++) match[in] |= second[in];
}

TARGET static int NAME(send_flits)(dense_t *d, uint8_t *heads, uint8_t *places,
                                   uint8_t *inject_places) {
    const lanes_t zero = {0};
    lanes_t moved = zero;
    for (size_t base = 0; base < d->width; base += LANES) {
        block_t *b = &d->blocks[base / BLOCK];
        const size_t at = base % BLOCK;
        lanes_t match[PORTS], sent[PORTS], freed[PORTS], scarce[PORTS];
        NAME(allocate)(d, b, at, match);
        for (uint32_t out = 0; out < d->ports; out++) {
            lanes_t more = zero; /* channels with two places or more */
            for (uint32_t i = 1; i < d->count_bits; i++) more |= AT(b->places[out][i]);
            scarce[out] = ~more;
            sent[out] = freed[out] = zero;
        }
        for (uint32_t in = 0; in < d->ports; in++) {
            const lanes_t ready = AT(b->have[in]) & AT(b->funded[in]);
            lanes_t matched = zero;
            EACH(out, d->outputs[in]) {
                matched |= AT(b->want[in][out]) & ~NAME(is_zero)(match[in] & AT(d->bit[out]));
            }
            const lanes_t flit = NAME(first)(matched & ready, AT(b->turn_channel[in]));
            AT(b->turn_channel[in]) = NAME(turn)(AT(b->turn_channel[in]), flit);
            const lanes_t have = NAME(count_down)(b->stored[in], d->count_bits, at, flit);
            const lanes_t left = NAME(count_down)(b->left[in], d->left_bits, at, flit);
            const lanes_t tail = flit & ~left;
            const lanes_t next = NAME(one_hot)(b->next[in], at, flit);
            const lanes_t done = next & ~NAME(is_zero)(tail);
            lanes_t last = zero; /* places of the output that are the last of their channel */
            EACH(out, d->outputs[in]) {
                const lanes_t here = ~NAME(is_zero)(match[in] & AT(d->bit[out]));
                sent[out] |= next & here;
                freed[out] |= done & here;
                last |= scarce[out] & here;
                AT(b->want[in][out]) &= ~tail;
            }
            AT(b->funded[in]) &= ~flit | NAME(is_zero)(next & last);
            AT(b->have[in]) = have;
            AT(b->idle[in]) |= tail & ~have;
            OF(heads, in) |= tail & have;
            OF(d->taken, in) = flit;
            moved |= flit;
        }
        for (uint32_t out = 0; out < d->ports; out++) {
            const lanes_t place = NAME(count_down)(b->places[out], d->count_bits, at, sent[out]);
            AT(b->place[out]) = place;
            AT(b->free[out]) |= freed[out];
            OF(d->open, 0) |= AT(d->bit[out]) & ~NAME(is_zero)(freed[out]);
            OF(d->sent, out) = sent[out];
        }
        for (uint32_t port = d->first_node; port < d->ports; port++) {
            const lanes_t node = AT(b->node[port]);
            OF(d->ejected, port) = freed[port] & node;
            OF(places, port) = (OF(places, port) & ~node) | (sent[port] & node);
            OF(inject_places, port) = OF(d->taken, port) & node;
        }
    }
    return NAME(any)(moved);
}

static const kernels_t NAME(kernels) = {NAME(take_places), NAME(take_flits), NAME(send_flits)};

#undef lanes_t
#undef FN
#undef EACH
#undef AT
#undef OF
