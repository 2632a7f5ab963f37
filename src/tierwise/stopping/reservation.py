"""The reservation value of scored candidates: when another draw is no longer worth its cost.

Weitzman's rule for opening boxes (1979, Econometrica 47:641), applied to best-of-n (arXiv 2510.01394): with independent
draws of value V and a cost c for each, drawing on pays exactly while the best value so far is below τ*, where
E[(V − τ*)⁺] = c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated

import msgspec

DELTA = 0.1
"""Probability that the bound for scores of an unknown distribution is too low."""

Score = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Reservation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop when the best score so far is at least the reservation value: a further draw would cost more than it brings.

    Without the scores of earlier draws, the value is an upper confidence bound on it, from the scores of this prompt.
    """

    cost: Annotated[float, msgspec.Meta(gt=0, le=1)]
    """Cost of one more draw, in units of a score: dollars per draw / dollars that a score of 1 instead of
    0 is worth."""
    scores: Annotated[tuple[Score, ...], msgspec.Meta(max_length=1000)] = ()
    """Scores of earlier draws by the same scorer, from 0 to 1, or quantiles of them. Empty: they are not known."""

    def stops(self, seen: Sequence[float]) -> bool:
        """Whether another draw is not worth its cost. A pure function of the scores so far, from 0 to 1."""
        if not seen:
            return False
        if self.scores:
            value = reservation_value(self.scores, self.cost)
        else:
            value = optimistic_reservation_value(seen, self.cost, highest=1.0, delta=DELTA)
        return max(seen) >= value


def reservation_value(scores: Sequence[float], cost: float) -> float:
    """τ* for the empirical distribution of `scores`. Stop when the best score so far is at least this.

    Args:
        scores: of earlier draws, one for each.
        cost: of one more draw, in units of a score: dollars per draw / dollars that one unit of score is worth.

    Raises:
        ValueError: there are no scores, one is not finite, or the cost is not positive.
    """
    return _solved(scores, [1 / len(scores)] * len(scores) if scores else [], cost)


def optimistic_reservation_value(scores: Sequence[float], cost: float, *, highest: float, delta: float = 0.1) -> float:
    """An upper confidence bound on τ*, for few scores: with probability 1 − `delta` no smaller than the true one.

    The distribution that is largest within the band of Dvoretzky, Kiefer and Wolfowitz (Massart, 1990, one-sided):
    a share √(ln(1/δ) / 2n) of the lowest scores is moved to the highest possible score.

    Args:
        scores: observed so far.
        cost: of one more draw, in units of a score.
        highest: the largest score that is possible.
        delta: probability that the bound is too low.

    Raises:
        ValueError: as `reservation_value`, or a score is above `highest`, or `delta` is not between 0 and 1.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}; give a probability between 0 and 1")
    if any(score > highest for score in scores):
        raise ValueError(f"a score is {max(scores)}; the highest possible one was given as {highest}")
    count = len(scores)
    moved = min(1.0, math.sqrt(math.log(1 / delta) / (2 * count))) if count else 1.0
    kept = []
    to_move = moved
    for _ in range(count):
        here = min(to_move, 1 / count)
        to_move -= here
        kept.append(1 / count - here)
    return _solved([*sorted(scores), highest], [*kept, moved], cost)


def _solved(scores: Sequence[float], shares: Sequence[float], cost: float) -> float:
    """τ with Σ share · (score − τ)⁺ = cost; the left side is piecewise linear and falls with τ."""
    if not (cost > 0 and math.isfinite(cost)):
        raise ValueError(f"the cost of a draw is {cost}; give a positive number in units of a score")
    if not scores or not all(math.isfinite(score) for score in scores):
        raise ValueError("give at least one score, and finite ones")
    ranked = sorted(((score, share) for score, share in zip(scores, shares, strict=True) if share > 0), reverse=True)
    weights = accumulate(share for _, share in ranked)
    values = accumulate(score * share for score, share in ranked)
    below = [score for score, _ in ranked[1:]] + [-math.inf]
    for weight, value, following in zip(weights, values, below, strict=True):
        tau = (value - cost) / weight
        if tau >= following:
            return tau
    raise AssertionError("the last piece has no end")  # pragma: no cover
