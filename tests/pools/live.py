"""A setting on the live path: `run/` with the replay engine, which takes as long as the recorded passes, on a frozen
clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tierwise.engines.engine import Deployment
from tierwise.engines.replay.engine import ReplayEngine
from tierwise.engines.replay.recording import Candidate, prompt_digest
from tierwise.engines.thinking_switch import turned_off
from tierwise.ledger.prices import PriceBook
from tierwise.pools.draws import Draw
from tierwise.pools.grid import Setting
from tierwise.pools.reading import Pool, PoolTask
from tierwise.run import Action
from tierwise.service import tiers_of
from tierwise.spec.ask import Answer
from tierwise.spec.call import Call, Pass
from tierwise.spec.clock import now
from tierwise.spec.errors import BudgetError, EngineError
from tierwise.spec.json import Fields
from tierwise.spec.prompt import Prompt
from tierwise.testing import frozen, new_trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    answer: Answer | None
    passes: list[Pass]
    seconds: float
    dollars: float


OFF: Fields = {"chat_template_kwargs": {"enable_thinking": False}}


class Switching(ReplayEngine):
    """A recording of an engine whose thinking can be turned off."""

    thinking_off = OFF


def candidates(pool: Pool, task: PoolTask, deployment: str) -> list[Candidate]:
    """A recording of a task's draws, as any policy asks for them. All that were lost to thinking have one recovery."""
    found = []
    for source in pool.sources:
        if source.deployment != deployment:
            continue
        plain = task.prompt.by_default(source.sampling)
        for role in ("draft", "vote"):
            for prompt in _asked(plain):
                draws = task.draws[source.key]
                found += [_candidate(Call(prompt=prompt, role=role, draw=draw.index), draw) for draw in draws]
        again = next((one.recoveries[0] for one in task.draws[source.key] if one.recoveries), None)
        for prompt in () if again is None else _asked(plain):
            off = turned_off(prompt, OFF)
            found += [_candidate(Call(prompt=off, role="recovery", draw=number), again) for number in range(40)]
    return found


def _asked(plain: Prompt) -> list[Prompt]:
    """A prompt as a policy asks it: without and with log-probabilities."""
    return [plain, plain.preferring(logprobs=True), plain.preferring(logprobs=True, top_logprobs=5)]


def _candidate(call: Call, draw: Draw) -> Candidate:
    part = draw.part(draw.count, logprobs=bool(call.prompt.fields.get("logprobs")))
    return Candidate(
        prompt=prompt_digest(call),
        draw=call.draw,
        bound=draw.bound,
        message=part.completion.message(),
        logprobs=[dict(token) for token in part.completion.logprobs],
        finish=part.completion.finish,
        prompt_tokens=draw.usage.prompt,
        cached_tokens=draw.usage.cached,
        completion_tokens=draw.count,
        first_token=draw.first_token,
        seconds=draw.seconds,
    )


def live(pool: Pool, setting: Setting, index: int) -> Live:
    """Answer one task with a setting."""
    task = pool.tasks[index]
    plan = pool.plan
    deployments = {
        name: Deployment(
            name=name,
            engine=Switching(name, candidates(pool, task, name), speed=1.0),
            slots=plan.file.deployments[name].slots,
        )
        for name in set(plan.runs_as.values())
    }
    tiers = tiers_of(plan, deployments)
    own = replace(
        tiers[setting.tier], name=setting.name, policy=setting.policy, budget=setting.budget, verifier=setting.verifier
    )
    verifier = None if task.task.verifier is None else task.task.verifier.member

    async def main() -> Live:
        trace = new_trace()
        action = Action(own, trace, tiers={**tiers, setting.name: own}, verifier=verifier)
        answer: Answer | None
        try:
            answer = await action.solve(task.prompt)
        except (BudgetError, EngineError):
            answer = None
        dollars = PriceBook(plan.file.prices).total(trace.passes).dollars
        return Live(answer=answer, passes=trace.passes, seconds=now() - trace.began, dollars=dollars)

    return frozen(main())
