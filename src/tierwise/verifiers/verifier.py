"""The protocol of a verifier."""

from __future__ import annotations

from typing import Protocol

from tierwise.spec.ask import Checkable, Verdict
from tierwise.spec.call import Completion


class Verifier(Checkable, Protocol):
    """Judges a candidate, with the data of the request or, in a benchmark, of the task's check."""

    @property
    def runs_code(self) -> bool:
        """Whether it evaluates a candidate as code, which needs the sandbox."""

    @property
    def is_ready(self) -> bool:
        """Whether it has everything it needs; a tier may name a kind whose data comes with the request."""

    def judges(self, completion: Completion) -> bool:
        """Whether it can judge an answer of this kind. Verifiers of texts judge no tool calls."""

    async def verify(self, completion: Completion) -> Verdict:
        """Judge one candidate. A candidate that cannot be parsed is rejected; it never raises."""
