"""Service levels: both forms of goals, presets, and how a refusal reads."""

from pathlib import Path

import pytest

from hdasim.errors import SpecError
from hdasim.spec.load import load, presets
from hdasim.spec.slo import SLO, Goal, Limits, Percentiles

SAMPLE = Path(__file__).resolve().parents[2] / "cli" / "sample.yaml"


def slo(text: str) -> SLO:
    return load(SAMPLE, [f"slo={text}"]).slo


def test_a_number_is_a_goal_for_each_request() -> None:
    found = slo("{ttft: 200 ms, tpot: 0.05}")
    assert found == SLO(ttft=0.2, tpot=0.05)
    assert found.goals() == (Goal("ttft", "request", 0.2), Goal("tpot", "request", 0.05))
    assert [goal.name for goal in found.goals()] == ["ttft", "tpot"]


def test_a_mapping_sets_statistics_of_the_run() -> None:
    found = slo("{ttft: {request: 200 ms, p99: 2 s}, itl: {p99: 0.1, mean: 50 ms}, scheduling_delay: {p50: 2 s}}")
    assert found.ttft == Limits(request=0.2, p99=2.0)
    assert found.itl == Percentiles(p99=0.1, mean=0.05)
    assert [(goal.name, goal.limit) for goal in found.goals()] == [
        ("p50 scheduling_delay", 2.0), ("p99 ttft", 2.0), ("ttft", 0.2), ("mean itl", 0.05), ("p99 itl", 0.1),
    ]  # fmt: skip


def test_tbt_is_itl() -> None:
    assert slo("{tbt: {p99: 100 ms}}") == slo("{itl: {p99: 100 ms}}")


def test_no_goals() -> None:
    assert slo("{}").goals() == () == slo("{attainment: 0.5}").goals()


def test_presets_are_published_values() -> None:
    assert slo("{preset: sarathi-strict-mistral-7b}").goals() == (Goal("scheduling_delay", "p50", 2.0), Goal("itl", "p99", 0.1))
    assert slo("{preset: sarathi-relaxed-yi-34b}").goals() == (Goal("scheduling_delay", "p50", 2.0), Goal("itl", "p99", 1.0))
    assert slo("{preset: mlperf-llama2-70b-interactive}").goals() == (Goal("ttft", "p99", 0.45), Goal("tpot", "p99", 0.04))


def test_keys_beside_a_preset_override_it() -> None:
    found = slo("{preset: mlperf-llama3.1-8b-server, tpot: {p99: 80 ms}, e2el: {mean: 9 s}}")
    assert [(goal.name, goal.limit) for goal in found.goals()] == [("p99 ttft", 2.0), ("p99 tpot", 0.08), ("mean e2el", 9.0)]
    override = load(SAMPLE, ["slo.preset=mlperf-llama3.1-8b-server", "slo.tpot.p99=80 ms"]).slo
    assert override.goals() == found.goals()[:2]


@pytest.mark.parametrize("name", presets("slo"))
def test_every_preset_has_goals_and_names_its_source(name: str) -> None:
    assert len(slo(f"{{preset: {name}}}").goals()) == 2
    text = (Path(__file__).resolve().parents[3] / "hdasim" / "presets" / "slo" / f"{name}.yaml").read_text(encoding="utf-8")
    assert "mlperf.conf" in text or "Agrawal et al., OSDI 2024" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ttft: {p150: 2 s}}", "--set slo={ttft: {p150: 2 s}}: slo.ttft.p150: unknown key 'p150' (did you mean 'p50'?)"),
        ("{ttft: -1 ms}", "slo.ttft: must be greater than 0 s, got '-1 ms'"),
        ("{ttft: {p99: -1 ms}}", "slo.ttft.p99: must be greater than 0 s, got '-1 ms'"),
        ("{ttft: {p99: fast}}", "slo.ttft.p99: expected a quantity such as '200 ms', got 'fast'"),
        ("{ttft: {p99: null}}", "slo.ttft: set a limit, such as {p99: 2 s}"),
        ("{ttft: {}}", "slo.ttft: set a limit, such as {p99: 2 s}; known: mean, p50"),
        ("{itl: 100 ms}", "slo.itl: expected a mapping of keys, got '100 ms'; its keys are mean, p50, p75, p90, p95, p99"),
        ("{itl: {request: 1}}", "slo.itl.request: unknown key 'request'"),
        ("{itl: {p99: 1}, tbt: {p99: 2}}", "slo.tbt: the same as itl; keep one"),
        ("{tbt: {p99: -2}}", "slo.itl.p99: must be greater than 0 s, got -2"),
        ("{preset: sarathi-strict-mistral}", "slo.preset: unknown preset 'sarathi-strict-mistral' (did you mean 'sarathi-strict"),
        ("{attainment: 1.5}", "slo.attainment: must be at most 1, got 1.5"),
        ("[1]", "slo: expected a mapping of keys"),
    ],
)  # fmt: skip
def test_refusals_are_one_line(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        slo(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--set slo=")
