/* Scheduling policies: which sequences compute how many tokens in the next step. They see one rank and use the functions of rank.h only.
 * hdasim/serving/policies.py has the same policies in Python, to read and to start one's own from.
 */
#ifndef HDA_POLICY_H
#define HDA_POLICY_H

#include "rank.h"

/* Fill an empty batch at time `now`. HDA_E_RANGE for HDA_POLICY_CUSTOM. */
hda_status_t hda_policy_schedule(hda_rank_t *rank, hda_rank_batch_t *batch, double now);

#endif
