#include "attention.h"

int64_t hda_floor_sum(int64_t n, int64_t m, int64_t a, int64_t b) {
    int64_t sum = 0;
    while (n > 0) {
        sum += (n - 1) * n / 2 * (a / m) + n * (b / m);
        a %= m;
        b %= m;
        const int64_t top = a * n + b; /* the line's last value, now below (m + 1) * n */
        if (top < m) break;
        n = top / m;
        b = top % m;
        const int64_t swap = m;
        m = a;
        a = swap;
    }
    return sum;
}

int64_t hda_prefill_tiles(int64_t tokens, int64_t past, int64_t window, int64_t tile_tokens,
                          int64_t block) {
    if (tokens < 1) return 0;
    const int64_t tiles = hda_ceil_div(tokens, tile_tokens), whole = tiles - 1;
    if (window >= past + tokens) window = 0; /* cuts nothing */
    const int64_t reach = window > 0 ? window + tile_tokens - 1 : INT64_MAX;
    int64_t rising = whole; /* whole tiles whose reach the window does not cut */
    if (window > 0) {
        const int64_t room = reach - past - tile_tokens;
        rising = room < 0 ? 0 : hda_min64(whole, room / tile_tokens + 1);
    }
    int64_t sum = hda_floor_sum(rising, block, tile_tokens, past + tile_tokens + block - 1);
    if (rising < whole) sum += (whole - rising) * hda_ceil_div(reach, block);
    return sum + hda_ceil_div(hda_min64(past + tokens, reach), block);
}

double hda_prefill_pairs(int64_t tokens, int64_t past, int64_t window) {
    int64_t rising = tokens; /* queries that see their whole past */
    if (window > 0) rising = hda_min64(tokens, hda_max64(0, window - past));
    const double r = (double)rising;
    return r * (double)past + r * (r + 1.0) / 2.0 + (double)(tokens - rising) * (double)window;
}
