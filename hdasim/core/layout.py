"""NumPy layouts of the C structs that cross the boundary in bulk; `_core` refuses to load if a size differs."""

import numpy as np

UNITS = ("dma", "sa", "mt", "vu", "noc", "p2p")
ENERGY_PARTS = ("systolic_array", "mac_tree", "vector_unit", "dram", "memory", "noc", "links", "static")
PHASES = ("prefill", "decode")
CAUSES = ("sa", "mt", "vu", "dram", "global_memory", "noc", "p2p", "overhead")

OP_KINDS = {"linear": 0, "experts": 1, "prefill_attention": 2, "decode_attention": 3, "vector": 4, "load": 5, "store": 6}
ROWS = {"tokens": 0, "emit": 1, "latent": 2, "share": 3, "group": 4}
SYNCS = {"": 0, "all_reduce": 1, "all_gather": 2, "all_to_all": 3, "send": 4, "reduce_scatter": 5}
P2P_ALGORITHMS = {"auto": 0, "direct": 1, "ring": 2, "tree": 3, "two_shot": 4, "recursive": 5}
DATAFLOWS_ON_CORES = {"auto": 0, "latency": 1, "throughput": 2, "row_split": 3}
COLLECTIVES = {
    "all_gather": 0, "reduce_scatter": 1, "all_reduce": 2, "all_to_all": 3, "broadcast": 4, "gather": 5, "send": 6,
}  # fmt: skip
ALGORITHMS = {
    "ring": 0, "bidirectional": 1, "direct": 2, "one_shot": 3, "tree": 4, "recursive": 5, "two_d": 6,
    "two_d_bidirectional": 7, "chain": 8, "row_column": 9,
}  # fmt: skip

#: hda_op_t
OP = np.dtype(
    [
        ("kind", "i4"), ("rows", "i4"), ("after", "i4", 2), ("sync", "i4"), ("gather", "i4"), ("elementwise", "i4"),
        ("type", "i4"), ("sync_bytes", "f8"), ("k", "i8"), ("n", "i8"), ("weight_bytes", "f8"), ("experts", "i8"),
        ("top_k", "i8"), ("vector_ops", "f8"), ("reduce_bytes", "f8"), ("kv_heads", "i8"), ("group", "i8"), ("key_dim", "i8"),
        ("value_dim", "i8"), ("window", "i8"), ("kv_elements", "i8"), ("inter", "i8"), ("read_bytes", "f8"),
        ("write_bytes", "f8"),
    ],
    align=True,
)  # fmt: skip
#: hda_type_t
TYPES = {"bf16": 0, "fp8": 1, "int8": 2, "fp4": 3}
#: hda_energy_t: joules for each operation and byte, watts
ENERGY = np.dtype(
    [
        ("array", "f8", len(TYPES)), ("tree", "f8"), ("vector", "f8"), ("dram", "f8"), ("global_memory", "f8"),
        ("local_memory", "f8"), ("operand", "f8"), ("noc", "f8"), ("links", "f8"), ("standing", "f8"), ("power_limit", "f8"),
    ]
)  # fmt: skip
#: hda_gpu_t and the constants in it
GPU_GEMM = np.dtype(
    [
        ("efficiency", "f8"), ("feed", "f8"), ("step", "f8"), ("load", "f8"), ("dram_share", "f8"), ("l2_share", "f8"),
        ("l2_held", "f8"), ("narrow", "f8"), ("convert", "f8"), ("convert_split", "f8"), ("fine", "f8"),
    ]
)  # fmt: skip
GPU_ATTENTION = np.dtype(
    [
        ("launches", "f8"), ("efficiency", "f8"), ("serial", "f8"), ("key_block", "f8"), ("prologue", "f8"), ("small_tile", "f8"),
        ("tail", "f8"), ("copy", "f8"), ("stream", "f8"), ("sm_read", "f8"), ("l2_hold", "f8"), ("group_cta", "f8"),
        ("head_cta", "f8"), ("merge", "f8"), ("varlen", "f8"), ("library", "f8"),
    ]
)  # fmt: skip
GPU_EXPERTS = np.dtype([(name, "f8") for name in ("efficiency", "bandwidth", "vector", "kernels")])
GPU_VECTOR = np.dtype([(name, "f8") for name in ("efficiency", "l2", "kept", "issue", "step")])
GPU = np.dtype(
    [
        ("sm_count", "f8"), ("clock", "f8"), ("macs", "f8", len(TYPES)), ("lanes", "f8"), ("exps", "f8"), ("registers", "f8"),
        ("shared_memory", "f8"), ("l2_size", "f8"), ("l2_bandwidth", "f8"), ("l2_latency", "f8"), ("dram_bandwidth", "f8"),
        ("dram_latency", "f8"), ("launch", "f8"), ("sustained", "f8"),
        ("gemm", GPU_GEMM), ("attention", GPU_ATTENTION), ("experts", GPU_EXPERTS),
        ("vector", GPU_VECTOR),
    ]
)  # fmt: skip
#: hda_gemm_case_t, hda_heads_t, hda_prompt_t, hda_decode_t, hda_experts_case_t, hda_vector_case_t
GEMM_CASE = np.dtype(
    [
        ("m", "i8"), ("n", "i8"), ("k", "i8"), ("a_bytes", "f8"), ("b_bytes", "f8"), ("c_bytes", "f8"), ("source_bytes", "f8"),
        ("copies", "f8"), ("type", "i8"),
    ]
)  # fmt: skip
HEADS = np.dtype(
    [
        ("q_heads", "i8"), ("kv_heads", "i8"), ("key_dim", "i8"), ("value_dim", "i8"), ("window", "i8"), ("kv_bytes", "f8"),
        ("kv_elements", "f8"), ("warm", "f8"), ("varlen", "f8"),
    ]
)  # fmt: skip
PROMPT = np.dtype([("count", "i8"), ("q_len", "i8"), ("past", "i8")])
DECODE = np.dtype([("sequences", "i8"), ("tokens", "f8"), ("longest", "f8")])
EXPERTS_CASE = np.dtype(
    [
        ("tokens", "i8"), ("hidden", "i8"), ("inter", "i8"), ("top_k", "i8"), ("experts", "i8"), ("own", "i8"),
        ("a_bytes", "f8"), ("b_bytes", "f8"), ("skew", "f8"), ("type", "i8"),
    ]
)  # fmt: skip
VECTOR_CASE = np.dtype([(name, "f8") for name in ("read_bytes", "write_bytes", "ops", "exps", "rows", "width", "reduced")])
#: hda_kernel_t and hda_kernel_cause_t
KERNEL = np.dtype(
    [
        ("time", "f8"), ("bound", "f8"), ("launch", "f8"), ("compute", "f8"), ("dram", "f8"), ("l2", "f8"), ("dram_bytes", "f8"),
        ("l2_bytes", "f8"), ("macs", "f8"), ("tile_m", "f8"), ("tile_n", "f8"), ("split", "f8"), ("waves", "f8"), ("cause", "i8"),
    ]
)  # fmt: skip
KERNEL_CAUSES = ("compute", "dram", "l2", "latency")
#: hda_block_t and hda_segment_t
BLOCK = np.dtype([("first", "i4"), ("count", "i4")])
SEGMENT = np.dtype([("first", "i4"), ("count", "i4"), ("repeat", "i4"), ("layers", "i4")])
#: hda_step_t: seconds, bytes, multiply-accumulates of one device
STEP = np.dtype(
    [
        ("time", "f8"), ("bound", "f8"), ("bound_by", "f8", 3), ("dram_bytes", "f8"), ("p2p_bytes", "f8"), ("macs", "f8", 2),
        ("busy", "f8", len(UNITS)), ("limited", "f8", len(CAUSES)), ("communication", "f8", 2),
        ("exposed_communication", "f8", 2), ("energy", "f8", len(ENERGY_PARTS)), ("phase_energy", "f8", 2),
    ]
)  # fmt: skip
#: hda_op_step_t
OP_STEP = np.dtype(
    [
        ("exposed", "f8"), ("unit_time", "f8", len(UNITS)), ("dram_bytes", "f8"), ("p2p_bytes", "f8"), ("macs", "f8", 2),
        ("useful_macs", "f8"), ("limited", "f8", len(CAUSES)), ("noc_bytes", "f8"), ("communication", "f8", 2),
        ("exposed_communication", "f8", 2), ("energy", "f8"),
    ]
)  # fmt: skip
#: hda_mapping_t
MAPPING = np.dtype(
    [
        ("grid_rows", "i8"), ("grid_cols", "i8"), ("m", "i8"), ("sa_columns", "i8"), ("mt_columns", "i8"), ("row_tiles", "i8"),
        ("column_tiles", "i8"), ("home", "i4"), ("dataflow", "i4"), ("local_bytes", "f8"), ("prefetch_bytes", "f8"),
    ],
    align=True,
)  # fmt: skip
#: hda_request_t, hda_step_record_t, hda_instance_totals_t, hda_gap_t
REQUEST = np.dtype(
    [
        ("arrival", "f8"), ("queued", "f8"), ("scheduled", "f8"), ("first_token", "f8"), ("last_token", "f8"),
        ("generated", "i8"), ("cached", "i8"), ("preemptions", "i4"), ("state", "i4"), ("rank", "i4"), ("decode_rank", "i4"),
    ]
)  # fmt: skip
STEP_RECORD = np.dtype(
    [
        ("start", "f8"), ("time", "f8"), ("bound", "f8"), ("prefill_tokens", "i8"), ("decode_tokens", "i8"), ("running", "i8"),
        ("waiting", "i8"), ("kv_blocks", "i8"), ("preemptions", "i8"), ("instance", "i8"), ("dram_bytes", "f8"),
        ("p2p_bytes", "f8"), ("macs", "f8", 2), ("busy", "f8", len(UNITS)), ("limited", "f8", len(CAUSES)), ("exposed_noc", "f8"),
        ("energy", "f8", len(ENERGY_PARTS)), ("phase_energy", "f8", 2), ("power", "f8"),
    ]
)  # fmt: skip
TOTALS = np.dtype(
    [
        ("steps", "i8"), ("preemptions", "i8"), ("max_running", "i8"), ("max_waiting", "i8"), ("max_kv_blocks", "i8"),
        ("time", "f8"), ("occupied", "f8"), ("end", "f8"), ("running", "f8"), ("waiting", "f8"), ("kv_blocks", "f8"),
        ("bound", "f8"), ("dram_bytes", "f8"), ("p2p_bytes", "f8"), ("macs", "f8", 2), ("busy", "f8", len(UNITS)),
        ("limited", "f8", len(CAUSES)), ("exposed_noc", "f8"), ("sent_bytes", "f8"), ("sent_time", "f8"),
        ("energy", "f8", len(ENERGY_PARTS)), ("phase_energy", "f8", 2), ("max_power", "f8"), ("over_limit", "f8"),
    ]
)  # fmt: skip
GAP = np.dtype([("seconds", "f8"), ("count", "i8")])
#: hda_message_t
MESSAGE = np.dtype([(name, "i8") for name in ("source", "target", "flits", "delay", "first", "count")])
#: hda_scalesim_case_t; words, cycles. `ifmap_h` and what follows is the geometry of a convolution, 0 for a GEMM.
SCALESIM_CASE = np.dtype(
    [
        ("dataflow", "i4"), ("user", "i4"), ("rows", "i8"), ("cols", "i8"), ("m", "i8"), ("n", "i8"), ("k", "i8"),
        ("buffer", "i8", 3), ("bandwidth", "i8", 3), ("ifmap_h", "i8"), ("ifmap_w", "i8"), ("filter_h", "i8"),
        ("filter_w", "i8"), ("channels", "i8"), ("stride", "i8"),
    ],
    align=True,
)  # fmt: skip
#: hda_scalesim_result_t; operands in the order ifmap, filter, ofmap
SCALESIM_RESULT = np.dtype(
    [
        ("status", "i8"), ("total_cycles", "i8"), ("stall_cycles", "i8"), ("mapping", "f8"), ("utilization", "f8"),
        ("sram_count", "i8", 3), ("sram_start", "i8", 3), ("sram_stop", "i8", 3), ("dram_count", "i8", 3),
        ("dram_start", "i8", 3), ("dram_stop", "i8", 3),
    ]
)  # fmt: skip
#: hda_scalesim_compute_t
SCALESIM_COMPUTE = np.dtype(
    [
        ("cycles", "i8"), ("folds", "i8"), ("mapping", "f8"), ("utilization", "f8"), ("sram_count", "i8", 3),
    ]
)  # fmt: skip
#: `status` of a case that was not run
SCALESIM_PENDING = -1
DATAFLOWS = {"ws": 0, "os": 1, "is": 2}

POLICIES = {"vllm": 0, "static": 1, "orca": 2, "sarathi": 3, "vllm_v0": 4, "custom": 5}
ROUTERS = {
    "vllm": 0, "round_robin": 1, "least_outstanding": 2, "least_kv": 3, "prefix_aware": 4, "splitwise": 5,
}  # fmt: skip
ROLES = {"both": 0, "prefill": 1, "decode": 2}
REQUEST_STATES = ("waiting", "running", "finished", "rejected")
