"""Constants of a generation that follow from ratios of measured times, without a fit.

`sustained`: bf16 GEMMs that run long slow the clock, as far as the operands toggle bits. vLLM's collector leaves operands
uninitialised, TensorRT-LLM's and SGLang's fill them: the time of the first over the mean of the others, median of GEMMs of 1e13
operations and more. Where hardly any such GEMM was measured with both, the fit has followed filled operands already: 1.

`streaming`: bytes of GEMMs of at most 16 tokens and weights of 200 MB and more, over the fastest framework's time without the
launch, over the peak of DRAM: the median of the GEMMs that all frameworks ran. A GPU on which attention or experts were not
measured gets their share of the peak from it: times the mean ratio of their share to that of GEMMs where they were.
"""

from pathlib import Path

import numpy as np

from benchmarks import calibrate_attention, calibrate_experts, calibrate_gemm
from benchmarks.measured import FRAMEWORKS, fastest, framework, integers, rounded, shipped, table
from hdasim.spec.load import load_device

OPERATIONS, FEWEST = 1e13, 20
TOKENS, WEIGHTS = 16, 200e6
#: Constants that are shares of the peak of DRAM, by model, and where they were measured.
SHARES = {
    "attention": ("stream", calibrate_attention.MEASURED),
    "experts": ("bandwidth", calibrate_experts.MEASURED),
}


def sustained(data: Path, generation: str) -> tuple[float, int]:
    """Rate under load in parts of the rate that the fit sees, and from how many GEMMs: 1 if too few."""
    rows = table(data / calibrate_gemm.MEASURED[generation][1]["bf16"])
    operations = 2.0 * integers(rows, "m") * integers(rows, "n") * integers(rows, "k")
    bare, *filled = (framework(rows, name) for name in ("vllm_us", "trtllm_us", "sglang_us"))
    there = (operations >= OPERATIONS) & np.isfinite(bare) & np.isfinite(filled).any(axis=0)
    count = int(there.sum())
    if count < FEWEST:
        return 1.0, count
    ratio = bare[there] / np.nanmean(np.array(filled)[:, there], axis=0)
    return rounded(float(np.median(ratio)), 2), count


def streaming(data: Path, generation: str) -> tuple[float, int]:
    """Share of the peak of DRAM that thin GEMMs with large weights get, and from how many."""
    preset, files = calibrate_gemm.MEASURED[generation]
    rows, device = table(data / files["bf16"]), load_device(preset)
    m, n, k = (integers(rows, name).astype(np.float64) for name in ("m", "n", "k"))
    every = np.isfinite([framework(rows, name) for name in FRAMEWORKS]).all(axis=0)
    there = every & (m <= TOKENS) & (2 * n * k >= WEIGHTS)
    moved = 2 * (n * k + m * k + m * n)
    rate = moved / (fastest(rows) - device.launch_overhead) / device.dram.bandwidth
    return float(np.median(rate[there])), int(there.sum())


def unmeasured(data: Path, generation: str, model: str) -> tuple[float, dict[str, float]]:
    """A model's share of the peak of DRAM on a generation on which it was not measured; and its ratio to GEMMs on the others."""
    name, measured = SHARES[model]
    ratios = {}
    for other, (preset, *_) in measured.items():
        ratios[other] = shipped(preset, model)[name] / streaming(data, other)[0]
    share = streaming(data, generation)[0] * float(np.mean(list(ratios.values())))
    return rounded(share), ratios
