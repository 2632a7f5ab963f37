"""The panel bounds, stops at the budget, aborts the losers, and lets no failure hide a success."""

from __future__ import annotations

import asyncio

import pytest

from tierwise.panel import Arrivals, panel
from tierwise.run import Door, Purse, unseen
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
    return [Call(prompt=ask_user("2+2?"), draw=draw) for draw in range(count)]


def door(engine: ScriptedEngine, *, slots: int = 64, budget: Budget | None = None) -> Door:
    trace = new_trace()
    policy = None
    return Door(tier(policy, engine, slots=slots), trace, Purse(budget or Budget(), trace.began), None, unseen)


def drawn(engine: ScriptedEngine, count: int, **settings) -> list[str | None]:
    """What comes out of a panel, in order; every pass is over when it is left."""

    async def main():
        async with panel(door(engine, **settings), calls(count)) as arrivals:
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
        ask = door(engine, slots=2)
        async with panel(ask, calls(9)) as arrivals:
            async for _ in arrivals:
                break
        return ask._trace

    trace = frozen(main())
    assert engine.running == 0
    assert [done.outcome for done in trace.passes] == ["finished", "aborted"]


def test_leaving_the_block_before_anything_has_run_runs_nothing():
    engine = ScriptedEngine("4")

    async def main():
        async with panel(door(engine), calls(5)):
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
        async with panel(door(engine, slots=1, budget=Budget(passes=2)), calls(3)) as arrivals:
            return [arrivals.left, *[arrivals.left async for _ in arrivals]]

    assert frozen(main()) == [3, 2, 1, 0]


def test_what_the_block_raises_comes_out_as_it_is_and_aborts_the_rest():
    engine = ScriptedEngine("a " * 50)

    async def main(error):
        async with panel(door(engine), calls(3)):
            await asyncio.sleep(0.03)
            raise error

    for error in (OutOfBudget(), Overloaded("no room"), ZeroDivisionError("ours")):
        with pytest.raises(type(error)) as caught:
            frozen(main(error))
        assert caught.value is error
        assert engine.running == 0


def test_a_bug_behind_the_door_comes_out_as_itself():
    class Buggy(ScriptedEngine):
        def reply_to(self, number, call):
            raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        drawn(Buggy("4"), 2)


def test_leaving_early_leaves_no_generator_behind():
    """An abandoned async generator would be closed by a task that nobody waits for."""

    async def main():
        loop = asyncio.get_running_loop()
        async with panel(door(ScriptedEngine("4")), calls(3)) as arrivals:
            assert isinstance(arrivals, Arrivals)
            async for _ in arrivals:
                break
        await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}, list(loop._asyncgens)

    assert frozen(main()) == (set(), [])
