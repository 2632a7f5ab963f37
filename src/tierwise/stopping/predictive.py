"""Stochastic curtailment: stop when the leader probably wins the whole vote, given the votes so far.

The predictive probability of clinical trials (Spiegelhalter, Freedman and Blackburn, 1986, Controlled Clinical Trials
7:8) for the most frequent of several answers. The shares of the answers have a Dirichlet prior with ½ for each answer
seen and ½ for one not seen yet (Jeffreys).
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Annotated, ClassVar

import msgspec

from tierwise.stopping.votes import VotesSoFar

PRIOR = 0.5


class Predictive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop when the leader wins the whole vote with at least this probability, by a Dirichlet model of the votes."""

    is_lossless: ClassVar[bool] = False
    needs_confidence: ClassVar[bool] = False

    probability: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.98
    """That the answer is the one of all votes, under the model."""

    def stops(self, votes: VotesSoFar) -> bool:
        return bool(votes.counts) and is_decided(votes.counts, votes.left, self.probability)


@lru_cache(maxsize=1 << 16)
def is_decided(counts: tuple[int, ...], left: int, probability: float) -> bool:
    """Whether `win_probability` is at least `probability`."""
    if counts[0] < max(counts[1:], default=0) or pair_win_probability(counts, left) < probability:
        return False  # against one rival is at least as likely as against all
    return win_probability(counts, left) >= probability


def win_probability(counts: tuple[int, ...], left: int) -> float:
    """P(v₁ + X₁ ≥ vⱼ + Xⱼ for every j), X ~ Multinomial(left, p), p ~ Dirichlet(v + ½, and ½ for a new answer).

    Args:
        counts: votes per answer; the first is the leader's.
        left: votes that are still to come.
    """
    return _win_probability(counts[0], Counter([*counts[1:], 0]), 0.0, left)


def pair_win_probability(counts: tuple[int, ...], left: int) -> float:
    """`win_probability` against the strongest rival alone: the other answers get votes, and cannot win."""
    rivals = [*counts[1:], 0]
    strongest = max(rivals)
    others = sum(rivals) - strongest + PRIOR * (len(rivals) - 1)
    return _win_probability(counts[0], Counter([strongest]), others, left)


def two_answer_win_probability(first: int, second: int, left: int) -> float:
    """The pair form: only two answers exist, and their shares have the prior Beta(½, ½).

    Σₓ C(r, x) B(v₁ + ½ + x, v₂ + ½ + r − x) / B(v₁ + ½, v₂ + ½) over v₁ + x ≥ v₂ + r − x, with r = `left`.
    """
    return _win_probability(first, Counter([second]), 0.0, left)


def _win_probability(lead: int, rivals: Counter[int], others: float, left: int) -> float:
    """Sums the Dirichlet-multinomial probabilities of all ways to cast the votes in which no rival passes the leader.

    The probability of X = x is ∏ⱼ w(αⱼ, xⱼ) / w(Σα, left), with w(α, x) = Γ(α + x) / (Γ(α) x!). For each number of
    votes that the leader gets, the ways of the rivals are the coefficients of a product of polynomials.

    Args:
        lead: the leader's votes.
        rivals: how many rivals have so many votes.
        others: the Dirichlet parameter of the answers that cannot win; 0 if there are none.
        left: votes that are still to come.
    """
    own = _weights(lead + PRIOR, left)
    of_rivals = {votes: _weights(votes + PRIOR, left) for votes in rivals}
    of_others = _weights(others, left) if others else [1.0]
    total = 0.0
    for gained in range(left + 1):
        rest = left - gained
        ways = of_others[: rest + 1]
        for votes, answers in rivals.items():
            most = lead + gained - votes
            if most < 0:
                break
            for _ in range(answers):
                ways = _product(ways, of_rivals[votes][: most + 1], rest)
        else:
            total += own[gained] * (ways[rest] if rest < len(ways) else 0.0)
    alpha = lead + PRIOR + others + sum((votes + PRIOR) * answers for votes, answers in rivals.items())
    return min(1.0, total / _weights(alpha, left)[left])


def _weights(alpha: float, most: int) -> list[float]:
    """w(alpha, x) for x from 0 to `most`."""
    found = [1.0]
    for x in range(most):
        found.append(found[-1] * (alpha + x) / (x + 1))
    return found


def _product(one: list[float], other: list[float], degree: int) -> list[float]:
    """The product of two polynomials, up to a degree."""
    found = [0.0] * min(degree + 1, len(one) + len(other) - 1)
    for place, factor in enumerate(one):
        for shift, value in enumerate(other[: len(found) - place]):
            found[place + shift] += factor * value
    return found
