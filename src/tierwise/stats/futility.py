"""How likely a paired comparison that is not over will show a difference: stochastic curtailment.

A race that may end early for want of a difference saves the tasks that would only confirm it. Nothing is proved by
ending it: its error is that a difference which all tasks would have shown is missed, and a simulation measures it
(`benchmarks/racing.py`).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]

LEVEL = 0.025
"""One-sided level of the paired test over all tasks: that of a 95 % interval."""
_PRIOR = 0.5
"""Pseudo-counts of each of the three outcomes of a task (Jeffreys' prior of a Dirichlet distribution)."""
_NODES = 64


@lru_cache(maxsize=1 << 14)
def chance_of_showing(wins: int, losses: int, ties: int, remaining: int, level: float = LEVEL) -> float:
    """The predictive probability that exact McNemar's test over all tasks shows more wins than losses.

    The outcomes of the remaining tasks are Dirichlet-multinomial, given those so far. It is 0 where no outcome of them
    could show it, so deterministic curtailment is a special case.

    Args:
        wins: tasks so far that only the first of two solves.
        losses: tasks so far that only the second solves.
        ties: the others.
        remaining: tasks that would still be asked.
        level: of the one-sided test.
    """
    differing = np.arange(remaining + 1)
    needed = _needed(wins + losses + remaining, level)[wins + losses :]
    shares, weights = _nodes(wins + _PRIOR, losses + _PRIOR)
    more = needed - wins
    above = special.bdtrc(np.maximum(more - 1, 0)[:, None].astype(float), differing[:, None], shares) @ weights
    above = np.where(more > differing, 0.0, np.where(more <= 0, 1.0, above))
    outcomes = _beta_binomial(remaining, wins + losses + 2 * _PRIOR, ties + _PRIOR)
    return float(np.clip(np.sum(outcomes * above), 0.0, 1.0))


@lru_cache(maxsize=64)
def _needed(most: int, level: float) -> NDArray[np.int64]:
    """The fewest wins that are shown to be more than the losses, for each number of differing tasks."""
    total = np.arange(most + 1)
    found = np.floor(stats.binom.isf(level, total, 0.5)).astype(np.int64) + 1
    return np.where(stats.binom.sf(found - 2, total, 0.5) <= level, found - 1, found)


@lru_cache(maxsize=1 << 12)
def _nodes(first: float, second: float) -> tuple[Floats, Floats]:
    """Gauss and Jacobi's nodes and weights of a beta distribution: exact for polynomials up to degree 2 × 64 - 1."""
    at, weights = special.roots_jacobi(_NODES, second - 1, first - 1)
    return (1 + at) / 2, weights / weights.sum()


def _beta_binomial(n: int, first: float, second: float) -> Floats:
    """The probability of each number of successes."""
    k = np.arange(n + 1)
    choose = -special.betaln(n - k + 1, k + 1) - math.log(n + 1)
    found: Floats = np.exp(choose + special.betaln(k + first, n - k + second) - special.betaln(first, second))
    return found
