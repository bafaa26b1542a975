"""Runs on pipelines and replicas: what they share, what they add up to, and what stays the same."""

import csv
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

import hdasim
from hdasim.device.latency import build
from hdasim.report.files import result_document, write_run
from hdasim.report.table import print_result
from hdasim.serving import engine
from hdasim.serving.engine import Served, serve
from hdasim.serving.requests import Requests
from hdasim.spec.experiment import Experiment
from hdasim.spec.load import load

WORKLOAD = "workload={arrival: {kind: poisson, request_rate: 40}, lengths: {kind: lognormal, input_mean: 600, input_cv: 1, \
output_mean: 60, output_cv: 1}, num_prompts: 120}"


def experiment(**serving: Any) -> Experiment:
    return load("ador-llama3-8b", [WORKLOAD, *(f"serving.{key}={value}" for key, value in serving.items())])


def requests(count: int, spacing: float = 0.02) -> Requests:
    rng = np.random.default_rng(5)
    return Requests(np.arange(count) * spacing, rng.integers(1, 2500, count), rng.integers(1, 80, count))


def same(a: Served, b: Served) -> bool:
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("outcomes", "steps", "gaps", "program_time"))


# ---- replicas ----


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("replicas", [2, 3])
def test_replicas_serve_every_nth_request_by_themselves(replicas: int, stages: int) -> None:
    e = experiment(data_parallel_size=replicas, pipeline_parallel_size=stages)
    machine, all_ = build(e), requests(50)
    served = serve(machine, e.serving, all_)
    assert (np.diff(served.steps["start"]) >= 0).all()
    times = np.zeros(2 * stages - 1)
    for i in range(replicas):
        part = Requests(all_.arrival_s[i::replicas], all_.input_len[i::replicas], all_.output_len[i::replicas])
        alone = serve(machine, msgspec.structs.replace(e.serving, data_parallel_size=1), part)
        assert alone.outcomes.tobytes() == served.outcomes[i::replicas].tobytes()
        assert alone.steps.tobytes() == served.steps[served.replica == i].tobytes()
        times += alone.program_time
    assert served.program_time == pytest.approx(times)
    assert served.gaps["count"].sum() == (all_.output_len - 1).sum()


def test_slices_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    e = experiment(data_parallel_size=3, pipeline_parallel_size=2)
    machine = build(e)
    whole = serve(machine, e.serving, requests(40))
    monkeypatch.setattr(engine, "SLICE", 7)
    seen: list[tuple[int, int, float, int]] = []
    sliced = serve(machine, e.serving, requests(40), lambda *progress: seen.append(progress))
    for name in ("outcomes", "steps", "replica"):
        assert getattr(whole, name).tobytes() == getattr(sliced, name).tobytes()
    assert sliced.gaps["count"].sum() == whole.gaps["count"].sum()
    assert [p[2] for p in seen] == sorted(p[2] for p in seen)  # the clock of the slowest replica
    assert seen[-1][0] == 40 and seen[-1][3] == whole.steps.size


def test_an_interrupt_keeps_what_all_replicas_did(monkeypatch: pytest.MonkeyPatch) -> None:
    e = experiment(data_parallel_size=2)
    monkeypatch.setattr(engine, "SLICE", 10)

    def stop(finished: int, total: int, now: float, steps: int) -> None:
        if steps >= 60:
            raise KeyboardInterrupt

    served = serve(build(e), e.serving, requests(60), stop)
    assert served.interrupted and served.steps.size == 60 == served.replica.size
    ends = [float(served.steps["start"][served.replica == i].max()) for i in (0, 1)]
    assert ends[0] == pytest.approx(ends[1], rel=0.5)


def test_more_replicas_than_requests() -> None:
    e = experiment(data_parallel_size=8)
    served = serve(build(e), e.serving, requests(3, 0.0))
    assert (served.outcomes["state"] == 2).all()
    assert set(served.replica.tolist()) == {0, 1, 2} and served.replicas == 8


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


def test_steps_name_their_replica(tmp_path: Path) -> None:
    for replicas in (1, 2):
        write_run(hdasim.simulate(experiment(data_parallel_size=replicas)), tmp_path)
        rows = list(csv.DictReader((tmp_path / "steps.csv").read_text(encoding="utf-8").splitlines()))
        assert ("replica" in rows[0]) == (replicas == 2)
    assert {row["replica"] for row in rows} == {"0", "1"}
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
    machine = build(e)
    served = serve(machine, e.serving, Requests(np.zeros(1), np.array([700]), np.array([3])))
    steps = [machine.step(q, p, 1)[0]["time"] for q, p in (([700], [0]), ([1], [700]), ([1], [701]))]
    assert served.steps["time"].tolist() == pytest.approx(steps)
    summary = hdasim.metrics.summarise(served, machine, e.slo)
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
    machine = build(e)
    served = serve(machine, e.serving, Requests(np.zeros(1), np.array([300]), np.array([1])))
    c = hdasim.metrics.summarise(served, machine, e.slo)["communication"]
    step, _ = machine.step([300], [0], 1)
    for i, network in enumerate(("cores", "devices")):
        assert c[network]["time"] == pytest.approx(step["communication"][i] / step["time"])
        assert c[network]["exposed"] == pytest.approx(step["exposed_communication"][i] / step["time"])
    assert c["exposed"] == c["cores"]["exposed"] + c["devices"]["exposed"]
    assert (c["devices"]["time"] > 0) == bool(serving)


def test_a_run_without_steps_communicates_nothing() -> None:
    e = experiment()
    machine = build(e)
    served = serve(machine, e.serving, Requests(np.zeros(1), np.array([10**7]), np.array([1])))
    s = hdasim.metrics.summarise(served, machine, e.slo)
    nothing = {"time": 0, "exposed": 0}
    assert (s["rejected"], s["communication"]) == (1, {"exposed": 0, "cores": nothing, "devices": nothing})


def test_bounds_are_below_what_single_requests_take() -> None:
    for serving in ({"pipeline_parallel_size": 3}, {"pipeline_parallel_size": 2, "device_count": 4}):
        e = experiment(**serving)
        machine = build(e)
        for n, m in ((1, 1), (5000, 4), (300, 30)):
            served = serve(machine, e.serving, Requests(np.zeros(1), np.array([n]), np.array([m])))
            s = hdasim.metrics.summarise(served, machine, e.slo)
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
        assert ("per replica" in shown) == ("data_parallel_size" in serving)
        document = result_document(result)
        assert ("pipeline" in document) == ("pipeline_parallel_size" in serving)
        json.dumps(document)


def test_all_of_it_together() -> None:
    e = load("ador-llama3-8b", [WORKLOAD, "model.preset=mixtral-8x7b", "serving={scheduler: ador, device_count: 2, \
pipeline_parallel_size: 2, data_parallel_size: 2, enable_expert_parallel: true}"])  # fmt: skip
    first, again = hdasim.simulate(e), hdasim.simulate(e)
    assert same(first.served, again.served) and first.summary == again.summary
    assert first.summary["completed"] == 120
    for row in first.served.steps:
        assert row["bound"] <= row["time"] * (1 + 1e-9)
    assert first.served.program_time.sum() == pytest.approx(first.served.steps["limited"].sum())
