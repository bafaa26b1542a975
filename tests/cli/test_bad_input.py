"""Bad input of every kind: exit code 2 and one line that says where, which key, what is wrong and what would be right.

Each case is a real process. The processes of all selected cases are started when the first result is asked for, a few at a time.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SAMPLE = Path(__file__).with_name("sample.yaml").read_text(encoding="utf-8")
PRESETS = Path(__file__).resolve().parents[2] / "hdasim" / "presets"
LLAMA = json.loads((PRESETS / "models" / "llama3-8b.json").read_text(encoding="utf-8"))
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
OWN = VIDUR.replace("\n", ",hash_ids,hash_block,parent\n")
#: Generous: the machine may be busy. On an idle one every case takes less than half a second.
SECONDS = 10.0


@dataclass(frozen=True)
class Case:
    """A name, what the line on stderr must contain, and what makes the input bad."""

    name: str
    expected: tuple[str, ...]
    edits: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    files: dict[str, str | bytes] = field(default_factory=dict)
    file: str = "model.yaml"

    def run(self, folder: Path) -> tuple[subprocess.CompletedProcess[str], float]:
        folder.mkdir()
        text = SAMPLE
        for old, new in self.edits:
            assert text.count(old) == 1, (self.name, old)
            text = text.replace(old, new)
        (folder / "model.yaml").write_text(text, encoding="utf-8")
        for name, content in self.files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        command = [sys.executable, "-m", "hdasim", "run", self.file, *self.arguments]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
        return done, time.perf_counter() - started


CASES: list[Case] = []


def key(name: str, old: str, new: str, *expected: str) -> None:
    """A case that changes the sample."""
    CASES.append(Case(name, expected, edits=((old, new),)))


def option(name: str, arguments: list[str], *expected: str) -> None:
    """A case that gives options."""
    CASES.append(Case(name, expected, arguments=tuple(arguments)))


def whole(name: str, content: str | bytes, *expected: str) -> None:
    """A case with another file in place of the sample."""
    CASES.append(Case(name, expected, files={"model.yaml": content}))


def trace(name: str, content: str, *expected: str) -> None:
    """A case with a bad trace."""
    CASES.append(Case(name, expected, arguments=("--trace", "t.csv"), files={"t.csv": content}))


def config(name: str, content: str, *expected: str) -> None:
    """A case with a bad config.json."""
    CASES.append(Case(name, expected, edits=(("{preset: llama3-8b}", "{config: config.json}"),), files={"config.json": content}))


# Keys that do not exist, at every level.
key("unknown-top", "seed: 0", "sede: 0", "model.yaml:17: sede: unknown key 'sede' (did you mean 'seed'?)")
key("unknown-device", "frequency:", "frequncy:", "model.yaml:3: device.frequncy: unknown key", "did you mean 'frequency'")
key("unknown-device-preset", "  frequency: 1.5 GHz", "  preste: ador", "model.yaml:3: device.preste: unknown key", "'preset'")
key("unknown-core", "vector_unit:", "vector_units:", "model.yaml:6: device.core.vector_units: unknown key", "'vector_unit'")
key("unknown-array", "cols: 64", "colz: 64", "model.yaml:5: device.core.systolic_array.colz: unknown key 'colz'", "'cols'")
key("unknown-dram", "capacity:", "capacty:", "model.yaml:8: device.dram.capacty: unknown key", "did you mean 'capacity'")
key("unknown-model", "preset: llama3-8b", "preset: llama3-8b, vocabsize: 3", "model.yaml:10: model.vocabsize:", "'vocab_size'")
key("unknown-serving", "scheduler:", "schedular:", "model.yaml:11: serving.schedular: unknown key", "did you mean 'scheduler'")
key("unknown-workload", "num_prompts:", "num_prompt:", "model.yaml:15: workload.num_prompt: unknown key", "'num_prompts'")
key("unknown-arrival", "request_rate:", "rate:", "model.yaml:13: workload.arrival.rate: unknown key", "known: request_rate")
key("unknown-lengths", "input_len:", "input_length:", "model.yaml:14: workload.lengths.input_length: unknown", "'input_len'")
key("unknown-slo", "tpot: 50 ms", "tbp: 50 ms", "model.yaml:16: slo.tbp: unknown key", "known: scheduling_delay, ttft")
key("unknown-merge", "slo: {", "slo: {<<: 1, ", "model.yaml:16: slo.<<: unknown key", "known: scheduling_delay, ttft, tpot")

# Values: units, signs, NaN, infinity, types, sizes.
key("wrong-unit", "2 TB/s", "2 GHz", "model.yaml:8: device.dram.bandwidth: wrong unit 'GHz'", "such as '2 TB/s'")
key("bits", "80 GiB", "80 Gib", "model.yaml:8: device.dram.capacity: wrong unit 'Gib'", "such as '80 GiB'")
key("negative-quantity", "1.5 GHz", "-1.5 GHz", "model.yaml:3: device.frequency: must be at least 1 Hz, got '-1.5 GHz'")
key(
    "negative-rate",
    "request_rate: 10",
    "request_rate: -3",
    "model.yaml:13: workload.arrival.request_rate: must be greater than 0",
)
key("negative-count", "core_count: 32", "core_count: -32", "model.yaml:4: device.core_count: must be at least 1, got -32")
key("negative-seed", "seed: 0", "seed: -1", "model.yaml:17: seed: must be at least 0, got -1")
key("zero", "rows: 64", "rows: 0", "model.yaml:5: device.core.systolic_array.rows: must be at least 1, got 0")
key("zero-bandwidth", "2 TB/s", "0 TB/s", "model.yaml:8: device.dram.bandwidth: must be at least 1 B/s, got '0 TB/s'")
key("nan", "2 TB/s", ".nan", "model.yaml:8: device.dram.bandwidth: expected a finite quantity such as '2 TB/s', got nan")
key("nan-text", "2 TB/s", '"nan"', "model.yaml:8: device.dram.bandwidth: expected a quantity such as '2 TB/s', got 'nan'")
key("nan-count", "core_count: 32", "core_count: nan", "model.yaml:4: device.core_count: expected a finite number, got nan")
key("infinite", "2 TB/s", ".inf", "model.yaml:8: device.dram.bandwidth: expected a finite quantity such as '2 TB/s', got inf")
key("text-for-number", "core_count: 32", "core_count: many", "device.core_count: expected a whole number, got 'many'")
key("bool-for-number", "core_count: 32", "core_count: yes", "model.yaml:4: device.core_count: expected a whole number, got true")
key("bool-for-quantity", "2 TB/s", "no", "model.yaml:8: device.dram.bandwidth: expected a quantity such as '2 TB/s', got false")
key("float-for-int", "core_count: 32", "core_count: 32.5", "device.core_count: expected a whole number, got 32.5")
key("number-for-text", "name: ador-llama3-8b", "name: no", "model.yaml:1: name: expected text, got false; put it in quotes")
key("text-for-bool", "scheduler: ador", "enable_chunked_prefill: si", "enable_chunked_prefill: expected true or false, got 'si'")
key(
    "list-for-mapping", "{capacity: 80 GiB, bandwidth: 2 TB/s}", "[1, 2]", "model.yaml:8: device.dram: expected a mapping of keys"
)
key(
    "nothing-for-mapping",
    "{ttft: 200 ms, tpot: 50 ms}",
    "",
    "slo: expected a mapping of keys, got nothing",
    "ttft, tpot, itl, e2el",
)
key("mapping-for-number", "core_count: 32", "core_count: {a: 1}", "device.core_count: expected a whole number, got a mapping")
key("unknown-word", "scheduler: ador", "scheduler: adro", "model.yaml:11: serving.scheduler: unknown 'adro' (did you mean "
    "'ador'?); use vllm, ador, static, orca, sarathi, vllm_v0, or the dotted name of a class such as my_policies.ShortestFirst")  # fmt: skip
key("unknown-kind", "kind: poisson", "kind: poison", "workload.arrival.kind: unknown kind 'poison'", "did you mean 'poisson'")
key("no-kind", "{kind: fixed, input_len", "{input_len", "workload.lengths: expected a mapping with kind: fixed | lognormal |")
key("huge-float", "2 TB/s", "1e300", "model.yaml:8: device.dram.bandwidth: must be at most 1 EB/s, got '1e300'")
key("huge-float-plain", "1.5 GHz", "1.0e+300", "model.yaml:3: device.frequency: must be at most 1 THz, got 1e+300")
key("joules-for-picojoules", "core_count: 32", "core_count: 32\n  power: {mac: 0.7}", "device.power.mac: must be at most 1 uJ, got 0.7")
key("huge-int", "core_count: 32", "core_count: 1" + "0" * 30, "model.yaml:4: device.core_count: must be at most 4096")
key("huge-int-quantity", "16 MiB", "1" + "0" * 400, "model.yaml:7: device.global_memory: ", "such as '80 GiB'")
key(
    "endless-int",
    "core_count: 32",
    "core_count: " + "9" * 5000,
    "model.yaml:4: device.core_count: '99999999999999999999' is not a",
)
key(
    "many-cores",
    "core_count: 32",
    "core_count: 1000000000",
    "model.yaml:4: device.core_count: must be at most 4096, got 1000000000",
)
key(
    "many-routed-cores",
    "core_count: 32",
    "core_count: 4096",
    "model.yaml:4: device.core_count: 4096 needs more than 1024 routers",
    "crossbar",
)
key("wide-array", "rows: 64", "rows: 1000000", "model.yaml:5: device.core.systolic_array.rows: must be at most 4096, got 1000000")
key("wide-tree", "width: 16", "width: 1e9", "model.yaml:5: device.core.mac_tree.width: must be at most 4096, got '1e9'")
key("many-prompts", "num_prompts: 1000", "num_prompts: 1e12", "workload.num_prompts: must be at most 10000000, got '1e12'")
key("many-tokens", "input_len: 1024", "input_len: 1e12", "workload.lengths.input_len: must be at most 2147483648, got '1e12'")
key("many-devices", "device_count: 1", "device_count: 10000000", "serving.device_count: must be at most 65536, got 10000000")
key("many-sequences", "max_num_seqs: 256", "max_num_seqs: 1e9", "serving.max_num_seqs: must be at most 1048576, got '1e9'")
key("empty-name", "name: ador-llama3-8b", "name: ''", "model.yaml:1: name: must have from 1 to 200 characters, got 0")

# Missing keys and rules across keys.
key("missing-quantity", "  frequency: 1.5 GHz\n", "", "model.yaml:2: device: missing key 'frequency'; add frequency: 1.5 GHz")
key("missing-nested", "capacity: 80 GiB, ", "", "model.yaml:8: device.dram: missing key 'capacity'; add capacity: 80 GiB")
key("missing-section", "model: {preset", "#", "model.yaml:1: missing key 'model'; add model: {preset: llama3-8b}")
key("nothing-as-model", "{preset: llama3-8b}", "{}", "model.yaml:10: model: names no model; give {preset: NAME} or {config: PATH")
key("text-as-device", SAMPLE[SAMPLE.index("device:") : SAMPLE.index("model:")], "device: ador\n", "model.yaml:2: device: expected a "
    "mapping of keys, got 'ador'; for a preset write device: {preset: ador}")  # fmt: skip
key("token-budget", "max_num_seqs: 256", "max_num_seqs: 256, max_num_batched_tokens: 128", "model.yaml:11: serving.max_num_batched_tokens: "
    "128 is less than max_num_seqs 256", "set it to 256 or more")  # fmt: skip
key(
    "no-lengths",
    "  lengths: {kind: fixed, input_len: 1024, output_len: 256}\n",
    "",
    "model.yaml:12: workload: generated arrivals need",
)


# Clusters, routers, policies of one's own.
def cluster(name: str, text: str, *expected: str) -> None:
    key(name, "seed: 0\n", f"seed: 0\ncluster: {text}\n", *expected)


LINK = "link: {bandwidth: 100 GB/s}"
cluster(
    "no-servers",
    f"{{pools: [{{role: prefill, count: 0}}, {{role: decode}}], {LINK}}}",
    "model.yaml:18: cluster.pools.0.count: must be at least 1, got 0",
)
cluster("no-pools", "{pools: []}", "model.yaml:18: cluster.pools: must have from 1 to 1000 entries, got 0")
cluster(
    "dead-link",
    "{pools: [{role: prefill}, {role: decode}], link: {bandwidth: 0}}",
    "model.yaml:18: cluster.link.bandwidth: must be at least 1 B/s, got 0",
)
cluster(
    "no-link",
    "{pools: [{role: prefill}, {role: decode}]}",
    "model.yaml:18: cluster.link: keys and values travel between pools; give {bandwidth:",
)
cluster(
    "nobody-decodes",
    f"{{pools: [{{role: prefill}}, {{role: both}}], {LINK}}}",
    "cluster.pools: a pool with role prefill needs one with role decode; add it",
)
cluster(
    "nobody-prefills",
    f"{{pools: [{{role: decode}}], {LINK}}}",
    "cluster.pools: a pool with role decode needs one with role prefill; add it",
)
cluster(
    "unknown-role", f"{{pools: [{{role: prefil}}], {LINK}}}", "cluster.pools.0.role: unknown 'prefil' (did you mean 'prefill'?)"
)
cluster(
    "unknown-cluster-router",
    "{pools: [{count: 2}], router: least_cv}",
    "cluster.router: unknown 'least_cv' (did you mean 'least_kv'?)",
)
cluster(
    "splitwise-alone",
    "{pools: [{count: 2}], router: splitwise}",
    "cluster.router: splitwise needs a pool with role prefill and one with role decode",
)
cluster(
    "pool-too-small",
    f"{{pools: [{{role: prefill}}, {{role: decode, device: {{preset: groq-tsp}}}}], {LINK}}}",
    "cluster.pools.1",
    "llama3-8b needs 16.06 GB",
)
cluster(
    "pool-without-policy",
    "{pools: [{serving: {scheduler: nowhere.P}}]}",
    "model.yaml:18: cluster.pools.0.serving.scheduler: cannot load nowhere.P: No module",
)
cluster("decode-pool-without-room", f"{{pools: [{{role: prefill}}, {{role: decode, serving: {{num_gpu_blocks: 10}}}}], {LINK}}}",
        "cluster.pools.1.serving.num_gpu_blocks: no request fits the KV cache of 160 tokens")  # fmt: skip
cluster(
    "too-many-servers",
    "{pools: [{count: 65536}, {count: 1}]}",
    "model.yaml:18: cluster.pools.1.count: up to this pool there are 65,537 servers",
)
cluster(
    "too-many-replicas",
    "{pools: [{count: 40000, serving: {data_parallel_size: 2}}]}",
    "cluster.pools.0.count: up to this pool there are 80,000 servers",
)
key(
    "async-pipeline",
    "device_count: 1",
    "async_scheduling: true, pipeline_parallel_size: 2",
    "model.yaml:11: serving.async_scheduling: a sequence's next step",
)
key(
    "unknown-router",
    "device_count: 1",
    "router: round_robbin",
    "model.yaml:11: serving.router: unknown 'round_robbin' (did you mean 'round_robin'?)",
)
key(
    "splitwise-without-pools",
    "device_count: 1",
    "router: splitwise",
    "model.yaml:11: serving.router: splitwise needs pools for prefill and decode",
)
key(
    "negative-overhead",
    "device_count: 1",
    "host_overhead: -1 us",
    "model.yaml:11: serving.host_overhead: must be at least 0 s, got '-1 us'",
)
key("no-blocks", "device_count: 1", "num_gpu_blocks: 0", "model.yaml:11: serving.num_gpu_blocks: must be at least 1, got 0")
key("nothing-fits", "device_count: 1", "num_gpu_blocks: 10", "model.yaml:11: serving.num_gpu_blocks: no request fits the KV cache of 160 tokens: the shortest has 1,280; "
    "raise num_gpu_blocks")  # fmt: skip
key("nothing-fits-unchunked", "device_count: 1", "enable_chunked_prefill: false, max_num_batched_tokens: 1000", "model.yaml:11: serving.max_num_batched_tokens: "
    "without chunked prefill no request fits the budget of 1000 tokens", "set max_num_batched_tokens to 1280 or more")  # fmt: skip


def policy(name: str, body: str, *expected: str) -> None:
    """A policy of the user's own, in a module beside the file."""
    code = f"class P:\n    def schedule(self, scheduler):\n        {body}\n"
    CASES.append(Case(name, expected, edits=(("scheduler: ador", "scheduler: mine.P"),), files={"mine.py": code}))


policy(
    "idle-policy",
    "pass",
    "model.yaml:11: serving.scheduler: scheduler mine.P schedules nothing although 1,000 requests are left; it must",
)
policy("leaving-policy", "raise SystemExit(0)", "model.yaml:11: serving.scheduler: mine.P failed: ", "mine.py:3: SystemExit: 0")
CASES.append(Case("odd-attribute", ("serving.scheduler: mine.P.chunked_prefill must be True or False, got 'no'",),
                  edits=(("scheduler: ador", "scheduler: mine.P"),),
                  files={"mine.py": "class P:\n    chunked_prefill = 'no'\n    def schedule(self, scheduler): pass\n"}))  # fmt: skip
policy(
    "failing-policy",
    "1 / 0",
    "model.yaml:11: serving.scheduler: mine.P failed: ",
    "mine.py:3: ZeroDivisionError: division by zero",
)
policy(
    "greedy-policy",
    "scheduler.admit(0); scheduler.run(0, 5000)",
    "mine.P failed: ",
    "mine.py:3: ValueError: run: request 0 has 1024 tokens ready, got 5000",
)
policy("endless-message", "raise KeyError('a\\n' * 3)", "mine.P failed: ", "KeyError: ")
policy(
    "hoarding-policy",
    "for r in scheduler.waiting(): scheduler.admit(r)",
    "mine.P schedules nothing although 1,000 requests are left",
)
key(
    "no-such-module",
    "scheduler: ador",
    "scheduler: nowhere.P",
    "model.yaml:11: serving.scheduler: cannot load nowhere.P: No module named 'nowhere'; it must lie in",
)
key(
    "no-such-class",
    "scheduler: ador",
    "scheduler: hdasim.serving.policies.Vlm",
    "serving.scheduler: cannot load hdasim.serving.policies.Vlm: module",
)
CASES.append(Case("broken-module", ("serving.scheduler: cannot load mine.P: ", "mine.py:1: SyntaxError: "), edits=(("scheduler: ador", "scheduler: mine.P"),),
                  files={"mine.py": "class P\n"}))  # fmt: skip

# Models.
key(
    "unknown-model-preset",
    "llama3-8b}",
    "llama3-8}",
    "model.yaml:10: model.preset: unknown preset 'llama3-8' (did you mean 'llama3-8b'",
)
key(
    "preset-and-config",
    "{preset: llama3-8b}",
    "{preset: llama3-8b, config: c.json}",
    "model.config: give either preset or config",
)
key(
    "no-vocabulary",
    "preset: llama3-8b",
    "preset: llama3-8b, vocab_size: 0",
    "model.yaml:10: model.vocab_size: must be an integer from 1",
)
key("kv-heads", "preset: llama3-8b", "preset: llama3-8b, num_key_value_heads: 5", "model.yaml:10: model: num_attention_heads 32 is not "
    "divisible by num_key_value_heads 5; use a divisor, e.g. 4 or 8")  # fmt: skip
key(
    "narrow-weights",
    "preset: llama3-8b",
    "preset: llama3-8b, weight_bytes: 1e-300",
    "model.weight_bytes: must be at least 0.0625",
)
key(
    "many-heads",
    "preset: llama3-8b",
    "preset: llama3-8b, head_dim: 128, num_attention_heads: 1000000000",
    "model.num_attention_heads: must be at most 65536",
)
config(
    "config-malformed",
    '{"model_type": "llama",\n "hidden_size": }',
    "model.config: ",
    "config.json:2:17: not JSON",
    "give a Hugging",
)
config("config-list", "[1, 2]", "model.yaml:10: model.config: ", "config.json: holds a JSON list instead of an object")
config("config-missing-key", json.dumps({k: v for k, v in LLAMA.items() if k != "hidden_size"}), "model.yaml:10: model.config: "
       "config.json: hidden_size: missing; add it with an integer")  # fmt: skip
config(
    "config-vocabulary",
    json.dumps({**LLAMA, "vocab_size": 0}),
    "model.config: config.json: vocab_size: must be an integer from 1",
)
CASES.append(Case("config-missing", ("model.yaml:10: model.config: ", "no.json: No such file or directory; give a Hugging Face config.json"),
                  edits=(("{preset: llama3-8b}", "{config: no.json}"),)))  # fmt: skip

# Devices: presets, capacity, parallelism, networks.
option(
    "unknown-device-preset-set",
    ["--set", "device.preset=a10"],
    "--set device.preset=a10: device.preset: unknown preset 'a10'",
    "'a100'",
)
option("heads-by-devices", ["--set", "serving.device_count=3"], "--set serving.device_count=3: serving.device_count: num_attention_heads "
       "32 is not divisible by 3 devices; use one of 1, 2, 4, 8")  # fmt: skip
option(
    "model-too-large",
    ["--set", "device.preset=groq-tsp"],
    "serving.device_count: llama3-8b needs 16.06 GB",
    "73 x groq-tsp",
    "set serving.pipeline_parallel_size to 4 and device_count to 32",
)
option("kv-does-not-fit", ["--set", "device.dram.capacity=17.9 GB"], "model.yaml:11: serving.device_count: llama3-8b needs", "KV cache",
       "set serving.device_count to 2")  # fmt: skip
option("stages-by-layers", ["--set", "serving.pipeline_parallel_size=33"], "--set serving.pipeline_parallel_size=33: "
       "serving.pipeline_parallel_size: 33 stages are more than the model's 32 layers; set it to 32 or less")  # fmt: skip
option("no-stages", ["--set", "serving.pipeline_parallel_size=0"], "serving.pipeline_parallel_size: must be at least 1, got 0")
option("no-replicas", ["--set", "serving.data_parallel_size=-1"], "serving.data_parallel_size: must be at least 1, got -1")
option("many-replicas", ["--set", "serving.data_parallel_size=1e9"], "serving.data_parallel_size: ")
option("experts-of-a-dense-model", ["--set", "serving.enable_expert_parallel=true"], "--set serving.enable_expert_parallel=true: "
       "serving.enable_expert_parallel: llama3-8b has no experts; leave enable_expert_parallel out")  # fmt: skip
option("experts-by-devices", ["--set", "model.preset=mixtral-8x7b", "--set", "serving={enable_expert_parallel: true, device_count: 16}"],
       "serving.device_count: num_experts 8 is not divisible by 16 devices; use one of 1, 2, 4, 8")  # fmt: skip
option("experts-yes-or-no", ["--set", "serving.enable_expert_parallel=some"], "serving.enable_expert_parallel: ", "some")
CASES.append(Case("no-links-for-stages", ("model.yaml:2: device.p2p: custom has no links to other devices; give p2p: {bandwidth:",),
                  edits=(("  p2p: {bandwidth: 64 GB/s, latency: 1 us}\n", ""), ("device_count: 1", "pipeline_parallel_size: 2"))))  # fmt: skip
CASES.append(Case("no-links", ("model.yaml:2: device.p2p: custom has no links to other devices; give p2p: {bandwidth:",),
                  edits=(("  p2p: {bandwidth: 64 GB/s, latency: 1 us}\n", ""), ("device_count: 1", "device_count: 2"))))  # fmt: skip


def gpu(name: str, text: str, *expected: str, preset: str = "h100") -> None:
    """A case with a device of two lines, the second its GPU section."""
    device = f"device:\n  preset: {preset}\n  gpu: {text}\n"
    key(name, SAMPLE[SAMPLE.index("device:") : SAMPLE.index("model:")], device, *expected)


gpu("unknown-generation", "{preset: hoper}", "model.yaml:4: device.gpu.preset: unknown preset 'hoper' (did you mean 'hopper'?)")
gpu("generation-without-constants", "{preset: ada}", "model.yaml:4: device.gpu.preset: unknown preset 'ada'; known: ampere, ")
gpu("generation-as-text", "hopper", "model.yaml:4: device.gpu: expected a mapping of keys, got 'hopper'; for the constants of a "
    "generation write gpu: {preset: hopper}")  # fmt: skip
gpu(
    "misspelt-generation", "{presett: ampere}", "model.yaml:4: device.gpu.presett: unknown key 'presett' (did you mean 'preset'?)"
)
gpu("nameless-generation", "{generation: ''}", "model.yaml:4: device.gpu.generation: must have from 1 to 40 characters, got 0")
gpu("negative-type-rate", "{rates: {fp8: -1}}", "model.yaml:4: device.gpu.rates.fp8: must be at least 0, got -1")
gpu("unknown-rate", "{rates: {fp16: 1}}", "model.yaml:4: device.gpu.rates.fp16: unknown key 'fp16'; known: fp8, int8, fp4")
gpu("no-exponentials", "{exps: 0}", "model.yaml:4: device.gpu.exps: must be at least 1e-06, got 0")
gpu("no-gemm-constants", "{gemm: null}", "model.yaml:4: device.gpu.gemm: expected a mapping of keys, got nothing")
gpu("negative-latency", "{l2_latency: -1 ns}", "model.yaml:4: device.gpu.l2_latency: must be at least 0 s, got '-1 ns'")
gpu(
    "early-dram",
    "{dram_latency: 10 ns}",
    "model.yaml:4: device.gpu.dram_latency: a load from DRAM passes L2; set it to l2_latency or",
)
gpu(
    "much-shared-memory",
    "{shared_memory: 2 MiB}",
    "model.yaml:4: device.gpu: shared_memory is a part of core.local_memory; set it",
)
gpu("mesh-of-sms", "{preset: hopper, shared_memory: 64 KiB}", "model.yaml:4: device.gpu: cores of a GPU exchange data through L2; "
    "set noc.topology to shared, or gpu to null", preset="ador")  # fmt: skip
gpu(
    "no-shared-memory",
    "{preset: hopper}",
    "model.yaml:4: device.gpu: missing key 'shared_memory'; add shared_memory:",
    preset="ador",
)
gpu("no-constants", "{generation: mine, fitted_on: mine, shared_memory: 64 KiB}", "model.yaml:4: device.gpu: missing key 'gemm'; add "
    "preset: hopper, or another generation that has it", preset="ador")  # fmt: skip
option("idle-tensor-cores", ["--set", "device.preset=h100", "--set", "device.gpu.gemm.efficiency=-1"],
       "--set device.gpu.gemm.efficiency=-1: device.gpu.gemm.efficiency: must be ")  # fmt: skip
option("number-for-constants", ["--set", "device.preset=h100", "--set", "device.gpu.gemm=3"],
       "--set device.gpu.gemm=3: device.gpu.gemm: expected a mapping of keys, got 3")  # fmt: skip
option("constants-without-gpu", ["--set", "device.gpu.gemm.efficiency=0.5"],
       "device.gpu: missing key 'generation'; add preset: hopper")  # fmt: skip


def noc(name: str, text: str, *expected: str) -> None:
    key(name, "  global_memory: 16 MiB", f"  noc: {text}\n  global_memory: 16 MiB", *expected)


noc("topology", "{topology: mseh}", "model.yaml:7: device.noc.topology: unknown 'mseh' (did you mean 'mesh'?); use cmesh or")
noc(
    "torus-columns",
    "{topology: torus, columns: 7}",
    "model.yaml:7: device.noc.columns: a torus of 7 columns needs core_count to be",
)
noc("no-edges", "{topology: edges}", "device.noc.edges: topology edges needs a list of core pairs, e.g. [[0, 1], [1, 2]]")
noc(
    "self-loop",
    "{topology: edges, edges: [[0, 1], [3, 3]]}",
    "model.yaml:7: device.noc.edges.1: edge 3-3 joins a core to itself; remove",
)
noc("no-such-core", "{topology: edges, edges: [[0, 32]]}", "device.noc.edges.0: edge 0-32 names core 32, but cores are 0 to 31")
noc("negative-core", "{topology: edges, edges: [[0, -1]]}", "device.noc.edges.0.1: must be at least 0, got -1")
noc(
    "unconnected",
    "{topology: edges, edges: [[0, 1]]}",
    "model.yaml:7: device.noc.edges: the cores are not connected",
    "add an edge",
)
noc(
    "cyclic",
    f"{{topology: edges, edges: {[[i, (i + 1) % 32] for i in range(32)]}}}",
    "device.noc.edges: the edges form a cycle",
    "remove",
)
noc("no-such-route", "{topology: edges, edges: [[0, 1]], routes: [[0, 2]]}", "device.noc.edges: the cores are not connected")
noc(
    "route-over-no-edge",
    f"{{topology: edges, edges: {[[i, i + 1] for i in range(31)]}, routes: [[0, 1], [0, 2]]}}",
    "model.yaml:7: device.noc.routes.1: there is no edge 0-2; add it",
)
noc(
    "routes-of-a-mesh",
    "{routes: [[0, 1]]}",
    "model.yaml:7: device.noc.routes: a mesh has its own routes; remove them, or use topology edges",
)
noc(
    "concentration-of-a-mesh",
    "{concentration: 4}",
    "model.yaml:7: device.noc.concentration: a mesh has one core for each router; use topology cmesh",
)
noc(
    "cmesh-columns",
    "{topology: cmesh, columns: 3, concentration: 4}",
    "model.yaml:7: device.noc.columns: a cmesh of 3 columns and 4 cores per router needs core_count to be a multiple of 12, got 32",
)
noc(
    "one-channel",
    "{topology: torus, virtual_channels: 1}",
    "model.yaml:7: device.noc.virtual_channels: a torus needs at least 2, one on either side",
)
noc("no-buffer", "{buffer_flits: 0}", "model.yaml:7: device.noc.buffer_flits: must be at least 1, got 0")
noc("zero-width-link", "{link_width: 0}", "model.yaml:7: device.noc.link_width: must be at least 1, got 0")
noc("endless-delay", "{router_delay: 1000000}", "model.yaml:7: device.noc.router_delay: must be at most 256, got 1000000")
noc("triple", "{topology: edges, edges: [[0, 1, 2]]}", "model.yaml:7: device.noc.edges.0: expected a list of 2 values, got 3")

# Traces.
trace("trace-empty", "", "--trace t.csv: ", "t.csv:1: file is empty; expected one of Azure CSV")
trace("trace-header-only", VIDUR, "t.csv:1: header without rows; expected one row per request below it")
trace("trace-unknown-header", "time,in,out\n1,2,3\n", "t.csv:1: header: unknown columns 'time,in,out'; expected one of Azure CSV")
trace("trace-unsorted", VIDUR + "1,5,5\n0,5,5\n", "t.csv:3: arrived_at: 1 s before the row above it; sort the rows")
trace("trace-nan", VIDUR + "0,nan,5\n", "t.csv:2: num_prefill_tokens: got 'nan'; expected a finite number")
trace("trace-negative", VIDUR + "0,5,-5\n", "t.csv:2: num_decode_tokens: got -5; expected a whole number from 1 to")
trace("trace-zero", VIDUR + "0,0,5\n", "t.csv:2: num_prefill_tokens: got 0; expected a whole number from 1 to")
option(
    "trace-missing",
    ["--trace", "no.csv"],
    "--trace no.csv: ",
    "no.csv: cannot be read (No such file or directory); give the path of",
)
option(
    "trace-rate-zero",
    ["--trace", "t.csv", "--request-rate", "0"],
    "--request-rate 0: workload.arrival.request_rate: must be greater than 0 req/s",
)
CASES.append(
    Case(
        "trace-rate-of-one-moment",
        ("--request-rate 3: workload.arrival.request_rate: all requests of the trace come at once; leave the rate out",),
        arguments=("--trace", "t.csv", "--request-rate", "3"),
        files={"t.csv": VIDUR + "0,5,5\n0,5,5\n"},
    )
)
option(
    "trace-speed",
    ["--trace", "t.csv", "--set", "workload.arrival.speed=-1"],
    "workload.arrival.speed: must be greater than 0, got -1",
)
option(
    "trace-speed-and-rate",
    ["--trace", "t.csv", "--request-rate", "3", "--set", "workload.arrival.speed=2"],
    "speed: give either speed or request_rate, not both",
)
option(
    "trace-with-sessions",
    ["--trace", "t.csv", "--set", "workload.sessions={turns: 3}"],
    "workload.sessions: only for generated arrivals; a trace brings its own",
)
trace("trace-bad-ids", OWN + "0,17,5,1 b,16,-1\n", "t.csv:2: hash_ids: got '1 b'; expected whole numbers, separated by spaces")
trace(
    "trace-large-id",
    OWN + "0,17,5,1099511627776,16,-1\n",
    "t.csv:2: hash_ids: got 1099511627776; expected whole numbers from 0 to 1099511627775",
)
trace(
    "trace-many-ids",
    OWN + "0,17,5,1 2 3,16,-1\n",
    "t.csv:2: hash_ids: 3 ids; expected at most 2, one for each 16 tokens of the prompt",
)
trace(
    "trace-no-block",
    VIDUR[:-1] + ",hash_ids\n0,17,5,1\n",
    "t.csv:2: hash_block: column is missing; hash_ids needs it: the tokens of a block",
)
trace("trace-late-parent", OWN + "0,17,5,,16,1\n0,17,5,,16,-1\n", "t.csv:2: parent: got 1; expected -1 in the first row")
trace(
    "trace-mooncake-ids",
    '{"timestamp": 0, "input_length": 513, "output_length": 1, "hash_ids": [7]}',
    "t.csv:1: hash_ids: 1 ids; expected 2, one for each 512 tokens",
)
trace(
    "trace-serving-sim",
    '{"arrival_time_ns": 0, "input_toks": 0, "output_toks": 1}',
    "t.csv:1: input_toks: got 0; expected a whole number from 1 to",
)
trace("trace-no-calls", '{"arrival_time_ns": 0, "sub_requests": []}', "t.csv:1: JSON: Expected `array` of length >= 1")
trace(
    "trace-vllm-ids",
    "arrival_s,input_tokens,output_tokens,prefix_hash_ids\n0,33,5,1\n",
    "t.csv:2: prefix_hash_ids: 1 ids; expected 2, one for each 16 tokens",
)
CASES.append(Case("trace-in-file", ("model.yaml:13: t.csv:2: num_prefill_tokens: got 0; expected a whole number",),
                  edits=(("kind: poisson, request_rate: 10", "kind: trace, path: t.csv"),), files={"t.csv": VIDUR + "0,0,5\n"}))  # fmt: skip


# Generated traffic.
def arrival(name: str, text: str, *expected: str) -> None:
    key(name, "{kind: poisson, request_rate: 10}", text, *expected)


arrival(
    "ramp-empty", "{kind: ramp, rates: []}", "model.yaml:13: workload.arrival.rates: must have from 1 to 1000000 entries, got 0"
)
arrival("ramp-no-rates", "{kind: ramp}", "model.yaml:13: workload.arrival: missing key 'rates'; add rates: [[0, 2], [600, 10]]")
arrival(
    "ramp-start", "{kind: ramp, rates: [[5, 1]]}", "model.yaml:13: workload.arrival.rates: the first point must be at 0 s, got 5"
)
arrival(
    "ramp-order", "{kind: ramp, rates: [[0, 1], [9, 1], [8, 1]]}", "workload.arrival.rates: times must not fall, got 8 after 9"
)
arrival("ramp-zero", "{kind: ramp, rates: [[0, 0]]}", "workload.arrival.rates: all are 0; give one above 0")
arrival(
    "ramp-negative", "{kind: ramp, rates: [[0, -1]]}", "model.yaml:13: workload.arrival.rates.0.1: must be at least 0, got -1"
)
arrival("ramp-number", "{kind: ramp, rates: [5]}", "model.yaml:13: workload.arrival.rates.0: expected a list, got 5")
arrival(
    "ramp-that-ends",
    "{kind: ramp, rates: [[0, 1], [2, 0]]}",
    "model.yaml:13: workload.arrival.rates: end at 0 req/s, after about",
    "set num_prompts to",
)
key(
    "sessions-unknown",
    "  num_prompts:",
    "  sessions: {turn: 3}\n  num_prompts:",
    "model.yaml:15: workload.sessions.turn: unknown key 'turn' (did you mean 'turns'?)",
)
key(
    "sessions-turns",
    "  num_prompts:",
    "  sessions: {turns: 0}\n  num_prompts:",
    "model.yaml:15: workload.sessions.turns: must be at least 1, got 0",
)
key(
    "sessions-fixed",
    "  num_prompts:",
    "  sessions: {turns: 1.5, turn_distribution: fixed}\n  num_prompts:",
    "workload.sessions.turns: must be a whole number where",
)
key(
    "sessions-think",
    "  num_prompts:",
    "  sessions: {turns: 2, think_time: 3 m}\n  num_prompts:",
    "workload.sessions.think_time: wrong unit 'm' in '3 m'",
)
key(
    "prefix-tokens",
    "  num_prompts:",
    "  shared_prefix: {tokens: 0}\n  num_prompts:",
    "model.yaml:15: workload.shared_prefix.tokens: must be at least 1, got 0",
)
key(
    "prompts-that-grow",
    "  num_prompts:",
    "  sessions: {turns: 9999, turn_distribution: fixed}\n  shared_prefix: {tokens: 2147483648}\n  num_prompts:",
    "workload: a prompt grows to 2,148,763,392 tokens, more than",
    "use shorter lengths or fewer turns",
)

# Files that are not a specification.
CASES.append(
    Case(
        "missing-file",
        ("no.yaml: no such file, and no shipped experiment of that name; shipped experiments: ador-",),
        file="no.yaml",
    )
)
CASES.append(Case("missing-file-in-folder", ("no/model.yaml: cannot read: no such file",), file="no/model.yaml"))
CASES.append(Case("near-preset", ("ador-llama3: no such file,", "(did you mean 'ador-llama3-8b'?)"), file="ador-llama3"))
CASES.append(Case("directory", (".: cannot read: this is a directory; give a file",), file="."))
whole("empty-file", "", "model.yaml:1: expected a mapping of keys such as device, model, workload; got an empty file")
whole(
    "comments-only", "# nothing\n", "model.yaml:1: expected a mapping of keys such as device, model, workload; got an empty file"
)
whole("list-file", "- 1\n", "model.yaml:1: expected a mapping of keys such as device, model, workload; got a list")
whole("text-file", "hello\n", "model.yaml:1: expected a mapping of keys such as device, model, workload; got 'hello'")
whole("binary-file", bytes(range(256)), "model.yaml: cannot read: not UTF-8 text; give a specification in YAML")
whole("zeros-file", b"\0" * 100, "model.yaml:1: not valid YAML: ", "give a text file")
whole("large-file", b"#" * (2 << 20), "model.yaml: larger than 1 MiB; give a specification in YAML")
whole("tab", "device:\n\tfrequency: 1 GHz\n", "model.yaml:2: not valid YAML: found character", "indent with spaces")
whole(
    "bracket",
    "device: {frequency: 1 GHz\nmodel: 3\n",
    "model.yaml:2: not valid YAML: did not find expected ',' or '}'; check brackets",
)
whole("two-documents", SAMPLE + "---\na: 1\n", "model.yaml:18: a second YAML document starts here; keep one to a file")
whole("duplicate-key", SAMPLE + "seed: 1\n", "model.yaml:18: seed: this key appears twice; keep one")
whole("list-as-key", "[1, 2]: 3\n", "model.yaml:1: a key must be plain text")
whole(
    "tag",
    "name: !!python/object:os.system x\n",
    "model.yaml:1: name: tag tag:yaml.org,2002:python/object:os.syste is not understood; leave it out",
)
whole("deep", "a: " + "[" * 30 + "{b: " * 30 + "1" + "}" * 30 + "]" * 30, "model.yaml:1: nested more than 40 levels deep")
whole("very-deep", "- " * 500_000 + "1", "model.yaml:1: nested more than 40 levels deep; a specification has about five")
whole("alias-to-itself", "a: &a [*a, *a]\n", "model.yaml:1: alias *a stands before or inside its anchor; write it out")
LAUGHS = "".join(f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]\n" for i in range(1, 10))
whole(
    "billion-laughs", "a0: &a0 lol\n" + LAUGHS, "model.yaml:", "more than 50,000 values, aliases written out; a specification has"
)

# Options.
option(
    "set-without-value",
    ["--set", "device.core_count"],
    "--set device.core_count: expected KEY=VALUE such as device.core_count=64",
)
option("set-without-key", ["--set", "=3"], "--set =3: expected KEY=VALUE such as device.core_count=64")
option("set-empty-step", ["--set", "device..core_count=3"], "--set device..core_count=3: expected KEY=VALUE")
option(
    "set-unknown", ["--set", "device.cores=3"], "--set device.cores=3: device.cores: unknown key 'cores' (did you mean 'core'?)"
)
option("set-not-yaml", ["--set", "device.core_count=[1"], "--set device.core_count=[1: not valid YAML")
option("set-deep", ["--set", "name=" + "[" * 100], "--set name=[", "nested more than 40 levels deep")
option("seed", ["--seed", "-1"], "--seed -1: seed: must be at least 0, got -1")
option("seed-text", ["--seed", "x"], "--seed x: seed: expected a whole number, got 'x'")
option("rate", ["--request-rate", "-2"], "--request-rate -2: workload.arrival.request_rate: must be greater than 0 req/s, got -2")
option("rate-zero", ["--request-rate", "0"], "--request-rate 0: workload.arrival.request_rate: must be greater than 0")
option("prompts", ["--num-prompts", "0"], "--num-prompts 0: workload.num_prompts: must be at least 1, got 0")
option("goodput", ["--goodput", "ttft"], "--goodput ttft: expected GOAL:MS with goal ttft, tpot or e2el, such as ttft:200")
option("goodput-goal", ["--goodput", "itl:3"], "--goodput itl:3: expected GOAL:MS with goal ttft, tpot or e2el")
option(
    "goodput-text",
    ["--goodput", "ttft:fast"],
    "--goodput ttft:fast: slo.ttft: expected a quantity such as '200 ms', got 'fast ms'",
)
option("goodput-negative", ["--goodput", "ttft:-1"], "--goodput ttft:-1: slo.ttft: must be greater than 0 s, got '-1 ms'")
option("unknown-option", ["--rate", "3"], "hdasim: unrecognized arguments: --rate 3; see hdasim --help")
option(
    "output-is-file", ["--output-dir", "model.yaml"], "--output-dir model.yaml: cannot write results: file exists; choose another"
)
option(
    "output-below-file",
    ["--output-dir", "model.yaml/x"],
    "--output-dir model.yaml/x: cannot write results: not a directory; choose",
)
if Path("/dev/zero").exists():
    option(
        "trace-device", ["--trace", "/dev/zero"], "--trace /dev/zero: /dev/zero: cannot be read (this is a device); give the path"
    )
if Path("/proc/self").exists():
    option(
        "output-unwritable",
        ["--output-dir", "/proc/results"],
        "--output-dir /proc/results: cannot write results: ",
        "choose another",
    )


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Any]:
    """Outcome of a case; those of all selected cases are under way."""
    folder = tmp_path_factory.mktemp("bad")
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
    request.addfinalizer(lambda: pool.shutdown(cancel_futures=True))
    selected = {item.callspec.params["case"].name for item in request.session.items if hasattr(item, "callspec") and
                isinstance(item.callspec.params.get("case"), Case)}  # fmt: skip
    futures: dict[str, Future[Any]] = {c.name: pool.submit(c.run, folder / c.name) for c in CASES if c.name in selected}
    return lambda case: futures[case.name].result()


def test_there_are_many_cases_with_unique_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_line_that_helps(case: Case, outcome: Callable[[Case], Any], record_property: Callable[[str, Any], None]) -> None:
    done, seconds = outcome(case)
    record_property("seconds", seconds)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in lines[0]
    assert len(lines[0]) < 600
    for part in case.expected:
        assert part in lines[0], f"{part!r} not in {lines[0]!r}"
    assert seconds < SECONDS
