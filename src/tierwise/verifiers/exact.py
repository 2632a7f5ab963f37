"""Answers that equal a given text."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import marked, normalised, spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected

_CLAUSE = re.compile(r"[.!?。]\s|,\s+(?:because|since|as|which|weil|porque|car|perché)\b|\s\(")


class Exact(BaseVerifier, frozen=True, kw_only=True, omit_defaults=True):
    """The answer equals this text, ignoring case, whitespace, Unicode forms, and the signs around it: punctuation,
    quotes, emphasis, brackets, a box.
    """

    kind = "exact"
    text_cost = 1
    decisive = True

    equals: str | None = None
    """The correct text."""
    any_of: Annotated[tuple[str, ...], msgspec.Meta(max_length=100)] = ()
    """Several correct texts, in place of `equals`."""

    def __post_init__(self) -> None:
        if (self.equals is None) == (not self.any_of):
            raise ValueError("equals and any_of: give one of them")
        for name, text in (
            (("equals", self.equals),) if self.equals is not None else (("any_of", one) for one in self.any_of)
        ):
            if not normalised(text):
                raise ValueError(f"{name}: {text!r} has only whitespace and punctuation, which are ignored")

    def key(self, completion: Completion) -> str | None:
        said = spoken(completion)
        return normalised(marked(said) or said) or None

    async def verify(self, completion: Completion) -> Verdict:
        said = spoken(completion)
        mark = marked(said)
        readings = {normalised(said)}
        if mark is not None:
            clause = _CLAUSE.search(mark)
            readings |= {normalised(mark), normalised(mark[: clause.start()] if clause else mark)}
        wanted = self.any_of if self.equals is None else (self.equals,)
        for text in wanted:
            if normalised(text) in readings:
                return accepted(text)
        return rejected(f"{said[:80]!r} instead of {' or '.join(map(repr, wanted))}")
