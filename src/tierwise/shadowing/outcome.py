"""What becomes of an action that is to be observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tierwise.ledger.records import Record

Outcome = Literal["agreed", "differed", "own", "failed", "yielded", "dropped", "lost"]
"""What became of an action that was to be observed. `own`: the reference tier had answered it, so nothing was asked.
`yielded`: stopped because users needed its engine; it is tried again. `dropped`: it never had its turn. `lost`: it had
its turn, had to yield, and was not observed within a day; it counts as one without harm or difference."""


def discard(_: Record) -> None:
    """Record nothing."""


def uncounted(_route: str, _outcome: Outcome) -> None:
    """Count nothing."""
