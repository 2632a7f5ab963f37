"""One user-visible request while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.ledger.records import Decision
from tierwise.run.budget import BudgetTracker
from tierwise.run.output import OutputStream, Sink, discard
from tierwise.run.runner import ChoiceState, PassRunner
from tierwise.spec.ask import Answer, OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.errors import BudgetError, PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.ledger.records import Trace
    from tierwise.run.tier import Tier
    from tierwise.spec.prompt import Prompt
    from tierwise.verifiers.verifier import Verifier


class Action:
    """One user-visible request while it runs.

    Args:
        tier: the tier that was asked for.
        trace: what happens is written here.
        tiers: every tier of the service by name, for policies that ask others.
        budget: the caller's own, which can only tighten a tier's.
        verifier: what the request says that candidates can be checked with.
        judges: whether it judges another action's answer, so that none of its passes is a candidate of anything.
    """

    def __init__(
        self,
        tier: Tier,
        trace: Trace,
        *,
        tiers: Mapping[str, Tier] | None = None,
        budget: Budget | None = None,
        verifier: Verifier | None = None,
        judges: bool = False,
    ) -> None:
        self._tier = tier
        self._trace = trace
        self._tiers = tiers or {}
        self._verifier = verifier
        self._judges = judges
        self._tracker = BudgetTracker(budget or Budget(), trace.began).of_tier(tier.name, tier.budget)
        self._choices: list[ChoiceState] = []
        self._served = ""

    @property
    def tier(self) -> str:
        """The tier that serves: of the answer, of what is being shown, or the one that was asked last.

        Empty before any was asked. With several choices, the first one's.
        """
        if self._served or not self._choices:
            return self._served
        first = self._choices[0]
        return first.output.tier or first.reached

    @property
    def reason(self) -> str:
        """Why that tier: what the asked tier's policy first decided, where it chooses among others."""
        if not self._tier.policy.tiers():
            return "asked by name"
        decisions = (one for one in self._trace.events if isinstance(one, Decision) and one.tier == self._tier.name)
        first = next(decisions, None)
        return f"{self._tier.name}: {'nothing was asked' if first is None else first.reason}"

    async def solve(self, prompt: Prompt, sink: Sink = discard) -> Answer:
        """Answer one prompt; called once per choice, and all choices share the budget.

        Raises:
            BudgetError: nothing could be said within the budget.
            EngineError: an engine failed, and there was no other answer.
            PolicyError: our own decision code broke.
        """
        output = OutputStream(sink)
        choice = ChoiceState(
            tiers=self._tiers, trace=self._trace, output=output, verifier=self._verifier, judges=self._judges
        )
        self._choices.append(choice)
        try:
            answer = await PassRunner(choice, self._tier, self._tracker).solve(prompt, shown=True)
        except OutOfBudget:
            raise BudgetError((choice.refused_by or self._tracker).describe()) from None
        if output.has_shown and answer.chosen not in (None, output.owner):
            raise PolicyError(
                f"tier {self._tier.name!r} answered with pass {answer.chosen} after showing pass {output.owner}"
            )
        if not output.has_shown:
            output.tier = answer.tier
            for chunk in answer.completion.chunks():
                await output.show(chunk)
        if choice is self._choices[0]:
            self._served = answer.tier
        return answer
