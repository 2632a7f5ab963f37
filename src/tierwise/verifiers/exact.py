"""Answers that equal a given text."""

from __future__ import annotations

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import marked, normalised, spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected


class Exact(BaseVerifier, frozen=True, kw_only=True):
    """The answer equals this text, ignoring case, whitespace, and punctuation at the ends."""

    kind = "exact"
    text_cost = 1
    decisive = True

    equals: str

    def __post_init__(self) -> None:
        if not normalised(self.equals):
            raise ValueError(f"equals: {self.equals!r} has only whitespace and punctuation, which are ignored")

    def key(self, completion: Completion) -> str | None:
        said = spoken(completion)
        return normalised(marked(said) or said) or None

    async def verify(self, completion: Completion) -> Verdict:
        said = spoken(completion)
        if normalised(self.equals) in (normalised(said), normalised(marked(said) or "")):
            return accepted(self.equals)
        return rejected(f"{said[:80]!r} instead of {self.equals!r}")
