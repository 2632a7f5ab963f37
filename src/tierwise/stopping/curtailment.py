"""Curtailment: stop when no way to cast the remaining votes changes the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from tierwise.stopping.votes import VotesSoFar

_ROUNDING = 1e-9
"""Sums of weights that differ by less may be equal."""


class Curtailment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop when the remaining votes cannot change the answer: lossless, and a part of every other rule."""

    is_lossless: ClassVar[bool] = True
    needs_confidence: ClassVar[bool] = False

    def stops(self, votes: VotesSoFar) -> bool:
        counted = Counter(votes.answers)
        tallied = [(count, votes.answers.index(answer)) for answer, count in counted.items()]
        return is_settled(tallied, left=votes.left, first_open=len(votes.answers))


def is_settled(tallied: Sequence[tuple[float, int]], *, left: int, first_open: int, heaviest: float = 1.0) -> bool:
    """Whether the leader wins however the remaining votes are cast. Of tied answers, the one that was drawn first wins.

    A rival can catch up only if it gets every remaining vote. It is then the first of two tied answers if it was drawn
    before the leader, or if the lowest draw that is still to come is before the leader's first.

    Args:
        tallied: for each answer so far, its votes (or their weight) and its first draw.
        left: votes that are still to come.
        first_open: the lowest draw that is still to come.
        heaviest: the largest weight that one of them can have.
    """
    if not tallied or not left:
        return not left
    most, at = max(tallied, key=lambda one: (one[0], -one[1]))
    for votes, first in ((0.0, first_open), *tallied):
        gap = most - votes - left * heaviest
        if gap > _ROUNDING or (votes, first) == (most, at):
            continue
        if gap < -_ROUNDING or min(first, first_open) < at:
            return False
    return True
