"""What happened: the trace of an action, an append-only list of events from which every total is computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tierwise.spec.call import Pass, Usage

if TYPE_CHECKING:
    from tierwise.spec.ask import Checkable, Verdict
    from tierwise.spec.call import Completion
    from tierwise.spec.prompt import Prompt

Ending = Literal["answered", "failed", "disconnected"]
"""answered · failed with an error that the user saw · the user hung up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A verifier looked at a candidate."""

    number: int | None
    """The pass that it judged; None for an answer that no single pass gave."""
    kind: str
    verdict: Verdict
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A policy decided how an action goes on."""

    tier: str
    """Whose policy."""
    reason: str
    signal: str = ""
    """What it looked at; empty where it looked at nothing that was measured."""
    level: float | None = None
    """The value of the signal."""
    after: tuple[int, ...] = ()
    """Numbers of the passes that it looked at."""
    at: float
    """Seconds after the action began."""


Event = Pass | Check | Decision


@dataclass(slots=True, kw_only=True)
class Trace:
    """Every pass that one action caused, every verdict and every decision, in the order in which they ended."""

    action: str
    """The action's id."""
    began: float
    """Seconds of the event loop's clock."""
    started_at: float
    """Seconds since 1970."""
    events: list[Event] = field(default_factory=list)
    started: int = 0
    """Passes that have begun; the next one takes this number."""

    @property
    def passes(self) -> list[Pass]:
        """Sorted by number."""
        return sorted((event for event in self.events if isinstance(event, Pass)), key=lambda done: done.number)

    @property
    def usage(self) -> Usage:
        """All tokens of all passes: finished, cut, aborted and failed ones."""
        return sum((done.usage for done in self.passes), Usage())


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An action that is over, ready for the ledger."""

    trace: Trace
    model: str
    """The name that the caller asked for: a tier or a route."""
    tier: str
    """The tier that answered, or that failed last; empty when none was reached."""
    reason: str
    """Why that tier."""
    ending: Ending
    seconds: float
    first_output: float | None
    """Seconds until the user saw the first of the answer; None when there was none."""
    stream: bool = False
    finish: str = ""
    why: str = ""
    """How the policy chose what it said."""
    error: str = ""
    caller: str = ""
    """The caller's own id for the action, when it gave one."""
    prompt: Prompt | None = None
    """What was asked; a ledger keeps it only where it was told to keep content, here and below."""
    answers: tuple[Completion, ...] = ()
    """What was answered, one for each choice."""
    verifier: Checkable | None = None
    """What the request could be checked with."""
