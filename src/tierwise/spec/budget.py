"""Limits on what one action may spend. Running out of budget is an outcome, not a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on one action in one tier. None means no bound."""

    passes: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    """Passes that the policy may start; a retry after an engine crash is not charged."""
    completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Total over all passes. Concurrent passes may each exceed it by one chunk."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    """From the start of the action."""

    def __add__(self, other: Budget) -> Budget:
        """The sum of each bound; None where either has no bound."""
        return Budget(
            passes=_sum(self.passes, other.passes),
            completion_tokens=_sum(self.completion_tokens, other.completion_tokens),
            seconds=None if self.seconds is None or other.seconds is None else self.seconds + other.seconds,
        )

    def within(self, other: Budget) -> Budget:
        """The tighter of each bound."""
        seconds = [bound for bound in (self.seconds, other.seconds) if bound is not None]
        return Budget(
            passes=_least(self.passes, other.passes),
            completion_tokens=_least(self.completion_tokens, other.completion_tokens),
            seconds=min(seconds, default=None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What may still be spent, within all enclosing budgets. None means no bound."""

    passes: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    """Until the deadline."""


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _least(*bounds: int | None) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)
