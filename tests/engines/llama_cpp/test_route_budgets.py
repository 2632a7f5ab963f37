"""Budgets and deadlines of a route, and what its last tier reuses, on a real llama.cpp."""

from __future__ import annotations

import time

import pytest

from tierwise.engines.engine import Deployment
from tierwise.policies import Cascade, Majority, Single
from tierwise.policies.acceptance import CascadeSignal
from tierwise.run import Action
from tierwise.run.tier import Tier
from tierwise.service import new_trace
from tierwise.spec.budget import Budget
from tierwise.testing import ask_user, tiers_of

LONG = "Write a long story about a bear that learns to count."


def solved(llama, budget: Budget, text: str = LONG, **fields):
    """A route that never keeps the cheap answer, to a vote of three."""
    small = Deployment(name="small", engine=llama.engine, slots=4)
    tiers = tiers_of(
        [
            Tier(name="fast", deployment=small, policy=Single()),
            Tier(name="max", deployment=small, policy=Majority(n=3)),
            Tier(
                name="auto",
                deployment=small,
                policy=Cascade(ladder=("fast", "max"), signals=(CascadeSignal(length=1),)),
            ),
        ]
    )

    async def main():
        trace = new_trace()
        action = Action(tiers["auto"], trace, tiers=tiers, budget=budget)
        began = time.monotonic()
        answer = await action.solve(ask_user(text, temperature=0.9, **fields))
        return answer, trace, time.monotonic() - began

    return llama.run(main())


@pytest.mark.parametrize("tokens", [20, 60])
def test_tokens_are_bounded_over_all_tiers(llama, tokens):
    _, trace, _ = solved(llama, Budget(completion_tokens=tokens), max_tokens=40)
    assert trace.usage.completion <= tokens
    assert "completion_tokens" in trace.limits


def test_a_deadline_is_that_of_the_whole_route(llama):
    answer, trace, seconds = solved(llama, Budget(seconds=2.0))
    assert seconds < 10
    assert "seconds" in trace.limits
    assert answer.completion.text, "the best answer so far"


def test_the_vote_counts_the_cheap_tiers_draw(llama):
    answer, trace, _ = solved(llama, Budget(), "What is the capital of France?", max_tokens=200)
    passes = [done for done in trace.passes if done.call.candidate]
    assert [done.completion.finish for done in passes if done.tier == "fast"] == ["stop"]
    assert sum(done.tier == "max" for done in passes) <= 2, "three votes, one of which was there"
    assert answer.tier in ("fast", "max")
