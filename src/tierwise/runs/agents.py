"""What the record of an agent's task has besides that of an action."""

from __future__ import annotations

import msgspec

from tierwise.ledger.sessions import SessionAction


class AgentWork(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's work on one task, joined from the ledger by session. The record's `action` is the session."""

    actions: list[SessionAction]
    """Everything that the agent asked, in the order in which it began."""
    code: int
    """The exit code of its program."""
    timed_out: bool = False
    """Whether the time limit ended it."""
    reward: float | None = None
    """What the task's tests gave; None for a task with a check."""

    @property
    def turns(self) -> int:
        """The actions that were answered."""
        return sum(action.ending == "answered" for action in self.actions)

    @property
    def escalations(self) -> int:
        """How often a route went on to another tier."""
        return sum(action.escalations for action in self.actions)
