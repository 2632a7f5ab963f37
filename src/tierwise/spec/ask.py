"""How a policy spends, as policies see it; and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, Self

from tierwise.spec.call import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    from tierwise.spec.budget import Budget, Left
    from tierwise.spec.call import Call, Completion, Pass
    from tierwise.spec.capabilities import Capabilities
    from tierwise.spec.prompt import Prompt

Order = Literal["draw", "finish"]
"""The order in which a panel yields: of the calls, or of their ends. A stopping rule that sees passes in the order in
which they end sees short answers first, which biases it unless the rule cannot change the answer."""

Watch = Callable[[Chunk], Literal["cut"] | None]
"""Looks at each chunk of a pass. Returning "cut" ends the pass there, and the pass keeps what it said."""


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
    tier: str = ""
    """The tier that served it. `ask` fills it in: the chosen pass's tier, else the one whose policy answered."""


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


class Arrivals(Protocol):
    """What becomes of the calls of a panel: one entry for each call, until all have one.

    An entry is a pass that finished or that was cut, or None for a call that failed or that the budget did not allow.
    When calls failed and not one brought a pass, the iterator ends in what the last of them raised.
    """

    @property
    def left(self) -> int:
        """Calls whose entry is still to come."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Pass | None: ...


class Ask(Protocol):
    """Runs passes of one tier within its budget. Handed to a policy; only `run` makes one."""

    @property
    def tier(self) -> str:
        """The tier whose passes it runs."""

    @property
    def deployment(self) -> str:
        """Where they run."""

    @property
    def width(self) -> int:
        """How many passes the deployment runs side by side."""

    @property
    def load(self) -> float:
        """How busy the deployment is, other actions included: 0 when idle, 1 when the next pass would queue."""

    @property
    def capabilities(self) -> Capabilities:
        """What the deployment can do with a request."""

    @property
    def left(self) -> Left:
        """What may still be spent here, within every budget around."""

    @property
    def verifier(self) -> Checkable | None:
        """What a candidate can be checked with: the request's verifier, else the tier's, else None."""

    @property
    def drawn(self) -> Sequence[Pass]:
        """Every pass of this choice that has ended, over all tiers, in the order in which they started."""

    async def __call__(self, call: Call, *, shown: bool = False, watch: Watch | None = None) -> Pass:
        """Run one pass to its end.

        Args:
            call: what to ask; its draw is numbered here.
            shown: stream it to the user as it comes. One pass at a time can be shown, and none after the user has seen
                a part of another.
            watch: looks at every chunk, and may cut the pass.

        Returns:
            A pass that finished, one that `watch` cut, or one that the budget cut short after it had said something.

        Raises:
            OutOfBudget: no pass may start, or this one was stopped before it said anything.
            EngineError: the engine failed, and a second attempt could not be made or failed too.
        """

    def panel(
        self, calls: Iterable[Call | tuple[Ask, Call]], *, order: Order = "draw"
    ) -> AbstractAsyncContextManager[Arrivals]:
        """Run several calls at once, at most `width` side by side on each deployment.

        Leaving the block aborts what still runs. A call may come with the `Ask` of another tier to run it.
        """

    def at(self, tier: str, *, reserve: Budget | None = None) -> Ask:
        """The same for another tier that the policy names in `tiers`: that tier's sampling and verifier, and its budget
        within this one.

        Args:
            tier: its name.
            reserve: what it must leave of this budget, for instance for a last tier.
        """

    def within(self, budget: Budget) -> Ask:
        """The same within a budget of its own: a recovery, a trial answer, a judge's share."""

    async def solve(self, prompt: Prompt, *, shown: bool = False) -> Answer:
        """Answer a prompt as the tier does, by its own policy.

        Args:
            prompt: what to answer.
            shown: let the tier's policy stream to the user.

        Raises:
            OutOfBudget: nothing could be said within the budget.
            EngineError: the engine failed; `was_shown` says whether the user has seen a part of it.
        """

    async def verify(self, candidate: Pass | Answer) -> Verdict:
        """Check a candidate with `verifier`, and put the verdict on the trace."""

    def note(self, reason: str, *, signal: str = "", level: float | None = None, after: tuple[int, ...] = ()) -> None:
        """Put a decision on the trace: why the action goes on, stops or changes its tier here.

        Args:
            reason: one line for the ledger.
            signal: what was looked at: `verifier`, `agreement`, …
            level: its value.
            after: numbers of the passes that it was looked at in.
        """
