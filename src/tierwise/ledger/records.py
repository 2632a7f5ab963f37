"""The trace of an action: an append-only list of events from which all totals are computed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tierwise.spec.ask import Checkable, Verdict
from tierwise.spec.call import Completion, Pass, Usage
from tierwise.spec.prompt import Prompt
from tierwise.spec.values import frozen_value

Ending = Literal["answered", "failed", "disconnected", "yielded"]
"""answered · failed: the user got an error · disconnected: the user hung up · yielded: a shadow that was stopped
because users needed its engine."""

SHADOW_OF = "shadow of "
"""A reason that begins so names an action. Totals have one row for all of them, or each would have one of its own."""


def new_id(started_at: float) -> str:
    """An id for an action: `act_`, its second since 1970 as 8 hex digits, and 16 random ones.

    Ids in the order of time keep what is added to a large ledger together: with random ones, each row changes pages of
    its own in every index that has the id.
    """
    # Not `secrets` or uuid4, which make a system call each time.
    return f"act_{int(started_at) & 0xFFFFFFFF:08x}{random.getrandbits(64):016x}"


@frozen_value
class Check:
    """A verifier's check of a candidate."""

    number: int | None
    """The number of the judged pass; None for an answer that did not come from a single pass."""
    kind: str
    verdict: Verdict
    seconds: float


@frozen_value
class Decision:
    """A policy's decision on how an action continues."""

    tier: str
    """Whose policy."""
    reason: str
    signal: str = ""
    """The measured quantity that it is based on; empty if none."""
    level: float | None = None
    """The value of the signal."""
    after: tuple[int, ...] = ()
    """Numbers of the passes that it is based on."""
    about: str = ""
    """The other tier that it is about; empty for a decision of a policy that does not choose among tiers."""
    accepted: bool | None = None
    """Whether that tier's answer was kept; None if it had not answered."""
    choice: int = 0
    """Index of the choice of the action that it belongs to."""
    at: float
    """Seconds after the start of the action."""


Event = Pass | Check | Decision


@dataclass(slots=True, kw_only=True)
class Trace:
    """All passes, verdicts and decisions of one action, in the order in which they ended."""

    action: str
    """The action's id."""
    began: float
    """Start time on the event loop's clock, in seconds."""
    started_at: float
    """Seconds since 1970."""
    events: list[Event] = field(default_factory=list)
    started: int = 0
    """Number of passes started; the next pass gets this number."""
    limits: list[str] = field(default_factory=list)
    """The bounds of its budgets that are used up, so that a pass was cut or refused, in the order in which they were
    reached."""
    session: str = ""
    """The caller's id for the session that the action belongs to, if given."""
    key: str = ""
    """Id of the stored key that asked; empty without one."""
    key_name: str = ""
    """Its name, or its id if it has none; for metrics."""
    team: str = ""
    tags: tuple[str, ...] = ()
    _read: int = field(default=0, init=False, repr=False, compare=False)
    """Number of events that these two were found among."""
    _passes: list[Pass] = field(default_factory=list, init=False, repr=False, compare=False)
    _decisions: list[Decision] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def passes(self) -> Sequence[Pass]:
        """Sorted by number."""
        if self._read != len(self.events):
            self._sort()
        return self._passes

    @property
    def decisions(self) -> Sequence[Decision]:
        """In the order in which they were made."""
        if self._read != len(self.events):
            self._sort()
        return self._decisions

    @property
    def usage(self) -> Usage:
        """Tokens of all passes, whatever their outcome."""
        passes = self.passes
        return passes[0].usage if len(passes) == 1 else sum((done.usage for done in passes), Usage())

    def _sort(self) -> None:
        """Look through the events, which are only ever added to."""
        self._passes = sorted((event for event in self.events if isinstance(event, Pass)), key=lambda done: done.number)
        self._decisions = [event for event in self.events if isinstance(event, Decision)]
        self._read = len(self.events)


@frozen_value
class Record:
    """A completed action, ready for the ledger."""

    trace: Trace
    model: str
    """The requested model name: a tier or a route."""
    tier: str
    """The tier that answered, or that failed last; empty if none was reached."""
    reason: str
    """Why that tier answered."""
    ending: Ending
    seconds: float
    first_output: float | None
    """Seconds until the user received the first output; None if there was none."""
    stream: bool = False
    finish: str = ""
    why: str = ""
    """How the policy chose the answer."""
    error: str = ""
    caller: str = ""
    """The caller's id for the action, if given."""
    prompt: Prompt | None = None
    """The request; stored, like the fields below, only by a ledger that keeps content."""
    answers: tuple[Completion, ...] = ()
    """The answers, one per choice."""
    verifier: Checkable | None = None
    """The request's verifier."""
    shadow_of: str = ""
    """The action that this one repeats to observe its route, so that no user waits for it; empty for a user's own."""
