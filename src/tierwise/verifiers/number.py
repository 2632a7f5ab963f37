"""Answers that are numbers."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import answer_key, number_in, spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected


class Number(BaseVerifier, frozen=True, kw_only=True):
    """The answer is a number: the marked one, else the last one."""

    kind = "number"
    text_cost = 1

    equals: float | None = None
    """The correct number. Without it any number is accepted."""
    tolerance: Annotated[float, msgspec.Meta(ge=0)] = 1e-6
    """Allowed error, absolute or relative to `equals`, whichever is larger."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.equals or 0) or not math.isfinite(self.tolerance):
            raise ValueError("equals and tolerance: must be finite numbers")

    @property
    def decisive(self) -> bool:
        return self.equals is not None

    def key(self, completion: Completion) -> str | None:
        return answer_key(completion, "number")

    async def verify(self, completion: Completion) -> Verdict:
        found = number_in(spoken(completion))
        if found is None:
            return rejected("no number in the answer")
        shown = str(found) if found.denominator == 1 else f"{float(found):.12g}"
        if self.equals is None:
            return accepted(shown)
        right = Fraction(repr(self.equals))  # as it is written: 0.1 is a tenth
        # The cheap test first: with fractions the other takes 10 µs, a tenth of the bench's overhead per request.
        if found == right or abs(found - right) <= Fraction(repr(self.tolerance)) * max(Fraction(1), abs(right)):
            return accepted(shown)
        return rejected(f"{shown} instead of {self.equals:.12g}")
