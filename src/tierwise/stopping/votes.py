"""What a stopping rule sees of a vote, and the protocol of a rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol


@dataclass(frozen=True)
class VotesSoFar:
    """The votes that a rule may look at: those of a prefix of the draws, so that no vote is there because it was quick.

    Attributes:
        answers: one key per vote, in draw order; equal answers have equal keys. Draws without an answer are left out.
        left: draws of the whole vote that are still to come.
        confidences: the probability of each vote to be right, in the order of `answers`; empty if none is known.
    """

    answers: Sequence[str]
    left: int
    confidences: Sequence[float] = ()

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Votes per answer, largest first; empty without a vote."""
        return tuple(sorted(Counter(self.answers).values(), reverse=True))

    def then(self, more: int) -> VotesSoFar:
        """As if the next `more` draws repeated the leading answer, with the highest confidence so far."""
        counted = Counter(self.answers)
        leader = max(self.answers, key=counted.__getitem__, default="")
        sure = (max(self.confidences),) * more if self.confidences else ()
        return VotesSoFar((*self.answers, *[leader] * more), self.left - more, (*self.confidences, *sure))


class StoppingRule(Protocol):
    """Whether a vote may end before all its draws. Holds settings, never state."""

    @property
    def is_lossless(self) -> bool:
        """Whether stopping never changes the answer."""

    @property
    def needs_confidence(self) -> bool:
        """Whether it looks at `VotesSoFar.confidences`."""

    def stops(self, votes: VotesSoFar) -> bool:
        """Whether no further draw is worth its cost. A pure function of its argument."""


def fewest_more(rule: StoppingRule, votes: VotesSoFar) -> int:
    """The smallest number of further draws after which a rule can stop: if all of them repeat the leader.

    Fewer draws in parallel than that never save one, so a busy engine is sent this many at once.
    """
    if rule.needs_confidence and not votes.confidences:
        return min(2, votes.left)
    return next((more for more in range(1, votes.left) if rule.stops(votes.then(more))), max(1, votes.left))
