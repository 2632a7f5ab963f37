"""Ask the cheapest tier first, and a stronger one only if its answer is not accepted (Chen et al., 2023, arXiv
2305.05176). A route of the config file is a tier with this policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import msgspec

from tierwise.spec.ask import Answer, Ask, OutOfBudget, Verdict
from tierwise.spec.budget import Budget
from tierwise.spec.errors import EngineError
from tierwise.spec.prompt import Prompt


class Cascade(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Try tiers in turn, cheapest first, until a verifier accepts an answer. The last tier's answer is final.

    A tier's answer is judged with the request's verifier, else with the tier's own. A tier without a verifier is
    skipped, so that without any verifier the last tier answers at once. A tier that fails or runs out of budget is
    skipped too. If the last tier cannot answer, the best answer so far is returned.
    """

    ladder: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = msgspec.field(name="tiers")
    """Tiers of this file, cheapest first."""

    def most(self, at: Callable[[str], Budget]) -> Budget:
        return sum((at(name) for name in self.ladder[1:]), at(self.ladder[0]))

    def tiers(self) -> tuple[str, ...]:
        return self.ladder

    @property
    def sets(self) -> frozenset[str]:
        return frozenset()

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        *cheaper, last = [ask.at(name) for name in self.ladder]
        judged = [tier for tier in cheaper if tier.verifier is not None]
        ask.note(_plan(cheaper, judged))
        kept: Answer | None = None
        for tier in judged:
            answer = await _judged(tier, prompt, ask)
            if answer is None or answer.verdict is None:
                continue
            if answer.verdict.ok:
                return answer
            if kept is None or kept.verdict is None or answer.verdict.score >= kept.verdict.score:
                kept = answer
        try:
            return await last.solve(prompt, shown=True)
        except (OutOfBudget, EngineError) as failure:
            if kept is None or (isinstance(failure, EngineError) and failure.was_shown):
                raise
            ask.note(f"{last.tier} {_failure(failure)}: the best earlier answer is returned")
            return kept


def _plan(cheaper: list[Ask], judged: list[Ask]) -> str:
    if not cheaper:
        return "its only tier"
    if not judged or judged[0].verifier is None:
        return "no verifier, so the strongest tier"
    return f"escalates until {judged[0].verifier.kind} accepts"


async def _judged(tier: Ask, prompt: Prompt, ask: Ask) -> Answer | None:
    """A tier's answer with its verdict; None if the tier cannot answer."""
    try:
        answer = await tier.solve(prompt)
    except (OutOfBudget, EngineError) as failure:
        ask.note(f"{tier.tier} {_failure(failure)}")
        return None
    verdict = answer.verdict or await tier.verify(answer)
    after = () if answer.chosen is None else (answer.chosen,)
    ask.note(f"{tier.tier} {_said(verdict)}", signal="verifier", level=verdict.score, after=after)
    return replace(answer, verdict=verdict)


def _said(verdict: Verdict) -> str:
    if not verdict.judged:
        return f"not judged: {verdict.why}"
    if verdict.ok:
        return "accepted"
    return f"not accepted: {verdict.why}" if verdict.why else "not accepted"


def _failure(failure: Exception) -> str:
    return "ran out of budget" if isinstance(failure, OutOfBudget) else f"failed: {failure}"
