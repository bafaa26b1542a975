"""What the hosts of e2e_batch_splitwise.csv take beside their GPUs, from BLOOM-176B.

    python -m benchmarks.hosts --data shared/reference/silicon

Prints the constants of `hdasim.validate.endtoend`: seconds of a launch, from the token time of single requests, and of a prompt
beside its kernels, from the shortest prompt. A layer of BLOOM in vLLM of 2023 launches 15 kernels: two norms, four GEMMs, the
cache write, attention, GELU, two all-reduces, and two biases and two residuals of their own.
"""

import argparse
import csv
from pathlib import Path
from statistics import median

from hdasim.device.latency import build
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load_device
from hdasim.spec.model import Layer, Model
from hdasim.spec.serving import Serving
from hdasim.spec.workload import FixedLengths, PoissonArrival, Workload

#: bigscience/bloom config.json
BLOOM = Model(
    name="bloom-176b", hidden_size=14336, num_attention_heads=112, num_key_value_heads=112, head_dim=128, vocab_size=250880,
    intermediate_size=57344, layers=(Layer(),) * 70, gated=False, activation="gelu", norm="layernorm", tie_word_embeddings=True,
)  # fmt: skip
LAUNCHES = 70 * 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    with (parser.parse_args().data / "e2e_batch_splitwise.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "bloom-176b" and row["batch_size"] == "1"]
    workload = Workload(arrival=PoissonArrival(request_rate=1), lengths=FixedLengths(input_len=1, output_len=1), num_prompts=1)
    for name in ("a100", "h100"):
        own = [row for row in rows if row["hardware"] == f"{name}-80gb"]
        tokens = min(int(row["prompt_size"]) for row in own)
        prompt = median(float(row["prompt_time"]) for row in own if int(row["prompt_size"]) == tokens)
        token = median(float(row["token_time"]) for row in own)
        machine = build(
            Experiment(device=load_device(name), model=BLOOM, serving=Serving(device_count=8), workload=workload)
        )  # fmt: skip
        step, _ = machine.step([tokens], [0], 1)
        print(f"{name}: launch {token / LAUNCHES * 1e3:.1f} us, prompt {prompt - float(step['time']) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
