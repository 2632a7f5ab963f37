"""The difference between a published score and its reproduction on the very same tasks.

Both are means over the same fixed tasks, so that no error of choosing tasks is in their difference, and given the tasks
the two runs are independent: no task-by-task results of the published run are needed. What is left is the noise of
asking. Of fixed tasks, each with a probability of its own of being solved, the number solved never varies more than a
binomial number with the same mean (Hoeffding 1956, Ann. Math. Statist. 27:713). Wilson's interval for tasks × askings
therefore covers it, the more so the more the tasks differ. The difference has Newcombe's interval for independent
shares (1998, method 10). `benchmarks/claims.py` measures the coverage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tierwise.stats.estimates import Estimate, Interval, wilson


@dataclass(frozen=True, slots=True)
class Score:
    """A share of the tasks, and how far it may be from what it estimates."""

    value: float
    below: float = 0.0
    above: float = 0.0


def exact(value: float) -> Score:
    """A score without noise: each task was asked once, and has one answer."""
    return Score(value)


def between(value: float, interval: Interval) -> Score:
    """A score with an interval, which may not end above."""
    return Score(value, value - interval.low, (1.0 if interval.high is None else interval.high) - value)


def asked(value: float, askings: int) -> Score:
    """A score of fixed tasks with so many askings in all: Wilson's interval, by Hoeffding's bound.

    Args:
        value: the share solved; published ones are rounded, so that the number solved is the nearest whole one.
        askings: tasks × answers per task.
    """
    solved = round(value * askings)
    found = between(solved / askings, wilson(solved, askings))
    return Score(value, found.below, found.above)


def with_missing(score: Score, share: float) -> Score:
    """The score where a share of the askings has no outcome: they may all have been failures, or all solved."""
    low, high = (score.value - score.below) * (1 - share), (score.value + score.above) * (1 - share) + share
    return Score(score.value, score.value - low, high - score.value)


def difference(reproduced: Score, published: Score, *, tasks: int) -> Estimate:
    """Reproduced minus published on the same tasks, with the interval of two independent scores."""
    value = reproduced.value - published.value
    low = value - math.hypot(reproduced.below, published.above)
    high = value + math.hypot(reproduced.above, published.below)
    return Estimate(value=value, interval=Interval(low, high), n=tasks, population="repeats")
