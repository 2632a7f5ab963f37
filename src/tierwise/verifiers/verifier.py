"""The protocol of a verifier, apart from its members so that a new one is one file and one line in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tierwise.spec.ask import Checkable

if TYPE_CHECKING:
    from tierwise.spec.ask import Verdict
    from tierwise.spec.call import Completion


class Verifier(Checkable, Protocol):
    """Judges a candidate, with what the request (or, in a benchmark, the task's check) carries."""

    @property
    def is_ready(self) -> bool:
        """Whether it holds all that it needs; a tier may name a kind whose material comes with the request."""

    async def verify(self, completion: Completion) -> Verdict:
        """Judge one candidate. A candidate that cannot be read is not accepted; that is never an exception."""
