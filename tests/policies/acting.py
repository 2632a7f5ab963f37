"""What the tests of more than one policy need: an engine whose replies go by draw, and actions that never surprise."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from tierwise.policies import Policy, PolicyChoice, Single
from tierwise.run import Action, Tier
from tierwise.spec.budget import Budget
from tierwise.testing import ask_user, frozen, new_trace, tier, tiers_of
from tierwise.testing.contracts.policies import ActionOutcome, ByDraw, run_action

__all__ = ["ActionOutcome", "ByDraw", "climb", "named", "run_action"]


def named(name: str) -> Policy:
    """A policy with its defaults; one that asks other tiers has a cheap and a strong one."""
    settings = {"tiers": ["cheap", "strong"]} if name in ("cascade", "diverse_experts") else {}
    return msgspec.convert({name: settings}, PolicyChoice).member


def climb(*steps, signals=None, prompt=None, verifier=None, budget=None, **settings):
    """Answer by a route over steps: an engine, or an engine with its policy and its sampling. Steps with the same
    engine are tiers of the same deployment. The budget is that of the last step.
    """
    made = []
    deployments = {}
    for number, step in enumerate(steps):
        engine, *more = step if isinstance(step, tuple) else (step,)
        policy, sampling = (*more, *(Single(), {})[len(more) :])
        one = tier(policy, engine, name=f"t{number}")
        deployment = deployments.setdefault(id(engine), replace(one.deployment, name=one.name))
        made.append(replace(one, deployment=deployment, sampling=sampling))
    made[-1] = replace(made[-1], budget=budget or Budget())
    ladder = tuple(one.name for one in made)
    read = {"tiers": ladder, **settings} if signals is None else {"tiers": ladder, "signals": signals, **settings}
    policy = msgspec.convert({"cascade": read}, PolicyChoice).member
    route = Tier(name="auto", deployment=made[-1].deployment, policy=policy)

    async def main():
        trace = new_trace()
        action = Action(route, trace, tiers=tiers_of(made), verifier=verifier)
        return await action.solve(prompt or ask_user("2+2?")), trace

    return frozen(main())
