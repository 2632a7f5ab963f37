"""Grading with a local check, or with a judge at the endpoint, whose cost and failures are kept separate."""

from __future__ import annotations

import asyncio

import pytest

from scripted_tiers import line
from tierwise.bench.client import Client
from tierwise.bench.grading import JUDGE_FAILED, JUDGE_NONSENSE, UNGRADED, grade
from tierwise.policies import Single
from tierwise.spec.call import Call, Completion
from tierwise.spec.errors import Broken
from tierwise.spec.reading import Reading
from tierwise.testing import Reply, ScriptedEngine
from tierwise.workloads.task import Task

JUDGED = {"check": {"judge": {"tier": "max", "rubric": "Says four."}}}


def task(**more):
    return Reading().read(Task, {**line("a"), **more}, "")


class Judging(ScriptedEngine):
    """Returns scripted answers in order, and records the requests."""

    def __init__(self, *replies):
        super().__init__(*replies, step=0.0)
        self.asked: list[Call] = []

    def reply_to(self, number, call):
        self.asked.append(call)
        return super().reply_to(number, call)


def graded(url, one, text="4"):
    async def main():
        async with Client(url, timeout=10) as client:
            return await grade(one, Completion(text=text), client.act, "run/a/fast/both", seed=7)

    return asyncio.run(main())


async def nobody(body):
    raise AssertionError(body)


@pytest.mark.parametrize(("text", "outcome"), [("4", "correct"), ("5", "incorrect")])
def test_a_local_check_sends_no_request(text, outcome):
    found = asyncio.run(grade(task(), Completion(text=text), nobody, "a"))
    assert (found.outcome, found.judge, found.code) == (outcome, None, "")


def test_a_check_that_cannot_be_run_gives_an_error_grade():

    class Unmade:
        judge = None
        kind = "python_tests"

        @property
        def member(self):
            return self

        async def verify(self, completion):
            raise Broken("no sandbox")

    class Stub:
        check = Unmade()

    found = asyncio.run(grade(Stub(), Completion(text="4"), nobody, "a"))
    assert (found.outcome, found.code, found.why) == ("error", UNGRADED, "not graded: no sandbox")


@pytest.mark.parametrize(("words", "outcome"), [("Right. VERDICT: yes", "correct"), ("VERDICT: no", "incorrect")])
def test_a_judge_decides_and_its_cost_is_separate(endpoint, words, outcome):
    engine = Judging(words)
    found = graded(endpoint(engine, max=Single()), task(**JUDGED), "four")
    assert (found.outcome, found.judge.tier, found.judge.actions) == (outcome, "max", 1)
    assert found.judge.dollars == pytest.approx(found.judge.completion_tokens / 1000)
    assert found.judge.completion_tokens == len(words.split())
    (asked,) = engine.asked
    assert asked.role == "judge"
    assert "Says four." in asked.prompt.messages[0]["content"]
    assert "four\n</answer" in asked.prompt.messages[1]["content"]


def test_an_unreadable_judgement_is_retried_with_another_seed_and_every_attempt_counts(endpoint):
    engine = Judging("Hm.", "VERDICT: yes")
    found = graded(endpoint(engine, max=Single()), task(**JUDGED))
    assert (found.outcome, found.judge.actions, found.judge.completion_tokens) == ("correct", 2, 3)
    assert len({call.seed for call in engine.asked}) == 2


def test_a_judge_that_is_never_readable_gives_an_error_grade(endpoint):
    found = graded(endpoint(Judging("Hm."), max=Single()), task(**JUDGED))
    assert (found.outcome, found.code, found.judge.actions) == ("error", JUDGE_NONSENSE, 2)
    assert "gave no verdict: 'Hm.'" in found.why


def test_a_judge_that_fails_gives_an_error_grade(endpoint):
    broken = Reply(error=Broken("out of memory", engine="fake"))
    found = graded(endpoint(Judging(broken), max=Single()), task(**JUDGED))
    assert (found.outcome, found.code) == ("error", JUDGE_FAILED)
    assert "the judge 'max' failed" in found.why


def test_a_judge_that_is_not_served_gives_an_error_grade(endpoint):
    found = graded(endpoint(Judging("VERDICT: yes"), fast=Single()), task(**JUDGED))
    assert (found.outcome, found.code) == ("error", JUDGE_FAILED)
