# A device as operator tables (profile.h). Part of _core.pyx.

from libc.stdint cimport uint8_t

cdef extern from "profile.h":
    ctypedef struct hda_grid_t:
        int64_t counts[4]
        const double *axes
        const double *values
        const uint8_t *known
    ctypedef struct hda_outside_t:
        int64_t steps, place
        double value, most
    ctypedef struct hda_profile_t:
        int64_t rank_count, token_count, sequence_count, group_count, alpha_count
        const double *tokens
        const double *exchange
        const double *sequences
        const double *gather
        const double *group
        const double *alpha[2]
        hda_grid_t decode, mixed
        int32_t separate, extrapolate
        hda_outside_t *outside
    hda_status_t hda_profile_check(const hda_profile_t *)
    hda_status_t hda_profile_step(const hda_profile_t *, const hda_batch_t *, hda_step_t *) nogil


cdef class Profile:
    """A device as operator tables; keeps the arrays that C borrows.

    `tables` is a dict with the fields of hda_profile_t: arrays of float64, and for each grid (four axes, values, known as uint8).
    """

    cdef hda_profile_t profile
    cdef hda_outside_t left
    cdef object kept

    def __init__(self, tables, bint extrapolate=False):
        cdef hda_profile_t *p = &self.profile
        self.kept = []
        p.token_count, p.sequence_count = tables["tokens"].size, tables["sequences"].size
        p.rank_count = tables["rank_count"]
        p.group_count, p.alpha_count = tables["group"].size, tables["alpha"].shape[1]
        p.tokens, p.exchange = self._keep(tables["tokens"], 2), self._keep(tables["exchange"], p.token_count)
        p.sequences, p.gather = self._keep(tables["sequences"], 2), self._keep(tables["gather"], p.sequence_count)
        p.group = self._keep(tables["group"], 0)
        p.alpha[0] = self._keep(tables["alpha"], 2 * p.alpha_count)
        p.alpha[1] = p.alpha[0] + p.alpha_count
        p.decode, p.mixed = self._grid(tables["decode"]), self._grid(tables["mixed"])
        p.separate, p.extrapolate, p.outside = tables["separate"], extrapolate, &self.left
        _check(hda_profile_check(p))

    cdef const double *_keep(self, array, Py_ssize_t least) except? NULL:
        self.kept.append(array)
        return <const double *>_address(array, np.float64, least)

    cdef hda_grid_t _grid(self, grid) except *:
        cdef hda_grid_t result
        axes, values, known = grid
        for i in range(4):
            result.counts[i] = axes[i].size
        result.axes = self._keep(np.concatenate(axes), 4)
        result.values = self._keep(values, np.prod([axis.size for axis in axes]))
        self.kept.append(known)
        result.known = <const uint8_t *>_address(known, np.uint8, values.size)
        return result

    @property
    def outside(self):
        """(steps, place, value, most): how many steps lay outside the tables; of the first hda_outside_place_t, value and end."""
        return self.left.steps, self.left.place, self.left.value, self.left.most

    def step(self, q_len, past, int64_t emit_count, int64_t group_tokens=0):
        """The time of one step as a STEP record; q_len and past are int64 arrays, one entry per sequence.

        `group_tokens` of all data-parallel ranks that share experts, this one's included; 0: all have as many as this one. With
        them there may be no sequences.
        """
        step = np.zeros(1, layout.STEP)
        cdef hda_batch_t batch
        batch.sequence_count, batch.emit_count, batch.group_tokens = q_len.size, emit_count, group_tokens
        batch.q_len = <const int64_t *>_address(q_len, np.int64, 0 if group_tokens > 0 else 1)
        batch.past = <const int64_t *>_address(past, np.int64, q_len.size)
        cdef hda_step_t *step_data = <hda_step_t *>_address(step, layout.STEP)
        cdef int status
        with nogil:
            status = hda_profile_step(&self.profile, &batch, step_data)
        _check(status)
        return step[0]
