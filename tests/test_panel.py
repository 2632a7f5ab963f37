"""The panel bounds, stops at the budget, aborts the losers, and lets no failure hide a success."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tierwise.panel import Entries
from tierwise.policies import Cascade
from tierwise.run import BudgetTracker, PassRunner, discard
from tierwise.run.choice import ChoiceState
from tierwise.run.output import OutputStream
from tierwise.run.slots import SharedSlots
from tierwise.spec.ask import OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call
from tierwise.spec.errors import Garbled, Overloaded
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen, new_trace, tier


class Watched(ScriptedEngine):
    """Remembers how many passes ran side by side at the most."""

    widest = 0

    async def stream(self, call):
        self.widest = max(self.widest, self.running + 1)
        async for chunk in super().stream(call):
            yield chunk


def calls(count: int) -> list[Call]:
    return [Call(prompt=ask_user("2+2?"))] * count


def runner(*engines: ScriptedEngine, slots: int = 64, budget: Budget | None = None) -> PassRunner:
    """Of the first engine's tier; the others' tiers can be asked from it."""
    trace = new_trace()
    names = [f"tier {position}" for position in range(len(engines))]
    deployed = {
        name: replace(one, deployment=replace(one.deployment, name=f"on {name}"))
        for name, engine in zip(names, engines, strict=True)
        for one in [tier(Cascade(ladder=tuple(names[1:])), engine, slots=slots, name=name)]
    }
    choice = ChoiceState(
        tiers=deployed, trace=trace, output=OutputStream(discard), slots=SharedSlots(), verifier=None, judges=False
    )
    return PassRunner(choice, deployed[names[0]], BudgetTracker(budget or Budget(), trace.began))


def drawn(engine: ScriptedEngine, count: int, order="finish", **settings) -> list[str | None]:
    """What comes out of a panel, in order; every pass is over when it is left."""

    async def main():
        async with runner(engine, **settings).panel(calls(count), order=order) as arrivals:
            texts = [None if one is None else one.completion.text async for one in arrivals]
        assert engine.running == 0
        return texts

    return frozen(main())


def test_passes_come_in_the_order_in_which_they_finish():
    engine = ScriptedEngine(Reply(text="slow", step=3), Reply(text="fast", step=1), Reply(text="middling", step=2))
    assert drawn(engine, 3) == ["fast", "middling", "slow"]


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_no_more_passes_run_side_by_side_than_the_deployment_has_slots(slots):
    engine = Watched("a b c")
    assert len(drawn(engine, 6, slots=slots)) == 6
    assert engine.widest == min(slots, 6)


def test_calls_start_in_the_order_in_which_they_were_given():
    engine = ScriptedEngine("a b c")
    drawn(engine, 6, slots=2)
    assert [call.draw for call in engine.calls] == list(range(6))


def test_leaving_the_block_aborts_what_still_runs_and_starts_nothing_new():
    engine = ScriptedEngine(Reply(text="first"), Reply(text="never ends " * 100))

    async def main():
        ask = runner(engine, slots=2)
        async with ask.panel(calls(9), order="finish") as arrivals:
            async for _ in arrivals:
                break
        return ask._choice.trace

    trace = frozen(main())
    assert engine.running == 0
    assert [done.outcome for done in trace.passes] == ["finished", "aborted"]


def test_leaving_the_block_before_anything_has_run_runs_nothing():
    engine = ScriptedEngine("4")

    async def main():
        async with runner(engine).panel(calls(5), order="finish"):
            pass

    frozen(main())
    assert engine.calls == []


def test_a_panel_of_no_calls_is_over_at_once():
    assert drawn(ScriptedEngine("4"), 0) == []


def test_a_call_that_failed_comes_out_empty_as_long_as_another_brings_a_pass():
    engine = ScriptedEngine(Reply(error=Overloaded("no room")), "4", Reply(error=Garbled("what?")))
    assert drawn(engine, 3, slots=1) == [None, "4", None]


def test_when_every_call_failed_the_panel_raises_what_the_last_one_did():
    engine = ScriptedEngine(Reply(error=Overloaded("no room")), Reply(error=Garbled("what?")))
    with pytest.raises(Garbled, match="what"):
        drawn(engine, 2, slots=1)
    assert engine.running == 0


def test_calls_beyond_the_budget_come_out_empty():
    assert drawn(ScriptedEngine("4"), 4, slots=1, budget=Budget(passes=2)) == ["4", "4", None, None]


def test_a_pass_that_the_budget_cut_short_comes_out_with_what_it_said():
    assert drawn(ScriptedEngine("a b c d e f"), 2, slots=1, budget=Budget(seconds=0.035)) == ["a b c", None]


def test_what_is_left_counts_down_with_every_arrival_whatever_it_is():
    engine = ScriptedEngine(Reply(error=Overloaded("no room")), "4")

    async def main():
        async with runner(engine, slots=1, budget=Budget(passes=2)).panel(calls(3), order="finish") as arrivals:
            return [arrivals.left, *[arrivals.left async for _ in arrivals]]

    assert frozen(main()) == [3, 2, 1, 0]


def test_what_the_block_raises_comes_out_as_it_is_and_aborts_the_rest():
    engine = ScriptedEngine("a " * 50)

    async def main(error):
        async with runner(engine).panel(calls(3), order="finish"):
            await asyncio.sleep(0.03)
            raise error

    for error in (OutOfBudget(), Overloaded("no room"), ZeroDivisionError("ours")):
        with pytest.raises(type(error)) as caught:
            frozen(main(error))
        assert caught.value is error
        assert engine.running == 0


def test_a_bug_in_an_engine_comes_out_as_itself():
    class Buggy(ScriptedEngine):
        def reply_to(self, number, call):
            raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        drawn(Buggy("4"), 2)


def test_leaving_early_leaves_no_generator_behind():
    """An abandoned async generator would be closed by a task that nobody waits for."""

    async def main():
        loop = asyncio.get_running_loop()
        async with runner(ScriptedEngine("4")).panel(calls(3), order="finish") as arrivals:
            assert isinstance(arrivals, Entries)
            async for _ in arrivals:
                break
        await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}, list(loop._asyncgens)

    assert frozen(main()) == (set(), [])


def test_passes_come_in_the_order_of_their_calls_where_that_is_asked_for():
    engine = ScriptedEngine(Reply(text="slow", step=3), Reply(text="fast", step=1), Reply(text="middling", step=2))
    assert drawn(engine, 3, order="draw") == ["slow", "fast", "middling"]


def test_the_order_of_the_calls_holds_for_those_that_failed_too():
    engine = ScriptedEngine(Reply(text="slow", step=3), Reply(error=Garbled("what?")), Reply(text="b", step=2))
    assert drawn(engine, 3, order="draw") == ["slow", None, "b"]


def test_draws_are_numbered_by_their_calls_and_not_by_when_they_start():
    engine = ScriptedEngine("a")
    drawn(engine, 5, slots=2)
    assert [call.draw for call in engine.calls] == [0, 1, 2, 3, 4]


def test_calls_of_two_tiers_run_side_by_side_each_within_its_own_width():
    here, there = Watched("a b c"), Watched("d e")

    async def main():
        ask = runner(here, there, slots=2)
        other = ask.at("tier 1")
        mixed = [*calls(4), *((other, call) for call in calls(3))]
        async with ask.panel(mixed) as arrivals:
            texts = [one and one.completion.text async for one in arrivals]
        return texts, ask._choice.trace.passes

    texts, passes = frozen(main())
    assert texts == ["a b c"] * 4 + ["d e"] * 3
    assert (here.widest, there.widest) == (2, 2)
    assert {(done.tier, done.deployment) for done in passes} == {("tier 0", "on tier 0"), ("tier 1", "on tier 1")}
    assert [call.draw for call in there.calls] == [0, 1, 2]


# ── pace ────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("order", ["draw", "finish"])
@pytest.mark.parametrize(
    ("pace", "widest"),
    [(lambda started: started + 2, 2), (lambda _: 0, 1), (lambda started: started + 1, 1), (lambda _: 99, 6)],
)
def test_a_pace_limits_how_many_calls_have_started_and_never_stalls(order, pace, widest):
    engine = Watched(*(Reply(text=text, step=1.0) for text in "abcdef"))

    async def main():
        async with runner(engine).panel(calls(6), order=order, pace=pace) as arrivals:
            return [one.completion.text async for one in arrivals]

    assert sorted(frozen(main())) == list("abcdef")
    assert (engine.widest == widest) if widest != 2 else (engine.widest >= 2)


def test_a_pace_is_told_how_many_calls_have_started_and_only_raises_the_limit():
    told: list[int] = []
    engine = Watched("a")

    def pace(started: int) -> int:
        told.append(started)
        return 3 if len(told) == 1 else 0

    async def main():
        async with runner(engine).panel(calls(5), order="finish", pace=pace) as arrivals:
            return [arrivals.position async for _ in arrivals]

    assert frozen(main()) == [0, 1, 2, 3, 4]
    assert told == [0, 3, 3, 3, 4]


def test_a_pace_never_stalls_calls_of_several_deployments_in_draw_order():
    quick, slow = ScriptedEngine("quick"), Watched(Reply(text="slow", step=5.0))

    async def main():
        ask = runner(quick, slow)
        other = ask.at("tier 1")
        mixed = [(one, calls(1)[0]) for one in (ask, other, ask, other, ask)]
        async with ask.panel(mixed, pace=lambda started: started + 1) as arrivals:
            return [one.completion.text async for one in arrivals]

    assert frozen(main()) == ["quick", "slow", "quick", "slow", "quick"]


@pytest.mark.parametrize(("order", "positions"), [("draw", [0, 1, 2]), ("finish", [1, 2, 0])])
def test_an_arrival_says_which_call_it_is_even_if_it_failed(order, positions):
    engine = ScriptedEngine(
        Reply(text="slow", step=3), Reply(error=Overloaded("no room"), step=1), Reply(text="middling", step=2)
    )

    async def main():
        async with runner(engine).panel(calls(3), order=order) as arrivals:
            return [arrivals.position, *[arrivals.position async for _ in arrivals]]

    assert frozen(main()) == [-1, *positions]
