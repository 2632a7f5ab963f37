"""The one door through which a policy spends, as policies see it; and what comes back through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tierwise.spec.call import Call, Completion, Pass


class OutOfBudget(Exception):
    """No further pass may start. A policy may catch it and return its best so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier makes of a candidate."""

    ok: bool
    score: float
    """1 for a candidate that is accepted, 0 for one that is not, in between where a verifier sees degrees."""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a policy decided to say."""

    completion: Completion
    chosen: int | None = None
    """The number of the pass that said it."""
    why: str = ""
    """One line for the ledger: `3 of 5 votes`, `refinement accepted`, …"""
    agreement: float | None = None
    """The share of votes that said the same, where there was a vote."""
    verdict: Verdict | None = None


class Checkable(Protocol):
    """What the answers to a request can be told apart by, and whether passing the check means being right."""

    @property
    def kind(self) -> str:
        """Its name in the table of verifiers."""

    @property
    def decisive(self) -> bool:
        """Whether an accepted candidate is right (tests, a known answer) rather than only well formed (a schema)."""

    def key(self, completion: Completion) -> str | None:
        """What a candidate answers, written so that equal answers are equal texts; None when it holds no answer."""


class Ask(Protocol):
    """Runs passes within the budget. Handed to a policy; only `run` makes one."""

    @property
    def width(self) -> int:
        """How many passes the deployment runs side by side."""

    @property
    def verifier(self) -> Checkable | None:
        """What a candidate can be checked with here; None when neither the request nor the tier carries anything."""

    async def __call__(self, call: Call, *, shown: bool = False) -> Pass:
        """Run one pass to its end; `shown` streams it to the user as it comes.

        Returns:
            A pass that finished, or one that the budget cut short after it had said something.

        Raises:
            OutOfBudget: no pass may start, or this one was stopped before it said anything.
            EngineError: the engine failed, and a second attempt could not be made or failed too.
        """

    async def verify(self, candidate: Pass) -> Verdict:
        """Check a candidate with `verifier`, and put the verdict on the trace."""
