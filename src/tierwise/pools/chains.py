"""Recorded passes that saw others: critiques, refinements, judgements. What each saw is found by running its policy.

A record has the passes of its action with their texts, and not the prompts that the policy made for them. So the policy
is run on the record: it gets the recorded passes in their order, and each call is the one that the next pass answered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn, Self

from tierwise.engines.replay.recording import prompt_digest
from tierwise.pools.draws import Draw, RecordedCompletion
from tierwise.run.recovery import LOST
from tierwise.spec.ask import Answer, OutOfBudget, Verdict
from tierwise.spec.budget import Left
from tierwise.spec.call import Call, Pass, Usage
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.errors import TierwiseError
from tierwise.verifiers.pooled import judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from tierwise.plan import Plan
    from tierwise.pools.sources import Source
    from tierwise.runs.records import PassSpend, TrialRecord
    from tierwise.spec.ask import Watching
    from tierwise.spec.budget import Budget
    from tierwise.spec.prompt import Prompt
    from tierwise.verifiers.verifier import Verifier
    from tierwise.workloads.task import Task


def chained_draw(index: int, spent: PassSpend, bound: int | None, recoveries: Sequence[PassSpend] | None = ()) -> Draw:
    """A pass of a recorded action as a draw.

    Args:
        index: of the draw.
        spent: the pass.
        bound: its limit of completion tokens.
        recoveries: the passes that tried to answer in its place, as of `Draw.recoveries`.
    """
    message, is_lost = spent.message, spent.outcome == LOST
    return Draw(
        index=index,
        completion=RecordedCompletion(
            text=(message.content or "") if message is not None else "",
            reasoning=(message.reasoning_content or "") if message is not None else "",
            tool_calls=tuple(message.tool_calls) if message is not None else (),
            finish=spent.finish or "stop",
        ),
        usage=Usage(
            prompt=spent.prompt_tokens,
            cached=spent.cached_tokens,
            completion=spent.completion_tokens,
            reasoning=spent.completion_tokens if is_lost else 0,
        ),
        tokens=None,
        bound=spent.completion_tokens if spent.outcome == "cut" else bound,
        first_token=spent.seconds if spent.first_token is None else spent.first_token,
        seconds=spent.seconds,
        correct=False if is_lost else spent.solved,
        recoveries=None
        if recoveries is None
        else tuple(chained_draw(number, one, bound) for number, one in enumerate(recoveries)),
    )


class _Diverged(BaseException):
    """The policy does not do what was recorded, or does what is not recorded so."""


class Continuations:
    """Finds the calls that recorded passes answered.

    Args:
        plan: the recorded config file.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.close()

    def of(
        self, task: Task, prompt: Prompt, records: Iterable[tuple[Source, TrialRecord]]
    ) -> Mapping[tuple[str, str], Draw]:
        """The passes of recorded actions that saw others, by deployment and the digest of their call."""
        found: dict[tuple[str, str], Draw] = {}
        for source, record in records:
            tier = self._plan.tiers[source.tier]
            verifier = task.verifier.member if task.verifier is not None else tier.policy.verifier
            ask = _RecordedAsk(source.tier, source.deployment, verifier, record.passes or ())
            self._runner.run(ask.follow(tier.policy.member, prompt.by_default(source.sampling)))
            for call, spent, recoveries in ask.answered:
                if call.after:
                    draw = chained_draw(len(found), spent, call.prompt.bound, recoveries)
                    found.setdefault((source.deployment, prompt_digest(call)), draw)
        return found


class _RecordedAsk:
    """`Ask` whose passes are those of one recorded action, in their order, one at a time.

    Attributes:
        answered: each call with the pass that answered it, and those that did in its place if it was lost to thinking.
    """

    width = 1
    load = 0.0
    capabilities = Capabilities()
    left = Left()
    drafts: Sequence[Answer] = ()
    session = ""
    is_shown = False

    def __init__(self, tier: str, deployment: str, verifier: Verifier | None, passes: Sequence[PassSpend]) -> None:
        self.tier, self.deployment, self.verifier = tier, deployment, verifier
        self.drawn: list[Pass] = []
        self.answered: list[tuple[Call, PassSpend, list[PassSpend]]] = []
        self._left = sorted(passes, key=lambda one: one.number)

    async def follow(self, policy: Any, prompt: Prompt) -> None:
        """Run a policy as far as it does what was recorded."""
        try:
            await policy.solve(prompt, self)
        except (_Diverged, OutOfBudget, TierwiseError):
            return

    async def __call__(self, call: Call, **_: object) -> Pass:
        if not self._left:
            raise OutOfBudget
        spent = self._left.pop(0)
        if (spent.role, tuple(spent.after)) != (call.role, call.after) or spent.outcome not in (
            "finished",
            "cut",
            LOST,
        ):
            raise _Diverged
        recoveries: list[PassSpend] = []
        while spent.outcome == LOST and self._left and self._left[0].role == "recovery":
            recoveries.append(self._left.pop(0))
        recoveries = [one for one in recoveries if one.outcome in ("finished", "cut", LOST)]
        self.answered.append((call, spent, recoveries))
        whole = chained_draw(0, spent, None, recoveries)
        if (draw := whole.served) is not whole:
            spent = recoveries[draw.index]
        done = Pass(
            number=spent.number,
            tier=self.tier,
            deployment=self.deployment,
            call=call,
            outcome=spent.outcome,
            completion=draw.completion,
            usage=draw.usage,
            started=spent.started or 0.0,
            first_token=spent.first_token,
            seconds=spent.seconds,
            busy_seconds=0.0,
        )
        self.drawn.append(done)
        return done

    def panel(self, *_: object, **__: object) -> NoReturn:
        raise _Diverged

    def at(self, *_: object, **__: object) -> NoReturn:
        raise _Diverged

    def on(self, *_: object) -> NoReturn:
        raise _Diverged

    def within(self, budget: Budget) -> _RecordedAsk:  # noqa: ARG002 - what was spent is recorded
        return self

    def recall(self) -> str:
        return ""

    def keep(self, word: str, seconds: float) -> None:
        """A recorded action belongs to no session."""

    def watching(self, watching: Watching) -> _RecordedAsk:  # noqa: ARG002 - what was cut is recorded
        return self

    async def solve(self, *_: object, **__: object) -> NoReturn:
        raise _Diverged

    async def verify(self, candidate: Pass | Answer) -> Verdict:
        verifier = self.verifier
        if verifier is None:
            return Verdict(ok=False, score=0.0, why="no verifier")
        if not verifier.judges(candidate.completion):
            return Verdict(ok=True, score=0.5, why=f"{verifier.kind} does not judge tool calls", judged=False)
        return await judge(verifier, candidate.completion)

    def note(self, *_: object, **__: object) -> None:
        """Decisions are not needed."""
