# Serving: the event loop of serve.h, and the view of a scheduler that a policy written in Python gets. Part of _core.pyx.

cdef extern from "serve.h":
    ctypedef struct hda_serve_config_t:
        int64_t max_num_seqs, max_num_batched_tokens, block_size, block_count
        int32_t chunked_prefill, prefix_caching, async_scheduling, reserve_full_prompt, policy
        double host_overhead
    ctypedef struct hda_requests_t:
        int64_t count
        const double *arrival
        const int64_t *input_len
        const int64_t *output_len
        const int64_t *parent
        const int64_t *hash_ids
        const int64_t *hash_offsets
        int64_t hash_block
        int32_t hash_outputs
        hda_request_t *out
        int32_t *next
        int32_t *slot
    ctypedef struct hda_kv_t:
        int64_t block_count, free_count
    ctypedef struct hda_sequence_t:
        int64_t request, input_len, output_len, generated, computed
        int16_t phase
    ctypedef struct hda_rank_batch_t:
        int64_t prefill_tokens, decode_tokens
    ctypedef struct hda_rank_t:
        hda_requests_t *requests
        hda_serve_config_t config
        hda_kv_t kv
        hda_sequence_t *sequences
        int64_t slot_count
        int32_t *running
        int64_t running_count, running_capacity, waiting_count
        int32_t waiting_first, index
    ctypedef struct hda_instance_t:
        hda_program_t *const *programs
        const hda_profile_t *profile
        int64_t program_count, rank_count, device_count
        hda_serve_config_t config
        int32_t role
        double kv_bytes, kv_bandwidth, kv_latency, kv_overlap
    ctypedef struct hda_serve_t:
        pass
    ctypedef hda_status_t (*hda_custom_policy_t)(void *, hda_rank_t *, hda_rank_batch_t *, double) noexcept nogil
    int64_t hda_rank_stop(const hda_rank_t *, int64_t)
    int64_t hda_rank_ready(const hda_rank_t *, const hda_sequence_t *)
    int64_t hda_rank_length(const hda_rank_t *, int64_t)
    int64_t hda_rank_cached(const hda_rank_t *, int64_t)
    int hda_rank_admits(hda_rank_t *, int64_t, int64_t)
    int32_t hda_rank_admit(hda_rank_t *, int64_t, int64_t, double)
    int hda_rank_run(hda_rank_t *, hda_rank_batch_t *, int32_t, int64_t)
    void hda_rank_preempt(hda_rank_t *, int64_t)
    hda_status_t hda_serve_create(const hda_instance_t *, int64_t, int32_t, hda_requests_t *, hda_custom_policy_t, void *,
                                  hda_serve_t **)
    void hda_serve_destroy(hda_serve_t *)
    int64_t hda_serve_most_gaps(const hda_serve_t *)
    hda_status_t hda_serve_run(hda_serve_t *, int64_t, hda_step_record_t *, int64_t *, int64_t, hda_gap_t *, int64_t *) nogil
    void hda_serve_snapshot(hda_serve_t *)
    void hda_serve_progress(const hda_serve_t *, int64_t *, double *)
    void hda_serve_totals(const hda_serve_t *, hda_instance_totals_t *)
    void hda_serve_busy(const hda_serve_t *, int64_t, double *)


cdef class Scheduler:
    """What a policy sees while it fills the next batch of one rank (`hdasim.serving.policies` says how to write one).

    It is good for the call of `schedule` that it was given to, and raises ValueError afterwards. Requests are numbers: rows of
    the trace, from 0.

    Attributes
    ----------
    now
        Seconds on the simulation's clock.
    rank
        Number of the rank among those of all instances.
    max_num_seqs, block_size, block_count, chunked_prefill, reserve_full_prompt
        Of the serving specification; `max_num_seqs` no more than there are requests, `block_count` the KV blocks of the rank.
    """

    cdef hda_rank_t *rank_
    cdef hda_rank_batch_t *batch
    cdef set scheduled
    cdef readonly double now
    cdef readonly int64_t rank, max_num_seqs, block_size, block_count
    cdef readonly bint chunked_prefill, reserve_full_prompt

    @property
    def budget(self):
        """Tokens that still fit into the batch (max_num_batched_tokens less those scheduled)."""
        return self._alive().config.max_num_batched_tokens - self.batch.prefill_tokens - self.batch.decode_tokens

    @property
    def free_blocks(self):
        """KV blocks that no running sequence holds."""
        return self._alive().kv.free_count

    def running(self):
        """Running requests in the order of their admission."""
        cdef hda_rank_t *rank = self._alive()
        return [rank.sequences[rank.running[i]].request for i in range(rank.running_count)]

    def waiting(self):
        """Requests in the queue, the first first; preempted ones return to its head."""
        cdef int32_t at = self._alive().waiting_first, after
        while at >= 0:
            after = self._alive().requests.next[at]
            yield at
            at = after

    def running_count(self):
        """How many `running` has."""
        return self._alive().running_count

    def waiting_count(self):
        """How many `waiting` yields."""
        return self._alive().waiting_count

    def input_len(self, int64_t request):
        """Tokens of the prompt."""
        return self._alive().requests.input_len[self._known(request)]

    def output_len(self, int64_t request):
        """Tokens that the request will generate here: all, or one where others decode (a real scheduler does not know)."""
        return hda_rank_stop(self._alive(), self._known(request))

    def length(self, int64_t request):
        """Tokens of the prompt and those generated so far."""
        return hda_rank_length(self._alive(), self._here(request))

    def cached(self, int64_t request):
        """Tokens at its start that the prefix cache holds, of a request in the queue."""
        return hda_rank_cached(self._alive(), self._here(request))

    def computed(self, int64_t request):
        """Tokens whose keys and values are there when all batches in flight have ended, of a running request."""
        return self._running(request).computed

    def ready(self, int64_t request):
        """New tokens that a running request could compute now."""
        return hda_rank_ready(self._alive(), self._running(request))

    def admits(self, int64_t request, int64_t tokens):
        """Whether a request in the queue could be admitted: a sequence more may run, and KV blocks for `tokens` are free."""
        return bool(hda_rank_admits(self._alive(), self._here(request), tokens))

    def admit(self, int64_t request, int64_t tokens=0):
        """Let a request of the queue run, with KV blocks for `tokens` of it (0: as it computes). False if `admits` is."""
        if self._here(request) not in self.waiting():
            raise ValueError(f"admit: request {request} is not in the queue")
        if not hda_rank_admits(self.rank_, request, max(tokens, 1)):
            return False
        if hda_rank_admit(self.rank_, request, tokens, self.now) < 0:
            raise MemoryError
        return True

    def run(self, int64_t request, int64_t tokens):
        """Put the next `tokens` of a running request into the batch. False, and nothing has changed, if blocks are missing."""
        ready = self.ready(request)
        if request in self.scheduled:
            raise ValueError(f"run: request {request} is in this batch already")
        if not 1 <= tokens <= ready:
            raise ValueError(f"run: request {request} has {ready} tokens ready, got {tokens}")
        if tokens > self.budget:
            raise ValueError(f"run: {tokens} tokens of request {request} exceed the budget of {self.budget}")
        if not hda_rank_run(self.rank_, self.batch, self.rank_.requests.slot[request], tokens):
            return False
        self.scheduled.add(request)
        return True

    def preempt(self, int64_t request):
        """Send a running request back to the head of the queue; its KV blocks are free, and it is computed again."""
        if request in self.scheduled:
            raise ValueError(f"preempt: request {request} is in this batch")
        place = self.running().index(self._running(request).request)
        hda_rank_preempt(self.rank_, place)

    cdef hda_rank_t *_alive(self) except NULL:
        if self.rank_ == NULL:
            raise ValueError("a scheduler is good for one call of schedule() only; do not keep it")
        return self.rank_

    cdef int64_t _known(self, int64_t request) except -1:
        if not 0 <= request < self._alive().requests.count:
            raise ValueError(f"no request {request}; expected one of running() or waiting()")
        return request

    cdef int64_t _here(self, int64_t request) except -1:
        """Known, and not a sequence of another rank: its slot means nothing here."""
        cdef int32_t slot = self.rank_.requests.slot[self._known(request)]
        if slot >= 0 and (slot >= self.rank_.slot_count or self.rank_.sequences[slot].request != request):
            raise ValueError(f"request {request} is at another rank; expected one of running() or waiting()")
        return request

    cdef hda_sequence_t *_running(self, int64_t request) except NULL:
        cdef int32_t slot = self.rank_.requests.slot[self._known(request)]
        if (slot < 0 or slot >= self.rank_.slot_count or self.rank_.sequences[slot].phase != 1
                or self.rank_.sequences[slot].request != request):
            raise ValueError(f"request {request} is not running; expected one of running()")
        return &self.rank_.sequences[slot]


cdef hda_status_t _schedule(void *context, hda_rank_t *rank, hda_rank_batch_t *batch, double now) noexcept with gil:
    cdef Serve serve = <Serve>context
    cdef Scheduler scheduler = Scheduler.__new__(Scheduler)
    scheduler.rank_, scheduler.batch, scheduler.now, scheduler.scheduled = rank, batch, now, set()
    scheduler.rank, scheduler.max_num_seqs, scheduler.block_size = rank.index, rank.running_capacity, rank.config.block_size
    scheduler.block_count, scheduler.chunked_prefill = rank.config.block_count, rank.config.chunked_prefill
    scheduler.reserve_full_prompt = rank.config.reserve_full_prompt
    try:
        serve.policies[rank.index].schedule(scheduler)
    except BaseException as error:
        serve.error = error
        return HDA_E_STOPPED
    finally:
        scheduler.rank_ = NULL
    return 0


cdef class Serve:
    """The serving loop; see serve.h.

    Parameters
    ----------
    instances
        Dictionaries of the fields of hda_instance_t and hda_serve_config_t in one; `programs` is a list of `Program`, empty with
        a `profile` (`Profile`), and an entry `custom` is a list with a policy object for each rank.
    arrival, input_len, output_len
        float64 and int64 arrays of one entry per request.
    parent, hash_ids, hash_offsets
        int64 arrays or None.
    """

    cdef hda_serve_t *handle
    cdef hda_requests_t requests_
    cdef object kept, instances, policies
    cdef readonly object outcomes, error

    def __init__(self, instances, int32_t router, arrival, input_len, output_len, parent=None, hash_ids=None, hash_offsets=None,
                 int64_t hash_block=0, bint hash_outputs=False):
        cdef int64_t count = arrival.size
        cdef hda_requests_t *r = &self.requests_
        self.outcomes = np.zeros(count, layout.REQUEST)
        links = np.zeros((2, count), np.int32)
        self.kept = [arrival, input_len, output_len, parent, hash_ids, hash_offsets, links]
        r.count = count
        r.arrival = <const double *>_address(arrival, np.float64, 1)
        r.input_len = <const int64_t *>_address(input_len, np.int64, count)
        r.output_len = <const int64_t *>_address(output_len, np.int64, count)
        r.parent = NULL if parent is None else <const int64_t *>_address(parent, np.int64, count)
        r.hash_offsets = r.hash_ids = NULL
        if hash_offsets is not None:
            r.hash_offsets = <const int64_t *>_address(hash_offsets, np.int64, count + 1)
            r.hash_ids = <const int64_t *>_address(hash_ids, np.int64, hash_offsets[count])
            if hash_offsets[0] != 0 or (np.diff(hash_offsets) < 0).any():
                raise CoreError("hash_offsets must rise from 0")
            if hash_ids.size and not 0 <= int(hash_ids.min()) <= int(hash_ids.max()) < 2**40:
                raise CoreError("hash_ids must be from 0 to 2^40 - 1")
        r.hash_block, r.hash_outputs = hash_block, hash_outputs
        r.out = <hda_request_t *>_address(self.outcomes, layout.REQUEST)
        r.next = <int32_t *>_address(links[0], np.int32)
        r.slot = <int32_t *>_address(links[1], np.int32)
        self.instances, self.policies = list(instances), []
        self._create(router)

    cdef int _create(self, int32_t router) except -1:
        cdef Program program
        cdef Profile profile
        cdef hda_serve_config_t *config
        cdef hda_instance_t *spec
        specs = np.zeros(len(self.instances) * sizeof(hda_instance_t), np.uint8)
        cdef hda_instance_t *all = <hda_instance_t *>_address(specs, np.uint8, 1)
        for i, instance in enumerate(self.instances):
            spec, handles = &all[i], np.zeros(len(instance["programs"]), np.uintp)
            for j, program in enumerate(instance["programs"]):
                handles[j] = <size_t>program.handle
            self.kept.append((handles, list(instance["programs"])))
            spec.profile, spec.programs, spec.program_count = NULL, NULL, 1
            if instance.get("profile") is not None:
                profile = instance["profile"]
                spec.profile = &profile.profile
            else:
                spec.programs, spec.program_count = <hda_program_t *const *>_address(handles, np.uintp, 1), handles.size
            spec.rank_count, spec.device_count = instance["rank_count"], instance.get("device_count", 1)
            spec.role, spec.kv_bytes, spec.kv_bandwidth = instance["role"], instance["kv_bytes"], instance["kv_bandwidth"]
            spec.kv_latency, spec.kv_overlap = instance["kv_latency"], instance["kv_overlap"]
            config = &spec.config
            config.max_num_seqs, config.max_num_batched_tokens = instance["max_num_seqs"], instance["max_num_batched_tokens"]
            config.block_size, config.block_count = instance["block_size"], instance["block_count"]
            config.chunked_prefill, config.prefix_caching = instance["chunked_prefill"], instance["prefix_caching"]
            config.async_scheduling = instance["async_scheduling"]
            config.reserve_full_prompt, config.policy = instance["reserve_full_prompt"], instance["policy"]
            config.host_overhead = instance["host_overhead"]
            self.policies += instance.get("custom") or [None] * spec.rank_count
        _check(hda_serve_create(all, len(self.instances), router, &self.requests_, _schedule, <void *>self, &self.handle))
        return 0

    def __dealloc__(self):
        hda_serve_destroy(self.handle)

    def run(self, int64_t step_capacity, bint keep_steps=True):
        """Execute up to `step_capacity` steps: (how many, STEP_RECORD array or None, GAP array); 0 steps when all is done."""
        cdef int64_t gap_capacity = hda_serve_most_gaps(self.handle) + 4 * step_capacity, step_count = 0, gap_count = 0
        steps = np.empty(step_capacity, layout.STEP_RECORD) if keep_steps else None
        gaps = np.empty(gap_capacity, layout.GAP)
        cdef hda_step_record_t *step_data = NULL
        if keep_steps:
            step_data = <hda_step_record_t *>_address(steps, layout.STEP_RECORD)
        cdef hda_gap_t *gap_data = <hda_gap_t *>_address(gaps, layout.GAP)
        cdef int status
        with nogil:
            status = hda_serve_run(self.handle, step_capacity, step_data, &step_count, gap_capacity, gap_data, &gap_count)
        if self.error is not None:
            raise self.error
        _check(status)
        return step_count, steps[:step_count] if keep_steps else None, gaps[:gap_count]

    def requests(self):
        """REQUEST array, one entry per request in order; the same array each time, brought up to date."""
        hda_serve_snapshot(self.handle)
        return self.outcomes

    def progress(self):
        """(requests finished or rejected, seconds on the simulation's clock)."""
        cdef int64_t finished = 0
        cdef double now = 0
        hda_serve_progress(self.handle, &finished, &now)
        return finished, now

    def totals(self):
        """TOTALS array, one entry per instance: its steps so far, added up."""
        result = np.zeros(len(self.instances), layout.TOTALS)
        hda_serve_totals(self.handle, <hda_instance_totals_t *>_address(result, layout.TOTALS))
        return result

    def busy(self, int64_t instance=0):
        """Seconds for which each program of an instance ran in the steps returned so far."""
        result = np.zeros(max(len(self.instances[instance]["programs"]), 1))
        hda_serve_busy(self.handle, instance, <double *>_address(result, np.float64))
        return result
