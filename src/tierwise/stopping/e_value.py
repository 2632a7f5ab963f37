"""An e-value for the mode: stop when the leader is certified as the most frequent answer of the model.

For one rival, the evidence that the leader is more frequent is the mixture, over a uniform share in (½, 1), of the
likelihood ratios to a tie. Against all rivals it is the minimum over them (intersection–union), so the answers need not
be known beforehand. It is a martingale under a tie, so looking after every vote is valid (Ville's inequality).
"""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import Annotated, ClassVar

import msgspec

from tierwise.stopping.votes import VotesSoFar


class EValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop when the leader is certified as the model's most frequent answer, however often one looks."""

    is_lossless: ClassVar[bool] = False
    needs_confidence: ClassVar[bool] = False

    alpha: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.05
    """Probability of certifying an answer that is tied with another. The evidence must reach 2/alpha, because the
    leader is chosen from the data. The mode of the model's answers is certified, and not that it is right."""

    def stops(self, votes: VotesSoFar) -> bool:
        return bool(votes.counts) and of_mode(votes.counts) >= 2 / self.alpha


def of_mode(counts: tuple[int, ...]) -> float:
    """The evidence that the leader is the mode.

    Args:
        counts: votes per answer, largest first. An answer that was not seen yet counts as a rival without votes.
    """
    first, second = (*counts, 0)[:2]
    return of_pair(first, second)  # it falls with the rival's votes, so the minimum is at the second


@lru_cache(maxsize=1 << 14)
def of_pair(first: int, second: int) -> float:
    """2^(m+1) B(a+1, b+1) P(Bin(m+1, ½) ≤ a), with a = `first`, b = `second` and m = a + b."""
    votes = first + second
    return sum(comb(votes + 1, hits) for hits in range(first + 1)) / ((votes + 1) * comb(votes, first))
