"""The search loop: what is asked, in which order, what is known, and what a method gets."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import search_toy

from hdasim.errors import CapacityError
from hdasim.search import loop
from hdasim.search.loop import Evaluated, EvaluationFailed, Job, Method, Task, canonical, search
from hdasim.search.output import evaluations_csv
from hdasim.search.runners import InProcess


class Memory(dict[str, str]):
    """Records in memory; `order` in which they came."""

    def __init__(self) -> None:
        self.order: list[Job] = []

    def add(self, job: Job, evaluated: Evaluated) -> None:
        assert job.key not in self
        self[job.key] = evaluated.record
        self.order.append(job)


class Backwards(InProcess):
    """Ends the last job first, as parallel workers may."""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Evaluated]]:
        for index, done in super().run(jobs[::-1]):
            yield len(jobs) - 1 - index, done


def task(number: Any) -> Task:
    return Task("test_loop:double", {"n": number})


def double(spec: dict[str, Any]) -> dict[str, Any]:
    return {"twice": 2 * spec["n"]}


def refuse(spec: dict[str, Any]) -> dict[str, Any]:
    raise CapacityError("does\nnot fit", ("serving",), "model.yaml:3")


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "test_loop", sys.modules[__name__])


def test_records_come_in_the_order_of_tasks_each_evaluated_once() -> None:
    seen: list[Any] = []

    def method() -> Method:
        seen.append((yield [task(1), task(2), task(1)]))
        seen.append((yield []))
        seen.append((yield [task(3), task(2)]))
        return {"inf": float("inf"), "pair": (1, 2), "b": 1, "a": 2}

    store, asked, progress = Memory(), dict[str, Job](), list[tuple[int, int]]()
    document = search(method(), store, Backwards(), lambda *counts: progress.append(counts), asked)
    assert seen == [[{"twice": 2}, {"twice": 4}, {"twice": 2}], [], [{"twice": 6}, {"twice": 4}]]
    assert list(document.items()) == [("inf", None), ("pair", [1, 2]), ("b", 1), ("a", 2)]
    assert [json.loads(each.spec)["n"] for each in store.order] == [2, 1, 3]
    assert [json.loads(each.spec)["n"] for each in asked.values()] == [1, 2, 3]
    assert progress == [(0, 2), (1, 2), (2, 2), (2, 2), (2, 3), (3, 3)]


def test_what_the_store_knows_is_not_evaluated_again() -> None:
    class Refusing(InProcess):
        def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Evaluated]]:
            assert not jobs
            return super().run(jobs)

    spec, store, first, again = search_toy.Toy(), Memory(), [], []
    document = search(search_toy.search(spec, first.append), store, InProcess())
    assert search(search_toy.search(spec, again.append), store, Refusing()) == document
    assert again == first
    assert len(first) == spec.rounds


def test_a_method_that_asks_for_nothing() -> None:
    def method() -> Method:
        return {"status": "found"}
        yield []

    assert search(method(), Memory(), InProcess()) == {"status": "found"}


def test_the_key_follows_evaluator_spec_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    one = loop.job(Task("m:f", {"b": 1.5, "a": [1, None]}))
    assert one == loop.job(Task("m:f", {"a": [1, None], "b": 1.5}))
    assert one.spec == '{"a":[1,null],"b":1.5}'
    others = [loop.job(Task("m:g", {"b": 1.5, "a": [1, None]})), loop.job(Task("m:f", {"b": 1.5, "a": [None, 1]}))]
    monkeypatch.setattr(loop, "__version__", "next")
    others.append(loop.job(Task("m:f", {"b": 1.5, "a": [1, None]})))
    assert len({one.key, *(other.key for other in others)}) == 4
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": float("nan")})


def test_a_design_that_cannot_be_is_a_record() -> None:
    def method() -> Method:
        return {"got": (yield [Task("test_loop:refuse", {})])}

    expected = {"error": "model.yaml:3: serving: does not fit"}
    assert search(method(), Memory(), InProcess()) == {"got": [expected]}


@pytest.mark.parametrize(
    ("evaluator", "words"),
    [
        ("test_loop:double", "TypeError: .*; this is a bug in the evaluator"),
        ("test_loop:absent", r"the workers cannot import it \(.* has no attribute 'absent'\); install it"),
        ("no_such_module:f", r"the workers cannot import it \(No module named 'no_such_module'\); install it"),
    ],
)
def test_a_bug_in_an_evaluator_names_it_and_keeps_the_traceback(evaluator: str, words: str) -> None:
    def method() -> Method:
        yield [Task(evaluator, {"n": None})]
        return {}

    with pytest.raises(EvaluationFailed, match=rf"^{evaluator} failed on \{{\"n\":null\}}: {words}") as caught:
        search(method(), Memory(), InProcess())
    assert ("Traceback" in caught.value.trace) == (evaluator == "test_loop:double")


def test_the_table_of_evaluations() -> None:
    specs = [{"chip": {"rows": 8, "kind": "a,b"}, "model": "m"}, {"chip": {"rows": 16, "kind": "a,b"}, "model": "m"}]
    jobs = [Job(f"{number}" * 64, "m:f", canonical(spec)) for number, spec in enumerate(specs)]
    records = ['{"ttft":0.25,"parts":{"sa":[1,2.5]},"met":true,"why":"x, \\"y\\""}', '{"error":"too large","ttft":null}']
    assert evaluations_csv(jobs, records).splitlines() == [
        "evaluation,evaluator,key,spec.chip.rows,record.ttft,record.parts.sa,record.met,record.why,record.error",
        '1,m:f,000000000000,8,0.25,"[1,2.5]",true,"x, ""y""",',
        "2,m:f,111111111111,16,,,,,too large",
    ]
    assert evaluations_csv([], []) == "evaluation,evaluator,key\n"
