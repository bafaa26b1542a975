/* One scheduler's state: who had no room is asked again when a block becomes free or can be found. */
#include "check.h"
#include "serve_run.h"

/* Two prompts with the same first two blocks of 4, in 3 blocks: the second needs 3 of them, or 1 besides those of the first. */
static run_t run = {.input_len = {8, 9},
                    .output_len = {5, 1},
                    .hash_offsets = {0, 2, 4},
                    .hash_ids = {0, 1, 0, 1},
                    .slot = {-1, -1}};

static void start(hda_rank_t *rank) {
    hda_requests_t *requests = run_requests(&run, 2);
    requests->hash_ids = run.hash_ids;
    requests->hash_offsets = run.hash_offsets;
    requests->hash_block = 4;
    run.slot[0] = run.slot[1] = -1;
    run.out[0].scheduled = run.out[1].scheduled = -1;
    const hda_serve_config_t config = {.max_num_seqs = 2,
                                       .max_num_batched_tokens = 16,
                                       .block_size = 4,
                                       .block_count = 3,
                                       .chunked_prefill = 1,
                                       .prefix_caching = 1};
    CHECK_INT(hda_rank_init(rank, requests, &config, 0), HDA_OK);
    hda_rank_enqueue(rank, 0);
    hda_rank_enqueue(rank, 1);
    CHECK(hda_rank_admits(rank, 0, 8));
    CHECK_INT(hda_rank_admit(rank, 0, 8, 0.0), 0);
    CHECK_INT(rank->kv.free_count, 1);
    CHECK(!hda_rank_admits(rank, 1, 9)); /* the first has computed nothing yet */
    CHECK(!hda_rank_admits(rank, 1, 9));
    CHECK(hda_rank_admits(rank, 1, 4)); /* fewer blocks are another question */
}

static void found(void) {
    hda_rank_t rank;
    int32_t slots[2];
    uint8_t emits[2];
    int64_t q_len[2], past[2];
    hda_rank_batch_t batch = {slots, emits, q_len, past, 0, 0, 0, 0};
    start(&rank);
    CHECK(hda_rank_run(&rank, &batch, 0, 4));
    CHECK(!hda_rank_admits(&rank, 1, 9)); /* 3 - 1 of 1 */
    CHECK(hda_rank_run(&rank, &batch, 0, 4));
    CHECK(hda_rank_admits(&rank, 1, 9)); /* 3 - 2 of 1 */
    hda_rank_free(&rank);
}

static void freed(void) {
    hda_rank_t rank;
    start(&rank);
    hda_rank_preempt(&rank, 0);
    CHECK(hda_rank_admits(&rank, 1, 9));
    hda_rank_free(&rank);
}

int main(void) {
    found();
    freed();
    return failures != 0;
}
