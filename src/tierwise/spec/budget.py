"""What one action may spend. Running out is an outcome, not a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on one action in one tier. None means no bound."""

    passes: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    """Passes that the policy may start; a repeat after an engine's death is not charged again."""
    completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Over all passes. Passes that run side by side may overshoot it by one chunk each."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    """From the moment the action began."""

    def __add__(self, other: Budget) -> Budget:
        """Both together, bound by bound. A bound that one of them lacks is a bound that the sum lacks."""
        return Budget(
            passes=_sum(self.passes, other.passes),
            completion_tokens=_sum(self.completion_tokens, other.completion_tokens),
            seconds=None if self.seconds is None or other.seconds is None else self.seconds + other.seconds,
        )

    def within(self, other: Budget) -> Budget:
        """The tighter of both, bound by bound."""
        seconds = [bound for bound in (self.seconds, other.seconds) if bound is not None]
        return Budget(
            passes=_least(self.passes, other.passes),
            completion_tokens=_least(self.completion_tokens, other.completion_tokens),
            seconds=min(seconds, default=None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What may still be spent, after every budget around. None means no bound."""

    passes: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    """Until the deadline."""


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _least(*bounds: int | None) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)
