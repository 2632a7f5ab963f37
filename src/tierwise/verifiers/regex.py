"""Answers that contain a match of a pattern."""

from __future__ import annotations

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import normalised, spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected
from tierwise.verifiers.patterns import compiled


class Regex(BaseVerifier, frozen=True, kw_only=True):
    """The answer contains a match of this pattern.

    The pattern matches anywhere; anchor it with ^ and $. The syntax is RE2's: that of Python's `re` without look-around
    and back-references.
    """

    kind = "regex"
    text_cost = 1

    pattern: str

    def __post_init__(self) -> None:
        try:
            compiled(self.pattern)
        except ValueError as error:
            raise ValueError(f"pattern: {error}") from error

    def key(self, completion: Completion) -> str | None:
        try:
            found = compiled(self.pattern).find(spoken(completion))
        except ValueError:
            return None
        return None if found is None else normalised(found)

    async def verify(self, completion: Completion) -> Verdict:
        try:
            found = compiled(self.pattern).find(spoken(completion))
        except ValueError as error:
            return rejected(str(error))
        return rejected(f"does not match {self.pattern!r}") if found is None else accepted(found)
