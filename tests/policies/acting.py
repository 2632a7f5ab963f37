"""What the tests of more than one policy need: an engine whose replies go by draw, and actions that never surprise."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tierwise.policies import Majority, PolicyChoice, Single
from tierwise.run import Action, Tier
from tierwise.spec.budget import Budget
from tierwise.spec.clock import now
from tierwise.spec.errors import BudgetError, EngineError
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen, new_trace, tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.ledger.records import Trace
    from tierwise.policies import Policy
    from tierwise.spec.ask import Answer


class ByDraw(ScriptedEngine):
    """Gives draw number i the script's reply number i, in whatever order they start; knows how many ran at once."""

    def __init__(self, replies: Sequence[str | Reply], **settings) -> None:
        super().__init__(*replies, **settings)
        self.widest = 0

    def reply_to(self, number, call):
        self.widest = max(self.widest, self.running + 1)
        return super().reply_to(call.draw, call)


def named(name: str) -> Policy:
    """A policy with its defaults; one that asks other tiers has a cheap and a strong one."""
    settings = {"tiers": ["cheap", "strong"]} if name == "cascade" else {}
    return msgspec.convert({name: settings}, PolicyChoice).member


def most_passes(policy: Policy) -> int:
    """The most that it spends on one prompt with the tiers that `act` gives it."""
    return policy.most(lambda name: Budget(passes=3 if name == "strong" else 1)).passes


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an action ended."""

    answer: Answer | None
    error: BudgetError | EngineError | None
    trace: Trace
    seconds: float


def act(
    policy: Policy,
    engine: ScriptedEngine,
    *,
    slots=64,
    budget=None,
    verifier=None,
    prompt=None,
    cancel_after: float | None = None,
    steps: int = 0,
) -> Ended:
    """Run one action to whatever end it comes to; when it is cancelled, everything must be over at that very moment.

    Args:
        cancel_after: seconds until it is cancelled.
        steps: of the event loop, on top of them.
    """

    async def main() -> Ended:
        trace = new_trace()
        asked = tier(policy, engine, slots=slots, budget=budget)
        # What a policy of several tiers asks runs on the same deployment.
        others = {
            name: Tier(name=name, deployment=asked.deployment, policy=Majority(n=3) if rank else Single())
            for rank, name in enumerate(policy.tiers())
        }
        action = Action(asked, trace, tiers=others, verifier=verifier)
        task = asyncio.create_task(action.solve(prompt or ask_user("2+2?")))
        answer = error = None
        if cancel_after is not None:
            await asyncio.sleep(cancel_after)
            for _ in range(steps):
                await asyncio.sleep(0)
        began, started = now(), len(engine.calls)
        if cancel_after is not None:
            task.cancel()
        try:
            answer = await task
        except (BudgetError, EngineError) as caught:
            error = caught
        except asyncio.CancelledError:
            assert now() == began, "it took time to stop"
            assert len(engine.calls) == started, "a pass was started after the end"
        assert engine.running == 0, "a pass outlived its action"
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task outlived its action"
        return Ended(answer=answer, error=error, trace=trace, seconds=now() - trace.began)

    return frozen(main())
