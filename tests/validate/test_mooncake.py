"""Prefix caching on Mooncake's conversation excerpt: what an endless cache finds, and what that does to the first token."""

from pathlib import Path

import pytest

import hdasim
from hdasim.serving.requests import describe
from hdasim.serving.traces import read

TRACE = Path(__file__).resolve().parents[2].parent / "shared/reference/traces/mooncake_fast25_conversation_first2500.jsonl"
pytestmark = pytest.mark.skipif(not TRACE.exists(), reason=f"needs {TRACE.name} in ../shared/reference/traces")


def run(count: int, caching: bool) -> hdasim.Result:
    """LLaMA3-8B on an H100 with room for all keys and values, at a tenth of the trace's rate: nobody waits long."""
    changes = [
        "device={preset: h100}", "serving={max_num_seqs: 256, max_num_batched_tokens: 8192, num_gpu_blocks: 10000000}",
        f"serving.enable_prefix_caching={str(caching).lower()}",
        f"workload={{arrival: {{kind: trace, path: '{TRACE}', speed: 0.1}}, num_prompts: {count}}}",
    ]  # fmt: skip
    return hdasim.simulate(hdasim.load("ador-llama3-8b", changes), keep_steps=False)


def test_an_endless_cache_finds_what_the_trace_repeats_and_shortens_prompts_by_that() -> None:
    count = 600
    reuse = describe(read(TRACE, count))["block_reuse"]
    assert reuse is not None and 0.15 < reuse < 0.4
    cached, plain = run(count, caching=True).summary, run(count, caching=False).summary
    # the last token of a prompt is always computed, and blocks count as whole ones: 16 tokens here, 512 in the trace
    assert cached["prefix_cache_hit_rate"] == pytest.approx(reuse, abs=0.01)
    assert plain["prefix_cache_hit_rate"] == 0
    saved = 1 - cached["mean_ttft_ms"] / plain["mean_ttft_ms"]
    bound = 1 - cached["bound"]["mean_ttft_ms"] / plain["bound"]["mean_ttft_ms"]
    assert saved == pytest.approx(bound, rel=0.35)
    assert cached["mean_ttft_ms"] < plain["mean_ttft_ms"]


def test_the_whole_excerpt_repeats_what_its_statistics_say() -> None:
    assert describe(read(TRACE))["block_reuse"] == pytest.approx(0.301, abs=5e-4)
