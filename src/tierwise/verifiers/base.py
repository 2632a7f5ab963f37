"""What verifiers share, so that each states only what is its own."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import spoken

MOST_WORDS = 200
"""Characters of a verdict's reason: every verdict is kept in the ledger."""


class BaseVerifier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A verifier that is only a pattern of an answer: ready as it stands, and accepting what may still be wrong.

    A subclass sets `kind` and defines `verify`; it overrides what differs.
    """

    kind: ClassVar[str]
    """Its name in the table of verifiers."""
    package: ClassVar[str] = ""
    """The package that it needs, by the name that pip knows; empty for those that need none."""
    runs_code: ClassVar[bool] = False
    """Whether it evaluates what a model wrote, and needs the sandbox for it."""

    @property
    def decisive(self) -> bool:
        """Whether an accepted candidate is right, rather than only well formed."""
        return False

    @property
    def is_ready(self) -> bool:
        """Whether it holds all that it needs to judge."""
        return True

    def key(self, completion: Completion) -> str | None:
        """What a candidate answers, so that equal answers are equal texts; None when it holds no answer."""
        return spoken(completion) or None

    async def verify(self, completion: Completion) -> Verdict:
        """Judge one candidate. A candidate that cannot be read is rejected; that is never an exception."""
        raise NotImplementedError


def accepted(why: str, score: float = 1.0) -> Verdict:
    """The verdict on a candidate that passes."""
    return Verdict(ok=True, score=score, why=why[:MOST_WORDS])


def rejected(why: str, score: float = 0.0) -> Verdict:
    """The verdict on a candidate that does not pass."""
    return Verdict(ok=False, score=score, why=why[:MOST_WORDS])
