"""A14: how TBT and TTFT grow with the length of answers when requests keep coming.

Every request has the same prompt; answers have 1, 2, 4, .. tokens; requests come at the same rate whatever their length, a
share of the capacity with the longest answers. An answer of one token has no TBT, so TBT's ratio begins at the second length.
"Better than the GPU" is the GPU's ratio over ADOR's, each at the same share of its own capacity, and again at the same
requests/s (the slower device's). Capacity is what a device serves when all requests wait from the start.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

import hdasim
from hdasim.spec.base import Fraction, PositiveFloat, Spec
from hdasim.spec.experiment import Experiment
from hdasim.spec.workload import FixedLengths, PoissonArrival

from .inputs import Count, Loader, Tolerance, blame, check_ascending

Point = dict[str, Any]
Name = Annotated[str, Meta(min_length=1)]
Scheduler = Literal["vllm", "ador", "static", "orca", "sarathi", "vllm_v0"]
#: Of the load that is solved for.
RESOLUTION = 0.01


class Published(Spec):
    """Ratios of the longest answer's time to the shortest's, and the GPU's over ADOR's."""

    tbt: PositiveFloat
    ttft: PositiveFloat
    better_than_gpu: PositiveFloat


class Lengths(Spec):
    """The experiment file."""

    output_lens: Annotated[tuple[Count, ...], Meta(min_length=3, max_length=32)]
    baselines: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=4)]
    published: Published
    input_len: Count
    load: Fraction
    loads: Annotated[tuple[Fraction, ...], Meta(max_length=16)] = ()
    scheduler: Scheduler = "ador"
    baseline_scheduler: Scheduler = "vllm"
    model: str = "llama3-8b"
    device: str = "ador"
    max_num_seqs: Count = 256
    num_prompts: Count = 2000
    capacity_prompts: Count = 1000
    seed: Annotated[int, Meta(ge=0)] = 0
    tolerance: Tolerance = 0.15

    def __post_init__(self) -> None:
        check_ascending(output_lens=self.output_lens, loads=self.loads)
        if self.output_lens[1] < 2:
            raise ValueError("output_lens: the second must be at least 2 tokens, which is where TBT begins")


@dataclass(frozen=True)
class Server:
    """A device that serves; `capacity` is in requests/s with the longest answers."""

    name: str
    experiment: Experiment
    capacity: float


def served(sweep: Lengths, experiment: Experiment, output_len: int, rate: float, prompts: int) -> dict[str, Any]:
    """The summary of a run in which all answers have `output_len` tokens."""
    workload = msgspec.structs.replace(
        experiment.workload, arrival=PoissonArrival(request_rate=rate), num_prompts=prompts,
        lengths=FixedLengths(input_len=sweep.input_len, output_len=output_len),
    )  # fmt: skip
    return hdasim.simulate(msgspec.structs.replace(experiment, workload=workload, seed=sweep.seed)).summary


def start(sweep: Lengths, name: str, place: tuple[str | int, ...]) -> Server:
    loader = Loader(sweep.model, name, {"device": place})
    with blame(*place):
        experiment = loader.with_(
            {"serving.scheduler": sweep.scheduler if name == sweep.device else sweep.baseline_scheduler,
             "serving.max_num_seqs": sweep.max_num_seqs,
             "workload": {"arrival": {"kind": "poisson", "request_rate": 1}, "num_prompts": 1,
                          "lengths": {"kind": "fixed", "input_len": sweep.input_len, "output_len": 1}}}
        )  # fmt: skip
        flood = served(sweep, experiment, sweep.output_lens[-1], 1e9, sweep.capacity_prompts)
    return Server(name, experiment, float(flood["request_throughput"]))


def measure(sweep: Lengths, server: Server, output_len: int, rate: float, what: str) -> Point:
    """Mean TBT (None with one token) and TTFT, ms."""
    s = served(sweep, server.experiment, output_len, rate, sweep.num_prompts)
    return {"device": server.name, "what": what, "rate": rate, "load": rate / server.capacity, "output_len": output_len,
            "tbt_ms": s["mean_itl_ms"], "ttft_ms": s["mean_ttft_ms"]}  # fmt: skip


def growth(sweep: Lengths, points: list[Point], **where: Any) -> dict[str, float]:
    """Ratios of the last length to the first: {"tbt": from the second on, "ttft": from the first on}."""
    mine = {p["output_len"]: p for p in points if all(p[k] == v for k, v in where.items())}
    first, second, last = (mine[sweep.output_lens[i]] for i in (0, 1, -1))
    return {"tbt": last["tbt_ms"] / second["tbt_ms"], "ttft": last["ttft_ms"] / first["ttft_ms"]}


def evaluate(sweep: Lengths, servers: list[Server]) -> list[Point]:
    """All lengths at `load` of each device's own capacity; first, second and last length at other loads, and at a common rate."""
    points = [measure(sweep, s, n, sweep.load * s.capacity, "own load") for s in servers for n in sweep.output_lens]
    ends = [sweep.output_lens[i] for i in (0, 1, -1)]
    for share in sweep.loads:
        points += [measure(sweep, s, n, share * s.capacity, f"load {share:g}") for s in servers for n in ends]
    common = sweep.load * min(s.capacity for s in servers)
    return points + [measure(sweep, s, n, common, "same rate") for s in servers for n in ends]


def solve_load(sweep: Lengths, mine: Server, gpu: Server) -> float | None:
    """The least load of the GPU, as a share of its capacity, at which its TTFT grows `better_than_gpu` times as much as ADOR's
    at the same requests/s; None if it does not even at its capacity.
    """

    def ratio(share: float) -> float:
        ends = [sweep.output_lens[i] for i in (0, -1)]
        grown = []
        for s in (gpu, mine):
            first, last = (measure(sweep, s, n, share * gpu.capacity, "")["ttft_ms"] for n in ends)
            grown.append(last / first)
        return float(grown[0] / grown[1])

    low, high = 0.0, 1.0
    if ratio(high) < sweep.published.better_than_gpu:
        return None
    while high - low > RESOLUTION:
        middle = (low + high) / 2
        low, high = (low, middle) if ratio(middle) >= sweep.published.better_than_gpu else (middle, high)
    return high
