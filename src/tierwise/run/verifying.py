"""Verdicts of candidates and keys of votes, within an action's deadline and its time for running code."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tierwise.ledger.records import Check
from tierwise.run.code_runs import ceiling
from tierwise.spec.ask import Answer, Verdict
from tierwise.spec.call import Pass
from tierwise.spec.clock import now
from tierwise.verifiers.pooled import judge
from tierwise.verifiers.votes import key_of_vote, runs_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from tierwise.run.choice import ChoiceState
    from tierwise.spec.ask import Equality
    from tierwise.verifiers.verifier import Verifier


class _Noting(Protocol):
    def __call__(self, reason: str, *, after: tuple[int, ...]) -> None: ...


@dataclass(frozen=True, slots=True)
class Verifying:
    """Runs the verifier of one choice."""

    choice: ChoiceState
    verifier: Verifier | None
    deadline: float | None
    """When the action's time ends, as of `now`; None for never."""
    note: _Noting
    mark: Callable[[str], None]
    """Records that a bound of the budget is used up."""

    async def verify(self, candidate: Pass | Answer) -> Verdict:
        """The verifier's verdict, recorded in the trace. It is negative if there is no verifier or no time left."""
        verifier = self.verifier
        if verifier is None:
            return Verdict(ok=False, score=0.0, why="no verifier")
        began, number = now(), candidate.number if isinstance(candidate, Pass) else candidate.chosen
        if not verifier.judges(candidate.completion):
            verdict = Verdict(ok=True, score=0.5, why=f"{verifier.kind} does not judge tool calls", judged=False)
            self.note(f"not judged: {verdict.why}", after=() if number is None else (number,))
            return verdict
        deadline = self.deadline
        out_of_time = "out of time before it was verified"
        if verifier.runs_code:
            if (ends_at := self.choice.code_runs.begin()) is None:
                return Verdict(ok=False, score=0.0, why=ceiling())
            if deadline is None or ends_at < deadline:
                deadline, out_of_time = ends_at, ceiling()
        try:
            async with asyncio.timeout_at(deadline) as clock:
                verdict = await judge(verifier, candidate.completion)
        except TimeoutError:
            if not clock.expired():
                raise
            self.mark("seconds")
            verdict = Verdict(ok=False, score=0.0, why=out_of_time)
        check = Check(number=number, kind=verifier.kind, verdict=verdict, seconds=now() - began)
        self.choice.trace.events.append(check)
        return verdict

    async def key(self, candidate: Pass, equality: Equality) -> str | None:
        """The key by which votes are equal; None for an answer that cannot be compared, or without time left."""
        if candidate.outcome == "cut":
            return None  # the last value in a truncated answer is not its answer
        deadline = self.deadline
        if runs_code(candidate, equality, self.verifier):
            if (ends_at := self.choice.code_runs.begin()) is None:
                return None
            deadline = ends_at if deadline is None else min(deadline, ends_at)
        try:
            async with asyncio.timeout_at(deadline):
                return await key_of_vote(candidate, equality, self.verifier)
        except TimeoutError:
            self.mark("seconds")
            return None
