"""A prompt that several passes share is computed once, where an engine has to be told, and at nobody's cost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tierwise.policies import BestOfN, Majority, Refine, Single
from tierwise.policies.judging import LetterJudge
from tierwise.policies.scoring import ScorerChoice
from tierwise.run import Action
from tierwise.run.prefill import SharedPrompts
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call
from tierwise.spec.errors import Broken, BudgetError
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen, new_trace, tier


class Sharing(ScriptedEngine):
    """Wants a prefill of every prompt that several passes have; the first reply is the prefill's."""

    def __init__(self, *replies, pays=True, **settings):
        super().__init__("…", *replies, **settings)
        self.told: list[int] = []
        self._pays = pays

    def prefill(self, call, passes):
        self.told.append(passes)
        if not self._pays:
            return None
        prompt = call.prompt.bounded(1)
        return replace(call, prompt=prompt, role="prefill", candidate=False, sends_seed=False, is_prefill=True)


def act(policy, engine, *, choices=1, budget=None, slots=64):
    async def main():
        trace = new_trace()
        action = Action(tier(policy, engine, budget=budget, slots=slots), trace, choices=choices)
        answers = await asyncio.gather(*(action.solve(ask_user("2+2?")) for _ in range(choices)))
        return answers[0], trace

    return frozen(main())


def roles(trace):
    return [done.call.role for done in trace.passes]


@pytest.mark.parametrize(("policy", "role"), [(Majority(n=4), "vote"), (BestOfN(n=4), "draft")])
def test_one_prefill_ends_before_the_first_pass_of_a_panel_starts(policy, role):
    engine = Sharing("4")
    answer, trace = act(policy, engine)
    assert roles(trace) == ["prefill", *[role] * 4]
    assert engine.told == [4]
    first, *draws = trace.passes
    assert not first.call.candidate
    assert all(draw.started >= first.started + first.seconds for draw in draws)
    assert answer.chosen != first.number
    assert trace.usage.completion == engine.produced.completion  # it is on the bill


def test_draws_that_differ_in_how_they_are_sampled_share_their_prompt():
    _, trace = act(BestOfN(n=4, temperatures=(0.3, 0.9)), Sharing("4"))
    assert roles(trace) == ["prefill", *["draft"] * 4]
    assert {done.call.prompt.fields["temperature"] for done in trace.passes[1:]} == {0.3, 0.9}


def test_passes_that_differ_in_what_a_template_renders_do_not_share_their_prompt():
    prompts, engine = SharedPrompts(), Sharing("4")
    deployment = tier(Single(), engine).deployment
    calls = [Call(prompt=ask_user("2+2?", temperature=1, chat_template_kwargs={"a": a})) for a in (1, 2)]
    prompts.expect(deployment, calls)

    async def main():
        async with prompts.first(deployment, calls[0]) as shared:
            return shared

    assert frozen(main()) is None


def test_later_waves_of_a_panel_need_no_other_prefill():
    _, trace = act(BestOfN(n=6), Sharing("4"), slots=2)
    assert roles(trace) == ["prefill", *["draft"] * 6]


def test_the_seeds_of_the_passes_are_those_without_a_prefill():
    seeds = [
        [call.seed for call in engine.calls if not call.is_prefill]
        for engine in (Sharing("4"), Sharing("4", pays=False))
        if act(BestOfN(n=3), engine)
    ]
    assert seeds[0] == seeds[1]


@pytest.mark.parametrize("policy", [Single(), Refine()])
def test_a_prompt_of_one_pass_needs_none(policy):
    engine = Sharing("4")
    act(policy, engine)
    assert engine.told == []


def test_choices_share_their_prompt_too():
    engine = Sharing("4")
    _, trace = act(Single(), engine, choices=3)
    assert roles(trace) == ["prefill", "draft", "draft", "draft"]
    assert engine.told == [3]


def test_what_follows_in_each_choice_is_not_shared_by_the_choices():
    engine = Sharing("4")
    _, trace = act(Refine(), engine, choices=2)
    assert roles(trace).count("prefill") == 1


def test_it_is_not_charged_to_the_passes_but_its_tokens_are():
    _, trace = act(Majority(n=3), Sharing("a", "b", "c"), budget=Budget(passes=3))
    assert roles(trace) == ["prefill", "vote", "vote", "vote"]
    _, trace = act(BestOfN(n=3), Sharing("a b c d e f"), budget=Budget(completion_tokens=10))
    assert "prefill" in roles(trace)
    assert trace.usage.completion <= 10 + 2


def test_it_counts_only_the_passes_that_the_budget_allows():
    engine = Sharing("4")
    act(Majority(n=5), engine, budget=Budget(passes=2))
    assert engine.told == [2]


def test_it_never_takes_the_tokens_of_the_answers():
    _, trace = act(Majority(n=5), Sharing("4"), budget=Budget(completion_tokens=5))
    assert "prefill" not in roles(trace)


def test_a_prefill_that_fails_costs_no_answer():
    class Failing(Sharing):
        def reply_to(self, number, call):
            return Reply(error=Broken("on purpose")) if call.is_prefill else super().reply_to(number, call)

    answer, trace = act(Majority(n=3), Failing("4"))
    assert answer.completion.text == "4"
    assert trace.passes[0].outcome == "failed"
    assert roles(trace) == ["prefill", "vote", "vote", "vote"]


def test_a_deadline_during_it_ends_the_action_at_the_deadline():
    class Slow(Sharing):
        def reply_to(self, number, call):
            return Reply(text="a b", step=5.0) if call.is_prefill else super().reply_to(number, call)

    async def main():
        trace = new_trace()
        with pytest.raises(BudgetError):
            await Action(tier(Majority(n=3), engine, budget=Budget(seconds=1)), trace).solve(ask_user("2+2?"))
        return trace, asyncio.get_running_loop().time() - trace.began

    engine = Slow("4")
    trace, seconds = frozen(main())
    assert (roles(trace), seconds, engine.running) == (["prefill"], pytest.approx(1), 0)


def test_cancelling_an_action_during_it_stops_it():
    class Slow(Sharing):
        def reply_to(self, number, call):
            return Reply(text="a b", step=5.0) if call.is_prefill else super().reply_to(number, call)

    async def main():
        trace = new_trace()
        task = asyncio.create_task(Action(tier(Majority(n=3), engine), trace).solve(ask_user("2+2?")))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task})
        return trace

    engine = Slow("4")
    trace = frozen(main())
    assert [(done.call.role, done.outcome) for done in trace.passes] == [("prefill", "aborted")]
    assert engine.running == 0


def graded(n, pivots=0):
    return BestOfN(n=n, scorer=ScorerChoice(judge=LetterJudge(pivots=pivots)))


def test_what_the_prompts_of_a_judge_begin_with_is_computed_once():
    engine = Sharing("a", "b", "c")
    _, trace = act(graded(3), engine, slots=1)
    assert roles(trace) == ["prefill", *["draft"] * 3, "prefill", *["judge"] * 3]
    assert engine.told == [3, 3]
    _, begun = (call.prompt.messages for call in engine.calls if call.is_prefill)
    judged = [call.prompt.messages for call in engine.calls if call.role == "judge"]
    assert all(one[:-1] == begun[:-1] for one in judged)
    assert all(one[-1]["content"].startswith(begun[-1]["content"]) for one in judged)
    assert judged[0][-1]["content"].removeprefix(begun[-1]["content"]).startswith("1. Reply with a line")
