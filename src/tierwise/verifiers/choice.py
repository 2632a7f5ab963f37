"""Answers that are one of several options."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import choice_in, spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected


class Choice(BaseVerifier, frozen=True, kw_only=True):
    """The answer names one of several options."""

    kind = "choice"
    text_cost = 1

    options: Annotated[tuple[str, ...], msgspec.Meta(max_length=1000)]
    """Allowed answers, matched as whole words and case-insensitively."""
    equals: str | None = None
    """The correct option. Without it any option is accepted."""

    def __post_init__(self) -> None:
        different = {" ".join(option.split()).casefold() for option in self.options}
        if len(different) < 2 or len(different) < len(self.options) or "" in different:
            raise ValueError("options: give at least two that differ in more than case and whitespace")
        if self.equals is not None and self.equals not in self.options:
            raise ValueError(f"equals: {self.equals!r} is not one of the options {', '.join(self.options)}")

    @property
    def decisive(self) -> bool:
        return self.equals is not None

    def key(self, completion: Completion) -> str | None:
        return choice_in(spoken(completion), self.options)

    async def verify(self, completion: Completion) -> Verdict:
        found = self.key(completion)
        if found is None:
            return rejected(f"names none of {', '.join(self.options)}")
        return accepted(found) if self.equals in (None, found) else rejected(f"{found} instead of {self.equals}")
