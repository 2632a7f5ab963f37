"""The interface through which a policy runs passes, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from tierwise.spec.budget import Budget, Left
from tierwise.spec.call import Call, Chunk, Completion, Pass
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.prompt import Prompt
from tierwise.spec.values import frozen_value

Order = Literal["draw", "finish"]
"""The order in which a panel yields passes: the order of the calls, or the order in which they finish. In finish order
a stopping rule sees short answers first, which biases it unless the rule cannot change the answer."""

Equality = Literal["auto", "number", "choice", "json", "text", "code", "tool_name", "tool_arguments"]
"""How the answers of two candidates are compared. `auto` uses the verifier, else the form of the answer; `code`
compares what functions return. Tool calls are compared by name and arguments, with the last two by one of them."""

Pace = Callable[[int], int]
"""Given how many calls of a panel have started, returns how many, from the first, may have started by now."""

Watch = Callable[[Chunk], Literal["cut", "end_thinking"] | None]
"""Called with each chunk of a pass. Returning "cut" ends the pass there; the pass keeps its output so far.
"end_thinking" ends its thinking, so that it goes on with its answer; an engine without such a control is cut."""

Watching = Callable[[], Watch]
"""Makes the watch of one pass."""


class OutOfBudget(Exception):
    """No further pass may start. A policy may catch it and return its best answer so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A verifier's judgement of a candidate."""

    ok: bool
    score: float
    """From 0 to 1: 1 if accepted, 0 if rejected, in between for verifiers that grade."""
    why: str = ""
    judged: bool = True
    """False if the verifier does not judge answers of this kind. The answer then counts as acceptable, and is never a
    reason to stop early."""


@frozen_value
class Answer:
    """The answer that a policy chose."""

    completion: Completion
    chosen: int | None = None
    """The number of the pass that produced it."""
    why: str = ""
    """One line for the ledger: `3 of 5 votes`, `refinement accepted`, …"""
    agreement: float | None = None
    """The share of votes for this answer; None without a vote, and where the votes were copies of one draw."""
    verdict: Verdict | None = None
    tier: str = ""
    """The tier that served it. `ask` sets it: the chosen pass's tier, else the tier whose policy answered."""


class Checkable(Protocol):
    """How the answers to a request are compared, and whether passing the check means being right."""

    @property
    def kind(self) -> str:
        """Its name in the table of verifiers."""

    @property
    def decisive(self) -> bool:
        """Whether an accepted candidate is right (tests, a known answer) rather than only well formed (a schema)."""

    def key(self, completion: Completion) -> str | None:
        """The candidate's answer in canonical form, so that equal answers are equal texts; None without an answer."""


class Arrivals(Protocol):
    """The results of a panel: one entry per call.

    An entry is a pass that finished or was cut, or None for a call that failed or that the budget did not allow. If
    calls failed and none produced a pass, the iterator raises the last error.
    """

    @property
    def left(self) -> int:
        """Calls without an entry so far."""

    @property
    def position(self) -> int:
        """The index of the call of the last entry, which is its place in draw order; -1 before the first."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> Pass | None: ...


class Ask(Protocol):
    """Runs passes of one tier within its budget. Passed to a policy; only `run` creates one."""

    @property
    def tier(self) -> str:
        """The tier whose passes it runs."""

    @property
    def deployment(self) -> str:
        """The deployment that runs them."""

    @property
    def width(self) -> int:
        """How many passes the deployment runs concurrently."""

    @property
    def load(self) -> float:
        """Load of the deployment over all actions: 0 when idle, 1 when the next pass would queue."""

    @property
    def capabilities(self) -> Capabilities:
        """What the deployment can do with a request."""

    @property
    def left(self) -> Left:
        """What may still be spent, within all enclosing budgets."""

    @property
    def is_shown(self) -> bool:
        """Whether the user has seen part of an answer, which then is the answer."""

    @property
    def session(self) -> str:
        """The caller's id for the session that the action belongs to, such as an agent's run; empty without one."""

    def recall(self) -> str:
        """What this tier's policy kept last of the session; empty without a session, and once it is forgotten."""

    def keep(self, word: str, seconds: float) -> None:
        """Keep a word for the later actions of the session in this tier, in place of the one before.

        Args:
            word: such as the name of a tier.
            seconds: after which it is forgotten. It may be forgotten earlier: memory is bounded, and a restart ends it.
        """

    @property
    def verifier(self) -> Checkable | None:
        """The verifier for candidates: the request's, else the tier's, else None."""

    @property
    def drawn(self) -> Sequence[Pass]:
        """All passes of this choice that have ended, over all tiers, in start order."""

    @property
    def drafts(self) -> Sequence[Answer]:
        """Candidates for the prompt from cheaper tiers, with their verdicts. A policy may count or refine them, so that
        what they cost is not lost.
        """

    async def __call__(self, call: Call, *, shown: bool = False, watch: Watch | None = None) -> Pass:
        """Run one pass to its end.

        Args:
            call: what to ask; its draw is numbered here.
            shown: stream it to the user. Only one pass at a time can be shown, and none after the user has seen part of
                another.
            watch: called with every chunk; may cut the pass.

        Returns:
            A pass that finished, that `watch` cut, or that the budget cut after it had produced output.

        Raises:
            OutOfBudget: no pass may start, or this one was stopped before it produced output.
            EngineError: the engine failed, and a retry was not possible or failed too.
        """

    def panel(
        self, calls: Iterable[Call | tuple[Ask, Call]], *, order: Order = "draw", pace: Pace | None = None
    ) -> AbstractAsyncContextManager[Arrivals]:
        """Run several calls concurrently, at most `width` at a time on each deployment.

        Leaving the block aborts passes that still run. To run a call on another tier, pair it with that tier's `Ask`.

        Args:
            calls: what to ask, in draw order. Calls start in this order.
            order: in which their results come.
            pace: limits how many calls have started. It is asked each time before the next result is awaited. What has
                started stays so, and one call runs in any case. None starts all.
        """

    def at(self, tier: str, *, reserve: Budget | None = None) -> Ask:
        """An `Ask` for another tier that the policy lists in `tiers`, with that tier's sampling and verifier, and its
        budget nested in this one.

        Args:
            tier: its name.
            reserve: the part of this budget that it must leave unspent, for instance for a last tier.
        """

    def on(self, deployment: str) -> Ask:
        """An `Ask` for the same tier and budget whose passes run on a reward model, a deployment that the policy lists
        in `graders`. Its passes have `scores` and no text.
        """

    def within(self, budget: Budget) -> Ask:
        """An `Ask` for the same tier with a budget nested in this one, for a retry, a trial answer or a judge."""

    def watching(self, watching: Watching) -> Ask:
        """An `Ask` for the same tier, each of whose candidates gets a watch of its own, those of its policy and of the
        tiers that it asks included. A watch that is given with a call replaces it.
        """

    async def solve(self, prompt: Prompt, *, shown: bool = False, drafts: Sequence[Answer] = ()) -> Answer:
        """Answer a prompt with the tier's own policy.

        Args:
            prompt: what to answer.
            shown: let the tier's policy stream to the user.
            drafts: earlier candidates of this action for the same prompt; see `drafts`.

        Raises:
            OutOfBudget: the budget allowed no answer.
            EngineError: the engine failed; `was_shown` is true if the user has seen part of the answer.
        """

    async def verify(self, candidate: Pass | Answer) -> Verdict:
        """Check a candidate with `verifier` and record the verdict in the trace.

        An answer that the verifier does not judge (most judge no tool calls) gets a verdict with `judged=False`.
        """

    async def key(self, candidate: Pass, equality: Equality = "auto") -> str | None:
        """The candidate's answer in canonical form, so that equal answers are equal texts.

        Returns:
            None if it has no answer, was cut, is too much work to read, or there was no time left to read it.
        """

    def note(
        self,
        reason: str,
        *,
        signal: str = "",
        level: float | None = None,
        after: tuple[int, ...] = (),
        about: str = "",
        accepted: bool | None = None,
    ) -> None:
        """Record a decision in the trace: why the action continues, stops or changes tier.

        Args:
            reason: one line for the ledger.
            signal: what the decision is based on: `verifier`, `agreement`, …
            level: its value.
            after: numbers of the passes that gave the signal.
            about: the other tier that it is about, for a policy that chooses among tiers. The last decision about a
                tier is why its answer was kept or not.
            accepted: whether that tier's answer is kept; None if it has not answered yet.
        """
