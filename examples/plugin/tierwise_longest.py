"""A policy that gives the longest of several candidates, and a verifier that wants a polite answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import msgspec

from tierwise import Answer, Ask, BaseVerifier, Budget, Call, Completion, OutOfBudget, Prompt, Verdict


class Longest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Draws `n` candidates and gives the longest."""

    n: Annotated[int, msgspec.Meta(ge=2, le=64)] = 3
    """Candidates to draw."""

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - it asks no other tier
        return Budget(passes=self.n)

    def tiers(self) -> tuple[str, ...]:
        return ()

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"seed"})

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        async with ask.panel([Call(prompt=prompt)] * self.n) as arrivals:
            candidates = [one async for one in arrivals if one is not None]
        if not candidates:
            raise OutOfBudget
        best = max(candidates, key=lambda one: len(one.completion.text))
        return Answer(completion=best.completion, chosen=best.number, why=f"longest of {len(candidates)}")


class Polite(BaseVerifier, frozen=True, kw_only=True):
    """Accepts an answer that contains one of these words."""

    kind: ClassVar[str] = "polite"

    words: tuple[str, ...] = ("please", "thank")
    """In any case."""

    async def verify(self, completion: Completion) -> Verdict:
        is_polite = any(word.casefold() in completion.text.casefold() for word in self.words)
        return Verdict(
            ok=is_polite, score=float(is_polite), why="" if is_polite else f"none of {', '.join(self.words)}"
        )
