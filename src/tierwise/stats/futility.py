"""How likely a paired comparison that is not over will show a difference: stochastic curtailment.

A race that may end early for want of a difference saves the tasks that would only confirm it. Nothing is proved by
ending it: its error is that a difference which all tasks would have shown is missed, and a simulation measures it
(`benchmarks/racing.py`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import stats

LEVEL = 0.025
"""One-sided level of the paired test over all tasks: that of a 95 % interval."""
_PRIOR = 0.5
"""Pseudo-counts of each of the three outcomes of a task (Jeffreys' prior of a Dirichlet distribution)."""


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
    total = wins + losses + differing
    needed = np.asarray(stats.binom.isf(level, total, 0.5)) + 1  # P(Bin(total, ½) ≥ needed) ≤ level
    needed = np.where(stats.binom.sf(needed - 2, total, 0.5) <= level, needed - 1, needed)
    above = stats.betabinom.sf(needed - wins - 1, differing, wins + _PRIOR, losses + _PRIOR)
    above = np.where(needed > wins + differing, 0.0, np.where(needed <= wins, 1.0, above))
    weights = stats.betabinom.pmf(differing, remaining, wins + losses + 2 * _PRIOR, ties + _PRIOR)
    return float(np.clip(np.sum(weights * above), 0.0, 1.0))
