"""Runs on pipelines, replicas and clusters: what they share, what they add up to, and what stays the same."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import hdasim
from hdasim.core import layout
from hdasim.errors import SpecError
from hdasim.report.files import StepsFile, result_document, write_run
from hdasim.report.table import print_result
from hdasim.serving import engine
from hdasim.serving.engine import Served
from hdasim.serving.engine import serve as serve_pools
from hdasim.serving.pools import build_pools
from hdasim.serving.requests import Requests
from hdasim.simulate import several_instances
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load

WORKLOAD = "workload={arrival: {kind: poisson, request_rate: 40}, lengths: {kind: lognormal, input_mean: 600, input_cv: 1, \
output_mean: 60, output_cv: 1}, num_prompts: 120}"


def experiment(**serving: Any) -> Experiment:
    return load("ador-llama3-8b", [WORKLOAD, *(f"serving.{key}={value}" for key, value in serving.items())])


def requests(count: int, spacing: float = 0.02) -> Requests:
    rng = np.random.default_rng(5)
    return Requests(np.arange(count) * spacing, rng.integers(1, 2500, count), rng.integers(1, 80, count))


def serve(e: Experiment, requests: Requests, **options: Any) -> Served:
    return serve_pools(build_pools(e), requests, router=e.serving.router, **options)


def same(a: Served, b: Served) -> bool:
    times = all((x == y).all() for x, y in zip(a.program_time, b.program_time, strict=True))
    return times and all(
        getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("outcomes", "steps", "gaps", "totals")
    )


# ---- replicas ----


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("replicas", [2, 3])
def test_replicas_serve_every_nth_request_by_themselves(replicas: int, stages: int) -> None:
    e = experiment(data_parallel_size=replicas, pipeline_parallel_size=stages, router="round_robin")
    one, all_ = experiment(pipeline_parallel_size=stages), requests(50)
    served = serve(e, all_)
    assert (np.diff(served.steps["start"] + served.steps["time"]) >= -1e-12).all()  # in the order in which they end
    assert served.outcomes["rank"].tolist() == served.outcomes["decode_rank"].tolist() == [i % replicas for i in range(50)]
    for i in range(replicas):
        part = Requests(all_.arrival_s[i::replicas], all_.input_len[i::replicas], all_.output_len[i::replicas])
        alone = serve(one, part)
        for name in set(layout.REQUEST.names or ()) - {"rank", "decode_rank"}:
            assert (alone.outcomes[name] == served.outcomes[name][i::replicas]).all()
        own = served.steps[served.steps["instance"] == i]
        for name in set(layout.STEP_RECORD.names or ()) - {"instance"}:
            assert (alone.steps[name] == own[name]).all()
        assert (served.program_time[i] == alone.program_time[0]).all()
        assert served.totals[i] == alone.totals[0]
    assert served.gaps["count"].sum() == (all_.output_len - 1).sum()


def test_totals_are_the_sums_of_the_steps() -> None:
    served = serve(experiment(data_parallel_size=2, device_count=2, host_overhead=1e-4), requests(40))
    for i, total in enumerate(served.totals):
        own = served.steps[served.steps["instance"] == i]
        assert total["steps"] == own.size
        for name in ("time", "bound", "dram_bytes", "p2p_bytes", "exposed_noc", "preemptions"):
            assert total[name] == pytest.approx(own[name].sum())
        for name in ("macs", "busy", "limited"):
            assert total[name] == pytest.approx(own[name].sum(axis=0))
        for name in ("running", "waiting", "kv_blocks"):
            assert total[name] == pytest.approx((own[name] * own["time"]).sum())
            assert total[f"max_{name}"] == own[name].max()
        assert total["end"] == own["start"][-1] + own["time"][-1]
        assert total["occupied"] == pytest.approx(own["time"].sum())  # without a pipeline steps do not overlap


def test_slices_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    e = experiment(data_parallel_size=3, pipeline_parallel_size=2)
    whole = serve(e, requests(40))
    monkeypatch.setattr(engine, "SLICE", 7)
    seen: list[tuple[int, int, float, int]] = []
    taken: list[np.ndarray] = []
    sliced = serve(
        e, requests(40), progress=lambda *progress: seen.append(progress), sink=lambda steps: taken.append(steps.copy())
    )
    for name in ("outcomes", "steps", "totals"):
        assert getattr(whole, name).tobytes() == getattr(sliced, name).tobytes()
    assert np.concatenate(taken).tobytes() == whole.steps.tobytes()
    assert sliced.gaps["count"].sum() == whole.gaps["count"].sum()
    assert [p[2] for p in seen] == sorted(p[2] for p in seen)
    assert seen[-1][0] == 40 and seen[-1][3] == whole.steps.size
    light = serve(e, requests(40), keep_steps=False)
    assert light.steps.size == 0 and light.outcomes.tobytes() == whole.outcomes.tobytes()


def test_an_interrupt_keeps_what_all_replicas_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SLICE", 10)

    def stop(finished: int, total: int, now: float, steps: int) -> None:
        if steps >= 60:
            raise KeyboardInterrupt

    served = serve(experiment(data_parallel_size=2), requests(60), progress=stop)
    assert served.interrupted and served.steps.size == 60
    assert served.totals["steps"].sum() == 60
    ends = [float(served.steps["start"][served.steps["instance"] == i].max()) for i in (0, 1)]
    assert ends[0] == pytest.approx(ends[1], rel=0.5)
    assert served.outcomes["generated"].sum() == served.gaps["count"].sum() + (served.outcomes["generated"] > 0).sum()


def test_more_replicas_than_requests() -> None:
    served = serve(experiment(data_parallel_size=8), requests(3, 0.0))
    assert (served.outcomes["state"] == 2).all()
    assert served.outcomes["rank"].tolist() == [0, 1, 2] and served.instances.tolist() == [0] * 8
    assert set(served.steps["instance"].tolist()) == {0, 1, 2}


def test_replicas_shorten_the_queue_and_count_as_devices() -> None:
    one, two = (hdasim.simulate(experiment(data_parallel_size=n)) for n in (1, 2))
    assert two.summary["mean_e2el_ms"] < one.summary["mean_e2el_ms"]
    assert two.summary["bound"] == one.summary["bound"]
    assert two.summary["completed"] == one.summary["completed"] == 120
    peak = one.machine.device.peak_macs_per_second
    for result, replicas in ((one, 1), (two, 2)):
        s = result.summary
        time = s["device"]["busy"] * s["duration"] * replicas  # device seconds in which steps run
        assert s["device"]["systolic_array"] * time * peak[0] == pytest.approx(result.served.steps["macs"][:, 0].sum())
        assert 0 < s["device"]["busy"] <= 1


def test_files_name_instances_where_there_are_several(tmp_path: Path) -> None:
    for replicas in (1, 2):
        e = experiment(data_parallel_size=replicas)
        with StepsFile(tmp_path, several_instances(e)) as steps:
            write_run(hdasim.simulate(e, sink=steps), tmp_path)
        rows = list(csv.DictReader((tmp_path / "steps.csv").read_text(encoding="utf-8").splitlines()))
        asked = list(csv.DictReader((tmp_path / "requests.csv").read_text(encoding="utf-8").splitlines()))
        assert ("instance" in rows[0]) == ("rank" in asked[0]) == ("decode_rank" in asked[0]) == (replicas == 2)
    assert {row["instance"] for row in rows} == {row["rank"] for row in asked} == {"0", "1"}
    assert [int(row["step"]) for row in rows] == list(range(len(rows)))


# ---- pipelines ----


def test_one_stage_is_no_pipeline() -> None:
    plain, explicit = (hdasim.simulate(e) for e in (experiment(), experiment(pipeline_parallel_size=1, data_parallel_size=1)))
    assert same(plain.served, explicit.served)
    assert plain.summary == explicit.summary
    assert "pipeline" not in plain.summary
    assert plain.machine.link is None and plain.machine.chain == list(plain.machine.stages)


def test_a_lone_request_sees_the_sum_of_the_stages_and_bubbles() -> None:
    e = experiment(pipeline_parallel_size=4)
    served = serve(e, Requests(np.zeros(1), np.array([700]), np.array([3])))
    machine = served.pools[0].machine
    steps = [machine.step(q, p, 1)[0]["time"] for q, p in (([700], [0]), ([1], [700]), ([1], [701]))]
    assert served.steps["time"].tolist() == pytest.approx(steps)
    summary = hdasim.metrics.summarise(served, e.slo)
    # one of four stages works at a time, less the links
    assert summary["pipeline"]["bubbles"] == pytest.approx(0.75, abs=0.01)
    assert sum(summary["pipeline"]["stage_busy"]) == pytest.approx(1, abs=0.02)
    assert summary["device"]["busy"] == pytest.approx(1)


def test_a_full_pipeline_hides_its_bubbles_and_wins_throughput() -> None:
    load_ = "workload={arrival: {kind: poisson, request_rate: inf}, lengths: {kind: fixed, input_len: 1024, output_len: 100}, \
num_prompts: 200}"
    results = {}
    for stages in (1, 4):
        e = load("ador-llama3-8b", [load_, f"serving.pipeline_parallel_size={stages}", "serving.max_num_batched_tokens=512"])
        results[stages] = hdasim.simulate(e)
    one, four = results[1].summary, results[4].summary
    assert four["pipeline"]["bubbles"] < 0.25
    assert 2 < four["output_throughput"] / one["output_throughput"] <= 4
    slowest = max(four["pipeline"]["stage_busy"])
    assert slowest <= 1
    # utilisation is per device: four devices share the work
    ratio = four["output_throughput"] / one["output_throughput"] / 4
    assert four["device"]["systolic_array"] / one["device"]["systolic_array"] == pytest.approx(ratio, rel=0.05)
    for s in (one, four):
        assert sum(s["bottleneck"].values()) == pytest.approx(1)
        assert s["bound"]["mean_ttft_ms"] <= s["mean_ttft_ms"]


@pytest.mark.parametrize(
    "serving", [{}, {"device_count": 4}, {"pipeline_parallel_size": 3, "device_count": 2}], ids=["one", "tensor", "pipeline"]
)
def test_the_communication_of_a_run_is_that_of_its_steps(serving: dict[str, int]) -> None:
    """One prompt of 300 tokens and one answer is one step, whose shares `step` knows."""
    e = experiment(**serving)
    served = serve(e, Requests(np.zeros(1), np.array([300]), np.array([1])))
    c = hdasim.metrics.summarise(served, e.slo)["communication"]
    step, _ = served.pools[0].machine.step([300], [0], 1)
    for i, network in enumerate(("cores", "devices")):
        assert c[network]["time"] == pytest.approx(step["communication"][i] / step["time"])
        assert c[network]["exposed"] == pytest.approx(step["exposed_communication"][i] / step["time"])
    assert c["exposed"] == c["cores"]["exposed"] + c["devices"]["exposed"]
    assert (c["devices"]["time"] > 0) == bool(serving)


def test_a_run_without_steps_communicates_nothing() -> None:
    e = experiment()
    served = serve(e, Requests(np.zeros(1), np.array([10**7]), np.array([1])))
    s = hdasim.metrics.summarise(served, e.slo)
    nothing = {"time": 0, "exposed": 0}
    assert (s["rejected"], s["communication"]) == (1, {"exposed": 0, "cores": nothing, "devices": nothing})


def test_bounds_are_below_what_single_requests_take() -> None:
    for serving in ({"pipeline_parallel_size": 3}, {"pipeline_parallel_size": 2, "device_count": 4}):
        e = experiment(**serving)
        for n, m in ((1, 1), (5000, 4), (300, 30)):
            served = serve(e, Requests(np.zeros(1), np.array([n]), np.array([m])))
            s = hdasim.metrics.summarise(served, e.slo)
            for name in ("ttft", "tpot", "itl", "e2el"):
                if s[f"mean_{name}_ms"] is not None:
                    assert s["bound"][f"mean_{name}_ms"] <= s[f"mean_{name}_ms"]


def test_the_tables_name_the_plan() -> None:
    expected = {
        "1 x ador,": {},
        "4 x ador,": {"device_count": 4},
        "2 x 4 x ador (pipeline x tensor),": {"device_count": 4, "pipeline_parallel_size": 2},
        "3 x 2 x ador (data x pipeline),": {"data_parallel_size": 3, "pipeline_parallel_size": 2},
    }
    for text, serving in expected.items():
        console = Console(width=160, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
        result = hdasim.simulate(experiment(**serving))
        print_result(result, console)
        console.file.close()
        shown = console.export_text()
        assert f"llama3-8b on {text} scheduler" in shown
        assert ("pipeline bubbles" in shown) == ("pipeline_parallel_size" in serving)
        assert (" tokens each" in shown) == ("data_parallel_size" in serving)
        document = result_document(result)
        assert ("pipeline" in document) == ("pipeline_parallel_size" in serving)
        json.dumps(document)


@pytest.mark.parametrize(
    "replicas",
    [
        1,
        2,
    ],
)
def test_all_of_it_together(replicas: int) -> None:
    plan = f"device_count: 2, pipeline_parallel_size: 2, data_parallel_size: {replicas}, enable_expert_parallel: true"
    e = load("ador-llama3-8b", [WORKLOAD, "model.preset=mixtral-8x7b", f"serving={{scheduler: ador, {plan}}}"])
    first, again = hdasim.simulate(e), hdasim.simulate(e)
    assert same(first.served, again.served) and first.summary == again.summary
    assert first.summary["completed"] == 120
    for row in first.served.steps:
        assert row["bound"] <= row["time"] * (1 + 1e-9)
    busy = sum(times.sum() for times in first.served.program_time)
    assert busy == pytest.approx(first.served.steps["limited"].sum())


# ---- clusters ----


def cluster(*overrides: str) -> Experiment:
    pools = "cluster={link: {bandwidth: 100 GB/s}, pools: [{role: prefill, count: 2}, {role: decode, count: 3}]}"
    return load("ador-llama3-8b", [WORKLOAD, pools, *overrides])


def test_a_profile_is_of_one_device(tmp_path: Path) -> None:
    """Otherwise the tables of one device would be taken for another, without a word."""
    own, folder = "cluster.pools.1.device={preset: h100}", f"profile={{path: {tmp_path}}}"
    with pytest.raises(SpecError, match=r"cluster\.pools\.1\.device: the profile's tables are those of the experiment's device"):
        hdasim.simulate(cluster(own, folder))


@pytest.mark.parametrize("router", ["vllm", "round_robin", "least_outstanding", "least_kv", "prefix_aware", "splitwise"])
def test_pools_prefill_decode_and_send(router: str) -> None:
    result = hdasim.simulate(cluster(f"cluster.router={router}"))
    served, s = result.served, result.summary
    assert s["completed"] == 120 and served.instances.tolist() == [0, 0, 1, 1, 1]
    prefill, decode = s["pools"]
    assert (prefill["role"], prefill["instances"], decode["role"], decode["instances"]) == ("prefill", 2, "decode", 3)
    moved = served.outcomes["rank"] != served.outcomes["decode_rank"]
    sent = served.requests.input_len[moved].sum() * result.experiment.model.kv_bytes_per_token
    assert served.totals["sent_bytes"].sum() == pytest.approx(sent)
    assert prefill["kv_transfer"]["bytes"] == pytest.approx(served.totals["sent_bytes"][:2].sum())
    if router != "splitwise":
        assert (served.outcomes["rank"] < 2).all() and (served.outcomes["decode_rank"][moved] >= 2).all()
        assert (moved == (served.requests.output_len > 1)).all()


def test_splitwise_prompts_on_faster_servers_for_tokens_are_no_faster_than_their_bound() -> None:
    """Prompts of 3,000 tokens take 268 ms on an RTX 4090 at best; 25 a second overflow to the two H100, which take a sixth."""
    pools = "[{role: prefill, device: {preset: rtx-4090}}, {role: decode, count: 2, device: {preset: h100}}]"
    overflow = ("workload.arrival.request_rate=25", "workload.lengths={kind: fixed, input_len: 3000, output_len: 20}")
    small = ("serving.num_gpu_blocks=8000", "serving.max_num_seqs=64")
    result = hdasim.simulate(cluster(f"cluster.pools={pools}", "cluster.router=splitwise", *overflow, *small))
    s, served = result.summary, result.served
    assert s["p50_ttft_ms"] < 268 and s["bound"]["mean_ttft_ms"] < 45  # the H100's
    for name in ("ttft", "tpot", "itl", "e2el"):
        assert s["bound"][f"mean_{name}_ms"] <= s[f"mean_{name}_ms"]
    assert served.totals["sent_bytes"][1:].sum() > 0  # from one H100 to another
    assert s["pools"][1]["kv_transfer"]["bytes"] == served.totals["sent_bytes"][1:].sum()


def test_a_link_of_half_the_bandwidth_delays_the_second_token() -> None:
    lone = ("workload.num_prompts=1", "workload.lengths={kind: fixed, input_len: 1000, output_len: 2}")
    times = {}
    for bandwidth in (1, 2):
        result = hdasim.simulate(cluster(*lone, f"cluster.link.bandwidth={bandwidth} GB/s"))
        times[bandwidth] = result.summary["mean_tpot_ms"] / 1e3
    # 1,000 tokens of 131,072 bytes (2 x 32 layers x 8 heads x 128 x 2 B) at 1 GB/s and at 2 GB/s
    assert times[1] - times[2] == pytest.approx(1000 * 131072 / 1e9 / 2)


def test_pools_may_have_devices_of_their_own() -> None:
    e = cluster("cluster.pools.0.device={preset: a100}", "cluster.pools.1.serving.max_num_seqs=8")
    served = hdasim.simulate(e).served
    assert [pool.machine.device.name for pool in served.pools] == [
        "a100",
        "custom" if e.device.name == "custom" else e.device.name,
    ]
    assert [pool.serving.max_num_seqs for pool in served.pools] == [e.serving.max_num_seqs, 8]
    assert served.totals["max_running"][2:].max() <= 8
    assert (served.outcomes["state"] == 2).all()


@pytest.mark.parametrize(
    ("parallel", "tolerance"),
    [
        ("data_parallel_size: 2, async_scheduling: true", 1e-12),
        # messages between devices take whole picoseconds: each of some 200 a step is off by up to half of one, of 10 ms
        ("device_count: 2, pipeline_parallel_size: 2, data_parallel_size: 2", 1e-8),
    ],
)
def test_a_machine_twice_as_fast_serves_in_half_the_time(parallel: str, tolerance: float) -> None:
    """A whole experiment with twice the frequency, bandwidths and rate, and half the latency and host overhead."""
    plan = f"serving={{{parallel}, host_overhead: 80 us}}"
    slow = load("ador-llama3-8b", [WORKLOAD, plan])
    device, arrival = slow.device, "workload.arrival.request_rate=80"
    assert device.p2p is not None
    fast = load("ador-llama3-8b", [
        WORKLOAD, plan, arrival, "serving.host_overhead=40 us", f"device.frequency={2 * device.frequency}",
        f"device.dram.bandwidth={2 * device.dram.bandwidth}", f"device.p2p.bandwidth={2 * device.p2p.bandwidth}",
        f"device.p2p.latency={device.p2p.latency / 2}",
    ])  # fmt: skip
    one, two = hdasim.simulate(slow).served, hdasim.simulate(fast).served
    for name in ("generated", "preemptions", "state", "rank"):
        assert (one.outcomes[name] == two.outcomes[name]).all()
    for name in ("prefill_tokens", "decode_tokens", "running", "waiting", "kv_blocks", "instance"):
        assert (one.steps[name] == two.steps[name]).all()
    for name in ("arrival", "scheduled", "first_token", "last_token"):
        assert two.outcomes[name] == pytest.approx(one.outcomes[name] / 2, rel=tolerance)
    assert two.steps["time"] == pytest.approx(one.steps["time"] / 2, rel=tolerance)
