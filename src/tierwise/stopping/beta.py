"""The Beta rule of Adaptive-Consistency (Aggarwal et al., 2023, arXiv 2305.11860)."""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import Annotated, ClassVar

import msgspec

from tierwise.stopping.votes import VotesSoFar


class Beta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop when the leader is more frequent than the second with at least this probability, whatever is left."""

    is_lossless: ClassVar[bool] = False
    needs_confidence: ClassVar[bool] = False

    probability: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.95
    """That the leader's share is above that of the second, by the posterior of a uniform prior. It is looked at after
    every vote and not corrected for that, so it is no guarantee."""

    def stops(self, votes: VotesSoFar) -> bool:
        first, second = (*votes.counts, 0, 0)[:2]
        return bool(first) and lead_probability(first, second) >= self.probability


@lru_cache(maxsize=1 << 14)
def lead_probability(first: int, second: int) -> float:
    """1 − I½(first + 1, second + 1), which is P(Bin(first + second + 1, ½) ≤ first)."""
    trials = first + second + 1
    return float(sum(comb(trials, hits) for hits in range(first + 1)) / 2**trials)
