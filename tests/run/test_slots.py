"""`slots` bounds what one action has in flight on a deployment, over all its choices and policies."""

from __future__ import annotations

import asyncio

import pytest

from tierwise.policies import BestOfN, Majority, Refine, Single
from tierwise.run import Action
from tierwise.spec.budget import Budget
from tierwise.spec.errors import BudgetError
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen, new_trace, tier


class Watched(ScriptedEngine):
    """Remembers how many passes ran at once at most."""

    widest = 0

    async def stream(self, call):
        self.widest = max(self.widest, self.running + 1)
        async for chunk in super().stream(call):
            yield chunk


def choices(engine, policy, n, *, slots, budget=None):
    """Answer one prompt n times in one action; the time that it took, on a frozen clock."""

    async def main():
        trace = new_trace()
        action = Action(tier(policy, engine, slots=slots), trace, budget=budget)
        answers = await asyncio.gather(
            *(action.solve(ask_user("2+2?", seed=seed)) for seed in range(n)), return_exceptions=True
        )
        assert engine.running == 0
        return answers, asyncio.get_running_loop().time()

    return frozen(main())


@pytest.mark.parametrize("policy", [Single(), Majority(n=16), BestOfN(n=16), Refine()])
@pytest.mark.parametrize("slots", [1, 8])
def test_all_choices_of_an_action_share_the_slots_of_a_deployment(policy, slots):
    engine = Watched("4")
    answers, _ = choices(engine, policy, 8, slots=slots)
    assert [answer.completion.text for answer in answers] == ["4"] * 8
    assert engine.widest == slots


def test_a_free_slot_is_taken_at_once():
    engine = Watched("4", step=1.0)
    _, seconds = choices(engine, Single(), 8, slots=4)
    assert seconds == pytest.approx(2.0)


def test_a_choice_that_waits_for_a_slot_ends_at_the_deadline():
    engine = Watched("4", step=1.0)
    answers, seconds = choices(engine, Single(), 3, slots=1, budget=Budget(seconds=1.5))
    assert answers[0].completion.text == "4"
    assert [type(answer) for answer in answers[1:]] == [BudgetError, BudgetError]
    assert seconds == pytest.approx(1.5)
    assert len(engine.calls) == 2, "the third never had a slot"


def test_a_failed_or_cancelled_choice_frees_its_slot():
    async def main():
        engine = ScriptedEngine(Reply(text="4 4 4", step=1.0), "4")
        action = Action(tier(Single(), engine, slots=1), new_trace())
        first = asyncio.create_task(action.solve(ask_user("2+2?")))
        second = asyncio.create_task(action.solve(ask_user("2+2?")))
        third = asyncio.create_task(action.solve(ask_user("2+2?")))
        await asyncio.sleep(0.5)
        second.cancel()
        first.cancel()
        assert (await third).completion.text == "4"
        assert engine.running == 0

    frozen(main())
