"""Requests that offer tools to an observed route: nobody has labelled them, so the reference tier answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tierwise.spec.ask import Answer, Ask
from tierwise.spec.budget import Budget
from tierwise.spec.prompt import Prompt

TOOL_TURN = "tool_turn"
"""The signal of the decision that the reference tier answers a request with tools."""


@dataclass(frozen=True, slots=True)
class ReferenceTier:
    """The policy of a route for one request with tools."""

    reference: str

    def most(self, at: Callable[[str], Budget]) -> Budget:
        return at(self.reference)

    def tiers(self) -> tuple[str, ...]:
        return (self.reference,)

    @property
    def sets(self) -> frozenset[str]:
        return frozenset()

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        ask.note(f"it offers tools, and such turns are not labelled: {self.reference} answers", signal=TOOL_TURN)
        return await ask.at(self.reference).solve(prompt, shown=True, drafts=ask.drafts)
