"""What a policy can do with `ask`: other tiers, budgets inside budgets, looking at a pass while it runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tierwise.ledger.records import Decision
from tierwise.policies import Majority, Single
from tierwise.run import Action, Tier
from tierwise.spec.ask import Answer, OutOfBudget
from tierwise.spec.budget import Budget, Left
from tierwise.spec.call import Call
from tierwise.spec.errors import Broken, BudgetError, Overloaded, PolicyError
from tierwise.testing import RecordingSink, Reply, ScriptedEngine, ask_user, frozen, new_trace, solve, tier, tiers_of
from tierwise.verifiers import Number


class Writes:
    """A policy that does what a test tells it to."""

    sets = frozenset()

    def __init__(self, solve, *others: str) -> None:
        self.solve = solve
        self._others = others

    def most(self, at):
        return Budget()

    def tiers(self):
        return self._others


def other(name: str, engine: ScriptedEngine | None = None, policy=None, **settings) -> Tier:
    made = tier(policy or Single(), engine or ScriptedEngine(name), name=name)
    return replace(made, deployment=replace(made.deployment, name=f"{name}'s"), **settings)


def act(does, *others: Tier, engine=None, budget=None, sink=None, verifier=None, sampling=None):
    """What a policy gives back, how it ended on the trace, and the action."""

    async def main():
        own = tier(Writes(does, *(one.name for one in others)), engine or ScriptedEngine("own"), budget=budget)
        trace = new_trace()
        action = Action(replace(own, sampling=sampling or {}), trace, tiers=tiers_of(others), verifier=verifier)
        answer = await (action.solve(ask_user("2+2?")) if sink is None else action.solve(ask_user("2+2?"), sink))
        return answer, trace, action

    return frozen(main())


def said(done) -> Answer:
    return Answer(completion=done.completion, chosen=done.number)


# ── other tiers ──────────────────────────────────────────────────────────


def test_a_pass_of_another_tier_runs_there_and_is_charged_there():
    async def does(prompt, ask):
        return said(await ask.at("strong")(Call(prompt=prompt)))

    answer, trace, action = act(does, other("strong"))
    assert (answer.completion.text, answer.tier, action.tier) == ("strong", "strong", "strong")
    assert [(done.tier, done.deployment) for done in trace.passes] == [("strong", "strong's")]


def test_another_tier_answers_by_its_own_policy():
    async def does(prompt, ask):
        return await ask.at("votes").solve(prompt)

    answer, trace, _ = act(does, other("votes", policy=Majority(n=3)))
    assert (answer.why, answer.tier, len(trace.passes)) == ("2 of 2 votes", "votes", 3)


def test_each_tier_fills_in_its_own_sampling_and_never_anothers():
    here, there = ScriptedEngine("own"), ScriptedEngine("strong")

    async def does(prompt, ask):
        await ask(Call(prompt=prompt))
        await ask.at("strong")(Call(prompt=prompt))
        return await ask.at("strong").solve(prompt.setting(top_p=0.5))

    strong = other("strong", there, sampling={"temperature": 0.9, "top_k": 5, "top_p": 0.1})
    act(does, strong, engine=here, sampling={"temperature": 0.1, "min_p": 0.2})
    assert [dict(call.prompt.fields) for call in (*here.calls, *there.calls)] == [
        {"temperature": 0.1, "min_p": 0.2},
        {"temperature": 0.9, "top_k": 5, "top_p": 0.1},
        {"temperature": 0.9, "top_k": 5, "top_p": 0.5},
    ]


def test_a_candidate_of_another_tier_is_checked_with_that_tiers_verifier_where_the_request_has_none():
    async def does(prompt, ask):
        strong = ask.at("strong")
        one = await strong(Call(prompt=prompt))
        return replace(said(one), verdict=await strong.verify(one))

    four = other("strong", ScriptedEngine("4"), verifier=Number(equals=4))
    assert act(does, four)[0].verdict.ok
    assert not act(does, four, verifier=Number(equals=5))[0].verdict.ok


def test_only_tiers_that_the_policy_names_can_be_asked():
    async def does(prompt, ask):
        return await ask.at("secret").solve(prompt)

    with pytest.raises(PolicyError, match="asked 'secret'; it names strong"):
        act(does, other("strong"))


def test_a_tier_cannot_ask_itself():
    async def does(prompt, ask):
        return await ask.solve(prompt)

    with pytest.raises(PolicyError, match="tier 'tier' asks itself"):
        act(does)


def test_a_bug_is_blamed_on_the_policy_that_has_it_and_not_on_the_one_that_asked():
    async def divide(prompt, ask):
        return 1 / 0

    async def does(prompt, ask):
        return await ask.at("buggy").solve(prompt)

    with pytest.raises(PolicyError, match="policy Writes of tier 'buggy' broke: ZeroDivisionError"):
        act(does, other("buggy", policy=Writes(divide)))


# ── budgets inside budgets ───────────────────────────────────────────────


def test_another_tiers_budget_lies_inside_this_one():
    async def does(prompt, ask):
        strong = ask.at("strong")
        first = await strong(Call(prompt=prompt))
        with pytest.raises(OutOfBudget):
            await strong(Call(prompt=prompt))
        return said(first)

    assert act(does, other("strong", budget=Budget(passes=1)), budget=Budget(passes=9))[0].completion.text == "strong"
    assert act(does, other("strong", budget=Budget(passes=9)), budget=Budget(passes=1))[0].completion.text == "strong"


def test_what_is_left_counts_every_budget_around():
    async def does(prompt, ask):
        strong = ask.at("strong")
        before = strong.left, ask.left
        one = await strong(Call(prompt=prompt))
        assert before == (
            Left(passes=2, completion_tokens=7, seconds=9.0),
            Left(passes=5, completion_tokens=7, seconds=9.0),
        )
        assert (strong.left.passes, strong.left.completion_tokens) == (1, 6)
        assert (ask.left.passes, ask.left.completion_tokens) == (4, 6)
        return said(one)

    strong = other("strong", budget=Budget(passes=2, completion_tokens=20))
    act(does, strong, budget=Budget(passes=5, completion_tokens=7, seconds=9))


def test_without_a_budget_nothing_bounds_what_is_left():
    async def does(prompt, ask):
        assert ask.left == Left()
        return said(await ask(Call(prompt=prompt)))

    act(does)


def test_a_reserve_is_kept_for_what_comes_after():
    async def does(prompt, ask):
        cheap = ask.at("cheap", reserve=Budget(passes=1, completion_tokens=3, seconds=2))
        assert cheap.left == Left(passes=2, completion_tokens=5, seconds=8.0)
        for _ in range(2):
            await cheap(Call(prompt=prompt))
        with pytest.raises(OutOfBudget):
            await cheap(Call(prompt=prompt))
        return said(await ask(Call(prompt=prompt)))

    answer, trace, _ = act(does, other("cheap"), budget=Budget(passes=3, completion_tokens=8, seconds=10))
    assert (answer.completion.text, len(trace.passes)) == ("own", 3)


def test_a_budget_within_counts_its_seconds_from_its_own_beginning():
    async def does(prompt, ask):
        await asyncio.sleep(5)
        inner = ask.within(Budget(passes=1, seconds=1))
        assert inner.left.seconds == 1.0
        one = await inner(Call(prompt=prompt))
        with pytest.raises(OutOfBudget):
            await inner(Call(prompt=prompt))
        await ask(Call(prompt=prompt))
        return said(one)

    assert len(act(does)[1].passes) == 2


def test_the_error_names_the_bounds_of_the_tier_that_ran_out():
    async def does(prompt, ask):
        return await ask.at("slow").solve(prompt)

    slow = other("slow", ScriptedEngine(Reply(text="4", step=9)), budget=Budget(seconds=0.5))
    with pytest.raises(BudgetError, match=r"the budget of 0\.5 seconds"):
        act(does, slow)


# ── looking at a pass while it runs ──────────────────────────────────────


def test_a_watched_pass_can_be_cut_and_keeps_what_it_said():
    async def does(prompt, ask):
        seen = []

        def watch(chunk):
            seen.append(chunk)
            return "cut" if len(seen) == 2 else None

        return said(await ask(Call(prompt=prompt), watch=watch))

    engine = ScriptedEngine("a b c d")
    answer, trace, _ = act(does, engine=engine)
    assert (answer.completion.text, trace.passes[0].outcome, trace.usage.completion) == ("a b", "cut", 2)
    assert engine.produced.completion == 2


def test_a_pass_that_is_cut_before_it_says_anything_is_no_shortage_of_budget():
    async def does(prompt, ask):
        nothing = await ask(Call(prompt=prompt), watch=lambda chunk: "cut")
        assert (nothing.outcome, nothing.completion.is_empty) == ("cut", True)
        return said(await ask(Call(prompt=prompt)))

    engine = ScriptedEngine(Reply(delta={"role": "assistant"}), "4")
    assert act(does, engine=engine)[0].completion.text == "4"


def test_a_pass_that_was_complete_cannot_be_cut_any_more():
    async def does(prompt, ask):
        return said(await ask(Call(prompt=prompt), watch=lambda chunk: "cut" if chunk.finish else None))

    assert act(does)[1].passes[0].outcome == "finished"


# ── the user's end ───────────────────────────────────────────────────────


def test_only_one_pass_at_a_time_can_be_shown():
    async def does(prompt, ask):
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(ask(Call(prompt=prompt), shown=True))

    with pytest.raises(PolicyError, match="tried to show pass 1, but the user is being shown pass 0"):
        act(does, sink=RecordingSink())


def test_nothing_can_be_shown_after_a_part_of_another_pass():
    async def does(prompt, ask):
        await ask(Call(prompt=prompt), shown=True)
        return said(await ask(Call(prompt=prompt), shown=True))

    with pytest.raises(PolicyError, match="tried to show pass 1, but the user has seen a part of pass 0"):
        act(does, sink=RecordingSink())


def test_an_answer_that_is_not_what_the_user_saw_is_the_policys_fault():
    async def does(prompt, ask):
        await ask(Call(prompt=prompt), shown=True)
        return said(await ask(Call(prompt=prompt)))

    with pytest.raises(PolicyError, match="answered with pass 1 after showing pass 0"):
        act(does, sink=RecordingSink())


def test_a_shown_pass_that_nobody_saw_makes_room_for_another():
    async def does(prompt, ask):
        with pytest.raises(Overloaded):
            await ask(Call(prompt=prompt), shown=True)
        return said(await ask(Call(prompt=prompt), shown=True))

    shown = RecordingSink()
    act(does, engine=ScriptedEngine(Reply(error=Overloaded("no room")), "4"), sink=shown)
    assert shown.text == "4"


def test_another_tier_shows_only_where_it_is_asked_to():
    async def hides(prompt, ask):
        return await ask.at("strong").solve(prompt)

    async def shows(prompt, ask):
        return await ask.at("strong").solve(prompt, shown=True)

    pieces = []
    for does in (hides, shows):
        shown = RecordingSink()
        act(does, other("strong", ScriptedEngine("a b c")), sink=shown)
        assert shown.text == "a b c"
        pieces.append(len([chunk for chunk in shown.chunks if chunk.is_output]))
    assert pieces == [1, 3]


def test_choices_that_are_shown_side_by_side_do_not_get_into_each_others_way():
    async def main():
        one = tier(Single(), ScriptedEngine("a b", "c d"))
        sinks = RecordingSink(), RecordingSink()
        action = Action(one, new_trace())
        await asyncio.gather(*(action.solve(ask_user("hi"), sink) for sink in sinks))
        return [sink.text for sink in sinks]

    assert frozen(main()) == ["a b", "c d"]


# ── what can be looked at ────────────────────────────────────────────────


def test_everything_drawn_so_far_is_there_over_all_tiers():
    async def does(prompt, ask):
        await ask(Call(prompt=prompt))
        await ask.at("strong")(Call(prompt=prompt))
        assert [(done.number, done.tier) for done in ask.drawn] == [(0, "tier"), (1, "strong")]
        assert ask.at("strong").drawn == ask.drawn
        return said(ask.drawn[0])

    act(does, other("strong"))


def test_the_passes_of_another_choice_are_not_among_them():
    async def does(prompt, ask):
        done = await ask(Call(prompt=prompt))
        assert ask.drawn == [done]
        return said(done)

    async def main():
        action = Action(tier(Writes(does), ScriptedEngine("4")), new_trace())
        await asyncio.gather(action.solve(ask_user("hi")), action.solve(ask_user("hi")))

    frozen(main())


def test_load_is_the_share_of_slots_that_are_taken():
    loads = []

    async def does(prompt, ask):
        loads.append(ask.load)
        async with ask.panel([Call(prompt=prompt)] * 3) as arrivals:
            await asyncio.sleep(0.5)
            loads.append(ask.load)
            passes = [one async for one in arrivals]
        loads.append(ask.load)
        return said(passes[0])

    solve(Writes(does), Reply(text="a", step=1.0), slots=4)
    assert loads == [0.0, 0.75, 0.0]


def test_a_decision_is_on_the_trace_with_its_moment():
    async def does(prompt, ask):
        one = await ask(Call(prompt=prompt))
        ask.note("goes on", signal="agreement", level=0.4, after=(one.number,))
        return said(one)

    _, trace, _ = act(does, engine=ScriptedEngine("a b", step=0.5))
    (found,) = (event for event in trace.events if isinstance(event, Decision))
    assert found == Decision(tier="tier", reason="goes on", signal="agreement", level=0.4, after=(0,), at=1.0)


# ── the end ──────────────────────────────────────────────────────────────


def test_a_cancelled_action_starts_no_pass_in_any_of_its_tasks():
    """A panel's tasks are told of the cancellation later than the action's own."""
    engine = ScriptedEngine("a b c d", step=1.0)

    async def does(prompt, ask):
        strong = ask.at("strong")
        async with ask.panel([(strong, Call(prompt=prompt))] * 5) as arrivals:
            return said(await anext(arrivals))

    async def main():
        strong = replace(other("strong", engine), deployment=replace(other("strong", engine).deployment, slots=2))
        action = Action(tier(Writes(does, "strong"), ScriptedEngine()), new_trace(), tiers={"strong": strong})
        task = asyncio.create_task(action.solve(ask_user("hi")))
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(engine.calls), engine.running

    assert frozen(main()) == (2, 0)


def test_an_engine_that_dies_behind_another_tier_is_asked_once_more():
    async def does(prompt, ask):
        return await ask.at("strong").solve(prompt, shown=True)

    dying = ScriptedEngine(Reply(error=Broken("it died")), "four")
    answer, trace, _ = act(does, other("strong", dying))
    assert (answer.completion.text, answer.chosen, trace.passes[1].retry_of) == ("four", 1, 0)


def groups(policy, choices=1):
    """The groups of the calls that an engine gets in one action."""

    async def main():
        engine = ScriptedEngine("4")
        action = Action(tier(policy, engine), new_trace(), choices=choices)
        await asyncio.gather(*(action.solve(ask_user("2 + 2?")) for _ in range(choices)))
        return [call.group for call in engine.calls]

    return frozen(main())


def test_the_passes_of_a_panel_are_a_group_and_one_that_runs_alone_is_in_none():
    assert groups(Single()) == [""]
    assert groups(Majority(n=1)) == [""]
    assert groups(Majority(n=3)) == ["act_test"] * 3


def test_the_choices_of_an_action_are_a_group():
    assert groups(Single(), choices=2) == ["act_test"] * 2
