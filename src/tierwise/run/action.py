"""A running user request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tierwise.ledger.prices import PriceBook
from tierwise.ledger.records import Decision, Trace
from tierwise.run.budget import BudgetTracker
from tierwise.run.choice import ChoiceState
from tierwise.run.code_runs import CodeRuns
from tierwise.run.output import DraftSink, OutputStream, Sink, discard
from tierwise.run.prefill import SharedPrompts
from tierwise.run.runner import PassRunner
from tierwise.run.slots import SharedSlots
from tierwise.run.steps import in_detail, in_short, of_route, steps_of
from tierwise.run.tier import Tier
from tierwise.spec.ask import Answer, OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.call import Chunk
from tierwise.spec.clock import now
from tierwise.spec.errors import BudgetError, PolicyError
from tierwise.spec.prompt import Prompt
from tierwise.verifiers.check_pool import owner

if TYPE_CHECKING:
    from tierwise.keys.purse import Purse
    from tierwise.verifiers.verifier import Verifier


class Action:
    """A running user request.

    Args:
        tier: the tier that was asked for.
        trace: records passes, verdicts and decisions.
        tiers: every tier of the service by name, for policies that ask other tiers.
        budget: the caller's budget, which can only tighten a tier's.
        verifier: the request's verifier for candidates.
        judges: whether it judges another action's answer, so that none of its passes is a candidate.
        choices: how often `solve` will be called.
        prices: what passes cost, for budgets of dollars; nothing if None.
    """

    __slots__ = (
        "_budget",
        "_choices",
        "_code_runs",
        "_count",
        "_group",
        "_judges",
        "_of_each",
        "_prices",
        "_prompts",
        "_served",
        "_slots",
        "_tier",
        "_tiers",
        "_trace",
        "_tracker",
        "_verifier",
        "drafts",
        "purse",
    )

    def __init__(
        self,
        tier: Tier,
        trace: Trace,
        *,
        tiers: Mapping[str, Tier] | None = None,
        budget: Budget | None = None,
        verifier: Verifier | None = None,
        judges: bool = False,
        choices: int = 1,
        prices: PriceBook | None = None,
    ) -> None:
        self._tier = tier
        self._trace = trace
        self._tiers = tiers or {}
        self._verifier = verifier
        self._judges = judges
        self._prices = prices or PriceBook({})
        self._budget = budget or Budget()
        self._tracker = self._tracked()
        self._slots = SharedSlots()
        self._group = trace.action if choices > 1 else ""
        self._prompts = SharedPrompts(choices)
        self._code_runs = CodeRuns()
        self._count = choices
        self._of_each: Budget | None = None
        """The part of the budget that each choice has; None if they share all of it."""
        self._choices: list[ChoiceState] = []
        self._served = ""
        self.purse: Purse | None = None
        """What it may spend of its caller's budgets; None without one."""
        self.drafts: DraftSink | None = None
        """Shows drafts, which are not the answer, while they are written; None to show none."""

    def tighten(self, passes: int) -> None:
        """Allow it fewer passes, as many for each choice; only before `solve`."""
        self._budget = self._budget.within(Budget(passes=passes))
        self._tracker = self._tracked()
        self._of_each = Budget(passes=max(1, passes // self._count)) if self._count > 1 else None

    def _tracked(self) -> BudgetTracker:
        if self._budget == Budget():
            return BudgetTracker(self._tier.budget, self._trace.began)
        return BudgetTracker(self._budget, self._trace.began).of_tier(self._tier.name, self._tier.budget)

    @property
    def tier(self) -> str:
        """The tier that serves: the answer's, else that of the output being streamed, else the last one asked.

        Empty before any tier was asked. With several choices, the first choice's tier.
        """
        if self._served or not self._choices:
            return self._served
        first = self._choices[0]
        return first.output.tier or first.reached

    @property
    def is_showing(self) -> bool:
        """Whether the output of a pass goes to the user as it comes, so that there will be something to show."""
        return any(choice.output.owner is not None for choice in self._choices)

    @property
    def reason(self) -> str:
        """Why that tier, if the asked tier's policy chooses among tiers: the signal that kept its answer, or those that
        refused the answers of others; where there is none, the policy's first decision. Without levels: the ledger
        adds up by it.
        """
        if not self._tier.policy.tiers():
            return "asked by name"
        if steps := of_route(steps_of(self._trace), self._tier.name):
            return f"{self._tier.name}: {in_short(steps, self.tier)}"
        decisions = (one for one in self._trace.events if isinstance(one, Decision) and one.tier == self._tier.name)
        first = next(decisions, None)
        return f"{self._tier.name}: {'nothing was asked' if first is None else first.reason}"

    @property
    def decision(self) -> str:
        """How the asked tier's policy came to that tier, with the levels of signals; empty if it did not choose."""
        steps = of_route(steps_of(self._trace), self._tier.name)
        return in_detail(steps, self.tier) if steps else ""

    async def solve(self, prompt: Prompt, sink: Sink = discard) -> Answer:
        """Answer one prompt. Called once per choice; all choices share the budget.

        Raises:
            BudgetError: the budget allowed no answer.
            EngineError: an engine failed and no other answer is available.
            PolicyError: a policy has a bug.
            OutOfQuota, KeysUnavailable: a budget of the caller's key or team allowed no answer.
        """
        owner.set(self._trace.action)
        output = OutputStream(sink)
        choice = ChoiceState(
            tiers=self._tiers,
            trace=self._trace,
            number=len(self._choices),
            drafts=self.drafts,
            output=output,
            slots=self._slots,
            group=self._group,
            prompts=self._prompts,
            verifier=self._verifier,
            judges=self._judges,
            prices=self._prices,
            purse=self.purse,
            code_runs=self._code_runs,
        )
        self._choices.append(choice)
        try:
            tracker = self._tracker if self._of_each is None else self._tracker.within(self._of_each, now())
            answer = await PassRunner(choice, self._tier, tracker).solve(prompt, shown=True)
        except OutOfBudget:
            if self.purse is not None and self.purse.refusal is not None:
                raise self.purse.refusal from None
            raise BudgetError((choice.refused_by or self._tracker).describe()) from None
        if output.has_shown and answer.chosen not in (None, output.owner):
            raise PolicyError(
                f"tier {self._tier.name!r} answered with pass {answer.chosen} after showing pass {output.owner}"
            )
        answer = choice.recoveries.shown(answer)
        if not output.has_shown:
            output.tier = answer.tier
            if not output.is_discarded:
                await output.show(answer.completion.chunks())
        elif not output.has_ended:
            await output.show([Chunk(finish=answer.completion.finish, response=answer.completion.response)])
        if choice is self._choices[0]:
            self._served = answer.tier
        return answer
