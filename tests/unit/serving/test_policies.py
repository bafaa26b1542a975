"""Policies in Python through the whole of a run: the same as in C, a user's own, and what a policy may not do."""

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import hdasim
from hdasim.serving import policies
from hdasim.spec.load import load

WORKLOAD = "workload={arrival: {kind: poisson, request_rate: 40}, lengths: {kind: lognormal, input_mean: 600, input_cv: 1, \
output_mean: 60, output_cv: 1}, num_prompts: 120}"


def run(scheduler: str, *overrides: str) -> hdasim.Result:
    return hdasim.simulate(load("ador-llama3-8b", [WORKLOAD, *overrides, f"serving.scheduler={scheduler}"]))


@pytest.mark.parametrize("blocks", [400, 20_000])
@pytest.mark.parametrize("name", ["Vllm", "Static", "Orca", "Sarathi", "VllmV0"])
def test_a_dotted_name_gives_the_same_run(name: str, blocks: int) -> None:
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    own = (f"serving.num_gpu_blocks={blocks}", "serving.max_num_batched_tokens=4096")
    inside, outside = run(word, *own), run(f"hdasim.serving.policies.{name}", *own)
    assert inside.served.outcomes.tobytes() == outside.served.outcomes.tobytes()
    assert inside.served.steps.tobytes() == outside.served.steps.tobytes()
    assert inside.summary == outside.summary
    if blocks == 400:
        assert (inside.summary["preemptions"] > 0) == (name not in ("Static", "Orca"))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module of policies into the working directory, which is not on sys.path; returns the name of its class `P`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    names: list[str] = []

    def write(text: str) -> str:
        names.append(f"own_policy_{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        return f"{names[-1]}.P"

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_the_example_of_the_manual_runs_the_shortest_first(module: Any) -> None:
    text = policies.__doc__ or ""
    code = textwrap.dedent(text[text.index("    class ShortestFirst") : text.index("In ``my_policies.py``")])
    scheduler = module(code.replace("ShortestFirst", "P"))
    at_once = "workload.arrival.request_rate=inf"
    shortest, first = run(scheduler, at_once), run("orca", at_once)
    assert shortest.summary["completed"] == 120
    out, lengths = shortest.served.outcomes, shortest.served.requests.input_len
    later = out["scheduled"][:, None] > out["scheduled"][None, :]  # all were there from the start
    assert (lengths[:, None] >= lengths[None, :])[later].all()
    assert shortest.summary["mean_ttft_ms"] < first.summary["mean_ttft_ms"]


BODY = """
    class P:
        def schedule(self, scheduler):
            {}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BODY.format("pass"), r"schedules nothing although 120 requests are left; it must run or admit something"),
        (BODY.format("1 / 0"), r"own_policy_0.P failed: .*own_policy_0.py:4: ZeroDivisionError: division by zero"),
        (BODY.format("scheduler.run(0, 5)"), r"ValueError: request 0 is not running; expected one of running\(\)"),
        (
            BODY.format("scheduler.admit(0); scheduler.run(0, 10**9)"),
            r"ValueError: run: request 0 has \d+ tokens ready, got 1000000000",
        ),
        (BODY.format("scheduler.admit(0); scheduler.run(0, 1); scheduler.run(0, 1)"), r"request 0 is in this batch already"),
        (BODY.format("scheduler.admit(0); scheduler.run(0, 1); scheduler.preempt(0)"), r"preempt: request 0 is in this batch"),
        (BODY.format("scheduler.admit(0); scheduler.admit(0)"), r"admit: request 0 is not in the queue"),
        (BODY.format("scheduler.admit(120)"), r"no request 120; expected one of running\(\) or waiting\(\)"),
        (BODY.format("scheduler.input_len(-1)"), r"no request -1"),
        (
            "class P:\n    def __init__(self, x): pass\n    def schedule(self, s): pass\n",
            r"cannot be made without arguments: .*TypeError",
        ),
        ("class P:\n    pass\n", r"own_policy_0.P is no class with a method schedule\(scheduler\); see hdasim.serving.policies"),
        ("P = 3\n", r"own_policy_0.P is no class"),
        ("import no_such_module_at_all\n", r"cannot load own_policy_0.P: No module named 'no_such_module_at_all'"),
        ("class Q: pass\n", r"cannot load own_policy_0.P: module own_policy_0 has no P"),
        ("class P:\n  def (:\n", r"cannot load own_policy_0.P: .*own_policy_0.py:2: SyntaxError: invalid syntax"),
        ("1 / 0\n", r"cannot load own_policy_0.P: .*own_policy_0.py:1: ZeroDivisionError"),
    ],
)
def test_a_policy_that_fails_is_one_line(module: Any, text: str, message: str) -> None:
    name = module(text)
    with pytest.raises(hdasim.SpecError, match=message) as caught:
        run(name)
    assert "\n" not in str(caught.value) and "serving.scheduler" in str(caught.value)


def test_a_scheduler_is_good_for_one_call(module: Any) -> None:
    name = module(
        BODY.format("self.old = getattr(self, 'old', scheduler); self.old.budget; scheduler.admit(0); scheduler.run(0, 1)")
    )
    with pytest.raises(hdasim.SpecError, match="a scheduler is good for one call of schedule"):
        run(name)


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(
        hdasim.SpecError, match=r"cannot load nowhere.P: No module named 'nowhere'; it must lie in .* or on PYTHONPATH"
    ):
        run("nowhere.P")


def test_each_rank_has_a_policy_of_its_own(module: Any) -> None:
    name = module(
        """
        from hdasim.serving.policies import Vllm

        class P(Vllm):
            def schedule(self, scheduler):
                assert getattr(self, "rank", scheduler.rank) == scheduler.rank
                self.rank = scheduler.rank
                super().schedule(scheduler)
        """
    )
    result = run(name, "serving.data_parallel_size=3")
    assert result.summary == run("vllm", "serving.data_parallel_size=3").summary
